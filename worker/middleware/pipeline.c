/* SPDX-License-Identifier: MIT */
/*
 * The order of the middleware, and the hooks that join server and router. Adding a step is a row here and a file
 * beside it. It decides nothing itself.
 */
#include "worker/middleware/pipeline.h"

#include "worker/worker.h"

/*
 * Order: what every later step logs and answers under (correlation, tracing), security, authentication and
 * authorization, rate limits, request processing, resilience, observability, caching; then how the answer travels.
 */
/* clang-format off */
const struct middleware *const pipeline_chain[] = {
    &middleware_correlation, &middleware_tracing,
    /* security */
    &middleware_security, &middleware_host, &middleware_method_override, &middleware_security_headers,
    &middleware_xss_protection, &middleware_cors, &middleware_csrf,
    /* is there a store to ask? */
    &middleware_readiness,
    /* who asks, and may they? */
    &middleware_rate_limit_address, &middleware_rate_limit_cluster, &middleware_authentication,
    &middleware_service_headers, &middleware_impersonation, &middleware_tenancy, &middleware_tenant_isolation,
    &middleware_mfa, &middleware_rbac, &middleware_abac,
    /* rate limits, tiers, budgets */
    &middleware_rate_limit, &middleware_tier_enforcement, &middleware_budget_enforcement,
    /* request processing */
    &middleware_body_limit, &middleware_content_type, &middleware_timeout, &middleware_validation,
    &middleware_versioning,
    &middleware_deprecation, &middleware_idempotency,
    /* resilience */
    &middleware_approval_gate, &middleware_maintenance,
    /* observability */
    &middleware_metrics, &middleware_slo_tracking, &middleware_audit, &middleware_request_log, &middleware_error_handler,
    /* caching, and the way of the answer */
    &middleware_response_cache, &middleware_entity_tag, &middleware_compression,
};
/* clang-format on */
const size_t pipeline_chain_count = countof(pipeline_chain);

const struct conf *middleware_conf(const struct http_request *req)
{
	return ((const struct worker *)req->user)->conf;
}

static const struct router *pipeline_router(const struct http_request *req)
{
	return ((const struct worker *)req->user)->router;
}

static bool pipeline_match(struct http_request *req, size_t *body_limit, struct error *err)
{
	struct error ignored = ERROR_INIT;
	struct str allow;

	req->route = router_match(pipeline_router(req), req->method, req->path, req->params, req->arena, &allow, err);
	if (req->route != NULL)
		return router_head(pipeline_router(req), req, body_limit, err);
	if (allow.n > 0)
		http_reply_field(req, "Allow", "%.*s", STR_ARG(allow));
	if (req->method != HTTP_OPTIONS)
		return false;
	*err = ignored;
	if (allow.n == 0)
		http_reply_field(req, "Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
	return true;
}

static void pipeline_dispatch(struct http_request *req)
{
	router_run(req);
}

static bool pipeline_body(struct http_request *req, int *status, const char *content_type, struct str *body)
{
	return router_body(req, status, content_type, body);
}

static void pipeline_finished(struct http_request *req)
{
	router_finished(pipeline_router(req), req);
}

static void pipeline_headers(struct http_request *req)
{
	router_reply(pipeline_router(req), req);
}

const struct http_hooks pipeline_hooks = {
    .dispatch = pipeline_dispatch,
    .body = pipeline_body,
    .match = pipeline_match,
    .finished = pipeline_finished,
    .headers = pipeline_headers,
};
