/* SPDX-License-Identifier: MIT */
/*
 * The end of a debate (step.h): result, receipt, ratings, their events and debate_end in one batch. Called by the
 * engine and, for debates that are not decided, by the runner.
 */
#include "worker/engine/step.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/batch/batch.h"
#include "worker/delivery/delivery.h"
#include "worker/knowledge/outbox.h"
#include "worker/middleware/response_cache.h"
#include "worker/ranking/ranking.h"
#include "worker/runner/effects.h"
#include "worker/runner/journal.h"
#include "worker/traces/traces.h"
#include "worker/worker.h"

/* How a result's status is stored and shown (rest-core 4.1). */
static const struct {
	const char *result, *stored;
	enum metric_id metric;
} step_ends[] = {
    {"consensus_reached", "completed", M_DEBATES_COMPLETED},
    {"completed", "completed", M_DEBATES_COMPLETED},
    {"insufficient_participation", "failed", M_DEBATES_FAILED},
    {"failed", "failed", M_DEBATES_FAILED},
    {"timeout", "timeout", M_DEBATES_FAILED},
    {"cancelled", "cancelled", METRIC_MAX},
};

static size_t step_end_of(const json_t *result)
{
	struct str status = json_get_str(result, "status", STR("failed"));
	size_t i;

	for (i = 0; i < countof(step_ends); i++)
		if (str_eqz(status, step_ends[i].result))
			return i;
	BUG_ON("a result with an unknown status" != NULL);
}

struct step_finish {
	const json_t *result;
	struct str text;
	size_t end;
	const char *receipt_id;
};

static void step_finish_row(struct db_batch *b, struct debate *d, void *arg, int64_t now_ms)
{
	const struct step_finish *f = arg;
	const json_t *consensus = json_get_obj(f->result, "consensus");
	bool completed = strcmp(step_ends[f->end].stored, "completed") == 0;
	struct str answer = json_get_str(f->result, "final_answer", STR(""));
	struct str reason = json_get_str(f->result, "reason", STR(""));

	db_batch_add(b,
		     "UPDATE debates SET status = $2, owner = '', result = $3, final_answer = $4, rounds_used = $5,"
		     " consensus_reached = $6, confidence_ppm = $7, error = $8, error_code = $9, receipt_id = $10,"
		     " cost_micro = $11, completed_at = $12, vote_count = $13, share_ppm = $14 WHERE id = $1",
		     DB_ARGS(DB_S(d->plan.debate_id), DB_Z(step_ends[f->end].stored), DB_S(f->text),
			     answer.n > 0 ? DB_S(answer) : DB_NONE, DB_I(json_get_int(f->result, "rounds_used", 0)),
			     DB_I(json_get_bool(consensus, "reached", false)),
			     DB_I(json_get_int(consensus, "confidence_ppm", 0)), completed ? DB_NONE : DB_S(reason),
			     completed ? DB_NONE : DB_Z(step_ends[f->end].result),
			     f->receipt_id != NULL ? DB_Z(f->receipt_id) : DB_NONE,
			     DB_I(json_get_int(f->result, "cost_micro", 0)), DB_I(now_ms),
			     DB_I((int64_t)json_array_size(json_get_arr(f->result, "votes"))),
			     DB_I(json_get_int(consensus, "share_ppm", 0))),
		     1);
}

