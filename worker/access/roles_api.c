/* SPDX-License-Identifier: MIT */
/*
 * /api/rbac: permissions, roles of the system, custom roles of an organization, roles assigned beside the membership.
 * Nobody gives away by a role what they may not themselves.
 */
#include "common/clock.h"
#include "common/ids.h"
#include "worker/access/api.h"
#include "worker/worker.h"

#define ROLES_PER_ORG 100
#define ROLE_TEXT_MAX 500
#define ASSIGNMENT_HOURS_MAX (365 * 24)

static const struct role_template {
	const char *name, *bases, *grants, *summary;
} role_templates[] = {
    {"engineering", "debate_creator", "agents.create agents.update connectors.create", "Builds agents and connectors."},
    {"research", "analyst", "training.create debates.create debates.run", "Reads everything and starts debates."},
    {"support", "viewer", "users.read organization.view_audit", "Looks into users and the audit log."},
    {"external", "viewer", "", "A guest who may read."},
};

static struct worker *api_worker(const struct http_request *req)
{
	return req->user;
}

/* ---- reading ---- */

CO_FN static void api_permissions(struct http_request *req)
{
	json_t *list = json_array();
	int i;

	for (i = 0; i < permission_count(); i++) {
		struct str key = str_of(permission_key(i));
		size_t dot = (size_t)str_chr(key, '.');

		json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:b}", "key", key.p, "resource",
						      json_str(str_sub(key, 0, dot)), "action",
						      json_str(str_sub(key, dot + 1, key.n)), "held",
						      permissions_have(access_own(req), i)));
	}
	http_reply_json(req, 200, json_pack("{s:o, s:i}", "permissions", list, "total", permission_count()));
}

static json_t *api_system_role(const struct role *r)
{
	json_t *parents = json_array();
	size_t i;

	for (i = 0; i < countof(r->parents) && r->parents[i] != NULL; i++)
		json_array_append_new(parents, json_string(r->parents[i]));
	return json_pack("{s:s, s:s, s:i, s:b, s:o, s:o}", "name", r->name, "description", r->summary, "priority",
			 (int)r->priority, "is_custom", 0, "base_roles", parents, "permissions",
			 permissions_json(role_set(str_of(r->name))));
}

/* Columns: name, description, bases, grants, created_by, created_at, updated_at. */
#define ROLE_COLUMNS "name, description, bases, grants, created_by, created_at, updated_at"

static void api_role_set(struct str bases, struct str grants, struct permissions *out)
{
	struct str word;

	memset(out, 0, sizeof(*out));
	while (str_split(&bases, ' ', &word))
		if (role_set(word) != NULL)
			permissions_add(out, role_set(word));
	while (str_split(&grants, ' ', &word))
		if (word.n > 0 && !permissions_grant(out, word))
			continue; /* a permission of former times: it grants nothing */
}

static json_t *api_custom_role(const struct db_rows *r, size_t i)
{
	struct permissions p;
	json_t *o = json_object();

	api_role_set(db_str(r, i, 2), db_str(r, i, 3), &p);
	json_put_str(o, "name", db_str(r, i, 0));
	json_put_str(o, "description", db_str(r, i, 1));
	json_put_int(o, "priority", ROLE_CUSTOM_PRIORITY);
	json_object_set_new(o, "is_custom", json_true());
	json_object_set_new(o, "base_roles", access_list(db_str(r, i, 2)));
	json_object_set_new(o, "grants", access_list(db_str(r, i, 3)));
	json_object_set_new(o, "permissions", permissions_json(&p));
	json_put_str(o, "created_by", db_str(r, i, 4));
	json_object_set_new(o, "created_at", json_time(db_int(r, i, 5)));
	json_object_set_new(o, "updated_at", json_time(db_int(r, i, 6)));
	return o;
}

CO_FN static void api_roles(struct http_request *req)
{
	struct error err = ERROR_INIT;
	json_t *list, *assignable;
	const struct role *role;
	struct db_rows r;
	size_t i;

	if (!db_query(api_worker(req)->db, req->arena,
		      "SELECT " ROLE_COLUMNS " FROM roles WHERE org_id = $1 ORDER BY name LIMIT $2",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_I(ROLES_PER_ORG)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	assignable = json_array();
	for (i = 0; (role = role_at(i)) != NULL; i++) {
		json_array_append_new(list, api_system_role(role));
		if (role_may_assign(req->ctx.who->role, STR_NONE, str_of(role->name)))
			json_array_append_new(assignable, json_string(role->name));
	}
	for (i = 0; i < r.count; i++) {
		json_array_append_new(list, api_custom_role(&r, i));
		if (role_may_assign(req->ctx.who->role, STR_NONE, db_str(&r, i, 0)))
			json_array_append_new(assignable, json_str(db_str(&r, i, 0)));
	}
	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:o, s:o, s:s}", "roles", list, "total",
				  (json_int_t)json_array_size(list), "your_role", json_str(req->ctx.who->role),
				  "assignable_by_you", assignable, "default_role", ROLE_DEFAULT));
}

