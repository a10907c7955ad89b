/* SPDX-License-Identifier: MIT */
/*
 * Vectors of texts, compared one by one within a workspace, or by the store (vector_copy.c). Called by the searches of
 * knowledge and memory. They are made elsewhere (vectors_job.c). Vectors of two models never meet.
 */
#include "worker/search/vectors.h"

#include <math.h>
#include <stdlib.h>

#include "common/crypto.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/agents/embed.h"
#include "worker/search/vector_copy.h"
#include "worker/worker.h"

#define VECTORS_ONE 1000000
#define VECTORS_SCALE 32767.0

/* clang-format off */
const struct vectors_kind_sql vectors_kinds[VECTORS_KINDS] = {
	[VECTORS_KNOWLEDGE] = {
		"mound",
		"SELECT node_id, vector FROM knowledge_vectors WHERE workspace_id = $1 AND model = $2 AND dim = $3"
		" ORDER BY created_at DESC, node_id LIMIT $4",
		SQL_ANYBODY("a job for all workspaces")
		"SELECT id, org_id, workspace_id, content FROM knowledge_nodes WHERE archived_at = 0 AND embedded_at = 0"
		" ORDER BY archived_at, embedded_at, id LIMIT $1",
		"UPDATE knowledge_nodes SET embedded_at = $3 WHERE id = $1 AND workspace_id = $2 AND archived_at = 0",
		"INSERT INTO knowledge_vectors (node_id, org_id, workspace_id, model, dim, vector, created_at)"
		" SELECT id, org_id, workspace_id, $3, $4, $5, $6 FROM knowledge_nodes WHERE id = $1 AND workspace_id = $2"
		" AND archived_at = 0 ON CONFLICT (node_id) DO UPDATE SET model = excluded.model, dim = excluded.dim,"
		" vector = excluded.vector",
		"DELETE FROM knowledge_vectors WHERE node_id = $1 AND workspace_id = $2",
		"UPDATE knowledge_nodes SET embedded_at = 0 WHERE workspace_id = $1 AND archived_at = 0",
		SQL_ANYBODY("a job for all workspaces")
		"SELECT node_id, workspace_id FROM knowledge_vectors WHERE model < $1 UNION ALL"
		" SELECT node_id, workspace_id FROM knowledge_vectors WHERE model > $1 LIMIT $2",
		SQL_ANYBODY("a job for all workspaces")
		"SELECT node_id, workspace_id FROM knowledge_vectors WHERE model = $1 AND (dim < $3 OR dim > $3) LIMIT $2",
		"UPDATE knowledge_nodes SET embedded_at = 0 WHERE id = $1 AND workspace_id = $2",
		SQL_ANYBODY("a job for all workspaces")
		"SELECT (SELECT COUNT(*) FROM knowledge_vectors WHERE model = $1), (SELECT COUNT(*) FROM knowledge_nodes WHERE"
		" archived_at = 0 AND embedded_at = 0)",
		VECTORS_COPY("knowledge_vectors", "node_id", "(id) REFERENCES knowledge_vectors (node_id)"),
	},
	[VECTORS_CONTINUUM] = {
		"continuum",
		"SELECT id, vector FROM continuum_vectors WHERE workspace_id = $1 AND model = $2 AND dim = $3"
		" ORDER BY created_at DESC, id LIMIT $4",
		SQL_ANYBODY("a job for all workspaces")
		"SELECT id, org_id, workspace_id, content FROM continuum_memory WHERE archived_at = 0 AND embedded_at = 0"
		" ORDER BY workspace_id, id LIMIT $1",
		"UPDATE continuum_memory SET embedded_at = $3 WHERE id = $1 AND workspace_id = $2 AND archived_at = 0",
		"INSERT INTO continuum_vectors (id, org_id, workspace_id, model, dim, vector, created_at)"
		" SELECT id, org_id, workspace_id, $3, $4, $5, $6 FROM continuum_memory WHERE id = $1 AND workspace_id = $2"
		" AND archived_at = 0 ON CONFLICT (workspace_id, id) DO UPDATE SET model = excluded.model,"
		" dim = excluded.dim, vector = excluded.vector",
		"DELETE FROM continuum_vectors WHERE id = $1 AND workspace_id = $2",
		"UPDATE continuum_memory SET embedded_at = 0 WHERE workspace_id = $1 AND archived_at = 0",
		SQL_ANYBODY("a job for all workspaces")
		"SELECT id, workspace_id FROM continuum_vectors WHERE model < $1 UNION ALL"
		" SELECT id, workspace_id FROM continuum_vectors WHERE model > $1 LIMIT $2",
		SQL_ANYBODY("a job for all workspaces")
		"SELECT id, workspace_id FROM continuum_vectors WHERE model = $1 AND (dim < $3 OR dim > $3) LIMIT $2",
		"UPDATE continuum_memory SET embedded_at = 0 WHERE id = $1 AND workspace_id = $2",
		SQL_ANYBODY("a job for all workspaces")
		"SELECT (SELECT COUNT(*) FROM continuum_vectors WHERE model = $1), (SELECT COUNT(*) FROM continuum_memory WHERE"
		" archived_at = 0 AND embedded_at = 0)",
		VECTORS_COPY("continuum_vectors", "id", "(workspace_id, id) REFERENCES continuum_vectors (workspace_id, id)"),
	},
};
/* clang-format on */