static json_t *step_end_data(struct debate *d, const json_t *result, const json_t *receipt)
{
	const json_t *consensus = json_get_obj(result, "consensus");
	struct str status = json_get_str(result, "status", STR(""));
	struct str answer = json_get_str(result, "final_answer", STR(""));
	double seconds = (double)json_get_int(result, "running_ms", 0) / 1000.0;
	json_t *o = json_pack("{s:s%, s:s%, s:s%, s:b, s:f, s:f, s:f}", "debate_id", d->plan.debate_id.p,
			      d->plan.debate_id.n, "status", status.p, status.n, "result", answer.p, answer.n,
			      "consensus_reached", (int)json_get_bool(consensus, "reached", false), "confidence",
			      (double)json_get_int(consensus, "confidence_ppm", 0) / 1e6, "duration", seconds,
			      "duration_seconds", seconds);

	json_put_int(o, "rounds", json_get_int(result, "rounds_used", 0));
	json_put_int(o, "total_rounds", json_get_int(result, "total_rounds", 0));
	json_put_str(o, "task", d->plan.task);
	json_object_set_new(o, "summary", json_pack("{s:s%}", "task", d->plan.task.p, d->plan.task.n));
	/* Some clients want the text of the result, others an object (websocket.md 3.1). */
	json_object_set_new(o, "debate",
			    json_pack("{s:s%, s:s%, s:s, s:b, s:f, s:I}", "id", d->plan.debate_id.p,
				      d->plan.debate_id.n, "task", d->plan.task.p, d->plan.task.n, "status",
				      step_ends[step_end_of(result)].stored, "consensus_reached",
				      (int)json_get_bool(consensus, "reached", false), "confidence",
				      (double)json_get_int(consensus, "confidence_ppm", 0) / 1e6, "rounds_used",
				      (json_int_t)json_get_int(result, "rounds_used", 0)));
	json_object_set_new(o, "cost_usd", json_real((double)json_get_int(result, "cost_micro", 0) / 1e6));
	json_object_set_new(o, "demo", json_boolean(d->plan.demo));
	if (str_eqz(status, "cancelled"))
		json_object_set_new(o, "cancelled", json_true());
	if (json_get_str(result, "reason", STR("")).n > 0)
		json_put_str(o, "reason", json_get_str(result, "reason", STR("")));
	if (receipt != NULL) {
		json_object_set(o, "receipt_id", json_object_get(receipt, "receipt_id"));
		json_object_set(o, "verdict", json_object_get(receipt, "verdict"));
	}
	return o;
}

/* A debate that ends without a decision says so before its end, in the words the clients know. */
static void step_emit_failure(struct step *s, const json_t *result, size_t end)
{
	struct str reason = json_get_str(result, "reason", STR(""));

	if (step_ends[end].metric != M_DEBATES_FAILED)
		return;
	step_emit(s, "error", NULL, 0,
		  json_pack("{s:s%, s:s%, s:s%, s:s, s:b, s:b}", "debate_id", s->d->plan.debate_id.p,
			    s->d->plan.debate_id.n, "error", reason.p, reason.n, "message", reason.p, reason.n, "code",
			    step_ends[end].result, "fatal", 1, "recoverable", 0));
}

/* What the finishing batch holds besides the journal. */
struct step_effects {
	struct step_finish *finish;
	struct debate_ending ending;
	struct db_batch *made; /* by the effects, once for all tries */
};

static void step_effects_add(struct db_batch *b, struct debate *d, void *arg, int64_t now_ms)
{
	struct step_effects *e = arg;

	step_finish_row(b, d, e->finish, now_ms);
	db_batch_join(b, e->made);
}

static void step_emit_effects(struct step *s, const struct debate_ending *e)
{
	size_t i;

	for (i = 0; i < json_array_size(e->events); i++) {
		const json_t *ev = json_array_get(e->events, i);

		step_emit(s, arena_str(s->d->arena, json_get_str(ev, "type", STR(""))).p, NULL, 0,
			  json_incref(json_object_get(ev, "data")));
	}
	if (e->receipt != NULL)
		step_emit(s, "receipt_generated", NULL, 0,
			  json_pack("{s:s%, s:O, s:O, s:f, s:O}", "debate_id", s->d->plan.debate_id.p,
				    s->d->plan.debate_id.n, "receipt_id", json_object_get(e->receipt, "receipt_id"),
				    "verdict", json_object_get(e->receipt, "verdict"), "confidence",
				    (double)json_get_int(e->receipt, "confidence_ppm", 0) / 1e6, "hash",
				    json_object_get(e->receipt, "content_hash")));
}

