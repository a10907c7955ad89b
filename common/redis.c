/* SPDX-License-Identifier: MIT */
/*
 * The Redis client of a process: commands from coroutines, publishing, subscriptions, health and metrics over two
 * connections (redis_conn.c). Called by the bus between nodes and by whoever shares state. Logs changes of its state,
 * not every failed attempt, and never the address with its password.
 */
#include "common/redis.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/metrics.h"
#include "common/redis_conn.h"

#define REDIS_SMALL 64 /* integers of an answer that need no memory */

struct redis {
	struct loop *loop;
	struct lane *slow;
	struct redis_options o;
	struct redis_conn *commands, *subs; /* subs NULL: nobody listens */
	const struct redis_sub_ops *sub_ops;
	void *sub_arg;
	int64_t latency_us;
	bool was_up, told;
	char said[160]; /* the reason in the last log line */
};

/* A command whose coroutine waits; freed by the answer. */
struct redis_call {
	struct co *co; /* NULL: it has left */
	struct arena *arena;
	struct redis_value *out;
	struct error *err;
	bool over, ok;
};

/* ---- state ---- */

bool redis_healthy(const struct redis *r, struct error *err)
{
	if (!redis_conn_up(r->commands))
		return error_set(err, ERR_UNAVAILABLE, "redis: %s", redis_conn_why(r->commands));
	if (r->subs != NULL && !redis_conn_up(r->subs))
		return error_set(err, ERR_UNAVAILABLE, "redis: %s", redis_conn_why(r->subs));
	return true;
}

static void redis_changed(struct redis *r)
{
	struct error err = ERROR_INIT;
	bool up = redis_healthy(r, &err);

	metric_set(M_REDIS_CONNECTIONS, redis_conn_up(r->commands) + (r->subs != NULL && redis_conn_up(r->subs)), NULL);
	if (up && !r->was_up)
		log_info("redis", "connected");
	/* The reason once more only when it is another one; that the greeting of the first attempt goes on is none. */
	else if (!up && (r->was_up || !r->told || strcmp(r->said, err.msg) != 0))
		log_warn("redis", "not connected; hints between nodes wait, events come from the log",
			 KV_S("reason", err.msg));
	r->told = true;
	r->was_up = up;
	(void)snprintf(r->said, sizeof(r->said), "%.*s", (int)sizeof(r->said) - 1, err.msg);
}

static void redis_on_up(void *arg)
{
	struct redis *r = arg;

	if (r->subs == NULL || redis_conn_up(r->subs))
		redis_changed(r);
}

static void redis_on_subs_up(void *arg)
{
	struct redis *r = arg;

	if (redis_conn_up(r->commands))
		redis_changed(r);
	r->sub_ops->up(r->sub_arg);
}

static void redis_on_down(void *arg, const char *why)
{
	(void)why;
	metric_add(M_REDIS_FAILURES, 1, NULL);
	redis_changed(arg);
}

static void redis_on_answered(void *arg, double seconds, bool error)
{
	struct redis *r = arg;

	r->latency_us = (int64_t)(seconds * 1e6);
	metric_add(M_REDIS_COMMANDS, 1, error ? "error" : "ok", NULL);
	metric_observe(M_REDIS_LATENCY, seconds, NULL);
}

int64_t redis_latency_us(const struct redis *r)
{
	return r->latency_us;
}

/* ---- subscriptions ---- */

static struct str redis_reply_text(const redisReply *r)
{
	return r->type == REDIS_REPLY_STRING ? (struct str){r->str, r->len} : STR_NONE;
}

static bool redis_on_push(void *arg, const redisReply *reply)
{
	const struct redis *r = arg;

	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 ||
	    !str_eqz(redis_reply_text(reply->element[0]), "message"))
		return false;
	r->sub_ops->message(r->sub_arg, redis_reply_text(reply->element[1]), redis_reply_text(reply->element[2]));
	return true;
}

static void redis_on_subscribed(void *arg, const redisReply *reply)
{
	const struct redis *r = arg;

	if (reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 3)
		r->sub_ops->subscribed(r->sub_arg, redis_reply_text(reply->element[1]));
}

bool redis_subscribe(struct redis *r, struct str channel)
{
	return redis_conn_send(r->subs, (struct str[]){STR("SUBSCRIBE"), channel}, 2, redis_on_subscribed, r);
}

void redis_unsubscribe(struct redis *r, struct str channel)
{
	/* Not up: the next connection begins without it. */
	(void)redis_conn_send(r->subs, (struct str[]){STR("UNSUBSCRIBE"), channel}, 2, NULL, NULL);
}

bool redis_publish(struct redis *r, struct str channel, struct str text)
{
	return redis_conn_send(r->commands, (struct str[]){STR("PUBLISH"), channel, text}, 3, NULL, NULL);
}

/* ---- commands ---- */

static void redis_value_of(struct redis_call *call, const redisReply *reply)
{
	if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0)
		reply = reply->element[0];
	if (reply->type == REDIS_REPLY_INTEGER)
		*call->out = (struct redis_value){.type = REDIS_INT, .i = reply->integer};
	else if (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS)
		*call->out = (struct redis_value){.type = REDIS_TEXT,
						  .s = arena_str(call->arena, (struct str){reply->str, reply->len})};
	else
		*call->out = (struct redis_value){.type = REDIS_NIL};
}

