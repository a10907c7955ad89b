/* SPDX-License-Identifier: MIT */
/*
 * Near-duplicates over the API: clusters, a report, merging one or all (rest-wide 5.5). Called through its routes.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/knowledge/upkeep.h"
#include "worker/worker.h"

static struct worker *dedup_worker(const struct http_request *req)
{
	return req->user;
}

/* ---- near-duplicates ---- */

static const char *dedup_advice(const struct upkeep_cluster *c)
{
	return c->mean_ppm >= UPKEEP_MERGE_PPM    ? "merge"
	       : c->mean_ppm >= UPKEEP_REVIEW_PPM ? "review"
						  : "keep_separate";
}

static json_t *dedup_json(const struct upkeep_cluster *c)
{
	json_t *list = json_array(), *o;
	size_t i;

	for (i = 1; i < c->n; i++) {
		o = json_pack("{s:f, s:f}", "similarity", (double)c->similarity_ppm[i] / KNOWLEDGE_ONE, "confidence",
			      (double)c->v[i]->confidence_ppm / KNOWLEDGE_ONE);
		json_put_str(o, "node_id", c->v[i]->id);
		json_put_str(o, "content_preview", str_utf8_cut(c->v[i]->content, 200));
		json_put_str(o, "tier", c->v[i]->tier);
		json_array_append_new(list, o);
	}
	o = json_pack("{s:I, s:f, s:s, s:o}", "duplicate_count", (json_int_t)(c->n - 1), "avg_similarity",
		      (double)c->mean_ppm / KNOWLEDGE_ONE, "recommended_action", dedup_advice(c), "duplicates", list);
	json_put_str(o, "primary_node_id", c->v[0]->id);
	json_object_set_new(o, "cluster_id", json_sprintf("cl_%.*s", STR_ARG(str_sub(c->v[0]->id, 3, c->v[0]->id.n))));
	return o;
}

