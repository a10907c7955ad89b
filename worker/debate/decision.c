/* SPDX-License-Identifier: MIT */
/*
 * Turns seats and votes into the documents that deciding steps store. Called inside the engine's steps. The rules
 * themselves are in consensus.c and similarity.c; here they are applied and written down in integers.
 */
#include "worker/debate/decision.h"

#include "common/json.h"
#include "worker/debate/evidence.h"
#include "worker/debate/mode.h"
#include "worker/debate/similarity.h"

#define DECISION_STABLE_PPM 850000 /* debate.md 1.7: converged */
#define DECISION_DIVERGE_PPM 400000
#define DECISION_AGREE_PPM 600000 /* mean agreement that a stop asks for besides stability */
#define DECISION_FLIP_PPM 300000  /* a position less like its former self has changed */
#define DECISION_LABEL_MAX 120

/* ---- agreement and convergence ---- */

struct decision_alike {
	int64_t mean, least;
	bool apart; /* some two hold different positions */
};

/* All pairs: at most CONSENSUS_MAX² / 2 comparisons, O(n) each. */
static struct decision_alike decision_compare(struct arena *a, const struct seat *seats, size_t n)
{
	const struct similarity_vector *v[CONSENSUS_MAX];
	struct decision_alike out = {.mean = SIMILARITY_ONE, .least = SIMILARITY_ONE};
	int64_t sum = 0, pairs = 0;
	size_t i, k;

	BUG_ON(n > CONSENSUS_MAX);
	for (i = 0; i < n; i++) {
		v[i] = seats[i].in ? similarity_vector(a, seats[i].text) : NULL;
		for (k = 0; k < i; k++) {
			int64_t s;

			if (v[i] == NULL || v[k] == NULL)
				continue;
			s = similarity_cosine(v[k], v[i]);
			sum += s;
			pairs++;
			out.least = s < out.least ? s : out.least;
			out.apart |= !consensus_same_position(seats[k].position, seats[i].position);
		}
	}
	if (pairs > 0)
		out.mean = sum / pairs;
	return out;
}

json_t *decision_agreement(const struct debate_plan *plan, const struct seat *seats, size_t n)
{
	struct arena *a = arena_new(0);
	struct decision_alike alike = decision_compare(a, seats, n);
	bool agreed = alike.least >= plan->early_agree_ppm && !alike.apart;
	json_t *o = json_object();

	arena_free(a);
	json_put_str(o, "status", agreed ? STR("converged") : STR("refining"));
	json_put_int(o, "similarity_ppm", alike.least);
	json_put_int(o, "agreement_ppm", alike.mean);
	json_object_set_new(o, "agreed", json_boolean(agreed));
	return o;
}

static int64_t decision_alike_texts(struct arena *a, struct str x, struct str y)
{
	if (str_eq(x, y))
		return SIMILARITY_ONE;
	return similarity_cosine(similarity_vector(a, x), similarity_vector(a, y));
}

static void decision_flip(struct arena *a, const struct seat *s, json_t *flips)
{
	int64_t alike = decision_alike_texts(a, s->former_position, s->position);
	json_t *o;

	if (alike >= DECISION_FLIP_PPM && !similarity_contradicts(s->former_position, s->position))
		return;
	o = json_object();
	json_put_str(o, "agent", str_of(s->name));
	json_put_int(o, "similarity_ppm", alike);
	json_array_append_new(flips, o);
}

json_t *decision_convergence(const struct seat *seats, size_t n)
{
	struct arena *a = arena_new(0);
	struct decision_alike alike = decision_compare(a, seats, n);
	json_t *o = json_object(), *per_agent = json_object(), *flips = json_array();
	int64_t stable = SIMILARITY_ONE;
	const char *status = "refining";
	size_t i;

	for (i = 0; i < n; i++) {
		int64_t own;

		if (!seats[i].in)
			continue;
		own = decision_alike_texts(a, seats[i].former, seats[i].text);
		stable = own < stable ? own : stable;
		json_put_int(per_agent, seats[i].name, own);
		decision_flip(a, &seats[i], flips);
	}
	arena_free(a);
	if (stable >= DECISION_STABLE_PPM && alike.mean >= DECISION_AGREE_PPM && !alike.apart)
		status = "converged";
	else if (stable < DECISION_DIVERGE_PPM)
		status = "diverging";
	json_put_str(o, "status", str_of(status));
	json_put_int(o, "similarity_ppm", stable);
	json_put_int(o, "agreement_ppm", alike.mean);
	json_object_set_new(o, "per_agent", per_agent);
	json_object_set_new(o, "flips", flips);
	return o;
}

