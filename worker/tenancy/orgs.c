/* SPDX-License-Identifier: MIT */
/*
 * Organizations: the own ones, making a new one, changing and closing the one that the request is in. Called through
 * its routes. Another organization is reached by selecting it (X-Tenant-ID), never by its id in a path alone.
 */
#include "common/clock.h"
#include "common/ids.h"
#include "common/json.h"
#include "worker/audit/audit.h"
#include "worker/http/body.h"
#include "worker/identity/changes.h"
#include "worker/identity/user.h"
#include "worker/tenancy/tenancy.h"

static const struct tenancy_column org_columns[] = {
    {"id", TENANCY_TEXT},           {"name", TENANCY_TEXT},        {"slug", TENANCY_TEXT},
    {"tier", TENANCY_TEXT},         {"owner_id", TENANCY_TEXT},    {"is_active", TENANCY_BOOL},
    {"settings", TENANCY_DOCUMENT}, {"created_at", TENANCY_TIME},  {"updated_at", TENANCY_TIME},
    {"members", TENANCY_NUMBER},    {"workspaces", TENANCY_NUMBER}};

/* Answers with {organization} and its members at the top level too. */
CO_FN static void org_reply(struct http_request *req, int status, struct str id)
{
	json_t *row = tenancy_one(
	    req, "Organization",
	    "SELECT o.id, o.name, o.slug, o.tier, o.owner_id, o.is_active, o.settings, o.created_at, o.updated_at,"
	    " (SELECT COUNT(*) FROM members m WHERE m.org_id = $1),"
	    " (SELECT COUNT(*) FROM workspaces s WHERE s.org_id = $1) FROM organizations o WHERE o.id = $1",
	    DB_ARGS(DB_S(id)), org_columns, countof(org_columns));
	json_t *o;

	if (row == NULL)
		return;
	o = json_copy(row);
	json_object_set_new(o, "organization", json_copy(o));
	http_reply_json(req, status, o);
}

