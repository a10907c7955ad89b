/* SPDX-License-Identifier: MIT */
/*
 * The last look at what went wrong: an answer of 5xx becomes a line of the log with route and request id. How errors
 * become answers is in one place too: the table of common/err.h and http_reply_error.
 */
#include "common/log.h"
#include "worker/middleware/pipeline.h"

static void error_handler_after(struct http_request *req)
{
	if (req->status < 500)
		return;
	/* Unavailable is a state that others report; the rest is a fault of ours or a time limit. */
	LOG_AT(req->status == 503 ? LOG_INFO : LOG_ERROR, "http", "request failed", KV_I("status", req->status),
	       KV_S("method", http_method_name(req->method)),
	       KV_S("route", req->route != NULL ? req->route->path : "-"), KV_STR("request_id", req->request_id),
	       KV_I("ms", (req->end_us - req->start_us) / 1000));
}

const struct middleware middleware_error_handler = {.name = "error_handler", .after = error_handler_after};
