/* SPDX-License-Identifier: MIT */
/*
 * The result document, gathered while the engine goes through the steps: messages, critiques, votes, failures and sums,
 * always in the engine's order, never in order of arrival.
 *
 * It is built from the journal and holds integers, strings, booleans, arrays and objects only:
 *
 *   debate_id, task, status (consensus_reached | completed | failed | timeout | insufficient_participation |
 *     cancelled), reason, demo, engine_version, method, total_rounds, rounds_used, participants[], winner ("": none),
 *     domain (older ones have none), final_answer, synthesis, proposals {agent: text},
 *   consensus {method, reached, threshold_ppm, share_ppm, weighted_share_ppm, margin_ppm, confidence_ppm, strength,
 *     supporting_agents[], dissenting_agents[], groups [{label, agents[], votes, weight_ppm}]},
 *   messages [{role, agent, content, round, at_ms}],
 *   critiques [{round, agent, target_agent, issues[], suggestions[], severity_milli, reasoning}],
 *   votes [{agent, choice, confidence_ppm, weight_ppm, reasoning, continue_debate}],
 *   dissents [{agent, view, reasons[]}], flips [{agent, round}],
 *   agent_failures {agent: [{phase, error_type, message, provider, at_ms}]},
 *   per_agent {agent: {provider, model, calls, failures, tokens_in, tokens_out, cost_micro, ms}},
 *   early_stop {source, round, reason} (absent: none), convergence {status, similarity_ppm, agreement_ppm},
 *   taint {class: count} (taint.h; absent: none), background [{label, source, id, title, dissent, trusted, score_ppm,
 *     cited_by[], in_conclusion}] (absent: the debate did not look),
 *   tokens_in, tokens_out, cost_micro, abandoned_calls, started_at_ms, ended_at_ms, running_ms.
 *
 * Since engine 3 also:
 *
 *   convergence {per_agent {agent: ppm}, ready {seats, of, share_ppm}, stability {kept, moved, groups[], ks_ppm,
 *     score_ppm}}, novelty {per_agent {agent: [ppm]}, mean_ppm}, protocol {},
 *   votes [{stated_ppm (if calibration changed it), factors {<name>_ppm}, ballots, ballots_agreeing}],
 *   consensus {audience {counted, weight_ppm, votes {agent: n}, weights {agent: ppm}}, similarity,
 *     weights {agent: ppm} that a person set},
 *   minority [{position, authors[], held_by[], votes, weight_ppm, reasons[]}].
 *
 * Since engine 4 also: consensus {variance_ppm, not_asked[]}, winning_patterns[], evidence_suggestions (findings.h).
 */
#ifndef WORKER_ENGINE_RESULT_H
#define WORKER_ENGINE_RESULT_H

#include "worker/engine/step.h"

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
/* A proposal or revision; it replaces the agent's former text in "proposals". Returns its text as it is kept. */
struct str result_message(struct result *r, struct str agent, struct str content, int round, int64_t at_ms);
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
