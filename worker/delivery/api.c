/* SPDX-License-Identifier: MIT */
/*
 * The routes of deliveries: those of a debate, dead letters, numbers (rest-wide 3.1). Handlers check, call the store
 * and render; sending is the sender's matter.
 */
#include "common/bus.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/delivery/outbox.h"
#include "worker/http/route.h"
#include "worker/worker.h"

#define API_DEBATE_MAX 1000
#define API_DEAD_DEFAULT 100 /* seed 002, dead-letter queue */
#define API_DEAD_MAX 1000

static struct worker *api_worker(const struct http_request *req)
{
	return req->user;
}

/* ---- rendering ---- */

static const struct {
	const char *stored, *shown;
} api_states[] = {{"pending", "PENDING"},
		  {"sending", "IN_PROGRESS"},
		  {"retrying", "RETRYING"},
		  {"delivered", "DELIVERED"},
		  {"dead", "DEAD_LETTERED"}};

json_t *delivery_view(const struct delivery_row *d, int64_t now_ms, int64_t max_attempts)
{
	bool waits = str_eqz(d->state, "pending") || str_eqz(d->state, "retrying");
	bool open = waits && d->open_until > now_ms;
	const char *status = "PENDING";
	json_t *o = json_object();
	size_t i;

	for (i = 0; i < countof(api_states); i++)
		if (str_eqz(d->state, api_states[i].stored))
			status = api_states[i].shown;
	json_put_str(o, "delivery_id", d->id);
	json_put_str(o, "id", d->id);
	json_put_str(o, "debate_id", d->debate_id);
	json_put_str(o, "event_type", d->event);
	json_put_str(o, "url", d->target);
	/* While a breaker is open, all that waits for it is queued for retry (seed 002, circuit breaker). */
	json_put_str(o, "status", str_of(open ? "RETRYING" : status));
	json_put_int(o, "attempts", d->attempts);
	json_put_int(o, "max_attempts", max_attempts);
	json_put_str(o, "last_error", open ? STR("Circuit breaker open") : d->last_error);
	json_object_set_new(o, "last_status_code", d->last_status != 0 ? json_integer(d->last_status) : json_null());
	json_put_time(o, "created_at", d->created_at);
	json_put_time(o, "updated_at", d->updated_at);
	json_put_time(o, "next_retry_at", !waits ? 0 : open && d->open_until > d->next_at ? d->open_until : d->next_at);
	json_put_time(o, "delivered_at", d->delivered_at);
	json_put_time(o, "dead_lettered_at", d->dead_at);
	return o;
}

static json_t *api_row(struct http_request *req, const struct delivery_row *d)
{
	return delivery_view(d, clock_wall_ms(), api_worker(req)->conf->deliveries.max_retries + 1);
}

static json_t *api_rows(struct http_request *req, const struct delivery_row *rows, size_t n)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < n; i++)
		json_array_append_new(list, api_row(req, &rows[i]));
	return list;
}

