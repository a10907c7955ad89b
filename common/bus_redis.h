/* SPDX-License-Identifier: MIT */
/*
 * The bus between nodes: Redis pub/sub behind the interface of bus.h. Each worker holds its own subscriptions, one
 * channel per topic that a socket or a room of this worker wants, so that no process of a node is one through which all
 * others hear. A message names its node; a node ignores its own, which its mailboxes have carried already.
 */
#ifndef COMMON_BUS_REDIS_H
#define COMMON_BUS_REDIS_H

#include "common/bus.h"
#include "common/redis.h"

struct bus_redis;

/*
 * Links the bus; `r` has no listener yet. `node_id` has 36 characters. The channels of one service are those of its
 * database number: two services that share a server need two numbers.
 */
struct bus_redis *bus_redis_open(struct bus *b, struct redis *r, const char *node_id, unsigned db);
/* After redis_close(), before bus_close(). NULL is allowed. */
void bus_redis_close(struct bus_redis *x);

#endif
