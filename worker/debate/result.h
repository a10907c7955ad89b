/* SPDX-License-Identifier: MIT */
/*
 * The result document, gathered while the engine goes through the steps: messages, critiques, votes, failures and sums,
 * always in the engine's order, never in order of arrival. debate.h describes the document.
 */
#ifndef WORKER_DEBATE_RESULT_H
#define WORKER_DEBATE_RESULT_H

#include "worker/debate/step.h"

struct result {
	const struct debate_plan *plan;
	json_t *messages, *critiques, *votes, *flips, *failures, *per_agent, *proposals; /* of the arena */
	json_t *early_stop;                                                              /* NULL: none */
	json_t *convergence;
	int64_t other_tokens, other_micro; /* of calls that no agent made */
};

void result_open(struct result *r, struct arena *a, const struct debate_plan *plan);
/* Adds a call's tokens, cost and failure. `call` is the result of step_call(). */
void result_call(struct result *r, const struct agent_spec *agent, const char *phase, const json_t *call);
/* Adds what a call besides the agents' cost; value has tokens_in and cost_micro if it cost anything. */
void result_other(struct result *r, const json_t *value);
/* Micro-dollars so far. */
int64_t result_spent(const struct result *r);
/* Tokens so far, in and out. */
int64_t result_tokens(const struct result *r);
/* A proposal or revision; it replaces the agent's former text in "proposals". */
void result_message(struct result *r, struct str agent, struct str content, int round, int64_t at_ms);
/* value: {issues[], suggestions[], severity_milli, reasoning}. */
void result_critique(struct result *r, struct str critic, struct str target, int round, const json_t *value);
/* value: {choice, confidence_ppm, weight_ppm, reasoning, continue_debate}. */
void result_vote(struct result *r, struct str agent, const json_t *value);
void result_flip(struct result *r, struct str agent, int round);
void result_early_stop(struct result *r, struct arena *a, const char *source, int round, const char *reason);

struct result_end {
	const char *status;
	struct str reason;
	struct str final_answer, synthesis;
	const json_t *decision; /* {winner, consensus{…}, dissents[]} or NULL: none was taken */
	json_t *novelty;        /* {agent: [ppm of each text]} */
	int rounds_used;
	int64_t started_at_ms; /* 0: never started */
	int64_t ended_at_ms;   /* 0: left to debate_finish(), which knows the time */
	int64_t running_ms;
};
/* New reference. */
json_t *result_document(const struct result *r, const struct result_end *end);

#endif
