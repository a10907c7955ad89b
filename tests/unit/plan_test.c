/* SPDX-License-Identifier: MIT */
/*
 * Tests of worker/engine/plan.c: what a creation body may say, every refusal with its field, several at once, settings
 * inside `protocol`, and that a plan read back is the plan that was written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/json.h"
#include "worker/engine/mode.h"
#include "worker/engine/plan.h"
#include "worker/engine/topology.h"

struct fixture {
	struct conf *c;
	struct arena *a;
	json_t *plan, *problems;
	struct error err;
};

static int setup(void **state)
{
	static const struct conf_override o[] = {{"debates.max_rounds", "7"},
						 {"debates.default_rounds", "2"},
						 {"debates.max_agents", "32"},
						 {"debates.timeout", "1234ms"},
						 {"debates.agent_timeout", "56ms"}};
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct buf report = BUF_INIT;

	f->c = conf_load(NULL, false, o, countof(o), &report);
	if (f->c == NULL)
		print_error("%s\n", report.p);
	assert_non_null(f->c);
	buf_free(&report);
	f->a = arena_new(0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	arena_free(f->a);
	conf_unref(f->c);
	free(f);
	return 0;
}

static bool resolve_json(struct fixture *f, const json_t *body)
{
	f->err = ERROR_INIT;
	f->plan = f->problems = NULL;
	return plan_resolve(f->c, f->a, body, &f->plan, &f->problems, &f->err);
}

static bool resolve(struct fixture *f, const char *text)
{
	json_t *body = json_loads(text, 0, NULL);

	assert_non_null(body);
	return resolve_json(f, json_own(f->a, body));
}

static void shows(const json_t *o, const char *key, const char *want)
{
	assert_string_equal(json_string_value(json_object_get(o, key)), want);
}

/* ---- refusals ---- */

static void test_each_refusal_names_its_field(void **state)
{
	static const struct {
		const char *body, *field, *code;
	} cases[] = {
	    {"{}", "task", "MISSING_FIELD"},
	    {"{\"task\": \"  \\n \"}", "task", "MISSING_FIELD"},
	    {"{\"topic\": \"\"}", "topic", "MISSING_FIELD"},
	    {"{\"task\": 5}", "task", "INVALID_VALUE"},
	    {"{\"task\": null}", "task", "INVALID_VALUE"},
	    {"{\"question\": [\"x\"]}", "question", "INVALID_VALUE"},
	    {"{\"task\": \"x\", \"rounds\": 0}", "rounds", "INVALID_VALUE"},
	    {"{\"task\": \"x\", \"rounds\": 8}", "rounds", "INVALID_VALUE"},
	    {"{\"task\": \"x\", \"rounds\": -1}", "rounds", "INVALID_VALUE"},
	    {"{\"task\": \"x\", \"rounds\": 1.5}", "rounds", "INVALID_VALUE"},
	    {"{\"task\": \"x\", \"rounds\": \"2\"}", "rounds", "INVALID_VALUE"},
	    {"{\"task\": \"x\", \"protocol\": {\"rounds\": 99}}", "rounds", "INVALID_VALUE"},
	    {"{\"task\": \"x\", \"consensus\": \"loud\"}", "consensus", "INVALID_VALUE"},
	    {"{\"task\": \"x\", \"consensus\": 1}", "consensus", "INVALID_VALUE"},
	    {"{\"task\": \"x\", \"protocol\": {\"consensus\": \"\"}}", "consensus", "INVALID_VALUE"},
	    {"{\"task\": \"x\", \"context\": {}}", "context", "INVALID_VALUE"},
	    {"{\"task\": \"x\", \"protocol\": \"fast\"}", "protocol", "INVALID_VALUE"},
	    {"{\"task\": \"x\", \"metadata\": []}", "metadata", "INVALID_VALUE"},
	    {"{\"task\": \"x\", \"budget_limit_usd\": 100.5}", "budget_limit_usd", "INVALID_VALUE"},
	    {"{\"task\": \"x\", \"agents\": [\"demo\"]}", "agents", "INVALID_VALUE"},
	};
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < countof(cases); i++) {
		const json_t *first;

		if (resolve(f, cases[i].body))
			fail_msg("accepted: %s", cases[i].body);
		assert_null(f->plan);
		assert_int_equal(json_array_size(f->problems), 1);
		first = json_array_get(f->problems, 0);
		if (strcmp(f->err.field, cases[i].field) != 0)
			fail_msg("%s: field %s", cases[i].body, f->err.field);
		shows(first, "field", cases[i].field);
		shows(first, "code", cases[i].code);
		assert_string_equal(err_wire(f->err.code), cases[i].code);
		assert_true(json_string_length(json_object_get(first, "message")) > 5);
		shows(first, "message", f->err.msg);
	}
}

