/* SPDX-License-Identifier: MIT */
/*
 * The SQL of batches as the API sees them: make, read, list, cancel, retry, delete. Called by the handlers of the room
 * and, for reading, by feed.c, which moves batches on.
 */
#include "common/clock.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/audit/audit.h"
#include "worker/batch/room.h"
#include "worker/delivery/delivery.h"
#include "worker/worker.h"

#define BATCH_COLUMNS                                                                                                \
	"id, org_id, workspace_id, user_id, kind, status, task, settings, result, webhook_url, total, max_parallel," \
	" epoch, open, created_at, started_at, completed_at, updated_at"

static const struct batch_kind batch_kind_plain = {"batch", "batch_", NULL, NULL};
static const struct batch_kind *const batch_kinds[] = {&batch_kind_plain, &batch_kind_matrix, &batch_kind_graph};

const struct batch_kind *batch_kind_of(struct str name)
{
	size_t i;

	for (i = 0; i < countof(batch_kinds) && !str_eqz(name, batch_kinds[i]->name); i++)
		;
	return i < countof(batch_kinds) ? batch_kinds[i] : &batch_kind_plain;
}

static struct batch_row batch_decode(const struct db_rows *r, size_t i)
{
	return (struct batch_row){
	    db_str(r, i, 0),  db_str(r, i, 1),  db_str(r, i, 2),  db_str(r, i, 3),  db_str(r, i, 4),  db_str(r, i, 5),
	    db_str(r, i, 6),  db_str(r, i, 7),  db_str(r, i, 8),  db_str(r, i, 9),  db_int(r, i, 10), db_int(r, i, 11),
	    db_int(r, i, 12), db_int(r, i, 13), db_int(r, i, 14), db_int(r, i, 15), db_int(r, i, 16), db_int(r, i, 17)};
}

/* ---- making ---- */

void batch_key(struct http_request *req, struct batch_new *n)
{
	char hex[SHA256_HEX];

	crypto_sha256_hex(arena_printf(req->arena, "%.*s\n%.*s", STR_ARG(req->path), STR_ARG(req->body)), hex);
	n->key = http_field(req, "Idempotency-Key");
	n->body_hash = arena_str(req->arena, str_of(hex));
}

/* A key means something in one workspace. */
static struct str batch_key_route(struct arena *a, const struct context *ctx)
{
	return arena_printf(a, "batches %.*s", STR_ARG(ctx->workspace_id));
}

void batch_add_item(struct db_batch *b, struct arena *a, const struct context *ctx, struct str batch_id, int64_t n,
		    struct str name, int64_t priority, const json_t *body, int64_t now_ms)
{
	db_batch_add(
	    b,
	    "INSERT INTO batch_items (batch_id, n, org_id, workspace_id, name, priority, body, state, created_at)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7, 'queued', $8)",
	    DB_ARGS(DB_S(batch_id), DB_I(n), DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_S(name), DB_I(priority),
		    DB_S(json_text(a, body)), DB_I(now_ms)),
	    1);
}

/* A batch was made under this key: the same body gives it, another body is an error. */
CO_FN static bool batch_replayed(struct worker *w, struct arena *a, const struct context *ctx,
				 const struct batch_new *n, struct str *id, bool *found, struct error *err)
{
	struct db_rows r;

	*found = false;
	if (n->key.n == 0)
		return true;
	if (!db_query(w->db, a,
		      "SELECT body_hash, object_id FROM idempotency_keys"
		      " WHERE org_id = $1 AND principal = $2 AND route = $3 AND key = $4",
		      DB_ARGS(DB_S(ctx->org_id), DB_S(ctx->principal), DB_S(batch_key_route(a, ctx)), DB_S(n->key)), &r,
		      err))
		return false;
	*found = r.count > 0;
	if (*found && !str_eq(db_str(&r, 0, 0), n->body_hash))
		return error_field(err, ERR_UNPROCESSABLE, "Idempotency-Key",
				   "this Idempotency-Key was used with another body");
	*id = *found ? db_str(&r, 0, 1) : *id;
	return true;
}

