/* SPDX-License-Identifier: MIT */
/*
 * Debates over REST (rest-core 4): create, list, search, read, change, delete, cancel, messages, export. Handlers
 * check, call the store and render; they know no SQL and no formats.
 */
#include "worker/debate/debate.h"

#include <time.h>

#include "common/clock.h"
#include "common/json.h"
#include "worker/debate/export.h"
#include "worker/debate/request.h"
#include "worker/debate/view.h"
#include "worker/delivery/delivery.h"
#include "worker/http/body.h"
#include "worker/http/page.h"
#include "worker/http/route.h"
#include "worker/runner/queue.h"
#include "worker/stream/stream.h"
#include "worker/worker.h"

#define API_METADATA_MAX 65536 /* bytes, as at creation */
#define API_REASON_MAX 500     /* of a cancellation; it is part of an event */
#define API_EXPORT_PAGE 100
#define API_EXPORT_DEFAULT 1000
#define API_EXPORT_MAX 10000
#define API_EXPORT_BYTES (64 * 1024 * 1024)

CO_FN static void api_create(struct http_request *req)
{
	json_t *body = body_object(req);

	if (body != NULL)
		request_create(req, body, NULL);
}

/* ---- lists ---- */

/* Status as clients spell it, to what is stored. */
static struct str api_stored_status(struct str s)
{
	static const char *const words[][2] = {{"created", "queued"},      {"pending", "queued"},
					       {"starting", "queued"},     {"active", "running"},
					       {"in_progress", "running"}, {"concluded", "completed"}};
	size_t i;

	for (i = 0; i < countof(words); i++)
		if (str_eqz(s, words[i][0]))
			return str_of(words[i][1]);
	return s;
}

