/* SPDX-License-Identifier: MIT */
/*
 * Explanations: counterfactuals against numbers worked out by hand, none where the stored outcome is not a count of the
 * stored votes, effects of critiques by what the texts say, and pages in which nothing of a text becomes markup.
 */
#include "worker/explain/explain.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "common/json.h"
#include "worker/explain/views.h"

/* debate.md 3.2: weights 1.2, 0.9, 1.0; A, A, B gives A 2.1 / 3.1 = 0.677. */
static const char test_result[] =
    "{\"debate_id\":\"d\",\"task\":\"Tea | <b>coffee</b>?\",\"participants\":[\"x\",\"y\",\"z\"],\"winner\":\"x\","
    "\"rounds_used\":2,\"final_answer\":\"Tea.\\n\\nNext steps:\\n1. Boil water.\\n\\nBecause:\\n- It is warm.\","
    "\"consensus\":{\"method\":\"majority\",\"reached\":true,\"threshold_ppm\":600000,\"weighted_share_ppm\":677419,"
    "\"margin_ppm\":354838,\"share_ppm\":666666,\"confidence_ppm\":677419,\"strength\":\"moderate\",\"groups\":["
    "{\"label\":\"tea\",\"agents\":[\"x\"],\"votes\":2,\"weight_ppm\":2100000},"
    "{\"label\":\"water\",\"agents\":[\"y\"],\"votes\":0,\"weight_ppm\":0},"
    "{\"label\":\"coffee\",\"agents\":[\"z\"],\"votes\":1,\"weight_ppm\":1000000}]},"
    "\"votes\":[{\"agent\":\"x\",\"choice\":\"x\",\"confidence_ppm\":1000000,\"weight_ppm\":1200000,\"reasoning\":"
    "\"mine\","
    "\"factors\":{\"elo_ppm\":1200000}},"
    "{\"agent\":\"y\",\"choice\":\"x\",\"confidence_ppm\":1000000,\"weight_ppm\":900000,\"reasoning\":\"<i>good</i>\"},"
    "{\"agent\":\"z\",\"choice\":\"z\",\"confidence_ppm\":1000000,\"weight_ppm\":1000000,\"reasoning\":\"mine\"}],"
    "\"messages\":["
    "{\"agent\":\"x\",\"round\":0,\"content\":\"Tea is warm and cheap\",\"at_ms\":1},"
    "{\"agent\":\"y\",\"round\":0,\"content\":\"Water is everywhere\",\"at_ms\":1},"
    "{\"agent\":\"z\",\"round\":0,\"content\":\"Coffee wakes people\",\"at_ms\":1},"
    "{\"agent\":\"x\",\"round\":1,\"content\":\"Tea is warm and cheap, and caffeine content matters "
    "little\",\"at_ms\":2},"
    "{\"agent\":\"y\",\"round\":1,\"content\":\"Tea wins after all\",\"at_ms\":2},"
    "{\"agent\":\"z\",\"round\":1,\"content\":\"Coffee wakes people\",\"at_ms\":2}],"
    "\"critiques\":["
    "{\"round\":1,\"agent\":\"z\",\"target_agent\":\"x\",\"issues\":[\"says nothing of caffeine "
    "content\"],\"suggestions\":[],"
    "\"severity_milli\":4000,\"reasoning\":\"r\"},"
    "{\"round\":1,\"agent\":\"x\",\"target_agent\":\"y\",\"issues\":[\"dull\"],\"suggestions\":[],\"severity_milli\":"
    "7000,"
    "\"reasoning\":\"r\"},"
    "{\"round\":1,\"agent\":\"x\",\"target_agent\":\"z\",\"issues\":[\"expensive\"],\"suggestions\":[],\"severity_"
    "milli\":8000,"
    "\"reasoning\":\"r\"},"
    "{\"round\":2,\"agent\":\"x\",\"target_agent\":\"z\",\"issues\":[\"expensive still\"],\"suggestions\":[],"
    "\"severity_milli\":8000,\"reasoning\":\"r\"}],"
    "\"flips\":[{\"agent\":\"y\",\"round\":1}],\"dissents\":[{\"agent\":\"z\",\"view\":\"coffee\",\"reasons\":["
    "\"sleep\"]}],"
    "\"convergence\":{\"status\":\"diverging\",\"similarity_ppm\":100000,\"agreement_ppm\":200000},\"agent_failures\":{"
    "},"
    "\"per_agent\":{\"x\":{\"model\":\"m\",\"calls\":2,\"cost_micro\":1500,\"tokens_in\":1,\"tokens_out\":2},"
    "\"y\":{\"model\":\"m\",\"calls\":1,\"cost_micro\":500,\"tokens_in\":1,\"tokens_out\":2}},\"cost_micro\":2000,"
    "\"tokens_in\":2,\"tokens_out\":4,\"proposals\":{\"x\":\"Tea\",\"y\":\"Tea\",\"z\":\"Coffee\"}}";

