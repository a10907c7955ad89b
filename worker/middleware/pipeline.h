/* SPDX-License-Identifier: MIT */
/*
 * The middleware of the product: one row per file, gathered in pipeline.c in the order in which they run. The rows find
 * configuration and router in the struct worker that is the request's `user`.
 */
#ifndef WORKER_MIDDLEWARE_PIPELINE_H
#define WORKER_MIDDLEWARE_PIPELINE_H

#include "worker/http/route.h"

/* For router_new. */
extern const struct middleware *const pipeline_chain[];
extern const size_t pipeline_chain_count;

/* For http_server_new: match, dispatch and finish through worker->router; default headers through the chain. */
extern const struct http_hooks pipeline_hooks;

extern const struct middleware middleware_security_headers;
extern const struct middleware middleware_cors;
extern const struct middleware middleware_mfa;
extern const struct middleware middleware_correlation;
extern const struct middleware middleware_authentication;
extern const struct middleware middleware_tenancy;
extern const struct middleware middleware_tenant_isolation;
extern const struct middleware middleware_tier_enforcement;
extern const struct middleware middleware_budget_enforcement;
extern const struct middleware middleware_service_headers;
extern const struct middleware middleware_impersonation;
extern const struct middleware middleware_rbac;
extern const struct middleware middleware_abac;
extern const struct middleware middleware_rate_limit_address;
extern const struct middleware middleware_rate_limit_cluster;
extern const struct middleware middleware_rate_limit;
extern const struct middleware middleware_approval_gate;
extern const struct middleware middleware_body_limit;
extern const struct middleware middleware_content_type;
extern const struct middleware middleware_timeout;
extern const struct middleware middleware_metrics;
extern const struct middleware middleware_audit;
extern const struct middleware middleware_request_log;
extern const struct middleware middleware_entity_tag;
extern const struct middleware middleware_compression;
extern const struct middleware middleware_validation;
extern const struct middleware middleware_response_cache;
extern const struct middleware middleware_error_handler;
extern const struct middleware middleware_slo_tracking;
extern const struct middleware middleware_maintenance;
extern const struct middleware middleware_readiness;
extern const struct middleware middleware_idempotency;
extern const struct middleware middleware_deprecation;
extern const struct middleware middleware_versioning;
extern const struct middleware middleware_csrf;
extern const struct middleware middleware_xss_protection;
extern const struct middleware middleware_method_override;
extern const struct middleware middleware_host;
extern const struct middleware middleware_security;
extern const struct middleware middleware_tracing;

/* Does a trusted proxy say whose the request is (auth.trust_identity_headers)? service_headers judges what it says. */
bool service_headers_trusted(const struct http_request *req);

/* The configuration behind a request. */
const struct conf *middleware_conf(const struct http_request *req);

/* May the server be called by that name (server.allowed_hosts)? `host` is a Host header, its port is not looked at. */
bool host_allowed(const struct conf *c, struct str host);

/* The policy of a page whose own inline scripts and styles carry this nonce; nothing else runs inline. */
void security_headers_nonce(struct http_request *req, struct str nonce);

enum cookie_flags {
	COOKIE_STRICT = 1,  /* SameSite=Strict whatever headers.cookie_same_site says */
	COOKIE_READABLE = 2 /* by scripts of the page */
};
/* Sets a cookie for all paths with the attributes that headers.cookie_* demand; max_age_s 0 removes it. */
void cookie_set(struct http_request *req, const char *name, struct str value, int64_t max_age_s, unsigned flags);
/* The value of a cookie of the request; STR_NONE when absent. */
struct str cookie_get(const struct http_request *req, const char *name);

/* An access line format, compiled (see request_log.c for the fields); unknown fields print "-". */
struct access_format;
struct access_format *access_format_compile(const char *text);
void access_format_free(struct access_format *f);
/* Writes the line for a finished request, cut at LOG_ACCESS_MAX bytes; returns its length. No newline, no NUL. */
size_t access_format_line(struct access_format *f, const struct http_request *req, char *line);

extern const struct route_table browser_routes; /* browser.c: /api/auth/csrf, /api/system/slo */

#endif