static void test_several_problems_at_once(void **state)
{
	static const char *const fields[] = {"rounds",   "consensus", "budget_limit_usd", "context", "protocol",
					     "metadata", "agents"};
	struct fixture *f = *state;
	size_t i;

	assert_false(resolve(f,
			     "{\"rounds\": 0, \"consensus\": \"x\", \"context\": 1, \"protocol\": 1, \"metadata\": 1,"
			     " \"budget_limit_usd\": -1, \"agents\": [\"nobody at all\"]}"));
	assert_int_equal(json_array_size(f->problems), countof(fields) + 1);
	shows(json_array_get(f->problems, 0), "field", "task");
	for (i = 0; i < countof(fields); i++)
		if (strncmp(json_string_value(json_object_get(json_array_get(f->problems, i + 1), "field")), fields[i],
			    strlen(fields[i])) != 0)
			fail_msg("problem %zu is about %s", i + 1,
				 json_string_value(json_object_get(json_array_get(f->problems, i + 1), "field")));
	/* The error value is the first of them. */
	assert_string_equal(f->err.field, "task");
	assert_int_equal(f->err.code, ERR_MISSING_FIELD);
}

/* A body with one text member of n times `piece`. */
static bool resolve_long(struct fixture *f, const char *key, const char *piece, size_t n)
{
	struct buf b = BUF_INIT;
	json_t *body = json_own(f->a, json_object());
	size_t i;

	for (i = 0; i < n; i++)
		buf_addz(&b, piece);
	json_put_str(body, "task", STR("x"));
	json_put_str(body, key, buf_str(&b));
	buf_free(&b);
	return resolve_json(f, body);
}

static void test_limits_count_characters(void **state)
{
	struct fixture *f = *state;

	assert_true(resolve_long(f, "task", "\xc3\xa4", 10000));
	assert_false(resolve_long(f, "task", "\xc3\xa4", 10001));
	assert_string_equal(f->err.field, "task");
	assert_true(resolve_long(f, "context", "\xe2\x82\xac", 100000));
	assert_false(resolve_long(f, "context", "x", 100001));
	assert_string_equal(f->err.field, "context");
}

static void test_metadata_limit_counts_bytes(void **state)
{
	struct fixture *f = *state;
	size_t n;

	for (n = 65536 - 8; n <= 65536 - 7; n++) { /* {"a":""} is 8 bytes */
		json_t *body = json_own(f->a, json_object()), *m = json_object();
		char *text = xmalloc(n);

		memset(text, 'x', n);
		json_put_str(m, "a", (struct str){text, n});
		free(text);
		json_put_str(body, "task", STR("x"));
		json_object_set_new(body, "metadata", m);
		assert_int_equal(resolve_json(f, body), n == 65536 - 8);
	}
	assert_string_equal(f->err.field, "metadata");
}

/* ---- what is taken ---- */

