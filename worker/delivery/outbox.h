/* SPDX-License-Identifier: MIT */
/*
 * Private to the delivery room: rows of the outbox, their SQL (store.c) and formats (formats.c).
 */
#ifndef WORKER_DELIVERY_OUTBOX_H
#define WORKER_DELIVERY_OUTBOX_H

#include "common/fetch.h"
#include "worker/delivery/delivery.h"
#include "worker/delivery/policy.h"

struct delivery_row {
	struct str id, org_id, workspace_id, debate_id, format, event, endpoint, target, payload, state, last_error;
	int64_t epoch, crashes, attempts, tries, since, next_at, last_status, created_at, updated_at, delivered_at,
	    dead_at, open_until;
};

/* ---- formats ---- */

struct delivery_format {
	const char *name;
	/* Receivers recognise what they have had (an id goes along): an uncertain attempt may be repeated. */
	bool repeatable;
	/* Fills what is sent; memory in the arena. False: nothing can be sent now. */
	bool (*prepare)(struct worker *w, struct arena *a, const struct delivery_row *d, struct fetch_request *req,
			struct error *err);
};
/* NULL: written by a newer version. */
const struct delivery_format *delivery_format_find(struct str name);
extern const struct delivery_format delivery_format_webhook;

/*
 * The header fields of a webhook with this body, reference/security 9.1: both families of names. `secret` may be empty:
 * then nothing is signed. Returns their number, at most WEBHOOK_FIELDS.
 */
#define WEBHOOK_FIELDS 14
size_t webhook_fields(struct arena *a, const struct delivery_row *d, struct str secret, int64_t now_ms,
		      struct fetch_header out[WEBHOOK_FIELDS]);

/* ---- store ---- */

/* The row with its texts in the arena. */
struct delivery_row outbox_copy(struct arena *a, const struct delivery_row *d);
/* Rows that may be sent now, the longest due first. */
CO_FN bool outbox_due(struct db *db, struct arena *a, int64_t now_ms, struct delivery_row **rows, size_t *n,
		      struct error *err) MUST_CHECK;
/*
 * Takes a row for this process and journals the attempt. ERR_FENCED or ERR_DUPLICATE: somebody else was first. The
 * row's epoch, attempts and tries are those of the claim afterwards.
 */
CO_FN bool outbox_claim(struct db *db, const char *owner, struct delivery_row *d, int64_t now_ms, int64_t block_ms,
			struct error *err) MUST_CHECK;

struct outbox_outcome {
	enum delivery_end end;
	struct delivery_next next;
	int status;       /* of HTTP; 0: none */
	struct str error; /* "" when delivered */
	bool judged;      /* says something about the endpoint (not a crash, not a 429) */
	bool crash;       /* of the process that sent */
	int64_t breaker_failures, breaker_ms;
	int64_t now_ms;
};
/* Journals how the attempt of `owner` ended, in one batch with what becomes of the row. ERR_FENCED: not ours. */
CO_FN bool outbox_settle(struct db *db, struct str owner, const struct delivery_row *d, const struct outbox_outcome *o,
			 struct error *err) MUST_CHECK;
/* What a process had in flight. */
CO_FN bool outbox_owned(struct db *db, struct arena *a, struct str owner, struct delivery_row **rows, size_t *n,
			struct error *err) MUST_CHECK;

/* Of one debate, or with an empty debate_id the dead letters of the workspace, newest first. */
CO_FN bool outbox_list(struct db *db, struct arena *a, const struct context *ctx, struct str debate_id, int64_t limit,
		       struct delivery_row **rows, size_t *n, struct error *err) MUST_CHECK;
/* ERR_NOT_FOUND also for another workspace's. */
CO_FN bool outbox_get(struct db *db, struct arena *a, const struct context *ctx, struct str id,
		      struct delivery_row *row, struct error *err) MUST_CHECK;
/* A dead letter is due again, with all its attempts. ERR_NOT_FOUND: it is none. */
CO_FN bool outbox_revive(struct db *db, const struct context *ctx, struct str id, int64_t now_ms,
			 struct error *err) MUST_CHECK;
/* Deletes a dead letter. ERR_NOT_FOUND: it is none. */
CO_FN bool outbox_delete(struct db *db, const struct context *ctx, struct str id, struct error *err) MUST_CHECK;

struct outbox_totals {
	int64_t open, due, dead, oldest_ms, open_breakers;
};
CO_FN bool outbox_totals(struct db *db, int64_t now_ms, struct outbox_totals *t, struct error *err) MUST_CHECK;

/* As the API shows it: state names in capitals, times in ISO 8601. New reference. */
json_t *delivery_view(const struct delivery_row *d, int64_t now_ms, int64_t max_attempts);

#endif
