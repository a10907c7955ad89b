/* SPDX-License-Identifier: MIT */
/*
 * Setting debates aside and taking them up again. Called by the API and, for a debate that it has let unwind, by the
 * runner. A paused debate keeps its status, has no owner, and is claimed by nobody (claim_after); whatever ends a
 * debate otherwise still does.
 *
 * What nobody runs is set aside by whoever is asked; what runs, by its owner after its calls under way: only he may
 * number its events. Every write names the epoch and last_seq it knows, so that two who are at it do no harm.
 */
#include "common/clock.h"
#include "common/fault.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/log.h"
#include "common/tenant.h"
#include "worker/audit/audit.h"
#include "worker/runner/run.h"
#include "worker/stream/stream.h"
#include "worker/worker.h"

#define PAUSE_TRIES 8 /* a claim, a step or an end may come in between */

/* A debate as it was read, to be moved to its next event. */
struct pause_at {
	struct str id, workspace_id, owner, by, why;
	int64_t epoch, last_seq, running_ms, now_ms;
};

static struct stream_event pause_event(struct arena *a, struct db_batch *b, const struct pause_at *at, const char *type,
				       json_t *data)
{
	struct stream_event e = {at->id, at->workspace_id, at->last_seq + 1, str_of(type), STR_NONE};

	json_put_str(data, "debate_id", at->id);
	json_put_str(data, "user_id", at->by);
	json_put_str(data, "message", at->why);
	e.envelope = stream_envelope(a, at->id, e.seq, e.type, STR(""), 0, 0, at->now_ms, STR_NONE, data);
	json_decref(data);
	db_batch_add(b,
		     "INSERT INTO debate_events (debate_id, seq, key, workspace_id, type, envelope, created_at)"
		     " VALUES ($1, $2, $3, $4, $5, $6, $7)",
		     DB_ARGS(DB_S(at->id), DB_I(e.seq), DB_S(arena_printf(a, "%s/%lld", type, (long long)e.seq)),
			     DB_S(at->workspace_id), DB_Z(type), DB_S(e.envelope), DB_I(at->now_ms)),
		     1);
	return e;
}

/* What was asked, for the log of interventions; read by nobody else, as it is marked as taken. */
static void pause_note(struct arena *a, struct db_batch *b, const struct pause_at *at, const char *kind)
{
	char id[UUID_LEN + 1];
	json_t *payload = json_own(a, json_object());

	ids_uuid7(id);
	json_put_str(payload, "message", at->why);
	db_batch_add(
	    b,
	    SQL_ANYBODY("the statement before it binds the debate") "INSERT INTO debate_inbox (id, debate_id, user_id, "
								    "kind, payload, created_at, step_key)"
								    " VALUES ($1, $2, $3, $4, $5, $6, 'control')",
	    DB_ARGS(DB_Z(id), DB_S(at->id), DB_S(at->by), DB_Z(kind), DB_S(json_text(a, payload)), DB_I(at->now_ms)),
	    1);
}

/* The row and its event; the caller commits. An owner does it only if it is still wanted. */
static struct stream_event pause_set_aside(struct arena *a, struct db_batch *b, const struct pause_at *at)
{
	db_batch_add(b,
		     "UPDATE debates SET owner = '', pause_by = '', paused_at = $6, updated_at = $6, claim_after = $7,"
		     " last_seq = last_seq + 1, running_ms = CASE WHEN running_ms > $8 THEN running_ms ELSE $8 END"
		     " WHERE id = $1 AND workspace_id = $2 AND epoch = $3 AND last_seq = $4 AND owner = $5"
		     " AND cancel_reason = '' AND paused_at IS NULL AND status IN ('queued', 'running')"
		     " AND (owner = '' OR pause_by <> '')",
		     DB_ARGS(DB_S(at->id), DB_S(at->workspace_id), DB_I(at->epoch), DB_I(at->last_seq), DB_S(at->owner),
			     DB_I(at->now_ms), DB_I(PAUSE_CLAIM_AFTER), DB_I(at->running_ms)),
		     1);
	return pause_event(a, b, at, "debate_paused", json_pack("{s:s, s:s}", "state", "paused", "status", "paused"));
}

CO_FN bool run_pause(struct debate *d)
{
	struct pause_at at = {
	    d->plan.debate_id, d->ctx.workspace_id, str_of(d->w->incarnation), STR(""),        STR(""),
	    d->epoch,          d->last_seq,         run_running_ms(d),         clock_wall_ms()};
	struct error err = ERROR_INIT;
	struct stream_event e;
	struct db_batch *b;
	struct arena *a;
	bool ok;

	if (d->stop != STOP_NONE && d->stop != STOP_DRAIN)
		return false;
	a = arena_new(0);
	b = db_batch_new(d->w->db);
	e = pause_set_aside(a, b, &at);
	FAULT("pause.before_commit");
	ok = db_commit(d->w->db, b, &err);
	if (ok) {
		d->last_seq++;
		stream_committed(d->w->stream, &e, 1);
		log_info("debate", "debate paused", KV_I("running_ms", at.running_ms));
	} else { /* whoever takes it next tries again, if it is still wanted */
		log_info("debate", "a debate could not be set aside", KV_S("reason", err.msg));
	}
	arena_free(a);
	return ok;
}

/* ---- by request ---- */

static void pause_audit(struct db_batch *b, struct worker *w, const struct context *ctx, const struct pause_at *at,
			const char *action)
{
	audit_add_as(b, w, ctx,
		     &(struct audit_event){.category = "debate",
					   .action = action,
					   .resource_type = STR("debate"),
					   .resource_id = at->id,
					   .reason = at->why});
}

