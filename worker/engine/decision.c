/* SPDX-License-Identifier: MIT */
/*
 * Turns seats and votes into the documents that deciding steps store. Called inside the engine's steps. The rules
 * themselves are in consensus.c and similarity.c; here they are applied and written down in integers.
 */
#include "worker/engine/decision.h"

#include "common/json.h"
#include "worker/engine/mode.h"

#define DECISION_GIVEN_MAX 2000000 /* what a person may make of a vote's weight at most */
#define DECISION_LABEL_MAX 120

/* ---- agreement and convergence ---- */

enum similarity_measure decision_measure(const struct debate_plan *plan)
{
	return plan->version >= 4 ? SIMILARITY_TFIDF : SIMILARITY_COUNTS;
}

/*
 * What the likenesses mean. By TF-IDF words that all texts share weigh less, and so it gives less than counts do; and
 * texts of one answer are as unlike as those of two (0.15 in similarity_test.c), so that only positions tell who
 * agrees.
 */
static const struct decision_bounds {
	int64_t diverge; /* a text less like its former self has left it */
	int64_t agree;   /* mean agreement that a stop asks for besides stability */
	int64_t flip;    /* a position less like its former self has changed */
} decision_bounds[] = {[SIMILARITY_COUNTS] = {400000, 600000, 300000}, [SIMILARITY_TFIDF] = {250000, 0, 180000}};

/* The texts of the seats that are in, and their former ones behind them, in one set. */
struct decision_texts {
	struct similarity_set *set;
	const struct seat *seats[CONSENSUS_MAX];
	size_t n;
};

static void decision_texts(struct arena *a, const struct debate_plan *plan, struct similarity_memo *memo,
			   const struct seat *seats, size_t n, bool former, struct decision_texts *out)
{
	size_t i;

	BUG_ON(n > CONSENSUS_MAX);
	out->set = similarity_set_new(a, decision_measure(plan), 2 * n);
	out->n = 0;
	for (i = 0; i < n; i++)
		if (seats[i].in)
			out->seats[out->n++] = &seats[i];
	for (i = 0; i < out->n; i++)
		(void)similarity_set_add(out->set, similarity_memo_vector(memo, out->seats[i]->text));
	for (i = 0; i < out->n && former; i++)
		(void)similarity_set_add(out->set, similarity_memo_vector(memo, out->seats[i]->former));
}

struct decision_alike {
	int64_t mean, least;
	bool apart; /* some two hold different positions */
};

/* All pairs: at most CONSENSUS_MAX² / 2 comparisons, O(n) each. */
static struct decision_alike decision_compare(const struct decision_texts *t, enum similarity_measure how,
					      struct similarity_memo *memo)
{
	struct decision_alike out = {.mean = SIMILARITY_ONE, .least = SIMILARITY_ONE};
	int64_t sum = 0, pairs = 0, s;
	size_t i, k;

	for (i = 0; i < t->n; i++)
		for (k = 0; k < i; k++) {
			s = similarity_set_alike(t->set, k, i);
			sum += s;
			pairs++;
			out.least = s < out.least ? s : out.least;
			out.apart =
			    out.apart || !consensus_one_answer(memo, how, t->seats[k]->position, t->seats[i]->position);
		}
	if (pairs > 0)
		out.mean = sum / pairs;
	return out;
}

/* How sure the authors say they are, on average; who says nothing is taken for undecided. */
static int64_t decision_sure(const struct decision_texts *t)
{
	int64_t sum = 0;
	size_t i;

	for (i = 0; i < t->n; i++)
		sum += t->seats[i]->sure_ppm >= 0 ? t->seats[i]->sure_ppm : SIMILARITY_ONE / 2;
	return t->n > 0 ? sum / (int64_t)t->n : 0;
}

json_t *decision_agreement(const struct debate_plan *plan, struct similarity_memo *memo, const struct seat *seats,
			   size_t n)
{
	struct arena *a = arena_new(0);
	struct decision_texts texts;
	struct decision_alike alike;
	json_t *o = json_object();
	bool by_answer = plan->version >= 4 && plan->by_position, agreed;

	decision_texts(a, plan, memo, seats, n, false, &texts);
	alike = decision_compare(&texts, decision_measure(plan), memo);
	agreed = (by_answer ? decision_sure(&texts) : alike.least) >= plan->early_agree_ppm && !alike.apart;
	arena_free(a);
	json_put_str(o, "status", agreed ? STR("converged") : STR("refining"));
	json_put_int(o, "similarity_ppm", alike.least);
	json_put_int(o, "agreement_ppm", alike.mean);
	if (by_answer)
		json_put_int(o, "sure_ppm", decision_sure(&texts));
	json_object_set_new(o, "agreed", json_boolean(agreed));
	return o;
}

