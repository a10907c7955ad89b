/* SPDX-License-Identifier: MIT */
/*
 * The routes to consensus memory: what was decided on a subject, what was held against it, figures. Reads only; rows
 * are written with the end of a debate.
 */
#include "common/json.h"
#include "worker/memory/consensus_memory.h"
#include "worker/memory/memory_api.h"
#include "worker/worker.h"

#define API_SETTLED_PPM 700000 /* confidence from which a decision counts as settled: debate.md 8.1 row 9 */

static json_t *api_parsed(struct str text)
{
	struct error err = ERROR_INIT;
	json_t *v = json_parse(NULL, text, &err);

	return v != NULL ? v : json_array();
}

static json_t *api_decision(const struct consensus_memory *m)
{
	json_t *o = json_object();

	json_put_str(o, "id", m->debate_id);
	json_put_str(o, "debate_id", m->debate_id);
	json_put_str(o, "topic", m->topic);
	json_put_str(o, "conclusion", m->conclusion);
	json_put_str(o, "domain", m->domain);
	json_object_set_new(o, "consensus_reached", json_boolean(m->reached));
	json_put_str(o, "strength", m->strength);
	json_put_str(o, "method", m->method);
	memory_real(o, "confidence", m->confidence_ppm);
	memory_real(o, "margin", m->margin_ppm);
	json_put_int(o, "rounds", m->rounds);
	json_object_set_new(o, "agents", api_parsed(m->agents));
	json_object_set_new(o, "dissents", api_parsed(m->dissents));
	json_put_int(o, "dissent_count", m->dissent_count);
	json_put_time(o, "timestamp", m->created_at);
	return o;
}

/* ---- by subject ---- */

