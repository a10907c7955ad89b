/* SPDX-License-Identifier: MIT */
/*
 * Many debates under one name: batches, matrix debates (one question in several scenarios), graph debates (one that
 * branches). A batch is a row, its items are rows; each item becomes an ordinary debate when its turn comes, so all
 * that holds of debates (no step paid twice, takeovers) holds of them. The clerk of each node moves open batches on, by
 * conditional writes, so that two of them do no harm.
 *
 * status: pending, processing, completed, partial (some failed), failed (all did), cancelled. An item: queued, running,
 * completed, failed, cancelled.
 */
#ifndef WORKER_BATCH_BATCH_H
#define WORKER_BATCH_BATCH_H

#include <jansson.h>

#include "common/context.h"
#include "common/db.h"
#include "worker/http/route.h"

struct batches;
struct worker;

#define BATCHES_TOPIC "batches:look" /* an item may be due, or have ended */

struct batches *batches_open(struct worker *w);
/* Listens for hints. */
void batches_start(struct batches *bs);
/* By the clerk, once a second: moves on what is open, on a coroutine of its own. */
void batches_look(struct batches *bs);
void batches_close(struct batches *bs);

/* How many batches a workspace has. */
struct batch_totals {
	int64_t total;
	json_t *by_status; /* {status: n}; new reference */
};
CO_FN bool batch_totals(struct worker *w, struct arena *a, const struct context *ctx, struct batch_totals *out,
			struct error *err) MUST_CHECK;

extern const struct route_table batch_routes;
extern const struct route_table form_routes; /* matrix and graph debates */

#endif