static void test_three_names_and_the_first_counts(void **state)
{
	struct fixture *f = *state;

	assert_true(resolve(f, "{\"question\": \" q \"}"));
	shows(f->plan, "task", "q");
	assert_true(resolve(f, "{\"question\": \"q\", \"topic\": \"t\"}"));
	shows(f->plan, "task", "t");
	assert_true(resolve(f, "{\"question\": \"q\", \"topic\": \"t\", \"task\": \"a\"}"));
	shows(f->plan, "task", "a");
}

static void test_protocol_is_merged_and_the_top_wins(void **state)
{
	static const struct {
		const char *body;
		int rounds;
		const char *consensus;
	} cases[] = {
	    {"{\"task\": \"x\"}", 2, "majority"},
	    {"{\"task\": \"x\", \"protocol\": null}", 2, "majority"},
	    {"{\"task\": \"x\", \"rounds\": null, \"consensus\": null, \"protocol\": {}, \"context\": null,"
	     " \"metadata\": null}",
	     2, "majority"},
	    {"{\"task\": \"x\", \"protocol\": {\"rounds\": 3, \"consensus\": \"judge\"}}", 3, "judge"},
	    {"{\"task\": \"x\", \"rounds\": 4, \"protocol\": {\"rounds\": 3, \"consensus\": \"none\"}}", 4, "none"},
	    {"{\"task\": \"x\", \"consensus\": \"Unanimous\", \"protocol\": {\"rounds\": 7, \"consensus\": \"judge\"}}",
	     7, "unanimous"},
	    {"{\"task\": \"x\", \"rounds\": 1, \"protocol\": {\"rounds\": 99}}", 1, "majority"},
	    {"{\"task\": \"x\", \"consensus\": \"WEIGHTED\"}", 2, "weighted"},
	};
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < countof(cases); i++) {
		assert_true(resolve(f, cases[i].body));
		assert_int_equal(json_get_int(f->plan, "rounds", 0), cases[i].rounds);
		shows(f->plan, "consensus", cases[i].consensus);
	}
}

static void test_budget(void **state)
{
	struct fixture *f = *state;
	struct debate_plan p = {0};

	assert_true(resolve(f, "{\"task\": \"x\"}"));
	assert_int_equal(json_get_int(f->plan, "budget_micro", -1), 0);
	assert_true(resolve(f, "{\"task\": \"x\", \"protocol\": {\"budget_limit_usd\": 1.5}}"));
	assert_true(plan_decode(f->a, f->plan, &p, &f->err));
	assert_int_equal(p.budget_micro, 1500000);
	assert_false(resolve(f, "{\"task\": \"x\", \"budget_limit_usd\": 0}"));
	assert_false(resolve(f, "{\"task\": \"x\", \"budget_limit_usd\": \"1\"}"));
	assert_true(resolve(f, "{\"task\": \"x\", \"budget_limit_usd\": 1e-9}"));
	assert_int_equal(json_get_int(f->plan, "budget_micro", -1), 1);
}

static void test_modes(void **state)
{
	static const struct {
		const char *body;
		int64_t threshold; /* 0: refused */
		const char *field;
	} cases[] = {
	    {"{\"task\": \"x\", \"consensus\": \"supermajority\"}", 666667, NULL},
	    {"{\"task\": \"x\", \"consensus_threshold\": 0.75}", 750000, NULL},
	    {"{\"task\": \"x\", \"protocol\": {\"consensus_threshold\": 1}}", 1000000, NULL},
	    {"{\"task\": \"x\", \"consensus_threshold\": 0.49}", 0, "consensus_threshold"},
	    {"{\"task\": \"x\", \"consensus_threshold\": \"high\"}", 0, "consensus_threshold"},
	    {"{\"task\": \"x\", \"consensus\": \"oracle\"}", 0, "consensus"},
	    {"{\"task\": \"x\", \"consensus\": \"byzantine\", \"agents\": [\"demo\", \"demo\", \"demo\"]}", 0,
	     "consensus"},
	};
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < countof(cases); i++) {
		assert_int_equal(resolve(f, cases[i].body), cases[i].threshold > 0);
		if (cases[i].threshold > 0)
			assert_int_equal(json_get_int(f->plan, "threshold_ppm", 0), cases[i].threshold);
		else
			assert_string_equal(f->err.field, cases[i].field);
	}
}

