/* SPDX-License-Identifier: MIT */
/*
 * One-time passwords against the vectors of RFC 4226, RFC 6238 and RFC 4648, and the windows around them.
 */
#include "worker/identity/otp.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct str secret = {"12345678901234567890", 20};

static void hotp_of_the_rfc(void **state)
{
	/* RFC 4226 appendix D. */
	static const char *const want[] = {"755224", "287082", "359152", "969429", "338314",
					   "254676", "287922", "162583", "399871", "520489"};
	char got[9];
	size_t i;

	(void)state;
	for (i = 0; i < countof(want); i++) {
		otp_code(secret, i, 6, got);
		assert_string_equal(got, want[i]);
	}
}

static void totp_of_the_rfc(void **state)
{
	/* RFC 6238 appendix B, SHA-1. */
	static const struct {
		uint64_t at;
		const char *want;
	} t[] = {{59, "94287082"},         {1111111109, "07081804"}, {1111111111, "14050471"},
		 {1234567890, "89005924"}, {2000000000, "69279037"}, {20000000000, "65353130"}};
	char got[9];
	size_t i;

	(void)state;
	for (i = 0; i < countof(t); i++) {
		otp_code(secret, t[i].at / OTP_STEP, 8, got);
		assert_string_equal(got, t[i].want);
	}
}

static void one_step_to_either_side_and_never_twice(void **state)
{
	int64_t step = -1, now = 1234567890;
	char code[9];

	(void)state;
	otp_code(secret, (uint64_t)(now / OTP_STEP), 6, code);
	assert_true(totp_check(secret, now, str_of(code), -1, &step));
	assert_int_equal(step, now / OTP_STEP);
	assert_true(totp_check(secret, now + OTP_STEP, str_of(code), -1, &step));
	assert_true(totp_check(secret, now - OTP_STEP, str_of(code), -1, &step));
	assert_false(totp_check(secret, now + 2 * OTP_STEP, str_of(code), -1, &step));
	assert_false(totp_check(secret, now - 2 * OTP_STEP, str_of(code), -1, &step));
	/* Used, or older than what was used. */
	assert_false(totp_check(secret, now, str_of(code), step, &step));
	assert_false(totp_check(secret, now, str_of(code), step + 1, &step));
	assert_true(totp_check(secret, now, str_of(code), step - 1, &step));
	assert_false(totp_check(secret, now, STR(""), -1, &step));
	assert_false(totp_check(secret, now, STR("00591"), -1, &step));
}

static void counters_look_ahead(void **state)
{
	char first[9], second[9];
	uint64_t next = 0;

	(void)state;
	otp_code(secret, 14, 6, first);
	assert_true(hotp_check(secret, 5, str_of(first), &next));
	assert_int_equal(next, 15);
	assert_false(hotp_check(secret, 15, str_of(first), &next));
	assert_false(hotp_check(secret, 4, str_of(first), &next));
	otp_code(secret, 49, 6, first);
	otp_code(secret, 50, 6, second);
	assert_true(hotp_resync(secret, 0, str_of(first), str_of(second), &next));
	assert_int_equal(next, 51);
	assert_false(hotp_resync(secret, 0, str_of(second), str_of(first), &next));
	assert_false(hotp_resync(secret, 50, str_of(first), str_of(second), &next));
}

static void base32_of_the_rfc(void **state)
{
	static const char *const t[][2] = {{"", ""},
					   {"f", "MY"},
					   {"fo", "MZXQ"},
					   {"foo", "MZXW6"},
					   {"foob", "MZXW6YQ"},
					   {"fooba", "MZXW6YTB"},
					   {"foobar", "MZXW6YTBOI"}};
	struct arena *a = arena_new(0);
	size_t i;

	(void)state;
	for (i = 0; i < countof(t); i++)
		assert_string_equal(base32_encode(a, str_of(t[i][0])).p, t[i][1]);
	arena_free(a);
}

static void uris_for_apps(void **state)
{
	struct arena *a = arena_new(0);

	(void)state;
	assert_string_equal(otp_uri(a, STR("Aragora"), STR("a+b@x.org"), STR("foobar"), -1).p,
			    "otpauth://totp/Aragora:a%2Bb@x.org?secret=MZXW6YTBOI&issuer=Aragora&algorithm=SHA1"
			    "&digits=6&period=30");
	assert_non_null(strstr(otp_uri(a, STR("A B"), STR("c"), STR("foobar"), 7).p, "otpauth://hotp/A%20B:c?"));
	assert_non_null(strstr(otp_uri(a, STR("A"), STR("c"), STR("foobar"), 7).p, "&counter=7"));
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(hotp_of_the_rfc),
	    cmocka_unit_test(totp_of_the_rfc),
	    cmocka_unit_test(one_step_to_either_side_and_never_twice),
	    cmocka_unit_test(counters_look_ahead),
	    cmocka_unit_test(base32_of_the_rfc),
	    cmocka_unit_test(uris_for_apps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
