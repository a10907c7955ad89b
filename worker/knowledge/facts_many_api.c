/* SPDX-License-Identifier: MIT */
/*
 * Many facts at once, and what stands behind one entry: batches, merging, asking for validation, sources, vectors
 * (rest-wide 5.10, as the SDK calls them). Called through its routes, under /api/knowledge and, for facts, /api/facts.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/agents/embed.h"
#include "worker/knowledge/knowledge.h"
#include "worker/search/vectors.h"
#include "worker/worker.h"

#define MANY_TEXTS 16 /* of one request for vectors: each costs money */
#define MANY_TEXT_MAX 8192

static struct worker *many_worker(const struct http_request *req)
{
	return req->user;
}

/* ---- batches ---- */

/* What is wrong with one item, said of its place: "facts[3].statement". */
static void many_wrong(struct body_problems *p, size_t place, const struct body_problems *of)
{
	const json_t *one;
	size_t i;

	json_array_foreach(of->list, i, one)
	{
		struct str field = json_get_str(one, "field", STR("")), why = json_get_str(one, "message", STR(""));
		struct error err = ERROR_INIT;
		char name[64];

		(void)snprintf(name, sizeof(name), "facts[%u].%.*s", (unsigned)place, STR_ARG(str_sub(field, 0, 40)));
		error_field(&err, of->first.code, name, "%.*s", STR_ARG(why));
		body_problem(p, &err);
	}
}

/* The facts of the body, in the arena; 0: answered. */
static size_t many_read(struct http_request *req, const json_t *body, struct knowledge_new **facts)
{
	const json_t *list = json_object_get(body, "facts"), *item;
	size_t n = json_array_size(list), i;
	struct error err = ERROR_INIT;
	struct body_problems p;

	body_problems_begin(req, &p);
	if (!json_is_array(list) || n == 0 || n > KNOWLEDGE_LIST_MAX) {
		error_field(&err, ERR_INVALID_VALUE, "facts", "must be a list of 1 to %d facts", KNOWLEDGE_LIST_MAX);
		body_problem(&p, &err);
		n = 0;
	}
	*facts = arena_zalloc(req->arena, (n + 1) * sizeof(**facts));
	json_array_foreach(list, i, item)
	{
		struct body_problems one;

		if (i >= n)
			break;
		body_problems_begin(req, &one);
		knowledge_fact_read(req, &one, json_is_object(item) ? item : NULL, &(*facts)[i]);
		many_wrong(&p, i, &one);
	}
	return body_refused(req, &p) ? 0 : n;
}

CO_FN static void many_create(struct http_request *req)
{
	int64_t start = clock_mono_us(), now = clock_wall_ms();
	struct worker *w = many_worker(req);
	const json_t *body = body_object(req);
	char(*ids)[KNOWLEDGE_ID_LEN + 1];
	struct knowledge_node *nodes;
	struct knowledge_new *facts;
	struct error err = ERROR_INIT;
	struct db_batch *b;
	struct str *wanted;
	size_t n, i, found;
	json_t *list;
	bool ok;

	if (body == NULL || !knowledge_here(req, body) || (n = many_read(req, body, &facts)) == 0 ||
	    !knowledge_fits(req, NULL, (int64_t)n))
		return;
	ids = arena_alloc(req->arena, n * sizeof(*ids));
	wanted = arena_alloc(req->arena, n * sizeof(*wanted));
	b = db_batch_new(w->db);
	for (i = 0; i < n; i++) {
		knowledge_add(b, &req->ctx, &facts[i], now, ids[i]);
		wanted[i] = str_of(ids[i]);
	}
	ok = db_commit(w->db, b, &err);
	knowledge_counted("fact", ok, start);
	if (!ok) {
		http_reply_error(req, &err);
		return;
	}
	if (!knowledge_mine_of(req, wanted, n, &nodes, &found))
		return;
	list = json_array();
	for (i = 0; i < found; i++)
		json_array_append_new(list, knowledge_fact_json(req->arena, &nodes[i]));
	http_reply_json(
	    req, 201,
	    json_pack("{s:b, s:o, s:I}", "success", 1, "facts", list, "count", (json_int_t)json_array_size(list)));
}

/* What a body names: n ids, of which `found` are facts of the workspace. */
struct many_named {
	struct knowledge_node *facts;
	size_t n, found;
};

/* Facts of the workspace by the ids of a field, in the arena; false: answered. */
CO_FN static bool many_facts(struct http_request *req, const struct str *ids, size_t n, struct knowledge_node **facts,
			     size_t *found)
{
	size_t all, i;

	*found = 0;
	if (!knowledge_mine_of(req, ids, n, facts, &all))
		return false;
	for (i = 0; i < all; i++)
		if (str_eqz((*facts)[i].type, "fact"))
			(*facts)[(*found)++] = (*facts)[i];
	return true;
}

