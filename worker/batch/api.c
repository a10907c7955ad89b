/* SPDX-License-Identifier: MIT */
/*
 * Batches over REST (rest-core 4.8): submit, list, read, cancel, try again, delete. Handlers check, call store.c and
 * render; what moves a batch on is feed.c.
 */
#include "common/json.h"
#include "worker/batch/room.h"
#include "worker/debate/request.h"
#include "worker/delivery/delivery.h"
#include "worker/http/body.h"
#include "worker/http/page.h"
#include "worker/worker.h"

#define BATCH_PRIORITY_MAX 1000
#define BATCH_PROBLEMS_MAX 100 /* that are told of one body */
#define BATCH_BODY_MAX (16 * 1024 * 1024)

/* ---- submit ---- */

/* Bad fields of a body, each with the place of its item. */
struct batch_reading {
	struct http_request *req;
	json_t *problems; /* [{field, code, message}] */
	struct error first;
};

static void batch_problem(struct batch_reading *r, struct str field, enum err code, const char *text)
{
	json_t *p;

	if (json_array_size(r->problems) == 0)
		error_field(&r->first, code, arena_str(r->req->arena, field).p, "%s", text);
	if (json_array_size(r->problems) >= BATCH_PROBLEMS_MAX)
		return;
	p = json_pack("{s:s, s:s}", "code", err_wire(code), "message", text);
	json_put_str(p, "field", field);
	json_array_append_new(r->problems, p);
}

/* "low", "normal", "high", or a number. */
static bool batch_priority(const json_t *v, int64_t *out)
{
	static const struct {
		const char *word;
		int64_t value;
	} words[] = {{"low", -10}, {"normal", 0}, {"medium", 0}, {"high", 10}, {"urgent", 100}, {"critical", 100}};
	size_t i;

	*out = 0;
	if (v == NULL || json_is_null(v))
		return true;
	for (i = 0; json_is_string(v) && i < countof(words); i++)
		if (strcmp(json_string_value(v), words[i].word) == 0) {
			*out = words[i].value;
			return true;
		}
	if (!json_is_integer(v))
		return false;
	*out = json_integer_value(v);
	return *out >= -BATCH_PRIORITY_MAX && *out <= BATCH_PRIORITY_MAX;
}

/* One item as a creation body with its priority; what is wrong with it is noted. In the arena. */
static json_t *batch_read_item(struct batch_reading *r, const json_t *given, size_t index, int64_t usual)
{
	static const char *const callbacks[] = {"callback_url", "callback_secret"};
	struct arena *a = r->req->arena;
	struct str at = arena_printf(a, "items[%zu]", index);
	json_t *item = json_own(a, json_object()), *body, *plan, *problems;
	struct error err = ERROR_INIT;
	int64_t priority = usual;
	size_t i;

	if (json_is_string(given))
		given = json_own(a, json_pack("{s:O}", "task", given));
	if (!json_is_object(given)) {
		batch_problem(r, at, ERR_INVALID_VALUE, "must be an object or a question");
		return item;
	}
	if (json_object_get(given, "priority") != NULL &&
	    !batch_priority(json_object_get(given, "priority"), &priority))
		batch_problem(r, arena_printf(a, "%.*s.priority", STR_ARG(at)), ERR_INVALID_VALUE,
			      "must be low, normal, high or a whole number from -1000 to 1000");
	/* A secret is never stored as it is, and a callback that is taken and never comes would be a promise broken. */
	for (i = 0; i < countof(callbacks); i++)
		if (json_object_get(given, callbacks[i]) != NULL)
			batch_problem(r, arena_printf(a, "%.*s.%s", STR_ARG(at), callbacks[i]), ERR_INVALID_VALUE,
				      "items have no callbacks: webhook_url of the batch is told of its end");
	body = json_own(a, json_copy((json_t *)(uintptr_t)given));
	json_object_del(body, "priority");
	if (json_object_get(body, "task") == NULL) {
		json_object_set(
		    body, "task",
		    json_object_get(body, json_object_get(body, "question") != NULL ? "question" : "topic"));
		json_object_del(body, "question");
		json_object_del(body, "topic");
	}
	if (!plan_resolve(request_worker(r->req)->conf, a, body, &plan, &problems, &err))
		for (i = 0; i < json_array_size(problems); i++) {
			const json_t *p = json_array_get(problems, i);
			struct str field = json_get_str(p, "field", STR(""));

			batch_problem(r, arena_printf(a, "%.*s.%.*s", STR_ARG(at), STR_ARG(field)), err.code,
				      json_string_value(json_object_get(p, "message")));
		}
	json_object_set(item, "body", body);
	json_put_int(item, "priority", priority);
	return item;
}

