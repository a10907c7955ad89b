/* SPDX-License-Identifier: MIT */
/*
 * /api/admin/users and /api/admin/organizations: accounts for administrators. The operator sees all of the server, an
 * administrator of another organization its members alone. Called through its routes. Roles are members.c's.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/audit/audit.h"
#include "worker/identity/changes.h"
#include "worker/identity/lockout.h"
#include "worker/identity/session.h"
#include "worker/identity/user.h"
#include "worker/tenancy/tenancy.h"

#define ADMIN_DAY_MS INT64_C(86400000)

#define ADMIN_USER_COLUMNS                                                                                     \
	"u.id, u.email, u.name, u.org_id, COALESCE(m.role, ''), u.is_active, u.email_verified, u.mfa_enabled," \
	" u.service_account, u.token_version, u.created_at, u.updated_at, u.last_login_at, CASE WHEN EXISTS"   \
	" (SELECT 1 FROM api_keys k WHERE k.user_id = u.id AND k.revoked_at IS NULL) THEN 1 ELSE 0 END"
static const struct tenancy_column admin_user_columns[] = {{"id", TENANCY_TEXT},
							   {"email", TENANCY_TEXT},
							   {"name", TENANCY_TEXT},
							   {"org_id", TENANCY_TEXT},
							   {"role", TENANCY_TEXT},
							   {"is_active", TENANCY_BOOL},
							   {"email_verified", TENANCY_BOOL},
							   {"mfa_enabled", TENANCY_BOOL},
							   {"is_service_account", TENANCY_BOOL},
							   {"token_version", TENANCY_NUMBER},
							   {"created_at", TENANCY_TIME},
							   {"updated_at", TENANCY_TIME},
							   {"last_login_at", TENANCY_TIME},
							   {"has_api_key", TENANCY_BOOL}};

/* $1: the organization whose members are shown, '' for all (the operator's view, with the role at home). */
#define ADMIN_USERS_FROM                                                                                        \
	" FROM users u LEFT JOIN members m ON m.user_id = u.id AND m.org_id = CASE WHEN $1 = '' THEN u.org_id " \
	"ELSE $1 END WHERE ($1 = '' OR m.org_id = $1)"

/* The organization whose accounts the caller may see: its own, or for the operator the one asked for, or all (''). */
static struct str admin_scope(const struct http_request *req)
{
	struct str wanted = http_query(req, "org_id");

	if (!identity_operates(req->ctx.who))
		return req->ctx.org_id;
	return wanted.n > 0 ? wanted : STR("");
}

CO_FN static void admin_reply_users(struct http_request *req, const char *count_sql, const char *sql, int64_t before)
{
	const struct worker *w = req->user;
	int64_t limit = http_query_int(req, "limit", 1, 100, 50),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	struct str role = http_query(req, "role");
	bool active = false;
	struct error err = ERROR_INIT;
	struct db_rows count, r;

	if (!str_to_bool(http_query(req, "active_only"), &active))
		active = false;
	const struct db_val args[] = {DB_S(admin_scope(req)),
				      DB_S(role.n > 0 ? role : STR("")),
				      DB_I(active),
				      DB_I(before),
				      DB_I(limit),
				      DB_I(offset)};
	if (!db_query(w->db, req->arena, count_sql, args, 4, &count, &err) ||
	    !db_query(w->db, req->arena, sql, args, countof(args), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:O, s:I, s:I, s:I}", "users",
				  tenancy_rows(req->arena, &r, admin_user_columns, countof(admin_user_columns)),
				  "total", (json_int_t)db_int(&count, 0, 0), "limit", (json_int_t)limit, "offset",
				  (json_int_t)offset));
}

#define ADMIN_FILTER " AND ($2 = '' OR m.role = $2) AND ($3 = 0 OR u.is_active = 1) AND ($4 = 0 OR u.created_at <= $4)"
#define ADMIN_IDLE                                                                                               \
	" AND ($2 = '' OR m.role = $2) AND ($3 = 0 OR u.is_active = 1) AND u.created_at < $4 AND"                \
	" COALESCE(u.last_login_at, 0) < $4 AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.user_id = u.id AND" \
	" s.last_activity >= $4) AND NOT EXISTS (SELECT 1 FROM api_keys k WHERE k.user_id = u.id AND"            \
	" k.last_used_at >= $4)"
#define ADMIN_PAGE " ORDER BY u.created_at, u.id LIMIT $5 OFFSET $6"

