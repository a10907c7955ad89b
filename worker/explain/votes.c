/* SPDX-License-Identifier: MIT */
/*
 * What votes weighed and what would have changed the outcome: the stored votes are counted again by the rules of the
 * engine (consensus.h), with one thing changed at a time. Called for explanations and for receipts. Pure; asks no model
 * and compares no text.
 */
#include "worker/explain/explain.h"

#include "common/json.h"
#include "worker/engine/consensus.h"
#include "worker/engine/mode.h"

#define VOTES_MAX (2 * CONSENSUS_MAX)

struct votes {
	struct consensus_proposal proposals[CONSENSUS_MAX];
	struct consensus_vote cast[VOTES_MAX]; /* those of agents by their index, then of people, one for each choice */
	const json_t *stored[CONSENSUS_MAX];   /* the vote of the same index, or NULL */
	size_t n, voters;
	struct consensus_rule rule;
	bool countable;
};

/* What comes of a count. */
struct votes_outcome {
	size_t winner, group;
	bool reached;
	int64_t share_ppm, margin_ppm;
};

static size_t votes_find(const struct votes *v, struct str name)
{
	size_t i;

	for (i = 0; i < v->n && !str_eq(v->proposals[i].name, name); i++)
		;
	return i;
}

/* Mean severity of what an agent was criticised for: it breaks ties. */
static int64_t votes_severity(const json_t *result, struct str agent)
{
	int64_t sum = 0, n = 0;
	const json_t *e;
	size_t i;

	json_array_foreach(json_get_arr(result, "critiques"), i, e)
	{
		if (!str_eq(json_get_str(e, "target_agent", STR("")), agent))
			continue;
		sum += json_get_int(e, "severity_milli", 0);
		n++;
	}
	return n > 0 ? sum / n : 0;
}

/* The groups of the decision say who has a proposal, and which are one. */
static void votes_read_groups(struct votes *v, const json_t *result)
{
	const json_t *groups = json_get_arr(json_get_obj(result, "consensus"), "groups"), *group, *agent;
	size_t i, k;

	json_array_foreach(groups, i, group)
	{
		size_t first = v->n;

		json_array_foreach(json_get_arr(group, "agents"), k, agent)
		{
			if (v->n == CONSENSUS_MAX || !json_is_string(agent))
				return;
			v->proposals[v->n] = (struct consensus_proposal){
			    .name = {json_string_value(agent), json_string_length(agent)}, .group = first};
			v->proposals[v->n].severity_milli = votes_severity(result, v->proposals[v->n].name);
			v->n++;
		}
	}
}

static void votes_read_people(struct votes *v, const json_t *consensus)
{
	json_t *weights = json_get_obj(json_get_obj(consensus, "audience"), "weights"), *weight;
	const char *agent;

	v->voters = v->n;
	json_object_foreach(weights, agent, weight)
	{
		size_t choice = votes_find(v, str_of(agent));

		if (choice < v->n && v->voters < VOTES_MAX)
			v->cast[v->voters++] = (struct consensus_vote){.valid = true,
								       .choice = choice,
								       .confidence_ppm = CONSENSUS_ONE,
								       .weight_ppm = json_integer_value(weight),
								       .person = true};
	}
}

/* The plan as far as the result tells it and counting needs it. */
static struct consensus_rule votes_rule(const struct mode *mode, const json_t *result)
{
	const json_t *consensus = json_get_obj(result, "consensus");
	struct debate_plan plan = {.version = (int)json_get_int(result, "engine_version", 0),
				   .agent_count = json_array_size(json_get_arr(result, "participants")),
				   .protocol = protocol_decode(json_get_obj(result, "protocol"))};

	return mode_rule(mode, &plan, json_get_int(consensus, "threshold_ppm", 0));
}

static void votes_read(struct votes *v, const json_t *result)
{
	const json_t *consensus = json_get_obj(result, "consensus"), *e;
	const struct mode *mode = mode_find(json_get_str(consensus, "method", STR("")));
	size_t i, voter, choice;

	*v = (struct votes){.n = 0};
	votes_read_groups(v, result);
	v->countable = mode != NULL && v->n > 0 && json_array_size(json_get_arr(result, "votes")) > 0;
	if (mode != NULL)
		v->rule = votes_rule(mode, result);
	votes_read_people(v, consensus);
	json_array_foreach(json_get_arr(result, "votes"), i, e)
	{
		voter = votes_find(v, json_get_str(e, "agent", STR("")));
		choice = votes_find(v, json_get_str(e, "choice", STR("")));
		if (voter == v->n || choice == v->n) {
			v->countable = false;
			continue;
		}
		v->stored[voter] = e;
		v->cast[voter] = (struct consensus_vote){
		    .valid = true,
		    .choice = choice,
		    .confidence_ppm = json_get_int(e, "confidence_ppm", 0),
		    .weight_ppm = json_get_int(e, "weight_ppm", CONSENSUS_ONE) *
				  json_get_int(json_get_obj(consensus, "weights"),
					       json_string_value(json_object_get(e, "agent")), CONSENSUS_ONE) /
				  CONSENSUS_ONE};
	}
}

