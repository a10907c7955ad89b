/* SPDX-License-Identifier: MIT */
/*
 * Tests of the head tokeniser, paths, queries, addresses: pure functions, byte for byte.
 */
#include "worker/http/http_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/http/http_client.h"
#include "worker/http/route.h"

static void test_tokens(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		bool want = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			    (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);

		assert_int_equal(http_is_token((unsigned char)c), want);
	}
}

static void test_scan_in_pieces(void **state)
{
	struct str head = STR("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		   more = STR("GET / HTTP/1.1\r\nHost: x\r\n\r\nbody\r\n\r\n");
	struct http_head_scan s = {0, 0};
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t n = 1; n < head.n; n++)
		assert_int_equal(http_head_scan(&s, str_sub(head, 0, n), 1000, &err), 0);
	assert_int_equal(http_head_scan(&s, head, 1000, &err), 1);
	assert_int_equal(s.pos, head.n);
	s = (struct http_head_scan){0, 0};
	assert_int_equal(http_head_scan(&s, more, 1000, &err), 1);
	assert_int_equal(s.pos, head.n);
	/* The limit is the length of the whole head. */
	s = (struct http_head_scan){0, 0};
	assert_int_equal(http_head_scan(&s, head, head.n, &err), 1);
	s = (struct http_head_scan){0, 0};
	assert_int_equal(http_head_scan(&s, head, head.n - 1, &err), -1);
	assert_int_equal(err.code, ERR_HEAD_TOO_LARGE);
	/* What is wrong behind the limit would not have been seen, had the head come in pieces. */
	s = (struct http_head_scan){0, 0};
	assert_int_equal(http_head_scan(&s, STR("GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n"), 20, &err), -1);
	assert_int_equal(err.code, ERR_HEAD_TOO_LARGE);
	s = (struct http_head_scan){0, 0};
	assert_int_equal(http_head_scan(&s, STR("GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n"), 200, &err), -1);
	assert_int_equal(err.code, ERR_BAD_REQUEST);
}

static void test_parse(void **state)
{
	struct str head = STR("PATCH /a/b?c=d HTTP/1.1\r\nHost:x\r\nX-Y: \t a \tb\t \r\nEmpty:\r\n\r\n");
	struct error err = ERROR_INIT;
	struct http_head h;

	(void)state;
	assert_true(http_head_parse(head, &h, &err));
	assert_int_equal(h.method, HTTP_PATCH);
	assert_int_equal(h.minor, 1);
	assert_true(str_eqz(h.target, "/a/b?c=d"));
	assert_int_equal(h.field_count, 3);
	assert_true(str_eqz(h.fields[1].name, "X-Y"));
	assert_true(str_eqz(h.fields[1].value, "a \tb"));
	assert_int_equal(h.fields[2].value.n, 0);
	assert_ptr_equal(http_head_find(h.fields, h.field_count, "x-y"), &h.fields[1]);
	assert_null(http_head_find(h.fields, h.field_count, "x-"));
	/* Methods are case-sensitive; unknown ones are tokens all the same. */
	assert_true(http_head_parse(STR("get / HTTP/1.0\r\n\r\n"), &h, &err));
	assert_int_equal(h.method, HTTP_OTHER);
	assert_int_equal(h.minor, 0);
}

static void test_normalise(void **state)
{
	static const struct {
		const char *raw, *path;
	} cases[] = {
	    {"/", "/"},
	    {"/a", "/a"},
	    {"/a/", "/a"},
	    {"//a///b//", "/a/b"},
	    {"/a?x/..", "/a"},
	    {"/%61%2Fb", "/a/b"},
	    {"/api/v1/x", "/api/x"},
	    {"/api/v2/x/", "/api/x"},
	    {"/api/v1", "/api"},
	    {"/api/v3/x", "/api/v3/x"},
	    {"/api/v10/x", "/api/v10/x"},
	    {"/xapi/v1/x", "/xapi/v1/x"},
	    {"/api/debate", "/api/debate"},
	    {"/api/debate/", "/api/debate"},
	    {"/api/v1/debate/7/votes", "/api/debates/7/votes"},
	    {"/api/debate/7", "/api/debates/7"},
	    {"/api/debate-this", "/api/debate-this"},
	    {"http://h:1/p?q", "/p"},
	    {"http://h?q", "/"},
	    {"*", "/"},
	    {"/a.b/..c/.d", "/a.b/..c/.d"},
	    {"/%E4%B8%AD", "/\xe4\xb8\xad"},
	    {"/api/%76%31/x", "/api/x"},
	    {"/.", NULL},
	    {"/..", NULL},
	    {"/a/../b", NULL},
	    {"/a/%2e%2E", NULL},
	    {"/a/%2e/b", NULL},
	    {"/%00", NULL},
	    {"/%", NULL},
	    {"/%4", NULL},
	    {"/%zz", NULL},
	    {"/a%0ab", NULL},
	    {"/a%5cb", NULL},
	    {"/a%2f..", NULL},
	};
	struct arena *a = arena_new(0);

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct error err = ERROR_INIT;
		struct str out = STR_NONE;
		bool ok = route_normalise(str_of(cases[i].raw), a, &out, &err);

		if (ok != (cases[i].path != NULL) || (ok && !str_eqz(out, cases[i].path)))
			fail_msg("%s gives %.*s", cases[i].raw, STR_ARG(out));
		if (!ok)
			assert_int_equal(err.code, ERR_BAD_REQUEST);
	}
	arena_free(a);
}

