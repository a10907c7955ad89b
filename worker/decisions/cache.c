/* SPDX-License-Identifier: MIT */
/*
 * The cache of decisions (cache.h). Called by the decision router and its routes; tenancy tells it what has changed.
 * Knows keys and results, not how either is made.
 */
#include "worker/decisions/cache.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/worker.h"

#define CACHE_FIRST_POLICY "1"

/* Each word between line ends: "\nurgent\nlegal\n", so that one is found as a whole by REPLACE on either store. */
static struct str cache_words(struct arena *a, const json_t *list)
{
	struct buf b = BUF_INIT;
	struct str out;
	size_t i;

	buf_addc(&b, '\n');
	for (i = 0; i < json_array_size(list); i++)
		buf_printf(&b, "%s\n", json_string_value(json_array_get(list, i)));
	out = arena_str(a, buf_str(&b));
	buf_free(&b);
	return out;
}

/* "\nclaude\nclaude=claude-opus-4-6\n…" */
static struct str cache_agents(struct arena *a, const json_t *agents)
{
	struct buf b = BUF_INIT;
	const char *name;
	const json_t *v;
	struct str out;

	buf_addc(&b, '\n');
	json_object_foreach((json_t *)(uintptr_t)agents, name, v)
	    buf_printf(&b, "%s\n%s=%s\n", name, name, json_is_string(v) ? json_string_value(v) : "");
	out = arena_str(a, buf_str(&b));
	buf_free(&b);
	return out;
}

CO_FN void decision_cache_gauge(struct worker *w)
{
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (db_query(w->db, a, SQL_ANYBODY("a figure of the service") "SELECT COUNT(*) FROM decision_cache", DB_NO_ARGS,
		     &r, &err))
		metric_set(M_DECISION_SIZE, db_int(&r, 0, 0), NULL);
	arena_free(a);
}

/* ---- state ---- */

CO_FN bool decision_state_read(struct worker *w, struct arena *a, const struct context *ctx, struct decision_state *out,
			       struct error *err)
{
	struct db_rows r;

	*out = (struct decision_state){0, STR(CACHE_FIRST_POLICY)};
	if (!db_query(w->db, a, "SELECT generation, policy_version FROM decision_cache_state WHERE org_id = $1",
		      DB_ARGS(DB_S(ctx->org_id)), &r, err))
		return false;
	if (r.count > 0)
		*out = (struct decision_state){db_int(&r, 0, 0), db_str(&r, 0, 1)};
	return true;
}

/* From here to the commit nothing of the organization is stored by others; what is stored later sees the new number. */
static void cache_raise(struct db_batch *b, struct str org_id)
{
	db_batch_add(b,
		     "INSERT INTO decision_cache_state (org_id, generation, policy_version, changed_at)"
		     " VALUES ($1, 1, '" CACHE_FIRST_POLICY "', $2) ON CONFLICT (org_id) DO UPDATE SET"
		     " generation = decision_cache_state.generation + 1, changed_at = excluded.changed_at",
		     DB_ARGS(DB_S(org_id), DB_I(clock_wall_ms())), 1);
}

/* ---- lookup ---- */

CO_FN static void cache_drop(struct worker *w, const struct context *ctx, struct str key, struct str policy)
{
	struct db_batch *b = db_batch_new(w->db);
	struct error err = ERROR_INIT;

	db_batch_add(b, "DELETE FROM decision_cache WHERE workspace_id = $1 AND cache_key = $2 AND policy_version = $3",
		     DB_ARGS(DB_S(ctx->workspace_id), DB_S(key), DB_S(policy)), DB_ANY);
	if (!db_commit(w->db, b, &err))
		log_warn("decisions", "an outdated entry stays for now", KV_S("reason", err.msg));
	metric_add(M_DECISION_INVALIDATIONS, 1, "policy", NULL);
}

CO_FN bool decision_cache_get(struct worker *w, struct arena *a, const struct context *ctx, struct str key,
			      json_t **result, struct error *err)
{
	struct decision_state state;
	struct db_rows r;

	*result = NULL;
	if (!decision_state_read(w, a, ctx, &state, err) ||
	    !db_query(w->db, a,
		      "SELECT result, policy_version FROM decision_cache WHERE workspace_id = $1 AND cache_key = $2"
		      " AND created_at > $3",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_S(key),
			      DB_I(clock_wall_ms() - w->conf->decisions.cache_ttl / MS_US)),
		      &r, err))
		return false;
	if (r.count > 0 && str_eq(db_str(&r, 0, 1), state.policy_version))
		*result = json_parse(a, db_str(&r, 0, 0), err);
	else if (r.count > 0)
		cache_drop(w, ctx, key, db_str(&r, 0, 1));
	metric_add(*result != NULL ? M_DECISION_HITS : M_DECISION_MISSES, 1, NULL);
	return true;
}

