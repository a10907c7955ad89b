/* SPDX-License-Identifier: MIT */
/*
 * The loop: turns, deferred work, posts from other threads, timers.
 * Built and run by `make unit`. Coroutines have a test of their own.
 */
#include "common/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/str.h"

/* Text as the argument of a callback, which takes a pointer to anything. */
#define TEXT(literal) ((void *)(uintptr_t)("" literal))

static struct loop *loop;
static struct buf trace;

static int set_up(void **state)
{
	(void)state;
	trace = BUF_INIT;
	loop = loop_new();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	loop_free(loop);
	buf_free(&trace);
	return 0;
}

static void deferred(void *arg)
{
	buf_printf(&trace, "%s ", (const char *)arg);
}

static void defer_more(void *arg)
{
	deferred(arg);
	loop_defer(loop, deferred, TEXT("third"));
}

static void test_deferred_work_runs_in_order_in_the_turn(void **state)
{
	(void)state;
	loop_defer(loop, defer_more, TEXT("first"));
	loop_defer(loop, deferred, TEXT("second"));
	loop_turn(loop, true);
	assert_string_equal(trace.p, "first second third ");
}

static void defer_again(void *arg)
{
	bool *going = arg;

	if (*going)
		loop_defer(loop, defer_again, arg);
}

static void test_endless_deferral_does_not_stop_the_loop(void **state)
{
	bool going = true;
	uint64_t before = loop_turns(loop);

	(void)state;
	loop_defer(loop, defer_again, &going);
	loop_turn(loop, true);
	loop_turn(loop, true);
	assert_int_equal(loop_turns(loop), before + 2);
	going = false;
	loop_turn(loop, true);
}

static void count_up(void *arg)
{
	unsigned *count = arg;

	(*count)++;
}

static void stop_loop(void *arg)
{
	loop_stop(arg);
}

static void *post_from_thread(void *arg)
{
	unsigned *count = arg;

	for (int i = 0; i < 1000; i++)
		loop_post(loop, count_up, count);
	loop_post(loop, stop_loop, loop);
	return NULL;
}

static void test_post_wakes_a_blocked_loop(void **state)
{
	pthread_t id;
	unsigned count = 0;

	(void)state;
	assert_int_equal(pthread_create(&id, NULL, post_from_thread, &count), 0);
	loop_run(loop);
	pthread_join(id, NULL);
	assert_int_equal(count, 1000);
}

static unsigned fired;

static void on_timer(void *arg)
{
	int64_t *at = arg;

	*at = clock_mono_us();
	fired++;
}

static void test_timers(void **state)
{
	struct loop_timer a;
	struct loop_timer b;
	struct loop_timer never;
	int64_t at[3] = {0, 0, 0};
	int64_t start;

	(void)state;
	fired = 0;
	loop_timer_init(loop, &a, on_timer, &at[0]);
	loop_timer_init(loop, &b, on_timer, &at[1]);
	loop_timer_init(loop, &never, on_timer, &at[2]);
	start = clock_mono_us();
	loop_timer_set(&a, 1);
	loop_timer_set(&a, 7300);
	loop_timer_set(&b, 3100);
	loop_timer_set(&never, 1000);
	loop_timer_stop(&never);
	while (fired < 2)
		loop_turn(loop, true);
	assert_true(at[0] - start >= 7300);
	assert_true(at[1] - start >= 3100);
	assert_int_equal(at[2], 0);
}

static void test_free_runs_what_is_left(void **state)
{
	struct loop *other = loop_new();
	unsigned count = 0;

	(void)state;
	loop_defer(other, count_up, &count);
	loop_post(other, count_up, &count);
	loop_free(other);
	assert_int_equal(count, 2);
}

static void test_stop_before_run_returns(void **state)
{
	(void)state;
	loop_stop(loop);
	loop_run(loop);
	assert_int_equal(loop_turns(loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	    T(test_deferred_work_runs_in_order_in_the_turn),
	    T(test_endless_deferral_does_not_stop_the_loop),
	    T(test_post_wakes_a_blocked_loop),
	    T(test_timers),
	    T(test_free_runs_what_is_left),
	    T(test_stop_before_run_returns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
