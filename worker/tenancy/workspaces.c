/* SPDX-License-Identifier: MIT */
/*
 * Workspaces of the organization that the request is in, and who may use them: the first one everybody, others those
 * who were put into them, owners and admins all. Called through its routes.
 */
#include "common/clock.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/http/body.h"
#include "worker/identity/user.h"
#include "worker/permission/permission.h"
#include "worker/tenancy/tenancy.h"

static const struct tenancy_column workspace_columns[] = {{"id", TENANCY_TEXT},           {"org_id", TENANCY_TEXT},
							  {"name", TENANCY_TEXT},         {"slug", TENANCY_TEXT},
							  {"settings", TENANCY_DOCUMENT}, {"created_by", TENANCY_TEXT},
							  {"created_at", TENANCY_TIME},   {"updated_at", TENANCY_TIME}};

CO_FN static void workspace_reply(struct http_request *req, int status, struct str id)
{
	struct db_rows r;
	json_t *o;

	if (!tenancy_workspace(req, id, &r))
		return;
	o = json_copy(tenancy_row(req->arena, &r, 0, workspace_columns, countof(workspace_columns)));
	json_object_set_new(o, "workspace", json_copy(o));
	http_reply_json(req, status, o);
}

CO_FN static void workspace_list(struct http_request *req)
{
	const struct worker *w = req->user;
	bool all = str_eqz(req->ctx.who->role, "owner") || str_eqz(req->ctx.who->role, "admin");
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (!db_query(w->db, req->arena,
		      "SELECT s.id, s.org_id, s.name, s.slug, s.settings, s.created_by, s.created_at, s.updated_at"
		      " FROM workspaces s WHERE s.org_id = $1 AND ($2 = 1 OR s.id = s.org_id OR"
		      " EXISTS (SELECT 1 FROM workspace_members m WHERE m.workspace_id = s.id AND m.org_id = $1 AND"
		      " m.user_id = $3)) ORDER BY s.created_at, s.id LIMIT 1000",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_I(all), DB_S(req->ctx.principal)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:O, s:I, s:s%}", "workspaces",
				  tenancy_rows(req->arena, &r, workspace_columns, countof(workspace_columns)), "total",
				  (json_int_t)r.count, "current", req->ctx.workspace_id.p, req->ctx.workspace_id.n));
}

CO_FN static void workspace_get(struct http_request *req)
{
	workspace_reply(req, 200, req->params[0]);
}

CO_FN static void workspace_create(struct http_request *req)
{
	struct worker *w = req->user;
	const json_t *body = body_object(req);
	char id[UUID_LEN + 1];
	int64_t now = clock_wall_ms();
	struct body_problems p;
	struct db_batch *b;
	struct str name;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	name = body_text(&p, body, "name", 1, TENANCY_NAME_MAX, false);
	if (body_refused(req, &p))
		return;
	ids_uuid7(id);
	b = db_batch_new(w->db);
	db_batch_add(b,
		     "INSERT INTO workspaces (id, org_id, name, slug, created_by, created_at, updated_at)"
		     " VALUES ($1, $2, $3, $4, $5, $6, $6)",
		     DB_ARGS(DB_Z(id), DB_S(req->ctx.org_id), DB_S(name), DB_S(user_slug(req->arena, name)),
			     DB_S(req->ctx.principal), DB_I(now)),
		     1);
	if (req->ctx.who->account != NULL)
		db_batch_add(b,
			     "INSERT INTO workspace_members (workspace_id, user_id, org_id, role, created_at)"
			     " VALUES ($1, $2, $3, 'admin', $4)",
			     DB_ARGS(DB_Z(id), DB_S(req->ctx.principal), DB_S(req->ctx.org_id), DB_I(now)), 1);
	if (tenancy_commit(req, b,
			   &(struct tenancy_act){.category = "admin",
						 .action = "workspace.create",
						 .type = "workspace",
						 .id = str_of(id),
						 .user_id = req->ctx.principal}))
		workspace_reply(req, 201, arena_str(req->arena, str_of(id)));
}

