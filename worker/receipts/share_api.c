/* SPDX-License-Identifier: MIT */
/*
 * Receipts for others and for courts: links that anybody may follow until they expire or were used so often, and legal
 * hold, which keeps a receipt and its debate from retention and deletion. Of a link only the hash of its token is kept.
 */
#include "worker/receipts/api.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/access/share_link.h"
#include "worker/audit/audit.h"
#include "worker/http/body.h"
#include "worker/worker.h"

#define SHARE_ACCESSES_MAX 1000000
#define SHARE_LIST_MAX 100
#define HOLD_TEXT_MAX 1000

static struct worker *share_worker(const struct http_request *req)
{
	return req->user;
}

/* Who lets others read a receipt, or keeps it from deletion, is on record: committed with the act. */
static void share_audit(struct db_batch *b, struct http_request *req, const struct receipt_row *row, const char *action,
			struct str reason)
{
	audit_add(b, req,
		  &(struct audit_event){.category = "data",
					.action = action,
					.resource_type = STR("receipt"),
					.resource_id = row->id,
					.reason = reason});
}

/* ---- links ---- */

CO_FN static void share_create(struct http_request *req)
{
	const json_t *body = body_object(req);
	int64_t hours, accesses, now = clock_wall_ms();
	struct str token = share_link_token(req->arena);
	struct error err = ERROR_INIT;
	struct receipt_row row = {.created_at = 0};
	struct db_batch *b;
	json_t *o;

	if (body == NULL)
		return;
	if (!share_link_number(body, "expires_in_hours", SHARE_LINK_HOURS, SHARE_LINK_HOURS_MAX, &hours, &err) ||
	    !share_link_number(body, "max_accesses", 0, SHARE_ACCESSES_MAX, &accesses, &err) ||
	    !receipt_row_load(req, req->params[0], &row, &err)) {
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(share_worker(req)->db);
	db_batch_add(b, "DELETE FROM receipt_shares WHERE workspace_id = $1 AND org_id = $2 AND expires_at < $3",
		     DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(req->ctx.org_id), DB_I(now - SHARE_LINK_GRACE_MS)),
		     DB_ANY);
	db_batch_add(b,
		     "INSERT INTO receipt_shares (token_hash, receipt_id, debate_id, org_id, workspace_id, created_at, "
		     "expires_at, max_accesses, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		     DB_ARGS(DB_S(share_link_hash(req->arena, token)), DB_S(row.id), DB_S(row.debate_id),
			     DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), DB_I(now),
			     DB_I(now + hours * SHARE_LINK_HOUR_MS), DB_I(accesses), DB_S(req->ctx.principal)),
		     1);
	share_audit(b, req, &row, "receipt.share", STR(""));
	if (!db_commit(share_worker(req)->db, b, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = json_pack("{s:b, s:s%, s:s%, s:o}", "success", 1, "receipt_id", row.id.p, row.id.n, "token", token.p,
		      token.n, "max_accesses", accesses > 0 ? json_integer(accesses) : json_null());
	json_put_str(o, "share_url", arena_printf(req->arena, "/api/receipts/share/%.*s", STR_ARG(token)));
	json_put_time(o, "expires_at", now + hours * SHARE_LINK_HOUR_MS);
	http_reply_json(req, 200, o);
}

/* Which links there are; the tokens themselves nobody has but who was given them. */
CO_FN static void share_list(struct http_request *req)
{
	json_t *list = json_own(req->arena, json_array());
	int64_t now = clock_wall_ms();
	struct error err = ERROR_INIT;
	struct receipt_row row = {.created_at = 0};
	struct db_rows r;
	size_t i;

	if (!receipt_row_load(req, req->params[0], &row, &err) ||
	    !db_query(share_worker(req)->db, req->arena,
		      "SELECT created_at, expires_at, max_accesses, access_count, created_by FROM receipt_shares WHERE "
		      "receipt_id = $1 AND org_id = $2 AND workspace_id = $3 ORDER BY created_at DESC LIMIT $4",
		      DB_ARGS(DB_S(row.id), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), DB_I(SHARE_LIST_MAX)),
		      &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	for (i = 0; i < r.count; i++) {
		json_t *o = json_object();

		json_put_time(o, "created_at", db_int(&r, i, 0));
		json_put_time(o, "expires_at", db_int(&r, i, 1));
		json_object_set_new(o, "max_accesses",
				    db_int(&r, i, 2) > 0 ? json_integer(db_int(&r, i, 2)) : json_null());
		json_put_int(o, "access_count", db_int(&r, i, 3));
		json_put_str(o, "created_by", db_str(&r, i, 4));
		json_object_set_new(o, "active",
				    json_boolean(db_int(&r, i, 1) > now &&
						 (db_int(&r, i, 2) == 0 || db_int(&r, i, 3) < db_int(&r, i, 2))));
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200,
			json_pack("{s:s%, s:O, s:I}", "receipt_id", row.id.p, row.id.n, "shares", list, "count",
				  (json_int_t)json_array_size(list)));
}

CO_FN static void share_revoke(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct receipt_row row = {.created_at = 0};
	struct db_batch *b;

	if (!receipt_row_load(req, req->params[0], &row, &err)) {
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(share_worker(req)->db);
	db_batch_add(b, "DELETE FROM receipt_shares WHERE receipt_id = $1 AND org_id = $2 AND workspace_id = $3",
		     DB_ARGS(DB_S(row.id), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id)), DB_ANY);
	share_audit(b, req, &row, "receipt.unshare", STR(""));
	if (db_commit(share_worker(req)->db, b, &err))
		http_reply_json(req, 200, json_pack("{s:b, s:s%}", "success", 1, "receipt_id", row.id.p, row.id.n));
	else
		http_reply_error(req, &err);
}

static void share_refuse(struct http_request *req, const struct db_rows *r)
{
	struct error err = ERROR_INIT;

	if (r->count == 0) {
		error_set(&err, ERR_NOT_FOUND, "Share link not found");
		http_reply_error(req, &err);
	} else if (db_int(r, 0, 0) <= clock_wall_ms()) {
		share_link_gone(req, "Share link has expired");
	} else {
		share_link_gone(req, "Share link access limit reached");
	}
}

/*
 * Counts the access and reads in one go: two who come at once do not both get the last one. False: *r tells why not.
 * Anybody may come with anything: what is no token of a link costs a look, and nothing is written for it.
 */
CO_FN static bool share_take(struct http_request *req, struct str hash, struct db_rows *r, bool *taken,
			     struct error *err)
{
	struct worker *w = share_worker(req);
	struct db_batch *b;

	*taken = false;
	if (!db_query(w->db, req->arena,
		      SQL_ANYBODY("who holds the token of a link may read what it is for") //
		      "SELECT expires_at FROM receipt_shares WHERE token_hash = $1",
		      DB_ARGS(DB_S(hash)), r, err))
		return false;
	if (r->count == 0)
		return true;
	b = db_batch_new(w->db);
	db_batch_add(
	    b,
	    SQL_ANYBODY("who holds the token of a link may read what it is for") "UPDATE receipt_shares SET "
										 "access_count = access_count + 1 "
										 "WHERE token_hash = $1 AND expires_at "
										 "> $2 AND (max_accesses = 0 OR "
										 "access_count < max_accesses)",
	    DB_ARGS(DB_S(hash), DB_I(clock_wall_ms())), 1);
	*taken = db_commit(w->db, b, err);
	if (!*taken && err->code != ERR_FENCED)
		return false;
	*err = ERROR_INIT;
	return db_query(
	    w->db, req->arena,
	    SQL_ANYBODY("who holds the token of a link may read what it is for") "SELECT s.expires_at, "
										 "s.access_count, r.document FROM "
										 "receipt_shares s JOIN receipts r ON "
										 "r.id = s.receipt_id WHERE "
										 "s.token_hash = $1",
	    DB_ARGS(DB_S(hash)), r, err);
}

/* Public: JSON as clients know it, or any other format. */
CO_FN static void share_follow(struct http_request *req)
{
	struct error err = ERROR_INIT;
	const struct receipt_format *f =
	    receipt_format_find(http_query(req, "format"), http_field(req, "Accept"), &err);
	struct db_rows r = {0};
	const json_t *doc = NULL;
	bool taken = false;

	if (f == NULL || !share_take(req, share_link_hash(req->arena, req->params[0]), &r, &taken, &err)) {
		http_reply_error(req, &err);
		return;
	}
	if (!taken || r.count == 0) {
		share_refuse(req, &r);
		return;
	}
	doc = json_parse(req->arena, db_str(&r, 0, 2), &err);
	http_reply_field(req, "Cache-Control", "no-store");
	if (doc == NULL)
		http_reply_error(req, &err);
	else if (strcmp(f->name, "json") == 0)
		http_reply_json(req, 200,
				json_pack("{s:o, s:b, s:I}", "receipt", receipt_view(doc), "shared", 1, "access_count",
					  (json_int_t)db_int(&r, 0, 1)));
	else
		receipt_send(req, doc, f);
}

/* ---- legal hold ---- */

CO_FN static void hold_show(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct receipt_row row = {.created_at = 0};
	struct db_rows r;
	json_t *o;

	if (!receipt_row_load(req, req->params[0], &row, &err) ||
	    !db_query(
		share_worker(req)->db, req->arena,
		"SELECT reason, matter_id, placed_by, placed_at FROM receipt_holds WHERE receipt_id = $1 AND org_id = "
		"$2 AND workspace_id = $3",
		DB_ARGS(DB_S(row.id), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = json_pack("{s:s%, s:b}", "receipt_id", row.id.p, row.id.n, "legal_hold", r.count > 0);
	if (r.count > 0) {
		json_put_str(o, "reason", db_str(&r, 0, 0));
		json_put_str(o, "matter_id", db_str(&r, 0, 1));
		json_put_str(o, "placed_by", db_str(&r, 0, 2));
		json_put_time(o, "placed_at", db_int(&r, 0, 3));
	}
	http_reply_json(req, 200, o);
}

/* A hold that is there already gets the new reason: who placed it first is in the audit log. */
CO_FN static void hold_place(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct str reason = str_trim(json_get_str(body, "reason", STR(""))),
		   matter = str_trim(json_get_str(body, "matter_id", STR("")));
	struct error err = ERROR_INIT;
	struct receipt_row row = {.created_at = 0};
	struct db_batch *b;

	if (body == NULL)
		return;
	if (reason.n == 0 || reason.n > HOLD_TEXT_MAX)
		error_field(&err, ERR_INVALID_VALUE, "reason", "must be a text of 1 to %d bytes", HOLD_TEXT_MAX);
	else if (matter.n > HOLD_TEXT_MAX)
		error_field(&err, ERR_INVALID_VALUE, "matter_id", "must be a text of at most %d bytes", HOLD_TEXT_MAX);
	if (err.code != ERR_OK || !receipt_row_load(req, req->params[0], &row, &err)) {
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(share_worker(req)->db);
	db_batch_add(b, "DELETE FROM receipt_holds WHERE receipt_id = $1 AND org_id = $2 AND workspace_id = $3",
		     DB_ARGS(DB_S(row.id), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id)), DB_ANY);
	db_batch_add(
	    b,
	    "INSERT INTO receipt_holds (receipt_id, debate_id, org_id, workspace_id, reason, matter_id, placed_by, "
	    "placed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
	    DB_ARGS(DB_S(row.id), DB_S(row.debate_id), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), DB_S(reason),
		    DB_S(matter), DB_S(req->ctx.principal), DB_I(clock_wall_ms())),
	    1);
	share_audit(b, req, &row, "receipt.hold", reason);
	if (db_commit(share_worker(req)->db, b, &err))
		hold_show(req);
	else
		http_reply_error(req, &err);
}

CO_FN static void hold_lift(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct receipt_row row = {.created_at = 0};
	struct db_batch *b;

	if (!receipt_row_load(req, req->params[0], &row, &err)) {
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(share_worker(req)->db);
	db_batch_add(b, "DELETE FROM receipt_holds WHERE receipt_id = $1 AND org_id = $2 AND workspace_id = $3",
		     DB_ARGS(DB_S(row.id), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id)), DB_ANY);
	share_audit(b, req, &row, "receipt.hold_lift", STR(""));
	if (db_commit(share_worker(req)->db, b, &err))
		hold_show(req);
	else
		http_reply_error(req, &err);
}

static const struct route share_rows[] = {
    ROUTE(POST, "/api/receipts/{id}/share", share_create, "receipts:share", WRITE,
	  "A link with which anybody may read the receipt for some hours, or some times"),
    ROUTE(DELETE, "/api/receipts/{id}/share", share_revoke, "receipts:share", WRITE, "End all links to the receipt"),
    ROUTE(GET, "/api/receipts/{id}/shares", share_list, "receipts:share", READ,
	  "The links to the receipt and their use"),
    ROUTE(GET, "/api/receipts/share/{token}", share_follow, NULL, READ, "The receipt that a link is for, in any format",
	  .flags = ROUTE_PUBLIC),
    ROUTE(GET, "/api/receipts/{id}/legal-hold", hold_show, "receipts:read", READ, "Is the receipt under legal hold?"),
    ROUTE(POST, "/api/receipts/{id}/legal-hold", hold_place, "receipts:sign", WRITE,
	  "Keep the receipt from retention and deletion: {reason, matter_id?}"),
    ROUTE(DELETE, "/api/receipts/{id}/legal-hold", hold_lift, "receipts:sign", WRITE, "End the legal hold"),
};

const struct route_table receipt_share_routes = {share_rows, countof(share_rows)};