static json_t *parse(struct arena *a, const char *text)
{
	struct error err = ERROR_INIT;
	json_t *j = json_parse(a, str_of(text), &err);

	if (j == NULL)
		fail_msg("%s", err.msg);
	return j;
}

static const json_t *what_if(const json_t *o, const char *type, const char *agent, int64_t threshold)
{
	const json_t *list = json_get_arr(o, "counterfactuals"), *e;
	size_t i;

	json_array_foreach(list, i, e) if (str_eqz(json_get_str(e, "type", STR("")), type) &&
					   str_eqz(json_get_str(e, "agent", STR("")), agent) &&
					   json_get_int(e, "threshold_ppm", 0) == threshold) return e;
	fail_msg("no %s of \"%s\"", type, agent);
	return NULL;
}

static void check(const json_t *e, const char *winner, bool reached, int64_t share, bool changes)
{
	assert_true(str_eqz(json_get_str(e, "winner", STR("")), winner));
	assert_int_equal(json_get_bool(e, "reached", !reached), reached);
	assert_int_equal(json_get_int(e, "weighted_share_ppm", -1), share);
	assert_int_equal(json_get_bool(e, "changes_outcome", !changes), changes);
}

static void test_what_if(void **state)
{
	struct arena *a = arena_new(0);
	json_t *o = json_own(a, explain_votes(a, parse(a, test_result)));
	const json_t *votes = json_get_arr(o, "votes"), *first = json_array_get(votes, 0);

	(void)state;
	assert_true(json_get_bool(json_get_obj(o, "recount"), "agrees", false));
	check(what_if(o, "without_vote", "x", 0), "z", false, 526315, true);  /* 1.0 / 1.9 */
	check(what_if(o, "without_vote", "y", 0), "x", false, 545454, true);  /* 1.2 / 2.2 */
	check(what_if(o, "without_vote", "z", 0), "x", true, 1000000, false); /* nobody else */
	check(what_if(o, "switched_vote", "y", 0), "z", true, 612903, true);  /* 1.9 / 3.1 */
	check(what_if(o, "equal_weights", "", 0), "x", true, 666666, false);
	check(what_if(o, "threshold", "", 500000), "x", true, 677419, false);
	check(what_if(o, "threshold", "", 666667), "x", true, 677419, false);
	check(what_if(o, "threshold", "", 750000), "x", false, 677419, true);
	assert_int_equal(json_array_size(json_get_arr(o, "pivotal_agents")), 2);
	assert_int_equal(json_array_size(votes), 3);
	assert_int_equal(json_get_int(first, "share_ppm", 0), 387096); /* 1.2 / 3.1 */
	assert_true(json_get_bool(first, "pivotal", false) && json_get_bool(first, "for_winner", false));
	assert_false(json_get_bool(json_array_get(votes, 2), "for_winner", true));
	first = json_array_get(json_get_arr(first, "factors"), 0);
	assert_true(str_eqz(json_get_str(first, "name", STR("")), "elo"));
	assert_int_equal(json_get_int(first, "ppm", 0), 1200000);
	arena_free(a);
}