static void decision_flip(const struct debate_plan *plan, struct similarity_memo *memo, const struct seat *s,
			  json_t *flips)
{
	enum similarity_measure how = decision_measure(plan);
	int64_t alike = similarity_alike(how, similarity_memo_vector(memo, s->former_position),
					 similarity_memo_vector(memo, s->position));
	json_t *o;

	if (alike >= decision_bounds[how].flip && !similarity_contradicts(s->former_position, s->position) &&
	    !(how == SIMILARITY_TFIDF && similarity_other_answer(s->former_position, s->position)))
		return;
	o = json_object();
	json_put_str(o, "agent", str_of(s->name));
	json_put_int(o, "similarity_ppm", alike);
	json_array_append_new(flips, o);
}

json_t *decision_convergence(const struct debate_plan *plan, struct similarity_memo *memo, const struct seat *seats,
			     size_t n)
{
	const struct decision_bounds *bounds = &decision_bounds[decision_measure(plan)];
	json_t *o = json_object(), *per_agent = json_object(), *flips = json_array();
	int64_t stable = SIMILARITY_ONE, own;
	const char *status = "refining";
	struct arena *a = arena_new(0);
	struct decision_texts texts;
	struct decision_alike alike;
	size_t i;

	decision_texts(a, plan, memo, seats, n, true, &texts);
	alike = decision_compare(&texts, decision_measure(plan), memo);
	for (i = 0; i < texts.n; i++) {
		own = similarity_set_alike(texts.set, i, texts.n + i);
		stable = own < stable ? own : stable;
		json_put_int(per_agent, texts.seats[i]->name, own);
		decision_flip(plan, memo, texts.seats[i], flips);
	}
	arena_free(a);
	if (stable >= plan->protocol.converge_ppm && alike.mean >= bounds->agree && !alike.apart)
		status = "converged";
	else if (stable < bounds->diverge)
		status = "diverging";
	json_put_str(o, "status", str_of(status));
	json_put_int(o, "similarity_ppm", stable);
	json_put_int(o, "agreement_ppm", alike.mean);
	if (plan->version >= 4)
		json_object_set_new(o, "agreed", json_boolean(!alike.apart));
	json_object_set_new(o, "per_agent", per_agent);
	json_object_set_new(o, "flips", flips);
	return o;
}

void decision_twins(const struct debate_plan *plan, struct similarity_memo *memo, struct seat *seats, size_t n)
{
	struct consensus_proposal p[CONSENSUS_MAX];
	struct seat *in[CONSENSUS_MAX];
	struct arena *a = arena_new(0);
	size_t i, k = 0;

	BUG_ON(n > CONSENSUS_MAX);
	for (i = 0; i < n; i++) {
		seats[i].twin = NULL;
		if (!seats[i].in)
			continue;
		in[k] = &seats[i];
		p[k++] = (struct consensus_proposal){
		    .name = str_of(seats[i].name), .text = seats[i].text, .position = seats[i].position};
	}
	consensus_group(a, p, k,
			&(struct consensus_sameness){
			    .text_ppm = plan->protocol.group_ppm, .how = decision_measure(plan), .memo = memo});
	for (i = 0; i < k; i++)
		if (p[i].group != i)
			in[i]->twin = in[p[i].group];
	arena_free(a);
}

/* ---- hollow agreement ---- */

json_t *decision_lacks(const struct evidence *v)
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

/* The seats that are in, as proposals and votes by the same index; votes of people follow. */
struct decision_table {
	const struct seat *seats[CONSENSUS_MAX];
	struct consensus_proposal proposals[CONSENSUS_MAX];
	struct consensus_vote *votes;
	size_t n, voters;
};

static size_t decision_find(const struct decision_table *t, struct str name)
{
	size_t i;

	for (i = 0; i < t->n && !str_eqz(name, t->seats[i]->name); i++)
		;
	return i;
}

/* Likenesses of the seats in the table, taken from those of all seats; NULL: there are none. */
static const int64_t *decision_alike(struct arena *a, const struct decision_matter *m, const size_t *from, size_t n)
{
	const json_t *ppm = json_get_arr(m->alike, "ppm");
	int64_t *alike;
	size_t i, k;

	if (json_array_size(ppm) != m->n * m->n)
		return NULL;
	alike = arena_alloc(a, (n * n + 1) * sizeof(*alike));
	for (i = 0; i < n; i++)
		for (k = 0; k < n; k++)
			alike[i * n + k] = json_integer_value(json_array_get(ppm, from[i] * m->n + from[k]));
	return alike;
}

