/* SPDX-License-Identifier: MIT */
/*
 * Budgets before each paid call: a call is begun only if all budgets that are about its tenant cover the most it can
 * cost, counting what is spent and what calls in flight anywhere in the cluster may still cost. So however many calls
 * run side by side, no budget is exceeded. A reservation goes with the ledger's row, in one batch, or expires.
 */
#ifndef WORKER_TENANCY_SPENDING_H
#define WORKER_TENANCY_SPENDING_H

#include "common/context.h"
#include "common/db.h"

struct worker;
struct spending;

struct spending_call {
	struct str debate_id, key;  /* of the step */
	int64_t cost_micro, tokens; /* the most it can cost */
	int64_t hold_ms;            /* a reservation that nobody releases goes after this */
	int64_t deadline_us;        /* monotonic: how long calls in flight may be waited for */
};

enum spending_answer {
	SPENDING_FREE,   /* no budget holds the call; nothing is reserved */
	SPENDING_HELD,   /* reserved: spending_release() with what it has cost */
	SPENDING_REFUSED /* told.why says which budget */
};

struct spending_told {
	char why[200];
	int level;             /* percent, 50, 80 or 100, of a budget that has just been passed; 0: none */
	struct str id, name;   /* of that budget, in the arena */
	int64_t spent, amount; /* of it, micro-dollars */
};

/* The cache of one worker: budgets for a second, sums of what is older than a minute for a minute. The bus is open. */
struct spending *spending_open(struct worker *w);
void spending_close(struct spending *s);
/* A budget of the organization was made, changed or deleted: workers that hear of it look at once. */
void spending_changed(struct worker *w, struct str org_id);

/* Are there budgets that can stop debates of this tenant? As of a second ago; false also if that is not known. */
CO_FN bool spending_applies(struct worker *w, const struct context *ctx);
/* How the budgets that are about a tenant stand; in the arena. */
struct spending_look;
CO_FN bool spending_look(struct worker *w, struct arena *a, const struct context *ctx, struct spending_look **out,
			 struct error *err) MUST_CHECK;
/*
 * What the tightest budget has left, calls in flight subtracted, not below 0: micro-dollars and tokens; -1: no budget
 * counts these.
 */
void spending_left(const struct spending_look *look, int64_t *cost_micro, int64_t *tokens);
/*
 * Waits while only calls in flight stand in the way; when the store fails, until it works or the deadline. look: of a
 * moment ago, saves the first reading; or NULL. Whatever was read, the reservation itself judges anew.
 */
CO_FN enum spending_answer spending_reserve(struct worker *w, struct arena *a, const struct context *ctx,
					    const struct spending_call *call, const struct spending_look *look,
					    struct spending_told *told);
/* Adds to the batch that stores the call's outcome. */
void spending_release(struct db_batch *b, const struct context *ctx, struct str debate_id, struct str key);

#endif
