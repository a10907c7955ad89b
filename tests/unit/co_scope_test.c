/* SPDX-License-Identifier: MIT */
/*
 * What bounds a wait: scopes, shields, groups, locks. Coroutines write what they saw into a trace; assertions run on
 * the loop's stack. Built and run by `make unit`.
 */
#include "tests/unit/co_harness.h"

#include "common/clock.h"

/* -- scopes ------------------------------------------------------------------------------------------------------ */

static struct co_scope shared;
static struct co *waiter;

static void note_ended_by(const char *who, enum co_end end)
{
	const struct co_scope *s = co_ended_by();

	buf_printf(&trace, "%s=%s/%d ", who, end_names[end], s == NULL ? -1 : (int)s->kind);
}

static void two_deadlines(void *arg)
{
	int64_t now = clock_mono_us();
	struct co_scope debate = {.kind = SCOPE_DEBATE, .deadline = now + 15 * MS_US};
	struct co_scope agent = {.kind = SCOPE_AGENT, .deadline = now + 5 * MS_US};
	enum co_end end;

	(void)arg;
	co_scope_enter(&debate);
	co_scope_enter(&agent);
	end = co_wait(now + SEC_US);
	note_ended_by("inner", end);
	note_ended_by("again", co_wait(0));
	co_scope_leave(&agent);
	end = co_wait(now + SEC_US);
	note_ended_by("outer", end);
	note_ended_by("yield", co_yield ());
	co_scope_leave(&debate);
	note_ended_by("free", co_sleep(1));
}

static void test_innermost_scope_deadline(void **state)
{
	char expected[128];

	(void)state;
	spawn(two_deadlines, NULL);
	run_all();
	snprintf(expected, sizeof(expected),
		 "inner=ended/%d again=ended/%d outer=ended/%d yield=ended/%d free=timeout/-1 ", SCOPE_AGENT,
		 SCOPE_AGENT, SCOPE_DEBATE, SCOPE_DEBATE);
	assert_trace(expected);
}

static void inheritor(void *arg)
{
	struct co_scope own = {.kind = SCOPE_CALL};
	enum co_end end;

	co_scope_enter(&own);
	end = co_wait(0);
	note_ended_by(arg, end);
	co_scope_leave(&own);
}

static void enter_and_spawn(void *arg)
{
	struct co_scope call = {.kind = SCOPE_CALL};

	(void)arg;
	shared = (struct co_scope){.kind = SCOPE_REQUEST};
	co_scope_enter(&shared);
	spawn(inheritor, TEXT("child"));
	co_scope_enter(&call);
	note_ended_by("self", co_wait(0));
	co_scope_leave(&call);
	co_scope_leave(&shared);
}

static void test_cancel_reaches_nested_and_children(void **state)
{
	char expected[64];

	(void)state;
	spawn(enter_and_spawn, NULL);
	loop_turn(loop, false);
	loop_turn(loop, false);
	assert_trace("");
	co_scope_cancel(&shared, "client left");
	assert_string_equal(shared.why, "client left");
	run_all();
	snprintf(expected, sizeof(expected), "child=ended/%d self=ended/%d ", SCOPE_REQUEST, SCOPE_REQUEST);
	if (strstr(trace.p, "child=") != trace.p)
		snprintf(expected, sizeof(expected), "self=ended/%d child=ended/%d ", SCOPE_REQUEST, SCOPE_REQUEST);
	assert_trace(expected);
}

static void outlives(void *arg)
{
	note_ended_by("first", co_wait(0));
	(void)arg;
}

static void leave_before_child(void *arg)
{
	const bool *cancel = arg;
	struct co_scope outer = {.kind = SCOPE_REQUEST};
	struct co_scope inner = {.kind = SCOPE_CALL, .deadline = clock_mono_us() + 200 * MS_US};

	co_scope_enter(&outer);
	co_scope_enter(&inner);
	spawn(outlives, NULL);
	(void)co_yield ();
	(void)co_yield ();
	if (*cancel)
		co_scope_cancel(&inner, "test");
	co_scope_leave(&inner);
	memset(&inner, 0xff, sizeof(inner));
	/* The child has lost the inner scope with its deadline, but hangs in the outer one. */
	(void)co_sleep(250 * MS_US);
	note("outer");
	co_scope_cancel(&outer, "test");
	co_scope_leave(&outer);
	memset(&outer, 0xff, sizeof(outer));
}

