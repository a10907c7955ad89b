/* SPDX-License-Identifier: MIT */
/* Tests of what header fields mean: weights, dates, entity tags, the order of preconditions, ranges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/http/http_semantics.h"

#define ALL (1u << CODING_IDENTITY | 1u << CODING_GZIP | 1u << CODING_BR)
#define NO_BR (1u << CODING_IDENTITY | 1u << CODING_GZIP)

static void test_codings(void **state)
{
	static const struct {
		const char *accept;
		unsigned have;
		enum http_coding want;
	} rows[] = {
	    {NULL, ALL, CODING_IDENTITY},
	    {"", ALL, CODING_IDENTITY},
	    {"gzip", ALL, CODING_GZIP},
	    {"GZIP", ALL, CODING_GZIP},
	    {"x-gzip", ALL, CODING_GZIP},
	    {"gzip, deflate, br", ALL, CODING_BR},
	    {"gzip, deflate, br", NO_BR, CODING_GZIP},
	    {"gzip, br;q=0.9", ALL, CODING_GZIP},
	    {"br ; q=0.001 ,gzip; q=0", ALL, CODING_BR},
	    {"gzip;q=0", ALL, CODING_IDENTITY},
	    {"gzip;q=0.000", ALL, CODING_IDENTITY},
	    {"gzip;q=0.5, identity;q=0.8", ALL, CODING_IDENTITY},
	    {"gzip;q=0.5, identity;q=0.5", ALL, CODING_GZIP},
	    {"identity", ALL, CODING_IDENTITY},
	    {"*", ALL, CODING_BR},
	    {"*;q=0", ALL, CODING_IDENTITY},
	    {"identity;q=0", ALL, CODING_IDENTITY},
	    {"identity;q=0, *;q=0.1", NO_BR, CODING_GZIP},
	    {"br;q=0, *", ALL, CODING_GZIP},
	    {"deflate", ALL, CODING_IDENTITY},
	    {"gzip;q=2", ALL, CODING_IDENTITY},
	    {"gzip;q=1.001", ALL, CODING_IDENTITY},
	    {"gzip;q=0.1234", ALL, CODING_IDENTITY},
	    {"gzip;q=", ALL, CODING_IDENTITY},
	    {"gzip;q=x", ALL, CODING_IDENTITY},
	    {",, ,gzip", ALL, CODING_GZIP},
	    {"gzipped", ALL, CODING_IDENTITY},
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		if (http_coding_choose(str_of(rows[i].accept), rows[i].have) != rows[i].want)
			fail_msg("row %zu: \"%s\"", i, rows[i].accept);
}

static void test_accept(void **state)
{
	(void)state;
	assert_true(http_accepts(STR_NONE, STR("text/html")));
	assert_true(http_accepts(STR("*/*"), STR("text/html")));
	assert_true(http_accepts(STR("text/html,application/xhtml+xml,*/*;q=0.8"), STR("text/html")));
	assert_true(http_accepts(STR("application/json, text/*;q=0.1"), STR("text/html")));
	assert_false(http_accepts(STR("application/json"), STR("text/html")));
	assert_false(http_accepts(STR("text/html;q=0, */*"), STR("text/html")));
	assert_false(http_accepts(STR("text/*;q=0, */*"), STR("text/html")));
	assert_false(http_accepts(STR("image/*"), STR("text/html")));
}

static void test_dates(void **state)
{
	char text[HTTP_DATE_MAX];
	int64_t t;

	(void)state;
	/* The three spellings of RFC 9110 5.6.7. */
	assert_true(http_date_parse(STR("Sun, 06 Nov 1994 08:49:37 GMT"), &t) && t == 784111777);
	assert_true(http_date_parse(STR("Sunday, 06-Nov-94 08:49:37 GMT"), &t) && t == 784111777);
	assert_true(http_date_parse(STR("Sun Nov  6 08:49:37 1994"), &t) && t == 784111777);
	assert_false(http_date_parse(STR("Sun, 06 Nov 1994 08:49:37 GMT and more"), &t));
	assert_false(http_date_parse(STR("yesterday"), &t));
	assert_false(http_date_parse(STR(""), &t));
	assert_false(http_date_parse(STR("Sun, 06 Nov 1994 08:49:37 CET"), &t));
	http_date_format(text, 784111777);
	assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
	http_date_format(text, INT64_MAX);
	assert_string_equal(text, "");
}

