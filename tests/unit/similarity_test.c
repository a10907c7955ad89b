/* SPDX-License-Identifier: MIT */
/*
 * Similarity and contradiction: known pairs, symmetry, other scripts, and the time that hostile text may take.
 */
#include "worker/engine/similarity.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
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
	    {"Raise the price by 10 percent in May.", "Raise prices by 10 percent in May.",
	     false}, /* one word, two forms */
	    {"Use PostgreSQL for the event store.", "Use Kafka for the event store.", true},
	};
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		assert_int_equal(similarity_other_answer(str_of(cases[i].x), str_of(cases[i].y)), cases[i].want);
		assert_int_equal(similarity_other_answer(str_of(cases[i].y), str_of(cases[i].x)), cases[i].want);
	}
}

/* The smoothed TF-IDF of scikit-learn's TfidfVectorizer in real numbers, against ours in integers. */
static void test_tfidf(void **state)
{
	static const char *const texts[] = {"redis redis cache", "redis memcached", "redis cache slab"};
	double all = 1, two = log(4.0 / 3) + 1, one = log(4.0 / 2) + 1, want;
	struct arena *a = arena_new(0);
	struct similarity_set *s = similarity_set_new(a, SIMILARITY_TFIDF, 3);
	size_t i;

	(void)state;
	for (i = 0; i < 3; i++)
		assert_int_equal(similarity_set_add(s, similarity_vector(a, str_of(texts[i]))), i);
	want = (2 * all * all + two * two) / sqrt((4 * all * all + two * two) * (all * all + two * two + one * one));
	assert_in_range(similarity_set_alike(s, 0, 2), (int64_t)(want * 1e6) - 500, (int64_t)(want * 1e6) + 500);
	assert_int_equal(similarity_set_alike(s, 0, 2), similarity_set_alike(s, 2, 0));
	want = 2 * all * all / sqrt((4 * all * all + two * two) * (all * all + one * one));
	assert_in_range(similarity_set_alike(s, 0, 1), (int64_t)(want * 1e6) - 500, (int64_t)(want * 1e6) + 500);
	for (i = 0; i < 3; i++)
		assert_int_equal(similarity_set_alike(s, i, i), 1000000);
	arena_free(a);
}

static int64_t alike_by(enum similarity_measure how, const char *x, const char *y)
{
	struct arena *a = arena_new(0);
	struct similarity_memo *m = similarity_memo_new(a);
	struct similarity_set *s = similarity_set_new(a, how, 2);
	int64_t alike;

	(void)similarity_set_add(s, similarity_memo_vector(m, str_of(x)));
	(void)similarity_set_add(s, similarity_memo_vector(m, str_of(y)));
	alike = similarity_alike(how, similarity_memo_vector(m, str_of(x)), similarity_memo_vector(m, str_of(y)));
	assert_ptr_equal(similarity_memo_vector(m, str_of(x)), similarity_memo_vector(m, str_of(x)));
	assert_true(llabs(alike - similarity_set_alike(s, 0, 1)) <= 1);
	arena_free(a);
	return alike;
}

/* Two texts alone: a set of two, and the short way to it. */
static void test_two(void **state)
{
	double one = log(3.0 / 2) + 1, want = 3 / sqrt(3 * (3 + one * one));

	(void)state;
	assert_int_equal(alike_by(SIMILARITY_COUNTS, "use redis cache", "use redis session cache"), 866025);
	assert_in_range(alike_by(SIMILARITY_TFIDF, "use redis cache", "use redis session cache"),
			(int64_t)(want * 1e6) - 500, (int64_t)(want * 1e6) + 500);
	assert_int_equal(alike_by(SIMILARITY_TFIDF, "", ""), 1000000);
	assert_int_equal(alike_by(SIMILARITY_TFIDF, "", "redis"), 0);
	assert_int_equal(alike_by(SIMILARITY_TFIDF, "the and of", "of the"), 1000000);
	assert_int_equal(alike_by(SIMILARITY_TFIDF, "Redis cache", "redis, CACHE!"), 1000000);
}

/*
 * What the bounds of engine 4 go by: three drafts on one question, of which the first two give the same answer, and
 * what becomes of the first.
 */
#define DRAFT                                                                                                         \
	"The team already runs PostgreSQL, and its write-ahead log gives durable ordered writes. Partitioning by "    \
	"month keeps indexes small, and a table with a sequence per stream gives optimistic concurrency. At 2,000 "   \
	"events a second one node is far from its limit. Backups, monitoring and skills exist. The main risk is the " \
	"growth of the table; archive partitions older than a year to object storage."

static void test_drafts(void **state)
{
	static const char *const texts[] = {
	    DRAFT,
	    "Operational simplicity decides: nobody here has run Kafka in production, whereas PostgreSQL has been on "
	    "call for years without trouble. An append-only table, a unique constraint on stream and version, and "
	    "logical replication for consumers cover what we need. Throughput of some thousand inserts per second was "
	    "measured in staging. If consumers multiply, add an outbox relay later.",
	    "The event volume will double every year and several consumers must read independently at their own pace. "
	    "Kafka keeps an ordered log per partition with retention by size, and replays are natural. A relational "
	    "table becomes a bottleneck when ten consumers poll it. Managed offerings remove most of the operational "
	    "burden; budget about 900 dollars a month. The main risk is that the team has to learn it.",
	    DRAFT " A test in staging reached 11,000. Polling by many consumers is met by logical replication.",
	    "The critique about polling is right: ten consumers on one table would fight for the same pages. A relay "
	    "that reads the replication slot and fans out to subscribers removes that. What remains is ordering within "
	    "one stream, which a unique key on stream and version guarantees. Costs stay below those of a managed "
	    "broker, and nobody has to learn a new system this quarter."};
	struct arena *a = arena_new(0);
	struct similarity_set *s = similarity_set_new(a, SIMILARITY_TFIDF, countof(texts));
	size_t i;

	(void)state;
	for (i = 0; i < countof(texts); i++)
		(void)similarity_set_add(s, similarity_vector(a, str_of(texts[i])));
	assert_in_range(similarity_set_alike(s, 0, 1), 1, 250000);      /* of one answer ... */
	assert_in_range(similarity_set_alike(s, 0, 2), 1, 250000);      /* ... and of two */
	assert_in_range(similarity_set_alike(s, 0, 3), 800000, 950000); /* a slight revision: stable, nothing new */
	assert_in_range(similarity_set_alike(s, 0, 4), 1, 250000);      /* written anew */
	arena_free(a);
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
	struct similarity_set *s;
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
	s = similarity_set_new(a, SIMILARITY_TFIDF, countof(v));
	for (i = 0; i < countof(v); i++)
		(void)similarity_set_add(s, v[i]);
	for (i = 0; i < countof(v); i++)
		for (k = 0; k < countof(v); k++)
			assert_in_range(similarity_set_alike(s, i, k), i == k ? 1000000 : 0, 1000000);
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
	    cmocka_unit_test(test_other_answer), cmocka_unit_test(test_tfidf),   cmocka_unit_test(test_two),
	    cmocka_unit_test(test_drafts),       cmocka_unit_test(test_cap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