/* ---- the protocol ---- */

static struct protocol protocol_of(struct fixture *f, const char *body)
{
	struct debate_plan p = {0};

	if (!resolve(f, body))
		fail_msg("refused: %s: %s", body, f->err.msg);
	assert_true(plan_decode(f->a, f->plan, &p, &f->err));
	return p.protocol;
}

static void test_protocol_of_formats(void **state)
{
	struct fixture *f = *state;
	struct protocol p = protocol_of(f, "{\"task\": \"x\", \"rounds\": 4, \"agents\": [\"claude\", \"gpt\"]}");

	assert_true(p.structured_rounds && p.early_stopping && p.convergence && p.trickster && p.calibration);
	assert_false(p.role_rotation || p.asymmetric_stances || p.stability || p.position_shuffling || p.vote_weights);
	assert_int_equal(p.intensity, 5);
	assert_int_equal(p.rounds_min, 3);
	assert_int_equal(p.novelty_ppm, 200000);
	assert_int_equal(p.self_ppm, 500000);
	assert_int_equal(p.audience_ppm, 500000);
	p = protocol_of(f, "{\"task\": \"x\", \"debate_format\": \"light\", \"agents\": [\"claude\", \"gpt\"]}");
	assert_false(p.trickster || p.calibration || p.structured_rounds || p.role_rotation);
	assert_int_equal(p.novelty_ppm, 0);
	assert_int_equal(p.converge_ppm, 700000);
	p = protocol_of(f, "{\"task\": \"x\", \"debate_format\": \"full\", \"agents\": [\"claude\", \"gpt\"]}");
	assert_true(p.role_rotation && p.stability && p.position_shuffling);
	assert_int_equal(p.converge_ppm, 900000);
	assert_false(p.distinct); /* demo agents say the same by design */
	assert_true(protocol_usual(STR("full"), 3, 5, false).distinct);
	assert_false(protocol_usual(STR("full"), 3, 6, false).position_shuffling); /* three ballots each get dear */
}

static void test_protocol_fields(void **state)
{
	struct fixture *f = *state;
	struct protocol p = protocol_of(
	    f, "{\"task\": \"x\", \"agreement_intensity\": 2, \"protocol\": {\"agreement_intensity\": 9,"
	       " \"asymmetric_stances\": true, \"self_vote_weight\": 0.25, \"vote_grouping\": false,"
	       " \"min_participation_ratio\": 0.75, \"min_participation_count\": 3, \"judge_selection\": \"Random\","
	       " \"topology_sparsity\": 0.3, \"novelty_threshold\": 0, \"role_rotation\": null,"
	       " \"min_rounds_before_early_stop\": 50}}");

	assert_int_equal(p.intensity, 2); /* the top wins */
	assert_true(p.asymmetric_stances);
	assert_int_equal(p.self_ppm, 250000);
	assert_true(p.group_ppm > 1000000);
	assert_int_equal(p.quorum_ppm, 750000);
	assert_int_equal(p.quorum_count, 3);
	assert_int_equal(p.judge, JUDGE_RANDOM);
	assert_int_equal(p.sparsity_ppm, 300000);
	assert_int_equal(p.novelty_ppm, 0);
	assert_int_equal(p.rounds_min, 2); /* of two rounds */
	assert_true(resolve(f, "{\"task\": \"x\", \"early_stopping\": false}"));
	assert_true(json_get_int(f->plan, "early_agree_ppm", 0) > 1000000); /* nor after the drafts */
}