/* Where counting again gives something else, nothing is said about what would have been. */
static void test_not_countable(void **state)
{
	struct arena *a = arena_new(0);
	json_t *result = parse(a, test_result), *o;

	(void)state;
	json_put_int(json_get_obj(result, "consensus"), "weighted_share_ppm", 700000); /* people had votes too */
	o = json_own(a, explain_votes(a, result));
	assert_false(json_get_bool(json_get_obj(o, "recount"), "agrees", true));
	assert_int_equal(json_array_size(json_get_arr(o, "counterfactuals")), 0);
	assert_int_equal(json_array_size(json_get_arr(o, "votes")), 3);
	json_object_set_new(result, "votes", json_array()); /* a judge */
	o = json_own(a, explain_result(a, result));
	assert_int_equal(json_array_size(json_get_arr(o, "counterfactuals")), 0);
	o = json_own(a, explain_result(a, parse(a, "{}")));
	assert_int_equal(json_array_size(json_get_arr(o, "votes")), 0);
	o = json_own(a, explain_result(
			    a, parse(a, "{\"votes\":[{\"agent\":3}],\"consensus\":{\"groups\":[{\"agents\":[1]}]}}")));
	assert_non_null(o);
	arena_free(a);
}

static void test_changes(void **state)
{
	static const char *const effects[] = {"taken_up", "position_changed", "none", "unanswered"};
	struct arena *a = arena_new(0);
	json_t *o = json_own(a, explain_changes(a, parse(a, test_result)));
	const json_t *critiques = json_get_arr(o, "critiques"), *changes = json_get_arr(o, "changes");
	size_t i;

	(void)state;
	assert_int_equal(json_array_size(critiques), countof(effects));
	for (i = 0; i < countof(effects); i++)
		if (!str_eqz(json_get_str(json_array_get(critiques, i), "effect", STR("")), effects[i]))
			fail_msg("critique %zu: not %s", i, effects[i]);
	assert_true(json_get_int(json_array_get(critiques, 0), "uptake_ppm", 0) > 100000);
	assert_int_equal(json_array_size(changes), 3);
	assert_true(json_get_bool(json_array_get(changes, 1), "flipped", false));
	assert_int_equal(json_get_int(json_array_get(changes, 2), "changed_ppm", -1), 0);
	arena_free(a);
}

static bool has(struct str page, const char *text)
{
	return str_find(page, str_of(text)) >= 0;
}

static void test_pages(void **state)
{
	struct arena *a = arena_new(0);
	json_t *o = json_own(a, explain_result(a, parse(a, test_result)));
	struct str md = explain_markdown(a, o), html = explain_html(a, o), words = json_get_str(o, "summary", STR(""));

	(void)state;
	assert_true(has(words, "position of x, which holds 67.7 % of the weight that was cast, 35.5 % ahead"));
	assert_true(has(words, "hangs on the votes of x and y"));
	assert_true(has(md, "| y | x | 100.0 % |  | 90.0 % |  | 29.0 % | yes | \\<i>good\\</i> |"));
	assert_true(has(md, "elo × 1.20") && has(md, "Tea \\| \\<b>"));
	assert_true(has(html, "&lt;i&gt;good&lt;/i&gt;") && !has(html, "<i>good") && !has(html, "<b>coffee"));
	assert_true(has(html, "<tr class=\"yes\">"));
	assert_false(has(html, "<script") || has(html, "http://"));
	arena_free(a);
}

static const json_t *view(struct arena *a, const char *name, const json_t *result)
{
	const json_t *debate =
	    parse(a, "{\"id\":\"d\",\"task\":\"t\",\"agents\":[\"x\",\"y\",\"z\"],\"consensus_reached\":false,"
		     "\"confidence\":0.677,\"status\":\"completed\",\"rounds_used\":2}");
	const struct explain_view *v = explain_view_find(name);

	assert_non_null(v);
	return json_own(a, v->make(a, debate, result));
}

