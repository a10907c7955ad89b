/* SPDX-License-Identifier: MIT */
/*
 * The written conclusion of a decided debate: an agent's synthesis, a judge's answer, or the frame that is built from
 * the outcome alone. Called by the engine. Changes nothing about the decision.
 */
#include "common/json.h"
#include "worker/engine/course.h"
#include "worker/engine/topology.h"

#define CONCLUDE_OBJECTIONS_MAX 8

static int64_t conclude_confidence(const struct engine *e)
{
	return json_get_int(json_get_obj(e->decision, "consensus"), "confidence_ppm", 0);
}

static json_t *conclude_read_synthesis(struct step *s, void *arg, struct str text)
{
	const struct ask_call *c = arg;
	struct event_at at = ask_at(c->e, s, c->seat->name);

	text = str_trim(text);
	if (text.n == 0)
		return NULL;
	event_synthesis(&at, text, conclude_confidence(c->e));
	return json_pack("{s:I}", "at_ms", (json_int_t)step_now_ms(s));
}

static void conclude_object(json_t *objections, struct str text)
{
	if (text.n > 0 && json_array_size(objections) < CONCLUDE_OBJECTIONS_MAX)
		json_array_append_new(objections, json_str(text));
}

/* What the dissenters said, then the issues that were found with the winner's text in the last round. */
static json_t *conclude_objections(const struct engine *e, const struct seat *winner)
{
	json_t *out = json_own(e->a, json_array());
	const json_t *dissents = json_get_arr(e->decision, "dissents"),
		     *received = winner != NULL ? winner->received : NULL;
	size_t i, k;

	for (i = 0; i < json_array_size(dissents); i++) {
		const json_t *reasons = json_get_arr(json_array_get(dissents, i), "reasons");

		for (k = 0; k < json_array_size(reasons); k++)
			conclude_object(out, ask_hidden(e, str_of(json_string_value(json_array_get(reasons, k))),
							PROMPT_OTHER_MAX));
	}
	for (i = 0; i < json_array_size(received); i++) {
		const json_t *issues = json_get_arr(json_array_get(received, i), "issues");

		for (k = 0; k < json_array_size(issues); k++)
			conclude_object(
			    out, ask_hidden(e, str_of(json_string_value(json_array_get(issues, k))), PROMPT_OTHER_MAX));
	}
	return out;
}

static void conclude_outcome(struct engine *e, const struct seat *winner, struct prompt_outcome *o)
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
	o->objections = conclude_objections(e, winner);
}

/* A demo agent is told who dissented; in a debate without decision, all positions. */
static json_t *conclude_synthesis_facts(const struct engine *e, const struct prompt_outcome *o)
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
struct conclude_saying {
	const struct engine *e;
	const char *agent;
	struct str text;
};

static json_t *conclude_say_step(struct step *s, void *arg)
{
	const struct conclude_saying *y = arg;
	struct event_at at = ask_at(y->e, s, y->agent);

	event_synthesis(&at, y->text, conclude_confidence(y->e));
	return json_object();
}

CO_FN static bool conclude_say(struct engine *e, const struct seat *by)
{
	struct conclude_saying y = {e, by != NULL ? by->name : NULL, e->synthesis};
	const json_t *said;

	e->answer = e->synthesis;
	return step_run(e->d, "synthesis.said", conclude_say_step, &y, &said);
}

/* Preferably by somebody who has not won: he would defend his own text. */
CO_FN static bool conclude_write(struct engine *e)
{
	static const struct ask_kind kind = {"synthesis", 4096, 300000, true, conclude_read_synthesis};
	struct seat *winner = deciding_seat(e, json_get_str(e->decision, "winner", STR("")));
	struct seat *writers[TOPOLOGY_SEATS_MAX];
	struct ask_phase ph = ask_open(e, &kind, 1);
	struct prompt_outcome o;
	struct prompt p;

	(void)deciding_candidates(e, json_get_str(e->decision, "winner", STR("")), "synthesizer", writers);
	conclude_outcome(e, winner, &o);
	prompt_synthesis(e->a, e->plan, &(struct prompt_turn){.agent = writers[0]->agent}, &o, &p);
	ask_add(&ph, writers[0], NULL, &p, conclude_synthesis_facts(e, &o));
	if (!ask_all(&ph))
		return false;
	if (json_get_bool(ph.calls[0].result, "ok", false)) {
		e->answer = e->synthesis = ask_text(&ph.calls[0]);
		return true;
	}
	e->synthesis = prompt_frame(e->a, &o);
	return conclude_say(e, winner);
}

/* Too few took part: the best text stands as it is, nothing is written around it. */
CO_FN bool conclude_run(struct engine *e)
{
	if (str_eqz(json_get_str(e->decision, "status", STR("")), "insufficient_participation"))
		return true;
	if (e->synthesis.n == 0)
		return conclude_write(e);
	return conclude_say(e, e->judge);
}