CO_FN static void admin_users(struct http_request *req)
{
	admin_reply_users(req, "SELECT COUNT(*)" ADMIN_USERS_FROM ADMIN_FILTER,
			  "SELECT " ADMIN_USER_COLUMNS ADMIN_USERS_FROM ADMIN_FILTER ADMIN_PAGE, 0);
}

/* REQUIREMENTS 15.16: accounts that nobody has used for ?days= (90). */
CO_FN static void admin_inactive(struct http_request *req)
{
	int64_t days = http_query_int(req, "days", 1, 3650, 90);

	admin_reply_users(req, "SELECT COUNT(*)" ADMIN_USERS_FROM ADMIN_IDLE,
			  "SELECT " ADMIN_USER_COLUMNS ADMIN_USERS_FROM ADMIN_IDLE ADMIN_PAGE,
			  clock_wall_ms() - days * ADMIN_DAY_MS);
}

/* Keys and sessions that could still be used and have not been for ?days= (90). */
CO_FN static void admin_unused(struct http_request *req)
{
	static const struct tenancy_column columns[] = {{"kind", TENANCY_TEXT},       {"id", TENANCY_TEXT},
							{"user_id", TENANCY_TEXT},    {"name", TENANCY_TEXT},
							{"created_at", TENANCY_TIME}, {"last_used_at", TENANCY_TIME},
							{"expires_at", TENANCY_TIME}};
	const struct worker *w = req->user;
	int64_t days = http_query_int(req, "days", 1, 3650, 90), now = clock_wall_ms();
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (!db_query(
		w->db, req->arena,
		"SELECT t.kind, t.id, t.user_id, t.name, t.created_at, t.used_at, t.expires_at FROM ("
		"SELECT 'api_key' AS kind, id, user_id, name, created_at, last_used_at AS used_at, expires_at"
		" FROM api_keys WHERE ($1 = '' OR org_id = $1) AND revoked_at IS NULL AND expires_at > $3"
		" AND created_at < $2 AND last_used_at < $2 UNION ALL"
		" SELECT 'session' AS kind, id, user_id, device_name AS name, created_at, last_activity AS used_at,"
		" expires_at FROM sessions WHERE ($1 = '' OR org_id = $1) AND revoked_at IS NULL AND"
		" expires_at > $3 AND last_activity < $2) t ORDER BY t.used_at, t.id LIMIT 200",
		DB_ARGS(DB_S(admin_scope(req)), DB_I(now - days * ADMIN_DAY_MS), DB_I(now)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:O, s:I}", "tokens", tenancy_rows(req->arena, &r, columns, countof(columns)),
				  "total", (json_int_t)r.count));
}

/* The account, if the caller may see it; NULL after having answered. */
CO_FN static json_t *admin_load(struct http_request *req, struct str id)
{
	return tenancy_one(req, "User", "SELECT " ADMIN_USER_COLUMNS ADMIN_USERS_FROM " AND u.id = $2",
			   DB_ARGS(DB_S(admin_scope(req)), DB_S(id)), admin_user_columns, countof(admin_user_columns));
}

CO_FN static void admin_user(struct http_request *req)
{
	json_t *u = admin_load(req, req->params[0]);

	if (u != NULL)
		http_reply_json(req, 200, json_pack("{s:O}", "user", u));
}

/* Only whoever the account is at home with may switch it off: it may belong to other organizations too. */
CO_FN static bool admin_may_change(struct http_request *req, const json_t *u)
{
	struct error err = ERROR_INIT;
	bool home = identity_operates(req->ctx.who) || str_eq(json_get_str(u, "org_id", STR("")), req->ctx.org_id);

	if (home && !str_eq(req->params[0], req->ctx.principal) &&
	    (!str_eqz(json_get_str(u, "role", STR("")), "owner") || str_eqz(req->ctx.who->role, "owner")))
		return true;
	if (str_eq(req->params[0], req->ctx.principal))
		error_field(&err, ERR_BAD_REQUEST, "id", "nobody does this to his own account");
	else
		error_set(&err, ERR_FORBIDDEN,
			  home ? "this needs an owner" : "the account is at home in another organization");
	http_reply_error(req, &err);
	return false;
}

