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

/* By the version in the client's spelling of the path, and whether the handler has a cache rule of its own. */
static const char *const correlation_lines[2][2] = {
    {"X-API-Version: v1\r\nCache-Control: no-cache\r\n", "X-API-Version: v1\r\n"},
    {"X-API-Version: v2\r\nCache-Control: no-cache\r\n", "X-API-Version: v2\r\n"},
};

static void correlation_reply(struct http_request *req)
{
	bool v2 = str_starts(req->target, STR("/api/v2/"));

	http_reply_value(req, "X-Request-ID", req->request_id);
	if (correlation_is_api(req->path))
		http_reply_block(req, correlation_lines[v2][http_reply_has(req, "Cache-Control")]);
}

const struct middleware middleware_correlation = {.name = "correlation", .reply = correlation_reply};
