/* SPDX-License-Identifier: MIT */
/*
 * Continuum memory: the formulas against numbers worked out by hand (rest-wide 6.1, 6.2). That of surprise is one of
 * the store: tests/integration/test_memory.py.
 */
#include "worker/memory/continuum_math.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HOUR_MS INT64_C(3600000)

static void near_enough(double got, double want)
{
	if (fabs(got - want) > 1e-6)
		print_error("%.9f, not %.9f\n", got, want);
	assert_true(fabs(got - want) <= 1e-6);
}

static void test_rates(void **state)
{
	(void)state;
	near_enough(continuum_learning_rate(CONTINUUM_FAST, 0), 0.3);
	near_enough(continuum_learning_rate(CONTINUUM_FAST, 2), 0.3 * 0.95 * 0.95);
	near_enough(continuum_learning_rate(CONTINUUM_GLACIAL, 100), 0.01 * pow(0.9999, 100));
	assert_int_equal(continuum_consolidation(0), 0);
	assert_int_equal(continuum_consolidation(9), 500000); /* ln 10 / ln 100 */
	assert_int_equal(continuum_consolidation(99), CONTINUUM_ONE);
	assert_int_equal(continuum_consolidation(100000), CONTINUUM_ONE);
	near_enough(continuum_score(CONTINUUM_MEDIUM, 800000, 500000, 48 * HOUR_MS), 0.8 * 1.5 / 3.0);
	near_enough(continuum_score(CONTINUUM_FAST, 500000, 0, 12 * HOUR_MS), 0.5 / 13.0);
	assert_int_equal(continuum_retention_ms(CONTINUUM_FAST), 2 * HOUR_MS);
	assert_int_equal(continuum_retention_ms(CONTINUUM_GLACIAL), 1440 * HOUR_MS);
}

static void test_moves(void **state)
{
	const int64_t day = CONTINUUM_COOLDOWN_MS;

	(void)state;
	assert_false(continuum_promotes(CONTINUUM_FAST, CONTINUUM_ONE, day));
	assert_false(continuum_promotes(CONTINUUM_MEDIUM, 700000, day));
	assert_true(continuum_promotes(CONTINUUM_MEDIUM, 700001, day));
	assert_false(continuum_promotes(CONTINUUM_MEDIUM, 900000, day - 1));
	assert_true(continuum_promotes(CONTINUUM_GLACIAL, 500001, day));
	assert_true(continuum_demotes(CONTINUUM_FAST, 700000, 11, day));
	assert_false(continuum_demotes(CONTINUUM_FAST, 700000, 10, day));
	assert_false(continuum_demotes(CONTINUUM_FAST, 800000, 50, day));
	assert_false(continuum_demotes(CONTINUUM_FAST, 0, 50, day - 1));
	assert_false(continuum_demotes(CONTINUUM_SLOW, 300000, 99, day)); /* 0.7 > 0.4, but not settled enough */
	assert_false(continuum_demotes(CONTINUUM_SLOW, 100000, 30, day)); /* consolidation 0.75 */
	assert_true(continuum_demotes(CONTINUUM_SLOW, 100000, 60, day));
	assert_false(continuum_demotes(CONTINUUM_GLACIAL, 0, 99, day));
}

/* Every figure of the table of rest-wide 6.1, by what it does. */
static void test_tiers(void **state)
{
	static const struct {
		const char *name;
		double hours, learn, decay, promote, demote, k;
		int64_t max;
	} want[] = {{"fast", 1, 0.30, 0.95, 1.0, 0.2, 24, 1000},
		    {"medium", 24, 0.10, 0.99, 0.7, 0.3, 1, 5000},
		    {"slow", 168, 0.03, 0.999, 0.6, 0.4, 0.14, 10000},
		    {"glacial", 720, 0.01, 0.9999, 0.5, 1.0, 0.03, 50000}};
	size_t i;

	(void)state;
	assert_int_equal(countof(want), CONTINUUM_TIERS);
	for (i = 0; i < countof(want); i++) {
		enum continuum_tier t = (enum continuum_tier)i, found;

		assert_true(continuum_tier_find(str_of(want[i].name), &found));
		assert_int_equal(found, t);
		near_enough((double)continuum_retention_ms(t) / (double)HOUR_MS, 2 * want[i].hours);
		near_enough(continuum_learning_rate(t, 3), want[i].learn * pow(want[i].decay, 3));
		near_enough((double)continuum_rules[t].promote_ppm / 1e6, want[i].promote);
		near_enough((double)continuum_rules[t].demote_ppm / 1e6, want[i].demote);
		near_enough(continuum_score(t, CONTINUUM_ONE, 0, 24 * HOUR_MS), 1 / (1 + want[i].k));
		assert_int_equal(continuum_rules[t].max, want[i].max);
	}
}

static void test_gate(void **state)
{
	(void)state;
	assert_int_equal(continuum_gate(0, 0, 0), CONTINUUM_KEEP);                        /* 0.4 */
	assert_int_equal(continuum_gate(30 * 24 * HOUR_MS, 0, 0), CONTINUUM_DEMOTE);      /* 0.2 */
	assert_int_equal(continuum_gate(90 * 24 * HOUR_MS, 0, 0), CONTINUUM_FORGET);      /* 0.05 */
	assert_int_equal(continuum_gate(900 * 24 * HOUR_MS, 99, 0), CONTINUUM_KEEP);      /* 0.3 */
	assert_int_equal(continuum_gate(900 * 24 * HOUR_MS, 9, 10000), CONTINUUM_DEMOTE); /* 0.153 */
}

static void test_outcomes(void **state)
{
	(void)state;
	assert_int_equal(continuum_outcome_importance(250000, false), 500000);
	assert_int_equal(continuum_outcome_importance(CONTINUUM_ONE, false), 950000);
	assert_int_equal(continuum_outcome_importance(CONTINUUM_ONE, true), CONTINUUM_ONE);
	assert_int_equal(continuum_outcome_tier(2, 700001), CONTINUUM_FAST);
	assert_int_equal(continuum_outcome_tier(2, 700000), CONTINUUM_MEDIUM);
	assert_int_equal(continuum_outcome_tier(1, 500001), CONTINUUM_MEDIUM);
	assert_int_equal(continuum_outcome_tier(0, 900000), CONTINUUM_SLOW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tiers), cmocka_unit_test(test_rates),    cmocka_unit_test(test_moves),
	    cmocka_unit_test(test_gate),  cmocka_unit_test(test_outcomes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