/* What a person has made of a vote's weight. */
static int64_t decision_weight(const struct decision_matter *m, const char *agent)
{
	int64_t given = json_get_int(m->weights, agent, CONSENSUS_ONE);

	return given < 0 ? 0 : given > DECISION_GIVEN_MAX ? DECISION_GIVEN_MAX : given;
}

int64_t decision_given_weight(const struct decision_matter *m, const char *agent, int64_t weight_ppm)
{
	return weight_ppm * decision_weight(m, agent) / CONSENSUS_ONE;
}

static json_t *decision_given(const struct decision_matter *m)
{
	json_t *o = json_object();
	size_t i;

	for (i = 0; i < m->n; i++)
		if (json_object_get(m->weights, m->seats[i].name) != NULL)
			json_put_int(o, m->seats[i].name, decision_weight(m, m->seats[i].name));
	return o;
}

static void decision_add_vote(struct decision_table *t, const struct decision_matter *m, size_t i)
{
	const json_t *v = t->seats[i]->vote;
	size_t choice = v != NULL ? decision_find(t, json_get_str(v, "choice", STR(""))) : t->n;

	if (choice >= t->n)
		return;
	t->votes[i] = (struct consensus_vote){
	    .valid = true,
	    .choice = choice,
	    .confidence_ppm = json_get_int(v, "confidence_ppm", 0),
	    .weight_ppm = decision_given_weight(m, t->seats[i]->name, json_get_int(v, "weight_ppm", CONSENSUS_ONE)),
	    .elo_milli = json_get_int(m->ratings, t->seats[i]->name, 0)};
}

static void decision_add_audience(struct decision_table *t, const struct decision_matter *m)
{
	const json_t *v;
	size_t i;

	json_array_foreach(m->audience, i, v)
	{
		size_t choice = decision_find(t, json_get_str(v, "choice", STR("")));

		t->votes[t->voters++] = (struct consensus_vote){.valid = choice < t->n,
								.choice = choice,
								.confidence_ppm = CONSENSUS_ONE,
								.weight_ppm = json_get_int(v, "weight_ppm", 0),
								.person = true};
	}
}

static struct decision_table *decision_table_make(struct arena *a, const struct decision_matter *m)
{
	struct decision_table *t = arena_zalloc(a, sizeof(*t));
	size_t from[CONSENSUS_MAX] = {0}, i;

	BUG_ON(m->n > CONSENSUS_MAX);
	for (i = 0; i < m->n; i++) {
		const struct seat *s = &m->seats[i];

		if (!s->in)
			continue;
		from[t->n] = i;
		t->seats[t->n] = s;
		t->proposals[t->n++] = (struct consensus_proposal){
		    .name = str_of(s->name),
		    .text = s->text,
		    .position = s->position,
		    .severity_milli = s->severity_count > 0 ? s->severity_sum / s->severity_count : 0};
	}
	consensus_group(a, t->proposals, t->n,
			&(struct consensus_sameness){.text_ppm = m->plan->protocol.group_ppm,
						     .by_meaning = m->plan->mode->by_meaning || m->plan->by_position,
						     .alike = decision_alike(a, m, from, t->n),
						     .how = decision_measure(m->plan),
						     .memo = m->memo});
	t->votes = arena_zalloc(a, (t->n + json_array_size(m->audience) + 1) * sizeof(*t->votes));
	t->voters = t->n;
	for (i = 0; i < t->n; i++)
		decision_add_vote(t, m, i);
	decision_add_audience(t, m);
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

/* Who holds a group's position: its authors, and all who voted for it. */
static json_t *decision_holders(const struct decision_table *t, size_t group)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < t->n; i++)
		if (t->votes[i].valid ? t->proposals[t->votes[i].choice].group == group
				      : t->proposals[i].group == group)
			decision_append(list, t->seats[i]->name);
	return list;
}

