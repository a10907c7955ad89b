/* SPDX-License-Identifier: MIT */
/*
 * /api/admin/impersonate: begins, renews, lists and ends sessions in which an administrator acts for a member
 * (security.md 2.3). Called by credential.c for every such token that it loads. Requests are noted by the middleware.
 */
#include "worker/access/impersonation.h"

#include "common/clock.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/access/api.h"
#include "worker/identity/credential.h"
#include "worker/mail/mail.h"
#include "worker/worker.h"

#define IMPERSONATE_MINUTES 30
#define IMPERSONATE_MINUTES_MAX 60
#define IMPERSONATE_OF_ADMIN 3
#define IMPERSONATE_ALL 10000
#define IMPERSONATE_REASON_MIN 10
#define IMPERSONATE_REASON_MAX 500
#define IMPERSONATE_ID_BYTES 32
#define STEP_UP_MS INT64_C(300000)
#define MINUTE_MS INT64_C(60000)

/* What nobody does in another's name: credentials, roles, and whatever would outlive the session. */
static const char impersonation_never[] =
    "authentication: create update reset_password require_mfa; api_key: *; api: *; session: revoke; role: *;"
    " users: invite remove change_role impersonate; access: grant delegate; approval: grant; emergency: *; billing: *;"
    " payments: *; organization: delete invite manage_billing; workflows: approve; admin: *; audit_log: delete update";

static struct worker *api_worker(const struct http_request *req)
{
	return req->user;
}

CO_FN bool impersonation_limit(struct worker *w, struct arena *a, struct str session_id, struct str token_id,
			       struct str admin_id, struct str org_id, struct permissions *p, struct error *err)
{
	struct permissions never = {{0}};
	struct access_effective admin;
	struct error ignored = ERROR_INIT;
	struct db_rows r;
	size_t i;
	bool ok;

	if (!db_query(w->db, a,
		      "SELECT 1 FROM impersonations WHERE id = $1 AND token_id = $2 AND admin_id = $3 AND org_id = $4"
		      " AND ended_at = 0 AND expires_at > $5",
		      DB_ARGS(DB_S(session_id), DB_S(token_id), DB_S(admin_id), DB_S(org_id), DB_I(clock_wall_ms())),
		      &r, err))
		return false;
	if (r.count == 0)
		return error_set(err, ERR_INVALID_TOKEN, "the impersonation has ended");
	if (!access_of_member(w, a, org_id, org_id, admin_id, &admin, err))
		return err->code == ERR_NOT_FOUND ? error_set(err, ERR_INVALID_TOKEN, "the impersonation has ended")
						  : false;
	if (!permissions_have(&admin.permissions, permission_find(STR("users.impersonate"))))
		return error_set(err, ERR_INVALID_TOKEN, "the impersonation has ended");
	ok = permissions_grant_text(&never, str_of(impersonation_never), &ignored);
	BUG_ON(!ok);
	permissions_keep(p, &admin.permissions);
	for (i = 0; i < countof(p->bit); i++)
		p->bit[i] &= ~never.bit[i];
	return true;
}

bool access_step_up(struct http_request *req)
{
	const struct identity *who = req->ctx.who;
	struct error err = ERROR_INIT;

	if (who->kind == IDENTITY_USER && who->impersonator.n == 0 && who->mfa_ms > 0 &&
	    clock_wall_ms() - who->mfa_ms <= STEP_UP_MS)
		return true;
	error_set(&err, ERR_MFA_STEP_UP, "this needs a second factor proved within the last five minutes");
	http_reply_error(req, &err);
	return false;
}

/* ---- beginning ---- */

struct api_target {
	struct account account;
	struct str role;
};

/* The member in whose name; false: it has been answered. */
CO_FN static bool api_find_target(struct http_request *req, struct api_target *t)
{
	struct worker *w = api_worker(req);
	const struct membership *m;
	struct error err = ERROR_INIT;

	if (!account_load(w, req->arena, req->params[0], &t->account, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	m = account_member(&t->account, req->ctx.org_id);
	if (m == NULL || !t->account.active) {
		access_refuse(req, ERR_NOT_FOUND, "user_id", "there is no such user");
		return false;
	}
	t->role = m->role;
	if (str_eq(t->account.id, req->ctx.principal)) {
		access_refuse(req, ERR_INVALID_VALUE, "user_id", "nobody acts for themselves");
		return false;
	}
	return true;
}

static struct str api_token(struct http_request *req, const struct api_target *t, struct str session, const char *token,
			    int64_t now_ms, int64_t ends_ms)
{
	const struct jwt_claims claims = {
	    .type = JWT_ACCESS,
	    .sub = t->account.id,
	    .email = t->account.email,
	    .org_id = req->ctx.org_id,
	    .role = t->role,
	    .jti = str_of(token),
	    .sid = session,
	    .imp = req->ctx.principal,
	    .iat = now_ms / 1000,
	    .exp = ends_ms / 1000,
	    .tv = t->account.token_version,
	};

	return jwt_sign(req->arena, credential_keys(api_worker(req)), &claims);
}

static void api_answer(struct http_request *req, const struct api_target *t, struct str session, struct str token,
		       int64_t now_ms, int64_t ends_ms)
{
	http_reply_field(req, "X-Impersonation-Session-ID", "%.*s", STR_ARG(session));
	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:o, s:o, s:{s:o, s:o, s:o, s:o}, s:s}", "token", json_str(token),
				  "expires_in", (json_int_t)((ends_ms - now_ms) / 1000), "expires_at",
				  json_time(ends_ms), "session_id", json_str(session), "target_user", "id",
				  json_str(t->account.id), "email", json_str(t->account.email), "name",
				  json_str(t->account.name), "role", json_str(t->role), "warning",
				  "Every request with this token is recorded with your name."));
}

