/* SPDX-License-Identifier: MIT */
/*
 * Continuum memory: its rows. Called by the effects of a debate's end, the background of the next one, the routes in
 * continuum_api.c. What moves and removes entries by age is continuum_keep.c.
 */
#include "worker/memory/continuum.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/search/fulltext.h"
#include "worker/search/vectors.h"
#include "worker/worker.h"

#define CONTINUUM_OUTCOME "debate_outcome_" /* and the debate's id: debate.md 8.1 row 6 */
#define CONTINUUM_FITS_PPM 340000           /* of the task's words, as in consensus_memory.c */
#define CONTINUUM_RECALL_MAX 4
#define CONTINUUM_REINDEX_PAGE 100

/* ---- writing ---- */

void continuum_add(struct db_batch *b, const struct context *ctx, const struct continuum_entry *e)
{
	db_batch_add(
	    b,
	    "INSERT INTO continuum_memory (workspace_id, id, org_id, kind, tier, content, importance_ppm, surprise_ppm,"
	    " updates, successes, failures, red_line, red_line_reason, agent, debate_id, metadata, created_at, "
	    "updated_at,"
	    " moved_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)"
	    " ON CONFLICT (workspace_id, id) DO NOTHING",
	    DB_ARGS(DB_S(ctx->workspace_id), DB_S(e->id), DB_S(ctx->org_id), DB_S(e->kind), DB_I(e->tier),
		    DB_S(str_utf8_cut(e->content, CONTINUUM_CONTENT_MAX)), DB_I(e->importance_ppm),
		    DB_I(e->surprise_ppm), DB_I(e->updates), DB_I(e->successes), DB_I(e->failures), DB_I(e->red_line),
		    DB_S(e->red_line_reason), DB_S(e->agent), DB_S(e->debate_id),
		    DB_S(e->metadata.n > 0 ? e->metadata : STR("{}")), DB_I(e->created_at), DB_I(e->updated_at),
		    DB_I(e->moved_at)),
	    DB_ANY);
	fulltext_put(b, ctx, CONTINUUM_KIND, e->id, str_utf8_cut(e->content, CONTINUUM_CONTENT_MAX));
}

/*
 * rest-wide 6.2: surprise is 0.7 of the old and 0.3 of the new, which is 0.3 x |actual - expected| + 0.3 x error;
 * expected is the share of successes before, one half without any. Computed by the store from the values of that
 * moment, so that two debates that end at once both count.
 */
void continuum_outcome(struct db_batch *b, const struct context *ctx, struct str id, bool success, int64_t error_ppm,
		       int64_t now_ms)
{
	db_batch_add(
	    b,
	    "UPDATE continuum_memory SET surprise_ppm = (7 * surprise_ppm + 3 * ((3 * ABS($3 * 1000000 - CASE WHEN"
	    " successes + failures = 0 THEN 500000 ELSE successes * 1000000 / (successes + failures) END)"
	    " + 3 * $4) / 10)) / 10, updates = updates + 1, successes = successes + $3,"
	    " failures = failures + 1 - $3, updated_at = $5"
	    " WHERE workspace_id = $1 AND id = $2 AND archived_at = 0",
	    DB_ARGS(DB_S(ctx->workspace_id), DB_S(id), DB_I(success), DB_I(error_ppm), DB_I(now_ms)), DB_ANY);
}

void continuum_move(struct db_batch *b, const struct context *ctx, struct str id, enum continuum_tier from,
		    enum continuum_tier to, const char *reason, int64_t now_ms)
{
	db_batch_add(
	    b,
	    "INSERT INTO memory_transitions (workspace_id, memory_id, created_at, org_id, from_tier, to_tier, reason)"
	    " SELECT workspace_id, id, $6, org_id, tier, $4, $5 FROM continuum_memory"
	    " WHERE workspace_id = $1 AND id = $2 AND tier = $3 AND archived_at = 0"
	    " ON CONFLICT (workspace_id, memory_id, created_at) DO NOTHING",
	    DB_ARGS(DB_S(ctx->workspace_id), DB_S(id), DB_I(from), DB_I(to), DB_Z(reason), DB_I(now_ms)), DB_ANY);
	db_batch_add(b,
		     "UPDATE continuum_memory SET tier = $4, moved_at = $5"
		     " WHERE workspace_id = $1 AND id = $2 AND tier = $3 AND archived_at = 0",
		     DB_ARGS(DB_S(ctx->workspace_id), DB_S(id), DB_I(from), DB_I(to), DB_I(now_ms)), DB_ANY);
	metric_add(M_MEMORY_MOVES, 1, to < from ? "promotion" : "demotion", NULL);
}