static void test_query(void **state)
{
	struct http_request req = {.arena = arena_new(0),
				   .query =
				       STR("a=1&b=x%20y+z&&a=2&e=&f&%67=h&bad=%zz&n=-5&m=99999999999999999999&=v")};

	(void)state;
	assert_true(str_eqz(http_query(&req, "a"), "1"));
	assert_true(str_eqz(http_query(&req, "b"), "x y z"));
	assert_true(str_eqz(http_query(&req, "g"), "h"));
	assert_true(str_eqz(http_query(&req, "bad"), "%zz"));
	assert_non_null(http_query(&req, "e").p);
	assert_non_null(http_query(&req, "f").p);
	assert_null(http_query(&req, "x").p);
	assert_null(http_query(&req, "").p);
	assert_int_equal(http_query_int(&req, "a", 0, 10, 3), 1);
	assert_int_equal(http_query_int(&req, "n", 0, 10, 3), 0);
	assert_int_equal(http_query_int(&req, "m", 0, 10, 3), 10);
	assert_int_equal(http_query_int(&req, "b", 0, 10, 3), 3);
	assert_int_equal(http_query_int(&req, "e", 0, 10, 3), 3);
	assert_int_equal(http_query_int(&req, "x", 0, 10, 3), 3);
	assert_int_equal(http_query_int(&req, "a", 5, 10, 7), 5);
	arena_free(req.arena);
}

static void test_addresses(void **state)
{
	static char list0[] = "10.0.0.0/8", list1[] = "localhost", list2[] = "2001:db8::/33", list3[] = "nonsense";
	char *texts[] = {list0, list1, list2, list3};
	struct conf_list list = {texts, countof(texts)};
	static const struct {
		const char *text;
		bool in;
	} cases[] = {
	    {"10.255.0.1", true},       {"11.0.0.1", false},         {"127.0.0.1", true},       {"::1", true},
	    {"2001:db8:7fff::1", true}, {"2001:db8:8000::1", false}, {"::ffff:10.0.0.1", true}, {"10.0.0.1:80", true},
	    {"[::1]:80", true},
	};
	struct http_cidrs c;
	struct http_addr a;

	(void)state;
	http_cidrs_set(&c, &list);
	for (size_t i = 0; i < countof(cases); i++) {
		assert_true(http_addr_parse(str_of(cases[i].text), &a));
		if (http_cidrs_match(&c, &a) != cases[i].in)
			fail_msg("%s", cases[i].text);
	}
	assert_false(http_addr_parse(STR("unknown"), &a));
	assert_false(http_addr_parse(STR("1.2.3"), &a));
	assert_false(http_addr_parse(STR(""), &a));
	http_cidrs_free(&c);
}

static void test_forwarded(void **state)
{
	static char trusted[] = "10.0.0.0/8";
	char *texts[] = {trusted};
	static const struct {
		const char *first, *second, *client;
	} cases[] = {
	    {"1.1.1.1", NULL, "1.1.1.1"},
	    {"6.6.6.6, 1.1.1.1, 10.0.0.2", NULL, "1.1.1.1"},
	    {"6.6.6.6, 1.1.1.1", "10.0.0.3,10.0.0.2", "1.1.1.1"},
	    {"10.0.0.9", "10.0.0.3", "10.0.0.9"},
	    {"6.6.6.6, garbage, 10.0.0.2", NULL, "10.0.0.2"},
	    {"", NULL, "10.0.0.1"},
	};
	struct http_cidrs c;
	struct http_addr peer;

	(void)state;
	http_cidrs_set(&c, &(struct conf_list){texts, 1});
	assert_true(http_addr_parse(STR("10.0.0.1"), &peer));
	for (size_t i = 0; i < countof(cases); i++) {
		struct http_field f[2] = {{STR("X-Forwarded-For"), str_of(cases[i].first)},
					  {STR("x-forwarded-for"), str_of(cases[i].second)}};
		struct http_addr a = http_forwarded_for(&c, f, cases[i].second != NULL ? 2 : 1, peer);
		char text[HTTP_ADDR_TEXT];

		http_addr_text(&a, text);
		assert_string_equal(text, cases[i].client);
	}
	http_cidrs_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tokens),    cmocka_unit_test(test_scan_in_pieces), cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_normalise), cmocka_unit_test(test_query),          cmocka_unit_test(test_addresses),
	    cmocka_unit_test(test_forwarded),
	};

	return cmocka_run_group_tests_name("http_head", tests, NULL, NULL);
}
