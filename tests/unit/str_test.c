/* SPDX-License-Identifier: MIT */
/*
 * Tests of common/str.c and common/err.c: slices, numbers, UTF-8, growing buffers with a limit, error values.
 */
#include "common/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/err.h"

#define assert_str(s, z)                                                   \
	do {                                                               \
		struct str got_ = (s);                                     \
		assert_int_equal(got_.n, strlen(z));                       \
		assert_memory_equal(got_.n != 0 ? got_.p : "", z, got_.n); \
	} while (0)

static void test_compare(void **state)
{
	(void)state;
	assert_true(str_eq(STR_NONE, STR("")));
	assert_false(str_eq(STR("a"), STR("b")));
	assert_true(str_eqz(STR_NONE, NULL));
	assert_true(str_ieqz(STR("Content-LENGTH"), "content-length"));
	assert_false(str_ieqz(STR("["), "{"));
	assert_false(str_ieq(STR("ab"), STR("abc")));
	assert_true(str_starts(STR("/api/v1"), STR("/api")));
	assert_false(str_starts(STR("/ap"), STR("/api")));
	assert_true(str_istarts(STR("BEARER x"), STR("bearer ")));
	assert_true(str_ends(STR("a.json"), STR(".json")));
	assert_true(str_ends(STR("a"), STR_NONE));
}

static void test_search(void **state)
{
	(void)state;
	assert_int_equal(str_chr(STR("a,b"), ','), 1);
	assert_int_equal(str_chr(STR_NONE, ','), -1);
	assert_int_equal(str_find(STR("one two"), STR("two")), 4);
	assert_int_equal(str_find(STR("on"), STR("one")), -1);
	assert_int_equal(str_find(STR("x"), STR("")), 0);
	assert_int_equal(str_ifind(STR("keep-ALIVE"), STR("Alive")), 5);
	assert_int_equal(str_ifind(STR("keep-ALIV"), STR("Alive")), -1);
}

static void test_slices(void **state)
{
	struct str rest = STR("a,,c,"), token;

	(void)state;
	assert_str(str_trim(STR(" \t x y\r\n")), "x y");
	assert_str(str_trim(STR(" \t ")), "");
	assert_str(str_sub(STR("hello"), 1, 3), "el");
	assert_str(str_sub(STR("hello"), 4, 99), "o");
	assert_str(str_sub(STR("hello"), 9, 3), "");
	assert_true(str_split(&rest, ',', &token));
	assert_str(token, "a");
	assert_true(str_split(&rest, ',', &token));
	assert_str(token, "");
	assert_true(str_split(&rest, ',', &token));
	assert_str(token, "c");
	assert_true(str_split(&rest, ',', &token));
	assert_str(token, "");
	assert_false(str_split(&rest, ',', &token));
}

static void test_numbers(void **state)
{
	uint64_t u = 7;
	int64_t i = 7;
	bool b = false;

	(void)state;
	assert_true(str_to_u64(STR("18446744073709551615"), UINT64_MAX, &u));
	assert_true(u == UINT64_MAX);
	assert_false(str_to_u64(STR("18446744073709551616"), UINT64_MAX, &u));
	assert_false(str_to_u64(STR("99999999999999999999999"), UINT64_MAX, &u));
	assert_false(str_to_u64(STR("101"), 100, &u));
	assert_false(str_to_u64(STR(""), 100, &u));
	assert_false(str_to_u64(STR("+5"), 100, &u));
	assert_false(str_to_u64(STR("5 "), 100, &u));
	assert_true(u == UINT64_MAX);
	assert_true(str_to_i64(STR("-9223372036854775808"), INT64_MIN, INT64_MAX, &i));
	assert_true(i == INT64_MIN);
	assert_false(str_to_i64(STR("9223372036854775808"), INT64_MIN, INT64_MAX, &i));
	assert_false(str_to_i64(STR("-9223372036854775809"), INT64_MIN, INT64_MAX, &i));
	assert_false(str_to_i64(STR("-"), INT64_MIN, INT64_MAX, &i));
	assert_false(str_to_i64(STR("-1"), 0, 10, &i));
	assert_true(str_to_bool(STR("YES"), &b) && b);
	assert_true(str_to_bool(STR("off"), &b) && !b);
	assert_false(str_to_bool(STR("maybe"), &b));
}

