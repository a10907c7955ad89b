/* SPDX-License-Identifier: MIT */
/*
 * Private to worker/limits: the compiled limits of a worker, and what it shares with others through Redis.
 */
#ifndef WORKER_LIMITS_LIMITS_INTERNAL_H
#define WORKER_LIMITS_LIMITS_INTERNAL_H

#include "common/clock.h"
#include "common/loop.h"
#include "worker/http/http_client.h"
#include "worker/limits/limits.h"

#define LIMITS_PERIOD (60 * SEC_US) /* what rates are told in */
#define LIMITS_TEXT 128             /* of a key in Redis, behind the prefix */

/* A row with this configuration's figures. */
struct limit {
	const struct limit_row *row;
	int64_t rate, burst; /* in LIMITS_PERIOD, and at once */
	struct ratelimit_rule rule;
};

/* Who is counted: the bytes that name him, and how they are written in Redis ("ip:192.0.2.1"). */
struct limits_who {
	struct str key;
	const char *what; /* "ip", "user", "token", "tenant" */
	struct str text;
};

struct identity;
struct limits_cluster;

struct limits {
	struct worker *w;
	struct ratelimit_table *table;
	struct http_cidrs exempt;
	struct limit *v; /* by row */
	int address, token, tenant, everybody, signed_in, admin;
	struct limits_cached *cache; /* rows of routes by address of the route */
	size_t cached;
	struct limits_cluster *cluster; /* NULL: counts are not shared */
	struct loop_timer tick;
	uint64_t evicted;
	int64_t told_us; /* the second in which refusals were last logged */
	unsigned told;
	size_t allowed, refused; /* series */
};

/* cluster.c; NULL without Redis or when rate_limit.distributed is off. */
struct limits_cluster *limits_cluster_open(struct limits *l);
void limits_cluster_start(struct limits_cluster *c);
void limits_cluster_close(struct limits_cluster *c);
/* One was taken here: others are told soon. */
void limits_cluster_note(struct limits_cluster *c, const struct limit *m, uint64_t key, const struct limits_who *who);
enum limits_answer { LIMITS_ALLOWED, LIMITS_REFUSED, LIMITS_UNKNOWN };
/* Takes one in the whole cluster; UNKNOWN: Redis is away or slow, the node's answer stands. */
CO_FN enum limits_answer limits_cluster_take(struct limits_cluster *c, struct arena *a, const struct limit *m,
					     uint64_t key, const struct limits_who *who, int64_t *retry_us);
/* "redis" or "memory", and the state of the breaker. */
const char *limits_cluster_backend(const struct limits_cluster *c);
const char *limits_cluster_breaker(const struct limits_cluster *c);
/* Has the table a strict row for this route? */
bool limits_strict(const struct route *r);

/* limits.c: the network that is counted as one client (of IPv6 a customer has a /64) */
struct http_addr limits_net(struct http_addr a);
/* The credential that a program shows; empty: a user who is logged in is counted as a user. */
struct str limits_credential(const struct identity *who);
uint64_t limits_key(const struct limits *l, const struct limit *m, const struct limits_who *who);

#endif
