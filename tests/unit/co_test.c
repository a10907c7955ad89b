/* SPDX-License-Identifier: MIT */
/*
 * Switching, waits, stacks, log context, misuse. Coroutines write what they saw into a trace; assertions run on the
 * loop's stack. Built and run by `make unit`. It does not measure speed.
 */
#include "tests/unit/co_harness.h"

#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"

#if defined(__SANITIZE_ADDRESS__)
#define TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_ASAN 1
#endif
#endif
#ifdef TEST_ASAN
#include <sanitizer/lsan_interface.h>
#endif

/* -- switching --------------------------------------------------------------------------------------------------- */

static void say_three_times(void *arg)
{
	for (int i = 0; i < 3; i++) {
		note(arg);
		(void)co_yield ();
	}
}

static void test_takes_turns(void **state)
{
	(void)state;
	spawn(say_three_times, TEXT("a"));
	spawn(say_three_times, TEXT("b"));
	run_all();
	assert_trace("a b a b a b ");
}

static void yield_keeps_events_alive(void *arg)
{
	uint64_t before = loop_turns(loop);

	(void)arg;
	(void)co_yield ();
	note(loop_turns(loop) > before ? "turned" : "hogged");
}

static void test_yield_lets_the_loop_turn(void **state)
{
	(void)state;
	spawn(yield_keeps_events_alive, NULL);
	run_all();
	assert_trace("turned ");
}

static void check_alignment(void *arg)
{
	_Alignas(16) volatile float four[4] = {1.0F, 2.0F, 3.0F, 4.0F};
	volatile long double wide = 1.5L;
	char text[64];

	(void)arg;
	/* Aligned SSE moves fault on a stack that is eight bytes off; printf of a double uses them for its va_list. */
	for (int i = 0; i < 4; i++)
		four[i] = four[i] * 2.0F;
	snprintf(text, sizeof(text), "%.1f %.1f %.1Lf", (double)four[0], (double)four[3], wide);
	note(text);
	note((uintptr_t)__builtin_frame_address(0) % 16 == 0 ? "aligned" : "crooked");
	note((uintptr_t)four % 16 == 0 ? "aligned" : "crooked");
	(void)co_yield ();
	snprintf(text, sizeof(text), "%.1f", (double)(four[1] + four[2]));
	note(text);
}

static void test_stack_alignment_and_sse(void **state)
{
	(void)state;
	spawn(check_alignment, NULL);
	run_all();
	assert_trace("2.0 8.0 1.5 aligned aligned 10.0 ");
}

static double third(void)
{
	volatile double one = 1.0;
	volatile double three = 3.0;

	return one / three;
}

static void round_up(void *arg)
{
	double up;

	(void)arg;
	fesetround(FE_UPWARD);
	up = third();
	(void)co_yield ();
	note(fegetround() == FE_UPWARD && third() == up ? "up" : "lost");
}

static void round_nearest(void *arg)
{
	const double *nearest = arg;

	note(fegetround() == FE_TONEAREST && third() == *nearest ? "nearest" : "leaked");
}

static void test_float_control_is_per_coroutine(void **state)
{
	double nearest = third();

	(void)state;
	spawn(round_up, NULL);
	spawn(round_nearest, &nearest);
	loop_turn(loop, false);
	assert_int_equal(fegetround(), FE_TONEAREST);
	assert_true(third() == nearest);
	run_all();
	assert_trace("nearest up ");
}

/* More live values than callee-saved registers; each coroutine has its own. */
static void sum_across_waits(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg;
	uint64_t v[7];
	uint64_t a = seed + 1, b = seed + 2, c = seed + 3, d = seed + 4, e = seed + 5, f = seed + 6, g = seed + 7;

	for (uint64_t i = 0; i < 50; i++) {
		a += i, b += i, c += i, d += i, e += i, f += i, g += i;
		(void)co_yield ();
	}
	memcpy(v, (uint64_t[]){a, b, c, d, e, f, g}, 7 * sizeof(v[0]));
	for (uint64_t i = 0; i < 7; i++)
		if (v[i] != seed + i + 1 + 50 * 49 / 2)
			note("corrupt");
}

static void test_registers_survive(void **state)
{
	(void)state;
	for (uintptr_t i = 1; i <= 20; i++)
		spawn(sum_across_waits, (void *)(i * 1000));
	run_all();
	assert_trace("");
}

/* -- waits and timers -------------------------------------------------------------------------------------------- */

static struct co *waiter;
static struct co_lock lock;

static void wait_for_ever(void *arg)
{
	(void)arg;
	waiter = co_self();
	note_end("wait", co_wait(0));
}

static void wake_twice(void *arg)
{
	(void)arg;
	co_wake(waiter);
	co_wake(waiter);
	note("woke");
}

static void test_wake(void **state)
{
	(void)state;
	spawn(wait_for_ever, NULL);
	spawn(wake_twice, NULL);
	run_all();
	assert_trace("woke wait=done ");
}

static void wake_self(void *arg)
{
	(void)arg;
	co_wake(co_self());
	note_end("wait", co_wait(clock_mono_us() + 1000));
}

