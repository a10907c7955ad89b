/* SPDX-License-Identifier: MIT */
/*
 * The queue of debates, see queue.h. Called by the store (a debate comes in), by the runner (one is to be claimed), by
 * the API (where does it stand). Claims nothing itself.
 */
#include "worker/runner/queue.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/batch/batch.h"
#include "worker/debate/request.h"
#include "worker/worker.h"

/*
 * Of the partial index debates_waiting: SQLite takes it only for statements that repeat its condition. It says "has not
 * ended" by the time of the end, for by the status SQLite would rather go through debates_open and sort.
 */
#define QUEUE_WAITING "completed_at IS NULL AND owner = '' AND paused_at IS NULL"
#define QUEUE_LIST_MAX 100 /* own debates in the answer */
#define QUEUE_DAY_MS (86400 * INT64_C(1000))

CO_FN bool queue_enter(struct worker *w, struct arena *a, struct str workspace_id, int64_t *tag, struct error *err)
{
	struct db_rows rows;
	int64_t own, served;

	if (!db_query(w->db, a,
		      SQL_ANYBODY("the queue is one for all; no row is shown") //
		      "SELECT (SELECT COUNT(*) FROM debates WHERE " DEBATES_QUEUED "),"
		      " (SELECT MAX(queue_tag) FROM debates WHERE " DEBATES_OPEN " AND workspace_id = $1),"
		      " COALESCE((SELECT MIN(queue_tag) FROM debates WHERE " QUEUE_WAITING "),"
		      " (SELECT MAX(queue_tag) FROM debates WHERE " DEBATES_RUNNING
		      " AND claim_after < 9000000000000000000), 0)",
		      DB_ARGS(DB_S(workspace_id)), &rows, err))
		return false;
	if (db_int(&rows, 0, 0) >= w->conf->debates.max_queued)
		return error_set(err, ERR_UNAVAILABLE, "too many debates are waiting already; try again later");
	own = db_null(&rows, 0, 1) ? 0 : db_int(&rows, 0, 1) + 1;
	served = db_int(&rows, 0, 2);
	*tag = own > served ? own : served;
	return true;
}

CO_FN bool queue_room_for_batches(struct worker *w, struct arena *a, int64_t *room, struct error *err)
{
	struct db_rows rows;

	if (!db_query(w->db, a,
		      SQL_ANYBODY("the queue is one for all; no row is shown") //
		      "SELECT COUNT(*) FROM debates WHERE " DEBATES_QUEUED,
		      DB_NO_ARGS, &rows, err))
		return false;
	*room = (w->conf->debates.max_queued + 1) / 2 - db_int(&rows, 0, 0);
	return true;
}

/* ---- claiming ---- */

#define QUEUE_COLUMNS                                                                                        \
	"d.id, d.org_id, d.workspace_id, d.user_id, d.status, d.plan, d.cancel_reason, d.epoch, d.last_seq," \
	" d.message_count, d.current_round, d.created_at, d.crashes, d.running_ms, d.pause_by, d.paused_ms"

/*
 * What runs is counted once for all, and only the first 64 in line are looked at: the cost does not grow with what
 * waits.
 */
CO_FN bool queue_next(struct worker *w, struct arena *a, struct str only, struct db_rows *rows, struct error *err)
{
	int64_t now = clock_wall_ms();

	if (only.n > 0)
		return db_query(w->db, a,
				SQL_ANYBODY("the runner claims for all") //
				"SELECT " QUEUE_COLUMNS " FROM debates d WHERE d.id = $1 AND d.owner = ''"
				" AND d.status IN ('queued', 'running') AND d.claim_after <= $2"
				" AND d.engine_version <= $3",
				DB_ARGS(DB_S(only), DB_I(now), DB_I(ENGINE_VERSION)), rows, err);
	return db_query(w->db, a,
			SQL_ANYBODY("the runner claims for all") //
			"SELECT " QUEUE_COLUMNS " FROM (SELECT id AS next FROM debates WHERE " QUEUE_WAITING
			" AND claim_after <= $1 AND engine_version <= $2 ORDER BY queue_tag, created_at, id LIMIT 64) q"
			" JOIN debates d ON d.id = q.next"
			" LEFT JOIN (SELECT workspace_id AS busy, COUNT(*) AS n FROM debates WHERE " DEBATES_RUNNING
			" AND claim_after < 9000000000000000000 AND owner <> '' GROUP BY workspace_id) b"
			" ON b.busy = d.workspace_id"
			" ORDER BY COALESCE(b.n, 0), d.queue_tag, d.created_at, d.id LIMIT 8",
			DB_ARGS(DB_I(now), DB_I(ENGINE_VERSION)), rows, err);
}