/* The facts that the body names, in the arena; false: answered. `target`: also the text of target_id, or NULL. */
CO_FN static bool many_named(struct http_request *req, struct many_named *out, struct str *target)
{
	const json_t *body = body_object(req);
	struct body_problems p;
	struct str *ids;

	if (body == NULL || !knowledge_here(req, body))
		return false;
	body_problems_begin(req, &p);
	out->n = knowledge_ids(&p, req->arena, body, "fact_ids", KNOWLEDGE_LIST_MAX, &ids);
	if (target != NULL)
		*target = body_text(&p, body, "target_id", 0, 64, false);
	if (body_refused(req, &p) || !many_facts(req, ids, out->n, &out->facts, &out->found))
		return false;
	if (target != NULL && target->n == 0 && out->n > 0)
		*target = ids[0];
	return true;
}

CO_FN static void many_delete(struct http_request *req)
{
	json_t *list = json_own(req->arena, json_array());
	struct many_named m;
	struct db_batch *b;
	size_t i;

	if (!many_named(req, &m, NULL))
		return;
	b = db_batch_new(many_worker(req)->db);
	for (i = 0; i < m.found; i++) {
		knowledge_archive(b, &req->ctx, m.facts[i].id, "deleted", clock_wall_ms());
		json_array_append_new(list, json_str(m.facts[i].id));
	}
	if (knowledge_commit(req, b, "fact", "knowledge_fact", "knowledge.fact_delete", STR("")))
		http_reply_json(req, 200,
				json_pack("{s:b, s:O, s:I, s:I}", "success", 1, "deleted", list, "count",
					  (json_int_t)m.found, "not_found", (json_int_t)(m.n - m.found)));
}

/* ---- merging, validating ---- */

/* The first one, or target_id, stays; the others are superseded by it. */
CO_FN static void many_merge(struct http_request *req)
{
	int64_t now = clock_wall_ms();
	char link[KNOWLEDGE_ID_LEN + 1];
	struct error err = ERROR_INIT;
	struct many_named m;
	struct db_batch *b;
	struct str keep;
	json_t *list, *o;
	size_t i;

	if (!many_named(req, &m, &keep))
		return;
	for (i = 0; i < m.found && !str_eq(m.facts[i].id, keep); i++)
		;
	if (i == m.found)
		error_field(&err, ERR_INVALID_VALUE, "target_id", "must be one of fact_ids");
	else if (m.found < m.n || m.n < 2)
		error_field(&err, ERR_NOT_FOUND, "fact_ids", "must be two or more facts of the workspace");
	if (err.code != ERR_OK) {
		http_reply_error(req, &err);
		return;
	}
	list = json_own(req->arena, json_array());
	b = db_batch_new(many_worker(req)->db);
	for (i = 0; i < m.found; i++) {
		if (str_eq(m.facts[i].id, keep))
			continue;
		db_batch_add(b,
			     "UPDATE knowledge_nodes SET superseded_by = $3, updated_at = $4 WHERE id = $1 AND"
			     " workspace_id = $2",
			     DB_ARGS(DB_S(m.facts[i].id), DB_S(req->ctx.workspace_id), DB_S(keep), DB_I(now)), 1);
		knowledge_link(b, &req->ctx, keep, m.facts[i].id, STR("supersedes"), KNOWLEDGE_ONE, STR(""), now, link);
		knowledge_note(b, &req->ctx, m.facts[i].id, "merged", m.facts[i].confidence_ppm,
			       m.facts[i].confidence_ppm, now);
		json_array_append_new(list, json_str(m.facts[i].id));
	}
	if (!knowledge_commit(req, b, "merge", "knowledge_fact", "knowledge.merge", keep))
		return;
	o = json_pack("{s:b, s:O, s:I}", "success", 1, "merged_fact_ids", list, "count",
		      (json_int_t)json_array_size(list));
	json_put_str(o, "kept_fact_id", keep);
	http_reply_json(req, 200, o);
}

/* As POST facts/{id}/verify: no agents verify facts, they wait to be looked at. */
CO_FN static void many_validate(struct http_request *req)
{
	json_t *list = json_own(req->arena, json_array());
	struct many_named m;
	struct db_batch *b;
	size_t i;

	if (!many_named(req, &m, NULL))
		return;
	b = db_batch_new(many_worker(req)->db);
	for (i = 0; i < m.found; i++) {
		knowledge_queue(b, &req->ctx, m.facts[i].id, STR("verify"), clock_wall_ms());
		json_array_append_new(list, json_str(m.facts[i].id));
	}
	if (knowledge_commit(req, b, "fact", "knowledge_fact", "knowledge.fact_verify", STR("")))
		http_reply_json(req, 202,
				json_pack("{s:O, s:I, s:s, s:s}", "queued", list, "count", (json_int_t)m.found,
					  "status", "queued", "message",
					  "they are listed as stale until somebody looks"));
}

/* ---- behind one entry ---- */

