/* SPDX-License-Identifier: MIT */
/*
 * What keeps continuum memory in order: moves between tiers, expiry, limits; the hourly job that does it for all.
 * Called by the routes for one workspace and by the clerk for all. Decides by continuum_math.c alone.
 */
#include "worker/memory/continuum.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/jobs/jobs.h"
#include "worker/worker.h"

#define KEEP_PAGE 200
#define KEEP_TRANSITIONS_MS (30 * 24 * INT64_C(3600000))
#define KEEP_DAY_MS (24 * INT64_C(3600000))

/* Rows of one tier by what they need, behind `id`; args: workspace, tier, cutoff, id, page. */
CO_FN static bool keep_page(struct worker *w, struct arena *a, const struct context *ctx, enum continuum_tier t,
			    int64_t moved_before, struct str after, struct db_rows *r, struct error *err)
{
	return db_query(w->db, a,
			"SELECT id, surprise_ppm, updates, moved_at, updated_at, red_line FROM continuum_memory"
			" WHERE workspace_id = $1 AND archived_at = 0 AND tier = $2 AND moved_at <= $3 AND id > $4"
			" ORDER BY id LIMIT $5",
			DB_ARGS(DB_S(ctx->workspace_id), DB_I(t), DB_I(moved_before), DB_S(after), DB_I(KEEP_PAGE)), r,
			err);
}

/* ---- moves ---- */

CO_FN static bool keep_consolidate_tier(struct worker *w, const struct context *ctx, enum continuum_tier t, int64_t now,
					struct continuum_moves *out, struct error *err)
{
	struct str after = STR("");
	struct arena *a = NULL, *old;
	struct db_rows r;
	bool ok = true;
	size_t i;

	do {
		struct db_batch *b = db_batch_new(w->db);

		old = a;
		a = arena_new(0);
		ok = keep_page(w, a, ctx, t, now - CONTINUUM_COOLDOWN_MS, after, &r, err);
		arena_free(old); /* `after` was in it */
		for (i = 0; ok && i < r.count; i++) {
			int64_t surprise = db_int(&r, i, 1), since = now - db_int(&r, i, 3);

			out->processed++;
			after = db_str(&r, i, 0);
			if (continuum_promotes(t, surprise, since)) {
				continuum_move(b, ctx, after, t, t - 1, "surprise", now);
				out->promotions++;
			} else if (continuum_demotes(t, surprise, db_int(&r, i, 2), since)) {
				continuum_move(b, ctx, after, t, t + 1, "settled", now);
				out->demotions++;
			}
		}
		if (ok && db_batch_size(b) > 0)
			ok = db_commit(w->db, b, err);
		else
			db_batch_free(b);
	} while (ok && r.count == KEEP_PAGE);
	arena_free(a);
	return ok;
}

CO_FN bool continuum_consolidate(struct worker *w, const struct context *ctx, struct continuum_moves *out,
				 struct error *err)
{
	int64_t now = clock_wall_ms();
	size_t t;

	*out = (struct continuum_moves){.processed = 0};
	for (t = 0; t < CONTINUUM_TIERS; t++)
		if (!keep_consolidate_tier(w, ctx, (enum continuum_tier)t, now, out, err))
			return false;
	return true;
}

/* ---- expiry and limits ---- */

/* Takes out what the statement names until it names nothing; *n counts. args[last] is the page. */
CO_FN static bool keep_remove(struct worker *w, const struct context *ctx, const char *sql, const struct db_val *args,
			      size_t count, bool archive, const char *reason, int64_t most, int64_t *n,
			      struct error *err)
{
	int64_t now = clock_wall_ms();
	bool ok = true, more = true;

	while (ok && more && most > 0) {
		struct arena *a = arena_new(0);
		struct db_batch *b = db_batch_new(w->db);
		struct db_rows r = {.count = 0};
		size_t i;

		ok = db_query(w->db, a, sql, args, count, &r, err);
		for (i = 0; ok && i < r.count && most > 0; i++, most--)
			continuum_remove(b, ctx, db_str(&r, i, 0), archive, reason, false, now);
		more = i == KEEP_PAGE;
		if (ok && i > 0)
			ok = db_commit(w->db, b, err);
		else
			db_batch_free(b);
		if (ok)
			*n += (int64_t)i;
		arena_free(a);
	}
	return ok;
}