CO_FN static void api_list_as(struct http_request *req, const struct debate_filter *f, const char *name)
{
	struct error err = ERROR_INIT;
	struct debate_row *rows;
	json_t *list, *page;
	int64_t total;
	size_t i, n;

	if (!debate_list(request_worker(req)->db, req->arena, &req->ctx, f, &rows, &n, &total, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < n; i++)
		json_array_append_new(list, view_summary(req->arena, &rows[i]));
	page = json_pack("{s:O, s:o}", name, list, "items", list);
	page_put(page, f->limit, f->offset, n, total);
	if (f->query.n > 0)
		json_put_str(page, "query", f->query);
	http_reply_json(req, 200, page);
}

static void api_filter(struct http_request *req, struct debate_filter *f, int limit_default, int limit_max)
{
	struct str status = http_query(req, "status");

	*f = (struct debate_filter){.limit = (int)http_query_int(req, "limit", 1, limit_max, limit_default),
				    .offset = (int)http_query_int(req, "offset", 0, INT32_MAX, 0),
				    .status = api_stored_status(status)};
	f->only_archived = str_eqz(status, "archived");
	if (f->only_archived)
		f->status = STR_NONE;
}

CO_FN static void api_list(struct http_request *req)
{
	struct debate_filter f;

	api_filter(req, &f, 20, 100);
	api_list_as(req, &f, "debates");
}

CO_FN static void api_history(struct http_request *req)
{
	struct debate_filter f;

	api_filter(req, &f, 50, 200);
	f.include_archived = true;
	api_list_as(req, &f, "debates");
}

CO_FN static void api_archived(struct http_request *req)
{
	struct debate_filter f;

	api_filter(req, &f, 20, 100);
	f.only_archived = true;
	api_list_as(req, &f, "debates");
}

/* since and until, in the query or the body. False after having replied. */
static bool api_period(struct http_request *req, const json_t *body, struct debate_filter *f)
{
	const struct {
		const char *name;
		int64_t *ms;
	} bounds[] = {{"since", &f->since_ms}, {"until", &f->until_ms}};
	size_t i;

	for (i = 0; i < countof(bounds); i++) {
		struct str s = json_get_str(body, bounds[i].name, http_query(req, bounds[i].name));

		if (s.n > 0 && !clock_parse(s, bounds[i].ms))
			return body_reject(req, bounds[i].name, "must be a time such as 2026-01-04T12:00:00Z");
	}
	return true;
}

CO_FN static void api_search(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct debate_filter f;
	const json_t *body = req->method == HTTP_POST ? body_object(req) : NULL;

	api_filter(req, &f, 20, 100);
	if ((req->method == HTTP_POST && body == NULL) || !api_period(req, body, &f))
		return;
	f.query = http_query(req, "q").n > 0 ? http_query(req, "q") : http_query(req, "query");
	f.query = json_get_str(body, "query", json_get_str(body, "q", f.query));
	f.status = api_stored_status(json_get_str(body, "status", f.status));
	f.limit = (int)json_get_int(body, "limit", f.limit);
	f.offset = (int)json_get_int(body, "offset", f.offset);
	f.limit = f.limit < 1 ? 1 : f.limit > 100 ? 100 : f.limit;
	f.offset = f.offset < 0 ? 0 : f.offset;
	f.include_archived = true;
	if (f.query.n > 1000) {
		error_field(&err, ERR_INVALID_VALUE, "query", "must be at most 1000 characters");
		http_reply_error(req, &err);
		return;
	}
	api_list_as(req, &f, "results");
}

/* ---- one debate ---- */

CO_FN static void api_show(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct debate_row row;
	json_t *callback, *o;

	if (!request_debate(req, &row))
		return;
	callback = callback_view(request_worker(req), req->arena, &req->ctx, row.id, &err);
	if (callback == NULL) {
		http_reply_error(req, &err);
		return;
	}
	o = request_view(req, &req->ctx, &row);
	if (o == NULL)
		return;
	if (!json_is_null(callback))
		json_object_set_new(o, "callback", callback);
	http_reply_json(req, 200, o);
}

CO_FN static void api_status(struct http_request *req)
{
	struct worker *w = request_worker(req);
	struct debate_row row;
	json_t *o;

	if (!request_debate(req, &row))
		return;
	o = view_status(req->arena, &row, stream_subscribers(w->stream, row.id));
	queue_show(w, req->arena, &row, o);
	http_reply_json(req, 200, o);
}

/* One member of the full object under its own path: rounds, votes, consensus … */
CO_FN static void api_member(struct http_request *req)
{
	const char *key = strrchr(req->route->path, '/') + 1;
	struct debate_row row;
	json_t *full, *o;

	if (!request_debate(req, &row))
		return;
	full = request_view(req, &req->ctx, &row);
	if (full == NULL)
		return;
	o = json_pack("{s:s%}", "debate_id", row.id.p, row.id.n);
	json_object_set(o, key, json_object_get(full, key));
	if (json_is_array(json_object_get(o, key)))
		json_put_int(o, "count", (int64_t)json_array_size(json_object_get(o, key)));
	json_decref(full);
	http_reply_json(req, 200, o);
}

CO_FN static void api_messages(struct http_request *req)
{
	int64_t limit = http_query_int(req, "limit", 1, 200, 50),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	struct error err = ERROR_INIT;
	struct debate_row row;
	json_t *list, *o;

	if (!request_debate(req, &row))
		return;
	list = debate_messages(request_worker(req)->db, req->arena, &req->ctx, row.id, offset, limit, &err);
	if (list == NULL) {
		http_reply_error(req, &err);
		return;
	}
	o = json_pack("{s:s%, s:o}", "debate_id", row.id.p, row.id.n, "messages", list);
	page_put(o, limit, offset, json_array_size(list), row.message_count);
	http_reply_json(req, 200, o);
}

/* ---- change ---- */

/* rest-core 4.4: title, tags, metadata, and status as a flag for the archive. False after having replied. */
static bool api_patch(struct http_request *req, const json_t *body, struct debate_patch *p, struct str *title,
		      bool *archived)
{
	static const char *const open[] = {"active", "paused", "concluded", "completed"};
	const json_t *v;
	struct str status;
	size_t i;

	if ((v = json_object_get(body, "title")) != NULL) {
		*title = json_is_string(v) ? str_of(json_string_value(v)) : STR_NONE;
		if (title->p == NULL || title->n > 500)
			return body_reject(req, "title", "must be a string of at most 500 characters");
		p->title = title;
	}
	if ((p->tags = json_object_get(body, "tags")) != NULL && !request_tags(req, p->tags))
		return false;
	if ((p->metadata = json_object_get(body, "metadata")) != NULL && !json_is_object(p->metadata))
		return body_reject(req, "metadata", "must be an object");
	if (p->metadata != NULL && json_text(req->arena, p->metadata).n > API_METADATA_MAX)
		return body_reject(req, "metadata", "must be at most 65536 bytes of JSON");
	if (json_object_get(body, "status") != NULL) {
		status = json_get_str(body, "status", STR(""));
		for (i = 0; i < countof(open) && !str_eqz(status, open[i]); i++)
			;
		*archived = str_eqz(status, "archived");
		if (i == countof(open) && !*archived)
			return body_reject(req, "status", "must be one of active, paused, concluded, archived");
		p->archived = archived;
	}
	if (p->title == NULL && p->tags == NULL && p->metadata == NULL && p->archived == NULL)
		return body_reject(req, "body", "nothing to change: give title, tags, metadata or status");
	return true;
}

static json_t *api_patched(const struct debate_patch *p)
{
	json_t *fields = json_array();

	if (p->title != NULL)
		json_array_append_new(fields, json_string("title"));
	if (p->tags != NULL)
		json_array_append_new(fields, json_string("tags"));
	if (p->metadata != NULL)
		json_array_append_new(fields, json_string("metadata"));
	if (p->archived != NULL)
		json_array_append_new(fields, json_string("status"));
	return fields;
}

CO_FN static void api_update(struct http_request *req)
{
	struct debate_patch p = {0};
	struct error err = ERROR_INIT;
	struct debate_row row;
	struct str title = STR_NONE;
	bool archived = false;
	json_t *body = body_object(req);

	if (body == NULL || !api_patch(req, body, &p, &title, &archived) || !request_debate(req, &row))
		return;
	if (!debate_update(request_worker(req)->db, &req->ctx, row.id, &p, &err)) {
		http_reply_error(req, &err);
		return;
	}
	if (request_debate(req, &row))
		http_reply_json(req, 200,
				json_pack("{s:b, s:s%, s:o, s:o}", "success", 1, "debate_id", row.id.p, row.id.n,
					  "updated_fields", api_patched(&p), "debate", view_summary(req->arena, &row)));
}

CO_FN static void api_delete(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct debate_row row;

	if (!request_debate(req, &row))
		return;
	if (!debate_delete(request_worker(req)->db, &req->ctx, row.id, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200, json_pack("{s:b, s:b, s:s%}", "success", 1, "deleted", 1, "id", row.id.p, row.id.n));
}

CO_FN static void api_cancel(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct debate_row row;
	json_t *body = body_object(req), *given = json_object_get(body, "reason");
	struct str reason = json_get_str(body, "reason", STR("user_requested"));

	if (body == NULL)
		return;
	if ((given != NULL && !json_is_string(given)) || reason.n > API_REASON_MAX) {
		(void)body_reject(req, "reason", "must be a string of at most 500 bytes");
		return;
	}
	if (!request_debate(req, &row))
		return;
	if (!debate_cancel(request_worker(req), &req->ctx, row.id, reason, &err)) {
		request_refused(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:b, s:s%, s:s, s:s}", "success", 1, "debate_id", row.id.p, row.id.n, "status",
				  "cancelled", "message", "the debate is being cancelled"));
}

/* ---- export ---- */

/* SDKs parse every answer as JSON: they get the file inside an object (rest-core 4.7). */
static bool api_wants_wrapped(const struct http_request *req, const struct export_file *f)
{
	return str_eqz(str_trim(http_field(req, "Accept")), "application/json") && strcmp(f->extension, "json") != 0;
}

static void api_send_file(struct http_request *req, const struct export_file *f, const char *name, struct str debate_id)
{
	char iso[CLOCK_ISO_MAX];
	json_t *o;

	if (!api_wants_wrapped(req, f)) {
		http_reply_field(req, "Content-Disposition", "attachment; filename=\"%s.%s\"", name, f->extension);
		http_reply(req, 200, f->content_type, f->body);
		return;
	}
	o = json_pack("{s:s, s:s, s:I}", "format", f->extension, "generated_at", clock_iso(iso, clock_wall_ms()),
		      "size_bytes", (json_int_t)f->body.n);
	if (debate_id.n > 0)
		json_put_str(o, "debate_id", debate_id);
	json_put_str(o, "filename", arena_printf(req->arena, "%s.%s", name, f->extension));
	json_put_str(o, "content", f->body);
	http_reply_json(req, 200, o);
}

CO_FN static void api_export_as(struct http_request *req, struct str format)
{
	struct str table = http_query(req, "table");
	struct error err = ERROR_INIT;
	struct export_file file;
	struct debate_row row;
	const json_t *doc;
	struct str name;

	if (!request_debate(req, &row))
		return;
	doc = json_own(req->arena, request_view(req, &req->ctx, &row));
	if (doc == NULL)
		return;
	if (!export_render(req->arena, doc, format.n > 0 ? format : STR("json"), table, &file, &err)) {
		http_reply_error(req, &err);
		return;
	}
	name = arena_printf(req->arena, "debate-%.*s", STR_ARG(row.slug));
	/* Only a table that export_render knows is named: the rest of the query is the client's, and this goes into a
	 * header. */
	if (table.n > 0 && strcmp(file.extension, "csv") == 0)
		name = arena_printf(req->arena, "%.*s-%.*s", STR_ARG(name), STR_ARG(table));
	api_send_file(req, &file, name.p, row.id);
}

CO_FN static void api_export(struct http_request *req)
{
	api_export_as(req, http_query(req, "format"));
}

CO_FN static void api_export_path(struct http_request *req)
{
	api_export_as(req, req->params[1]);
}

/* Adds one page of full debates. False: failed (err) or, with err OK, the end. */
CO_FN static bool api_export_page(struct http_request *req, struct debate_filter *f, int64_t left, bool csv,
				  struct buf *out, int64_t *count, struct error *err)
{
	struct db *db = request_worker(req)->db;
	struct arena *a = arena_new(65536);
	struct debate_row *rows, row;
	int64_t total;
	size_t i, n = 0;
	bool ok;

	f->limit = (int)(left < API_EXPORT_PAGE ? left : API_EXPORT_PAGE);
	ok = debate_list(db, a, &req->ctx, f, &rows, &n, &total, err);
	for (i = 0; ok && i < n; i++) {
		json_t *doc;

		if (!debate_get(db, a, &req->ctx, rows[i].id, &row, err)) {
			ok = err->code == ERR_NOT_FOUND; /* deleted meanwhile */
			continue;
		}
		doc = view_debate(a, &row);
		if (csv) {
			export_csv_row(out, doc, *count == 0);
		} else {
			buf_addz(out, *count > 0 ? "," : "");
			buf_add(out, json_text(a, doc));
		}
		(*count)++;
		json_decref(doc);
	}
	f->offset += (int)n;
	if (ok)
		*err = ERROR_INIT;
	arena_free(a);
	return ok && n == (size_t)f->limit;
}

CO_FN static void api_export_all(struct http_request *req)
{
	struct str format = http_query(req, "format");
	int64_t limit = http_query_int(req, "limit", 1, API_EXPORT_MAX, API_EXPORT_DEFAULT), count = 0;
	bool csv = str_eqz(format, "csv");
	struct buf out = BUF_LIMIT(API_EXPORT_BYTES);
	struct error err = ERROR_INIT;
	struct debate_filter f;
	char iso[CLOCK_ISO_MAX];

	if (format.n > 0 && !csv && !str_eqz(format, "json")) {
		(void)body_reject(req, "format", "must be json or csv");
		return;
	}
	api_filter(req, &f, API_EXPORT_PAGE, API_EXPORT_MAX);
	f.include_archived = true;
	if (!csv)
		buf_addz(&out, "{\"debates\":[");
	while (count < limit && !out.overflow && api_export_page(req, &f, limit - count, csv, &out, &count, &err))
		;
	if (!csv)
		buf_printf(&out, "],\"count\":%lld,\"exported_at\":\"%s\"}", (long long)count,
			   clock_iso(iso, clock_wall_ms()));
	if (out.overflow)
		error_set(&err, ERR_TOO_LARGE, "the export is larger than 64 MiB; ask for less with limit and offset");
	if (err.code != ERR_OK)
		http_reply_error(req, &err);
	else
		api_send_file(req,
			      &(struct export_file){csv ? "text/csv; charset=utf-8" : "application/json",
						    csv ? "csv" : "json", buf_str(&out)},
			      "debates", STR_NONE);
	buf_free(&out);
}

/* ---- routes ---- */

/* Method, path, handler, permission, rate class, summary, request and response schema. */

/* The same for a GET whose answer seldom changes. */
#define TAGGED(p, h, perm, r, s, out) ROUTE(GET, p, h, perm, r, s, .flags = ROUTE_ETAG, .response = (out))

/* The path in the singular, from the beginning of 2026 on; without an end. */
static const struct route_deprecation api_singular = {.since = 1767225600, .successor = "/api/debates"};

static const struct route debate_rows[] = {
    ROUTE_IO(POST, "/api/debates", api_create, "debates:create", CREATE, "Start a debate", "DebateCreate",
	     "DebateCreated"),
    ROUTE(POST, "/api/debate", api_create, "debates:create", CREATE, "Start a debate (former path)",
	  .request = "DebateCreate", .response = "DebateCreated", .deprecated = &api_singular),
    ROUTE_IO(GET, "/api/debates", api_list, "debates:read", READ, "List debates, newest first", NULL, "DebateList"),
    ROUTE_IO(GET, "/api/history/debates", api_history, "debates:read", READ, "List debates with archived ones", NULL,
	     "DebateList"),
    ROUTE_IO(GET, "/api/dashboard/debates", api_history, "debates:read", READ, "List debates with archived ones", NULL,
	     "DebateList"),
    ROUTE_IO(GET, "/api/debates/archived", api_archived, "debates:read", READ, "List the debates of the archive", NULL,
	     "DebateList"),
    ROUTE_IO(GET, "/api/debates/search", api_search, "debates:read", READ, "Search debates by text", NULL,
	     "SearchResult"),
    ROUTE_IO(GET, "/api/search", api_search, "debates:read", READ, "Search debates by text", NULL, "SearchResult"),
    ROUTE_IO(POST, "/api/debates/search", api_search, "debates:read", READ, "Search debates by text", "Search",
	     "SearchResult"),
    ROUTE_IO(POST, "/api/search", api_search, "debates:read", READ, "Search debates by text", "Search", "SearchResult"),
    ROUTE_IO(GET, "/api/debates/export", api_export_all, "debates:export", EXPORT, "Export all debates as json or csv",
	     NULL, NULL),
    TAGGED("/api/debates/{id}", api_show, "debates:read", READ, "One debate, by id or slug", "Debate"),
    TAGGED("/api/debates/slug/{slug}", api_show, "debates:read", READ, "One debate by slug", "Debate"),
    ROUTE_IO(PATCH, "/api/debates/{id}", api_update, "debates:update", WRITE,
	     "Change title, tags, metadata or archive flag", "DebateUpdate", "DebateUpdated"),
    ROUTE_IO(PUT, "/api/debates/{id}", api_update, "debates:update", WRITE,
	     "Change title, tags, metadata or archive flag", "DebateUpdate", "DebateUpdated"),
    ROUTE_IO(DELETE, "/api/debates/{id}", api_delete, "debates:delete", WRITE, "Delete a finished debate", NULL,
	     "Deleted"),
    ROUTE_IO(GET, "/api/debates/{id}/status", api_status, "debates:read", READ, "Where a debate stands", NULL,
	     "DebateStatus"),
    TAGGED("/api/debates/{id}/messages", api_messages, "debates:read", READ, "What was said, in order", "MessagePage"),
    TAGGED("/api/debates/{id}/rounds", api_member, "debates:read", READ, "Messages by round", "Debate"),
    TAGGED("/api/debates/{id}/agents", api_member, "debates:read", READ, "Who takes part", "Debate"),
    TAGGED("/api/debates/{id}/votes", api_member, "debates:read", READ, "How they voted", "Debate"),
    TAGGED("/api/debates/{id}/critiques", api_member, "debates:read", READ, "What was criticised", "Debate"),
    TAGGED("/api/debates/{id}/consensus", api_member, "debates:read", READ, "How it was decided", "Debate"),
    TAGGED("/api/debates/{id}/metadata", api_member, "debates:read", READ, "Metadata given at creation", "Debate"),
    ROUTE_IO(POST, "/api/debates/{id}/cancel", api_cancel, "debates:stop", WRITE, "Cancel a queued or running debate",
	     "Cancel", "Cancelled"),
    ROUTE_IO(POST, "/api/debates/{id}/stop", api_cancel, "debates:stop", WRITE, "Cancel a queued or running debate",
	     "Cancel", "Cancelled"),
    TAGGED("/api/debates/{id}/export", api_export, "debates:export", EXPORT,
	   "Export one debate: ?format=json, md, html, txt, csv (&table=)", NULL),
    TAGGED("/api/debates/{id}/export/{format}", api_export_path, "debates:export", EXPORT,
	   "Export one debate in a format", NULL),
};
const struct route_table debate_routes = {debate_rows, countof(debate_rows)};
