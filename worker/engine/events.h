/* SPDX-License-Identifier: MIT */
/*
 * What a debate says to those who watch: one function per event type of the engine, with the field names that existing
 * clients read (some under two names). Called inside steps; real numbers are allowed here, nothing of this is hashed.
 */
#ifndef WORKER_ENGINE_EVENTS_H
#define WORKER_ENGINE_EVENTS_H

#include "worker/engine/step.h"

/* Where an event belongs. `agent` is NUL-terminated or NULL. */
struct event_at {
	const struct debate_plan *plan;
	struct step *step;
	const char *agent;
	int round;
};

void event_debate_start(const struct event_at *at);
void event_round_start(const struct event_at *at, const char *phase);
void event_round_end(const struct event_at *at, int64_t duration_ms);
/* kind: proposal, revision. confidence_ppm < 0: not stated. */
void event_message(const struct event_at *at, const char *kind, struct str content, int64_t confidence_ppm);
/* value as in result_critique(); content is the critique as written. */
void event_critique(const struct event_at *at, struct str target, const json_t *value, struct str content);
/* value as in result_vote(). */
void event_vote(const struct event_at *at, const json_t *value);
void event_phase(const struct event_at *at, const char *phase, size_t completed, size_t total);
/* value: {status, similarity_ppm, agreement_ppm, per_agent}. */
void event_convergence(const struct event_at *at, const json_t *value);
void event_early_stop(const struct event_at *at, const char *source, const char *reason);
/* budget_alert: the debate ends its rounds to keep within its budget. */
void event_budget(const struct event_at *at, int64_t spent_micro, const char *level);
/* value: of decision_hollow(); told as hollow_consensus and as trickster_intervention. */
void event_hollow(const struct event_at *at, const json_t *value, const char *challenge);
/* value: of a round's close with "stale" agents; told as trickster_intervention too. */
void event_novelty(const struct event_at *at, const json_t *value, const char *challenge);
/* Goal, cognitive roles and stances of a round, where the protocol gives any; challenged as in role_of(). */
void event_roles(const struct event_at *at, bool challenged);
void event_flip(const struct event_at *at, struct str before, struct str after, int64_t similarity_ppm);
/* One remark of a person that the next prompts will carry. */
void event_intervention(const struct event_at *at, const json_t *item, struct str text);
/* decision as in result_end; also consensus_reached when it was. */
void event_consensus(const struct event_at *at, const json_t *decision, struct str status, struct str answer,
		     const json_t *failures);
void event_synthesis(const struct event_at *at, struct str content, int64_t confidence_ppm);

#endif
