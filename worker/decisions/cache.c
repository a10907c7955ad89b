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
			      struct str policy, json_t **result, struct error *err)
{
	struct db_rows r;

	*result = NULL;
	if (!db_query(w->db, a,
		      "SELECT result, policy_version FROM decision_cache WHERE workspace_id = $1 AND cache_key = $2"
		      " AND created_at > $3",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_S(key),
			      DB_I(clock_wall_ms() - w->conf->decisions.cache_ttl / MS_US)),
		      &r, err))
		return false;
	if (r.count > 0 && str_eq(db_str(&r, 0, 1), policy))
		*result = json_parse(a, db_str(&r, 0, 0), err);
	else if (r.count > 0)
		cache_drop(w, ctx, key, db_str(&r, 0, 1));
	metric_add(*result != NULL ? M_DECISION_HITS : M_DECISION_MISSES, 1, NULL);
	return true;
}

/* ---- storing ---- */

/* How many must go for one more under this key. */
CO_FN static bool cache_surplus(struct worker *w, struct arena *a, const struct context *ctx, struct str key,
				int64_t *n, struct error *err)
{
	struct db_rows r;

	if (!db_query(w->db, a, "SELECT COUNT(*) FROM decision_cache WHERE workspace_id = $1 AND cache_key <> $2",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_S(key)), &r, err))
		return false;
	*n = db_int(&r, 0, 0) + 1 - w->conf->decisions.cache_entries;
	return true;
}

CO_FN bool decision_cache_put(struct worker *w, const struct context *ctx, const struct decision_entry *e, bool *stored,
			      struct error *err)
{
	struct db_batch *b = db_batch_new(w->db);
	struct arena *a = arena_new(0);
	int64_t now = clock_wall_ms(), surplus = 0;

	*stored = false;
	if (!cache_surplus(w, a, ctx, e->key, &surplus, err)) {
		db_batch_free(b);
		arena_free(a);
		return false;
	}
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
	if (*stored && surplus > 0)
		metric_add(M_DECISION_EVICTIONS, surplus, NULL);
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
    [DECISION_OUTCOME] = {"outcome", CACHE_OF("cache_key IN (SELECT d.cache_key FROM decisions d WHERE"
					      " d.debate_id = $2 AND d.org_id = $1)")},
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

CO_FN bool decision_cache_forget(struct worker *w, struct db_batch *b, struct str org_id, enum decision_cause cause,
				 struct str name, struct str version, int64_t *n, struct error *err)
{
	struct arena *a = arena_new(0);
	const struct db_val named = DB_S(cache_named(a, cause, name, version));
	struct db_rows r;
	bool ok;

	ok = db_query(w->db, a, cache_causes[cause].sql.count, DB_ARGS(DB_S(org_id), named), &r, err);
	*n = ok ? db_int(&r, 0, 0) : 0;
	cache_raise(b, org_id);
	db_batch_add(b, cache_causes[cause].sql.remove, DB_ARGS(DB_S(org_id), named), DB_ANY);
	arena_free(a);
	return ok;
}

void decision_cache_forgotten(enum decision_cause cause, int64_t n)
{
	if (n > 0)
		metric_add(M_DECISION_INVALIDATIONS, n, cache_causes[cause].metric, NULL);
	log_info("decisions", "cached decisions invalidated", KV_S("by", cache_causes[cause].metric), KV_I("count", n));
}

CO_FN bool decision_cache_invalidate(struct worker *w, const struct context *ctx, enum decision_cause cause,
				     struct str name, struct str version, int64_t *n, struct error *err)
{
	struct db_batch *b = db_batch_new(w->db);
	bool ok = true;

	*n = 0;
	if (cause == DECISION_POLICY) {
		cache_raise(b, ctx->org_id);
		cache_policy(b, ctx, name);
	} else {
		ok = decision_cache_forget(w, b, ctx->org_id, cause, name, version, n, err);
	}
	if (!ok) {
		db_batch_free(b);
		return false;
	}
	if (!db_commit(w->db, b, err))
		return false;
	decision_cache_forgotten(cause, *n);
	return true;
}

/* ---- the job ---- */

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
	db_batch_add(b, "DELETE FROM decision_cache_nodes WHERE node_id NOT IN (SELECT node_id FROM processes)",
		     DB_NO_ARGS, DB_ANY);
	if (ok) {
		*removed += db_int(&r, 0, 0);
		ok = db_commit(w->db, b, err);
	} else {
		db_batch_free(b);
	}
	arena_free(a);
	return ok;
}
