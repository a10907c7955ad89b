/* SPDX-License-Identifier: MIT */
/*
 * Graph debates (debate.md 1.13): a debate that branches where it ends in disagreement. The first item is the root; if
 * its positions are apart by more than the policy allows, each becomes a branch, a debate that works it out; branches
 * are merged by a further debate, by their confidence, or by their evidence. What is shown as a graph is read from the
 * results of these debates.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/batch/forms.h"
#include "worker/batch/room.h"
#include "worker/debate/fork.h"
#include "worker/debate/request.h"
#include "worker/engine/consensus.h"
#include "worker/engine/evidence.h"
#include "worker/http/body.h"
#include "worker/worker.h"

#define GRAPH_ROUNDS 5
#define GRAPH_TASK_MIN 10 /* rest-core 4.9 */
#define GRAPH_TASK_MAX 5000
#define GRAPH_BRANCHES_MAX 10
#define GRAPH_TEXT_MAX 4000 /* of a node */
#define GRAPH_MERGE "merge"

/* {min_disagreement_ppm, max_branches, auto_merge, merge_strategy} and the body of children. */
static const json_t *graph_settings(struct arena *a, const struct batch_row *batch)
{
	struct error err = ERROR_INIT;

	return json_parse(a, batch->settings, &err);
}

/* ---- branching ---- */

/* How far apart the root's positions are: 1 less the lead of the first over the second. */
static int64_t graph_disagreement(const json_t *result)
{
	const json_t *c = json_get_obj(result, "consensus");

	if (json_array_size(json_get_arr(c, "groups")) < 2)
		return 0;
	return CONSENSUS_ONE - json_get_int(c, "margin_ppm", CONSENSUS_ONE);
}

static struct str graph_proposal(const json_t *result, const json_t *group)
{
	const json_t *agent = json_array_get(json_get_arr(group, "agents"), 0);

	return agent != NULL ? json_get_str(json_get_obj(result, "proposals"), json_string_value(agent), STR(""))
			     : STR("");
}

static void graph_branch(struct db_batch *b, struct arena *a, const struct batch_row *batch, const json_t *settings,
			 const json_t *result, size_t k)
{
	const json_t *group = json_array_get(json_get_arr(json_get_obj(result, "consensus"), "groups"), k);
	json_t *body = json_own(a, json_deep_copy(json_get_obj(settings, "body")));
	struct str label = json_get_str(group, "label", STR("")), text = graph_proposal(result, group);
	struct context ctx = batch_context(batch);

	json_put_str(
	    body, "context",
	    arena_printf(a,
			 "%.*s%sAn earlier debate of this question ended with positions that are apart. Work out "
			 "the best answer that follows this one, with what it needs and where it fails: "
			 "%.*s\n\n%.*s",
			 STR_ARG(json_get_str(body, "context", STR(""))),
			 json_get_str(body, "context", STR("")).n > 0 ? "\n\n" : "", STR_ARG(label),
			 STR_ARG(str_utf8_cut(text, 2 * GRAPH_TEXT_MAX))));
	batch_add_item(b, a, &ctx, batch->id, (int64_t)k + 1, arena_printf(a, "branch_%zu", k + 1), 0, body,
		       clock_wall_ms());
}

static void graph_merge(struct db_batch *b, struct arena *a, const struct batch_row *batch, const json_t *settings,
			const struct batch_item *items, size_t n)
{
	json_t *body = json_own(a, json_deep_copy(json_get_obj(settings, "body")));
	struct context ctx = batch_context(batch);
	struct str text = json_get_str(body, "context", STR(""));
	size_t i;

	text =
	    arena_printf(a, "%.*s%sThese lines were worked out each on its own. Join what holds in them to one answer.",
			 STR_ARG(text), text.n > 0 ? "\n\n" : "");
	for (i = 1; i < n; i++)
		if (str_eqz(items[i].state, "completed"))
			text = arena_printf(a, "%.*s\n\n[Line %zu]\n%.*s", STR_ARG(text), i,
					    STR_ARG(str_utf8_cut(items[i].final_answer, 2 * GRAPH_TEXT_MAX)));
	json_put_str(body, "context", text);
	batch_add_item(b, a, &ctx, batch->id, (int64_t)n, STR(GRAPH_MERGE), 0, body, clock_wall_ms());
}

