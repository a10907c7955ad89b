/* SPDX-License-Identifier: MIT */
/*
 * In which organization and workspace a request acts: the credential's, or the one that X-Tenant-ID or X-Workspace-ID
 * selects among those that the caller belongs to (security.md 1.6, 2.5). Memberships come with the identity, so that
 * nothing is asked of the store here; where they could not be read, authentication has refused already.
 */
#include "common/metrics.h"
#include "worker/access/permission.h"
#include "worker/identity/identity.h"
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

/* Where somebody without an account is, there is nothing to select. */
static bool tenancy_fixed(struct http_request *req, struct str wanted, const char *header)
{
	return str_eq(wanted, req->ctx.org_id) || str_eq(wanted, req->ctx.workspace_id) || tenancy_refuse(req, header);
}

/* A key, and a session in somebody's name, stay in the organization that they were made for. */
static bool tenancy_bound(const struct identity *who)
{
	return who->kind != IDENTITY_USER || who->impersonator.n > 0;
}

static bool tenancy_enter(struct http_request *req, const struct membership *m, struct str workspace,
			  const char *header)
{
	const struct identity *was = req->ctx.who;
	struct permissions *p;
	struct identity *who;

	if (m == NULL || !m->active || (tenancy_bound(was) && !str_eq(m->org_id, was->org_id)))
		return tenancy_refuse(req, header);
	if (str_eq(m->org_id, was->org_id) && str_eq(workspace, was->workspace_id))
		return true;
	who = arena_alloc(req->arena, sizeof(*who));
	*who = *was;
	who->org_id = m->org_id;
	who->workspace_id = workspace;
	/* What was given in one workspace does not hold in another. */
	if (was->wide != NULL)
		who->permissions = was->wide;
	who->wide = NULL;
	if (!str_eq(m->org_id, was->org_id)) {
		p = arena_zalloc(req->arena, sizeof(*p));
		who->role = m->role;
		who->tier = m->tier;
		if (!role_permissions(m->role, p))
			memset(p, 0, sizeof(*p)); /* an unknown role grants nothing */
		who->permissions = p;
	}
	identity_apply(who, &req->ctx);
	return true;
}

/* Either header may name either: an organization means its first workspace. */
static bool tenancy_select(struct http_request *req, struct str wanted, const char *header)
{
	const struct account *account = req->ctx.who->account;
	const struct membership_workspace *s;

	if (account == NULL)
		return tenancy_fixed(req, wanted, header);
	s = account_workspace(account, wanted);
	if (s != NULL)
		return tenancy_enter(req, account_member(account, s->org_id), s->id, header);
	return tenancy_enter(req, account_member(account, wanted), wanted, header);
}

static bool tenancy_before(struct http_request *req)
{
	struct str tenant = http_field(req, "x-tenant-id"), workspace = http_field(req, "x-workspace-id"), org;

	/* A page cannot give a WebSocket headers. */
	if (workspace.n == 0 && (req->route->flags & ROUTE_WS))
		workspace = http_query(req, "workspace_id");
	if (tenant.n == 0 && workspace.n == 0)
		return true;
	if (req->ctx.who == NULL)
		return tenancy_refuse(req, tenant.n > 0 ? "X-Tenant-ID" : "X-Workspace-ID");
	if (tenant.n > 0 && !tenancy_select(req, tenant, "X-Tenant-ID"))
		return false;
	org = req->ctx.org_id;
	if (workspace.n > 0 && !tenancy_select(req, workspace, "X-Workspace-ID"))
		return false;
	/* Both at once must not mean two organizations. */
	return tenant.n == 0 || workspace.n == 0 || str_eq(org, req->ctx.org_id) ||
	       tenancy_refuse(req, "X-Workspace-ID");
}

/* A public route has no tenant. */
static bool tenancy_applies(const struct route *r, const struct conf *c)
{
	(void)c;
	return !(r->flags & ROUTE_PUBLIC);
}

const struct middleware middleware_tenancy = {.name = "tenancy", .applies = tenancy_applies, .before = tenancy_before};
