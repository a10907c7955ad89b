/* SPDX-License-Identifier: MIT */
/*
 * Ids and versions on every reply: X-Request-ID, which is the trace_id of errors, and on /api/ the version and the
 * default cache rule. The id itself is chosen when the request is made, before anything can be answered.
 */
#include "worker/middleware/pipeline.h"

static bool correlation_is_api(struct str path)
{
	return str_starts(path, STR("/api/")) || str_eqz(path, "/api");
}

/* "v2" if the client used that spelling. */
static struct str correlation_version(struct str target)
{
	return str_starts(target, STR("/api/v2/")) ? STR("v2") : STR("v1");
}

static void correlation_reply(struct http_request *req)
{
	http_reply_value(req, "X-Request-ID", req->request_id);
	if (!correlation_is_api(req->path))
		return;
	http_reply_value(req, "X-API-Version", correlation_version(req->target));
	if (!http_reply_has(req, "Cache-Control"))
		http_reply_value(req, "Cache-Control", STR("no-cache"));
}

const struct middleware middleware_correlation = {.name = "correlation", .reply = correlation_reply};
