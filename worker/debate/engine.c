/* SPDX-License-Identifier: MIT */
/*
 * The debate, from independent drafts to a written conclusion. Run by the runner on a coroutine, again from the start
 * after a crash. Knows neither clock nor chance nor store: everything that could differ between two runs comes out of a
 * step, so finished steps lead the second run through exactly the same branches.
 *
 * How to read it: engine_debate() is the order of things; each phase below it makes its calls, waits for all, closes (a
 * step that says who is in) and only then takes over what was said, in the order of the plan.
 */
#include "worker/debate/engine.h"

#include "common/json.h"
#include "worker/debate/ask.h"
#include "worker/debate/mode.h"
#include "worker/debate/parse.h"
#include "worker/debate/topology.h"

#define ENGINE_USABLE_MIN 2
#define ENGINE_NOTES_MAX 20  /* remarks of people in one prompt */
#define ENGINE_NOTE_MAX 1000 /* bytes of one */
#define ENGINE_OBJECTIONS_MAX 8
#define ENGINE_POOR "the budget does not cover another round"
#define ENGINE_CHALLENGE "the texts agree, but offer little evidence: sources, figures or reasons are asked for"

/* ---- drafts and revisions ---- */

static size_t engine_usable(const struct engine *e)
{
	size_t i, n = 0;

	for (i = 0; i < e->n; i++)
		n += e->seats[i].in;
	return n;
}

static json_t *engine_read_text(struct step *s, const struct ask_call *c, struct str text, const char *kind)
{
	struct event_at at = ask_at(c->e, s, c->seat->name);
	int64_t sure = -1;
	json_t *value;

	text = str_trim(text);
	if (text.n == 0)
		return NULL;
	value = json_object();
	json_put_str(value, "position", parse_position(text));
	if (parse_stated_confidence(text, &sure))
		json_put_int(value, "confidence_ppm", sure);
	json_put_int(value, "at_ms", step_now_ms(s));
	event_message(&at, kind, text, sure);
	return value;
}

static json_t *engine_read_draft(struct step *s, void *arg, struct str text)
{
	return engine_read_text(s, arg, text, "proposal");
}

static json_t *engine_read_revision(struct step *s, void *arg, struct str text)
{
	return engine_read_text(s, arg, text, "revision");
}

static void engine_adopt(struct engine *e, const struct ask_call *c)
{
	struct seat *seat = c->seat;

	seat->in = true;
	seat->text = ask_text(c);
	seat->position = json_get_str(ask_value(c), "position", STR(""));
	result_message(&e->result, str_of(seat->name), seat->text, e->round, json_get_int(ask_value(c), "at_ms", 0));
}

/* Everybody answers alone. Who fails is out; nothing is ever put in his mouth. */
CO_FN static bool engine_drafts(struct engine *e)
{
	static const struct ask_kind kind = {"propose", 0, 700000, true, engine_read_draft};
	struct ask_phase ph = ask_open(e, &kind, e->n);
	struct prompt p;
	size_t i;

	for (i = 0; i < e->n; i++) {
		prompt_propose(e->a, e->plan, e->seats[i].agent, &p);
		ask_add(&ph, &e->seats[i], NULL, &p, json_object());
	}
	return ask_run(&ph, "r0.close", engine_adopt);
}

static json_t *engine_agreement_step(struct step *s, void *arg)
{
	struct engine *e = arg;
	struct event_at at = ask_at(e, s, NULL);
	json_t *value = decision_agreement(e->plan, e->seats, e->n);

	event_convergence(&at, value);
	if (json_get_bool(value, "agreed", false))
		event_early_stop(&at, "round0_agreement", "all independent drafts agree");
	return value;
}

static void engine_note_convergence(struct engine *e, const json_t *value)
{
	static const char *const keys[] = {"status", "similarity_ppm", "agreement_ppm"};
	size_t i;

	for (i = 0; i < countof(keys); i++)
		json_object_set(e->result.convergence, keys[i], json_object_get(value, keys[i]));
}

/* Drafts that agree already need no debate. */
CO_FN static bool engine_agreement_gate(struct engine *e, bool *settled)
{
	const json_t *value;

	if (!step_run(e->d, "r0.agreement", engine_agreement_step, e, &value))
		return false;
	engine_note_convergence(e, value);
	*settled = json_get_bool(value, "agreed", false);
	if (*settled)
		result_early_stop(&e->result, e->a, "round0_agreement", 0, "all independent drafts agree");
	return true;
}

