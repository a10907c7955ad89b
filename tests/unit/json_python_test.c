/* SPDX-License-Identifier: MIT */
/*
 * JSON in Python's spelling: each expectation was printed by json.dumps of Python 3.11. Built and run by `make unit`.
 */
#include "common/json.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct {
	const char *in, *out;
} texts[] = {
    {"{}", "{}"},
    {"[]", "[]"},
    {"{\"b\":1,\"a\":[1,2,{\"c\":null}],\"t\":true,\"f\":false}",
     "{\"b\": 1, \"a\": [1, 2, {\"c\": null}], \"t\": true, \"f\": false}"},
    {"[\"a\\\"b\\\\c\\/d\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\"]",
     "[\"a\\\"b\\\\c/d\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\"]"},
    {"[\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"]", "[\"\\u00e4\\u20ac\\ud83d\\ude00\"]"},
    {"{\"\xc3\xa4\":\"~ \"}", "{\"\\u00e4\": \"~ \"}"},
    {"[0,-1,9223372036854775807,-9223372036854775808]", "[0, -1, 9223372036854775807, -9223372036854775808]"},
};

static const struct {
	double v;
	const char *text;
} reals[] = {
    {0.0, "0.0"},
    {-0.0, "-0.0"},
    {1.0, "1.0"},
    {-1.5, "-1.5"},
    {0.85, "0.85"},
    {0.1, "0.1"},
    {1.0 / 3.0, "0.3333333333333333"},
    {0.30000000000000004, "0.30000000000000004"},
    {100.0, "100.0"},
    {123456.789, "123456.789"},
    {0.001, "0.001"},
    {0.0001, "0.0001"},
    {0.00001, "1e-05"},
    {1.25e-7, "1.25e-07"},
    {1e15, "1000000000000000.0"},
    {1234567890123456.7, "1234567890123456.8"},
    {1e16, "1e+16"},
    {1.5e300, "1.5e+300"},
    {5e-324, "5e-324"},
    {1.7976931348623157e308, "1.7976931348623157e+308"},
};

static void test_texts(void **state)
{
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < countof(texts); i++) {
		const json_t *j = json_parse(a, str_of(texts[i].in), &err);
		struct str out;

		assert_non_null(j);
		out = json_python(a, j);
		if (!str_eqz(out, texts[i].out))
			fail_msg("%s: %.*s", texts[i].out, STR_ARG(out));
	}
	arena_free(a);
}

static void test_reals(void **state)
{
	struct arena *a = arena_new(0);

	(void)state;
	for (size_t i = 0; i < countof(reals); i++) {
		json_t *j = json_real(reals[i].v);
		struct str out = json_python(a, j);

		if (!str_eqz(out, reals[i].text))
			fail_msg("%s: %.*s", reals[i].text, STR_ARG(out));
		json_decref(j);
	}
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_texts), cmocka_unit_test(test_reals)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
