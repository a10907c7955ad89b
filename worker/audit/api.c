/* SPDX-License-Identifier: MIT */
/*
 * The audit log over HTTP (rest-wide 12). An organization sees its own events; all of them, and those of the service
 * itself, are the operator's. An export is an act itself and leaves an event.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/audit/audit_log.h"
#include "worker/http/route.h"
#include "worker/identity/identity.h"
#include "worker/permission/permission.h"
#include "worker/worker.h"

#define API_DAY_MS INT64_C(86400000)
#define API_LIMIT_MAX 1000
#define API_OFFSET_MAX 100000
#define API_EXPORT_BYTES (64 << 20)

static struct worker *api_worker(const struct http_request *req)
{
	return req->user;
}

static struct audit_source api_source(const struct http_request *req)
{
	return audit_source_db(api_worker(req)->db);
}

static const struct audit_key *api_key(const struct http_request *req)
{
	return &api_worker(req)->audit->key;
}

/*
 * Who runs the service: its token, everybody on a server that demands no authentication, and who may audit as an
 * administrator of the organization that the service made for itself.
 */
static bool api_operator(const struct http_request *req)
{
	const struct identity *who = req->ctx.who;

	if (who == NULL)
		return false;
	if (who->kind == IDENTITY_TOKEN || who->kind == IDENTITY_ANONYMOUS)
		return true;
	return str_eqz(who->org_id, IDENTITY_DEFAULT) &&
	       permissions_have(who->permissions, permission_find(STR("admin.audit")));
}

/* ---- filters ---- */

/* In the body of a POST, else in the query; several names for one thing. */
static struct str api_text(struct http_request *req, const json_t *body, const char *name, const char *other)
{
	struct str s = json_get_str(body, name, STR(""));

	if (s.n == 0)
		s = http_query(req, name);
	if (s.n == 0 && other != NULL)
		return api_text(req, body, other, NULL);
	return s;
}

static bool api_time(struct http_request *req, const json_t *body, const char *name, const char *other, int64_t *ms,
		     struct error *err)
{
	struct str s = api_text(req, body, name, other);

	*ms = 0;
	if (s.n == 0 || clock_parse(s, ms))
		return true;
	return error_field(err, ERR_INVALID_VALUE, name, "Invalid %s format: an ISO 8601 date or time is expected",
			   name);
}

/* An organization gets its own events whatever it asks for. */
static bool api_filter(struct http_request *req, const json_t *body, struct audit_filter *f, struct error *err)
{
	*f = (struct audit_filter){
	    .category = api_text(req, body, "category", NULL),
	    .action = api_text(req, body, "action", NULL),
	    .outcome = api_text(req, body, "outcome", NULL),
	    .actor = api_text(req, body, "actor_id", "actor"),
	    .resource_type = api_text(req, body, "resource_type", NULL),
	    .resource = api_text(req, body, "resource_id", "resource"),
	    .workspace = api_text(req, body, "workspace_id", NULL),
	    .org = api_text(req, body, "org_id", "org"),
	    .text = api_text(req, body, "search", "text"),
	};
	if (!api_operator(req)) {
		if (f->org.n > 0 && !str_eq(f->org, req->ctx.org_id))
			return error_set(err, ERR_FORBIDDEN,
					 "the audit log of another organization is not yours to read");
		f->org = req->ctx.org_id;
		f->only_org = true;
	}
	return api_time(req, body, "start_date", "start_time", &f->from_ms, err) &&
	       api_time(req, body, "end_date", "end_time", &f->until_ms, err) && audit_filter_ok(f, err);
}

/* Of the last `days` (query, 30), for views that are about what happened lately. */
static int64_t api_days(struct http_request *req, struct audit_filter *f)
{
	int64_t days = http_query_int(req, "days", 1, 3650, 30);

	if (f->from_ms == 0)
		f->from_ms = clock_wall_ms() - days * API_DAY_MS;
	return days;
}

/* ---- lists ---- */

struct api_page {
	json_t *entries;
	int64_t total, limit, offset;
};

CO_FN static bool api_page(struct http_request *req, const struct audit_filter *f, struct api_page *p,
			   struct error *err)
{
	struct audit_source src = api_source(req);
	struct db_rows rows;

