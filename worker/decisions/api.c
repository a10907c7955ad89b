/* SPDX-License-Identifier: MIT */
/*
 * The routes of decisions and of their cache (rest-wide 10.1). Reads requests in all the spellings that clients use;
 * what is not offered (workflows, gauntlets as a way to decide) is refused by name.
 */
#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "worker/debate/request.h"
#include "worker/decisions/decisions.h"
#include "worker/http/body.h"
#include "worker/http/route.h"
#include "worker/worker.h"

#define API_CONTENT_MAX 10000
#define API_DOCUMENTS_MAX 50
#define API_CONTEXT_MAX 90000 /* bytes of all documents */
#define API_TIMEOUT_MAX 3600
#define API_ANSWER_US (10 * SEC_US) /* for the answer itself, when waiting is over */

/* ---- the request ---- */

/* The question under any of its names; content first. */
static struct str api_content(struct body_problems *p, const json_t *body)
{
	static const char *const names[] = {"content", "input", "question", "task", "input_text"};
	struct error err = ERROR_INIT;
	size_t i;

	for (i = 0; i < countof(names); i++)
		if (json_object_get(body, names[i]) != NULL)
			return body_text(p, body, names[i], 1, API_CONTENT_MAX, false);
	error_field(&err, ERR_MISSING_FIELD, "content", "Missing required field: content");
	body_problem(p, &err);
	return STR("");
}

static struct str api_word(struct body_problems *p, const json_t *body, const char *field, const char *const *words,
			   const char *dflt)
{
	struct str s = body_text(p, body, field, 0, 32, false);
	struct error err = ERROR_INIT;
	struct buf list = BUF_INIT;
	size_t i;

	if (s.n == 0)
		return str_of(dflt);
	for (i = 0; words[i] != NULL; i++) {
		if (str_eqz(s, words[i]))
			break;
		buf_printf(&list, "%s%s", i > 0 ? ", " : "", words[i]);
	}
	if (words[i] == NULL) {
		error_field(&err, ERR_INVALID_VALUE, field, "must be one of %.*s", STR_ARG(buf_str(&list)));
		body_problem(p, &err);
	}
	buf_free(&list);
	return words[i] != NULL ? str_of(words[i]) : str_of(dflt);
}

static const json_t *api_tags(struct http_request *req, struct body_problems *p, const json_t *body)
{
	const json_t *list = json_object_get(body, "tags"), *v;
	struct error err = ERROR_INIT;
	size_t i;

	if (list == NULL || json_is_null(list))
		return json_own(req->arena, json_array());
	json_array_foreach(list, i, v) if (!json_is_string(v) || json_string_length(v) == 0 ||
					   json_string_length(v) > DECISION_TAG_MAX ||
					   strchr(json_string_value(v), '\n') != NULL) break;
	if (json_is_array(list) && i == json_array_size(list) && i <= DECISION_TAGS_MAX)
		return list;
	error_field(&err, ERR_INVALID_VALUE, "tags", "must be at most %d texts of 1 to %d bytes", DECISION_TAGS_MAX,
		    DECISION_TAG_MAX);
	body_problem(p, &err);
	return json_own(req->arena, json_array());
}

/* Documents become the context of the debate. */
static struct str api_documents(struct http_request *req, struct body_problems *p, const json_t *body)
{
	const json_t *list = json_object_get(body, "documents"), *v;
	struct buf b = BUF_INIT;
	struct error err = ERROR_INIT;
	struct str out;
	size_t i;

	json_array_foreach(list, i, v)
	{
		struct str title = json_get_str(v, "title", STR("")),
			   text = json_is_string(v) ? str_of(json_string_value(v))
						    : json_get_str(v, "content", json_get_str(v, "text", STR("")));

		buf_printf(&b, "%s%.*s%s%.*s", i > 0 ? "\n\n" : "", STR_ARG(title), title.n > 0 ? "\n" : "",
			   STR_ARG(text));
	}
	if ((list != NULL && !json_is_null(list) && !json_is_array(list)) ||
	    json_array_size(list) > API_DOCUMENTS_MAX || b.n > API_CONTEXT_MAX) {
		error_field(&err, ERR_INVALID_VALUE, "documents",
			    "must be at most %d texts or {title, content}, %d bytes together", API_DOCUMENTS_MAX,
			    API_CONTEXT_MAX);
		body_problem(p, &err);
	}
	out = arena_str(req->arena, str_utf8_cut(buf_str(&b), API_CONTEXT_MAX));
	buf_free(&b);
	return out;
}

