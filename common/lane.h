/* SPDX-License-Identifier: MIT */
/*
 * Helper threads for what blocks or burns CPU (SQLite, files, name resolution, long similarity). A lane owns its jobs'
 * arguments: a waiter that is cancelled leaves, the job runs on and frees itself.
 */
#ifndef COMMON_LANE_H
#define COMMON_LANE_H

#include "common/co.h"
#include "common/loop.h"

struct lane;

/* A lane with `threads` threads and a queue of at most `depth` waiting jobs. Threads start with the first job. */
struct lane *lane_new(struct loop *l, const char *name, unsigned threads, unsigned depth);
/*
 * Waits for running jobs, frees queued ones: their done() or drop() is called without work() having run, and a
 * coroutine that still waits gets CO_ENDED. Called before loop_free.
 */
void lane_free(struct lane *lane);

/*
 * Callback form: work(job) on a thread, then done(job) on the loop. done frees the job. False (and nothing is called)
 * when the queue is full.
 */
bool lane_submit(struct lane *lane, void (*work)(void *job), void (*done)(void *job), void *job) MUST_CHECK;

/*
 * Coroutine form. The job must be heap memory that `drop` frees. CO_DONE: work has finished, the caller owns the job
 * again. CO_TIMEOUT / CO_ENDED: the lane keeps the job and calls drop(job) on the loop when work has finished.
 * CO_TIMEOUT at once when the queue is full, CO_ENDED at once inside an ended scope: then work is never called, and the
 * lane drops the job all the same.
 */
CO_FN enum co_end lane_run(struct lane *lane, void (*work)(void *job), void (*drop)(void *job), void *job,
			   int64_t deadline);

/* Jobs waiting or running. */
unsigned lane_load(const struct lane *lane);

#endif