	p->limit = http_query_int(req, "limit", 1, API_LIMIT_MAX, 100);
	p->offset = http_query_int(req, "offset", 0, API_OFFSET_MAX, 0);
	if (!audit_list(&src, req->arena, f, p->limit, p->offset, &rows, &p->total, err))
		return false;
	p->entries = json_array();
	for (size_t i = 0; i < rows.count; i++) {
		struct audit_record r;

		audit_record_read(&rows, i, true, &r);
		json_array_append_new(p->entries, audit_show(req->arena, &r));
	}
	return true;
}

CO_FN static void api_entries(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct audit_filter f;
	struct api_page p;

	if (!api_filter(req, NULL, &f, &err) || !api_page(req, &f, &p, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:I, s:I}", "entries", p.entries, "total", (json_int_t)p.total, "limit",
				  (json_int_t)p.limit, "offset", (json_int_t)p.offset));
}

CO_FN static void api_events(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct audit_filter f;
	struct api_page p;
	char from[CLOCK_ISO_MAX], until[CLOCK_ISO_MAX];

	if (!api_filter(req, NULL, &f, &err)) {
		http_reply_error(req, &err);
		return;
	}
	(void)api_days(req, &f);
	if (!api_page(req, &f, &p, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:I, s:{s:s, s:s, s:I, s:I}}", "events", p.entries, "count",
				  (json_int_t)json_array_size(p.entries), "total", (json_int_t)p.total, "query",
				  "start_date", clock_iso(from, f.from_ms), "end_date",
				  clock_iso(until, f.until_ms > 0 ? f.until_ms : clock_wall_ms()), "limit",
				  (json_int_t)p.limit, "offset", (json_int_t)p.offset));
}

