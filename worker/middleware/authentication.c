/* SPDX-License-Identifier: MIT */
/*
 * Who asks: the API token, as Bearer, as X-API-Key, for WebSockets also in the query or as a subprotocol. Without a
 * demand for authentication everybody is the one default owner. Permissions are not its matter.
 */
#include "common/conf.h"
#include "common/metrics.h"
#include "worker/identity/apikey.h"
#include "worker/identity/credential.h"
#include "worker/middleware/pipeline.h"
#include "worker/worker.h"
#include "worker/ws/ws.h"

static struct str authentication_text(const struct http_request *req)
{
	struct str s = http_field(req, "authorization");

	/* Keys have a scheme of their own, too: security.md 3.3. */
	if (str_istarts(s, STR("bearer ")) || str_istarts(s, STR("apikey ")))
		return str_trim(str_sub(s, 7, s.n));
	s = http_field(req, "x-api-key");
	if (s.n > 0 || !(req->route->flags & ROUTE_WS))
		return s;
	s = ws_offered_token(req);
	return s.n > 0 ? s : http_query(req, "token");
}

/* The credential a request carries; empty if none. */
static struct str authentication_token(const struct http_request *req)
{
	struct str token = authentication_text(req);

	return credential_plausible(req->user, token) ? token : STR_NONE;
}

static bool authentication_refuse(struct http_request *req, const char *reason, const struct error *err)
{
	metric_add(M_AUTH_FAILURES, 1, reason, NULL);
	http_reply_error(req, err);
	return false;
}

/* Whoever shows no credential: is that enough here? */
static bool authentication_anonymous(struct http_request *req)
{
	const struct worker *w = req->user;
	struct error err = ERROR_INIT;

	identity_apply(identity_anonymous(w), &req->ctx);
	/* ROUTE_LATE_AUTH: who it is, its handler finds out. A trusted proxy says it in headers: the next step. */
	if (!conf_auth_required(w->conf) || service_headers_trusted(req) ||
	    (req->route->flags & (ROUTE_PUBLIC | ROUTE_LATE_AUTH)) != 0)
		return true;
	error_set(&err, ERR_AUTH_REQUIRED, "authentication is required");
	return authentication_refuse(req, "missing", &err);
}

static enum credential_answer authentication_ask(struct http_request *req, bool may_wait, const char **reason,
						 struct error *err)
{
	struct worker *w = req->user;
	struct str token = authentication_token(req);
	const struct identity *who = NULL;
	enum credential_answer answer = may_wait ? credential_load(w, req->arena, token, &who, reason, err)
						 : credential_find(w, req->arena, token, &who, reason, err);

	if (answer != CREDENTIAL_KNOWN)
		return answer;
	if (!apikey_admits(who->key_networks, req->client)) {
		*reason = "forbidden";
		error_set(err, ERR_INVALID_TOKEN, "the API key may not be used from this address");
		return CREDENTIAL_REFUSED;
	}
	/* What was found in memory is not news. */
	if (may_wait && who->key_id.n > 0)
		apikey_used(w, who->key_id, req->client);
	identity_apply(who, &req->ctx);
	return answer;
}

/* Also finds who it is, if that takes no waiting. */
static bool authentication_must_wait(struct http_request *req)
{
	struct error err = ERROR_INIT;
	const char *reason;

	return authentication_token(req).n > 0 && authentication_ask(req, false, &reason, &err) == CREDENTIAL_ASK;
}

/* A credential that is shown is always checked, also where none is needed. */
CO_FN static bool authentication_before(struct http_request *req)
{
	struct error err = ERROR_INIT;
	const char *reason = "invalid";
	enum credential_answer answer;

	req->ctx.request_id = req->request_id;
	if (req->ctx.who != NULL)
		return true;
	if (authentication_token(req).n == 0)
		return authentication_anonymous(req);
	answer = authentication_ask(req, false, &reason, &err);
	if (answer == CREDENTIAL_ASK)
		answer = authentication_ask(req, true, &reason, &err);
	if (answer == CREDENTIAL_KNOWN)
		return true;
	identity_apply(identity_anonymous(req->user), &req->ctx);
	/* Probes and login answer whoever has an old token too. */
	if ((req->route->flags & ROUTE_PUBLIC) != 0)
		return true;
	return authentication_refuse(req, reason, &err);
}

const struct middleware middleware_authentication = {
    .name = "authentication", .before = authentication_before, .must_wait = authentication_must_wait};