static void decision_minority_one(const struct decision_table *t, const struct consensus_tally *tally, size_t group,
				  json_t *list)
{
	json_t *o = json_object(), *authors = json_array(), *reasons = json_array();
	size_t i;

	for (i = 0; i < t->n; i++) {
		struct str why = json_get_str(t->seats[i]->vote, "reasoning", STR(""));

		if (t->proposals[i].group == group)
			decision_append(authors, t->seats[i]->name);
		if (t->votes[i].valid && t->proposals[t->votes[i].choice].group == group && why.n > 0)
			json_array_append_new(reasons, json_str(why));
	}
	json_put_str(o, "position", t->proposals[group].position);
	json_object_set_new(o, "authors", authors);
	json_object_set_new(o, "held_by", decision_holders(t, group));
	json_put_int(o, "votes", (int64_t)tally->heads[group]);
	json_put_int(o, "weight_ppm", tally->weight_ppm[group]);
	json_object_set_new(o, "reasons", reasons);
	json_array_append_new(list, o);
}

/* The positions that did not win, heaviest first: an outvoted answer may still be the right one (debate.md 10.1). */
static json_t *decision_minority(const struct decision_table *t, const struct consensus_tally *tally)
{
	bool told[CONSENSUS_MAX] = {false};
	json_t *list = json_array();
	size_t i, best;

	for (;;) {
		best = t->n;
		for (i = 0; i < t->n; i++)
			if (t->proposals[i].group == i && i != tally->group && !told[i] &&
			    (best == t->n || tally->weight_ppm[i] > tally->weight_ppm[best]))
				best = i;
		if (best == t->n)
			return list;
		told[best] = true;
		decision_minority_one(t, tally, best, list);
	}
}

struct decision_outcome {
	const char *method, *status;
	size_t winner; /* t->n: nobody */
	bool support[CONSENSUS_MAX], dissent[CONSENSUS_MAX];
	int64_t confidence_ppm;
	struct str reason, verdict;
};

static json_t *decision_audience(const struct decision_table *t)
{
	json_t *o = json_object(), *votes = json_object(), *weights = json_object();
	int64_t weight = 0, counted = 0;
	size_t i;

	for (i = t->n; i < t->voters; i++) {
		const char *name;

		if (!t->votes[i].valid)
			continue;
		name = t->seats[t->votes[i].choice]->name;
		json_put_int(votes, name, json_get_int(votes, name, 0) + 1);
		json_put_int(weights, name, json_get_int(weights, name, 0) + t->votes[i].weight_ppm);
		weight += t->votes[i].weight_ppm;
		counted++;
	}
	json_put_int(o, "counted", counted);
	json_put_int(o, "weight_ppm", weight);
	json_object_set_new(o, "votes", votes);
	json_object_set_new(o, "weights", weights);
	return o;
}

/* Variance of the numbers of votes among the positions: 0 where all have as many, great where one has nearly all. */
static int64_t decision_variance(const struct decision_table *t, const struct consensus_tally *tally)
{
	int64_t groups = 0, heads = 0, squares = 0;
	size_t i;

	for (i = 0; i < t->n; i++) {
		if (t->proposals[i].group != i)
			continue;
		groups++;
		heads += (int64_t)tally->heads[i];
		squares += (int64_t)(tally->heads[i] * tally->heads[i]);
	}
	return groups > 0 ? (groups * squares - heads * heads) * CONSENSUS_ONE / (groups * groups) : 0;
}

static json_t *decision_consensus(const struct decision_matter *m, const struct decision_table *t,
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
	json_put_int(o, "threshold_ppm", m->threshold_ppm);
	json_put_int(o, "share_ppm", tally->share_ppm);
	json_put_int(o, "weighted_share_ppm", tally->weighted_share_ppm);
	json_put_int(o, "margin_ppm", tally->margin_ppm);
	json_put_int(o, "confidence_ppm", out->confidence_ppm);
	json_put_str(o, "strength", str_of(tally->strength));
	if (m->plan->version >= 4)
		json_put_int(o, "variance_ppm", decision_variance(t, tally));
	json_object_set_new(o, "supporting_agents", support);
	json_object_set_new(o, "dissenting_agents", dissent);
	json_object_set_new(o, "groups", decision_groups(t, tally));
	if (t->voters > t->n)
		json_object_set_new(o, "audience", decision_audience(t));
	if (m->weights != NULL)
		json_object_set_new(o, "weights", decision_given(m));
	if (m->spared != NULL)
		json_object_set(o, "not_asked", (json_t *)(uintptr_t)m->spared);
	if (m->alike != NULL)
		json_put_str(o, "similarity", json_get_str(m->alike, "source", STR("")));
	return o;
}

static json_t *decision_document(const struct decision_matter *m, const struct decision_table *t,
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
	json_object_set_new(o, "consensus", decision_consensus(m, t, out, tally));
	json_object_set_new(o, "dissents", dissents);
	if (m->plan->version >= 3)
		json_object_set_new(o, "minority", decision_minority(t, tally));
	return o;
}

