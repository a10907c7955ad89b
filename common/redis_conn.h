/* SPDX-License-Identifier: MIT */
/*
 * Private to common/redis*.c: one connection to a Redis server with its life (resolve, connect, greet, serve, pause).
 */
#ifndef COMMON_REDIS_CONN_H
#define COMMON_REDIS_CONN_H

#include <hiredis/hiredis.h>

#include "common/loop.h"
#include "common/redis.h"

struct redis_conn;

/* reply NULL: the connection was lost before the answer came. */
typedef void (*redis_answer)(void *arg, const redisReply *reply);

struct redis_conn_ops {
	void (*up)(void *arg);
	/* What the server says by itself (a message); true: it was that, and no answer. */
	bool (*push)(void *arg, const redisReply *reply);
	/* An answer came; seconds from sending to reading. */
	void (*answered)(void *arg, double seconds, bool error);
	/* It was lost, or an attempt to connect has failed; answers that waited have been told before. */
	void (*down)(void *arg, const char *why);
};

/* Begins to connect in the next turn. `ops` lives as long as the connection. */
struct redis_conn *redis_conn_open(struct loop *l, struct lane *slow, const struct redis_options *o,
				   const struct redis_conn_ops *ops, void *arg);
/* Answers that wait get NULL. Not from within an operation or an answer. */
void redis_conn_close(struct redis_conn *c);
bool redis_conn_up(const struct redis_conn *c);
/* Why it is not up; "" when it is. */
const char *redis_conn_why(const struct redis_conn *c);
/* Appends a command; it leaves at the end of the turn. False: not up, or more than 4 MiB wait. */
bool redis_conn_send(struct redis_conn *c, const struct str *words, size_t n, redis_answer fn, void *arg);

#endif
