/* SPDX-License-Identifier: MIT */
/*
 * Private to this room: what the step files (journal), runner.c (life of a run) and clerk.c (leases) share.
 */
#ifndef WORKER_RUNNER_RUN_H
#define WORKER_RUNNER_RUN_H

#include "common/loop.h"
#include "common/trace_context.h"
#include "worker/debate/debate.h"
#include "worker/engine/step.h"
#include "worker/runner/runner.h"

#define RUNNER_QUEUE_TOPIC "runner:queue"   /* something may be claimable */
#define RUNNER_CANCEL_TOPIC "runner:cancel" /* something is wanted of a running debate: cancel, pause; its id */

#define RUN_CRASHES_MAX 5 /* unclean deaths without a new step after which a debate fails, DESIGN 4 */

struct debate {
	struct worker *w;
	struct debate *next; /* in the runner's list */
	struct arena *arena;
	struct debate_plan plan;
	struct context ctx;
	struct log_ctx log;
	char trace[TRACE_PARENT_LEN + 1]; /* in log */
	int64_t epoch;
	int64_t last_seq; /* committed */
	int64_t message_count;
	int64_t current_round;
	int64_t created_ms;
	int64_t crashes;
	int64_t reserved_micro, reserved_tokens; /* what calls in flight may cost, budget.h */
	bool holds_budget;                       /* something was reserved of shared budgets, spend.h */
	unsigned marks_told;                     /* of its own budget, spend.c */
	int64_t running_base_ms;                 /* before this run */
	int64_t run_started_us;
	int cell; /* max_concurrent cell, -1 = none needed */
	bool finished;
	bool draining;  /* starts no new step */
	bool replaying; /* test build: journal only, nothing may be computed, called or stored */
	bool cancel_seen;
	bool grouped; /* an item of a batch: its end is a hint */
	bool pausing; /* wanted: draining, then set aside instead of given back */
	struct str cancel_reason;
	enum debate_stop stop;
	struct co_scope scope;        /* SCOPE_DEBATE: the time budget */
	struct co_lock commit;        /* batches of one debate follow each other: each names the last_seq before it */
	struct step_turn *turns;      /* writes that wait for it, journal.c; first come, first served */
	struct loop_timer later;      /* after which what waits there alone is stored */
	bool later_set, storing;      /* it runs; a coroutine stores */
	struct co *settler;           /* waits for that coroutine */
	json_t *journal;              /* key -> {"state", "starts", "result"}: as stored, or about to be */
	struct run_sleeper *sleepers; /* back-off waits, ended early by a drain */
	void *engine;                 /* the engine's own context */
	json_t *replayed_result;      /* test build: what the re-run would store */
	const struct step_keeper *keeper; /* apart.h: keeps the steps instead of the database; NULL in a server */
	json_t *apart_result;             /* of a debate with a keeper */
};

struct run_sleeper {
	struct co *co;
	struct run_sleeper *next;
};

/* Milliseconds spent running, over all runs. */
int64_t run_running_ms(const struct debate *d);
/* Ends all waits of the run with this reason, unless it has one already. */
void run_stop(struct debate *d, enum debate_stop why);
/* No new step; back-off waits end now. */
void run_drain(struct debate *d);
/* Gives the debate back: no owner, to be taken by any worker. */
CO_FN bool run_release(struct debate *d);

/* pause.c: sets a debate aside that has unwound. False: it has to be given back. */
CO_FN bool run_pause(struct debate *d);
/* A cancel request for a debate of this or another worker was committed. */
void runner_cancelled(struct runner *r, struct str id);

/* The clerk's word that clerk_registered() holds from now on. */
void runner_registered(struct runner *r);

/* ---- clerk.c: what one worker of the node does for all ---- */

struct clerk;
struct clerk *clerk_open(struct worker *w, struct error *err) MUST_CHECK;
/* Once a second and after any death on the node: queue hints, leases, leftovers, checkpoint. */
void clerk_tick(struct clerk *c, bool death);
/* Has the first beat been stored? Nothing is claimed before. */
bool clerk_registered(const struct clerk *c);
/* Ends the lease of this process; no tick may follow. CO_FN: deletes the row. */
CO_FN void clerk_resign(struct clerk *c);
void clerk_close(struct clerk *c);

#endif
