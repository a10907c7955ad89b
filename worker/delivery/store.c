/* SPDX-License-Identifier: MIT */
/*
 * The SQL of the outbox. Called by the sender, by callbacks and by the API. Decides nothing: what becomes of a row is
 * given (policy.c).
 */
#include "worker/delivery/outbox.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/json.h"
#include "common/tenant.h"

#define OUTBOX_COLUMNS                                                                                        \
	"d.id, d.org_id, d.workspace_id, d.debate_id, d.format, d.event, d.endpoint, d.target, d.payload, "   \
	"d.state, d.last_error, d.epoch, d.crashes, d.attempts, d.tries, d.since, d.next_at, d.last_status, " \
	"d.created_at, d.updated_at, d.delivered_at, d.dead_at, e.open_until FROM deliveries d LEFT JOIN "    \
	"delivery_endpoints e ON e.endpoint = d.endpoint"

/* The sender works for every workspace: what it claims it owns. */
#define OUTBOX_SENDER SQL_ANYBODY("the sender works for everybody")

static const size_t outbox_text[] = {
    offsetof(struct delivery_row, id),           offsetof(struct delivery_row, org_id),
    offsetof(struct delivery_row, workspace_id), offsetof(struct delivery_row, debate_id),
    offsetof(struct delivery_row, format),       offsetof(struct delivery_row, event),
    offsetof(struct delivery_row, endpoint),     offsetof(struct delivery_row, target),
    offsetof(struct delivery_row, payload),      offsetof(struct delivery_row, state),
    offsetof(struct delivery_row, last_error)};
static const size_t outbox_numbers[] = {
    offsetof(struct delivery_row, epoch),       offsetof(struct delivery_row, crashes),
    offsetof(struct delivery_row, attempts),    offsetof(struct delivery_row, tries),
    offsetof(struct delivery_row, since),       offsetof(struct delivery_row, next_at),
    offsetof(struct delivery_row, last_status), offsetof(struct delivery_row, created_at),
    offsetof(struct delivery_row, updated_at),  offsetof(struct delivery_row, delivered_at),
    offsetof(struct delivery_row, dead_at),     offsetof(struct delivery_row, open_until)};

static void outbox_decode(struct arena *a, const struct db_rows *rows, struct delivery_row **out, size_t *n)
{
	size_t i, k;

	BUG_ON(rows->columns != countof(outbox_text) + countof(outbox_numbers));
	*n = rows->count;
	*out = arena_zalloc(a, (rows->count + 1) * sizeof(**out));
	for (i = 0; i < rows->count; i++) {
		char *row = (char *)&(*out)[i];

		for (k = 0; k < countof(outbox_text); k++)
			*(struct str *)(void *)(row + outbox_text[k]) = db_str(rows, i, k);
		for (k = 0; k < countof(outbox_numbers); k++)
			*(int64_t *)(void *)(row + outbox_numbers[k]) = db_int(rows, i, countof(outbox_text) + k);
	}
}

struct delivery_row outbox_copy(struct arena *a, const struct delivery_row *d)
{
	struct delivery_row out = *d;
	size_t k;

	for (k = 0; k < countof(outbox_text); k++) {
		struct str *s = (struct str *)(void *)((char *)&out + outbox_text[k]);

		*s = arena_str(a, *s);
	}
	return out;
}

CO_FN bool outbox_due(struct db *db, struct arena *a, int64_t now_ms, struct delivery_row **rows, size_t *n,
		      struct error *err)
{
	struct db_rows r;

	if (!db_query(
		db, a,
		OUTBOX_SENDER
		"SELECT " OUTBOX_COLUMNS " WHERE d.state IN ('pending', 'retrying') AND d.next_at <= $1"
		" AND (e.open_until IS NULL OR e.open_until <= $1) AND NOT EXISTS (SELECT 1 FROM deliveries s"
		" WHERE s.endpoint = d.endpoint AND s.state = 'sending') AND NOT EXISTS (SELECT 1 FROM deliveries o"
		" WHERE o.endpoint = d.endpoint AND o.state IN ('pending', 'retrying')"
		" AND (o.blocks_until = 0 OR o.blocks_until > $1)"
		" AND (o.position < d.position OR (o.position = d.position AND o.id < d.id)))"
		" ORDER BY d.next_at, d.position LIMIT 16",
		DB_ARGS(DB_I(now_ms)), &r, err))
		return false;
	outbox_decode(a, &r, rows, n);
	return true;
}

CO_FN bool outbox_claim(struct db *db, const char *owner, struct delivery_row *d, int64_t now_ms, int64_t block_ms,
			struct error *err)
{
	struct db_batch *b = db_batch_new(db);

