/* SPDX-License-Identifier: MIT */
/*
 * Age over the API: what is stale and its revalidation, events of confidence and what became of it
 * (rest-wide 5.2, 5.4). Called through its routes. The formulas and jobs are in upkeep.c.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/knowledge/upkeep.h"
#include "worker/worker.h"

static struct worker *stale_worker(const struct http_request *req)
{
	return req->user;
}

/* ---- stale ---- */

CO_FN static void stale_list(struct http_request *req)
{
	int64_t threshold = knowledge_query_share(req, "threshold", KNOWLEDGE_ONE / 2);
	struct error err = ERROR_INIT;
	char iso[CLOCK_ISO_MAX];
	struct db_rows r;
	json_t *list, *o;
	size_t i;

	if (!knowledge_here(req, NULL))
		return;
	if (!db_query(
		stale_worker(req)->db, req->arena,
		"SELECT id, content, staleness_ppm, stale_reasons, checked_at, revalidate_at FROM knowledge_nodes WHERE"
		" workspace_id = $1 AND archived_at = 0 AND checked_at > 0 AND (staleness_ppm >= $2 OR"
		" revalidate_at > 0) AND (visibility <> 'private' OR created_by = $4)"
		" ORDER BY staleness_ppm DESC, id LIMIT $3",
		DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(threshold), DB_I(http_query_int(req, "limit", 1, 200, 50)),
			DB_S(req->ctx.principal)),
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
	o = json_pack("{s:o, s:I, s:f}", "stale_items", list, "total", (json_int_t)r.count, "threshold",
		      (double)threshold / KNOWLEDGE_ONE);
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

	if (body == NULL || !knowledge_mine(req, req->params[0], &n))
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
	b = db_batch_new(stale_worker(req)->db);
	db_batch_add(
	    b,
	    "UPDATE knowledge_nodes SET confidence_ppm = $3, validated_at = $4, decayed_at = $4, updated_at = $4,"
	    " staleness_ppm = 0, stale_reasons = '[]', checked_at = $4, revalidate_at = 0, revalidate_how = ''"
	    " WHERE id = $1 AND workspace_id = $2",
	    DB_ARGS(DB_S(n.id), DB_S(req->ctx.workspace_id), DB_I(after), DB_I(now)), 1);
	knowledge_note(b, &req->ctx, n.id, "validated", n.confidence_ppm, after, now);
	if (!knowledge_commit(req, b, "update", "knowledge_node", "knowledge.revalidate", n.id))
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
	const json_t *body = body_object(req);
	struct knowledge_node *nodes;
	struct body_problems p;
	struct str *wanted, priority;
	struct db_batch *b;
	json_t *list;
	size_t count, n, i;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	priority = knowledge_choice(&p, body, "priority", priorities, "medium");
	count = knowledge_ids(&p, req->arena, body, "node_ids", KNOWLEDGE_LIST_MAX, &wanted);
	if (body_refused(req, &p) || !knowledge_mine_of(req, wanted, count, &nodes, &n))
		return;
	list = json_own(req->arena, json_array());
	b = db_batch_new(stale_worker(req)->db);
	for (i = 0; i < n; i++) {
		knowledge_queue(b, &req->ctx, nodes[i].id, priority, clock_wall_ms());
		json_array_append_new(list, json_str(nodes[i].id));
	}
	if (knowledge_commit(req, b, "update", "knowledge_node", "knowledge.schedule_revalidation", STR("")))
		http_reply_json(req, 202,
				json_pack("{s:O, s:s%, s:I, s:s}", "scheduled", list, "priority", priority.p,
					  priority.n, "count", (json_int_t)n, "message",
					  "they are listed as stale until somebody looks"));
}

/* All that is stale in the workspace is put down for somebody to look at. */
CO_FN static void stale_queue_all(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct worker *w = stale_worker(req);
	struct error err = ERROR_INIT;
	struct body_problems p;
	struct db_batch *b;
	struct db_rows r;
	int64_t threshold;
	json_t *o;

	if (body == NULL || !knowledge_here(req, body))
		return;
	body_problems_begin(req, &p);
	threshold = knowledge_share(&p, body, "threshold", KNOWLEDGE_ONE / 2);
	if (body_refused(req, &p))
		return;
	if (!db_query(w->db, req->arena,
		      "SELECT COUNT(*), CAST(COALESCE(SUM(CASE WHEN revalidate_at > 0 THEN 1 ELSE 0 END), 0) AS BIGINT)"
		      " FROM knowledge_nodes WHERE workspace_id = $1 AND archived_at = 0 AND staleness_ppm >= $2",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(threshold)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	db_batch_add(
	    b,
	    "UPDATE knowledge_nodes SET revalidate_at = $3, revalidate_how = 'workspace' WHERE workspace_id = $1"
	    " AND archived_at = 0 AND staleness_ppm >= $2 AND revalidate_at = 0",
	    DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(threshold), DB_I(clock_wall_ms())), DB_ANY);
	if (!knowledge_commit(req, b, "update", "workspace", "knowledge.schedule_revalidation", req->ctx.workspace_id))
		return;
	o = json_pack("{s:I, s:I, s:f, s:s}", "stale", (json_int_t)db_int(&r, 0, 0), "queued",
		      (json_int_t)(db_int(&r, 0, 0) - db_int(&r, 0, 1)), "threshold", (double)threshold / KNOWLEDGE_ONE,
		      "message", "they are listed as stale until somebody looks");
	json_put_str(o, "workspace_id", req->ctx.workspace_id);
	http_reply_json(req, 202, o);
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
	if (body_refused(req, &p) || !knowledge_mine(req, item, &n))
		return;
	after = n.confidence_ppm;
	(void)!upkeep_boost(event, &after);
	/* rest-wide 6.2: .7 old + .3 |what came - what was expected|, for events that are outcomes. */
	surprise = n.surprise_ppm;
	if (str_eqz(event, "validated"))
		surprise = (7 * surprise + 3 * (KNOWLEDGE_ONE - n.confidence_ppm)) / 10;
	else if (str_eqz(event, "invalidated") || str_eqz(event, "contradicted"))
		surprise = (7 * surprise + 3 * n.confidence_ppm) / 10;
	b = db_batch_new(stale_worker(req)->db);
	db_batch_add(
	    b,
	    "UPDATE knowledge_nodes SET confidence_ppm = $3, surprise_ppm = $4, update_count = update_count + 1"
	    " WHERE id = $1 AND workspace_id = $2",
	    DB_ARGS(DB_S(n.id), DB_S(req->ctx.workspace_id), DB_I(after), DB_I(surprise)), 1);
	knowledge_note(b, &req->ctx, n.id, arena_str(req->arena, event).p, n.confidence_ppm, after, now);
	if (knowledge_commit(req, b, "update", "knowledge_node", "knowledge.confidence_event", n.id))
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
	bool ok = upkeep_decay_here(stale_worker(req), &req->ctx, &n, &err);

	knowledge_counted("decay", ok, start);
	if (ok)
		http_reply_json(
		    req, 200,
		    json_pack("{s:b, s:I, s:s}", "success", 1, "items_decayed", (json_int_t)n, "model", "exponential"));
	else
		http_reply_error(req, &err);
}

/* What became of nodes: all, one (item_id), or removals only. */
CO_FN static void stale_history(struct http_request *req)
{
	bool pruning = strstr(req->route->path, "pruning") != NULL;
	struct str item = http_query(req, "item_id");
	struct error err = ERROR_INIT;
	char iso[CLOCK_ISO_MAX];
	struct db_rows r;
	json_t *list;
	size_t i;

	if (!db_query(
		stale_worker(req)->db, req->arena,
		"SELECT node_id, event, before_ppm, after_ppm, created_at FROM knowledge_events WHERE workspace_id = $1"
		" AND ($2 = '' OR node_id = $2) AND ($3 = 0 OR event IN ('deleted', 'merged', 'pruned', 'removed', "
		"'restored'))"
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

static const struct route stale_rows[] = {
    KNOWLEDGE_ROW(GET, "mound/stale", stale_list, "read", READ, "Nodes that are out of date"),
    KNOWLEDGE_ROW(POST, "mound/revalidate/{id}", stale_revalidate, "write", WRITE, "Somebody has looked at a node"),
    KNOWLEDGE_ROW(POST, "mound/revalidate", stale_queue_all, "write", WRITE, "Have all stale nodes looked at"),
    KNOWLEDGE_ROW(POST, "mound/schedule-revalidation", stale_schedule, "write", WRITE,
		  "Nodes that somebody should look at"),
    KNOWLEDGE_ROW(POST, "mound/confidence/event", confidence_event, "write", WRITE,
		  "Something that tells how sure a node is"),
    KNOWLEDGE_ROW(POST, "mound/confidence/decay", confidence_decay, "admin", WRITE, "Lower confidence by age now"),
    KNOWLEDGE_ROW(POST, "mound/pruning/decay", confidence_decay, "admin", WRITE, "The same, under the path of pruning"),
    KNOWLEDGE_ROW(GET, "mound/confidence/history", stale_history, "read", READ, "What became of nodes"),
    KNOWLEDGE_ROW(GET, "mound/pruning/history", stale_history, "admin", READ, "Nodes that went and came back"),
};
const struct route_table knowledge_stale_routes = {stale_rows, countof(stale_rows)};