/* False: answered. */
CO_FN static bool api_on_topic(struct http_request *req, struct str *topic, struct consensus_memory **v, size_t *n)
{
	int64_t limit = http_query_int(req, "limit", 1, CONSENSUS_MEMORY_FOUND_MAX, 5);
	struct error err = ERROR_INIT;

	if (!memory_on(req))
		return false;
	*topic = str_trim(http_query(req, "topic"));
	if (topic->n == 0)
		*topic = str_trim(http_query(req, "q"));
	if (topic->n == 0)
		error_field(&err, ERR_MISSING_FIELD, "topic", "topic is required: what was decided about");
	else if (consensus_memory_find(req->user, req->arena, &req->ctx, *topic, (size_t)limit,
				       memory_query_ppm(req, "min_similarity"), v, n, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

CO_FN static void api_similar(struct http_request *req)
{
	struct consensus_memory *v;
	struct str topic;
	json_t *list;
	size_t i, n;

	if (!api_on_topic(req, &topic, &v, &n))
		return;
	list = json_array();
	for (i = 0; i < n; i++) {
		json_t *o = api_decision(&v[i]);

		memory_real(o, "similarity", v[i].score_ppm);
		json_array_append_new(list, o);
	}
	http_reply_json(
	    req, 200,
	    json_pack("{s:s%, s:o, s:I}", "query", topic.p, topic.n, "similar", list, "count", (json_int_t)n));
}

CO_FN static void api_dissents(struct http_request *req)
{
	struct consensus_memory *v;
	json_t *list, *dissents, *d;
	struct str topic;
	size_t i, k, n;

	if (!api_on_topic(req, &topic, &v, &n))
		return;
	list = json_array();
	for (i = 0; i < n; i++) {
		dissents = api_parsed(v[i].dissents);
		json_array_foreach(dissents, k, d)
		{
			json_t *o = json_copy(d);

			json_put_str(o, "debate_id", v[i].debate_id);
			json_put_str(o, "topic", v[i].topic);
			json_put_str(o, "decided", v[i].conclusion);
			memory_real(o, "similarity", v[i].score_ppm);
			json_put_time(o, "timestamp", v[i].created_at);
			json_array_append_new(list, o);
		}
		json_decref(dissents);
	}
	http_reply_json(req, 200,
			json_pack("{s:s%, s:o, s:I}", "query", topic.p, topic.n, "dissents", list, "count",
				  (json_int_t)json_array_size(list)));
}

/* ---- lists and figures ---- */

CO_FN static void api_page(struct http_request *req, const char *name, int64_t reached, int64_t min_ppm)
{
	int64_t limit = http_query_int(req, "limit", 1, 100, 20),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_rows r, total;
	json_t *list, *o;
	size_t i;

	if (!memory_on(req))
		return;
	if (!db_query(w->db, req->arena,
		      "SELECT COUNT(*) FROM consensus_memory WHERE workspace_id = $1 AND reached >= $2 AND"
		      " confidence_ppm >= $3",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(reached), DB_I(min_ppm)), &total, &err) ||
	    !db_query(
		w->db, req->arena,
		"SELECT debate_id, topic, conclusion, domain, reached, strength, method, confidence_ppm, margin_ppm,"
		" rounds, agents, dissents, dissent_count, created_at FROM consensus_memory WHERE workspace_id = $1"
		" AND reached >= $2 AND confidence_ppm >= $3 ORDER BY created_at DESC, debate_id LIMIT $4 OFFSET $5",
		DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(reached), DB_I(min_ppm), DB_I(limit), DB_I(offset)), &r,
		&err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		struct consensus_memory m = consensus_memory_row(&r, i);

		json_array_append_new(list, api_decision(&m));
	}
	o = json_object();
	json_object_set_new(o, name, list);
	json_put_int(o, "count", (int64_t)r.count);
	json_put_int(o, "total", db_int(&total, 0, 0));
	json_put_int(o, "limit", limit);
	json_put_int(o, "offset", offset);
	http_reply_json(req, 200, o);
}

CO_FN static void api_list(struct http_request *req)
{
	api_page(req, "decisions", 0, 0);
}

CO_FN static void api_settled(struct http_request *req)
{
	int64_t min = memory_query_ppm(req, "min_confidence");

	api_page(req, "topics", 1, min > 0 ? min : API_SETTLED_PPM);
}

CO_FN static void api_stats(struct http_request *req)
{
	struct worker *w = req->user;
	json_t *by_strength = json_own(req->arena, json_object()), *by_domain = json_own(req->arena, json_object());
	int64_t total = 0, reached = 0, dissents = 0, confidence = 0;
	struct error err = ERROR_INIT;
	struct db_rows r;
	size_t i;

	if (!memory_on(req))
		return;
	if (!db_query(w->db, req->arena,
		      "SELECT strength, domain, COUNT(*), SUM(reached), SUM(dissent_count), SUM(confidence_ppm)"
		      " FROM consensus_memory WHERE workspace_id = $1 GROUP BY strength, domain",
		      DB_ARGS(DB_S(req->ctx.workspace_id)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	for (i = 0; i < r.count; i++) {
		const char *strength = arena_str(req->arena, db_str(&r, i, 0)).p,
			   *domain = arena_str(req->arena, db_str(&r, i, 1)).p;
		int64_t n = db_int(&r, i, 2);

		total += n;
		reached += db_int(&r, i, 3);
		dissents += db_int(&r, i, 4);
		confidence += db_int(&r, i, 5);
		json_put_int(by_strength, strength, json_get_int(by_strength, strength, 0) + n);
		json_put_int(by_domain, domain, json_get_int(by_domain, domain, 0) + n);
	}
	http_reply_json(req, 200,
			json_pack("{s:I, s:I, s:I, s:f, s:f, s:O, s:O}", "total_consensus", (json_int_t)total,
				  "reached", (json_int_t)reached, "total_dissents", (json_int_t)dissents,
				  "consensus_rate", total > 0 ? (double)reached / (double)total : 0.0, "avg_confidence",
				  total > 0 ? (double)confidence / (double)total / 1e6 : 0.0, "by_strength",
				  by_strength, "by_domain", by_domain));
}

static const struct route consensus_rows[] = {
    MEMORY_READ("/api/consensus", api_list, "What debates decided, the newest first"),
    MEMORY_READ("/api/consensus/similar", api_similar, "What was decided on a subject"),
    MEMORY_READ("/api/consensus/dissents", api_dissents, "What was held against decisions on a subject"),
    MEMORY_READ("/api/consensus/settled", api_settled, "Decisions of high confidence"),
    MEMORY_READ("/api/consensus/stats", api_stats, "Figures of what was decided"),
};

const struct route_table consensus_memory_routes = {consensus_rows, countof(consensus_rows)};
