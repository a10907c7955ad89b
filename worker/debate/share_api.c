/* SPDX-License-Identifier: MIT */
/*
 * Debates for people without an account (rest-core 4.9): links that expire and can be ended, and what their holders may
 * see, which is what was said and decided. Whose debate it is, what it was told, and what it cost stay inside.
 */
#include "common/clock.h"
#include "common/html.h"
#include "common/json.h"
#include "common/log.h"
#include "common/tenant.h"
#include "worker/access/share_link.h"
#include "worker/audit/audit.h"
#include "worker/debate/control.h"
#include "worker/debate/request.h"
#include "worker/debate/view.h"
#include "worker/http/body.h"
#include "worker/stream/sse.h"
#include "worker/stream/stream.h"
#include "worker/worker.h"

#define SHARE_VIEWERS 100 /* who follow it on one worker at a time */
#define SHARE_VIEWERS_MAX 1000
#define SHARE_LIST_MAX 100 /* links of one debate */
#define SHARE_OG_TEXT 300  /* bytes of the answer in a preview */
#define SHARE_WHY "who holds the token of a link may read the debate it is for"

static void share_audit(struct db_batch *b, struct http_request *req, const char *action, struct str debate_id)
{
	audit_add(b, req,
		  &(struct audit_event){
		      .category = "data", .action = action, .resource_type = STR("debate"), .resource_id = debate_id});
}

/* False: answered. */
static bool share_on(struct http_request *req)
{
	struct error err = ERROR_INIT;

	if (request_worker(req)->conf->debates.share_links)
		return true;
	error_set(&err, ERR_FORBIDDEN, "links to debates are switched off (debates.share_links)");
	http_reply_error(req, &err);
	return false;
}

/* ---- for its people ---- */

static json_t *share_made(struct http_request *req, struct str id, struct str token, int64_t expires_at,
			  int64_t viewers)
{
	struct str path = arena_printf(req->arena, "/api/debates/public/%.*s", STR_ARG(token));
	json_t *o = json_pack("{s:b, s:b}", "success", 1, "public_spectate", 1);

	json_put_str(o, "debate_id", id);
	json_put_str(o, "token", token);
	json_put_str(o, "share_url", path);
	json_put_str(o, "full_url", share_link_url(req, path));
	json_put_str(
	    o, "spectate_url",
	    arena_printf(req->arena, "/api/debates/%.*s/spectate/public?token=%.*s", STR_ARG(id), STR_ARG(token)));
	json_put_str(o, "sse_url", arena_printf(req->arena, "%.*s/events", STR_ARG(path)));
	json_put_time(o, "expires_at", expires_at);
	json_put_int(o, "max_viewers", viewers);
	return o;
}

CO_FN static void share_create(struct http_request *req)
{
	int64_t hours, viewers, now = clock_wall_ms();
	struct str token = share_link_token(req->arena);
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	struct debate_row row;
	struct db_batch *b;

	if (body == NULL || !share_on(req))
		return;
	if (!share_link_number(body, "expires_in_hours", SHARE_LINK_HOURS, SHARE_LINK_HOURS_MAX, &hours, &err) ||
	    !share_link_number(body, "max_viewers", SHARE_VIEWERS, SHARE_VIEWERS_MAX, &viewers, &err)) {
		http_reply_error(req, &err);
		return;
	}
	if (!request_debate(req, &row))
		return;
	b = db_batch_new(request_worker(req)->db);
	db_batch_add(b, "DELETE FROM debate_shares WHERE workspace_id = $1 AND org_id = $2 AND expires_at < $3",
		     DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(req->ctx.org_id), DB_I(now - SHARE_LINK_GRACE_MS)),
		     DB_ANY);
	db_batch_add(b,
		     "INSERT INTO debate_shares (token_hash, debate_id, org_id, workspace_id, created_by, created_at,"
		     " expires_at, max_viewers) SELECT $1, $2, $3, $4, $5, $6, $7, $8 FROM (SELECT 1 AS one) x WHERE"
		     " (SELECT COUNT(*) FROM debate_shares s WHERE s.debate_id = $2 AND s.workspace_id = $4) < $9",
		     DB_ARGS(DB_S(share_link_hash(req->arena, token)), DB_S(row.id), DB_S(req->ctx.org_id),
			     DB_S(req->ctx.workspace_id), DB_S(req->ctx.principal), DB_I(now),
			     DB_I(now + hours * SHARE_LINK_HOUR_MS), DB_I(viewers), DB_I(SHARE_LIST_MAX)),
		     1);
	share_audit(b, req, "debate.share", row.id);
	if (db_commit(request_worker(req)->db, b, &err)) {
		http_reply_json(req, 200, share_made(req, row.id, token, now + hours * SHARE_LINK_HOUR_MS, viewers));
		return;
	}
	if (err.code == ERR_FENCED)
		error_set(&err, ERR_CONFLICT, "the debate has %d links; end some of them first", SHARE_LIST_MAX);
	http_reply_error(req, &err);
}