static void step_count_end(const struct debate *d, const json_t *result, size_t end)
{
	const json_t *consensus = json_get_obj(result, "consensus");
	const char *stop = json_string_value(json_object_get(json_get_obj(result, "early_stop"), "source"));

	if (step_ends[end].metric != METRIC_MAX)
		metric_add(step_ends[end].metric, 1, NULL);
	if (json_get_bool(consensus, "reached", false))
		metric_add(M_CONSENSUS_REACHED, 1, NULL);
	if (stop != NULL)
		metric_add(M_EARLY_STOPS, 1, stop, NULL);
	metric_add(M_COST_MICRO, json_get_int(result, "cost_micro", 0), NULL);
	metric_observe(M_DEBATE_DURATION, (double)run_running_ms(d) / 1000.0, step_ends[end].result, NULL);
	log_info("debate", "debate ended", KV_S("status", step_ends[end].result),
		 KV_F("debate_duration", (double)run_running_ms(d) / 1000.0),
		 KV_F("confidence", (double)json_get_int(consensus, "confidence_ppm", 0) / 1e6),
		 KV_I("rounds", json_get_int(result, "rounds_used", 0)), KV_S("early_stop", stop != NULL ? stop : ""),
		 KV_I("tokens_in", json_get_int(result, "tokens_in", 0)),
		 KV_I("tokens_out", json_get_int(result, "tokens_out", 0)),
		 KV_I("cost_micro", json_get_int(result, "cost_micro", 0)));
}

CO_FN static bool step_finish_commit(struct debate *d, const json_t *result, struct step_finish *f,
				     struct step_effects *e)
{
	struct step s;
	bool ok;

	step_open(&s, d, "finish");
	/* The receipt and the events of effects must be known before the events are numbered. */
	e->made = db_batch_new(d->w->db);
	debate_effects(e->made, &e->ending);
	if (e->ending.receipt != NULL)
		f->receipt_id = json_string_value(json_object_get(e->ending.receipt, "receipt_id"));
	step_emit_failure(&s, result, f->end);
	step_emit_effects(&s, &e->ending);
	step_emit(&s, "debate_end", NULL, (int)json_get_int(result, "rounds_used", 0),
		  step_end_data(d, result, e->ending.receipt));
	ok = step_commit(&s, &(struct step_write){.extra = step_effects_add, .extra_arg = e});
	step_close(&s);
	db_batch_free(e->made);
	return ok;
}

CO_FN bool debate_finish(struct debate *d, json_t *result)
{
	struct step_finish f = {.result = result, .end = step_end_of(result)};
	struct step_effects e = {
	    .finish = &f, .ending = {.w = d->w, .ctx = &d->ctx, .result = result, .status = step_ends[f.end].stored}};
	bool ok = true;

	if (d->replaying) {
		d->replayed_result = result;
		return true;
	}
	if (d->keeper != NULL) {
		d->apart_result = result;
		return true;
	}
	/* Demo agents are never rated. */
	if (!d->plan.demo && !step_ranking_before(d, "finish.ratings", &e.ending.ratings)) {
		if (d->stop != STOP_CANCELLED && d->stop != STOP_TIMEOUT) {
			json_decref(result);
			return false;
		}
		if (strcmp(step_ends[f.end].stored, "completed") == 0)
			e.ending.ratings = step_ranking_late(d);
	}
	if (json_object_get(result, "ended_at_ms") == NULL) /* cut short: no step has journalled its end */
		json_put_int(result, "ended_at_ms", clock_wall_ms());
	e.ending.at_ms = json_get_int(result, "ended_at_ms", 0);
	f.text = json_canonical(d->arena, result);
	ok = step_finish_commit(d, result, &f, &e);
	if (ok) {
		d->finished = true;
		response_cache_changed(d->w->shm, "ratings");
		ranking_counted(e.ending.events);
		deliveries_hint(d->w->deliveries);
		traces_hint(d->w->traces, d->plan.debate_id);
		if (d->grouped)
			bus_publish(d->w->bus, STR(BATCHES_TOPIC), STR(""));
		if (!d->plan.demo && strcmp(step_ends[f.end].stored, "completed") == 0)
			knowledge_hint(d->w, &d->ctx, d->plan.debate_id);
		step_count_end(d, result, f.end);
	}
	debate_ending_free(&e.ending);
	json_decref(result);
	return ok;
}
