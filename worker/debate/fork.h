/* SPDX-License-Identifier: MIT */
/*
 * What another debate is made from: the body that would create a debate again, what was said in it up to a round, the
 * questions that it leaves open. Pure; fork_api.c makes debates of it.
 */
#ifndef WORKER_DEBATE_FORK_H
#define WORKER_DEBATE_FORK_H

#include <jansson.h>

#include "common/arena.h"

/* The creation body of a plan: question, context, agents, rounds, mode. In the arena. */
json_t *fork_body(struct arena *a, const json_t *plan);

/*
 * What was said up to the end of a round, as text for agents, without names; the oldest is left out first where it is
 * too much. messages: [{agent, round, content}] in order. *inherited: how many messages it holds.
 */
struct str fork_history(struct arena *a, const json_t *messages, int64_t round, int64_t *inherited);

/*
 * The questions that a result leaves open, most urgent first, at most 10: dissents, objections to the winner that
 * nobody answered, positions without a decision. [{id, crux_id, topic, question, rationale, priority,
 * estimated_value}]. In the arena.
 */
json_t *fork_suggestions(struct arena *a, const json_t *result);

/* What a debate came to, as context for one that goes on from it. `result` may be NULL: nothing yet. */
struct str fork_outcome(struct arena *a, struct str task, const json_t *result, struct str why);

#endif
