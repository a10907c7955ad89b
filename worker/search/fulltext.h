/* SPDX-License-Identifier: MIT */
/*
 * Full-text search over what the areas remember: knowledge, memories, decided questions. An area puts the text of a row
 * beside the row in the same batch, under a kind of its own, and finds ids again. One workspace never sees another's.
 *
 * The store's own index serves: FTS5 with its BM25 on SQLite, tsvector with GIN on PostgreSQL. The order of the answer
 * is made here, alike on both. Scripts without spaces are found by whole runs of characters only.
 */
#ifndef WORKER_SEARCH_FULLTEXT_H
#define WORKER_SEARCH_FULLTEXT_H

#include "common/context.h"
#include "common/db.h"

struct worker;

#define FULLTEXT_TEXT_MAX 8192 /* bytes of a text that are indexed */
#define FULLTEXT_WORDS_MAX 24  /* of a query that count, after function words were dropped */
#define FULLTEXT_LIMIT_MAX 200

/*
 * Indexes the text under (kind, ref) in the workspace of ctx, in place of an earlier one; up to three statements. kind
 * is static text of letters ("knowledge"); ref is the area's id of it, unique within kind and workspace. Copies.
 */
void fulltext_put(struct db_batch *b, const struct context *ctx, const char *kind, struct str ref, struct str text);
/* No such entry: nothing happens. */
void fulltext_remove(struct db_batch *b, const struct context *ctx, const char *kind, struct str ref);

struct fulltext_hit {
	struct str ref, text; /* text: as indexed */
	int64_t score_ppm;    /* share of the query's words that the text has, 1 to 1000000 */
	size_t rank;          /* place in the store's own order, which weighs the words; 0 is the best */
};

/*
 * Entries that share a word with the query, at most FULLTEXT_LIMIT_MAX: the store's best, ordered by score, then rank;
 * in the arena. A query without words finds nothing. As db_query fails.
 */
CO_FN bool fulltext_find(struct worker *w, struct arena *a, const struct context *ctx, const char *kind,
			 struct str query, size_t limit, struct fulltext_hit **hits, size_t *n,
			 struct error *err) MUST_CHECK;

/*
 * The words of a query in lower case, each once, without function words; in the arena. Pure. `max` at most
 * FULLTEXT_WORDS_MAX.
 */
size_t fulltext_words(struct arena *a, struct str query, struct str *words, size_t max);
/* Share of the words that the text has, in ppm: a word counts if the text has it, or a form of it. Pure. */
int64_t fulltext_coverage(const struct str *words, size_t n, struct str text);
/* The same for a query as it stands; 0 for one without words. Pure. */
int64_t fulltext_score(struct arena *a, struct str query, struct str text);

#endif