static void test_child_moves_to_the_scope_around(void **state)
{
	char expected[64];
	bool cancel = false;

	(void)state;
	spawn(leave_before_child, &cancel);
	run_all();
	snprintf(expected, sizeof(expected), "outer first=ended/%d ", SCOPE_REQUEST);
	assert_trace(expected);
}

static void test_child_of_ended_scope_stays_ended(void **state)
{
	char expected[64];
	bool cancel = true;

	(void)state;
	spawn(leave_before_child, &cancel);
	run_all();
	snprintf(expected, sizeof(expected), "first=ended/%d outer ", SCOPE_CALL);
	assert_trace(expected);
}

static void shield_twice(void *arg)
{
	struct co_scope debate = {.kind = SCOPE_DEBATE};
	struct co_shield outer;
	struct co_shield inner;

	(void)arg;
	co_scope_enter(&debate);
	co_scope_cancel(&debate, "test");
	note_ended_by("bare", co_sleep(1));
	co_shield(&outer, 5 * SEC_US);
	note_ended_by("shielded", co_sleep(MS_US));
	co_shield(&inner, MS_US);
	note_end("bound", co_wait(0));
	co_unshield(&inner);
	note_end("outer", co_sleep(MS_US));
	co_unshield(&outer);
	note_ended_by("bare", co_sleep(1));
	co_scope_leave(&debate);
}

static void test_shield(void **state)
{
	char expected[128];

	(void)state;
	spawn(shield_twice, NULL);
	run_all();
	snprintf(expected, sizeof(expected),
		 "bare=ended/%d shielded=timeout/-1 bound=ended outer=timeout bare=ended/%d ", SCOPE_DEBATE,
		 SCOPE_DEBATE);
	assert_trace(expected);
}

static void wait_shielded(void *arg)
{
	struct co_scope s = {.kind = SCOPE_REQUEST};
	struct co_shield shield;

	(void)arg;
	shared = (struct co_scope){.kind = SCOPE_DRAIN};
	co_scope_enter(&shared);
	co_scope_enter(&s);
	co_shield(&shield, SEC_US);
	waiter = co_self();
	note_end("shielded", co_wait(0));
	co_unshield(&shield);
	note_ended_by("bare", co_wait(0));
	co_scope_leave(&s);
	co_scope_leave(&shared);
}

static void test_cancel_passes_by_a_shield(void **state)
{
	char expected[64];

	(void)state;
	spawn(wait_shielded, NULL);
	loop_turn(loop, false);
	co_scope_cancel(&shared, "test");
	loop_turn(loop, false);
	assert_trace("");
	co_wake(waiter);
	run_all();
	snprintf(expected, sizeof(expected), "shielded=done bare=ended/%d ", SCOPE_DRAIN);
	assert_trace(expected);
}

static void enter_cancelled(void *arg)
{
	struct co_scope s = {.kind = SCOPE_DEBATE};

	(void)arg;
	co_scope_cancel(&s, "before");
	note(co_scope_current() == NULL ? "none" : "some");
	co_scope_enter(&s);
	note(co_scope_current() == &s ? "own" : "other");
	note_ended_by("at once", co_wait(0));
	co_scope_leave(&s);
	note(co_ended_by() == NULL ? "free" : "ended");
}

static void test_scope_cancelled_before_it_is_entered(void **state)
{
	char expected[64];

	(void)state;
	spawn(enter_cancelled, NULL);
	run_all();
	snprintf(expected, sizeof(expected), "none own at once=ended/%d free ", SCOPE_DEBATE);
	assert_trace(expected);
	assert_false(co_scope_ended(NULL));
	assert_null(co_ended_by());
	assert_null(co_scope_current());
}

/* -- groups ------------------------------------------------------------------------------------------------------ */

static void child_ends(void *arg)
{
	(void)co_yield ();
	note(arg);
}

static void child_waits(void *arg)
{
	note_ended_by(arg, co_sleep(10 * MS_US));
}

static void run_group(void *arg)
{
	struct co_group g;

	(void)arg;
	co_group_open(&g);
	if (!co_group_spawn(&g, "w", child_waits, TEXT("waits")) || !co_group_spawn(&g, "e", child_ends, TEXT("ended")))
		note("no memory");
	co_group_wait(&g);
	note("joined");
	note_ended_by("owner", co_sleep(1));
}