static size_t graph_completed(const struct batch_item *items, size_t n)
{
	size_t i, k = 0;

	for (i = 1; i < n; i++)
		k += str_eqz(items[i].state, "completed");
	return k;
}

CO_FN static bool graph_advance(struct worker *w, struct arena *a, const struct batch_row *batch,
				const struct batch_item *items, size_t n, struct db_batch *b, int64_t *added,
				struct error *err)
{
	const json_t *settings = graph_settings(a, batch), *result = n > 0 ? batch_result(a, &items[0]) : NULL;
	size_t groups, most, k;

	(void)w;
	(void)err;
	*added = 0;
	if (n == 1 && str_eqz(items[0].state, "completed")) {
		groups = json_array_size(json_get_arr(json_get_obj(result, "consensus"), "groups"));
		most = (size_t)json_get_int(settings, "max_branches", 3);
		if (graph_disagreement(result) < json_get_int(settings, "min_disagreement_ppm", 700000))
			return true;
		for (k = 0; k < groups && k < most; k++)
			graph_branch(b, a, batch, settings, result, k);
		*added = (int64_t)k;
	} else if (n > 1 && !str_eqz(items[n - 1].name, GRAPH_MERGE) && graph_completed(items, n) > 1 &&
		   json_get_bool(settings, "auto_merge", true) &&
		   str_eqz(json_get_str(settings, "merge_strategy", STR("")), "synthesis")) {
		graph_merge(b, a, batch, settings, items, n);
		*added = 1;
	}
	return true;
}

/* ---- the graph ---- */

static void graph_edge(json_t *edges, struct str from, struct str to, const char *type)
{
	json_t *o = json_pack("{s:s, s:f}", "type", type, "weight", 1.0);

	json_put_str(o, "source", from);
	json_put_str(o, "target", to);
	json_array_append_new(edges, o);
}

static struct str graph_end(struct arena *a, const struct batch_item *item)
{
	return arena_printf(a, "%.*s:conclusion", STR_ARG(item->debate_id));
}

/* What was said in a debate, each agent's texts in a row, and its conclusion. */
static void graph_nodes(struct arena *a, const struct batch_item *item, json_t *nodes, json_t *edges)
{
	const json_t *result = batch_result(a, item), *messages = json_get_arr(result, "messages");
	json_t *last = json_own(a, json_object()), *o, *v;
	struct str end = graph_end(a, item);
	const char *agent;
	size_t i;

	if (result == NULL)
		return;
	for (i = 0; i < json_array_size(messages); i++) {
		const json_t *m = json_array_get(messages, i);
		struct str id = arena_printf(a, "%.*s:%zu", STR_ARG(item->debate_id), i);
		struct str who = json_get_str(m, "agent", STR(""));

		o = json_pack("{s:s, s:s%}", "type", json_get_int(m, "round", 0) == 0 ? "claim" : "argument", "agent",
			      who.p, who.n);
		json_put_str(o, "id", id);
		json_put_str(o, "branch_id", item->name);
		json_put_str(o, "debate_id", item->debate_id);
		json_put_str(o, "content", str_utf8_cut(json_get_str(m, "content", STR("")), GRAPH_TEXT_MAX));
		json_put_int(o, "round", json_get_int(m, "round", 0));
		json_array_append_new(nodes, o);
		v = json_object_getn(last, who.p, who.n);
		if (v != NULL)
			graph_edge(edges, str_of(json_string_value(v)), id, "responds_to");
		json_object_setn_new(last, who.p, who.n, json_str(id));
	}
	o = json_pack("{s:s, s:s, s:f, s:b}", "type", "conclusion", "agent", "", "confidence",
		      (double)item->confidence_ppm / 1e6, "consensus_reached", (int)(item->consensus_reached != 0));
	json_put_str(o, "id", end);
	json_put_str(o, "branch_id", item->name);
	json_put_str(o, "debate_id", item->debate_id);
	json_put_str(o, "content", str_utf8_cut(item->final_answer, GRAPH_TEXT_MAX));
	json_put_int(o, "round", json_get_int(result, "rounds_used", 0));
	json_array_append_new(nodes, o);
	json_object_foreach(last, agent, v) graph_edge(edges, str_of(json_string_value(v)), end, "supports");
}

