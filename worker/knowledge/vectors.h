/* SPDX-License-Identifier: MIT */
/*
 * Nodes by meaning: a vector for each, from the server that embeddings.url names. Without one nothing here does
 * anything, and words are searched alone.
 */
#ifndef WORKER_KNOWLEDGE_VECTORS_H
#define WORKER_KNOWLEDGE_VECTORS_H

#include "worker/jobs/jobs.h"
#include "worker/knowledge/knowledge.h"

struct vectors_hit {
	struct str id;
	int64_t score_ppm; /* cosine, above VECTORS_LEAST_PPM */
};

#define VECTORS_LEAST_PPM 500000

/*
 * The nodes whose vectors are nearest to the query's, best first, at most `limit`: compared with each of the newest
 * knowledge.vector_nodes. None, and true, where embeddings are not configured or do not answer.
 */
CO_FN bool vectors_find(struct worker *w, struct arena *a, const struct context *ctx, struct str query, size_t limit,
			struct vectors_hit **hits, size_t *n, struct error *err) MUST_CHECK;

/* As text of numbers of 16 bits in base64, and back; x has length 1. Pure. */
struct str vectors_pack(struct arena *a, const float *x, size_t dim);
bool vectors_unpack(struct arena *a, struct str text, size_t dim, float **x) MUST_CHECK;

/* Makes the vectors that are missing. */
extern const struct job knowledge_vectors_job;

#endif
