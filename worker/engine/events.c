/* SPDX-License-Identifier: MIT */
/*
 * Bodies of the engine's events. Called by the engine's step functions. Adds nothing that is not in the plan or in the
 * step's own result; numbering, envelopes and storage belong to the step.
 */
#include "worker/engine/events.h"

#include "common/json.h"
#include "worker/engine/mode.h"
#include "worker/engine/role.h"

static json_t *event_real(int64_t ppm)
{
	return json_real((double)ppm / 1e6);
}

/* The members that every event has. */
static json_t *event_data(const struct event_at *at)
{
	json_t *o = json_object();

	json_put_str(o, "debate_id", at->plan->debate_id);
	if (at->agent != NULL)
		json_put_str(o, "agent", str_of(at->agent));
	json_put_int(o, "round", at->round);
	json_put_int(o, "round_number", at->round);
	return o;
}

static void event_emit(const struct event_at *at, const char *type, json_t *data)
{
	step_emit(at->step, type, at->agent, at->round, data);
}

void event_debate_start(const struct event_at *at)
{
	const struct debate_plan *plan = at->plan;
	json_t *o = json_object(), *names = json_array(), *detail = json_array();
	size_t i;

	for (i = 0; i < plan->agent_count; i++) {
		json_t *agent = json_object();

		json_put_str(agent, "name", plan->agents[i].name);
		json_put_str(agent, "provider", plan->agents[i].provider);
		json_put_str(agent, "model", plan->agents[i].model);
		json_put_str(agent, "persona", plan->agents[i].persona);
		json_put_str(agent, "role", plan->agents[i].role);
		json_array_append_new(detail, agent);
		json_array_append_new(names, json_str(plan->agents[i].name));
	}
	json_put_str(o, "debate_id", plan->debate_id);
	json_put_str(o, "task", plan->task);
	json_put_str(o, "question", plan->task);
	json_object_set(o, "agents", names);
	json_object_set_new(o, "participants", names);
	json_object_set_new(o, "agents_detail", detail);
	json_put_int(o, "total_rounds", plan->rounds);
	json_put_int(o, "rounds", plan->rounds);
	json_put_str(o, "protocol", str_of(plan->mode->name));
	json_put_str(o, "consensus_type", str_of(plan->mode->name));
	json_put_str(o, "topology", str_of(topology_name(plan->topology)));
	json_object_set_new(o, "threshold", event_real(plan->threshold_ppm));
	json_object_set_new(o, "demo", json_boolean(plan->demo));
	event_emit(at, "debate_start", o);
}

void event_round_start(const struct event_at *at, const char *phase)
{
	json_t *o = event_data(at);

	json_put_int(o, "total_rounds", at->plan->rounds);
	json_put_str(o, "phase", str_of(phase));
	if (role_goal(at->plan, at->round) != NULL)
		json_put_str(o, "goal", str_of(role_goal(at->plan, at->round)));
	event_emit(at, "round_start", o);
}

void event_round_end(const struct event_at *at, int64_t duration_ms)
{
	json_t *o = event_data(at);

	json_put_int(o, "total_rounds", at->plan->rounds);
	json_put_int(o, "duration_ms", duration_ms);
	event_emit(at, "round_end", o);
}

void event_message(const struct event_at *at, const char *kind, struct str content, int64_t confidence_ppm)
{
	json_t *o = event_data(at);

	json_put_str(o, "content", content);
	json_put_str(o, "role", STR("proposer"));
	json_put_str(o, "kind", str_of(kind));
	if (confidence_ppm >= 0) {
		json_object_set_new(o, "confidence", event_real(confidence_ppm));
		json_object_set_new(o, "confidence_score", event_real(confidence_ppm));
	}
	event_emit(at, "agent_message", o);
}

void event_critique(const struct event_at *at, struct str target, const json_t *value, struct str content)
{
	int64_t milli = json_get_int(value, "severity_milli", 0);
	json_t *o = event_data(at);

	json_put_str(o, "target", target);
	json_put_str(o, "target_agent", target);
	json_put_str(o, "critic", str_of(at->agent));
	json_object_set(o, "issues", json_get_arr(value, "issues"));
	json_object_set(o, "suggestions", json_get_arr(value, "suggestions"));
	json_object_set_new(o, "severity", json_real((double)milli / 1000.0));
	json_object_set_new(o, "score", json_real((double)milli / 1000.0));
	json_put_str(o, "severity_label", milli < 4000 ? STR("minor") : milli < 7000 ? STR("moderate") : STR("major"));
	json_put_str(o, "reasoning", json_get_str(value, "reasoning", STR("")));
	json_put_str(o, "content", content);
	json_put_str(o, "critique", content);
	event_emit(at, "critique", o);
}