/* ---- a round: remarks, critique, revision, convergence ---- */

static struct str engine_remark(const json_t *item)
{
	static const char *const names[] = {"suggestion", "content", "text", "message"};
	const json_t *payload = json_get_obj(item, "payload");
	struct str kind = json_get_str(item, "kind", STR(""));
	size_t i;

	if (!str_eqz(kind, "suggestion") && !str_eqz(kind, "intervention"))
		return STR("");
	for (i = 0; i < countof(names); i++)
		if (json_get_str(payload, names[i], STR("")).n > 0)
			return str_utf8_cut(str_trim(json_get_str(payload, names[i], STR(""))), ENGINE_NOTE_MAX);
	return STR("");
}

struct engine_opening {
	struct engine *e;
	const json_t *inbox;
};

static json_t *engine_round_start_step(struct step *s, void *arg)
{
	const struct engine_opening *o = arg;
	struct event_at at = ask_at(o->e, s, NULL);
	size_t i;

	event_round_start(&at, "critique");
	for (i = 0; i < json_array_size(o->inbox); i++) {
		const json_t *item = json_array_get(o->inbox, i);

		if (engine_remark(item).n > 0)
			event_intervention(&at, item, engine_remark(item));
	}
	return json_pack("{s:I}", "at_ms", (json_int_t)step_now_ms(s));
}

CO_FN static bool engine_round_begin(struct engine *e, int64_t *at_ms)
{
	struct engine_opening o = {e, NULL};
	const json_t *started;
	size_t i;

	if (!step_inbox(e->d, arena_printf(e->a, "r%d.inbox", e->round).p, &o.inbox) ||
	    !step_run(e->d, arena_printf(e->a, "r%d.start", e->round).p, engine_round_start_step, &o, &started))
		return false;
	*at_ms = json_get_int(started, "at_ms", 0);
	for (i = 0; i < json_array_size(o.inbox); i++) {
		struct str remark = engine_remark(json_array_get(o.inbox, i));

		if (remark.n > 0 && json_array_size(e->notes) < ENGINE_NOTES_MAX)
			json_array_append_new(e->notes, json_str(remark));
	}
	for (i = 0; i < e->n; i++) {
		e->seats[i].former = e->seats[i].text;
		e->seats[i].former_position = e->seats[i].position;
		e->seats[i].received = json_own(e->a, json_array());
	}
	return true;
}

static json_t *engine_read_critique(struct step *s, void *arg, struct str text)
{
	const struct ask_call *c = arg;
	struct event_at at = ask_at(c->e, s, c->seat->name);
	struct parse_critique critique;
	json_t *value = json_object();

	parse_critique(c->e->a, text, &critique);
	json_object_set(value, "issues", critique.issues);
	json_object_set(value, "suggestions", critique.suggestions);
	json_put_int(value, "severity_milli", critique.severity_milli);
	json_put_str(value, "reasoning", critique.reasoning);
	json_put_int(value, "at_ms", step_now_ms(s));
	event_critique(&at, str_of(c->target->name), value, str_trim(text));
	return value;
}

static void engine_receive(struct engine *e, const struct ask_call *c)
{
	struct seat *target = c->target;
	json_t *value = json_get_obj(c->result, "value");

	json_array_append(target->received, value);
	target->severity_sum += json_get_int(value, "severity_milli", 0);
	target->severity_count++;
	result_critique(&e->result, str_of(c->seat->name), str_of(target->name), e->round, value);
}