CO_FN static void workspace_update(struct http_request *req)
{
	struct worker *w = req->user;
	const json_t *body = body_object(req);
	struct body_problems p;
	struct db_batch *b;
	struct db_rows r;
	struct str name;

	if (body == NULL || !tenancy_workspace(req, req->params[0], &r))
		return;
	body_problems_begin(req, &p);
	name = body_text(&p, body, "name", 1, TENANCY_NAME_MAX, false);
	if (body_refused(req, &p))
		return;
	b = db_batch_new(w->db);
	db_batch_add(b, "UPDATE workspaces SET name = $3, updated_at = $4 WHERE id = $1 AND org_id = $2",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id), DB_S(name), DB_I(clock_wall_ms())), 1);
	if (tenancy_commit(req, b,
			   &(struct tenancy_act){.category = "admin",
						 .action = "workspace.update",
						 .type = "workspace",
						 .id = req->params[0],
						 .fenced = "Workspace"}))
		workspace_reply(req, 200, req->params[0]);
}

/* Only an empty one: what was decided in it is not thrown away with it. */
CO_FN static void workspace_delete(struct http_request *req)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_batch *b;
	struct db_rows r;

	if (!tenancy_workspace(req, req->params[0], &r))
		return;
	if (str_eq(req->params[0], req->ctx.org_id)) {
		error_set(&err, ERR_CONFLICT, "the first workspace of an organization cannot be deleted");
		http_reply_error(req, &err);
		return;
	}
	if (!db_query(w->db, req->arena,
		      SQL_WITHIN_ORG("another workspace of it may be meant") "SELECT 1 FROM debates WHERE workspace_id "
									     "= $1 AND org_id = $2 LIMIT 1",
		      DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id)), &r, &err) ||
	    (r.count > 0 &&
	     !error_set(&err, ERR_CONFLICT, "the workspace still has debates; delete or export them first"))) {
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	db_batch_add(b, "DELETE FROM workspace_members WHERE workspace_id = $1 AND org_id = $2",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id)), DB_ANY);
	db_batch_add(b,
		     SQL_WITHIN_ORG("another workspace of it is meant") "DELETE FROM debate_templates WHERE"
									" workspace_id = $1 AND org_id = $2",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id)), DB_ANY);
	db_batch_add(b, "DELETE FROM workspaces WHERE id = $1 AND org_id = $2",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id)), 1);
	if (tenancy_commit(req, b,
			   &(struct tenancy_act){.category = "admin",
						 .action = "workspace.delete",
						 .decided_in = &req->params[0],
						 .type = "workspace",
						 .id = req->params[0],
						 .fenced = "Workspace"}))
		http_reply_json(req, 200,
				json_pack("{s:b, s:s%}", "deleted", 1, "id", req->params[0].p, req->params[0].n));
}

/* ---- members of a workspace ---- */

CO_FN static void workspace_members(struct http_request *req)
{
	static const struct tenancy_column columns[] = {{"user_id", TENANCY_TEXT},
							{"email", TENANCY_TEXT},
							{"name", TENANCY_TEXT},
							{"role", TENANCY_TEXT},
							{"joined_at", TENANCY_TIME}};
	const struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (!tenancy_workspace(req, req->params[0], &r))
		return;
	if (!db_query(w->db, req->arena,
		      "SELECT m.user_id, u.email, u.name, m.role, m.created_at FROM workspace_members m"
		      " JOIN users u ON u.id = m.user_id WHERE m.workspace_id = $1 AND m.org_id = $2"
		      " ORDER BY m.created_at, m.user_id LIMIT 1000",
		      DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:O, s:I}", "members", tenancy_rows(req->arena, &r, columns, countof(columns)),
				  "total", (json_int_t)r.count));
}

