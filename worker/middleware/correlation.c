/* SPDX-License-Identifier: MIT */
/*
 * The request's id on every reply: X-Request-ID, which is the trace_id of errors, and X-Correlation-ID to who calls it
 * so. The id itself is chosen when the request is made, before anything can be answered.
 */
#include "worker/middleware/pipeline.h"

static void correlation_reply(struct http_request *req)
{
	http_reply_value(req, "X-Request-ID", req->request_id);
	if (http_field(req, "x-correlation-id").p != NULL)
		http_reply_value(req, "X-Correlation-ID", req->request_id);
}

const struct middleware middleware_correlation = {.name = "correlation", .reply = correlation_reply};
