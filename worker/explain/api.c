/* SPDX-License-Identifier: MIT */
/*
 * Routes of explanations and derived views (rest-core 4.9). A debate's result is read here and worked on in a lane,
 * because texts are compared. Handlers judge nothing.
 */
#include "worker/explain/explain.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/lane.h"
#include "worker/debate/request.h"
#include "worker/debate/view.h"
#include "worker/decisions/decisions.h"
#include "worker/explain/views.h"
#include "worker/http/body.h"
#include "worker/receipts/api.h"
#include "worker/stream/stream.h"
#include "worker/worker.h"

#define EXPLAIN_WAIT_US (30 * INT64_C(1000000))
#define EXPLAIN_EVENTS 200 /* events on a page of the timeline */
#define EXPLAIN_EVENTS_MAX 500
#define EXPLAIN_EVIDENCE_MAX 100
#define EXPLAIN_ROWS_MAX 10000 /* calls of a debate; far more than its limits let happen */

struct explain_job {
	const struct explain_view *view; /* NULL: the explanation */
	json_t *debate;
	char *text; /* of the result; NULL: there is none yet */
	size_t n;
	json_t *out;
};

static void explain_work(void *arg)
{
	struct explain_job *j = arg;
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	const json_t *result = j->text != NULL ? json_parse(a, (struct str){j->text, j->n}, &err) : NULL;

	j->out = j->view != NULL ? j->view->make(a, j->debate, result) : explain_result(a, result);
	arena_free(a);
}

static void explain_drop(void *arg)
{
	struct explain_job *j = arg;

	json_decref(j->debate);
	json_decref(j->out);
	free(j->text);
	free(j);
}

/* ---- what was recorded ---- */

/* An envelope, or a row of the ledger under the names that views.c reads. New reference or NULL. */
static json_t *explain_envelope(const struct db_rows *r, size_t i)
{
	struct error err = ERROR_INIT;

	return json_parse(NULL, db_str(r, i, 0), &err);
}

static json_t *explain_call(const struct db_rows *r, size_t i)
{
	json_t *o = json_object();

	json_put_str(o, "step", db_str(r, i, 0));
	json_put_int(o, "tokens_in", db_int(r, i, 1));
	json_put_int(o, "tokens_out", db_int(r, i, 2));
	json_put_int(o, "cost_micro", db_int(r, i, 3));
	return o;
}

/* $1 debate, $2 workspace, $3 the event before, $4 how many. */
static const struct {
	const char *view, *sql;
	json_t *(*row)(const struct db_rows *r, size_t i);
} explain_records[] = {
    {"timeline",
     "SELECT envelope FROM debate_events WHERE debate_id = $1 AND workspace_id = $2 AND seq > $3 ORDER BY seq LIMIT $4",
     explain_envelope},
    {"trickster",
     "SELECT envelope FROM debate_events WHERE debate_id = $1 AND workspace_id = $2 AND seq > $3"
     " AND type IN ('hollow_consensus', 'trickster_intervention') ORDER BY seq LIMIT $4",
     explain_envelope},
    {"costs",
     "SELECT step_key, tokens_in, tokens_out, cost_micro FROM usage_ledger WHERE debate_id = $1 AND workspace_id = $2"
     " AND $3 = $3 ORDER BY step_key LIMIT $4",
     explain_call},
};

