/* SPDX-License-Identifier: MIT */
/*
 * Builds the result document. Called by the engine only. Takes values from step results and adds up; it judges nothing
 * and holds no real number, because the document is hashed.
 */
#include "worker/engine/result.h"

#include "common/json.h"
#include "worker/engine/mode.h"
#include "worker/engine/plan.h"
#include "worker/engine/taint.h"

void result_open(struct result *r, struct arena *a, const struct debate_plan *plan)
{
	size_t i;

	*r = (struct result){.plan = plan,
			     .messages = json_own(a, json_array()),
			     .critiques = json_own(a, json_array()),
			     .votes = json_own(a, json_array()),
			     .flips = json_own(a, json_array()),
			     .failures = json_own(a, json_object()),
			     .per_agent = json_own(a, json_object()),
			     .proposals = json_own(a, json_object()),
			     .convergence = json_own(a, json_object())};
	json_put_str(r->convergence, "status", STR(""));
	json_put_int(r->convergence, "similarity_ppm", 0);
	json_put_int(r->convergence, "agreement_ppm", 0);
	for (i = 0; i < plan->agent_count; i++) {
		static const char *const sums[] = {"calls",      "failures", "tokens_in", "tokens_out",
						   "cost_micro", "ms",       "abandoned"};
		json_t *o = json_object();
		size_t k;

		json_put_str(o, "provider", plan->agents[i].provider);
		json_put_str(o, "model", plan->agents[i].model);
		for (k = 0; k < countof(sums); k++)
			json_put_int(o, sums[k], 0);
		json_object_set_new(r->per_agent, arena_str(a, plan->agents[i].name).p, o);
	}
}

static json_t *result_member(const json_t *obj, struct str name)
{
	return json_object_getn(obj, name.p, name.n);
}

static void result_add(json_t *sums, const char *key, int64_t v)
{
	json_put_int(sums, key, json_get_int(sums, key, 0) + v);
}

static void result_failure(struct result *r, const struct agent_spec *agent, const char *phase, const json_t *call)
{
	json_t *o = json_object(), *list = result_member(r->failures, agent->name);

	json_put_str(o, "phase", str_of(phase));
	json_put_str(o, "error_type", json_get_str(call, "error_type", STR("")));
	json_put_str(o, "message", json_get_str(call, "message", STR("")));
	json_put_str(o, "provider", json_get_str(call, "provider", agent->provider));
	json_put_int(o, "at_ms", json_get_int(call, "at_ms", 0));
	if (list == NULL) {
		list = json_array();
		json_object_setn_new(r->failures, agent->name.p, agent->name.n, list);
	}
	json_array_append_new(list, o);
}

void result_call(struct result *r, const struct agent_spec *agent, const char *phase, const json_t *call)
{
	static const char *const sums[] = {"tokens_in", "tokens_out", "cost_micro", "ms", "abandoned"};
	json_t *o = result_member(r->per_agent, agent->name);
	struct str model = json_get_str(call, "model", STR(""));
	size_t i;

	result_add(o, "calls", 1);
	for (i = 0; i < countof(sums); i++)
		result_add(o, sums[i], json_get_int(call, sums[i], 0));
	if (model.n > 0)
		json_put_str(o, "model", model);
	if (!json_get_bool(call, "ok", false)) {
		result_add(o, "failures", 1);
		result_failure(r, agent, phase, call);
	}
}

struct str result_message(struct result *r, struct str agent, struct str content, int round, int64_t at_ms)
{
	json_t *o = json_object();

	json_put_str(o, "role", STR("proposer"));
	json_put_str(o, "agent", agent);
	json_put_str(o, "content", content);
	json_put_int(o, "round", round);
	json_put_int(o, "at_ms", at_ms);
	json_array_append_new(r->messages, o);
	json_object_setn_new(r->proposals, agent.p, agent.n, json_str(content));
	return json_get_str(o, "content", STR(""));
}

