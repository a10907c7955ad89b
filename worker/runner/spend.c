/* SPDX-License-Identifier: MIT */
/*
 * Shared budgets as steps of a debate see them (spend.h). Called by step_call.c and, for the rest of the budgets, by
 * the engine through step.h. Demo debates and debates apart from a server cost nobody anything and are left alone.
 */
#include "worker/runner/spend.h"

#include "common/json.h"
#include "common/log.h"
#include "worker/runner/budget.h"
#include "worker/runner/journal.h"
#include "worker/worker.h"

#define SPEND_GRACE_MS 60000 /* between the end of a call's time and that of its reservation */

static const int spend_marks[] = {50, 80, 100};

CO_FN bool spend_take(struct debate *d, const struct step_call *c, const char *key, int *max_tokens,
		      int64_t deadline_us, struct spending_told *told)
{
	struct spending_call call = {.debate_id = d->plan.debate_id,
				     .key = str_of(key),
				     .hold_ms = d->plan.agent_timeout_ms + SPEND_GRACE_MS,
				     .deadline_us = deadline_us};
	struct spending_look *look = NULL;
	enum spending_answer answer;
	struct error err = ERROR_INIT;
	int64_t cost, tokens;

	*told = (struct spending_told){.level = 0};
	if (d->plan.demo || d->keeper != NULL)
		return true;
	/* What calls in flight hold is waited for below; so a rest that covers nothing does not end it here. */
	if (spending_look(d->w, d->arena, &d->ctx, &look, &err)) {
		spending_left(look, &cost, &tokens);
		(void)budget_cut(c, cost, tokens, max_tokens);
	}
	call.cost_micro = budget_most(c, *max_tokens, &call.tokens);
	answer = spending_reserve(d->w, d->arena, &d->ctx, &call, look, told);
	d->holds_budget = d->holds_budget || answer == SPENDING_HELD;
	return answer != SPENDING_REFUSED;
}

static void spend_alert(struct step *s, const struct step_call *c, struct str id, struct str name, int mark,
			int64_t spent, int64_t limit)
{
	json_t *o = json_object();

	json_put_str(o, "debate_id", s->d->plan.debate_id);
	json_put_str(o, "budget_id", id);
	json_put_str(o, "budget_name", name);
	json_put_str(o, "level", str_of(mark >= 100 ? "critical" : mark >= 80 ? "warning" : "info"));
	json_put_int(o, "threshold", mark);
	json_object_set_new(o, "percentage", json_real(limit > 0 ? 100.0 * (double)spent / (double)limit : 100.0));
	json_object_set_new(o, "current_spend", json_real((double)spent / 1e6));
	json_object_set_new(o, "limit", json_real((double)limit / 1e6));
	step_emit(s, "budget_alert", "", c->round, o);
}

void spend_tell(struct step *s, const struct step_call *c, int64_t cost_micro, const struct spending_told *told)
{
	struct debate *d = s->d;
	int64_t limit = d->plan.budget_micro, before, after;
	size_t i;

	if (told->level > 0)
		spend_alert(s, c, told->id, told->name, told->level, told->spent, told->amount);
	if (limit <= 0 || d->plan.demo)
		return;
	before = budget_spent(d);
	after = before + cost_micro;
	for (i = 0; i < countof(spend_marks); i++) {
		int64_t mark = (int64_t)((__int128)limit * spend_marks[i] / 100);

		if (after < mark || (d->marks_told >> i & 1U) != 0)
			continue;
		d->marks_told |= 1U << i;
		if (before < mark) /* else it was told in an earlier run */
			spend_alert(s, c, d->plan.debate_id, STR("debate"), spend_marks[i], after, limit);
	}
}

static json_t *spend_keep(struct step *s, void *arg)
{
	(void)s;
	return json_incref(arg);
}

CO_FN bool step_budgets(struct debate *d, const char *key, const json_t **result)
{
	struct error err = ERROR_INIT;
	int64_t cost = -1, tokens = -1;
	struct spending_look *look;
	json_t *left;
	bool ok;

	*result = step_done(d, key);
	if (*result != NULL)
		return true;
	if (!step_may_start(d, key))
		return false;
	if (d->keeper == NULL && spending_look(d->w, d->arena, &d->ctx, &look, &err))
		spending_left(look, &cost, &tokens);
	else if (d->keeper == NULL)
		log_warn("debate", "the budgets cannot be read", KV_S("reason", err.msg));
	left = json_pack("{s:I, s:I}", "cost_micro", (json_int_t)cost, "tokens", (json_int_t)tokens);
	ok = step_run(d, key, spend_keep, left, result);
	json_decref(left);
	return ok;
}
