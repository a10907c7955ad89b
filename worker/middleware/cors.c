/* SPDX-License-Identifier: MIT */
/*
 * Cross-origin rules: which pages may read our answers, and the answer to their preflight question. Refusing is the
 * browser's work; WebSockets, where it does nothing, are checked in the handshake.
 */
#include "worker/http/http_client.h"
#include "worker/middleware/pipeline.h"

static void cors_reply(struct http_request *req)
{
	struct str origin = http_field(req, "origin");

	http_reply_block(req, "Vary: Origin\r\n");
	if (origin.n > 0 && http_origin_allowed(middleware_conf(req), origin)) {
		http_reply_value(req, "Access-Control-Allow-Origin", origin);
		http_reply_block(req, "Access-Control-Allow-Credentials: true\r\n"
				      "Access-Control-Expose-Headers: X-Request-ID, X-API-Version, Retry-After\r\n");
	}
	if (req->method == HTTP_OPTIONS)
		http_reply_block(
		    req, "Access-Control-Allow-Methods: GET, POST, PUT, DELETE, PATCH, OPTIONS\r\n"
			 "Access-Control-Allow-Headers: Content-Type, X-Filename, Authorization, Accept, Origin, "
			 "X-Requested-With, X-Request-ID, X-API-Key, X-API-Version, Idempotency-Key, Last-Event-ID\r\n"
			 "Access-Control-Max-Age: 3600\r\n");
}

const struct middleware middleware_cors = {.name = "cors", .reply = cors_reply};