/* ---- hollow agreement ---- */

static json_t *decision_lacks(const struct evidence *v)
{
	json_t *lacks = json_array();

	if (v->citation < EVIDENCE_UNCITED_PPM)
		json_array_append_new(lacks, json_string("sources"));
	if (v->specificity < EVIDENCE_VAGUE_PPM)
		json_array_append_new(lacks, json_string("figures"));
	if (v->reasoning < EVIDENCE_UNREASONED_PPM)
		json_array_append_new(lacks, json_string("reasons"));
	return lacks;
}

json_t *decision_hollow(const struct debate_plan *plan, const struct seat *seats, size_t n, int64_t agreement_ppm)
{
	json_t *o = json_object(), *weak = json_array(), *one;
	bool applies = agreement_ppm >= EVIDENCE_AGREE_PPM && str_ieqz(plan->language, "English");
	struct evidence v[CONSENSUS_MAX];
	int64_t severity = 0;
	size_t i, k = 0;

	BUG_ON(n > CONSENSUS_MAX);
	for (i = 0; applies && i < n; i++) {
		if (!seats[i].in)
			continue;
		v[k] = evidence_of(seats[i].text);
		one = json_object();
		json_put_str(one, "agent", str_of(seats[i].name));
		json_object_set_new(one, "lacks", decision_lacks(&v[k]));
		if (json_array_size(json_object_get(one, "lacks")) > 0)
			json_array_append(weak, one);
		json_decref(one);
		k++;
	}
	if (applies)
		severity = evidence_hollowness(v, k);
	json_put_int(o, "severity_ppm", severity);
	json_object_set_new(o, "hollow", json_boolean(severity > EVIDENCE_HOLLOW_PPM));
	json_object_set_new(o, "weak", weak);
	return o;
}

/* ---- decisions ---- */

/* The seats that are in, as proposals and votes by the same index. */
struct decision_table {
	const struct seat *seats[CONSENSUS_MAX];
	struct consensus_proposal proposals[CONSENSUS_MAX];
	struct consensus_vote votes[CONSENSUS_MAX];
	size_t n;
};

static size_t decision_find(const struct decision_table *t, struct str name)
{
	size_t i;

	for (i = 0; i < t->n && !str_eqz(name, t->seats[i]->name); i++)
		;
	return i;
}

static struct decision_table *decision_table_make(struct arena *a, const struct debate_plan *plan,
						  const struct seat *seats, size_t n)
{
	struct decision_table *t = arena_zalloc(a, sizeof(*t));
	size_t i;

	BUG_ON(n > CONSENSUS_MAX);
	for (i = 0; i < n; i++) {
		const struct seat *s = &seats[i];

		if (!s->in)
			continue;
		t->seats[t->n] = s;
		t->proposals[t->n++] = (struct consensus_proposal){
		    .name = str_of(s->name),
		    .text = s->text,
		    .position = s->position,
		    .severity_milli = s->severity_count > 0 ? s->severity_sum / s->severity_count : 0};
	}
	consensus_group(a, t->proposals, t->n, plan->mode->by_meaning || plan->by_position);
	for (i = 0; i < t->n; i++) {
		const json_t *v = t->seats[i]->vote;
		size_t choice = v != NULL ? decision_find(t, json_get_str(v, "choice", STR(""))) : t->n;

		if (choice < t->n)
			t->votes[i] = (struct consensus_vote){true, choice, json_get_int(v, "confidence_ppm", 0),
							      json_get_int(v, "weight_ppm", CONSENSUS_ONE)};
	}
	return t;
}

static void decision_append(json_t *list, const char *name)
{
	json_array_append_new(list, json_str(str_of(name)));
}

