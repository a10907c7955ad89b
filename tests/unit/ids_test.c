/* SPDX-License-Identifier: MIT */
/*
 * Tests of common/ids.c: shape and order of UUIDs, also between threads, hex, uniform numbers.
 */
#include "common/ids.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clock.h"

#define MANY 20000
#define THREADS 4

static char ids[THREADS][MANY / THREADS][UUID_LEN + 1];

static void test_uuid_shape(void **state)
{
	int64_t before = clock_wall_ms(), stamp;
	char id[UUID_LEN + 1], digits[13];

	(void)state;
	ids_uuid7(id);
	assert_int_equal(strlen(id), UUID_LEN);
	for (size_t i = 0; i < UUID_LEN; i++) {
		if (i == 8 || i == 13 || i == 18 || i == 23)
			assert_int_equal(id[i], '-');
		else
			assert_non_null(strchr("0123456789abcdef", id[i]));
	}
	assert_int_equal(id[14], '7');
	assert_non_null(strchr("89ab", id[19]));
	memcpy(digits, id, 8);
	memcpy(digits + 8, id + 9, 4);
	digits[12] = '\0';
	stamp = (int64_t)strtoll(digits, NULL, 16);
	assert_true(stamp >= before && stamp <= clock_wall_ms());
}

static void test_uuid_order(void **state)
{
	char last[UUID_LEN + 1] = "", id[UUID_LEN + 1];

	(void)state;
	/* More than the 4096 that the counter of one millisecond can hold, many times over. */
	for (int i = 0; i < 5 * MANY; i++) {
		ids_uuid7(id);
		assert_true(strcmp(id, last) > 0);
		memcpy(last, id, sizeof(last));
	}
}

static void *make_ids(void *arg)
{
	char(*out)[UUID_LEN + 1] = arg;

	for (size_t i = 0; i < MANY / THREADS; i++)
		ids_uuid7(out[i]);
	return NULL;
}

static int compare_ids(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void test_uuid_threads(void **state)
{
	pthread_t threads[THREADS];
	char(*all)[UUID_LEN + 1] = ids[0];

	(void)state;
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, make_ids, ids[i]), 0);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	qsort(all, MANY, UUID_LEN + 1, compare_ids);
	/* Time and counter alone (the first 18 characters) already differ. */
	for (size_t i = 1; i < MANY; i++)
		assert_true(strncmp(all[i - 1], all[i], 18) < 0);
}

static void test_hex(void **state)
{
	char a[65], b[65];
	char one[3] = "zz", none[1] = "x";

	(void)state;
	memset(a, 'z', sizeof(a));
	ids_hex(a, 32);
	ids_hex(b, 32);
	assert_int_equal(strlen(a), 64);
	assert_int_equal(strspn(a, "0123456789abcdef"), 64);
	assert_string_not_equal(a, b);
	ids_hex(one, 1);
	assert_int_equal(strspn(one, "0123456789abcdef"), 2);
	ids_hex(none, 0);
	assert_int_equal(none[0], '\0');
}

static void test_uniform(void **state)
{
	unsigned seen[5] = {0};

	(void)state;
	for (int i = 0; i < 5000; i++) {
		uint32_t value = ids_uniform(5);

		assert_true(value < 5);
		seen[value]++;
	}
	/* 1000 expected, standard deviation 28: ten of them are never reached by a uniform source. */
	for (size_t i = 0; i < countof(seen); i++)
		assert_in_range(seen[i], 720, 1280);
	assert_int_equal(ids_uniform(1), 0);
	(void)ids_uniform(UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_uuid_shape), cmocka_unit_test(test_uuid_order), cmocka_unit_test(test_uuid_threads),
	    cmocka_unit_test(test_hex),        cmocka_unit_test(test_uniform),
	};

	return cmocka_run_group_tests_name("ids", tests, NULL, NULL);
}
