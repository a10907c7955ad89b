/* SPDX-License-Identifier: MIT */
/*
 * Tests of worker/engine/weight.c: the factors of a vote, calibrated confidences, the threshold that follows the
 * voters, and votes of people, each with figures worked by hand from debate.md 3.2, 3.5 and 5.5.
 */
#include "worker/engine/weight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/json.h"

static int64_t weigh(const struct protocol *p, struct weight_vote v, const char *standing, const char *factors)
{
	json_t *s = standing != NULL ? json_loads(standing, 0, NULL) : NULL, *got = json_object();
	json_t *want = json_loads(factors, 0, NULL);
	int64_t weight;

	v.standing = s;
	weight = weight_of(p, &v, got);
	if (!json_equal(got, want))
		fail_msg("factors are %s, not %s", json_dumps(got, 0), factors);
	json_decref(s);
	json_decref(got);
	json_decref(want);
	return weight;
}

static void test_unknown_agents_weigh_one(void **state)
{
	struct protocol p = protocol_before();

	(void)state;
	assert_int_equal(weigh(&p, (struct weight_vote){.known = true}, NULL, "{}"), 1000000);
	assert_int_equal(weigh(&p, (struct weight_vote){.known = true}, "{}", "{}"), 1000000);
	assert_int_equal(weigh(&p, (struct weight_vote){.holders = 1}, "{}", "{\"self_ppm\": 500000}"), 500000);
	/* what is known counts only where it is asked for */
	assert_int_equal(weigh(&p, (struct weight_vote){.known = false}, "{\"elo_milli\": 2500000}", "{}"), 1000000);
}

static void test_factors(void **state)
{
	struct protocol p = protocol_before();
	struct weight_vote v = {.known = true};

	(void)state;
	/* clamp(1 + 0.3 (elo - 1500) / 500, 0.5, 2) */
	assert_int_equal(weigh(&p, v, "{\"elo_milli\": 1600000}", "{\"elo_ppm\": 1060000}"), 1060000);
	assert_int_equal(weigh(&p, v, "{\"elo_milli\": 9000000}", "{\"elo_ppm\": 2000000}"), 2000000);
	assert_int_equal(weigh(&p, v, "{\"elo_milli\": 0}", "{\"elo_ppm\": 500000}"), 500000);
	/* in the domain of the debate, where it is known */
	assert_int_equal(
	    weigh(&p, v, "{\"elo_milli\": 1600000, \"domain_elo_milli\": 1400000}", "{\"elo_ppm\": 940000}"), 940000);
	/* 0.5 + score + 0.2 (cal - 0.5): score 0.8, cal unknown */
	assert_int_equal(weigh(&p, v, "{\"reputation_ppm\": 800000}", "{\"reputation_ppm\": 1300000}"), 1300000);
	assert_int_equal(weigh(&p, v, "{\"reputation_ppm\": 0}", "{\"reputation_ppm\": 500000}"), 500000);
	/* n = 30, Brier 0.16: calibration 0.63, so 1.13, and reputation 0.5 + 0.5 + 0.026 */
	assert_int_equal(weigh(&p, v, "{\"calibration_ppm\": 630000}",
			       "{\"reputation_ppm\": 1026000, \"calibration_ppm\": 1130000}"),
			 1026000 * 113 / 100);
	/* 0.5 + 0.5 c */
	assert_int_equal(weigh(&p, v, "{\"consistency_ppm\": 600000}", "{\"consistency_ppm\": 800000}"), 800000);
	assert_int_equal(weigh(&p, v, "{\"reliability_ppm\": 900000}", "{\"reliability_ppm\": 900000}"), 900000);
	/* the product is held within 0.1 and 5 */
	v.holders = 1;
	assert_int_equal(weigh(&p, v, "{\"elo_milli\": 0, \"reliability_ppm\": 10000}",
			       "{\"elo_ppm\": 500000, \"reliability_ppm\": 10000, \"self_ppm\": 500000}"),
			 100000);
	p.self_ppm = 0;
	assert_int_equal(weigh(&p, v, NULL, "{\"self_ppm\": 0}"), 0);
}