static void test_wake_of_running_is_harmless(void **state)
{
	(void)state;
	spawn(wake_self, NULL);
	run_all();
	assert_trace("wait=timeout ");
}

static void sleep_20ms(void *arg)
{
	int64_t *slept = arg;
	int64_t start = clock_mono_us();

	note_end("sleep", co_sleep(20 * MS_US));
	*slept = clock_mono_us() - start;
}

static void test_sleep_is_never_early(void **state)
{
	int64_t slept[10] = {0};

	(void)state;
	for (size_t i = 0; i < countof(slept); i++)
		spawn(sleep_20ms, &slept[i]);
	run_all();
	for (size_t i = 0; i < countof(slept); i++)
		assert_true(slept[i] >= 20 * MS_US);
}

struct due {
	int64_t at;
	int64_t *last;
	unsigned *wrong;
	unsigned *ended;
};

static void wait_until_due(void *arg)
{
	struct due *d = arg;

	if (co_wait(d->at) != CO_TIMEOUT || *d->last > d->at || clock_mono_us() < d->at)
		(*d->wrong)++;
	*d->last = d->at;
	(*d->ended)++;
}

static void test_four_thousand_deadlines_in_order(void **state)
{
	struct due *all = xcalloc(4096, sizeof(*all));
	int64_t last = 0;
	unsigned wrong = 0;
	unsigned ended = 0;
	uint32_t random = 12345;
	int64_t start;

	(void)state;
	for (unsigned i = 0; i < 4096; i++) {
		all[i] = (struct due){0, &last, &wrong, &ended};
		spawn(wait_until_due, &all[i]);
	}
	/* All are due after every one of them waits, so that the order is the heap's. */
	start = clock_mono_us() + 700 * MS_US;
	for (unsigned i = 0; i < 4096; i++) {
		random = random * 1664525 + 1013904223;
		all[i].at = start + random % 200000;
	}
	assert_null(co_spawn("one too many", wait_until_due, NULL));
	assert_int_equal(co_count(), 4096);
	run_all();
	assert_int_equal(ended, 4096);
	assert_int_equal(wrong, 0);
	free(all);
}

static void wait_in_the_past(void *arg)
{
	(void)arg;
	note_end("past", co_wait(1));
}

static void test_past_deadline_times_out_at_once(void **state)
{
	(void)state;
	spawn(wait_in_the_past, NULL);
	loop_turn(loop, false);
	assert_int_equal(co_count(), 0);
	assert_trace("past=timeout ");
}

/* -- log context, introspection, stacks --------------------------------------------------------------------------- */

static const struct log_ctx *current_log(void)
{
	const struct log_ctx *ctx = log_context(NULL);

	log_context(ctx);
	return ctx;
}

static void log_child(void *arg)
{
	const struct log_ctx *ctx = current_log();

	(void)arg;
	(void)co_sleep(5 * MS_US);
	buf_printf(&trace, "%.*s %s ", STR_ARG(ctx->request_id), ctx == current_log() ? "kept" : "lost");
}

static void log_parent(void *arg)
{
	char *id = xstrdup("req-1");
	struct log_ctx ctx = {.request_id = str_of(id)};

	(void)arg;
	co_set_log(&ctx);
	spawn(log_child, NULL);
	(void)co_yield ();
	note(current_log() == &ctx ? "own" : "lost");
	co_set_log(NULL);
	free(id);
}

static void test_log_context(void **state)
{
	(void)state;
	spawn(log_parent, NULL);
	loop_turn(loop, false);
	assert_null(current_log());
	run_all();
	assert_null(current_log());
	assert_trace("own req-1 kept ");
}

static void run_60ms(void *arg)
{
	int64_t until = clock_mono_us() + 60 * MS_US;

	(void)arg;
	while (clock_mono_us() < until)
		continue;
}

static void test_long_run_is_logged(void **state)
{
	char text[1024] = "";
	int fd = memfd_create("log", MFD_CLOEXEC);
	struct log_options to_file = {.level = LOG_INFO, .error_fd = fd, .access_fd = fd, .who = "test"};
	struct log_options to_stderr = {.level = LOG_INFO, .error_fd = 2, .access_fd = 2, .who = "test"};

	(void)state;
	log_setup(&to_file);
	assert_non_null(co_spawn("slowpoke", run_60ms, NULL));
	run_all();
	log_flush();
	assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
	assert_non_null(strstr(text, "slowpoke"));
	log_setup(&to_stderr);
	close(fd);
}

static __attribute__((noinline)) void use_stack(unsigned pages)
{
	volatile char page[4096];

	page[0] = (char)pages;
	page[sizeof(page) - 1] = page[0];
	if (pages > 1)
		use_stack(pages - 1);
	page[1] = page[0];
}

static void use_100k(void *arg)
{
	(void)arg;
	use_stack(25);
}

static void test_stack_peak(void **state)
{
	(void)state;
	spawn(sleep_20ms, &(int64_t){0});
	run_all();
	assert_true(co_stack_peak() > 0);
	assert_true(co_stack_peak() < 64 * 1024);
	spawn(use_100k, NULL);
	run_all();
	assert_true(co_stack_peak() >= 100 * 1024);
	assert_true(co_stack_peak() < 200 * 1024);
}

