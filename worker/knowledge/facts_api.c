/* SPDX-License-Identifier: MIT */
/*
 * Facts: nodes of type "fact" in the words of their own endpoints (rest-wide 5.10), and the two ways to ask for them.
 * Called through its routes, under /api/knowledge/facts and /api/facts. No model is asked: an answer is what facts say.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/engine/similarity.h"
#include "worker/knowledge/knowledge.h"
#include "worker/worker.h"

#define FACTS_QUERY_MAX 500
#define FACTS_TYPES STR(",fact,")
#define FACTS_COMPARED 200 /* facts that are looked at for contradictions */

static const char *const fact_relations[] = {"supports", "contradicts", "supersedes", "implies", "related_to", NULL};

static struct worker *facts_worker(const struct http_request *req)
{
	return req->user;
}

/* ---- the object ---- */

static void fact_move(json_t *o, json_t *from, const char *field)
{
	json_t *v = json_object_get(from, field);

	json_object_set_new(o, field, json_is_array(v) ? json_incref(v) : json_array());
	json_object_del(from, field);
}

/* evidence_ids and source_documents live in the node's metadata. */
json_t *knowledge_fact_json(struct arena *a, const struct knowledge_node *n)
{
	json_t *node = knowledge_json(a, n), *o = json_object(), *metadata;
	static const char *const same[] = {"id",         "confidence", "consensus_proof_id", "workspace_id",
					   "topics",     "created_at", "updated_at",         "superseded_by",
					   "provenance", "tier",       "validation_status"};
	size_t i;

	metadata = json_copy(json_object_get(node, "metadata"));
	for (i = 0; i < countof(same); i++)
		json_object_set(o, same[i], json_object_get(node, same[i]));
	json_put_str(o, "statement", n->content);
	json_put_str(o, "content", n->content);
	fact_move(o, metadata, "evidence_ids");
	fact_move(o, metadata, "source_documents");
	json_object_set_new(o, "metadata", metadata);
	json_decref(node);
	return o;
}

/* The fact {id} of the workspace; false: answered. */
CO_FN static bool fact_own(struct http_request *req, struct str id, struct knowledge_node *n)
{
	struct error err = ERROR_INIT;

	if (knowledge_own(facts_worker(req), req->arena, &req->ctx, id, n, &err) && str_eqz(n->type, "fact"))
		return true;
	if (err.code == ERR_OK || err.code == ERR_NOT_FOUND)
		error_field(&err, ERR_NOT_FOUND, "id", "Fact not found");
	http_reply_error(req, &err);
	return false;
}

/* ---- asking ---- */

CO_FN static bool facts_find(struct http_request *req, struct str query, int64_t limit, struct str types,
			     struct knowledge_hit **hits, size_t *n)
{
	struct knowledge_filter f = {.limit = limit, .types = types};
	int64_t start = clock_mono_us();
	struct error err = ERROR_INIT;
	bool ok = knowledge_find(facts_worker(req), req->arena, &req->ctx, query, &f, hits, n, &err);

	knowledge_counted("search", ok, start);
	if (!ok)
		http_reply_error(req, &err);
	return ok;
}

CO_FN static void facts_query(struct http_request *req)
{
	const json_t *body = body_object(req), *options;
	int64_t start = clock_mono_us(), limit;
	json_t *facts, *evidence, *o;
	struct knowledge_hit *hits;
	struct body_problems p;
	struct str question;
	size_t n, i;

	if (body == NULL || !knowledge_here(req, body))
		return;
	body_problems_begin(req, &p);
	question = json_object_get(body, "query") != NULL
		       ? body_text(&p, body, "query", 1, FACTS_QUERY_MAX, false)
		       : knowledge_either(&p, body, "question", "prompt", FACTS_QUERY_MAX);
	if (body_refused(req, &p))
		return;
	options = json_get_obj(body, "options");
	limit = json_get_int(options, "max_chunks", json_get_int(body, "limit", 10));
	if (!facts_find(req, question, limit < 1 ? 1 : limit > 50 ? 50 : limit, STR(""), &hits, &n))
		return;
	facts = json_array();
	evidence = json_array();
	for (i = 0; i < n; i++) {
		o = knowledge_fact_json(req->arena, &hits[i].node);
		json_object_set_new(o, "score", json_real((double)hits[i].score_ppm / KNOWLEDGE_ONE));
		json_array_extend(evidence, json_object_get(o, "evidence_ids"));
		json_array_append_new(facts, o);
	}
	o = json_pack(
	    "{s:o, s:o, s:f, s:{}, s:{s:s, s:i}, s:f}", "facts", facts, "evidence_ids", evidence, "confidence",
	    n > 0 ? (double)hits[0].node.confidence_ppm * (double)hits[0].score_ppm / KNOWLEDGE_ONE / KNOWLEDGE_ONE
		  : 0.0,
	    "agent_contributions", "metadata", "method", "retrieval", "found", (int)n, "processing_time_ms",
	    (double)(clock_mono_us() - start) / 1e3);
	json_put_str(o, "answer", n > 0 ? hits[0].node.content : STR(""));
	json_put_str(o, "query", question);
	json_put_str(o, "workspace_id", req->ctx.workspace_id);
	http_reply_json(req, 200, o);
}