/* What of the request goes to the debate: from `config`, or from the top as older clients send it. */
static json_t *api_debate_body(struct http_request *req, const json_t *body, const struct decision_request *q,
			       struct str documents)
{
	static const char *const keys[] = {"agents",        "rounds",      "consensus",          "consensus_threshold",
					   "debate_format", "auto_select", "auto_select_config", "budget_limit_usd",
					   "use_memory",    "protocol"};
	const json_t *config = json_get_obj(body, "config"), *v;
	json_t *o = json_own(req->arena, json_object());
	size_t i;

	json_put_str(o, "task", q->content);
	if (documents.n > 0)
		json_put_str(o, "context", documents);
	for (i = 0; i < countof(keys); i++) {
		v = json_object_get(config, keys[i]);
		v = v != NULL ? v : json_object_get(body, keys[i]);
		if (v != NULL)
			json_object_set(o, keys[i], (json_t *)(uintptr_t)v);
	}
	if (str_eqz(q->type, "quick")) {
		json_put_str(o, "debate_format", STR("light"));
		if (json_object_get(o, "rounds") == NULL)
			json_put_int(o, "rounds", 1);
	}
	return o;
}

/*
 * Everything that shapes the answer is in the key: who asks from where, and how it is to be decided. A client's own key
 * stands for the question alone.
 */
static struct str api_key(struct http_request *req, const struct decision_request *q, struct str own)
{
	json_t *scope = json_own(req->arena, json_deep_copy(q->body));
	char hex[SHA256_HEX];

	json_put_str(scope, "channel", q->channel);
	json_put_str(scope, "workspace_id", req->ctx.workspace_id);
	json_put_str(scope, "type", q->type);
	if (own.n > 0)
		json_object_del(scope, "task");
	crypto_sha256_hex(
	    arena_printf(req->arena, "%s:%.*s", own.n > 0 ? "key" : "content", STR_ARG(json_python(req->arena, scope))),
	    hex);
	return own.n > 0 ? arena_printf(req->arena, "%.32s:%.*s", hex, STR_ARG(own))
			 : arena_printf(req->arena, "%.32s", hex);
}

static int64_t api_timeout(struct http_request *req, struct body_problems *p, const json_t *body)
{
	const json_t *v = json_object_get(json_get_obj(body, "config"), "timeout_seconds");
	const struct worker *w = req->user;
	struct error err = ERROR_INIT;
	double s;

	v = v != NULL ? v : json_object_get(body, "timeout");
	if (v == NULL || json_is_null(v))
		return w->conf->decisions.timeout / MS_US;
	s = json_number_value(v);
	if (json_is_number(v) && s > 0.0 && s <= API_TIMEOUT_MAX)
		return (int64_t)(s * 1000.0);
	error_field(&err, ERR_INVALID_VALUE, "timeout_seconds", "must be a number above 0 and at most %d",
		    API_TIMEOUT_MAX);
	body_problem(p, &err);
	return 0;
}

static bool api_bool(struct body_problems *p, const json_t *body, const char *field, bool dflt)
{
	const json_t *v = json_object_get(body, field);
	struct error err = ERROR_INIT;

	if (v == NULL || json_is_null(v))
		return dflt;
	if (!json_is_boolean(v)) {
		error_field(&err, ERR_INVALID_VALUE, field, "must be true or false");
		body_problem(p, &err);
	}
	return json_is_true(v);
}

/* False: answered. */
static bool api_read(struct http_request *req, const json_t *body, struct decision_request *q)
{
	static const char *const types[] = {"auto", "debate", "quick", "workflow", "gauntlet", NULL};
	static const char *const priorities[] = {"low", "normal", "high", "critical", NULL};
	struct error err = ERROR_INIT;
	struct body_problems p;
	struct str documents, own;
	bool cached;

	*q = (struct decision_request){.asked = body};
	body_problems_begin(req, &p);
	q->content = api_content(&p, body);
	q->type = api_word(&p, body, "decision_type", types, "auto");
	q->priority = api_word(&p, body, "priority", priorities, "normal");
	q->channel = json_get_str(json_get_obj(body, "context"), "channel", STR("api"));
	q->tags = api_tags(req, &p, body);
	q->timeout_ms = api_timeout(req, &p, body);
	q->wait = !api_bool(&p, body, "async", false);
	cached = api_bool(&p, body, "use_cache", true);
	own = body_text(&p, body, "cache_key", 0, DECISION_KEY_MAX - 33, false);
	documents = api_documents(req, &p, body);
	if (body_refused(req, &p))
		return false;
	if (str_eqz(q->type, "workflow") || str_eqz(q->type, "gauntlet")) {
		error_field(&err, ERR_NOT_IMPLEMENTED, "decision_type",
			    "a %.*s does not decide here; ask for debate or quick", STR_ARG(q->type));
		http_reply_error(req, &err);
		return false;
	}
	q->body = api_debate_body(req, body, q, documents);
	q->key = cached ? api_key(req, q, own) : STR("");
	return true;
}

