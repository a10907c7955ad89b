/* SPDX-License-Identifier: MIT */
/*
 * Hints between the workers of a node: one SEQPACKET mailbox per slot, messages of a turn packed into one datagram per
 * interested peer. Called by the stream layer and by whoever keeps a coherent cache. Promises nothing: a full mailbox
 * drops, a dead peer reads nothing, and both are repaired by comparing heads.
 */
#include "common/bus.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/metrics.h"

#define BUS_TOPIC_MAX 128
#define BUS_READS 64                    /* datagrams taken per wake-up, so that a busy peer does not hold the loop */
#define BUS_SOCKET_BUFFER (1024 * 1024) /* 32 full datagrams, or some thousand small ones */

/* Precedes each message of a datagram: lengths of topic and message, then their bytes. */
struct bus_head {
	uint32_t topic;
	uint32_t message;
};

struct bus_sub {
	struct bus_sub *next;
	struct bus_sub **link; /* what points at this one */
	bus_handler fn;
	void *arg;
	bool dead; /* unsubscribed while a delivery walks the list */
	unsigned cell;
	size_t topic_n;
	char topic[BUS_TOPIC_MAX];
};

struct bus_peer {
	struct buf out;
	unsigned messages;
};

struct bus {
	struct loop *loop;
	struct shm *shm;
	const struct bus_mailboxes *boxes;
	unsigned slot;
	struct event ev;
	struct buf local;            /* messages of this turn for this process */
	struct bus_peer *peers;      /* one per mailbox */
	struct bus_sub **cells;      /* subscriptions by cell */
	uint32_t *counts;            /* per cell; shared memory shows them cut at 65535 */
	char *inbox;                 /* one datagram */
	const struct bus_link *link; /* to other nodes, or NULL */
	uint64_t dropped;
	unsigned walking; /* deliveries in progress */
	bool afar;        /* what is being delivered comes from another node */
	bool swept;       /* false: dead subscriptions wait to be freed */
	bool scheduled;   /* a flush stands in the loop's deferred work */
	bool closed;
};

static bool bus_box_open(int fd[2])
{
	int size = BUS_SOCKET_BUFFER;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == -1)
		return false;
	/* The forced form needs privilege; without it the kernel's limit applies, which only drops sooner. */
	if (setsockopt(fd[1], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) == -1 &&
	    setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == -1)
		log_debug("bus", "mailbox keeps its default size", KV_S("error", strerror(errno)));
	return true;
}

bool bus_mailboxes_create(struct bus_mailboxes *m, unsigned count)
{
	BUG_ON(count == 0 || count > SHM_SLOTS_MAX);
	for (m->count = 0; m->count < count; m->count++) {
		if (!bus_box_open(m->fd[m->count]))
			goto failed;
	}
	return true;
failed:
	while (m->count > 0) {
		m->count--;
		close(m->fd[m->count][0]);
		close(m->fd[m->count][1]);
	}
	return false;
}

static void bus_sweep(struct bus *b)
{
	for (unsigned i = 0; i < SHM_HEADS; i++) {
		struct bus_sub *s = b->cells[i];

		while (s != NULL) {
			struct bus_sub *next = s->next;

			if (s->dead) {
				*s->link = next;
				if (next != NULL)
					next->link = s->link;
				free(s);
			}
			s = next;
		}
	}
	b->swept = true;
}

static void bus_deliver(struct bus *b, struct str topic, struct str message)
{
	b->walking++;
	for (struct bus_sub *s = b->cells[shm_topic_cell(topic.p, topic.n)]; s != NULL; s = s->next) {
		if (!s->dead && str_eq((struct str){s->topic, s->topic_n}, topic))
			s->fn(s->arg, topic, message);
	}
	b->walking--;
	if (b->walking == 0 && !b->swept)
		bus_sweep(b);
}

/* Hands every message of a packed run to the subscribers; false if the run is not well formed. */
static bool bus_unpack(struct bus *b, const char *p, size_t n)
{
	struct bus_head h;

	while (n > 0) {
		if (n < sizeof(h))
			return false;
		memcpy(&h, p, sizeof(h));
		p += sizeof(h);
		n -= sizeof(h);
		if (h.topic > n || h.message > n - h.topic)
			return false;
		bus_deliver(b, (struct str){p, h.topic}, (struct str){p + h.topic, h.message});
		p += (size_t)h.topic + h.message;
		n -= (size_t)h.topic + h.message;
	}
	return true;
}

static void bus_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct bus *b = arg;
	ssize_t n;

	(void)what;
	for (unsigned i = 0; i < BUS_READS; i++) {
		n = recv(fd, b->inbox, BUS_DATAGRAM, MSG_DONTWAIT);
		if (n <= 0)
			return;
		if (!bus_unpack(b, b->inbox, (size_t)n))
			log_warn("bus", "datagram is not well formed", KV_I("bytes", n));
	}
}

