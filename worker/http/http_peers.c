/* SPDX-License-Identifier: MIT */
/*
 * Counts per client address over all workers of the node, for the limits on connections and WebSockets. Called by the
 * server when a connection comes and goes and by the WebSocket handshake. Which addresses are exempt is the caller's
 * matter.
 *
 * Every slot of the shared segment has a table that only its owner writes, so nothing is fought for and a process that
 * dies leaves nothing half done: the master clears its table at reap. An address has PEERS_WAYS cells in which it may
 * stand; if all of them are taken by others it is let in uncounted. Refusing it instead would let a crowd of addresses
 * lock out everybody else, and what a worker takes in all is bounded by server.worker_connections.
 */
#include "common/clock.h"
#include "common/metrics.h"
#include "common/shm.h"
#include "worker/http/http_client.h"

#define PEERS_WAYS 16
#define PEERS_WINDOW_MS 60000
#define PEERS_COUNT_MAX UINT16_MAX
#define PEERS_CAME_BITS 24
#define PEERS_CAME_MAX ((1u << PEERS_CAME_BITS) - 1)

struct peer_key {
	uint32_t tag; /* never 0 */
	unsigned cell;
};

/* One customer has a /64 of IPv6: its lower half does not count. */
static struct peer_key peer_key(const struct shm *shm, const struct http_addr *a)
{
	uint64_t net, host, h, seed = shm->peers_seed | 1;

	memcpy(&net, a->b, 8);
	memcpy(&host, a->b + 8, 8);
	if (net != 0)
		host = 0;
	h = (net ^ seed) * UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ h >> 32 ^ host) * (seed ^ UINT64_C(0xd6e8feb86659fd92));
	h = (h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	h ^= h >> 32;
	return (struct peer_key){(uint32_t)h | 1, (unsigned)(h >> 33) % SHM_PEERS};
}

static unsigned peer_shift(enum peers_kind kind)
{
	return kind == PEERS_CONNECTIONS ? 16 : 0;
}

static unsigned peer_open(uint64_t held, enum peers_kind kind)
{
	return (unsigned)(held >> peer_shift(kind)) & PEERS_COUNT_MAX;
}

/* How many came in the minute that is running, if it still runs. */
static unsigned peer_came(uint64_t came, int64_t now_ms)
{
	return now_ms - (int64_t)(came >> PEERS_CAME_BITS) < PEERS_WINDOW_MS ? (unsigned)(came & PEERS_CAME_MAX) : 0;
}

/* The address's cell in a slot's table, or NULL. */
static struct shm_peer *peer_find(struct shm_slot *slot, struct peer_key key)
{
	unsigned i;

	for (i = 0; i < PEERS_WAYS; i++) {
		struct shm_peer *c = &slot->peers[(key.cell + i) % SHM_PEERS];

		if ((uint32_t)(atomic_load(&c->held) >> 32) == key.tag)
			return c;
	}
	return NULL;
}

/* A cell of our own table for an address that has none; NULL: all are in use. */
static struct shm_peer *peer_claim(struct shm_slot *own, struct peer_key key, int64_t now_ms)
{
	unsigned i;

	for (i = 0; i < PEERS_WAYS; i++) {
		struct shm_peer *c = &own->peers[(key.cell + i) % SHM_PEERS];

		if ((uint32_t)atomic_load(&c->held) != 0 || peer_came(atomic_load(&c->came), now_ms) != 0)
			continue;
		/* In this order nobody sees the former address's minute under the new tag. */
		atomic_store(&c->came, 0);
		atomic_store(&c->held, (uint64_t)key.tag << 32);
		atomic_store(&own->peers_used, 1);
		return c;
	}
	return NULL;
}

/* Adds up what all processes of the node hold for the address. */
static void peer_sum(const struct http_peers *p, struct peer_key key, enum peers_kind kind, int64_t now_ms,
		     int64_t *open, int64_t *came)
{
	unsigned used = atomic_load(&p->shm->slots_used), i;

	*open = *came = 0;
	for (i = 0; i < SHM_SLOTS_MAX && (i < used || i <= p->slot); i++) {
		struct shm_slot *slot = &p->shm->slots[i];
		const struct shm_peer *c;
		uint64_t held, minute;

		if (i != p->slot && (atomic_load(&slot->state) == SLOT_FREE || atomic_load(&slot->peers_used) == 0))
			continue;
		c = peer_find(slot, key);
		if (c == NULL)
			continue;
		held = atomic_load(&c->held);
		minute = atomic_load(&c->came);
		/* Its owner may have given the cell to another address in between. */
		if ((uint32_t)(held >> 32) != key.tag || (uint32_t)(atomic_load(&c->held) >> 32) != key.tag)
			continue;
		*open += peer_open(held, kind);
		*came += peer_came(minute, now_ms);
	}
}

static void peer_count_came(struct shm_peer *c, int64_t now_ms)
{
	uint64_t minute = atomic_load(&c->came);
	unsigned n = peer_came(minute, now_ms);

	if (n == 0)
		minute = (uint64_t)now_ms << PEERS_CAME_BITS;
	if (n < PEERS_CAME_MAX)
		atomic_store(&c->came, minute + 1);
}

enum peers_answer http_peers_enter(const struct http_peers *p, enum peers_kind kind, const struct http_addr *a,
				   int64_t open_max, int64_t rate_max, int64_t now)
{
	struct shm_slot *own = &p->shm->slots[p->slot];
	struct peer_key key = peer_key(p->shm, a);
	uint64_t one = UINT64_C(1) << peer_shift(kind), held;
	struct shm_peer *c;
	int64_t open, came;

	c = peer_find(own, key);
	if (c == NULL)
		c = peer_claim(own, key, now / 1000);
	held = c != NULL ? atomic_load(&c->held) : 0;
	if (c == NULL || peer_open(held, kind) == PEERS_COUNT_MAX) {
		metric_add(M_PEERS_UNCOUNTED, 1, NULL);
		return PEERS_UNCOUNTED;
	}
	/* First counted, then looked at: of two that do so at once at least one sees the other. */
	atomic_store(&c->held, held + one);
	peer_sum(p, key, kind, now / 1000, &open, &came);
	if ((open_max > 0 && open > open_max) || (rate_max > 0 && came >= rate_max)) {
		atomic_store(&c->held, held);
		return PEERS_REFUSED;
	}
	if (rate_max > 0)
		peer_count_came(c, now / 1000);
	return PEERS_COUNTED;
}

void http_peers_leave(const struct http_peers *p, enum peers_kind kind, const struct http_addr *a)
{
	struct shm_peer *c = peer_find(&p->shm->slots[p->slot], peer_key(p->shm, a));
	uint64_t held = c != NULL ? atomic_load(&c->held) : 0;

	BUG_ON(peer_open(held, kind) == 0);
	atomic_store(&c->held, held - (UINT64_C(1) << peer_shift(kind)));
}
