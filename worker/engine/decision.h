/* SPDX-License-Identifier: MIT */
/*
 * What the engine decides by: the seats of a debate and the documents that its deciding steps journal. Pure functions
 * of the seats; seats that are not `in` are passed over.
 */
#ifndef WORKER_ENGINE_DECISION_H
#define WORKER_ENGINE_DECISION_H

#include "worker/engine/evidence.h"
#include "worker/engine/similarity.h"
#include "worker/engine/step.h"

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
	int64_t sure_ppm;   /* stated with the text; -1: not at all */
	bool ready;         /* said with the last revision that another round is of no use to it */
	int64_t elected;    /* by so many for judge, and by its rating below that */
	json_t *ballots;    /* votes of one voter who sees several orders; of the arena */
	struct seat *twin;  /* whose text is the same and is criticised for both in this round, or NULL */
};

/* What a vote is decided from. */
struct decision_matter {
	const struct debate_plan *plan;
	const struct seat *seats;
	size_t n;
	int64_t threshold_ppm;
	const json_t *ratings;        /* {agent: milli-points} for ties, or NULL */
	const json_t *weights;        /* {agent: ppm} that a person gave to votes, or NULL; one for the others */
	const json_t *audience;       /* [{choice, weight_ppm}] of people, by names of agents; or NULL */
	const json_t *alike;          /* step_alike()'s of the positions of all seats, or NULL */
	struct similarity_memo *memo; /* of their texts, or NULL */
	const json_t *spared;         /* names of those who were not asked for their votes, or NULL */
};

/* How the words of this debate's texts are weighed. */
enum similarity_measure decision_measure(const struct debate_plan *plan);

/*
 * {status, similarity_ppm, agreement_ppm, sure_ppm, agreed}: do independent drafts say the same already? By their
 * positions and how sure the authors are (debate.md 10.3); before engine 4, and among demo agents, by their texts.
 */
json_t *decision_agreement(const struct debate_plan *plan, struct similarity_memo *memo, const struct seat *seats,
			   size_t n);
/*
 * {status converged|refining|diverging, similarity_ppm (least stable text against itself), agreement_ppm (mean between
 * texts), agreed (all positions are one; since engine 4), per_agent, flips [{agent, similarity_ppm}]}. Converged needs
 * both, stable texts and one position: a standing disagreement is none.
 */
json_t *decision_convergence(const struct debate_plan *plan, struct similarity_memo *memo, const struct seat *seats,
			     size_t n);

/*
 * Is the agreement hollow? {severity_ppm, hollow, weak [{agent, lacks [sources|figures|reasons]}]}. Only of English
 * texts that agree: elsewhere nothing is weak.
 */
json_t *decision_hollow(const struct debate_plan *plan, const struct seat *seats, size_t n, int64_t agreement_ppm);

/* What a text of that evidence is short of: [sources|figures|reasons]. New reference. */
json_t *decision_lacks(const struct evidence *v);

/*
 * Sets each seat's twin: the first seat before it with a near-identical text and the same position. Seats that are not
 * in have none.
 */
void decision_twins(const struct debate_plan *plan, struct similarity_memo *memo, struct seat *seats, size_t n);

/*
 * Decisions: {winner, status, reason, verdict, consensus {…}, dissents [], minority []}, the inner ones as in result.h.
 */
json_t *decision_by_vote(const struct decision_matter *m, const struct mode *mode);
/*
 * Is it decided by the votes that are in, whatever others of at most this weight together would say: the leading
 * position has the share that the mode asks for, and more than one half, even if all of them went to one other?
 */
bool decision_is_settled(const struct decision_matter *m, const struct mode *mode, int64_t open_ppm);
/* A vote's weight with what a person has made of it. */
int64_t decision_given_weight(const struct decision_matter *m, const char *agent, int64_t weight_ppm);
/* value: {choice, confidence_ppm, …} of the judge. */
json_t *decision_by_judge(const struct debate_plan *plan, const struct seat *seats, size_t n, struct str judge,
			  const json_t *value);
/* Nobody won: consensus none, or too few took part. */
json_t *decision_open(const struct debate_plan *plan, const struct seat *seats, size_t n, const char *status,
		      const char *reason);

#endif
