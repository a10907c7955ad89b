/* SPDX-License-Identifier: MIT */
/*
 * Deliveries to the outside: rows of an outbox, written in the batch of what they tell of, sent by exactly one worker
 * of the cluster, oldest first for each endpoint, at least once and always under the same id.
 *
 * A row is pending, sending (one process owns it; at most one row of an endpoint), retrying, delivered or dead. An
 * attempt is a row of its own, committed before anything is sent; one without outcome is uncertain: it is sent again
 * if its format lets receivers recognise it, else it is a dead letter. Formats are a table (formats.c).
 */
#ifndef WORKER_DELIVERY_DELIVERY_H
#define WORKER_DELIVERY_DELIVERY_H

#include <jansson.h>

#include "common/context.h"
#include "common/db.h"

struct deliveries;
struct guard;
struct keyring;
struct route_table;
struct worker;

#define DELIVERIES_TOPIC "deliveries:queue" /* something may be due */

/* ---- callbacks of debates (callback.c) ---- */

struct callback {
	struct str url;      /* STR_NONE: none */
	struct str endpoint; /* order key */
	struct str secret;   /* STR_NONE: that of the configuration, if any */
};

/*
 * Reads callback_url and callback_secret of a creation body and asks whether the URL may be called (resolves its name).
 * False with the field named. Strings live in the arena.
 */
CO_FN bool callback_parse(struct worker *w, struct arena *a, const json_t *body, const struct context *ctx,
			  struct callback *cb, struct error *err) MUST_CHECK;
/* Adds it to the batch that creates the debate; nothing when there is none. */
bool callback_create(struct worker *w, struct db_batch *b, const struct context *ctx, struct str debate_id,
		     const struct callback *cb, struct error *err) MUST_CHECK;
/*
 * Adds the delivery of the debate's end to the batch that ends it, if the debate has a callback. `data` is what is told
 * of the end (borrowed).
 */
void callback_ended(struct db_batch *b, struct str debate_id, const json_t *data, int64_t now_ms);
/* The same of something else that was given a callback under that id, and what the event is called (static text). */
void callback_ended_as(struct db_batch *b, struct str id, const char *event, const json_t *data, int64_t now_ms);
/* {url, status, delivery_id, attempts, ...} or JSON null. New reference; NULL with err. */
CO_FN json_t *callback_view(struct worker *w, struct arena *a, const struct context *ctx, struct str debate_id,
			    struct error *err);
/* Everything about the debate's deliveries goes with it. */
void callback_forget(struct db_batch *b, const struct context *ctx, struct str debate_id);

/* ---- sending (sender.c) ---- */

struct deliveries *deliveries_open(struct worker *w, struct error *err) MUST_CHECK;
/* Starts claiming. */
void deliveries_start(struct deliveries *ds);
/* Something was committed: looks soon. From anywhere on the loop's thread. */
void deliveries_hint(struct deliveries *ds);
/* Deliveries under way in this process: its lease must not end before. */
unsigned deliveries_active(const struct deliveries *ds);
/* No new claims; what is under way is finished, after `finish_us` (> 0) cut off. */
void deliveries_drain(struct deliveries *ds, int64_t finish_us);
/* Nothing may be under way. */
void deliveries_close(struct deliveries *ds);
/* What may be called for clients. */
const struct guard *deliveries_guard(const struct deliveries *ds);
/* With which secrets of callbacks are sealed. */
const struct keyring *deliveries_keys(const struct deliveries *ds);

/* By the clerk, once a second: gauges, and a hint if something is due. */
CO_FN void deliveries_look(struct deliveries *ds);
/* By the clerk: the process has died. Its attempts are uncertain. False: not done, ask again. */
CO_FN bool deliveries_take_over(struct deliveries *ds, struct str owner);

extern const struct route_table delivery_routes;

#endif