struct debate_row queue_row(const struct db_rows *rows, size_t i)
{
	return (struct debate_row){.id = db_str(rows, i, 0),
				   .org_id = db_str(rows, i, 1),
				   .workspace_id = db_str(rows, i, 2),
				   .user_id = db_str(rows, i, 3),
				   .status = db_str(rows, i, 4),
				   .plan = db_str(rows, i, 5),
				   .cancel_reason = db_str(rows, i, 6),
				   .epoch = db_int(rows, i, 7),
				   .last_seq = db_int(rows, i, 8),
				   .message_count = db_int(rows, i, 9),
				   .current_round = db_int(rows, i, 10),
				   .created_at = db_int(rows, i, 11),
				   .crashes = db_int(rows, i, 12),
				   .running_ms = db_int(rows, i, 13),
				   .pause_by = db_str(rows, i, 14),
				   .paused_ms = db_int(rows, i, 15)};
}

/* ---- where it stands ---- */

/* What the last debates took on the average, and on how many nodes they may run; 0: none has ended yet. */
CO_FN static bool queue_pace(struct worker *w, struct arena *a, int64_t *each_ms, int64_t *slots, struct error *err)
{
	struct db_rows rows;

	if (!db_query(w->db, a,
		      SQL_ANYBODY("an average; no row is shown") //
		      "SELECT (SELECT CAST(AVG(running_ms) AS BIGINT) FROM (SELECT running_ms FROM debates"
		      " WHERE completed_at IS NOT NULL ORDER BY completed_at DESC, id DESC LIMIT 50) l),"
		      " (SELECT COUNT(DISTINCT node_id) FROM processes)",
		      DB_NO_ARGS, &rows, err))
		return false;
	*each_ms = db_int(&rows, 0, 0);
	*slots = w->conf->debates.max_concurrent * (db_int(&rows, 0, 1) > 0 ? db_int(&rows, 0, 1) : 1);
	return true;
}

static int64_t queue_wait(int64_t position, int64_t each_ms, int64_t slots)
{
	return each_ms > 0 ? (position + slots - 1) / slots * each_ms : -1;
}

CO_FN bool queue_place(struct worker *w, struct arena *a, const struct debate_row *row, struct queue_place *out,
		       struct error *err)
{
	int64_t each_ms, slots;
	struct db_rows rows;

	*out = (struct queue_place){.position = 0, .wait_ms = -1};
	if (!str_eqz(row->status, "queued") || row->owner.n > 0 || debate_is_paused(row))
		return true;
	if (!queue_pace(w, a, &each_ms, &slots, err) ||
	    !db_query(w->db, a,
		      SQL_ANYBODY("a count; no row is shown") //
		      "SELECT COUNT(*) FROM debates d, (SELECT queue_tag AS tag FROM debates WHERE id = $1) m WHERE"
		      " d.completed_at IS NULL AND d.owner = '' AND d.paused_at IS NULL"
		      " AND d.queue_tag <= m.tag AND (d.queue_tag < m.tag OR d.created_at < $2"
		      " OR (d.created_at = $2 AND d.id <= $1))",
		      DB_ARGS(DB_S(row->id), DB_I(row->created_at)), &rows, err))
		return false;
	out->position = db_int(&rows, 0, 0);
	out->wait_ms = out->position > 0 ? queue_wait(out->position, each_ms, slots) : -1;
	return true;
}

CO_FN void queue_show(struct worker *w, struct arena *a, const struct debate_row *row, json_t *o)
{
	struct error err = ERROR_INIT;
	struct queue_place p;

	if (!queue_place(w, a, row, &p, &err) || p.position == 0)
		return;
	json_put_int(o, "queue_position", p.position);
	json_object_set_new(o, "estimated_wait_seconds",
			    p.wait_ms >= 0 ? json_real((double)p.wait_ms / 1000.0) : json_null());
}

/* ---- the queue as its workspace sees it ---- */