static void batch_remember_key(struct db_batch *b, struct arena *a, const struct context *ctx,
			       const struct batch_new *n, struct str id, int64_t now_ms)
{
	if (n->key.n > 0)
		db_batch_add(
		    b,
		    "INSERT INTO idempotency_keys (org_id, principal, route, key, body_hash, object_id, created_at)"
		    " VALUES ($1, $2, $3, $4, $5, $6, $7)",
		    DB_ARGS(DB_S(ctx->org_id), DB_S(ctx->principal), DB_S(batch_key_route(a, ctx)), DB_S(n->key),
			    DB_S(n->body_hash), DB_S(id), DB_I(now_ms)),
		    1);
}

/* Open batches cost whether they move or not, and all workspaces wait for the same clerk. */
CO_FN static bool batch_has_room(struct worker *w, struct arena *a, const struct context *ctx, struct error *err)
{
	struct db_rows r;

	if (!db_query(w->db, a,
		      "SELECT COUNT(*) FROM batches WHERE org_id = $1 AND workspace_id = $2 AND kind IN ('batch',"
		      " 'matrix', 'graph') AND open = 1",
		      DB_ARGS(DB_S(ctx->org_id), DB_S(ctx->workspace_id)), &r, err))
		return false;
	return db_int(&r, 0, 0) < BATCH_OPEN_MAX ||
	       error_set(err, ERR_RATE_LIMITED, "the workspace has %d batches under way already", BATCH_OPEN_MAX);
}

CO_FN bool batch_create(struct worker *w, struct arena *a, const struct context *ctx, const struct batch_new *n,
			struct str *id, struct error *err)
{
	int64_t now = clock_wall_ms();
	struct db_batch *b;
	char hex[25];
	size_t i;
	bool found;

	if (!batch_replayed(w, a, ctx, n, id, &found, err))
		return false;
	if (found)
		return true;
	if (!batch_has_room(w, a, ctx, err))
		return false;
	b = db_batch_new(w->db);
	ids_hex(hex, 12);
	*id = arena_printf(a, "%s%s", batch_kind_of(str_of(n->kind))->prefix, hex);
	db_batch_add(
	    b,
	    "INSERT INTO batches (id, org_id, workspace_id, user_id, kind, status, task, settings, webhook_url, total,"
	    " max_parallel, open, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, 'pending', $6, $7, $8, $9, $10, "
	    "1,"
	    " $11, $11)",
	    DB_ARGS(DB_S(*id), DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_S(ctx->principal), DB_Z(n->kind),
		    DB_S(n->task), DB_S(n->settings != NULL ? json_text(a, n->settings) : STR("{}")),
		    DB_S(n->webhook->url.p != NULL ? n->webhook->url : STR("")), DB_I(json_array_size(n->items)),
		    DB_I(n->max_parallel), DB_I(now)),
	    1);
	for (i = 0; i < json_array_size(n->items); i++) {
		const json_t *item = json_array_get(n->items, i);

		batch_add_item(b, a, ctx, *id, (int64_t)i, json_get_str(item, "name", STR("")),
			       json_get_int(item, "priority", 0), json_get_obj(item, "body"), now);
	}
	audit_add_as(
	    b, w, ctx,
	    &(struct audit_event){
		.category = "debate", .action = "batch.created", .resource_type = STR("batch"), .resource_id = *id});
	batch_remember_key(b, a, ctx, n, *id, now);
	if (!callback_create(w, b, ctx, *id, n->webhook, err)) {
		db_batch_free(b);
		return false;
	}
	if (!db_commit(w->db, b, err))
		/* Two requests with one key at the same time: the second gets the first's batch. */
		return err->code == ERR_DUPLICATE && n->key.n > 0 && batch_replayed(w, a, ctx, n, id, &found, err) &&
		       found;
	bus_publish(w->bus, STR(BATCHES_TOPIC), STR(""));
	return true;
}