/* Puts a member of the organization into the workspace, or changes its role there. */
CO_FN static void workspace_put_member(struct http_request *req)
{
	struct worker *w = req->user;
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	struct body_problems p;
	struct str user, role;
	struct db_batch *b;
	struct db_rows r;

	if (body == NULL || !tenancy_workspace(req, req->params[0], &r))
		return;
	body_problems_begin(req, &p);
	user = req->method == HTTP_PUT ? req->params[1] : body_text(&p, body, "user_id", 1, 128, false);
	role = body_text(&p, body, "role", 0, 64, false);
	if (role.n == 0)
		role = STR(ROLE_DEFAULT);
	if (role_find(role) == NULL || str_eqz(role, "owner") || !role_may_assign(req->ctx.who->role, STR(""), role)) {
		error_field(&err, ERR_INVALID_VALUE, "role", "must be a role that you may give");
		body_problem(&p, &err);
	}
	if (body_refused(req, &p))
		return;
	b = db_batch_new(w->db);
	db_batch_add(
	    b,
	    "INSERT INTO workspace_members (workspace_id, user_id, org_id, role, created_at)"
	    " SELECT $1, m.user_id, m.org_id, $4, $5 FROM members m WHERE m.org_id = $2 AND m.user_id = $3"
	    " ON CONFLICT (workspace_id, user_id) DO UPDATE SET role = excluded.role",
	    DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id), DB_S(user), DB_S(role), DB_I(clock_wall_ms())), 1);
	if (tenancy_commit(req, b,
			   &(struct tenancy_act){
			       .category = "admin",
			       .action = "workspace.add_member",
			       .decided_in = &req->params[0],
			       .type = "workspace",
			       .id = req->params[0],
			       .user_id = user,
			       .details = json_pack("{s:s%, s:s%}", "user_id", user.p, user.n, "role", role.p, role.n),
			       .fenced = "Member"}))
		http_reply_json(req, 200,
				json_pack("{s:b, s:s%, s:s%, s:s%}", "success", 1, "workspace_id", req->params[0].p,
					  req->params[0].n, "user_id", user.p, user.n, "role", role.p, role.n));
}

CO_FN static void workspace_remove_member(struct http_request *req)
{
	struct worker *w = req->user;
	struct db_batch *b;
	struct db_rows r;

	if (!tenancy_workspace(req, req->params[0], &r))
		return;
	b = db_batch_new(w->db);
	db_batch_add(b, "DELETE FROM workspace_members WHERE workspace_id = $1 AND org_id = $2 AND user_id = $3",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id), DB_S(req->params[1])), 1);
	if (tenancy_commit(req, b,
			   &(struct tenancy_act){.category = "admin",
						 .action = "workspace.remove_member",
						 .decided_in = &req->params[0],
						 .type = "workspace",
						 .id = req->params[0],
						 .user_id = req->params[1],
						 .fenced = "Member"}))
		http_reply_json(req, 200,
				json_pack("{s:b, s:s%}", "removed", 1, "user_id", req->params[1].p, req->params[1].n));
}

static const struct route workspace_rows[] = {
    ROUTE(GET, "/api/workspaces", workspace_list, "workspace.read", READ, "Workspaces that the caller may use"),
    ROUTE(POST, "/api/workspaces", workspace_create, "workspace.create", CREATE, "Make a workspace"),
    ROUTE(GET, "/api/workspaces/{id}", workspace_get, "workspace.read", READ, "One workspace"),
    ROUTE(PUT, "/api/workspaces/{id}", workspace_update, "workspace.update", WRITE, "Rename a workspace"),
    ROUTE(PATCH, "/api/workspaces/{id}", workspace_update, "workspace.update", WRITE, "Rename a workspace"),
    ROUTE(DELETE, "/api/workspaces/{id}", workspace_delete, "workspace.delete", WRITE, "Delete an empty workspace"),
    ROUTE(GET, "/api/workspaces/{id}/members", workspace_members, "workspace.read", READ,
	  "Who was put into a workspace"),
    ROUTE(POST, "/api/workspaces/{id}/members", workspace_put_member, "workspace_member.add_member", WRITE,
	  "Put a member of the organization into a workspace"),
    ROUTE(PUT, "/api/workspaces/{id}/members/{user_id}", workspace_put_member, "workspace_member.change_role", WRITE,
	  "Change a role in a workspace"),
    ROUTE(DELETE, "/api/workspaces/{id}/members/{user_id}", workspace_remove_member, "workspace_member.remove_member",
	  WRITE, "Take somebody out of a workspace"),
};
const struct route_table workspace_routes = {workspace_rows, countof(workspace_rows)};
