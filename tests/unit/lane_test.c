/* SPDX-License-Identifier: MIT */
/*
 * Lanes: where work runs, who owns a job when its waiter leaves, what a full queue and lane_free() do.
 * Built and run by `make unit`. Threads are held and released by semaphores, never by time.
 */
#include "common/lane.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>

#include "tests/unit/co_harness.h"

static struct lane *lane;
static pthread_t loop_thread;

struct job {
	sem_t *entered; /* posted when work begins */
	sem_t *gate;    /* work waits for it */
	atomic_bool worked;
	bool off_loop;
	bool signals_blocked;
	bool *dropped;
	bool *worked_at_drop;
	unsigned *done;
};

static sem_t entered;
static sem_t gate;

static void set_up_lane(unsigned threads, unsigned depth)
{
	loop_begin();
	lane = lane_new(loop, "test", threads, depth);
	loop_thread = pthread_self();
	sem_init(&entered, 0, 0);
	sem_init(&gate, 0, 0);
}

static void tear_down_lane(void)
{
	lane_free(lane);
	loop_end();
	sem_destroy(&entered);
	sem_destroy(&gate);
}

static void job_work(void *arg)
{
	struct job *j = arg;
	sigset_t mask;

	if (j->entered != NULL)
		sem_post(j->entered);
	if (j->gate != NULL)
		sem_wait(j->gate);
	j->off_loop = !pthread_equal(pthread_self(), loop_thread) && co_self() == NULL;
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	j->signals_blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGCHLD) == 1;
	atomic_store(&j->worked, true);
}

static void job_drop(void *arg)
{
	struct job *j = arg;

	BUG_ON(!pthread_equal(pthread_self(), loop_thread));
	BUG_ON(co_self() != NULL);
	if (j->worked_at_drop != NULL)
		*j->worked_at_drop = atomic_load(&j->worked);
	if (j->dropped != NULL)
		*j->dropped = true;
	if (j->done != NULL)
		(*j->done)++;
	free(j);
}

static struct job *job_new(void)
{
	return xcalloc(1, sizeof(struct job));
}

/* -- callback form ----------------------------------------------------------------------------------------------- */

static void test_submit(void **state)
{
	unsigned done = 0;

	(void)state;
	set_up_lane(3, 1000);
	for (int i = 0; i < 1000; i++) {
		struct job *j = job_new();

		j->done = &done;
		assert_true(lane_submit(lane, job_work, job_drop, j));
	}
	assert_int_equal(lane_load(lane), 1000);
	while (done < 1000)
		loop_turn(loop, true);
	assert_int_equal(lane_load(lane), 0);
	tear_down_lane();
}

static void test_queue_has_a_limit(void **state)
{
	struct job *j[4];
	bool dropped[4] = {false};

	(void)state;
	set_up_lane(1, 2);
	for (size_t i = 0; i < countof(j); i++) {
		j[i] = job_new();
		j[i]->dropped = &dropped[i];
	}
	j[0]->entered = &entered;
	j[0]->gate = &gate;
	assert_true(lane_submit(lane, job_work, job_drop, j[0]));
	sem_wait(&entered);
	assert_true(lane_submit(lane, job_work, job_drop, j[1]));
	assert_true(lane_submit(lane, job_work, job_drop, j[2]));
	assert_false(lane_submit(lane, job_work, job_drop, j[3]));
	sem_post(&gate);
	while (lane_load(lane) > 0)
		loop_turn(loop, true);
	assert_true(dropped[0] && dropped[1] && dropped[2]);
	assert_false(dropped[3]);
	free(j[3]);
	tear_down_lane();
}

static void test_free_drops_what_is_queued(void **state)
{
	struct job *running = job_new();
	struct job *queued = job_new();
	bool dropped[2] = {false, false};
	bool worked[2] = {false, true};

	(void)state;
	set_up_lane(1, 2);
	running->entered = &entered;
	running->gate = &gate;
	running->dropped = &dropped[0];
	running->worked_at_drop = &worked[0];
	queued->dropped = &dropped[1];
	queued->worked_at_drop = &worked[1];
	assert_true(lane_submit(lane, job_work, job_drop, running));
	sem_wait(&entered);
	assert_true(lane_submit(lane, job_work, job_drop, queued));
	/* The thread leaves after this job: lane_free() has set its flag or the second job runs as well. */
	sem_post(&gate);
	tear_down_lane();
	assert_true(dropped[0] && dropped[1]);
	assert_true(worked[0]);
}

/* -- coroutine form ---------------------------------------------------------------------------------------------- */

struct result {
	enum co_end end;
	bool dropped;
	bool worked_at_drop;
	bool off_loop;
	bool signals_blocked;
	bool hold;
	struct co_scope scope;
	int64_t deadline;
	bool finished;
};