static void test_verbosity(void **state)
{
	struct protocol p = protocol_before();

	(void)state;
	assert_int_equal(weigh(&p, (struct weight_vote){.length = 90000}, NULL, "{}"), 1000000);
	p.verbosity_penalty = true;
	assert_int_equal(weigh(&p, (struct weight_vote){.length = 3000}, NULL, "{}"), 1000000);
	assert_int_equal(weigh(&p, (struct weight_vote){.length = 4000}, NULL, "{\"verbosity_ppm\": 900000}"), 900000);
	assert_int_equal(weigh(&p, (struct weight_vote){.length = 90000}, NULL, "{\"verbosity_ppm\": 700000}"), 700000);
}

static int64_t sure(const char *standing, int64_t stated)
{
	json_t *s = json_loads(standing, 0, NULL);
	int64_t v = weight_confidence(s, stated);

	json_decref(s);
	return v;
}

static void test_confidence(void **state)
{
	(void)state;
	assert_int_equal(weight_confidence(NULL, 900000), 900000);
	assert_int_equal(sure("{\"samples\": 9, \"bias_ppm\": 200000, \"ece_ppm\": 200000}", 900000), 900000);
	/* overconfident, ECE at the cap: 30 % less; half the error: 15 % */
	assert_int_equal(sure("{\"samples\": 10, \"bias_ppm\": 200000, \"ece_ppm\": 250000}", 900000), 630000);
	assert_int_equal(sure("{\"samples\": 10, \"bias_ppm\": 1, \"ece_ppm\": 100000}", 900000), 765000);
	/* underconfident: more, never above one */
	assert_int_equal(sure("{\"samples\": 10, \"bias_ppm\": -5, \"ece_ppm\": 200000}", 500000), 650000);
	assert_int_equal(sure("{\"samples\": 10, \"bias_ppm\": -5, \"ece_ppm\": 200000}", 900000), 1000000);
	/* sigma(logit(0.9) / 2) = 0.75; at T = 1 nothing happens; the ends are 0.05 and 0.95 */
	assert_int_equal(sure("{\"samples\": 20, \"temperature_milli\": 2000}", 900000), 750000);
	assert_int_equal(sure("{\"samples\": 20, \"temperature_milli\": 1000}", 700000), 700000);
	assert_int_equal(sure("{\"samples\": 20, \"temperature_milli\": 500}", 999999), 950000);
	assert_int_equal(sure("{\"samples\": 20, \"temperature_milli\": 500}", 0), 50000);
}

static void test_threshold(void **state)
{
	json_t *s = json_loads("{\"a\": {\"samples\": 5, \"brier_ppm\": 450000}, \"b\": {\"samples\": 5, \"brier_ppm\":"
			       " 250000}, \"c\": {\"samples\": 4, \"brier_ppm\": 1000000}, \"d\": {}}",
			       0, NULL);

	(void)state;
	/* 0.6 + 0.3 (0.35 - 0.25) */
	assert_int_equal(weight_threshold(s, 600000), 630000);
	assert_int_equal(weight_threshold(NULL, 600000), 600000);
	json_put_int(json_object_get(s, "a"), "brier_ppm", 0);
	json_put_int(json_object_get(s, "b"), "brier_ppm", 0);
	assert_int_equal(weight_threshold(s, 600000), 525000);
	assert_int_equal(weight_threshold(s, 510000), 500000); /* below one half two answers could be decided */
	json_decref(s);
}

/* ---- people ---- */

static struct agent_spec agents[] = {{.name = {"claude", 6}}, {.name = {"gpt-4o", 6}}, {.name = {"gpt-4o-mini", 11}}};

static struct debate_plan plan_with(int64_t audience_ppm)
{
	struct debate_plan plan = {.agents = agents, .agent_count = countof(agents), .protocol = protocol_before()};

	plan.protocol.audience_ppm = audience_ppm;
	return plan;
}

