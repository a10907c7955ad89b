/* SPDX-License-Identifier: MIT */
/*
 * X-User-ID, X-Org-ID, X-User-Roles: a service says for whom it asks (security.md 1.6). Believed only behind a proven
 * service credential: auth.api_token, or, when auth.trust_identity_headers says so, an address in
 * server.trusted_proxies; and where nobody has to authenticate anyway. Everybody else's are as if they were not there.
 */
#include "common/conf.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/audit/audit.h"
#include "worker/identity/service.h"
#include "worker/middleware/pipeline.h"
#include "worker/worker.h"

static bool service_headers_there(const struct http_request *req)
{
	return http_field(req, "x-user-id").p != NULL || http_field(req, "x-org-id").p != NULL ||
	       http_field(req, "x-user-roles").p != NULL;
}

bool service_headers_trusted(const struct http_request *req)
{
	return middleware_conf(req)->auth.trust_identity_headers && http_peer_trusted(req) &&
	       service_headers_there(req);
}

/* A user's own credential is never overridden, not even with one of the service beside it. */
static bool service_headers_believed(const struct http_request *req)
{
	const struct conf *c = middleware_conf(req);

	switch (req->ctx.who->kind) {
	case IDENTITY_TOKEN:
		return true;
	case IDENTITY_ANONYMOUS:
		return !conf_auth_required(c) || service_headers_trusted(req);
	case IDENTITY_USER:
	case IDENTITY_API_KEY:
	case IDENTITY_SERVICE:
		break;
	}
	return false;
}

static struct service_claim service_headers_claim(const struct http_request *req)
{
	return (struct service_claim){.user_id = str_trim(http_field(req, "x-user-id")),
				      .org_id = str_trim(http_field(req, "x-org-id")),
				      .roles = str_trim(http_field(req, "x-user-roles"))};
}

static bool service_headers_must_wait(struct http_request *req)
{
	struct service_claim claim;
	const struct identity *who;
	struct error err = ERROR_INIT;

	if (!service_headers_there(req) || !service_headers_believed(req))
		return false;
	claim = service_headers_claim(req);
	return service_find(req->user, req->arena, &claim, &who, &err) == CREDENTIAL_ASK;
}

static void service_headers_audit(struct http_request *req)
{
	json_t *details = json_own(req->arena, json_pack("{s:s}", "auth_method", "service_header"));

	audit_note_request(req, &(struct audit_event){.category = "access",
						      .action = "access.granted",
						      .resource_type = STR("user"),
						      .resource_id = req->ctx.principal,
						      .details = details});
}

CO_FN static bool service_headers_before(struct http_request *req)
{
	struct service_claim claim;
	const struct identity *who = NULL;
	struct error err = ERROR_INIT;

	if (!service_headers_there(req) || !service_headers_believed(req))
		return true;
	claim = service_headers_claim(req);
	if (service_find(req->user, req->arena, &claim, &who, &err) == CREDENTIAL_ASK)
		(void)service_load(req->user, req->arena, &claim, &who, &err);
	if (who == NULL) {
		metric_add(M_AUTH_FAILURES, 1, "forbidden", NULL);
		http_reply_error(req, &err);
		return false;
	}
	identity_apply(who, &req->ctx);
	service_headers_audit(req);
	return true;
}

const struct middleware middleware_service_headers = {
    .name = "service_headers", .before = service_headers_before, .must_wait = service_headers_must_wait};
