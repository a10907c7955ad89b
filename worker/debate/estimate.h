/* SPDX-License-Identifier: MIT */
/*
 * What a debate will probably cost, before there is one: calls of the engine's own course times texts of a common
 * length, at the prices of the price file. Pure. An upper figure: rounds that are not needed are not held.
 */
#ifndef WORKER_DEBATE_ESTIMATE_H
#define WORKER_DEBATE_ESTIMATE_H

#include <jansson.h>

#include "worker/agents/agent.h"

struct estimate {
	int64_t calls, tokens_in, tokens_out;
};

/* One agent's part of a debate of so many agents and rounds: draft, critiques, revisions, vote. */
struct estimate estimate_agent(int64_t agents, int64_t rounds);
/* The part of the agent that writes the conclusion, besides. */
struct estimate estimate_conclusion(int64_t agents);
/* Micro-dollars, at prices in micro-dollars per million tokens; rounded up. */
int64_t estimate_cost(const struct estimate *e, int64_t price_in, int64_t price_out);
/*
 * {total_estimated_cost_usd, breakdown_by_model [{model, provider, agents, calls, tokens_in, tokens_out,
 * price_in_usd_per_million, price_out_usd_per_million, estimated_cost_usd}], assumptions {…}, num_agents, num_rounds,
 * total_estimated_calls, total_estimated_tokens}. Seats are taken from the specs in turn; n >= 1. New reference.
 */
json_t *estimate_debate(const struct agent_spec *specs, size_t n, int64_t agents, int64_t rounds);

#endif
