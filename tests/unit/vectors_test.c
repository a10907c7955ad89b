/* SPDX-License-Identifier: MIT */
/*
 * Vectors as they are stored: numbers of 16 bits in base64.
 */
#include "worker/search/vectors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define DIM 257 /* its bytes are no multiple of three, which base64 likes */

static void test_there_and_back(void **state)
{
	struct arena *a = arena_new(0);
	float x[DIM], *y;
	size_t i;

	(void)state;
	for (i = 0; i < DIM; i++)
		x[i] = (float)sin((double)i * (double)i);
	x[0] = 1.0F;
	x[1] = -1.0F;
	x[2] = 0.0F;
	assert_true(vectors_unpack(a, vectors_pack(a, x, DIM), DIM, &y));
	for (i = 0; i < DIM; i++)
		assert_true(fabs((double)x[i] - (double)y[i]) <= 0.5 / 32767.0 + 1e-7);
	assert_true(y[0] == 1.0F && y[1] == -1.0F && y[2] == 0.0F);
	arena_free(a);
}

static void test_what_is_none(void **state)
{
	struct arena *a = arena_new(0);
	const float x[] = {0.6F, 0.8F};
	struct str text = vectors_pack(a, x, 2);
	float *y;

	(void)state;
	assert_true(vectors_unpack(a, text, 2, &y));
	assert_false(vectors_unpack(a, text, 1, &y)); /* of another length than the row says */
	assert_false(vectors_unpack(a, text, 3, &y));
	assert_false(vectors_unpack(a, STR(""), 2, &y));
	assert_false(vectors_unpack(a, STR("none"), 2, &y));
	assert_false(vectors_unpack(a, STR("!!!!!!"), 2, &y));
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_there_and_back),
	    cmocka_unit_test(test_what_is_none),
	};

	return cmocka_run_group_tests_name("vectors", tests, NULL, NULL);
}
