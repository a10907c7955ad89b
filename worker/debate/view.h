/* SPDX-License-Identifier: MIT */
/*
 * Debates as API objects: shares become numbers from 0 to 1, milliseconds become ISO times, every name that a client
 * knows a field by is there (rest-core 4.3, debate.md 9).
 */
#ifndef WORKER_DEBATE_VIEW_H
#define WORKER_DEBATE_VIEW_H

#include "worker/debate/debate.h"

/* Row of a list. New reference. */
json_t *view_summary(struct arena *a, const struct debate_row *row);
/* The full object; the result document adds messages, rounds, votes, costs when there is one. New reference. */
json_t *view_debate(struct arena *a, const struct debate_row *row);
/* GET …/status. `subscribers` on this worker. New reference. */
json_t *view_status(struct arena *a, const struct debate_row *row, unsigned subscribers);
/* Status as clients know it: queued -> created, timeout -> failed. Static text. */
const char *view_status_word(const struct debate_row *row);
/* Turns the integers of a result document into what clients read, in place (share_ppm -> share …). */
void view_floats(json_t *doc);
/* {index, role, content, agent, round, timestamp} of each message of a result or of the log's envelopes. New reference.
 */
json_t *view_messages(const json_t *result);

/* Gives a debate messages (taken over) and the rounds they make. */
void view_said(json_t *debate, json_t *messages, int64_t rounds);
/* Names of a plan's agents. New reference. */
json_t *view_agent_names(const json_t *plan);

#endif
