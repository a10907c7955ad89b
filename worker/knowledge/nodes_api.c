/* SPDX-License-Identifier: MIT */
/*
 * Nodes over the API: query, write, list, read, change of what may be changed, removal, figures (rest-wide 5.2). Called
 * through its routes. Relations, sharing, upkeep and facts have files of their own.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/knowledge/knowledge.h"
#include "worker/worker.h"

#define NODES_QUERY_MAX 2000 /* bytes of a question */

static struct worker *nodes_worker(const struct http_request *req)
{
	return req->user;
}

/* ---- answers ---- */

/* Objects of nodes with what they are linked to; NULL: answered with the error. */
CO_FN static json_t *nodes_list_json(struct http_request *req, const struct knowledge_node *nodes, size_t n)
{
	json_t *list = json_array(), **objects = arena_alloc(req->arena, (n + 1) * sizeof(json_t *));
	struct error err = ERROR_INIT;
	size_t i;

	for (i = 0; i < n; i++) {
		objects[i] = knowledge_json(req->arena, &nodes[i]);
		json_array_append_new(list, objects[i]);
	}
	if (knowledge_linked(nodes_worker(req), req->arena, &req->ctx, nodes, n, objects, &err))
		return list;
	json_decref(list);
	http_reply_error(req, &err);
	return NULL;
}

CO_FN static void nodes_reply(struct http_request *req, int status, const struct knowledge_node *n, int duplicate)
{
	json_t *list = nodes_list_json(req, n, 1), *o;

	if (list == NULL)
		return;
	o = json_incref(json_array_get(list, 0));
	json_decref(list);
	if (duplicate >= 0)
		json_object_set_new(o, "deduplicated", json_boolean(duplicate));
	http_reply_json(req, status, o);
}

/* ---- query ---- */

CO_FN static void nodes_query(struct http_request *req)
{
	int64_t start = clock_mono_us(), limit;
	const json_t *body = body_object(req);
	struct knowledge_filter f = {.types = STR("")};
	struct error err = ERROR_INIT;
	struct knowledge_hit *hits;
	struct body_problems p;
	json_t *list;
	struct str query;
	size_t n, i;
	bool ok;

	if (body == NULL || !knowledge_here(req, body))
		return;
	body_problems_begin(req, &p);
	query = knowledge_either(&p, body, "query", "prompt", NODES_QUERY_MAX);
	f.min_confidence_ppm = knowledge_share(&p, body, "min_confidence", 0);
	limit = json_get_int(body, "limit", 10);
	f.limit = limit < 1 ? 1 : limit > 100 ? 100 : limit;
	f.types =
	    knowledge_type_list(req->arena, json_get_str(body, "node_type", STR("")), json_get_arr(body, "node_types"));
	if (body_refused(req, &p))
		return;
	ok = knowledge_find(nodes_worker(req), req->arena, &req->ctx, query, &f, &hits, &n, &err);
	knowledge_counted("query", ok, start);
	if (!ok) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < n; i++) {
		json_t *o = knowledge_json(req->arena, &hits[i].node);

		json_object_set_new(o, "score", json_real((double)hits[i].score_ppm / KNOWLEDGE_ONE));
		json_object_set_new(o, "match", json_string(hits[i].semantic ? "semantic" : "words"));
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200,
			json_pack("{s:s%, s:o, s:I, s:f}", "query", query.p, query.n, "nodes", list, "total_count",
				  (json_int_t)n, "processing_time_ms", (double)(clock_mono_us() - start) / 1e3));
}

/* ---- writing ---- */

static const char *nodes_source(struct body_problems *p, const json_t *source, struct knowledge_new *n)
{
	struct str type = knowledge_choice(p, source, "type", knowledge_sources, "user");
	size_t i;

	n->source_id = body_text(p, source, "id", 0, 200, false);
	n->agent_id = body_text(p, source, "agent_id", 0, 200, false);
	n->debate_id = body_text(p, source, "debate_id", 0, 200, false);
	n->document_id = body_text(p, source, "document_id", 0, 200, false);
	n->user_id = body_text(p, source, "user_id", 0, 200, false);
	for (i = 0; knowledge_sources[i] != NULL && !str_eqz(type, knowledge_sources[i]); i++)
		;
	return knowledge_sources[i];
}

static bool nodes_read_body(struct http_request *req, const json_t *body, struct knowledge_new *n)
{
	const json_t *source = json_object_get(body, "source");
	struct body_problems p;

	body_problems_begin(req, &p);
	*n = (struct knowledge_new){.content = body_text(&p, body, "content", 1, KNOWLEDGE_CONTENT_MAX, false)};
	n->type = knowledge_choice(&p, body, "node_type", knowledge_types, "fact");
	n->tier = knowledge_choice(&p, body, "tier", knowledge_tiers, "slow");
	n->visibility = knowledge_choice(&p, body, "visibility", knowledge_visibilities, "workspace");
	n->confidence_ppm = knowledge_share(&p, body, "confidence", KNOWLEDGE_ONE / 2);
	n->topics = knowledge_texts(&p, req->arena, body, "topics");
	n->metadata = knowledge_object(&p, req->arena, body, "metadata");
	n->source_type = nodes_source(&p, json_is_object(source) ? source : NULL, n);
	n->created_by = req->ctx.principal;
	if (n->user_id.n == 0)
		n->user_id = req->ctx.principal;
	return !body_refused(req, &p);
}

