/* SPDX-License-Identifier: MIT */
/*
 * Consensus memory: what each debate decided, how firmly, and what was held against it; found again by full-text search
 * when the next debate asks about the same subject.
 */
#ifndef WORKER_MEMORY_CONSENSUS_MEMORY_H
#define WORKER_MEMORY_CONSENSUS_MEMORY_H

#include <jansson.h>

#include "worker/runner/background.h"

struct db_batch;

#define CONSENSUS_MEMORY_KIND "consensus" /* of its entries in fulltext.h; their ref is the debate's id */

/* Adds a finished debate's outcome to its finishing batch; `result` as in result.h. Pure but for the batch. */
void consensus_memory_add(struct db_batch *b, const struct context *ctx, const json_t *result, int64_t at_ms);

/* One remembered outcome. Strings of the query's arena. */
struct consensus_memory {
	struct str debate_id, topic, conclusion, domain, strength, method, agents, dissents; /* the last two: JSON */
	bool reached;
	int64_t confidence_ppm, margin_ppm, rounds, dissent_count, created_at;
	int64_t score_ppm; /* of a search: how well it fits */
};

struct db_rows;
/* A row of debate_id, topic, conclusion, domain, reached, strength, method, confidence_ppm, margin_ppm, rounds, agents,
 * dissents, dissent_count, created_at. */
struct consensus_memory consensus_memory_row(const struct db_rows *r, size_t i);

/*
 * The outcomes of the workspace that fit `topic` best, at most `limit` (<= CONSENSUS_MEMORY_FOUND_MAX), best first,
 * none with a score below `min_ppm`. May wait.
 */
#define CONSENSUS_MEMORY_FOUND_MAX 20
CO_FN bool consensus_memory_find(struct worker *w, struct arena *a, const struct context *ctx, struct str topic,
				 size_t limit, int64_t min_ppm, struct consensus_memory **out, size_t *n,
				 struct error *err) MUST_CHECK;

/* A source of background (background.h): decisions, and behind each the dissent from it. */
CO_FN bool consensus_memory_gather(struct worker *w, struct arena *a, const struct context *ctx, struct str task,
				   struct background_item **items, size_t *n, struct error *err) MUST_CHECK;

#endif