static struct str decision_percent(struct arena *a, int64_t ppm)
{
	return arena_printf(a, "%lld.%lld %%", (long long)(ppm / 10000), (long long)(ppm % 10000 / 1000));
}

static void decision_explain(struct arena *a, const struct decision_matter *m, const struct consensus_tally *c,
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
					   c->heads[c->group], rule->heads_min, m->plan->agent_count);
	else if (rule->unanimous)
		out->reason = STR("the votes were not unanimous");
	else
		out->reason = arena_printf(a, "the leading position has %.*s of the weighted vote, %.*s are needed",
					   STR_ARG(share), STR_ARG(decision_percent(a, m->threshold_ppm)));
	out->verdict = arena_printf(a, "No consensus was reached: %.*s. This position leads.", STR_ARG(out->reason));
}

json_t *decision_by_vote(const struct decision_matter *m, const struct mode *mode)
{
	struct arena *a = arena_new(0);
	struct decision_table *t = decision_table_make(a, m);
	struct decision_outcome out = {.method = mode->name};
	struct consensus_rule rule = mode_rule(mode, m->plan, m->threshold_ppm);
	struct consensus_tally tally;
	json_t *o;
	size_t i;

	consensus_count(t->proposals, t->n, t->votes, t->voters, &rule, &tally);
	out.winner = tally.winner;
	out.status = tally.reached ? "consensus_reached" : tally.quorum ? "completed" : "insufficient_participation";
	out.confidence_ppm = tally.quorum ? tally.weighted_share_ppm : 0;
	for (i = 0; i < t->n; i++) {
		bool with = t->votes[i].valid && t->proposals[t->votes[i].choice].group == tally.group;

		out.support[i] = with;
		out.dissent[i] = t->votes[i].valid && !with;
	}
	decision_explain(a, m, &tally, &rule, &out);
	o = decision_document(m, t, &out, &tally);
	arena_free(a);
	return o;
}

bool decision_is_settled(const struct decision_matter *m, const struct mode *mode, int64_t open_ppm)
{
	struct arena *a = arena_new(0);
	struct decision_table *t = decision_table_make(a, m);
	struct consensus_rule rule = mode_rule(mode, m->plan, m->threshold_ppm);
	struct consensus_tally tally;
	int64_t all = open_ppm, leads;
	size_t i;

	consensus_count(t->proposals, t->n, t->votes, t->voters, &rule, &tally);
	for (i = 0; i < t->n; i++)
		all += tally.weight_ppm[i];
	leads = tally.weight_ppm[tally.group];
	arena_free(a);
	return tally.reached && 2 * leads > all && leads * CONSENSUS_ONE >= all * rule.threshold_ppm;
}

json_t *decision_by_judge(const struct debate_plan *plan, const struct seat *seats, size_t n, struct str judge,
			  const json_t *value)
{
	struct arena *a = arena_new(0);
	const struct decision_matter m = {.plan = plan, .seats = seats, .n = n, .threshold_ppm = plan->threshold_ppm};
	struct decision_table *t = decision_table_make(a, &m);
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
	tally.strength = plan->version >= 3 ? consensus_strength_of_margin(tally.margin_ppm, false)
					    : consensus_strength(sure, false);
	out.status = tally.reached ? "consensus_reached" : "completed";
	for (i = 0; i < t->n; i++) {
		out.support[i] = t->proposals[i].group == tally.group || str_eqz(judge, t->seats[i]->name);
		out.dissent[i] = !out.support[i];
	}
	out.reason = tally.reached ? STR("") : STR("the judge is less sure than the threshold demands");
	out.verdict = arena_printf(a, "A judge chose this position, %.*s sure.", STR_ARG(decision_percent(a, sure)));
	o = decision_document(&m, t, &out, &tally);
	arena_free(a);
	return o;
}

json_t *decision_open(const struct debate_plan *plan, const struct seat *seats, size_t n, const char *status,
		      const char *reason)
{
	struct arena *a = arena_new(0);
	const struct decision_matter m = {.plan = plan, .seats = seats, .n = n, .threshold_ppm = plan->threshold_ppm};
	struct decision_table *t = decision_table_make(a, &m);
	struct consensus_tally tally = {.group = CONSENSUS_MAX, .strength = "none"};
	struct decision_outcome out = {.method = plan->mode->name,
				       .status = status,
				       .winner = t->n,
				       .reason = str_of(reason),
				       .verdict = STR("The debate ended without choosing between the positions.")};
	json_t *o = decision_document(&m, t, &out, &tally);

	arena_free(a);
	return o;
}
