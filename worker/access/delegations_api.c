/* SPDX-License-Identifier: MIT */
/*
 * /api/rbac/delegations: a member lets another do what it may itself, for at most 30 days (security.md 1.8). Who gets
 * it may pass it on only when told so, and not further than twice; what is revoked takes what came of it with it.
 */
#include "common/clock.h"
#include "common/ids.h"
#include "worker/access/api.h"
#include "worker/worker.h"

#define DELEGATION_DAYS_MAX 30
#define DELEGATION_DEPTH 3 /* the first, and two that came of it */
#define DELEGATION_REASON_MAX 500
#define DELEGATION_OPEN_MAX 200 /* that one member has given */
#define DAY_MS INT64_C(86400000)

/* Not to be passed on: with these the delegate would become the giver. */
static const char *const delegation_never[] = {
    "access.delegate", "users.impersonate",     "emergency.activate", "users.change_role",
    "approval.grant",  "authentication.update", "workflows.approve",  "admin.*"};

static struct worker *api_worker(const struct http_request *req)
{
	return req->user;
}

#define DELEGATION_COLUMNS                                                                                    \
	"id, delegator_id, delegate_id, permission, workspace_id, parent_id, depth, can_redelegate, reason, " \
	"created_at,"                                                                                         \
	" expires_at, revoked_at, revoked_by"

static json_t *api_delegation(const struct db_rows *r, size_t i)
{
	static const char *const texts[] = {"id",         "delegator_id", "delegate_id",
					    "permission", "workspace_id", "parent_id"};
	const char *state = db_int(r, i, 11) != 0                 ? "revoked"
			    : db_int(r, i, 10) <= clock_wall_ms() ? "expired"
								  : "active";
	json_t *o = json_object();
	size_t k;

	for (k = 0; k < countof(texts); k++)
		json_put_str(o, texts[k], db_str(r, i, k));
	json_put_int(o, "depth", db_int(r, i, 6));
	json_object_set_new(o, "can_redelegate", json_boolean(db_int(r, i, 7) != 0));
	json_put_str(o, "reason", db_str(r, i, 8));
	json_object_set_new(o, "created_at", json_time(db_int(r, i, 9)));
	json_object_set_new(o, "expires_at", json_time(db_int(r, i, 10)));
	json_object_set_new(o, "revoked_at", json_time(db_int(r, i, 11)));
	json_put_str(o, "revoked_by", db_str(r, i, 12));
	json_object_set_new(o, "state", json_string(state));
	return o;
}

