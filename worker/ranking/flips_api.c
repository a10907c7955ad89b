/* SPDX-License-Identifier: MIT */
/*
 * Changes of position during debates and the positions that agents ended with. Called by the router. Read from the logs
 * and results of the newest debates; why somebody changed their mind, and whether they were right to, nobody knows.
 */
#include "worker/ranking/api.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/worker.h"

#define FLIPS_DEBATES 100 /* newest debates that are looked at */
#define FLIPS_MAX 1000
#define FLIPS_DAY_MS INT64_C(86400000)
#define POSITIONS_MAX 20
#define POSITIONS_TEXT_MAX 500

/* ---- flips ---- */

#define FLIPS_OF(debates)                                                                                  \
	"SELECT e.debate_id, e.seq, e.envelope, e.created_at FROM (" debates ") c JOIN debate_events e ON" \
	" e.workspace_id = $1 AND e.debate_id = c.debate_id WHERE e.type = 'flip_detected'"                \
	" ORDER BY e.created_at DESC, e.debate_id, e.seq DESC LIMIT $3"

static const char flips_agent_sql[] =
    FLIPS_OF("SELECT debate_id FROM rating_changes WHERE workspace_id = $1 AND agent = $4 AND kind = 'match' ORDER BY"
	     " created_at DESC LIMIT $2");
static const char flips_all_sql[] = FLIPS_OF(
    "SELECT id AS debate_id FROM debates WHERE workspace_id = $1 AND status = 'completed' AND demo = 0 ORDER BY"
    " created_at DESC LIMIT $2");

static json_t *flips_view(struct http_request *req, const struct db_rows *r, size_t i)
{
	struct error err = ERROR_INIT;
	const json_t *e = json_parse(req->arena, db_str(r, i, 2), &err), *data = json_get_obj(e, "data");
	struct str agent = json_get_str(data, "agent_name", STR("")), debate = db_str(r, i, 0);
	struct str id = arena_printf(req->arena, "%.*s:%lld", STR_ARG(debate), (long long)db_int(r, i, 1));
	static const char *const pairs[][2] = {{"original_position", "original_claim"},
					       {"original_claim", "original_claim"},
					       {"new_position", "new_claim"},
					       {"new_claim", "new_claim"},
					       {"flip_type", "flip_type"}};
	json_t *o = json_object();
	size_t k;

	json_put_str(o, "flip_id", id);
	json_put_str(o, "id", id);
	json_put_str(o, "agent", agent);
	json_put_str(o, "agent_name", agent);
	json_put_str(o, "debate_id", debate);
	for (k = 0; k < countof(pairs); k++)
		json_put_str(o, pairs[k][0], json_get_str(data, pairs[k][1], STR("")));
	ranking_put_real(o, "similarity_score", json_get_num(data, "similarity_score", 0));
	json_put_int(o, "round_number", json_get_int(e, "round", 0));
	json_put_time(o, "timestamp", db_int(r, i, 3));
	json_put_time(o, "detected_at", db_int(r, i, 3));
	return o;
}

/* The newest flips of the workspace, or of one agent. */
CO_FN static bool flips_read(struct http_request *req, struct str agent, int64_t limit, json_t *list, struct db_rows *r,
			     struct error *err)
{
	bool one = agent.n > 0;
	size_t i;

	if (!db_query(
		ranking_db(req), req->arena, one ? flips_agent_sql : flips_all_sql,
		(const struct db_val[]){DB_S(req->ctx.workspace_id), DB_I(FLIPS_DEBATES), DB_I(FLIPS_MAX), DB_S(agent)},
		one ? 4 : 3, r, err))
		return false;
	for (i = 0; i < r->count && (int64_t)json_array_size(list) < limit; i++) {
		json_t *o = flips_view(req, r, i);

		if (!one || str_eq(json_get_str(o, "agent", STR("")), agent))
			json_array_append(list, o);
		json_decref(o);
	}
	return true;
}

static void flips_add(json_t *sums, struct str key)
{
	json_t *n = json_object_getn(sums, key.p, key.n);

	json_object_setn_new(sums, key.p, key.n, json_integer(json_integer_value(n) + 1));
}

/* Of all flips in `list`; looked_at says how far back that goes. */
static json_t *flips_summary(const json_t *list, const struct db_rows *r)
{
	json_t *types = json_object(), *agents = json_object(), *e;
	int64_t since = clock_wall_ms() - FLIPS_DAY_MS, recent = 0;
	size_t i;

	json_array_foreach(list, i, e)
	{
		flips_add(types, json_get_str(e, "flip_type", STR("")));
		flips_add(agents, json_get_str(e, "agent", STR("")));
	}
	for (i = 0; i < r->count; i++)
		recent += db_int(r, i, 3) >= since;
	return json_pack("{s:I, s:o, s:o, s:I, s:i}", "total_flips", (json_int_t)json_array_size(list), "by_type",
			 types, "by_agent", agents, "recent_24h", (json_int_t)recent, "debates_looked_at",
			 FLIPS_DEBATES);
}

CO_FN bool ranking_flips(struct http_request *req, struct str agent, json_t **out, struct error *err)
{
	struct db_rows r;

	*out = json_own(req->arena, json_array());
	return flips_read(req, agent, FLIPS_MAX, *out, &r, err);
}