static struct votes_outcome votes_count(const struct votes *v, const struct consensus_vote *cast,
					const struct consensus_rule *rule)
{
	struct consensus_tally t;

	consensus_count(v->proposals, v->n, cast, v->voters, rule, &t);
	return (struct votes_outcome){t.winner, t.group, t.reached, t.weighted_share_ppm, t.margin_ppm};
}

/* ---- counterfactuals ---- */

struct votes_world {
	const struct votes *v;
	struct votes_outcome real;
	json_t *list;
	bool pivotal[CONSENSUS_MAX];
};

/* Another position wins, or what was decided is not, or the other way round. */
static bool votes_differ(const struct votes_world *w, const struct votes_outcome *o)
{
	return o->group != w->real.group || o->reached != w->real.reached;
}

static json_t *votes_add(struct votes_world *w, const char *type, struct str description, const struct votes_outcome *o)
{
	json_t *e = json_object();

	json_put_str(e, "type", str_of(type));
	json_put_str(e, "description", description);
	json_put_str(e, "winner", w->v->proposals[o->winner].name);
	json_object_set_new(e, "reached", json_boolean(o->reached));
	json_put_int(e, "weighted_share_ppm", o->share_ppm);
	json_put_int(e, "margin_ppm", o->margin_ppm);
	json_object_set_new(e, "changes_winner", json_boolean(o->group != w->real.group));
	json_object_set_new(e, "changes_outcome", json_boolean(votes_differ(w, o)));
	json_array_append_new(w->list, e);
	return e;
}

static void votes_without(struct arena *a, struct votes_world *w)
{
	struct consensus_vote cast[VOTES_MAX];
	struct votes_outcome o;
	size_t i;

	for (i = 0; i < w->v->n; i++) {
		struct str name = w->v->proposals[i].name;

		if (!w->v->cast[i].valid)
			continue;
		memcpy(cast, w->v->cast, sizeof(cast));
		cast[i].valid = false;
		o = votes_count(w->v, cast, &w->v->rule);
		json_put_str(
		    votes_add(w, "without_vote", arena_printf(a, "Without the vote of %.*s", STR_ARG(name)), &o),
		    "agent", name);
		w->pivotal[i] = w->pivotal[i] || votes_differ(w, &o);
	}
}

/* The strongest other position, by the weight of its votes; v->n: there is none. */
static size_t votes_runner_up(const struct votes_world *w)
{
	struct consensus_tally t;
	size_t i, best = w->v->n;

	consensus_count(w->v->proposals, w->v->n, w->v->cast, w->v->voters, &w->v->rule, &t);
	for (i = 0; i < w->v->n; i++)
		if (w->v->proposals[i].group == i && i != t.group &&
		    (best == w->v->n || t.weight_ppm[i] > t.weight_ppm[best]))
			best = i;
	return best;
}

static void votes_switched(struct arena *a, struct votes_world *w)
{
	size_t other = votes_runner_up(w), i;
	struct consensus_vote cast[VOTES_MAX];
	struct votes_outcome o;

	for (i = 0; i < w->v->n && other < w->v->n; i++) {
		struct str name = w->v->proposals[i].name, to = w->v->proposals[other].name;

		if (!w->v->cast[i].valid || w->v->proposals[w->v->cast[i].choice].group != w->real.group)
			continue;
		memcpy(cast, w->v->cast, sizeof(cast));
		cast[i].choice = other;
		o = votes_count(w->v, cast, &w->v->rule);
		json_put_str(
		    votes_add(w, "switched_vote",
			      arena_printf(a, "If %.*s had voted for the position of %.*s", STR_ARG(name), STR_ARG(to)),
			      &o),
		    "agent", name);
		w->pivotal[i] = w->pivotal[i] || votes_differ(w, &o);
	}
}

static void votes_weighed_otherwise(struct votes_world *w)
{
	struct consensus_vote cast[VOTES_MAX];
	struct votes_outcome o;
	size_t i;

	memcpy(cast, w->v->cast, sizeof(cast));
	for (i = 0; i < w->v->n; i++)
		cast[i].weight_ppm = CONSENSUS_ONE;
	o = votes_count(w->v, cast, &w->v->rule);
	(void)votes_add(w, "equal_weights", STR("If all votes had weighed the same"), &o);
	for (i = 0; i < w->v->n; i++)
		cast[i].confidence_ppm = CONSENSUS_ONE;
	o = votes_count(w->v, cast, &w->v->rule);
	(void)votes_add(w, "heads_only", STR("If votes had been counted by head, however sure their voters"), &o);
}

