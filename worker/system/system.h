/* SPDX-License-Identifier: MIT */
/*
 * What operators and their tools ask a server about itself: health, readiness, metrics, the description of the API.
 */
#ifndef WORKER_SYSTEM_SYSTEM_H
#define WORKER_SYSTEM_SYSTEM_H

#include "worker/http/route.h"

extern const struct route_table maintenance_routes; /* /api/admin/maintenance */
extern const struct route_table breakers_routes;    /* breakers.c: circuit breakers and their reset */
extern const struct route_table stats_routes;       /* stats.c: figures for admins */
extern const struct route_table system_routes;      /* health.c: probes, health, metrics */
extern const struct route_table root_routes;        /* health.c: what is at "/" when no web application is */
extern const struct route_table openapi_routes;     /* openapi.c: /api/openapi.json */

/* Is it the operator who asks (identity_operates)? If not, it has been answered with 403. */
bool system_for_operator(struct http_request *req) MUST_CHECK;

#endif