CO_FN static void api_role(struct http_request *req)
{
	const struct role *role = role_find(req->params[0]);
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (role != NULL) {
		http_reply_json(req, 200, json_pack("{s:o}", "role", api_system_role(role)));
		return;
	}
	if (!db_query(api_worker(req)->db, req->arena,
		      "SELECT " ROLE_COLUMNS " FROM roles WHERE org_id = $1 AND name = $2",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->params[0])), &r, &err))
		http_reply_error(req, &err);
	else if (r.count == 0)
		access_refuse(req, ERR_NOT_FOUND, "name", "there is no such role");
	else
		http_reply_json(req, 200, json_pack("{s:o}", "role", api_custom_role(&r, 0)));
}

CO_FN static void api_templates(struct http_request *req)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < countof(role_templates); i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:o}", "name", role_templates[i].name,
						      "description", role_templates[i].summary, "base_roles",
						      access_list(str_of(role_templates[i].bases)), "permissions",
						      access_list(str_of(role_templates[i].grants))));
	http_reply_json(req, 200, json_pack("{s:o}", "templates", list));
}

/* ---- custom roles ---- */

struct api_role_body {
	struct str name, description, bases, grants;
};

static void api_check_words(struct body_problems *p, const struct api_role_body *b)
{
	struct permissions ignored = {{0}};
	struct error err = ERROR_INIT;
	struct str rest = b->bases, word;

	while (str_split(&rest, ' ', &word))
		if (word.n > 0 && (role_find(word) == NULL || str_eqz(word, "owner"))) {
			error_field(&err, ERR_INVALID_VALUE, "base_roles", "%.*s is no role to build on",
				    STR_ARG(word));
			body_problem(p, &err);
		}
	rest = b->grants;
	while (str_split(&rest, ' ', &word))
		if (word.n > 0 && (str_eqz(word, "*") || !permissions_grant(&ignored, word))) {
			error_field(&err, ERR_INVALID_VALUE, "permissions", "there is no permission %.*s",
				    STR_ARG(word));
			body_problem(p, &err);
		}
}

static void api_template(const json_t *body, struct body_problems *p, struct api_role_body *b)
{
	struct str name = json_get_str(body, "template", STR(""));
	struct error err = ERROR_INIT;
	size_t i;

	for (i = 0; i < countof(role_templates) && !str_eqz(name, role_templates[i].name); i++)
		;
	if (name.n == 0)
		return;
	if (i == countof(role_templates)) {
		error_field(&err, ERR_INVALID_VALUE, "template", "there is no such template");
		body_problem(p, &err);
		return;
	}
	if (b->bases.n == 0)
		b->bases = str_of(role_templates[i].bases);
	if (b->grants.n == 0)
		b->grants = str_of(role_templates[i].grants);
	if (b->description.n == 0)
		b->description = str_of(role_templates[i].summary);
}

/* False: it has been answered. */
static bool api_read_role(struct http_request *req, bool create, struct api_role_body *b)
{
	const json_t *body = body_object(req);
	struct permissions set;
	struct body_problems p;
	struct error err = ERROR_INIT;

	if (body == NULL || !access_lasting(req))
		return false;
	body_problems_begin(req, &p);
	if (create) {
		b->name = body_text(&p, body, "name", 1, 44, false);
		if (!str_starts(b->name, STR("org:")))
			b->name = arena_printf(req->arena, "org:%.*s", STR_ARG(b->name));
		if (p.first.code == ERR_OK && !role_custom_name_valid(b->name)) {
			error_field(&err, ERR_INVALID_VALUE, "name",
				    "must have 1 to 40 letters, digits, '-' and '_', and begin with a letter");
			body_problem(&p, &err);
		}
	}
	b->description = body_text(&p, body, "description", 0, ROLE_TEXT_MAX, false);
	b->bases = access_words(req, &p, body, "base_roles");
	b->grants = access_words(req, &p, body, "permissions");
	api_template(body, &p, b);
	api_check_words(&p, b);
	if (body_refused(req, &p))
		return false;
	api_role_set(b->bases, b->grants, &set);
	if (permissions_include(access_own(req), &set))
		return true;
	access_refuse(req, ERR_FORBIDDEN, "permissions", "a role cannot have permissions that you do not have");
	return false;
}

