/* SPDX-License-Identifier: MIT */
/*
 * /api/auth/sessions: the sessions of the own account, ending one, and the sweep of what has expired, which is also a
 * periodic job (worker/jobs). Logging in and out is auth_api.c.
 */
#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "worker/audit/audit.h"
#include "worker/identity/changes.h"
#include "worker/identity/session.h"
#include "worker/identity/sweep.h"
#include "worker/worker.h"

#define SESSIONS_SHOWN 200

static json_t *session_methods(struct str text)
{
	json_t *list = json_array();
	struct str one;

	while (text.n > 0 && str_split(&text, ',', &one))
		json_array_append_new(list, json_str(one));
	return list;
}

static json_t *session_row(const struct db_rows *r, size_t i, const struct identity *who)
{
	json_t *o = json_object();

	json_put_str(o, "session_id", db_str(r, i, 0));
	json_put_str(o, "id", db_str(r, i, 0));
	json_put_str(o, "user_id", who->user_id);
	json_put_str(o, "ip_address", db_str(r, i, 1));
	json_put_str(o, "user_agent", db_str(r, i, 2));
	json_put_str(o, "device_name", db_str(r, i, 3));
	json_object_set_new(o, "is_current", json_boolean(str_eq(db_str(r, i, 0), who->session_id)));
	json_put_time(o, "created_at", db_int(r, i, 4));
	json_put_time(o, "last_activity", db_int(r, i, 5));
	json_put_time(o, "expires_at", db_int(r, i, 6));
	json_put_time(o, "mfa_verified_at", db_int(r, i, 7));
	json_object_set_new(o, "mfa_methods_used", session_methods(db_str(r, i, 8)));
	return o;
}

/* True: the request is by a user. */
static bool session_user(struct http_request *req)
{
	struct error err = ERROR_INIT;

	if (req->ctx.who->account != NULL)
		return true;
	error_set(&err, ERR_AUTH_REQUIRED, "sessions are of an account that is logged in, and nobody is");
	http_reply_error(req, &err);
	return false;
}

CO_FN static void session_list(struct http_request *req)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	json_t *list;
	struct db_rows r;
	size_t i;

	if (!session_user(req))
		return;
	if (!db_query(
		w->db, req->arena,
		"SELECT id, ip, user_agent, device_name, created_at, last_activity, expires_at, mfa_at, mfa_methods"
		" FROM sessions WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2"
		" ORDER BY created_at DESC, id DESC LIMIT $3",
		DB_ARGS(DB_S(req->ctx.principal), DB_I(clock_wall_ms()), DB_I(SESSIONS_SHOWN)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++)
		json_array_append_new(list, session_row(&r, i, req->ctx.who));
	http_reply_json(req, 200, json_pack("{s:o, s:I}", "sessions", list, "total", (json_int_t)r.count));
}

CO_FN static void session_delete(struct http_request *req)
{
	struct worker *w = req->user;
	struct str id = req->params[0];
	struct error err = ERROR_INIT;
	struct db_batch *b;
	json_t *o;

	if (!session_user(req))
		return;
	if (str_eq(id, req->ctx.who->session_id)) {
		error_set(&err, ERR_BAD_REQUEST, "this is the session of this request: log out instead");
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	db_batch_add(b,
		     "UPDATE sessions SET revoked_at = $1, revoked_why = 'ended' WHERE id = $2 AND user_id = $3"
		     " AND revoked_at IS NULL",
		     DB_ARGS(DB_I(clock_wall_ms()), DB_S(id), DB_S(req->ctx.principal)), 1);
	audit_add(b, req,
		  &(struct audit_event){.category = "auth",
					.action = "auth.token_revoked",
					.resource_type = STR("session"),
					.resource_id = id});
	identity_change_add(b, IDENTITY_CHANGE_SESSION, id);
	if (!db_commit(w->db, b, &err)) {
		if (err.code == ERR_FENCED)
			error_set(&err, ERR_NOT_FOUND, "the account has no such session");
		http_reply_error(req, &err);
		return;
	}
	identity_changed(w, IDENTITY_CHANGE_SESSION, id);
	o = json_pack("{s:b, s:s}", "success", 1, "message", "the session has ended");
	json_put_str(o, "session_id", id);
	http_reply_json(req, 200, o);
}

/* How many there are in the organization. */
CO_FN static bool session_count(struct http_request *req, int64_t *sessions, int64_t *users, struct error *err)
{
	struct worker *w = req->user;
	struct db_rows r;

	if (!db_query(w->db, req->arena,
		      "SELECT COUNT(*), COUNT(DISTINCT user_id) FROM sessions WHERE org_id = $1 AND revoked_at IS NULL"
		      " AND expires_at > $2",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_I(clock_wall_ms())), &r, err))
		return false;
	*sessions = db_int(&r, 0, 0);
	*users = db_int(&r, 0, 1);
	return true;
}

CO_FN static void session_active(struct http_request *req)
{
	struct error err = ERROR_INIT;
	int64_t sessions, users;

	if (session_count(req, &sessions, &users, &err))
		http_reply_json(req, 200,
				json_pack("{s:s, s:I, s:I}", "status", "healthy", "active_sessions",
					  (json_int_t)sessions, "users", (json_int_t)users));
	else
		http_reply_error(req, &err);
}

CO_FN static void session_sweep(struct http_request *req)
{
	struct error err = ERROR_INIT;
	json_t *result = json_pack("{s:b}", "success", 1);
	int64_t count = 0;

	if (identity_sweep(req->user, result, &count, &err)) {
		json_put_int(result, "removed", count);
		http_reply_json(req, 200, result);
		return;
	}
	json_decref(result);
	http_reply_error(req, &err);
}

#define ROW(m, p, h, perm, r, s) ROUTE(m, "/api/auth/sessions" p, h, perm, r, s, .flags = ROUTE_SECRET)

static const struct route session_rows[] = {
    ROW(GET, "", session_list, "session:list_active", READ, "The sessions of the account"),
    ROW(GET, "/active", session_active, "session:list_active", READ, "How many sessions the organization has"),
    ROW(GET, "/health", session_active, "session:list_active", READ, "The same"),
    ROW(POST, "/sweep", session_sweep, "admin:security", WRITE, "Remove what has expired, now"),
    ROW(DELETE, "/{session_id}", session_delete, "session:revoke", WRITE, "End a session of the account"),
};
const struct route_table session_routes = {session_rows, countof(session_rows)};
