/* SPDX-License-Identifier: MIT */
/*
 * The copies of vectors that pgvector searches. Called by vectors.c and vectors_job.c. Makes no approximate index
 * (HNSW): such a one needs one fixed length, and cannot hold a search to one workspace; the comparison is exact.
 */
#include "worker/search/vector_copy.h"

#include "common/log.h"
#include "worker/worker.h"

#define VECTOR_COPY_PAGE 200

/* What the store has: the type with its distance of cosines, and the copy. */
CO_FN static bool vector_copy_look(struct worker *w, enum vectors_kind kind, bool *able, bool *there, struct error *err)
{
	struct arena *a;
	struct db_rows r;
	bool ok;

	*able = *there = false;
	if (!db_shared(w->db) || !w->conf->knowledge.pgvector)
		return true;
	a = arena_new(0);
	ok = db_query(w->db, a, vectors_kinds[kind].copy.there, DB_NO_ARGS, &r, err);
	if (ok && r.count == 1) {
		*able = db_int(&r, 0, 0) == 1;
		*there = *able && db_int(&r, 0, 1) == 1;
	}
	arena_free(a);
	return ok;
}

CO_FN bool vector_copy_there(struct worker *w, enum vectors_kind kind, bool *there, struct error *err)
{
	bool able;

	return vector_copy_look(w, kind, &able, there, err);
}

static struct str vector_copy_text(struct arena *a, const float *x, size_t dim)
{
	struct buf b = BUF_INIT;
	struct str out;
	size_t i;

	buf_addc(&b, '[');
	for (i = 0; i < dim; i++)
		buf_printf(&b, "%s%.6g", i > 0 ? "," : "", (double)x[i]);
	buf_addc(&b, ']');
	out = arena_str(a, buf_str(&b));
	buf_free(&b);
	return out;
}

void vector_copy_put(struct db_batch *b, struct arena *a, enum vectors_kind kind, struct str id,
		     struct str workspace_id, const float *x, size_t dim)
{
	db_batch_add(b, vectors_kinds[kind].copy.put,
		     DB_ARGS(DB_S(id), DB_S(workspace_id), DB_S(vector_copy_text(a, x, dim))), DB_ANY);
}

/* A page of what the copy lacks; *more: there may be another one. */
CO_FN static bool vector_copy_step(struct worker *w, enum vectors_kind kind, bool *more, struct error *err)
{
	struct arena *a = arena_new(0);
	size_t i, n = 0;
	struct db_batch *b;
	struct db_rows r;
	float *x;
	bool ok;

	ok = db_query(w->db, a, vectors_kinds[kind].copy.missing, DB_ARGS(DB_I(VECTOR_COPY_PAGE)), &r, err);
	b = db_batch_new(w->db);
	for (i = 0; ok && i < r.count; i++) {
		size_t dim = (size_t)db_int(&r, i, 2);

		/* What cannot be read is passed over by every search. */
		if (!vectors_unpack(a, db_str(&r, i, 3), dim, &x))
			continue;
		vector_copy_put(b, a, kind, db_str(&r, i, 0), db_str(&r, i, 1), x, dim);
		n++;
	}
	*more = n == VECTOR_COPY_PAGE;
	ok = db_commit(w->db, b, err) && ok;
	arena_free(a);
	return ok;
}

/* An extension that was dropped takes its column along, and leaves the rest of the table. */
CO_FN static bool vector_copy_make(struct worker *w, enum vectors_kind kind, struct error *err)
{
	struct db_batch *b = db_batch_new(w->db);

	db_batch_add(b, vectors_kinds[kind].copy.drop, DB_NO_ARGS, DB_ANY);
	db_batch_add(b, vectors_kinds[kind].copy.table, DB_NO_ARGS, DB_ANY);
	db_batch_add(b, vectors_kinds[kind].copy.index, DB_NO_ARGS, DB_ANY);
	if (db_commit(w->db, b, err)) {
		log_info("search", "vectors are searched by pgvector from now on",
			 KV_S("kind", vectors_kinds[kind].label));
		return true;
	}
	if (err->code == ERR_CANCELLED || err->code == ERR_STORAGE)
		return false;
	log_warn("search", "pgvector is there and cannot be used", KV_S("reason", err->msg));
	*err = ERROR_INIT;
	return true;
}

CO_FN bool vector_copy_fill(struct worker *w, enum vectors_kind kind, bool *there, struct error *err)
{
	bool able, more;

	if (!vector_copy_look(w, kind, &able, there, err) ||
	    (able && !*there && (!vector_copy_make(w, kind, err) || !vector_copy_look(w, kind, &able, there, err))))
		return false;
	for (more = *there; more && !jobs_stopping(w->jobs);)
		if (!vector_copy_step(w, kind, &more, err))
			return false;
	return true;
}

CO_FN bool vector_copy_find(struct worker *w, struct arena *a, const struct context *ctx, enum vectors_kind kind,
			    const float *x, size_t dim, size_t limit, struct vectors_hit **hits, size_t *n,
			    struct error *err)
{
	struct db_rows r;
	size_t i;

	*n = 0;
	if (!db_query(w->db, a, vectors_kinds[kind].copy.near,
		      DB_ARGS(DB_S(vector_copy_text(a, x, dim)), DB_S(ctx->workspace_id),
			      DB_Z(w->conf->embeddings.model), DB_I(dim), DB_I(limit)),
		      &r, err))
		return false;
	*hits = arena_alloc(a, (r.count + 1) * sizeof(**hits));
	for (i = 0; i < r.count; i++)
		if (db_int(&r, i, 1) >= VECTORS_LEAST_PPM)
			(*hits)[(*n)++] = (struct vectors_hit){db_str(&r, i, 0), vectors_score(db_int(&r, i, 1))};
	return true;
}
