/* SPDX-License-Identifier: MIT */
/*
 * While the start waits for the database, all but probes and what is public and never waits are refused: their tables
 * may not be there yet, or be another version's. A database that is lost later is no affair of this step.
 */
#include "common/metrics.h"
#include "worker/middleware/pipeline.h"
#include "worker/worker.h"

static bool readiness_applies(const struct route *r, const struct conf *c)
{
	bool probe = (r->flags & ROUTE_PUBLIC) && ((r->flags & ROUTE_INLINE) || r->rate == RATE_NONE);

	return c->storage.backend == STORE_POSTGRES && !probe;
}

static bool readiness_head(struct http_request *req, size_t *limit, struct error *err)
{
	(void)limit;
	if (!worker_waits(req->user))
		return true;
	metric_add(M_HTTP_REFUSED, 1, "readiness", NULL);
	return error_set(err, ERR_UNAVAILABLE, "the service has started and waits for its database");
}

const struct middleware middleware_readiness = {
    .name = "readiness", .applies = readiness_applies, .head = readiness_head};
