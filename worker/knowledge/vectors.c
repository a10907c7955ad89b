/* SPDX-License-Identifier: MIT */
/*
 * Vectors of nodes: made by a job, compared one by one within a workspace. Called by find.c and the scheduler. Builds
 * no index: a few thousand comparisons take milliseconds, and are exact.
 */
#include "worker/knowledge/vectors.h"

#include <math.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/agents/embed.h"
#include "worker/worker.h"

#define VECTORS_PAGE 16 /* nodes of one call */
#define VECTORS_SCALE 32767.0

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

CO_FN bool vectors_find(struct worker *w, struct arena *a, const struct context *ctx, struct str query, size_t limit,
			struct vectors_hit **hits, size_t *n, struct error *err)
{
	struct error why = ERROR_INIT;
	struct embed_bill bill = {0};
	float *vector, *other;
	struct db_rows r;
	size_t dim, i;

	*n = 0;
	*hits = NULL;
	if (!embed_configured(w->conf) || w->conf->knowledge.vector_nodes == 0) {
		metric_add(M_KM_SEMANTIC, 1, "mound", "not_configured", NULL);
		return true;
	}
	if (!embed_texts_billed(w, a, ctx->org_id, &query, 1, &vector, &dim, &bill, &why)) {
		metric_add(M_KM_SEMANTIC, 1, "mound", "error", NULL);
		return why.code != ERR_CANCELLED || error_set(err, ERR_CANCELLED, "cancelled");
	}
	metric_add(bill.tokens == 0 ? M_KM_CACHE_HITS : M_KM_CACHE_MISSES, 1, NULL);
	if (!db_query(
		w->db, a,
		"SELECT node_id, vector FROM knowledge_vectors WHERE workspace_id = $1 AND model = $2 AND dim = $3"
		" ORDER BY created_at DESC, node_id LIMIT $4",
		DB_ARGS(DB_S(ctx->workspace_id), DB_Z(w->conf->embeddings.model), DB_I(dim),
			DB_I(w->conf->knowledge.vector_nodes)),
		&r, err))
		return false;
	*hits = arena_alloc(a, (r.count + 1) * sizeof(**hits));
	for (i = 0; i < r.count; i++) {
		int64_t ppm;

		if (!vectors_unpack(a, db_str(&r, i, 1), dim, &other))
			continue;
		ppm = (int64_t)(embed_cosine(vector, other, dim) * KNOWLEDGE_ONE);
		if (ppm >= VECTORS_LEAST_PPM)
			(*hits)[(*n)++] =
			    (struct vectors_hit){db_str(&r, i, 0), ppm < KNOWLEDGE_ONE ? ppm : KNOWLEDGE_ONE};
		if (i % 256 == 255 && co_yield () == CO_ENDED)
			return error_set(err, ERR_CANCELLED, "cancelled");
	}
	qsort(*hits, *n, sizeof(**hits), vectors_order);
	*n = *n < limit ? *n : limit;
	metric_add(M_KM_SEMANTIC, 1, "mound", "success", NULL);
	return true;
}

/* ---- making ---- */

/* clang-format off */
static const char vectors_missing[] =
	SQL_ANYBODY("a job for all workspaces")
	"SELECT id, org_id, workspace_id, content FROM knowledge_nodes WHERE archived_at = 0 AND embedded_at = 0"
	" ORDER BY archived_at, embedded_at, id LIMIT $1";
/* clang-format on */

/* Nothing more is to be made for this node. */
static void vectors_done(struct db_batch *b, const struct db_rows *r, size_t i, int64_t now_ms)
{
	db_batch_add(b, "UPDATE knowledge_nodes SET embedded_at = $3 WHERE id = $1 AND workspace_id = $2",
		     DB_ARGS(DB_S(db_str(r, i, 0)), DB_S(db_str(r, i, 2)), DB_I(now_ms)), DB_ANY);
}

static void vectors_store(struct db_batch *b, struct arena *a, const char *model, const struct db_rows *r, size_t i,
			  const float *x, size_t dim, int64_t now_ms)
{
	const struct db_val id = DB_S(db_str(r, i, 0)), workspace = DB_S(db_str(r, i, 2));

	db_batch_add(b,
		     "INSERT INTO knowledge_vectors (node_id, org_id, workspace_id, model, dim, vector, created_at)"
		     " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (node_id) DO UPDATE SET model = excluded.model,"
		     " dim = excluded.dim, vector = excluded.vector",
		     DB_ARGS(id, DB_S(db_str(r, i, 1)), workspace, DB_Z(model), DB_I(dim),
			     DB_S(vectors_pack(a, x, dim)), DB_I(now_ms)),
		     DB_ANY);
	vectors_done(b, r, i, now_ms);
}

/* Rows [from, from + count) of a page. What the server does not take one by one counts as done, without a vector. */
CO_FN static bool vectors_make(struct worker *w, struct arena *a, const struct db_rows *r, size_t from, size_t count,
			       struct error *err)
{
	struct str *texts = arena_alloc(a, count * sizeof(*texts));
	int64_t now = clock_wall_ms();
	struct db_batch *b;
	float *vectors;
	size_t i, dim;
	bool taken;

	for (i = 0; i < count; i++)
		texts[i] = db_str(r, from + i, 3);
	taken = embed_texts(w, a, STR(""), texts, count, &vectors, &dim, err);
	if (!taken && (err->code != ERR_INVALID_VALUE || count > 1))
		return false;
	b = db_batch_new(w->db);
	for (i = 0; taken && i < count; i++)
		vectors_store(b, a, w->conf->embeddings.model, r, from + i, vectors + i * dim, dim, now);
	if (!taken) {
		log_info("knowledge", "the embedding server refuses a node", KV_STR("node", db_str(r, from, 0)));
		vectors_done(b, r, from, now);
		*err = ERROR_INIT;
	}
	return db_commit(w->db, b, err);
}

CO_FN static bool vectors_step(struct worker *w, size_t *n, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows r;
	size_t i;
	bool ok;

	*n = 0;
	ok = db_query(w->db, a, vectors_missing, DB_ARGS(DB_I(VECTORS_PAGE)), &r, err);
	if (ok && r.count > 0) {
		ok = vectors_make(w, a, &r, 0, r.count, err);
		/* One text of one tenant must not keep all others from their vectors. */
		if (!ok && err->code == ERR_INVALID_VALUE) {
			*err = ERROR_INIT;
			for (i = 0, ok = true; ok && i < r.count; i++)
				ok = vectors_make(w, a, &r, i, 1, err);
		}
		*n = ok ? r.count : 0;
	}
	arena_free(a);
	return ok;
}

CO_FN static bool vectors_run(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	size_t n = VECTORS_PAGE;

	(void)result;
	while (embed_configured(w->conf) && n == VECTORS_PAGE && !jobs_stopping(w->jobs)) {
		if (!vectors_step(w, &n, err))
			return false;
		*count += (int64_t)n;
	}
	return true;
}

/* Without a server to ask there is nothing to look for. */
static int64_t vectors_interval(const struct conf *c)
{
	return embed_configured(c) ? c->knowledge.retry_interval / MS_US : INT64_C(3600000);
}

const struct job knowledge_vectors_job = {
    .name = "knowledge-vectors", .first_ms = 1000, .interval_ms = vectors_interval, .run = vectors_run};
