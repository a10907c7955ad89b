/* SPDX-License-Identifier: MIT */
/*
 * Owners and grants of single resources. Called by the abac step for callers whose role does not do, and by the
 * endpoints of grants. A role that does is not looked at here.
 */
#include "worker/access/resource.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/access/conditions.h"
#include "worker/identity/identity.h"
#include "worker/permission/permission.h"
#include "worker/worker.h"

/* security.md 1.8, Ownership. */
static const struct resource_type resource_types[] = {
    {"debate", "/api/debates/{id}",
     "SELECT id, user_id, status, tags, metadata FROM debates WHERE workspace_id = $2 AND org_id = $3"
     " AND (id = $1 OR slug = $1) LIMIT 1",
     "debates: read update delete run stop fork export"},
};

const struct resource_type *resource_type_find(struct str name)
{
	size_t i;

	for (i = 0; i < countof(resource_types); i++)
		if (str_eqz(name, resource_types[i].name))
			return &resource_types[i];
	return NULL;
}

const struct resource_type *resource_of(const struct route *r)
{
	struct str path = str_of(r->path);
	size_t i;

	for (i = 0; i < countof(resource_types); i++) {
		struct str below = str_of(resource_types[i].route);

		if (str_starts(path, below) && (path.n == below.n || path.p[below.n] == '/'))
			return &resource_types[i];
	}
	return NULL;
}

CO_FN bool resource_load(struct worker *w, struct arena *a, const struct context *ctx, const struct resource_type *type,
			 struct str id, struct resource *out, struct error *err)
{
	struct error ignored = ERROR_INIT;
	struct db_rows r;

	if (!db_query(w->db, a, type->sql, DB_ARGS(DB_S(id), DB_S(ctx->workspace_id), DB_S(ctx->org_id)), &r, err))
		return false;
	if (r.count == 0)
		return error_field(err, ERR_NOT_FOUND, "resource_id", "there is no such %s", type->name);
	*out = (struct resource){
	    .type = type,
	    .id = db_str(&r, 0, 0),
	    .owner_id = db_str(&r, 0, 1),
	    .status = db_str(&r, 0, 2),
	    .tags = json_parse(a, db_str(&r, 0, 3), &ignored),
	    .sensitivity = json_get_str(json_parse(a, db_str(&r, 0, 4), &ignored), "sensitivity", STR("")),
	};
	return true;
}

/* security.md 2.2, row 8; tiers as organizations have them. */
bool resource_sensitivity_allowed(struct str sensitivity, struct str tier)
{
	static const struct {
		const char *sensitivity, *tiers;
	} rows[] = {{"", "*"},
		    {"public", "*"},
		    {"internal", "*"},
		    {"confidential", "professional enterprise"},
		    {"restricted", "enterprise"}};
	struct str list, one;
	size_t i;

	for (i = 0; i < countof(rows) && !str_eqz(sensitivity, rows[i].sensitivity); i++)
		;
	if (i == countof(rows))
		return false;
	list = str_of(rows[i].tiers);
	while (str_split(&list, ' ', &one))
		if (str_eqz(one, "*") || str_eq(one, tier))
			return true;
	return false;
}

CO_FN static bool resource_granted(struct http_request *req, const struct resource *r, int permission,
				   struct error *err)
{
	const struct condition_facts facts = {.now_ms = clock_wall_ms(),
					      .client = req->client,
					      .user_id = req->ctx.principal,
					      .owner_id = r->owner_id,
					      .status = r->status,
					      .tags = r->tags};
	struct worker *w = req->user;
	struct error bad = ERROR_INIT;
	struct db_rows rows;
	size_t i;

	if (!db_query(w->db, req->arena,
		      "SELECT conditions FROM resource_grants WHERE org_id = $1 AND user_id = $2 AND permission = $3"
		      " AND resource_type = $4 AND resource_id = $5 AND (expires_at = 0 OR expires_at > $6)",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->ctx.principal), DB_Z(permission_key(permission)),
			      DB_Z(r->type->name), DB_S(r->id), DB_I(facts.now_ms)),
		      &rows, err))
		return false;
	for (i = 0; i < rows.count; i++) {
		const json_t *conditions = json_parse(req->arena, db_str(&rows, i, 0), &bad);

		if (conditions != NULL && conditions_hold(conditions, &facts))
			return true;
	}
	return false;
}

CO_FN bool resource_allows(struct http_request *req, const struct resource *r, int permission, struct error *err)
{
	struct permissions owner = {{0}};
	bool ok = permissions_grant_text(&owner, str_of(r->type->owner), err);

	BUG_ON(!ok);
	if (!resource_sensitivity_allowed(r->sensitivity, req->ctx.who->tier))
		return false;
	if (r->owner_id.n > 0 && str_eq(r->owner_id, req->ctx.principal) && permissions_have(&owner, permission))
		return true;
	return resource_granted(req, r, permission, err);
}
