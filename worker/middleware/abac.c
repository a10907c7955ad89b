/* SPDX-License-Identifier: MIT */
/*
 * Routes about one thing, for callers whose role does not do: its owner, and whoever has a grant for it whose
 * conditions hold, may all the same. The rbac step leaves exactly these to it. A role that does costs nothing here.
 */
#include "worker/access/access.h"
#include "worker/access/resource.h"
#include "worker/identity/identity.h"
#include "worker/middleware/pipeline.h"
#include "worker/worker.h"

/* Keys have scopes and who acts for somebody else has limits: neither is widened by ownership. */
bool access_by_resource(const struct route *r, const struct identity *who)
{
	return who != NULL && who->kind == IDENTITY_USER && who->impersonator.n == 0 && resource_of(r) != NULL;
}

static bool abac_must_wait(struct http_request *req)
{
	return req->ctx.who != NULL && !access_allows(req->user, req->ctx.who, router_permission(req));
}

CO_FN static bool abac_before(struct http_request *req)
{
	int permission = router_permission(req);
	struct error err = ERROR_INIT;
	struct resource thing;
	bool allowed;

	/* Sockets that bring their token later are nobody yet: rbac has let them through. */
	if (!abac_must_wait(req) || req->ctx.who->kind == IDENTITY_ANONYMOUS)
		return true;
	allowed =
	    access_by_resource(req->route, req->ctx.who) &&
	    resource_load(req->user, req->arena, &req->ctx, resource_of(req->route), req->params[0], &thing, &err) &&
	    resource_allows(req, &thing, permission, &err);
	if (allowed)
		return true;
	if (err.code != ERR_OK && err.code != ERR_NOT_FOUND) {
		http_reply_error(req, &err);
		return false;
	}
	return rbac_demand(req, permission_key(permission));
}

static bool abac_applies(const struct route *r, const struct conf *c)
{
	(void)c;
	return r->permission != NULL && resource_of(r) != NULL;
}

const struct middleware middleware_abac = {
    .name = "abac", .applies = abac_applies, .before = abac_before, .must_wait = abac_must_wait};
