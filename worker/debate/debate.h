/* SPDX-License-Identifier: MIT */
/*
 * Debates: creation, storage, queue, running, reading. The engine (engine.h) is what runs inside.
 */
#ifndef WORKER_DEBATE_DEBATE_H
#define WORKER_DEBATE_DEBATE_H

#include <jansson.h>

#include "common/context.h"
#include "common/db.h"
#include "worker/engine/plan.h"

struct callback;
struct route_table;
struct worker;

/* ---- creating (store.c) ---- */

/*
 * Conditions on `debates` for which the partial index debates_open is used: SQLite takes it only for statements that
 * repeat its condition word for word.
 */
#define DEBATES_OPEN "status IN ('queued', 'running')"
#define DEBATES_QUEUED \
	DEBATES_OPEN " AND status = 'queued' AND claim_after < 9000000000000000000" /* none that is paused */
#define DEBATES_RUNNING DEBATES_OPEN " AND status = 'running'"

struct debate_row {
	struct str id, org_id, workspace_id, user_id, slug, task, context, title, tags, metadata, status, plan, owner,
	    cancel_reason, pause_by;
	struct str final_answer, result, error, error_code, receipt_id;
	int64_t archived, demo, engine_version, epoch, last_seq, crashes, claim_after, running_ms, current_round,
	    total_rounds, rounds_used, message_count, consensus_reached, confidence_ppm, share_ppm, cost_micro,
	    created_at, started_at, completed_at, updated_at, paused_at, paused_ms;
};

/* What a new debate is made of. */
struct debate_birth {
	const json_t *plan, *metadata;
	const struct callback *callback; /* or NULL */
	struct str idempotency_key, body_hash;
	/* Adds to the batch that stores it; may run more than once; or NULL. */
	void (*more)(struct db_batch *b, struct str id, void *arg);
	void *arg;
};
/*
 * Queues a debate. With an idempotency key: a second creation with the same body gives the first one's id and *replayed
 * = true, with another body ERR_UNPROCESSABLE. ERR_UNAVAILABLE above debates.max_queued.
 */
CO_FN bool debate_create(struct worker *w, struct arena *a, const struct context *ctx, const struct debate_birth *birth,
			 struct str *id, bool *replayed, struct error *err) MUST_CHECK;
/* ERR_NOT_FOUND also for another workspace's. `ref` is an id or a slug. */
CO_FN bool debate_get(struct db *db, struct arena *a, const struct context *ctx, struct str ref, struct debate_row *row,
		      struct error *err) MUST_CHECK;

struct debate_filter {
	struct str status, query;
	int64_t since_ms, until_ms;
	int limit, offset;
	bool include_archived, only_archived;
};
/* Newest first. */
CO_FN bool debate_list(struct db *db, struct arena *a, const struct context *ctx, const struct debate_filter *f,
		       struct debate_row **rows, size_t *n, int64_t *total, struct error *err) MUST_CHECK;
/*
 * What was said, in order, as far as the log has it: [{index, role, kind, agent, agent_id, round, seq, content,
 * timestamp}], at most `limit` from `offset` on. New reference; NULL with err.
 */
CO_FN json_t *debate_messages(struct db *db, struct arena *a, const struct context *ctx, struct str id, int64_t offset,
			      int64_t limit, struct error *err);
/* NULL members are left alone. */
struct debate_patch {
	const struct str *title;
	const json_t *tags, *metadata;
	const bool *archived;
};
CO_FN bool debate_update(struct db *db, const struct context *ctx, struct str id, const struct debate_patch *p,
			 struct error *err) MUST_CHECK;
/* Finished debates only (ERR_CONFLICT else); events, steps and receipt go too. */
CO_FN bool debate_delete(struct db *db, const struct context *ctx, struct str id, struct error *err) MUST_CHECK;
/* ERR_CONFLICT when it has already ended. The owner is told; a queued one ends at once. */
CO_FN bool debate_cancel(struct worker *w, const struct context *ctx, struct str id, struct str reason,
			 struct error *err) MUST_CHECK;

/* ---- pausing (pause.c) ---- */

/* claim_after of a debate that stands still: nobody claims it, whatever the clock says. */
#define PAUSE_CLAIM_AFTER INT64_C(9000000000000000000)

/* Has not ended, and stands still. */
static inline bool debate_is_paused(const struct debate_row *row)
{
	return row->paused_at != 0 && row->completed_at == 0;
}

struct pause_outcome {
	bool in_effect;               /* false: calls under way are finished first */
	int64_t paused_at, paused_ms; /* since when; how long it stood still (resume) */
};
/*
 * No further step of it begins until it is resumed: over restarts, without running time, without a place among
 * debates.max_concurrent or in the queue. `why` (may be empty) is for people. ERR_CONFLICT: it has ended, or is paused.
 */
CO_FN bool debate_pause(struct worker *w, const struct context *ctx, struct str id, struct str why,
			struct pause_outcome *out, struct error *err) MUST_CHECK;
/* ERR_CONFLICT: it is not paused. */
CO_FN bool debate_resume(struct worker *w, const struct context *ctx, struct str id, struct str why,
			 struct pause_outcome *out, struct error *err) MUST_CHECK;

extern const struct route_table debate_routes;

#endif