CO_FN static bool keep_expire(struct worker *w, const struct context *ctx, enum continuum_tier t, bool archive,
			      int64_t cutoff_ms, int64_t *n, struct error *err)
{
	return keep_remove(
	    w, ctx,
	    "SELECT id FROM continuum_memory WHERE workspace_id = $1 AND archived_at = 0 AND tier = $2"
	    " AND updated_at < $3 AND red_line = 0 ORDER BY id LIMIT $4",
	    DB_ARGS(DB_S(ctx->workspace_id), DB_I(t), DB_I(clock_wall_ms() - cutoff_ms), DB_I(KEEP_PAGE)), archive,
	    "expired", INT64_MAX, n, err);
}

CO_FN static bool keep_evict(struct worker *w, const struct context *ctx, enum continuum_tier t, bool archive,
			     int64_t *n, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows r;
	int64_t over = 0;
	bool ok;

	ok = db_query(w->db, a,
		      "SELECT COUNT(*) FROM continuum_memory WHERE workspace_id = $1 AND archived_at = 0 AND tier = $2",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_I(t)), &r, err);
	if (ok)
		over = db_int(&r, 0, 0) - continuum_rules[t].max;
	arena_free(a);
	return ok &&
	       keep_remove(w, ctx,
			   "SELECT id FROM continuum_memory WHERE workspace_id = $1 AND archived_at = 0 AND tier = $2"
			   " AND red_line = 0 ORDER BY importance_ppm, updated_at, id LIMIT $3",
			   DB_ARGS(DB_S(ctx->workspace_id), DB_I(t), DB_I(KEEP_PAGE)), archive, "tier_limit", over, n,
			   err);
}

CO_FN bool continuum_clean(struct worker *w, const struct context *ctx, unsigned tiers, bool archive,
			   int64_t max_age_ms, struct continuum_cleaned *out, struct error *err)
{
	size_t t;

	*out = (struct continuum_cleaned){.expired = {0}};
	for (t = 0; t < CONTINUUM_TIERS; t++) {
		out->cutoff_ms[t] = max_age_ms > 0 ? max_age_ms : continuum_retention_ms((enum continuum_tier)t);
		if ((tiers >> t & 1U) != 0 &&
		    (!keep_expire(w, ctx, (enum continuum_tier)t, archive, out->cutoff_ms[t], &out->expired[t], err) ||
		     !keep_evict(w, ctx, (enum continuum_tier)t, archive, &out->evicted[t], err)))
			return false;
	}
	return true;
}

CO_FN bool continuum_vacuum(struct worker *w, const struct context *ctx, int64_t before_ms, int64_t *n,
			    struct error *err)
{
	const struct db_val workspace = DB_S(ctx->workspace_id), before = DB_I(before_ms);
	struct db_batch *b = db_batch_new(w->db);
	struct arena *a = arena_new(0);
	struct db_rows r;
	bool ok;

	ok = db_query(w->db, a,
		      "SELECT COUNT(*) FROM continuum_memory WHERE workspace_id = $1 AND archived_at > 0"
		      " AND archived_at <= $2",
		      DB_ARGS(workspace, before), &r, err);
	*n = ok ? db_int(&r, 0, 0) : 0;
	db_batch_add(b,
		     "DELETE FROM continuum_memory WHERE workspace_id = $1 AND archived_at > 0 AND archived_at <= $2",
		     DB_ARGS(workspace, before), DB_ANY);
	if (ok)
		ok = db_commit(w->db, b, err);
	else
		db_batch_free(b);
	arena_free(a);
	return ok;
}

/* ---- the gate ---- */

CO_FN static bool keep_prune_tier(struct worker *w, const struct context *ctx, enum continuum_tier t, bool dry_run,
				  int64_t now, int64_t *forgotten, int64_t *demoted, struct error *err)
{
	struct str after = STR("");
	struct arena *a = NULL, *old;
	struct db_rows r;
	bool ok = true;
	size_t i;

	do {
		struct db_batch *b = db_batch_new(w->db);

		old = a;
		a = arena_new(0);
		ok = keep_page(w, a, ctx, t, now, after, &r, err);
		arena_free(old);
		for (i = 0; ok && i < r.count; i++) {
			enum continuum_fate fate =
			    continuum_gate(now - db_int(&r, i, 4), db_int(&r, i, 2), db_int(&r, i, 1));

			after = db_str(&r, i, 0);
			if (db_int(&r, i, 5) != 0 || fate == CONTINUUM_KEEP)
				continue;
			if (fate == CONTINUUM_FORGET) {
				(*forgotten)++;
				if (!dry_run)
					continuum_remove(b, ctx, after, true, "forgotten", false, now);
			} else if (t != CONTINUUM_GLACIAL) {
				(*demoted)++;
				if (!dry_run)
					continuum_move(b, ctx, after, t, t + 1, "gate", now);
			}
		}
		if (ok && db_batch_size(b) > 0)
			ok = db_commit(w->db, b, err);
		else
			db_batch_free(b);
	} while (ok && r.count == KEEP_PAGE);
	arena_free(a);
	return ok;
}

