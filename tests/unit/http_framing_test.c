/* SPDX-License-Identifier: MIT */
/*
 * Tests of framing: one table for heads, one for chunked bodies, each body also byte by byte.
 */
#include "worker/http/http_framing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_heads(void **state)
{
	static const struct {
		const char *fields; /* NULL-free text of header lines; Host is added */
		int minor;
		bool ok;
		enum http_body_kind kind;
		uint64_t length;
		bool keep;
	} cases[] = {
	    {"", 1, true, BODY_NONE, 0, true},
	    {"", 0, true, BODY_NONE, 0, false},
	    {"Connection: keep-alive\r\n", 0, true, BODY_NONE, 0, true},
	    {"Connection: a, CLOSE\r\n", 1, true, BODY_NONE, 0, false},
	    {"Connection: keep-alive\r\nConnection: close\r\n", 1, true, BODY_NONE, 0, false},
	    {"Connection: closed\r\n", 1, true, BODY_NONE, 0, true},
	    {"Content-Length: 0\r\n", 1, true, BODY_NONE, 0, true},
	    {"content-length: 17\r\n", 1, true, BODY_LENGTH, 17, true},
	    {"Content-Length: 9223372036854775807\r\n", 1, true, BODY_LENGTH, INT64_MAX, true},
	    {"Content-Length: 9223372036854775808\r\n", 1, false, BODY_NONE, 0, false},
	    {"Content-Length: 00000000000000000005\r\n", 1, false, BODY_NONE, 0, false},
	    {"Content-Length: 5\r\ncontent-length: 5\r\n", 1, false, BODY_NONE, 0, false},
	    {"Transfer-Encoding: Chunked\r\n", 1, true, BODY_CHUNKED, 0, true},
	    {"Transfer-Encoding: chunked, chunked\r\n", 1, false, BODY_NONE, 0, false},
	    {"Transfer-Encoding: gzip, chunked\r\n", 1, false, BODY_NONE, 0, false},
	    {"Transfer-Encoding:\r\n", 1, false, BODY_NONE, 0, false},
	    {"Transfer-Encoding: chunked\r\n", 0, false, BODY_NONE, 0, false},
	    {"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", 1, false, BODY_NONE, 0, false},
	    {"Authorization: a\r\nAuthorization: b\r\n", 1, false, BODY_NONE, 0, false},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct buf head = BUF_INIT;
		struct error err = ERROR_INIT;
		struct http_framing f;
		struct http_head h;
		bool ok;

		buf_printf(&head, "POST / HTTP/1.%d\r\nHost: x\r\n%s\r\n", cases[i].minor, cases[i].fields);
		assert_true(http_head_parse(buf_str(&head), &h, &err));
		ok = http_framing(&h, &f, &err);
		if (ok != cases[i].ok ||
		    (ok && (f.kind != cases[i].kind || f.length != cases[i].length || f.keep_alive != cases[i].keep)))
			fail_msg("case %zu: %s", i, cases[i].fields);
		if (!ok)
			assert_int_equal(err.code, ERR_BAD_REQUEST);
		buf_free(&head);
	}
}

static void test_expect(void **state)
{
	static const struct {
		const char *value;
		int minor;
		enum http_expect want;
	} cases[] = {{"100-continue", 1, EXPECT_CONTINUE},
		     {"100-Continue", 1, EXPECT_CONTINUE},
		     {"100-continue", 0, EXPECT_NOTHING},
		     {"x", 1, EXPECT_UNKNOWN}};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct buf head = BUF_INIT;
		struct error err = ERROR_INIT;
		struct http_framing f;
		struct http_head h;

		buf_printf(&head, "POST / HTTP/1.%d\r\nHost: x\r\nExpect: %s\r\n\r\n", cases[i].minor, cases[i].value);
		assert_true(http_head_parse(buf_str(&head), &h, &err));
		assert_true(http_framing(&h, &f, &err));
		assert_int_equal(f.expect, cases[i].want);
		buf_free(&head);
	}
}

