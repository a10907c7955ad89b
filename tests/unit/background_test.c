/* SPDX-License-Identifier: MIT */
/*
 * What of the found background reaches a debate: the best first, within a count and a number of bytes, always in the
 * same order.
 */
#include "worker/runner/background.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct arena *arena;

static struct background_item item(const char *source, const char *id, const char *text, int64_t score)
{
	return (struct background_item){
	    .source = str_of(source), .id = str_of(id), .title = str_of(id), .text = str_of(text), .score_ppm = score};
}

static void test_order(void **state)
{
	struct background_item v[] = {
	    item("knowledge", "b", "buses run late", 500000), item("consensus", "d#1", "trains cost more", 700000),
	    item("consensus", "d", "ships carry most", 700000), item("continuum", "z", "planes fly empty", 500000),
	    item("knowledge", "a", "roads fill quickly", 900000)};

	(void)state;
	assert_int_equal(background_choose(arena, v, 5, 10, 1000), 5);
	assert_true(str_eqz(v[0].id, "a"));
	assert_true(str_eqz(v[1].id, "d"));
	assert_true(str_eqz(v[2].id, "d#1")); /* a dissent directly behind its decision */
	assert_true(str_eqz(v[3].id, "z"));   /* equal scores: by source */
	assert_true(str_eqz(v[4].id, "b"));
	assert_int_equal(background_choose(arena, v, 5, 2, 1000), 2);
	assert_int_equal(background_choose(arena, v, 5, 0, 1000), 0);
	assert_int_equal(background_choose(arena, NULL, 0, 5, 1000), 0);
}

/* What does not fit is passed over; what has no text is nothing. */
static void test_bytes(void **state)
{
	char big[BACKGROUND_TEXT_MAX + 100];
	struct background_item v[4];

	(void)state;
	memset(big, 'y', sizeof(big));
	v[0] = item("consensus", "big", "", 900000);
	v[0].text = (struct str){big, sizeof(big)};
	v[1] = item("consensus", "none", "  \n", 800000);
	v[2] = item("consensus", "small", " 12345 ", 700000);
	v[3] = item("consensus", "tiny", "1", 600000);
	assert_int_equal(background_choose(arena, v, 4, 10, 100), 2);
	assert_true(str_eqz(v[0].id, "small"));
	assert_int_equal(v[0].text.n, 5);
	assert_true(str_eqz(v[1].id, "tiny"));
	v[0] = item("consensus", "big", "", 900000);
	v[0].text = (struct str){big, sizeof(big)};
	assert_int_equal(background_choose(arena, v, 1, 10, BACKGROUND_TEXT_MAX + 3), 1);
	assert_int_equal(v[0].text.n, BACKGROUND_TEXT_MAX);
}

/* One debate, known to two sources in other words. */
static void test_same(void **state)
{
	struct background_item v[] = {
	    item("consensus", "d", "Decided (strong): take the night train to Vienna, it saves a hotel", 700000),
	    item("knowledge", "k", "Take the night train to Vienna, it saves a hotel", 600000),
	    item("knowledge", "o", "The hotel in Vienna has no breakfast", 500000)};

	(void)state;
	assert_int_equal(background_choose(arena, v, 3, 10, 1000), 2);
	assert_true(str_eqz(v[0].id, "d"));
	assert_true(str_eqz(v[1].id, "o"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_bytes),
					   cmocka_unit_test(test_same)};
	int failed;

	arena = arena_new(0);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	arena_free(arena);
	return failed;
}