CO_FN static void facts_search(struct http_request *req)
{
	struct str q = http_query(req, "q");
	struct error err = ERROR_INIT;
	struct knowledge_hit *hits;
	json_t *list, *o;
	size_t n, i;

	if (q.n == 0 || q.n > FACTS_QUERY_MAX) {
		error_field(&err, q.n == 0 ? ERR_MISSING_FIELD : ERR_INVALID_VALUE, "q", "must have 1 to 500 bytes");
		http_reply_error(req, &err);
		return;
	}
	if (!knowledge_here(req, NULL) ||
	    !facts_find(req, q, http_query_int(req, "limit", 1, 50, 10), STR(""), &hits, &n))
		return;
	list = json_array();
	for (i = 0; i < n; i++) {
		o = knowledge_json(req->arena, &hits[i].node);
		json_object_set_new(o, "score", json_real((double)hits[i].score_ppm / KNOWLEDGE_ONE));
		json_array_append_new(list, o);
	}
	o = json_pack("{s:s%, s:o, s:I}", "query", q.p, q.n, "results", list, "count", (json_int_t)n);
	json_put_str(o, "workspace_id", req->ctx.workspace_id);
	http_reply_json(req, 200, o);
}

/* ---- list, read ---- */

CO_FN static void facts_list(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct knowledge_node *nodes;
	struct knowledge_filter f;
	bool superseded = false;
	int64_t total;
	json_t *list;
	size_t n, i;

	if (!knowledge_here(req, NULL))
		return;
	knowledge_query_filter(req, &f);
	f.types = FACTS_TYPES;
	f.validation = http_query(req, "status");
	f.superseded = str_to_bool(http_query(req, "include_superseded"), &superseded) && superseded;
	if (!knowledge_list(facts_worker(req), req->arena, &req->ctx, &f, &nodes, &n, &total, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < n; i++)
		json_array_append_new(list, knowledge_fact_json(req->arena, &nodes[i]));
	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:I, s:I}", "facts", list, "total", (json_int_t)total, "limit",
				  (json_int_t)f.limit, "offset", (json_int_t)f.offset));
}

CO_FN static void fact_reply(struct http_request *req, int status, struct str id)
{
	struct knowledge_node n;

	if (fact_own(req, id, &n))
		http_reply_json(req, status, knowledge_fact_json(req->arena, &n));
}

CO_FN static void facts_get(struct http_request *req)
{
	fact_reply(req, 200, req->params[0]);
}

/* ---- writing ---- */

/* metadata with evidence_ids and source_documents in it, as text. `before`: of a fact that is changed, or "{}". */
static struct str fact_metadata(struct body_problems *p, struct arena *a, const json_t *body, struct str before)
{
	static const char *const lists[] = {"evidence_ids", "source_documents"};
	struct error ignored = ERROR_INIT;
	const json_t *given = json_object_get(body, "metadata");
	json_t *old = json_parse(a, before, &ignored), *o;
	size_t i;