/* ---- reading ---- */

static bool batch_missing(struct error *err, const char *kind, struct str id)
{
	return error_field(err, ERR_NOT_FOUND, "id", "%s not found: %.*s", kind != NULL ? kind : "batch",
			   STR_ARG(str_sub(id, 0, 64)));
}

CO_FN bool batch_get(struct worker *w, struct arena *a, const struct context *ctx, struct str id, const char *kind,
		     struct batch_row *row, struct error *err)
{
	struct db_rows r;

	if (!db_query(w->db, a,
		      "SELECT " BATCH_COLUMNS
		      " FROM batches WHERE id = $1 AND org_id = $2 AND workspace_id = $3 AND ($4 = '' OR kind = $4)",
		      DB_ARGS(DB_S(id), DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_Z(kind != NULL ? kind : "")), &r,
		      err))
		return false;
	if (r.count == 0)
		return batch_missing(err, kind, id);
	*row = batch_decode(&r, 0);
	return true;
}

CO_FN bool batch_list(struct worker *w, struct arena *a, const struct context *ctx, const char *kind, struct str status,
		      int64_t limit, int64_t offset, struct batch_row **rows, size_t *n, int64_t *total,
		      struct error *err)
{
	struct str wanted = status.n > 0 ? status : STR("");
	struct db_rows r;
	size_t i;

	if (!db_query(w->db, a,
		      "SELECT COUNT(*) FROM batches WHERE org_id = $1 AND workspace_id = $2 AND kind = $3"
		      " AND ($4 = '' OR status = $4)",
		      DB_ARGS(DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_Z(kind), DB_S(wanted)), &r, err))
		return false;
	*total = db_int(&r, 0, 0);
	if (!db_query(w->db, a,
		      "SELECT " BATCH_COLUMNS " FROM batches WHERE org_id = $1 AND workspace_id = $2 AND kind = $3"
		      " AND ($4 = '' OR status = $4) ORDER BY created_at DESC, id DESC LIMIT $5 OFFSET $6",
		      DB_ARGS(DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_Z(kind), DB_S(wanted), DB_I(limit),
			      DB_I(offset)),
		      &r, err))
		return false;
	*rows = arena_zalloc(a, (r.count + 1) * sizeof(**rows));
	*n = r.count;
	for (i = 0; i < r.count; i++)
		(*rows)[i] = batch_decode(&r, i);
	return true;
}

CO_FN bool batch_items(struct worker *w, struct arena *a, const struct batch_row *batch, bool full, int64_t limit,
		       int64_t offset, struct batch_item **items, size_t *n, struct error *err)
{
	struct db_rows r;
	size_t i;

	if (!db_query(
		w->db, a,
		"SELECT i.n, i.name, i.priority, i.body, i.state, COALESCE(i.debate_id, ''), i.error, i.created_at,"
		" i.started_at, i.completed_at, COALESCE(d.status, ''), COALESCE(d.error, ''),"
		" CASE WHEN $3 = 1 THEN COALESCE(d.final_answer, '') ELSE '' END,"
		" CASE WHEN $3 = 1 THEN COALESCE(d.result, '') ELSE '' END, COALESCE(d.consensus_reached, 0),"
		" COALESCE(d.confidence_ppm, 0), COALESCE(d.completed_at, 0)"
		" FROM batch_items i LEFT JOIN debates d ON d.id = i.debate_id AND d.workspace_id = $2"
		" WHERE i.batch_id = $1 AND i.workspace_id = $2 ORDER BY i.n LIMIT $4 OFFSET $5",
		DB_ARGS(DB_S(batch->id), DB_S(batch->workspace_id), DB_I(full), DB_I(limit), DB_I(offset)), &r, err))
		return false;
	*items = arena_zalloc(a, (r.count + 1) * sizeof(**items));
	*n = r.count;
	for (i = 0; i < r.count; i++)
		(*items)[i] = (struct batch_item){.n = db_int(&r, i, 0),
						  .name = db_str(&r, i, 1),
						  .priority = db_int(&r, i, 2),
						  .body = db_str(&r, i, 3),
						  .state = db_str(&r, i, 4),
						  .debate_id = db_str(&r, i, 5),
						  .error = db_str(&r, i, 6),
						  .created_at = db_int(&r, i, 7),
						  .started_at = db_int(&r, i, 8),
						  .completed_at = db_int(&r, i, 9),
						  .debate_status = db_str(&r, i, 10),
						  .debate_error = db_str(&r, i, 11),
						  .final_answer = db_str(&r, i, 12),
						  .result = db_str(&r, i, 13),
						  .consensus_reached = db_int(&r, i, 14),
						  .confidence_ppm = db_int(&r, i, 15),
						  .debate_ended = db_int(&r, i, 16)};
	return true;
}