/* The organizations that the caller belongs to; without an account the one it is in. */
CO_FN static void org_list(struct http_request *req)
{
	static const struct tenancy_column columns[] = {
	    {"id", TENANCY_TEXT},   {"name", TENANCY_TEXT},      {"slug", TENANCY_TEXT},     {"tier", TENANCY_TEXT},
	    {"role", TENANCY_TEXT}, {"joined_at", TENANCY_TIME}, {"is_active", TENANCY_BOOL}};
	const struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *list;

	if (!db_query(
		w->db, req->arena,
		"SELECT o.id, o.name, o.slug, o.tier, m.role, m.created_at, o.is_active FROM members m"
		" JOIN organizations o ON o.id = m.org_id WHERE m.user_id = $1 ORDER BY m.created_at, o.id LIMIT 200",
		DB_ARGS(DB_S(req->ctx.principal)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	if (req->ctx.who->account == NULL && r.count == 0) {
		org_reply(req, 200, req->ctx.org_id);
		return;
	}
	list = tenancy_rows(req->arena, &r, columns, countof(columns));
	http_reply_json(req, 200,
			json_pack("{s:O, s:I, s:s%}", "organizations", list, "total", (json_int_t)r.count, "current",
				  req->ctx.org_id.p, req->ctx.org_id.n));
}

CO_FN static void org_current(struct http_request *req)
{
	org_reply(req, 200, req->ctx.org_id);
}

CO_FN static void org_get(struct http_request *req)
{
	if (tenancy_own_org(req))
		org_reply(req, 200, req->ctx.org_id);
}

/* Whoever has an account may found an organization, and owns it. Its first workspace has its id. */
CO_FN static void org_create(struct http_request *req)
{
	struct worker *w = req->user;
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	char id[UUID_LEN + 1];
	int64_t now = clock_wall_ms();
	struct body_problems p;
	struct db_batch *b;
	struct str name;

	if (body == NULL)
		return;
	if (req->ctx.who->account == NULL || req->ctx.who->kind != IDENTITY_USER || req->ctx.who->impersonator.n > 0) {
		error_set(&err, ERR_FORBIDDEN, "an organization needs an account that owns it: its owner logs in");
		http_reply_error(req, &err);
		return;
	}
	body_problems_begin(req, &p);
	name = body_text(&p, body, "name", 1, TENANCY_NAME_MAX, false);
	if (body_refused(req, &p))
		return;
	ids_uuid7(id);
	b = db_batch_new(w->db);
	db_batch_add(
	    b,
	    "INSERT INTO organizations (id, name, slug, owner_id, created_at, updated_at)"
	    " VALUES ($1, $2, $3, $4, $5, $5)",
	    DB_ARGS(DB_Z(id), DB_S(name), DB_S(user_slug(req->arena, name)), DB_S(req->ctx.principal), DB_I(now)), 1);
	db_batch_add(b,
		     "INSERT INTO workspaces (id, org_id, name, slug, created_by, created_at, updated_at)"
		     " VALUES ($1, $1, 'Default', 'default', $2, $3, $3)",
		     DB_ARGS(DB_Z(id), DB_S(req->ctx.principal), DB_I(now)), 1);
	tenancy_add_member(b, str_of(id), req->ctx.principal, STR("owner"));
	if (tenancy_commit(req, b,
			   &(struct tenancy_act){.category = "admin",
						 .action = "organization.create",
						 .type = "organization",
						 .id = str_of(id),
						 .user_id = req->ctx.principal}))
		org_reply(req, 201, arena_str(req->arena, str_of(id)));
}

/* An object of settings as text; empty: not given. What is wrong is added to p. */
static struct str org_settings(struct http_request *req, const json_t *body, struct body_problems *p)
{
	const json_t *v = json_object_get(body, "settings");
	struct error err = ERROR_INIT;
	struct str text;

	if (v == NULL)
		return STR("");
	text = json_text(req->arena, v);
	if (json_is_object(v) && text.n <= TENANCY_SETTINGS_MAX)
		return text;
	error_field(&err, ERR_INVALID_VALUE, "settings", "must be an object of at most %d bytes", TENANCY_SETTINGS_MAX);
	body_problem(p, &err);
	return STR("");
}

CO_FN static void org_update(struct http_request *req)
{
	struct worker *w = req->user;
	const json_t *body;
	struct str name, settings;
	struct body_problems p;
	struct db_batch *b;

	if (!tenancy_own_org(req) || (body = body_object(req)) == NULL)
		return;
	body_problems_begin(req, &p);
	name = body_text(&p, body, "name", 0, TENANCY_NAME_MAX, false);
	settings = org_settings(req, body, &p);
	if (body_refused(req, &p))
		return;
	b = db_batch_new(w->db);
	db_batch_add(b,
		     "UPDATE organizations SET name = CASE WHEN $2 = '' THEN name ELSE $2 END,"
		     " settings = CASE WHEN $3 = '' THEN settings ELSE $3 END, updated_at = $4 WHERE id = $1",
		     DB_ARGS(DB_S(req->ctx.org_id), DB_S(name), DB_S(settings), DB_I(clock_wall_ms())), 1);
	if (tenancy_commit(req, b,
			   &(struct tenancy_act){.category = "admin",
						 .action = "organization.update",
						 .type = "organization",
						 .id = req->ctx.org_id,
						 .fenced = "Organization"}))
		org_reply(req, 200, req->ctx.org_id);
}

/* Closed, not erased: nobody gets in any more, and its data stays until retention takes it. */
CO_FN static void org_delete(struct http_request *req)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_batch *b;

	if (!tenancy_own_org(req))
		return;
	if (str_eqz(req->ctx.org_id, IDENTITY_DEFAULT)) {
		error_set(&err, ERR_CONFLICT, "the default organization cannot be closed");
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	db_batch_add(b, "UPDATE organizations SET is_active = 0, updated_at = $2 WHERE id = $1 AND is_active = 1",
		     DB_ARGS(DB_S(req->ctx.org_id), DB_I(clock_wall_ms())), 1);
	if (tenancy_commit(req, b,
			   &(struct tenancy_act){.category = "admin",
						 .action = "organization.delete",
						 .type = "organization",
						 .id = req->ctx.org_id,
						 .fenced = "Organization"}))
		http_reply_json(req, 200,
				json_pack("{s:b, s:s%}", "deleted", 1, "id", req->ctx.org_id.p, req->ctx.org_id.n));
}

static const struct route organization_rows[] = {
    ROUTE(GET, "/api/organizations", org_list, "organization.read", READ, "Organizations that the caller belongs to"),
    ROUTE(POST, "/api/organizations", org_create, "organization.read", CREATE, "Found an organization"),
    ROUTE(GET, "/api/organizations/{id}", org_get, "organization.read", READ, "The organization that is selected"),
    ROUTE(PUT, "/api/organizations/{id}", org_update, "organization.update", WRITE, "Change name and settings"),
    ROUTE(PATCH, "/api/organizations/{id}", org_update, "organization.update", WRITE, "Change name and settings"),
    ROUTE(DELETE, "/api/organizations/{id}", org_delete, "organization.delete", WRITE, "Close an organization"),
    ROUTE(GET, "/api/org", org_current, "organization.read", READ, "The organization that is selected"),
};
const struct route_table organization_routes = {organization_rows, countof(organization_rows)};
