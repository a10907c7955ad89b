/* SPDX-License-Identifier: MIT */
/*
 * What another debate is made from: bodies, histories, open questions.
 */
#include "worker/debate/fork.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "common/json.h"

static json_t *parsed(struct arena *a, const char *text)
{
	struct error err = ERROR_INIT;
	json_t *j = json_parse(a, str_of(text), &err);

	if (j == NULL)
		fail_msg("%s", err.msg);
	return j;
}

static json_t *message(const char *agent, int round, size_t size)
{
	char *text = xcalloc(1, size + 1);
	json_t *m;

	memset(text, 'a' + round, size);
	m = json_pack("{s:s, s:i, s:s}", "agent", agent, "round", round, "content", text);
	free(text);
	return m;
}

static void test_history_ends_at_the_round(void **state)
{
	struct arena *a = arena_new(0);
	json_t *list = json_own(a, json_pack("[o, o, o]", message("x", 0, 3), message("y", 0, 3), message("x", 1, 3)));
	int64_t n;

	(void)state;
	assert_true(
	    str_eqz(fork_history(a, list, 0, &n), "[Participant 1, round 0]\naaa\n\n[Participant 2, round 0]\naaa"));
	assert_int_equal(n, 2);
	assert_true(str_find(fork_history(a, list, 1, &n), STR("[Participant 1, round 1]\nbbb")) != -1);
	assert_int_equal(n, 3);
	arena_free(a);
}

static void test_history_leaves_out_the_oldest(void **state)
{
	struct arena *a = arena_new(0);
	json_t *list = json_own(a, json_array());
	struct str text;
	int64_t n;
	int i;

	(void)state;
	for (i = 0; i < 20; i++)
		json_array_append_new(list, message("x", i, 8192));
	text = fork_history(a, list, 19, &n);
	assert_int_equal(n, 6); /* 48 KiB of 8 each */
	assert_true(str_find(text, STR("round 14]")) != -1 && str_find(text, STR("round 13]")) == -1);
	arena_free(a);
}

static const char result[] =
    "{\"winner\": \"x\", \"rounds_used\": 2, \"consensus\": {\"reached\": false, \"confidence_ppm\": 550000,"
    " \"margin_ppm\": 100000, \"groups\": [{\"label\": \"Buy it.\"}, {\"label\": \"Rent it.\"}]},"
    " \"dissents\": [{\"agent\": \"y\", \"view\": \"Rent it.\", \"reasons\": [\"It is cheaper.\"]}],"
    " \"critiques\": ["
    "{\"round\": 2, \"target_agent\": \"x\", \"severity_milli\": 8000, \"issues\": [\"No figures.\"]},"
    "{\"round\": 2, \"target_agent\": \"y\", \"severity_milli\": 9000, \"issues\": [\"Of another.\"]},"
    "{\"round\": 1, \"target_agent\": \"x\", \"severity_milli\": 9000, \"issues\": [\"Of before.\"]},"
    "{\"round\": 2, \"target_agent\": \"x\", \"severity_milli\": 4000, \"issues\": [\"Small.\"]}]}";

static void test_open_questions(void **state)
{
	static const char *const ids[] = {"undecided_1", "dissent_1", "objection_1"};
	struct arena *a = arena_new(0);
	const json_t *list = fork_suggestions(a, parsed(a, result));
	size_t i;

	(void)state;
	assert_int_equal(json_array_size(list), countof(ids));
	for (i = 0; i < countof(ids); i++) {
		const json_t *q = json_array_get(list, i);

		assert_true(str_eqz(json_get_str(q, "crux_id", STR("")), ids[i]));
		assert_true(str_eqz(json_get_str(q, "priority", STR("")), "high"));
	}
	assert_true(str_eqz(json_get_str(json_array_get(list, 1), "rationale", STR("")), "It is cheaper."));
	assert_true(json_get_num(json_array_get(list, 0), "estimated_value", 0) > 0.89);
	/* What was agreed on without dissent leaves nothing open. */
	list = fork_suggestions(a, parsed(a, "{\"consensus\": {\"reached\": true, \"confidence_ppm\": 900000}}"));
	assert_int_equal(json_array_size(list), 0);
	assert_int_equal(json_array_size(fork_suggestions(a, NULL)), 0);
	arena_free(a);
}

static void test_body_of_a_plan(void **state)
{
	struct arena *a = arena_new(0);
	const json_t *body = fork_body(
	    a,
	    parsed(a,
		   "{\"task\": \"Why?\", \"rounds\": 2, \"consensus\": \"weighted\", \"threshold_ppm\": 700000,"
		   " \"format\": \"light\", \"budget_micro\": 0, \"seed\": 7, \"agents\": [{\"name\": \"x\","
		   " \"provider\": \"demo\", \"model\": \"m\", \"persona\": \"\", \"role\": \"\", \"price_in\": 5}]}"));
	const json_t *agent = json_array_get(json_get_arr(body, "agents"), 0);

	(void)state;
	assert_true(str_eqz(json_get_str(body, "debate_format", STR("")), "light"));
	assert_true(json_get_num(body, "consensus_threshold", 0) > 0.69);
	assert_null(json_object_get(body, "budget_limit_usd"));
	assert_null(json_object_get(body, "seed"));
	assert_int_equal(json_object_size(agent), 3);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_history_ends_at_the_round),
	    cmocka_unit_test(test_history_leaves_out_the_oldest),
	    cmocka_unit_test(test_open_questions),
	    cmocka_unit_test(test_body_of_a_plan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