struct str vectors_pack(struct arena *a, const float *x, size_t dim)
{
	uint8_t *raw = arena_alloc(a, dim * 2 + 1);
	char *text = arena_alloc(a, 4 * ((dim * 2 + 2) / 3) + 1);
	size_t i;

	for (i = 0; i < dim; i++) {
		int v = (int)lround((double)x[i] * VECTORS_SCALE);
		unsigned u = (unsigned)(v + 32768);

		raw[2 * i] = (uint8_t)(u >> 8);
		raw[2 * i + 1] = (uint8_t)u;
	}
	return (struct str){text, crypto_base64(text, raw, dim * 2)};
}

bool vectors_unpack(struct arena *a, struct str text, size_t dim, float **x)
{
	size_t n = dim * 2 + 3, i;
	uint8_t *raw = arena_alloc(a, n);

	if (!crypto_unbase64(text, raw, &n) || n != dim * 2)
		return false;
	*x = arena_alloc(a, (dim + 1) * sizeof(**x));
	for (i = 0; i < dim; i++)
		(*x)[i] = (float)(((double)(raw[2 * i] << 8 | raw[2 * i + 1]) - 32768.0) / VECTORS_SCALE);
	return true;
}

static int vectors_order(const void *x, const void *y)
{
	int64_t p = ((const struct vectors_hit *)x)->score_ppm, q = ((const struct vectors_hit *)y)->score_ppm;

	return (p < q) - (p > q);
}

/* The vector of the question; *asked false: there is none to be had. */
CO_FN static bool vectors_question(struct worker *w, struct arena *a, const struct context *ctx, enum vectors_kind kind,
				   struct str query, float **vector, size_t *dim, bool *asked, struct error *err)
{
	struct error why = ERROR_INIT;
	struct embed_bill bill = {0};

	*asked = false;
	if (!embed_configured(w->conf) || w->conf->knowledge.vector_nodes == 0) {
		metric_add(M_KM_SEMANTIC, 1, vectors_kinds[kind].label, "not_configured", NULL);
		return true;
	}
	if (!embed_texts_billed(w, a, ctx->org_id, &query, 1, vector, dim, &bill, &why)) {
		metric_add(M_KM_SEMANTIC, 1, vectors_kinds[kind].label, "error", NULL);
		return why.code != ERR_CANCELLED || error_set(err, ERR_CANCELLED, "cancelled");
	}
	metric_add(bill.tokens == 0 ? M_KM_CACHE_HITS : M_KM_CACHE_MISSES, 1, NULL);
	*asked = true;
	return true;
}

int64_t vectors_score(int64_t ppm)
{
	return ppm < VECTORS_ONE ? ppm : VECTORS_ONE;
}

/* One by one, here: the newest of the workspace. */
CO_FN static bool vectors_compare(struct worker *w, struct arena *a, const struct context *ctx, enum vectors_kind kind,
				  const float *x, size_t dim, struct vectors_hit **hits, size_t *n, struct error *err)
{
	struct db_rows r;
	float *other;
	size_t i;

	if (!db_query(w->db, a, vectors_kinds[kind].near,
		      DB_ARGS(DB_S(ctx->workspace_id), DB_Z(w->conf->embeddings.model), DB_I(dim),
			      DB_I(w->conf->knowledge.vector_nodes)),
		      &r, err))
		return false;
	*hits = arena_alloc(a, (r.count + 1) * sizeof(**hits));
	for (i = 0; i < r.count; i++) {
		int64_t ppm;

		if (!vectors_unpack(a, db_str(&r, i, 1), dim, &other))
			continue;
		ppm = (int64_t)(embed_cosine(x, other, dim) * VECTORS_ONE);
		if (ppm >= VECTORS_LEAST_PPM)
			(*hits)[(*n)++] = (struct vectors_hit){db_str(&r, i, 0), vectors_score(ppm)};
		if (i % 256 == 255 && co_yield () == CO_ENDED)
			return error_set(err, ERR_CANCELLED, "cancelled");
	}
	if (*n > 0)
		qsort(*hits, *n, sizeof(**hits), vectors_order);
	return true;
}

CO_FN bool vectors_find(struct worker *w, struct arena *a, const struct context *ctx, enum vectors_kind kind,
			struct str query, size_t limit, struct vectors_hit **hits, size_t *n, bool *asked,
			struct error *err)
{
	float *vector;
	bool copied;
	size_t dim;

	*n = 0;
	*hits = NULL;
	if (!vectors_question(w, a, ctx, kind, query, &vector, &dim, asked, err))
		return false;
	if (!*asked)
		return true;
	if (!vector_copy_there(w, kind, &copied, err) ||
	    !(copied ? vector_copy_find(w, a, ctx, kind, vector, dim, limit, hits, n, err)
		     : vectors_compare(w, a, ctx, kind, vector, dim, hits, n, err)))
		return false;
	*n = *n < limit ? *n : limit;
	metric_add(M_KM_SEMANTIC, 1, vectors_kinds[kind].label, "success", NULL);
	return true;
}

void vectors_remove(struct db_batch *b, const struct context *ctx, enum vectors_kind kind, struct str id)
{
	db_batch_add(b, vectors_kinds[kind].remove, DB_ARGS(DB_S(id), DB_S(ctx->workspace_id)), DB_ANY);
}

void vectors_renew(struct db_batch *b, const struct context *ctx, enum vectors_kind kind)
{
	db_batch_add(b, vectors_kinds[kind].renew, DB_ARGS(DB_S(ctx->workspace_id)), DB_ANY);
}