/* ---- storing ---- */

CO_FN bool decision_cache_put(struct worker *w, const struct context *ctx, const struct decision_entry *e, bool *stored,
			      struct error *err)
{
	struct db_batch *b = db_batch_new(w->db);
	struct arena *a = arena_new(0);
	int64_t now = clock_wall_ms();

	db_batch_add(b,
		     "INSERT INTO decision_cache_state (org_id, generation, policy_version, changed_at)"
		     " VALUES ($1, 0, '" CACHE_FIRST_POLICY "', $2) ON CONFLICT (org_id) DO NOTHING",
		     DB_ARGS(DB_S(ctx->org_id), DB_I(now)), DB_ANY);
	/* The row is locked from here on: an invalidation is either seen by this or sees what this stores. */
	db_batch_add(b, "UPDATE decision_cache_state SET changed_at = $3 WHERE org_id = $1 AND generation = $2",
		     DB_ARGS(DB_S(ctx->org_id), DB_I(e->generation), DB_I(now)), 1);
	db_batch_add(b,
		     "INSERT INTO decision_cache (workspace_id, cache_key, org_id, result, tags, agents, "
		     "policy_version, created_at)"
		     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (workspace_id, cache_key) DO UPDATE SET"
		     " result = excluded.result, tags = excluded.tags, agents = excluded.agents,"
		     " policy_version = excluded.policy_version, created_at = excluded.created_at",
		     DB_ARGS(DB_S(ctx->workspace_id), DB_S(e->key), DB_S(ctx->org_id), DB_S(json_text(a, e->result)),
			     DB_S(cache_words(a, e->tags)), DB_S(cache_agents(a, e->agents)), DB_S(e->policy_version),
			     DB_I(now)),
		     DB_ANY);
	db_batch_add(
	    b,
	    "DELETE FROM decision_cache WHERE workspace_id = $1 AND cache_key IN (SELECT cache_key FROM"
	    " decision_cache WHERE workspace_id = $1 ORDER BY created_at DESC, cache_key LIMIT 1000 OFFSET $2)",
	    DB_ARGS(DB_S(ctx->workspace_id), DB_I(w->conf->decisions.cache_entries)), DB_ANY);
	*stored = db_commit(w->db, b, err);
	arena_free(a);
	return *stored || err->code == ERR_FENCED;
}

/* ---- invalidation ---- */

/* $1 organization, $2 what is named. */
#define CACHE_OF(condition)                                                                                        \
	{                                                                                                          \
		SQL_WITHIN_ORG("what an organization invalidates is so in all of its workspaces")                  \
		"SELECT COUNT(*) FROM decision_cache WHERE org_id = $1 AND " condition,                            \
		    SQL_WITHIN_ORG(                                                                                \
			"what an organization invalidates is so in all of its workspaces") "DELETE FROM "          \
											   "decision_cache WHERE " \
											   "org_id = $1 "          \
											   "AND " condition        \
	}

static const struct {
	const char *metric;
	struct {
		const char *count, *remove;
	} sql;
} cache_causes[] = {
    [DECISION_WORKSPACE] = {"workspace", CACHE_OF("workspace_id = $2")},
    [DECISION_POLICY] = {"policy", {NULL, NULL}},
    [DECISION_AGENT] = {"agent", CACHE_OF("REPLACE(agents, $2, '') <> agents")},
    [DECISION_TAG] = {"tag", CACHE_OF("REPLACE(tags, $2, '') <> tags")},
    [DECISION_ALL] = {"workspace", CACHE_OF("$2 = $2")},
};

static struct str cache_named(struct arena *a, enum decision_cause cause, struct str name, struct str version)
{
	if (cause == DECISION_AGENT && version.n > 0)
		return arena_printf(a, "\n%.*s=%.*s\n", STR_ARG(name), STR_ARG(version));
	if (cause == DECISION_AGENT || cause == DECISION_TAG)
		return arena_printf(a, "\n%.*s\n", STR_ARG(name));
	return name;
}