/* Which links there are; the tokens themselves nobody has but who was given them. */
CO_FN static void share_list(struct http_request *req)
{
	json_t *list = json_own(req->arena, json_array());
	int64_t now = clock_wall_ms();
	struct error err = ERROR_INIT;
	struct debate_row row;
	bool any = false;
	struct db_rows r;
	size_t i;

	if (!request_debate(req, &row))
		return;
	if (!db_query(request_worker(req)->db, req->arena,
		      "SELECT created_at, expires_at, max_viewers, access_count, created_by FROM debate_shares WHERE"
		      " debate_id = $1 AND org_id = $2 AND workspace_id = $3 ORDER BY created_at DESC LIMIT $4",
		      DB_ARGS(DB_S(row.id), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), DB_I(SHARE_LIST_MAX)),
		      &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	for (i = 0; i < r.count; i++) {
		bool active = db_int(&r, i, 1) > now;
		json_t *o = json_object();

		json_put_time(o, "created_at", db_int(&r, i, 0));
		json_put_time(o, "expires_at", db_int(&r, i, 1));
		json_put_int(o, "max_viewers", db_int(&r, i, 2));
		json_put_int(o, "access_count", db_int(&r, i, 3));
		json_put_str(o, "created_by", db_str(&r, i, 4));
		json_object_set_new(o, "active", json_boolean(active));
		json_array_append_new(list, o);
		any = any || active;
	}
	http_reply_json(req, 200,
			json_pack("{s:s%, s:b, s:O, s:I}", "debate_id", row.id.p, row.id.n, "public_spectate",
				  (int)(any && request_worker(req)->conf->debates.share_links), "shares", list, "count",
				  (json_int_t)r.count));
}

CO_FN static void share_revoke(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct debate_row row;
	struct db_batch *b;

	if (!request_debate(req, &row))
		return;
	b = db_batch_new(request_worker(req)->db);
	db_batch_add(b, "DELETE FROM debate_shares WHERE debate_id = $1 AND org_id = $2 AND workspace_id = $3",
		     DB_ARGS(DB_S(row.id), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id)), DB_ANY);
	share_audit(b, req, "debate.unshare", row.id);
	if (db_commit(request_worker(req)->db, b, &err))
		http_reply_json(
		    req, 200,
		    json_pack("{s:b, s:s%, s:b}", "success", 1, "debate_id", row.id.p, row.id.n, "public_spectate", 0));
	else
		http_reply_error(req, &err);
}

/* ---- for the holders of a link ---- */

/* What a link leads to. ctx: the debate's tenant, and nobody in it. */
struct share {
	struct context ctx;
	struct str debate_id;
	int64_t expires_at, max_viewers;
};

/* ERR_NOT_FOUND: there is none of that token, or links are off. It may have expired. */
CO_FN static bool share_find(struct http_request *req, struct str token, struct share *s, struct error *err)
{
	struct db_rows r;

	if (!db_query(request_worker(req)->db, req->arena,
		      SQL_ANYBODY(SHARE_WHY) //
		      "SELECT debate_id, org_id, workspace_id, expires_at, max_viewers FROM debate_shares"
		      " WHERE token_hash = $1",
		      DB_ARGS(DB_S(share_link_hash(req->arena, token))), &r, err))
		return false;
	if (r.count == 0 || !request_worker(req)->conf->debates.share_links)
		return error_set(err, ERR_NOT_FOUND, "Share link not found");
	*s = (struct share){.ctx = {.principal = STR("link"),
				    .org_id = db_str(&r, 0, 1),
				    .workspace_id = db_str(&r, 0, 2),
				    .request_id = req->request_id},
			    .debate_id = db_str(&r, 0, 0),
			    .expires_at = db_int(&r, 0, 3),
			    .max_viewers = db_int(&r, 0, 4)};
	return true;
}

