/* SPDX-License-Identifier: MIT */
/*
 * Tests of worker/http/http_memo.c: which heads are kept, that what is kept means the same, and who keeps it alive.
 */
#include "worker/http/http_memo.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define PLAIN "GET /api/v2/a%20b/ HTTP/1.1\r\nHost: x\r\nX-Request-ID: seven\r\nConnection: close\r\n\r\n"

static struct http_memo memo;
static struct arena *arena;

static int start(void **state)
{
	(void)state;
	arena = arena_new(0);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	http_memo_free(&memo);
	arena_free(arena);
	return 0;
}

/* As a request does: looked up, else parsed and told. True if it was found. */
static bool come(const char *head)
{
	struct error err = ERROR_INIT;
	struct http_meaning m, *found = http_memo_find(&memo, str_of(head));

	if (found != NULL) {
		http_meaning_unref(found);
		return true;
	}
	assert_true(http_meaning_parse(&m, arena, str_of(head), &err));
	http_memo_hear(&memo, &m);
	return false;
}

static void test_third_is_known(void **state)
{
	char head[] = PLAIN;
	struct http_meaning *m;

	(void)state;
	assert_false(come(head));
	assert_int_equal(http_memo_repeats(&memo, STR(PLAIN)), 0);
	assert_false(come(head));
	m = http_memo_find(&memo, str_of(head));
	assert_non_null(m);
	memset(head, '#', sizeof(head) - 1);
	assert_true(str_eqz(m->path, "/api/a b"));
	assert_true(str_eqz(m->target, "/api/v2/a%20b/"));
	assert_int_equal(m->method, HTTP_GET);
	assert_int_equal(m->field_count, 3);
	assert_true(str_eqz(m->fields[1].value, "seven"));
	assert_true((m->field_marks & http_field_mark(STR("x-request-id"))) != 0);
	assert_false(m->framing.keep_alive);
	http_meaning_unref(m);
	/* Its end need not be searched for, whatever follows it; a part of it is no repetition. */
	assert_int_equal(http_memo_repeats(&memo, STR(PLAIN "GET /")), sizeof(PLAIN) - 1);
	assert_int_equal(http_memo_repeats(&memo, STR("GET /api/v2/a")), 0);
}

static void test_not_kept(void **state)
{
	static const char *const heads[] = {
	    "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n\r\n",
	    "GET / HTTP/1.1\r\nHost: x\r\nPROXY-AUTHORIZATION: t\r\n\r\n",
	    "GET / HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\n\r\n",
	    "GET / HTTP/1.1\r\nHost: x\r\nx-api-key: t\r\n\r\n",
	    "GET /ws?token=t HTTP/1.1\r\nHost: x\r\n\r\n",
	    "GET /%2e%2e/x HTTP/1.1\r\nHost: x\r\n\r\n",
	    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n",
	    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
	};
	size_t i;

	(void)state;
	for (i = 0; i < countof(heads) * 4; i++)
		assert_false(come(heads[i / 4]));
}

static void test_long_head(void **state)
{
	struct buf head = BUF_INIT;
	int i;

	(void)state;
	buf_addz(&head, "GET / HTTP/1.1\r\nHost: x\r\nA: ");
	while (head.n < HTTP_MEMO_HEAD)
		buf_addc(&head, 'x');
	buf_addz(&head, "\r\n\r\n");
	for (i = 0; i < 4; i++)
		assert_false(come(head.p));
	buf_free(&head);
}

/* More heads than there are slots push each other out; what a request holds stays. */
static void test_pushed_out(void **state)
{
	struct http_meaning *held;
	char head[80];
	int i;

	(void)state;
	come(PLAIN);
	come(PLAIN);
	held = http_memo_find(&memo, STR(PLAIN));
	assert_non_null(held);
	for (i = 0; i < HTTP_MEMO_SLOTS * 20; i++) {
		snprintf(head, sizeof(head), "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i / 3);
		assert_int_equal(come(head), i % 3 == 2);
	}
	assert_true(str_eqz(held->path, "/api/a b"));
	http_meaning_unref(held);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_third_is_known, start, stop),
	    cmocka_unit_test_setup_teardown(test_not_kept, start, stop),
	    cmocka_unit_test_setup_teardown(test_long_head, start, stop),
	    cmocka_unit_test_setup_teardown(test_pushed_out, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