/* Of the branches that have ended well the one to be taken: by what its debate is sure of, or by its evidence. */
static const struct batch_item *graph_best(const struct batch_item *items, size_t n, bool evidence, int64_t *score)
{
	const struct batch_item *best = NULL;
	size_t i;

	for (i = 1; i < n; i++) {
		int64_t s;

		if (!str_eqz(items[i].state, "completed") || str_eqz(items[i].name, GRAPH_MERGE))
			continue;
		s = evidence ? evidence_of(items[i].final_answer).quality : items[i].confidence_ppm;
		if (best == NULL || s > *score) {
			best = &items[i];
			*score = s;
		}
	}
	return best;
}

static json_t *graph_merged(struct arena *a, const json_t *settings, const struct batch_item *items, size_t n,
			    const struct batch_item **taken)
{
	struct str how = json_get_str(settings, "merge_strategy", STR("synthesis"));
	json_t *list = json_own(a, json_array()), *o, *from;
	int64_t score = 0;
	size_t i;

	*taken = n > 0 ? &items[0] : NULL;
	if (n < 2 || !json_get_bool(settings, "auto_merge", true))
		return list;
	if (str_eqz(how, "synthesis") && str_eqz(items[n - 1].name, GRAPH_MERGE))
		*taken = &items[n - 1];
	else if (graph_best(items, n, str_eqz(how, "best_evidence"), &score) != NULL)
		*taken = graph_best(items, n, str_eqz(how, "best_evidence"), &score);
	else
		return list;
	from = json_array();
	for (i = 1; i < n; i++)
		if (str_eqz(items[i].state, "completed") && !str_eqz(items[i].name, GRAPH_MERGE))
			json_array_append_new(from, json_str(items[i].name));
	o = json_pack("{s:o, s:b}", "source_branches", from, "completed", (int)((*taken)->debate_ended != 0));
	json_put_str(o, "strategy", how);
	json_put_str(o, "merged_branch", (*taken)->name);
	json_object_set_new(o, "debate_id", (*taken)->debate_id.n > 0 ? json_str((*taken)->debate_id) : json_null());
	json_object_set_new(o, "score", score > 0 ? json_real((double)score / 1e6) : json_null());
	json_put_str(o, "synthesis", (*taken)->final_answer.n > 0 ? (*taken)->final_answer : STR(""));
	json_array_append_new(list, o);
	return list;
}

static json_t *graph_branches(struct arena *a, const struct batch_item *items, size_t n)
{
	json_t *list = json_array(), *o;
	size_t i;

	for (i = 0; i < n; i++) {
		o = json_object();
		json_put_str(o, "branch_id", items[i].name);
		json_put_str(o, "name", items[i].name);
		json_put_str(o, "type",
			     str_of(i == 0                                ? "root"
				    : str_eqz(items[i].name, GRAPH_MERGE) ? "merge"
									  : "branch"));
		json_put_str(o, "status", items[i].state);
		json_object_set_new(o, "debate_id",
				    items[i].debate_id.n > 0 ? json_str(items[i].debate_id) : json_null());
		json_put_str(o, "position", forms_position(a, &items[i]));
		json_object_set_new(o, "consensus_reached", json_boolean(items[i].consensus_reached != 0));
		json_object_set_new(o, "confidence", json_real((double)items[i].confidence_ppm / 1e6));
		json_array_append_new(list, o);
	}
	return list;
}

json_t *graph_document(struct arena *a, const struct batch_row *batch, const struct batch_item *items, size_t n)
{
	const json_t *settings = graph_settings(a, batch);
	json_t *o = json_own(a, json_object()), *nodes = json_array(), *edges = json_array(), *merged;
	const struct batch_item *taken;
	size_t i;

	for (i = 0; i < n; i++)
		graph_nodes(a, &items[i], nodes, edges);
	for (i = 1; i < n; i++) {
		bool merge = str_eqz(items[i].name, GRAPH_MERGE);
		size_t k;

		for (k = merge ? 1 : 0; items[i].debate_id.n > 0 && k < (merge ? i : 1); k++)
			if (items[k].debate_id.n > 0)
				graph_edge(edges, graph_end(a, &items[k]), graph_end(a, &items[i]),
					   merge ? "merges_into" : "branches_into");
	}
	merged = graph_merged(a, settings, items, n, &taken);
	json_put_int(o, "node_count", (int64_t)json_array_size(nodes));
	json_put_int(o, "edge_count", (int64_t)json_array_size(edges));
	json_object_set_new(o, "graph", json_pack("{s:o, s:o}", "nodes", nodes, "edges", edges));
	json_object_set_new(o, "branches", graph_branches(a, items, n));
	json_put_int(o, "branch_count", (int64_t)n);
	json_object_set(o, "merge_results", merged);
	json_object_set_new(o, "disagreement",
			    json_real((double)graph_disagreement(n > 0 ? batch_result(a, &items[0]) : NULL) / 1e6));
	json_put_str(o, "final_answer", taken != NULL && taken->final_answer.n > 0 ? taken->final_answer : STR(""));
	json_object_set(o, "branch_policy", json_object_get(settings, "branch_policy"));
	return o;
}

