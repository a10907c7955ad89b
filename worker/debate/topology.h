/* SPDX-License-Identifier: MIT */
/*
 * Who criticises whom, and in which order a reader sees the proposals: functions of names, round and seed only.
 */
#ifndef WORKER_DEBATE_TOPOLOGY_H
#define WORKER_DEBATE_TOPOLOGY_H

#include "common/str.h"

#define TOPOLOGY_SEATS_MAX 32
#define TOPOLOGY_ALL_UP_TO 4 /* above it every text gets two critics instead of all others (debate.md 10.1) */
#define TOPOLOGY_PAIRS_MAX (TOPOLOGY_SEATS_MAX * (TOPOLOGY_ALL_UP_TO - 1))

struct topology_pair {
	size_t critic, target; /* indices into names */
};

/*
 * Critic-target pairs among n <= TOPOLOGY_SEATS_MAX names, by target, then critic; nobody judges himself. Everybody
 * criticises and is criticised equally often. Up to four all others; from five on the two neighbours in a ring that is
 * laid anew each round.
 */
size_t topology_pairs(const struct str *names, size_t n, uint64_t seed, int round,
		      struct topology_pair pairs[TOPOLOGY_PAIRS_MAX]);
/* Fills order[] with 0 … n - 1, shuffled for this reader and purpose. */
void topology_shuffle(uint64_t seed, struct str reader, const char *purpose, int round, size_t *order, size_t n);
const char *topology_name(size_t n);
/* The next number of a sequence (splitmix64); also a good mixer of a seed. */
uint64_t topology_next(uint64_t *state);

#endif
