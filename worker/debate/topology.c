/* SPDX-License-Identifier: MIT */
/*
 * Critic pairs and per-reader orders from the debate's seed. Called by the engine. Draws nothing from outside: the same
 * plan gives the same pairs and orders in every run.
 */
#include "worker/debate/topology.h"

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

size_t topology_pairs(const struct str *names, size_t n, uint64_t seed, int round,
		      struct topology_pair pairs[TOPOLOGY_PAIRS_MAX])
{
	size_t place[TOPOLOGY_SEATS_MAX] = {0};
	size_t c, t, count = 0;

	BUG_ON(n > TOPOLOGY_SEATS_MAX);
	topology_ring(names, n, seed, round, place);
	for (t = 0; t < n; t++)
		for (c = 0; c < n; c++) {
			bool near = place[c] == (place[t] + 1) % n || place[t] == (place[c] + 1) % n;

			if (c != t && (n <= TOPOLOGY_ALL_UP_TO || near))
				pairs[count++] = (struct topology_pair){c, t};
		}
	return count;
}

const char *topology_name(size_t n)
{
	return n <= TOPOLOGY_ALL_UP_TO ? "all-to-all" : "ring";
}