/* Feeds `in` in pieces; the result of the last call, the data, and what was left over. */
static int feed(struct str in, size_t step, struct buf *data, size_t *left)
{
	struct http_chunked d = {.state = CHUNK_SIZE};
	size_t at = 0, used = 0;
	int r = 0;

	while (r == 0 && at < in.n) {
		size_t end = at + step < in.n ? at + step : in.n;
		struct str piece;

		r = http_chunked_feed(&d, str_sub(in, at, end), &used, &piece);
		if (r < 0)
			break;
		assert_true(used > 0);
		buf_add(data, piece);
		at += used;
	}
	*left = in.n - at;
	return r;
}

static void test_chunked(void **state)
{
	static const struct {
		const char *in;
		int result;
		const char *data;
		size_t left;
	} cases[] = {
	    {"0\r\n\r\n", 1, "", 0},
	    {"5\r\nhello\r\n0\r\n\r\nGET", 1, "hello", 3},
	    {"a\r\n0123456789\r\n1\r\nx\r\n000\r\n\r\n", 1, "0123456789x", 0},
	    {"0000000000000005\r\nhello\r\n0\r\n\r\n", 1, "hello", 0},
	    {"5;a=b\r\nhello\r\n0;c\r\nT: v\r\n\r\n", 1, "hello", 0},
	    {"5 ; a\r\nhello\r\n0\r\n\r\n", 1, "hello", 0},
	    {"5\r\nhel", 0, "hel", 0},
	    {"00000000000000005\r\n", -1, NULL, 0},
	    {"5 \r\n", -1, NULL, 0},
	    {"\r\n", -1, NULL, 0},
	    {";a\r\n", -1, NULL, 0},
	    {"0x5\r\n", -1, NULL, 0},
	    {"g\r\n", -1, NULL, 0},
	    {"5\nhello", -1, NULL, 0},
	    {"5\r\nhello0\r\n", -1, NULL, 0},
	    {"5\r\nhello\n", -1, NULL, 0},
	    {"0\r\nbad\r\n", -1, NULL, 0},
	    {"0\r\n X: folded\r\n", -1, NULL, 0},
	    {"0\r\nX: y\n\r\n", -1, NULL, 0},
	    {"0\r\n\rX", -1, NULL, 0},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++)
		for (size_t step = 1; step < 64; step *= 3) {
			struct buf data = BUF_INIT;
			size_t left;
			int r = feed(str_of(cases[i].in), step, &data, &left);

			if (r != cases[i].result)
				fail_msg("case %zu step %zu: %d", i, step, r);
			if (r >= 0) {
				assert_true(str_eqz(buf_str(&data), cases[i].data));
				assert_int_equal(left, cases[i].left);
			}
			buf_free(&data);
		}
}

static void test_chunked_limits(void **state)
{
	struct buf in = BUF_INIT, data = BUF_INIT;
	size_t left;

	(void)state;
	buf_addz(&in, "1;");
	for (unsigned i = 0; i < 300; i++)
		buf_addc(&in, 'a');
	assert_int_equal(feed(buf_str(&in), 50, &data, &left), -1);
	buf_clear(&in);
	buf_addz(&in, "0\r\nX: ");
	for (unsigned i = 0; i < 9000; i++)
		buf_addc(&in, 'a');
	assert_int_equal(feed(buf_str(&in), 1000, &data, &left), -1);
	/* The largest size that fits must not wrap. */
	buf_clear(&in);
	buf_addz(&in, "ffffffffffffffff\r\nabc");
	assert_int_equal(feed(buf_str(&in), 100, &data, &left), 0);
	assert_true(str_eqz(buf_str(&data), "abc"));
	buf_free(&in);
	buf_free(&data);
}

static void test_lists(void **state)
{
	(void)state;
	assert_true(http_list_has(STR("a, b ,c"), "B"));
	assert_false(http_list_has(STR("ab, bc"), "b"));
	assert_false(http_list_has(STR_NONE, "b"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_heads),          cmocka_unit_test(test_expect), cmocka_unit_test(test_chunked),
	    cmocka_unit_test(test_chunked_limits), cmocka_unit_test(test_lists),
	};

	return cmocka_run_group_tests_name("http_framing", tests, NULL, NULL);
}