CO_FN static void admin_set_active(struct http_request *req, bool active)
{
	struct worker *w = req->user;
	const json_t *u = admin_load(req, req->params[0]);
	struct str id = req->params[0];
	struct db_batch *b;

	if (u == NULL || !admin_may_change(req, u))
		return;
	b = db_batch_new(w->db);
	db_batch_add(b, "UPDATE users SET is_active = $2, updated_at = $3 WHERE id = $1",
		     DB_ARGS(DB_S(id), DB_I(active), DB_I(clock_wall_ms())), 1);
	if (!active)
		session_end_all(b, id, "deactivated");
	if (tenancy_commit(req, b,
			   &(struct tenancy_act){.category = "admin",
						 .action = active ? "user.activate" : "user.deactivate",
						 .type = "user",
						 .id = id,
						 .user_id = id,
						 .fenced = "User"}))
		http_reply_json(
		    req, 200,
		    json_pack("{s:b, s:s%, s:b}", "success", 1, "user_id", id.p, id.n, "is_active", (int)active));
}

CO_FN static void admin_activate(struct http_request *req)
{
	admin_set_active(req, true);
}

CO_FN static void admin_deactivate(struct http_request *req)
{
	admin_set_active(req, false);
}

CO_FN static void admin_unlock(struct http_request *req)
{
	struct worker *w = req->user;
	const json_t *u = admin_load(req, req->params[0]);
	struct str id = req->params[0], email;
	struct db_batch *b;

	if (u == NULL || !admin_may_change(req, u))
		return;
	email = json_get_str(u, "email", STR(""));
	b = db_batch_new(w->db);
	lockout_forget(b, "email", user_email_key(req->arena, email));
	lockout_forget(b, "mfa", id);
	if (tenancy_commit(
		req, b, &(struct tenancy_act){.category = "admin", .action = "user.unlock", .type = "user", .id = id}))
		http_reply_json(req, 200,
				json_pack("{s:b, s:s%, s:s%, s:b, s:n, s:s}", "success", 1, "user_id", id.p, id.n,
					  "email", email.p, email.n, "lockout_cleared", 1, "previous_lockout_info",
					  "message", "nothing is counted against the account any more"));
}

CO_FN static void admin_organizations(struct http_request *req)
{
	static const struct tenancy_column columns[] = {{"id", TENANCY_TEXT},         {"name", TENANCY_TEXT},
							{"slug", TENANCY_TEXT},       {"tier", TENANCY_TEXT},
							{"owner_id", TENANCY_TEXT},   {"is_active", TENANCY_BOOL},
							{"created_at", TENANCY_TIME}, {"updated_at", TENANCY_TIME}};
	const struct worker *w = req->user;
	int64_t limit = http_query_int(req, "limit", 1, 100, 50),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	struct str tier = http_query(req, "tier");
	const struct db_val args[] = {DB_S(admin_scope(req)), DB_S(tier.n > 0 ? tier : STR("")), DB_I(limit),
				      DB_I(offset)};
	struct error err = ERROR_INIT;
	struct db_rows count, r;

	if (!db_query(w->db, req->arena,
		      "SELECT COUNT(*) FROM organizations WHERE ($1 = '' OR id = $1) AND ($2 = '' OR tier = $2)", args,
		      2, &count, &err) ||
	    !db_query(
		w->db, req->arena,
		"SELECT id, name, slug, tier, owner_id, is_active, created_at, updated_at FROM organizations"
		" WHERE ($1 = '' OR id = $1) AND ($2 = '' OR tier = $2) ORDER BY created_at, id LIMIT $3 OFFSET $4",
		args, countof(args), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:O, s:I, s:I, s:I}", "organizations",
				  tenancy_rows(req->arena, &r, columns, countof(columns)), "total",
				  (json_int_t)db_int(&count, 0, 0), "limit", (json_int_t)limit, "offset",
				  (json_int_t)offset));
}

#define ROW(m, p, h, r, s) ROUTE(m, "/api/admin/" p, h, "admin.system", r, s)

static const struct route admin_user_rows[] = {
    ROW(GET, "users", admin_users, READ, "Accounts"),
    ROW(GET, "users/inactive", admin_inactive, READ, "Accounts that nobody has used for ?days= (90)"),
    ROW(GET, "tokens/unused", admin_unused, READ, "API keys and sessions that nobody has used for ?days= (90)"),
    ROW(GET, "users/{id}", admin_user, READ, "One account"),
    ROW(POST, "users/{id}/activate", admin_activate, WRITE, "Switch an account on"),
    ROW(POST, "users/{id}/deactivate", admin_deactivate, WRITE, "Switch an account off and end its sessions"),
    ROW(POST, "users/{id}/unlock", admin_unlock, WRITE, "Forget failed logins of an account"),
    ROW(GET, "organizations", admin_organizations, READ, "Organizations"),
};
const struct route_table admin_user_routes = {admin_user_rows, countof(admin_user_rows)};
