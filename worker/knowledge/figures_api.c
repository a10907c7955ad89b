/* SPDX-License-Identifier: MIT */
/*
 * Figures of a workspace's knowledge over the API: how sure it is, what it is about, how good and how used it is, who
 * may see it (rest-wide 5.2: confidence, analytics, governance). Called through its routes. All of it is counted from
 * the store when asked; an empty workspace has zeros.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/access/access.h"
#include "worker/knowledge/upkeep.h"
#include "worker/worker.h"

#define FIGURES_DAYS_MAX 365
#define FIGURES_DAY_MS INT64_C(86400000)

/* Rows of the workspace; $2, where a statement has it, is `since`. False: answered. */
CO_FN static bool figures_read(struct http_request *req, const char *sql, int64_t since, struct db_rows *r)
{
	const struct db_val args[] = {DB_S(req->ctx.workspace_id), DB_I(since)};
	struct worker *w = req->user;
	struct error err = ERROR_INIT;

	if (db_query(w->db, req->arena, sql, args, strstr(sql, "$2") != NULL ? 2 : 1, r, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

static double figures_share(int64_t sum_ppm, int64_t n)
{
	return n > 0 ? (double)sum_ppm / (double)n / KNOWLEDGE_ONE : 0.0;
}

/* {first column: second column}; *sum of the second ones. New reference. */
static json_t *figures_counts(struct arena *a, const struct db_rows *r, json_int_t *sum)
{
	json_t *o = json_object();
	size_t i;

	*sum = 0;
	for (i = 0; i < r->count; i++) {
		json_put_int(o, arena_str(a, db_str(r, i, 0)).p, db_int(r, i, 1));
		*sum += db_int(r, i, 1);
	}
	return o;
}

static void figures_reply(struct http_request *req, json_t *o)
{
	json_put_str(o, "workspace_id", req->ctx.workspace_id);
	http_reply_json(req, 200, o);
}

/* ---- confidence ---- */

/* By the levels of rest-wide 5.3. */
CO_FN static void figures_confidence(struct http_request *req)
{
	static const char *const levels[] = {"verified", "high", "medium", "low", "unverified"};
	struct db_rows r, events;
	json_t *by, *changes;
	json_int_t n, ignored;
	size_t i;

	if (!knowledge_here(req, NULL) ||
	    !figures_read(
		req,
		"SELECT COUNT(*), CAST(COALESCE(SUM(confidence_ppm), 0) AS BIGINT),"
		" CAST(COALESCE(SUM(CASE WHEN confidence_ppm <= 100000 THEN 1 ELSE 0 END), 0) AS BIGINT),"
		" CAST(COALESCE(SUM(CASE WHEN confidence_ppm >= 950000 THEN 1 ELSE 0 END), 0) AS BIGINT),"
		" CAST(COALESCE(SUM(CASE WHEN confidence_ppm >= 850000 AND confidence_ppm < 950000 THEN 1 ELSE 0"
		" END), 0) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN confidence_ppm >= 700000 AND confidence_ppm <"
		" 850000 THEN 1 ELSE 0 END), 0) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN confidence_ppm >= 400000"
		" AND confidence_ppm < 700000 THEN 1 ELSE 0 END), 0) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN"
		" confidence_ppm < 400000 THEN 1 ELSE 0 END), 0) AS BIGINT) FROM knowledge_nodes WHERE"
		" workspace_id = $1 AND archived_at = 0",
		0, &r) ||
	    !figures_read(req, "SELECT event, COUNT(*) FROM knowledge_events WHERE workspace_id = $1 GROUP BY event", 0,
			  &events))
		return;
	n = db_int(&r, 0, 0);
	by = json_object();
	for (i = 0; i < countof(levels); i++)
		json_put_int(by, levels[i], db_int(&r, 0, 3 + i));
	changes = figures_counts(req->arena, &events, &ignored);
	figures_reply(req, json_pack("{s:I, s:f, s:o, s:I, s:f, s:o}", "total_nodes", n, "average_confidence",
				     figures_share(db_int(&r, 0, 1), n), "by_level", by, "at_floor",
				     (json_int_t)db_int(&r, 0, 2), "floor", (double)UPKEEP_FLOOR_PPM / KNOWLEDGE_ONE,
				     "events", changes));
}

/* ---- analytics ---- */

/* What it is about: by the first topic, and by type. */
CO_FN static void figures_coverage(struct http_request *req)
{
	struct db_rows topics, types;
	json_t *list, *by;
	json_int_t n, named = 0;
	size_t i;

	if (!knowledge_here(req, NULL) ||
	    !figures_read(
		req,
		"SELECT topic, COUNT(*), CAST(SUM(confidence_ppm) AS BIGINT), CAST(SUM(CASE WHEN staleness_ppm"
		" >= 500000 THEN 1 ELSE 0 END) AS BIGINT) FROM knowledge_nodes WHERE workspace_id = $1 AND"
		" archived_at = 0 AND topic <> '' GROUP BY topic ORDER BY 2 DESC, topic LIMIT 100",
		0, &topics) ||
	    !figures_read(req,
			  "SELECT node_type, COUNT(*) FROM knowledge_nodes WHERE workspace_id = $1 AND archived_at = 0"
			  " GROUP BY node_type",
			  0, &types))
		return;
	list = json_array();
	for (i = 0; i < topics.count; i++) {
		json_t *o = json_pack("{s:I, s:f, s:I}", "count", (json_int_t)db_int(&topics, i, 1),
				      "average_confidence", figures_share(db_int(&topics, i, 2), db_int(&topics, i, 1)),
				      "stale", (json_int_t)db_int(&topics, i, 3));

		json_put_str(o, "topic", db_str(&topics, i, 0));
		json_array_append_new(list, o);
		named += db_int(&topics, i, 1);
	}
	by = figures_counts(req->arena, &types, &n);
	figures_reply(req, json_pack("{s:o, s:o, s:I, s:I}", "topics", list, "by_type", by, "total_nodes", n,
				     "without_topic", n > named ? n - named : 0));
}

CO_FN static void figures_quality(struct http_request *req)
{
	struct db_rows r, open;
	json_int_t n;

	if (!knowledge_here(req, NULL) ||
	    !figures_read(
		req,
		"SELECT COUNT(*), CAST(COALESCE(SUM(confidence_ppm), 0) AS BIGINT),"
		" CAST(COALESCE(SUM(staleness_ppm), 0) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN staleness_ppm >="
		" 500000 THEN 1 ELSE 0 END), 0) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN validation = 'contested'"
		" THEN 1 ELSE 0 END), 0) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN validation = 'unverified' THEN"
		" 1 ELSE 0 END), 0) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN superseded_by <> '' THEN 1 ELSE 0"
		" END), 0) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN revalidate_at > 0 THEN 1 ELSE 0 END), 0) AS"
		" BIGINT) FROM knowledge_nodes WHERE workspace_id = $1 AND archived_at = 0",
		0, &r) ||
	    !figures_read(req,
			  "SELECT COUNT(*) FROM knowledge_contradictions WHERE workspace_id = $1 AND state = 'open'", 0,
			  &open))
		return;
	n = db_int(&r, 0, 0);
	figures_reply(req, json_pack("{s:I, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I}", "total_nodes", n,
				     "average_confidence", figures_share(db_int(&r, 0, 1), n), "average_staleness",
				     figures_share(db_int(&r, 0, 2), n), "stale_nodes", (json_int_t)db_int(&r, 0, 3),
				     "contested_nodes", (json_int_t)db_int(&r, 0, 4), "unverified_nodes",
				     (json_int_t)db_int(&r, 0, 5), "superseded_nodes", (json_int_t)db_int(&r, 0, 6),
				     "waiting_for_revalidation", (json_int_t)db_int(&r, 0, 7), "open_contradictions",
				     (json_int_t)db_int(&open, 0, 0)));
}

/* What was written, and what happened to nodes, in the last ?days=. */
CO_FN static void figures_usage(struct http_request *req)
{
	int64_t days = http_query_int(req, "days", 1, FIGURES_DAYS_MAX, 30);
	int64_t since = clock_wall_ms() - days * FIGURES_DAY_MS;
	struct db_rows written, events;
	json_int_t n, changed;
	json_t *by, *what;

	if (!knowledge_here(req, NULL) ||
	    !figures_read(req,
			  "SELECT CASE WHEN adapter = '' THEN 'people' ELSE adapter END, COUNT(*) FROM knowledge_nodes"
			  " WHERE workspace_id = $1 AND archived_at = 0 AND created_at >= $2 GROUP BY 1",
			  since, &written) ||
	    !figures_read(req,
			  "SELECT event, COUNT(*) FROM knowledge_events WHERE workspace_id = $1 AND created_at >= $2"
			  " GROUP BY event",
			  since, &events))
		return;
	by = figures_counts(req->arena, &written, &n);
	what = figures_counts(req->arena, &events, &changed);
	figures_reply(req, json_pack("{s:I, s:I, s:o, s:I, s:o}", "days", (json_int_t)days, "nodes_written", n,
				     "by_writer", by, "events_total", changed, "events", what));
}

/* ---- governance ---- */

/* Who may see how much. */
CO_FN static void figures_governance(struct http_request *req)
{
	struct db_rows seen, grants;
	json_int_t n, granted;
	json_t *by, *to;

	if (!knowledge_here(req, NULL) ||
	    !figures_read(req,
			  "SELECT visibility, COUNT(*) FROM knowledge_nodes WHERE workspace_id = $1 AND archived_at = 0"
			  " GROUP BY visibility",
			  0, &seen) ||
	    !figures_read(req,
			  "SELECT grantee_type, COUNT(*) FROM knowledge_grants WHERE workspace_id = $1 AND"
			  " (expires_at = 0 OR expires_at > $2) GROUP BY grantee_type",
			  clock_wall_ms(), &grants))
		return;
	by = figures_counts(req->arena, &seen, &n);
	to = figures_counts(req->arena, &grants, &granted);
	figures_reply(req, json_pack("{s:I, s:o, s:I, s:o}", "total_nodes", n, "by_visibility", by, "grants", granted,
				     "by_grantee", to));
}

/* What the caller may do with knowledge; roles themselves are those of the organization (/api/rbac). */
static void figures_permissions(struct http_request *req)
{
	static const char *const keys[] = {"knowledge.read", "knowledge.write", "knowledge.share", "knowledge.admin"};
	json_t *list = json_array(), *o;
	size_t i;

	for (i = 0; i < countof(keys); i++)
		if (rbac_allows(req, keys[i]))
			json_array_append_new(list, json_string(keys[i]));
	o = json_pack("{s:o}", "permissions", list);
	json_put_str(o, "user_id", req->ctx.principal);
	figures_reply(req, o);
}

static const struct route figures_rows[] = {
    KNOWLEDGE_ROW(GET, "mound/confidence/stats", figures_confidence, "read", READ, "How sure the knowledge is"),
    KNOWLEDGE_ROW(GET, "mound/analytics/coverage", figures_coverage, "read", READ, "What the knowledge is about"),
    KNOWLEDGE_ROW(GET, "mound/analytics/quality", figures_quality, "read", READ, "How good the knowledge is"),
    KNOWLEDGE_ROW(GET, "mound/analytics/usage", figures_usage, "read", READ, "What was written and what became of it"),
    KNOWLEDGE_ROW(GET, "mound/governance/stats", figures_governance, "read", READ, "Who may see how much"),
    KNOWLEDGE_ROW(GET, "mound/governance/permissions", figures_permissions, "read", READ,
		  "What the caller may do with knowledge"),
};
const struct route_table knowledge_figures_routes = {figures_rows, countof(figures_rows)};