static bool pause_refuse(const struct debate_row *row, bool resume, struct error *err)
{
	bool wanted = debate_is_paused(row) || row->pause_by.n > 0;

	if (row->completed_at != 0 || row->cancel_reason.n > 0)
		return error_set(err, ERR_CONFLICT, "the debate has already ended");
	if (resume && !wanted)
		return error_set(err, ERR_CONFLICT, "the debate is not paused");
	if (!resume && wanted)
		return error_set(err, ERR_CONFLICT, "the debate is paused already");
	return true;
}

/* One try of a pause on the row as it was read. */
CO_FN static bool pause_try(struct worker *w, struct arena *a, const struct context *ctx, const struct pause_at *at,
			    struct pause_outcome *out, struct error *err)
{
	struct db_batch *b = db_batch_new(w->db);
	struct stream_event e;
	bool ok;

	out->in_effect = at->owner.n == 0;
	if (out->in_effect)
		e = pause_set_aside(a, b, at);
	else
		db_batch_add(
		    b,
		    "UPDATE debates SET pause_by = $4, updated_at = $5 WHERE id = $1 AND workspace_id = $2"
		    " AND epoch = $3 AND owner <> '' AND pause_by = '' AND status = 'running'",
		    DB_ARGS(DB_S(at->id), DB_S(at->workspace_id), DB_I(at->epoch), DB_S(at->by), DB_I(at->now_ms)), 1);
	pause_note(a, b, at, "pause");
	pause_audit(b, w, ctx, at, "debate.pause_requested");
	ok = db_commit(w->db, b, err);
	if (ok && out->in_effect)
		stream_committed(w->stream, &e, 1);
	else if (ok)
		bus_publish(w->bus, STR(RUNNER_CANCEL_TOPIC), at->id);
	out->paused_at = at->now_ms;
	return ok;
}

CO_FN static bool resume_try(struct worker *w, struct arena *a, const struct context *ctx, const struct pause_at *at,
			     int64_t paused_at, struct pause_outcome *out, struct error *err)
{
	struct db_batch *b = db_batch_new(w->db);
	struct stream_event e;
	bool ok;

	out->in_effect = true;
	out->paused_at = paused_at;
	out->paused_ms = paused_at != 0 ? at->now_ms - paused_at : 0;
	if (paused_at != 0) {
		db_batch_add(b,
			     "UPDATE debates SET paused_at = NULL, paused_ms = paused_ms + $5, claim_after = 0,"
			     " updated_at = $6, last_seq = last_seq + 1"
			     " WHERE id = $1 AND workspace_id = $2 AND epoch = $3 AND last_seq = $4"
			     " AND paused_at IS NOT NULL AND cancel_reason = '' AND status IN ('queued', 'running')",
			     DB_ARGS(DB_S(at->id), DB_S(at->workspace_id), DB_I(at->epoch), DB_I(at->last_seq),
				     DB_I(out->paused_ms), DB_I(at->now_ms)),
			     1);
		e = pause_event(a, b, at, "debate_resumed",
				json_pack("{s:s, s:s, s:f}", "state", "running", "status", "running",
					  "pause_duration_seconds", (double)out->paused_ms / 1000.0));
	} else {
		/* It had not come to a stand: who was about to set it aside gives it back instead. */
		db_batch_add(b,
			     "UPDATE debates SET pause_by = '', updated_at = $3 WHERE id = $1 AND workspace_id = $2"
			     " AND pause_by <> '' AND status = 'running'",
			     DB_ARGS(DB_S(at->id), DB_S(at->workspace_id), DB_I(at->now_ms)), 1);
	}
	pause_note(a, b, at, "resume");
	pause_audit(b, w, ctx, at, "debate.resumed");
	ok = db_commit(w->db, b, err);
	if (ok && paused_at != 0) {
		stream_committed(w->stream, &e, 1);
		bus_publish(w->bus, STR(RUNNER_QUEUE_TOPIC), STR(""));
	}
	return ok;
}

CO_FN static bool pause_or_resume(struct worker *w, const struct context *ctx, struct str id, struct str why,
				  bool resume, struct pause_outcome *out, struct error *err)
{
	struct arena *a = arena_new(0);
	struct debate_row row;
	bool ok = false;
	int tries;

	for (tries = 0; !ok && tries < PAUSE_TRIES; tries++) {
		struct pause_at at = {.by = ctx->principal, .why = why, .now_ms = clock_wall_ms()};

		if (!debate_get(w->db, a, ctx, id, &row, err) || !pause_refuse(&row, resume, err))
			break;
		at.id = row.id;
		at.workspace_id = row.workspace_id;
		at.owner = row.owner;
		at.epoch = row.epoch;
		at.last_seq = row.last_seq;
		at.running_ms = row.running_ms;
		*err = ERROR_INIT;
		ok = resume ? resume_try(w, a, ctx, &at, row.paused_at, out, err) : pause_try(w, a, ctx, &at, out, err);
		if (!ok && err->code != ERR_FENCED)
			break;
	}
	if (!ok && err->code == ERR_FENCED)
		error_set(err, ERR_UNAVAILABLE, "the debate moves too fast; try again");
	arena_free(a);
	return ok;
}

CO_FN bool debate_pause(struct worker *w, const struct context *ctx, struct str id, struct str why,
			struct pause_outcome *out, struct error *err)
{
	*out = (struct pause_outcome){.in_effect = false};
	return pause_or_resume(w, ctx, id, why, false, out, err);
}

CO_FN bool debate_resume(struct worker *w, const struct context *ctx, struct str id, struct str why,
			 struct pause_outcome *out, struct error *err)
{
	*out = (struct pause_outcome){.in_effect = false};
	return pause_or_resume(w, ctx, id, why, true, out, err);
}
