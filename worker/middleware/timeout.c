/* SPDX-License-Identifier: MIT */
/*
 * The time a handler has for its answer: server.request_timeout, on routes that create or export server.slow_timeout
 * where that is longer; X-Request-Timeout may lower or raise it. WebSockets and inline handlers need none: the ones are
 * answered at once, the others cannot wait.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "worker/middleware/pipeline.h"

#define TIMEOUT_ASKED_MAX 600 /* seconds, security.md 7.1 */

static bool timeout_applies(const struct route *r, const struct conf *c)
{
	return !(r->flags & (ROUTE_WS | ROUTE_INLINE)) && c->server.request_timeout > 0;
}

static int64_t timeout_of(const struct route *r, const struct conf *c)
{
	bool slow = r->rate == RATE_CREATE || r->rate == RATE_EXPORT;

	return slow && c->server.slow_timeout > c->server.request_timeout ? c->server.slow_timeout
									  : c->server.request_timeout;
}

static bool timeout_before(struct http_request *req)
{
	struct str asked = http_field(req, "x-request-timeout");
	int64_t us = timeout_of(req->route, middleware_conf(req)), seconds;
	struct error err = ERROR_INIT;

	if (asked.p != NULL && !str_to_i64(asked, 1, TIMEOUT_ASKED_MAX, &seconds)) {
		error_field(&err, ERR_INVALID_VALUE, "X-Request-Timeout", "must be 1 to %d seconds", TIMEOUT_ASKED_MAX);
		http_reply_error(req, &err);
		return false;
	}
	http_request_deadline(req, asked.p != NULL ? seconds * SEC_US : us);
	return true;
}

const struct middleware middleware_timeout = {.name = "timeout", .applies = timeout_applies, .before = timeout_before};
