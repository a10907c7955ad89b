/* SPDX-License-Identifier: MIT */
/*
 * Tells callers of a route that has a successor: Deprecation (RFC 9745), Link to the successor, and Sunset (RFC 8594)
 * when an end is set. It never refuses: what is past its end is taken out of the route table, not blocked here.
 */
#include "worker/middleware/pipeline.h"

static bool deprecation_applies(const struct route *r, const struct conf *c)
{
	(void)c;
	return r->deprecated != NULL;
}

static void deprecation_reply(struct http_request *req)
{
	const struct route_deprecation *d = req->route->deprecated;

	http_reply_field(req, "Deprecation", "@%lld", (long long)d->since);
	http_reply_field(req, "Link", "<%s>; rel=\"successor-version\"", d->successor);
	http_reply_field(req, "X-API-Version-Warning", "this path is deprecated; use %s", d->successor);
	if (d->sunset != NULL)
		http_reply_field(req, "Sunset", "%s", d->sunset);
}

const struct middleware middleware_deprecation = {
    .name = "deprecation", .applies = deprecation_applies, .reply = deprecation_reply};
