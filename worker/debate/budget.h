/* SPDX-License-Identifier: MIT */
/*
 * What a debate may cost. A paid call is begun only if it fits into what is left when it costs the most it can: its
 * answer is kept as short as that demands, so that the limit holds whatever models write. What calls in flight may
 * still cost is counted as spent. A call whose answer a crash swallowed has cost what nobody knows; it is not counted.
 */
#ifndef WORKER_DEBATE_BUDGET_H
#define WORKER_DEBATE_BUDGET_H

#include "worker/debate/run.h"

struct step_call;

#define BUDGET_USD_MAX 100         /* rest-core 4.2: budget_limit_usd */
#define BUDGET_ANSWER_MIN 256      /* tokens; a shorter answer is not worth its call */
#define BUDGET_SHARE_OF_ONE_CALL 4 /* a call takes at most this part of what is left, or others would go without */

/* Micro-dollars: of finished steps and failed attempts. */
int64_t budget_spent(const struct debate *d);
/*
 * Takes what the call may cost out of the budget and lowers *max_tokens (> 0) to what it allows. False: there is not
 * enough for an answer of BUDGET_ANSWER_MIN tokens. Without a limit nothing is taken. *taken goes to budget_release().
 */
bool budget_reserve(struct debate *d, const struct step_call *c, int *max_tokens, int64_t *taken) MUST_CHECK;
void budget_release(struct debate *d, int64_t taken);

#endif
