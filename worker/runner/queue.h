/* SPDX-License-Identifier: MIT */
/*
 * Whose turn it is: the order in which waiting debates are claimed, fair between workspaces however many each has put
 * in, and what people are shown of it.
 *
 * Start-time fair queueing (Goyal, Vin, Cheng 1996) with the debate as unit: a new debate's tag is one above the last
 * open one of its workspace, but not below the tag that is served now; the lowest tags go first. A workspace that puts
 * in 200 spreads them over 200 turns, another's first one stands beside the first of these. Among the next in line
 * those go first whose workspace runs the fewest.
 */
#ifndef WORKER_RUNNER_QUEUE_H
#define WORKER_RUNNER_QUEUE_H

#include "worker/debate/debate.h"
#include "worker/http/route.h"

/* What a new debate of the workspace finds. ERR_UNAVAILABLE above debates.max_queued. */
CO_FN bool queue_enter(struct worker *w, struct arena *a, struct str workspace_id, int64_t *tag,
		       struct error *err) MUST_CHECK;
/*
 * How many debates of batches may come in now: batches take the half of debates.max_queued at most, so that who asks
 * for one debate is not refused because others have put in thousands.
 */
CO_FN bool queue_room_for_batches(struct worker *w, struct arena *a, int64_t *room, struct error *err) MUST_CHECK;
/* The next claimable debates in their order, at most 8; with `only` just that one, if it can be claimed. */
CO_FN bool queue_next(struct worker *w, struct arena *a, struct str only, struct db_rows *rows,
		      struct error *err) MUST_CHECK;
/* One of them, with the members that a run needs. */
struct debate_row queue_row(const struct db_rows *rows, size_t i);

/* Where a waiting debate stands. */
struct queue_place {
	int64_t position; /* 1: the next; 0: it does not wait */
	int64_t wait_ms;  /* until it starts, by what debates took of late; -1: nothing is known yet */
};
CO_FN bool queue_place(struct worker *w, struct arena *a, const struct debate_row *row, struct queue_place *out,
		       struct error *err) MUST_CHECK;
/* queue_position and estimated_wait_seconds of a debate that waits, into its status. What cannot be read is left out.
 */
CO_FN void queue_show(struct worker *w, struct arena *a, const struct debate_row *row, json_t *o);

extern const struct route_table queue_routes;

#endif