CO_FN static void flips_recent(struct http_request *req)
{
	size_t limit = (size_t)http_query_int(req, "limit", 1, 100, 20);
	json_t *list = json_own(req->arena, json_array()), *summary;
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (!flips_read(req, STR(""), FLIPS_MAX, list, &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	summary = flips_summary(list, &r);
	while (json_array_size(list) > limit)
		json_array_remove(list, json_array_size(list) - 1);
	if (str_ends(str_of(req->route->path), STR("/summary")))
		http_reply_json(req, 200, summary);
	else
		http_reply_json(req, 200,
				json_pack("{s:O, s:o, s:I}", "flips", list, "summary", summary, "count",
					  (json_int_t)json_array_size(list)));
}

CO_FN static void flips_of_agent(struct http_request *req)
{
	json_t *list = json_own(req->arena, json_array());
	struct error err = ERROR_INIT;
	struct api_rating rating;
	struct db_rows r;
	int64_t rank;

	if (!ranking_asked(req, &rating, &rank))
		return;
	if (!flips_read(req, rating.agent, http_query_int(req, "limit", 1, 100, 20), list, &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:s%, s:O, s:{s:s%, s:I, s:I, s:f}, s:I}", "agent", rating.agent.p, rating.agent.n,
				  "flips", list, "consistency", "agent_name", rating.agent.p, rating.agent.n,
				  "total_positions", (json_int_t)rating.debates, "total_flips",
				  (json_int_t)rating.flips, "consistency_score", rating_consistency(&rating), "count",
				  (json_int_t)json_array_size(list)));
}

/* ---- positions ---- */

/* The one sentence of its group; a vote says how sure it was only if it was for itself. */
static void positions_fill(json_t *o, const json_t *result, struct str agent)
{
	const json_t *groups = json_get_arr(json_get_obj(result, "consensus"), "groups"), *votes, *e, *name;
	struct str text = json_get_str(json_get_obj(result, "proposals"), agent.p, STR(""));
	size_t i, k;

	json_put_str(o, "stance", STR(""));
	json_put_str(o, "text", str_utf8_cut(text, POSITIONS_TEXT_MAX));
	json_put_int(o, "round_number", json_get_int(result, "rounds_used", 0));
	json_object_set_new(o, "was_final", json_true());
	json_object_set_new(o, "confidence", json_null());
	json_array_foreach(groups, i, e)
	    json_array_foreach(json_get_arr(e, "agents"), k, name) if (str_eqz(agent, json_string_value(name)))
		json_put_str(o, "stance", json_get_str(e, "label", STR("")));
	votes = json_get_arr(result, "votes");
	json_array_foreach(votes, i, e) if (str_eq(json_get_str(e, "agent", STR("")), agent) &&
					    str_eq(json_get_str(e, "choice", STR("")), agent))
	    ranking_put_real(o, "confidence", (double)json_get_int(e, "confidence_ppm", 0) / 1e6);
}

CO_FN bool ranking_positions(struct http_request *req, struct str name, int64_t limit, json_t **out, struct error *err)
{
	struct str agent = arena_str(req->arena, name);
	struct error unread = ERROR_INIT;
	struct db_rows r;
	json_t *o;
	size_t i;

	if (!db_query(
		ranking_db(req), req->arena,
		"SELECT d.id, d.task, d.result, c.created_at FROM (SELECT debate_id, created_at FROM rating_changes"
		" WHERE workspace_id = $1 AND agent = $2 AND kind = 'match' ORDER BY created_at DESC LIMIT $3) c"
		" JOIN debates d ON d.workspace_id = $1 AND d.id = c.debate_id ORDER BY c.created_at DESC, d.id",
		DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(agent), DB_I(limit)), &r, err))
		return false;
	*out = json_own(req->arena, json_array());
	for (i = 0; i < r.count; i++) {
		o = json_object();
		json_put_str(o, "position_id",
			     arena_printf(req->arena, "%.*s:%.*s", STR_ARG(db_str(&r, i, 0)), STR_ARG(agent)));
		json_put_str(o, "agent", agent);
		json_put_str(o, "debate_id", db_str(&r, i, 0));
		json_put_str(o, "topic", db_str(&r, i, 1));
		positions_fill(o, json_parse(req->arena, db_str(&r, i, 2), &unread), agent);
		json_put_time(o, "timestamp", db_int(&r, i, 3));
		json_array_append_new(*out, o);
	}
	return true;
}

CO_FN static void positions_get(struct http_request *req)
{
	struct str agent = req->params[0];
	struct error err = ERROR_INIT;
	json_t *list;

	if (ranking_name(agent, "name", &err) &&
	    ranking_positions(req, agent, http_query_int(req, "limit", 1, POSITIONS_MAX, 10), &list, &err))
		http_reply_json(req, 200,
				json_pack("{s:s%, s:O, s:I}", "agent", agent.p, agent.n, "positions", list, "count",
					  (json_int_t)json_array_size(list)));
	else
		http_reply_error(req, &err);
}

static const struct route flips_rows[] = {
    RANKING_AGENT("/flips", flips_of_agent, "Changes of position of an agent", "AgentFlips"),
    RANKING_AGENT("/positions", positions_get, "Positions that an agent ended its newest debates with",
		  "AgentPositions"),
    RANKING_READ("/api/flips/recent", flips_recent, "Newest changes of position", "FlipList"),
    RANKING_READ("/api/flips/summary", flips_recent, "Changes of position in figures", "FlipSummary"),
};

const struct route_table ranking_flips_routes = {flips_rows, countof(flips_rows)};
