/* SPDX-License-Identifier: MIT */
/*
 * Tests of common/clock.c: calendar, durations in and out.
 */
#include "common/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

static void test_iso(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} cases[] = {
	    {0, "1970-01-01T00:00:00.000Z"},
	    {1767528000123, "2026-01-04T12:00:00.123Z"},
	    {-1, "1969-12-31T23:59:59.999Z"},
	    {951782400000, "2000-02-29T00:00:00.000Z"},
	    {4107542400000, "2100-03-01T00:00:00.000Z"},
	    {253402300799999, "9999-12-31T23:59:59.999Z"},
	    {INT64_MAX, "9999-12-31T23:59:59.999Z"},
	    {INT64_MIN, "0000-01-01T00:00:00.000Z"},
	};
	char out[CLOCK_ISO_MAX];

	(void)state;
	for (size_t i = 0; i < countof(cases); i++)
		assert_string_equal(clock_iso(out, cases[i].ms), cases[i].text);
}

/* Every day of eight centuries against the C library's calendar. */
static void test_iso_calendar(void **state)
{
	char out[CLOCK_ISO_MAX], want[64];

	(void)state;
	for (int64_t day = -100000; day < 200000; day++) {
		time_t t = (time_t)(day * 86400);
		struct tm tm;

		assert_non_null(gmtime_r(&t, &tm));
		assert_true(strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.000Z", &tm) != 0);
		assert_string_equal(clock_iso(out, day * 86400000), want);
	}
}

static void test_parse(void **state)
{
	static const struct {
		const char *text;
		int64_t us;
	} good[] = {
	    {"250ms", 250000},    {"5s", 5000000},  {"15m", 900000000}, {"2h", 7200000000},
	    {"1d", 86400000000},  {"2.5", 2500000}, {"0", 0},           {" 3 ", 3000000},
	    {"1.5h", 5400000000}, {"0.001ms", 1},   {"0.000001s", 1},   {"106751991d", INT64_C(9223372022400000000)},
	};
	static const char *const bad[] = {
	    "",     "s",   "-1",         "-5s",        "+5",
	    "5 s",  "5x",  "1.",         ".5",         "1.2.3",
	    "1e3",  "ms",  "106751992d", "0.0000001s", "99999999999999999999s",
	    "5mss", "nan",
	};
	int64_t us;

	(void)state;
	for (size_t i = 0; i < countof(good); i++) {
		us = -1;
		assert_true(duration_parse(str_of(good[i].text), &us));
		assert_true(us == good[i].us);
	}
	for (size_t i = 0; i < countof(bad); i++) {
		us = -1;
		assert_false(duration_parse(str_of(bad[i]), &us));
		assert_true(us == -1);
	}
}

static void test_format(void **state)
{
	static const struct {
		int64_t us;
		const char *text;
	} cases[] = {
	    {0, "0s"},          {250000, "250ms"},      {5000000, "5s"},      {90000000, "90s"},
	    {900000000, "15m"}, {86400000000, "24h"},   {90000000000, "25h"}, {172800000000, "2d"},
	    {1500, "1.500ms"},  {2592000000000, "30d"},
	};
	char out[32];
	int64_t back;

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		assert_string_equal(duration_format(out, cases[i].us), cases[i].text);
		assert_true(duration_parse(str_of(out), &back));
		assert_true(back == cases[i].us);
	}
	assert_true(duration_parse(str_of(duration_format(out, INT64_MAX)), &back));
	assert_true(back == INT64_MAX);
}

static void test_clocks(void **state)
{
	int64_t mono = clock_mono_us(), cpu = clock_cpu_us(), wall = clock_wall_ms();

	(void)state;
	assert_true(wall > INT64_C(1700000000000));
	/* The CPU clock moves when the CPU works, the monotonic one at least as far. */
	while (clock_cpu_us() < cpu + 2000)
		;
	assert_true(clock_mono_us() >= mono + 1000);
	assert_true(llabs(clock_wall_ms() - (int64_t)time(NULL) * 1000) < 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_iso),    cmocka_unit_test(test_iso_calendar), cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_format), cmocka_unit_test(test_clocks),
	};

	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