static json_t *decision_groups(const struct decision_table *t, const struct consensus_tally *tally)
{
	json_t *groups = json_array();
	size_t i, k;

	for (i = 0; i < t->n; i++) {
		json_t *o, *agents;

		if (t->proposals[i].group != i)
			continue;
		o = json_object();
		agents = json_array();
		for (k = i; k < t->n; k++)
			if (t->proposals[k].group == i)
				decision_append(agents, t->seats[k]->name);
		json_put_str(o, "label", str_utf8_cut(t->proposals[i].position, DECISION_LABEL_MAX));
		json_object_set_new(o, "agents", agents);
		json_put_int(o, "votes", (int64_t)tally->heads[i]);
		json_put_int(o, "weight_ppm", tally->weight_ppm[i]);
		json_array_append_new(groups, o);
	}
	return groups;
}

/* The agent's own position if it lost, else the one it voted for; with what it said against the winner. */
static json_t *decision_dissent(const struct decision_table *t, size_t i, size_t won)
{
	struct str reason = json_get_str(t->seats[i]->vote, "reasoning", STR(""));
	size_t view = t->proposals[i].group == won && t->votes[i].valid ? t->votes[i].choice : i;
	json_t *o = json_object(), *reasons = json_array();

	if (reason.n > 0)
		json_array_append_new(reasons, json_str(reason));
	json_put_str(o, "agent", str_of(t->seats[i]->name));
	json_put_str(o, "view", t->proposals[view].position);
	json_object_set_new(o, "reasons", reasons);
	return o;
}

struct decision_outcome {
	const char *method, *status;
	size_t winner; /* t->n: nobody */
	bool support[CONSENSUS_MAX], dissent[CONSENSUS_MAX];
	int64_t confidence_ppm;
	struct str reason, verdict;
};

static json_t *decision_consensus(const struct debate_plan *plan, const struct decision_table *t,
				  const struct decision_outcome *out, const struct consensus_tally *tally)
{
	json_t *o = json_object(), *support = json_array(), *dissent = json_array();
	size_t i;

	for (i = 0; i < t->n; i++) {
		if (out->support[i])
			decision_append(support, t->seats[i]->name);
		if (out->dissent[i])
			decision_append(dissent, t->seats[i]->name);
	}
	json_put_str(o, "method", str_of(out->method));
	json_object_set_new(o, "reached", json_boolean(tally->reached));
	json_put_int(o, "threshold_ppm", plan->threshold_ppm);
	json_put_int(o, "share_ppm", tally->share_ppm);
	json_put_int(o, "weighted_share_ppm", tally->weighted_share_ppm);
	json_put_int(o, "margin_ppm", tally->margin_ppm);
	json_put_int(o, "confidence_ppm", out->confidence_ppm);
	json_put_str(o, "strength", str_of(tally->strength));
	json_object_set_new(o, "supporting_agents", support);
	json_object_set_new(o, "dissenting_agents", dissent);
	json_object_set_new(o, "groups", decision_groups(t, tally));
	return o;
}

static json_t *decision_document(const struct debate_plan *plan, const struct decision_table *t,
				 const struct decision_outcome *out, const struct consensus_tally *tally)
{
	json_t *o = json_object(), *dissents = json_array();
	size_t i;

	for (i = 0; i < t->n; i++)
		if (out->dissent[i])
			json_array_append_new(dissents, decision_dissent(t, i, tally->group));
	json_put_str(o, "winner", out->winner < t->n ? str_of(t->seats[out->winner]->name) : STR(""));
	json_put_str(o, "status", str_of(out->status));
	json_put_str(o, "reason", out->reason);
	json_put_str(o, "verdict", out->verdict);
	json_object_set_new(o, "consensus", decision_consensus(plan, t, out, tally));
	json_object_set_new(o, "dissents", dissents);
	return o;
}

static struct str decision_percent(struct arena *a, int64_t ppm)
{
	return arena_printf(a, "%lld.%lld %%", (long long)(ppm / 10000), (long long)(ppm % 10000 / 1000));
}

