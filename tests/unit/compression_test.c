/* SPDX-License-Identifier: MIT */
/* Tests of what happens to answers on their way: compression and its exceptions, entity tags, both together. */
#include "http_harness.h"

#include <zlib.h>

static char text[5000];

static void on_text(struct http_request *req)
{
	http_reply(req, 200, "text/plain; charset=utf-8", (struct str){text, sizeof(text)});
}

static void on_short(struct http_request *req)
{
	http_reply(req, 200, "text/plain", (struct str){text, 1023});
}

static void on_image(struct http_request *req)
{
	http_reply(req, 200, "image/png", (struct str){text, sizeof(text)});
}

static void on_cookie(struct http_request *req)
{
	http_reply_value(req, "Set-Cookie", STR("a=b"));
	on_text(req);
}

static void on_no_store(struct http_request *req)
{
	http_reply_value(req, "Cache-Control", STR("private, no-store"));
	on_text(req);
}

#define ROW(p, h, f)                                                                                        \
	{                                                                                                   \
		.method = HTTP_GET, .path = (p), .handler = (h), .flags = ROUTE_PUBLIC | ROUTE_INLINE | (f) \
	}
static const struct route rows[] = {
    ROW("/text", on_text, 0),         ROW("/short", on_short, 0),
    ROW("/image", on_image, 0),       ROW("/cookie", on_cookie, 0),
    ROW("/no-store", on_no_store, 0), ROW("/secret", on_text, ROUTE_SECRET),
    ROW("/tag", on_text, ROUTE_ETAG), ROW("/short-tag", on_short, ROUTE_ETAG),
};
static const struct route_table table = {rows, countof(rows)};

static struct harness *new_harness(const char *enabled)
{
	const struct conf_override o[] = {{"compression.enabled", enabled}};
	struct harness *h;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 7);
	h = harness_new(o, countof(o), &table);
	harness_connect(h);
	return h;
}

static struct answer ask(struct harness *h, const char *path, const char *fields)
{
	char request[512];

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, fields);
	harness_sendz(h, request);
	return harness_answer(h);
}

static void assert_unpacks(struct str body)
{
	unsigned char out[sizeof(text) + 1];
	z_stream z = {.next_in = (unsigned char *)(uintptr_t)body.p,
		      .avail_in = (unsigned)body.n,
		      .next_out = out,
		      .avail_out = sizeof(out)};

	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.total_out, sizeof(text));
	assert_memory_equal(out, text, sizeof(text));
	inflateEnd(&z);
}

static void test_compresses(void **state)
{
	struct harness *h = new_harness("true");
	struct answer a;

	(void)state;
	for (int i = 0; i < 3; i++) {
		a = ask(h, "/text", "Accept-Encoding: gzip\r\n");
		assert_int_equal(a.status, 200);
		assert_true(answer_has(&a, "\r\nContent-Encoding: gzip\r\n"));
		assert_true(answer_has(&a, "\r\nVary: Accept-Encoding\r\n"));
		assert_unpacks(a.body);
	}
	a = ask(h, "/text", "Accept-Encoding: gzip, br\r\n");
	assert_true(answer_has(&a, "\r\nContent-Encoding: br\r\n"));
	assert_true(a.body.n < 200);
	/* Not asked for: as it is, and caches are told that it depends. */
	a = ask(h, "/text", "");
	assert_false(answer_has(&a, "Content-Encoding"));
	assert_true(answer_has(&a, "\r\nVary: Accept-Encoding\r\n"));
	assert_int_equal(a.body.n, sizeof(text));
	harness_free(h);
}

static void test_exceptions(void **state)
{
	static const char *const paths[] = {"/short", "/image", "/cookie", "/no-store", "/secret"};
	struct harness *h = new_harness("true");

	(void)state;
	for (size_t i = 0; i < countof(paths); i++) {
		struct answer a = ask(h, paths[i], "Accept-Encoding: gzip, br\r\n");

		assert_int_equal(a.status, 200);
		if (answer_has(&a, "Content-Encoding") || answer_has(&a, "Vary: Accept-Encoding"))
			fail_msg("%s is compressed", paths[i]);
	}
	harness_free(h);
}

static void test_off(void **state)
{
	struct harness *h = new_harness("auto"); /* in development */
	struct answer a = ask(h, "/text", "Accept-Encoding: gzip\r\n");

	(void)state;
	assert_false(answer_has(&a, "Content-Encoding"));
	assert_false(answer_has(&a, "Vary: Accept-Encoding"));
	harness_free(h);
}

/* The value of ETag, in memory of its own. */
static const char *tag_of(const struct answer *a)
{
	static char tag[64];
	ptrdiff_t at = str_find(a->head, STR("\r\nETag: "));
	struct str rest;

	assert_true(at >= 0);
	rest = str_sub(a->head, (size_t)at + 8, a->head.n);
	snprintf(tag, sizeof(tag), "%.*s", (int)str_find(rest, STR("\r\n")), rest.p);
	return tag;
}

static void test_entity_tags(void **state)
{
	struct harness *h = new_harness("true");
	struct answer a = ask(h, "/tag", "");
	char strong[64], weak[70], field[128];

	(void)state;
	snprintf(strong, sizeof(strong), "%s", tag_of(&a));
	assert_int_equal(strong[0], '"');
	snprintf(weak, sizeof(weak), "W/%s", strong);
	a = ask(h, "/tag", "Accept-Encoding: gzip\r\n");
	assert_string_equal(tag_of(&a), weak);
	assert_unpacks(a.body);
	snprintf(field, sizeof(field), "If-None-Match: %s\r\n", weak);
	a = ask(h, "/tag", field);
	assert_int_equal(a.status, 304);
	assert_string_equal(tag_of(&a), strong);
	snprintf(field, sizeof(field), "Accept-Encoding: br\r\nIf-None-Match: \"x\", %s\r\n", strong);
	a = ask(h, "/tag", field);
	assert_int_equal(a.status, 304);
	assert_string_equal(tag_of(&a), weak);
	assert_true(answer_has(&a, "\r\nVary: Accept-Encoding\r\n"));
	assert_false(answer_has(&a, "Content-Encoding"));
	a = ask(h, "/tag", "If-None-Match: \"x\"\r\n");
	assert_int_equal(a.status, 200);
	a = ask(h, "/tag", "If-Match: \"x\"\r\n");
	assert_int_equal(a.status, 412);
	assert_int_equal(a.body.n, 0);
	a = ask(h, "/short-tag", "If-None-Match: *\r\n");
	assert_int_equal(a.status, 304);
	assert_false(answer_has(&a, "Vary: Accept-Encoding"));
	a = ask(h, "/text", "If-None-Match: *\r\n");
	assert_int_equal(a.status, 200);
	assert_false(answer_has(&a, "ETag"));
	harness_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_compresses),
	    cmocka_unit_test(test_exceptions),
	    cmocka_unit_test(test_off),
	    cmocka_unit_test(test_entity_tags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
