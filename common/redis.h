/* SPDX-License-Identifier: MIT */
/*
 * Redis on the loop: one connection for commands, one for subscriptions, each with its own life. Names are resolved in
 * the slow lane; connecting, greeting and every answer have deadlines; what is lost is connected again after a pause
 * that doubles, with jitter. Nothing that is only in Redis may matter: whoever calls has another way.
 *
 * hiredis gives the protocol (its reader and its formatter); its own connections are not used, for they resolve names
 * where they stand, know no deadlines, and end the process when a server answers what they do not expect.
 */
#ifndef COMMON_REDIS_H
#define COMMON_REDIS_H

#include "common/arena.h"
#include "common/co.h"
#include "common/lane.h"
#include "common/redis_url.h"

struct redis;

struct redis_options {
	struct redis_address address;
	int64_t timeout_us; /* for connecting with its greeting, and for any answer */
	int64_t retry_us;   /* longest pause between attempts to connect */
	const char *name;   /* static; shown in CLIENT LIST */
};

/* Of the connection for subscriptions; all called on the loop's stack. */
struct redis_sub_ops {
	/* A message on a channel. */
	void (*message)(void *arg, struct str channel, struct str text);
	/* The server has confirmed redis_subscribe(): from now on nothing is missed. */
	void (*subscribed)(void *arg, struct str channel);
	/* The connection stands (again) and is subscribed to nothing: call redis_subscribe() for all. */
	void (*up)(void *arg);
};

struct conf;
/* From redis.*; false when redis.url is empty. */
bool redis_options_from(const struct conf *c, struct redis_options *o) MUST_CHECK;

/* Begins to connect at once and returns; never NULL. The options are copied. */
struct redis *redis_open(struct loop *l, struct lane *slow, const struct redis_options *o);
/* Adds the connection for subscriptions; once. `ops` lives as long as the client. */
void redis_listen(struct redis *r, const struct redis_sub_ops *ops, void *arg);
/* Commands that wait get ERR_UNAVAILABLE first, and their coroutines must still get their turn before the loop ends. */
void redis_close(struct redis *r);

/* Are all connections up and greeted? False with the reason. Never waits. */
bool redis_healthy(const struct redis *r, struct error *err);
/* Round trip of the last answered command or ping in microseconds. */
int64_t redis_latency_us(const struct redis *r);

enum redis_type { REDIS_NIL, REDIS_INT, REDIS_TEXT };

struct redis_value {
	enum redis_type type;
	int64_t i;
	struct str s;
};

/*
 * Sends one command (words of any bytes) and waits for its answer, an array's first element standing for it; text is
 * copied to the arena. ERR_UNAVAILABLE: not connected, connection lost, or no answer within timeout_us (0: the
 * client's); whether the command was carried out is then unknown. ERR_INTERNAL: the server refused it. ERR_CANCELLED: a
 * scope ended.
 */
CO_FN bool redis_command(struct redis *r, struct arena *a, const struct str *words, size_t n, int64_t timeout_us,
			 struct redis_value *out, struct error *err) MUST_CHECK;
/* Usage: redis_command(r, a, REDIS_WORDS(STR("GET"), key), 0, &value, err) */
#define REDIS_WORDS(...) \
	(const struct str[]){__VA_ARGS__}, sizeof((const struct str[]){__VA_ARGS__}) / sizeof(struct str)

/*
 * The answer to redis_ask: integers, one alone or those of an array. n 0: it is none; `error` is what the server said,
 * or empty when the connection was lost before. Valid during the call only.
 */
typedef void (*redis_integers)(void *arg, const int64_t *v, size_t n, struct str error);
/* Sends without waiting; fn comes exactly once. False: not connected or too much is queued; nothing was sent. */
bool redis_ask(struct redis *r, const struct str *words, size_t n, redis_integers fn, void *arg);

/* Sends without waiting, with the others of this turn. False: not connected or too much is queued; nothing was sent. */
bool redis_publish(struct redis *r, struct str channel, struct str text);
/* On the connection for subscriptions; false when it is not up (then up() follows). */
bool redis_subscribe(struct redis *r, struct str channel);
void redis_unsubscribe(struct redis *r, struct str channel);

/*
 * Blocking, for start-up, never in a worker's loop: can the server be reached and greeted? ERR_UNAVAILABLE with why
 * not.
 */
bool redis_check(const struct redis_options *o, struct error *err) MUST_CHECK;

#endif