static void bus_discard_inbox(struct bus *b)
{
	while (recv(b->boxes->fd[b->slot][0], b->inbox, BUS_DATAGRAM, MSG_DONTWAIT) >= 0)
		continue;
}

struct bus *bus_open(struct loop *l, struct shm *shm, const struct bus_mailboxes *m, unsigned slot)
{
	struct bus *b = xcalloc(1, sizeof(*b));

	BUG_ON(slot >= m->count);
	b->loop = l;
	b->shm = shm;
	b->boxes = m;
	b->slot = slot;
	b->swept = true;
	b->peers = xcalloc(m->count, sizeof(*b->peers));
	b->cells = xcalloc(SHM_HEADS, sizeof(struct bus_sub *));
	b->counts = xcalloc(SHM_HEADS, sizeof(*b->counts));
	b->inbox = xmalloc(BUS_DATAGRAM);
	for (unsigned i = 0; i < SHM_HEADS; i++)
		atomic_store_explicit(&shm->slots[slot].interest[i], 0, memory_order_relaxed);
	bus_discard_inbox(b);
	event_assign(&b->ev, loop_base(l), m->fd[slot][0], EV_READ | EV_PERSIST, bus_on_readable, b);
	event_add(&b->ev, NULL);
	return b;
}

static void bus_free(struct bus *b)
{
	buf_free(&b->local);
	for (unsigned i = 0; i < b->boxes->count; i++)
		buf_free(&b->peers[i].out);
	free(b->peers);
	free(b->cells);
	free(b->counts);
	free(b->inbox);
	free(b);
}

static void bus_drop(struct bus *b, unsigned messages)
{
	b->dropped += messages;
	metric_add(M_BUS_DROPPED, messages, NULL);
}

static void bus_send(struct bus *b, unsigned slot)
{
	struct bus_peer *peer = &b->peers[slot];

	if (peer->messages == 0)
		return;
	if (send(b->boxes->fd[slot][1], peer->out.p, peer->out.n, MSG_DONTWAIT | MSG_NOSIGNAL) == -1)
		bus_drop(b, peer->messages);
	peer->messages = 0;
	/* A worker with many idle peers keeps no buffers for them. */
	buf_free(&peer->out);
}

static void bus_send_all(struct bus *b)
{
	for (unsigned i = 0; i < b->boxes->count; i++)
		bus_send(b, i);
}

static void bus_flush(void *arg)
{
	struct bus *b = arg;
	struct buf local = b->local;

	b->scheduled = false;
	if (b->closed) {
		bus_free(b);
		return;
	}
	b->local = BUF_INIT;
	bus_send_all(b);
	if (local.n > 0)
		BUG_ON(!bus_unpack(b, local.p, local.n));
	buf_free(&local);
}

void bus_close(struct bus *b)
{
	if (b == NULL)
		return;
	BUG_ON(b->walking > 0);
	event_del(&b->ev);
	bus_send_all(b);
	for (unsigned i = 0; i < SHM_HEADS; i++) {
		for (struct bus_sub *s = b->cells[i], *next; s != NULL; s = next) {
			next = s->next;
			free(s);
		}
		b->cells[i] = NULL;
		atomic_store_explicit(&b->shm->slots[b->slot].interest[i], 0, memory_order_relaxed);
	}
	b->closed = true;
	if (!b->scheduled)
		bus_free(b);
}

static void bus_pack(struct buf *out, struct str topic, struct str message)
{
	struct bus_head h = {(uint32_t)topic.n, (uint32_t)message.n};

	buf_add(out, (struct str){(const char *)&h, sizeof(h)});
	buf_add(out, topic);
	buf_add(out, message);
}

static bool bus_wants(const struct bus *b, unsigned slot, unsigned cell)
{
	const struct shm_slot *s = &b->shm->slots[slot];
	uint32_t state = atomic_load(&s->state);

	return slot != b->slot && state != SLOT_FREE && state != SLOT_EXITING && atomic_load(&s->interest[cell]) != 0;
}

bool bus_wanted(const struct bus *b, struct str topic)
{
	unsigned cell = shm_topic_cell(topic.p, topic.n), used = atomic_load(&b->shm->slots_used);
	bool wanted = b->cells[cell] != NULL || b->link != NULL; /* of other nodes it is not known */

	for (unsigned i = 0; !wanted && i < b->boxes->count && i < used; i++)
		wanted = bus_wants(b, i, cell);
	return wanted;
}

static void bus_pack_peers(struct bus *b, unsigned cell, struct str topic, struct str message)
{
	size_t need = sizeof(struct bus_head) + topic.n + message.n;
	unsigned used = atomic_load(&b->shm->slots_used);

	for (unsigned i = 0; i < b->boxes->count && i < used; i++) {
		if (!bus_wants(b, i, cell))
			continue;
		if (need > BUS_DATAGRAM) {
			bus_drop(b, 1);
			continue;
		}
		if (b->peers[i].out.n + need > BUS_DATAGRAM)
			bus_send(b, i);
		bus_pack(&b->peers[i].out, topic, message);
		b->peers[i].messages++;
	}
}