/* Gives the debate what its view needs of the log; views that need nothing are left alone. False: answered. */
CO_FN static bool explain_record(struct http_request *req, const struct debate_row *row,
				 const struct explain_view *view, json_t *debate)
{
	struct db *db = request_worker(req)->db;
	int64_t after = http_query_int(req, "since", 0, INT64_MAX, 0), limit;
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *list;
	size_t i, n;

	for (n = 0; n < countof(explain_records); n++)
		if (view != NULL && strcmp(view->name, explain_records[n].view) == 0)
			break;
	if (n == countof(explain_records))
		return true;
	limit = n == 0 ? http_query_int(req, "limit", 1, EXPLAIN_EVENTS_MAX, EXPLAIN_EVENTS) : EXPLAIN_ROWS_MAX;
	if (!db_query(db, req->arena, explain_records[n].sql,
		      DB_ARGS(DB_S(row->id), DB_S(req->ctx.workspace_id), DB_I(after), DB_I(limit)), &r, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	list = json_array();
	for (i = 0; i < r.count; i++)
		json_array_append_new(list, explain_records[n].row(&r, i));
	json_object_set_new(debate, EXPLAIN_RECORDED, list);
	json_put_int(debate, EXPLAIN_AFTER, after);
	json_object_set_new(debate, EXPLAIN_KEPT, json_boolean(!stream_log_gone(db, req->arena, row, 0)));
	return true;
}

/* ---- making ---- */

/* The view, or for NULL the explanation, of the request's arena; NULL after having replied. */
CO_FN static json_t *explain_make(struct http_request *req, const struct debate_row *row,
				  const struct explain_view *view)
{
	struct worker *w = request_worker(req);
	json_t *debate = view_debate(req->arena, row), *out;
	struct error err = ERROR_INIT;
	struct explain_job *j;

	if (!explain_record(req, row, view, debate)) {
		json_decref(debate);
		return NULL;
	}
	j = xcalloc(1, sizeof(*j));
	*j = (struct explain_job){.view = view, .debate = debate, .n = row->result.n};
	if (row->result.p != NULL && row->result.n > 0) {
		j->text = xcalloc(1, row->result.n);
		memcpy(j->text, row->result.p, row->result.n);
	}
	if (lane_run(w->cpu, explain_work, explain_drop, j, clock_mono_us() + EXPLAIN_WAIT_US) != CO_DONE) {
		error_set(&err, ERR_UNAVAILABLE, "too much is being computed; try again in a moment");
		http_reply_error(req, &err);
		return NULL;
	}
	out = json_own(req->arena, json_incref(j->out));
	explain_drop(j);
	return out;
}

/* The explanation of a debate that has a result; NULL after having replied. */
CO_FN static json_t *explain_load(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct debate_row row;

	if (!decisions_debate(req) || !request_debate(req, &row))
		return NULL;
	if (row.result.p == NULL || row.result.n == 0) {
		error_set(&err, ERR_CONFLICT, "the debate has no result yet that could be explained");
		http_reply_error(req, &err);
		return NULL;
	}
	return explain_make(req, &row, NULL);
}

/* ---- the whole, and parts of it ---- */

CO_FN static void explain_show(struct http_request *req)
{
	struct str format = http_query(req, "format"), accept = http_field(req, "Accept");
	bool json = str_ieqz(format, "json"), md = str_ieqz(format, "md") || str_ieqz(format, "markdown"),
	     html = str_ieqz(format, "html");
	json_t *o;

	if (format.n > 0 && !json && !md && !html) {
		(void)body_reject(req, "format", "must be one of json, md, html");
		return;
	}
	if (format.n == 0) {
		html = str_ifind(accept, STR("text/html")) >= 0;
		md = !html && str_ifind(accept, STR("text/markdown")) >= 0;
	}
	o = explain_load(req);
	if (o == NULL)
		return;
	http_reply_field(req, "Vary", "Accept");
	if (html) {
		http_reply_field(req, "Content-Security-Policy",
				 "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
		http_reply(req, 200, "text/html; charset=utf-8", explain_html(req->arena, o));
	} else if (md) {
		http_reply(req, 200, "text/markdown; charset=utf-8", explain_markdown(req->arena, o));
	} else {
		view_floats(o);
		http_reply_json(req, 200, json_incref(o));
	}
}

/* By the last piece of the path: which members of the explanation it shows. */
static const struct {
	const char *piece, *members[4];
} explain_parts[] = {
    {"factors", {"votes", "pivotal_agents", "recount"}},
    {"pivots", {"votes", "pivotal_agents"}},
    {"counterfactuals", {"counterfactuals", "recount", "pivotal_agents"}},
    {"counterfactual", {"counterfactuals", "recount", "pivotal_agents"}},
    {"provenance", {"evidence_chain"}},
    {"narrative", {"summary"}},
    {"changes", {"changes", "critiques", "flips"}},
};

CO_FN static void explain_part(struct http_request *req)
{
	const char *piece = strrchr(req->route->path, '/') + 1;
	json_t *all = explain_load(req), *o;
	size_t i, k;

	if (all == NULL)
		return;
	view_floats(all);
	o = json_object();
	json_object_set(o, "debate_id", json_object_get(all, "debate_id"));
	for (i = 0; i < countof(explain_parts); i++)
		for (k = 0; strcmp(piece, explain_parts[i].piece) == 0 && k < countof(explain_parts[i].members) &&
			    explain_parts[i].members[k] != NULL;
		     k++)
			json_object_set(o, explain_parts[i].members[k],
					json_object_get(all, explain_parts[i].members[k]));
	http_reply_json(req, 200, o);
}

/* ---- derived views ---- */

/* A share of the query; what is none counts as 0. */
static double explain_share(struct str s)
{
	char text[16];
	double v;

	(void)snprintf(text, sizeof(text), "%.*s", STR_ARG(s));
	v = strtod(text, NULL);
	return v > 0 && v <= 1 ? v : 0;
}

CO_FN static void explain_derived(struct http_request *req)
{
	struct debate_row row;
	json_t *o;

	if (!request_debate(req, &row))
		return;
	o = explain_make(req, &row, explain_view_find(strrchr(req->route->path, '/') + 1));
	if (o == NULL)
		return;
	if (str_ends(str_of(req->route->path), STR("/evidence")))
		view_evidence_cut(o, explain_share(http_query(req, "min_relevance")),
				  (size_t)http_query_int(req, "limit", 1, EXPLAIN_EVIDENCE_MAX, EXPLAIN_EVIDENCE_MAX));
	http_reply_json(req, 200, json_incref(o));
}

/* ---- receipt and explanation together ---- */

CO_FN static void explain_package(struct http_request *req)
{
	bool md = str_ends(str_of(req->route->path), STR("/markdown"));
	struct error err = ERROR_INIT;
	json_t *o = explain_load(req);
	const json_t *receipt = o != NULL ? receipt_load(req, json_get_str(o, "debate_id", STR("")), &err) : NULL;

	if (o == NULL)
		return;
	if (receipt == NULL) {
		http_reply_error(req, &err);
		return;
	}
	if (md) {
		http_reply(req, 200, "text/markdown; charset=utf-8",
			   arena_printf(req->arena, "%.*s\n%.*s", STR_ARG(receipt_markdown(req->arena, receipt)),
					STR_ARG(explain_markdown(req->arena, o))));
		return;
	}
	view_floats(o);
	http_reply_json(req, 200,
			json_pack("{s:O, s:o, s:O}", "debate_id", json_object_get(o, "debate_id"), "receipt",
				  receipt_view(receipt), "explanation", o));
}

/* ---- several at once ---- */

#define EXPLAIN_MANY 20

/* debate_ids (or ids), 1 to 20 strings; NULL: answered. */
static const json_t *explain_ids(struct http_request *req)
{
	const json_t *body = body_object(req), *ids, *v;
	size_t i;

	if (body == NULL)
		return NULL;
	ids = json_get_arr(body, "debate_ids");
	if (ids == NULL)
		ids = json_get_arr(body, "ids");
	json_array_foreach(ids, i, v) if (!json_is_string(v)) ids = NULL;
	if (json_array_size(ids) >= 1 && json_array_size(ids) <= EXPLAIN_MANY)
		return ids;
	(void)body_reject(req, "debate_ids", "must be a list of 1 to 20 ids of debates");
	return NULL;
}

/* {id: explanation} and what could not be explained; unknown ids and those of others are alike. */
CO_FN static bool explain_many(struct http_request *req, const json_t *ids, json_t *found, json_t *errors)
{
	const json_t *v;
	size_t i;

	json_array_foreach(ids, i, v)
	{
		struct str id = {json_string_value(v), json_string_length(v)};
		struct error err = ERROR_INIT;
		struct debate_row row;
		json_t *one;

		if (!debate_get(request_worker(req)->db, req->arena, &req->ctx, id, &row, &err) ||
		    (row.result.n == 0 && !error_set(&err, ERR_CONFLICT, "the debate has no result yet"))) {
			one = json_object();
			json_put_str(one, "debate_id", id);
			json_put_str(one, "error", str_of(err.msg));
			json_array_append_new(errors, one);
			continue;
		}
		one = explain_make(req, &row, NULL);
		if (one == NULL)
			return false;
		view_floats(one);
		json_array_append(found, one);
	}
	return true;
}

/* Of each what is compared: how it was decided, not what was said. */
static json_t *explain_row(const json_t *e)
{
	static const char *const members[] = {"debate_id",      "task",    "method",        "conclusion",
					      "winner",         "reached", "summary",       "confidence",
					      "weighted_share", "margin",  "pivotal_agents"};
	json_t *o = json_object();
	size_t i;

	for (i = 0; i < countof(members); i++)
		if (json_object_get(e, members[i]) != NULL)
			json_object_set(o, members[i], json_object_get(e, members[i]));
	json_put_int(o, "votes", (int64_t)json_array_size(json_get_arr(e, "votes")));
	json_put_int(o, "changes", (int64_t)json_array_size(json_get_arr(e, "changes")));
	json_put_int(o, "dissents", (int64_t)json_array_size(json_get_arr(e, "dissents")));
	return o;
}

CO_FN static void explain_several(struct http_request *req)
{
	bool compare = str_ends(str_of(req->route->path), STR("/compare"));
	json_t *found = json_own(req->arena, json_array()), *errors = json_own(req->arena, json_array()),
	       *rows = json_own(req->arena, json_array());
	const json_t *ids = explain_ids(req), *e;
	bool same = true;
	size_t i;

	if (ids == NULL || !explain_many(req, ids, found, errors))
		return;
	json_array_foreach(found, i, e)
	{
		json_array_append_new(rows, explain_row(e));
		same &= json_equal(json_object_get(e, "reached"), json_object_get(json_array_get(found, 0), "reached"));
	}
	http_reply_json(req, 200,
			compare
			    ? json_pack("{s:O, s:I, s:O, s:b}", "comparison", rows, "count",
					(json_int_t)json_array_size(rows), "errors", errors, "same_outcome", (int)same)
			    : json_pack("{s:O, s:I, s:O}", "results", found, "count",
					(json_int_t)json_array_size(found), "errors", errors));
}

#define WHY(p, fn, text) ROUTE(GET, p, fn, "explainability:read", READ, text, .flags = ROUTE_ETAG)
#define VIEW(name, text, ...)                                                              \
	ROUTE(GET, "/api/debates/{id}/" name, explain_derived, "debates:read", READ, text, \
	      .flags = ROUTE_ETAG __VA_OPT__(, ) __VA_ARGS__)

static const struct route explain_rows[] = {
    WHY("/api/debates/{id}/explain", explain_show, "Why this answer: votes, changes, what would have changed it"),
    WHY("/api/debates/{id}/explanation", explain_show, "Why this answer (json, md, html)"),
    WHY("/api/debates/{id}/explainability", explain_show, "Why this answer (json, md, html)"),
    WHY("/api/explain/{id}", explain_show, "Why this answer (json, md, html)"),
    WHY("/api/decisions/{id}/explain", explain_show, "Why a decision came out as it did (json, md, html)"),
    WHY("/api/debates/{id}/explainability/factors", explain_part, "What each vote weighed, and why"),
    WHY("/api/debates/{id}/explainability/counterfactual", explain_part, "What would have changed the outcome"),
    WHY("/api/debates/{id}/explainability/provenance", explain_part, "What the answer stands on"),
    WHY("/api/debates/{id}/explainability/narrative", explain_part, "The explanation in one paragraph"),
    WHY("/api/debates/{id}/explainability/changes", explain_part, "Which critiques changed what"),
    WHY("/api/debates/{id}/votes/pivots", explain_part, "The votes on which the outcome hangs"),
    WHY("/api/debates/{id}/counterfactuals", explain_part, "What would have changed the outcome"),
    VIEW("convergence", "How positions came closer, round by round"),
    VIEW("impasse", "Is the debate stuck?"),
    VIEW("citations", "Sources that agents named"),
    VIEW("evidence", "What the debate knew and cited; ?min_relevance=, ?limit="),
    VIEW("summary", "The decision in short"),
    VIEW("verification-report", "Claims that were verified"),
    VIEW("positions", "Each agent's position, round by round"),
    VIEW("diagnostics", "How the agents did, and what to look at"),
    VIEW("costs", "What it cost, by agent and model"),
    VIEW("graph", "Texts, critiques and votes: who answered what"),
    VIEW("graph/stats", "The size of that graph"),
    VIEW("graph-stats", "The size of that graph"),
    VIEW("timeline", "The events in short: ?since= a number, ?limit=", .response = "Timeline"),
    VIEW("trickster", "Agreement without evidence that was found and challenged", .response = "Trickster"),
    VIEW("reasoning", "Each agent's positions, critiques and vote with their reasons", .response = "Reasoning"),
    VIEW("rhetorical", "How agents spoke: concessions, rebuttals, claims to be certain"),
    ROUTE(GET, "/api/debates/{id}/meta-critique", explain_derived, "analysis:read", READ,
	  "How the debate went: which rounds brought something", .flags = ROUTE_ETAG),
    ROUTE(POST, "/api/explainability/batch", explain_several, "explainability:read", READ,
	  "Why these answers: up to 20 debates"),
    ROUTE(POST, "/api/explainability/compare", explain_several, "explainability:read", READ,
	  "How up to 20 debates were decided, side by side"),
    WHY("/api/debates/{id}/package", explain_package, "Receipt and explanation together"),
    WHY("/api/debates/{id}/package/markdown", explain_package, "Receipt and explanation as Markdown"),
};

const struct route_table explain_routes = {explain_rows, countof(explain_rows)};