static void decision_explain(struct arena *a, const struct debate_plan *plan, const struct consensus_tally *c,
			     const struct consensus_rule *rule, struct decision_outcome *out)
{
	struct str share = decision_percent(a, c->weighted_share_ppm);

	out->reason = STR("");
	if (c->reached) {
		out->verdict = arena_printf(a, "This position was chosen by %zu of %zu votes with %.*s of the weight.",
					    c->heads[c->group], c->valid, STR_ARG(share));
		return;
	}
	if (!c->quorum)
		out->reason = arena_printf(a, "only %zu valid votes were cast, too few for a decision", c->valid);
	else if (rule->heads_min > 0)
		out->reason = arena_printf(a, "the leading position has %zu votes, %zu of %zu participants are needed",
					   c->heads[c->group], rule->heads_min, plan->agent_count);
	else if (rule->unanimous)
		out->reason = STR("the votes were not unanimous");
	else
		out->reason = arena_printf(a, "the leading position has %.*s of the weighted vote, %.*s are needed",
					   STR_ARG(share), STR_ARG(decision_percent(a, plan->threshold_ppm)));
	out->verdict = arena_printf(a, "No consensus was reached: %.*s. This position leads.", STR_ARG(out->reason));
}

json_t *decision_by_vote(const struct debate_plan *plan, const struct mode *mode, const struct seat *seats, size_t n)
{
	struct arena *a = arena_new(0);
	struct decision_table *t = decision_table_make(a, plan, seats, n);
	struct decision_outcome out = {.method = mode->name};
	struct consensus_rule rule = mode_rule(mode, plan->threshold_ppm, plan->agent_count);
	struct consensus_tally tally;
	json_t *o;
	size_t i;

	consensus_count(t->proposals, t->n, t->votes, t->n, &rule, &tally);
	out.winner = tally.winner;
	out.status = tally.reached ? "consensus_reached" : tally.quorum ? "completed" : "insufficient_participation";
	out.confidence_ppm = tally.quorum ? tally.weighted_share_ppm : 0;
	for (i = 0; i < t->n; i++) {
		bool with = t->votes[i].valid && t->proposals[t->votes[i].choice].group == tally.group;

		out.support[i] = with;
		out.dissent[i] = t->votes[i].valid && !with;
	}
	decision_explain(a, plan, &tally, &rule, &out);
	o = decision_document(plan, t, &out, &tally);
	arena_free(a);
	return o;
}

json_t *decision_by_judge(const struct debate_plan *plan, const struct seat *seats, size_t n, struct str judge,
			  const json_t *value)
{
	struct arena *a = arena_new(0);
	struct decision_table *t = decision_table_make(a, plan, seats, n);
	int64_t sure = json_get_int(value, "confidence_ppm", 0);
	size_t winner = decision_find(t, json_get_str(value, "choice", STR(""))), i;
	struct decision_outcome out = {.method = plan->mode->name, .winner = winner, .confidence_ppm = sure};
	struct consensus_tally tally = {.quorum = true, .winner = winner, .valid = 1};
	json_t *o;

	BUG_ON(winner >= t->n);
	tally.group = t->proposals[winner].group;
	tally.heads[tally.group] = 1;
	tally.weight_ppm[tally.group] = sure;
	/* One head: its share is what it is sure of, and the lead is that over the doubt. */
	tally.share_ppm = tally.weighted_share_ppm = sure;
	tally.margin_ppm = 2 * sure > CONSENSUS_ONE ? 2 * sure - CONSENSUS_ONE : 0;
	tally.reached = sure >= plan->threshold_ppm;
	tally.strength = consensus_strength(sure, false);
	out.status = tally.reached ? "consensus_reached" : "completed";
	for (i = 0; i < t->n; i++) {
		out.support[i] = t->proposals[i].group == tally.group || str_eqz(judge, t->seats[i]->name);
		out.dissent[i] = !out.support[i];
	}
	out.reason = tally.reached ? STR("") : STR("the judge is less sure than the threshold demands");
	out.verdict = arena_printf(a, "A judge chose this position, %.*s sure.", STR_ARG(decision_percent(a, sure)));
	o = decision_document(plan, t, &out, &tally);
	arena_free(a);
	return o;
}

json_t *decision_open(const struct debate_plan *plan, const struct seat *seats, size_t n, const char *status,
		      const char *reason)
{
	struct arena *a = arena_new(0);
	struct decision_table *t = decision_table_make(a, plan, seats, n);
	struct consensus_tally tally = {.group = CONSENSUS_MAX, .strength = "none"};
	struct decision_outcome out = {.method = plan->mode->name,
				       .status = status,
				       .winner = t->n,
				       .reason = str_of(reason),
				       .verdict = STR("The debate ended without choosing between the positions.")};
	json_t *o = decision_document(plan, t, &out, &tally);

	arena_free(a);
	return o;
}
