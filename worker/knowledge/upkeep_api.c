/* SPDX-License-Identifier: MIT */
/*
 * Upkeep over the API: what is stale and its revalidation, events of confidence, near-duplicates, contradictions,
 * pruning (rest-wide 5.2, 5.4, 5.5). Called through its routes.
 */
#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "worker/audit/audit.h"
#include "worker/debate/similarity.h"
#include "worker/knowledge/upkeep.h"
#include "worker/worker.h"

#define UPKEEP_ITEMS_MAX 100
#define UPKEEP_SAME_PPM 700000 /* likeness from which two nodes speak of the same thing */

static struct worker *upkeep_worker(const struct http_request *req)
{
	return req->user;
}

/* Commits with an event of the audit log about `what`; false: answered. */
CO_FN static bool upkeep_commit(struct http_request *req, struct db_batch *b, const char *action, struct str what)
{
	struct error err = ERROR_INIT;

	audit_add(
	    b, req,
	    &(struct audit_event){
		.category = "data", .action = action, .resource_type = STR("knowledge_node"), .resource_id = what});
	if (db_commit(upkeep_worker(req)->db, b, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

CO_FN static bool upkeep_node(struct http_request *req, struct str id, struct knowledge_node *n)
{
	struct error err = ERROR_INIT;

	if (knowledge_own(upkeep_worker(req), req->arena, &req->ctx, id, n, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

static double upkeep_query_share(struct http_request *req, const char *name, double dflt)
{
	struct str s = http_query(req, name);
	char number[32];
	double v;

	if (s.n == 0)
		return dflt;
	(void)snprintf(number, sizeof(number), "%.*s", STR_ARG(str_sub(s, 0, 30)));
	v = strtod(number, NULL);
	return v >= 0.0 && v <= 1.0 ? v : dflt;
}

/* ---- stale ---- */

CO_FN static void stale_list(struct http_request *req)
{
	double threshold = upkeep_query_share(req, "threshold", 0.5);
	struct error err = ERROR_INIT;
	char iso[CLOCK_ISO_MAX];
	struct db_rows r;
	json_t *list, *o;
	size_t i;

	if (!knowledge_here(req, NULL))
		return;
	if (!db_query(
		upkeep_worker(req)->db, req->arena,
		"SELECT id, content, staleness_ppm, stale_reasons, checked_at, revalidate_at FROM knowledge_nodes WHERE"
		" workspace_id = $1 AND archived_at = 0 AND checked_at > 0 AND (staleness_ppm >= $2 OR"
		" revalidate_at > 0) AND (visibility <> 'private' OR created_by = $4)"
		" ORDER BY staleness_ppm DESC, id LIMIT $3",
		DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(threshold * KNOWLEDGE_ONE),
			DB_I(http_query_int(req, "limit", 1, 200, 50)), DB_S(req->ctx.principal)),
		&r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		struct error ignored = ERROR_INIT;
		json_t *reasons = json_parse(req->arena, db_str(&r, i, 3), &ignored);

		o = json_pack("{s:f, s:s, s:b}", "staleness_score", (double)db_int(&r, i, 2) / KNOWLEDGE_ONE,
			      "last_checked_at", clock_iso(iso, db_int(&r, i, 4)), "revalidation_recommended",
			      db_int(&r, i, 2) >= UPKEEP_QUEUED_PPM || db_int(&r, i, 5) > 0);
		json_put_str(o, "node_id", db_str(&r, i, 0));
		json_put_str(o, "content_preview", str_utf8_cut(db_str(&r, i, 1), 200));
		json_object_set_new(o, "reasons", reasons != NULL ? json_incref(reasons) : json_array());
		json_array_append_new(list, o);
	}
	o = json_pack("{s:o, s:I, s:f}", "stale_items", list, "total", (json_int_t)r.count, "threshold", threshold);
	json_put_str(o, "workspace_id", req->ctx.workspace_id);
	http_reply_json(req, 200, o);
}

/* Somebody has looked: it is as good as new. */
CO_FN static void stale_revalidate(struct http_request *req)
{
	const json_t *body = body_object(req);
	int64_t now = clock_wall_ms(), after;
	struct knowledge_node n;
	struct body_problems p;
	struct str validator;
	struct db_batch *b;
	json_t *o;

	if (body == NULL || !upkeep_node(req, req->params[0], &n))
		return;
	body_problems_begin(req, &p);
	validator = body_text(&p, body, "validator", 0, 200, false);
	after = n.confidence_ppm;
	(void)!upkeep_boost(STR("validated"), &after);
	after = knowledge_share(&p, body, "confidence", after);
	if (body_refused(req, &p))
		return;
	if (validator.n == 0)
		validator = req->ctx.principal;
	b = db_batch_new(upkeep_worker(req)->db);
	db_batch_add(
	    b,
	    "UPDATE knowledge_nodes SET confidence_ppm = $3, validated_at = $4, decayed_at = $4, updated_at = $4,"
	    " staleness_ppm = 0, stale_reasons = '[]', checked_at = $4, revalidate_at = 0, revalidate_how = ''"
	    " WHERE id = $1 AND workspace_id = $2",
	    DB_ARGS(DB_S(n.id), DB_S(req->ctx.workspace_id), DB_I(after), DB_I(now)), 1);
	knowledge_note(b, &req->ctx, n.id, "validated", n.confidence_ppm, after, now);
	if (!upkeep_commit(req, b, "knowledge.revalidate", n.id))
		return;
	o = json_pack("{s:b, s:f, s:s}", "validated", 1, "new_confidence", (double)after / KNOWLEDGE_ONE, "message",
		      "the node counts as checked now");
	json_put_str(o, "node_id", n.id);
	json_put_str(o, "validator", validator);
	http_reply_json(req, 200, o);
}

CO_FN static void stale_schedule(struct http_request *req)
{
	static const char *const priorities[] = {"low", "medium", "high", NULL};
	const json_t *body = body_object(req), *ids, *id;
	struct error err = ERROR_INIT;
	struct knowledge_node *nodes;
	struct body_problems p;
	struct str *wanted, priority;
	struct db_batch *b;
	json_t *list;
	size_t n, i;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	priority = knowledge_choice(&p, body, "priority", priorities, "medium");
	ids = json_object_get(body, "node_ids");
	if (!json_is_array(ids) || json_array_size(ids) == 0 || json_array_size(ids) > UPKEEP_ITEMS_MAX) {
		error_field(&err, ERR_INVALID_VALUE, "node_ids", "must be a list of 1 to %d ids", UPKEEP_ITEMS_MAX);
		body_problem(&p, &err);
	}
	if (body_refused(req, &p))
		return;
	wanted = arena_zalloc(req->arena, json_array_size(ids) * sizeof(*wanted));
	json_array_foreach(ids, i, id) wanted[i] = str_of(json_string_value(id));
	if (!knowledge_read(upkeep_worker(req), req->arena, &req->ctx, wanted, json_array_size(ids), &nodes, &n,
			    &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_own(req->arena, json_array());
	b = db_batch_new(upkeep_worker(req)->db);
	for (i = 0; i < n; i++) {
		db_batch_add(
		    b,
		    "UPDATE knowledge_nodes SET revalidate_at = $3, revalidate_how = $4, checked_at ="
		    " CASE WHEN checked_at = 0 THEN 1 ELSE checked_at END WHERE id = $1 AND workspace_id = $2",
		    DB_ARGS(DB_S(nodes[i].id), DB_S(req->ctx.workspace_id), DB_I(clock_wall_ms()), DB_S(priority)), 1);
		json_array_append_new(list, json_str(nodes[i].id));
	}
	if (upkeep_commit(req, b, "knowledge.schedule_revalidation", STR("")))
		http_reply_json(req, 202,
				json_pack("{s:O, s:s%, s:I, s:s}", "scheduled", list, "priority", priority.p,
					  priority.n, "count", (json_int_t)n, "message",
					  "they are listed as stale until somebody looks"));
}

/* ---- confidence ---- */

CO_FN static void confidence_event(struct http_request *req)
{
	const json_t *body = body_object(req);
	int64_t now = clock_wall_ms(), after, surprise;
	struct error err = ERROR_INIT;
	struct body_problems p;
	struct knowledge_node n;
	struct str item, event;
	struct db_batch *b;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	item = knowledge_either(&p, body, "item_id", "node_id", 64);
	event = body_text(&p, body, "event", 1, 32, false);
	after = 0;
	if (event.n > 0 && !upkeep_boost(event, &after)) {
		error_field(&err, ERR_INVALID_VALUE, "event",
			    "must be accessed, cited, validated, invalidated or contradicted");
		body_problem(&p, &err);
	}
	if (body_refused(req, &p) || !upkeep_node(req, item, &n))
		return;
	after = n.confidence_ppm;
	(void)!upkeep_boost(event, &after);
	/* rest-wide 6.2: .7 old + .3 |what came - what was expected|, for events that are outcomes. */
	surprise = n.surprise_ppm;
	if (str_eqz(event, "validated"))
		surprise = (7 * surprise + 3 * (KNOWLEDGE_ONE - n.confidence_ppm)) / 10;
	else if (str_eqz(event, "invalidated") || str_eqz(event, "contradicted"))
		surprise = (7 * surprise + 3 * n.confidence_ppm) / 10;
	b = db_batch_new(upkeep_worker(req)->db);
	db_batch_add(
	    b,
	    "UPDATE knowledge_nodes SET confidence_ppm = $3, surprise_ppm = $4, update_count = update_count + 1"
	    " WHERE id = $1 AND workspace_id = $2",
	    DB_ARGS(DB_S(n.id), DB_S(req->ctx.workspace_id), DB_I(after), DB_I(surprise)), 1);
	knowledge_note(b, &req->ctx, n.id, arena_str(req->arena, event).p, n.confidence_ppm, after, now);
	if (upkeep_commit(req, b, "knowledge.confidence_event", n.id))
		http_reply_json(req, 200,
				json_pack("{s:b, s:s%, s:s%, s:f, s:f}", "success", 1, "item_id", n.id.p, n.id.n,
					  "event", event.p, event.n, "old_confidence",
					  (double)n.confidence_ppm / KNOWLEDGE_ONE, "new_confidence",
					  (double)after / KNOWLEDGE_ONE));
}

CO_FN static void confidence_decay(struct http_request *req)
{
	int64_t start = clock_mono_us(), n;
	struct error err = ERROR_INIT;
	bool ok = upkeep_decay_here(upkeep_worker(req), &req->ctx, &n, &err);

	knowledge_counted("decay", ok, start);
	if (ok)
		http_reply_json(
		    req, 200,
		    json_pack("{s:b, s:I, s:s}", "success", 1, "items_decayed", (json_int_t)n, "model", "exponential"));
	else
		http_reply_error(req, &err);
}

/* What became of nodes: all, one (item_id), or removals only. */
CO_FN static void upkeep_history(struct http_request *req)
{
	bool pruning = strstr(req->route->path, "pruning") != NULL;
	struct str item = http_query(req, "item_id");
	struct error err = ERROR_INIT;
	char iso[CLOCK_ISO_MAX];
	struct db_rows r;
	json_t *list;
	size_t i;

	if (!db_query(
		upkeep_worker(req)->db, req->arena,
		"SELECT node_id, event, before_ppm, after_ppm, created_at FROM knowledge_events WHERE workspace_id = $1"
		" AND ($2 = '' OR node_id = $2) AND ($3 = 0 OR event IN ('deleted', 'merged', 'pruned', 'restored'))"
		" ORDER BY created_at DESC, id LIMIT $4 OFFSET $5",
		DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(item), DB_I(pruning),
			DB_I(http_query_int(req, "limit", 1, 200, 50)),
			DB_I(http_query_int(req, "offset", 0, INT32_MAX, 0))),
		&r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		json_t *o = json_pack("{s:f, s:f, s:s}", "old_confidence", (double)db_int(&r, i, 2) / KNOWLEDGE_ONE,
				      "new_confidence", (double)db_int(&r, i, 3) / KNOWLEDGE_ONE, "created_at",
				      clock_iso(iso, db_int(&r, i, 4)));

		json_put_str(o, "item_id", db_str(&r, i, 0));
		json_put_str(o, "event", db_str(&r, i, 1));
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200, json_pack("{s:o, s:I}", "history", list, "count", (json_int_t)r.count));
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
CO_FN static bool dedup_look(struct http_request *req, double threshold, struct upkeep_cluster **c, size_t *n,
			     size_t *looked_at)
{
	struct error err = ERROR_INIT;

	if (upkeep_clusters(upkeep_worker(req), req->arena, &req->ctx, (int64_t)(threshold * KNOWLEDGE_ONE), c, n,
			    looked_at, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

CO_FN static void dedup_clusters(struct http_request *req)
{
	double threshold = upkeep_query_share(req, "similarity_threshold", 0.9);
	size_t limit = (size_t)http_query_int(req, "limit", 1, 100, 20), n, looked_at, i;
	struct upkeep_cluster *c;
	json_t *list, *o;

	if (!knowledge_here(req, NULL) || !dedup_look(req, threshold, &c, &n, &looked_at))
		return;
	list = json_array();
	for (i = 0; i < n && i < limit; i++)
		json_array_append_new(list, dedup_json(&c[i]));
	o = json_pack("{s:f, s:I, s:o}", "similarity_threshold", threshold, "clusters_found", (json_int_t)n, "clusters",
		      list);
	json_put_str(o, "workspace_id", req->ctx.workspace_id);
	http_reply_json(req, 200, o);
}

CO_FN static void dedup_report(struct http_request *req)
{
	double threshold = upkeep_query_share(req, "similarity_threshold", 0.9);
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
	struct db_batch *b = db_batch_new(upkeep_worker(req)->db);
	int64_t start = clock_mono_us(), links = 0;
	json_t *merged = json_array(), *o;
	struct error err = ERROR_INIT;
	size_t i;

	if (!upkeep_merge(upkeep_worker(req), req->arena, &req->ctx, c, keep, b, &links, &err)) {
		db_batch_free(b);
		json_decref(merged);
		http_reply_error(req, &err);
		return NULL;
	}
	if (!upkeep_commit(req, b, "knowledge.merge", keep)) {
		json_decref(merged);
		return NULL;
	}
	knowledge_counted("merge", true, start);
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
	if (body_refused(req, &p) || !dedup_look(req, (double)threshold / KNOWLEDGE_ONE, &c, &n, &looked_at))
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

	if (body == NULL || !knowledge_here(req, body) ||
	    !dedup_look(req, (double)UPKEEP_MERGE_PPM / KNOWLEDGE_ONE, &c, &n, &looked_at))
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

/* ---- pruning ---- */

CO_FN static void prune_items(struct http_request *req)
{
	double stale = upkeep_query_share(req, "staleness_threshold", 0.8),
	       sure = upkeep_query_share(req, "max_confidence", 0.3);
	struct error err = ERROR_INIT;
	struct knowledge_node *nodes;
	struct db_rows r;
	json_t *list;
	size_t n, i;

	if (!db_query(
		upkeep_worker(req)->db, req->arena,
		"SELECT " KNOWLEDGE_COLUMNS
		" FROM knowledge_nodes n WHERE n.workspace_id = $1 AND n.archived_at = 0 AND"
		" n.staleness_ppm >= $2 AND n.confidence_ppm <= $3 AND (n.visibility <> 'private' OR n.created_by = $5)"
		" ORDER BY n.created_at DESC, n.id LIMIT $4",
		DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(stale * KNOWLEDGE_ONE), DB_I(sure * KNOWLEDGE_ONE),
			DB_I(http_query_int(req, "limit", 1, 200, 50)), DB_S(req->ctx.principal)),
		&r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	knowledge_rows(req->arena, &r, &nodes, &n);
	list = json_array();
	for (i = 0; i < n; i++)
		json_array_append_new(list, knowledge_json(req->arena, &nodes[i]));
	http_reply_json(req, 200, json_pack("{s:o, s:I}", "items", list, "count", (json_int_t)n));
}

static const char *prune_slower(struct str tier)
{
	size_t i;

	for (i = 0; knowledge_tiers[i] != NULL; i++)
		if (str_eqz(tier, knowledge_tiers[i]) && knowledge_tiers[i + 1] != NULL)
			return knowledge_tiers[i + 1];
	return "glacial";
}

/* archive: out of sight; delete: gone; demote: one tier slower. */
CO_FN static void prune_execute(struct http_request *req)
{
	static const char *const actions[] = {"archive", "delete", "demote", NULL};
	const json_t *body = body_object(req), *ids, *it;
	int64_t now = clock_wall_ms();
	struct error err = ERROR_INIT;
	struct knowledge_node *nodes;
	struct body_problems p;
	struct str *wanted, action;
	struct db_batch *b;
	size_t n, i;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	action = knowledge_choice(&p, body, "action", actions, "archive");
	ids = json_object_get(body, "item_ids");
	if (!json_is_array(ids) || json_array_size(ids) == 0 || json_array_size(ids) > UPKEEP_ITEMS_MAX) {
		error_field(&err, ERR_INVALID_VALUE, "item_ids", "must be a list of 1 to %d ids", UPKEEP_ITEMS_MAX);
		body_problem(&p, &err);
	}
	if (body_refused(req, &p))
		return;
	wanted = arena_zalloc(req->arena, json_array_size(ids) * sizeof(*wanted));
	json_array_foreach(ids, i, it) wanted[i] = str_of(json_string_value(it));
	if (!knowledge_read(upkeep_worker(req), req->arena, &req->ctx, wanted, json_array_size(ids), &nodes, &n,
			    &err)) {
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(upkeep_worker(req)->db);
	for (i = 0; i < n; i++) {
		if (str_eqz(action, "archive"))
			knowledge_archive(b, &req->ctx, nodes[i].id, "pruned", now);
		else if (str_eqz(action, "delete"))
			knowledge_remove(b, &req->ctx, nodes[i].id);
		else
			db_batch_add(b,
				     "UPDATE knowledge_nodes SET tier = $3, updated_at = $4 WHERE id = $1 AND"
				     " workspace_id = $2",
				     DB_ARGS(DB_S(nodes[i].id), DB_S(req->ctx.workspace_id),
					     DB_Z(prune_slower(nodes[i].tier)), DB_I(now)),
				     1);
	}
	if (upkeep_commit(req, b, "knowledge.prune", action))
		http_reply_json(req, 200,
				json_pack("{s:b, s:s%, s:I}", "success", 1, "action", action.p, action.n,
					  "items_pruned", (json_int_t)n));
}

CO_FN static void prune_restore(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	struct knowledge_new again;
	char id[KNOWLEDGE_ID_LEN + 1];
	struct body_problems p;
	struct db_batch *b;
	struct db_rows r;
	struct str item;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	item = knowledge_either(&p, body, "item_id", "node_id", 64);
	if (body_refused(req, &p))
		return;
	if (!db_query(upkeep_worker(req)->db, req->arena,
		      "SELECT content FROM knowledge_nodes WHERE id = $1 AND workspace_id = $2 AND archived_at > 0",
		      DB_ARGS(DB_S(item), DB_S(req->ctx.workspace_id)), &r, &err) ||
	    (r.count == 0 && !error_field(&err, ERR_NOT_FOUND, "item_id", "Archived node not found"))) {
		http_reply_error(req, &err);
		return;
	}
	again = (struct knowledge_new){.content = db_str(&r, 0, 0), .created_by = req->ctx.principal};
	b = db_batch_new(upkeep_worker(req)->db);
	knowledge_add(b, &req->ctx, &again, clock_wall_ms(),
		      id); /* the row is there: writing it again brings it back */
	knowledge_note(b, &req->ctx, item, "restored", 0, 0, clock_wall_ms());
	if (upkeep_commit(req, b, "knowledge.restore", item))
		http_reply_json(req, 200, json_pack("{s:b, s:s}", "success", 1, "item_id", id));
}

/* ---- contradictions ---- */

/* What two nodes that exclude each other are called; the order of the two does not count. */
static struct str contra_id(struct arena *a, struct str *first, struct str *second)
{
	char hex[SHA256_HEX];
	struct str swap = *first;

	if (memcmp(first->p, second->p, first->n < second->n ? first->n : second->n) > 0) {
		*first = *second;
		*second = swap;
	}
	crypto_sha256_hex(arena_printf(a, "%.*s|%.*s", STR_ARG(*first), STR_ARG(*second)), hex);
	return arena_printf(a, "kc_%.16s", hex);
}

/* Compares the newest facts and claims by their words. */
CO_FN static void contra_detect(struct http_request *req)
{
	struct knowledge_filter f = {.limit = KNOWLEDGE_PAGE_MAX, .types = STR(",fact,claim,")};
	struct worker *w = upkeep_worker(req);
	json_t *list = json_own(req->arena, json_array());
	const struct similarity_vector **words;
	struct error err = ERROR_INIT;
	struct knowledge_node *nodes;
	char link[KNOWLEDGE_ID_LEN + 1];
	struct db_batch *b;
	int64_t total;
	size_t n, i, k;

	if (!knowledge_list(w, req->arena, &req->ctx, &f, &nodes, &n, &total, &err)) {
		http_reply_error(req, &err);
		return;
	}
	words = arena_alloc(req->arena, (n + 1) * sizeof(struct similarity_vector *));
	for (i = 0; i < n; i++)
		words[i] = similarity_vector(req->arena, nodes[i].content);
	b = db_batch_new(w->db);
	for (i = 0; i < n; i++) {
		for (k = i + 1; k < n; k++) {
			struct str x = nodes[i].id, y = nodes[k].id, id;
			int64_t alike = similarity_cosine(words[i], words[k]);

			if (alike < UPKEEP_SAME_PPM || !similarity_contradicts(nodes[i].content, nodes[k].content))
				continue;
			id = contra_id(req->arena, &x, &y);
			db_batch_add(
			    b,
			    "INSERT INTO knowledge_contradictions (id, org_id, workspace_id, first_id, second_id,"
			    " similarity_ppm, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO"
			    " NOTHING",
			    DB_ARGS(DB_S(id), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), DB_S(x), DB_S(y),
				    DB_I(alike), DB_I(clock_wall_ms())),
			    DB_ANY);
			/* nodes[i] is the newer one. */
			knowledge_link(b, &req->ctx, nodes[i].id, nodes[k].id, STR("contradicts"), KNOWLEDGE_ONE,
				       STR(""), clock_wall_ms(), link);
			json_array_append_new(list, json_str(id));
		}
		if (co_yield () == CO_ENDED)
			break;
	}
	if (upkeep_commit(req, b, "knowledge.detect_contradictions", STR("")))
		http_reply_json(req, 200,
				json_pack("{s:I, s:I, s:O}", "nodes_analyzed", (json_int_t)n, "contradictions_found",
					  (json_int_t)json_array_size(list), "contradiction_ids", list));
}

CO_FN static void contra_list(struct http_request *req)
{
	struct error err = ERROR_INIT;
	char iso[CLOCK_ISO_MAX];
	struct db_rows r;
	json_t *list;
	size_t i, c;

	if (!db_query(upkeep_worker(req)->db, req->arena,
		      "SELECT id, first_id, second_id, state, strategy, kept_id, similarity_ppm, created_at FROM"
		      " knowledge_contradictions WHERE workspace_id = $1 AND ($2 = '' OR state = $2)"
		      " ORDER BY created_at DESC, id LIMIT $3 OFFSET $4",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(http_query(req, "state")),
			      DB_I(http_query_int(req, "limit", 1, 200, 50)),
			      DB_I(http_query_int(req, "offset", 0, INT32_MAX, 0))),
		      &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		static const char *const names[] = {"id",    "node_a_id", "node_b_id",
						    "state", "strategy",  "kept_node_id"};
		json_t *o = json_pack("{s:f, s:s}", "similarity", (double)db_int(&r, i, 6) / KNOWLEDGE_ONE,
				      "detected_at", clock_iso(iso, db_int(&r, i, 7)));

		for (c = 0; c < countof(names); c++)
			json_put_str(o, names[c], db_str(&r, i, c));
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200, json_pack("{s:o, s:I}", "contradictions", list, "count", (json_int_t)r.count));
}

CO_FN static void contra_stats(struct http_request *req)
{
	json_t *by = json_object();
	struct error err = ERROR_INIT;
	json_int_t total = 0;
	struct db_rows r;
	size_t i;

	if (!db_query(upkeep_worker(req)->db, req->arena,
		      "SELECT state, COUNT(*) FROM knowledge_contradictions WHERE workspace_id = $1 GROUP BY state",
		      DB_ARGS(DB_S(req->ctx.workspace_id)), &r, &err)) {
		json_decref(by);
		http_reply_error(req, &err);
		return;
	}
	for (i = 0; i < r.count; i++) {
		json_put_int(by, arena_str(req->arena, db_str(&r, i, 0)).p, db_int(&r, i, 1));
		total += db_int(&r, i, 1);
	}
	http_reply_json(req, 200, json_pack("{s:I, s:o}", "total", total, "by_state", by));
}

/* Which of two stays: the first unless the strategy says otherwise. */
static bool contra_keeps_first(struct str strategy, const struct knowledge_node *x, const struct knowledge_node *y)
{
	if (str_eqz(strategy, "prefer_higher_confidence"))
		return x->confidence_ppm >= y->confidence_ppm;
	if (str_eqz(strategy, "prefer_more_sources"))
		return x->update_count >= y->update_count; /* each writing of it was a source */
	return x->created_at >= y->created_at;
}

CO_FN static void contra_resolve(struct http_request *req)
{
	static const char *const strategies[] = {"prefer_newer",
						 "prefer_higher_confidence",
						 "prefer_more_sources",
						 "merge",
						 "human_review",
						 "keep_both",
						 NULL};
	const json_t *body = body_object(req);
	struct worker *w = upkeep_worker(req);
	int64_t now = clock_wall_ms(), after;
	struct error err = ERROR_INIT;
	struct knowledge_node *nodes;
	struct body_problems p;
	struct str ids[2], strategy, keep;
	bool open, both;
	struct db_batch *b;
	struct db_rows r;
	size_t n, lost;
	json_t *o;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	keep = body_text(&p, body, "keep_node_id", 0, 64, false);
	strategy = knowledge_choice(&p, body, json_object_get(body, "strategy") != NULL ? "strategy" : "resolution",
				    strategies, "prefer_newer");
	if (body_refused(req, &p))
		return;
	if (!db_query(w->db, req->arena,
		      "SELECT first_id, second_id FROM knowledge_contradictions WHERE id = $1 AND workspace_id = $2",
		      DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.workspace_id)), &r, &err) ||
	    (r.count == 0 && !error_field(&err, ERR_NOT_FOUND, "id", "Contradiction not found"))) {
		http_reply_error(req, &err);
		return;
	}
	ids[0] = db_str(&r, 0, 0);
	ids[1] = db_str(&r, 0, 1);
	if (!knowledge_read(w, req->arena, &req->ctx, ids, 2, &nodes, &n, &err) ||
	    (n < 2 && !error_field(&err, ERR_CONFLICT, "id", "one of its nodes is gone"))) {
		http_reply_error(req, &err);
		return;
	}
	open = str_eqz(strategy, "human_review");
	both = open || str_eqz(strategy, "keep_both");
	lost = str_eq(keep, nodes[0].id) ||
	       (!str_eq(keep, nodes[1].id) && contra_keeps_first(strategy, &nodes[0], &nodes[1]));
	keep = both ? STR("") : nodes[1 - lost].id;
	b = db_batch_new(w->db);
	db_batch_add(b,
		     "UPDATE knowledge_contradictions SET state = $3, strategy = $4, kept_id = $5, resolved_by = $6,"
		     " resolved_at = $7 WHERE id = $1 AND workspace_id = $2",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.workspace_id), DB_Z(open ? "open" : "resolved"),
			     DB_S(strategy), DB_S(keep), DB_S(req->ctx.principal), DB_I(now)),
		     1);
	if (!both) {
		after = nodes[lost].confidence_ppm;
		(void)!upkeep_boost(STR("contradicted"), &after);
		db_batch_add(
		    b,
		    "UPDATE knowledge_nodes SET superseded_by = $3, confidence_ppm = $4, updated_at = $5 WHERE"
		    " id = $1 AND workspace_id = $2",
		    DB_ARGS(DB_S(nodes[lost].id), DB_S(req->ctx.workspace_id), DB_S(keep), DB_I(after), DB_I(now)), 1);
		knowledge_note(b, &req->ctx, nodes[lost].id, "contradicted", nodes[lost].confidence_ppm, after, now);
	}
	if (!upkeep_commit(req, b, "knowledge.resolve_contradiction", req->params[0]))
		return;
	o = json_pack("{s:b, s:s}", "success", 1, "state", open ? "open" : "resolved");
	json_put_str(o, "contradiction_id", req->params[0]);
	json_put_str(o, "strategy", strategy);
	json_object_set_new(o, "kept_node_id", keep.n > 0 ? json_str(keep) : json_null());
	http_reply_json(req, 200, o);
}

static const struct route upkeep_rows[] = {
    KNOWLEDGE_ROW(GET, "mound/stale", stale_list, "read", READ, "Nodes that are out of date"),
    KNOWLEDGE_ROW(POST, "mound/revalidate/{id}", stale_revalidate, "write", WRITE, "Somebody has looked at a node"),
    KNOWLEDGE_ROW(POST, "mound/schedule-revalidation", stale_schedule, "write", WRITE,
		  "Nodes that somebody should look at"),
    KNOWLEDGE_ROW(POST, "mound/confidence/event", confidence_event, "write", WRITE,
		  "Something that tells how sure a node is"),
    KNOWLEDGE_ROW(POST, "mound/confidence/decay", confidence_decay, "admin", WRITE, "Lower confidence by age now"),
    KNOWLEDGE_ROW(GET, "mound/confidence/history", upkeep_history, "read", READ, "What became of nodes"),
    KNOWLEDGE_ROW(GET, "mound/dedup/clusters", dedup_clusters, "read", READ, "Nodes that say nearly the same"),
    KNOWLEDGE_ROW(GET, "mound/dedup/report", dedup_report, "read", READ, "How much of the knowledge is said twice"),
    KNOWLEDGE_ROW(POST, "mound/dedup/merge", dedup_merge, "admin", WRITE, "Keep one node of a cluster"),
    KNOWLEDGE_ROW(POST, "mound/dedup/auto-merge", dedup_auto, "admin", WRITE,
		  "The same for all that are word for word alike"),
    KNOWLEDGE_ROW(GET, "mound/pruning/items", prune_items, "admin", READ, "Nodes that could go"),
    KNOWLEDGE_ROW(POST, "mound/pruning/execute", prune_execute, "admin", WRITE, "Archive, delete or demote nodes"),
    KNOWLEDGE_ROW(POST, "mound/pruning/restore", prune_restore, "admin", WRITE, "Bring an archived node back"),
    KNOWLEDGE_ROW(GET, "mound/pruning/history", upkeep_history, "admin", READ, "Nodes that went and came back"),
    KNOWLEDGE_ROW(POST, "mound/contradictions/detect", contra_detect, "write", WRITE,
		  "Look for nodes that exclude each other"),
    KNOWLEDGE_ROW(GET, "mound/contradictions", contra_list, "read", READ, "Nodes that exclude each other"),
    KNOWLEDGE_ROW(GET, "mound/contradictions/stats", contra_stats, "read", READ, "How many contradictions there are"),
    KNOWLEDGE_ROW(POST, "mound/contradictions/{id}/resolve", contra_resolve, "write", WRITE, "Settle a contradiction"),
};
const struct route_table knowledge_upkeep_routes = {upkeep_rows, countof(upkeep_rows)};
