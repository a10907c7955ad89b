/* SPDX-License-Identifier: MIT */
/*
 * Debates in figures (rest-core 4.4 and 4.9): how many there were and how they ended, which agents took part, what one
 * would cost. All of it is counted from the store; where nothing has happened it is zero.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/debate/control.h"
#include "worker/debate/estimate.h"
#include "worker/debate/request.h"
#include "worker/http/body.h"
#include "worker/worker.h"

#define STATS_DAY_MS INT64_C(86400000)
#define STATS_AGENTS_MAX 8 /* rest-core 4.9 */
#define STATS_ROUNDS_MAX 12

static const struct {
	const char *name;
	int64_t days; /* 0: since ever */
} stats_periods[] = {{"all", 0}, {"day", 1}, {"week", 7}, {"month", 30}};

/* The first moment of the period that the query names. False: answered. */
static bool stats_period(struct http_request *req, const char **name, int64_t *since)
{
	struct str given = http_query(req, "period");
	size_t i;

	for (i = 0; i < countof(stats_periods); i++)
		if (str_eqz(given.n > 0 ? given : STR("all"), stats_periods[i].name)) {
			*name = stats_periods[i].name;
			*since = stats_periods[i].days > 0 ? clock_wall_ms() - stats_periods[i].days * STATS_DAY_MS : 0;
			return true;
		}
	return body_reject(req, "period", "must be one of all, day, week, month");
}

static void stats_ratio(json_t *o, const char *key, int64_t part, int64_t of)
{
	json_object_set_new(o, key, json_real(of > 0 ? (double)part / (double)of : 0.0));
}

/* ---- debates ---- */

/* What one row counts; the order of the columns of stats_debates. */
enum stats_column {
	STATS_ALL,
	STATS_COMPLETED,
	STATS_FAILED,
	STATS_CANCELLED,
	STATS_REACHED,
	STATS_ROUNDS,
	STATS_RUNNING_MS,
	STATS_SEATS,
	STATS_SEATED,
	STATS_MESSAGES,
	STATS_VOTES,
	STATS_COST,
	STATS_OLDEST
};

static void stats_put(json_t *o, const struct db_rows *r)
{
	static const struct {
		const char *key;
		enum stats_column column;
	} sums[] = {{"total_debates", STATS_ALL},         {"completed_debates", STATS_COMPLETED},
		    {"failed_debates", STATS_FAILED},     {"cancelled_debates", STATS_CANCELLED},
		    {"consensus_reached", STATS_REACHED}, {"total_messages", STATS_MESSAGES},
		    {"total_votes", STATS_VOTES}};
	int64_t done = db_int(r, 0, STATS_COMPLETED);
	size_t i;

	for (i = 0; i < countof(sums); i++)
		json_put_int(o, sums[i].key, db_int(r, 0, sums[i].column));
	stats_ratio(o, "consensus_rate", db_int(r, 0, STATS_REACHED), done);
	stats_ratio(o, "avg_rounds", db_int(r, 0, STATS_ROUNDS), done);
	stats_ratio(o, "avg_duration_seconds", db_int(r, 0, STATS_RUNNING_MS), done * 1000);
	stats_ratio(o, "avg_agents_per_debate", db_int(r, 0, STATS_SEATS), db_int(r, 0, STATS_SEATED));
	json_object_set_new(o, "total_cost_usd", json_real((double)db_int(r, 0, STATS_COST) / 1e6));
}

/* {"majority": {debates, consensus_reached, consensus_rate}} */
static json_t *stats_protocols(const struct db_rows *r)
{
	json_t *o = json_object();
	size_t i;

	for (i = 0; i < r->count; i++) {
		struct str method = db_str(r, i, 0);
		json_t *one = json_object();

		json_put_int(one, "debates", db_int(r, i, 1));
		json_put_int(one, "consensus_reached", db_int(r, i, 3));
		stats_ratio(one, "consensus_rate", db_int(r, i, 3), db_int(r, i, 2));
		json_object_setn_new(o, method.p, method.n, one);
	}
	return o;
}

CO_FN static void stats_debates(struct http_request *req)
{
	struct db *db = request_worker(req)->db;
	struct error err = ERROR_INIT;
	struct db_rows r, methods;
	const char *period = "";
	int64_t since = 0;
	json_t *o;

	if (!stats_period(req, &period, &since))
		return;
	if (!db_query(db, req->arena,
		      "SELECT COUNT(*), COUNT(CASE WHEN status = 'completed' THEN 1 END),"
		      " COUNT(CASE WHEN status IN ('failed', 'timeout') THEN 1 END),"
		      " COUNT(CASE WHEN status = 'cancelled' THEN 1 END),"
		      " COUNT(CASE WHEN status = 'completed' AND consensus_reached = 1 THEN 1 END),"
		      " COALESCE(SUM(CASE WHEN status = 'completed' THEN rounds_used END), 0),"
		      " COALESCE(SUM(CASE WHEN status = 'completed' THEN running_ms END), 0),"
		      " COALESCE(SUM(agent_count), 0), COUNT(CASE WHEN agent_count > 0 THEN 1 END),"
		      " COALESCE(SUM(message_count), 0), COALESCE(SUM(vote_count), 0), COALESCE(SUM(cost_micro), 0),"
		      " COALESCE(MIN(created_at), 0)"
		      " FROM debates WHERE org_id = $1 AND workspace_id = $2 AND created_at >= $3",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), DB_I(since)), &r, &err) ||
	    !db_query(db, req->arena,
		      "SELECT method, COUNT(*), COUNT(CASE WHEN status = 'completed' THEN 1 END),"
		      " COUNT(CASE WHEN status = 'completed' AND consensus_reached = 1 THEN 1 END) FROM debates"
		      " WHERE org_id = $1 AND workspace_id = $2 AND created_at >= $3 AND method <> ''"
		      " GROUP BY method ORDER BY method",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), DB_I(since)), &methods, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = json_object();
	json_put_str(o, "period", str_of(period));
	json_put_time(o, "period_start", since > 0 ? since : db_int(&r, 0, STATS_OLDEST));
	json_put_time(o, "period_end", clock_wall_ms());
	stats_put(o, &r);
	json_object_set_new(o, "by_protocol", stats_protocols(&methods));
	http_reply_json(req, 200, o);
}