static void cache_policy(struct db_batch *b, const struct context *ctx, struct str version)
{
	db_batch_add(b, "UPDATE decision_cache_state SET policy_version = $2 WHERE org_id = $1",
		     DB_ARGS(DB_S(ctx->org_id), DB_S(version)), 1);
}

CO_FN bool decision_cache_invalidate(struct worker *w, const struct context *ctx, enum decision_cause cause,
				     struct str name, struct str version, int64_t *n, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_val named = DB_S(cache_named(a, cause, name, version));
	struct db_batch *b = db_batch_new(w->db);
	struct db_rows r;
	bool ok = true;

	*n = 0;
	if (cause != DECISION_POLICY) {
		ok = db_query(w->db, a, cache_causes[cause].sql.count, DB_ARGS(DB_S(ctx->org_id), named), &r, err);
		*n = ok ? db_int(&r, 0, 0) : 0;
	}
	cache_raise(b, ctx->org_id);
	if (cause == DECISION_POLICY)
		cache_policy(b, ctx, name);
	else
		db_batch_add(b, cache_causes[cause].sql.remove, DB_ARGS(DB_S(ctx->org_id), named), DB_ANY);
	if (ok) {
		ok = db_commit(w->db, b, err);
	} else {
		db_batch_free(b);
	}
	arena_free(a);
	if (!ok)
		return false;
	if (*n > 0)
		metric_add(M_DECISION_INVALIDATIONS, *n, cache_causes[cause].metric, NULL);
	log_info("decisions", "cached decisions invalidated", KV_S("by", cache_causes[cause].metric),
		 KV_I("count", *n));
	return true;
}

void decision_workspace_changed(struct db_batch *b, struct str org_id, struct str workspace_id)
{
	cache_raise(b, org_id);
	db_batch_add(b, cache_causes[DECISION_WORKSPACE].sql.remove, DB_ARGS(DB_S(org_id), DB_S(workspace_id)), DB_ANY);
}

/* ---- figures ---- */

CO_FN bool decision_cache_stats(struct worker *w, struct arena *a, const struct context *ctx,
				struct decision_stats *out, struct error *err)
{
	struct decision_state state;
	struct db_rows r;
	size_t i;

	*out = (struct decision_stats){.by_workspace = json_own(a, json_object())};
	if (!decision_state_read(w, a, ctx, &state, err) ||
	    !db_query(w->db, a,
		      SQL_WITHIN_ORG("figures of the whole organization") "SELECT workspace_id, COUNT(*) FROM"
									  " decision_cache WHERE org_id = $1 AND "
									  "created_at > $2 GROUP BY workspace_id",
		      DB_ARGS(DB_S(ctx->org_id), DB_I(clock_wall_ms() - w->conf->decisions.cache_ttl / MS_US)), &r,
		      err))
		return false;
	for (i = 0; i < r.count; i++) {
		json_put_int(out->by_workspace, arena_str(a, db_str(&r, i, 0)).p, db_int(&r, i, 1));
		out->entries += db_int(&r, i, 1);
	}
	out->policy_version = state.policy_version;
	out->hits = (int64_t)metric_total(M_DECISION_HITS);
	out->misses = (int64_t)metric_total(M_DECISION_MISSES);
	out->invalidations = (int64_t)metric_total(M_DECISION_INVALIDATIONS);
	return true;
}

CO_FN bool decision_cache_sweep(struct worker *w, int64_t *removed, struct error *err)
{
	int64_t before = clock_wall_ms() - w->conf->decisions.cache_ttl / MS_US;
	struct arena *a = arena_new(0);
	struct db_batch *b = db_batch_new(w->db);
	struct db_rows r;
	bool ok;

	ok = db_query(w->db, a,
		      SQL_ANYBODY("removes by age") "SELECT COUNT(*) FROM decision_cache WHERE created_at <= $1",
		      DB_ARGS(DB_I(before)), &r, err);
	db_batch_add(b, SQL_ANYBODY("removes by age") "DELETE FROM decision_cache WHERE created_at <= $1",
		     DB_ARGS(DB_I(before)), DB_ANY);
	if (ok) {
		*removed += db_int(&r, 0, 0);
		ok = db_commit(w->db, b, err);
	} else {
		db_batch_free(b);
	}
	arena_free(a);
	return ok;
}
