/* SPDX-License-Identifier: MIT */
/*
 * Buckets: what is admitted is what a token bucket admits, for random rules and times; they refill; keys are told
 * apart; processes that race, also for a new key, and die in the middle never admit one too many; a flood of new keys
 * does not reset a bucket; the hash is SipHash.
 */
#include "common/ratelimit.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"

#define MINUTE (60 * SEC_US)

/* Shared with children, as a node's is. */
static struct ratelimit_table *table_new(void)
{
	struct ratelimit_table *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(t != MAP_FAILED);
	t->seed[0] = UINT64_C(0x0706050403020100);
	t->seed[1] = UINT64_C(0x0f0e0d0c0b0a0908);
	return t;
}

static void table_free(struct ratelimit_table *t)
{
	munmap(t, sizeof(*t));
}

static bool take(struct ratelimit_table *t, uint64_t key, const struct ratelimit_rule *r, int64_t now)
{
	struct ratelimit_state s;

	ratelimit_take(t, key, r, now, &s);
	return s.allowed;
}

/* The vectors of the authors for key 00 .. 0f and messages of 0, 8 and 15 bytes 00, 01, ... */
static void test_hash_is_siphash(void **state)
{
	const uint64_t seed[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
	uint8_t in[15];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)i;
	assert_true(ratelimit_hash(seed, in, 0) == UINT64_C(0x726fdb47dd0e0e31));
	assert_true(ratelimit_hash(seed, in, 8) == UINT64_C(0x93f5f5799a932462));
	assert_true(ratelimit_hash(seed, in, 15) == UINT64_C(0xa129ca6149be45e5));
}

static void test_keys_depend_on_every_part(void **state)
{
	struct ratelimit_table *t = table_new();
	uint64_t k = ratelimit_key(t, 1, STR("ab"), STR("c"));

	(void)state;
	assert_true(k == ratelimit_key(t, 1, STR("ab"), STR("c")));
	assert_true(k != ratelimit_key(t, 2, STR("ab"), STR("c")));
	assert_true(k != ratelimit_key(t, 1, STR("a"), STR("bc")));
	assert_true(k != ratelimit_key(t, 1, STR("abc"), STR_NONE));
	t->seed[0]++;
	assert_true(k != ratelimit_key(t, 1, STR("ab"), STR("c")));
	table_free(t);
}

static void test_a_burst_then_the_rate(void **state)
{
	struct ratelimit_table *t = table_new();
	struct ratelimit_rule r = ratelimit_rule(60, MINUTE, 120);
	struct ratelimit_state s;
	int64_t now = 5 * SEC_US;
	int i;

	(void)state;
	for (i = 0; i < 120; i++) {
		ratelimit_take(t, 77, &r, now, &s);
		assert_true(s.allowed);
		assert_int_equal(s.remaining, 119 - i);
	}
	ratelimit_take(t, 77, &r, now, &s);
	assert_false(s.allowed);
	assert_int_equal(s.remaining, 0);
	assert_int_equal(s.retry_us, SEC_US);
	assert_int_equal(s.full_us, 120 * SEC_US);
	/* What is said about the next one is true: not a moment earlier. */
	assert_false(take(t, 77, &r, now + s.retry_us - 100));
	assert_true(take(t, 77, &r, now + s.retry_us));
	assert_false(take(t, 77, &r, now + s.retry_us));
	assert_true(take(t, 78, &r, now));
	ratelimit_look(t, 77, &r, now + 300 * SEC_US, &s);
	assert_true(s.allowed);
	assert_int_equal(s.remaining, 120);
	assert_int_equal(s.full_us, 0);
	table_free(t);
}

static void test_no_rule_no_limit(void **state)
{
	struct ratelimit_table *t = table_new();
	struct ratelimit_rule none = ratelimit_rule(0, MINUTE, 10);
	int i;

	(void)state;
	for (i = 0; i < 1000; i++)
		assert_true(take(t, 1, &none, 1));
	assert_int_equal(ratelimit_used(t, 1), 0);
	table_free(t);
}

/* Rounding is to the strict side, and nothing is deeper than a day. */
static void test_rules_are_rounded_down(void **state)
{
	struct ratelimit_rule r = ratelimit_rule(7, MINUTE, 1);

	(void)state;
	assert_true(r.step * 7 >= 600000);
	assert_true(ratelimit_rule(RATELIMIT_RATE_MAX, MINUTE, 1).step == 6);
	assert_true(ratelimit_rule(1, 3600 * SEC_US, 1000000).depth <= UINT64_C(864000000));
	assert_true(ratelimit_rule(1, 400 * 86400 * SEC_US, 3).depth > 0);
	assert_true(ratelimit_rule(INT64_MAX, MINUTE, INT64_MAX).step == 1);
}

