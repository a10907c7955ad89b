/* SPDX-License-Identifier: MIT */
/*
 * Tests of worker/engine/progress.c and role.c: novelty, readiness, stability and their stops with figures worked by
 * hand, and what each seat is given to do in each round.
 */
#include "worker/engine/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/json.h"
#include "worker/engine/consensus.h"
#include "worker/engine/mode.h"
#include "worker/engine/role.h"

#define ONE 1000000

static struct debate_plan plan_for(int rounds, size_t agents)
{
	struct debate_plan plan = {.version = 3, .rounds = rounds, .agent_count = agents, .language = STR("English")};

	plan.mode = mode_find(STR("majority"));
	plan.protocol = protocol_usual(STR("default"), rounds, agents, false);
	return plan;
}

static void seat(struct seat *s, const char *name, const char *position)
{
	*s = (struct seat){
	    .name = name, .in = true, .text = str_of(position), .position = str_of(position), .sure_ppm = -1};
}

static void message(json_t *list, const char *agent, int round, const char *content)
{
	json_array_append_new(list, json_pack("{s:s, s:i, s:s}", "agent", agent, "round", round, "content", content));
}

static json_t *novelty_of(const json_t *messages, int round)
{
	struct arena *a = arena_new(0);
	json_t *got = progress_novelty(SIMILARITY_COUNTS, similarity_memo_new(a), messages, round);

	arena_free(a);
	return got;
}

static void progress_close(const struct debate_plan *plan, struct seat *seats, size_t n, const json_t *messages,
			   int round, const json_t *before, json_t *value)
{
	struct arena *a = arena_new(0);

	progress_add(plan, similarity_memo_new(a), seats, n, messages, round, before, value);
	arena_free(a);
}

static void test_novelty(void **state)
{
	json_t *messages = json_array(), *got;

	(void)state;
	message(messages, "a", 0, "redis cluster cache");
	message(messages, "b", 0, "process memory");
	got = novelty_of(messages, 0); /* nothing was said before */
	assert_int_equal(json_get_int(got, "a", -1), ONE);
	assert_int_equal(json_get_int(got, "b", -1), ONE);
	json_decref(got);
	message(messages, "a", 1, "process memory");        /* what b said */
	message(messages, "b", 1, "process memory ledger"); /* two of three words: cosine 2 / sqrt(6) = 0.816496 */
	got = novelty_of(messages, 1);
	assert_int_equal(json_get_int(got, "a", -1), 0);
	assert_int_equal(json_get_int(got, "b", -1), ONE - 816496);
	json_decref(got);
	json_decref(messages);
}

/* One round's close: flips counted, the rest empty. */
static json_t *close_round(const struct debate_plan *plan, struct seat *seats, size_t n, int round, size_t flips,
			   const json_t *before)
{
	json_t *value = json_pack("{s:s, s:[]}", "status", "refining", "flips"), *none = json_array();

	while (json_array_size(json_object_get(value, "flips")) < flips)
		json_array_append_new(json_object_get(value, "flips"), json_object());
	progress_close(plan, seats, n, none, round, before, value);
	json_decref(none);
	return value;
}

