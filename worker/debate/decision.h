/* SPDX-License-Identifier: MIT */
/*
 * What the engine decides by: the seats of a debate and the documents that its deciding steps journal. Pure functions
 * of the seats; seats that are not `in` are passed over.
 */
#ifndef WORKER_DEBATE_DECISION_H
#define WORKER_DEBATE_DECISION_H

#include "worker/debate/step.h"

/* One participant. */
struct seat {
	const struct agent_spec *agent;
	const char *name;
	bool in;                            /* has a usable proposal; only such seats go on */
	struct str text, position;          /* its proposal as it stands, and the one sentence of it */
	struct str former, former_position; /* the same at the beginning of the round */
	json_t *received;                   /* critiques of this round; of the arena */
	int64_t severity_sum, severity_count;
	const json_t *vote; /* {choice, confidence_ppm, weight_ppm, reasoning}; NULL: none, or abstained */
};

/* {status, similarity_ppm, agreement_ppm, agreed}: do independent drafts say the same already? */
json_t *decision_agreement(const struct debate_plan *plan, const struct seat *seats, size_t n);
/*
 * {status converged|refining|diverging, similarity_ppm (least stable text against itself), agreement_ppm (mean between
 * texts), per_agent, flips [{agent, similarity_ppm}]}. Converged needs both: a standing disagreement is none.
 */
json_t *decision_convergence(const struct seat *seats, size_t n);

/*
 * Is the agreement hollow? {severity_ppm, hollow, weak [{agent, lacks [sources|figures|reasons]}]}. Only of English
 * texts that agree: elsewhere nothing is weak.
 */
json_t *decision_hollow(const struct debate_plan *plan, const struct seat *seats, size_t n, int64_t agreement_ppm);

/* Decisions: {winner, status, reason, verdict, consensus {…}, dissents []}, the inner ones as in debate.h. */
json_t *decision_by_vote(const struct debate_plan *plan, const struct mode *mode, const struct seat *seats, size_t n);
/* value: {choice, confidence_ppm, …} of the judge. */
json_t *decision_by_judge(const struct debate_plan *plan, const struct seat *seats, size_t n, struct str judge,
			  const json_t *value);
/* Nobody won: consensus none, or too few took part. */
json_t *decision_open(const struct debate_plan *plan, const struct seat *seats, size_t n, const char *status,
		      const char *reason);

#endif