/* ---- agents ---- */

static json_t *stats_agent(const struct db_rows *r, size_t i)
{
	int64_t wins = db_int(r, i, 6), losses = db_int(r, i, 7), draws = db_int(r, i, 8);
	json_t *o = json_object();

	json_put_str(o, "agent", db_str(r, i, 0));
	json_put_str(o, "name", db_str(r, i, 0));
	json_put_int(o, "debates", db_int(r, i, 1));
	json_put_int(o, "calls", db_int(r, i, 2));
	json_put_int(o, "tokens_in", db_int(r, i, 3));
	json_put_int(o, "tokens_out", db_int(r, i, 4));
	json_object_set_new(o, "cost_usd", json_real((double)db_int(r, i, 5) / 1e6));
	json_put_int(o, "wins", wins);
	json_put_int(o, "losses", losses);
	json_put_int(o, "draws", draws);
	stats_ratio(o, "win_rate", wins, wins + losses + draws);
	return o;
}

CO_FN static void stats_agents(struct http_request *req)
{
	int64_t limit = http_query_int(req, "limit", 1, 100, 20);
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *list;
	size_t i;

	if (!db_query(
		request_worker(req)->db, req->arena,
		"SELECT u.agent, u.debates, u.calls, u.tokens_in, u.tokens_out, u.cost, COALESCE(t.wins, 0),"
		" COALESCE(t.losses, 0), COALESCE(t.draws, 0) FROM (SELECT agent, COUNT(DISTINCT debate_id) AS debates,"
		" COUNT(*) AS calls, SUM(tokens_in) AS tokens_in, SUM(tokens_out) AS tokens_out, SUM(cost_micro) AS "
		"cost"
		" FROM usage_ledger WHERE workspace_id = $1 AND org_id = $2 AND agent <> '' GROUP BY agent) u"
		" LEFT JOIN ratings t ON t.workspace_id = $1 AND t.agent = u.agent ORDER BY u.debates DESC, u.agent"
		" LIMIT $3",
		DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(req->ctx.org_id), DB_I(limit)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++)
		json_array_append_new(list, stats_agent(&r, i));
	http_reply_json(req, 200, json_pack("{s:o, s:I}", "agents", list, "count", (json_int_t)r.count));
}

/* ---- what one would cost ---- */

/* An agent of that name or spec; a name that no agent here has is taken for a model's. */
static void stats_spec(struct http_request *req, json_t *name, struct agent_spec *out)
{
	json_t *twice = json_own(req->arena, json_pack("[O, O]", name, name)); /* no debate has less */
	struct error err = ERROR_INIT;
	struct agent_spec *found;
	size_t n;
	bool demo;

	if (agents_resolve(request_worker(req)->conf, req->arena, twice, &found, &n, &demo, &err)) {
		*out = found[0];
		return;
	}
	*out = (struct agent_spec){.model = {json_string_value(name), json_string_length(name)}, .provider = STR("")};
	agents_price(out->provider, out->model, &out->price_in, &out->price_out);
}

/* What the query names, or the default team. False: answered. */
static bool stats_specs(struct http_request *req, struct agent_spec **specs, size_t *n)
{
	struct str names = http_query(req, "model_types"), name;
	struct error err = ERROR_INIT;
	bool demo;

	*specs = arena_zalloc(req->arena, STATS_AGENTS_MAX * sizeof(**specs));
	for (*n = 0; *n < STATS_AGENTS_MAX && str_split(&names, ',', &name);)
		if (str_trim(name).n > 0)
			stats_spec(req, json_own(req->arena, json_str(str_trim(name))), &(*specs)[(*n)++]);
	if (*n > 0 || agents_resolve(request_worker(req)->conf, req->arena, NULL, specs, n, &demo, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

static void stats_estimate(struct http_request *req)
{
	const struct conf *c = request_worker(req)->conf;
	int64_t agents = http_query_int(req, "num_agents", 1, STATS_AGENTS_MAX, 3),
		rounds = http_query_int(req, "num_rounds", 1, STATS_ROUNDS_MAX, c->debates.default_rounds);
	struct agent_spec *specs;
	size_t n;

	if (stats_specs(req, &specs, &n))
		http_reply_json(req, 200, estimate_debate(specs, n, agents, rounds));
}

static const struct route stats_rows[] = {
    ROUTE(GET, "/api/debates/stats", stats_debates, "debates:read", READ,
	  "Debates in figures; ?period=all, day, week, month", .response = "DebateStats"),
    ROUTE(GET, "/api/debates/statistics", stats_debates, "debates:read", READ,
	  "Debates in figures; ?period=all, day, week, month", .response = "DebateStats"),
    ROUTE(GET, "/api/debates/stats/agents", stats_agents, "debates:read", READ,
	  "Agents by the debates that they took part in", .response = "AgentStats"),
    ROUTE(GET, "/api/debates/estimate-cost", stats_estimate, "debates:read", READ,
	  "What a debate would cost; ?num_agents=, ?num_rounds=, ?model_types= by commas", .response = "CostEstimate",
	  .flags = ROUTE_INLINE),
};
const struct route_table figure_routes = {stats_rows, countof(stats_rows)};
