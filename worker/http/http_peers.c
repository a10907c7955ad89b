/* SPDX-License-Identifier: MIT */
/*
 * Counts per client address for the limits on connections and sockets of one process. Called by the server when a
 * connection comes and goes and by the WebSocket handshake. Which addresses are exempt is the caller's matter.
 */
#include "common/clock.h"
#include "common/ids.h"
#include "worker/http/http_client.h"

#define PEERS_BUCKETS 1024
#define PEERS_WINDOW (60 * SEC_US)

struct peer {
	struct peer *next;
	uint64_t key[2];
	int64_t open;
	int64_t window_start; /* of the minute that `came` counts */
	int64_t came;
};

struct http_peers {
	uint64_t seed; /* unknown outside, so that addresses cannot be picked to collide */
	struct peer *bucket[PEERS_BUCKETS];
};

struct http_peers *http_peers_new(void)
{
	struct http_peers *p = xcalloc(1, sizeof(*p));

	ids_random(&p->seed, sizeof(p->seed));
	p->seed |= 1;
	return p;
}

void http_peers_free(struct http_peers *p)
{
	size_t i;

	if (p == NULL)
		return;
	for (i = 0; i < PEERS_BUCKETS; i++) {
		struct peer *e = p->bucket[i], *next;

		for (; e != NULL; e = next) {
			next = e->next;
			free(e);
		}
	}
	free(p);
}

/* One customer has a /64 of IPv6: its lower half does not count. */
static void peer_key(const struct http_addr *a, uint64_t key[2])
{
	memcpy(&key[0], a->b, 8);
	key[1] = 0;
	if (key[0] == 0)
		memcpy(&key[1], a->b + 8, 8);
}

static struct peer **peer_find(struct http_peers *p, const uint64_t key[2])
{
	uint64_t h = (key[0] ^ p->seed) * UINT64_C(0x9e3779b97f4a7c15);
	struct peer **e;

	h = (h ^ h >> 32 ^ key[1]) * (p->seed | UINT64_C(0x100000001));
	h ^= h >> 29;
	for (e = &p->bucket[h % PEERS_BUCKETS]; *e != NULL; e = &(*e)->next)
		if ((*e)->key[0] == key[0] && (*e)->key[1] == key[1])
			break;
	return e;
}

bool http_peers_enter(struct http_peers *p, const struct http_addr *a, int64_t open_max, int64_t rate_max, int64_t now)
{
	struct peer **at, *e;
	uint64_t key[2];

	peer_key(a, key);
	at = peer_find(p, key);
	e = *at;
	if (e == NULL) {
		e = xcalloc(1, sizeof(*e));
		e->key[0] = key[0];
		e->key[1] = key[1];
		e->window_start = now;
		*at = e;
	}
	if (now - e->window_start >= PEERS_WINDOW) {
		e->window_start = now;
		e->came = 0;
	}
	if ((open_max > 0 && e->open >= open_max) || (rate_max > 0 && e->came >= rate_max))
		return false;
	e->open++;
	e->came++;
	return true;
}

void http_peers_leave(struct http_peers *p, const struct http_addr *a)
{
	uint64_t key[2];
	struct peer *e;

	peer_key(a, key);
	e = *peer_find(p, key);
	BUG_ON(e == NULL || e->open <= 0);
	e->open--;
}

void http_peers_sweep(struct http_peers *p, int64_t now)
{
	size_t i;

	for (i = 0; i < PEERS_BUCKETS; i++) {
		struct peer **at = &p->bucket[i], *e;

		while ((e = *at) != NULL) {
			if (e->open == 0 && now - e->window_start >= PEERS_WINDOW) {
				*at = e->next;
				free(e);
			} else {
				at = &e->next;
			}
		}
	}
}
