/* SPDX-License-Identifier: MIT */
/*
 * What of the found background reaches a debate: the best first, within a count and a number of bytes, always in the
 * same order.
 */
#include "worker/debate/background.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct background_item item(const char *source, const char *id, const char *text, int64_t score)
{
	return (struct background_item){
	    .source = str_of(source), .id = str_of(id), .title = STR("t"), .text = str_of(text), .score_ppm = score};
}

static void test_order(void **state)
{
	struct background_item v[] = {item("knowledge", "b", "x", 500000), item("consensus", "d#1", "x", 700000),
				      item("consensus", "d", "x", 700000), item("continuum", "z", "x", 500000),
				      item("knowledge", "a", "x", 900000)};

	(void)state;
	assert_int_equal(background_choose(v, 5, 10, 1000), 5);
	assert_true(str_eqz(v[0].id, "a"));
	assert_true(str_eqz(v[1].id, "d"));
	assert_true(str_eqz(v[2].id, "d#1")); /* a dissent directly behind its decision */
	assert_true(str_eqz(v[3].id, "z"));   /* equal scores: by source */
	assert_true(str_eqz(v[4].id, "b"));
	assert_int_equal(background_choose(v, 5, 2, 1000), 2);
	assert_int_equal(background_choose(v, 5, 0, 1000), 0);
	assert_int_equal(background_choose(NULL, 0, 5, 1000), 0);
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
	assert_int_equal(background_choose(v, 4, 10, 100), 2);
	assert_true(str_eqz(v[0].id, "small"));
	assert_int_equal(v[0].text.n, 5);
	assert_true(str_eqz(v[1].id, "tiny"));
	v[0] = item("consensus", "big", "", 900000);
	v[0].text = (struct str){big, sizeof(big)};
	assert_int_equal(background_choose(v, 1, 10, BACKGROUND_TEXT_MAX + 1), 1);
	assert_int_equal(v[0].text.n, BACKGROUND_TEXT_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_bytes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