static void result_stamp(json_t *o, const json_t *value)
{
	if (json_get_int(value, "at_ms", 0) != 0) /* older journals do not have it */
		json_put_int(o, "at_ms", json_get_int(value, "at_ms", 0));
}

void result_critique(struct result *r, struct str critic, struct str target, int round, const json_t *value)
{
	json_t *o = json_object();

	json_put_int(o, "round", round);
	json_put_str(o, "agent", critic);
	json_put_str(o, "target_agent", target);
	json_object_set(o, "issues", json_get_arr(value, "issues"));
	json_object_set(o, "suggestions", json_get_arr(value, "suggestions"));
	json_put_int(o, "severity_milli", json_get_int(value, "severity_milli", 0));
	json_put_str(o, "reasoning", json_get_str(value, "reasoning", STR("")));
	result_stamp(o, value);
	json_array_append_new(r->critiques, o);
}

void result_vote(struct result *r, struct str agent, const json_t *value)
{
	static const char *const more[] = {"stated_ppm", "factors", "ballots",
					   "ballots_agreeing"}; /* where there are any */
	json_t *o = json_object();
	size_t i;

	json_put_str(o, "agent", agent);
	json_put_str(o, "choice", json_get_str(value, "choice", STR("")));
	json_put_int(o, "confidence_ppm", json_get_int(value, "confidence_ppm", 0));
	json_put_int(o, "weight_ppm", json_get_int(value, "weight_ppm", 0));
	json_put_str(o, "reasoning", json_get_str(value, "reasoning", STR("")));
	json_object_set_new(o, "continue_debate", json_boolean(json_get_bool(value, "continue_debate", false)));
	for (i = 0; i < countof(more); i++)
		if (json_object_get(value, more[i]) != NULL)
			json_object_set(o, more[i], json_object_get(value, more[i]));
	result_stamp(o, value);
	json_array_append_new(r->votes, o);
}

void result_flip(struct result *r, struct str agent, int round)
{
	json_t *o = json_object();

	json_put_str(o, "agent", agent);
	json_put_int(o, "round", round);
	json_array_append_new(r->flips, o);
}

void result_early_stop(struct result *r, struct arena *a, const char *source, int round, const char *reason)
{
	r->early_stop = json_own(a, json_object());
	json_put_str(r->early_stop, "source", str_of(source));
	json_put_int(r->early_stop, "round", round);
	json_put_str(r->early_stop, "reason", str_of(reason));
}

/* ---- the document ---- */

/* The consensus of a debate that came to no decision. */
static json_t *result_no_consensus(const struct debate_plan *plan)
{
	static const char *const zeros[] = {"share_ppm", "weighted_share_ppm", "margin_ppm", "confidence_ppm"};
	static const char *const lists[] = {"supporting_agents", "dissenting_agents", "groups"};
	json_t *o = json_object();
	size_t i;

	json_put_str(o, "method", str_of(plan->mode->name));
	json_object_set_new(o, "reached", json_false());
	json_put_int(o, "threshold_ppm", plan->threshold_ppm);
	for (i = 0; i < countof(zeros); i++)
		json_put_int(o, zeros[i], 0);
	json_put_str(o, "strength", STR("none"));
	for (i = 0; i < countof(lists); i++)
		json_object_set_new(o, lists[i], json_array());
	return o;
}

static void result_put_what(json_t *doc, const struct result *r, const struct result_end *end)
{
	const struct debate_plan *plan = r->plan;
	json_t *participants = json_array();
	size_t i;

	for (i = 0; i < plan->agent_count; i++)
		json_array_append_new(participants, json_str(plan->agents[i].name));
	json_put_str(doc, "debate_id", plan->debate_id);
	json_put_str(doc, "task", plan->task);
	if (plan->domain.n > 0)
		json_put_str(doc, "domain", plan->domain);
	json_put_str(doc, "status", str_of(end->status));
	json_put_str(doc, "reason", end->reason);
	json_object_set_new(doc, "demo", json_boolean(plan->demo));
	json_put_int(doc, "engine_version", plan->version);
	json_put_str(doc, "method", str_of(plan->mode->name));
	json_put_int(doc, "total_rounds", plan->rounds);
	json_put_int(doc, "rounds_used", end->rounds_used);
	json_object_set_new(doc, "participants", participants);
	json_put_str(doc, "final_answer", end->final_answer);
	json_put_str(doc, "synthesis", end->synthesis);
}