	(void)knowledge_object(p, a, body, "metadata");
	o = json_own(a, json_is_object(given) ? json_copy((json_t *)(uintptr_t)given) : json_copy(old));
	for (i = 0; i < countof(lists); i++) {
		(void)knowledge_texts(p, a, body, lists[i]);
		if (json_object_get(body, lists[i]) != NULL)
			json_object_set(o, lists[i], json_object_get(body, lists[i]));
		else if (json_object_get(old, lists[i]) != NULL)
			json_object_set(o, lists[i], json_object_get(old, lists[i]));
	}
	return json_text(a, o);
}

void knowledge_fact_read(struct http_request *req, struct body_problems *p, const json_t *body, struct knowledge_new *n)
{
	*n = (struct knowledge_new){.type = STR("fact"),
				    .content = knowledge_either(p, body, "statement", "content", KNOWLEDGE_CONTENT_MAX),
				    .confidence_ppm = knowledge_share(p, body, "confidence", KNOWLEDGE_ONE / 2),
				    .topics = knowledge_texts(p, req->arena, body, "topics"),
				    .metadata = fact_metadata(p, req->arena, body, STR("{}")),
				    .source_type = "user",
				    .user_id = req->ctx.principal,
				    .created_by = req->ctx.principal};
}

CO_FN static void facts_create(struct http_request *req)
{
	int64_t start = clock_mono_us();
	struct worker *w = facts_worker(req);
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	char id[KNOWLEDGE_ID_LEN + 1];
	struct knowledge_new n;
	struct body_problems p;
	struct db_batch *b;
	bool ok;

	if (body == NULL || !knowledge_here(req, body))
		return;
	body_problems_begin(req, &p);
	knowledge_fact_read(req, &p, body, &n);
	if (body_refused(req, &p) || !knowledge_fits(req, &n, 1))
		return;
	b = db_batch_new(w->db);
	knowledge_add(b, &req->ctx, &n, clock_wall_ms(), id);
	ok = db_commit(w->db, b, &err);
	knowledge_counted("fact", ok, start);
	if (ok)
		fact_reply(req, 201, arena_str(req->arena, str_of(id)));
	else
		http_reply_error(req, &err);
}

CO_FN static void facts_update(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct knowledge_node n, other;
	struct str validation, topics, metadata, replaced;
	struct body_problems p;
	struct db_batch *b;
	int64_t confidence;

	if (body == NULL || !fact_own(req, req->params[0], &n))
		return;
	body_problems_begin(req, &p);
	confidence = knowledge_share(&p, body, "confidence", n.confidence_ppm);
	validation = knowledge_choice(&p, body, "validation_status", knowledge_validations, NULL);
	topics = json_object_get(body, "topics") != NULL ? knowledge_texts(&p, req->arena, body, "topics") : n.topics;
	metadata = fact_metadata(&p, req->arena, body, n.metadata);
	replaced = body_text(&p, body, "superseded_by", 0, 64, false);
	if (body_refused(req, &p) || (replaced.n > 0 && !fact_own(req, replaced, &other)))
		return;
	b = db_batch_new(facts_worker(req)->db);
	db_batch_add(
	    b,
	    "UPDATE knowledge_nodes SET confidence_ppm = $3, validation = CASE WHEN $4 = '' THEN validation ELSE $4"
	    " END, topics = $5, metadata = $6, superseded_by = CASE WHEN $7 = '' THEN superseded_by ELSE $7 END,"
	    " update_count = update_count + 1, updated_at = $8 WHERE id = $1 AND workspace_id = $2",
	    DB_ARGS(DB_S(n.id), DB_S(req->ctx.workspace_id), DB_I(confidence), DB_S(validation), DB_S(topics),
		    DB_S(metadata), DB_S(replaced), DB_I(clock_wall_ms())),
	    1);
	if (knowledge_commit(req, b, "fact", "knowledge_fact", "knowledge.fact_update", n.id))
		fact_reply(req, 200, req->params[0]);
}

CO_FN static void facts_delete(struct http_request *req)
{
	struct knowledge_node n;
	struct db_batch *b;

	if (!fact_own(req, req->params[0], &n))
		return;
	b = db_batch_new(facts_worker(req)->db);
	knowledge_archive(b, &req->ctx, n.id, "deleted", clock_wall_ms());
	if (knowledge_commit(req, b, "fact", "knowledge_fact", "knowledge.fact_delete", n.id))
		http_reply_json(req, 200, json_pack("{s:b, s:s%}", "deleted", 1, "fact_id", n.id.p, n.id.n));
}