/* False: answered. */
CO_FN static bool dedup_look(struct http_request *req, int64_t threshold_ppm, struct upkeep_cluster **c, size_t *n,
			     size_t *looked_at)
{
	struct error err = ERROR_INIT;

	if (upkeep_clusters(dedup_worker(req), req->arena, &req->ctx, threshold_ppm, c, n, looked_at, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

CO_FN static void dedup_clusters(struct http_request *req)
{
	int64_t threshold = knowledge_query_share(req, "similarity_threshold", 900000);
	size_t limit = (size_t)http_query_int(req, "limit", 1, 100, 20), n, looked_at, i;
	struct upkeep_cluster *c;
	json_t *list, *o;

	if (!knowledge_here(req, NULL) || !dedup_look(req, threshold, &c, &n, &looked_at))
		return;
	list = json_array();
	for (i = 0; i < n && i < limit; i++)
		json_array_append_new(list, dedup_json(&c[i]));
	o = json_pack("{s:f, s:I, s:o}", "similarity_threshold", (double)threshold / KNOWLEDGE_ONE, "clusters_found",
		      (json_int_t)n, "clusters", list);
	json_put_str(o, "workspace_id", req->ctx.workspace_id);
	http_reply_json(req, 200, o);
}

CO_FN static void dedup_report(struct http_request *req)
{
	int64_t threshold = knowledge_query_share(req, "similarity_threshold", 900000);
	size_t n, looked_at, i, spare = 0;
	struct upkeep_cluster *c;
	char iso[CLOCK_ISO_MAX];
	json_t *o;

	if (!knowledge_here(req, NULL) || !dedup_look(req, threshold, &c, &n, &looked_at))
		return;
	for (i = 0; i < n; i++)
		spare += c[i].n - 1;
	o = json_pack("{s:s, s:I, s:I, s:f, s:I}", "generated_at", clock_iso(iso, clock_wall_ms()),
		      "total_nodes_analyzed", (json_int_t)looked_at, "duplicate_clusters_found", (json_int_t)n,
		      "estimated_reduction_percent", looked_at > 0 ? 100.0 * (double)spare / (double)looked_at : 0.0,
		      "cluster_count", (json_int_t)n);
	json_put_str(o, "workspace_id", req->ctx.workspace_id);
	http_reply_json(req, 200, o);
}

/* The merge of one cluster in a batch of its own; NULL: answered. */
CO_FN static json_t *dedup_merge_one(struct http_request *req, const struct upkeep_cluster *c, struct str keep)
{
	struct db_batch *b = db_batch_new(dedup_worker(req)->db);
	int64_t links = 0;
	json_t *merged = json_array(), *o;
	struct error err = ERROR_INIT;
	size_t i;

	if (!upkeep_merge(dedup_worker(req), req->arena, &req->ctx, c, keep, b, &links, &err)) {
		db_batch_free(b);
		json_decref(merged);
		http_reply_error(req, &err);
		return NULL;
	}
	if (!knowledge_commit(req, b, "merge", "knowledge_node", "knowledge.merge", keep)) {
		json_decref(merged);
		return NULL;
	}
	for (i = 0; i < c->n; i++)
		if (!str_eq(c->v[i]->id, keep))
			json_array_append_new(merged, json_str(c->v[i]->id));
	o = json_pack("{s:b, s:I, s:I, s:o}", "success", 1, "archived_count", (json_int_t)json_array_size(merged),
		      "updated_relationships", (json_int_t)links, "merged_node_ids", merged);
	json_put_str(o, "kept_node_id", keep);
	return o;
}

CO_FN static void dedup_merge(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	struct upkeep_cluster *c;
	struct str id, keep;
	struct body_problems p;
	size_t n, looked_at, i, k;
	int64_t threshold;
	json_t *o;

	if (body == NULL || !knowledge_here(req, body))
		return;
	body_problems_begin(req, &p);
	id = body_text(&p, body, "cluster_id", 1, 64, false);
	keep = body_text(&p, body, "primary_node_id", 0, 64, false);
	threshold = knowledge_share(&p, body, "similarity_threshold", 900000);
	if (body_refused(req, &p) || !dedup_look(req, threshold, &c, &n, &looked_at))
		return;
	for (i = 0; i < n && !(id.n > 3 && str_eq(str_sub(id, 3, id.n), str_sub(c[i].v[0]->id, 3, c[i].v[0]->id.n)));
	     i++)
		;
	if (i == n)
		error_field(&err, ERR_NOT_FOUND, "cluster_id", "Cluster not found");
	else if (keep.n == 0)
		keep = c[i].v[0]->id;
	for (k = 0; i < n && k < c[i].n && !str_eq(c[i].v[k]->id, keep); k++)
		;
	if (i < n && k == c[i].n)
		error_field(&err, ERR_INVALID_VALUE, "primary_node_id", "is no node of the cluster");
	if (err.code != ERR_OK)
		http_reply_error(req, &err);
	else if ((o = dedup_merge_one(req, &c[i], keep)) != NULL)
		http_reply_json(req, 200, o);
}

/* Only what is nearly word for word the same; a dry run unless the body says otherwise. */
CO_FN static void dedup_auto(struct http_request *req)
{
	const json_t *body = body_object(req);
	bool dry = json_get_bool(body, "dry_run", true);
	size_t n, looked_at, i, found = 0, merges = 0;
	json_t *details = json_own(req->arena, json_array()), *o;
	struct upkeep_cluster *c;

	if (body == NULL || !knowledge_here(req, body) || !dedup_look(req, UPKEEP_MERGE_PPM, &c, &n, &looked_at))
		return;
	for (i = 0; i < n; i++) {
		found += c[i].n - 1;
		o = dry ? dedup_json(&c[i]) : dedup_merge_one(req, &c[i], c[i].v[0]->id);
		if (o == NULL)
			return;
		merges += !dry;
		json_array_append_new(details, o);
	}
	o = json_pack("{s:b, s:I, s:I, s:O}", "dry_run", (int)dry, "duplicates_found", (json_int_t)found,
		      "merges_performed", (json_int_t)merges, "details", details);
	json_put_str(o, "workspace_id", req->ctx.workspace_id);
	http_reply_json(req, 200, o);
}

static const struct route dedup_rows[] = {
    KNOWLEDGE_ROW(GET, "mound/dedup/clusters", dedup_clusters, "read", READ, "Nodes that say nearly the same"),
    KNOWLEDGE_ROW(GET, "mound/dedup/report", dedup_report, "read", READ, "How much of the knowledge is said twice"),
    KNOWLEDGE_ROW(POST, "mound/dedup/merge", dedup_merge, "admin", WRITE, "Keep one node of a cluster"),
    KNOWLEDGE_ROW(POST, "mound/dedup/auto-merge", dedup_auto, "admin", WRITE,
		  "The same for all that are word for word alike"),
};
const struct route_table knowledge_dedup_routes = {dedup_rows, countof(dedup_rows)};
