/* SPDX-License-Identifier: MIT */
/*
 * Tests of common/sse.c: every way of cutting a stream gives the same events; limits hold.
 */
#include "common/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Collects "event=data|" for each event. */
static bool collect_event(void *arg, struct str event, struct str data)
{
	struct buf *b = arg;

	buf_add(b, event);
	buf_addc(b, '=');
	buf_add(b, data);
	buf_addc(b, '|');
	return !str_eqz(data, "stop");
}

static bool collect_line(void *arg, struct str line)
{
	buf_add(arg, line);
	buf_addc(arg, '|');
	return !str_eqz(line, "stop");
}

/* Feeds text in pieces of `size` bytes and compares what came out. */
static void check_cut(struct str text, const char *want, size_t size)
{
	struct buf got = BUF_INIT;
	struct sse s;
	size_t i;

	sse_init(&s, 4096);
	for (i = 0; i < text.n; i += size)
		assert_true(sse_feed(&s, str_sub(text, i, i + size), collect_event, &got));
	assert_string_equal(got.n > 0 ? got.p : "", want);
	sse_free(&s);
	buf_free(&got);
}

static void check(struct str text, const char *want)
{
	size_t size;

	for (size = 1; size <= text.n; size++)
		check_cut(text, want, size);
}

static void test_line_ends(void **state)
{
	(void)state;
	check(STR("data: a\n\ndata: b\n\n"), "=a|=b|");
	check(STR("data: a\r\n\r\ndata: b\r\n\r\n"), "=a|=b|");
	check(STR("data: a\r\rdata: b\r\r"), "=a|=b|");
	check(STR("data: a\r\n\ndata: b\n\r\n"), "=a|=b|");
}

static void test_fields(void **state)
{
	(void)state;
	check(STR("event: ping\ndata: {}\n\n"), "ping={}|");
	/* The name of an event does not outlive it. */
	check(STR("event: ping\ndata: 1\n\ndata: 2\n\n"), "ping=1|=2|");
	check(STR("data: one\ndata: two\ndata\ndata:\n\n"), "=one\ntwo\n\n|");
	/* One blank after the colon belongs to the syntax, a second one to the value. */
	check(STR("data:a\n\ndata:  b\n\n"), "=a|= b|");
	check(STR(": comment\nid: 7\nretry: 10\nunknown: x\ndata: a:b\n\n"), "=a:b|");
	check(STR("event: lonely\n\ndata: x\n\n"), "=x|");
	check(STR("data: unfinished\n"), "");
	check(STR("data:\n\n"), "=|");
}

static void test_byte_order_mark(void **state)
{
	(void)state;
	check(STR("\xEF\xBB\xBF"
		  "data: a\n\n"),
	      "=a|");
	/* What only begins like one is part of the line, so "data" is not recognised. */
	check(STR("\xEF\xBB"
		  "data: a\n\ndata: b\n\n"),
	      "=b|");
	check(STR("data: \xEF\xBB\xBF\n\n"), "=\xEF\xBB\xBF|");
}

static void test_limits(void **state)
{
	struct buf got = BUF_INIT;
	struct sse s;
	int i;
	bool ok = true;

	(void)state;
	sse_init(&s, 64);
	for (i = 0; i < 65 && ok; i++)
		ok = sse_feed(&s, STR("x"), collect_event, &got);
	assert_false(ok);
	sse_free(&s);

	sse_init(&s, 64);
	ok = true;
	for (i = 0; i < 20 && ok; i++)
		ok = sse_feed(&s, STR("data: 12345\n"), collect_event, &got);
	assert_false(ok);
	assert_int_equal(got.n, 0);
	sse_free(&s);
	buf_free(&got);
}

static void test_stop(void **state)
{
	struct buf got = BUF_INIT;
	struct sse s;

	(void)state;
	sse_init(&s, 64);
	assert_false(sse_feed(&s, STR("data: a\n\ndata: stop\n\ndata: b\n\n"), collect_event, &got));
	assert_string_equal(got.p, "=a|=stop|");
	sse_free(&s);
	buf_free(&got);
}

static void test_ndjson(void **state)
{
	struct str text = STR("{\"a\":1}\n\n{\"b\":2}\r\n{\"c\":3}");
	struct buf got = BUF_INIT;
	struct ndjson n;
	size_t size, i;

	(void)state;
	for (size = 1; size <= text.n; size++) {
		ndjson_init(&n, 64);
		buf_clear(&got);
		for (i = 0; i < text.n; i += size)
			assert_true(ndjson_feed(&n, str_sub(text, i, i + size), collect_line, &got));
		assert_string_equal(got.p, "{\"a\":1}|{\"b\":2}|");
		assert_true(ndjson_finish(&n, collect_line, &got));
		assert_string_equal(got.p, "{\"a\":1}|{\"b\":2}|{\"c\":3}|");
		ndjson_free(&n);
	}
	ndjson_init(&n, 8);
	assert_false(ndjson_feed(&n, STR("123456789"), collect_line, &got));
	ndjson_free(&n);
	ndjson_init(&n, 8);
	buf_clear(&got);
	assert_false(ndjson_feed(&n, STR("stop\nb\n"), collect_line, &got));
	assert_string_equal(got.p, "stop|");
	ndjson_free(&n);
	buf_free(&got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_line_ends), cmocka_unit_test(test_fields), cmocka_unit_test(test_byte_order_mark),
	    cmocka_unit_test(test_limits),    cmocka_unit_test(test_stop),   cmocka_unit_test(test_ndjson),
	};

	return cmocka_run_group_tests_name("sse", tests, NULL, NULL);
}