CO_FN static void api_create_role(struct http_request *req)
{
	struct worker *w = api_worker(req);
	int64_t now = clock_wall_ms();
	struct api_role_body b;
	struct error err = ERROR_INIT;
	struct db_batch *batch;
	struct db_rows r;

	if (!api_read_role(req, true, &b))
		return;
	if (!db_query(w->db, req->arena, "SELECT COUNT(*) FROM roles WHERE org_id = $1", DB_ARGS(DB_S(req->ctx.org_id)),
		      &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	if (db_int(&r, 0, 0) >= ROLES_PER_ORG) {
		access_refuse(req, ERR_CONFLICT, "", "an organization has at most %d custom roles", ROLES_PER_ORG);
		return;
	}
	batch = db_batch_new(w->db);
	db_batch_add(batch,
		     "INSERT INTO roles (org_id, name, description, bases, grants, created_by, created_at, updated_at)"
		     " VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
		     DB_ARGS(DB_S(req->ctx.org_id), DB_S(b.name), DB_S(b.description), DB_S(b.bases), DB_S(b.grants),
			     DB_S(req->ctx.principal), DB_I(now)),
		     1);
	if (access_commit(req, batch,
			  &(struct audit_event){.category = "access",
						.action = "access.role_created",
						.resource_type = STR("role"),
						.resource_id = b.name,
						.reason = b.grants},
			  IDENTITY_CHANGE_ROLE, b.name, "there is a role of that name already"))
		http_reply_json(req, 201,
				json_pack("{s:s%, s:s%, s:o, s:o}", "name", b.name.p, b.name.n, "description",
					  b.description.n > 0 ? b.description.p : "", b.description.n, "base_roles",
					  access_list(b.bases), "permissions", access_list(b.grants)));
}

CO_FN static void api_update_role(struct http_request *req)
{
	struct db_batch *batch;
	struct api_role_body b;

	if (!api_read_role(req, false, &b))
		return;
	batch = db_batch_new(api_worker(req)->db);
	db_batch_add(batch,
		     "UPDATE roles SET description = $3, bases = $4, grants = $5, updated_at = $6"
		     " WHERE org_id = $1 AND name = $2",
		     DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->params[0]), DB_S(b.description), DB_S(b.bases),
			     DB_S(b.grants), DB_I(clock_wall_ms())),
		     1);
	if (access_commit(req, batch,
			  &(struct audit_event){.category = "access",
						.action = "access.role_modified",
						.resource_type = STR("role"),
						.resource_id = req->params[0],
						.reason = b.grants},
			  IDENTITY_CHANGE_ROLE, req->params[0], ""))
		http_reply_json(req, 200,
				json_pack("{s:s%, s:o, s:o}", "name", req->params[0].p, req->params[0].n, "base_roles",
					  access_list(b.bases), "permissions", access_list(b.grants)));
}

CO_FN static void api_delete_role(struct http_request *req)
{
	struct worker *w = api_worker(req);
	struct error err = ERROR_INIT;
	struct db_batch *batch;
	struct db_rows r;
	long long holders;

	if (!db_query(w->db, req->arena,
		      "SELECT (SELECT COUNT(*) FROM roles WHERE org_id = $1 AND name = $2),"
		      " (SELECT COUNT(*) FROM members WHERE org_id = $1 AND role = $2),"
		      " (SELECT COUNT(*) FROM role_assignments WHERE org_id = $1 AND role = $2)",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->params[0])), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	if (db_int(&r, 0, 0) == 0) {
		access_refuse(req, ERR_NOT_FOUND, "name", "there is no such custom role");
		return;
	}
	holders = db_int(&r, 0, 1) + db_int(&r, 0, 2);
	if (holders > 0) {
		access_refuse(req, ERR_CONFLICT, "name", "%lld members have this role", holders);
		return;
	}
	batch = db_batch_new(w->db);
	db_batch_add(batch,
		     "DELETE FROM roles WHERE org_id = $1 AND name = $2 AND NOT EXISTS (SELECT 1 FROM members m"
		     " WHERE m.org_id = $1 AND m.role = $2)",
		     DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->params[0])), 1);
	if (access_commit(req, batch,
			  &(struct audit_event){.category = "access",
						.action = "access.role_deleted",
						.resource_type = STR("role"),
						.resource_id = req->params[0]},
			  IDENTITY_CHANGE_ROLE, req->params[0], ""))
		http_reply_json(req, 200,
				json_pack("{s:b, s:s%}", "deleted", 1, "name", req->params[0].p, req->params[0].n));
}