void event_vote(const struct event_at *at, const json_t *value)
{
	struct str choice = json_get_str(value, "choice", STR(""));
	json_t *o = event_data(at);

	json_put_str(o, "vote", choice);
	json_put_str(o, "choice", choice);
	json_object_set_new(o, "confidence", event_real(json_get_int(value, "confidence_ppm", 0)));
	json_object_set_new(o, "weight", event_real(json_get_int(value, "weight_ppm", 0)));
	json_put_str(o, "reasoning", json_get_str(value, "reasoning", STR("")));
	json_object_set_new(o, "continue_debate", json_boolean(json_get_bool(value, "continue_debate", false)));
	event_emit(at, "vote", o);
}

void event_phase(const struct event_at *at, const char *phase, size_t completed, size_t total)
{
	json_t *o = event_data(at);

	json_put_str(o, "phase", str_of(phase));
	json_put_str(o, "status", STR("completed"));
	json_put_int(o, "completed", (int64_t)completed);
	json_put_int(o, "total", (int64_t)total);
	json_object_set_new(o, "progress_pct",
			    json_real(total > 0 ? 100.0 * (double)completed / (double)total : 100.0));
	event_emit(at, "phase_progress", o);
}

void event_convergence(const struct event_at *at, const json_t *value)
{
	json_t *o = event_data(at), *per_agent = json_object(), *v;
	const char *name;

	json_object_foreach(json_get_obj(value, "per_agent"), name, v)
	    json_object_set_new(per_agent, name, event_real(json_integer_value(v)));
	json_put_str(o, "phase", STR("convergence_check"));
	json_object_set_new(o, "is_convergence_check", json_true());
	json_put_str(o, "status", json_get_str(value, "status", STR("")));
	json_object_set_new(o, "similarity", event_real(json_get_int(value, "similarity_ppm", 0)));
	json_object_set_new(o, "agreement", event_real(json_get_int(value, "agreement_ppm", 0)));
	json_object_set_new(o, "per_agent", per_agent);
	event_emit(at, "phase_progress", o);
}

void event_early_stop(const struct event_at *at, const char *source, const char *reason)
{
	json_t *o = event_data(at);

	json_put_int(o, "round_num", at->round);
	json_put_int(o, "total_rounds", at->plan->rounds);
	json_put_int(o, "rounds_saved", at->plan->rounds - at->round);
	json_put_str(o, "source", str_of(source));
	json_put_str(o, "details", str_of(reason));
	event_emit(at, "debate_early_terminated", o);
}

void event_budget(const struct event_at *at, int64_t spent_micro, const char *level)
{
	int64_t limit = at->plan->budget_micro;
	json_t *o = event_data(at);

	json_put_str(o, "budget_id", at->plan->debate_id);
	json_put_str(o, "level", str_of(level));
	json_object_set_new(o, "percentage",
			    json_real(limit > 0 ? 100.0 * (double)spent_micro / (double)limit : 100.0));
	json_object_set_new(o, "current_spend", json_real((double)spent_micro / 1e6));
	json_object_set_new(o, "limit", limit > 0 ? json_real((double)limit / 1e6) : json_null());
	event_emit(at, "budget_alert", o);
}

void event_hollow(const struct event_at *at, const json_t *value, const char *challenge)
{
	const json_t *weak = json_get_arr(value, "weak");
	json_t *o = event_data(at), *indicators = json_array(), *targets = json_array();
	size_t i;

	for (i = 0; i < json_array_size(weak); i++) {
		const json_t *one = json_array_get(weak, i), *lacks = json_get_arr(one, "lacks");
		struct str agent = json_get_str(one, "agent", STR(""));
		json_t *sign = json_object();

		json_put_str(sign, "type", STR("weak_evidence"));
		json_put_str(sign, "agent", agent);
		json_object_set(sign, "lacks", json_get_arr(one, "lacks"));
		json_object_set_new(sign, "severity", json_real((double)json_array_size(lacks) / 3));
		json_array_append_new(indicators, sign);
		json_array_append_new(targets, json_str(agent));
	}
	json_object_set_new(o, "confidence", event_real(json_get_int(value, "severity_ppm", 0)));
	json_object_set_new(o, "indicators", indicators);
	json_put_str(o, "recommendation", str_of(challenge));
	event_emit(at, "hollow_consensus", o);
	o = event_data(at);
	json_put_str(o, "intervention_type", STR("challenge_prompt"));
	json_object_set_new(o, "targets", targets);
	json_put_str(o, "challenge", str_of(challenge));
	event_emit(at, "trickster_intervention", o);
}

void event_novelty(const struct event_at *at, const json_t *value, const char *challenge)
{
	json_t *o = event_data(at), *novelty = json_object(), *v;
	const char *agent;

	json_object_foreach(json_get_obj(value, "novelty"), agent, v)
	    json_object_set_new(novelty, agent, event_real(json_integer_value(v)));
	json_put_str(o, "intervention_type", STR("novelty_challenge"));
	json_object_set(o, "targets", json_get_arr(value, "stale"));
	json_object_set_new(o, "per_agent_novelty", novelty);
	json_put_str(o, "challenge", str_of(challenge));
	event_emit(at, "trickster_intervention", o);
}

