/* SPDX-License-Identifier: MIT */
/*
 * How a debate comes to its decision: the votes, the judge, and the step that settles it by the mode of the plan.
 * Called by the engine after the last round. The rules by which votes are counted are in decision.c and consensus.c.
 */
#include "common/json.h"
#include "worker/debate/course.h"
#include "worker/debate/mode.h"
#include "worker/debate/parse.h"
#include "worker/debate/topology.h"

/* ---- votes ---- */

/* A vote for oneself counts half; where ratings weigh, who is not rated yet weighs one. */
static int64_t deciding_weight(const struct ask_call *c, const struct seat *chosen)
{
	int64_t weight = chosen == c->seat ? CONSENSUS_SELF_PPM : CONSENSUS_ONE;
	const json_t *elo = json_object_get(c->e->ratings, c->seat->name);

	if (!c->e->plan->mode->by_rating || elo == NULL)
		return weight;
	return weight * mode_rating_weight(json_integer_value(elo)) / CONSENSUS_ONE;
}

static json_t *deciding_choice(const struct ask_call *c, size_t choice, int64_t sure, struct str reasoning)
{
	const struct seat *chosen = c->ballot[choice];
	json_t *value = json_object();

	json_put_str(value, "choice", str_of(chosen->name));
	json_put_int(value, "confidence_ppm", sure);
	json_put_int(value, "weight_ppm", deciding_weight(c, chosen));
	json_put_str(value, "reasoning", ask_revealed(c, reasoning));
	return value;
}

/* No readable choice: the step asks once more, then the vote is an abstention. It never goes to somebody by default. */
static json_t *deciding_read_vote(struct step *s, void *arg, struct str text)
{
	const struct ask_call *c = arg;
	struct event_at at = ask_at(c->e, s, c->seat->name);
	struct parse_vote vote;
	json_t *value;

	if (!parse_vote(c->e->a, text, c->ballot_n, &vote))
		return NULL;
	value = deciding_choice(c, vote.choice, vote.confidence_ppm, vote.reasoning);
	json_object_set_new(value, "continue_debate", json_boolean(vote.continue_debate));
	json_put_int(value, "at_ms", step_now_ms(s));
	event_vote(&at, value);
	return value;
}

static void deciding_cast(struct engine *e, const struct ask_call *c)
{
	c->seat->vote = ask_value(c);
	result_vote(&e->result, str_of(c->seat->name), c->seat->vote);
}

CO_FN static bool deciding_votes(struct engine *e)
{
	static const struct ask_kind kind = {"vote", 1024, 200000, false, deciding_read_vote};
	struct ask_phase ph = ask_open(e, &kind, e->n);
	struct ask_ballot b;
	struct ask_call *c;
	struct prompt p;
	size_t i;

	for (i = 0; i < e->n; i++) {
		if (!e->seats[i].in)
			continue;
		ask_ballot(e, &e->seats[i], "vote", &b);
		prompt_vote(e->a, e->plan, e->seats[i].agent, b.items, b.n, e->notes, &p);
		c = ask_add(&ph, &e->seats[i], NULL, &p, b.facts);
		c->ballot = b.seats;
		c->ballot_n = b.n;
	}
	return ask_run(&ph, "vote.close", deciding_cast);
}

/* How a decision is made and what it is made from. */
struct deciding {
	struct engine *e;
	const struct mode *mode; /* of a vote, or NULL */
	const char *status;      /* of an end without choice */
	const char *reason;
	const struct seat *judge; /* or NULL */
	const json_t *ruling;
};

struct seat *deciding_seat(const struct engine *e, struct str name)
{
	size_t i;

	for (i = 0; i < e->n; i++)
		if (str_eqz(name, e->seats[i].name))
			return &e->seats[i];
	return NULL;
}

/* The text of the winner; without one, of all that there are. */
static struct str deciding_leading_text(const struct engine *e, const json_t *decision)
{
	const struct seat *winner = deciding_seat(e, json_get_str(decision, "winner", STR("")));
	struct str text = STR("");
	size_t i;

	if (winner != NULL)
		return winner->text;
	for (i = 0; i < e->n; i++)
		if (e->seats[i].in && text.n == 0)
			text = e->seats[i].text;
		else if (e->seats[i].in)
			text = arena_printf(e->a, "%.*s\n\n---\n\n%.*s", STR_ARG(text), STR_ARG(e->seats[i].text));
	return text;
}

static json_t *deciding_step(struct step *s, void *arg)
{
	const struct deciding *g = arg;
	struct engine *e = g->e;
	struct event_at at = ask_at(e, s, NULL);
	json_t *value;

	if (g->judge != NULL)
		value = decision_by_judge(e->plan, e->seats, e->n, str_of(g->judge->name), g->ruling);
	else if (g->mode != NULL)
		value = decision_by_vote(e->plan, g->mode, e->seats, e->n);
	else
		value = decision_open(e->plan, e->seats, e->n, g->status, g->reason);
	event_consensus(&at, value, json_get_str(value, "status", STR("")), deciding_leading_text(e, value),
			e->result.failures);
	return value;
}

CO_FN static bool deciding_settle(struct engine *e, struct deciding *g)
{
	g->e = e;
	if (!step_run(e->d, "decide", deciding_step, g, &e->decision))
		return false;
	e->answer = deciding_leading_text(e, e->decision);
	return true;
}

CO_FN static bool deciding_count(struct engine *e, const struct mode *mode)
{
	return deciding_settle(e, &(struct deciding){.mode = mode});
}

/* ---- judge ---- */