CO_FN bool batch_count(struct worker *w, struct arena *a, const struct batch_row *batch, struct batch_counts *out,
		       struct error *err)
{
	const struct {
		const char *state;
		int64_t *n;
	} places[] = {{"queued", &out->queued},
		      {"running", &out->running},
		      {"completed", &out->completed},
		      {"failed", &out->failed},
		      {"cancelled", &out->cancelled}};
	struct db_rows r;
	size_t i, k;

	*out = (struct batch_counts){0};
	if (!db_query(
		w->db, a,
		"SELECT state, COUNT(*) FROM batch_items WHERE batch_id = $1 AND workspace_id = $2 GROUP BY state",
		DB_ARGS(DB_S(batch->id), DB_S(batch->workspace_id)), &r, err))
		return false;
	for (i = 0; i < r.count; i++)
		for (k = 0; k < countof(places); k++)
			if (str_eqz(db_str(&r, i, 0), places[k].state))
				*places[k].n = db_int(&r, i, 1);
	return true;
}

CO_FN bool batch_totals(struct worker *w, struct arena *a, const struct context *ctx, struct batch_totals *out,
			struct error *err)
{
	struct db_rows r;
	size_t i;

	if (!db_query(w->db, a,
		      "SELECT status, COUNT(*) FROM batches WHERE org_id = $1 AND workspace_id = $2 GROUP BY status",
		      DB_ARGS(DB_S(ctx->org_id), DB_S(ctx->workspace_id)), &r, err))
		return false;
	out->total = 0;
	out->by_status = json_object();
	for (i = 0; i < r.count; i++) {
		json_put_int(out->by_status, arena_str(a, db_str(&r, i, 0)).p, db_int(&r, i, 1));
		out->total += db_int(&r, i, 1);
	}
	return true;
}

/* ---- changing ---- */

static void batch_audit(struct db_batch *b, struct worker *w, const struct context *ctx, const struct batch_row *batch,
			const char *action)
{
	audit_add_as(
	    b, w, ctx,
	    &(struct audit_event){
		.category = "debate", .action = action, .resource_type = STR("batch"), .resource_id = batch->id});
}

CO_FN static bool batch_commit(struct worker *w, struct db_batch *b, const char *fenced, struct error *err)
{
	if (db_commit(w->db, b, err)) {
		bus_publish(w->bus, STR(BATCHES_TOPIC), STR(""));
		return true;
	}
	return err->code == ERR_FENCED ? error_set(err, ERR_CONFLICT, "%s", fenced) : false;
}

