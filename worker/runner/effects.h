/* SPDX-License-Identifier: MIT */
/*
 * What commits together with the end of a debate: receipt, ratings, deliveries. An area joins by one row of the table
 * in effects.c; the engine knows none of them.
 */
#ifndef WORKER_RUNNER_EFFECTS_H
#define WORKER_RUNNER_EFFECTS_H

#include <jansson.h>

#include "common/context.h"
#include "common/db.h"

struct worker;

struct debate_ending {
	const struct worker *w;
	const struct context *ctx;
	const json_t *result;  /* the result document, result.h */
	const json_t *ratings; /* before the debate, by a journalled step; NULL: not read, nobody is rated */
	const char *status;    /* as stored: completed, failed, timeout, cancelled */
	int64_t at_ms;         /* its journalled end */
	/* What effects leave for others: the receipt (own reference) and events {type, data} that precede debate_end.
	 */
	json_t *receipt, *events;
};

struct debate_effect {
	const char *name;
	/*
	 * Adds what is to be stored. A function of the ending alone: it runs before events are numbered, once for all
	 * tries of the batch.
	 */
	bool (*add)(struct db_batch *b, struct debate_ending *e, struct error *err);
};

/* Runs all effects in their order; one that fails is logged and left out. */
void debate_effects(struct db_batch *b, struct debate_ending *e);
void debate_ending_free(struct debate_ending *e);

#endif