/* `everywhere`: the whole organization may see it, whatever the body says, and also if it was here before. */
CO_FN static void nodes_write(struct http_request *req, bool everywhere)
{
	int64_t start = clock_mono_us();
	struct worker *w = nodes_worker(req);
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	char id[KNOWLEDGE_ID_LEN + 1];
	struct knowledge_node node;
	struct knowledge_new n;
	struct db_batch *b;
	bool ok;

	if (body == NULL || !knowledge_here(req, body) || !nodes_read_body(req, body, &n) ||
	    !knowledge_fits(req, &n, 1))
		return;
	b = db_batch_new(w->db);
	if (everywhere)
		n.visibility = STR("organization");
	knowledge_add(b, &req->ctx, &n, clock_wall_ms(), id);
	if (everywhere)
		db_batch_add(
		    b, "UPDATE knowledge_nodes SET visibility = 'organization' WHERE id = $1 AND workspace_id = $2",
		    DB_ARGS(DB_Z(id), DB_S(req->ctx.workspace_id)), 1);
	ok = db_commit(w->db, b, &err) && knowledge_own(w, req->arena, &req->ctx, str_of(id), &node, &err);
	knowledge_counted("add", ok, start);
	if (ok)
		nodes_reply(req, 201, &node, node.update_count > 0);
	else
		http_reply_error(req, &err);
}

CO_FN static void nodes_create(struct http_request *req)
{
	nodes_write(req, false);
}

CO_FN static void nodes_create_everywhere(struct http_request *req)
{
	nodes_write(req, true);
}

/* ---- reading ---- */

