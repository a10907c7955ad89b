/* SPDX-License-Identifier: MIT */
/*
 * The ring of recent notes: the newest are kept, the oldest go, and what writers that race leave is whole or nothing.
 */
#include "common/recent.h"

#include <setjmp.h>
#include <stdarg.h>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct recent *ring_new(void)
{
	struct recent *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(r != MAP_FAILED);
	return r;
}

static void test_newest_are_kept(void **state)
{
	struct recent *r = ring_new();
	char text[RECENT_TEXT], out[RECENT_TEXT];
	unsigned i;

	(void)state;
	assert_false(recent_get(r, 0, out));
	assert_false(recent_get(r, 1, out));
	for (i = 1; i <= RECENT_NOTES + 10; i++) {
		snprintf(text, sizeof(text), "note %u%s", i, i % 2 ? " is longer than others" : "");
		assert_true(recent_add(r, str_of(text)));
	}
	assert_int_equal(recent_count(r), RECENT_NOTES + 10);
	assert_false(recent_get(r, 10, out));
	assert_true(recent_get(r, 12, out));
	assert_string_equal(out, "note 12");
	assert_true(recent_get(r, 11, out));
	assert_string_equal(out, "note 11 is longer than others");
	assert_true(recent_get(r, RECENT_NOTES + 10, out));
	munmap(r, sizeof(*r));
}

static void test_too_long_is_not_added(void **state)
{
	struct recent *r = ring_new();
	char text[RECENT_TEXT + 1], out[RECENT_TEXT];

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_false(recent_add(r, (struct str){text, RECENT_TEXT}));
	assert_int_equal(recent_count(r), 0);
	assert_true(recent_add(r, (struct str){text, RECENT_TEXT - 1}));
	assert_true(recent_get(r, 1, out));
	assert_int_equal(strlen(out), RECENT_TEXT - 1);
	munmap(r, sizeof(*r));
}

/* Each note is one letter many times: a mixture would show. Writers never lap each other by a whole ring here. */
static void test_racing_writers(void **state)
{
	enum { WRITERS = 4, EACH = 40 };
	struct recent *r = ring_new();
	char text[900], out[RECENT_TEXT];
	unsigned i, k;

	(void)state;
	for (i = 0; i < WRITERS; i++) {
		pid_t pid = fork();

		assert_int_not_equal(pid, -1);
		if (pid != 0)
			continue;
		memset(text, 'a' + (int)i, sizeof(text));
		for (k = 0; k < EACH; k++)
			recent_add(r, (struct str){text, sizeof(text) - k});
		_exit(0);
	}
	for (i = 0; i < WRITERS; i++)
		assert_true(wait(NULL) > 0);
	assert_int_equal(recent_count(r), WRITERS * EACH);
	for (i = 1; i <= WRITERS * EACH; i++) {
		assert_true(recent_get(r, i, out));
		assert_true(strlen(out) > sizeof(text) - EACH);
		assert_int_equal(strspn(out, (char[]){out[0], '\0'}), strlen(out));
	}
	munmap(r, sizeof(*r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_newest_are_kept),
	    cmocka_unit_test(test_too_long_is_not_added),
	    cmocka_unit_test(test_racing_writers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
