/* SPDX-License-Identifier: MIT */
/*
 * Reservations of one debate against its limit. Called by step_call.c around each attempt. Keeps nothing that the
 * journal does not say but the sum of the calls in flight.
 */
#include "worker/runner/budget.h"

#include "common/json.h"
#include "worker/engine/step.h"

int64_t budget_spent(const struct debate *d)
{
	const char *key;
	json_t *entry;
	int64_t sum = 0;

	json_object_foreach(d->journal, key, entry) sum +=
	    json_get_int(json_object_get(entry, "result"), "cost_micro", 0);
	return sum;
}

static int64_t budget_prompt(const struct step_call *c)
{
	return agents_prompt_tokens(c->system.n + c->prompt.n);
}

int64_t budget_most(const struct step_call *c, int max_tokens, int64_t *tokens)
{
	*tokens = budget_prompt(c) + max_tokens;
	return agents_cost(budget_prompt(c), c->agent->price_in) + agents_cost(max_tokens, c->agent->price_out);
}

static int64_t budget_tokens_spent(const struct debate *d)
{
	const char *key;
	json_t *entry;
	int64_t sum = 0;

	json_object_foreach(d->journal, key, entry) sum +=
	    json_get_int(json_object_get(entry, "result"), "tokens_in", 0) +
	    json_get_int(json_object_get(entry, "result"), "tokens_out", 0);
	return sum;
}

/* Lowers *max_tokens to what a share of the rest allows; false, at the least, when not even that is covered. */
static bool budget_cut_money(const struct step_call *c, int64_t left, int *max_tokens)
{
	int64_t price = c->agent->price_out, prompt = agents_cost(budget_prompt(c), c->agent->price_in);
	int64_t least = prompt + agents_cost(AGENT_ANSWER_MIN, price), most;

	if (c->agent->price_in <= 0 && price <= 0)
		return true;
	most = left / BUDGET_SHARE_OF_ONE_CALL > least ? left / BUDGET_SHARE_OF_ONE_CALL : least;
	if (price > 0 && prompt + agents_cost(*max_tokens, price) > most)
		*max_tokens = (int)((__int128)(most - prompt) * 1000000 / price);
	return least <= left;
}

/* The same for tokens. */
static bool budget_cut_tokens(const struct step_call *c, int64_t left, int *max_tokens)
{
	int64_t prompt = budget_prompt(c), least = prompt + AGENT_ANSWER_MIN, most;

	most = left / BUDGET_SHARE_OF_ONE_CALL > least ? left / BUDGET_SHARE_OF_ONE_CALL : least;
	if (prompt + *max_tokens > most)
		*max_tokens = (int)(most - prompt);
	return least <= left;
}

bool budget_cut(const struct step_call *c, int64_t left_micro, int64_t left_tokens, int *max_tokens)
{
	bool money = left_micro < 0 || budget_cut_money(c, left_micro, max_tokens);
	bool tokens = left_tokens < 0 || budget_cut_tokens(c, left_tokens, max_tokens);

	return money && tokens;
}

/* -1: no limit; what is overdrawn counts as nothing. */
static int64_t budget_left(int64_t limit, int64_t spent)
{
	return limit <= 0 ? -1 : limit > spent ? limit - spent : 0;
}

bool budget_reserve(struct debate *d, const struct step_call *c, int *max_tokens, struct budget_take *taken)
{
	*taken = (struct budget_take){0, 0};
	if (d->plan.demo || (d->plan.budget_micro <= 0 && d->plan.budget_tokens <= 0))
		return true;
	if (!budget_cut(c, budget_left(d->plan.budget_micro, budget_spent(d) + d->reserved_micro),
			budget_left(d->plan.budget_tokens, budget_tokens_spent(d) + d->reserved_tokens), max_tokens))
		return false;
	taken->micro = budget_most(c, *max_tokens, &taken->tokens);
	d->reserved_micro += taken->micro;
	d->reserved_tokens += taken->tokens;
	return true;
}

void budget_release(struct debate *d, const struct budget_take *taken)
{
	d->reserved_micro -= taken->micro;
	d->reserved_tokens -= taken->tokens;
}