/* Adds payload and every attempt. False after having replied. */
CO_FN static bool api_add_detail(struct http_request *req, const struct delivery_row *d, json_t *o)
{
	json_t *attempts = json_array(), *payload;
	struct error err = ERROR_INIT;
	struct db_rows rows;
	size_t i;

	json_object_set_new(o, "tries", attempts);
	payload = json_parse(req->arena, d->payload, &err);
	json_object_set(o, "payload", payload != NULL ? payload : json_null());
	if (!db_query(api_worker(req)->db, req->arena,
		      "SELECT n, state, status, error, started_at, ended_at FROM delivery_attempts WHERE delivery_id IN"
		      " (SELECT id FROM deliveries WHERE id = $1 AND workspace_id = $2) ORDER BY n LIMIT 1000",
		      DB_ARGS(DB_S(d->id), DB_S(req->ctx.workspace_id)), &rows, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	for (i = 0; i < rows.count; i++) {
		json_t *t = json_object();

		json_put_int(t, "n", db_int(&rows, i, 0));
		json_put_str(t, "outcome", db_str(&rows, i, 1));
		json_object_set_new(t, "status_code",
				    db_int(&rows, i, 2) != 0 ? json_integer(db_int(&rows, i, 2)) : json_null());
		json_put_str(t, "error", db_str(&rows, i, 3));
		json_put_time(t, "started_at", db_int(&rows, i, 4));
		json_put_time(t, "ended_at", db_int(&rows, i, 5));
		json_array_append_new(attempts, t);
	}
	return true;
}

/* ---- handlers ---- */

CO_FN static void api_of_debate(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct delivery_row *rows;
	json_t *list;
	size_t i, n;

	if (!outbox_list(api_worker(req)->db, req->arena, &req->ctx, req->params[0], API_DEBATE_MAX, &rows, &n, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_own(req->arena, api_rows(req, rows, n));
	for (i = 0; i < n; i++)
		if (!api_add_detail(req, &rows[i], json_array_get(list, i)))
			return;
	http_reply_json(req, 200,
			json_pack("{s:s%, s:O, s:I}", "debate_id", req->params[0].p, req->params[0].n, "deliveries",
				  list, "count", (json_int_t)n));
}

CO_FN static void api_dead(struct http_request *req)
{
	int64_t limit = http_query_int(req, "limit", 1, API_DEAD_MAX, API_DEAD_DEFAULT);
	struct error err = ERROR_INIT;
	struct delivery_row *rows;
	size_t n;

	if (!outbox_list(api_worker(req)->db, req->arena, &req->ctx, STR(""), limit, &rows, &n, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:I}", "dead_letters", api_rows(req, rows, n), "count", (json_int_t)n,
				  "limit", (json_int_t)limit));
}

CO_FN static void api_dead_show(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct delivery_row d;
	json_t *o;

	if (outbox_get(api_worker(req)->db, req->arena, &req->ctx, req->params[0], &d, &err) &&
	    !str_eqz(d.state, "dead"))
		error_field(&err, ERR_BAD_REQUEST, "id", "Delivery %.*s is not in dead-letter queue", STR_ARG(d.id));
	if (err.code != ERR_OK) {
		http_reply_error(req, &err);
		return;
	}
	o = json_own(req->arena, api_row(req, &d));
	if (api_add_detail(req, &d, o))
		http_reply_json(req, 200, json_pack("{s:O}", "delivery", o));
}

CO_FN static void api_dead_retry(struct http_request *req)
{
	struct worker *w = api_worker(req);
	struct error err = ERROR_INIT;

	if (!outbox_revive(w->db, &req->ctx, req->params[0], clock_wall_ms(), &err)) {
		http_reply_error(req, &err);
		return;
	}
	deliveries_hint(w->deliveries);
	http_reply_json(req, 200,
			json_pack("{s:b, s:s%, s:s}", "success", 1, "delivery_id", req->params[0].p, req->params[0].n,
				  "message", "the delivery is queued again"));
}

CO_FN static void api_dead_delete(struct http_request *req)
{
	struct error err = ERROR_INIT;

	if (!outbox_delete(api_worker(req)->db, &req->ctx, req->params[0], &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:b, s:b, s:s%}", "success", 1, "deleted", 1, "delivery_id", req->params[0].p,
				  req->params[0].n));
}

/* Of the workspace, as far as rows are kept (retention.delivery_days). */
CO_FN static void api_stats(struct http_request *req)
{
	static const char *const names[] = {"total_deliveries", "delivered_count", "dead_lettered", "pending_count",
					    "retries_pending"};
	struct error err = ERROR_INIT;
	json_t *stats = json_object();
	struct db_rows r;
	int64_t ended;
	size_t i;

	if (!db_query(api_worker(req)->db, req->arena,
		      "SELECT COUNT(*), COUNT(CASE WHEN state = 'delivered' THEN 1 END),"
		      " COUNT(CASE WHEN state = 'dead' THEN 1 END), COUNT(CASE WHEN state = 'pending' THEN 1 END),"
		      " COUNT(CASE WHEN state IN ('retrying', 'sending') THEN 1 END),"
		      " (SELECT CAST(COALESCE(SUM(t.ended_at - t.started_at), 0) AS BIGINT) FROM delivery_attempts t"
		      " WHERE t.state = 'delivered' AND t.delivery_id IN (SELECT id FROM deliveries WHERE org_id = $1"
		      " AND workspace_id = $2)) FROM deliveries WHERE org_id = $1 AND workspace_id = $2",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id)), &r, &err)) {
		json_decref(stats);
		http_reply_error(req, &err);
		return;
	}
	for (i = 0; i < countof(names); i++)
		json_put_int(stats, names[i], db_int(&r, 0, i));
	ended = db_int(&r, 0, 1) + db_int(&r, 0, 2);
	json_object_set_new(stats, "success_rate",
			    json_real(ended > 0 ? 100.0 * (double)db_int(&r, 0, 1) / (double)ended : 100.0));
	json_object_set_new(
	    stats, "avg_latency_ms",
	    json_real(db_int(&r, 0, 1) > 0 ? (double)db_int(&r, 0, 5) / (double)db_int(&r, 0, 1) : 0.0));
	http_reply_json(req, 200, json_pack("{s:o}", "stats", stats));
}

static const struct route delivery_rows[] = {
    ROUTE(GET, "/api/debates/{id}/deliveries", api_of_debate, "debates:read", READ,
	  "Deliveries of a debate with every attempt"),
    ROUTE(GET, "/api/webhooks/dead-letter", api_dead, "webhooks:read", READ, "Deliveries that were given up"),
    ROUTE(GET, "/api/webhooks/dead-letter/{id}", api_dead_show, "webhooks:read", READ,
	  "One delivery that was given up, with every attempt"),
    ROUTE(POST, "/api/webhooks/dead-letter/{id}/retry", api_dead_retry, "webhooks:update", WRITE,
	  "Queue a dead letter again"),
    ROUTE(DELETE, "/api/webhooks/dead-letter/{id}", api_dead_delete, "webhooks:delete", WRITE, "Delete a dead letter"),
    ROUTE(GET, "/api/webhooks/queue/stats", api_stats, "webhooks:read", READ, "Numbers of deliveries"),
};
const struct route_table delivery_routes = {delivery_rows, countof(delivery_rows)};
