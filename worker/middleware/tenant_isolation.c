/* SPDX-License-Identifier: MIT */
/*
 * What concerns all tenants is the operator's: owners and admins of the default organization, the API token, everybody
 * where nobody has to authenticate. To another organization's owner such a route is forbidden, whatever the role says.
 * That each tenant sees its own rows alone is enforced where statements go to the store (common/tenant.h).
 */
#include "common/metrics.h"
#include "worker/middleware/pipeline.h"
#include "worker/tenancy/tenancy.h"

/* Below /api/admin, but about the own organization: their handlers see to it. */
static const char *const isolation_own[] = {"/api/admin/users", "/api/admin/organizations", "/api/admin/tokens/",
					    "/api/admin/mfa",   "/api/admin/impersonat",    "/api/admin/roles",
					    "/api/admin/stats", "/api/admin/emergency"};

static bool isolation_applies(const struct route *r, const struct conf *c)
{
	struct str path = str_of(r->path);
	size_t i;

	(void)c;
	if ((r->flags & ROUTE_PUBLIC) ||
	    !(str_starts(path, STR("/api/admin/")) || str_starts(path, STR("/api/system/"))))
		return false;
	for (i = 0; i < countof(isolation_own) && !str_starts(path, str_of(isolation_own[i])); i++)
		;
	return i == countof(isolation_own);
}

static bool isolation_before(struct http_request *req)
{
	struct error err = ERROR_INIT;

	if (identity_operates(req->ctx.who))
		return true;
	metric_add(M_AUTH_FAILURES, 1, "forbidden", NULL);
	error_set(&err, ERR_FORBIDDEN, "this is for the operator of the server");
	http_reply_error(req, &err);
	return false;
}

const struct middleware middleware_tenant_isolation = {
    .name = "tenant_isolation", .applies = isolation_applies, .before = isolation_before};