/* Texts are shown without their authors: what counts is what is said. */
CO_FN static bool engine_critiques(struct engine *e)
{
	static const struct ask_kind kind = {"critique", 2048, 300000, false, engine_read_critique};
	struct topology_pair *pairs;
	struct str names[TOPOLOGY_SEATS_MAX], text;
	struct seat *in[TOPOLOGY_SEATS_MAX];
	struct ask_phase ph;
	struct prompt p;
	size_t i, n = 0;

	for (i = 0; i < e->n; i++)
		if (e->seats[i].in) {
			names[n] = str_of(e->seats[i].name);
			in[n++] = &e->seats[i];
		}
	pairs = arena_zalloc(e->a, (n * n + 1) * sizeof(*pairs));
	n = topology_pairs(topology_adapt(e->plan->topology, e->convergence, n), names, n, e->plan->seed, e->round,
			   pairs);
	ph = ask_open(e, &kind, n);
	for (i = 0; i < n; i++) {
		struct seat *critic = in[pairs[i].critic], *target = in[pairs[i].target];

		text = ask_hidden(e, target->text, PROMPT_TEXT_MAX);
		prompt_critique(e->a, e->plan, critic->agent, text, e->notes, &p);
		ask_add(&ph, critic, target, &p, json_pack("{s:s, s:s%}", "label", "Proposal", "text", text.p, text.n));
	}
	return ask_run(&ph, arena_printf(e->a, "r%d.critique.close", e->round).p, engine_receive);
}

/* "sources, reasons" if the last round's challenge was for this seat, else empty. */
static struct str engine_lacks(const struct engine *e, const struct seat *seat)
{
	const json_t *weak = json_get_arr(e->evidence, "weak"), *lacks;
	struct str text = STR("");
	size_t i, k;

	for (i = 0; e->challenged_round > 0 && e->challenged_round + 1 == e->round && i < json_array_size(weak); i++) {
		if (!str_eqz(json_get_str(json_array_get(weak, i), "agent", STR("")), seat->name))
			continue;
		lacks = json_get_arr(json_array_get(weak, i), "lacks");
		for (k = 0; k < json_array_size(lacks); k++)
			text = arena_printf(e->a, "%.*s%s%s", STR_ARG(text), k > 0 ? ", " : "",
					    json_string_value(json_array_get(lacks, k)));
	}
	return text;
}

/* Authors answer the critiques of this round only; who fails keeps his text. */
CO_FN static bool engine_revisions(struct engine *e)
{
	static const struct ask_kind kind = {"revise", 0, 500000, true, engine_read_revision};
	struct ask_phase ph = ask_open(e, &kind, e->n);
	struct prompt p;
	size_t i;

	for (i = 0; i < e->n; i++) {
		struct seat *seat = &e->seats[i];
		struct str own;

		if (!seat->in || json_array_size(seat->received) == 0)
			continue;
		own = ask_hidden(e, seat->text, PROMPT_TEXT_MAX);
		prompt_revise(e->a, e->plan, seat->agent, own, seat->received, e->notes, engine_lacks(e, seat), &p);
		ask_add(&ph, seat, NULL, &p,
			json_pack("{s:s%, s:O}", "own", own.p, own.n, "critiques", seat->received));
	}
	return ask_run(&ph, arena_printf(e->a, "r%d.revise.close", e->round).p, engine_adopt);
}

/*
 * Agreement without evidence does not end a debate while rounds are left: each text is asked for what it lacks. Not in
 * two rounds running, for an answer takes one; demo agents have no evidence to give.
 */
static json_t *engine_hollow(const struct engine *e, int64_t agreement_ppm)
{
	json_t *o = decision_hollow(e->plan, e->seats, e->n, agreement_ppm);
	bool challenged = json_get_bool(o, "hollow", false) && !e->plan->demo && e->round < e->plan->rounds &&
			  (e->challenged_round == 0 || e->challenged_round + 1 != e->round);

	json_object_set_new(o, "challenged", json_boolean(challenged));
	return o;
}

static json_t *engine_convergence_step(struct step *s, void *arg)
{
	struct engine *e = arg;
	struct event_at at = ask_at(e, s, NULL);
	json_t *value = decision_convergence(e->seats, e->n);
	const json_t *flips = json_get_arr(value, "flips");
	json_t *hollow = engine_hollow(e, json_get_int(value, "agreement_ppm", 0));
	bool challenged = json_get_bool(hollow, "challenged", false);
	bool stop =
	    str_eqz(json_get_str(value, "status", STR("")), "converged") && e->round < e->plan->rounds && !challenged;
	size_t i, k;

	json_object_set_new(value, "stop", json_boolean(stop));
	json_object_set_new(value, "evidence", hollow);
	event_convergence(&at, value);
	for (i = 0; i < json_array_size(flips); i++)
		for (k = 0; k < e->n; k++)
			if (str_eqz(json_get_str(json_array_get(flips, i), "agent", STR("")), e->seats[k].name)) {
				at.agent = e->seats[k].name;
				event_flip(&at, e->seats[k].former_position, e->seats[k].position,
					   json_get_int(json_array_get(flips, i), "similarity_ppm", 0));
			}
	at.agent = NULL;
	if (challenged)
		event_hollow(&at, hollow, ENGINE_CHALLENGE);
	if (stop)
		event_early_stop(&at, "convergence", "the texts are stable and agree");
	return value;
}