void continuum_remove(struct db_batch *b, const struct context *ctx, struct str id, bool archive, const char *reason,
		      bool force, int64_t now_ms)
{
	if (archive)
		db_batch_add(b,
			     "UPDATE continuum_memory SET archived_at = $3, archive_reason = $4"
			     " WHERE workspace_id = $1 AND id = $2 AND (red_line = 0 OR $5 = 1)",
			     DB_ARGS(DB_S(ctx->workspace_id), DB_S(id), DB_I(now_ms), DB_Z(reason), DB_I(force)), 1);
	else
		db_batch_add(
		    b, "DELETE FROM continuum_memory WHERE workspace_id = $1 AND id = $2 AND (red_line = 0 OR $3 = 1)",
		    DB_ARGS(DB_S(ctx->workspace_id), DB_S(id), DB_I(force)), 1);
	fulltext_remove(b, ctx, CONTINUUM_KIND, id);
	vectors_remove(b, ctx, VECTORS_CONTINUUM, id);
	metric_add(M_MEMORY_REMOVED, 1, reason, NULL);
}

void continuum_judged(struct db_batch *b, const struct context *ctx, struct str debate_id, bool right,
		      int64_t error_ppm, int64_t now_ms)
{
	struct arena *a = arena_new(0);

	continuum_outcome(b, ctx, arena_printf(a, CONTINUUM_OUTCOME "%.*s", STR_ARG(debate_id)), right, error_ppm,
			  now_ms);
	arena_free(a);
}

/* One count changes sides; how much it had surprised stays. */
void continuum_rejudged(struct db_batch *b, const struct context *ctx, struct str debate_id, bool right, int64_t now_ms)
{
	struct arena *a = arena_new(0);
	struct str id = arena_printf(a, CONTINUUM_OUTCOME "%.*s", STR_ARG(debate_id));

	db_batch_add(b,
		     "UPDATE continuum_memory SET successes = successes + $3, failures = failures - $3, updated_at = $4"
		     " WHERE workspace_id = $1 AND id = $2 AND archived_at = 0 AND successes + $3 >= 0"
		     " AND failures - $3 >= 0",
		     DB_ARGS(DB_S(ctx->workspace_id), DB_S(id), DB_I(right ? 1 : -1), DB_I(now_ms)), DB_ANY);
	arena_free(a);
}

void continuum_forget(struct db_batch *b, const struct context *ctx, struct str debate_id)
{
	struct arena *a = arena_new(0);
	struct str id = arena_printf(a, CONTINUUM_OUTCOME "%.*s", STR_ARG(debate_id));

	db_batch_add(b, "DELETE FROM continuum_memory WHERE workspace_id = $1 AND id = $2",
		     DB_ARGS(DB_S(ctx->workspace_id), DB_S(id)), DB_ANY);
	fulltext_remove(b, ctx, CONTINUUM_KIND, id);
	vectors_remove(b, ctx, VECTORS_CONTINUUM, id);
	arena_free(a);
}

/* ---- the end of a debate ---- */

