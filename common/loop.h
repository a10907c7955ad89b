/* SPDX-License-Identifier: MIT */
/*
 * One event loop per process: libevent's base, the run queue of coroutines, work deferred to the end of a turn.
 */
#ifndef COMMON_LOOP_H
#define COMMON_LOOP_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "common/compat.h"

struct loop;

/* Never NULL. */
struct loop *loop_new(void);
/* Runs what is still deferred or posted, then frees the base; events of others must be deleted by then. */
void loop_free(struct loop *l);
struct event_base *loop_base(struct loop *l);
/* Runs until loop_stop(). Each turn: events, coroutines, deferred work, log_flush(). */
void loop_run(struct loop *l);
/* One turn; waits for an event if `block` and nothing is runnable. For tests and tools. */
void loop_turn(struct loop *l, bool block);
void loop_stop(struct loop *l);
/* Monotonic microseconds, read once per turn (and when a coroutine is resumed). The loop's thread only. */
int64_t loop_now(const struct loop *l);
/* Reads the clock anew. */
int64_t loop_refresh(struct loop *l);
/* Turns so far: two equal readings mean that the loop did not move. */
uint64_t loop_turns(const struct loop *l);

/*
 * Runs fn(arg) at the end of this turn (or of the current batch of deferred work). Used to free objects outside their
 * own callbacks and to write once per turn. Thread: the loop's only.
 */
void loop_defer(struct loop *l, void (*fn)(void *arg), void *arg);
/* As loop_defer, but may be called from any thread; wakes the loop. */
void loop_post(struct loop *l, void (*fn)(void *arg), void *arg);

/* One-shot timer; fn runs on the loop's stack and may set it again. Never early, unlike libevent's coarse clock. */
struct loop_timer {
	struct event ev;
	struct loop *loop;
	int64_t due;
	void (*fn)(void *arg);
	void *arg;
	bool set_up;
};
/* Prepares t; must precede the other calls. */
void loop_timer_init(struct loop *l, struct loop_timer *t, void (*fn)(void *arg), void *arg);
/* Fires once after `us` microseconds; replaces an earlier setting. */
void loop_timer_set(struct loop_timer *t, int64_t us);
void loop_timer_stop(struct loop_timer *t);

#endif