static void test_utf8(void **state)
{
	static const char *const bad[] = {
	    "\x80",
	    "\xc0\xaf",
	    "\xc1\xbf",
	    "\xe0\x9f\xbf",
	    "\xed\xa0\x80",
	    "\xf0\x8f\xbf\xbf",
	    "\xf4\x90\x80\x80",
	    "\xf5\x80\x80\x80",
	    "\xe2\x82",
	    "a\xff",
	    "\xc3\x28",
	};
	static const char *const good[] = {"", "abc", "\xc3\xa9", "\xe2\x82\xac", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"};

	(void)state;
	for (size_t i = 0; i < countof(bad); i++)
		assert_false(str_utf8_valid(str_of(bad[i])));
	for (size_t i = 0; i < countof(good); i++)
		assert_true(str_utf8_valid(str_of(good[i])));
	assert_str(str_utf8_cut(STR("a\xe2\x82\xac"), 3), "a");
	assert_str(str_utf8_cut(STR("a\xe2\x82\xac"), 2), "a");
	assert_str(str_utf8_cut(STR("a\xe2\x82\xac"), 1), "a");
	assert_str(str_utf8_cut(STR("a\xe2\x82\xac"), 0), "");
	assert_str(str_utf8_cut(STR("a\xe2\x82\xac"), 4), "a\xe2\x82\xac");
	assert_str(str_utf8_cut(STR("\xf0\x9f\x98\x80"), 3), "");
}

static void test_distance(void **state)
{
	(void)state;
	assert_int_equal(str_distance(STR("kitten"), STR("sitting")), 3);
	assert_int_equal(str_distance(STR(""), STR("abc")), 3);
	assert_int_equal(str_distance(STR("workers"), STR("workers")), 0);
	assert_int_equal(str_distance(STR("wokers"), STR("workers")), 1);
}

static void test_buf(void **state)
{
	struct buf b = BUF_INIT;
	char *p;

	(void)state;
	assert_str(buf_str(&b), "");
	buf_printf(&b, "%d-%s", 42, "x");
	buf_addc(&b, '!');
	buf_addz(&b, "z");
	assert_str(buf_str(&b), "42-x!z");
	assert_int_equal(b.p[b.n], '\0');
	for (int i = 0; i < 1000; i++)
		buf_printf(&b, "%04d", i);
	assert_int_equal(b.n, 6 + 4000);
	assert_memory_equal(b.p + 6 + 4 * 999, "0999", 4);
	buf_consume(&b, 6);
	assert_memory_equal(b.p, "0000", 4);
	buf_clear(&b);
	p = buf_reserve(&b, 3);
	memcpy(p, "abc", 3);
	buf_commit(&b, 2);
	assert_str(buf_str(&b), "ab");
	assert_int_equal(b.p[2], '\0');
	buf_free(&b);
	assert_null(b.p);
}

static void test_buf_limit(void **state)
{
	struct buf b = BUF_LIMIT(8);

	(void)state;
	buf_add(&b, STR("12345678"));
	assert_false(b.overflow);
	buf_addc(&b, '9');
	assert_true(b.overflow);
	assert_str(buf_str(&b), "12345678");
	buf_clear(&b);
	assert_false(b.overflow);
	buf_addz(&b, "12");
	buf_printf(&b, "%s", "1234567");
	assert_true(b.overflow);
	assert_str(buf_str(&b), "12");
	assert_int_equal(b.p[2], '\0');
	/* After an overflow nothing fits any more, however small. */
	buf_addc(&b, '3');
	assert_null(buf_reserve(&b, 1));
	assert_str(buf_str(&b), "12");
	buf_free(&b);
}

static void test_error(void **state)
{
	struct error e = ERROR_INIT;
	char longer[600];

	(void)state;
	assert_false(error_set(&e, ERR_NOT_FOUND, "no debate %d", 5));
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_string_equal(e.msg, "no debate 5");
	/* An error may be wrapped in itself. */
	assert_false(error_field(&e, ERR_INVALID_VALUE, "rounds", "rounds: %s", e.msg));
	assert_string_equal(e.msg, "rounds: no debate 5");
	assert_string_equal(e.field, "rounds");
	assert_false(error_set(NULL, ERR_INTERNAL, "nobody listens"));
	memset(longer, 'x', sizeof(longer));
	longer[254] = '\xc3';
	longer[255] = '\xa9';
	longer[sizeof(longer) - 1] = '\0';
	error_set(&e, ERR_INTERNAL, "%s", longer);
	assert_true(str_utf8_valid(str_of(e.msg)));
	assert_int_equal(strlen(e.msg), 254);
	assert_int_equal(err_status(ERR_TOO_LARGE), 413);
	assert_string_equal(err_wire(ERR_TOO_LARGE), "PAYLOAD_TOO_LARGE");
	for (int code = 0; code < ERR_MAX; code++) {
		assert_true(err_status((enum err)code) >= 200);
		assert_non_null(err_wire((enum err)code));
	}
}

static void test_hex_digits(void **state)
{
	static const char digits[] = "0123456789abcdef", upper[] = "0123456789ABCDEF";
	const char *at;
	int c;

	(void)state;
	for (c = 1; c < 256; c++) {
		at = strchr(digits, c);
		assert_int_equal(str_hex_digit((char)c), at != NULL                 ? at - digits
							 : strchr(upper, c) != NULL ? strchr(upper, c) - upper
										    : -1);
	}
	assert_int_equal(str_hex_digit('\0'), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hex_digits), cmocka_unit_test(test_compare), cmocka_unit_test(test_search),
	    cmocka_unit_test(test_slices),     cmocka_unit_test(test_numbers), cmocka_unit_test(test_utf8),
	    cmocka_unit_test(test_distance),   cmocka_unit_test(test_buf),     cmocka_unit_test(test_buf_limit),
	    cmocka_unit_test(test_error),
	};

	return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