/* What was given to the debate and cited by somebody has held if the debate came to a consensus. */
static void continuum_cited(struct db_batch *b, struct arena *a, const struct context *ctx, const json_t *result,
			    int64_t at_ms)
{
	const json_t *consensus = json_get_obj(result, "consensus"), *item;
	bool held = json_get_bool(consensus, "reached", false);
	size_t i;

	json_array_foreach(json_get_arr(result, "background"), i, item)
	{
		struct str source = json_get_str(item, "source", STR("")), id = json_get_str(item, "id", STR(""));

		if (json_array_size(json_get_arr(item, "cited_by")) == 0 || json_get_bool(item, "dissent", false))
			continue;
		if (str_eqz(source, "consensus"))
			id = arena_printf(a, CONTINUUM_OUTCOME "%.*s", STR_ARG(id));
		else if (!str_eqz(source, "continuum"))
			continue;
		continuum_outcome(b, ctx, id, held,
				  CONTINUUM_ONE - json_get_int(consensus, "confidence_ppm", CONTINUUM_ONE), at_ms);
	}
}

void continuum_ended(struct db_batch *b, const struct context *ctx, const json_t *result, int64_t at_ms)
{
	const json_t *consensus = json_get_obj(result, "consensus");
	bool reached = json_get_bool(consensus, "reached", false);
	struct str id = json_get_str(result, "debate_id", STR("")), task = json_get_str(result, "task", STR("")),
		   answer = str_trim(json_get_str(result, "final_answer", STR("")));
	int64_t confidence = json_get_int(consensus, "confidence_ppm", 0);
	struct arena *a = arena_new(0);
	struct continuum_entry e = {
	    .id = arena_printf(a, CONTINUUM_OUTCOME "%.*s", STR_ARG(id)),
	    .kind = STR("outcome"),
	    .tier = continuum_outcome_tier(json_get_int(result, "rounds_used", 0), confidence),
	    .content =
		arena_printf(a, "%.*s\n%.*s", STR_ARG(str_utf8_cut(task, CONTINUUM_CONTENT_MAX / 2)), STR_ARG(answer)),
	    .agent = json_get_str(result, "winner", STR("")),
	    .debate_id = id,
	    .importance_ppm = continuum_outcome_importance(confidence, reached),
	    .created_at = at_ms,
	    .updated_at = at_ms};

	continuum_add(b, ctx, &e);
	continuum_cited(b, a, ctx, result, at_ms);
	arena_free(a);
}

/* ---- reading ---- */

#define CONTINUUM_COLUMNS                                                                                     \
	"id, kind, tier, content, agent, debate_id, metadata, red_line_reason, importance_ppm, surprise_ppm," \
	" updates, successes, failures, red_line, created_at, updated_at, moved_at"
#define CONTINUUM_HERE "workspace_id = $1 AND archived_at = 0"

static struct continuum_entry continuum_row(const struct db_rows *r, size_t i)
{
	int64_t tier = db_int(r, i, 2);

	return (struct continuum_entry){.id = db_str(r, i, 0),
					.kind = db_str(r, i, 1),
					.tier = tier >= 0 && tier < CONTINUUM_TIERS ? (enum continuum_tier)tier
										    : CONTINUUM_GLACIAL,
					.content = db_str(r, i, 3),
					.agent = db_str(r, i, 4),
					.debate_id = db_str(r, i, 5),
					.metadata = db_str(r, i, 6),
					.red_line_reason = db_str(r, i, 7),
					.importance_ppm = db_int(r, i, 8),
					.surprise_ppm = db_int(r, i, 9),
					.updates = db_int(r, i, 10),
					.successes = db_int(r, i, 11),
					.failures = db_int(r, i, 12),
					.red_line = db_int(r, i, 13) != 0,
					.created_at = db_int(r, i, 14),
					.updated_at = db_int(r, i, 15),
					.moved_at = db_int(r, i, 16)};
}

static struct continuum_entry *continuum_rows(struct arena *a, const struct db_rows *r)
{
	struct continuum_entry *v = arena_zalloc(a, (r->count + 1) * sizeof(*v));
	int64_t now = clock_wall_ms();
	size_t i;

	for (i = 0; i < r->count; i++) {
		v[i] = continuum_row(r, i);
		v[i].fit_ppm = CONTINUUM_ONE;
		v[i].score = continuum_score(v[i].tier, v[i].importance_ppm, v[i].surprise_ppm, now - v[i].updated_at);
	}
	return v;
}

