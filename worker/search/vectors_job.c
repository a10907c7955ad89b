/* SPDX-License-Identifier: MIT */
/*
 * Makes the vectors of texts, and makes them anew when the model or its length changes: an old vector is dropped, and
 * its text waits with those that are new. Called by the scheduler. Searches nothing (vectors.c).
 */
#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/agents/embed.h"
#include "worker/search/vector_copy.h"
#include "worker/worker.h"

#define VECTORS_PAGE 16      /* texts of one call */
#define VECTORS_PAGES 200    /* calls of one run for one kind; the next run goes on */
#define VECTORS_OLD_PAGE 200 /* outdated vectors of one transaction */

/* A run of the job over one kind. */
struct vectors_run {
	struct worker *w;
	enum vectors_kind kind;
	const struct vectors_kind_sql *sql;
	bool copied; /* pgvector has a copy to be kept */
	size_t dim;  /* of the vectors that the server makes now; 0: not known yet */
	int64_t made, outdated;
};

/* ---- making ---- */

/* Row i of a page gets its vector; x NULL: it has none, and nothing more is to be made for it. */
static void vectors_store(struct db_batch *b, struct arena *a, const struct vectors_run *v, const struct db_rows *r,
			  size_t i, const float *x)
{
	const struct db_val id = DB_S(db_str(r, i, 0)), workspace = DB_S(db_str(r, i, 2)), now = DB_I(clock_wall_ms());

	if (x != NULL)
		db_batch_add(b, v->sql->store,
			     DB_ARGS(id, workspace, DB_Z(v->w->conf->embeddings.model), DB_I(v->dim),
				     DB_S(vectors_pack(a, x, v->dim)), now),
			     DB_ANY);
	if (x != NULL && v->copied)
		vector_copy_put(b, a, v->kind, id.s, workspace.s, x, v->dim);
	db_batch_add(b, v->sql->done, DB_ARGS(id, workspace, now), DB_ANY);
}

/* Rows [from, from + count) of a page. What the server does not take one by one counts as done, without a vector. */
CO_FN static bool vectors_make(struct vectors_run *v, struct arena *a, const struct db_rows *r, size_t from,
			       size_t count, struct error *err)
{
	struct str *texts = arena_alloc(a, count * sizeof(*texts));
	struct db_batch *b;
	float *vectors;
	size_t i, dim;
	bool taken;

	for (i = 0; i < count; i++)
		texts[i] = db_str(r, from + i, 3);
	taken = embed_texts(v->w, a, STR(""), texts, count, &vectors, &dim, err);
	if (!taken && (err->code != ERR_INVALID_VALUE || count > 1))
		return false;
	if (taken)
		v->dim = dim;
	b = db_batch_new(v->w->db);
	for (i = 0; i < count; i++)
		vectors_store(b, a, v, r, from + i, taken ? vectors + i * dim : NULL);
	if (!taken) {
		log_info("search", "the embedding server refuses a text", KV_S("kind", v->sql->label),
			 KV_STR("id", db_str(r, from, 0)));
		*err = ERROR_INIT;
	}
	return db_commit(v->w->db, b, err);
}

CO_FN static bool vectors_step(struct vectors_run *v, size_t *n, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows r;
	size_t i;
	bool ok;

	*n = 0;
	ok = db_query(v->w->db, a, v->sql->missing, DB_ARGS(DB_I(VECTORS_PAGE)), &r, err);
	if (ok && r.count > 0) {
		ok = vectors_make(v, a, &r, 0, r.count, err);
		/* One text of one tenant must not keep all others from their vectors. */
		if (!ok && err->code == ERR_INVALID_VALUE) {
			*err = ERROR_INIT;
			for (i = 0, ok = true; ok && i < r.count; i++)
				ok = vectors_make(v, a, &r, i, 1, err);
		}
		*n = ok ? r.count : 0;
	}
	arena_free(a);
	return ok;
}

/* ---- making anew ---- */

/* One page of vectors that nothing is compared with any more: they go, and their texts wait for new ones. */
CO_FN static bool vectors_drop_step(struct vectors_run *v, bool lengths, size_t *n, struct error *err)
{
	const struct db_val args[] = {DB_Z(v->w->conf->embeddings.model), DB_I(VECTORS_OLD_PAGE), DB_I(v->dim)};
	struct arena *a = arena_new(0);
	struct db_batch *b;
	struct db_rows r;
	size_t i;
	bool ok;

	ok = db_query(v->w->db, a, lengths ? v->sql->old_lengths : v->sql->old_models, args, lengths ? 3 : 2, &r, err);
	*n = ok ? r.count : 0;
	b = db_batch_new(v->w->db);
	for (i = 0; i < *n; i++) {
		const struct db_val text[] = {DB_S(db_str(&r, i, 0)), DB_S(db_str(&r, i, 1))};

		db_batch_add(b, v->sql->again, text, 2, DB_ANY);
		db_batch_add(b, v->sql->remove, text, 2, DB_ANY);
	}
	ok = db_commit(v->w->db, b, err) && ok;
	arena_free(a);
	return ok;
}