static void run_job(void *arg)
{
	struct result *r = arg;
	struct job *j = job_new();

	j->dropped = &r->dropped;
	j->worked_at_drop = &r->worked_at_drop;
	if (r->hold) {
		j->entered = &entered;
		j->gate = &gate;
	}
	co_scope_enter(&r->scope);
	r->end = lane_run(lane, job_work, job_drop, j, r->deadline);
	co_scope_leave(&r->scope);
	if (r->end == CO_DONE) {
		r->off_loop = j->off_loop;
		r->signals_blocked = j->signals_blocked;
		free(j);
	}
	r->finished = true;
}

static void test_run(void **state)
{
	struct result r[20] = {{.end = CO_ENDED}};

	(void)state;
	set_up_lane(2, 100);
	for (size_t i = 0; i < countof(r); i++)
		spawn(run_job, &r[i]);
	run_all();
	for (size_t i = 0; i < countof(r); i++) {
		assert_int_equal(r[i].end, CO_DONE);
		assert_true(r[i].off_loop);
		assert_true(r[i].signals_blocked);
		assert_false(r[i].dropped);
	}
	tear_down_lane();
}

static void test_cancelled_waiter_leaves_the_job(void **state)
{
	struct result r = {.hold = true};

	(void)state;
	set_up_lane(1, 1);
	spawn(run_job, &r);
	loop_turn(loop, false);
	sem_wait(&entered);
	co_scope_cancel(&r.scope, "test");
	run_all();
	assert_int_equal(r.end, CO_ENDED);
	assert_false(r.dropped);
	assert_int_equal(lane_load(lane), 1);
	sem_post(&gate);
	while (!r.dropped)
		loop_turn(loop, true);
	assert_true(r.worked_at_drop);
	tear_down_lane();
}

static void test_deadline(void **state)
{
	struct result r = {.hold = true};

	(void)state;
	set_up_lane(1, 1);
	r.deadline = loop_now(loop) + 5000;
	spawn(run_job, &r);
	loop_turn(loop, false);
	sem_wait(&entered); /* else a slow thread would find the lane freed and the job not begun */
	run_all();
	assert_int_equal(r.end, CO_TIMEOUT);
	assert_false(r.dropped);
	/* Freed while it runs: the thread is joined and the job dropped. */
	sem_post(&gate);
	tear_down_lane();
	assert_true(r.dropped && r.worked_at_drop);
}

static void test_ended_scope_starts_nothing(void **state)
{
	struct result r = {.hold = true};

	(void)state;
	set_up_lane(1, 1);
	co_scope_cancel(&r.scope, "test");
	spawn(run_job, &r);
	run_all();
	loop_turn(loop, false);
	assert_int_equal(r.end, CO_ENDED);
	assert_true(r.dropped);
	assert_false(r.worked_at_drop);
	assert_int_equal(lane_load(lane), 0);
	tear_down_lane();
}

static void test_full_queue_times_out_at_once(void **state)
{
	struct result r[3] = {{.hold = true}, {.hold = false}, {.hold = false}};

	(void)state;
	set_up_lane(1, 1);
	spawn(run_job, &r[0]);
	loop_turn(loop, false);
	sem_wait(&entered);
	spawn(run_job, &r[1]);
	spawn(run_job, &r[2]);
	loop_turn(loop, false);
	assert_true(r[2].finished);
	assert_int_equal(r[2].end, CO_TIMEOUT);
	assert_true(r[2].dropped);
	assert_false(r[2].worked_at_drop);
	assert_false(r[1].finished);
	sem_post(&gate);
	run_all();
	assert_int_equal(r[0].end, CO_DONE);
	assert_int_equal(r[1].end, CO_DONE);
	tear_down_lane();
}

static void test_free_ends_a_waiting_coroutine(void **state)
{
	struct result running = {.hold = true};
	struct result queued = {.hold = true};

	(void)state;
	set_up_lane(1, 1);
	spawn(run_job, &running);
	loop_turn(loop, false);
	sem_wait(&entered);
	spawn(run_job, &queued);
	loop_turn(loop, false);
	/* Two tokens: if the thread takes the second job before it sees the end, that job must not hang. */
	sem_post(&gate);
	sem_post(&gate);
	lane_free(lane);
	lane = NULL;
	run_all();
	assert_int_equal(running.end, CO_DONE);
	assert_true(queued.end == CO_ENDED ? queued.dropped && !queued.worked_at_drop : !queued.dropped);
	tear_down_lane();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_submit),
	    cmocka_unit_test(test_queue_has_a_limit),
	    cmocka_unit_test(test_free_drops_what_is_queued),
	    cmocka_unit_test(test_run),
	    cmocka_unit_test(test_cancelled_waiter_leaves_the_job),
	    cmocka_unit_test(test_deadline),
	    cmocka_unit_test(test_ended_scope_starts_nothing),
	    cmocka_unit_test(test_full_queue_times_out_at_once),
	    cmocka_unit_test(test_free_ends_a_waiting_coroutine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
