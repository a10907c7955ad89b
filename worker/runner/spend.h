/* SPDX-License-Identifier: MIT */
/*
 * A debate and the budgets it shares with others (worker/tenancy/spending.h): taken before a paid call, told of in its
 * events, read before a round.
 */
#ifndef WORKER_RUNNER_SPEND_H
#define WORKER_RUNNER_SPEND_H

#include "worker/runner/run.h"
#include "worker/tenancy/spending.h"

struct step_call;

/*
 * Lowers *max_tokens to a share of what is left and reserves the most that the call can cost then. False: a budget does
 * not cover it, told->why says which. The reservation goes with the batch that stores the call's outcome. Waits while
 * only other calls in flight stand in the way.
 */
CO_FN bool spend_take(struct debate *d, const struct step_call *c, const char *key, int *max_tokens,
		      int64_t deadline_us, struct spending_told *told);
/*
 * Emits budget_alert for a mark (50, 80, 100 percent) of a shared budget that was passed, and for those of the debate's
 * own budget that the call passes with what it has cost.
 */
void spend_tell(struct step *s, const struct step_call *c, int64_t cost_micro, const struct spending_told *told);

#endif