/* The thresholds that people ask for. */
static void votes_thresholds(struct arena *a, struct votes_world *w)
{
	static const int64_t asked[] = {500000, 600000, 666667, 750000, 900000};
	size_t i;

	if (w->v->rule.unanimous || w->v->rule.threshold_ppm == 0)
		return;
	for (i = 0; i < countof(asked); i++) {
		struct consensus_rule rule = w->v->rule;
		struct votes_outcome o;

		rule.threshold_ppm = asked[i];
		if (asked[i] == w->v->rule.threshold_ppm)
			continue;
		o = votes_count(w->v, w->v->cast, &rule);
		json_put_int(
		    votes_add(w, "threshold",
			      arena_printf(a, "With a threshold of %lld.%lld %%", (long long)(asked[i] / 10000),
					   (long long)(asked[i] % 10000 / 1000)),
			      &o),
		    "threshold_ppm", asked[i]);
	}
}

/* ---- the votes themselves ---- */

/* "self_ppm": 500000 becomes {name: self, ppm: 500000}. A vote of before factors were kept has none. */
static json_t *votes_factors(const json_t *vote)
{
	json_t *list = json_array(), *factors = json_get_obj(vote, "factors"), *value;
	const char *key;

	json_object_foreach(factors, key, value)
	{
		struct str name = str_of(key);

		if (json_is_integer(value))
			json_array_append_new(list, json_pack("{s:s%, s:I}", "name", name.p,
							      str_ends(name, STR("_ppm")) ? name.n - 4 : name.n, "ppm",
							      (json_int_t)json_integer_value(value)));
	}
	return list;
}

static int64_t votes_counts(const struct consensus_vote *c)
{
	return c->valid ? c->weight_ppm * c->confidence_ppm / CONSENSUS_ONE : 0;
}

static json_t *votes_list(const struct votes *v, const struct votes_world *w)
{
	json_t *list = json_array();
	int64_t total = 0;
	size_t i;

	for (i = 0; i < v->n; i++)
		total += votes_counts(&v->cast[i]);
	for (i = 0; i < v->n; i++) {
		const json_t *e = v->stored[i];
		int64_t counts = votes_counts(&v->cast[i]);
		json_t *o;

		if (e == NULL)
			continue;
		o = json_object();
		json_put_str(o, "agent", v->proposals[i].name);
		json_put_str(o, "choice", json_get_str(e, "choice", STR("")));
		json_object_set_new(o, "for_winner",
				    json_boolean(w != NULL && v->proposals[v->cast[i].choice].group == w->real.group));
		json_put_int(o, "confidence_ppm", v->cast[i].confidence_ppm);
		if (json_object_get(e, "stated_ppm") != NULL)
			json_put_int(o, "stated_ppm", json_get_int(e, "stated_ppm", 0));
		json_put_int(o, "weight_ppm", v->cast[i].weight_ppm);
		json_object_set_new(o, "factors", votes_factors(e));
		json_put_int(o, "counts_ppm", counts);
		json_put_int(o, "share_ppm", total > 0 ? counts * CONSENSUS_ONE / total : 0);
		json_object_set_new(o, "pivotal", json_boolean(w != NULL && w->pivotal[i]));
		json_put_str(o, "reasoning", json_get_str(e, "reasoning", STR("")));
		json_array_append_new(list, o);
	}
	return list;
}

/* Does counting again give what is stored? Then what else would have come can be computed too. */
static bool votes_agree(const struct votes *v, const json_t *result, const struct votes_outcome *o)
{
	const json_t *consensus = json_get_obj(result, "consensus");

	return o->share_ppm == json_get_int(consensus, "weighted_share_ppm", -1) &&
	       o->reached == json_get_bool(consensus, "reached", false) &&
	       str_eq(v->proposals[o->winner].name, json_get_str(result, "winner", STR("")));
}

json_t *explain_votes(struct arena *a, const json_t *result)
{
	struct votes *v = arena_zalloc(a, sizeof(*v));
	struct votes_world w = {.v = v, .list = json_array()};
	json_t *o = json_object(), *pivotal = json_array(), *recount = json_object();
	bool agrees = false;
	size_t i;

	votes_read(v, result);
	if (v->countable) {
		w.real = votes_count(v, v->cast, &v->rule);
		agrees = votes_agree(v, result, &w.real);
		json_put_str(recount, "winner", v->proposals[w.real.winner].name);
		json_object_set_new(recount, "reached", json_boolean(w.real.reached));
		json_put_int(recount, "weighted_share_ppm", w.real.share_ppm);
		json_put_int(recount, "margin_ppm", w.real.margin_ppm);
	}
	json_object_set_new(recount, "agrees", json_boolean(agrees));
	if (agrees) {
		votes_without(a, &w);
		votes_switched(a, &w);
		votes_weighed_otherwise(&w);
		votes_thresholds(a, &w);
	}
	for (i = 0; i < v->n; i++)
		if (w.pivotal[i])
			json_array_append_new(pivotal, json_str(v->proposals[i].name));
	json_object_set_new(o, "votes", votes_list(v, v->countable ? &w : NULL));
	json_object_set_new(o, "recount", recount);
	json_object_set_new(o, "counterfactuals", w.list);
	json_object_set_new(o, "pivotal_agents", pivotal);
	return o;
}