/* The entries of one actor or resource, or the refusals, of the last days. */
CO_FN static void api_view(struct http_request *req, struct audit_filter *f, const char *list, const char *named)
{
	struct error err = ERROR_INIT;
	int64_t days = api_days(req, f);
	struct api_page p;
	json_t *o;

	if (!api_page(req, f, &p, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = json_pack("{s:o, s:I, s:I}", list, p.entries, "total", (json_int_t)p.total, "days", (json_int_t)days);
	if (named != NULL)
		json_put_str(o, named, req->params[0]);
	http_reply_json(req, 200, o);
}

CO_FN static void api_actor(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct audit_filter f;

	if (!api_filter(req, NULL, &f, &err)) {
		http_reply_error(req, &err);
		return;
	}
	f.actor = req->params[0];
	api_view(req, &f, "entries", "actor_id");
}

CO_FN static void api_resource(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct audit_filter f;

	if (!api_filter(req, NULL, &f, &err)) {
		http_reply_error(req, &err);
		return;
	}
	f.resource = req->params[0];
	api_view(req, &f, "entries", "resource_id");
}

CO_FN static void api_denied(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct audit_filter f;

	if (!api_filter(req, NULL, &f, &err)) {
		http_reply_error(req, &err);
		return;
	}
	f.outcome = STR("denied");
	api_view(req, &f, "denied_attempts", NULL);
}

CO_FN static void api_stats(struct http_request *req)
{
	struct audit_source src = api_source(req);
	struct error err = ERROR_INIT;
	struct audit_filter f;
	int64_t oldest = 0, newest = 0, total = 0;
	json_t *by_category = NULL, *by_outcome, *v;
	const char *key;
	json_t *o;

	if (api_filter(req, NULL, &f, &err) && audit_bounds(&src, req->arena, &f, &oldest, &newest, &err))
		by_category = json_own(req->arena, audit_count_by(&src, req->arena, &f, "category", &err));
	by_outcome = by_category != NULL ? audit_count_by(&src, req->arena, &f, "outcome", &err) : NULL;
	if (by_outcome == NULL) {
		http_reply_error(req, &err);
		return;
	}
	json_object_foreach(by_category, key, v) total += json_integer_value(v);
	o = json_pack("{s:I, s:O, s:o, s:I}", "total_events", (json_int_t)total, "by_category", by_category,
		      "by_outcome", by_outcome, "retention_days",
		      (json_int_t)api_worker(req)->conf->retention.audit_days);
	json_put_time(o, "oldest_event", oldest);
	json_put_time(o, "newest_event", newest);
	http_reply_json(req, 200, o);
}

/* ---- checking and reporting ---- */

/* The first event from a time on, or the last before one; 0: none. */
CO_FN static bool api_seq_at(struct http_request *req, int64_t ms, bool last, int64_t *seq, struct error *err)
{
	struct db_rows rows;

	if (!db_query(api_worker(req)->db, req->arena,
		      last ? "SELECT COALESCE(MAX(seq), 0) FROM audit_events WHERE created_at < $1"
			   : "SELECT COALESCE(MIN(seq), 0) FROM audit_events WHERE created_at >= $1",
		      DB_ARGS(DB_I(ms)), &rows, err))
		return false;
	*seq = db_int(&rows, 0, 0);
	return true;
}

CO_FN static bool api_range(struct http_request *req, const json_t *body, struct audit_check *c, struct error *err)
{
	int64_t from = 0, until = 0;

	c->from = json_get_int(body, "start_seq", http_query_int(req, "start_seq", 0, INT64_MAX, 0));
	c->to = json_get_int(body, "end_seq", http_query_int(req, "end_seq", 0, INT64_MAX, 0));
	if (!api_time(req, body, "start_date", "start_time", &from, err) ||
	    !api_time(req, body, "end_date", "end_time", &until, err))
		return false;
	return (from == 0 || api_seq_at(req, from, false, &c->from, err)) &&
	       (until == 0 || api_seq_at(req, until, true, &c->to, err));
}

static const json_t *api_body(struct http_request *req, struct error *err)
{
	return req->method == HTTP_POST && str_trim(req->body).n > 0 ? json_parse(req->arena, req->body, err) : NULL;
}

CO_FN static void api_verify(struct http_request *req)
{
	struct audit_check *c = arena_zalloc(req->arena, sizeof(*c));
	struct audit_source src = api_source(req);
	struct error err = ERROR_INIT;
	const json_t *body = api_body(req, &err);
	json_t *o;

	if (err.code != ERR_OK || !api_range(req, body, c, &err) || !audit_check_run(&src, api_key(req), c, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = audit_check_json(c);
	if (!api_operator(req)) { /* how much others do is not theirs to know */
		static const char *const counts[] = {"events",        "anchors",           "pending",
						     "pending_since", "retained_from_seq", "verified_range"};

		for (size_t i = 0; i < countof(counts); i++)
			(void)json_object_del(o, counts[i]);
	}
	http_reply_json(req, 200, o);
}

CO_FN static void api_report(struct http_request *req)
{
	struct audit_source src = api_source(req);
	struct error err = ERROR_INIT;
	struct audit_filter f;
	json_t *report = NULL;

	if (api_filter(req, NULL, &f, &err)) {
		(void)api_days(req, &f);
		report = audit_report(&src, api_key(req), req->arena, &f, &err);
	}
	if (report == NULL)
		http_reply_error(req, &err);
	else
		http_reply_json(req, 200, json_pack("{s:o}", "report", report));
}

/* ---- exporting ---- */

struct api_export {
	enum audit_format format;
	struct buf out;
	int64_t count;
};

static bool api_export_one(void *arg, struct arena *a, const struct audit_record *r)
{
	struct api_export *x = arg;

	audit_format_add(x->format, a, r, x->count == 0, &x->out);
	x->count++;
	return !x->out.overflow;
}

static void api_file(struct http_request *req, const char *type, const char *extension, int64_t count,
		     struct str content)
{
	char day[CLOCK_ISO_MAX];

	http_reply_field(req, "Content-Disposition", "attachment; filename=\"audit_%.10s.%s\"",
			 clock_iso(day, clock_wall_ms()), extension);
	http_reply_field(req, "X-Audit-Event-Count", "%lld", (long long)count);
	http_reply(req, 200, type, content);
}

/* That somebody took a copy is known before he has it. */
CO_FN static bool api_export_told(struct http_request *req, struct str format, int64_t count, struct error *err)
{
	json_t *details = json_pack("{s:s%, s:I}", "format", format.p, format.n, "events", (json_int_t)count);
	bool ok = audit_request(req,
				&(struct audit_event){.category = "data",
						      .action = "data.exported",
						      .resource_type = STR("audit_events"),
						      .details = details},
				err);

	json_decref(details);
	return ok;
}

CO_FN static void api_export_soc2(struct http_request *req, const struct audit_filter *f)
{
	struct audit_source src = api_source(req);
	struct error err = ERROR_INIT;
	json_t *report = json_own(req->arena, audit_report(&src, api_key(req), req->arena, f, &err));
	int64_t count = json_get_int(json_get_obj(report, "summary"), "total_events", 0);

	if (report == NULL || !api_export_told(req, STR("soc2"), count, &err))
		http_reply_error(req, &err);
	else
		api_file(req, "application/json", "json", count, json_text(req->arena, report));
}

CO_FN static void api_export_as(struct http_request *req, struct str format, const struct audit_filter *f)
{
	struct api_export x = {.out = BUF_LIMIT(API_EXPORT_BYTES)};
	struct audit_source src = api_source(req);
	struct error err = ERROR_INIT;
	bool ok;

	if (!audit_format_find(format, &x.format)) {
		error_field(&err, ERR_INVALID_VALUE, "format",
			    "Invalid format: %.*s. Use json, jsonl, csv, cef, syslog, or soc2.",
			    STR_ARG(str_utf8_cut(format, 40)));
		http_reply_error(req, &err);
		return;
	}
	audit_format_begin(x.format, &x.out);
	ok = audit_each(&src, f, api_export_one, &x, &err);
	audit_format_end(x.format, x.count, &x.out);
	if (ok && x.out.overflow)
		ok = error_set(
		    &err, ERR_TOO_LARGE,
		    "the export is larger than 64 MiB; ask for a shorter period, or use aragorad audit export");
	if (ok && api_export_told(req, format, x.count, &err))
		api_file(req, audit_format_type(x.format), audit_format_extension(x.format), x.count, buf_str(&x.out));
	else
		http_reply_error(req, &err);
	buf_free(&x.out);
}

CO_FN static void api_export(struct http_request *req)
{
	struct error err = ERROR_INIT;
	const json_t *body = api_body(req, &err);
	struct audit_filter f;
	struct str format;

	if (err.code == ERR_OK && req->method == HTTP_POST && api_text(req, body, "start_date", "start_time").n == 0)
		error_field(&err, ERR_MISSING_FIELD, "start_date", "start_date is required");
	if (err.code == ERR_OK && req->method == HTTP_POST && api_text(req, body, "end_date", "end_time").n == 0)
		error_field(&err, ERR_MISSING_FIELD, "end_date", "end_date is required");
	if (err.code != ERR_OK || !api_filter(req, body, &f, &err)) {
		http_reply_error(req, &err);
		return;
	}
	format = api_text(req, body, "format", NULL);
	if (format.n == 0)
		format = STR("json");
	if (str_eqz(format, "soc2"))
		api_export_soc2(req, &f);
	else
		api_export_as(req, format, &f);
}

#define ROW(m, p, h, perm, r, s) ROUTE(m, "/api/audit/" p, h, "audit_log." perm, r, s)

static const struct route audit_rows[] = {
    ROW(GET, "entries", api_entries, "read", READ, "Events of the audit log, newest first"),
    ROW(GET, "events", api_events, "read", READ, "Events of the last 30 days, or of a period"),
    ROW(GET, "stats", api_stats, "read", READ, "How many events there are, by category and outcome"),
    ROW(GET, "actor/{id}", api_actor, "read", READ, "What somebody did"),
    ROW(GET, "resource/{id}", api_resource, "read", READ, "What was done to something"),
    ROW(GET, "denied", api_denied, "read", READ, "What was refused"),
    ROW(GET, "report", api_report, "read", EXPORT, "Summary, integrity and evidence for an auditor"),
    ROW(GET, "verify", api_verify, "read", EXPORT, "Is the chain as it was written?"),
    ROW(POST, "verify", api_verify, "read", EXPORT, "Is the chain as it was written?"),
    ROW(GET, "export", api_export, "export_data", EXPORT, "Events as json, jsonl, csv, cef, syslog or soc2"),
    ROW(POST, "export", api_export, "export_data", EXPORT,
	"Events of a period as json, jsonl, csv, cef, syslog or soc2"),
};
const struct route_table audit_routes = {audit_rows, countof(audit_rows)};
