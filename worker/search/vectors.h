/* SPDX-License-Identifier: MIT */
/*
 * Texts by meaning: a vector for each node of knowledge and each entry of memory, from the server that embeddings.url
 * names. Without one nothing here does anything, and words are searched alone.
 */
#ifndef WORKER_SEARCH_VECTORS_H
#define WORKER_SEARCH_VECTORS_H

#include "common/context.h"
#include "common/db.h"
#include "worker/jobs/jobs.h"

/* Whose texts they are. */
enum vectors_kind { VECTORS_KNOWLEDGE, VECTORS_CONTINUUM, VECTORS_KINDS };

struct vectors_hit {
	struct str id;
	int64_t score_ppm; /* cosine, at least VECTORS_LEAST_PPM, at most a million */
};

#define VECTORS_LEAST_PPM 500000

/*
 * The texts of the workspace whose vectors are nearest to the query's, best first, at most `limit`: compared with each
 * of the newest knowledge.vector_nodes. *asked false, with no hits, and true, where embeddings are not configured or do
 * not answer.
 */
CO_FN bool vectors_find(struct worker *w, struct arena *a, const struct context *ctx, enum vectors_kind kind,
			struct str query, size_t limit, struct vectors_hit **hits, size_t *n, bool *asked,
			struct error *err) MUST_CHECK;
/* With the text itself. */
void vectors_remove(struct db_batch *b, const struct context *ctx, enum vectors_kind kind, struct str id);
/* All of the workspace are made anew by the job, for example with another model. */
void vectors_renew(struct db_batch *b, const struct context *ctx, enum vectors_kind kind);

/* As text of numbers of 16 bits in base64, and back; x has length 1. Pure. */
struct str vectors_pack(struct arena *a, const float *x, size_t dim);
bool vectors_unpack(struct arena *a, struct str text, size_t dim, float **x) MUST_CHECK;

#define VECTORS_JOB "knowledge-vectors"
/*
 * Makes the vectors that are missing, and anew those of another model or length, some thousand in one run. Its result
 * tells how far it is: {mound: {current, missing}, continuum: the same, made, outdated, search: "exact" or "pgvector"}.
 */
extern const struct job vectors_job;

#endif
