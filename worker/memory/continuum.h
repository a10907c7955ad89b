/* SPDX-License-Identifier: MIT */
/*
 * Continuum memory: entries of a workspace in four tiers, which move by how much they surprise and how settled they are
 * (continuum_math.h). A debate's end leaves its outcome; later debates that cite it say whether it held.
 */
#ifndef WORKER_MEMORY_CONTINUUM_H
#define WORKER_MEMORY_CONTINUUM_H

#include <jansson.h>

#include "common/db.h"
#include "worker/memory/continuum_math.h"
#include "worker/runner/background.h"

struct job;

#define CONTINUUM_KIND "continuum" /* of its entries in fulltext.h */
#define CONTINUUM_CONTENT_MAX 4000 /* bytes */
#define CONTINUUM_LOAD_MAX 500
#define CONTINUUM_ALL_TIERS ((1U << CONTINUUM_TIERS) - 1)

struct continuum_entry {
	struct str id, kind; /* kind: "outcome" of a debate, "critique", "note" */
	enum continuum_tier tier;
	struct str content, agent, debate_id, metadata, red_line_reason; /* metadata: JSON object */
	int64_t importance_ppm, surprise_ppm, updates, successes, failures;
	bool red_line; /* never removed but by force */
	int64_t created_at, updated_at, moved_at;
	double score;    /* of a retrieval or search */
	int64_t fit_ppm; /* of a search: share of the query's words, or nearness of meaning */
	bool semantic;   /* of continuum_similar: found by meaning */
};

/* ---- writing: added to a batch ---- */

/* Inserts, or leaves alone what has this id. */
void continuum_add(struct db_batch *b, const struct context *ctx, const struct continuum_entry *e);
/*
 * One more outcome of an entry: counts, surprise, time of the update. error_ppm: how far a prediction was off. An entry
 * that is not there, or archived, is left alone.
 */
void continuum_outcome(struct db_batch *b, const struct context *ctx, struct str id, bool success, int64_t error_ppm,
		       int64_t now_ms);
/* From `from` to `to`, kept as a transition; nothing if it is elsewhere by then. */
void continuum_move(struct db_batch *b, const struct context *ctx, struct str id, enum continuum_tier from,
		    enum continuum_tier to, const char *reason, int64_t now_ms);
/* Out of all searches; `archive`: the row stays with the reason, else it goes. Not for red lines unless `force`. */
void continuum_remove(struct db_batch *b, const struct context *ctx, struct str id, bool archive, const char *reason,
		      bool force, int64_t now_ms);
/* The effects of a finished debate: its outcome, and what it says of those that it cited. Pure but for the batch. */
void continuum_ended(struct db_batch *b, const struct context *ctx, const json_t *result, int64_t at_ms);
/* Somebody says whether the answer of a debate was right: an outcome of what was kept of it, and a later word on it. */
void continuum_judged(struct db_batch *b, const struct context *ctx, struct str debate_id, bool right,
		      int64_t error_ppm, int64_t now_ms);
void continuum_rejudged(struct db_batch *b, const struct context *ctx, struct str debate_id, bool right,
			int64_t now_ms);
/* What a deleted debate left here. */
void continuum_forget(struct db_batch *b, const struct context *ctx, struct str debate_id);

/* ---- reading; strings in the arena; may wait ---- */

struct continuum_filter {
	unsigned tiers;         /* bits 1 << tier */
	struct str kind, agent; /* empty: any */
	int64_t min_importance_ppm;
	int64_t before_ms, after_ms; /* of created_at, exclusive; 0: any */
	bool oldest_first;           /* else: the most important, then the latest updated */
	bool by_time;                /* the latest made first */
	int64_t limit, offset;
};
CO_FN bool continuum_list(struct worker *w, struct arena *a, const struct context *ctx,
			  const struct continuum_filter *f, struct continuum_entry **out, size_t *n,
			  struct error *err) MUST_CHECK;
/* ERR_NOT_FOUND. */
CO_FN bool continuum_get(struct worker *w, struct arena *a, const struct context *ctx, struct str id,
			 struct continuum_entry *out, struct error *err) MUST_CHECK;
/* By retrieval score times fit; an empty query fits all. At most f->limit. */
CO_FN bool continuum_search(struct worker *w, struct arena *a, const struct context *ctx, struct str query,
			    const struct continuum_filter *f, struct continuum_entry **out, size_t *n,
			    struct error *err) MUST_CHECK;

/*
 * By fit alone, the best first: nearness of meaning where embeddings are configured and answer (*by_meaning), and
 * words; an entry that both find has the better of the two. None below min_ppm, at most f->limit.
 */
CO_FN bool continuum_similar(struct worker *w, struct arena *a, const struct context *ctx, struct str query,
			     const struct continuum_filter *f, int64_t min_ppm, struct continuum_entry **out, size_t *n,
			     bool *by_meaning, struct error *err) MUST_CHECK;
/* Its texts are indexed and its vectors made anew; *n entries. */
CO_FN bool continuum_reindex(struct worker *w, const struct context *ctx, int64_t *n, struct error *err) MUST_CHECK;

struct continuum_count {
	int64_t count, archived, importance_ppm, surprise_ppm, red_lines; /* ppm: averages */
};
CO_FN bool continuum_counts(struct worker *w, struct arena *a, const struct context *ctx,
			    struct continuum_count out[CONTINUUM_TIERS], struct error *err) MUST_CHECK;

/* A source of background (background.h): notes and critiques that fit; outcomes come from consensus memory. */
CO_FN bool continuum_gather(struct worker *w, struct arena *a, const struct context *ctx, struct str task,
			    struct background_item **items, size_t *n, struct error *err) MUST_CHECK;

/* ---- keeping (continuum_keep.c); may wait ---- */

struct continuum_moves {
	int64_t processed, promotions, demotions;
};
/* Moves what is due, tier by tier; each entry at most once. */
CO_FN bool continuum_consolidate(struct worker *w, const struct context *ctx, struct continuum_moves *out,
				 struct error *err) MUST_CHECK;

struct continuum_cleaned {
	int64_t expired[CONTINUUM_TIERS], evicted[CONTINUUM_TIERS];
	int64_t cutoff_ms[CONTINUUM_TIERS]; /* age behind which entries had expired */
};
/*
 * Takes out what has expired and then, of tiers above their limit, what is least important, then oldest; into the
 * archive or for good. tiers: bits. max_age_ms 0: each tier's own.
 */
CO_FN bool continuum_clean(struct worker *w, const struct context *ctx, unsigned tiers, bool archive,
			   int64_t max_age_ms, struct continuum_cleaned *out, struct error *err) MUST_CHECK;
/* By continuum_gate: entries that it forgets go to the archive, others go down a tier. */
CO_FN bool continuum_prune(struct worker *w, const struct context *ctx, bool dry_run, int64_t *forgotten,
			   int64_t *demoted, struct error *err) MUST_CHECK;

/* Removes for good what went to the archive before this time; *n entries. */
CO_FN bool continuum_vacuum(struct worker *w, const struct context *ctx, int64_t before_ms, int64_t *n,
			    struct error *err) MUST_CHECK;

/* Hourly for all workspaces: moves, expiry, limits; removes old transitions and archived entries. */
extern const struct job continuum_job;

#endif
