/* SPDX-License-Identifier: MIT */
/*
 * How alike are two texts, and do two positions exclude each other? Integers only (parts per million), so that every
 * machine and every re-run gives the same answer.
 *
 * Texts come from language models and are hostile: of each at most SIMILARITY_TEXT_MAX bytes are read. A vector costs
 * O(n log n) of its different words, a comparison of two vectors O(n); ten texts at the cap take some ten milliseconds.
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
/* Cosine of the counts in ppm; two texts without any word are alike only if both are. */
int64_t similarity_cosine(const struct similarity_vector *x, const struct similarity_vector *y);

/*
 * Vectors of texts that stay where they are as long as the memo: each is read once, however often it is compared. Lives
 * in the arena.
 */
struct similarity_memo;
struct similarity_memo *similarity_memo_new(struct arena *a);
const struct similarity_vector *similarity_memo_vector(struct similarity_memo *m, struct str text);

/* How words are weighed: as often as they occur (engines before 4), or also by how few of the compared texts use them.
 */
enum similarity_measure { SIMILARITY_COUNTS, SIMILARITY_TFIDF };

/*
 * Texts that are compared with each other. By TF-IDF a word weighs tf * idf with idf = ln((1 + n) / (1 + df)) + 1 over
 * the n texts of the set, df of which use it: the smoothed form of scikit-learn's TfidfVectorizer (smooth_idf, no norm
 * but the cosine's), after Sparck Jones 1972. The logarithm is made of integers. Lives in the arena.
 */
struct similarity_set;
struct similarity_set *similarity_set_new(struct arena *a, enum similarity_measure how, size_t room);
/* Returns the index of the text. Not after the first similarity_set_alike(). */
size_t similarity_set_add(struct similarity_set *s, const struct similarity_vector *v);
/* Cosine of two texts of the set in ppm, 0 to SIMILARITY_ONE; equal texts have exactly SIMILARITY_ONE. */
int64_t similarity_set_alike(struct similarity_set *s, size_t x, size_t y);
/* The same for a set of only these two, without building one. */
int64_t similarity_alike(enum similarity_measure how, const struct similarity_vector *x,
			 const struct similarity_vector *y);

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