/* ---- roles beside the membership ---- */

CO_FN static void api_assignments(struct http_request *req)
{
	struct str user = http_query(req, "user_id");
	struct error err = ERROR_INIT;
	json_t *list = json_array();
	struct db_rows r;
	size_t i;

	if (!db_query(api_worker(req)->db, req->arena,
		      "SELECT id, user_id, role, workspace_id, granted_by, created_at, expires_at FROM role_assignments"
		      " WHERE org_id = $1 AND ($2 = '' OR user_id = $2) ORDER BY created_at, id LIMIT $3",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(user.p != NULL ? user : STR("")), DB_I(ACCESS_PAGE)), &r,
		      &err)) {
		json_decref(list);
		http_reply_error(req, &err);
		return;
	}
	for (i = 0; i < r.count; i++) {
		json_t *o = json_object();

		json_put_str(o, "id", db_str(&r, i, 0));
		json_put_str(o, "user_id", db_str(&r, i, 1));
		json_put_str(o, "role", db_str(&r, i, 2));
		json_put_str(o, "workspace_id", db_str(&r, i, 3));
		json_put_str(o, "granted_by", db_str(&r, i, 4));
		json_object_set_new(o, "created_at", json_time(db_int(&r, i, 5)));
		json_object_set_new(o, "expires_at", json_time(db_int(&r, i, 6)));
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200, json_pack("{s:o, s:I}", "assignments", list, "total", (json_int_t)r.count));
}

/* The workspace is one of the organization; empty: all of it. False: it has been answered. */
CO_FN static bool api_workspace(struct http_request *req, struct str workspace_id)
{
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (workspace_id.n == 0)
		return true;
	if (!db_query(api_worker(req)->db, req->arena, "SELECT 1 FROM workspaces WHERE id = $1 AND org_id = $2",
		      DB_ARGS(DB_S(workspace_id), DB_S(req->ctx.org_id)), &r, &err))
		http_reply_error(req, &err);
	else if (r.count == 0)
		access_refuse(req, ERR_NOT_FOUND, "workspace_id", "there is no such workspace");
	return !http_replied(req);
}

/* May the role be given by whoever asks, to somebody else? False: it has been answered. */
CO_FN static bool api_may_assign(struct http_request *req, struct str role)
{
	struct permissions set;
	struct error err = ERROR_INIT;

	if (!access_lasting(req))
		return false;
	if (!access_of_role(api_worker(req), req->arena, req->ctx.org_id, role, &set, &err)) {
		if (err.code == ERR_NOT_FOUND)
			access_refuse(req, ERR_INVALID_VALUE, "role", "%s", err.msg);
		else
			http_reply_error(req, &err);
		return false;
	}
	if (role_may_assign(req->ctx.who->role, STR_NONE, role) && permissions_include(access_own(req), &set))
		return true;
	access_refuse(req, ERR_FORBIDDEN, "role", "you may not assign the role %.*s", STR_ARG(role));
	return false;
}

CO_FN static void api_assign(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct str user, role, workspace, had;
	struct db_batch *batch;
	struct body_problems p;
	char id[UUID_LEN + 1];
	int64_t hours, now = clock_wall_ms();

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	user = body_text(&p, body, "user_id", 1, 128, false);
	role = body_text(&p, body, "role", 1, 64, false);
	workspace = body_text(&p, body, "workspace_id", 0, 128, false);
	hours = access_number(&p, body, "expires_in_hours", 1, ASSIGNMENT_HOURS_MAX, 0);
	if (body_refused(req, &p) || !api_workspace(req, workspace) || !access_member(req, user, "user_id", &had) ||
	    !api_may_assign(req, role))
		return;
	ids_uuid7(id);
	batch = db_batch_new(api_worker(req)->db);
	db_batch_add(batch,
		     "INSERT INTO role_assignments (id, org_id, workspace_id, user_id, role, granted_by, created_at,"
		     " expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		     DB_ARGS(DB_Z(id), DB_S(req->ctx.org_id), DB_S(workspace), DB_S(user), DB_S(role),
			     DB_S(req->ctx.principal), DB_I(now), DB_I(hours > 0 ? now + hours * 3600000 : 0)),
		     1);
	if (access_commit(req, batch,
			  &(struct audit_event){.category = "access",
						.action = "access.role_assigned",
						.resource_type = STR("user"),
						.resource_id = user,
						.reason = role},
			  IDENTITY_CHANGE_USER, user, "the member has this role there already"))
		http_reply_json(req, 201,
				json_pack("{s:s, s:o, s:o, s:o}", "id", id, "user_id", json_str(user), "role",
					  json_str(role), "workspace_id", json_str(workspace)));
}