CO_FN bool continuum_list(struct worker *w, struct arena *a, const struct context *ctx,
			  const struct continuum_filter *f, struct continuum_entry **out, size_t *n, struct error *err)
{
#define CONTINUUM_LIST(order)                                                                \
	"SELECT " CONTINUUM_COLUMNS " FROM continuum_memory WHERE " CONTINUUM_HERE           \
	" AND tier IN ($2, $3, $4, $5) AND importance_ppm >= $6 AND ($7 = '' OR kind = $7)"  \
	" AND ($8 = '' OR agent = $8) AND created_at > $9 AND ($10 = 0 OR created_at < $10)" \
	" ORDER BY " order " LIMIT $11 OFFSET $12"
	static const char *const sql[] = {CONTINUUM_LIST("importance_ppm DESC, updated_at DESC, id"),
					  CONTINUUM_LIST("created_at DESC, id"), CONTINUUM_LIST("created_at, id")};
	int64_t tier[CONTINUUM_TIERS];
	struct db_rows r;
	size_t i;

	for (i = 0; i < CONTINUUM_TIERS; i++)
		tier[i] = (f->tiers >> i & 1U) != 0 ? (int64_t)i : -1;
	if (!db_query(w->db, a, sql[f->oldest_first ? 2 : f->by_time],
		      DB_ARGS(DB_S(ctx->workspace_id), DB_I(tier[0]), DB_I(tier[1]), DB_I(tier[2]), DB_I(tier[3]),
			      DB_I(f->min_importance_ppm), DB_S(f->kind), DB_S(f->agent), DB_I(f->after_ms),
			      DB_I(f->before_ms), DB_I(f->limit < CONTINUUM_LOAD_MAX ? f->limit : CONTINUUM_LOAD_MAX),
			      DB_I(f->offset)),
		      &r, err))
		return false;
	*out = continuum_rows(a, &r);
	*n = r.count;
	return true;
}

CO_FN bool continuum_get(struct worker *w, struct arena *a, const struct context *ctx, struct str id,
			 struct continuum_entry *out, struct error *err)
{
	struct db_rows r;

	if (!db_query(w->db, a,
		      "SELECT " CONTINUUM_COLUMNS " FROM continuum_memory WHERE " CONTINUUM_HERE " AND id = $2",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_S(id)), &r, err))
		return false;
	if (r.count == 0)
		return error_field(err, ERR_NOT_FOUND, "id", "Memory not found: %.*s", STR_ARG(str_sub(id, 0, 128)));
	*out = continuum_rows(a, &r)[0];
	return true;
}

static int continuum_order(const void *x, const void *y)
{
	const struct continuum_entry *a = x, *b = y;

	if (a->score != b->score)
		return a->score < b->score ? 1 : -1;
	return (a->updated_at < b->updated_at) - (a->updated_at > b->updated_at);
}

static bool continuum_admits(const struct continuum_filter *f, const struct continuum_entry *e)
{
	return (f->tiers >> e->tier & 1U) != 0 && e->importance_ppm >= f->min_importance_ppm &&
	       (f->kind.n == 0 || str_eq(f->kind, e->kind)) && (f->agent.n == 0 || str_eq(f->agent, e->agent));
}

#define CONTINUUM_PAGE 16 /* refs of one statement */

/* The entries of these hits that the filter admits, with their fit. */
CO_FN static bool continuum_load(struct worker *w, struct arena *a, const struct context *ctx,
				 const struct fulltext_hit *hits, size_t n, const struct continuum_filter *f,
				 struct continuum_entry *out, size_t *count, struct error *err)
{
	struct db_val args[1 + CONTINUUM_PAGE];
	struct continuum_entry *v;
	struct db_rows r;
	size_t i, k, from;

