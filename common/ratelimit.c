/* SPDX-License-Identifier: MIT */
/*
 * The table of buckets in shared memory. Called by the limiter of requests in every worker, and at start by who makes
 * the segment. Knows nothing of clients, routes or configuration, and counts only evictions.
 */
#include "common/ratelimit.h"

#define UNIT_US 100
#define DAY_UNITS (UINT64_C(86400) * 10000)
#define TIME_BITS 40 /* 3.4 years; compared modulo, so that an uptime beyond that does no harm */
#define TIME_MASK ((UINT64_C(1) << TIME_BITS) - 1)
#define TRIES_MAX 1000 /* each failed swap is another process's success */

/* ---- hash ---- */

static uint64_t sip_rotl(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static void sip_rounds(uint64_t v[4], unsigned n)
{
	while (n-- > 0) {
		v[0] += v[1];
		v[1] = sip_rotl(v[1], 13) ^ v[0];
		v[0] = sip_rotl(v[0], 32);
		v[2] += v[3];
		v[3] = sip_rotl(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = sip_rotl(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = sip_rotl(v[1], 17) ^ v[2];
		v[2] = sip_rotl(v[2], 32);
	}
}

/* Up to eight bytes, the first one lowest. */
static uint64_t sip_word(const uint8_t *p, size_t n)
{
	uint64_t w = 0;
	size_t i;

	for (i = 0; i < n; i++)
		w |= (uint64_t)p[i] << (8 * i);
	return w;
}

uint64_t ratelimit_hash(const uint64_t seed[2], const void *data, size_t n)
{
	uint64_t v[4] = {seed[0] ^ UINT64_C(0x736f6d6570736575), seed[1] ^ UINT64_C(0x646f72616e646f6d),
			 seed[0] ^ UINT64_C(0x6c7967656e657261), seed[1] ^ UINT64_C(0x7465646279746573)};
	const uint8_t *p = data;
	size_t left = n;
	uint64_t w;

	for (; left >= 8; left -= 8, p += 8) {
		w = sip_word(p, 8);
		v[3] ^= w;
		sip_rounds(v, 2);
		v[0] ^= w;
	}
	w = sip_word(p, left) | (uint64_t)n << 56;
	v[3] ^= w;
	sip_rounds(v, 2);
	v[0] ^= w;
	v[2] ^= 0xff;
	sip_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t ratelimit_key(const struct ratelimit_table *t, unsigned kind, struct str a, struct str b)
{
	uint64_t parts[3] = {kind, ratelimit_hash(t->seed, a.p, a.n), b.n > 0 ? ratelimit_hash(t->seed, b.p, b.n) : 0};

	return ratelimit_hash(t->seed, parts, sizeof(parts));
}

/* ---- rules and time ---- */

struct ratelimit_rule ratelimit_rule(int64_t count, int64_t period_us, int64_t burst)
{
	uint64_t period = (uint64_t)period_us / UNIT_US, step, n = burst > 0 ? (uint64_t)burst : 1;

	if (count <= 0)
		return (struct ratelimit_rule){0, 0};
	step = (period + (uint64_t)count - 1) / (uint64_t)count;
	if (step == 0)
		step = 1;
	if (step > DAY_UNITS)
		step = DAY_UNITS;
	if (n > DAY_UNITS / step)
		n = DAY_UNITS / step;
	return (struct ratelimit_rule){step, step * n};
}

static uint64_t limit_time(int64_t now_us)
{
	return (uint64_t)now_us / UNIT_US & TIME_MASK;
}

/* How far a word's time lies ahead; what lies further ahead than any bucket is deep was written long ago. */
static uint64_t limit_debt(uint64_t word, uint64_t now)
{
	uint64_t ahead = ((word & TIME_MASK) - now) & TIME_MASK;

	return word != 0 && ahead <= 2 * DAY_UNITS ? ahead : 0;
}

static uint64_t limit_word(uint64_t key, uint64_t now, uint64_t debt)
{
	uint64_t tag = key >> TIME_BITS;

	return (tag != 0 ? tag : 1) << TIME_BITS | ((now + debt) & TIME_MASK);
}

static bool limit_same(uint64_t word, uint64_t key)
{
	return word != 0 && word >> TIME_BITS == limit_word(key, 0, 0) >> TIME_BITS;
}

static size_t limit_set(uint64_t key)
{
	return (size_t)(key % RATELIMIT_SETS) * RATELIMIT_WAYS;
}

/* ---- buckets ---- */

/* The key's place in its set and its word, or RATELIMIT_WAYS. */
static size_t limit_find(const _Atomic uint64_t *set, uint64_t key, uint64_t *word)
{
	size_t i;

	for (i = 0; i < RATELIMIT_WAYS; i++) {
		*word = atomic_load(&set[i]);
		if (limit_same(*word, key))
			break;
	}
	return i;
}

/* The place for a newcomer: one that is full or was never used, else the one nearest to full. */
static size_t limit_victim(const _Atomic uint64_t *set, uint64_t now, uint64_t *word)
{
	uint64_t least = UINT64_MAX, w, debt;
	size_t i, at = 0;

	for (i = 0; i < RATELIMIT_WAYS && least > 0; i++) {
		w = atomic_load(&set[i]);
		debt = limit_debt(w, now);
		if (debt < least) {
			least = debt;
			at = i;
			*word = w;
		}
	}
	return at;
}

/*
 * Puts the key into its set. Two processes may do so at the same moment: each looks again, and who stands behind the
 * other takes himself out. False: try again.
 */
static bool limit_insert(struct ratelimit_table *t, _Atomic uint64_t *set, uint64_t key, uint64_t now, uint64_t debt)
{
	uint64_t old = 0, mine = limit_word(key, now, debt), other;
	size_t at = limit_victim(set, now, &old);

	if (!atomic_compare_exchange_strong(&set[at], &old, mine))
		return false;
	if (limit_debt(old, now) > 0)
		atomic_fetch_add(&t->evicted, 1);
	if (limit_find(set, key, &other) >= at)
		return true;
	return !atomic_compare_exchange_strong(&set[at], &mine, 0);
}

static void limit_tell(struct ratelimit_state *out, const struct ratelimit_rule *rule, bool allowed, uint64_t debt)
{
	uint64_t over = debt + rule->step > rule->depth ? debt + rule->step - rule->depth : 0;

	*out = (struct ratelimit_state){
	    .allowed = allowed,
	    .remaining = rule->depth > debt ? (int64_t)((rule->depth - debt) / rule->step) : 0,
	    .retry_us = (int64_t)over * UNIT_US,
	    .full_us = (int64_t)debt * UNIT_US,
	};
}

void ratelimit_take(struct ratelimit_table *t, uint64_t key, const struct ratelimit_rule *rule, int64_t now_us,
		    struct ratelimit_state *out)
{
	_Atomic uint64_t *set = &t->words[limit_set(key)];
	uint64_t now = limit_time(now_us), word, debt = 0;
	unsigned tries;
	size_t at;

	if (rule->step == 0) {
		*out = (struct ratelimit_state){.allowed = true, .remaining = INT64_MAX};
		return;
	}
	for (tries = 0; tries < TRIES_MAX; tries++) {
		at = limit_find(set, key, &word);
		debt = at < RATELIMIT_WAYS ? limit_debt(word, now) : 0;
		if (debt + rule->step > rule->depth)
			break;
		if (at < RATELIMIT_WAYS
			? !atomic_compare_exchange_strong(&set[at], &word, limit_word(key, now, debt + rule->step))
			: !limit_insert(t, set, key, now, rule->step))
			continue;
		limit_tell(out, rule, true, debt + rule->step);
		return;
	}
	limit_tell(out, rule, false, debt);
}

void ratelimit_look(const struct ratelimit_table *t, uint64_t key, const struct ratelimit_rule *rule, int64_t now_us,
		    struct ratelimit_state *out)
{
	uint64_t now = limit_time(now_us), word, debt;
	size_t at = limit_find(&t->words[limit_set(key)], key, &word);

	if (rule->step == 0) {
		*out = (struct ratelimit_state){.allowed = true, .remaining = INT64_MAX};
		return;
	}
	debt = at < RATELIMIT_WAYS ? limit_debt(word, now) : 0;
	limit_tell(out, rule, debt + rule->step <= rule->depth, debt);
}

void ratelimit_raise(struct ratelimit_table *t, uint64_t key, const struct ratelimit_rule *rule, int64_t now_us,
		     int64_t debt_us)
{
	_Atomic uint64_t *set = &t->words[limit_set(key)];
	uint64_t now = limit_time(now_us), debt = debt_us > 0 ? (uint64_t)debt_us / UNIT_US : 0, word;
	unsigned tries;
	size_t at;

	if (debt > 2 * rule->depth)
		debt = 2 * rule->depth;
	for (tries = 0; tries < TRIES_MAX && debt > 0; tries++) {
		at = limit_find(set, key, &word);
		if (at < RATELIMIT_WAYS && limit_debt(word, now) >= debt)
			return;
		if (at < RATELIMIT_WAYS ? atomic_compare_exchange_strong(&set[at], &word, limit_word(key, now, debt))
					: limit_insert(t, set, key, now, debt))
			return;
	}
}

size_t ratelimit_used(const struct ratelimit_table *t, int64_t now_us)
{
	uint64_t now = limit_time(now_us);
	size_t i, n = 0;

	for (i = 0; i < countof(t->words); i++)
		n += limit_debt(atomic_load_explicit(&t->words[i], memory_order_relaxed), now) > 0;
	return n;
}