static void test_protocol_refusals(void **state)
{
	static const struct {
		const char *body, *field, *says;
	} cases[] = {
	    {"{\"task\": \"x\", \"agreement_intensity\": 11}", "agreement_intensity", "from 0 to 10"},
	    {"{\"task\": \"x\", \"agreement_intensity\": 1.5}", "agreement_intensity", "whole number"},
	    {"{\"task\": \"x\", \"role_rotation\": 1}", "role_rotation", "true or false"},
	    {"{\"task\": \"x\", \"self_vote_weight\": 1.01}", "self_vote_weight", "from 0 to 1"},
	    {"{\"task\": \"x\", \"self_vote_weight\": \"1\"}", "self_vote_weight", "number"},
	    {"{\"task\": \"x\", \"early_stop_threshold\": 0.4}", "early_stop_threshold", "0.5"},
	    {"{\"task\": \"x\", \"judge_selection\": \"dice\"}", "judge_selection", "elo_ranked"},
	    {"{\"task\": \"x\", \"vote_grouping\": 3}", "vote_grouping", "true or false"},
	    {"{\"task\": \"x\", \"protocol\": {\"rolerotation\": true}}", "protocol.rolerotation",
	     "did you mean role_rotation?"},
	    {"{\"task\": \"x\", \"protocol\": {\"consensus_treshold\": 1}}", "protocol.consensus_treshold",
	     "did you mean consensus_threshold?"},
	    {"{\"task\": \"x\", \"protocol\": {\"judge_termination\": true}}", "protocol.judge_termination",
	     "not supported"},
	    {"{\"task\": \"x\", \"protocol\": {\"flavour\": 1}}", "protocol.flavour", "no setting"},
	};
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < countof(cases); i++) {
		if (resolve(f, cases[i].body))
			fail_msg("accepted: %s", cases[i].body);
		assert_int_equal(json_array_size(f->problems), 1);
		assert_string_equal(f->err.field, cases[i].field);
		if (strstr(f->err.msg, cases[i].says) == NULL)
			fail_msg("%s: %s", cases[i].body, f->err.msg);
	}
}

/* Every member survives being stored, and a plan without them is one of former engines. */
static void test_protocol_round_trip(void **state)
{
	static const struct protocol odd = {.stability = true,
					    .verbosity_penalty = true,
					    .rotate_stances = true,
					    .intensity = 7,
					    .audience_ppm = 2,
					    .judge = JUDGE_LAST};
	struct protocol before = protocol_before(), again;
	json_t *stored = protocol_json(&odd, ENGINE_VERSION);

	(void)state;
	again = protocol_decode(stored);
	assert_int_equal(again.intensity, 7);
	assert_true(again.stability && again.verbosity_penalty && again.rotate_stances);
	assert_int_equal(again.audience_ppm, 2);
	assert_int_equal(again.judge, JUDGE_LAST);
	json_decref(stored);
	again = protocol_decode(NULL);
	assert_int_equal(again.intensity, -1);
	assert_int_equal(again.self_ppm, before.self_ppm);
	assert_int_equal(again.audience_ppm, 0);
	assert_false(again.structured_rounds || again.early_stopping || again.calibration);
}

/* ---- stored and read back ---- */

