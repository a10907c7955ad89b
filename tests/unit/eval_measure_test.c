/* SPDX-License-Identifier: MIT */
/*
 * The statistics of evaluations against values that are known or computed by hand.
 */
#include "master/commands/eval_measure.h"

#include <math.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define N 400

static void assert_near(double got, double want, double within)
{
	if (fabs(got - want) > within)
		print_error("%.6f is not %.6f\n", got, want);
	assert_true(fabs(got - want) <= within);
}

static void test_majority(void **state)
{
	(void)state;
	assert_near(eval_majority(1, 0.7), 0.7, 1e-12);
	assert_near(eval_majority(3, 0.7), 0.784, 1e-12); /* debate.md 10.4 */
	assert_near(eval_majority(5, 0.7), 0.83692, 1e-12);
	assert_near(eval_majority(2, 0.7), 0.7, 1e-12); /* a tie is a coin */
	assert_near(eval_majority(9, 0.5), 0.5, 1e-12);
	assert_near(eval_majority(3, 0), 0, 1e-12);
	assert_near(eval_majority(3, 1), 1, 1e-12);
}

static void test_wilson(void **state)
{
	struct eval_interval i = eval_wilson(8, 10, EVAL_Z95);

	(void)state;
	assert_near(i.low, 0.4902, 1e-4); /* Wilson 1927, 8 of 10 at 95 % */
	assert_near(i.high, 0.9433, 1e-4);
	i = eval_wilson(0, 20, EVAL_Z95);
	assert_near(i.low, 0, 1e-9);
	assert_near(i.high, 0.1611, 1e-4);
	i = eval_wilson(0, 0, EVAL_Z95);
	assert_near(i.high - i.low, 1, 1e-9);
}

/* Of the paired difference the interval is that of its mean: here +0.1 with a known deviation. */
static void test_paired(void **state)
{
	struct eval_sample x[N] = {0}, y[N] = {0};
	struct eval_interval i;
	size_t k;

	(void)state;
	for (k = 0; k < N; k++) {
		x[k].right = k % 10 < 6;
		y[k].right = k % 10 >= 1 && k % 10 < 6;
	}
	i = eval_paired(x, y, N, EVAL_Z95, 1);
	assert_near(i.low, 0.1 - 1.96 * 0.3 / 20, 0.012); /* sqrt(0.1 * 0.9 / 400) = 0.3 / 20 */
	assert_near(i.high, 0.1 + 1.96 * 0.3 / 20, 0.012);
	assert_near(eval_paired(x, y, N, EVAL_Z95, 1).low, i.low, 0); /* the seed decides */
	i = eval_paired(x, x, N, EVAL_Z95, 1);
	assert_near(i.high - i.low, 0, 0);
}

static void test_calibration(void **state)
{
	struct eval_sample s[4] = {{.right = true, .confidence = 0.8},
				   {.right = false, .confidence = 0.8},
				   {.right = true, .confidence = 1},
				   {.right = true, .confidence = -1}};

	(void)state;
	assert_near(eval_brier(s, 4), (0.04 + 0.64 + 0) / 3, 1e-12);
	assert_near(eval_ece(s, 4), (1.6 - 1) / 3, 1e-12);
	assert_near(eval_brier(s + 3, 1), -1, 0);
	assert_near(eval_ece(s + 3, 1), -1, 0);
}

static void test_row(void **state)
{
	struct eval_sample s[4] = {{.right = true, .consensus = true, .tokens = 10, .calls = 1, .wrong_to_right = 2},
				   {.right = true, .tokens = 30, .calls = 3, .right_to_wrong = 1},
				   {.cost_micro = 4000000},
				   {.consensus = true}};
	struct eval_sample base[4] = {{.right = true}};
	struct eval_row r = eval_row("x", s, base, 4);

	(void)state;
	assert_near(r.accuracy, 0.5, 1e-12);
	assert_near(r.gain, 0.25, 1e-12);
	assert_near(r.tokens, 10, 1e-12);
	assert_near(r.calls, 1, 1e-12);
	assert_near(r.cost_usd, 1, 1e-12);
	assert_near(r.consensus, 0.5, 1e-12);
	assert_int_equal(r.wrong_to_right, 2);
	assert_int_equal(r.right_to_wrong, 1);
	r = eval_row("x", s, base, 0);
	assert_near(r.accuracy, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_majority),    cmocka_unit_test(test_wilson), cmocka_unit_test(test_paired),
	    cmocka_unit_test(test_calibration), cmocka_unit_test(test_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