/* Stable texts that agree end the debate early; stable texts that disagree do not. */
CO_FN static bool engine_convergence(struct engine *e, bool *settled)
{
	const json_t *value, *flips;
	size_t i;

	if (!step_run(e->d, arena_printf(e->a, "r%d.converge", e->round).p, engine_convergence_step, e, &value))
		return false;
	engine_note_convergence(e, value);
	flips = json_get_arr(value, "flips");
	for (i = 0; i < json_array_size(flips); i++)
		result_flip(&e->result, json_get_str(json_array_get(flips, i), "agent", STR("")), e->round);
	e->convergence = json_get_str(value, "status", STR(""));
	e->evidence = json_get_obj(value, "evidence");
	if (json_get_bool(e->evidence, "challenged", false))
		e->challenged_round = e->round;
	*settled = json_get_bool(value, "stop", false);
	if (*settled)
		result_early_stop(&e->result, e->a, "convergence", e->round, "the texts are stable and agree");
	return true;
}

struct engine_closing {
	struct engine *e;
	int64_t began_ms;
};

static json_t *engine_round_end_step(struct step *s, void *arg)
{
	const struct engine_closing *c = arg;
	struct event_at at = ask_at(c->e, s, NULL);

	event_round_end(&at, step_now_ms(s) - c->began_ms);
	return json_object();
}

CO_FN static bool engine_round(struct engine *e, int round, bool *settled)
{
	struct engine_closing closing = {e, 0};
	const json_t *ended;

	e->round = round;
	return engine_round_begin(e, &closing.began_ms) && engine_critiques(e) && engine_revisions(e) &&
	       engine_convergence(e, settled) &&
	       step_run(e->d, arena_printf(e->a, "r%d.end", round).p, engine_round_end_step, &closing, &ended);
}

/* ---- the decision ---- */

/* A vote for oneself counts half; where ratings weigh, who is not rated yet weighs one. */
static int64_t engine_weight(const struct ask_call *c, const struct seat *chosen)
{
	int64_t weight = chosen == c->seat ? CONSENSUS_SELF_PPM : CONSENSUS_ONE;
	const json_t *elo = json_object_get(c->e->ratings, c->seat->name);

	if (!c->e->plan->mode->by_rating || elo == NULL)
		return weight;
	return weight * mode_rating_weight(json_integer_value(elo)) / CONSENSUS_ONE;
}

static json_t *engine_choice(const struct ask_call *c, size_t choice, int64_t sure, struct str reasoning)
{
	const struct seat *chosen = c->ballot[choice];
	json_t *value = json_object();

	json_put_str(value, "choice", str_of(chosen->name));
	json_put_int(value, "confidence_ppm", sure);
	json_put_int(value, "weight_ppm", engine_weight(c, chosen));
	json_put_str(value, "reasoning", ask_revealed(c, reasoning));
	return value;
}

/* No readable choice: the step asks once more, then the vote is an abstention. It never goes to somebody by default. */
static json_t *engine_read_vote(struct step *s, void *arg, struct str text)
{
	const struct ask_call *c = arg;
	struct event_at at = ask_at(c->e, s, c->seat->name);
	struct parse_vote vote;
	json_t *value;

	if (!parse_vote(c->e->a, text, c->ballot_n, &vote))
		return NULL;
	value = engine_choice(c, vote.choice, vote.confidence_ppm, vote.reasoning);
	json_object_set_new(value, "continue_debate", json_boolean(vote.continue_debate));
	json_put_int(value, "at_ms", step_now_ms(s));
	event_vote(&at, value);
	return value;
}

static void engine_cast(struct engine *e, const struct ask_call *c)
{
	c->seat->vote = ask_value(c);
	result_vote(&e->result, str_of(c->seat->name), c->seat->vote);
}

