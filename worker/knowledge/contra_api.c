/* SPDX-License-Identifier: MIT */
/*
 * Contradictions over the API: looking for nodes that exclude each other, and settling it (rest-wide 5.2). Called
 * through its routes. Which texts exclude each other is decided by worker/engine/similarity.h.
 */
#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "worker/engine/similarity.h"
#include "worker/knowledge/upkeep.h"
#include "worker/worker.h"

#define CONTRA_SAME_PPM 700000 /* likeness from which two nodes speak of the same thing */

static struct worker *contra_worker(const struct http_request *req)
{
	return req->user;
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
	struct worker *w = contra_worker(req);
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

			if (alike < CONTRA_SAME_PPM || !similarity_contradicts(nodes[i].content, nodes[k].content))
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
	if (knowledge_commit(req, b, "update", "knowledge_node", "knowledge.detect_contradictions", STR("")))
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

	if (!db_query(contra_worker(req)->db, req->arena,
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

	if (!db_query(contra_worker(req)->db, req->arena,
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
	struct worker *w = contra_worker(req);
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
	if (!knowledge_mine_of(req, ids, 2, &nodes, &n))
		return;
	if (n < 2) {
		error_field(&err, ERR_CONFLICT, "id", "one of its nodes is gone");
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
	if (!knowledge_commit(req, b, "update", "knowledge_node", "knowledge.resolve_contradiction", req->params[0]))
		return;
	o = json_pack("{s:b, s:s}", "success", 1, "state", open ? "open" : "resolved");
	json_put_str(o, "contradiction_id", req->params[0]);
	json_put_str(o, "strategy", strategy);
	json_object_set_new(o, "kept_node_id", keep.n > 0 ? json_str(keep) : json_null());
	http_reply_json(req, 200, o);
}

static const struct route contra_rows[] = {
    KNOWLEDGE_ROW(POST, "mound/contradictions/detect", contra_detect, "write", WRITE,
		  "Look for nodes that exclude each other"),
    KNOWLEDGE_ROW(GET, "mound/contradictions", contra_list, "read", READ, "Nodes that exclude each other"),
    KNOWLEDGE_ROW(GET, "mound/contradictions/stats", contra_stats, "read", READ, "How many contradictions there are"),
    KNOWLEDGE_ROW(POST, "mound/contradictions/{id}/resolve", contra_resolve, "write", WRITE, "Settle a contradiction"),
};
const struct route_table knowledge_contra_routes = {contra_rows, countof(contra_rows)};
