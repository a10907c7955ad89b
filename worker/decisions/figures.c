/* SPDX-License-Identifier: MIT */
/*
 * Figures of the decision cache (cache.h): those of a node are its metrics; each node writes them where the others can
 * read them, and together they are the cluster's. Called by the clerk and by the routes of the cache. Counts nothing
 * itself.
 */
#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/shm.h"
#include "common/tenant.h"
#include "worker/decisions/cache.h"
#include "worker/worker.h"

static struct decision_counts figures_of_node(void)
{
	return (struct decision_counts){.hits = (int64_t)metric_total(M_DECISION_HITS),
					.misses = (int64_t)metric_total(M_DECISION_MISSES),
					.invalidations = (int64_t)metric_total(M_DECISION_INVALIDATIONS),
					.evictions = (int64_t)metric_total(M_DECISION_EVICTIONS)};
}

static int64_t figures_since(const struct worker *w)
{
	return clock_wall_ms() - w->conf->decisions.cache_ttl / MS_US;
}

static void figures_write(struct db_batch *b, const struct worker *w, const struct decision_counts *c)
{
	db_batch_add(b,
		     "INSERT INTO decision_cache_nodes (node_id, hits, misses, invalidations, evictions, updated_at)"
		     " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (node_id) DO UPDATE SET hits = excluded.hits,"
		     " misses = excluded.misses, invalidations = excluded.invalidations,"
		     " evictions = excluded.evictions, updated_at = excluded.updated_at",
		     DB_ARGS(DB_Z(w->shm->node_id), DB_I(c->hits), DB_I(c->misses), DB_I(c->invalidations),
			     DB_I(c->evictions), DB_I(clock_wall_ms())),
		     1);
}

CO_FN void decision_cache_gauge(struct worker *w)
{
	const struct decision_counts c = figures_of_node();
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct db_batch *b;
	struct db_rows size, own;

	if (db_query(w->db, a,
		     SQL_ANYBODY("a figure of the service") "SELECT COUNT(*) FROM decision_cache WHERE created_at > $1",
		     DB_ARGS(DB_I(figures_since(w))), &size, &err))
		metric_set(M_DECISION_SIZE, db_int(&size, 0, 0), NULL);
	if (db_query(
		w->db, a,
		"SELECT COUNT(*) FROM decision_cache_nodes WHERE node_id = $1 AND hits = $2 AND misses = $3"
		" AND invalidations = $4 AND evictions = $5",
		DB_ARGS(DB_Z(w->shm->node_id), DB_I(c.hits), DB_I(c.misses), DB_I(c.invalidations), DB_I(c.evictions)),
		&own, &err) &&
	    db_int(&own, 0, 0) == 0) {
		b = db_batch_new(w->db);
		figures_write(b, w, &c);
		if (!db_commit(w->db, b, &err))
			log_debug("decisions", "figures are not written", KV_S("reason", err.msg));
	}
	arena_free(a);
}

/* What the other nodes that are alive have written. */
CO_FN static bool figures_others(struct worker *w, struct arena *a, struct decision_stats *out, struct error *err)
{
	struct db_rows r;

	if (!db_query(w->db, a,
		      "SELECT COUNT(*), CAST(COALESCE(SUM(hits), 0) AS BIGINT), CAST(COALESCE(SUM(misses), 0) AS"
		      " BIGINT), CAST(COALESCE(SUM(invalidations), 0) AS BIGINT), CAST(COALESCE(SUM(evictions), 0) AS"
		      " BIGINT) FROM decision_cache_nodes WHERE node_id <> $1 AND node_id IN (SELECT node_id FROM"
		      " processes)",
		      DB_ARGS(DB_Z(w->shm->node_id)), &r, err))
		return false;
	out->nodes = db_int(&r, 0, 0) + 1;
	out->total = (struct decision_counts){.hits = out->node.hits + db_int(&r, 0, 1),
					      .misses = out->node.misses + db_int(&r, 0, 2),
					      .invalidations = out->node.invalidations + db_int(&r, 0, 3),
					      .evictions = out->node.evictions + db_int(&r, 0, 4)};
	return true;
}

CO_FN bool decision_cache_stats(struct worker *w, struct arena *a, const struct context *ctx,
				struct decision_stats *out, struct error *err)
{
	struct decision_state state;
	struct db_rows r, all;
	size_t i;

	*out = (struct decision_stats){.by_workspace = json_own(a, json_object()), .node = figures_of_node()};
	if (!decision_state_read(w, a, ctx, &state, err) || !figures_others(w, a, out, err) ||
	    !db_query(
		w->db, a,
		SQL_ANYBODY("a figure of the service") "SELECT COUNT(*) FROM decision_cache WHERE created_at > $1",
		DB_ARGS(DB_I(figures_since(w))), &all, err) ||
	    !db_query(w->db, a,
		      SQL_WITHIN_ORG("figures of the whole organization") "SELECT workspace_id, COUNT(*) FROM"
									  " decision_cache WHERE org_id = $1 AND "
									  "created_at > $2 GROUP BY workspace_id",
		      DB_ARGS(DB_S(ctx->org_id), DB_I(figures_since(w))), &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		json_put_int(out->by_workspace, arena_str(a, db_str(&r, i, 0)).p, db_int(&r, i, 1));
		out->entries += db_int(&r, i, 1);
	}
	out->all_entries = db_int(&all, 0, 0);
	out->policy_version = state.policy_version;
	return true;
}