static void redis_on_answer(void *arg, const redisReply *reply)
{
	struct redis_call *call = arg;

	if (call->co == NULL) {
		free(call);
		return;
	}
	call->over = true;
	if (reply == NULL) {
		error_set(call->err, ERR_UNAVAILABLE, "the connection to Redis was lost before the answer came");
	} else if (reply->type == REDIS_REPLY_ERROR) {
		error_set(call->err, ERR_INTERNAL, "Redis: %s", reply->str);
	} else {
		redis_value_of(call, reply);
		call->ok = true;
	}
	co_wake(call->co);
}

CO_FN bool redis_command(struct redis *r, struct arena *a, const struct str *words, size_t n, int64_t timeout_us,
			 struct redis_value *out, struct error *err)
{
	int64_t deadline = loop_refresh(r->loop) + (timeout_us > 0 ? timeout_us : r->o.timeout_us);
	struct redis_call *call = xcalloc(1, sizeof(*call));
	enum co_end end = CO_DONE;
	bool ok;

	*call = (struct redis_call){.co = co_self(), .arena = a, .out = out, .err = err};
	if (!redis_conn_send(r->commands, words, n, redis_on_answer, call)) {
		free(call);
		return error_set(err, ERR_UNAVAILABLE, "Redis is not connected: %s", redis_conn_why(r->commands));
	}
	while (!call->over && end == CO_DONE)
		end = co_wait(deadline);
	if (!call->over) {
		call->co = NULL; /* the answer, or the end of the connection, frees it */
		metric_add(M_REDIS_COMMANDS, 1, "abandoned", NULL);
		return end == CO_ENDED ? error_set(err, ERR_CANCELLED, "the wait for Redis was ended")
				       : error_set(err, ERR_UNAVAILABLE, "Redis did not answer in time");
	}
	ok = call->ok;
	free(call);
	return ok;
}

/* ---- integers ---- */

struct redis_question {
	redis_integers fn;
	void *arg;
};

static void redis_on_integers(void *arg, const redisReply *reply)
{
	struct redis_question q = *(struct redis_question *)arg;
	int64_t small[REDIS_SMALL] = {0}, *v = small;
	size_t n = 0, i;

	free(arg);
	if (reply != NULL && reply->type == REDIS_REPLY_INTEGER)
		small[n++] = reply->integer;
	else if (reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements > REDIS_SMALL)
		v = xcalloc(reply->elements, sizeof(*v));
	for (i = 0; reply != NULL && reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++)
		if (reply->element[i]->type == REDIS_REPLY_INTEGER)
			v[n++] = reply->element[i]->integer;
	q.fn(q.arg, v, n,
	     reply != NULL && reply->type == REDIS_REPLY_ERROR ? (struct str){reply->str, reply->len} : STR_NONE);
	if (v != small)
		free(v);
}

bool redis_ask(struct redis *r, const struct str *words, size_t n, redis_integers fn, void *arg)
{
	struct redis_question *q = xcalloc(1, sizeof(*q));

	*q = (struct redis_question){fn, arg};
	if (redis_conn_send(r->commands, words, n, redis_on_integers, q))
		return true;
	free(q);
	return false;
}

/* ---- life ---- */

bool redis_options_from(const struct conf *c, struct redis_options *o)
{
	struct error err = ERROR_INIT;

	if (c->redis.url[0] == '\0')
		return false;
	*o = (struct redis_options){.timeout_us = c->redis.timeout, .retry_us = c->redis.retry_max, .name = "aragorad"};
	BUG_ON(!redis_url_parse(str_of(c->redis.url), &o->address, &err)); /* conf_check has read it */
	return true;
}

static const struct redis_conn_ops redis_command_ops = {redis_on_up, NULL, redis_on_answered, redis_on_down};
static const struct redis_conn_ops redis_subs_ops = {redis_on_subs_up, redis_on_push, redis_on_answered, redis_on_down};

struct redis *redis_open(struct loop *l, struct lane *slow, const struct redis_options *o)
{
	struct redis *r = xcalloc(1, sizeof(*r));

	r->loop = l;
	r->slow = slow;
	r->o = *o;
	r->commands = redis_conn_open(l, slow, o, &redis_command_ops, r);
	return r;
}

void redis_listen(struct redis *r, const struct redis_sub_ops *ops, void *arg)
{
	BUG_ON(r->subs != NULL);
	r->sub_ops = ops;
	r->sub_arg = arg;
	r->subs = redis_conn_open(r->loop, r->slow, &r->o, &redis_subs_ops, r);
}

void redis_close(struct redis *r)
{
	if (r == NULL)
		return;
	redis_conn_close(r->subs);
	redis_conn_close(r->commands);
	free(r);
}

/* ---- the check at start ---- */

struct redis_probe {
	bool over;
	struct error *err;
	bool ok;
};

static void redis_probe_up(void *arg)
{
	struct redis_probe *p = arg;

	p->over = p->ok = true;
}

static void redis_probe_answered(void *arg, double seconds, bool error)
{
	(void)arg;
	(void)seconds;
	(void)error;
}

static void redis_probe_down(void *arg, const char *why)
{
	struct redis_probe *p = arg;

	p->over = true;
	error_set(p->err, ERR_UNAVAILABLE, "redis: %s", why);
}

static const struct redis_conn_ops redis_probe_ops = {redis_probe_up, NULL, redis_probe_answered, redis_probe_down};

bool redis_check(const struct redis_options *o, struct error *err)
{
	struct loop *l = loop_new();
	struct lane *lane = lane_new(l, "dns", 1, 4);
	struct redis_probe p = {.err = err};
	struct redis_conn *c = redis_conn_open(l, lane, o, &redis_probe_ops, &p);

	while (!p.over)
		loop_turn(l, true);
	redis_conn_close(c);
	lane_free(lane);
	loop_free(l);
	return p.ok;
}
