/* SPDX-License-Identifier: MIT */
/*
 * The state of a debate in one frame, for clients that come late.
 */
#ifndef WORKER_STREAM_SNAPSHOT_H
#define WORKER_STREAM_SNAPSHOT_H

#include "worker/debate/debate.h"

/*
 * Data of a `sync` message (websocket.md 2.3): debate_id, task, agents, messages said up to row->last_seq, status,
 * consensus fields, last_seq. Bounded to about 900 KiB: the oldest messages are left out and `truncated` is set. New
 * reference.
 */
CO_FN bool snapshot_build(struct db *db, struct arena *a, const struct context *ctx, const struct debate_row *row,
			  json_t **out, struct error *err) MUST_CHECK;
/* Names of the plan's agents. New reference. */
json_t *snapshot_agents(struct arena *a, const struct debate_row *row);

#endif
