/* SPDX-License-Identifier: MIT */
/*
 * The headers that tell browsers what they may do with an answer; on every reply, errors too. A handler that sets its
 * own Content-Security-Policy (a page) keeps it.
 */
#include "worker/middleware/pipeline.h"

#define SECURITY_POLICY                                                                                          \
	"default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: https:; " \
	"connect-src 'self' wss: https:; font-src 'self' data:; frame-ancestors 'none'"

static void security_headers_reply(struct http_request *req)
{
	http_reply_block(req, "X-Content-Type-Options: nosniff\r\n"
			      "X-Frame-Options: DENY\r\n"
			      "X-XSS-Protection: 1; mode=block\r\n"
			      "Referrer-Policy: strict-origin-when-cross-origin\r\n");
	if (!http_reply_has(req, "Content-Security-Policy"))
		http_reply_block(req, "Content-Security-Policy: " SECURITY_POLICY "\r\n");
	if (req->https)
		http_reply_block(req, "Strict-Transport-Security: max-age=31536000; includeSubDomains\r\n");
}

const struct middleware middleware_security_headers = {.name = "security_headers", .reply = security_headers_reply};
