/* SPDX-License-Identifier: MIT */
/*
 * May this be done? The decision about a request, from the permissions that its identity brings. Never waits: whoever
 * makes an identity computes them beforehand.
 */
#ifndef WORKER_ACCESS_ACCESS_H
#define WORKER_ACCESS_ACCESS_H

#include "worker/http/route.h"
#include "worker/permission/permission.h"

struct identity;
struct worker;

/* What a route is about, for metrics: the first word of its path after "/api/". */
struct str access_handler(const struct route *r);
/* Does the identity have the permission (a number)? Without auth.required everybody anonymous has all of them. */
bool access_allows(const struct worker *w, const struct identity *who, int permission);
/* The same for the identity of a request and a name: for what a handler does beyond its route's permission. */
bool rbac_allows(const struct http_request *req, const char *key);
/* Does the abac step decide about those whose role does not do? */
bool access_by_resource(const struct route *r, const struct identity *who);
/* Answers 401 or 403, counts it and notes it for the audit log. Always false. */
bool rbac_refuse(struct http_request *req, const char *key);
/* As rbac_allows; when it may not, it has been answered (401 or 403), counted and noted for the audit log. */
bool rbac_demand(struct http_request *req, const char *key) MUST_CHECK;

extern const struct route_table access_role_routes;       /* roles_api.c */
extern const struct route_table access_delegation_routes; /* delegations_api.c */

#endif