CO_FN bool batch_stop_running(struct worker *w, struct arena *a, const struct context *ctx,
			      const struct batch_row *batch, struct error *err)
{
	struct db_rows r;
	size_t i;

	if (!db_query(w->db, a,
		      "SELECT d.id FROM batch_items i JOIN debates d ON d.id = i.debate_id AND d.workspace_id = $2"
		      " WHERE i.batch_id = $1 AND i.workspace_id = $2 AND i.state = 'running'"
		      " AND d.status IN ('queued', 'running') AND d.cancel_reason = ''",
		      DB_ARGS(DB_S(batch->id), DB_S(ctx->workspace_id)), &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		struct error ended = ERROR_INIT;

		if (!debate_cancel(w, ctx, db_str(&r, i, 0), STR("the batch was cancelled"), &ended) &&
		    ended.code != ERR_CONFLICT)
			*err = ended;
	}
	return err->code == ERR_OK;
}

CO_FN bool batch_cancel(struct worker *w, struct arena *a, const struct context *ctx, const struct batch_row *batch,
			struct error *err)
{
	struct db_batch *b = db_batch_new(w->db);

	/* It stays open until what runs has ended. */
	db_batch_add(b,
		     "UPDATE batches SET status = 'cancelled', epoch = epoch + 1, updated_at = $4"
		     " WHERE id = $1 AND org_id = $2 AND workspace_id = $3 AND open = 1 AND status <> 'cancelled'",
		     DB_ARGS(DB_S(batch->id), DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_I(clock_wall_ms())), 1);
	db_batch_add(b,
		     "UPDATE batch_items SET state = 'cancelled', completed_at = $3"
		     " WHERE batch_id = $1 AND workspace_id = $2 AND state = 'queued'",
		     DB_ARGS(DB_S(batch->id), DB_S(ctx->workspace_id), DB_I(clock_wall_ms())), DB_ANY);
	batch_audit(b, w, ctx, batch, "batch.cancelled");
	/* If this process dies in between, the clerk stops what runs. */
	return batch_commit(w, b, "the batch has already ended", err) && batch_stop_running(w, a, ctx, batch, err);
}

CO_FN bool batch_retry(struct worker *w, const struct context *ctx, const struct batch_row *batch, struct error *err)
{
	struct db_batch *b = db_batch_new(w->db);

	db_batch_add(b,
		     "UPDATE batches SET status = 'processing', open = 1, epoch = epoch + 1, completed_at = NULL,"
		     " result = NULL, updated_at = $4 WHERE id = $1 AND org_id = $2 AND workspace_id = $3 AND open = 0"
		     " AND status IN ('partial', 'failed', 'cancelled')",
		     DB_ARGS(DB_S(batch->id), DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_I(clock_wall_ms())), 1);
	db_batch_add(
	    b,
	    "UPDATE batch_items SET state = 'queued', debate_id = NULL, error = '', started_at = NULL,"
	    " completed_at = NULL WHERE batch_id = $1 AND workspace_id = $2 AND state IN ('failed', 'cancelled')",
	    DB_ARGS(DB_S(batch->id), DB_S(ctx->workspace_id)), DB_ANY);
	batch_audit(b, w, ctx, batch, "batch.retried");
	return batch_commit(w, b, "only what has failed or was cancelled can be tried again", err);
}

CO_FN bool batch_delete(struct worker *w, const struct context *ctx, const struct batch_row *batch, struct error *err)
{
	struct db_batch *b = db_batch_new(w->db);

	db_batch_add(b, "DELETE FROM batch_items WHERE batch_id = $1 AND workspace_id = $2",
		     DB_ARGS(DB_S(batch->id), DB_S(ctx->workspace_id)), DB_ANY);
	callback_forget(b, ctx, batch->id);
	db_batch_add(b, "DELETE FROM batches WHERE id = $1 AND org_id = $2 AND workspace_id = $3 AND open = 0",
		     DB_ARGS(DB_S(batch->id), DB_S(ctx->org_id), DB_S(ctx->workspace_id)), 1);
	batch_audit(b, w, ctx, batch, "batch.deleted");
	return batch_commit(w, b, "a batch that is open cannot be deleted; cancel it first", err);
}