/* Is x the better choice for an office: not the one to be avoided, of that trade, higher rated, by name. */
static bool deciding_prefers(const struct engine *e, const struct seat *x, const struct seat *y, struct str avoid,
			     const char *role)
{
	bool ax = str_eqz(avoid, x->name), ay = str_eqz(avoid, y->name);
	bool rx = str_eqz(x->agent->role, role), ry = str_eqz(y->agent->role, role);
	int64_t ex = json_get_int(e->ratings, x->name, 0), ey = json_get_int(e->ratings, y->name, 0);

	if (ax != ay)
		return ay;
	if (rx != ry)
		return rx;
	return ex != ey ? ex > ey : strcmp(x->name, y->name) < 0;
}

/* Seats that are in, best candidate first. */
size_t deciding_candidates(struct engine *e, struct str avoid, const char *role, struct seat **out)
{
	size_t i, k, n = 0;

	for (i = 0; i < e->n; i++) {
		if (!e->seats[i].in)
			continue;
		for (k = n++; k > 0 && deciding_prefers(e, &e->seats[i], out[k - 1], avoid, role); k--)
			out[k] = out[k - 1];
		out[k] = &e->seats[i];
	}
	return n;
}

/* Before a ruling the proposal that met the mildest criticism leads. */
static struct str deciding_mildest(const struct engine *e)
{
	const struct seat *best = NULL;
	int64_t least = INT64_MAX;
	size_t i;

	for (i = 0; i < e->n; i++) {
		const struct seat *s = &e->seats[i];
		int64_t severity = s->severity_count > 0 ? s->severity_sum / s->severity_count : 0;

		if (s->in &&
		    (best == NULL || severity < least || (severity == least && strcmp(s->name, best->name) < 0))) {
			best = s;
			least = severity;
		}
	}
	return best != NULL ? str_of(best->name) : STR("");
}

static json_t *deciding_read_ruling(struct step *s, void *arg, struct str text)
{
	const struct ask_call *c = arg;
	struct event_at at = ask_at(c->e, s, c->seat->name);
	struct parse_judge ruling;
	json_t *value;

	if (!parse_judge(c->e->a, text, c->ballot_n, &ruling))
		return NULL;
	value = deciding_choice(c, ruling.winner, ruling.confidence_ppm, ruling.reasoning);
	json_put_int(value, "weight_ppm", CONSENSUS_ONE);
	json_object_set_new(value, "continue_debate", json_false());
	json_put_str(value, "unresolved", ask_revealed(c, ruling.unresolved));
	json_put_str(value, "answer", ask_revealed(c, ruling.answer));
	event_vote(&at, value);
	return value;
}

CO_FN static bool deciding_ask_judge(struct engine *e, struct seat *judge, const json_t **ruling)
{
	static const struct ask_kind kind = {"judge", 4096, 200000, false, deciding_read_ruling};
	struct ask_phase ph = ask_open(e, &kind, 1);
	struct ask_ballot b;
	struct ask_call *c;
	struct prompt p;

	ask_ballot(e, judge, "judge", &b);
	prompt_judge(e->a, e->plan, judge->agent, b.items, b.n, e->notes, &p);
	c = ask_add(&ph, judge, NULL, &p, b.facts);
	c->ballot = b.seats;
	c->ballot_n = b.n;
	if (!ask_all(&ph))
		return false;
	*ruling = ask_value(c);
	return true;
}

/* One after the other until one rules; the prize goes to the author of the chosen text, never to the judge. */
CO_FN static bool deciding_rule(struct engine *e, bool *ruled)
{
	struct seat *candidates[TOPOLOGY_SEATS_MAX];
	struct deciding g = {.mode = NULL};
	size_t i, n = deciding_candidates(e, deciding_mildest(e), "judge", candidates);

	*ruled = false;
	for (i = 0; i < n; i++) {
		if (!deciding_ask_judge(e, candidates[i], &g.ruling))
			return false;
		if (g.ruling == NULL)
			continue;
		*ruled = true;
		g.judge = e->judge = candidates[i];
		result_vote(&e->result, str_of(g.judge->name), g.ruling);
		e->synthesis = json_get_str(g.ruling, "answer", STR(""));
		return deciding_settle(e, &g);
	}
	return true;
}

/* Nobody could rule: the votes decide, and the decision says so, its method is majority. */
CO_FN static bool deciding_by_judge(struct engine *e)
{
	bool ruled;

	return deciding_rule(e, &ruled) &&
	       (ruled || (deciding_votes(e) && deciding_count(e, mode_find(STR("majority")))));
}

/* What the votes come to, before anything is settled. */
static bool deciding_votes_decide(const struct engine *e)
{
	const json_t *decision = json_own(e->a, decision_by_vote(e->plan, e->plan->mode, e->seats, e->n));

	return json_get_bool(json_get_obj(decision, "consensus"), "reached", false);
}

CO_FN static bool deciding_hybrid(struct engine *e)
{
	bool ruled = false;

	if (!deciding_votes(e) || (!deciding_votes_decide(e) && !deciding_rule(e, &ruled)))
		return false;
	return ruled || deciding_count(e, e->plan->mode);
}

CO_FN bool deciding_run(struct engine *e)
{
	switch (e->plan->mode->way) {
	case MODE_VOTE:
		return deciding_votes(e) && deciding_count(e, e->plan->mode);
	case MODE_JUDGE:
		return deciding_by_judge(e);
	case MODE_HYBRID:
		return deciding_hybrid(e);
	case MODE_NONE:
		break;
	}
	return deciding_settle(e, &(struct deciding){.status = "completed", .reason = "no decision was asked for"});
}

CO_FN bool deciding_open(struct engine *e, const char *status, const char *reason)
{
	return deciding_settle(e, &(struct deciding){.status = status, .reason = reason});
}