CO_FN static bool engine_votes(struct engine *e)
{
	static const struct ask_kind kind = {"vote", 1024, 200000, false, engine_read_vote};
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
	return ask_run(&ph, "vote.close", engine_cast);
}

/* How a decision is made and what it is made from. */
struct engine_deciding {
	struct engine *e;
	const struct mode *mode; /* of a vote, or NULL */
	const char *status;      /* of an end without choice */
	const char *reason;
	const struct seat *judge; /* or NULL */
	const json_t *ruling;
};

static struct seat *engine_seat(const struct engine *e, struct str name)
{
	size_t i;

	for (i = 0; i < e->n; i++)
		if (str_eqz(name, e->seats[i].name))
			return &e->seats[i];
	return NULL;
}

/* The text of the winner; without one, of all that there are. */
static struct str engine_leading_text(const struct engine *e, const json_t *decision)
{
	const struct seat *winner = engine_seat(e, json_get_str(decision, "winner", STR("")));
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

static json_t *engine_decide_step(struct step *s, void *arg)
{
	const struct engine_deciding *g = arg;
	struct engine *e = g->e;
	struct event_at at = ask_at(e, s, NULL);
	json_t *value;

	if (g->judge != NULL)
		value = decision_by_judge(e->plan, e->seats, e->n, str_of(g->judge->name), g->ruling);
	else if (g->mode != NULL)
		value = decision_by_vote(e->plan, g->mode, e->seats, e->n);
	else
		value = decision_open(e->plan, e->seats, e->n, g->status, g->reason);
	event_consensus(&at, value, json_get_str(value, "status", STR("")), engine_leading_text(e, value),
			e->result.failures);
	return value;
}

CO_FN static bool engine_settle(struct engine *e, struct engine_deciding *g)
{
	g->e = e;
	if (!step_run(e->d, "decide", engine_decide_step, g, &e->decision))
		return false;
	e->answer = engine_leading_text(e, e->decision);
	return true;
}

CO_FN static bool engine_count(struct engine *e, const struct mode *mode)
{
	return engine_settle(e, &(struct engine_deciding){.mode = mode});
}

/* ---- judge ---- */

/* Is x the better choice for an office: not the one to be avoided, of that trade, higher rated, by name. */
static bool engine_prefers(const struct engine *e, const struct seat *x, const struct seat *y, struct str avoid,
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
static size_t engine_candidates(struct engine *e, struct str avoid, const char *role, struct seat **out)
{
	size_t i, k, n = 0;

	for (i = 0; i < e->n; i++) {
		if (!e->seats[i].in)
			continue;
		for (k = n++; k > 0 && engine_prefers(e, &e->seats[i], out[k - 1], avoid, role); k--)
			out[k] = out[k - 1];
		out[k] = &e->seats[i];
	}
	return n;
}

/* Before a ruling the proposal that met the mildest criticism leads. */
static struct str engine_mildest(const struct engine *e)
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

static json_t *engine_read_ruling(struct step *s, void *arg, struct str text)
{
	const struct ask_call *c = arg;
	struct event_at at = ask_at(c->e, s, c->seat->name);
	struct parse_judge ruling;
	json_t *value;

	if (!parse_judge(c->e->a, text, c->ballot_n, &ruling))
		return NULL;
	value = engine_choice(c, ruling.winner, ruling.confidence_ppm, ruling.reasoning);
	json_put_int(value, "weight_ppm", CONSENSUS_ONE);
	json_object_set_new(value, "continue_debate", json_false());
	json_put_str(value, "unresolved", ask_revealed(c, ruling.unresolved));
	json_put_str(value, "answer", ask_revealed(c, ruling.answer));
	event_vote(&at, value);
	return value;
}

CO_FN static bool engine_ask_judge(struct engine *e, struct seat *judge, const json_t **ruling)
{
	static const struct ask_kind kind = {"judge", 4096, 200000, false, engine_read_ruling};
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
CO_FN static bool engine_rule(struct engine *e, bool *ruled)
{
	struct seat *candidates[TOPOLOGY_SEATS_MAX];
	struct engine_deciding g = {.mode = NULL};
	size_t i, n = engine_candidates(e, engine_mildest(e), "judge", candidates);

	*ruled = false;
	for (i = 0; i < n; i++) {
		if (!engine_ask_judge(e, candidates[i], &g.ruling))
			return false;
		if (g.ruling == NULL)
			continue;
		*ruled = true;
		g.judge = e->judge = candidates[i];
		result_vote(&e->result, str_of(g.judge->name), g.ruling);
		e->synthesis = json_get_str(g.ruling, "answer", STR(""));
		return engine_settle(e, &g);
	}
	return true;
}

/* Nobody could rule: the votes decide, and the decision says so, its method is majority. */
CO_FN static bool engine_decide_by_judge(struct engine *e)
{
	bool ruled;

	return engine_rule(e, &ruled) && (ruled || (engine_votes(e) && engine_count(e, mode_find(STR("majority")))));
}

/* What the votes come to, before anything is settled. */
static bool engine_votes_decide(const struct engine *e)
{
	const json_t *decision = json_own(e->a, decision_by_vote(e->plan, e->plan->mode, e->seats, e->n));

	return json_get_bool(json_get_obj(decision, "consensus"), "reached", false);
}

CO_FN static bool engine_decide_hybrid(struct engine *e)
{
	bool ruled = false;

	if (!engine_votes(e) || (!engine_votes_decide(e) && !engine_rule(e, &ruled)))
		return false;
	return ruled || engine_count(e, e->plan->mode);
}

CO_FN static bool engine_decide(struct engine *e)
{
	switch (e->plan->mode->way) {
	case MODE_VOTE:
		return engine_votes(e) && engine_count(e, e->plan->mode);
	case MODE_JUDGE:
		return engine_decide_by_judge(e);
	case MODE_HYBRID:
		return engine_decide_hybrid(e);
	case MODE_NONE:
		break;
	}
	return engine_settle(e,
			     &(struct engine_deciding){.status = "completed", .reason = "no decision was asked for"});
}

/* ---- the conclusion ---- */

static int64_t engine_confidence(const struct engine *e)
{
	return json_get_int(json_get_obj(e->decision, "consensus"), "confidence_ppm", 0);
}

static json_t *engine_read_synthesis(struct step *s, void *arg, struct str text)
{
	const struct ask_call *c = arg;
	struct event_at at = ask_at(c->e, s, c->seat->name);

	text = str_trim(text);
	if (text.n == 0)
		return NULL;
	event_synthesis(&at, text, engine_confidence(c->e));
	return json_pack("{s:I}", "at_ms", (json_int_t)step_now_ms(s));
}

static void engine_object(json_t *objections, struct str text)
{
	if (text.n > 0 && json_array_size(objections) < ENGINE_OBJECTIONS_MAX)
		json_array_append_new(objections, json_str(text));
}

/* What the dissenters said, then the issues that were found with the winner's text in the last round. */
static json_t *engine_objections(const struct engine *e, const struct seat *winner)
{
	json_t *out = json_own(e->a, json_array());
	const json_t *dissents = json_get_arr(e->decision, "dissents"),
		     *received = winner != NULL ? winner->received : NULL;
	size_t i, k;

	for (i = 0; i < json_array_size(dissents); i++) {
		const json_t *reasons = json_get_arr(json_array_get(dissents, i), "reasons");

		for (k = 0; k < json_array_size(reasons); k++)
			engine_object(out, ask_hidden(e, str_of(json_string_value(json_array_get(reasons, k))),
						      PROMPT_OTHER_MAX));
	}
	for (i = 0; i < json_array_size(received); i++) {
		const json_t *issues = json_get_arr(json_array_get(received, i), "issues");

		for (k = 0; k < json_array_size(issues); k++)
			engine_object(
			    out, ask_hidden(e, str_of(json_string_value(json_array_get(issues, k))), PROMPT_OTHER_MAX));
	}
	return out;
}

static void engine_outcome(struct engine *e, const struct seat *winner, struct prompt_outcome *o)
{
	struct prompt_item *others = arena_zalloc(e->a, (e->n + 1) * sizeof(*others));
	size_t i;

	*o = (struct prompt_outcome){
	    .winner = STR(""), .others = others, .verdict = json_get_str(e->decision, "verdict", STR(""))};
	if (winner != NULL)
		o->winner = ask_hidden(e, winner->text, PROMPT_WINNER_MAX);
	for (i = 0; i < e->n; i++)
		if (e->seats[i].in && &e->seats[i] != winner)
			others[o->other_count++] =
			    (struct prompt_item){winner != NULL ? STR("another position") : STR("a position"),
						 ask_hidden(e, e->seats[i].text, PROMPT_OTHER_MAX)};
	o->objections = engine_objections(e, winner);
}

/* A demo agent is told who dissented; in a debate without decision, all positions. */
static json_t *engine_synthesis_facts(const struct engine *e, const struct prompt_outcome *o)
{
	json_t *facts = json_object(), *views = json_array();
	size_t i;

	for (i = 0; i < o->other_count && o->winner.n == 0; i++)
		json_array_append_new(views, json_str(o->others[i].text));
	json_array_extend(views, json_get_arr(e->decision, "dissents"));
	json_put_str(facts, "winner_text", o->winner);
	json_object_set_new(facts, "dissents", views);
	json_put_str(facts, "question", e->plan->task);
	return facts;
}

/* A conclusion that is at hand already, a judge's or the frame, is said by a step of its own. */
struct engine_saying {
	const struct engine *e;
	const char *agent;
	struct str text;
};

static json_t *engine_say_step(struct step *s, void *arg)
{
	const struct engine_saying *y = arg;
	struct event_at at = ask_at(y->e, s, y->agent);

	event_synthesis(&at, y->text, engine_confidence(y->e));
	return json_object();
}

CO_FN static bool engine_say(struct engine *e, const struct seat *by)
{
	struct engine_saying y = {e, by != NULL ? by->name : NULL, e->synthesis};
	const json_t *said;

	e->answer = e->synthesis;
	return step_run(e->d, "synthesis.said", engine_say_step, &y, &said);
}

/* Preferably by somebody who has not won: he would defend his own text. */
CO_FN static bool engine_write(struct engine *e)
{
	static const struct ask_kind kind = {"synthesis", 4096, 300000, true, engine_read_synthesis};
	struct seat *winner = engine_seat(e, json_get_str(e->decision, "winner", STR("")));
	struct seat *writers[TOPOLOGY_SEATS_MAX];
	struct ask_phase ph = ask_open(e, &kind, 1);
	struct prompt_outcome o;
	struct prompt p;

	(void)engine_candidates(e, json_get_str(e->decision, "winner", STR("")), "synthesizer", writers);
	engine_outcome(e, winner, &o);
	prompt_synthesis(e->a, e->plan, writers[0]->agent, &o, &p);
	ask_add(&ph, writers[0], NULL, &p, engine_synthesis_facts(e, &o));
	if (!ask_all(&ph))
		return false;
	if (json_get_bool(ph.calls[0].result, "ok", false)) {
		e->answer = e->synthesis = ask_text(&ph.calls[0]);
		return true;
	}
	e->synthesis = prompt_frame(e->a, &o);
	return engine_say(e, winner);
}

/* Too few took part: the best text stands as it is, nothing is written around it. */
CO_FN static bool engine_conclude(struct engine *e)
{
	if (str_eqz(json_get_str(e->decision, "status", STR("")), "insufficient_participation"))
		return true;
	if (e->synthesis.n == 0)
		return engine_write(e);
	return engine_say(e, e->judge);
}

/* ---- the whole ---- */

static json_t *engine_start_step(struct step *s, void *arg)
{
	struct event_at at = ask_at(arg, s, NULL);

	event_debate_start(&at);
	return json_pack("{s:I}", "at_ms", (json_int_t)step_now_ms(s));
}

CO_FN static bool engine_start(struct engine *e)
{
	const json_t *started;

	if (!step_run(e->d, "start", engine_start_step, e, &started))
		return false;
	e->started_at_ms = json_get_int(started, "at_ms", 0);
	return true;
}

static json_t *engine_end_step(struct step *s, void *arg)
{
	struct engine *e = arg;

	return json_pack("{s:I, s:I}", "at_ms", (json_int_t)step_now_ms(s), "running_ms",
			 (json_int_t)debate_running_ms(e->d));
}

CO_FN static bool engine_end(struct engine *e)
{
	const json_t *ended;

	if (!step_run(e->d, "end", engine_end_step, e, &ended))
		return false;
	e->ended_at_ms = json_get_int(ended, "at_ms", 0);
	e->running_ms = json_get_int(ended, "running_ms", 0);
	return true;
}

CO_FN static bool engine_too_few(struct engine *e)
{
	return engine_settle(e, &(struct engine_deciding){.status = "insufficient_participation",
							  .reason = "fewer than two agents gave a usable proposal"}) &&
	       engine_end(e);
}

static json_t *engine_budget_step(struct step *s, void *arg)
{
	struct engine *e = arg;
	struct event_at at = ask_at(e, s, NULL);

	event_budget(&at, result_spent(&e->result));
	event_early_stop(&at, "budget", ENGINE_POOR);
	return json_object();
}

/*
 * A round is begun only if what the last one has cost, and half as much for the decision, is still there; the first
 * costs about three times the drafts. What is too dear all the same is refused call by call (step_call.c).
 */
CO_FN static bool engine_afford(struct engine *e, int round, bool *settled)
{
	int64_t spent = result_spent(&e->result), last = (spent - e->spent_micro) * (round == 1 ? 3 : 1);
	const json_t *said;

	e->spent_micro = spent;
	if (e->plan->budget_micro <= 0 || spent + last + last / 2 <= e->plan->budget_micro)
		return true;
	*settled = true;
	result_early_stop(&e->result, e->a, "budget", e->round, ENGINE_POOR);
	return step_run(e->d, "budget", engine_budget_step, e, &said);
}

/* False: unwinding. True: all that is left is to finish. */
CO_FN static bool engine_debate(struct engine *e)
{
	bool settled = false;
	int round;

	if (!engine_start(e) || !engine_drafts(e))
		return false;
	if (engine_usable(e) < ENGINE_USABLE_MIN)
		return engine_too_few(e);
	if (!engine_agreement_gate(e, &settled))
		return false;
	for (round = 1; round <= e->plan->rounds && !settled; round++)
		if (!engine_afford(e, round, &settled) || (!settled && !engine_round(e, round, &settled)))
			return false;
	return step_ratings(e->d, "ratings", &e->ratings) && engine_decide(e) && engine_conclude(e) && engine_end(e);
}

static struct engine *engine_new(struct debate *d)
{
	struct arena *a = debate_arena(d);
	struct engine *e = arena_zalloc(a, sizeof(*e));
	size_t i;

	e->d = d;
	e->plan = debate_plan(d);
	e->a = a;
	e->n = e->plan->agent_count;
	BUG_ON(e->n > TOPOLOGY_SEATS_MAX);
	e->seats = arena_zalloc(a, (e->n + 1) * sizeof(*e->seats));
	for (i = 0; i < e->n; i++) {
		e->seats[i].agent = &e->plan->agents[i];
		e->seats[i].name = arena_str(a, e->plan->agents[i].name).p;
		e->seats[i].text = e->seats[i].position = STR("");
	}
	e->notes = json_own(a, json_array());
	e->answer = e->synthesis = e->convergence = STR("");
	result_open(&e->result, a, e->plan);
	debate_set_engine(d, e);
	return e;
}

static json_t *engine_document(const struct engine *e, const char *status, struct str reason)
{
	return result_document(&e->result, &(struct result_end){.status = status,
								.reason = reason,
								.final_answer = e->answer,
								.synthesis = e->synthesis,
								.decision = e->decision,
								.rounds_used = e->round,
								.started_at_ms = e->started_at_ms,
								.ended_at_ms = e->ended_at_ms,
								.running_ms = e->running_ms});
}

CO_FN bool engine_run(struct debate *d)
{
	struct engine *e = engine_new(d);

	if (!engine_debate(e))
		return false;
	return debate_finish(d, engine_document(e, json_string_value(json_object_get(e->decision, "status")),
						json_get_str(e->decision, "reason", STR(""))));
}

json_t *engine_result_unfinished(struct debate *d, const char *status, const char *reason)
{
	struct engine *e = debate_engine(d);

	if (e == NULL) {
		e = engine_new(d);
		/* Never run here. Once stopped, no step can begin: this only goes through what the journal holds. */
		if (debate_stop(d) != STOP_NONE)
			(void)engine_debate(e);
	}
	e->ended_at_ms = 0;
	e->running_ms = debate_running_ms(d);
	return engine_document(e, status, str_of(reason));
}
