/* SPDX-License-Identifier: MIT */
/*
 * Knowledge that goes by itself: what nobody has touched for long and is worth little is archived, what was archived
 * long ago is removed, and so are the history of what became of nodes and grants that have ended. Called by the
 * scheduler once a day, and by prune_api.c for one workspace. Documents of a culture and the glacial tier stay: people
 * decide about them.
 */
#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/audit/audit.h"
#include "worker/knowledge/upkeep.h"
#include "worker/worker.h"

#define PRUNE_DAY_MS INT64_C(86400000)
#define PRUNE_PAGE 50                        /* nodes of one transaction; each is some statements */
#define PRUNE_CALL_MAX 1000                  /* nodes of one workspace in one go */
#define PRUNE_EVENTS_MS (365 * PRUNE_DAY_MS) /* history that is kept */

/*
 * $1 the workspace, $2 the time since when nobody has touched it. Stale and unsure, as GET pruning/items has it; or at
 * the floor of confidence, below which age takes nothing any more.
 */
#define PRUNE_WHERE                                                                                              \
	"n.workspace_id = $1 AND n.archived_at = 0 AND n.updated_at < $2 AND n.validated_at < $2 AND n.tier <> " \
	"'glacial' AND n.node_type <> 'culture' AND ((n.staleness_ppm >= $3 AND n.confidence_ppm <= $4) OR"      \
	" n.confidence_ppm <= $5)"

/* Commits a page of `what` with its event in the audit log, unless it is empty. */
CO_FN static bool prune_commit(struct worker *w, const struct context *ctx, struct db_batch *b, const char *action,
			       int64_t n, struct error *err)
{
	json_t *details;

	if (n == 0) {
		db_batch_free(b);
		return true;
	}
	details = json_pack("{s:I}", "nodes", (json_int_t)n);
	audit_add_as(b, w, ctx,
		     &(struct audit_event){.category = "data",
					   .action = action,
					   .resource_type = STR("workspace"),
					   .resource_id = ctx->workspace_id,
					   .details = details});
	json_decref(details);
	return db_commit(w->db, b, err);
}

/* The next page of those that may go; *n of them. */
CO_FN static bool prune_archive_step(struct worker *w, const struct context *ctx, int64_t before_ms, int64_t *n,
				     struct error *err)
{
	int64_t now = clock_wall_ms();
	struct arena *a = arena_new(0);
	struct db_batch *b;
	struct db_rows r;
	size_t i;
	bool ok;

	ok = db_query(w->db, a,
		      "SELECT n.id FROM knowledge_nodes n WHERE " PRUNE_WHERE " ORDER BY n.created_at DESC, n.id"
		      " LIMIT $6",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_I(before_ms), DB_I(UPKEEP_QUEUED_PPM),
			      DB_I(UPKEEP_UNSURE_PPM), DB_I(UPKEEP_FLOOR_PPM), DB_I(PRUNE_PAGE)),
		      &r, err);
	*n = ok ? (int64_t)r.count : 0;
	b = db_batch_new(w->db);
	for (i = 0; ok && i < r.count; i++)
		knowledge_archive(b, ctx, db_str(&r, i, 0), "pruned", now);
	ok = prune_commit(w, ctx, b, "knowledge.prune", *n, err) && ok;
	if (ok)
		metric_add(M_KM_PRUNED, *n, "archived", NULL);
	arena_free(a);
	return ok;
}

/* The next page of those that were archived before a time. */
CO_FN static bool prune_remove_step(struct worker *w, const struct context *ctx, int64_t before_ms, int64_t *n,
				    struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_batch *b;
	struct db_rows r;
	size_t i;
	bool ok;

	ok = db_query(w->db, a,
		      "SELECT id FROM knowledge_nodes WHERE workspace_id = $1 AND archived_at > 0 AND archived_at < $2"
		      " ORDER BY archived_at LIMIT $3",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_I(before_ms), DB_I(PRUNE_PAGE)), &r, err);
	*n = ok ? (int64_t)r.count : 0;
	b = db_batch_new(w->db);
	for (i = 0; ok && i < r.count; i++) {
		knowledge_remove(b, ctx, db_str(&r, i, 0));
		knowledge_note(b, ctx, db_str(&r, i, 0), "removed", 0, 0, clock_wall_ms());
	}
	ok = prune_commit(w, ctx, b, "knowledge.remove", *n, err) && ok;
	if (ok)
		metric_add(M_KM_PRUNED, *n, "removed", NULL);
	arena_free(a);
	return ok;
}

