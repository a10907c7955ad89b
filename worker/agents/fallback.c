/* SPDX-License-Identifier: MIT */
/*
 * Who answers when an agent's own provider does not: the same model at OpenRouter, then a model that stands in for it
 * there, then a local one (debate.md 6.3, 6.4). Called by the steps of a debate. Retries are not its matter.
 */
#include "common/clock.h"
#include "common/metrics.h"
#include "worker/agents/agents.h"
#include "worker/agents/registry.h"

#define FALLBACK_PROVIDERS 5         /* asked for one call, its own included, debate.md 6.3 */
#define FALLBACK_TIME (120 * SEC_US) /* no further one is begun after that */

/* The ways that are left, in order. */
enum fallback_level { LEVEL_ROUTER, LEVEL_SECOND, LEVEL_OLLAMA, LEVEL_LM_STUDIO, LEVEL_COMPATIBLE, LEVEL_MAX };

static const enum conf_provider_id fallback_local[LEVEL_MAX] = {
    [LEVEL_OLLAMA] = PROVIDER_OLLAMA, [LEVEL_LM_STUDIO] = PROVIDER_LM_STUDIO, [LEVEL_COMPATIBLE] = PROVIDER_COMPATIBLE};

/* Would another door help? What would be refused there too, is not tried (debate.md 6.3). */
static bool fallback_helps(const struct agent_request *req, const struct agent_reply *r)
{
	switch (r->fail) {
	case AGENT_FAIL_RATE:
	case AGENT_FAIL_QUOTA:
	case AGENT_FAIL_AUTH:
	case AGENT_FAIL_BREAKER:
		return true;
	case AGENT_FAIL_CONNECTION:
		return req->last_attempt || r->status == 504 || r->status == 524;
	case AGENT_FAIL_TIMEOUT:
		return req->last_attempt;
	case AGENT_OK:
	case AGENT_FAIL_API:
	case AGENT_FAIL_PARSE:
	case AGENT_FAIL_EMPTY:
	case AGENT_FAIL_FILTER:
	case AGENT_FAIL_BUDGET:
	case AGENT_FAIL_CANCELLED:
	case AGENT_FAIL_MAX:
		break;
	}
	return false;
}

static bool fallback_over(enum agent_fail fail)
{
	return fail == AGENT_OK || fail == AGENT_FAIL_CANCELLED || fail == AGENT_FAIL_FILTER ||
	       fail == AGENT_FAIL_BUDGET;
}

/* The seat at this level, given who was asked last and what came of it. */
static bool fallback_seat(const struct conf *c, struct arena *a, enum fallback_level level,
			  const struct agent_spec *own, const struct agent_spec *last, enum agent_fail fail,
			  struct agent_spec *out)
{
	enum conf_provider_id id = fallback_local[level];

	if (level == LEVEL_ROUTER)
		return c->debates.openrouter_fallback && registry_stand_in(c, a, own, out);
	if (level == LEVEL_SECOND) /* a bill or a key that is refused is so for every model there */
		return c->debates.openrouter_fallback && fail != AGENT_FAIL_AUTH && fail != AGENT_FAIL_QUOTA &&
		       registry_second(c, last, out);
	if (!c->debates.local_fallback || !registry_usable(c, id) || str_eqz(own->provider, conf_provider_name(id)))
		return false;
	*out = *own;
	out->provider = str_of(conf_provider_name(id));
	out->model = str_of(registry_model(c, id));
	agents_price(out->provider, out->model, &out->price_in, &out->price_out);
	return true;
}

/* What failed on the way was paid for all the same. */
static void fallback_pay(struct agent_reply *to, const struct agent_reply *from)
{
	to->tokens_in += from->tokens_in;
	to->tokens_out += from->tokens_out;
	to->cost_micro += from->cost_micro;
}

/* Lowers *max_tokens to what is left of the purse for this seat; false: not even a short answer is covered. */
static bool fallback_afford(const struct agent_request *req, const struct agent_reply *paid,
			    const struct agent_spec *seat, int *max_tokens)
{
	int64_t most = req->max_tokens > 0 ? req->max_tokens : AGENT_MAX_TOKENS, money;
	int64_t prompt = agents_prompt_tokens(req->system.n + req->prompt.n);

	if (req->purse == NULL)
		return true;
	if (req->purse->tokens >= 0 && req->purse->tokens - paid->tokens_in - paid->tokens_out - prompt < most)
		most = req->purse->tokens - paid->tokens_in - paid->tokens_out - prompt;
	money = req->purse->micro - paid->cost_micro - agents_cost(prompt, seat->price_in);
	if (req->purse->micro >= 0 && agents_cost(most, seat->price_out) > money)
		most = seat->price_out > 0 && money > 0 ? (int64_t)((__int128)money * 1000000 / seat->price_out) : 0;
	*max_tokens = (int)most;
	return most >= AGENT_ANSWER_MIN;
}

CO_FN bool agent_call(struct agents *ag, struct arena *arena, const struct agent_request *req,
		      struct agent_reply *reply)
{
	const struct conf *c = ag->w->conf;
	struct agent_request again = *req;
	struct agent_spec seats[FALLBACK_PROVIDERS], *last = &seats[0];
	enum agent_fail fail;
	struct agent_reply next;
	int64_t start = clock_mono_us();
	unsigned level;

	call_attempt(ag, arena, req, reply);
	if (!fallback_helps(req, reply))
		return reply->fail == AGENT_OK;
	*last = *req->agent;
	fail = reply->fail;
	for (level = 0; level < LEVEL_MAX && last < seats + FALLBACK_PROVIDERS - 1; level++) {
		if (clock_mono_us() - start > FALLBACK_TIME || co_scope_ended(co_scope_current()))
			break;
		if (!fallback_seat(c, arena, level, req->agent, last, fail, last + 1) ||
		    !fallback_afford(req, reply, last + 1, &again.max_tokens))
			continue;
		again.agent = ++last;
		if (reply->text.n > 0) /* watchers have read the beginning of an answer: they get the next one whole */
			again.on_text = NULL;
		call_attempt(ag, arena, &again, &next);
		if (next.text.n > 0)
			again.on_text = NULL;
		metric_add(M_AGENT_FALLBACKS, 1, agent_fail_name(reply->fail), NULL);
		fail = next.fail;
		if (fail == AGENT_OK || fail == AGENT_FAIL_CANCELLED) {
			next.replaced = reply->fail;
			fallback_pay(&next, reply);
			*reply = next;
		} else {
			fallback_pay(reply, &next);
		}
		if (fallback_over(fail))
			break;
	}
	return reply->fail == AGENT_OK;
}
