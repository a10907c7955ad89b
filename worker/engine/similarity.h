/* SPDX-License-Identifier: MIT */
/*
 * How alike are two texts, and do two positions exclude each other? Integers only (parts per million), so that every
 * machine and every re-run gives the same answer.
 *
 * Texts come from language models and are hostile: of each at most SIMILARITY_TEXT_MAX bytes are read. A vector costs
 * O(n log n) of that, a comparison of two vectors O(n); ten texts at the cap take some ten milliseconds.
 */
#ifndef WORKER_ENGINE_SIMILARITY_H
#define WORKER_ENGINE_SIMILARITY_H

#include "common/arena.h"

#define SIMILARITY_TEXT_MAX (32 * 1024)
#define SIMILARITY_POSITION_MAX 64 /* words of a position that the contradiction test reads */
#define SIMILARITY_FILLING_MAX 3   /* words that may fill the place in which two sentences differ */
#define SIMILARITY_ONE 1000000

struct similarity_vector;

/* Word counts of a text without the commonest function words; characters of unspaced scripts count as words. */
const struct similarity_vector *similarity_vector(struct arena *a, struct str text);
/* Cosine in ppm; two texts without any word are alike only if both are. */
int64_t similarity_cosine(const struct similarity_vector *x, const struct similarity_vector *y);
/*
 * Do two one-sentence positions exclude each other: different labelled options, opposite words, or one of them negated,
 * about a shared subject? O(words²) of at most SIMILARITY_POSITION_MAX words.
 */
bool similarity_contradicts(struct str x, struct str y);
/*
 * Are two one-sentence positions different answers although most of their words are the same: each with a number that
 * the other lacks, or one sentence with one place filled by other words? The same costs and bounds.
 */
bool similarity_other_answer(struct str x, struct str y);

#endif
