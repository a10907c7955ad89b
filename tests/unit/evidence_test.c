/* SPDX-License-Identifier: MIT */
/*
 * Marks of evidence in texts made for it, hollowness by hand, and that hostile text costs nothing.
 */
#include "worker/engine/evidence.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char rich[] =
    "According to the vendor's report (Miller, 2021) the p99 latency fell from 120 ms to 35 ms, because writes are "
    "batched. "
    "For example, `SELECT 1` took 3 ms [2]. The team of 12 engineers said \"we never looked back\" and saved 40 % of "
    "cost. "
    "Therefore the move pays within 6 months, see https://example.org/report for the raw figures.";
static const char hollow[] =
    "We should generally move forward with a somewhat better approach. Many teams might find it relatively useful. "
    "There could be various benefits and perhaps several drawbacks. It is likely the right thing to do in the end.";

static void test_marks(void **state)
{
	struct evidence r = evidence_of(str_of(rich)), h = evidence_of(str_of(hollow)), none = evidence_of(STR(""));

	(void)state;
	assert_int_equal(r.citation, EVIDENCE_ONE); /* four sources, no more claims */
	assert_int_equal(r.specificity, EVIDENCE_ONE);
	assert_int_equal(r.diversity, EVIDENCE_ONE);
	assert_int_equal(r.reasoning, EVIDENCE_ONE);
	assert_int_equal(r.quality, EVIDENCE_ONE);
	assert_int_equal(h.quality, 0);
	assert_int_equal(none.citation, 0);
	assert_int_equal(none.specificity, EVIDENCE_ONE / 2);
	assert_int_equal(evidence_of(STR("Mighty couldst thou be, manyfold.")).specificity, EVIDENCE_ONE / 2);
	assert_int_equal(evidence_of(STR("Is 5 ms what you need, and would it be enough?")).citation, 0);
}

static void test_hollowness(void **state)
{
	struct evidence v[2] = {evidence_of(str_of(hollow)), evidence_of(str_of(hollow))};
	struct evidence half = {200000, 300000, 0, 0, 200000};

	(void)state;
	assert_int_equal(evidence_hollowness(v, 2), 700000); /* .4 + 0 + .2 + .1 */
	v[0] = v[1] = evidence_of(str_of(rich));
	assert_int_equal(evidence_hollowness(v, 2), 0);
	v[1] = evidence_of(str_of(hollow));
	assert_int_equal(evidence_hollowness(v, 2), 250000 + 100000 + 50000); /* mean .5, variance .25, one of two */
	v[0] = v[1] = half;
	assert_int_equal(evidence_hollowness(v, 2), 200000); /* .4 (1 - .2 / .4) */
	assert_int_equal(evidence_hollowness(NULL, 0), 0);
}

static void test_hostile(void **state)
{
	static const char *const pieces[] = {"[", "(, 20", "\"", "1,", "`.", "http", "\xc3", ". ? ! \n"};
	size_t i, k;

	(void)state;
	for (i = 0; i < countof(pieces); i++) {
		struct buf b = BUF_INIT;
		struct evidence e;

		for (k = 0; k < 40000; k++)
			buf_addz(&b, pieces[i]);
		e = evidence_of(buf_str(&b));
		assert_in_range(e.quality, 0, EVIDENCE_ONE);
		buf_free(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_marks),
	    cmocka_unit_test(test_hollowness),
	    cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
