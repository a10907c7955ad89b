/* SPDX-License-Identifier: MIT */
/*
 * Pruning over the API: what could go, its going and coming back (rest-wide 5.2). Called through its routes.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/knowledge/upkeep.h"
#include "worker/search/fulltext.h"
#include "worker/worker.h"

#define PRUNE_DAYS 30 /* where the job is off, and the body says nothing */
#define PRUNE_DAYS_MAX 36500

static struct worker *prune_worker(const struct http_request *req)
{
	return req->user;
}

/* ---- pruning ---- */

CO_FN static void prune_items(struct http_request *req)
{
	int64_t stale = knowledge_query_share(req, "staleness_threshold", UPKEEP_QUEUED_PPM),
		sure = knowledge_query_share(req, "max_confidence", UPKEEP_UNSURE_PPM);
	struct error err = ERROR_INIT;
	struct knowledge_node *nodes;
	struct db_rows r;
	json_t *list;
	size_t n, i;

	if (!db_query(prune_worker(req)->db, req->arena,
		      "SELECT " KNOWLEDGE_COLUMNS
		      " FROM knowledge_nodes n WHERE n.workspace_id = $1 AND n.archived_at = 0 AND"
		      " ((n.staleness_ppm >= $2 AND n.confidence_ppm <= $3) OR n.confidence_ppm <= $6) AND "
		      "(n.visibility <> 'private' OR n.created_by = $5)"
		      " ORDER BY n.created_at DESC, n.id LIMIT $4",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(stale), DB_I(sure),
			      DB_I(http_query_int(req, "limit", 1, 200, 50)), DB_S(req->ctx.principal),
			      DB_I(UPKEEP_FLOOR_PPM)),
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
	const json_t *body = body_object(req);
	int64_t now = clock_wall_ms();
	struct knowledge_node *nodes;
	struct body_problems p;
	struct str *wanted, action;
	struct db_batch *b;
	size_t count, n, i;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	action = knowledge_choice(&p, body, "action", actions, "archive");
	count = knowledge_ids(&p, req->arena, body, "item_ids", KNOWLEDGE_LIST_MAX, &wanted);
	if (body_refused(req, &p) || !knowledge_mine_of(req, wanted, count, &nodes, &n))
		return;
	b = db_batch_new(prune_worker(req)->db);
	for (i = 0; i < n; i++) {
		if (str_eqz(action, "archive"))
			knowledge_archive(b, &req->ctx, nodes[i].id, "pruned", now);
		else if (str_eqz(action, "delete")) {
			knowledge_remove(b, &req->ctx, nodes[i].id);
			knowledge_note(b, &req->ctx, nodes[i].id, "deleted", nodes[i].confidence_ppm, 0, now);
		} else
			db_batch_add(b,
				     "UPDATE knowledge_nodes SET tier = $3, updated_at = $4 WHERE id = $1 AND"
				     " workspace_id = $2",
				     DB_ARGS(DB_S(nodes[i].id), DB_S(req->ctx.workspace_id),
					     DB_Z(prune_slower(nodes[i].tier)), DB_I(now)),
				     1);
	}
	if (knowledge_commit(req, b, "update", "knowledge_node", "knowledge.prune", action))
		http_reply_json(req, 200,
				json_pack("{s:b, s:s%, s:I}", "success", 1, "action", action.p, action.n,
					  "items_pruned", (json_int_t)n));
}

CO_FN static void prune_restore(struct http_request *req)
{
	const json_t *body = body_object(req);
	const struct db_val workspace = DB_S(req->ctx.workspace_id), who = DB_S(req->ctx.principal);
	int64_t now = clock_wall_ms();
	struct error err = ERROR_INIT;
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
	if (!db_query(prune_worker(req)->db, req->arena,
		      "SELECT content FROM knowledge_nodes WHERE id = $1 AND workspace_id = $2 AND archived_at > 0"
		      " AND (visibility <> 'private' OR created_by = $3)",
		      DB_ARGS(DB_S(item), workspace, who), &r, &err) ||
	    (r.count == 0 && !error_field(&err, ERR_NOT_FOUND, "item_id", "Archived node not found"))) {
		http_reply_error(req, &err);
		return;
	}
	if (!knowledge_fits(req, NULL, 1))
		return;
	b = db_batch_new(prune_worker(req)->db);
	/* As it was: whoever may not see it before may not see it now. */
	db_batch_add(b,
		     "UPDATE knowledge_nodes SET archived_at = 0, archived_why = '', updated_at = $3 WHERE id = $1 AND"
		     " workspace_id = $2",
		     DB_ARGS(DB_S(item), workspace, DB_I(now)), 1);
	fulltext_put(b, &req->ctx, KNOWLEDGE_KIND, item, db_str(&r, 0, 0));
	knowledge_note(b, &req->ctx, item, "restored", 0, 0, now);
	if (knowledge_commit(req, b, "update", "knowledge_node", "knowledge.restore", item))
		http_reply_json(req, 200, json_pack("{s:b, s:s%}", "success", 1, "item_id", item.p, item.n));
}

/* As the job does, for this workspace and now; a dry run unless the body says otherwise. */
CO_FN static void prune_auto(struct http_request *req)
{
	const struct worker *w = prune_worker(req);
	const json_t *body = body_object(req), *given;
	int64_t start = clock_mono_us(), days = w->conf->knowledge.prune_days, n;
	bool dry = json_get_bool(body, "dry_run", true), ok;
	struct error err = ERROR_INIT;
	struct body_problems p;
	json_t *o;

	if (body == NULL || !knowledge_here(req, body))
		return;
	body_problems_begin(req, &p);
	given = json_object_get(body, "min_age_days");
	if (given != NULL &&
	    (!json_is_integer(given) || json_integer_value(given) < 1 || json_integer_value(given) > PRUNE_DAYS_MAX)) {
		error_field(&err, ERR_INVALID_VALUE, "min_age_days", "must be a whole number from 1 to %d",
			    PRUNE_DAYS_MAX);
		body_problem(&p, &err);
	}
	if (body_refused(req, &p))
		return;
	days = given != NULL ? json_integer_value(given) : days > 0 ? days : PRUNE_DAYS;
	ok = prune_here(prune_worker(req), &req->ctx, days, dry, &n, &err);
	knowledge_counted("prune", ok, start);
	if (!ok) {
		http_reply_error(req, &err);
		return;
	}
	o = json_pack("{s:b, s:b, s:I, s:I, s:I, s:s}", "success", 1, "dry_run", (int)dry, "items_found", (json_int_t)n,
		      "items_pruned", (json_int_t)(dry ? 0 : n), "min_age_days", (json_int_t)days, "action", "archive");
	json_put_str(o, "workspace_id", req->ctx.workspace_id);
	http_reply_json(req, 200, o);
}

static const struct route prune_rows[] = {
    KNOWLEDGE_ROW(GET, "mound/pruning/items", prune_items, "admin", READ, "Nodes that could go"),
    KNOWLEDGE_ROW(POST, "mound/pruning/execute", prune_execute, "admin", WRITE, "Archive, delete or demote nodes"),
    KNOWLEDGE_ROW(POST, "mound/pruning/auto", prune_auto, "admin", WRITE, "Archive what may go by itself"),
    KNOWLEDGE_ROW(POST, "mound/pruning/restore", prune_restore, "admin", WRITE, "Bring an archived node back"),
};
const struct route_table knowledge_prune_routes = {prune_rows, countof(prune_rows)};