static void batch_read_items(struct batch_reading *r, const json_t *body, json_t *items)
{
	const json_t *given = json_get_arr(body, "items");
	size_t i, n;
	int64_t usual;

	given = given != NULL ? given : json_get_arr(body, "requests");
	given = given != NULL ? given : json_get_arr(body, "debates");
	n = json_array_size(given);
	if (!batch_priority(json_object_get(body, "priority"), &usual))
		batch_problem(r, STR("priority"), ERR_INVALID_VALUE,
			      "must be low, normal, high or a whole number from -1000 to 1000");
	if (n == 0)
		batch_problem(r, STR("items"), ERR_MISSING_FIELD, "items is required: a list of 1 to 1000 debates");
	else if (n > BATCH_ITEMS_MAX)
		batch_problem(r, STR("items"), ERR_INVALID_VALUE, "must be at most 1000 debates");
	for (i = 0; i < n && n <= BATCH_ITEMS_MAX; i++)
		json_array_append(items, batch_read_item(r, json_array_get(given, i), i, usual));
}

static int64_t batch_read_parallel(struct batch_reading *r, const json_t *body)
{
	const json_t *v = json_object_get(body, "max_parallel");

	v = v != NULL ? v : json_object_get(body, "max_concurrent");
	if (v == NULL || json_is_null(v))
		return BATCH_PARALLEL;
	if (json_is_integer(v) && json_integer_value(v) >= 1 && json_integer_value(v) <= BATCH_PARALLEL_MAX)
		return json_integer_value(v);
	batch_problem(r, STR("max_parallel"), ERR_INVALID_VALUE, "must be a whole number from 1 to 50");
	return BATCH_PARALLEL;
}

/* The same rules as for the callback of a debate, under the names of a batch. */
CO_FN static void batch_read_webhook(struct batch_reading *r, const json_t *body, struct callback *out)
{
	static const char *const names[][2] = {{"webhook_url", "callback_url"}, {"webhook_secret", "callback_secret"}};
	json_t *as = json_own(r->req->arena, json_object());
	struct error err = ERROR_INIT;
	size_t i;

	for (i = 0; i < countof(names); i++) {
		const json_t *v = json_object_get(body, names[i][0]);

		json_object_set(as, names[i][1],
				v != NULL ? (json_t *)(uintptr_t)v : json_object_get(body, names[i][1]));
	}
	if (json_object_size(json_get_obj(body, "webhook_headers")) > 0)
		batch_problem(r, STR("webhook_headers"), ERR_INVALID_VALUE,
			      "further headers are not sent; webhook_secret signs what is");
	if (!callback_parse(request_worker(r->req), r->req->arena, as, &r->req->ctx, out, &err))
		batch_problem(
		    r, str_eqz(str_of(err.field), "callback_secret") ? STR("webhook_secret") : STR("webhook_url"),
		    err.code, err.msg);
}

CO_FN static void batch_submitted(struct http_request *req, struct str id, const json_t *items)
{
	json_t *o = json_pack("{s:b, s:s, s:I, s:I}", "success", 1, "status", "pending", "items_queued",
			      (json_int_t)json_array_size(items), "total_jobs", (json_int_t)json_array_size(items));
	struct batch_row row;
	struct batch_item *list;
	struct error err = ERROR_INIT;
	json_t *jobs = json_array();
	size_t i, n = 0;

	json_put_str(o, "batch_id", id);
	json_put_str(o, "status_url", arena_printf(req->arena, "/api/debates/batch/%.*s/status", STR_ARG(id)));
	if (batch_get(request_worker(req), req->arena, &req->ctx, id, NULL, &row, &err) &&
	    batch_items(request_worker(req), req->arena, &row, false, BATCH_ITEMS_MAX, 0, &list, &n, &err))
		json_put_time(o, "submitted_at", row.created_at);
	for (i = 0; i < n; i++)
		json_array_append_new(jobs, batch_item_view(req->arena, &list[i], false));
	json_object_set_new(o, "jobs", jobs);
	http_reply_json(req, 200, o);
}

CO_FN static void batch_submit(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct batch_reading r = {req, json_own(req->arena, json_array()), ERROR_INIT};
	json_t *items = json_own(req->arena, json_array());
	struct batch_new n = {.kind = "batch", .task = STR(""), .items = items};
	struct callback webhook;
	struct error err = ERROR_INIT;
	struct str id;

	if (body == NULL)
		return;
	batch_read_items(&r, body, items);
	n.max_parallel = batch_read_parallel(&r, body);
	batch_read_webhook(&r, body, &webhook);
	n.webhook = &webhook;
	batch_key(req, &n);
	if (json_array_size(r.problems) > 0)
		body_reject_all(req, &r.first, r.problems);
	else if (!batch_create(request_worker(req), req->arena, &req->ctx, &n, &id, &err))
		http_reply_error(req, &err);
	else
		batch_submitted(req, id, items);
}

/* ---- reading ---- */