/* From the slowest tier up: what goes down a tier is not looked at twice. */
CO_FN bool continuum_prune(struct worker *w, const struct context *ctx, bool dry_run, int64_t *forgotten,
			   int64_t *demoted, struct error *err)
{
	int64_t now = clock_wall_ms();
	size_t t;

	*forgotten = *demoted = 0;
	for (t = CONTINUUM_TIERS; t-- > 0;)
		if (!keep_prune_tier(w, ctx, (enum continuum_tier)t, dry_run, now, forgotten, demoted, err))
			return false;
	return true;
}

/* ---- the job ---- */

static int64_t keep_interval(const struct conf *c)
{
	return c->memory.interval / MS_US;
}

/* The next workspace behind *after that has entries; *found false: none. */
CO_FN static bool keep_next(struct worker *w, struct arena *a, struct context *ctx, bool *found, struct error *err)
{
	struct db_rows r;

	if (!db_query(w->db, a,
		      SQL_ANYBODY("the job goes through all workspaces") "SELECT workspace_id, org_id FROM"
									 " continuum_memory WHERE workspace_id > $1 "
									 "ORDER BY workspace_id LIMIT 1",
		      DB_ARGS(DB_S(ctx->workspace_id)), &r, err))
		return false;
	*found = r.count > 0;
	if (*found)
		*ctx = (struct context){
		    .principal = STR("system"), .org_id = db_str(&r, 0, 1), .workspace_id = db_str(&r, 0, 0)};
	return true;
}

CO_FN static bool keep_forget_old(struct worker *w, struct error *err)
{
	struct db_batch *b = db_batch_new(w->db);
	int64_t now = clock_wall_ms();

	db_batch_add(b, SQL_ANYBODY("removes by age") "DELETE FROM memory_transitions WHERE created_at < $1",
		     DB_ARGS(DB_I(now - KEEP_TRANSITIONS_MS)), DB_ANY);
	if (w->conf->memory.archive_days > 0)
		db_batch_add(b,
			     SQL_ANYBODY("removes by age") "DELETE FROM continuum_memory WHERE archived_at > 0"
							   " AND archived_at < $1",
			     DB_ARGS(DB_I(now - w->conf->memory.archive_days * KEEP_DAY_MS)), DB_ANY);
	return db_commit(w->db, b, err);
}

CO_FN static bool keep_run(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	struct context ctx = {.workspace_id = STR("")};
	struct arena *a = arena_new(0);
	int64_t expired = 0, evicted = 0, promotions = 0, demotions = 0;
	struct continuum_cleaned cleaned;
	struct continuum_moves moves;
	bool ok, found = true;
	size_t t;

	do {
		ok = keep_next(w, a, &ctx, &found, err);
		if (!ok || !found)
			break;
		ok = continuum_consolidate(w, &ctx, &moves, err) &&
		     continuum_clean(w, &ctx, CONTINUUM_ALL_TIERS, true, 0, &cleaned, err);
		for (t = 0; ok && t < CONTINUUM_TIERS; t++) {
			expired += cleaned.expired[t];
			evicted += cleaned.evicted[t];
		}
		promotions += ok ? moves.promotions : 0;
		demotions += ok ? moves.demotions : 0;
	} while (ok && !jobs_stopping(w->jobs));
	ok = ok && keep_forget_old(w, err);
	json_put_int(result, "promotions", promotions);
	json_put_int(result, "demotions", demotions);
	json_put_int(result, "expired", expired);
	json_put_int(result, "evicted", evicted);
	*count += expired + evicted;
	arena_free(a);
	return ok;
}

const struct job continuum_job = {"memory", 5 * 60 * INT64_C(1000), keep_interval, keep_run};
