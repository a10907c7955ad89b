/* SPDX-License-Identifier: MIT */
/*
 * The bus between nodes over Redis pub/sub. Called by the bus for every message and every change of interest, and by
 * the Redis client for what comes in. Promises nothing: with Redis away messages are lost and counted, and after a
 * return every topic is subscribed again and looked at once.
 */
#include "common/bus_redis.h"

#include "common/ids.h"
#include "common/log.h"
#include "common/metrics.h"

/* The number changes with the form of the messages, so that releases that differ in it do not misread each other. */
#define BUS_REDIS_PREFIX "aragora:%u:bus1:"

struct bus_redis {
	struct bus *bus;
	struct redis *redis;
	struct bus_link link;
	char node_id[UUID_LEN + 1];
	char prefix[40];
	size_t prefix_n;
	struct buf channel, text; /* scratch */
};

static struct str bus_redis_channel(struct bus_redis *x, struct str topic)
{
	buf_clear(&x->channel);
	buf_add(&x->channel, (struct str){x->prefix, x->prefix_n});
	buf_add(&x->channel, topic);
	return buf_str(&x->channel);
}

static void bus_redis_publish(void *arg, struct str topic, struct str message)
{
	struct bus_redis *x = arg;
	bool sent;

	buf_clear(&x->text);
	buf_add(&x->text, (struct str){x->node_id, UUID_LEN});
	buf_add(&x->text, message);
	sent = redis_publish(x->redis, bus_redis_channel(x, topic), buf_str(&x->text));
	metric_add(M_BUS_NODES, 1, sent ? "out" : "lost", NULL);
}

static void bus_redis_want(void *arg, struct str topic)
{
	struct bus_redis *x = arg;

	(void)redis_subscribe(x->redis, bus_redis_channel(x, topic)); /* not up: bus_redis_up() comes */
}

static void bus_redis_unwant(void *arg, struct str topic)
{
	struct bus_redis *x = arg;

	redis_unsubscribe(x->redis, bus_redis_channel(x, topic));
}

/* The topic of one of our channels; STR_NONE for another's. */
static struct str bus_redis_topic(const struct bus_redis *x, struct str channel)
{
	return str_starts(channel, (struct str){x->prefix, x->prefix_n}) ? str_sub(channel, x->prefix_n, channel.n)
									 : STR_NONE;
}

static void bus_redis_message(void *arg, struct str channel, struct str text)
{
	const struct bus_redis *x = arg;
	struct str topic = bus_redis_topic(x, channel);

	if (topic.p == NULL || text.n < UUID_LEN || memcmp(text.p, x->node_id, UUID_LEN) == 0)
		return;
	metric_add(M_BUS_NODES, 1, "in", NULL);
	bus_receive(x->bus, topic, str_sub(text, UUID_LEN, text.n));
}

/* What was said before the server knew of us is not repeated (PITFALLS 14): the topic is looked at. */
static void bus_redis_subscribed(void *arg, struct str channel)
{
	const struct bus_redis *x = arg;
	struct str topic = bus_redis_topic(x, channel);

	if (topic.p != NULL)
		bus_receive(x->bus, topic, STR(""));
}

static void bus_redis_up(void *arg)
{
	struct bus_redis *x = arg;

	bus_each_topic(x->bus, bus_redis_want, x);
}

static const struct redis_sub_ops bus_redis_ops = {bus_redis_message, bus_redis_subscribed, bus_redis_up};

struct bus_redis *bus_redis_open(struct bus *b, struct redis *r, const char *node_id, unsigned db)
{
	struct bus_redis *x = xcalloc(1, sizeof(*x));

	BUG_ON(strlen(node_id) != UUID_LEN);
	x->bus = b;
	x->redis = r;
	memcpy(x->node_id, node_id, UUID_LEN);
	x->prefix_n = (size_t)snprintf(x->prefix, sizeof(x->prefix), BUS_REDIS_PREFIX, db);
	x->link = (struct bus_link){bus_redis_publish, bus_redis_want, bus_redis_unwant, x};
	redis_listen(r, &bus_redis_ops, x);
	bus_set_link(b, &x->link);
	return x;
}

void bus_redis_close(struct bus_redis *x)
{
	if (x == NULL)
		return;
	bus_set_link(x->bus, NULL);
	buf_free(&x->channel);
	buf_free(&x->text);
	free(x);
}
