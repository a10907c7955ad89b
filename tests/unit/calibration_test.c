/* SPDX-License-Identifier: MIT */
/*
 * Calibration by hand: Brier, expected error, score, over- and underconfidence, the fitted temperature, curves.
 */
#include "worker/ranking/calibration_math.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NOW (INT64_C(1000) * 24 * 3600 * 1000)

/* `right` of n samples of one confidence. */
static size_t add(struct calibration_sample *s, size_t at, size_t n, size_t right, int64_t confidence_ppm,
		  int64_t age_ms)
{
	size_t i;

	for (i = 0; i < n; i++)
		s[at + i] = (struct calibration_sample){confidence_ppm, i < right, NOW - age_ms};
	return at + n;
}

static void near(int64_t is, int64_t wanted, int64_t by)
{
	if (is < wanted - by || is > wanted + by)
		fail_msg("%lld, wanted %lld", (long long)is, (long long)wanted);
}

static void test_figures(void **state)
{
	struct calibration_sample s[64];
	struct calibration c;

	(void)state;
	calibration_of(s, 0, NOW, &c);
	assert_int_equal(c.samples, 0);
	assert_int_equal(c.temperature_milli, 1000);
	/* Eight of ten right at 0.9: Brier 0.8 x 0.01 + 0.2 x 0.81, the bucket's middle is 0.95. */
	calibration_of(s, add(s, 0, 10, 8, 900000, 0), NOW, &c);
	assert_int_equal(c.samples, 10);
	assert_int_equal(c.correct, 8);
	assert_int_equal(c.brier_ppm, 170000);
	assert_int_equal(c.ece_ppm, 150000);
	assert_int_equal(c.bias_ppm, 100000);
	assert_true(c.overconfident);
	assert_false(c.underconfident);
	assert_int_equal(c.temperature_milli, 1000); /* too few to fit */
	calibration_of(s, add(s, 0, 10, 8, 300000, 0), NOW, &c);
	assert_int_equal(c.bias_ppm, -500000);
	assert_true(c.underconfident);
	assert_false(c.overconfident);
	/* Two buckets: 20 at 0.75 of which 15 are right, 10 at 0.25 with none. */
	calibration_of(s, add(s, add(s, 0, 20, 15, 750000, 0), 10, 0, 250000, 0), NOW, &c);
	near(c.brier_ppm, (20 * 187500 + 10 * 62500) / 30, 1);
	near(c.ece_ppm, 83333, 1);
	assert_false(c.overconfident);
}

static void test_score(void **state)
{
	(void)state;
	assert_int_equal(calibration_score(9, 0), 0);
	assert_int_equal(calibration_score(10, 0), 500000);
	assert_int_equal(calibration_score(30, 160000), 630000); /* the example of the published method */
	assert_int_equal(calibration_score(50, 160000), 840000);
	assert_int_equal(calibration_score(5000, 160000), 840000);
}

static void test_temperature(void **state)
{
	struct calibration_sample s[64];
	struct calibration c;

	(void)state;
	/* Says 0.9, is right in 7 of 10: sigma(logit(0.9) / 2) = 0.75 is the nearest the grid offers up to 2. */
	calibration_of(s, add(s, 0, 20, 14, 900000, 0), NOW, &c);
	assert_int_equal(c.temperature_milli, 2000);
	/* Says 0.6, is always right. */
	calibration_of(s, add(s, 0, 20, 20, 600000, 0), NOW, &c);
	assert_int_equal(c.temperature_milli, 500);
	calibration_of(s, add(s, 0, 20, 15, 750000, 0), NOW, &c);
	assert_int_equal(c.temperature_milli, 1000);
	/* What was long ago counts little: ten half-lives make thirty wrong ones weigh less than one. */
	calibration_of(s, add(s, add(s, 0, 30, 0, 750000, 10 * CALIBRATION_HALF_LIFE_MS), 20, 15, 750000, 0), NOW, &c);
	assert_int_equal(c.temperature_milli, 1000);
}

static void test_curve(void **state)
{
	struct calibration_sample s[16];
	struct calibration_bucket b[CALIBRATION_BUCKETS_MAX];
	size_t n = add(s, add(s, add(s, 0, 4, 1, 0, 0), 2, 2, 1000000, 0), 3, 0, 499999, 0);

	(void)state;
	calibration_curve(s, n, b, 5);
	assert_int_equal(b[0].count, 4);
	assert_int_equal(b[0].correct, 1);
	assert_int_equal(b[0].brier_ppm, 250000);
	assert_int_equal(b[2].low_ppm, 400000);
	assert_int_equal(b[2].count, 3);
	assert_int_equal(b[4].high_ppm, 1000000);
	assert_int_equal(b[4].count, 2);
	assert_int_equal(b[4].brier_ppm, 0);
	assert_int_equal(b[1].count + b[3].count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_figures),
	    cmocka_unit_test(test_score),
	    cmocka_unit_test(test_temperature),
	    cmocka_unit_test(test_curve),
	};

	return cmocka_run_group_tests_name("calibration", tests, NULL, NULL);
}