	for (from = 0; from < n; from += CONTINUUM_PAGE) {
		args[0] = DB_S(ctx->workspace_id);
		for (i = 0; i < CONTINUUM_PAGE; i++)
			args[1 + i] = DB_S(from + i < n ? hits[from + i].ref : STR(""));
		if (!db_query(w->db, a,
			      "SELECT " CONTINUUM_COLUMNS " FROM continuum_memory WHERE " CONTINUUM_HERE
			      " AND id IN ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
			      args, countof(args), &r, err))
			return false;
		v = continuum_rows(a, &r);
		for (i = 0; i < r.count; i++) {
			for (k = from; k < n && !str_eq(hits[k].ref, v[i].id); k++)
				;
			if (k == n || !continuum_admits(f, &v[i]))
				continue;
			v[i].fit_ppm = hits[k].score_ppm;
			v[i].score *= (double)v[i].fit_ppm / 1e6;
			out[(*count)++] = v[i];
		}
	}
	return true;
}

CO_FN bool continuum_search(struct worker *w, struct arena *a, const struct context *ctx, struct str query,
			    const struct continuum_filter *f, struct continuum_entry **out, size_t *n,
			    struct error *err)
{
	struct continuum_filter all = *f;
	struct fulltext_hit *hits;
	size_t found;

	*n = 0;
	if (str_trim(query).n == 0) {
		/* The order is by score: the most important ones are looked at, however few are wanted. */
		all.limit = CONTINUUM_LOAD_MAX;
		if (!continuum_list(w, a, ctx, &all, out, n, err))
			return false;
	} else {
		if (!fulltext_find(w, a, ctx, CONTINUUM_KIND, query, FULLTEXT_LIMIT_MAX, &hits, &found, err))
			return false;
		*out = arena_zalloc(a, (found + 1) * sizeof(**out));
		if (!continuum_load(w, a, ctx, hits, found, f, *out, n, err))
			return false;
	}
	if (*n > 0)
		qsort(*out, *n, sizeof(**out), continuum_order);
	if (*n > (size_t)f->limit)
		*n = (size_t)f->limit;
	return true;
}

static int continuum_fit_order(const void *x, const void *y)
{
	const struct continuum_entry *a = x, *b = y;

	if (a->fit_ppm != b->fit_ppm)
		return a->fit_ppm < b->fit_ppm ? 1 : -1;
	return continuum_order(x, y);
}

/* Of the entries that the filter admits, those by meaning first; by words what these have not found, or worse. */
static size_t continuum_merge(struct continuum_entry *v, size_t by_meaning, size_t n)
{
	size_t i, k, kept = by_meaning;

	for (i = by_meaning; i < n; i++) {
		for (k = 0; k < by_meaning && !str_eq(v[k].id, v[i].id); k++)
			;
		if (k == by_meaning)
			v[kept++] = v[i];
		else if (v[k].fit_ppm < v[i].fit_ppm)
			v[k] = v[i];
	}
	return kept;
}

CO_FN bool continuum_similar(struct worker *w, struct arena *a, const struct context *ctx, struct str query,
			     const struct continuum_filter *f, int64_t min_ppm, struct continuum_entry **out, size_t *n,
			     bool *by_meaning, struct error *err)
{
	struct fulltext_hit *words, *meaning;
	struct vectors_hit *near;
	size_t found, count, i, semantic;

	*n = 0;
	if (!vectors_find(w, a, ctx, VECTORS_CONTINUUM, query, FULLTEXT_LIMIT_MAX, &near, &count, by_meaning, err) ||
	    !fulltext_find(w, a, ctx, CONTINUUM_KIND, query, FULLTEXT_LIMIT_MAX, &words, &found, err))
		return false;
	meaning = arena_zalloc(a, (count + 1) * sizeof(*meaning));
	for (i = 0; i < count; i++)
		meaning[i] = (struct fulltext_hit){.ref = near[i].id, .score_ppm = near[i].score_ppm};
	*out = arena_zalloc(a, (count + found + 1) * sizeof(**out));
	if (!continuum_load(w, a, ctx, meaning, count, f, *out, n, err))
		return false;
	semantic = *n;
	for (i = 0; i < semantic; i++)
		(*out)[i].semantic = true;
	if (!continuum_load(w, a, ctx, words, found, f, *out, n, err))
		return false;
	*n = continuum_merge(*out, semantic, *n);
	if (*n > 0)
		qsort(*out, *n, sizeof(**out), continuum_fit_order);
	for (i = 0; i < *n && i < (size_t)f->limit && (*out)[i].fit_ppm >= min_ppm; i++)
		;
	*n = i;
	return true;
}