static void test_stability(void **state)
{
	struct debate_plan plan = plan_for(4, 3);
	struct seat seats[3];
	json_t *first, *second, *third;
	const json_t *s;

	(void)state;
	plan.protocol.stability = true;
	plan.protocol.rounds_min = 1;
	seat(&seats[0], "a", "Use redis for the cache.");
	seat(&seats[1], "b", "Use redis for the cache.");
	seat(&seats[2], "c", "Keep everything inside each process.");
	first = close_round(&plan, seats, 3, 1, 0, NULL);
	s = json_get_obj(first, "stability");
	assert_int_equal(json_get_int(s, "kept", -1), 3);
	assert_int_equal(json_get_int(s, "score_ppm", -1), 4 * ONE / 5); /* (1 + 3) / (2 + 3) */
	assert_int_equal(json_get_int(s, "ks_ppm", -1), ONE);            /* nothing to compare with */
	assert_int_equal(json_integer_value(json_array_get(json_get_arr(s, "groups"), 0)), 2);
	assert_null(progress_stop(&plan, 1, first));
	second = close_round(&plan, seats, 3, 2, 0, s);
	s = json_get_obj(second, "stability");
	assert_int_equal(json_get_int(s, "score_ppm", -1), 7 * ONE / 8);
	assert_int_equal(json_get_int(s, "ks_ppm", -1), 0);
	assert_string_equal(progress_stop(&plan, 2, second), "stability"); /* a standing disagreement, and it stands */
	plan.protocol.rounds_min = 3;
	assert_null(progress_stop(&plan, 2, second));
	plan.protocol.rounds_min = 1;
	plan.protocol.stability = false;
	assert_null(progress_stop(&plan, 2, second));
	plan.protocol.stability = true;
	/* b goes over to c: groups 2 + 1 as before, but somebody moved: (1 + 8) / (2 + 9) */
	seat(&seats[1], "b", "Keep everything inside each process.");
	third = close_round(&plan, seats, 3, 3, 1, s);
	s = json_get_obj(third, "stability");
	assert_int_equal(json_get_int(s, "ks_ppm", -1), 0);
	assert_int_equal(json_get_int(s, "score_ppm", -1), 9 * ONE / 11);
	assert_null(progress_stop(&plan, 3, third));
	json_decref(third);
	/* all agree at once: {3} against {2, 1} is a distance of one third */
	seat(&seats[1], "b", "Use redis for the cache.");
	seat(&seats[2], "c", "Use redis for the cache.");
	third = close_round(&plan, seats, 3, 3, 1, json_get_obj(second, "stability"));
	assert_int_equal(json_get_int(json_get_obj(third, "stability"), "ks_ppm", -1), ONE - 2 * ONE / 3);
	json_decref(first);
	json_decref(second);
	json_decref(third);
}

static void test_readiness(void **state)
{
	struct debate_plan plan = plan_for(3, 3);
	struct seat seats[3];
	json_t *value;
	size_t i;

	(void)state;
	for (i = 0; i < 3; i++) {
		seat(&seats[i], i == 0 ? "a" : i == 1 ? "b" : "c", "x");
		seats[i].ready = true;
		seats[i].sure_ppm = 800000;
	}
	value = close_round(&plan, seats, 3, 2, 0, NULL);
	assert_string_equal(progress_stop(&plan, 2, value), "ready_quorum");
	assert_null(progress_stop(&plan, 1, value)); /* of three rounds two are run at least */
	json_decref(value);
	seats[1].sure_ppm = 799999; /* who is not sure is not ready: 2 of 3 are below 0.85 */
	value = close_round(&plan, seats, 3, 2, 0, NULL);
	assert_int_equal(json_get_int(json_get_obj(value, "ready"), "share_ppm", -1), 2 * ONE / 3);
	assert_null(progress_stop(&plan, 2, value));
	plan.protocol.ready_ppm = 600000;
	assert_string_equal(progress_stop(&plan, 2, value), "ready_quorum");
	plan.protocol.early_stopping = false;
	assert_null(progress_stop(&plan, 2, value));
	json_put_str(value, "status", STR("converged"));
	assert_string_equal(progress_stop(&plan, 1, value), "convergence");
	plan.protocol.convergence = false;
	assert_null(progress_stop(&plan, 2, value));
	json_decref(value);
}

static void test_stale(void **state)
{
	struct debate_plan plan = plan_for(3, 2);
	json_t *messages = json_array(), *value = json_pack("{s:s, s:[]}", "status", "refining", "flips");
	struct seat seats[2];

	(void)state;
	seat(&seats[0], "a", "redis cache cluster");
	seat(&seats[1], "b", "something else entirely new");
	message(messages, "a", 0, "redis cache cluster");
	message(messages, "b", 0, "process memory");
	message(messages, "a", 1, "redis cache cluster");
	message(messages, "b", 1, "something else entirely new");
	progress_close(&plan, seats, 2, messages, 1, NULL, value);
	assert_int_equal(json_array_size(json_get_arr(value, "stale")), 1);
	assert_string_equal(json_string_value(json_array_get(json_get_arr(value, "stale"), 0)), "a");
	progress_close(&plan, seats, 2, messages, 3, NULL, value); /* in the last round nobody can answer any more */
	assert_int_equal(json_array_size(json_get_arr(value, "stale")), 0);
	plan.demo = true;
	progress_close(&plan, seats, 2, messages, 1, NULL, value);
	assert_int_equal(json_array_size(json_get_arr(value, "stale")), 0);
	json_decref(value);
	json_decref(messages);
}