const struct batch_kind batch_kind_graph = {"graph", "graph_", graph_advance, graph_document};

/* ---- submit ---- */

/* The policy with its defaults; NULL: answered. */
static json_t *graph_policy(struct http_request *req, const json_t *given)
{
	static const char *const strategies[] = {"synthesis", "vote", "best_evidence"};
	const json_t *p = json_object_get(given, "branch_policy");
	const json_t *v = json_object_get(p, "min_disagreement"), *most = json_object_get(p, "max_branches");
	struct str how = json_get_str(p, "merge_strategy", STR("synthesis"));
	double apart = v != NULL ? json_number_value(v) : 0.7;
	json_t *o;
	size_t i;

	for (i = 0; i < countof(strategies) && !str_eqz(how, strategies[i]); i++)
		;
	if (p != NULL && !json_is_object(p)) {
		(void)body_reject(req, "branch_policy", "must be an object");
		return NULL;
	}
	if ((v != NULL && !json_is_number(v)) || apart < 0 || apart > 1) {
		(void)body_reject(req, "branch_policy.min_disagreement", "must be a number from 0 to 1");
		return NULL;
	}
	if (most != NULL &&
	    (!json_is_integer(most) || json_integer_value(most) < 1 || json_integer_value(most) > GRAPH_BRANCHES_MAX)) {
		(void)body_reject(req, "branch_policy.max_branches", "must be a whole number from 1 to 10");
		return NULL;
	}
	if (i == countof(strategies)) {
		(void)body_reject(req, "branch_policy.merge_strategy", "must be synthesis, vote or best_evidence");
		return NULL;
	}
	o = json_own(req->arena,
		     json_pack("{s:I, s:b, s:s}", "min_disagreement_ppm", (json_int_t)(apart * 1e6 + 0.5), "auto_merge",
			       (int)json_get_bool(p, "auto_merge", true), "merge_strategy", strategies[i]));
	json_put_int(o, "max_branches", most != NULL ? json_integer_value(most) : 3);
	return o;
}

CO_FN void graph_submit(struct http_request *req)
{
	const json_t *given = body_object(req);
	struct str task;
	json_t *policy, *settings, *items, *body;

	if (given == NULL)
		return;
	task = str_trim(json_get_str(given, "task", STR("")));
	if (task.n < GRAPH_TASK_MIN || task.n > GRAPH_TASK_MAX) {
		(void)body_reject(req, "task", "must have 10 to 5000 bytes");
		return;
	}
	policy = graph_policy(req, given);
	if (policy == NULL)
		return;
	body = forms_body(req->arena, given, GRAPH_ROUNDS, request_worker(req)->conf->debates.max_rounds);
	json_put_str(body, "context", json_get_str(given, "context", STR("")));
	settings = json_own(req->arena, json_deep_copy(policy));
	json_object_set(settings, "body", body);
	json_object_set_new(settings, "branch_policy",
			    json_pack("{s:f, s:I, s:O, s:O}", "min_disagreement",
				      (double)json_get_int(policy, "min_disagreement_ppm", 0) / 1e6, "max_branches",
				      (json_int_t)json_get_int(policy, "max_branches", 3), "auto_merge",
				      json_object_get(policy, "auto_merge"), "merge_strategy",
				      json_object_get(policy, "merge_strategy")));
	items = json_own(req->arena, json_pack("[{s:s, s:O}]", "name", "root", "body", body));
	forms_submit(req, given, "graph", settings, items);
}
