/* SPDX-License-Identifier: MIT */
/*
 * The time a handler has for its answer (server.request_timeout). WebSockets and inline handlers need none: the ones
 * are answered at once, the others cannot wait.
 */
#include "common/conf.h"
#include "worker/middleware/pipeline.h"

static bool timeout_applies(const struct route *r, const struct conf *c)
{
	return !(r->flags & (ROUTE_WS | ROUTE_INLINE)) && c->server.request_timeout > 0;
}

static bool timeout_before(struct http_request *req)
{
	http_request_deadline(req, middleware_conf(req)->server.request_timeout);
	return true;
}

const struct middleware middleware_timeout = {.name = "timeout", .applies = timeout_applies, .before = timeout_before};