/* The one who is acted for is told; a mail that does not leave is logged by the mailer. */
static void api_notify(struct http_request *req, const struct api_target *t, struct str reason)
{
	struct str text = arena_printf(
	    req->arena,
	    "An administrator of your organization (%.*s) has begun to act in your name, for at most an hour.\n\n"
	    "Reason given: %.*s\n\nEverything done is recorded in the audit log.\n",
	    STR_ARG(req->ctx.who->email), STR_ARG(reason));

	if (!mail_post(api_worker(req), t->account.email, "Somebody acts in your name", text))
		log_warn("access", "the mail about an impersonation was not sent", KV_STR("user_id", t->account.id));
}

/* False: it has been answered. The limits hold at the moment of the commit. */
CO_FN static bool api_store(struct http_request *req, const struct api_target *t, const char *session,
			    const char *token, struct str reason, int64_t now, int64_t ends)
{
	struct worker *w = api_worker(req);
	struct db_batch *b = db_batch_new(w->db);
	struct error err = ERROR_INIT;

	db_batch_add(b,
		     "INSERT INTO impersonations (id, org_id, admin_id, admin_session, target_id, token_id, reason,"
		     " started_at, expires_at, limit_at) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10"
		     " FROM (SELECT 1 AS one) x WHERE (SELECT COUNT(*) FROM impersonations WHERE admin_id = $3"
		     " AND ended_at = 0 AND expires_at > $8) < $11 AND (SELECT COUNT(*) FROM impersonations"
		     " WHERE ended_at = 0 AND expires_at > $8) < $12",
		     DB_ARGS(DB_Z(session), DB_S(req->ctx.org_id), DB_S(req->ctx.principal),
			     DB_S(req->ctx.who->session_id), DB_S(t->account.id), DB_Z(token), DB_S(reason), DB_I(now),
			     DB_I(ends), DB_I(now + IMPERSONATE_MINUTES_MAX * MINUTE_MS), DB_I(IMPERSONATE_OF_ADMIN),
			     DB_I(IMPERSONATE_ALL)),
		     1);
	audit_add(b, req,
		  &(struct audit_event){.category = "admin",
					.action = "admin.impersonation_start",
					.resource_type = STR("user"),
					.resource_id = t->account.id,
					.reason = reason});
	if (db_commit(w->db, b, &err))
		return true;
	if (err.code == ERR_FENCED)
		access_refuse(req, ERR_CONFLICT, "", "you already act for %d others; end one of these sessions first",
			      IMPERSONATE_OF_ADMIN);
	else
		http_reply_error(req, &err);
	return false;
}

CO_FN static void api_begin(struct http_request *req)
{
	int64_t now = clock_wall_ms(), minutes, ends;
	char session[2 * IMPERSONATE_ID_BYTES + 1], token[UUID_LEN + 1];
	const json_t *body;
	struct api_target t;
	struct body_problems p;
	struct str reason;

	if (!access_step_up(req) || (body = body_object(req)) == NULL)
		return;
	body_problems_begin(req, &p);
	reason = body_text(&p, body, "reason", IMPERSONATE_REASON_MIN, IMPERSONATE_REASON_MAX, false);
	minutes = access_number(&p, body, "minutes", 1, IMPERSONATE_MINUTES_MAX, IMPERSONATE_MINUTES);
	if (body_refused(req, &p) || !api_find_target(req, &t))
		return;
	ends = now + minutes * MINUTE_MS;
	ids_hex(session, IMPERSONATE_ID_BYTES);
	ids_uuid7(token);
	if (!api_store(req, &t, session, token, reason, now, ends))
		return;
	metric_add(M_IMPERSONATE, 1, NULL);
	log_warn("access", "an administrator acts for somebody else", KV_STR("admin", req->ctx.principal),
		 KV_STR("user_id", t.account.id), KV_STR("why", reason));
	api_notify(req, &t, reason);
	api_answer(req, &t, str_of(session), api_token(req, &t, str_of(session), token, now, ends), now, ends);
}

/* ---- renewing and ending ---- */

