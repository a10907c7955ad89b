/* SPDX-License-Identifier: MIT */
/*
 * The estimate of a debate's cost, see estimate.h. Called by stats_api.c. Asks no provider and no store.
 */
#include "worker/debate/estimate.h"

#include "common/json.h"
#include "worker/engine/topology.h"

/* Tokens of texts as models commonly write them in these phases; what is told as the answer's assumptions. */
static const struct {
	const char *name;
	int64_t tokens;
} estimate_texts[] = {{"instructions", 400}, {"draft", 600}, {"critique", 300},
		      {"revision", 700},     {"vote", 120},  {"conclusion", 600}};
enum estimate_text { INSTRUCTIONS, DRAFT, CRITIQUE, REVISION, VOTE, CONCLUSION };

static int64_t estimate_of(enum estimate_text t)
{
	return estimate_texts[t].tokens;
}

static void estimate_add(struct estimate *e, int64_t calls, int64_t in, int64_t out)
{
	e->calls += calls;
	e->tokens_in += calls * (estimate_of(INSTRUCTIONS) + in);
	e->tokens_out += calls * out;
}

struct estimate estimate_agent(int64_t agents, int64_t rounds)
{
	int64_t others = agents - 1, critics = agents <= TOPOLOGY_ALL_UP_TO ? others : 2;
	struct estimate e = {0, 0, 0};

	estimate_add(&e, 1, 0, estimate_of(DRAFT));
	estimate_add(&e, rounds * critics, estimate_of(REVISION), estimate_of(CRITIQUE));
	estimate_add(&e, rounds, estimate_of(REVISION) + critics * estimate_of(CRITIQUE), estimate_of(REVISION));
	estimate_add(&e, 1, agents * estimate_of(REVISION), estimate_of(VOTE));
	return e;
}

struct estimate estimate_conclusion(int64_t agents)
{
	struct estimate e = {0, 0, 0};

	estimate_add(&e, 1, agents * estimate_of(REVISION), estimate_of(CONCLUSION));
	return e;
}

int64_t estimate_cost(const struct estimate *e, int64_t price_in, int64_t price_out)
{
	return (e->tokens_in * price_in + e->tokens_out * price_out + 999999) / 1000000;
}

static json_t *estimate_usd(int64_t micro)
{
	return json_real((double)micro / 1e6);
}

static json_t *estimate_assumptions(int64_t agents, int64_t rounds)
{
	json_t *o = json_object(), *texts = json_object();
	size_t i;

	for (i = 0; i < countof(estimate_texts); i++)
		json_put_int(texts, estimate_texts[i].name, estimate_texts[i].tokens);
	json_object_set_new(o, "tokens_of_a_text", texts);
	json_put_int(o, "critics_of_a_text", agents <= TOPOLOGY_ALL_UP_TO ? agents - 1 : 2);
	json_put_int(o, "rounds_held", rounds);
	json_put_str(o, "note",
		     STR("All rounds are held and no call is repeated; a debate whose agents agree earlier costs less, "
			 "long context, documents and what earlier debates left cost more."));
	return o;
}

/* The row of the agent's model in the list, made if need be. */
static json_t *estimate_row(json_t *list, const struct agent_spec *s)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) if (str_eq(json_get_str(o, "model", STR("")), s->model) &&
					   str_eq(json_get_str(o, "provider", STR("")), s->provider)) return o;
	o = json_object();
	json_put_str(o, "model", s->model);
	json_put_str(o, "provider", s->provider);
	json_object_set_new(o, "price_in_usd_per_million", estimate_usd(s->price_in));
	json_object_set_new(o, "price_out_usd_per_million", estimate_usd(s->price_out));
	json_array_append_new(list, o);
	return o;
}

static void estimate_sum(json_t *o, const char *key, int64_t more)
{
	json_put_int(o, key, json_get_int(o, key, 0) + more);
}

json_t *estimate_debate(const struct agent_spec *specs, size_t n, int64_t agents, int64_t rounds)
{
	json_t *o = json_object(), *list = json_array();
	int64_t i, cost, total = 0, calls = 0, tokens = 0;

	BUG_ON(n == 0);
	for (i = 0; i < agents; i++) {
		const struct agent_spec *s = &specs[(size_t)i % n];
		struct estimate e = estimate_agent(agents, rounds), end = estimate_conclusion(agents);
		json_t *row = estimate_row(list, s);

		if (i == 0) {
			e.calls += end.calls;
			e.tokens_in += end.tokens_in;
			e.tokens_out += end.tokens_out;
		}
		cost = estimate_cost(&e, s->price_in, s->price_out);
		total += cost;
		calls += e.calls;
		tokens += e.tokens_in + e.tokens_out;
		estimate_sum(row, "agents", 1);
		estimate_sum(row, "calls", e.calls);
		estimate_sum(row, "tokens_in", e.tokens_in);
		estimate_sum(row, "tokens_out", e.tokens_out);
		json_object_set_new(row, "estimated_cost_usd",
				    json_real(json_get_num(row, "estimated_cost_usd", 0) + (double)cost / 1e6));
	}
	json_object_set_new(o, "total_estimated_cost_usd", estimate_usd(total));
	json_object_set_new(o, "breakdown_by_model", list);
	json_object_set_new(o, "assumptions", estimate_assumptions(agents, rounds));
	json_put_int(o, "num_agents", agents);
	json_put_int(o, "num_rounds", rounds);
	json_put_int(o, "total_estimated_calls", calls);
	json_put_int(o, "total_estimated_tokens", tokens);
	return o;
}