CO_FN static void nodes_list(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct knowledge_node *nodes;
	struct knowledge_filter f;
	int64_t total;
	json_t *list;
	size_t n;

	if (!knowledge_here(req, NULL))
		return;
	knowledge_query_filter(req, &f);
	if (!knowledge_list(nodes_worker(req), req->arena, &req->ctx, &f, &nodes, &n, &total, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = nodes_list_json(req, nodes, n);
	if (list != NULL)
		http_reply_json(req, 200,
				json_pack("{s:o, s:I, s:I, s:I, s:I}", "nodes", list, "count", (json_int_t)n, "total",
					  (json_int_t)total, "limit", (json_int_t)f.limit, "offset",
					  (json_int_t)f.offset));
}

CO_FN static void nodes_get(struct http_request *req)
{
	int64_t start = clock_mono_us();
	struct error err = ERROR_INIT;
	struct knowledge_node node;
	bool ok = knowledge_get(nodes_worker(req), req->arena, &req->ctx, req->params[0], &node, &err);

	knowledge_counted("get", ok || err.code == ERR_NOT_FOUND, start);
	if (ok)
		nodes_reply(req, 200, &node, -1);
	else
		http_reply_error(req, &err);
}

/* ---- changing ---- */

CO_FN static void nodes_delete(struct http_request *req)
{
	struct knowledge_node node;
	struct db_batch *b;

	if (!knowledge_mine(req, req->params[0], &node))
		return;
	b = db_batch_new(nodes_worker(req)->db);
	knowledge_archive(b, &req->ctx, node.id, "deleted", clock_wall_ms());
	if (knowledge_commit(req, b, "update", "knowledge_node", "knowledge.delete", node.id))
		http_reply_json(req, 200,
				json_pack("{s:b, s:s%, s:s%}", "deleted", 1, "node_id", node.id.p, node.id.n, "id",
					  node.id.p, node.id.n));
}

static json_t *nodes_visibility_json(struct str id, struct str visibility, bool discoverable)
{
	json_t *o = json_object();

	json_put_str(o, "item_id", id);
	json_put_str(o, "visibility", visibility);
	json_object_set_new(o, "is_discoverable", json_boolean(discoverable));
	return o;
}

CO_FN static void nodes_visibility(struct http_request *req)
{
	struct knowledge_node node;

	if (knowledge_mine(req, req->params[0], &node))
		http_reply_json(req, 200, nodes_visibility_json(node.id, node.visibility, node.discoverable != 0));
}

CO_FN static void nodes_set_visibility(struct http_request *req)
{
	const json_t *body = body_object(req), *flag;
	struct knowledge_node node;
	struct body_problems p;
	struct str visibility;
	struct db_batch *b;
	bool discoverable;

	if (body == NULL || !knowledge_mine(req, req->params[0], &node))
		return;
	body_problems_begin(req, &p);
	(void)body_text(&p, body, "visibility", 1, 64, false);
	visibility = knowledge_choice(&p, body, "visibility", knowledge_visibilities, "workspace");
	if (body_refused(req, &p))
		return;
	flag = json_object_get(body, "is_discoverable");
	discoverable = json_is_boolean(flag) ? json_is_true(flag) : node.discoverable != 0;
	b = db_batch_new(nodes_worker(req)->db);
	db_batch_add(b,
		     "UPDATE knowledge_nodes SET visibility = $3, discoverable = $4, updated_at = $5,"
		     " created_by = CASE WHEN $3 = 'private' THEN $6 ELSE created_by END"
		     " WHERE id = $1 AND workspace_id = $2",
		     DB_ARGS(DB_S(node.id), DB_S(req->ctx.workspace_id), DB_S(visibility), DB_I(discoverable),
			     DB_I(clock_wall_ms()), DB_S(req->ctx.principal)),
		     1);
	if (knowledge_commit(req, b, "update", "knowledge_node", "knowledge.visibility", node.id))
		http_reply_json(req, 200, nodes_visibility_json(node.id, visibility, discoverable));
}

/* ---- figures ---- */

/* {value: count} of a column. */
CO_FN static bool nodes_counts(struct http_request *req, const char *sql, json_t *o, const char *key, json_int_t *sum)
{
	struct error err = ERROR_INIT;
	json_t *counts = json_object();
	struct db_rows r;
	size_t i;

	json_object_set_new(o, key, counts);
	*sum = 0;
	if (!db_query(nodes_worker(req)->db, req->arena, sql, DB_ARGS(DB_S(req->ctx.workspace_id)), &r, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	for (i = 0; i < r.count; i++) {
		json_put_int(counts, arena_str(req->arena, db_str(&r, i, 0)).p, db_int(&r, i, 1));
		*sum += db_int(&r, i, 1);
	}
	return true;
}

#define NODES_COUNT(column)                                                                        \
	"SELECT " column ", COUNT(*) FROM knowledge_nodes WHERE workspace_id = $1 AND archived_at" \
	" = 0 GROUP BY " column

CO_FN static void nodes_stats(struct http_request *req)
{
	struct error err = ERROR_INIT;
	json_t *o = json_own(req->arena, json_object());
	json_int_t nodes, links, ignored;
	struct db_rows r;

	if (!knowledge_here(req, NULL) || !nodes_counts(req, NODES_COUNT("node_type"), o, "nodes_by_type", &nodes) ||
	    !nodes_counts(req, NODES_COUNT("tier"), o, "nodes_by_tier", &ignored) ||
	    !nodes_counts(req, NODES_COUNT("validation"), o, "nodes_by_validation", &ignored) ||
	    !nodes_counts(req, "SELECT kind, COUNT(*) FROM knowledge_links WHERE workspace_id = $1 GROUP BY kind", o,
			  "relationships_by_type", &links))
		return;
	if (!db_query(nodes_worker(req)->db, req->arena,
		      "SELECT CAST(COALESCE(SUM(confidence_ppm), 0) AS BIGINT),"
		      " CAST(COALESCE(SUM(CASE WHEN staleness_ppm >= 500000 THEN 1 ELSE 0 END), 0) AS BIGINT) FROM "
		      "knowledge_nodes WHERE workspace_id = $1 AND archived_at = 0",
		      DB_ARGS(DB_S(req->ctx.workspace_id)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	json_put_int(o, "total_nodes", nodes);
	json_put_int(o, "total_relationships", links);
	json_object_set_new(o, "average_confidence",
			    json_real(nodes > 0 ? (double)db_int(&r, 0, 0) / (double)nodes / KNOWLEDGE_ONE : 0.0));
	json_put_int(o, "stale_nodes_count", db_int(&r, 0, 1));
	json_put_str(o, "workspace_id", req->ctx.workspace_id);
	http_reply_json(req, 200, json_incref(o));
}

static const struct route node_rows[] = {
    KNOWLEDGE_ROW(POST, "mound/query", nodes_query, "read", READ, "Nodes that fit a question"),
    KNOWLEDGE_ROW(POST, "mound/nodes", nodes_create, "write", WRITE, "Write a node; the same content is the same node"),
    KNOWLEDGE_ROW(POST, "mound/global", nodes_create_everywhere, "admin", WRITE,
		  "Write a node that the whole organization may see"),
    KNOWLEDGE_ROW(GET, "mound/nodes", nodes_list, "read", READ, "Nodes of the workspace, newest first"),
    KNOWLEDGE_ROW(GET, "mound/nodes/{id}", nodes_get, "read", READ, "One node"),
    KNOWLEDGE_ROW(GET, "mound/culture/{id}", nodes_get, "read", READ, "One node, under the path of culture"),
    KNOWLEDGE_ROW(DELETE, "mound/nodes/{id}", nodes_delete, "admin", WRITE, "Remove a node"),
    KNOWLEDGE_ROW(GET, "mound/nodes/{id}/visibility", nodes_visibility, "read", READ, "Who may see a node"),
    KNOWLEDGE_ROW(PUT, "mound/nodes/{id}/visibility", nodes_set_visibility, "write", WRITE, "Set who may see a node"),
    KNOWLEDGE_ROW(GET, "mound/stats", nodes_stats, "read", READ, "Figures of the workspace's knowledge"),
};
const struct route_table knowledge_node_routes = {node_rows, countof(node_rows)};