CO_FN bool continuum_reindex(struct worker *w, const struct context *ctx, int64_t *n, struct error *err)
{
	struct continuum_filter f = {
	    .tiers = CONTINUUM_ALL_TIERS, .oldest_first = true, .limit = CONTINUUM_REINDEX_PAGE};
	size_t i, count = CONTINUUM_REINDEX_PAGE;
	bool ok = true;

	for (*n = 0; ok && count == CONTINUUM_REINDEX_PAGE; f.offset += CONTINUUM_REINDEX_PAGE) {
		struct arena *a = arena_new(0);
		struct db_batch *b = db_batch_new(w->db);
		struct continuum_entry *v;

		ok = continuum_list(w, a, ctx, &f, &v, &count, err);
		for (i = 0; ok && i < count; i++)
			fulltext_put(b, ctx, CONTINUUM_KIND, v[i].id, v[i].content);
		if (ok && f.offset == 0)
			vectors_renew(b, ctx, VECTORS_CONTINUUM);
		if (ok && db_batch_size(b) > 0)
			ok = db_commit(w->db, b, err);
		else
			db_batch_free(b);
		*n += ok ? (int64_t)count : 0;
		arena_free(a);
	}
	return ok;
}

CO_FN bool continuum_counts(struct worker *w, struct arena *a, const struct context *ctx,
			    struct continuum_count out[CONTINUUM_TIERS], struct error *err)
{
	struct db_rows r;
	size_t i;

	for (i = 0; i < CONTINUUM_TIERS; i++)
		out[i] = (struct continuum_count){.count = 0};
	if (!db_query(
		w->db, a,
		"SELECT tier, SUM(CASE WHEN archived_at = 0 THEN 1 ELSE 0 END), SUM(CASE WHEN archived_at = 0 THEN"
		" importance_ppm ELSE 0 END), SUM(CASE WHEN archived_at = 0 THEN surprise_ppm ELSE 0 END),"
		" SUM(CASE WHEN archived_at = 0 THEN red_line ELSE 0 END), COUNT(*)"
		" FROM continuum_memory WHERE workspace_id = $1 GROUP BY tier",
		DB_ARGS(DB_S(ctx->workspace_id)), &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		int64_t tier = db_int(&r, i, 0), n = db_int(&r, i, 1);

		if (tier < 0 || tier >= CONTINUUM_TIERS)
			continue;
		out[tier] = (struct continuum_count){.count = n,
						     .archived = db_int(&r, i, 5) - n,
						     .importance_ppm = n > 0 ? db_int(&r, i, 2) / n : 0,
						     .surprise_ppm = n > 0 ? db_int(&r, i, 3) / n : 0,
						     .red_lines = db_int(&r, i, 4)};
	}
	return true;
}

/* ---- background of a debate ---- */

CO_FN bool continuum_gather(struct worker *w, struct arena *a, const struct context *ctx, struct str task,
			    struct background_item **items, size_t *n, struct error *err)
{
	const struct continuum_filter f = {.tiers = CONTINUUM_ALL_TIERS, .limit = FULLTEXT_LIMIT_MAX};
	struct continuum_entry *found;
	size_t i, count;

	*n = 0;
	if (!continuum_search(w, a, ctx, task, &f, &found, &count, err))
		return false;
	*items = arena_zalloc(a, (CONTINUUM_RECALL_MAX + 1) * sizeof(**items));
	for (i = 0; i < count && *n < CONTINUUM_RECALL_MAX; i++) {
		const struct continuum_entry *e = &found[i];

		if (e->fit_ppm < CONTINUUM_FITS_PPM || str_eqz(e->kind, "outcome"))
			continue;
		(*items)[(*n)++] = (struct background_item){
		    .id = e->id,
		    .title = str_eqz(e->kind, "critique") ? STR("A critique from an earlier debate") : STR("A note"),
		    .text = e->content,
		    .trusted = e->red_line,
		    .score_ppm = e->fit_ppm};
	}
	return true;
}