/* ---- answers ---- */

static json_t *api_decision(struct http_request *req, const struct decision *d)
{
	static const char *const ids[] = {"request_id", "id", "decision_id"};
	struct error err = ERROR_INIT;
	json_t *o = json_object(), *result = NULL;
	size_t i;

	for (i = 0; i < countof(ids); i++)
		json_put_str(o, ids[i], d->id);
	json_put_str(o, "status", d->status);
	json_put_str(o, "decision_type", d->type);
	json_put_str(o, "priority", d->priority);
	json_put_str(o, "debate_id", d->debate_id);
	json_object_set_new(o, "cached", json_boolean(d->cached));
	json_object_set_new(o, "deduplicated", json_boolean(d->deduplicated));
	json_put_time(o, "created_at", d->created_at);
	json_put_time(o, "completed_at", d->completed_at);
	if (d->result.n > 0)
		result = json_parse(req->arena, d->result, &err);
	if (result != NULL) {
		json_object_update_missing(o, result);
		json_object_set(o, "result", result);
	}
	return o;
}

/* Waits as long as the request says; the rest of the time the decision goes on by itself. */
CO_FN static void api_answer(struct http_request *req, const struct decision_request *q, struct decision *d,
			     json_t *(*shape)(struct http_request *req, const struct decision *d))
{
	struct error err = ERROR_INIT;

	if (q->wait && decisions_open(d)) {
		http_request_deadline(req, q->timeout_ms * MS_US + API_ANSWER_US);
		if (!decisions_wait(req->user, req->arena, &req->ctx, clock_mono_us() + q->timeout_ms * MS_US, d,
				    &err)) {
			http_reply_error(req, &err);
			return;
		}
		if (decisions_open(d)) {
			error_set(&err, ERR_REQUEST_TIMEOUT, "Decision request timed out");
			http_reply_problem(req, &err,
					   json_pack("{s:s%, s:s%}", "request_id", d->id.p, d->id.n, "debate_id",
						     d->debate_id.p, d->debate_id.n));
			return;
		}
	}
	http_reply_field(req, "Location", "/api/decisions/%.*s", STR_ARG(d->id));
	http_reply_json(req, decisions_open(d) ? 202 : 200, shape(req, d));
}

CO_FN static void api_submit_as(struct http_request *req, const json_t *body,
				json_t *(*shape)(struct http_request *req, const struct decision *d))
{
	struct error err = ERROR_INIT;
	struct decision_request q;
	struct decision d;
	json_t *problems;

	if (!api_read(req, body, &q))
		return;
	if (decisions_submit(req->user, req->arena, &req->ctx, &q, &d, &problems, &err))
		api_answer(req, &q, &d, shape);
	else if (json_array_size(problems) > 0)
		body_reject_all(req, &err, problems);
	else
		http_reply_error(req, &err);
}

CO_FN static void api_submit(struct http_request *req)
{
	const json_t *body = body_object(req);

	if (body != NULL)
		api_submit_as(req, body, api_decision);
}

/* ---- reading ---- */

CO_FN static void api_list(struct http_request *req)
{
	int64_t limit = http_query_int(req, "limit", 1, 100, 20),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0), now = clock_wall_ms();
	struct str status = http_query(req, "status"), type = http_query(req, "decision_type");
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_rows r, total;
	json_t *list;
	size_t i;

	if (!db_query(
		w->db, req->arena,
		"SELECT COUNT(*) FROM decisions WHERE workspace_id = $1 AND expires_at > $2 AND ($3 = '' OR status ="
		" $3) AND ($4 = '' OR decision_type = $4)",
		DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(now), DB_S(status), DB_S(type)), &total, &err) ||
	    !db_query(
		w->db, req->arena,
		"SELECT id, status, decision_type, debate_id, cached, created_at, completed_at FROM decisions"
		" WHERE workspace_id = $1 AND expires_at > $2 AND ($3 = '' OR status = $3) AND ($4 = '' OR"
		" decision_type = $4) ORDER BY created_at DESC, id LIMIT $5 OFFSET $6",
		DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(now), DB_S(status), DB_S(type), DB_I(limit), DB_I(offset)),
		&r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		json_t *o = json_object();

		json_put_str(o, "request_id", db_str(&r, i, 0));
		json_put_str(o, "id", db_str(&r, i, 0));
		json_put_str(o, "status", db_str(&r, i, 1));
		json_put_str(o, "decision_type", db_str(&r, i, 2));
		json_put_str(o, "debate_id", db_str(&r, i, 3));
		json_object_set_new(o, "cached", json_boolean(db_int(&r, i, 4) != 0));
		json_put_time(o, "created_at", db_int(&r, i, 5));
		json_put_time(o, "completed_at", db_int(&r, i, 6));
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:I, s:I, s:I}", "decisions", list, "total",
				  (json_int_t)db_int(&total, 0, 0), "count", (json_int_t)r.count, "limit",
				  (json_int_t)limit, "offset", (json_int_t)offset));
}

