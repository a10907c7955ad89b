/* SPDX-License-Identifier: MIT */
/*
 * What a finished debate says about agreement and disagreement, derived from its result document (result.h) alone. For
 * the API object, exports and explanations. Pure; costs are bounded by the limits below, whatever the debate's size.
 */
#ifndef WORKER_DEBATE_REPORT_H
#define WORKER_DEBATE_REPORT_H

#include <jansson.h>

#define REPORT_ISSUES_MAX 64 /* issues that are compared with each other */
#define REPORT_RISKS_MAX 5   /* unsure votes */
#define REPORT_SEVERE_MAX 3  /* grave critiques of the winner */
#define REPORT_SEVERE_MILLI 7000
#define REPORT_UNSURE_PPM 600000

/*
 * {unanimous_critiques [{target, issue, critics[]}], split_opinions [{position, held_by[], votes}], risk_areas [{kind
 * unsure_vote|severe_critique, agent, detail, confidence|severity}], agreement_score, agent_alignment {agent: [agents
 * who voted for the same position]}}. New reference; NULL without votes and critiques.
 */
json_t *report_disagreement(const json_t *result);
/*
 * {items [{item_id, topic, statement, confidence, agreed, supporting_agents[], dissenting_agents[], dissenting_views[],
 * source, actionable}], overall_consensus}: one item for each position that somebody holds. NULL without a decision.
 */
json_t *report_partial_consensus(const json_t *result);
/* [{claim, target, raised_by, severity, answered}]: the gravest objections, on which the decision hangs. */
json_t *report_cruxes(const json_t *result);

#endif
