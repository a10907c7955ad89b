/* SPDX-License-Identifier: MIT */
/*
 * Private to the room: rows of batches, and what the kinds of batches do differently.
 */
#ifndef WORKER_BATCH_ROOM_H
#define WORKER_BATCH_ROOM_H

#include "worker/batch/batch.h"
#include "worker/debate/debate.h"
#include "worker/http/http.h"

#define BATCH_ITEMS_MAX 1000 /* rest-core 4.8 */
#define BATCH_PARALLEL_MAX 50
#define BATCH_OPEN_MAX 100 /* of a workspace: each open one is looked at every second */
#define BATCH_PARALLEL 3

struct batch_row {
	struct str id, org_id, workspace_id, user_id, kind, status, task, settings, result, webhook_url;
	int64_t total, max_parallel, epoch, open, created_at, started_at, completed_at, updated_at;
};

struct batch_item {
	struct str name, body, state, debate_id, error;
	int64_t n, priority, created_at, started_at, completed_at;
	/* Of its debate; empty and 0 before there is one. */
	struct str debate_status, debate_error, final_answer, result;
	int64_t consensus_reached, confidence_ppm, debate_ended;
};

/* How many items are in each state. */
struct batch_counts {
	int64_t queued, running, completed, failed, cancelled;
};

/* A batch to be made: items as creation bodies of debates. */
struct batch_new {
	const char *kind;
	struct str task;
	const json_t *settings, *items; /* items: [{name, body, priority}] */
	int64_t max_parallel;
	const struct callback *webhook;
	struct str key, body_hash; /* Idempotency-Key, or STR_NONE; see debate_create */
};

struct batch_kind {
	const char *name, *prefix;
	/*
	 * All items have ended: adds further ones to the write of the batch (*added), or leaves it be. NULL: never.
	 * False: tried again later.
	 */
	CO_FN bool (*advance)(struct worker *w, struct arena *a, const struct batch_row *batch,
			      const struct batch_item *items, size_t n, struct db_batch *b, int64_t *added,
			      struct error *err);
	/* What is concluded from the items once none is open. In the arena; NULL: nothing. */
	json_t *(*conclude)(struct arena *a, const struct batch_row *batch, const struct batch_item *items, size_t n);
};
extern const struct batch_kind batch_kind_matrix, batch_kind_graph;
/* That of a plain batch if the name is unknown. */
const struct batch_kind *batch_kind_of(struct str name);

/* ---- store.c ---- */

/* Reads the Idempotency-Key of a request that submits. */
void batch_key(struct http_request *req, struct batch_new *n);
/*
 * Stores it. The id in the arena; with a key that was used with the same body that of the first, with another body
 * ERR_UNPROCESSABLE.
 */
CO_FN bool batch_create(struct worker *w, struct arena *a, const struct context *ctx, const struct batch_new *n,
			struct str *id, struct error *err) MUST_CHECK;
/* Adds an item to the batch that is being written. */
void batch_add_item(struct db_batch *b, struct arena *a, const struct context *ctx, struct str batch_id, int64_t n,
		    struct str name, int64_t priority, const json_t *body, int64_t now_ms);
/* ERR_NOT_FOUND also for another workspace's, and for another kind's unless `kind` is NULL. */
CO_FN bool batch_get(struct worker *w, struct arena *a, const struct context *ctx, struct str id, const char *kind,
		     struct batch_row *row, struct error *err) MUST_CHECK;
CO_FN bool batch_list(struct worker *w, struct arena *a, const struct context *ctx, const char *kind, struct str status,
		      int64_t limit, int64_t offset, struct batch_row **rows, size_t *n, int64_t *total,
		      struct error *err) MUST_CHECK;
/* In their order. `full` with the answers and results of their debates. */
CO_FN bool batch_items(struct worker *w, struct arena *a, const struct batch_row *batch, bool full, int64_t limit,
		       int64_t offset, struct batch_item **items, size_t *n, struct error *err) MUST_CHECK;
CO_FN bool batch_count(struct worker *w, struct arena *a, const struct batch_row *batch, struct batch_counts *out,
		       struct error *err) MUST_CHECK;
/* Cancels those debates of it that run and are not being cancelled yet. */
CO_FN bool batch_stop_running(struct worker *w, struct arena *a, const struct context *ctx,
			      const struct batch_row *batch, struct error *err) MUST_CHECK;
/* What waits is given up, what runs is cancelled. ERR_CONFLICT: nothing is open. */
CO_FN bool batch_cancel(struct worker *w, struct arena *a, const struct context *ctx, const struct batch_row *batch,
			struct error *err) MUST_CHECK;
/* What failed or was cancelled is tried again. ERR_CONFLICT: it is open, or nothing has failed. */
CO_FN bool batch_retry(struct worker *w, const struct context *ctx, const struct batch_row *batch,
		       struct error *err) MUST_CHECK;
/* ERR_CONFLICT: it is open. */
CO_FN bool batch_delete(struct worker *w, const struct context *ctx, const struct batch_row *batch,
			struct error *err) MUST_CHECK;

/* The context of whoever made the batch: its debates are his. */
static inline struct context batch_context(const struct batch_row *b)
{
	return (struct context){b->user_id, b->org_id, b->workspace_id, STR_NONE, NULL};
}

/* ---- view.c ---- */

/* The object of rest-core 4.8 without its items. New reference. */
json_t *batch_view(const struct batch_row *b, const struct batch_counts *c);
/* New reference; `full` with the result of its debate. */
json_t *batch_item_view(struct arena *a, const struct batch_item *i, bool full);
/* The result document of an item's debate, in the arena; NULL: none. */
const json_t *batch_result(struct arena *a, const struct batch_item *i);

#endif
