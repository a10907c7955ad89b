/* SPDX-License-Identifier: MIT */
/*
 * GET /api/ws/stats (rest-core 8.1): what the sockets of this node do, per worker and in total, from the slots in
 * shared memory. Answers from counters alone; it names no client and no token.
 */
#include "common/json.h"
#include "worker/stream/topic.h"
#include "worker/worker.h"

/* Counters go on under a slot's next owner, so those of slots without a process count in the total. */
struct socket_totals {
	uint64_t in, out, dropped, lagged;
	uint32_t open, clients, authenticated, subscriptions, lagging, debates;
};

static struct socket_totals stats_of(const struct shm_slot *slot, bool live)
{
	struct socket_totals t = {.in = atomic_load(&slot->ws_in),
				  .out = atomic_load(&slot->ws_out),
				  .dropped = atomic_load(&slot->ws_dropped),
				  .lagged = atomic_load(&slot->ws_lagged)};

	if (!live)
		return t;
	t.open = atomic_load(&slot->ws_open);
	t.clients = atomic_load(&slot->ws_clients);
	t.authenticated = atomic_load(&slot->ws_authenticated);
	t.subscriptions = atomic_load(&slot->ws_subscriptions);
	t.lagging = atomic_load(&slot->ws_lagging);
	t.debates = atomic_load(&slot->debates);
	return t;
}

static void stats_add(struct socket_totals *to, const struct socket_totals *t)
{
	to->in += t->in;
	to->out += t->out;
	to->dropped += t->dropped;
	to->lagged += t->lagged;
	to->open += t->open;
	to->clients += t->clients;
	to->authenticated += t->authenticated;
	to->subscriptions += t->subscriptions;
	to->lagging += t->lagging;
	to->debates += t->debates;
}

/* The numbers that a worker and the whole have in common. */
static json_t *stats_json(const struct socket_totals *t)
{
	json_t *o = json_object();

	json_put_int(o, "connections", t->open);
	json_put_int(o, "authenticated_clients", t->authenticated);
	json_put_int(o, "subscription_count", t->subscriptions);
	json_put_int(o, "messages_sent", (int64_t)t->out);
	json_put_int(o, "messages_received", (int64_t)t->in);
	json_put_int(o, "dropped", (int64_t)t->dropped);
	json_put_int(o, "lagging", t->lagging);
	json_put_int(o, "lagged", (int64_t)t->lagged);
	return o;
}

static void stats_topic(void *arg, const char *debate_id, unsigned followers)
{
	json_put_int(arg, debate_id, followers);
}

void stream_stats(struct http_request *req)
{
	const struct worker *w = req->user;
	json_t *workers = json_array(), *topics = json_object(), *o, *one;
	struct socket_totals all = {0};
	unsigned i, used = atomic_load(&w->shm->slots_used);

	for (i = 0; i < used && i < SHM_SLOTS_MAX; i++) {
		const struct shm_slot *slot = &w->shm->slots[i];
		uint32_t state = atomic_load(&slot->state);
		bool live = state == SLOT_SERVING || state == SLOT_DRAINING;
		struct socket_totals t = stats_of(slot, live);

		stats_add(&all, &t);
		if (!live)
			continue;
		one = stats_json(&t);
		json_put_int(one, "slot", i);
		json_put_int(one, "pid", atomic_load(&slot->pid));
		json_put_str(one, "state", state == SLOT_SERVING ? STR("serving") : STR("draining"));
		json_array_append_new(workers, one);
	}
	/* Which debates are followed here; how many subscriptions the node has is in subscription_count. */
	stream_each_topic(w->stream, &req->ctx, stats_topic, topics);
	o = stats_json(&all);
	json_put_int(o, "active_connections", all.open);
	json_put_int(o, "clients", all.open);
	/* Every debate socket has an id and is authenticated or waits to be; /ws/echo has neither, nor a limit of rate.
	 */
	json_put_int(o, "client_ids", all.clients);
	json_put_int(o, "auth_states", all.clients);
	json_put_int(o, "rate_limiters", w->conf->websocket.message_rate > 0 ? all.clients : 0);
	json_put_int(o, "debate_states", all.debates);
	json_put_int(o, "active_loops", all.debates);
	json_object_set_new(o, "subscriptions", topics);
	json_object_set_new(o, "workers", workers);
	json_object_set_new(o, "running", json_boolean(!w->draining));
	http_reply_json(req, 200, o);
}