	db_batch_add(b,
		     OUTBOX_SENDER
		     "UPDATE deliveries SET state = 'sending', owner = $3, epoch = epoch + 1, attempts = attempts + 1,"
		     " tries = tries + 1, updated_at = $4,"
		     " blocks_until = CASE WHEN blocks_until = 0 THEN $5 ELSE blocks_until END"
		     " WHERE id = $1 AND epoch = $2 AND state IN ('pending', 'retrying')",
		     DB_ARGS(DB_S(d->id), DB_I(d->epoch), DB_Z(owner), DB_I(now_ms), DB_I(now_ms + block_ms)), 1);
	db_batch_add(b,
		     OUTBOX_SENDER "INSERT INTO delivery_attempts (delivery_id, n, owner, state, started_at)"
				   " VALUES ($1, $2, $3, 'sending', $4)",
		     DB_ARGS(DB_S(d->id), DB_I(d->tries + 1), DB_Z(owner), DB_I(now_ms)), 1);
	FAULT("delivery.before_claim");
	if (!db_commit(db, b, err))
		return false;
	d->epoch++;
	d->attempts++;
	d->tries++;
	FAULT("delivery.claimed");
	return true;
}

/* A success closes the breaker; a failure counts, and from the limit on opens it anew. */
static void outbox_judge(struct db_batch *b, const struct delivery_row *d, const struct outbox_outcome *o)
{
	if (o->end == DELIVERY_DONE)
		db_batch_add(b,
			     "UPDATE delivery_endpoints SET failures = 0, open_until = 0, updated_at = $2"
			     " WHERE endpoint = $1",
			     DB_ARGS(DB_S(d->endpoint), DB_I(o->now_ms)), DB_ANY);
	else
		db_batch_add(b,
			     "INSERT INTO delivery_endpoints (endpoint, failures, open_until, updated_at)"
			     " VALUES ($1, 1, CASE WHEN $2 <= 1 THEN $3 ELSE 0 END, $4)"
			     " ON CONFLICT (endpoint) DO UPDATE SET failures = delivery_endpoints.failures + 1,"
			     " open_until = CASE WHEN delivery_endpoints.failures + 1 >= $2 THEN $3"
			     " ELSE delivery_endpoints.open_until END, updated_at = $4",
			     DB_ARGS(DB_S(d->endpoint), DB_I(o->breaker_failures), DB_I(o->now_ms + o->breaker_ms),
				     DB_I(o->now_ms)),
			     DB_ANY);
}

CO_FN bool outbox_settle(struct db *db, struct str owner, const struct delivery_row *d, const struct outbox_outcome *o,
			 struct error *err)
{
	static const char *const ends[] = {"delivered", "failed", "uncertain"};
	struct db_batch *b = db_batch_new(db);
	enum delivery_state state = o->next.state;

	db_batch_add(b,
		     OUTBOX_SENDER
		     "UPDATE deliveries SET state = $4, owner = '', crashes = CASE WHEN $5 = 1 THEN crashes + 1 ELSE 0"
		     " END, next_at = $6, last_error = $7, last_status = $8, updated_at = $9, delivered_at = $10,"
		     " dead_at = $11 WHERE id = $1 AND epoch = $2 AND owner = $3 AND state = 'sending'",
		     DB_ARGS(DB_S(d->id), DB_I(d->epoch), DB_S(owner), DB_Z(delivery_state_name(state)), DB_I(o->crash),
			     DB_I(o->next.at_ms), DB_S(o->error), DB_I(o->status), DB_I(o->now_ms),
			     state == DELIVERY_DELIVERED ? DB_I(o->now_ms) : DB_NONE,
			     state == DELIVERY_DEAD ? DB_I(o->now_ms) : DB_NONE),
		     1);
	db_batch_add(
	    b,
	    OUTBOX_SENDER "UPDATE delivery_attempts SET state = $3, status = $4, error = $5, ended_at = $6"
			  " WHERE delivery_id = $1 AND n = $2 AND state = 'sending'",
	    DB_ARGS(DB_S(d->id), DB_I(d->tries), DB_Z(ends[o->end]), DB_I(o->status), DB_S(o->error), DB_I(o->now_ms)),
	    1);
	if (o->judged)
		outbox_judge(b, d, o);
	return db_commit(db, b, err);
}

CO_FN bool outbox_owned(struct db *db, struct arena *a, struct str owner, struct delivery_row **rows, size_t *n,
			struct error *err)
{
	struct db_rows r;

	if (!db_query(db, a,
		      OUTBOX_SENDER "SELECT " OUTBOX_COLUMNS " WHERE d.owner = $1 AND d.state = 'sending' LIMIT 200",
		      DB_ARGS(DB_S(owner)), &r, err))
		return false;
	outbox_decode(a, &r, rows, n);
	return true;
}