/* Pages of a step until one is not full; false: failed. */
CO_FN static bool prune_pages(struct worker *w, const struct context *ctx,
			      bool (*step)(struct worker *w, const struct context *ctx, int64_t before_ms, int64_t *n,
					   struct error *err),
			      int64_t before_ms, int64_t *sum, struct error *err)
{
	int64_t n = PRUNE_PAGE, done;

	for (done = 0; n == PRUNE_PAGE && done < PRUNE_CALL_MAX && !jobs_stopping(w->jobs); done += n)
		if (!step(w, ctx, before_ms, &n, err))
			return false;
	*sum += done;
	return true;
}

CO_FN bool prune_here(struct worker *w, const struct context *ctx, int64_t days, bool dry_run, int64_t *n,
		      struct error *err)
{
	int64_t before = clock_wall_ms() - days * PRUNE_DAY_MS;
	struct arena *a;
	struct db_rows r;
	bool ok;

	*n = 0;
	if (!dry_run)
		return prune_pages(w, ctx, prune_archive_step, before, n, err);
	a = arena_new(0);
	ok = db_query(w->db, a, "SELECT COUNT(*) FROM knowledge_nodes n WHERE " PRUNE_WHERE,
		      DB_ARGS(DB_S(ctx->workspace_id), DB_I(before), DB_I(UPKEEP_QUEUED_PPM), DB_I(UPKEEP_UNSURE_PPM),
			      DB_I(UPKEEP_FLOOR_PPM)),
		      &r, err);
	if (ok)
		*n = db_int(&r, 0, 0);
	arena_free(a);
	return ok;
}

/* ---- the job ---- */

/* clang-format off */
static const char prune_next_sql[] =
	SQL_ANYBODY("the job goes through all workspaces")
	"SELECT workspace_id, org_id FROM knowledge_nodes WHERE workspace_id > $1 ORDER BY workspace_id LIMIT 1";
/* clang-format on */

/* The next workspace behind ctx's that has nodes; *found false: none. */
CO_FN static bool prune_next(struct worker *w, struct arena *a, struct context *ctx, bool *found, struct error *err)
{
	struct db_rows r;

	if (!db_query(w->db, a, prune_next_sql, DB_ARGS(DB_S(ctx->workspace_id)), &r, err))
		return false;
	*found = r.count > 0;
	if (*found)
		*ctx = (struct context){
		    .principal = STR("system"), .org_id = db_str(&r, 0, 1), .workspace_id = db_str(&r, 0, 0)};
	return true;
}

CO_FN static bool prune_workspace(struct worker *w, const struct context *ctx, int64_t *archived, int64_t *removed,
				  struct error *err)
{
	int64_t now = clock_wall_ms(), days = w->conf->knowledge.prune_days, kept = w->conf->knowledge.archived_days;
	struct db_batch *b;

	if ((days > 0 && !prune_pages(w, ctx, prune_archive_step, now - days * PRUNE_DAY_MS, archived, err)) ||
	    (kept > 0 && !prune_pages(w, ctx, prune_remove_step, now - kept * PRUNE_DAY_MS, removed, err)))
		return false;
	b = db_batch_new(w->db);
	db_batch_add(b, "DELETE FROM knowledge_events WHERE workspace_id = $1 AND created_at < $2",
		     DB_ARGS(DB_S(ctx->workspace_id), DB_I(now - PRUNE_EVENTS_MS)), DB_ANY);
	db_batch_add(b, "DELETE FROM knowledge_grants WHERE workspace_id = $1 AND expires_at > 0 AND expires_at < $2",
		     DB_ARGS(DB_S(ctx->workspace_id), DB_I(now - PRUNE_DAY_MS)), DB_ANY);
	return db_commit(w->db, b, err);
}

CO_FN static bool prune_run(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	int64_t start = clock_mono_us(), archived = 0, removed = 0;
	struct context ctx = {.workspace_id = STR("")};
	struct arena *a = arena_new(0);
	bool ok, found = true;

	do
		ok = prune_next(w, a, &ctx, &found, err) &&
		     (!found || prune_workspace(w, &ctx, &archived, &removed, err));
	while (ok && found && !jobs_stopping(w->jobs));
	arena_free(a);
	json_put_int(result, "archived", archived);
	json_put_int(result, "removed", removed);
	*count += archived + removed;
	knowledge_counted("prune", ok, start);
	if (archived + removed > 0)
		log_info("knowledge", "knowledge was pruned", KV_I("archived", archived), KV_I("removed", removed));
	return ok;
}

static int64_t prune_interval(const struct conf *c)
{
	return c->knowledge.prune_interval / MS_US;
}

const struct job knowledge_prune_job = {
    .name = "knowledge-prune", .first_ms = 5000, .interval_ms = prune_interval, .run = prune_run};
