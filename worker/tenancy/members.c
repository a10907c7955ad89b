/* SPDX-License-Identifier: MIT */
/*
 * Members of the organization that the request is in: list, read, change of role, removal. Called through its routes.
 * Who may give which role, role_may_assign decides; the last owner stays.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/access/effective.h"
#include "worker/http/body.h"
#include "worker/permission/permission.h"
#include "worker/tenancy/tenancy.h"

#define MEMBER_COLUMNS                                                                                              \
	"u.id, u.email, u.name, m.org_id, m.role, u.is_active, u.email_verified, u.mfa_enabled, u.service_account," \
	" u.created_at, u.updated_at, u.last_login_at, m.created_at"
static const struct tenancy_column member_columns[] = {{"id", TENANCY_TEXT},
						       {"email", TENANCY_TEXT},
						       {"name", TENANCY_TEXT},
						       {"org_id", TENANCY_TEXT},
						       {"role", TENANCY_TEXT},
						       {"is_active", TENANCY_BOOL},
						       {"email_verified", TENANCY_BOOL},
						       {"mfa_enabled", TENANCY_BOOL},
						       {"is_service_account", TENANCY_BOOL},
						       {"created_at", TENANCY_TIME},
						       {"updated_at", TENANCY_TIME},
						       {"last_login_at", TENANCY_TIME},
						       {"joined_at", TENANCY_TIME}};

CO_FN static void member_list(struct http_request *req)
{
	const struct worker *w = req->user;
	int64_t limit = http_query_int(req, "limit", 1, 100, 50),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	struct error err = ERROR_INIT;
	struct db_rows count, r;
	json_t *list;

	if (!db_query(w->db, req->arena, "SELECT COUNT(*) FROM members WHERE org_id = $1",
		      DB_ARGS(DB_S(req->ctx.org_id)), &count, &err) ||
	    !db_query(w->db, req->arena,
		      "SELECT " MEMBER_COLUMNS " FROM members m JOIN users u ON u.id = m.user_id WHERE m.org_id = $1"
		      " ORDER BY m.created_at, u.id LIMIT $2 OFFSET $3",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_I(limit), DB_I(offset)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = tenancy_rows(req->arena, &r, member_columns, countof(member_columns));
	http_reply_json(req, 200,
			json_pack("{s:O, s:O, s:I, s:I, s:I, s:I}", "users", list, "members", list, "total",
				  (json_int_t)db_int(&count, 0, 0), "count", (json_int_t)r.count, "limit",
				  (json_int_t)limit, "offset", (json_int_t)offset));
}

/* The member and its role; NULL after having answered. */
CO_FN static json_t *member_load(struct http_request *req, struct str id)
{
	return tenancy_one(req, "User",
			   "SELECT " MEMBER_COLUMNS
			   " FROM members m JOIN users u ON u.id = m.user_id WHERE m.org_id = $1 AND m.user_id = $2",
			   DB_ARGS(DB_S(req->ctx.org_id), DB_S(id)), member_columns, countof(member_columns));
}

CO_FN static void member_get(struct http_request *req)
{
	json_t *m = member_load(req, req->params[0]);

	if (m != NULL)
		http_reply_json(req, 200, json_pack("{s:O}", "user", m));
}

/* Roles that exist: the system's, and custom ones of this organization. */
static bool member_role_exists(struct str role, struct error *err)
{
	if (role_find(role) != NULL || role_custom_name_valid(role))
		return true;
	return error_field(err, ERR_INVALID_VALUE, "role", "there is no such role");
}

/* Who may decide in an organization is a matter of all of its workspaces. */
static const struct str members_everywhere = STR_NONE;

/*
 * Commits the change of a membership together with the end of what hung on it. Behind the statements of the change: who
 * may not be changed loses nothing.
 */
CO_FN static bool member_commit(struct http_request *req, struct db_batch *b, bool ends, struct tenancy_act *act)
{
	struct error err = ERROR_INIT;
	struct str *touched;

	if (!access_member_leaves(req->user, req->arena, b, req->ctx.org_id, act->id, ends, &touched,
				  &act->touched_count, &err)) {
		db_batch_free(b);
		json_decref(act->details);
		http_reply_error(req, &err);
		return false;
	}
	act->touched = touched;
	return tenancy_commit(req, b, act);
}

