/* SPDX-License-Identifier: MIT */
/*
 * Tests of worker/debate/report.c on a small result that was made by hand: what all critics found, who is split from
 * whom, where the risks are, and that an empty result claims nothing.
 */
#include "worker/debate/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/json.h"

static json_t *result_of(void)
{
	json_t *r = json_loads(
	    "{\"task\": \"Which cache?\", \"winner\": \"a\", \"rounds_used\": 2,"
	    " \"consensus\": {\"reached\": true, \"share_ppm\": 666666, \"groups\": ["
	    "  {\"label\": \"Redis\", \"agents\": [\"a\", \"b\"], \"votes\": 2, \"weight_ppm\": 1500000},"
	    "  {\"label\": \"None\", \"agents\": [\"c\"], \"votes\": 1, \"weight_ppm\": 500000}]},"
	    " \"votes\": [{\"agent\": \"a\", \"choice\": \"b\", \"confidence_ppm\": 900000},"
	    "  {\"agent\": \"b\", \"choice\": \"a\", \"confidence_ppm\": 600000},"
	    "  {\"agent\": \"c\", \"choice\": \"c\", \"confidence_ppm\": 599999, \"reasoning\": \"unsure\"}],"
	    " \"messages\": [{\"agent\": \"a\", \"round\": 2, \"content\": \"x\"}],"
	    " \"critiques\": ["
	    "  {\"round\": 1, \"agent\": \"b\", \"target_agent\": \"a\", \"issues\": [\"an old matter\"],"
	    "   \"severity_milli\": 9000},"
	    "  {\"round\": 2, \"agent\": \"b\", \"target_agent\": \"a\", \"issues\": [\"eviction policy is missing\","
	    "   \"no figures\"], \"severity_milli\": 7000},"
	    "  {\"round\": 2, \"agent\": \"c\", \"target_agent\": \"a\", \"issues\": [\"missing eviction policy\"],"
	    "   \"severity_milli\": 6999},"
	    "  {\"round\": 2, \"agent\": \"a\", \"target_agent\": \"c\", \"issues\": [\"eviction policy is missing\"],"
	    "   \"severity_milli\": 8000}]}",
	    0, NULL);

	assert_non_null(r);
	return r;
}

static void is_text(const json_t *o, const char *key, const char *want)
{
	assert_string_equal(json_string_value(json_object_get(o, key)), want);
}

static void test_disagreement(void **state)
{
	json_t *r = result_of(), *o = report_disagreement(r);
	const json_t *list = json_get_arr(o, "unanimous_critiques");

	(void)state;
	assert_int_equal(json_array_size(list), 1); /* two critics of a; the one of c is alone */
	is_text(json_array_get(list, 0), "target", "a");
	is_text(json_array_get(list, 0), "issue", "eviction policy is missing");
	assert_int_equal(json_array_size(json_get_arr(json_array_get(list, 0), "critics")), 2);
	list = json_get_arr(o, "split_opinions");
	assert_int_equal(json_array_size(list), 2);
	assert_int_equal(json_get_int(json_array_get(list, 0), "votes", 0), 2);
	list = json_get_arr(o, "risk_areas");
	assert_int_equal(json_array_size(list), 2);
	is_text(json_array_get(list, 0), "agent", "c");              /* 0.6 itself is sure enough */
	is_text(json_array_get(list, 1), "kind", "severe_critique"); /* 7.0 of 10, in the last round, of the winner */
	is_text(json_array_get(list, 1), "agent", "b");
	assert_int_equal(json_array_size(json_get_arr(json_get_obj(o, "agent_alignment"), "a")), 2);
	assert_int_equal(json_array_size(json_get_arr(json_get_obj(o, "agent_alignment"), "c")), 1);
	json_decref(o);
	json_decref(r);
}

static void test_partial_consensus(void **state)
{
	json_t *r = result_of(), *o = report_partial_consensus(r);
	const json_t *first = json_array_get(json_get_arr(o, "items"), 0),
		     *second = json_array_get(json_get_arr(o, "items"), 1);

	(void)state;
	is_text(first, "statement", "Redis");
	assert_true(json_get_bool(first, "agreed", false) && json_get_bool(first, "actionable", false));
	assert_true(json_get_num(first, "confidence", 0) == 0.75);
	assert_int_equal(json_array_size(json_get_arr(first, "supporting_agents")), 2);
	assert_string_equal(json_string_value(json_array_get(json_get_arr(first, "dissenting_views"), 0)), "None");
	assert_false(json_get_bool(second, "agreed", true));
	assert_int_equal(json_array_size(json_get_arr(second, "dissenting_agents")), 2);
	json_decref(o);
	json_decref(r);
}

static void test_cruxes(void **state)
{
	json_t *r = result_of(), *list = report_cruxes(r);

	(void)state;
	assert_int_equal(json_array_size(list), 1);
	is_text(json_array_get(list, 0), "claim", "eviction policy is missing");
	assert_true(json_get_bool(json_array_get(list, 0), "answered", false));
	json_decref(list);
	json_decref(r);
}

static void test_nothing_is_claimed_of_nothing(void **state)
{
	json_t *r = json_object(), *list;

	(void)state;
	assert_null(report_disagreement(r));
	assert_null(report_partial_consensus(r));
	list = report_cruxes(r);
	assert_int_equal(json_array_size(list), 0);
	json_decref(list);
	json_decref(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_disagreement),
	    cmocka_unit_test(test_partial_consensus),
	    cmocka_unit_test(test_cruxes),
	    cmocka_unit_test(test_nothing_is_claimed_of_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
