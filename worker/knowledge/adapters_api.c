/* SPDX-License-Identifier: MIT */
/*
 * Adapters over the API: what there are and how they stand, syncs by hand, reverse queries, dead letters
 * (rest-wide 5.2, 5.8). Called through its routes.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/audit/audit.h"
#include "worker/knowledge/adapters.h"
#include "worker/worker.h"

static struct worker *adapters_worker(const struct http_request *req)
{
	return req->user;
}

/* ---- list ---- */

static json_t *adapters_one(const struct worker *w, const struct adapter *ad)
{
	bool configured = adapter_configured(w, ad);
	json_t *o = json_pack("{s:s, s:s, s:i, s:b, s:[s], s:s, s:s, s:b, s:s}", "name", ad->name, "id_prefix",
			      ad->prefix, "priority", ad->priority, "enabled_by_default", (int)!ad->opt_in,
			      "required_deps", ad->needs, "forward_method", ad->forward, "reverse_method", ad->reverse,
			      "configured", (int)configured, "status", configured ? "registered" : "not configured");

	json_put_time(o, "last_forward_sync", 0);
	json_put_int(o, "nodes_synced", 0);
	return o;
}

/* active: it has moved something in this workspace. */
CO_FN static bool adapters_activity(struct http_request *req, json_t *list, struct error *err)
{
	struct db_rows r, nodes;
	json_t *o;
	size_t i, k;

	if (!db_query(adapters_worker(req)->db, req->arena,
		      "SELECT adapter, forward_at FROM knowledge_syncs WHERE workspace_id = $1",
		      DB_ARGS(DB_S(req->ctx.workspace_id)), &r, err) ||
	    !db_query(adapters_worker(req)->db, req->arena,
		      "SELECT adapter, COUNT(*), MAX(updated_at) FROM knowledge_nodes WHERE workspace_id = $1 AND"
		      " archived_at = 0 AND adapter <> '' GROUP BY adapter",
		      DB_ARGS(DB_S(req->ctx.workspace_id)), &nodes, err))
		return false;
	json_array_foreach(list, i, o)
	{
		struct str name = json_get_str(o, "name", STR(""));

		for (k = 0; k < r.count; k++)
			if (str_eq(name, db_str(&r, k, 0)))
				json_put_time(o, "last_forward_sync", db_int(&r, k, 1));
		for (k = 0; k < nodes.count; k++) {
			if (!str_eq(name, db_str(&nodes, k, 0)))
				continue;
			json_put_int(o, "nodes_synced", db_int(&nodes, k, 1));
			json_put_time(o, "last_forward_sync", db_int(&nodes, k, 2));
			json_put_str(o, "status", STR("active"));
		}
	}
	return true;
}

CO_FN static void adapters_list(struct http_request *req)
{
	json_t *list = json_own(req->arena, json_array());
	struct error err = ERROR_INIT;
	size_t i;

	for (i = 0; i < knowledge_adapters_count; i++)
		json_array_append_new(list, adapters_one(adapters_worker(req), &knowledge_adapters[i]));
	if (!adapters_activity(req, list, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:O, s:I, s:b}", "adapters", list, "total", (json_int_t)json_array_size(list),
				  "coordinator_available", (int)adapters_worker(req)->conf->knowledge.enabled));
}

/* ---- sync ---- */

static json_t *adapters_done_json(const char *source, const struct adapter_done *d, int64_t start_us,
				  const struct error *err)
{
	json_t *o = json_pack("{s:s, s:I, s:I, s:I, s:I, s:f, s:[]}", "source", source, "nodes_synced",
			      (json_int_t)d->synced, "nodes_updated", (json_int_t)d->updated, "nodes_skipped",
			      (json_int_t)d->skipped, "relationships_created", (json_int_t)d->links, "duration_ms",
			      (double)(clock_mono_us() - start_us) / 1e3, "errors");

	if (err->code != ERR_OK)
		json_array_append_new(json_object_get(o, "errors"), json_string(err->msg));
	return o;
}

/* Of one adapter; "facts" are nodes here already, so that there is nothing to bring. */
CO_FN static void adapters_sync_one(struct http_request *req)
{
	const struct adapter *ad = adapter_find(req->params[0]);
	int64_t start = clock_mono_us();
	struct adapter_done done = {0};
	struct error err = ERROR_INIT;

	if (!knowledge_here(req, body_object(req)))
		return;
	if (ad == NULL && !str_eqz(req->params[0], "facts"))
		error_field(&err, ERR_BAD_REQUEST, "target", "is no adapter (GET /api/knowledge/adapters lists them)");
	else if (ad != NULL && adapter_forward(adapters_worker(req), req->arena, &req->ctx, ad, &done, &err))
		err.code = ERR_OK;
	if (err.code != ERR_OK) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200, adapters_done_json(ad != NULL ? ad->name : "facts", &done, start, &err));
}