CO_FN static bool batch_of(struct http_request *req, struct batch_row *row)
{
	struct error err = ERROR_INIT;

	if (batch_get(request_worker(req), req->arena, &req->ctx, req->params[0], "batch", row, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

CO_FN static void batch_show_with(struct http_request *req, const struct batch_row *row, bool full)
{
	int64_t limit = http_query_int(req, "limit", 1, full ? 200 : BATCH_ITEMS_MAX, full ? 50 : BATCH_ITEMS_MAX),
		offset = http_query_int(req, "offset", 0, BATCH_ITEMS_MAX, 0);
	struct worker *w = request_worker(req);
	struct error err = ERROR_INIT;
	struct batch_counts counts;
	struct batch_item *items;
	json_t *o, *list;
	size_t i, n;

	if (!batch_count(w, req->arena, row, &counts, &err) ||
	    !batch_items(w, req->arena, row, full, limit, offset, &items, &n, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < n; i++)
		json_array_append_new(list, batch_item_view(req->arena, &items[i], full));
	o = batch_view(row, &counts);
	page_put(o, limit, offset, n, row->total);
	json_object_set(o, full ? "results" : "jobs", list);
	json_object_set_new(o, "items", list);
	http_reply_json(req, 200, o);
}

CO_FN static void batch_show(struct http_request *req)
{
	struct batch_row row;

	if (batch_of(req, &row))
		batch_show_with(req, &row, false);
}

CO_FN static void batch_results(struct http_request *req)
{
	struct batch_row row;

	if (batch_of(req, &row))
		batch_show_with(req, &row, true);
}

CO_FN static void batch_index(struct http_request *req)
{
	int64_t limit = http_query_int(req, "limit", 1, 100, 50),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	struct worker *w = request_worker(req);
	struct str status = http_query(req, "status");
	struct error err = ERROR_INIT;
	struct batch_counts counts;
	struct batch_row *rows;
	int64_t total;
	json_t *o, *list;
	size_t i, n;
	bool ok;

	if (str_eqz(status, "partially_completed"))
		status = STR("partial");
	if (!batch_list(w, req->arena, &req->ctx, "batch", status, limit, offset, &rows, &n, &total, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0, ok = true; ok && i < n; i++) {
		ok = batch_count(w, req->arena, &rows[i], &counts, &err);
		if (ok)
			json_array_append_new(list, batch_view(&rows[i], &counts));
	}
	if (!ok) {
		json_decref(list);
		http_reply_error(req, &err);
		return;
	}
	o = json_pack("{s:o}", "batches", list);
	page_put(o, limit, offset, n, total);
	http_reply_json(req, 200, o);
}

/* ---- changing ---- */

CO_FN static void batch_changed(struct http_request *req, bool ok, struct error *err, const char *status,
				const char *message)
{
	json_t *o;

	if (!ok) {
		request_refused(req, err);
		return;
	}
	o = json_pack("{s:b, s:s, s:s}", "success", 1, "status", status, "message", message);
	json_put_str(o, "batch_id", req->params[0]);
	http_reply_json(req, 200, o);
}

CO_FN static void batch_stop(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct batch_row row;
	bool ok;

	if (!batch_of(req, &row))
		return;
	ok = batch_cancel(request_worker(req), req->arena, &req->ctx, &row, &err);
	batch_changed(req, ok, &err, "cancelled", "what waits is given up, what runs is being cancelled");
}

CO_FN static void batch_again(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct batch_row row;
	bool ok;

	if (!batch_of(req, &row))
		return;
	ok = batch_retry(request_worker(req), &req->ctx, &row, &err);
	batch_changed(req, ok, &err, "processing", "what has failed is tried again");
}

CO_FN static void batch_remove(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct batch_row row;
	bool ok;

	if (!batch_of(req, &row))
		return;
	ok = batch_delete(request_worker(req), &req->ctx, &row, &err);
	batch_changed(req, ok, &err, "deleted", "the batch is gone; its debates stay");
}

/* ---- routes ---- */

static const struct route batch_rows[] = {
    ROUTE(POST, "/api/debates/batch", batch_submit, "debates:create", CREATE,
	  "Put in up to 1000 debates, of which max_parallel run side by side", .body_limit = BATCH_BODY_MAX,
	  .request = "BatchSubmit", .response = "BatchSubmitted"),
    ROUTE_IO(GET, "/api/debates/batch", batch_index, "debates:read", READ, "List batches, newest first", NULL,
	     "BatchList"),
    ROUTE_IO(GET, "/api/debates/batch/{id}", batch_show, "debates:read", READ, "One batch with its items", NULL,
	     "Batch"),
    ROUTE_IO(GET, "/api/debates/batch/{id}/status", batch_show, "debates:read", READ, "One batch with its items", NULL,
	     "Batch"),
    ROUTE_IO(GET, "/api/debates/batch/{id}/results", batch_results, "debates:read", READ,
	     "Items with the results of their debates, by pages", NULL, "Batch"),
    ROUTE_IO(POST, "/api/debates/batch/{id}/cancel", batch_stop, "debates:stop", WRITE, "Cancel what waits and runs",
	     NULL, "BatchChanged"),
    ROUTE_IO(POST, "/api/debates/batch/{id}/retry", batch_again, "debates:create", WRITE, "Try again what has failed",
	     NULL, "BatchChanged"),
    ROUTE_IO(DELETE, "/api/debates/batch/{id}", batch_remove, "debates:delete", WRITE, "Delete a batch that has ended",
	     NULL, "BatchChanged"),
};
const struct route_table batch_routes = {batch_rows, countof(batch_rows)};
