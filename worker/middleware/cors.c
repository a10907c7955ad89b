/* SPDX-License-Identifier: MIT */
/*
 * Cross-origin rules: which pages may read our answers, and the answer to their preflight question. Refusing is the
 * browser's work; WebSockets, where it does nothing, are checked in the handshake.
 */
#include "worker/http/http_client.h"
#include "worker/middleware/pipeline.h"

#define CORS_EXPOSED                                                                            \
	"Access-Control-Expose-Headers: X-Request-ID, X-Trace-ID, X-API-Version, Retry-After, " \
	"X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, ETag, Location, Content-Disposition\r\n"

static void cors_reply(struct http_request *req)
{
	const struct conf *c = middleware_conf(req);
	struct str origin = http_field(req, "origin");

	http_reply_block(req, "Vary: Origin\r\n");
	if (origin.n > 0 && http_origin_listed(c, origin)) {
		http_reply_value(req, "Access-Control-Allow-Origin", origin);
		http_reply_block(req, "Access-Control-Allow-Credentials: true\r\n" CORS_EXPOSED);
	} else if (origin.n > 0 && http_origin_allowed(c, origin)) {
		/* Anybody may read, but not with what the browser holds of the user. */
		http_reply_block(req, "Access-Control-Allow-Origin: *\r\n" CORS_EXPOSED);
	}
	if (req->method == HTTP_OPTIONS)
		http_reply_block(
		    req, "Access-Control-Allow-Methods: GET, POST, PUT, DELETE, PATCH, OPTIONS\r\n"
			 "Access-Control-Allow-Headers: Content-Type, X-Filename, Authorization, Accept, Origin, "
			 "X-Requested-With, X-Request-ID, X-API-Key, X-API-Version, X-Org-ID, X-Workspace-ID, "
			 "X-CSRF-Token, X-Request-Timeout, Idempotency-Key, If-None-Match, Last-Event-ID, "
			 "traceparent, tracestate\r\n"
			 "Access-Control-Max-Age: 3600\r\n");
}

const struct middleware middleware_cors = {.name = "cors", .reply = cors_reply};
