/* SPDX-License-Identifier: MIT */
/*
 * What a debate may cost. A paid call is begun only if it fits into what is left when it costs the most it can: its
 * answer is kept as short as that demands, so that the limit holds whatever models write. What calls in flight may
 * still cost is counted as spent. A call whose answer a crash swallowed has cost what nobody knows; it is not counted.
 */
#ifndef WORKER_RUNNER_BUDGET_H
#define WORKER_RUNNER_BUDGET_H

#include "worker/runner/run.h"

struct step_call;

#define BUDGET_SHARE_OF_ONE_CALL 4 /* a call takes at most this part of what is left, or others would go without */

/* Micro-dollars: of finished steps and failed attempts. */
int64_t budget_spent(const struct debate *d);
/* What a call in flight holds. */
struct budget_take {
	int64_t micro, tokens;
};
/*
 * Takes what the call may cost out of the debate's own budgets of money and tokens and lowers *max_tokens (> 0) to what
 * they allow. False: there is not enough for an answer of AGENT_ANSWER_MIN tokens. Without a limit nothing is taken.
 * *taken goes to budget_release().
 */
bool budget_reserve(struct debate *d, const struct step_call *c, int *max_tokens, struct budget_take *taken) MUST_CHECK;
void budget_release(struct debate *d, const struct budget_take *taken);
/*
 * Lowers *max_tokens so that the call takes at most its share of what is left (-1: no limit), but not below
 * AGENT_ANSWER_MIN. False: not even that is covered.
 */
bool budget_cut(const struct step_call *c, int64_t left_micro, int64_t left_tokens, int *max_tokens);
/* The most that a call with so long an answer can cost, micro-dollars; *tokens: in and out. */
int64_t budget_most(const struct step_call *c, int max_tokens, int64_t *tokens);

#endif