static void test_round_trip(void **state)
{
	struct fixture *f = *state;
	struct arena *b = arena_new(0);
	struct debate_plan p = {0};
	json_t *again;
	struct str text;

	assert_true(resolve(
	    f, "{\"task\": \"Caf\xc3\xa9 or tea?\", \"context\": \"We \\u0001are \\\"four\\\".\", \"rounds\": 5,"
	       " \"consensus\": \"unanimous\", \"agents\": [\"demo\", \"demo\", \"demo\"]}"));
	text = json_text(f->a, f->plan);
	again = json_parse(b, text, &f->err);
	assert_non_null(again);
	assert_true(plan_decode(b, again, &p, &f->err));
	assert_true(str_eqz(p.task, "Caf\xc3\xa9 or tea?"));
	assert_true(str_eq(p.context, json_get_str(f->plan, "context", STR_NONE)));
	assert_true(p.mode == mode_find(STR("unanimous")));
	assert_true(str_eqz(p.language, f->c->debates.language));
	assert_int_equal(p.rounds, 5);
	assert_int_equal(p.agent_count, 3);
	assert_true(str_eqz(p.agents[0].provider, "demo"));
	assert_false(str_eq(p.agents[0].name, p.agents[1].name));
	assert_true(str_eq(p.agents[2].name,
			   json_get_str(json_array_get(json_object_get(f->plan, "agents"), 2), "name", STR_NONE)));
	assert_int_equal(p.timeout_ms, 1234);
	assert_int_equal(p.agent_timeout_ms, 56);
	assert_int_equal(p.threshold_ppm, 600000);
	assert_int_equal(p.early_agree_ppm, 850000);
	assert_true((int64_t)p.seed == json_get_int(f->plan, "seed", -1));
	assert_true(p.demo);
	arena_free(b);
}

static void test_seeds_differ(void **state)
{
	struct fixture *f = *state;
	int64_t first;

	assert_true(resolve(f, "{\"task\": \"x\"}"));
	first = json_get_int(f->plan, "seed", -1);
	assert_true(first >= 0);
	assert_true(resolve(f, "{\"task\": \"x\"}"));
	assert_true(first != json_get_int(f->plan, "seed", -1));
}

/* The arrays of the engine have room for so many seats and not for one more. */
static void test_seats_of_a_stored_plan(void **state)
{
	static const struct {
		int seats;
		bool ok;
	} cases[] = {{0, false}, {1, false}, {2, true}, {TOPOLOGY_SEATS_MAX, true}, {TOPOLOGY_SEATS_MAX + 1, false}};
	struct fixture *f = *state;
	struct debate_plan p;
	size_t i;
	int n;

	for (i = 0; i < countof(cases); i++) {
		json_t *plan = json_own(
		    f->a, json_pack("{s:i, s:s, s:[]}", "engine_version", ENGINE_VERSION, "task", "x", "agents"));

		for (n = 0; n < cases[i].seats; n++)
			json_array_append_new(json_object_get(plan, "agents"), json_pack("{s:s}", "name", "a"));
		f->err = ERROR_INIT;
		assert_int_equal(plan_decode(f->a, plan, &p, &f->err), cases[i].ok);
		assert_int_equal(f->err.code, cases[i].ok ? ERR_OK : ERR_INTERNAL);
	}
}

static void test_plans_that_cannot_be_read(void **state)
{
	static const char *const texts[] = {"{}",
					    "[]",
					    "{\"agents\": [{}, {}]}",
					    "{\"engine_version\": 1}",
					    "{\"engine_version\": 1, \"agents\": 7}",
					    "{\"engine_version\": 99, \"agents\": [{}, {}]}",
					    "{\"engine_version\": \"1\", \"agents\": [{}, {}]}"};
	struct fixture *f = *state;
	struct debate_plan p;
	size_t i;

	for (i = 0; i < countof(texts); i++) {
		f->err = ERROR_INIT;
		if (plan_decode(f->a, json_own(f->a, json_loads(texts[i], 0, NULL)), &p, &f->err))
			fail_msg("read: %s", texts[i]);
		assert_int_equal(f->err.code, ERR_INTERNAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_each_refusal_names_its_field, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_several_problems_at_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_limits_count_characters, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_metadata_limit_counts_bytes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_three_names_and_the_first_counts, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_protocol_is_merged_and_the_top_wins, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_modes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_budget, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_protocol_of_formats, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_protocol_fields, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_protocol_refusals, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_protocol_round_trip, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_seeds_differ, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_seats_of_a_stored_plan, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_plans_that_cannot_be_read, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
