/* SPDX-License-Identifier: MIT */
/*
 * May another round be paid for? Called by the engine before each. Goes by what the last round has cost and by limits:
 * the debate's own, and those it shares with others, which a journalled step reads. What is too dear all the same is
 * refused call by call (step_call.c).
 */
#include "common/json.h"
#include "worker/engine/course.h"

#define AFFORD_POOR "the budget does not cover another round"
#define AFFORD_DECISION 50 /* percent of a round's money that are kept for the decision */
#define AFFORD_CAREFUL 100 /* the same of tokens (a vote reads all proposals), and where others take from the rest */
#define AFFORD_FIRST 3     /* the first round costs about as much more than the drafts */

static json_t *afford_step(struct step *s, void *arg)
{
	struct engine *e = arg;
	struct event_at at = ask_at(e, s, NULL);

	event_budget(&at, result_spent(&e->result), "critical");
	event_early_stop(&at, "budget", AFFORD_POOR);
	return json_object();
}

CO_FN static bool afford_stop(struct engine *e, bool *settled)
{
	const json_t *said;

	*settled = true;
	result_early_stop(&e->result, e->a, "budget", e->round, AFFORD_POOR);
	return step_run(e->d, "budget", afford_step, e, &said);
}

/* Of what a round costs, and `decision` percent of it for the decision, is there enough? left < 0: nothing limits it.
 */
static bool afford_fits(int64_t cost, int64_t decision, int64_t left)
{
	return left < 0 || cost + cost * decision / 100 <= left;
}

CO_FN bool afford_round(struct engine *e, int round, bool *settled)
{
	int64_t spent = result_spent(&e->result), tokens = result_tokens(&e->result);
	int64_t last = (spent - e->spent_micro) * (round == 1 ? AFFORD_FIRST : 1);
	int64_t last_tokens = (tokens - e->spent_tokens) * (round == 1 ? AFFORD_FIRST : 1);
	const struct debate_plan *plan = e->plan;
	const json_t *left;

	e->spent_micro = spent;
	e->spent_tokens = tokens;
	if ((plan->budget_micro > 0 && !afford_fits(last, AFFORD_DECISION, plan->budget_micro - spent)) ||
	    (plan->budget_tokens > 0 && !afford_fits(last_tokens, AFFORD_CAREFUL, plan->budget_tokens - tokens)))
		return afford_stop(e, settled);
	if (!plan->shared_budgets)
		return true;
	if (!step_budgets(e->d, arena_printf(e->a, "budgets.r%d", round).p, &left))
		return false;
	if (!afford_fits(last, AFFORD_CAREFUL, json_get_int(left, "cost_micro", -1)) ||
	    !afford_fits(last_tokens, AFFORD_CAREFUL, json_get_int(left, "tokens", -1)))
		return afford_stop(e, settled);
	return true;
}
