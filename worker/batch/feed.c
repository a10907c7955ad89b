/* SPDX-License-Identifier: MIT */
/*
 * Moves batches on: takes in what has ended, starts what is next, closes what is done. Called by the clerk, once a
 * second and on a hint. What it knows is in rows; every write names the state it starts from, so a death between two of
 * them leaves nothing half done, and two clerks do the same thing once.
 */
#include "worker/batch/room.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/agents/select.h"
#include "worker/debate/request.h"
#include "worker/delivery/delivery.h"
#include "worker/runner/queue.h"
#include "worker/stream/stream.h"
#include "worker/worker.h"

#define FEED_PAGE 50
#define FEED_TOLD_ITEMS 100 /* of a batch that are listed in its callback */

struct batches {
	struct worker *w;
	struct bus_sub *sub;
	bool looking, again;
};

/* One batch while it is looked at. */
struct feed {
	struct worker *w;
	struct arena *a;
	struct batch_row batch;
	struct batch_counts counts;
	struct context ctx;
	bool changed;
};

/* ---- what has ended ---- */

static const char *feed_end_of(struct str status)
{
	if (str_eqz(status, "completed"))
		return "completed";
	return str_eqz(status, "cancelled") ? "cancelled" : "failed";
}

/* False: the store failed. */
CO_FN static bool feed_settle(struct feed *f, struct error *err)
{
	struct db_batch *b = NULL;
	struct db_rows r;
	size_t i;

	if (!db_query(f->w->db, f->a,
		      "SELECT i.n, d.id, d.status, d.error, d.completed_at FROM batch_items i"
		      " LEFT JOIN debates d ON d.id = i.debate_id AND d.workspace_id = $2"
		      " WHERE i.batch_id = $1 AND i.workspace_id = $2 AND i.state = 'running'",
		      DB_ARGS(DB_S(f->batch.id), DB_S(f->batch.workspace_id)), &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		bool gone = db_null(&r, i, 1);
		const char *state = gone ? "failed" : feed_end_of(db_str(&r, i, 2));
		struct str error = gone ? STR("its debate was deleted") : db_str(&r, i, 3);

		if (!gone && db_int(&r, i, 4) == 0)
			continue;
		b = b != NULL ? b : db_batch_new(f->w->db);
		db_batch_add(b,
			     "UPDATE batch_items SET state = $4, error = $5, completed_at = $6"
			     " WHERE batch_id = $1 AND workspace_id = $2 AND n = $3 AND state = 'running'",
			     DB_ARGS(DB_S(f->batch.id), DB_S(f->batch.workspace_id), DB_I(db_int(&r, i, 0)),
				     DB_Z(state), DB_S(error.n > 0 ? error : STR("")),
				     DB_I(gone ? clock_wall_ms() : db_int(&r, i, 4))),
			     DB_ANY);
	}
	f->changed = b != NULL;
	FAULT("batch.before_settle");
	return b == NULL || db_commit(f->w->db, b, err);
}

/* ---- what is next ---- */

struct feed_start {
	const struct feed *f;
	int64_t n;
};

/* In the batch that creates the debate: an item becomes at most one. */
static void feed_started(struct db_batch *b, struct str id, void *arg)
{
	const struct feed_start *s = arg;
	int64_t now = clock_wall_ms();

	db_batch_add(b,
		     "UPDATE batches SET status = 'processing', started_at = COALESCE(started_at, $4), updated_at = $4"
		     " WHERE id = $1 AND workspace_id = $2 AND epoch = $3 AND status IN ('pending', 'processing')",
		     DB_ARGS(DB_S(s->f->batch.id), DB_S(s->f->batch.workspace_id), DB_I(s->f->batch.epoch), DB_I(now)),
		     1);
	db_batch_add(b,
		     "UPDATE batch_items SET state = 'running', debate_id = $4, started_at = $5"
		     " WHERE batch_id = $1 AND workspace_id = $2 AND n = $3 AND state = 'queued'",
		     DB_ARGS(DB_S(s->f->batch.id), DB_S(s->f->batch.workspace_id), DB_I(s->n), DB_S(id), DB_I(now)), 1);
}

CO_FN static bool feed_fail(const struct feed *f, int64_t n, const char *why, struct error *err)
{
	struct db_batch *b = db_batch_new(f->w->db);

	db_batch_add(b,
		     "UPDATE batch_items SET state = 'failed', error = $4, completed_at = $5"
		     " WHERE batch_id = $1 AND workspace_id = $2 AND n = $3 AND state = 'queued'",
		     DB_ARGS(DB_S(f->batch.id), DB_S(f->batch.workspace_id), DB_I(n), DB_Z(why), DB_I(clock_wall_ms())),
		     DB_ANY);
	return db_commit(f->w->db, b, err);
}

/* What is over soon is waited for; anything else is the item's own fault. */
static bool feed_try_later(const struct error *err)
{
	return err->code == ERR_UNAVAILABLE || err->code == ERR_MAINTENANCE || err->code == ERR_STORAGE ||
	       err->code == ERR_CANCELLED || err->code == ERR_FENCED || err->code == ERR_DUPLICATE;
}

/* False: no further one now. */
CO_FN static bool feed_start_one(struct feed *f, int64_t n, struct str text, struct error *err)
{
	struct feed_start start = {f, n};
	json_t *body = json_parse(f->a, text, err), *plan = NULL, *problems, *metadata;
	bool replayed;
	struct str id;

	if (body != NULL)
		select_agents(f->w, f->a, &f->ctx, &body);
	if (body == NULL || !plan_resolve(f->w->conf, f->a, body, &plan, &problems, err))
		return feed_fail(f, n, err->msg, err);
	json_put_str(plan, "group_id", f->batch.id);
	metadata = json_own(f->a, json_object());
	if (json_get_obj(body, "metadata") != NULL)
		json_object_update(metadata, json_get_obj(body, "metadata"));
	json_put_str(metadata, "batch_id", f->batch.id);
	json_put_int(metadata, "batch_item", n);
	FAULT("batch.before_start");
	if (debate_create(
		f->w, f->a, &f->ctx,
		&(struct debate_birth){.plan = plan, .metadata = metadata, .more = feed_started, .arg = &start}, &id,
		&replayed, err)) {
		FAULT("batch.after_start");
		f->changed = true;
		return true;
	}
	if (feed_try_later(err))
		return false;
	f->changed = true;
	return feed_fail(f, n, err->msg, err);
}

CO_FN static bool feed_fill(struct feed *f, struct error *err)
{
	int64_t room = f->batch.max_parallel - f->counts.running, left;
	struct db_rows r;
	size_t i;

	if (room <= 0 || f->counts.queued == 0 || str_eqz(f->batch.status, "cancelled"))
		return true;
	if (!queue_room_for_batches(f->w, f->a, &left, err))
		return false;
	room = room < left ? room : left;
	if (room <= 0)
		return true; /* again in a second */
	if (!db_query(f->w->db, f->a,
		      "SELECT n, body FROM batch_items WHERE batch_id = $1 AND workspace_id = $2 AND state = 'queued'"
		      " ORDER BY priority DESC, n LIMIT $3",
		      DB_ARGS(DB_S(f->batch.id), DB_S(f->batch.workspace_id), DB_I(room)), &r, err))
		return false;
	for (i = 0; i < r.count && feed_start_one(f, db_int(&r, i, 0), db_str(&r, i, 1), err); i++)
		;
	return i == r.count;
}

/* Whoever cancelled it may have died before what ran was told. */
CO_FN static bool feed_stop(struct feed *f, struct error *err)
{
	return f->counts.running == 0 || !str_eqz(f->batch.status, "cancelled") ||
	       batch_stop_running(f->w, f->a, &f->ctx, &f->batch, err);
}

/* ---- the end ---- */

static const char *feed_status(const struct feed *f)
{
	const struct batch_counts *c = &f->counts;

	if (str_eqz(f->batch.status, "cancelled"))
		return "cancelled";
	if (c->failed + c->cancelled == 0)
		return "completed";
	return c->completed > 0 ? "partial" : c->failed > 0 ? "failed" : "cancelled";
}

/* What is told of the end: figures, and the items unless they are many. */
static json_t *feed_told(struct feed *f, const char *status, const struct batch_item *items, size_t n)
{
	json_t *o = batch_view(&f->batch, &f->counts), *list;
	size_t i;

	json_put_str(o, "status", str_of(status));
	json_put_time(o, "completed_at", f->batch.completed_at);
	if (n > FEED_TOLD_ITEMS)
		return o;
	list = json_array();
	for (i = 0; i < n; i++)
		json_array_append_new(list, batch_item_view(f->a, &items[i], false));
	json_object_set_new(o, "items", list);
	return o;
}

CO_FN static bool feed_close(struct feed *f, struct error *err)
{
	const struct batch_kind *kind = batch_kind_of(f->batch.kind);
	const char *status = feed_status(f);
	int64_t now = clock_wall_ms(), added = 0;
	struct db_batch *b = db_batch_new(f->w->db);
	struct batch_item *items;
	json_t *result, *told;
	bool ok;
	size_t n;

	if (!batch_items(f->w, f->a, &f->batch, kind->conclude != NULL, BATCH_ITEMS_MAX, 0, &items, &n, err) ||
	    (kind->advance != NULL && strcmp(status, "cancelled") != 0 &&
	     !kind->advance(f->w, f->a, &f->batch, items, n, b, &added, err))) {
		db_batch_free(b);
		return false;
	}
	f->batch.completed_at = now;
	result = added == 0 && kind->conclude != NULL ? kind->conclude(f->a, &f->batch, items, n) : NULL;
	if (added == 0) {
		db_batch_add(b,
			     "UPDATE batches SET open = 0, status = $4, result = $5, completed_at = $6, updated_at = $6"
			     " WHERE id = $1 AND workspace_id = $2 AND epoch = $3 AND open = 1",
			     DB_ARGS(DB_S(f->batch.id), DB_S(f->batch.workspace_id), DB_I(f->batch.epoch), DB_Z(status),
				     result != NULL ? DB_S(json_text(f->a, result)) : DB_NONE, DB_I(now)),
			     1);
		told = json_own(f->a, feed_told(f, status, items, n));
		callback_ended_as(b, f->batch.id, "batch_completed", told, now);
	} else {
		db_batch_add(b,
			     "UPDATE batches SET epoch = epoch + 1, total = total + $4, updated_at = $5"
			     " WHERE id = $1 AND workspace_id = $2 AND epoch = $3 AND open = 1",
			     DB_ARGS(DB_S(f->batch.id), DB_S(f->batch.workspace_id), DB_I(f->batch.epoch), DB_I(added),
				     DB_I(now)),
			     1);
	}
	FAULT("batch.before_close");
	ok = db_commit(f->w->db, b, err);
	if (!ok)
		return false;
	f->changed = true;
	if (added > 0) {
		bus_publish_here(f->w->bus, STR(BATCHES_TOPIC), STR(""));
		return true;
	}
	deliveries_hint(f->w->deliveries);
	f->batch.status = str_of(status);
	metric_add(M_BATCHES_ENDED, 1, NULL);
	log_info("batch", "batch ended", KV_STR("batch", f->batch.id), KV_S("status", status),
		 KV_I("completed", f->counts.completed), KV_I("failed", f->counts.failed));
	return true;
}

/* ---- looking ---- */

/* Whoever watches the workspace sees it move; the rows are what counts. */
static void feed_tell(struct feed *f)
{
	bool ended = f->batch.completed_at != 0;
	json_t *data = batch_view(&f->batch, &f->counts);
	const char *type = ended ? "batch_complete" : "batch_progress";

	stream_notice(
	    f->w->stream, f->batch.workspace_id, str_of(type),
	    stream_envelope(f->a, f->batch.id, 0, str_of(type), STR(""), 0, 0, clock_wall_ms(), STR_NONE, data));
	json_decref(data);
}

CO_FN static void feed_look(struct worker *w, struct str id, struct str org_id, struct str workspace_id)
{
	struct arena *a = arena_new(0);
	struct context tenant = {STR("anonymous"), org_id, workspace_id, STR_NONE, NULL};
	struct feed f = {.w = w, .a = a};
	struct error err = ERROR_INIT;
	bool ok;

	ok = batch_get(w, a, &tenant, id, NULL, &f.batch, &err);
	f.ctx = batch_context(&f.batch);
	ok = ok && feed_settle(&f, &err) && batch_count(w, a, &f.batch, &f.counts, &err) && feed_stop(&f, &err) &&
	     feed_fill(&f, &err) && batch_count(w, a, &f.batch, &f.counts, &err);
	if (ok && f.counts.queued + f.counts.running == 0)
		ok = feed_close(&f, &err);
	if (!ok && err.code != ERR_FENCED)
		log_info("batch", "a batch cannot be moved on now", KV_STR("batch", id), KV_S("reason", err.msg));
	if (ok && f.changed)
		feed_tell(&f);
	arena_free(a);
}

CO_FN static void batches_work(struct batches *bs)
{
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct str after = STR("");
	struct db_rows r = {0};
	size_t i;

	do {
		if (!db_query(
			bs->w->db, a,
			SQL_ANYBODY("the clerk moves on those of all") //
			"SELECT id, org_id, workspace_id FROM batches WHERE open = 1 AND id > $1 ORDER BY id LIMIT 50",
			DB_ARGS(DB_S(after)), &r, &err))
			break;
		for (i = 0; i < r.count && !bs->w->draining; i++)
			feed_look(bs->w, db_str(&r, i, 0), db_str(&r, i, 1), db_str(&r, i, 2));
		after = r.count > 0 ? db_str(&r, r.count - 1, 0) : after;
	} while (r.count == FEED_PAGE && !bs->w->draining);
	arena_free(a);
}

CO_FN static void batches_run(void *arg)
{
	struct batches *bs = arg;

	do {
		bs->again = false;
		batches_work(bs);
	} while (bs->again && !bs->w->draining);
	bs->looking = false;
}

/* The clerk has leases to look after: it does not wait for this. */
void batches_look(struct batches *bs)
{
	bs->again = true;
	if (bs->looking || bs->w->draining)
		return;
	bs->looking = true;
	if (co_spawn("batches", batches_run, bs) == NULL)
		bs->looking = false; /* again in a second */
}

static void batches_on_hint(void *arg, struct str topic, struct str message)
{
	struct batches *bs = arg;

	(void)topic;
	(void)message;
	if (worker_is_clerk(bs->w))
		batches_look(bs);
}

struct batches *batches_open(struct worker *w)
{
	struct batches *bs = xcalloc(1, sizeof(*bs));

	bs->w = w;
	return bs;
}

void batches_start(struct batches *bs)
{
	bs->sub = bus_subscribe(bs->w->bus, STR(BATCHES_TOPIC), batches_on_hint, bs);
}

void batches_close(struct batches *bs)
{
	if (bs->sub != NULL)
		bus_unsubscribe(bs->w->bus, bs->sub);
	free(bs);
}