CO_FN static void adapters_sync_all(struct http_request *req)
{
	json_t *list = json_own(req->arena, json_array());
	struct adapter_done sum = {0};
	int64_t start = clock_mono_us();
	struct error none = ERROR_INIT;
	json_t *o;
	size_t i;

	if (!knowledge_here(req, body_object(req)))
		return;
	for (i = 0; i < knowledge_adapters_count; i++) {
		const struct adapter *ad = &knowledge_adapters[i];
		int64_t begun = clock_mono_us();
		struct adapter_done done = {0};
		struct error err = ERROR_INIT;

		if (!adapter_configured(adapters_worker(req), ad))
			continue;
		if (adapter_forward(adapters_worker(req), req->arena, &req->ctx, ad, &done, &err))
			err.code = ERR_OK;
		sum.synced += done.synced;
		sum.updated += done.updated;
		sum.skipped += done.skipped;
		sum.links += done.links;
		json_array_append_new(list, adapters_done_json(ad->name, &done, begun, &err));
	}
	o = adapters_done_json("all", &sum, start, &none);
	json_object_set(o, "adapters", list);
	http_reply_json(req, 200, o);
}

/* ---- reverse ---- */

CO_FN static void adapters_query(struct http_request *req)
{
	const struct adapter *ad = adapter_find(req->params[0]);
	struct str query = http_query(req, "q");
	struct error err = ERROR_INIT;
	struct knowledge_hit *hits;
	json_t *list;
	size_t n, i;

	if (query.n == 0)
		query = http_query(req, "query");
	if (ad == NULL)
		error_field(&err, ERR_NOT_FOUND, "name", "Adapter not found");
	else if (query.n == 0)
		error_field(&err, ERR_MISSING_FIELD, "q", "is required");
	else if (!adapter_configured(adapters_worker(req), ad))
		error_set(&err, ERR_UNAVAILABLE, "adapter %s is not configured: it needs %s", ad->name, ad->needs);
	if (ad == NULL || err.code != ERR_OK ||
	    !adapter_reverse(adapters_worker(req), req->arena, &req->ctx, ad, query,
			     http_query_int(req, "limit", 1, 100, 10), &hits, &n, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < n; i++) {
		json_t *o = knowledge_json(req->arena, &hits[i].node);

		json_object_set_new(o, "score", json_real((double)hits[i].score_ppm / KNOWLEDGE_ONE));
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200,
			json_pack("{s:s, s:s%, s:o, s:I}", "adapter", ad->name, "query", query.p, query.n, "items",
				  list, "count", (json_int_t)n));
}

/* ---- dead letters ---- */

CO_FN static void letters_list(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *list;
	size_t i;

	if (!db_query(adapters_worker(req)->db, req->arena,
		      "SELECT debate_id, state, tries, last_error, created_at FROM knowledge_outbox WHERE"
		      " workspace_id = $1 AND state = 'dead' ORDER BY created_at, debate_id LIMIT $2 OFFSET $3",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(http_query_int(req, "limit", 1, 100, 20)),
			      DB_I(http_query_int(req, "offset", 0, INT32_MAX, 0))),
		      &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		json_t *o = json_object();

		json_put_str(o, "debate_id", db_str(&r, i, 0));
		json_put_str(o, "state", db_str(&r, i, 1));
		json_put_int(o, "tries", db_int(&r, i, 2));
		json_put_str(o, "error", db_str(&r, i, 3));
		json_put_time(o, "created_at", db_int(&r, i, 4));
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200, json_pack("{s:o, s:I}", "dead_letters", list, "count", (json_int_t)r.count));
}

CO_FN static void letters_retry(struct http_request *req)
{
	struct worker *w = adapters_worker(req);
	struct db_batch *b = db_batch_new(w->db);
	struct error err = ERROR_INIT;

	db_batch_add(b,
		     "UPDATE knowledge_outbox SET state = 'pending', tries = 0, next_at = 0 WHERE debate_id = $1 AND"
		     " workspace_id = $2 AND state = 'dead'",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.workspace_id)), 1);
	audit_add(b, req,
		  &(struct audit_event){.category = "data",
					.action = "knowledge.retry",
					.resource_type = STR("debate"),
					.resource_id = req->params[0]});
	if (!db_commit(w->db, b, &err)) {
		if (err.code == ERR_FENCED)
			error_field(&err, ERR_NOT_FOUND, "id", "Dead letter not found");
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 202,
			json_pack("{s:s%, s:s}", "debate_id", req->params[0].p, req->params[0].n, "state", "pending"));
}

static const struct route adapter_rows[] = {
    KNOWLEDGE_ROW(GET, "adapters", adapters_list, "read", READ, "The adapters and how they stand"),
    KNOWLEDGE_ROW(GET, "adapters/{name}/query", adapters_query, "read", READ, "What an adapter's source is given back"),
    KNOWLEDGE_ROW(POST, "mound/sync", adapters_sync_all, "write", WRITE, "Bring what the sources have anew"),
    KNOWLEDGE_ROW(POST, "mound/sync/{target}", adapters_sync_one, "write", WRITE, "The same of one adapter"),
    KNOWLEDGE_ROW(GET, "mound/dead-letters", letters_list, "admin", READ,
		  "Debates whose knowledge could not be stored"),
    KNOWLEDGE_ROW(POST, "mound/dead-letters/{id}/retry", letters_retry, "admin", WRITE, "Try again"),
};
const struct route_table knowledge_adapter_routes = {adapter_rows, countof(adapter_rows)};
