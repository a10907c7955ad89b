/* SPDX-License-Identifier: MIT */
/*
 * How fast this node asks its providers: one bucket per provider in shared memory, so that all workers together keep to
 * it, made emptier by what providers say of their own limits. Private to this room.
 */
#ifndef WORKER_AGENTS_THROTTLE_H
#define WORKER_AGENTS_THROTTLE_H

#include "common/fetch.h"
#include "worker/agents/agents.h"

#define THROTTLE_WAIT (30 * SEC_US) /* how long a call may wait for its turn (debate.md 6.5) */

/*
 * The limit of a provider: agents.rate_limits, else the built-in one (debate.md 6.5) where its own address is asked,
 * else none (.step 0). Another address is another service with limits of its own.
 */
struct ratelimit_rule throttle_rule(const struct conf *c, enum conf_provider_id id);
/* Takes one call; waits at most THROTTLE_WAIT, and tells how long it did. False: not in that time, or a scope ended. */
CO_FN bool throttle_acquire(struct agents *ag, enum conf_provider_id id, int64_t *waited_us);
/* What an answer says: X-RateLimit-* and the like; after a 429 the bucket is empty for the time that it asks for. */
void throttle_told(struct agents *ag, enum conf_provider_id id, const struct fetch_response *resp);
/*
 * Microseconds from now until the moment that a reset header names: seconds ("12", "1.5"), "6m0s", "250ms", seconds or
 * milliseconds since 1970, or a date (RFC 3339). -1: none of these.
 */
int64_t throttle_reset(struct str value, int64_t wall_ms);

#endif
