/* SPDX-License-Identifier: MIT */
/*
 * Who criticises whom, and in which order a reader sees the proposals: functions of names, round and seed only.
 */
#ifndef WORKER_ENGINE_TOPOLOGY_H
#define WORKER_ENGINE_TOPOLOGY_H

#include "common/str.h"

#define TOPOLOGY_SEATS_MAX 32
#define TOPOLOGY_ALL_UP_TO 4 /* above it every text gets two critics instead of all others (debate.md 10.1) */

/* debate.md 2.6; AUTO: all up to four, then a ring. ADAPTIVE is resolved for each round by topology_adapt(). */
enum topology {
	TOPOLOGY_AUTO,
	TOPOLOGY_ALL,
	TOPOLOGY_RING,
	TOPOLOGY_ROUND_ROBIN,
	TOPOLOGY_SPARSE,
	TOPOLOGY_STAR,
	TOPOLOGY_ADAPTIVE
};

/* What the places on the ring are drawn from. */
struct topology_draw {
	uint64_t seed;
	int round;
	int64_t sparsity_ppm; /* share of all who criticise a text if it is sparse, at least one */
};

struct topology_pair {
	size_t critic, target; /* indices into names */
};

/* By its name; false: unknown. */
bool topology_find(struct str name, enum topology *out);
/* "all-to-all", ...; of AUTO and ADAPTIVE their own names. Static. */
const char *topology_name(enum topology kind);
/* All names, for messages. */
const char *topology_names(void);
/* What a round uses: who says the same needs less criticism. status: of the last round's convergence, or empty. */
enum topology topology_adapt(enum topology kind, struct str status, size_t n);
/*
 * Critic-target pairs among n <= TOPOLOGY_SEATS_MAX names, by target, then critic; nobody judges himself. The names
 * stand on a ring that is laid anew each round: all others, the two neighbours, the next one, the next ones by
 * sparsity, or for a star everybody and the one at the top with each other. But for the star everybody criticises and
 * is criticised equally often. Returns their number; `pairs` has room for n * (n - 1).
 */
size_t topology_pairs(enum topology kind, const struct str *names, size_t n, const struct topology_draw *draw,
		      struct topology_pair *pairs);
/* Fills order[] with 0 … n - 1, shuffled for this reader and purpose. */
void topology_shuffle(uint64_t seed, struct str reader, const char *purpose, int round, size_t *order, size_t n);
/* The next number of a sequence (splitmix64); also a good mixer of a seed. */
uint64_t topology_next(uint64_t *state);

#endif