static void test_etags(void **state)
{
	(void)state;
	/* The table of RFC 9110 8.8.3.2. */
	assert_false(http_etag_listed(STR("W/\"1\""), STR("W/\"1\""), true));
	assert_true(http_etag_listed(STR("W/\"1\""), STR("W/\"1\""), false));
	assert_false(http_etag_listed(STR("W/\"1\""), STR("W/\"2\""), false));
	assert_false(http_etag_listed(STR("W/\"1\""), STR("\"1\""), true));
	assert_true(http_etag_listed(STR("W/\"1\""), STR("\"1\""), false));
	assert_true(http_etag_listed(STR("\"1\""), STR("\"1\""), true));
	assert_true(http_etag_listed(STR("*"), STR("\"1\""), true));
	assert_true(http_etag_listed(STR("\"a,b\" , W/\"c\",\"1\""), STR("\"1\""), true));
	assert_true(http_etag_listed(STR("\"a,b\""), STR("\"a,b\""), true));
	assert_false(http_etag_listed(STR("\"a,\"1\",b\""), STR("\",b\""), true));
	assert_false(http_etag_listed(STR("1"), STR("\"1\""), false));
	assert_false(http_etag_listed(STR("\"1"), STR("\"1\""), false));
	assert_false(http_etag_listed(STR("\"x\""), STR_NONE, false));
}

static struct http_field fields[8];

/* A GET with pairs of names and values, ended by NULL. */
static struct http_request *request(const char *first, ...)
{
	static struct http_request req;
	const char *name = first;
	va_list ap;

	arena_free(req.arena);
	req = (struct http_request){.arena = arena_new(0), .fields = fields};
	va_start(ap, first);
	for (; name != NULL; name = va_arg(ap, const char *)) {
		fields[req.field_count].name = str_of(name);
		fields[req.field_count++].value = str_of(va_arg(ap, const char *));
	}
	va_end(ap);
	return &req;
}

#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define AT "Sun, 06 Nov 1994 08:49:37 GMT"
#define NOW 784111777
static const struct http_validators validators = {STR("\"x\""), NOW};

static void test_preconditions(void **state)
{
	static const struct {
		const char *fields[8];
		enum http_condition want;
	} rows[] = {
	    {{NULL}, CONDITION_NONE},
	    {{"If-Match", "\"x\""}, CONDITION_NONE},
	    {{"If-Match", "*"}, CONDITION_NONE},
	    {{"If-Match", "W/\"x\""}, CONDITION_FAILED},
	    {{"If-Match", "\"y\""}, CONDITION_FAILED},
	    {{"If-Match", "\"x\"", "If-Unmodified-Since", BEFORE}, CONDITION_NONE}, /* the latter is ignored */
	    {{"If-Unmodified-Since", BEFORE}, CONDITION_FAILED},
	    {{"If-Unmodified-Since", AT}, CONDITION_NONE},
	    {{"If-Unmodified-Since", "soon"}, CONDITION_NONE},
	    {{"If-None-Match", "\"x\""}, CONDITION_NOT_MODIFIED},
	    {{"If-None-Match", "W/\"x\""}, CONDITION_NOT_MODIFIED},
	    {{"If-None-Match", "\"a\", \"x\""}, CONDITION_NOT_MODIFIED},
	    {{"If-None-Match", "\"a\"", "If-None-Match", "\"x\""}, CONDITION_NOT_MODIFIED},
	    {{"If-None-Match", "\"y\"", "If-Modified-Since", AT}, CONDITION_NONE}, /* the latter is ignored */
	    {{"If-Modified-Since", AT}, CONDITION_NOT_MODIFIED},
	    {{"If-Modified-Since", BEFORE}, CONDITION_NONE},
	    {{"If-Modified-Since", "soon"}, CONDITION_NONE},
	    {{"If-Match", "\"y\"", "If-None-Match", "\"x\""}, CONDITION_FAILED},
	    {{"If-Match", "\"x\"", "If-None-Match", "\"x\""}, CONDITION_NOT_MODIFIED},
	    {{"If-Unmodified-Since", AT, "If-Modified-Since", AT}, CONDITION_NOT_MODIFIED},
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		const char *const *f = rows[i].fields;
		struct http_request *req = request(f[0], f[1], f[2], f[3], f[4], NULL);

		if (http_condition(req, &validators) != rows[i].want)
			fail_msg("row %zu", i);
	}
	assert_int_equal(
	    http_condition(request("If-Modified-Since", AT, NULL), &(struct http_validators){STR("\"x\""), -1}),
	    CONDITION_NONE);
}

