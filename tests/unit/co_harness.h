/* SPDX-License-Identifier: MIT */
/*
 * One loop with coroutines, turned by hand on the test's thread, and a trace in which coroutines write what they saw:
 * assertions run on the loop's stack. Included by tests of what works on coroutines; each file takes what it needs.
 */
#ifndef TESTS_UNIT_CO_HARNESS_H
#define TESTS_UNIT_CO_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/co.h"
#include "common/loop.h"

static struct loop *loop;
__attribute__((unused)) static struct buf trace;

/* Text as the argument of a coroutine, which takes a pointer to anything. */
#define TEXT(literal) ((void *)(uintptr_t)("" literal))

__attribute__((unused)) static const char *const end_names[] = {
    [CO_DONE] = "done", [CO_TIMEOUT] = "timeout", [CO_ENDED] = "ended"};

static inline void loop_begin(void)
{
	loop = loop_new();
	co_init(loop, 0, 0);
}

static inline void loop_end(void)
{
	co_shutdown();
	loop_free(loop);
}

/* For cmocka: a loop and an empty trace. */
static inline int set_up_trace(void **state)
{
	(void)state;
	trace = BUF_INIT;
	loop_begin();
	return 0;
}

static inline int tear_down_trace(void **state)
{
	(void)state;
	loop_end();
	buf_free(&trace);
	return 0;
}

static inline void spawn(void (*fn)(void *arg), void *arg)
{
	struct co *c = co_spawn("test", fn, arg);

	assert_non_null(c);
}

/* Turns the loop until no coroutine is left. */
static inline void run_all(void)
{
	while (co_count() > 0)
		loop_turn(loop, true);
}

static inline void assert_trace(const char *expected)
{
	assert_string_equal(trace.p == NULL ? "" : trace.p, expected);
}

static inline void note(const char *what)
{
	buf_printf(&trace, "%s ", what);
}

static inline void note_end(const char *who, enum co_end end)
{
	buf_printf(&trace, "%s=%s ", who, end_names[end]);
}

#endif
