/* SPDX-License-Identifier: MIT */
/*
 * The debate, from independent drafts to a written conclusion. Run by the runner on a coroutine, again from the start
 * after a crash. Knows neither clock nor chance nor store: everything that could differ between two runs comes out of a
 * step, so finished steps lead the second run through exactly the same branches.
 *
 * How to read it: engine_debate() is the order of things; drafts and rounds are in round.c, the decision in deciding.c,
 * the conclusion in conclude.c.
 */
#include "worker/engine/engine.h"

#include "common/json.h"
#include "worker/engine/course.h"
#include "worker/engine/topology.h"
#include "worker/engine/weight.h"

#define ENGINE_USABLE_MIN 2

static size_t engine_usable(const struct engine *e)
{
	size_t i, n = 0;

	for (i = 0; i < e->n; i++)
		n += e->seats[i].in;
	return n;
}

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

/* What is known of the participants; before engine 3 their ratings alone, once the decision began. */
CO_FN static bool engine_know(struct engine *e)
{
	json_t *ratings;
	size_t i;

	if (e->plan->version < 3 || e->plan->demo)
		return true;
	if (!step_standing(e->d, "standing", &e->standing))
		return false;
	e->ratings = ratings = json_own(e->a, json_object());
	for (i = 0; i < e->n; i++)
		json_put_int(ratings, e->seats[i].name, weight_rating(ask_standing(e, &e->seats[i])));
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
	return deciding_open(e, "insufficient_participation", "fewer than two agents gave a usable proposal") &&
	       engine_end(e);
}

/* False: unwinding. True: all that is left is to finish. */
CO_FN static bool engine_debate(struct engine *e)
{
	bool settled = false;
	int round;

	if (!engine_start(e) || !step_background(e->d, "background") || !engine_know(e) || !round_drafts(e))
		return false;
	if (engine_usable(e) < ENGINE_USABLE_MIN)
		return engine_too_few(e);
	if (!round_agreement_gate(e, &settled))
		return false;
	for (round = 1; round <= e->plan->rounds && !settled; round++)
		if (!afford_round(e, round, &settled) || (!settled && !round_run(e, round, &settled)))
			return false;
	if (e->plan->version < 3 && !step_ratings(e->d, "ratings", &e->ratings))
		return false;
	return deciding_run(e) && conclude_run(e) && engine_end(e);
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
		e->seats[i].sure_ppm = -1;
	}
	e->memo = similarity_memo_new(a);
	e->notes = json_own(a, json_array());
	e->people = json_own(a, json_array());
	e->novelty = json_own(a, json_object());
	for (i = 0; e->plan->version >= 3 && i < e->n; i++)
		json_object_set_new(e->novelty, e->seats[i].name, json_array());
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
								.novelty = e->novelty,
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