/* One's own; all of the organization with role.read. */
CO_FN static void api_list(struct http_request *req)
{
	bool all = rbac_allows(req, "role.read");
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *list;
	size_t i;

	if (!db_query(
		api_worker(req)->db, req->arena,
		"SELECT " DELEGATION_COLUMNS " FROM delegations WHERE org_id = $1 AND ($2 = 1 OR delegator_id = $3"
		" OR delegate_id = $3) ORDER BY created_at DESC, id DESC LIMIT $4",
		DB_ARGS(DB_S(req->ctx.org_id), DB_I(all), DB_S(req->ctx.principal), DB_I(ACCESS_PAGE)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++)
		json_array_append_new(list, api_delegation(&r, i));
	http_reply_json(req, 200, json_pack("{s:o, s:I}", "delegations", list, "total", (json_int_t)r.count));
}

/* What a member may by role and delegations, without break-glass: only that can be passed on. */
CO_FN static bool api_holds(struct http_request *req, int permission, struct error *err)
{
	struct access_effective e;

	if (!permissions_have(access_own(req), permission))
		return false;
	if (req->ctx.who->emergency_id.n == 0)
		return true;
	if (!access_of_member(api_worker(req), req->arena, req->ctx.org_id, req->ctx.workspace_id, req->ctx.principal,
			      &e, err))
		return false;
	return e.emergency_id.n == 0 && permissions_have(&e.permissions, permission);
}

struct api_chain {
	struct str parent;
	int64_t depth, until_ms;
};

/*
 * Where the permission comes from: by role (no parent), or by a delegation that may be passed on. False: it has been
 * answered.
 */
CO_FN static bool api_origin(struct http_request *req, const char *key, struct api_chain *out)
{
	struct worker *w = api_worker(req);
	struct error err = ERROR_INIT;
	struct permissions by_role;
	struct db_rows r;

	*out = (struct api_chain){STR(""), 0, INT64_MAX};
	if (!access_of_role(w, req->arena, req->ctx.org_id, req->ctx.who->role, &by_role, &err) &&
	    err.code != ERR_NOT_FOUND) {
		http_reply_error(req, &err);
		return false;
	}
	if (permissions_have(&by_role, permission_find(str_of(key))))
		return true;
	if (!db_query(
		w->db, req->arena,
		"SELECT id, depth, expires_at FROM delegations WHERE org_id = $1 AND delegate_id = $2"
		" AND permission = $3 AND can_redelegate = 1 AND revoked_at = 0 AND expires_at > $4 AND depth < $5"
		" ORDER BY expires_at DESC LIMIT 1",
		DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->ctx.principal), DB_Z(key), DB_I(clock_wall_ms()),
			DB_I(DELEGATION_DEPTH - 1)),
		&r, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	if (r.count == 0) {
		access_refuse(req, ERR_FORBIDDEN, "permission", "this permission is not yours to pass on");
		return false;
	}
	*out = (struct api_chain){db_str(&r, 0, 0), db_int(&r, 0, 1) + 1, db_int(&r, 0, 2)};
	return true;
}

struct api_wish {
	struct str delegate, permission, reason;
	int64_t days;
	bool redelegate;
	int number; /* of the permission */
};

/* False: it has been answered. */
CO_FN static bool api_read(struct http_request *req, struct api_wish *wish)
{
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	struct body_problems p;
	size_t i;

	if (body == NULL)
		return false;
	body_problems_begin(req, &p);
	wish->delegate = body_text(&p, body, "delegate_id", 1, 128, false);
	wish->permission = body_text(&p, body, "permission", 1, 64, false);
	wish->reason = body_text(&p, body, "reason", 0, DELEGATION_REASON_MAX, false);
	/* Longer is cut, not refused: security.md 1.8. */
	wish->days = access_number(&p, body, "days", 1, 36500, 1);
	wish->days = wish->days > DELEGATION_DAYS_MAX ? DELEGATION_DAYS_MAX : wish->days;
	wish->redelegate = json_get_bool(body, "can_redelegate", false);
	wish->number = permission_find(wish->permission);
	if (wish->permission.n > 0 && wish->number < 0) {
		error_field(&err, ERR_INVALID_VALUE, "permission", "there is no such permission");
		body_problem(&p, &err);
	}
	if (body_refused(req, &p))
		return false;
	for (i = 0; i < countof(delegation_never); i++)
		if (strcmp(permission_key(wish->number), delegation_never[i]) == 0) {
			access_refuse(req, ERR_FORBIDDEN, "permission", "%s cannot be delegated", delegation_never[i]);
			return false;
		}
	if (str_eq(wish->delegate, req->ctx.principal)) {
		access_refuse(req, ERR_INVALID_VALUE, "delegate_id", "nobody delegates to themselves");
		return false;
	}
	if (api_holds(req, wish->number, &err))
		return true;
	if (err.code != ERR_OK)
		http_reply_error(req, &err);
	else
		access_refuse(req, ERR_FORBIDDEN, "permission", "you do not have the permission %s",
			      permission_key(wish->number));
	return false;
}

CO_FN static void api_create(struct http_request *req)
{
	int64_t now = clock_wall_ms(), until;
	struct api_chain chain;
	struct api_wish wish;
	char id[UUID_LEN + 1];
	struct db_batch *b;
	const char *key;
	struct str role;

	if (!api_read(req, &wish) || !access_member(req, wish.delegate, "delegate_id", &role))
		return;
	key = permission_key(wish.number);
	if (!api_origin(req, key, &chain))
		return;
	until = now + wish.days * DAY_MS;
	until = until < chain.until_ms ? until : chain.until_ms;
	ids_uuid7(id);
	b = db_batch_new(api_worker(req)->db);
	/* The limit and the parent hold at the moment of the commit. */
	db_batch_add(
	    b,
	    "INSERT INTO delegations (id, org_id, workspace_id, delegator_id, delegate_id, permission, parent_id,"
	    " depth, can_redelegate, reason, created_at, expires_at)"
	    " SELECT $1, $2, '', $3, $4, $5, $6, $7, $8, $9, $10, $11 FROM (SELECT 1 AS one) x"
	    " WHERE (SELECT COUNT(*) FROM delegations WHERE org_id = $2 AND delegator_id = $3 AND revoked_at = 0"
	    " AND expires_at > $10) < $12 AND ($6 = '' OR EXISTS (SELECT 1 FROM delegations WHERE org_id = $2"
	    " AND id = $6 AND revoked_at = 0))",
	    DB_ARGS(DB_Z(id), DB_S(req->ctx.org_id), DB_S(req->ctx.principal), DB_S(wish.delegate), DB_Z(key),
		    DB_S(chain.parent), DB_I(chain.depth), DB_I(wish.redelegate), DB_S(wish.reason), DB_I(now),
		    DB_I(until), DB_I(DELEGATION_OPEN_MAX)),
	    1);
	if (access_commit(req, b,
			  &(struct audit_event){.category = "access",
						.action = "access.delegated",
						.resource_type = STR("user"),
						.resource_id = wish.delegate,
						.reason = str_of(key)},
			  IDENTITY_CHANGE_USER, wish.delegate, ""))
		http_reply_json(req, 201,
				json_pack("{s:s, s:o, s:s, s:I, s:b, s:o, s:s}", "id", id, "delegate_id",
					  json_str(wish.delegate), "permission", key, "depth", (json_int_t)chain.depth,
					  "can_redelegate", wish.redelegate, "expires_at", json_time(until), "state",
					  "active"));
}

/* The delegation and at most two generations of it. */
#define DELEGATION_TREE                                                                                            \
	"(d.id = $2 OR d.parent_id = $2 OR d.parent_id IN (SELECT p.id FROM delegations p WHERE p.org_id = $1 AND" \
	" p.parent_id = $2))"

CO_FN static void api_revoke(struct http_request *req)
{
	struct worker *w = api_worker(req);
	struct error err = ERROR_INIT;
	struct db_batch *b;
	struct db_rows r;
	struct str mine;
	size_t i;

	if (!db_query(w->db, req->arena,
		      "SELECT d.delegate_id, d.id, d.delegator_id FROM delegations d WHERE d.org_id = $1"
		      " AND d.revoked_at = 0 AND " DELEGATION_TREE " ORDER BY d.depth, d.delegate_id LIMIT 500",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->params[0])), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	mine = r.count > 0 ? db_str(&r, 0, 2) : STR_NONE;
	if (r.count == 0 || !str_eq(db_str(&r, 0, 1), req->params[0])) {
		access_refuse(req, ERR_NOT_FOUND, "id", "there is no such delegation");
		return;
	}
	if (!str_eq(mine, req->ctx.principal) && !str_eq(db_str(&r, 0, 0), req->ctx.principal) &&
	    !rbac_demand(req, "users.change_role"))
		return;
	b = db_batch_new(w->db);
	db_batch_add(
	    b,
	    "UPDATE delegations AS d SET revoked_at = $3, revoked_by = $4 WHERE d.org_id = $1 AND d.revoked_at = 0"
	    " AND " DELEGATION_TREE,
	    DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->params[0]), DB_I(clock_wall_ms()), DB_S(req->ctx.principal)),
	    (int64_t)r.count);
	for (i = 1; i < r.count; i++)
		identity_change_add(b, IDENTITY_CHANGE_USER, db_str(&r, i, 0));
	if (!access_commit(req, b,
			   &(struct audit_event){.category = "access",
						 .action = "access.delegation_revoked",
						 .resource_type = STR("delegation"),
						 .resource_id = req->params[0]},
			   IDENTITY_CHANGE_USER, db_str(&r, 0, 0), ""))
		return;
	for (i = 1; i < r.count; i++)
		identity_changed(w, IDENTITY_CHANGE_USER, db_str(&r, i, 0));
	http_reply_json(req, 200, json_pack("{s:b, s:I}", "revoked", 1, "count", (json_int_t)r.count));
}

static const struct route delegation_rows[] = {
    ROUTE(GET, "/api/rbac/delegations", api_list, "access:read", READ, "Permissions that members lent each other"),
    ROUTE(POST, "/api/rbac/delegations", api_create, "access:delegate", WRITE,
	  "Lend a permission to another member for some days"),
    ROUTE(DELETE, "/api/rbac/delegations/{id}", api_revoke, "access:read", WRITE,
	  "End a delegation, and those that came of it"),
};
const struct route_table access_delegation_routes = {delegation_rows, countof(delegation_rows)};