void event_roles(const struct event_at *at, bool challenged)
{
	const char *goal = role_goal(at->plan, at->round);
	json_t *o, *roles, *stances;
	size_t i;

	if (!at->plan->protocol.role_rotation && !at->plan->protocol.asymmetric_stances)
		return;
	o = event_data(at);
	roles = json_object();
	stances = json_object();
	for (i = 0; i < at->plan->agent_count; i++) {
		struct role r = role_of(at->plan, i, at->round, challenged);
		struct str name = at->plan->agents[i].name;

		if (r.role != NULL)
			json_object_setn_new(roles, name.p, name.n, json_string(r.role));
		if (r.stance != NULL)
			json_object_setn_new(stances, name.p, name.n, json_string(r.stance));
	}
	if (goal != NULL)
		json_put_str(o, "goal", str_of(goal));
	json_object_set_new(o, "roles", roles);
	json_object_set_new(o, "stances", stances);
	event_emit(at, "role_rotation", o);
}

void event_flip(const struct event_at *at, struct str before, struct str after, int64_t similarity_ppm)
{
	json_t *o = event_data(at);

	json_put_str(o, "agent_name", str_of(at->agent));
	json_put_str(o, "flip_type", STR("position_change"));
	json_put_str(o, "original_claim", before);
	json_put_str(o, "new_claim", after);
	json_object_set_new(o, "similarity_score", event_real(similarity_ppm));
	event_emit(at, "flip_detected", o);
}

void event_intervention(const struct event_at *at, const json_t *item, struct str text)
{
	json_t *o = event_data(at);

	json_put_str(o, "intervention_id", json_get_str(item, "id", STR("")));
	json_put_str(o, "intervention_type",
		     json_get_str(json_get_obj(item, "payload"), "type", json_get_str(item, "kind", STR(""))));
	json_put_str(o, "user_id", json_get_str(item, "user_id", STR("")));
	json_put_str(o, "content_summary", str_utf8_cut(text, 200));
	json_put_int(o, "applied_at_round", at->round);
	event_emit(at, "intervention_applied", o);
}

/* The `consensus` object within the event, as the TypeScript SDK reads it. */
static json_t *event_consensus_object(const json_t *decision, struct str answer)
{
	const json_t *c = json_get_obj(decision, "consensus");
	json_t *o = json_object();

	json_object_set_new(o, "reached", json_boolean(json_get_bool(c, "reached", false)));
	json_object_set_new(o, "agreement", event_real(json_get_int(c, "share_ppm", 0)));
	json_object_set_new(o, "confidence", event_real(json_get_int(c, "confidence_ppm", 0)));
	json_put_str(o, "final_answer", answer);
	json_put_str(o, "conclusion", answer);
	json_put_str(o, "method", json_get_str(c, "method", STR("")));
	json_put_str(o, "strength", json_get_str(c, "strength", STR("")));
	json_put_str(o, "winner", json_get_str(decision, "winner", STR("")));
	if (json_get_arr(c, "not_asked") != NULL)
		json_object_set(o, "not_asked", json_get_arr(c, "not_asked"));
	json_object_set(o, "supporting_agents", json_get_arr(c, "supporting_agents"));
	json_object_set(o, "dissenting_agents", json_get_arr(c, "dissenting_agents"));
	return o;
}

void event_consensus(const struct event_at *at, const json_t *decision, struct str status, struct str answer,
		     const json_t *failures)
{
	const json_t *c = json_get_obj(decision, "consensus");
	bool reached = json_get_bool(c, "reached", false);
	json_t *o = event_data(at);

	json_object_set_new(o, "reached", json_boolean(reached));
	json_object_set_new(o, "confidence", event_real(json_get_int(c, "confidence_ppm", 0)));
	json_put_str(o, "answer", answer);
	json_put_str(o, "result", answer);
	json_put_str(o, "synthesis", STR(""));
	json_put_str(o, "status", status);
	json_put_str(o, "method", json_get_str(c, "method", STR("")));
	json_put_str(o, "winner", json_get_str(decision, "winner", STR("")));
	json_object_set_new(o, "share", event_real(json_get_int(c, "share_ppm", 0)));
	json_object_set_new(o, "weighted_share", event_real(json_get_int(c, "weighted_share_ppm", 0)));
	json_object_set_new(o, "margin", event_real(json_get_int(c, "margin_ppm", 0)));
	json_object_set_new(o, "agent_failures", json_deep_copy(failures));
	json_object_set_new(o, "consensus", event_consensus_object(decision, answer));
	event_emit(at, "consensus", o);
	if (!reached)
		return;
	o = event_data(at);
	json_put_str(o, "result", answer);
	json_object_set_new(o, "confidence", event_real(json_get_int(c, "confidence_ppm", 0)));
	json_put_int(o, "final_round", at->round);
	event_emit(at, "consensus_reached", o);
}

void event_synthesis(const struct event_at *at, struct str content, int64_t confidence_ppm)
{
	json_t *o = event_data(at);

	json_put_str(o, "content", content);
	json_put_str(o, "synthesis", content);
	json_object_set_new(o, "confidence", event_real(confidence_ppm));
	json_object_set_new(o, "sources", json_array());
	event_emit(at, "synthesis", o);
}