/* The mapping right below the one this stack lies in. */
static void find_guard(void *arg)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	unsigned long from = 0;
	unsigned long to = 0;
	unsigned long below_to = 0;
	char below[5] = "";
	char mode[5] = "";
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "re");

	(void)arg;
	while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
		if (sscanf(line, "%lx-%lx %4s", &from, &to, mode) != 3)
			break;
		if (here >= from && here < to)
			note(below_to == from ? below : "gap");
		below_to = to;
		memcpy(below, mode, sizeof(below));
	}
	if (maps != NULL)
		fclose(maps);
}

static void test_guard_page(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		spawn(find_guard, NULL);
	run_all();
	assert_trace("---p ---p ---p ");
}

#ifdef TEST_ASAN
static void hold_memory(void *arg)
{
	char *volatile held = malloc(1000);

	(void)arg;
	(void)co_wait(0);
	free(held);
}

static void test_leak_check_sees_suspended_stacks(void **state)
{
	struct co *held[8];

	(void)state;
	for (size_t i = 0; i < countof(held); i++) {
		held[i] = co_spawn("test", hold_memory, NULL);
		assert_non_null(held[i]);
	}
	loop_turn(loop, false);
	assert_int_equal(__lsan_do_recoverable_leak_check(), 0);
	for (size_t i = 0; i < countof(held); i++)
		co_wake(held[i]);
	run_all();
}
#endif

/* -- programmer errors end the process ---------------------------------------------------------------------------- */

static int death_of(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		if (freopen("/dev/null", "w", stderr) == NULL)
			_exit(0);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void run_one(void (*fn)(void *arg))
{
	if (co_spawn("doomed", fn, NULL) != NULL)
		run_all();
}

static void overflow(void *arg)
{
	(void)arg;
	use_stack(10000);
}

static void leave_scope_open(void *arg)
{
	struct co_scope s = {.kind = SCOPE_CALL};

	(void)arg;
	co_scope_enter(&s);
}

static void forget_group(void *arg)
{
	struct co_group g;

	(void)arg;
	co_group_open(&g);
}

static void keep_lock(void *arg)
{
	(void)arg;
	lock = (struct co_lock){NULL, NULL, NULL};
	(void)co_lock(&lock, 0);
}

static void lock_twice(void *arg)
{
	(void)arg;
	lock = (struct co_lock){NULL, NULL, NULL};
	(void)co_lock(&lock, 0);
	(void)co_lock(&lock, 0);
}

static void turn_inside(void *arg)
{
	(void)arg;
	loop_turn(loop, false);
}

static void die_wait_off_coroutine(void)
{
	(void)co_wait(0);
}

static void die_sleep_off_coroutine(void)
{
	(void)co_sleep(1);
}

static void *wait_on_thread(void *arg)
{
	(void)arg;
	(void)co_wait(0);
	return NULL;
}

static void spawn_thread_and_join(void *arg)
{
	pthread_t id;

	(void)arg;
	if (pthread_create(&id, NULL, wait_on_thread, NULL) == 0)
		pthread_join(id, NULL);
}

static void die_wait_on_helper_thread(void)
{
	run_one(spawn_thread_and_join);
}

static void die_overflow(void)
{
	run_one(overflow);
}

static void die_scope_left_open(void)
{
	run_one(leave_scope_open);
}

static void die_group_not_joined(void)
{
	run_one(forget_group);
}

static void die_lock_kept(void)
{
	run_one(keep_lock);
}

static void die_lock_twice(void)
{
	run_one(lock_twice);
}

static void die_turn_inside(void)
{
	run_one(turn_inside);
}

static void live(void)
{
	run_one(run_60ms);
}

static void test_misuse_aborts(void **state)
{
	void (*const all[])(void) = {
	    die_wait_off_coroutine, die_sleep_off_coroutine, die_wait_on_helper_thread,
	    die_scope_left_open,    die_group_not_joined,    die_lock_kept,
	    die_lock_twice,         die_turn_inside,
	};

	(void)state;
	for (size_t i = 0; i < countof(all); i++) {
		int status = death_of(all[i]);

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGABRT);
	}
	assert_int_not_equal(death_of(die_overflow), 0);
	assert_int_equal(death_of(live), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up_trace, tear_down_trace)
	    T(test_takes_turns),
	    T(test_yield_lets_the_loop_turn),
	    T(test_stack_alignment_and_sse),
	    T(test_float_control_is_per_coroutine),
	    T(test_registers_survive),
	    T(test_wake),
	    T(test_wake_of_running_is_harmless),
	    T(test_sleep_is_never_early),
	    T(test_four_thousand_deadlines_in_order),
	    T(test_past_deadline_times_out_at_once),
	    T(test_log_context),
	    T(test_long_run_is_logged),
	    T(test_stack_peak),
	    T(test_guard_page),
#ifdef TEST_ASAN
	    T(test_leak_check_sees_suspended_stacks),
#endif
	    T(test_misuse_aborts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
