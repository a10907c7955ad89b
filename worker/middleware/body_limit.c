/* SPDX-License-Identifier: MIT */
/*
 * How large a request body may be: the route's own limit, else limits.body_bytes for methods that have a body. Set
 * before the body is read; the connection enforces it.
 */
#include "common/conf.h"
#include "worker/middleware/pipeline.h"

/* What a method without body may nevertheless send; it is read and dropped. */
#define BODY_LIMIT_STRAY 65536

static bool body_limit_head(struct http_request *req, size_t *limit, struct error *err)
{
	bool has_body = req->method == HTTP_POST || req->method == HTTP_PUT || req->method == HTTP_PATCH;

	(void)err;
	if (req->route->body_limit > 0)
		*limit = req->route->body_limit;
	else
		*limit = has_body ? (size_t)middleware_conf(req)->limits.body_bytes : BODY_LIMIT_STRAY;
	return true;
}

const struct middleware middleware_body_limit = {.name = "body_limit", .head = body_limit_head};