static void test_ranges(void **state)
{
	static const struct {
		const char *range, *if_range;
		uint64_t size;
		enum http_range want;
		uint64_t from, length;
	} rows[] = {
	    {"bytes=0-499", NULL, 10000, RANGE_PART, 0, 500}, /* the examples of RFC 9110 14.1.2 */
	    {"bytes=500-999", NULL, 10000, RANGE_PART, 500, 500},
	    {"bytes=-500", NULL, 10000, RANGE_PART, 9500, 500},
	    {"bytes=9500-", NULL, 10000, RANGE_PART, 9500, 500},
	    {"BYTES=0-0", NULL, 10, RANGE_PART, 0, 1},
	    {"bytes=0-99999999999999999999999999", NULL, 10, RANGE_PART, 0, 10},
	    {"bytes=-99999999999999999999999999", NULL, 10, RANGE_PART, 0, 10},
	    {"bytes=9-9", NULL, 10, RANGE_PART, 9, 1},
	    {"bytes=10-", NULL, 10, RANGE_OUTSIDE, 0, 0},
	    {"bytes=99999999999999999999999999-", NULL, 10, RANGE_OUTSIDE, 0, 0},
	    {"bytes=-0", NULL, 10, RANGE_OUTSIDE, 0, 0},
	    {"bytes=0-", NULL, 0, RANGE_OUTSIDE, 0, 0},
	    {"bytes=-5", NULL, 0, RANGE_OUTSIDE, 0, 0},
	    {"bytes=5-2", NULL, 10, RANGE_ALL, 0, 0},
	    {"bytes=0-0,2-2", NULL, 10, RANGE_ALL, 0, 0},
	    {"bytes=-", NULL, 10, RANGE_ALL, 0, 0},
	    {"bytes=", NULL, 10, RANGE_ALL, 0, 0},
	    {"bytes=a-b", NULL, 10, RANGE_ALL, 0, 0},
	    {"bytes=+1-2", NULL, 10, RANGE_ALL, 0, 0},
	    {"lines=0-1", NULL, 10, RANGE_ALL, 0, 0},
	    {"bytes=1-2", "\"x\"", 10, RANGE_PART, 1, 2},
	    {"bytes=1-2", "W/\"x\"", 10, RANGE_ALL, 0, 0},
	    {"bytes=1-2", "\"y\"", 10, RANGE_ALL, 0, 0},
	    {"bytes=1-2", AT, 10, RANGE_PART, 1, 2},
	    {"bytes=1-2", BEFORE, 10, RANGE_ALL, 0, 0},
	};
	struct http_validators weak = {STR("W/\"x\""), NOW};
	uint64_t from = 0, length = 0;
	struct http_request *head;

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		struct http_request *req = request("Range", rows[i].range, rows[i].if_range != NULL ? "If-Range" : NULL,
						   rows[i].if_range, NULL);

		if (http_range(req, &validators, rows[i].size, &from, &length) != rows[i].want)
			fail_msg("row %zu: %s", i, rows[i].range);
		if (rows[i].want == RANGE_PART && (from != rows[i].from || length != rows[i].length))
			fail_msg("row %zu: %s: %ju bytes from %ju", i, rows[i].range, (uintmax_t)length,
				 (uintmax_t)from);
	}
	assert_int_equal(http_range(request("Range", "bytes=1-2", "If-Range", AT, NULL), &weak, 10, &from, &length),
			 RANGE_ALL);
	head = request("Range", "bytes=1-2", NULL);
	head->head = true;
	assert_int_equal(http_range(head, &validators, 10, &from, &length), RANGE_ALL);
}

static int free_last(void **state)
{
	(void)state;
	arena_free(request(NULL)->arena);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_codings), cmocka_unit_test(test_accept),        cmocka_unit_test(test_dates),
	    cmocka_unit_test(test_etags),   cmocka_unit_test(test_preconditions), cmocka_unit_test(test_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, free_last);
}
