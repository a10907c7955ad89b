/* SPDX-License-Identifier: MIT */
/*
 * In which organization and workspace a request acts: the credential's, or the one that X-Tenant-ID or X-Workspace-ID
 * selects among those that the caller belongs to (security.md 1.6, 2.5). Memberships come with the identity; what the
 * caller may there is asked of the store once and then remembered with the credential. It decides about no permission.
 */
#include "common/metrics.h"
#include "worker/identity/credential.h"
#include "worker/middleware/pipeline.h"

/* The same answer for an unknown and for a foreign one. */
static bool tenancy_refuse(struct http_request *req, const char *header)
{
	struct error err = ERROR_INIT;

	metric_add(M_AUTH_FAILURES, 1, "forbidden", NULL);
	error_field(&err, ERR_FORBIDDEN, header, "you do not belong to this organization or workspace");
	http_reply_error(req, &err);
	return false;
}

struct tenancy_place {
	const struct membership *m; /* NULL: where the caller is already */
	struct str workspace_id;
};

/* A key, and a session in somebody's name, stay in the organization that they were made for. */
static bool tenancy_bound(const struct identity *who)
{
	return who->kind != IDENTITY_USER || who->impersonator.n > 0;
}

/* Either header may name either: an organization means its first workspace. False: neither is the caller's. */
static bool tenancy_find(const struct identity *who, struct str wanted, struct tenancy_place *out)
{
	const struct membership_workspace *s;

	*out = (struct tenancy_place){NULL, STR_NONE};
	/* Where somebody without an account is, there is nothing to select. */
	if (who->account == NULL)
		return str_eq(wanted, who->org_id) || str_eq(wanted, who->workspace_id);
	s = account_workspace(who->account, wanted);
	out->m = account_member(who->account, s != NULL ? s->org_id : wanted);
	if (out->m == NULL || !out->m->active || (tenancy_bound(who) && !str_eq(out->m->org_id, who->org_id)))
		return false;
	out->workspace_id = s != NULL ? s->id : out->m->org_id;
	return true;
}

/* Where the headers want to: NULL, or the one that is refused. */
static const char *tenancy_choose(const struct http_request *req, struct tenancy_place *out)
{
	struct str tenant = http_field(req, "x-tenant-id"), workspace = http_field(req, "x-workspace-id");
	const struct identity *who = req->ctx.who;
	struct tenancy_place first = {NULL, STR_NONE};

	/* A page cannot give a WebSocket headers. */
	if (workspace.n == 0 && (req->route->flags & ROUTE_WS))
		workspace = http_query(req, "workspace_id");
	if (tenant.n > 0 && (who == NULL || !tenancy_find(who, tenant, &first)))
		return "X-Tenant-ID";
	*out = first;
	/* Both at once must not mean two organizations. */
	if (workspace.n > 0 &&
	    (who == NULL || !tenancy_find(who, workspace, out) || (tenant.n > 0 && out->m != first.m)))
		return "X-Workspace-ID";
	if (out->m != NULL && str_eq(out->m->org_id, who->org_id) && str_eq(out->workspace_id, who->workspace_id))
		out->m = NULL;
	return NULL;
}

/* Also enters what is remembered. */
static bool tenancy_must_wait(struct http_request *req)
{
	const struct identity *there;
	struct tenancy_place p;

	if (tenancy_choose(req, &p) != NULL || p.m == NULL)
		return false;
	there = credential_entered(req->ctx.who, p.m, p.workspace_id);
	if (there != NULL)
		identity_apply(there, &req->ctx);
	return there == NULL;
}

CO_FN static bool tenancy_before(struct http_request *req)
{
	const struct identity *there;
	struct error err = ERROR_INIT;
	struct tenancy_place p;
	const char *refused = tenancy_choose(req, &p);

	if (refused != NULL)
		return tenancy_refuse(req, refused);
	if (p.m == NULL)
		return true;
	there = credential_enter(req->user, req->arena, req->ctx.who, p.m, p.workspace_id, &err);
	if (there == NULL) {
		http_reply_error(req, &err);
		return false;
	}
	identity_apply(there, &req->ctx);
	return true;
}

/* A public route has no tenant. */
static bool tenancy_applies(const struct route *r, const struct conf *c)
{
	(void)c;
	return !(r->flags & ROUTE_PUBLIC);
}

const struct middleware middleware_tenancy = {
    .name = "tenancy", .applies = tenancy_applies, .before = tenancy_before, .must_wait = tenancy_must_wait};