/* The debate that the token of the path is for. False: answered. */
CO_FN static bool share_follow(struct http_request *req, struct share *s, struct debate_row *row)
{
	struct error err = ERROR_INIT;

	http_reply_field(req, "Cache-Control", "no-store");
	http_reply_field(req, "X-Robots-Tag", "noindex");
	if (!share_find(req, req->params[0], s, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	if (s->expires_at <= clock_wall_ms()) {
		share_link_gone(req, "Share link has expired");
		return false;
	}
	if (debate_get(request_worker(req)->db, req->arena, &s->ctx, s->debate_id, row, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

/* How often links are used is for the people of the debate; whether it could be counted is not the reader's concern. */
CO_FN static void share_count(struct http_request *req)
{
	struct db_batch *b = db_batch_new(request_worker(req)->db);
	struct error err = ERROR_INIT;

	db_batch_add(b,
		     SQL_ANYBODY(SHARE_WHY) "UPDATE debate_shares SET access_count = access_count + 1"
					    " WHERE token_hash = $1",
		     DB_ARGS(DB_S(share_link_hash(req->arena, req->params[0]))), DB_ANY);
	if (!db_commit(request_worker(req)->db, b, &err))
		log_warn("debate", "the use of a link was not counted", KV_S("error", err.msg));
}

/* The members of the debate that are for everybody with a link. New reference; NULL: answered. */
CO_FN static json_t *share_view(struct http_request *req, const struct share *s, const struct debate_row *row)
{
	static const char *const members[] = {"id",
					      "debate_id",
					      "slug",
					      "task",
					      "topic",
					      "title",
					      "status",
					      "agents",
					      "rounds",
					      "total_rounds",
					      "current_round",
					      "rounds_used",
					      "messages",
					      "critiques",
					      "votes",
					      "consensus",
					      "consensus_reached",
					      "confidence",
					      "agreement",
					      "final_answer",
					      "conclusion",
					      "winner",
					      "dissenting_views",
					      "created_at",
					      "started_at",
					      "completed_at",
					      "duration_seconds",
					      "in_progress",
					      "message_count",
					      "demo"};
	const json_t *all = json_own(req->arena, request_view(req, &s->ctx, row));
	json_t *o;
	size_t i;

	if (all == NULL)
		return NULL;
	o = json_object();
	for (i = 0; i < countof(members); i++)
		if (json_object_get(all, members[i]) != NULL)
			json_object_set(o, members[i], json_object_get(all, members[i]));
	json_object_set_new(o, "shared", json_true());
	return o;
}

CO_FN static void share_show(struct http_request *req)
{
	struct debate_row row;
	json_t *o;
	struct share s = {.expires_at = 0};

	if (!share_follow(req, &s, &row))
		return;
	share_count(req);
	o = share_view(req, &s, &row);
	if (o != NULL)
		http_reply_json(req, 200, o);
}

static void share_meta(struct buf *out, const char *property, struct str content)
{
	buf_printf(out, "<meta property=\"%s\" content=\"", property);
	html_escape(out, content);
	buf_addz(out, "\">\n");
}

/* A page that chats and feeds make a preview of. */
CO_FN static void share_preview(struct http_request *req)
{
	struct buf out = BUF_INIT;
	struct debate_row row;
	struct str answer;
	struct share s = {.expires_at = 0};

	if (!share_follow(req, &s, &row))
		return;
	answer =
	    row.final_answer.n > 0 ? str_utf8_cut(row.final_answer, SHARE_OG_TEXT) : str_of(view_status_word(&row));
	buf_addz(&out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<title>");
	html_escape(&out, row.task);
	buf_addz(&out, "</title>\n");
	share_meta(&out, "og:type", STR("article"));
	share_meta(&out, "og:site_name", STR("Aragora"));
	share_meta(&out, "og:title", str_utf8_cut(row.task, SHARE_OG_TEXT));
	share_meta(&out, "og:description", answer);
	share_meta(&out, "og:url", share_link_url(req, req->path));
	buf_addz(&out, "</head><body><h1>");
	html_escape(&out, row.task);
	buf_addz(&out, "</h1>\n<p>");
	html_escape(&out, answer);
	buf_addz(&out, "</p></body></html>\n");
	http_reply_field(req, "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
	http_reply(req, 200, "text/html; charset=utf-8", buf_str(&out));
	buf_free(&out);
}

/* Is there room for one more on this worker? False: answered. */
static bool share_room(struct http_request *req, const struct share *s)
{
	json_t *o;

	if ((int64_t)stream_subscribers(request_worker(req)->stream, s->debate_id) < s->max_viewers)
		return true;
	o = json_pack("{s:s, s:s, s:I}", "error", "as many follow this debate as may", "code", "spectator_limit",
		      "max_viewers", (json_int_t)s->max_viewers);
	json_put_str(o, "trace_id", req->request_id);
	http_reply_field(req, "Retry-After", "30");
	http_reply_json(req, 429, o);
	return false;
}

CO_FN static void share_events(struct http_request *req)
{
	struct debate_row row;
	struct share s = {.expires_at = 0};

	if (share_follow(req, &s, &row) && share_room(req, &s))
		stream_spectate(req, &s.ctx, &row);
}

/* Without a link that fits nothing is told, not even whether there is such a debate. */
CO_FN static void share_spectate(struct http_request *req)
{
	struct str token = http_query(req, "token");
	struct error err = ERROR_INIT;
	struct share s = {.expires_at = 0};
	json_t *o;

	http_reply_field(req, "Cache-Control", "no-store");
	if (!share_find(req, token, &s, &err) && err.code != ERR_NOT_FOUND) {
		http_reply_error(req, &err);
		return;
	}
	if (err.code != ERR_OK || s.expires_at <= clock_wall_ms() || !str_eq(s.debate_id, req->params[0])) {
		o = json_pack("{s:s, s:s}", "error", "this debate is not shared with you; its people can make a link",
			      "code", "not_shared");
		json_put_str(o, "trace_id", req->request_id);
		http_reply_json(req, 403, o);
		return;
	}
	if (!share_room(req, &s))
		return;
	o = json_pack("{s:b, s:b}", "spectate_available", 1, "public", 1);
	json_put_str(o, "debate_id", s.debate_id);
	json_put_int(o, "active_viewers", stream_subscribers(request_worker(req)->stream, s.debate_id));
	json_put_int(o, "max_viewers", s.max_viewers);
	json_put_str(o, "sse_url", arena_printf(req->arena, "/api/debates/public/%.*s/events", STR_ARG(token)));
	json_put_time(o, "expires_at", s.expires_at);
	http_reply_json(req, 200, o);
}

/* ---- routes ---- */

#define OPEN(path, handler, text, out, ...) \
	ROUTE(GET, path, handler, NULL, READ, text, .response = (out), .flags = ROUTE_PUBLIC __VA_OPT__(|) __VA_ARGS__)

static const struct route share_rows[] = {
    ROUTE_IO(POST, "/api/debates/{id}/share", share_create, "debates:export", WRITE,
	     "A link with which anybody may read the debate for some hours", "DebateShare", "DebateShared"),
    ROUTE(GET, "/api/debates/{id}/share", share_list, "debates:export", READ, "The links to the debate and their use"),
    ROUTE(DELETE, "/api/debates/{id}/share", share_revoke, "debates:export", WRITE, "End all links to the debate"),
    ROUTE(POST, "/api/debates/{id}/share/revoke", share_revoke, "debates:export", WRITE, "End all links to the debate"),
    OPEN("/api/debates/{id}/spectate/public", share_spectate, "May the debate be followed? ?token= of a link",
	 "Spectate"),
    OPEN("/api/debates/public/{token}", share_show, "The debate that a link is for", "Debate"),
    OPEN("/api/debates/public/{token}/og", share_preview, "The same as a page with OpenGraph data", NULL),
    OPEN("/api/debates/public/{token}/events", share_events, "Its events: a page, or server-sent events", NULL,
	 ROUTE_STREAM),
};
const struct route_table debate_share_routes = {share_rows, countof(share_rows)};