static void test_group_waits_for_all(void **state)
{
	(void)state;
	spawn(run_group, NULL);
	run_all();
	assert_trace("ended waits=timeout/-1 joined owner=timeout/-1 ");
}

static void child_cleans_up(void *arg)
{
	struct co_shield s;

	(void)arg;
	note_ended_by("child", co_wait(0));
	co_shield(&s, SEC_US);
	(void)co_sleep(5 * MS_US);
	co_unshield(&s);
	note("cleaned");
}

static void group_inside_a_deadline(void *arg)
{
	struct co_scope debate = {.kind = SCOPE_DEBATE, .deadline = clock_mono_us() + 5 * MS_US};
	struct co_group g;

	(void)arg;
	co_scope_enter(&debate);
	co_group_open(&g);
	if (!co_group_spawn(&g, "c", child_cleans_up, NULL))
		note("no memory");
	co_group_wait(&g);
	note_ended_by("joined", co_wait(0));
	co_scope_leave(&debate);
}

static void test_group_is_joined_after_the_outer_end(void **state)
{
	char expected[64];

	(void)state;
	spawn(group_inside_a_deadline, NULL);
	run_all();
	snprintf(expected, sizeof(expected), "child=ended/%d cleaned joined=ended/%d ", SCOPE_DEBATE, SCOPE_DEBATE);
	assert_trace(expected);
}

static void group_beyond_the_cap(void *arg)
{
	struct co_group g;

	(void)arg;
	co_group_open(&g);
	note(co_group_spawn(&g, "a", child_waits, TEXT("a")) ? "yes" : "no");
	note(co_group_spawn(&g, "b", child_waits, TEXT("b")) ? "yes" : "no");
	co_group_wait(&g);
	note("joined");
}

static void test_cap(void **state)
{
	(void)state;
	co_shutdown();
	co_init(loop, 0, 2);
	spawn(group_beyond_the_cap, NULL);
	run_all();
	assert_trace("yes no a=timeout/-1 joined ");
}

/* -- locks ------------------------------------------------------------------------------------------------------- */

static struct co_lock lock;

static void hold(void *arg)
{
	note_end(arg, co_lock(&lock, 0));
	(void)co_sleep(50 * MS_US);
	co_unlock(&lock);
}

static void try_briefly(void *arg)
{
	enum co_end end = co_lock(&lock, clock_mono_us() + MS_US);

	note_end(arg, end);
	if (end == CO_DONE)
		co_unlock(&lock);
}

static void test_lock_is_fair(void **state)
{
	(void)state;
	lock = (struct co_lock){NULL, NULL, NULL};
	spawn(hold, TEXT("a"));
	spawn(hold, TEXT("b"));
	spawn(try_briefly, TEXT("c"));
	spawn(hold, TEXT("d"));
	run_all();
	assert_trace("a=done c=timeout b=done d=done ");
	assert_null(lock.holder);
	assert_null(lock.waiters_head);
	assert_null(lock.waiters_tail);
}

static void lock_cancelled(void *arg)
{
	(void)arg;
	shared = (struct co_scope){.kind = SCOPE_REQUEST};
	co_scope_enter(&shared);
	note_end("cancelled", co_lock(&lock, 0));
	note_end("again", co_lock(&lock, 0));
	co_scope_leave(&shared);
}

static void cancel_then_unlock(void *arg)
{
	(void)arg;
	note_end("holder", co_lock(&lock, 0));
	(void)co_yield ();
	co_scope_cancel(&shared, "test");
	(void)co_yield ();
	(void)co_yield ();
	co_unlock(&lock);
}

static void test_lock_wait_is_cancelled(void **state)
{
	(void)state;
	lock = (struct co_lock){NULL, NULL, NULL};
	spawn(cancel_then_unlock, NULL);
	spawn(lock_cancelled, NULL);
	run_all();
	assert_trace("holder=done cancelled=ended again=ended ");
	assert_null(lock.holder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up_trace, tear_down_trace)
	    T(test_innermost_scope_deadline),
	    T(test_cancel_reaches_nested_and_children),
	    T(test_child_moves_to_the_scope_around),
	    T(test_child_of_ended_scope_stays_ended),
	    T(test_shield),
	    T(test_cancel_passes_by_a_shield),
	    T(test_scope_cancelled_before_it_is_entered),
	    T(test_group_waits_for_all),
	    T(test_group_is_joined_after_the_outer_end),
	    T(test_cap),
	    T(test_lock_is_fair),
	    T(test_lock_wait_is_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
