/* SPDX-License-Identifier: MIT */
/*
 * The formulas by which knowledge grows old (rest-wide 5.4).
 */
#include "worker/knowledge/upkeep.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HOUR INT64_C(3600000)
#define DAY (24 * HOUR)

static void test_staleness(void **state)
{
	static const struct {
		struct staleness s;
		int64_t ppm;
		unsigned reasons;
	} cases[] = {
	    {{{"slow", 4}, 0, 0, 0, false}, 0, 0},
	    {{{"slow", 4}, 7 * DAY, 0, 0, false}, 200000, STALE_AGE},  /* half of twice the limit */
	    {{{"slow", 4}, 14 * DAY, 0, 0, false}, 400000, STALE_AGE}, /* no more than that by age */
	    {{{"slow", 4}, 900 * DAY, 0, 0, false}, 400000, STALE_AGE},
	    {{{"fast", 4}, HOUR, 0, 0, false}, 200000, STALE_AGE},
	    {{{"glacial", 7}, 7 * DAY, 0, 0, false}, 46667, 0},
	    {{{"medium", 6}, 0, 1, 0, false}, 100000, STALE_CONTRADICTION},
	    {{{"medium", 6}, 0, 9, 0, false}, 300000, STALE_CONTRADICTION},
	    {{{"medium", 6}, 0, 0, 1, false}, 40000, 0},
	    {{{"medium", 6}, 0, 0, 5, false}, 200000, STALE_EVIDENCE},
	    {{{"medium", 6}, 0, 0, 0, true}, 80000, STALE_CONSENSUS},
	    {{{"fast", 4}, DAY, 3, 5, true},
	     980000,
	     STALE_AGE | STALE_CONTRADICTION | STALE_EVIDENCE | STALE_CONSENSUS},
	    {{{"fast", 4}, -DAY, 0, 0, false}, 0, 0}, /* a clock that went back */
	};
	unsigned reasons;
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		assert_int_equal(upkeep_staleness(&cases[i].s, &reasons), cases[i].ppm);
		assert_int_equal(reasons, cases[i].reasons);
	}
}

static void test_decay(void **state)
{
	(void)state;
	assert_int_equal(upkeep_decayed(800000, STR(""), 90 * DAY), 400000);
	assert_int_equal(upkeep_decayed(800000, STR("technology"), 30 * DAY), 400000);
	assert_int_equal(upkeep_decayed(800000, STR("science"), 180 * DAY), 400000);
	assert_int_equal(upkeep_decayed(800000, STR("legal"), 365 * DAY), 400000);
	assert_int_equal(upkeep_decayed(800000, STR("News"), 7 * DAY), 400000);
	assert_int_equal(upkeep_decayed(800000, STR("news"), 900 * DAY), UPKEEP_FLOOR_PPM);
	assert_int_equal(upkeep_decayed(50000, STR("news"), 900 * DAY), 50000); /* below the floor it stays */
	assert_int_equal(upkeep_decayed(800000, STR(""), 0), 800000);
	assert_int_equal(upkeep_decayed(800000, STR(""), -DAY), 800000);
}

/* Ninety passes of a day are one of ninety days: nothing compounds. */
static void test_decay_in_pieces(void **state)
{
	int64_t c = 800000;
	int i;

	(void)state;
	for (i = 0; i < 90; i++)
		c = upkeep_decayed(c, STR(""), DAY);
	assert_in_range(c, 399950, 400050);
}

static void test_boosts(void **state)
{
	int64_t c = 500000;

	(void)state;
	assert_true(upkeep_boost(STR("accessed"), &c) && c == 510000);
	assert_true(upkeep_boost(STR("cited"), &c) && c == 560000);
	assert_true(upkeep_boost(STR("validated"), &c) && c == 660000);
	assert_true(upkeep_boost(STR("contradicted"), &c) && c == 460000);
	assert_true(upkeep_boost(STR("invalidated"), &c) && c == 160000);
	assert_true(upkeep_boost(STR("invalidated"), &c) && c == UPKEEP_FLOOR_PPM);
	assert_false(upkeep_boost(STR("applauded"), &c));
	assert_int_equal(c, UPKEEP_FLOOR_PPM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_staleness),
	    cmocka_unit_test(test_decay),
	    cmocka_unit_test(test_decay_in_pieces),
	    cmocka_unit_test(test_boosts),
	};

	return cmocka_run_group_tests_name("upkeep", tests, NULL, NULL);
}
