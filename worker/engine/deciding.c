/* SPDX-License-Identifier: MIT */
/*
 * How a debate comes to its decision: what the votes are counted from, the judge, and the step that settles it by the
 * mode of the plan. Called by the engine after the last round. How votes are asked for is in voting.c, the rules by
 * which they are counted in decision.c and consensus.c.
 */
#include "common/json.h"
#include "worker/engine/course.h"
#include "worker/engine/findings.h"
#include "worker/engine/mode.h"
#include "worker/engine/parse.h"
#include "worker/engine/topology.h"
#include "worker/engine/weight.h"

/* ---- settling ---- */

/* How a decision is made and what it is made from. */
struct deciding {
	struct engine *e;
	const struct mode *mode; /* of a vote, or NULL */
	const char *status;      /* of an end without choice */
	const char *reason;
	const struct seat *judge; /* or NULL */
	const json_t *ruling;
	struct decision_matter matter; /* of a vote */
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
		value = decision_by_vote(&g->matter, g->mode);
	else
		value = decision_open(e->plan, e->seats, e->n, g->status, g->reason);
	if (e->plan->version >= 4)
		findings_add(e->plan, e->seats, e->n, value);
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

/*
 * What people want of the decision that nobody has taken yet, together with what earlier steps took. Once: with two
 * waves of votes it is closed when the first is in, for what came later could undo that the second was not needed.
 */
CO_FN static bool deciding_hear(struct engine *e)
{
	const json_t *items;
	size_t i;

	if (e->heard)
		return true;
	if (!step_inbox(e->d, INBOX_LAST_STEP, &items))
		return false;
	e->heard = true;
	for (i = 0; i < json_array_size(items); i++)
		json_array_append(e->people, json_array_get(items, i));
	return true;
}

static size_t deciding_seats(const struct engine *e)
{
	size_t i, n = 0;

	for (i = 0; i < e->n; i++)
		n += e->seats[i].in;
	return n;
}

/* The last setting of that name that a person has made, or NULL. */
static const json_t *deciding_setting(const struct engine *e, const char *name)
{
	size_t i;

	for (i = json_array_size(e->people); i-- > 0;) {
		const json_t *item = json_array_get(e->people, i);
		const json_t *v = json_object_get(json_get_obj(item, "payload"), name);

		if (str_eqz(json_get_str(item, "kind", STR("")), "setting") && v != NULL)
			return v;
	}
	return NULL;
}

/* The plan's, a person's, or what the voters' record suggests; never less than the mode itself demands. */
static int64_t deciding_threshold(const struct engine *e, const struct mode *mode)
{
	const json_t *set = deciding_setting(e, "threshold_ppm");

	if (mode->any || mode->unanimous)
		return e->plan->threshold_ppm;
	if (json_is_integer(set) && json_integer_value(set) >= CONSENSUS_ONE / 2 &&
	    json_integer_value(set) <= CONSENSUS_ONE)
		return mode_threshold(mode, json_integer_value(set));
	if (e->plan->protocol.adaptive_consensus)
		return mode_threshold(mode, weight_threshold(e->standing, e->plan->threshold_ppm));
	return e->plan->threshold_ppm;
}

/* Do the positions mean the same? Asked once, of all seats, whoever is in. */
CO_FN static bool deciding_compare(struct engine *e, const struct mode *mode, const json_t **alike)
{
	struct str *positions;
	size_t i;

	*alike = NULL;
	if (!mode->by_meaning || e->plan->demo)
		return true;
	positions = arena_alloc(e->a, e->n * sizeof(*positions));
	for (i = 0; i < e->n; i++)
		positions[i] = e->seats[i].in ? e->seats[i].position : STR("");
	if (!step_alike(e->d, "vote.alike", positions, e->n, alike))
		return false;
	result_other(&e->result, *alike);
	return true;
}

/* What people have made of the votes so far. */
static void deciding_wishes(struct engine *e, const struct mode *mode, struct decision_matter *m)
{
	m->ratings = e->ratings;
	m->threshold_ppm = deciding_threshold(e, mode);
	m->weights = deciding_setting(e, "weights");
	m->audience = json_own(e->a, weight_audience(e->plan, e->people, deciding_seats(e)));
}

CO_FN bool deciding_so_far(struct engine *e, const struct mode *mode, struct decision_matter *m)
{
	*m = (struct decision_matter){.plan = e->plan, .seats = e->seats, .n = e->n, .memo = e->memo};
	if (!deciding_hear(e))
		return false;
	deciding_wishes(e, mode, m);
	return true;
}

/* What the votes are counted from. Made once, since hybrid counts before it knows whether a judge is needed. */
CO_FN static bool deciding_matter(struct engine *e, const struct mode *mode, struct decision_matter *m)
{
	*m = (struct decision_matter){
	    .plan = e->plan, .seats = e->seats, .n = e->n, .threshold_ppm = e->plan->threshold_ppm, .memo = e->memo};
	if (e->plan->version < 3)
		return true;
	if (!deciding_hear(e) || !deciding_compare(e, mode, &m->alike))
		return false;
	deciding_wishes(e, mode, m);
	m->spared = e->spared;
	return true;
}

CO_FN static bool deciding_count(struct engine *e, const struct mode *mode)
{
	struct deciding g = {.mode = mode};

	return deciding_matter(e, mode, &g.matter) && deciding_settle(e, &g);
}

/* ---- judge ---- */

/* How grave all is that a seat has found with the others' texts. */
static int64_t deciding_disputed(const struct engine *e, const struct seat *s)
{
	const json_t *critique;
	int64_t sum = 0;
	size_t i;

	json_array_foreach(e->result.critiques, i, critique)
	{
		if (str_eqz(json_get_str(critique, "agent", STR("")), s->name))
			sum += json_get_int(critique, "severity_milli", 0);
	}
	return sum;
}

/* How fit for an office, by what the plan goes by for a judge and by rating for everything else. */
static int64_t deciding_fitness(const struct engine *e, const struct seat *s, const char *role)
{
	size_t order[TOPOLOGY_SEATS_MAX], index = (size_t)(s - e->seats), i;
	int64_t elo = json_get_int(e->ratings, s->name, 0);

	switch (strcmp(role, "judge") == 0 ? (enum protocol_judge)e->plan->protocol.judge : JUDGE_ELO_RANKED) {
	case JUDGE_LAST:
		return str_eqz(s->agent->role, "synthesizer") ? (int64_t)e->n : (int64_t)index;
	case JUDGE_RANDOM:
		topology_shuffle(e->plan->seed, STR(""), "judge", 0, order, e->n);
		for (i = 0; order[i] != index; i++)
			;
		return (int64_t)i;
	case JUDGE_CALIBRATED: /* debate.md 3.3: 0.7 of (elo - 1000) / 500, 0.3 of calibration */
		elo = elo > 1000000 ? (elo - 1000000) * 2 : 0;
		return elo * 7 / 10 + json_get_int(ask_standing(e, s), "calibration_ppm", CONSENSUS_ONE / 2) * 3 / 10;
	case JUDGE_CRUX_AWARE: /* who has gone deepest into what is disputed */
		return deciding_disputed(e, s);
	case JUDGE_VOTED:
		return s->elected;
	case JUDGE_ELO_RANKED:
	case JUDGE_KINDS:
		break;
	}
	return elo;
}

/* Is x the better choice for an office: not the one to be avoided, of that trade, fitter, by name. */
static bool deciding_prefers(const struct engine *e, const struct seat *x, const struct seat *y, struct str avoid,
			     const char *role)
{
	bool ax = str_eqz(avoid, x->name), ay = str_eqz(avoid, y->name);
	bool rx = str_eqz(x->agent->role, role), ry = str_eqz(y->agent->role, role);
	int64_t fx = deciding_fitness(e, x, role), fy = deciding_fitness(e, y, role);

	if (ax != ay)
		return ay;
	if (rx != ry)
		return rx;
	return fx != fy ? fx > fy : strcmp(x->name, y->name) < 0;
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
	value = voting_choice(c, ruling.winner, ruling.confidence_ppm, ruling.reasoning);
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
	struct prompt_turn turn = {.agent = judge->agent, .notes = e->notes};
	struct ask_phase ph = ask_open(e, &kind, 1);
	struct ask_ballot b;
	struct ask_call *c;
	struct prompt p;

	ask_ballot(e, judge, "judge", &b);
	prompt_judge(e->a, e->plan, &turn, b.items, b.n, &p);
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
	size_t i, n;

	*ruled = false;
	if (e->plan->protocol.judge == JUDGE_VOTED && !electing_run(e))
		return false;
	n = deciding_candidates(e, deciding_mildest(e), "judge", candidates);
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
	       (ruled || (voting_run(e, NULL) && deciding_count(e, mode_find(STR("majority")))));
}

static json_t *deciding_count_step(struct step *s, void *arg)
{
	const struct deciding *g = arg;
	json_t *decision = decision_by_vote(&g->matter, g->mode);
	bool reached = json_get_bool(json_get_obj(decision, "consensus"), "reached", false);

	(void)s;
	json_decref(decision);
	return json_pack("{s:b}", "reached", (int)reached);
}

/* What the votes come to, before anything is settled; a step, for the way of counting may change with the engine. */
CO_FN static bool deciding_reached(struct engine *e, struct deciding *g, bool *reached)
{
	const json_t *value = NULL;
	json_t *own;

	if (e->plan->version < 3) {
		own = json_own(e->a, deciding_count_step(NULL, g));
		value = own;
	} else if (!step_run(e->d, "vote.count", deciding_count_step, g, &value)) {
		return false;
	}
	*reached = json_get_bool(value, "reached", false);
	return true;
}

CO_FN static bool deciding_hybrid(struct engine *e)
{
	struct deciding g = {.mode = e->plan->mode};
	bool reached = false, ruled = false;

	if (!voting_run(e, g.mode) || !deciding_matter(e, g.mode, &g.matter) || !deciding_reached(e, &g, &reached) ||
	    (!reached && !deciding_rule(e, &ruled)))
		return false;
	return ruled || deciding_settle(e, &g);
}

CO_FN bool deciding_run(struct engine *e)
{
	switch (e->plan->mode->way) {
	case MODE_VOTE:
		return voting_run(e, e->plan->mode) && deciding_count(e, e->plan->mode);
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
