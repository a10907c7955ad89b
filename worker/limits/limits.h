/* SPDX-License-Identifier: MIT */
/*
 * Rate limits of requests: per client address, token, user, tenant, tier, action and endpoint.
 *
 * Every decision is made here and now, by buckets in the node's shared memory (common/ratelimit.h): no request waits
 * for it, and it outlives workers and reloads. With Redis, nodes tell each other what was taken, a fifth of a second
 * later or, when a bucket runs down quickly, at once: each worker sends what it let through in one script call for all
 * its buckets, Redis adds it up (by its own clock), and the answer raises the debt of the node's bucket to that of the
 * cluster. What a client can gain by spreading over nodes is what it gets within one such interval, at most a burst per
 * node and once. Limits on guesses (login, registration, codes) are too small for that: their routes wait for Redis to
 * say yes. Without Redis, or while its breaker is open, the node's limit holds: nothing ever opens.
 *
 * Clients in limits.exempt are not counted.
 */
#ifndef WORKER_LIMITS_LIMITS_H
#define WORKER_LIMITS_LIMITS_H

#include "common/co.h"
#include "common/ratelimit.h"
#include "worker/http/route.h"

struct limits;
struct worker;

enum limit_kind {
	LIMIT_ADDRESS,
	LIMIT_TOKEN,
	LIMIT_TENANT,
	LIMIT_USER,
	LIMIT_ACTION,
	LIMIT_ENDPOINT,
	LIMIT_TIER,
	LIMIT_KINDS
};

enum limit_flags {
	LIMIT_BY_ADDRESS = 1 << 0, /* counts client addresses before anybody is asked who he is */
	LIMIT_EXACT = 1 << 1,      /* as many at once as a minute allows, not more */
	LIMIT_STRICT = 1 << 2      /* with Redis: the request waits for the cluster's answer */
};

/* A row of the built-in table (rules.c). */
struct limit_row {
	enum limit_kind kind;
	const char *name; /* "action.export": what rate_limit.rules calls it */
	int64_t rate;     /* a minute; 0: no limit */
	int64_t burst;    /* 0: rate x rate_limit.burst_multiplier */
	unsigned flags;
};
extern const struct limit_row limit_rows[];
extern const size_t limit_row_count;

/* Which rows apply to a route, as indices; -1: none. */
struct limit_route {
	int address;  /* an endpoint that counts addresses */
	int endpoint; /* one that counts callers */
	int action;
};
/* Are requests of this route counted at all? Those of routes that declare a rate or have a row, and of sockets. */
bool limits_apply(const struct route *r);
/* Of a path: exact, then by its end, then the longest prefix. */
struct limit_route limits_of(const struct route *r);
/* The row of a name, such as "action.export"; -1. */
int limits_find(struct str name);
/* "address", "token", … */
const char *limits_kind_name(enum limit_kind kind);
/* Appends what applies to the route, for people: "debates 30, debate_create 10"; nothing if it is not limited. */
void limits_describe(const struct route *r, struct buf *out);

/* Fails when rate_limit.rules names what is not there. */
struct limits *limits_open(struct worker *w, struct error *err) MUST_CHECK;
/* Begins to share counts and to set gauges. */
void limits_start(struct limits *l);
void limits_close(struct limits *l);

/*
 * Steps of a request; false: refused and answered. The first comes before authentication and counts the address, the
 * second asks the cluster where that must be waited for, the third counts who was recognised.
 */
bool limits_address(struct http_request *req) MUST_CHECK;
CO_FN bool limits_cluster(struct http_request *req) MUST_CHECK;
bool limits_caller(struct http_request *req) MUST_CHECK;

extern const struct route_table limits_routes; /* GET /api/system/rate-limits */

#endif
