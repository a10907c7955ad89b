/* SPDX-License-Identifier: MIT */
/*
 * May who asks do what the route does? Asks access/allows.c with the route's permission, and leaves those to abac.c
 * whose role does not do where that step decides.
 */
#include "common/clock.h"
#include "common/metrics.h"
#include "worker/access/access.h"
#include "worker/audit/audit.h"
#include "worker/identity/identity.h"
#include "worker/middleware/pipeline.h"
#include "worker/worker.h"

static bool rbac_before(struct http_request *req)
{
	int permission = router_permission(req);
	const struct identity *who = req->ctx.who;
	int64_t begin = clock_mono_us();
	bool late = (req->route->flags & ROUTE_LATE_AUTH) != 0 && who != NULL && who->kind == IDENTITY_ANONYMOUS;
	bool allowed = late || access_allows(req->user, who, permission);

	metric_observe(M_RBAC_LATENCY, (double)(clock_mono_us() - begin) / (double)SEC_US, NULL);
	if (!allowed && access_by_resource(req->route, who))
		return true;
	if (!allowed)
		return rbac_refuse(req, permission_key(permission));
	metric_add(M_RBAC_CHECKS, 1, permission_key(permission), "allowed", NULL);
	if (who->emergency_id.n > 0)
		audit_note_request(req, &(struct audit_event){.category = "security",
							      .action = "break_glass.action",
							      .resource_type = STR("emergency"),
							      .resource_id = who->emergency_id,
							      .reason = str_of(req->route->path)});
	return true;
}

/* A route without a permission is public: the router sees to it. */
static bool rbac_applies(const struct route *r, const struct conf *c)
{
	(void)c;
	return r->permission != NULL;
}

const struct middleware middleware_rbac = {.name = "rbac", .applies = rbac_applies, .before = rbac_before};