CO_FN static void api_renew(struct http_request *req)
{
	struct worker *w = api_worker(req);
	int64_t now = clock_wall_ms(), ends;
	struct str session = req->params[0];
	struct error err = ERROR_INIT;
	char token[UUID_LEN + 1];
	struct db_batch *b;
	struct api_target t;
	struct db_rows r;

	if (!db_query(w->db, req->arena,
		      "SELECT target_id, limit_at FROM impersonations WHERE id = $1 AND org_id = $2 AND admin_id = $3"
		      " AND ended_at = 0 AND expires_at > $4",
		      DB_ARGS(DB_S(session), DB_S(req->ctx.org_id), DB_S(req->ctx.principal), DB_I(now)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	if (r.count == 0) {
		access_refuse(req, ERR_NOT_FOUND, "id", "you have no such session");
		return;
	}
	ends = now + IMPERSONATE_MINUTES * MINUTE_MS;
	ends = ends < db_int(&r, 0, 1) ? ends : db_int(&r, 0, 1);
	req->params[0] = db_str(&r, 0, 0);
	if (!api_find_target(req, &t))
		return;
	ids_uuid7(token);
	b = db_batch_new(w->db);
	/* The former token is not the session's any more. */
	db_batch_add(
	    b,
	    "UPDATE impersonations SET token_id = $2, expires_at = $3 WHERE id = $1 AND ended_at = 0 AND org_id = $4",
	    DB_ARGS(DB_S(session), DB_Z(token), DB_I(ends), DB_S(req->ctx.org_id)), 1);
	if (access_commit(req, b,
			  &(struct audit_event){.category = "admin",
						.action = "admin.impersonation_refreshed",
						.resource_type = STR("user"),
						.resource_id = t.account.id},
			  IDENTITY_CHANGE_SESSION, session, ""))
		api_answer(req, &t, session, api_token(req, &t, session, token, now, ends), now, ends);
}

CO_FN static void api_end(struct http_request *req)
{
	/* The session itself may end it too: with its own token the caller is the target. */
	struct str admin = req->ctx.who->impersonator.n > 0 ? req->ctx.who->impersonator : req->ctx.principal;
	struct db_batch *b = db_batch_new(api_worker(req)->db);

	db_batch_add(b,
		     "UPDATE impersonations SET ended_at = $4, ended_by = $3 WHERE id = $1 AND org_id = $2"
		     " AND admin_id = $3 AND ended_at = 0",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id), DB_S(admin), DB_I(clock_wall_ms())), 1);
	audit_add(b, req,
		  &(struct audit_event){.category = "admin",
					.action = "admin.impersonation_end",
					.resource_type = STR("impersonation"),
					.resource_id = req->params[0]});
	identity_change_add(b, IDENTITY_CHANGE_SESSION, req->params[0]);
	{
		struct error err = ERROR_INIT;

		if (!db_commit(api_worker(req)->db, b, &err)) {
			if (err.code == ERR_FENCED)
				access_refuse(req, ERR_NOT_FOUND, "id", "you have no such session");
			else
				http_reply_error(req, &err);
			return;
		}
	}
	identity_changed(api_worker(req), IDENTITY_CHANGE_SESSION, req->params[0]);
	http_reply_json(req, 200, json_pack("{s:b, s:o}", "ended", 1, "session_id", json_str(req->params[0])));
}

CO_FN static void api_list(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *list;
	size_t i;

	if (!db_query(api_worker(req)->db, req->arena,
		      "SELECT id, admin_id, target_id, reason, started_at, expires_at, ended_at FROM impersonations"
		      " WHERE org_id = $1 ORDER BY started_at DESC LIMIT $2",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_I(ACCESS_PAGE)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		bool active = db_int(&r, i, 6) == 0 && db_int(&r, i, 5) > clock_wall_ms();
		json_t *o = json_object();

		json_put_str(o, "session_id", db_str(&r, i, 0));
		json_put_str(o, "admin_id", db_str(&r, i, 1));
		json_put_str(o, "target_user_id", db_str(&r, i, 2));
		json_put_str(o, "reason", db_str(&r, i, 3));
		json_object_set_new(o, "started_at", json_time(db_int(&r, i, 4)));
		json_object_set_new(o, "expires_at", json_time(db_int(&r, i, 5)));
		json_object_set_new(o, "ended_at", json_time(db_int(&r, i, 6)));
		json_object_set_new(o, "active", json_boolean(active));
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200, json_pack("{s:o, s:I}", "sessions", list, "total", (json_int_t)r.count));
}

#define SECRET_ROW(p, h, s) ROUTE(POST, p, h, "users:impersonate", WRITE, s, .flags = ROUTE_SECRET)

static const struct route impersonation_rows[] = {
    SECRET_ROW("/api/admin/impersonate/{id}", api_begin, "A token to act for a member; needs a fresh second factor"),
    SECRET_ROW("/api/admin/users/{id}/impersonate", api_begin, "The same as admin/impersonate"),
    SECRET_ROW("/api/admin/impersonation/{id}/refresh", api_renew, "The next token of a session, within its hour"),
    ROUTE(GET, "/api/admin/impersonation", api_list, "users:impersonate", READ, "Who acted for whom"),
    ROUTE(DELETE, "/api/admin/impersonation/{id}", api_end, "authentication:revoke", WRITE,
	  "End a session that you began"),
};
const struct route_table impersonation_routes = {impersonation_rows, countof(impersonation_rows)};
