/* SPDX-License-Identifier: MIT */
/*
 * Vectors of texts: made by a job, compared one by one within a workspace. Called by the searches of knowledge and
 * memory and by the scheduler. Builds no index: a few thousand comparisons take milliseconds, and are exact.
 */
#include "worker/search/vectors.h"

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

#define VECTORS_PAGE 16 /* texts of one call */
#define VECTORS_ONE 1000000
#define VECTORS_SCALE 32767.0

/* clang-format off */
static const struct {
	const char *label;   /* in metrics and the log */
	const char *near;    /* id and vector of the newest: workspace, model, length, how many */
	const char *missing; /* id, organization, workspace, text of those without: how many */
	const char *done;    /* id, workspace, now: nothing more is to be made for it */
	const char *store;   /* id, workspace, model, length, vector, now: if the text is still there */
	const char *remove;  /* id, workspace */
	const char *renew;   /* workspace */
} vectors_kinds[] = {
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
	},
};
/* clang-format on */
_Static_assert(countof(vectors_kinds) == VECTORS_KINDS, "one row per kind");

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

CO_FN bool vectors_find(struct worker *w, struct arena *a, const struct context *ctx, enum vectors_kind kind,
			struct str query, size_t limit, struct vectors_hit **hits, size_t *n, bool *asked,
			struct error *err)
{
	float *vector, *other;
	struct db_rows r;
	size_t dim, i;

	*n = 0;
	*hits = NULL;
	if (!vectors_question(w, a, ctx, kind, query, &vector, &dim, asked, err))
		return false;
	if (!*asked)
		return true;
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
		ppm = (int64_t)(embed_cosine(vector, other, dim) * VECTORS_ONE);
		if (ppm >= VECTORS_LEAST_PPM)
			(*hits)[(*n)++] = (struct vectors_hit){db_str(&r, i, 0), ppm < VECTORS_ONE ? ppm : VECTORS_ONE};
		if (i % 256 == 255 && co_yield () == CO_ENDED)
			return error_set(err, ERR_CANCELLED, "cancelled");
	}
	if (*n > 0)
		qsort(*hits, *n, sizeof(**hits), vectors_order);
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

/* ---- making ---- */

/* Row i of a page gets its vector; x NULL: it has none, and nothing more is to be made for it. */
static void vectors_store(struct db_batch *b, struct arena *a, const struct worker *w, enum vectors_kind kind,
			  const struct db_rows *r, size_t i, const float *x, size_t dim)
{
	const struct db_val id = DB_S(db_str(r, i, 0)), workspace = DB_S(db_str(r, i, 2)), now = DB_I(clock_wall_ms());

	if (x != NULL)
		db_batch_add(b, vectors_kinds[kind].store,
			     DB_ARGS(id, workspace, DB_Z(w->conf->embeddings.model), DB_I(dim),
				     DB_S(vectors_pack(a, x, dim)), now),
			     DB_ANY);
	db_batch_add(b, vectors_kinds[kind].done, DB_ARGS(id, workspace, now), DB_ANY);
}

/* Rows [from, from + count) of a page. What the server does not take one by one counts as done, without a vector. */
CO_FN static bool vectors_make(struct worker *w, struct arena *a, enum vectors_kind kind, const struct db_rows *r,
			       size_t from, size_t count, struct error *err)
{
	struct str *texts = arena_alloc(a, count * sizeof(*texts));
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
	for (i = 0; i < count; i++)
		vectors_store(b, a, w, kind, r, from + i, taken ? vectors + i * dim : NULL, taken ? dim : 0);
	if (!taken) {
		log_info("search", "the embedding server refuses a text", KV_S("kind", vectors_kinds[kind].label),
			 KV_STR("id", db_str(r, from, 0)));
		*err = ERROR_INIT;
	}
	return db_commit(w->db, b, err);
}

CO_FN static bool vectors_step(struct worker *w, enum vectors_kind kind, size_t *n, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows r;
	size_t i;
	bool ok;

	*n = 0;
	ok = db_query(w->db, a, vectors_kinds[kind].missing, DB_ARGS(DB_I(VECTORS_PAGE)), &r, err);
	if (ok && r.count > 0) {
		ok = vectors_make(w, a, kind, &r, 0, r.count, err);
		/* One text of one tenant must not keep all others from their vectors. */
		if (!ok && err->code == ERR_INVALID_VALUE) {
			*err = ERROR_INIT;
			for (i = 0, ok = true; ok && i < r.count; i++)
				ok = vectors_make(w, a, kind, &r, i, 1, err);
		}
		*n = ok ? r.count : 0;
	}
	arena_free(a);
	return ok;
}

CO_FN static bool vectors_run(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	enum vectors_kind kind;
	size_t n;

	(void)result;
	for (kind = 0; kind < VECTORS_KINDS; kind++)
		for (n = VECTORS_PAGE; embed_configured(w->conf) && n == VECTORS_PAGE && !jobs_stopping(w->jobs);) {
			if (!vectors_step(w, kind, &n, err))
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

const struct job vectors_job = {
    .name = "knowledge-vectors", .first_ms = 1000, .interval_ms = vectors_interval, .run = vectors_run};
