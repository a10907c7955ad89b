/* SPDX-License-Identifier: MIT */
/*
 * Who asks: the API token, as Bearer, as X-API-Key, for WebSockets also in the query or as a subprotocol. Without a
 * demand for authentication everybody is the one default owner. Permissions are not its matter.
 */
#include "common/conf.h"
#include "common/crypto.h"
#include "common/metrics.h"
#include "worker/identity/identity.h"
#include "worker/middleware/pipeline.h"
#include "worker/ws/ws.h"

/* The credential a request carries; STR_NONE if none. */
static struct str authentication_token(const struct http_request *req)
{
	struct str s = http_field(req, "authorization");

	if (str_istarts(s, STR("bearer ")))
		return str_trim(str_sub(s, 7, s.n));
	s = http_field(req, "x-api-key");
	if (s.n > 0 || !(req->route->flags & ROUTE_WS))
		return s;
	s = ws_offered_token(req);
	return s.n > 0 ? s : http_query(req, "token");
}

static bool authentication_refuse(struct http_request *req, enum err code, const char *reason, const char *msg)
{
	struct error err = ERROR_INIT;

	metric_add(M_AUTH_FAILURES, 1, reason, NULL);
	error_set(&err, code, "%s", msg);
	http_reply_error(req, &err);
	return false;
}

bool authentication_token_ok(const struct conf *c, struct str token)
{
	struct str api = str_of(c->auth.api_token);

	return api.n > 0 && token.n > 0 && crypto_equal(token, api);
}

static bool authentication_before(struct http_request *req)
{
	const struct conf *c = middleware_conf(req);
	struct str token = authentication_token(req);
	bool known = authentication_token_ok(c, token);

	identity_apply(known ? identity_api_token() : identity_anonymous(), &req->ctx);
	req->ctx.request_id = req->request_id;
	if (known || (req->route->flags & ROUTE_PUBLIC) || !conf_auth_required(c))
		return true;
	if (token.n == 0 && (req->route->flags & ROUTE_LATE_AUTH)) /* who it is, its handler finds out */
		return true;
	if (token.n == 0)
		return authentication_refuse(req, ERR_AUTH_REQUIRED, "missing", "authentication is required");
	return authentication_refuse(req, ERR_INVALID_TOKEN, "invalid", "the token is not valid");
}

const struct middleware middleware_authentication = {.name = "authentication", .before = authentication_before};