static void test_choice(void **state)
{
	static const struct {
		const char *words, *name; /* NULL: none */
	} cases[] = {{"claude", "claude"},
		     {" Claude ", "claude"},
		     {"cla", "claude"},
		     {"claude-sonnet", "claude"},
		     {"gpt-4o", "gpt-4o"},
		     {"gpt-4o-m", "gpt-4o-mini"},
		     {"GPT", NULL},
		     {"the proposal from Claude", "claude"},
		     {"not Gpt-4o-mini!", "gpt-4o-mini"},
		     {"cl", NULL},
		     {"", NULL},
		     {"nobody", NULL}};
	struct debate_plan plan = plan_with(500000);
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		const struct agent_spec *got = weight_choice(&plan, str_of(cases[i].words));

		if (cases[i].name == NULL ? got != NULL : got == NULL || !str_eqz(got->name, cases[i].name))
			fail_msg("\"%s\" is taken for %.*s", cases[i].words,
				 STR_ARG(got != NULL ? got->name : STR("none")));
	}
}

static json_t *audience(const struct debate_plan *plan, const char *items, size_t seats)
{
	json_t *list = json_loads(items, 0, NULL), *out;

	assert_non_null(list);
	out = weight_audience(plan, list, seats);
	json_decref(list);
	return out;
}

static int64_t weight_at(const json_t *votes, size_t i)
{
	return json_get_int(json_array_get(votes, i), "weight_ppm", -1);
}

static void test_audience(void **state)
{
	static const char *const items =
	    "[{\"kind\": \"vote\", \"user_id\": \"u1\", \"payload\": {\"choice\": \"claude\", \"intensity\": 10}},"
	    " {\"kind\": \"suggestion\", \"user_id\": \"u1\", \"payload\": {\"choice\": \"claude\"}},"
	    " {\"kind\": \"user_vote\", \"user_id\": \"u2\", \"payload\": {\"choice\": \"gpt-4o\"}},"
	    " {\"kind\": \"vote\", \"user_id\": \"u3\", \"payload\": {\"choice\": \"someone else\"}},"
	    " {\"kind\": \"vote\", \"user_id\": \"u1\", \"payload\": {\"choice\": \"gpt-4o-mini\", \"intensity\": 1}}]";
	struct debate_plan plan = plan_with(500000);
	json_t *votes;

	(void)state;
	/* 1 -> half, 5 -> one, 10 -> double of what a vote weighs, linear between */
	assert_int_equal(weight_person(500000, 1), 250000);
	assert_int_equal(weight_person(500000, 3), 375000);
	assert_int_equal(weight_person(500000, 5), 500000);
	assert_int_equal(weight_person(500000, 10), 1000000);
	assert_int_equal(weight_person(500000, 99), 1000000);
	/* the last vote of each person, and none that names nobody */
	votes = audience(&plan, items, 3);
	assert_int_equal(json_array_size(votes), 2);
	assert_true(str_eqz(json_get_str(json_array_get(votes, 0), "choice", STR("")), "gpt-4o"));
	assert_int_equal(weight_at(votes, 0), 500000);
	assert_true(str_eqz(json_get_str(json_array_get(votes, 1), "choice", STR("")), "gpt-4o-mini"));
	assert_int_equal(weight_at(votes, 1), 250000);
	json_decref(votes);
	plan = plan_with(0);
	votes = audience(&plan, items, 3);
	assert_int_equal(json_array_size(votes), 0);
	json_decref(votes);
}

/* A crowd weighs as much as half the agents, however large it is. */
static void test_crowd(void **state)
{
	struct debate_plan plan = plan_with(500000);
	json_t *items = json_array(), *votes;
	int64_t sum = 0;
	size_t i;

	(void)state;
	for (i = 0; i < 5000; i++)
		json_array_append_new(items, json_pack("{s:s, s:s, s:{s:s, s:i}}", "kind", "vote", "user_id", "",
						       "payload", "choice", "claude", "intensity", 10));
	votes = weight_audience(&plan, items, 3);
	assert_int_equal(json_array_size(votes), WEIGHT_AUDIENCE_MAX);
	for (i = 0; i < json_array_size(votes); i++)
		sum += weight_at(votes, i);
	assert_true(sum <= 1500000 && sum > 1490000);
	json_decref(items);
	json_decref(votes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_unknown_agents_weigh_one),
	    cmocka_unit_test(test_factors),
	    cmocka_unit_test(test_verbosity),
	    cmocka_unit_test(test_confidence),
	    cmocka_unit_test(test_threshold),
	    cmocka_unit_test(test_choice),
	    cmocka_unit_test(test_audience),
	    cmocka_unit_test(test_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