static void test_views(void **state)
{
	static const char *const names[] = {"convergence", "impasse",      "citations",           "evidence",
					    "summary",     "costs",        "verification-report", "positions",
					    "diagnostics", "meta-critique"};
	struct arena *a = arena_new(0);
	json_t *result = parse(a, test_result);
	const json_t *o, *e;
	size_t i;

	(void)state;
	for (i = 0; i < countof(names); i++) {
		o = view(a, names[i], NULL); /* it runs still */
		assert_true(json_is_object(o));
	}
	assert_null(explain_view_find("nothing"));
	o = view(a, "impasse", result);
	assert_true(json_get_bool(o, "is_impasse", false)); /* two critiques repeat, no convergence, both severe */
	assert_true(json_get_bool(json_get_obj(o, "indicators"), "repeated_critiques", false));
	o = json_get_obj(view(a, "summary", result), "summary");
	assert_true(str_eqz(json_get_str(o, "one_liner", STR("")), "Tea."));
	assert_string_equal(json_string_value(json_array_get(json_get_arr(o, "next_steps"), 0)), "Boil water.");
	assert_string_equal(json_string_value(json_array_get(json_get_arr(o, "key_points"), 0)), "It is warm.");
	o = json_get_obj(json_get_obj(view(a, "costs", result), "data"), "model_usage");
	assert_int_equal(json_get_int(json_get_obj(o, "m"), "calls", 0), 3);
	assert_int_equal(json_get_int(json_get_obj(o, "m"), "cost_micro", 0), 2000);
	o = view(a, "positions", result);
	e = json_array_get(json_get_arr(json_get_obj(o, "positions"), "y"), 0);
	assert_true(str_eqz(json_get_str(e, "stance", STR("")), "neutral"));
	assert_true(json_get_num(json_get_obj(json_get_obj(o, "summary"), "stability_scores"), "y", 1) < .01);
	o = view(a, "convergence", result);
	assert_int_equal(json_array_size(json_get_arr(o, "convergence_trajectory")), 2);
	o = view(a, "meta-critique", result);
	assert_int_equal(json_array_size(json_get_arr(o, "productive_rounds")), 1);
	json_put_str(json_array_get(json_get_arr(result, "messages"), 0), "content",
		     STR("See https://example.org/a, and (http://b.example) or httpx"));
	o = view(a, "citations", result);
	assert_int_equal(json_get_int(o, "total", 0), 2);
	assert_true(str_eqz(json_get_str(json_array_get(json_get_arr(o, "citations"), 0), "source", STR("")),
			    "https://example.org/a"));
	arena_free(a);
}

/* Two of four: those that are relevant enough, the best first. */
static void test_evidence_cut(void **state)
{
	struct arena *a = arena_new(0);
	json_t *o = parse(a, "{\"evidence\":[{\"id\":\"a\",\"relevance_score\":0.5},"
			     "{\"id\":\"b\",\"relevance_score\":0.9},{\"id\":\"c\",\"relevance_score\":0.1},"
			     "{\"id\":\"d\",\"relevance_score\":0.7}]}");

	(void)state;
	view_evidence_cut(o, 0.2, 2);
	assert_int_equal(json_array_size(json_get_arr(o, "evidence")), 2);
	assert_true(str_eqz(json_get_str(json_array_get(json_get_arr(o, "evidence"), 0), "id", STR("")), "b") &&
		    str_eqz(json_get_str(json_array_get(json_get_arr(o, "evidence"), 1), "id", STR("")), "d"));
	assert_true(json_equal(json_get_arr(o, "evidence"), json_get_arr(o, "related_evidence")));
	view_evidence_cut(o, 0.8, 100);
	assert_int_equal(json_array_size(json_get_arr(o, "evidence")), 1);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_if), cmocka_unit_test(test_not_countable),
					   cmocka_unit_test(test_changes), cmocka_unit_test(test_pages),
					   cmocka_unit_test(test_views),   cmocka_unit_test(test_evidence_cut)};

	return cmocka_run_group_tests_name("explain", tests, NULL, NULL);
}
