/* SPDX-License-Identifier: MIT */
/*
 * While the node is in maintenance, creations are refused before their handlers do any work. A repeated creation (its
 * Idempotency-Key) passes: what it made is there already. The last word has the creation itself, which reads the row.
 */
#include "worker/system/maintenance.h"

#include "common/metrics.h"
#include "worker/middleware/pipeline.h"
#include "worker/worker.h"

static bool maintenance_applies(const struct route *r, const struct conf *c)
{
	(void)c;
	return r->rate == RATE_CREATE && !(r->flags & ROUTE_INLINE);
}

CO_FN static bool maintenance_before(struct http_request *req)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;

	if (maintenance_since_ms(w) == 0 || http_field(req, "idempotency-key").p != NULL ||
	    maintenance_allows(w, req->arena, &err))
		return true;
	metric_add(M_HTTP_REFUSED, 1, "maintenance", NULL);
	http_reply_error(req, &err);
	return false;
}

const struct middleware middleware_maintenance = {
    .name = "maintenance", .applies = maintenance_applies, .before = maintenance_before, .waits = true};
