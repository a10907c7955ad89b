/* SPDX-License-Identifier: MIT */
/*
 * The debates of one worker: claimed from the queue, each run on a coroutine, handed back when the worker drains.
 */
#ifndef WORKER_RUNNER_RUNNER_H
#define WORKER_RUNNER_RUNNER_H

#include <stdint.h>

#include "common/err.h"

struct runner;
struct worker;

/* Claims nothing yet. NULL with err. */
struct runner *runner_open(struct worker *w, struct error *err) MUST_CHECK;
/* Starts claiming. */
void runner_start(struct runner *r);
/* Debates running here. */
unsigned runner_count(const struct runner *r);
/*
 * No new claims. With `finish_us` > 0 (TERM) running debates may go on that long; then, or at once with 0 (HUP), no new
 * step starts, calls in flight are finished and journalled, and debates are released. done(arg) is called when none is
 * left.
 */
void runner_drain(struct runner *r, int64_t finish_us, void (*done)(void *arg), void *arg);
void runner_close(struct runner *r);

#endif
