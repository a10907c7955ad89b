/* SPDX-License-Identifier: MIT */
/*
 * Buckets that bound how often something may happen: GCRA ("generic cell rate algorithm", ITU-T I.371), which admits
 * exactly what a token bucket admits, in one 64-bit word per bucket. The table lies in memory that all processes of a
 * node share, has a fixed size and takes no locks: a word is changed by compare-and-swap only, so that a process that
 * dies anywhere leaves a whole word behind.
 *
 * A word holds 24 bits of the key's hash and the time at which the bucket will be full again, in units of 100 us. A key
 * may stand in any of the eight words of its set (one cache line). Where all eight are in use, the one nearest to full
 * gives way: who floods the table with new keys loses his own buckets first, and those that have most to lose stay.
 * The hash is keyed (SipHash), so that nobody outside can choose a victim's set.
 */
#ifndef COMMON_RATELIMIT_H
#define COMMON_RATELIMIT_H

#include <stdatomic.h>

#include "common/compat.h"
#include "common/str.h"

#define RATELIMIT_SETS 16384 /* with RATELIMIT_WAYS 131,072 buckets in 1 MiB */
#define RATELIMIT_WAYS 8
#define RATELIMIT_RATE_MAX 100000 /* a minute: six units each */
#define RATELIMIT_BURST_MAX 100000000

struct ratelimit_table {
	uint64_t seed[2]; /* of the hash; random, set before the table is shared */
	_Atomic uint64_t evicted;
	_Alignas(64) _Atomic uint64_t words[RATELIMIT_SETS * RATELIMIT_WAYS];
};

/* How often: made by ratelimit_rule. */
struct ratelimit_rule {
	uint64_t step;  /* time in which one is earned back, in units of 100 us; 0: no limit */
	uint64_t depth; /* of a full bucket, in the same units */
};

struct ratelimit_state {
	bool allowed;
	int64_t remaining; /* how many more at once */
	int64_t retry_us;  /* when refused: one more is allowed by then */
	int64_t full_us;   /* the bucket is full again by then */
};

/*
 * `count` in `period_us`, `burst` at once. count 0: no limit. A bucket that takes more than a day to fill is cut down
 * to one that does not. Rounded to the strict side.
 */
struct ratelimit_rule ratelimit_rule(int64_t count, int64_t period_us, int64_t burst);

/* The key of a bucket: `kind` is a small number, the parts any bytes. Keys of one table only mean anything there. */
uint64_t ratelimit_key(const struct ratelimit_table *t, unsigned kind, struct str a, struct str b);

/* Takes one out of the bucket if it is in. `now_us` is monotonic. Never waits. */
void ratelimit_take(struct ratelimit_table *t, uint64_t key, const struct ratelimit_rule *rule, int64_t now_us,
		    struct ratelimit_state *out);
/* The bucket as it is; `allowed` says whether one could be taken. */
void ratelimit_look(const struct ratelimit_table *t, uint64_t key, const struct ratelimit_rule *rule, int64_t now_us,
		    struct ratelimit_state *out);
/*
 * Others have taken from the same bucket elsewhere: it needs at least `debt_us` until it is full. More than twice its
 * depth is cut off. Never makes a bucket fuller.
 */
void ratelimit_raise(struct ratelimit_table *t, uint64_t key, const struct ratelimit_rule *rule, int64_t now_us,
		     int64_t debt_us);
/* Buckets that are not full now: walks the whole table (some 100 us). */
size_t ratelimit_used(const struct ratelimit_table *t, int64_t now_us);

/* SipHash-2-4 (Aumasson and Bernstein, 2012). */
uint64_t ratelimit_hash(const uint64_t seed[2], const void *p, size_t n);

#endif