CO_FN static bool vectors_drop(struct vectors_run *v, bool lengths, struct error *err)
{
	size_t n = VECTORS_OLD_PAGE;

	while (n == VECTORS_OLD_PAGE && !jobs_stopping(v->w->jobs)) {
		if (!vectors_drop_step(v, lengths, &n, err))
			return false;
		v->outdated += (int64_t)n;
	}
	return true;
}

/*
 * Where embeddings.dimensions asks for another length than vectors have, what the server makes of it decides: some do
 * not heed it. Without the key the length is known from the next text that is written.
 */
CO_FN static bool vectors_probe(struct vectors_run *v, struct error *err)
{
	const struct conf *c = v->w->conf;
	struct str text = STR("dimensions");
	struct arena *a;
	struct db_rows r;
	float *vector;
	bool ok;

	if (c->embeddings.dimensions == 0)
		return true;
	a = arena_new(0);
	ok = db_query(v->w->db, a, v->sql->old_lengths,
		      DB_ARGS(DB_Z(c->embeddings.model), DB_I(1), DB_I(c->embeddings.dimensions)), &r, err);
	ok = ok && (r.count == 0 || embed_texts(v->w, a, STR(""), &text, 1, &vector, &v->dim, err));
	arena_free(a);
	return ok;
}

/* ---- the job ---- */

CO_FN static bool vectors_told(const struct vectors_run *v, json_t *result, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows r;
	json_t *o;
	bool ok = db_query(v->w->db, a, v->sql->counted, DB_ARGS(DB_Z(v->w->conf->embeddings.model)), &r, err);

	if (ok) {
		o = json_object();
		json_put_int(o, "current", db_int(&r, 0, 0));
		json_put_int(o, "missing", db_int(&r, 0, 1));
		json_object_set_new(result, v->sql->label, o);
		metric_set(M_KM_VECTORS, db_int(&r, 0, 0), v->sql->label, "current", NULL);
		metric_set(M_KM_VECTORS, db_int(&r, 0, 1), v->sql->label, "missing", NULL);
	}
	arena_free(a);
	return ok;
}

CO_FN static bool vectors_work(struct vectors_run *v, struct error *err)
{
	size_t n = VECTORS_PAGE, i;

	if (!vector_copy_fill(v->w, v->kind, &v->copied, err) || !vectors_drop(v, false, err) ||
	    !vectors_probe(v, err) || (v->dim > 0 && !vectors_drop(v, true, err)))
		return false;
	for (i = 0; i < VECTORS_PAGES && n == VECTORS_PAGE && !jobs_stopping(v->w->jobs); i++) {
		if (!vectors_step(v, &n, err))
			return false;
		v->made += (int64_t)n;
	}
	return v->dim == 0 || vectors_drop(v, true, err);
}

CO_FN static bool vectors_run(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	int64_t outdated = 0;
	enum vectors_kind kind;
	bool ok = true;

	for (kind = 0; ok && kind < VECTORS_KINDS && embed_configured(w->conf); kind++) {
		struct vectors_run v = {.w = w, .kind = kind, .sql = &vectors_kinds[kind]};
		struct error later = ERROR_INIT;

		ok = vectors_work(&v, err);
		/* How far it is shows also where the server of embeddings does not answer. */
		ok = vectors_told(&v, result, ok ? err : &later) && ok;
		*count += v.made;
		outdated += v.outdated;
		json_put_str(result, "search", v.copied ? STR("pgvector") : STR("exact"));
	}
	json_put_int(result, "made", *count);
	json_put_int(result, "outdated", outdated);
	if (outdated > 0)
		log_info("search", "vectors of another model are made anew", KV_I("outdated", outdated),
			 KV_I("made", *count), KV_S("model", w->conf->embeddings.model));
	return ok;
}

/* Without a server to ask there is nothing to look for. */
static int64_t vectors_interval(const struct conf *c)
{
	return embed_configured(c) ? c->knowledge.retry_interval / MS_US : INT64_C(3600000);
}

const struct job vectors_job = {
    .name = VECTORS_JOB, .first_ms = 1000, .interval_ms = vectors_interval, .run = vectors_run};
