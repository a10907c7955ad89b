/* SPDX-License-Identifier: MIT */
/*
 * Why this answer: what each vote weighed, which critiques changed what, what would have changed the outcome. All of it
 * is computed from the stored result document (worker/engine/result.h); what cannot be is left out, never guessed.
 * Numbers are parts per million.
 */
#ifndef WORKER_EXPLAIN_EXPLAIN_H
#define WORKER_EXPLAIN_EXPLAIN_H

#include <jansson.h>

#include "common/arena.h"

struct route_table;

/*
 * The votes: {votes [{agent, choice, for_winner, confidence_ppm, stated_ppm?, weight_ppm, factors [{name, ppm}],
 * counts_ppm (weight x confidence), share_ppm (of all that was cast), pivotal, reasoning}],
 * recount {agrees, weighted_share_ppm, margin_ppm, reached, winner},
 * counterfactuals [{type, agent?, threshold_ppm?, description, winner, reached, weighted_share_ppm, margin_ppm,
 * changes_winner, changes_outcome}], pivotal_agents []}. Counterfactuals are there only where counting the stored votes
 * again gives the stored outcome: not for judges, nor where votes of people are part of the weight. Cheap: no text is
 * compared. New reference.
 */
json_t *explain_votes(struct arena *a, const json_t *result);

/*
 * What critiques did: {changes [{round, agent, similarity_ppm (of its text to the one before), changed_ppm, flipped}],
 * critiques [{round, critic, target, severity_milli, issues, suggestions, uptake_ppm (how much closer to the critique
 * the new text is than the old one), target_changed_ppm, effect position_changed|taken_up|little|none|unanswered}]}.
 * Compares texts: for the cpu lane. New reference.
 */
json_t *explain_changes(struct arena *a, const json_t *result);

/*
 * Everything: {debate_id, task, method, conclusion, winner, reached, …, summary, the members of both above, dissents,
 * evidence_chain [{kind, label, agent, round, text, cited_by?}]}. For the cpu lane. New reference.
 */
json_t *explain_result(struct arena *a, const json_t *result);

/* One paragraph in words. In the arena. */
struct str explain_summary(struct arena *a, const json_t *explanation);
/* The explanation as Markdown, or as a self-contained page without scripts. In the arena. */
struct str explain_markdown(struct arena *a, const json_t *explanation);
struct str explain_html(struct arena *a, const json_t *explanation);

extern const struct route_table explain_routes;

#endif