CO_FN bool outbox_list(struct db *db, struct arena *a, const struct context *ctx, struct str debate_id, int64_t limit,
		       struct delivery_row **rows, size_t *n, struct error *err)
{
	struct db_rows r;

	if (debate_id.n > 0) {
		if (!db_query(db, a,
			      "SELECT " OUTBOX_COLUMNS " WHERE d.debate_id = $3 AND d.org_id = $1"
			      " AND d.workspace_id = $2 ORDER BY d.position, d.id LIMIT $4",
			      DB_ARGS(DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_S(debate_id), DB_I(limit)), &r,
			      err))
			return false;
	} else if (!db_query(db, a,
			     "SELECT " OUTBOX_COLUMNS
			     " WHERE d.state = 'dead' AND d.org_id = $1 AND d.workspace_id = $2"
			     " ORDER BY d.dead_at DESC, d.id DESC LIMIT $3",
			     DB_ARGS(DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_I(limit)), &r, err)) {
		return false;
	}
	outbox_decode(a, &r, rows, n);
	return true;
}

static bool outbox_missing(struct error *err, struct str id, const char *tail)
{
	return error_field(err, ERR_NOT_FOUND, "id", "Delivery %.*s not found%s", STR_ARG(str_sub(id, 0, 64)), tail);
}

CO_FN bool outbox_get(struct db *db, struct arena *a, const struct context *ctx, struct str id,
		      struct delivery_row *row, struct error *err)
{
	struct delivery_row *rows;
	struct db_rows r;
	size_t n;

	if (!db_query(db, a, "SELECT " OUTBOX_COLUMNS " WHERE d.id = $3 AND d.org_id = $1 AND d.workspace_id = $2",
		      DB_ARGS(DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_S(id)), &r, err))
		return false;
	outbox_decode(a, &r, &rows, &n);
	if (n == 0)
		return outbox_missing(err, id, "");
	*row = rows[0];
	return true;
}

CO_FN bool outbox_revive(struct db *db, const struct context *ctx, struct str id, int64_t now_ms, struct error *err)
{
	struct db_batch *b = db_batch_new(db);

	db_batch_add(b,
		     "UPDATE deliveries SET state = 'pending', attempts = 0, crashes = 0, since = $4, next_at = $4,"
		     " blocks_until = 0, dead_at = NULL, updated_at = $4"
		     " WHERE id = $1 AND org_id = $2 AND workspace_id = $3 AND state = 'dead'",
		     DB_ARGS(DB_S(id), DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_I(now_ms)), 1);
	if (db_commit(db, b, err))
		return true;
	return err->code == ERR_FENCED ? outbox_missing(err, id, " or not in dead-letter queue") : false;
}

CO_FN bool outbox_delete(struct db *db, const struct context *ctx, struct str id, struct error *err)
{
	struct db_batch *b = db_batch_new(db);

	db_batch_add(b,
		     "DELETE FROM delivery_attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE id = $1"
		     " AND workspace_id = $2)",
		     DB_ARGS(DB_S(id), DB_S(ctx->workspace_id)), DB_ANY);
	db_batch_add(b, "DELETE FROM deliveries WHERE id = $1 AND org_id = $2 AND workspace_id = $3 AND state = 'dead'",
		     DB_ARGS(DB_S(id), DB_S(ctx->org_id), DB_S(ctx->workspace_id)), 1);
	if (db_commit(db, b, err))
		return true;
	return err->code == ERR_FENCED ? outbox_missing(err, id, " or not in dead-letter queue") : false;
}

CO_FN bool outbox_totals(struct db *db, int64_t now_ms, struct outbox_totals *t, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows r;
	bool ok = db_query(
	    db, a,
	    SQL_ANYBODY("gauges of the node") "SELECT COUNT(*), COALESCE(MIN(since), 0), (SELECT COUNT(*) FROM "
					      "deliveries o WHERE o.next_at <= $1"
					      " AND o.state IN ('pending', 'retrying')), (SELECT COUNT(*) FROM "
					      "deliveries WHERE state = 'dead'),"
					      " (SELECT COUNT(*) FROM delivery_endpoints WHERE open_until > $1)"
					      " FROM deliveries WHERE state IN ('pending', 'retrying')",
	    DB_ARGS(DB_I(now_ms)), &r, err);

	if (ok)
		*t = (struct outbox_totals){.open = db_int(&r, 0, 0),
					    .oldest_ms = db_int(&r, 0, 1),
					    .due = db_int(&r, 0, 2),
					    .dead = db_int(&r, 0, 3),
					    .open_breakers = db_int(&r, 0, 4)};
	arena_free(a);
	return ok;
}