CO_FN static void api_unassign(struct http_request *req)
{
	struct worker *w = api_worker(req);
	struct error err = ERROR_INIT;
	struct db_batch *batch;
	struct str user, role;
	struct db_rows r;

	if (!db_query(w->db, req->arena, "SELECT user_id, role FROM role_assignments WHERE org_id = $1 AND id = $2",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->params[0])), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	if (r.count == 0) {
		access_refuse(req, ERR_NOT_FOUND, "id", "there is no such assignment");
		return;
	}
	user = db_str(&r, 0, 0);
	role = db_str(&r, 0, 1);
	if (!role_may_assign(req->ctx.who->role, STR_NONE, role)) {
		access_refuse(req, ERR_FORBIDDEN, "role", "you may not take the role %.*s away", STR_ARG(role));
		return;
	}
	batch = db_batch_new(w->db);
	db_batch_add(batch, "DELETE FROM role_assignments WHERE org_id = $1 AND id = $2",
		     DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->params[0])), 1);
	if (access_commit(req, batch,
			  &(struct audit_event){.category = "access",
						.action = "access.role_revoked",
						.resource_type = STR("user"),
						.resource_id = user,
						.reason = role},
			  IDENTITY_CHANGE_USER, user, ""))
		http_reply_json(req, 200, json_pack("{s:b, s:o}", "revoked", 1, "id", json_str(req->params[0])));
}

/* The decision about oneself, or (role.read) about another member, with its reason: security.md 1.5. */
CO_FN static void api_check(struct http_request *req)
{
	struct str key = http_query(req, "permission"), user = http_query(req, "user_id");
	int permission = permission_find(key);
	struct access_effective e = {.permissions = *access_own(req)};
	struct error err = ERROR_INIT;
	bool other = user.n > 0 && !str_eq(user, req->ctx.principal);
	bool allowed;

	if (permission < 0) {
		access_refuse(req, ERR_INVALID_VALUE, "permission", "there is no such permission");
		return;
	}
	if (other && !rbac_demand(req, "role.read"))
		return;
	if (other &&
	    !access_of_member(api_worker(req), req->arena, req->ctx.org_id, req->ctx.workspace_id, user, &e, &err)) {
		http_reply_error(req, &err);
		return;
	}
	allowed = other ? permissions_have(&e.permissions, permission) : rbac_allows(req, permission_key(permission));
	http_reply_json(req, 200,
			json_pack("{s:b, s:s, s:s, s:o, s:b}", "allowed", allowed, "permission",
				  permission_key(permission), "reason",
				  allowed ? "granted by a role, a delegation or break-glass" : "no role grants it",
				  "user_id", json_str(other ? user : req->ctx.principal), "cached", !other));
}

static const struct route role_rows[] = {
    ROUTE(GET, "/api/rbac/permissions", api_permissions, "access:read", READ, "All permissions, and which you have"),
    ROUTE(GET, "/api/rbac/roles", api_roles, "access:read", READ, "Roles of the system and of the organization"),
    ROUTE(GET, "/api/rbac/roles/{name}", api_role, "access:read", READ, "One role with its permissions"),
    ROUTE(GET, "/api/rbac/templates", api_templates, "access:read", READ, "Templates for custom roles"),
    ROUTE(GET, "/api/rbac/check", api_check, "access:read", READ, "May you, or a member, do something?"),
    ROUTE(POST, "/api/rbac/roles", api_create_role, "role:create", WRITE, "Make a custom role"),
    ROUTE(PUT, "/api/rbac/roles/{name}", api_update_role, "role:update", WRITE, "Replace a custom role"),
    ROUTE(DELETE, "/api/rbac/roles/{name}", api_delete_role, "role:delete", WRITE,
	  "Delete a custom role that nobody has"),
    ROUTE(GET, "/api/rbac/assignments", api_assignments, "role:read", READ,
	  "Roles that members have beside that of their membership"),
    ROUTE(POST, "/api/rbac/assignments", api_assign, "users:change_role", WRITE,
	  "Give a member a further role, in a workspace or for a time"),
    ROUTE(DELETE, "/api/rbac/assignments/{id}", api_unassign, "users:change_role", WRITE, "Take a further role away"),
};
const struct route_table access_role_routes = {role_rows, countof(role_rows)};
