/* SPDX-License-Identifier: MIT */
/*
 * The events of what a step takes out of the inbox (websocket.md 3.3).
 */
#ifndef WORKER_DEBATE_INBOX_EVENTS_H
#define WORKER_DEBATE_INBOX_EVENTS_H

#include "worker/engine/step.h"

/*
 * Emits user_vote, user_suggestion and audience_suggestion for the items ({id, kind, user_id, payload}), and then
 * audience_metrics of all votes ({user_id: {choice, intensity}}, the last of each person) if there was a vote.
 */
void inbox_emit(struct step *s, struct str debate_id, int round, const json_t *items, const json_t *votes);

#endif
