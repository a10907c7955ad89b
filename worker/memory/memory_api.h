/* SPDX-License-Identifier: MIT */
/*
 * Private to the routes of memory: what its files share.
 */
#ifndef WORKER_MEMORY_MEMORY_API_H
#define WORKER_MEMORY_MEMORY_API_H

#include "worker/http/route.h"
#include "worker/memory/continuum.h"

extern const struct route_table continuum_routes;        /* /api/memory: entries */
extern const struct route_table memory_tier_routes;      /* /api/memory: tiers, figures, upkeep */
extern const struct route_table memory_context_routes;   /* /api/memory/context: what a debate would be given */
extern const struct route_table memory_search_routes;    /* /api/memory: searches by likeness */
extern const struct route_table consensus_memory_routes; /* /api/consensus */

/* False: memory is switched off, and the request has been refused with 503. */
bool memory_on(struct http_request *req);
/*
 * The question under any of its names (query, q, task, question), from the query or, of a POST, from the body (NULL for
 * a GET). False: answered.
 */
bool memory_question(struct http_request *req, const json_t **body, struct str *out);
/* Bits of the tiers named in a list with commas; names that are none are passed over, none at all means all. */
unsigned memory_tiers(struct str list);
json_t *memory_tier_names(unsigned tiers);
/* An entry as clients see it, its content cut to `max` bytes. New. */
json_t *memory_entry(const struct continuum_entry *e, size_t max);
json_t *memory_entries(const struct continuum_entry *v, size_t n, size_t max);
void memory_real(json_t *o, const char *key, int64_t ppm);
/* A share from the query, 0 to 1, in ppm; 0 if absent or none. */
int64_t memory_query_ppm(const struct http_request *req, const char *name);

#define MEMORY_READ(p, h, s) ROUTE(GET, p, h, "memory:read", READ, s)
#define MEMORY_WRITE(p, h, s) ROUTE(POST, p, h, "memory:update", WRITE, s)
#define MEMORY_MANAGE(p, h, s) ROUTE(POST, p, h, "memory:manage", WRITE, s)

#endif