CO_FN static void member_change_role(struct http_request *req)
{
	struct worker *w = req->user;
	const json_t *body = body_object(req), *m;
	struct error err = ERROR_INIT;
	struct str id = req->params[0], from, role;
	struct body_problems p;
	struct db_batch *b;

	if (body == NULL || (m = member_load(req, id)) == NULL)
		return;
	body_problems_begin(req, &p);
	role = body_text(&p, body, "role", 1, 64, false);
	if (role.n > 0 && !member_role_exists(role, &err))
		body_problem(&p, &err);
	if (body_refused(req, &p))
		return;
	from = json_get_str(m, "role", STR(""));
	if (!role_may_assign(req->ctx.who->role, from, role) || str_eq(id, req->ctx.principal)) {
		error_set(&err, ERR_FORBIDDEN,
			  str_eq(id, req->ctx.principal) ? "nobody changes his own role"
							 : "your role does not allow this change of role");
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	db_batch_add(b,
		     "UPDATE members SET role = $3, updated_at = $4 WHERE org_id = $1 AND user_id = $2 AND role = $5",
		     DB_ARGS(DB_S(req->ctx.org_id), DB_S(id), DB_S(role), DB_I(clock_wall_ms()), DB_S(from)), 1);
	if (member_commit(req, b, false,
			  &(struct tenancy_act){
			      .category = "admin",
			      .action = "user.role_change",
			      .decided_in = &members_everywhere,
			      .type = "user",
			      .id = id,
			      .user_id = id,
			      .details = json_pack("{s:s%, s:s%}", "from", from.p, from.n, "to", role.p, role.n),
			      .fenced = "User"}))
		http_reply_json(
		    req, 200,
		    json_pack("{s:b, s:s%, s:s%}", "success", 1, "user_id", id.p, id.n, "role", role.p, role.n));
}

/* Out of the organization and of all its workspaces; the account stays. */
CO_FN static void member_remove(struct http_request *req)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct str id = req->params[0];
	const json_t *m = member_load(req, id);
	struct db_batch *b;

	if (m == NULL)
		return;
	if (str_eqz(json_get_str(m, "role", STR("")), "owner") ||
	    (str_eqz(json_get_str(m, "role", STR("")), "admin") && !str_eqz(req->ctx.who->role, "owner"))) {
		error_set(&err, ERR_FORBIDDEN, "owners stay, and admins are removed by an owner");
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	db_batch_add(b, "DELETE FROM workspace_members WHERE org_id = $1 AND user_id = $2",
		     DB_ARGS(DB_S(req->ctx.org_id), DB_S(id)), DB_ANY);
	db_batch_add(b, "DELETE FROM members WHERE org_id = $1 AND user_id = $2 AND role <> 'owner'",
		     DB_ARGS(DB_S(req->ctx.org_id), DB_S(id)), 1);
	if (member_commit(req, b, true,
			  &(struct tenancy_act){.category = "admin",
						.action = "user.remove",
						.decided_in = &members_everywhere,
						.type = "user",
						.id = id,
						.user_id = id,
						.fenced = "User"}))
		http_reply_json(req, 200, json_pack("{s:b, s:s%}", "removed", 1, "user_id", id.p, id.n));
}

static const struct route member_rows[] = {
    ROUTE(GET, "/api/users", member_list, "users.read", READ, "Members of the organization"),
    ROUTE(GET, "/api/org/members", member_list, "users.read", READ, "Members of the organization"),
    ROUTE(GET, "/api/users/{id}", member_get, "users.read", READ, "One member"),
    ROUTE(PUT, "/api/users/{id}/role", member_change_role, "users.change_role", WRITE, "Give a member another role"),
    ROUTE(PATCH, "/api/users/{id}/role", member_change_role, "users.change_role", WRITE, "Give a member another role"),
    ROUTE(POST, "/api/users/{id}/role", member_change_role, "users.change_role", WRITE, "Give a member another role"),
    ROUTE(DELETE, "/api/users/{id}", member_remove, "users.remove", WRITE, "Remove a member from the organization"),
};
const struct route_table member_routes = {member_rows, countof(member_rows)};