CO_FN static bool api_named(struct http_request *req, struct decision *d)
{
	struct error err = ERROR_INIT;

	if (decisions_read(req->user, req->arena, &req->ctx, req->params[0], d, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

CO_FN static void api_show(struct http_request *req)
{
	struct decision d;

	if (api_named(req, &d))
		http_reply_json(req, 200, api_decision(req, &d));
}

/* Of an unknown one too: clients ask until it is known. */
CO_FN static void api_status(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct decision d = {.id = req->params[0], .status = STR("not_found")};
	json_t *o;

	if (!decisions_read(req->user, req->arena, &req->ctx, req->params[0], &d, &err) && err.code != ERR_NOT_FOUND) {
		http_reply_error(req, &err);
		return;
	}
	o = json_pack("{s:s%, s:s%}", "request_id", d.id.p, d.id.n, "status", d.status.p, d.status.n);
	json_put_time(o, "completed_at", d.completed_at);
	http_reply_json(req, 200, o);
}

CO_FN bool decisions_debate(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct decision d;

	if (!str_starts(str_of(req->route->path), STR("/api/decisions/")))
		return true;
	if (!api_named(req, &d))
		return false;
	if (d.debate_id.n == 0) {
		error_set(&err, ERR_CONFLICT, "the decision has no debate");
		http_reply_error(req, &err);
		return false;
	}
	req->params[0] = d.debate_id;
	return true;
}

/* ---- cancel and retry ---- */

CO_FN static void api_cancel(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	struct body_problems p;
	struct decision d;
	struct str reason;
	json_t *o;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	reason = body_text(&p, body, "reason", 0, 500, false);
	if (body_refused(req, &p) || !api_named(req, &d))
		return;
	if (!decisions_open(&d))
		error_set(&err, ERR_CONFLICT, "the decision is %.*s, there is nothing to cancel", STR_ARG(d.status));
	else if (decisions_cancel(req->user, &req->ctx, &d, reason, &err)) {
		o = json_pack("{s:s%, s:s, s:s%}", "request_id", d.id.p, d.id.n, "status", "cancelled", "reason",
			      reason.n > 0 ? reason.p : "", reason.n);
		json_put_time(o, "cancelled_at", clock_wall_ms());
		http_reply_json(req, 200, o);
		return;
	}
	http_reply_error(req, &err);
}

static json_t *api_retried(struct http_request *req, const struct decision *d)
{
	json_t *o = api_decision(req, d);

	json_put_str(o, "retried_from", req->params[0]);
	return o;
}

CO_FN static void api_retry(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct decision d;
	json_t *body;

	if (!api_named(req, &d))
		return;
	if (decisions_open(&d) || str_eqz(d.status, "completed")) {
		error_set(&err, ERR_CONFLICT,
			  "the decision is %.*s; only one that failed, timed out or was cancelled is"
			  " asked again",
			  STR_ARG(d.status));
		http_reply_error(req, &err);
		return;
	}
	body = json_parse(req->arena, d.request, &err);
	if (body == NULL)
		http_reply_error(req, &err);
	else
		api_submit_as(req, body, api_retried);
}

/* ---- the cache ---- */

static json_t *api_counts(const struct decision_counts *c)
{
	int64_t asked = c->hits + c->misses;

	return json_pack("{s:I, s:I, s:f, s:I, s:I}", "hits", (json_int_t)c->hits, "misses", (json_int_t)c->misses,
			 "hit_rate", asked > 0 ? (double)c->hits / (double)asked : 0.0, "invalidations",
			 (json_int_t)c->invalidations, "evictions", (json_int_t)c->evictions);
}

/* The counts are those of all nodes; `node` is what answers, as in its metrics. */
CO_FN static void api_cache_stats(struct http_request *req)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct decision_stats s;
	json_t *o, *node, *cluster;

	if (!decision_cache_stats(w, req->arena, &req->ctx, &s, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = api_counts(&s.total);
	json_put_int(o, "total_entries", s.entries);
	json_put_int(o, "size", s.entries);
	json_put_int(o, "max_size", w->conf->decisions.cache_entries);
	json_object_set_new(o, "ttl_seconds", json_real((double)w->conf->decisions.cache_ttl / (double)SEC_US));
	json_object_set(o, "entries_by_workspace", s.by_workspace);
	node = api_counts(&s.node);
	json_put_str(node, "node_id", str_of(w->shm->node_id));
	json_object_set_new(o, "node", node);
	cluster = api_counts(&s.total);
	json_put_int(cluster, "nodes", s.nodes);
	json_put_int(cluster, "total_entries", s.all_entries);
	json_object_set_new(o, "cluster", cluster);
	json_put_str(o, "current_policy_version", s.policy_version);
	json_put_str(o, "policy_version", s.policy_version);
	http_reply_json(req, 200, o);
}

CO_FN static void api_invalidate_by(struct http_request *req, enum decision_cause cause, struct str name,
				    struct str version)
{
	struct error err = ERROR_INIT;
	int64_t n;

	if (!decision_cache_invalidate(req->user, &req->ctx, cause, name, version, &n, &err))
		http_reply_error(req, &err);
	else if (cause == DECISION_POLICY)
		http_reply_json(req, 200,
				json_pack("{s:s%, s:s%}", "policy_version", name.p, name.n, "current_policy_version",
					  name.p, name.n));
	else
		http_reply_json(req, 200, json_pack("{s:I}", "invalidated", (json_int_t)n));
}

CO_FN static void api_cache_invalidate(struct http_request *req)
{
	static const struct {
		const char *type, *field;
		enum decision_cause cause;
	} ways[] = {{"workspace", "workspace_id", DECISION_WORKSPACE},
		    {"policy", "version", DECISION_POLICY},
		    {"agent", "agent", DECISION_AGENT},
		    {"tag", "tag", DECISION_TAG}};
	static const char *const types[] = {"workspace", "policy", "agent", "tag", NULL};
	const json_t *body = body_object(req);
	struct str type, name, version = STR("");
	struct error err = ERROR_INIT;
	struct body_problems p;
	size_t i;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	type = api_word(&p, body, "type", types, "");
	if (json_object_get(body, "type") == NULL) {
		error_field(&err, ERR_MISSING_FIELD, "type", "type is required: workspace, policy, agent or tag");
		body_problem(&p, &err);
	}
	for (i = 0; i < countof(ways) && !str_eqz(type, ways[i].type); i++)
		;
	name = i < countof(ways) ? body_text(&p, body, ways[i].field, 1, 128, false) : STR("");
	if (i < countof(ways) && ways[i].cause == DECISION_AGENT)
		version = body_text(&p, body, "version", 0, 128, false);
	if (!body_refused(req, &p))
		api_invalidate_by(req, ways[i].cause, name, version);
}

CO_FN static void api_cache_clear(struct http_request *req)
{
	api_invalidate_by(req, DECISION_ALL, STR(""), STR(""));
}

static const struct route decision_rows[] = {
    ROUTE(POST, "/api/decisions", api_submit, "decisions:create", CREATE, "Have a question decided, and wait for it"),
    ROUTE(GET, "/api/decisions", api_list, "decisions:read", READ, "Decisions of the last days, the newest first"),
    ROUTE(GET, "/api/decisions/cache/stats", api_cache_stats, "admin:system", READ, "Figures of the decision cache"),
    ROUTE(POST, "/api/decisions/cache/invalidate", api_cache_invalidate, "admin:system", WRITE,
	  "Remove cached decisions by workspace, policy, agent or tag"),
    ROUTE(DELETE, "/api/decisions/cache", api_cache_clear, "admin:system", WRITE, "Remove all cached decisions"),
    ROUTE(GET, "/api/decisions/{id}", api_show, "decisions:read", READ, "One decision"),
    ROUTE(GET, "/api/decisions/{id}/status", api_status, "decisions:read", READ, "How far a decision is"),
    ROUTE(POST, "/api/decisions/{id}/cancel", api_cancel, "decisions:update", WRITE, "Cancel a decision"),
    ROUTE(POST, "/api/decisions/{id}/retry", api_retry, "decisions:update", CREATE, "Ask again what was not decided"),
};

const struct route_table decision_routes = {decision_rows, countof(decision_rows)};
