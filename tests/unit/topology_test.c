/* SPDX-License-Identifier: MIT */
/*
 * Critic pairs: never oneself, everybody equally often, the same for the same seed and whatever the plan's order.
 */
#include "worker/engine/topology.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define PAIRS (10 * 9)

static const struct str names[] = {{"ada", 3}, {"bob", 3}, {"cyd", 3}, {"dan", 3}, {"eve", 3},
				   {"fay", 3}, {"gus", 3}, {"hal", 3}, {"ivy", 3}, {"joy", 3}};

static void test_fair(void **state)
{
	struct topology_pair pairs[PAIRS];
	size_t n, i, k, count, per;

	(void)state;
	for (n = 2; n <= countof(names); n++) {
		size_t gives[10] = {0}, takes[10] = {0};

		per = n <= TOPOLOGY_ALL_UP_TO ? n - 1 : 2;
		count = topology_pairs(topology_adapt(TOPOLOGY_AUTO, STR(""), n), names, n,
				       &(struct topology_draw){7, 1, 500000}, pairs);
		assert_int_equal(count, n * per);
		for (i = 0; i < count; i++) {
			assert_int_not_equal(pairs[i].critic, pairs[i].target);
			gives[pairs[i].critic]++;
			takes[pairs[i].target]++;
			for (k = 0; k < i; k++)
				assert_false(pairs[k].critic == pairs[i].critic && pairs[k].target == pairs[i].target);
			assert_true(i == 0 || pairs[i].target >= pairs[i - 1].target);
		}
		for (i = 0; i < n; i++) {
			assert_int_equal(gives[i], per);
			assert_int_equal(takes[i], per);
		}
	}
	assert_int_equal(topology_pairs(TOPOLOGY_RING, names, 1, &(struct topology_draw){7, 1, 500000}, pairs), 0);
	assert_int_equal(topology_pairs(TOPOLOGY_RING, names, 0, &(struct topology_draw){7, 1, 500000}, pairs), 0);
}

static bool has_pair(const struct topology_pair *pairs, size_t n, const struct str *of, const char *critic,
		     const char *target)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (str_eqz(of[pairs[i].critic], critic) && str_eqz(of[pairs[i].target], target))
			return true;
	return false;
}

static void test_deterministic(void **state)
{
	struct topology_pair a[PAIRS], b[PAIRS];
	struct str turned[6];
	size_t i, n;
	bool differs = false;

	(void)state;
	n = topology_pairs(TOPOLOGY_RING, names, 6, &(struct topology_draw){99, 2, 500000}, a);
	for (i = 0; i < 6; i++)
		turned[i] = names[5 - i];
	assert_int_equal(topology_pairs(TOPOLOGY_RING, turned, 6, &(struct topology_draw){99, 2, 500000}, b), n);
	for (i = 0; i < n; i++)
		assert_true(has_pair(b, n, turned, names[a[i].critic].p, names[a[i].target].p));
	for (i = 1; i < 20 && !differs; i++) {
		(void)topology_pairs(TOPOLOGY_RING, names, 6, &(struct topology_draw){99 + i, 2, 500000}, b);
		differs = memcmp(a, b, n * sizeof(*a)) != 0;
	}
	assert_true(differs);
}

/* How often each is criticised; a star's top by all, the others by the top alone. */
static void test_kinds(void **state)
{
	static const struct {
		enum topology kind;
		size_t per[2]; /* of 2, of 7 */
	} cases[] = {
	    {TOPOLOGY_ALL, {1, 6}}, {TOPOLOGY_RING, {1, 2}}, {TOPOLOGY_ROUND_ROBIN, {1, 1}}, {TOPOLOGY_SPARSE, {1, 3}}};
	struct topology_pair pairs[PAIRS];
	size_t i, k, takes[7], top = 0, count;
	enum topology kind;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		assert_int_equal(topology_pairs(cases[i].kind, names, 2, &(struct topology_draw){7, 1, 500000}, pairs),
				 2 * cases[i].per[0]);
		assert_int_equal(topology_pairs(cases[i].kind, names, 7, &(struct topology_draw){7, 1, 500000}, pairs),
				 7 * cases[i].per[1]);
		memset(takes, 0, sizeof(takes));
		for (k = 0; k < 7 * cases[i].per[1]; k++)
			takes[pairs[k].target]++;
		for (k = 0; k < 7; k++)
			assert_int_equal(takes[k], cases[i].per[1]);
		assert_true(topology_find(str_of(topology_name(cases[i].kind)), &kind) && kind == cases[i].kind);
	}
	count = topology_pairs(TOPOLOGY_STAR, names, 7, &(struct topology_draw){7, 1, 500000}, pairs);
	assert_int_equal(count, 12);
	memset(takes, 0, sizeof(takes));
	for (k = 0; k < count; k++)
		takes[pairs[k].target]++;
	for (k = 0; k < 7; k++) {
		assert_true(takes[k] == 1 || takes[k] == 6);
		top += takes[k] == 6;
	}
	assert_int_equal(top, 1);
	assert_int_equal(topology_adapt(TOPOLOGY_ADAPTIVE, STR(""), 3), TOPOLOGY_ALL);
	assert_int_equal(topology_adapt(TOPOLOGY_ADAPTIVE, STR("diverging"), 3), TOPOLOGY_ALL);
	assert_int_equal(topology_adapt(TOPOLOGY_ADAPTIVE, STR("refining"), 3), TOPOLOGY_RING);
	assert_int_equal(topology_adapt(TOPOLOGY_ADAPTIVE, STR("converged"), 3), TOPOLOGY_ROUND_ROBIN);
	assert_false(topology_find(STR("pyramid"), &kind));
}

static void test_shuffle(void **state)
{
	size_t order[5], again[5], first[5] = {0}, i, k;

	(void)state;
	for (k = 0; k < 5000; k++) {
		size_t seen = 0;

		topology_shuffle(k, STR("ada"), "vote", 3, order, 5);
		topology_shuffle(k, STR("ada"), "vote", 3, again, 5);
		assert_memory_equal(order, again, sizeof(order));
		for (i = 0; i < 5; i++)
			seen |= (size_t)1 << order[i];
		assert_int_equal(seen, 31);
		first[order[0]]++;
	}
	for (i = 0; i < 5; i++) /* nobody stands first much more often */
		assert_in_range(first[i], 850, 1150);
	topology_shuffle(1, STR("ada"), "vote", 3, order, 5);
	topology_shuffle(1, STR("bob"), "vote", 3, again, 5);
	assert_memory_not_equal(order, again, sizeof(order));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_fair),
	    cmocka_unit_test(test_deterministic),
	    cmocka_unit_test(test_kinds),
	    cmocka_unit_test(test_shuffle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