void bus_publish_here(struct bus *b, struct str topic, struct str message)
{
	unsigned cell = shm_topic_cell(topic.p, topic.n);

	BUG_ON(topic.n > BUS_TOPIC_MAX || message.n > UINT32_MAX);
	if (b->closed)
		return;
	bus_pack_peers(b, cell, topic, message);
	if (b->counts[cell] > 0)
		bus_pack(&b->local, topic, message);
	if (!b->scheduled) {
		b->scheduled = true;
		loop_defer(b->loop, bus_flush, b);
	}
}

void bus_publish(struct bus *b, struct str topic, struct str message)
{
	bus_publish_here(b, topic, message);
	if (b->link != NULL && !b->closed)
		b->link->publish(b->link->arg, topic, message);
}

static void bus_show_interest(struct bus *b, unsigned cell)
{
	uint32_t n = b->counts[cell];

	atomic_store(&b->shm->slots[b->slot].interest[cell], (uint16_t)(n < UINT16_MAX ? n : UINT16_MAX));
}

/* Does anybody but `except` in this process subscribe to the topic? */
static bool bus_is_wanted(const struct bus *b, unsigned cell, struct str topic, const struct bus_sub *except)
{
	const struct bus_sub *s;

	for (s = b->cells[cell]; s != NULL; s = s->next)
		if (s != except && !s->dead && str_eq((struct str){s->topic, s->topic_n}, topic))
			return true;
	return false;
}

struct bus_sub *bus_subscribe(struct bus *b, struct str topic, bus_handler fn, void *arg)
{
	struct bus_sub *s = xcalloc(1, sizeof(*s));

	BUG_ON(topic.n > BUS_TOPIC_MAX);
	s->fn = fn;
	s->arg = arg;
	s->cell = shm_topic_cell(topic.p, topic.n);
	s->topic_n = topic.n;
	if (topic.n > 0)
		memcpy(s->topic, topic.p, topic.n);
	/* At the head: a delivery that is under way does not reach it. */
	s->next = b->cells[s->cell];
	s->link = &b->cells[s->cell];
	if (s->next != NULL)
		s->next->link = &s->next;
	b->cells[s->cell] = s;
	b->counts[s->cell]++;
	bus_show_interest(b, s->cell);
	if (b->link != NULL && !bus_is_wanted(b, s->cell, topic, s))
		b->link->want(b->link->arg, topic);
	return s;
}

void bus_unsubscribe(struct bus *b, struct bus_sub *sub)
{
	BUG_ON(sub->dead || b->counts[sub->cell] == 0);
	b->counts[sub->cell]--;
	bus_show_interest(b, sub->cell);
	sub->dead = true;
	if (b->link != NULL && !bus_is_wanted(b, sub->cell, (struct str){sub->topic, sub->topic_n}, NULL))
		b->link->unwant(b->link->arg, (struct str){sub->topic, sub->topic_n});
	if (b->walking > 0) {
		b->swept = false;
		return;
	}
	*sub->link = sub->next;
	if (sub->next != NULL)
		sub->next->link = sub->link;
	free(sub);
}

void bus_bump(struct bus *b, struct str topic)
{
	atomic_fetch_add(&b->shm->heads[shm_topic_cell(topic.p, topic.n)], 1);
}

uint64_t bus_head(const struct bus *b, struct str topic)
{
	return atomic_load(&b->shm->heads[shm_topic_cell(topic.p, topic.n)]);
}

uint64_t bus_dropped(const struct bus *b)
{
	return b->dropped;
}

/* ---- other nodes ---- */

void bus_set_link(struct bus *b, const struct bus_link *link)
{
	b->link = link;
}

void bus_each_topic(struct bus *b, void (*fn)(void *arg, struct str topic), void *arg)
{
	for (unsigned i = 0; i < SHM_HEADS; i++) {
		for (const struct bus_sub *s = b->counts[i] > 0 ? b->cells[i] : NULL; s != NULL; s = s->next) {
			const struct bus_sub *first = b->cells[i];
			struct str topic = {s->topic, s->topic_n};

			if (s->dead)
				continue;
			while (first->dead || !str_eq((struct str){first->topic, first->topic_n}, topic))
				first = first->next;
			if (first == s)
				fn(arg, topic);
		}
	}
}

void bus_receive(struct bus *b, struct str topic, struct str message)
{
	b->afar = true;
	bus_deliver(b, topic, message);
	b->afar = false;
}

bool bus_from_afar(const struct bus *b)
{
	return b->afar;
}
