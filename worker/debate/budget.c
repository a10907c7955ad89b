/* SPDX-License-Identifier: MIT */
/*
 * Reservations of one debate against its limit. Called by step_call.c around each attempt. Keeps nothing that the
 * journal does not say but the sum of the calls in flight.
 */
#include "worker/debate/budget.h"

#include "common/json.h"
#include "worker/debate/step.h"

#define BUDGET_BYTES_A_TOKEN 3 /* of a prompt, at the least that is common: English has about four */

int64_t budget_spent(const struct debate *d)
{
	const char *key;
	json_t *entry;
	int64_t sum = 0;

	json_object_foreach(d->journal, key, entry) sum +=
	    json_get_int(json_object_get(entry, "result"), "cost_micro", 0);
	return sum;
}

/* Micro-dollars of so many tokens, rounded up. */
static int64_t budget_cost(int64_t tokens, int64_t price)
{
	return (int64_t)(((__int128)tokens * price + 999999) / 1000000);
}

bool budget_reserve(struct debate *d, const struct step_call *c, int *max_tokens, int64_t *taken)
{
	int64_t in = (int64_t)(c->system.n + c->prompt.n) / BUDGET_BYTES_A_TOKEN + 1;
	int64_t prompt = budget_cost(in, c->agent->price_in), price = c->agent->price_out;
	int64_t least = prompt + budget_cost(BUDGET_ANSWER_MIN, price), most, left;

	*taken = 0;
	if (d->plan.budget_micro <= 0 || (c->agent->price_in <= 0 && price <= 0))
		return true;
	left = d->plan.budget_micro - budget_spent(d) - d->reserved_micro;
	if (least > left)
		return false;
	most = left / BUDGET_SHARE_OF_ONE_CALL > least ? left / BUDGET_SHARE_OF_ONE_CALL : least;
	if (price > 0 && prompt + budget_cost(*max_tokens, price) > most)
		*max_tokens = (int)((__int128)(most - prompt) * 1000000 / price);
	*taken = prompt + budget_cost(*max_tokens, price);
	d->reserved_micro += *taken;
	return true;
}

void budget_release(struct debate *d, int64_t taken)
{
	d->reserved_micro -= taken;
}
