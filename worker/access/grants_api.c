/* SPDX-License-Identifier: MIT */
/*
 * /api/rbac/grants: one permission for one thing to one member, perhaps for a time and under conditions. Nobody grants
 * what they may not themselves.
 */
#include "common/clock.h"
#include "common/ids.h"
#include "worker/access/api.h"
#include "worker/access/conditions.h"
#include "worker/access/resource.h"
#include "worker/worker.h"

#define GRANT_HOURS_MAX (365 * 24)
#define GRANT_CONDITIONS_MAX 4096

static struct worker *api_worker(const struct http_request *req)
{
	return req->user;
}

CO_FN static void api_list(struct http_request *req)
{
	static const char *const texts[] = {"id",          "user_id",   "permission", "resource_type",
					    "resource_id", "granted_by"};
	struct str user = http_query(req, "user_id"), thing = http_query(req, "resource_id");
	struct error err = ERROR_INIT, bad = ERROR_INIT;
	struct db_rows r;
	json_t *list;
	size_t i, k;

	if (!db_query(api_worker(req)->db, req->arena,
		      "SELECT id, user_id, permission, resource_type, resource_id, granted_by, conditions, created_at,"
		      " expires_at FROM resource_grants WHERE org_id = $1 AND ($2 = '' OR user_id = $2)"
		      " AND ($3 = '' OR resource_id = $3) ORDER BY created_at DESC, id DESC LIMIT $4",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(user.n > 0 ? user : STR("")),
			      DB_S(thing.n > 0 ? thing : STR("")), DB_I(ACCESS_PAGE)),
		      &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		json_t *o = json_object();

		for (k = 0; k < countof(texts); k++)
			json_put_str(o, texts[k], db_str(&r, i, k));
		json_object_set(o, "conditions", json_parse(req->arena, db_str(&r, i, 6), &bad));
		json_object_set_new(o, "created_at", json_time(db_int(&r, i, 7)));
		json_object_set_new(o, "expires_at", json_time(db_int(&r, i, 8)));
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200, json_pack("{s:o, s:I}", "grants", list, "total", (json_int_t)r.count));
}

struct api_grant {
	struct str user, conditions;
	const struct resource_type *type;
	struct resource thing;
	int permission;
	int64_t hours;
};

/* False: it has been answered. */
CO_FN static bool api_read(struct http_request *req, struct api_grant *g)
{
	const json_t *body = body_object(req), *conditions;
	struct str type, id, permission, role;
	struct error err = ERROR_INIT;
	struct body_problems p;

	if (body == NULL || !access_lasting(req))
		return false;
	body_problems_begin(req, &p);
	g->user = body_text(&p, body, "user_id", 1, 128, false);
	permission = body_text(&p, body, "permission", 1, 64, false);
	type = body_text(&p, body, "resource_type", 1, 64, false);
	id = body_text(&p, body, "resource_id", 1, 128, false);
	g->hours = access_number(&p, body, "expires_in_hours", 1, GRANT_HOURS_MAX, 0);
	conditions = json_object_get(body, "conditions");
	g->conditions = conditions != NULL ? json_text(req->arena, conditions) : STR("{}");
	g->permission = permission_find(permission);
	g->type = resource_type_find(type);
	if (permission.n > 0 && g->permission < 0 &&
	    !error_field(&err, ERR_INVALID_VALUE, "permission", "there is no such permission"))
		body_problem(&p, &err);
	if (type.n > 0 && g->type == NULL &&
	    !error_field(&err, ERR_INVALID_VALUE, "resource_type", "nothing of this kind can be granted"))
		body_problem(&p, &err);
	if (!conditions_valid(conditions, &err) ||
	    (g->conditions.n > GRANT_CONDITIONS_MAX &&
	     !error_field(&err, ERR_INVALID_VALUE, "conditions", "must have at most %d bytes", GRANT_CONDITIONS_MAX)))
		body_problem(&p, &err);
	if (body_refused(req, &p) || !access_member(req, g->user, "user_id", &role))
		return false;
	if (!resource_load(api_worker(req), req->arena, &req->ctx, g->type, id, &g->thing, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	if (permissions_have(access_own(req), g->permission))
		return true;
	access_refuse(req, ERR_FORBIDDEN, "permission", "you do not have the permission %s",
		      permission_key(g->permission));
	return false;
}

CO_FN static void api_create(struct http_request *req)
{
	int64_t now = clock_wall_ms();
	char id[UUID_LEN + 1];
	struct api_grant g;
	struct db_batch *b;

	if (!api_read(req, &g))
		return;
	ids_uuid7(id);
	b = db_batch_new(api_worker(req)->db);
	db_batch_add(
	    b,
	    "INSERT INTO resource_grants (id, org_id, user_id, permission, resource_type, resource_id, conditions,"
	    " granted_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
	    DB_ARGS(DB_Z(id), DB_S(req->ctx.org_id), DB_S(g.user), DB_Z(permission_key(g.permission)),
		    DB_Z(g.type->name), DB_S(g.thing.id), DB_S(g.conditions), DB_S(req->ctx.principal), DB_I(now),
		    DB_I(g.hours > 0 ? now + g.hours * 3600000 : 0)),
	    1);
	if (access_commit(req, b,
			  &(struct audit_event){.category = "access",
						.action = "access.granted",
						.resource_type = str_of(g.type->name),
						.resource_id = g.thing.id,
						.reason = str_of(permission_key(g.permission))},
			  IDENTITY_CHANGE_USER, g.user, "the member has this grant already"))
		http_reply_json(req, 201,
				json_pack("{s:s, s:o, s:s, s:s, s:o}", "id", id, "user_id", json_str(g.user),
					  "permission", permission_key(g.permission), "resource_type", g.type->name,
					  "resource_id", json_str(g.thing.id)));
}

CO_FN static void api_revoke(struct http_request *req)
{
	struct worker *w = api_worker(req);
	struct error err = ERROR_INIT;
	struct db_batch *b;
	struct db_rows r;

	if (!db_query(w->db, req->arena, "SELECT user_id FROM resource_grants WHERE org_id = $1 AND id = $2",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->params[0])), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	if (r.count == 0) {
		access_refuse(req, ERR_NOT_FOUND, "id", "there is no such grant");
		return;
	}
	b = db_batch_new(w->db);
	db_batch_add(b, "DELETE FROM resource_grants WHERE org_id = $1 AND id = $2",
		     DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->params[0])), 1);
	if (access_commit(req, b,
			  &(struct audit_event){.category = "access",
						.action = "access.revoked",
						.resource_type = STR("grant"),
						.resource_id = req->params[0]},
			  IDENTITY_CHANGE_USER, db_str(&r, 0, 0), ""))
		http_reply_json(req, 200, json_pack("{s:b, s:o}", "revoked", 1, "id", json_str(req->params[0])));
}

static const struct route grant_rows[] = {
    ROUTE(GET, "/api/rbac/grants", api_list, "access:grant", READ, "Permissions for single things"),
    ROUTE(POST, "/api/rbac/grants", api_create, "access:grant", WRITE,
	  "Grant a member a permission for one thing, perhaps for a time and under conditions"),
    ROUTE(DELETE, "/api/rbac/grants/{id}", api_revoke, "access:grant", WRITE, "Take a grant away"),
};
const struct route_table access_grant_routes = {grant_rows, countof(grant_rows)};
