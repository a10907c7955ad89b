/* SPDX-License-Identifier: MIT */
/*
 * What can be learnt from a decided debate besides its answer: what sets the winning texts apart, and which texts ask
 * for evidence. Pure functions of the seats, called inside the deciding step.
 */
#ifndef WORKER_ENGINE_FINDINGS_H
#define WORKER_ENGINE_FINDINGS_H

#include "worker/engine/decision.h"

/*
 * Adds to a decision:
 *   winning_patterns [sentence]: in what the texts of the winning position are ahead of all others,
 *   evidence_suggestions [{agent, position, lacks [sources|figures|reasons], suggestion}].
 * Measures of wording, of English texts only; without a winner there is no pattern, and of demo agents nothing at all.
 */
void findings_add(const struct debate_plan *plan, const struct seat *seats, size_t n, json_t *decision);

#endif
