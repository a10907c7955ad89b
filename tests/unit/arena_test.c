/* SPDX-License-Identifier: MIT */
/*
 * Tests of common/arena.c and common/rbuf.c: alignment, growth, order of clean-ups, reuse, counts.
 */
#include "common/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/rbuf.h"

static char order[16];
static struct arena *arena_of_cleanup;

static void note(void *ptr)
{
	size_t n = strlen(order);

	order[n] = *(const char *)ptr;
	order[n + 1] = '\0';
}

static void note_and_allocate(void *ptr)
{
	memset(arena_alloc(arena_of_cleanup, 10000), 1, 10000);
	note(ptr);
}

static void test_alloc(void **state)
{
	struct arena *a = arena_new(64);
	unsigned char *objects[500];
	size_t total = 0;

	(void)state;
	for (size_t i = 0; i < countof(objects); i++) {
		size_t n = i * 37 % 3000;

		objects[i] = arena_alloc(a, n);
		assert_int_equal((uintptr_t)objects[i] % _Alignof(max_align_t), 0);
		memset(objects[i], (int)(i & 0xff), n);
		total += n;
	}
	assert_int_equal(arena_used(a), total);
	/* No object has written into another. */
	for (size_t i = 0; i < countof(objects); i++) {
		for (size_t at = 0; at < i * 37 % 3000; at++)
			assert_int_equal(objects[i][at], i & 0xff);
	}
	arena_reset(a);
	assert_int_equal(arena_used(a), 0);
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(((unsigned char *)arena_zalloc(a, 64))[i], 0);
	assert_null(arena_try_alloc(a, SIZE_MAX));
	assert_null(arena_try_alloc(a, SIZE_MAX - 64));
	arena_free(a);
	arena_free(NULL);
}

static void test_strings(void **state)
{
	struct arena *a = arena_new(0);
	char longer[1000];
	struct str s;

	(void)state;
	s = arena_str(a, STR("a\0b"));
	assert_int_equal(s.n, 3);
	assert_memory_equal(s.p, "a\0b", 4);
	assert_int_equal(arena_str(a, STR_NONE).p[0], '\0');
	assert_string_equal(arena_strdup(a, "word"), "word");
	memset(longer, 'y', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	s = arena_printf(a, "<%s>", longer);
	assert_int_equal(s.n, sizeof(longer) + 1);
	assert_int_equal(s.p[s.n - 1], '>');
	assert_int_equal(s.p[s.n], '\0');
	s = arena_printf(a, "%d", 12);
	assert_string_equal(s.p, "12");
	arena_free(a);
}

static void test_cleanups(void **state)
{
	struct arena *a = arena_new(0);

	(void)state;
	arena_of_cleanup = a;
	arena_defer(a, note, arena_strdup(a, "1"));
	arena_defer(a, note_and_allocate, arena_strdup(a, "2"));
	arena_defer(a, note, arena_strdup(a, "3"));
	arena_reset(a);
	assert_string_equal(order, "321");
	arena_reset(a);
	assert_string_equal(order, "321");
	arena_defer(a, note, arena_strdup(a, "4"));
	arena_free(a);
	assert_string_equal(order, "3214");
}

static void test_rbuf(void **state)
{
	struct rbuf *r = rbuf_of(STR("frame"));

	(void)state;
	assert_non_null(r);
	assert_ptr_equal(rbuf_ref(r), r);
	assert_int_equal(r->refs, 2);
	rbuf_unref(r);
	assert_int_equal(r->n, 5);
	assert_memory_equal(r->data, "frame", 5);
	rbuf_unref(r);
	rbuf_unref(NULL);
	assert_null(rbuf_new(SIZE_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_alloc),
	    cmocka_unit_test(test_strings),
	    cmocka_unit_test(test_cleanups),
	    cmocka_unit_test(test_rbuf),
	};

	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
