/* SPDX-License-Identifier: MIT */
/*
 * Critic pairs and per-reader orders from the debate's seed. Called by the engine. Draws nothing from outside: the same
 * plan gives the same pairs and orders in every run.
 */
#include "worker/engine/topology.h"

uint64_t topology_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint64_t topology_mix(uint64_t h, struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * UINT64_C(0x100000001b3);
	return (h ^ 0xFF) * UINT64_C(0x100000001b3); /* an end mark: "ab","c" is not "a","bc" */
}

void topology_shuffle(uint64_t seed, struct str reader, const char *purpose, int round, size_t *order, size_t n)
{
	uint64_t state = topology_mix(topology_mix(UINT64_C(0xcbf29ce484222325), reader), str_of(purpose));
	size_t i, k, swap;

	state ^= seed ^ ((uint64_t)(unsigned)round << 32);
	for (i = 0; i < n; i++)
		order[i] = i;
	for (i = n; i > 1; i--) {
		k = (size_t)(topology_next(&state) % i); /* the bias of % is far below one in 2^58 */
		swap = order[i - 1];
		order[i - 1] = order[k];
		order[k] = swap;
	}
}

/* Places on the ring: names in byte order, then shuffled by seed and round, so that the plan's order does not matter.
 */
static void topology_ring(const struct str *names, size_t n, uint64_t seed, int round, size_t *ring)
{
	size_t sorted[TOPOLOGY_SEATS_MAX], order[TOPOLOGY_SEATS_MAX];
	size_t i, j;

	for (i = 0; i < n; i++) {
		for (j = i; j > 0; j--) {
			struct str a = names[sorted[j - 1]], b = names[i];
			int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);

			if (c < 0 || (c == 0 && a.n <= b.n))
				break;
			sorted[j] = sorted[j - 1];
		}
		sorted[j] = i;
	}
	topology_shuffle(seed, STR(""), "ring", round, order, n);
	for (i = 0; i < n; i++)
		ring[sorted[order[i]]] = i;
}

static const char *const topology_kinds[] = {[TOPOLOGY_AUTO] = "auto",        [TOPOLOGY_ALL] = "all-to-all",
					     [TOPOLOGY_RING] = "ring",        [TOPOLOGY_ROUND_ROBIN] = "round-robin",
					     [TOPOLOGY_SPARSE] = "sparse",    [TOPOLOGY_STAR] = "star",
					     [TOPOLOGY_ADAPTIVE] = "adaptive"};

bool topology_find(struct str name, enum topology *out)
{
	size_t i;

	for (i = 0; i < countof(topology_kinds) && !str_ieqz(name, topology_kinds[i]); i++)
		;
	*out = i < countof(topology_kinds) ? (enum topology)i : TOPOLOGY_AUTO;
	return i < countof(topology_kinds);
}

const char *topology_name(enum topology kind)
{
	return topology_kinds[kind];
}

const char *topology_names(void)
{
	return "auto, all-to-all, ring, round-robin, sparse, star, adaptive";
}

enum topology topology_adapt(enum topology kind, struct str status, size_t n)
{
	if (kind == TOPOLOGY_AUTO)
		return n <= TOPOLOGY_ALL_UP_TO ? TOPOLOGY_ALL : TOPOLOGY_RING;
	if (kind != TOPOLOGY_ADAPTIVE)
		return kind;
	if (str_eqz(status, "converged"))
		return TOPOLOGY_ROUND_ROBIN;
	return str_eqz(status, "refining") ? TOPOLOGY_RING : TOPOLOGY_ALL;
}

/* Does the one at place c of a ring of n criticise the one at place t? */
static bool topology_criticises(enum topology kind, size_t c, size_t t, size_t n, size_t sparse)
{
	size_t ahead = (c + n - t) % n;

	switch (kind) {
	case TOPOLOGY_RING:
		return ahead == 1 || ahead == n - 1;
	case TOPOLOGY_ROUND_ROBIN:
		return ahead == 1;
	case TOPOLOGY_SPARSE:
		return ahead <= sparse;
	case TOPOLOGY_STAR:
		return c == 0 || t == 0;
	case TOPOLOGY_AUTO:
	case TOPOLOGY_ALL:
	case TOPOLOGY_ADAPTIVE:
		break;
	}
	return true;
}

size_t topology_pairs(enum topology kind, const struct str *names, size_t n, const struct topology_draw *draw,
		      struct topology_pair *pairs)
{
	size_t place[TOPOLOGY_SEATS_MAX] = {0};
	size_t sparse = n * (size_t)draw->sparsity_ppm / 1000000;
	size_t c, t, count = 0;

	BUG_ON(n > TOPOLOGY_SEATS_MAX);
	topology_ring(names, n, draw->seed, draw->round, place);
	for (t = 0; t < n; t++)
		for (c = 0; c < n; c++)
			if (c != t && topology_criticises(kind, place[c], place[t], n, sparse > 0 ? sparse : 1))
				pairs[count++] = (struct topology_pair){c, t};
	return count;
}