CO_FN static void entry_sources(struct http_request *req)
{
	json_t *object, *list, *o, *derived;
	struct error err = ERROR_INIT;
	struct knowledge_node n;

	if (!knowledge_mine(req, req->params[0], &n))
		return;
	object = json_own(req->arena, knowledge_json(req->arena, &n));
	if (!knowledge_linked(many_worker(req), req->arena, &req->ctx, &n, 1, &object, &err)) {
		http_reply_error(req, &err);
		return;
	}
	derived = json_object_get(object, "derived_from");
	list = json_array();
	json_array_append(list, json_object_get(object, "provenance"));
	o = json_pack("{s:o, s:I, s:O, s:I}", "sources", list, "count", (json_int_t)json_array_size(list),
		      "derived_from", derived, "updates", (json_int_t)n.update_count);
	json_put_str(o, "entry_id", n.id);
	http_reply_json(req, 200, o);
}

/* Is there a server to ask? If not, it has been answered with 503. */
static bool many_embeds(struct http_request *req)
{
	struct error err = ERROR_INIT;

	if (embed_configured(many_worker(req)->conf))
		return true;
	error_set(&err, ERR_UNAVAILABLE, "Embeddings are not configured (embeddings.url)");
	http_reply_error(req, &err);
	return false;
}

static json_t *many_vector(const float *x, size_t dim)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < dim; i++)
		json_array_append_new(list, json_real((double)x[i]));
	return list;
}

CO_FN static void entry_embeddings(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct knowledge_node n;
	struct db_rows r;
	float *x = NULL;
	json_t *o;
	bool has;

	if (!many_embeds(req) || !knowledge_mine(req, req->params[0], &n))
		return;
	if (!db_query(many_worker(req)->db, req->arena,
		      "SELECT model, dim, vector FROM knowledge_vectors WHERE node_id = $1 AND workspace_id = $2",
		      DB_ARGS(DB_S(n.id), DB_S(req->ctx.workspace_id)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	has = r.count > 0 && vectors_unpack(req->arena, db_str(&r, 0, 2), (size_t)db_int(&r, 0, 1), &x);
	o = json_pack("{s:b, s:o}", "embedded", (int)has, "embedding",
		      has ? many_vector(x, (size_t)db_int(&r, 0, 1)) : json_null());
	json_put_str(o, "entry_id", n.id);
	json_object_set_new(o, "model", has ? json_str(db_str(&r, 0, 0)) : json_null());
	json_put_int(o, "dimensions", has ? db_int(&r, 0, 1) : 0);
	http_reply_json(req, 200, o);
}

/* Vectors of texts that are stored nowhere: {text} or {texts[]}. */
CO_FN static void many_embed(struct http_request *req)
{
	const json_t *body = body_object(req), *list, *item;
	size_t n, i, dim;
	struct error err = ERROR_INIT;
	struct str texts[MANY_TEXTS];
	float *vectors;
	json_t *out;
	bool ok = true;

	if (body == NULL || !many_embeds(req))
		return;
	list = json_object_get(body, "texts");
	if (list == NULL && json_object_get(body, "text") != NULL)
		list = json_own(req->arena, json_pack("[O]", json_object_get(body, "text")));
	n = json_array_size(list);
	json_array_foreach(list, i, item)
	{
		ok = ok && i < MANY_TEXTS && json_is_string(item) && json_string_length(item) > 0 &&
		     json_string_length(item) <= MANY_TEXT_MAX;
		if (ok)
			texts[i] = str_of(json_string_value(item));
	}
	if (!ok || n == 0) {
		error_field(&err, ERR_INVALID_VALUE, "texts", "must be a list of 1 to %d texts of 1 to %d bytes",
			    MANY_TEXTS, MANY_TEXT_MAX);
		http_reply_error(req, &err);
		return;
	}
	if (!embed_texts(many_worker(req), req->arena, req->ctx.org_id, texts, n, &vectors, &dim, &err)) {
		http_reply_error(req, &err);
		return;
	}
	out = json_array();
	for (i = 0; i < n; i++)
		json_array_append_new(out, many_vector(vectors + i * dim, dim));
	http_reply_json(req, 200,
			json_pack("{s:o, s:s, s:I, s:I}", "embeddings", out, "model",
				  many_worker(req)->conf->embeddings.model, "dimensions", (json_int_t)dim, "count",
				  (json_int_t)n));
}

static const struct route many_rows[] = {
    KNOWLEDGE_FACT_ROW(POST, "/batch", many_create, "write", WRITE, "Write up to 100 facts, all or none"),
    KNOWLEDGE_FACT_ROW(POST, "/batch/delete", many_delete, "admin", WRITE, "Remove up to 100 facts"),
    KNOWLEDGE_FACT_ROW(POST, "/merge", many_merge, "admin", WRITE,
		       "Keep one of several facts; it supersedes the others"),
    KNOWLEDGE_FACT_ROW(POST, "/validate", many_validate, "write", WRITE, "Ask for facts to be looked at"),
    KNOWLEDGE_ROW(GET, "entries/{id}/sources", entry_sources, "read", READ, "Where an entry comes from"),
    KNOWLEDGE_ROW(GET, "entries/{id}/embeddings", entry_embeddings, "read", READ, "The vector of an entry"),
    KNOWLEDGE_ROW(POST, "embeddings", many_embed, "write", WRITE, "Vectors of texts, stored nowhere"),
};
const struct route_table knowledge_many_routes = {many_rows, countof(many_rows)};