/* Own debates that wait, the first first, with their places. */
CO_FN static json_t *queue_own(struct http_request *req, int64_t each_ms, int64_t slots, struct error *err)
{
	json_t *list = json_array();
	struct db_rows rows;
	size_t i;

	/* How many stand before each is the number of its row among all, counted once. */
	if (!db_query(request_worker(req)->db, req->arena,
		      SQL_ANYBODY("only rows of the workspace leave the statement") //
		      "SELECT id, place, created_at FROM (SELECT id, workspace_id, created_at, ROW_NUMBER() OVER"
		      " (ORDER BY queue_tag, created_at, id) AS place FROM debates WHERE " QUEUE_WAITING
		      ") q WHERE workspace_id = $1 ORDER BY place LIMIT $2",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(QUEUE_LIST_MAX)), &rows, err)) {
		json_decref(list);
		return NULL;
	}
	for (i = 0; i < rows.count; i++) {
		int64_t place = db_int(&rows, i, 1), wait = queue_wait(place, each_ms, slots);
		json_t *o = json_object();

		json_put_str(o, "debate_id", db_str(&rows, i, 0));
		json_put_int(o, "position", place);
		json_object_set_new(o, "estimated_wait_seconds",
				    wait >= 0 ? json_real((double)wait / 1000.0) : json_null());
		json_put_time(o, "created_at", db_int(&rows, i, 2));
		json_array_append_new(list, o);
	}
	return list;
}

/* Counts of the workspace: waiting, running, paused; completed today and their mean wait. */
CO_FN static bool queue_counts(struct http_request *req, json_t *o, struct error *err)
{
	struct db *db = request_worker(req)->db;
	int64_t now = clock_wall_ms();
	struct db_rows open, ended;

	if (!db_query(db, req->arena,
		      "SELECT COALESCE(SUM(CASE WHEN owner = '' AND paused_at IS NULL THEN 1 ELSE 0 END), 0),"
		      " COALESCE(SUM(CASE WHEN owner <> '' THEN 1 ELSE 0 END), 0),"
		      " COALESCE(SUM(CASE WHEN paused_at IS NOT NULL THEN 1 ELSE 0 END), 0)"
		      " FROM debates WHERE workspace_id = $1 AND " DEBATES_OPEN,
		      DB_ARGS(DB_S(req->ctx.workspace_id)), &open, err) ||
	    !db_query(db, req->arena,
		      "SELECT COUNT(*), CAST(COALESCE(AVG(started_at - created_at), 0) AS BIGINT) FROM debates"
		      " WHERE workspace_id = $1 AND created_at >= $2 AND completed_at IS NOT NULL",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(now - now % QUEUE_DAY_MS)), &ended, err))
		return false;
	json_put_int(o, "pending_count", db_int(&open, 0, 0));
	json_put_int(o, "running_count", db_int(&open, 0, 1));
	json_put_int(o, "active_count", db_int(&open, 0, 1));
	json_put_int(o, "paused_count", db_int(&open, 0, 2));
	json_put_int(o, "completed_today", db_int(&ended, 0, 0));
	json_put_int(o, "average_wait_time_ms", db_int(&ended, 0, 1));
	return true;
}

CO_FN static void queue_status(struct http_request *req)
{
	struct worker *w = request_worker(req);
	struct error err = ERROR_INIT;
	struct batch_totals batches;
	int64_t each_ms, slots, open;
	json_t *o = json_own(req->arena, json_object()), *own;

	if (!queue_counts(req, o, &err) || !queue_pace(w, req->arena, &each_ms, &slots, &err)) {
		http_reply_error(req, &err);
		return;
	}
	own = queue_own(req, each_ms, slots, &err);
	if (own != NULL && !batch_totals(w, req->arena, &req->ctx, &batches, &err)) {
		json_decref(own);
		own = NULL;
	}
	if (own == NULL) {
		http_reply_error(req, &err);
		return;
	}
	open = json_get_int(o, "pending_count", 0) + json_get_int(o, "running_count", 0);
	json_object_set_new(o, "active", json_boolean(open > 0));
	json_put_int(o, "max_concurrent", w->conf->debates.max_concurrent);
	json_put_int(o, "max_queued", w->conf->debates.max_queued);
	json_object_set_new(o, "debates", own);
	json_put_int(o, "total_batches", batches.total);
	json_object_set_new(o, "status_counts", batches.by_status);
	if (open > 0 && each_ms > 0)
		json_put_time(o, "estimated_completion_time",
			      clock_wall_ms() + queue_wait(open, each_ms, slots) + each_ms);
	else
		json_object_set_new(o, "estimated_completion_time", json_null());
	http_reply_json(req, 200, json_incref(o));
}

static const struct route queue_rows[] = {
    ROUTE(GET, "/api/debates/queue/status", queue_status, "debates:read", READ,
	  "What of the workspace waits and runs, with places and estimates", .response = "QueueStatus"),
};
const struct route_table queue_routes = {queue_rows, countof(queue_rows)};
