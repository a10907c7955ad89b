/* SPDX-License-Identifier: MIT */
/*
 * Similarity and contradiction: known pairs, symmetry, other scripts, and the time that hostile text may take.
 */
#include "worker/engine/similarity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

#define BIG (256 * 1024)

static int64_t alike(const char *x, const char *y)
{
	struct arena *a = arena_new(0);
	const struct similarity_vector *vx = similarity_vector(a, str_of(x)), *vy = similarity_vector(a, str_of(y));
	int64_t s = similarity_cosine(vx, vy);

	assert_int_equal(s, similarity_cosine(vy, vx));
	arena_free(a);
	return s;
}

static void test_cosine(void **state)
{
	(void)state;
	assert_int_equal(alike("", ""), 1000000);
	assert_int_equal(alike("", "redis"), 0);
	assert_int_equal(alike("the and of", "redis"), 0);
	assert_int_equal(alike("Redis cache", "redis, CACHE!"), 1000000);
	assert_int_equal(alike("Redis cache", "memcached slab"), 0);
	/* three words of four shared: 3 / sqrt(3 x 4) */
	assert_int_equal(alike("use-redis cache", "use redis session cache"), 866025);
	assert_int_equal(alike("Redis for the cache", "Redis for the session cache"), 866025);
	/* counts matter: (2,1) and (1,2): 4 / 5 */
	assert_int_equal(alike("red red blue", "red blue blue"), 800000);
}

static void test_scripts(void **state)
{
	(void)state;
	assert_int_equal(alike("使用缓存", "使用缓存"), 1000000);
	assert_int_equal(alike("使用缓存", "使用内存"), 750000);
	assert_int_equal(alike("Größe zählt", "Größe zählt"), 1000000);
	assert_int_equal(alike("Größe", "Grösse"), 0);
	assert_int_equal(alike("a\xff\xfe z", "q\xe3"), 0); /* broken bytes are just other words */
}

static void test_contradiction(void **state)
{
	static const struct {
		const char *x, *y;
		bool want;
	} cases[] = {
	    {"Choose option A", "Choose option B", true},
	    {"Choose option A", "I would take Option A for cost", false},
	    {"Use Redis for the cache", "Use Redis for session cache", false},
	    {"We should accept the offer", "We should reject the offer", true},
	    {"Raise prices in May", "Lower prices in May", true},
	    {"Support the merger", "The board opposed the merger", true},
	    {"We should adopt Kubernetes", "We should not adopt Kubernetes", true},
	    {"We should not adopt Kubernetes", "Kubernetes should never be adopted", false},
	    {"Yes", "No", true},
	    {"Increase the marketing budget sharply now", "Decrease meeting frequency across engineering teams", false},
	    {"Accept or reject each offer singly", "Reject the offer", false}, /* names both sides: nothing is split */
	    {"", "", false},
	};
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		assert_int_equal(similarity_contradicts(str_of(cases[i].x), str_of(cases[i].y)), cases[i].want);
		assert_int_equal(similarity_contradicts(str_of(cases[i].y), str_of(cases[i].x)), cases[i].want);
	}
}

static void test_other_answer(void **state)
{
	static const struct {
		const char *x, *y;
		bool want;
	} cases[] = {
	    {"The answer is 7.", "The answer is 9.", true},
	    {"The answer is 7.", "It is 7, as the answer.", false},
	    {"Use 3 replicas in 2 regions.", "Use three replicas in 2 regions.", true}, /* one place, two fillings */
	    {"Growth of 4 % in 2025.", "Growth of 5 % in 2025.", true},
	    {"The capital of Australia is Canberra.", "The capital of Australia is Sydney.", true},
	    {"The capital of Australia is Canberra.", "Canberra is the capital of Australia.", false},
	    {"The capital of India is New Delhi.", "The capital of India is Mumbai.", true},
	    {"Use Redis for caching.", "Use Memcached for caching.", true},
	    {"Use Redis for the cache.", "Use Redis for the session cache.", false}, /* says more, not other */
	    {"Use Redis.", "We should use Redis.", false},
	    {"Move to PostgreSQL over a weekend with replication and a way back.",
	     "Migrate to PostgreSQL on Saturday with replication, keeping a way back.", false},
	    {"", "", false},
	    {"alder", "birch", true},
	};
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		assert_int_equal(similarity_other_answer(str_of(cases[i].x), str_of(cases[i].y)), cases[i].want);
		assert_int_equal(similarity_other_answer(str_of(cases[i].y), str_of(cases[i].x)), cases[i].want);
	}
}

static double cpu_seconds(void)
{
	struct timespec t;

	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Ten texts of 256 KiB, all pairs: generous even for a sanitized build on a busy machine. */
static void test_cap(void **state)
{
	const struct similarity_vector *v[10];
	struct arena *a = arena_new(0);
	char *text = xmalloc(BIG);
	double start = cpu_seconds();
	size_t i, k;

	(void)state;
	for (k = 0; k < countof(v); k++) {
		for (i = 0; i < BIG; i++)
			text[i] = i % 3 == 2 ? ' ' : (char)('a' + (int)((i * 7 + i / 26 * k + k) % 26));
		v[k] = similarity_vector(a, (struct str){text, BIG});
		(void)similarity_contradicts((struct str){text, BIG}, (struct str){text + 1, BIG - 1});
		(void)similarity_other_answer((struct str){text, BIG}, (struct str){text + 1, BIG - 1});
	}
	for (i = 0; i < countof(v); i++)
		for (k = 0; k < countof(v); k++)
			assert_in_range(similarity_cosine(v[i], v[k]), i == k ? 1000000 : 0, 1000000);
	memset(text, 'x', BIG); /* one word */
	v[0] = similarity_vector(a, (struct str){text, BIG});
	memset(text, 0xE4, BIG); /* broken characters of an unspaced script */
	v[1] = similarity_vector(a, (struct str){text, BIG});
	assert_int_equal(similarity_cosine(v[0], v[1]), 0);
	assert_true(arena_used(a) < 16 * 1024 * 1024);
	assert_true(cpu_seconds() - start < 3.0);
	free(text);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cosine),       cmocka_unit_test(test_scripts), cmocka_unit_test(test_contradiction),
	    cmocka_unit_test(test_other_answer), cmocka_unit_test(test_cap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