/* An independent model: tokens as fractions, refilled by the time that passed. */
struct model {
	double tokens, burst, per_us;
	int64_t last;
};

static bool model_take(struct model *m, int64_t now)
{
	m->tokens += (double)(now - m->last) * m->per_us;
	m->last = now;
	if (m->tokens > m->burst)
		m->tokens = m->burst;
	if (m->tokens < 1 - 1e-9)
		return false;
	m->tokens -= 1;
	return true;
}

static uint64_t chance(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void test_admits_what_a_token_bucket_admits(void **state)
{
	uint64_t x = UINT64_C(0x9e3779b97f4a7c15);
	struct ratelimit_table *t = table_new();
	unsigned round, i, refused = 0;

	(void)state;
	for (round = 0; round < 400; round++) {
		/* Rates whose step is a whole number of units, so that rounding plays no part. */
		static const int64_t rates[] = {1, 2, 5, 10, 30, 60, 120, 300, 1000, 6000};
		int64_t rate = rates[chance(&x) % countof(rates)], burst = 1 + (int64_t)(chance(&x) % 50);
		struct ratelimit_rule r = ratelimit_rule(rate, MINUTE, burst);
		int64_t now = (int64_t)(chance(&x) % 1000000) * 100, pause = 2 * MINUTE / rate / 100;
		struct model m = {(double)burst, (double)burst, (double)rate / (double)MINUTE, now};
		uint64_t key = chance(&x);

		for (i = 0; i < 300; i++) {
			bool got = take(t, key, &r, now);

			refused += !got;
			assert_int_equal(got, model_take(&m, now));
			if (chance(&x) % 4 == 0)
				now += (int64_t)(chance(&x) % (uint64_t)pause) * 100;
		}
	}
	assert_true(refused > 10000);
	table_free(t);
}

/* In no span of time are more admitted than the burst and what the span earns. */
static void test_no_span_admits_too_many(void **state)
{
	enum { N = 3000 };
	struct ratelimit_table *t = table_new();
	uint64_t x = 88172645463325252u;
	struct ratelimit_rule r = ratelimit_rule(90, MINUTE, 20);
	int64_t now = 0, *at = xcalloc(N, sizeof(*at));
	unsigned n = 0, i, k;

	(void)state;
	while (n < N) {
		if (take(t, 5, &r, now))
			at[n++] = now;
		now += (int64_t)(chance(&x) % 900000);
	}
	for (i = 0; i < N; i++)
		for (k = i + 20; k < N; k += 7)
			assert_true((double)(k - i + 1) <= 20 + (double)(at[k] - at[i]) * 90 / (double)MINUTE + 1e-6);
	free(at);
	table_free(t);
}

static void test_raising_counts_what_others_took(void **state)
{
	struct ratelimit_table *t = table_new();
	struct ratelimit_rule r = ratelimit_rule(60, MINUTE, 10);
	struct ratelimit_state s;

	(void)state;
	assert_true(take(t, 9, &r, 0));
	ratelimit_raise(t, 9, &r, 0, 8 * SEC_US);
	ratelimit_look(t, 9, &r, 0, &s);
	assert_int_equal(s.remaining, 2);
	ratelimit_raise(t, 9, &r, 0, 3 * SEC_US); /* never down */
	ratelimit_look(t, 9, &r, 0, &s);
	assert_int_equal(s.remaining, 2);
	ratelimit_raise(t, 9, &r, 0, 500 * SEC_US);
	ratelimit_look(t, 9, &r, 0, &s);
	assert_false(s.allowed);
	assert_int_equal(s.full_us, 20 * SEC_US);
	ratelimit_raise(t, 10, &r, 0, 10 * SEC_US); /* not there yet */
	assert_false(take(t, 10, &r, 0));
	ratelimit_raise(t, 11, &r, 0, -5);
	assert_int_equal(ratelimit_used(t, 0), 2);
	table_free(t);
}

/* Words that are older than the range of their time are no debt. */
static void test_time_wraps_around(void **state)
{
	struct ratelimit_table *t = table_new();
	struct ratelimit_rule r = ratelimit_rule(60, MINUTE, 2);
	int64_t wrap = (INT64_C(1) << 40) * 100;
	struct ratelimit_state s;

	(void)state;
	assert_true(take(t, 3, &r, wrap - 500000));
	assert_true(take(t, 3, &r, wrap - 500000));
	assert_false(take(t, 3, &r, wrap - 100));
	assert_false(take(t, 3, &r, wrap + 100));
	assert_true(take(t, 3, &r, wrap + SEC_US));
	assert_true(take(t, 4, &r, wrap / 2));
	ratelimit_look(t, 4, &r, wrap - 200 * 86400 * SEC_US, &s);
	assert_int_equal(s.full_us, 0);
	table_free(t);
}

/* A client that has used up its bucket stays refused while a flood of others comes. */
static void test_a_flood_does_not_reset_a_bucket(void **state)
{
	struct ratelimit_table *t = table_new();
	struct ratelimit_rule r = ratelimit_rule(5, MINUTE, 5);
	uint64_t victim = ratelimit_key(t, 1, STR("203.0.113.7"), STR_NONE), i;
	struct ratelimit_state s;

	(void)state;
	while (take(t, victim, &r, 0))
		;
	for (i = 0; i < 4 * RATELIMIT_SETS * RATELIMIT_WAYS; i++)
		(void)take(t, ratelimit_key(t, 1, (struct str){(const char *)&i, sizeof(i)}, STR_NONE), &r, 0);
	assert_true(atomic_load(&t->evicted) > 0);
	ratelimit_look(t, victim, &r, 0, &s);
	assert_false(s.allowed);
	/* Nobody inherits another's debt: who is new has all but what he took. */
	assert_true(ratelimit_used(t, 0) <= RATELIMIT_SETS * RATELIMIT_WAYS);
	assert_int_equal(ratelimit_used(t, 3600 * SEC_US), 0);
	table_free(t);
}

/* Takes until it is refused; returns how often it got one. */
static unsigned racer(struct ratelimit_table *t, uint64_t key, const struct ratelimit_rule *r, unsigned max)
{
	unsigned got = 0;

	while (got < max && take(t, key, r, 0))
		got++;
	return got;
}

/* Four processes begin with the same new key: exactly the burst is admitted, whoever makes the bucket. */
static void test_racing_processes_share_a_bucket(void **state)
{
	enum { RACERS = 4, ROUNDS = 30 };
	struct ratelimit_table *t = table_new();
	struct ratelimit_rule r = ratelimit_rule(60, MINUTE, 200);
	unsigned *got =
	    mmap(NULL, sizeof(unsigned[RACERS][ROUNDS]), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned i, k, sum;

	(void)state;
	assert_true(got != MAP_FAILED);
	for (i = 0; i < RACERS; i++) {
		pid_t pid = fork();

		assert_int_not_equal(pid, -1);
		if (pid != 0)
			continue;
		for (k = 0; k < ROUNDS; k++)
			got[i * ROUNDS + k] = racer(t, UINT64_C(0x123456789abcd) * (k + 1), &r, UINT32_MAX);
		_exit(0);
	}
	for (i = 0; i < RACERS; i++)
		assert_true(wait(NULL) > 0);
	for (k = 0; k < ROUNDS; k++) {
		for (sum = 0, i = 0; i < RACERS; i++)
			sum += got[i * ROUNDS + k];
		assert_int_equal(sum, 200);
	}
	munmap(got, sizeof(unsigned[RACERS][ROUNDS]));
	table_free(t);
}

/* Processes that are killed anywhere leave buckets that work, and have not been given more than there was. */
static void test_killed_processes_leave_whole_buckets(void **state)
{
	struct ratelimit_table *t = table_new();
	struct ratelimit_rule r = ratelimit_rule(1, MINUTE, 1400);
	_Atomic unsigned *got = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned i, before;

	(void)state;
	assert_true(got != MAP_FAILED);
	for (i = 0; i < 20; i++) {
		pid_t pid = fork();

		assert_int_not_equal(pid, -1);
		if (pid == 0) {
			while (take(t, 42, &r, 0))
				atomic_fetch_add(got, 1);
			for (;;)
				pause();
		}
		before = atomic_load(got);
		while (atomic_load(got) < before + 20 && atomic_load(got) < 1380)
			;
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	}
	while (take(t, 42, &r, 0))
		atomic_fetch_add(got, 1);
	/* A kill between taking and counting loses the count of one. */
	assert_in_range(atomic_load(got), 1400 - 20, 1400);
	munmap((void *)(uintptr_t)got, 4096);
	table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hash_is_siphash),
	    cmocka_unit_test(test_keys_depend_on_every_part),
	    cmocka_unit_test(test_a_burst_then_the_rate),
	    cmocka_unit_test(test_no_rule_no_limit),
	    cmocka_unit_test(test_rules_are_rounded_down),
	    cmocka_unit_test(test_admits_what_a_token_bucket_admits),
	    cmocka_unit_test(test_no_span_admits_too_many),
	    cmocka_unit_test(test_raising_counts_what_others_took),
	    cmocka_unit_test(test_time_wraps_around),
	    cmocka_unit_test(test_a_flood_does_not_reset_a_bucket),
	    cmocka_unit_test(test_racing_processes_share_a_bucket),
	    cmocka_unit_test(test_killed_processes_leave_whole_buckets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