/* ---- roles ---- */

static void test_goals(void **state)
{
	static const struct {
		int rounds, round;
		const char *goal;
	} cases[] = {{1, 1, "critique"},         {2, 1, "analysis"},          {2, 2, "final_position"},
		     {3, 1, "analysis"},         {3, 2, "cross_examination"}, {3, 3, "final_position"},
		     {5, 4, "cross_examination"}};
	struct debate_plan plan;
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		plan = plan_for(cases[i].rounds, 3);
		assert_string_equal(role_goal(&plan, cases[i].round), cases[i].goal);
		assert_null(role_goal(&plan, 0));
		plan.protocol.structured_rounds = false;
		assert_null(role_goal(&plan, cases[i].round));
	}
}

static void test_roles_rotate(void **state)
{
	static const char *const want[3][3] = {{"analyst", "skeptic", "lateral_thinker"},
					       {"skeptic", "lateral_thinker", "synthesizer"},
					       {"synthesizer", "synthesizer", "analyst"}};
	static const char *const stances[3] = {"affirmative", "negative", "neutral"};
	struct debate_plan plan = plan_for(2, 3);
	size_t i;
	int r;

	(void)state;
	assert_null(role_of(&plan, 0, 1, false).role);
	assert_null(role_of(&plan, 0, 1, false).stance);
	plan.protocol.role_rotation = plan.protocol.asymmetric_stances = true;
	for (r = 0; r <= 2; r++)
		for (i = 0; i < 3; i++) {
			assert_string_equal(role_of(&plan, i, r, false).role, want[r][i]);
			assert_string_equal(role_of(&plan, i, r, false).stance, stances[(i + (size_t)r) % 3]);
		}
	assert_string_equal(role_of(&plan, 1, 2, true).role, "quality_challenger");
	plan.protocol.rotate_stances = false;
	assert_string_equal(role_of(&plan, 1, 2, false).stance, "negative");
}

static void test_words(void **state)
{
	struct debate_plan plan = plan_for(3, 3);
	struct buf b = BUF_INIT;
	struct role r;
	int64_t i;

	(void)state;
	plan.protocol.role_rotation = plan.protocol.asymmetric_stances = true;
	r = role_of(&plan, 1, 2, false);
	role_write(&b, &r);
	assert_true(str_find(buf_str(&b), STR("take no side")) >= 0 || str_find(buf_str(&b), STR("speak for")) >= 0);
	role_write_goal(&b, &r, ROLE_CRITIQUE);
	assert_true(str_find(buf_str(&b), STR("cross-examination")) >= 0);
	buf_free(&b);
	b = BUF_INIT;
	role_write_goal(&b, &r, ROLE_PROPOSE);
	role_write(&b, &(struct role){NULL, NULL, NULL});
	assert_int_equal(b.n, 0);
	buf_free(&b);
	assert_string_equal(role_intensity(-1), "");
	for (i = 0; i <= 10; i++)
		assert_true(strncmp(role_intensity(i), "- ", 2) == 0);
	assert_string_equal(role_intensity(0), role_intensity(1));
	assert_string_not_equal(role_intensity(1), role_intensity(2));
	assert_string_not_equal(role_intensity(8), role_intensity(9));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_novelty), cmocka_unit_test(test_stability), cmocka_unit_test(test_readiness),
	    cmocka_unit_test(test_stale),   cmocka_unit_test(test_goals),     cmocka_unit_test(test_roles_rotate),
	    cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
