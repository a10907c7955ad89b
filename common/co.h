/* SPDX-License-Identifier: MIT */
/*
 * Stackful coroutines on the loop's thread: straight-line code for handlers, debates and jobs.
 *
 * Only waits suspend; a coroutine is resumed by the loop and by nothing else (a library callback stores its result and
 * calls co_wake). What bounds a wait is a chain of scopes (call, agent, debate, shutdown): each may have a deadline and
 * may be cancelled, and a wait tells which scope ended it. Ended waits are return codes; nothing is unwound.
 */
#ifndef COMMON_CO_H
#define COMMON_CO_H

#include "common/arena.h"
#include "common/log.h"

struct co;
struct context;
struct loop;

enum co_end {
	CO_DONE,    /* what was waited for happened */
	CO_TIMEOUT, /* this wait's own deadline passed */
	CO_ENDED    /* an enclosing scope ended: see co_ended_by() */
};

enum co_scope_kind {
	SCOPE_NONE,
	SCOPE_REQUEST,
	SCOPE_CALL,
	SCOPE_AGENT,
	SCOPE_DEBATE,
	SCOPE_DRAIN,
	SCOPE_SHUTDOWN,
	SCOPE_GROUP
};

struct co_scope {
	enum co_scope_kind kind;
	int64_t deadline; /* monotonic microseconds, 0 = none; read when a wait begins */
	bool cancelled;
	const char *why;         /* static text given to co_scope_cancel, else NULL */
	struct co_scope *parent; /* set by co_scope_enter */
	/* Set and read by co.c alone: who entered it, and the scopes directly inside it. */
	struct co *owner;
	struct co_scope *child;
	struct co_scope *next;
	struct co_scope **link;
};

/*
 * Prepares the pool of stacks. `stack_size` bytes each (0: 256 KiB) plus a guard page; at most `max` live coroutines
 * (0: 4096), never more than (vm.max_map_count - 5000) / 2. Called once per process after the fork.
 */
void co_init(struct loop *loop, size_t stack_size, unsigned max);
/* Frees pooled stacks; every coroutine must have ended. */
void co_shutdown(void);

/*
 * Creates a coroutine and puts it on the run queue. It inherits the creator's scope and a copy of the log context. When
 * it outlives that scope it moves to the scope around it, and stays ended if the scope had ended. `name` is static
 * text. NULL when the cap is reached or memory is gone (callers answer 503).
 */
struct co *co_spawn(const char *name, void (*fn)(void *arg), void *arg) MUST_CHECK;
/* The running coroutine, NULL on the loop's own stack. */
struct co *co_self(void);
/*
 * Suspends until co_wake(), `deadline` (monotonic microseconds, 0 = none), or the end of a scope. The caller loops on
 * its own condition: a wake-up may be spurious.
 */
CO_FN enum co_end co_wait(int64_t deadline);
/* Lets `co` continue in the next run of the queue; from the loop or from another coroutine; harmless if not waiting. */
void co_wake(struct co *co);
/* Returns CO_TIMEOUT after `us` microseconds, or CO_ENDED. */
CO_FN enum co_end co_sleep(int64_t us);
/* Goes to the end of the run queue. CO_DONE or CO_ENDED. */
CO_FN enum co_end co_yield (void);

/*
 * Enters a scope for the running coroutine (children spawned later inherit it); *s lives until co_scope_leave. Scopes
 * are left in reverse order. A scope may have been cancelled before it is entered.
 */
void co_scope_enter(struct co_scope *s);
void co_scope_leave(struct co_scope *s);
/* Ends the scope now: all waits inside it, also of other coroutines, return CO_ENDED. `why` is static text. */
void co_scope_cancel(struct co_scope *s, const char *why);
/* True if the scope or one around it has ended (cancelled or past its deadline). NULL is never ended. */
bool co_scope_ended(const struct co_scope *s);
/* The innermost ended scope of the running coroutine, or NULL. */
const struct co_scope *co_ended_by(void);
/* The running coroutine's innermost scope, or NULL. */
struct co_scope *co_scope_current(void);
/*
 * Clean-up: until co_unshield() the waits of the running coroutine ignore outer scopes and are bounded by `us` only.
 * Nesting is allowed.
 */
struct co_shield {
	struct co_scope scope;
	struct co_scope *outer;
};
void co_shield(struct co_shield *s, int64_t us);
void co_unshield(struct co_shield *s);

/* Log context of the running coroutine (copied by reference; lives as long as the coroutine runs). */
void co_set_log(const struct log_ctx *ctx);

/*
 * On whose behalf the running coroutine acts: what it asks of the store is held to that (tenant.h). NULL: the server
 * itself, which a new coroutine is. *ctx lives until the next call; outside of coroutines nothing happens.
 */
void co_set_tenant(const struct context *ctx);
const struct context *co_tenant(void);

/* Children that must all have ended before the parent goes on. */
struct co_group {
	struct co_scope scope; /* children run inside it */
	struct co *owner;
	unsigned running;
};
void co_group_open(struct co_group *g);
/* False when no coroutine could be made. */
bool co_group_spawn(struct co_group *g, const char *name, void (*fn)(void *arg), void *arg) MUST_CHECK;
/*
 * Waits until all children have ended; when an outer scope ends, the children see it too and are still joined.
 * Must be called exactly once per open group, by its owner.
 */
CO_FN void co_group_wait(struct co_group *g);

/* Mutual exclusion between coroutines of one process, first come first served. Zero-initialised. */
struct co_lock {
	struct co *holder;
	struct co *waiters_head;
	struct co *waiters_tail;
};
/* CO_DONE with the lock held, or CO_ENDED / CO_TIMEOUT without it. */
CO_FN enum co_end co_lock(struct co_lock *l, int64_t deadline);
void co_unlock(struct co_lock *l);

/*
 * Runs everything that is runnable now; what becomes runnable meanwhile waits for the next call, so that events get
 * their turn. Called by the loop, once per turn. Returns how many were resumed.
 */
unsigned co_run_queue(void);
/* Is anything on the run queue? */
bool co_runnable(void);
/* Live coroutines, and the highest stack use seen in bytes. */
unsigned co_count(void);
size_t co_stack_peak(void);

#endif
