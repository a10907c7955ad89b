/* SPDX-License-Identifier: MIT */
/*
 * Does another round pay? What a round has brought that was not said before, who says that he is ready, and whether
 * positions still move. Pure functions of seats and messages, called inside the step that closes a round.
 */
#ifndef WORKER_ENGINE_PROGRESS_H
#define WORKER_ENGINE_PROGRESS_H

#include "worker/engine/decision.h"

#define PROGRESS_EARLIER_MAX 64 /* earlier texts that a new one is compared with, the latest ones */

/*
 * Adds to the closing value of a round ("flips" and "status" are in it):
 *   ready {seats, of, share_ppm}, novelty {agent: ppm} of the texts of this round, stale [agent] whom to challenge,
 *   stability {kept, moved, groups[], ks_ppm, score_ppm}.
 * before: the stability of the round before, or NULL; messages: of the result so far.
 */
void progress_add(const struct debate_plan *plan, struct similarity_memo *memo, const struct seat *seats, size_t n,
		  const json_t *messages, int round, const json_t *before, json_t *value);
/* Novelty of the texts of a round: 1 - their greatest likeness to any of the earlier messages. {agent: ppm}. */
json_t *progress_novelty(enum similarity_measure how, struct similarity_memo *memo, const json_t *messages, int round);
/* Sizes of the groups of equal positions, greatest first. */
json_t *progress_groups(const struct debate_plan *plan, struct similarity_memo *memo, const struct seat *seats,
			size_t n);

/* Why no further round is needed: "convergence", "ready_quorum", "stability"; NULL: it is. */
const char *progress_stop(const struct debate_plan *plan, int round, const json_t *value);
/* The same for people. */
const char *progress_reason(const char *source);

#endif