static void result_put_decision(json_t *doc, const struct result *r, const json_t *decision)
{
	static const char *const later[] = {"minority", "winning_patterns",
					    "evidence_suggestions"}; /* engine 3, 4, 4 */
	json_t *consensus = json_get_obj(decision, "consensus"), *dissents = json_get_arr(decision, "dissents");
	size_t i;

	json_put_str(doc, "winner", json_get_str(decision, "winner", STR("")));
	json_object_set_new(doc, "consensus",
			    consensus != NULL ? json_incref(consensus) : result_no_consensus(r->plan));
	json_object_set_new(doc, "dissents", dissents != NULL ? json_incref(dissents) : json_array());
	for (i = 0; i < countof(later); i++)
		if (json_object_get(decision, later[i]) != NULL)
			json_object_set(doc, later[i], json_object_get(decision, later[i]));
	if (consensus != NULL)
		json_put_str(doc, "method", json_get_str(consensus, "method", str_of(r->plan->mode->name)));
}

static bool result_word_byte(struct str s, size_t i)
{
	unsigned char c = i < s.n ? (unsigned char)s.p[i] : ' ';

	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

/* Does the text name this label ("K1") as a word? */
static bool result_cites(struct str text, struct str label)
{
	size_t from = 0;
	ptrdiff_t at;

	while ((at = str_find(str_sub(text, from, text.n), label)) >= 0) {
		from += (size_t)at;
		if ((from == 0 || !result_word_byte(text, from - 1)) && !result_word_byte(text, from + label.n))
			return true;
		from += label.n;
	}
	return false;
}

static void result_cited(json_t *by, const json_t *said, const char *text, struct str label)
{
	struct str agent;
	const json_t *o;
	size_t i, k;

	json_array_foreach(said, i, o)
	{
		agent = json_get_str(o, "agent", STR(""));
		for (k = 0; k < json_array_size(by) && !str_eqz(agent, json_string_value(json_array_get(by, k))); k++)
			;
		if (k == json_array_size(by) && result_cites(json_get_str(o, text, STR("")), label))
			json_array_append_new(by, json_str(agent));
	}
}

/* What the debate was told of earlier ones, and who cited it. */
static void result_put_background(json_t *doc, const struct result *r)
{
	static const char *const keys[] = {"label", "source", "id", "title", "dissent", "trusted", "score_ppm"};
	json_t *list = json_array();
	const json_t *item;
	size_t i, k;

	json_array_foreach(r->plan->background, i, item)
	{
		json_t *o = json_object(), *by = json_array();
		struct str label = json_get_str(item, "label", STR(""));

		for (k = 0; k < countof(keys); k++)
			json_object_set(o, keys[k], json_object_get(item, keys[k]));
		result_cited(by, r->messages, "content", label);
		result_cited(by, r->critiques, "reasoning", label);
		result_cited(by, r->votes, "reasoning", label);
		json_object_set_new(o, "cited_by", by);
		json_object_set_new(o, "in_conclusion",
				    json_boolean(result_cites(json_get_str(doc, "final_answer", STR("")), label)));
		json_array_append_new(list, o);
	}
	json_object_set_new(doc, "background", list);
}

/* Of what was given with the task, and of what was found. */
static void result_put_taint(json_t *doc, const struct result *r)
{
	json_t *counts = json_object();
	const json_t *item;
	size_t i;

	taint_add(counts, r->plan->taint);
	json_array_foreach(r->plan->background, i, item) taint_add(counts, json_get_obj(item, "taint"));
	if (json_object_size(counts) > 0)
		json_object_set(doc, "taint", counts);
	json_decref(counts);
}

/* Each agent's sums; "abandoned" is told for the whole debate only. */
static void result_put_sums(json_t *doc, const struct result *r)
{
	static const char *const names[][2] = {{"tokens_in", "tokens_in"},
					       {"tokens_out", "tokens_out"},
					       {"cost_micro", "cost_micro"},
					       {"abandoned", "abandoned_calls"}};
	json_t *per_agent = json_deep_copy(r->per_agent), *o;
	const char *agent;
	size_t i;

	for (i = 0; i < countof(names); i++)
		json_put_int(doc, names[i][1], 0);
	json_object_foreach(per_agent, agent, o)
	{
		for (i = 0; i < countof(names); i++)
			result_add(doc, names[i][1], json_get_int(o, names[i][0], 0));
		json_object_del(o, "abandoned");
	}
	result_add(doc, "tokens_in", r->other_tokens);
	result_add(doc, "cost_micro", r->other_micro);
	json_object_set_new(doc, "per_agent", per_agent);
}

void result_other(struct result *r, const json_t *value)
{
	r->other_tokens += json_get_int(value, "tokens_in", 0);
	r->other_micro += json_get_int(value, "cost_micro", 0);
}

int64_t result_spent(const struct result *r)
{
	const char *agent;
	json_t *o;
	int64_t sum = r->other_micro;

	json_object_foreach(r->per_agent, agent, o) sum += json_get_int(o, "cost_micro", 0);
	return sum;
}

static void result_put_novelty(json_t *doc, json_t *novelty)
{
	int64_t sum = 0, count = 0;
	const char *agent;
	json_t *list, *v;
	size_t i;

	json_object_foreach(novelty, agent, list)
	{
		json_array_foreach(list, i, v) sum += json_integer_value(v);
		count += (int64_t)json_array_size(list);
	}
	json_object_set_new(
	    doc, "novelty",
	    json_pack("{s:O, s:I}", "per_agent", novelty, "mean_ppm", (json_int_t)(count > 0 ? sum / count : 0)));
}

int64_t result_tokens(const struct result *r)
{
	const char *agent;
	json_t *o;
	int64_t sum = 0;

	json_object_foreach(r->per_agent, agent, o) sum +=
	    json_get_int(o, "tokens_in", 0) + json_get_int(o, "tokens_out", 0);
	return sum;
}

json_t *result_document(const struct result *r, const struct result_end *end)
{
	json_t *doc = json_object();

	result_put_what(doc, r, end);
	result_put_decision(doc, r, end->decision);
	json_object_set(doc, "proposals", r->proposals);
	json_object_set(doc, "messages", r->messages);
	json_object_set(doc, "critiques", r->critiques);
	json_object_set(doc, "votes", r->votes);
	json_object_set(doc, "flips", r->flips);
	json_object_set(doc, "agent_failures", r->failures);
	if (r->early_stop != NULL)
		json_object_set(doc, "early_stop", r->early_stop);
	json_object_set(doc, "convergence", r->convergence);
	if (r->plan->background != NULL)
		result_put_background(doc, r);
	if (r->plan->version >= 3) {
		result_put_novelty(doc, end->novelty);
		json_object_set_new(doc, "protocol", protocol_json(&r->plan->protocol, r->plan->version));
	}
	result_put_sums(doc, r);
	result_put_taint(doc, r);
	if (r->plan->budget_micro > 0)
		json_put_int(doc, "budget_micro", r->plan->budget_micro);
	if (end->started_at_ms != 0)
		json_put_int(doc, "started_at_ms", end->started_at_ms);
	if (end->ended_at_ms != 0)
		json_put_int(doc, "ended_at_ms", end->ended_at_ms);
	json_put_int(doc, "running_ms", end->running_ms);
	return doc;
}