/* No agents verify facts here: it is put down for somebody to look at. */
CO_FN static void facts_verify(struct http_request *req)
{
	struct knowledge_node n;
	struct db_batch *b;

	if (!fact_own(req, req->params[0], &n))
		return;
	b = db_batch_new(facts_worker(req)->db);
	knowledge_queue(b, &req->ctx, n.id, STR("verify"), clock_wall_ms());
	if (knowledge_commit(req, b, "fact", "knowledge_fact", "knowledge.fact_verify", n.id))
		http_reply_json(req, 200,
				json_pack("{s:s%, s:n, s:s, s:s}", "fact_id", n.id.p, n.id.n, "verified", "status",
					  "queued", "message",
					  "no agents verify facts: it waits to be looked at (mound/stale)"));
}

/* ---- relations ---- */

CO_FN static void facts_relations(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct knowledge_node n;
	struct db_rows r;
	json_t *list;
	size_t i;

	if (!fact_own(req, req->params[0], &n))
		return;
	if (!db_query(facts_worker(req)->db, req->arena,
		      "SELECT l.id, l.from_id, l.to_id, l.kind, l.strength_ppm FROM knowledge_links l WHERE"
		      " l.workspace_id = $1 AND l.from_id = $2 UNION SELECT l.id, l.from_id, l.to_id, l.kind,"
		      " l.strength_ppm FROM knowledge_links l WHERE l.workspace_id = $1 AND l.to_id = $2 ORDER BY 1 "
		      "LIMIT 500",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(n.id)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		json_t *o = json_object();

		json_put_str(o, "id", db_str(&r, i, 0));
		json_put_str(o, "source_fact_id", db_str(&r, i, 1));
		json_put_str(o, "target_fact_id", db_str(&r, i, 2));
		json_put_str(o, "relation_type", db_str(&r, i, 3));
		json_object_set_new(o, "confidence", json_real((double)db_int(&r, i, 4) / KNOWLEDGE_ONE));
		json_array_append_new(list, o);
	}
	http_reply_json(
	    req, 200,
	    json_pack("{s:s%, s:o, s:I}", "fact_id", n.id.p, n.id.n, "relations", list, "count", (json_int_t)r.count));
}

CO_FN static void facts_relate(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct knowledge_node from, to;
	struct error err = ERROR_INIT;
	char id[KNOWLEDGE_ID_LEN + 1];
	struct str ends[2], kind;
	struct body_problems p;
	struct db_batch *b;
	int64_t confidence;
	json_t *o;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	ends[0] = req->params[0].n > 0 ? req->params[0] : knowledge_either(&p, body, "source_fact_id", "source_id", 64);
	ends[1] = knowledge_either(&p, body, "target_fact_id", "target_id", 64);
	kind = knowledge_choice(&p, body, "relation_type", fact_relations, "related_to");
	confidence = knowledge_share(&p, body, "confidence", KNOWLEDGE_ONE / 2);
	if (body_refused(req, &p) || !fact_own(req, ends[0], &from) || !fact_own(req, ends[1], &to))
		return;
	b = db_batch_new(facts_worker(req)->db);
	knowledge_link(b, &req->ctx, from.id, to.id, kind, confidence, STR(""), clock_wall_ms(), id);
	if (!db_commit(facts_worker(req)->db, b, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = json_pack("{s:s, s:f}", "id", id, "confidence", (double)confidence / KNOWLEDGE_ONE);
	json_put_str(o, "source_fact_id", from.id);
	json_put_str(o, "target_fact_id", to.id);
	json_put_str(o, "relation_type", kind);
	http_reply_json(req, 201, o);
}

/* What is said of the same and excludes it: by relation, or by its words (similarity_contradicts). */
CO_FN static void facts_contradictions(struct http_request *req)
{
	struct knowledge_filter f = {.limit = FACTS_COMPARED, .types = FACTS_TYPES};
	struct error err = ERROR_INIT;
	struct knowledge_hit *hits;
	struct knowledge_node n;
	json_t *list, *linked, *object;
	size_t count, i, k;

	if (!fact_own(req, req->params[0], &n))
		return;
	object = json_own(req->arena, knowledge_json(req->arena, &n));
	if (!knowledge_find(facts_worker(req), req->arena, &req->ctx, str_utf8_cut(n.content, FACTS_QUERY_MAX), &f,
			    &hits, &count, &err) ||
	    !knowledge_linked(facts_worker(req), req->arena, &req->ctx, &n, 1, &object, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	linked = json_object_get(object, "contradicts");
	for (i = 0; i < count; i++) {
		bool against = similarity_contradicts(n.content, hits[i].node.content);

		for (k = 0; k < json_array_size(linked); k++)
			against = against || str_eqz(hits[i].node.id, json_string_value(json_array_get(linked, k)));
		if (against && !str_eq(hits[i].node.id, n.id))
			json_array_append_new(list, knowledge_fact_json(req->arena, &hits[i].node));
	}
	http_reply_json(req, 200,
			json_pack("{s:s%, s:I, s:o}", "fact_id", n.id.p, n.id.n, "count",
				  (json_int_t)json_array_size(list), "contradictions", list));
}

/* ---- figures ---- */

CO_FN static void facts_stats(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *by, *o;
	size_t i;
	json_int_t total = 0, sum = 0;

	if (!knowledge_here(req, NULL))
		return;
	if (!db_query(facts_worker(req)->db, req->arena,
		      "SELECT validation, COUNT(*), CAST(SUM(confidence_ppm) AS BIGINT) FROM knowledge_nodes WHERE"
		      " workspace_id = $1 AND archived_at = 0 AND node_type = 'fact' GROUP BY validation",
		      DB_ARGS(DB_S(req->ctx.workspace_id)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	by = json_object();
	for (i = 0; i < r.count; i++) {
		json_put_int(by, arena_str(req->arena, db_str(&r, i, 0)).p, db_int(&r, i, 1));
		total += db_int(&r, i, 1);
		sum += db_int(&r, i, 2);
	}
	o = json_pack("{s:I, s:I, s:o, s:f}", "total_facts", total, "total", total, "by_status", by,
		      "average_confidence", total > 0 ? (double)sum / (double)total / KNOWLEDGE_ONE : 0.0);
	json_put_str(o, "workspace_id", req->ctx.workspace_id);
	http_reply_json(req, 200, o);
}

static const struct route fact_rows[] = {
    KNOWLEDGE_ROW(POST, "query", facts_query, "read", READ, "What facts answer to a question"),
    KNOWLEDGE_ROW(GET, "search", facts_search, "read", READ, "Nodes that fit words"),
    KNOWLEDGE_ROW(GET, "stats", facts_stats, "read", READ, "Figures of facts"),
    KNOWLEDGE_FACT_ROW(GET, "", facts_list, "read", READ, "Facts of the workspace, newest first"),
    KNOWLEDGE_FACT_ROW(POST, "", facts_create, "write", WRITE, "Write a fact"),
    KNOWLEDGE_FACT_ROW(GET, "/stats", facts_stats, "read", READ, "Figures of facts"),
    KNOWLEDGE_FACT_ROW(POST, "/relations", facts_relate, "write", WRITE, "Relate two facts"),
    KNOWLEDGE_FACT_ROW(POST, "/relationships", facts_relate, "write", WRITE, "Relate two facts"),
    KNOWLEDGE_FACT_ROW(GET, "/{id}", facts_get, "read", READ, "One fact"),
    KNOWLEDGE_FACT_ROW(PUT, "/{id}", facts_update, "write", WRITE, "Change what is thought of a fact"),
    KNOWLEDGE_FACT_ROW(DELETE, "/{id}", facts_delete, "admin", WRITE, "Remove a fact"),
    KNOWLEDGE_FACT_ROW(POST, "/{id}/verify", facts_verify, "write", WRITE, "Ask for a fact to be verified"),
    KNOWLEDGE_FACT_ROW(GET, "/{id}/contradictions", facts_contradictions, "read", READ, "Facts that exclude a fact"),
    KNOWLEDGE_FACT_ROW(GET, "/{id}/relations", facts_relations, "read", READ, "Relations of a fact"),
    KNOWLEDGE_FACT_ROW(POST, "/{id}/relations", facts_relate, "write", WRITE, "Relate a fact to another"),
};
const struct route_table knowledge_fact_routes = {fact_rows, countof(fact_rows)};
