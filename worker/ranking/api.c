/* SPDX-License-Identifier: MIT */
/*
 * The routes of ratings: leaderboard, recent matches, an agent's profile and history. An agent without matches has the
 * starting rating, it is not an error. Writes nothing.
 */
#include "worker/ranking/ranking_math.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/http/route.h"
#include "worker/worker.h"

#define API_NAME_MAX 64

static struct db *api_db(const struct http_request *req)
{
	return ((const struct worker *)req->user)->db;
}

static void api_put_real(json_t *o, const char *key, double v)
{
	json_object_set_new(o, key, json_real(v));
}

static void api_put_time(json_t *o, const char *key, int64_t ms)
{
	char iso[CLOCK_ISO_MAX];

	json_object_set_new(o, key, ms > 0 ? json_string(clock_iso(iso, ms)) : json_null());
}

/* ---- one rating ---- */

struct api_rating {
	struct str agent;
	int64_t elo_milli, wins, losses, draws, updated_at;
};

#define API_COLUMNS "agent, elo_milli, wins, losses, draws, updated_at"

static struct api_rating api_rating(const struct db_rows *r, size_t i)
{
	return (struct api_rating){db_str(r, i, 0), db_int(r, i, 1), db_int(r, i, 2),
				   db_int(r, i, 3), db_int(r, i, 4), db_int(r, i, 5)};
}

/* One value under all the names that clients read it by. */
static json_t *api_entry(const struct api_rating *r, int64_t rank)
{
	static const char *const names[] = {"name", "agent_name", "agent", "agent_id"};
	static const char *const elos[] = {"elo", "elo_rating", "rating"};
	static const char *const games[] = {"games", "matches", "total_debates", "matches_played", "games_played"};
	int64_t played = r->wins + r->losses + r->draws;
	json_t *o = json_object();
	size_t i;

	json_put_int(o, "rank", rank);
	for (i = 0; i < countof(names); i++)
		json_put_str(o, names[i], r->agent);
	for (i = 0; i < countof(elos); i++)
		api_put_real(o, elos[i], (double)r->elo_milli / 1e3);
	for (i = 0; i < countof(games); i++)
		json_put_int(o, games[i], played);
	json_put_int(o, "wins", r->wins);
	json_put_int(o, "losses", r->losses);
	json_put_int(o, "draws", r->draws);
	api_put_real(o, "win_rate", played > 0 ? (double)r->wins / (double)played : 0.0);
	json_object_set_new(o, "provisional", json_boolean(played < RANKING_PROVISIONAL));
	api_put_time(o, "last_active", r->updated_at);
	api_put_time(o, "last_debate", r->updated_at);
	return o;
}

/* ---- leaderboard ---- */

#define API_BOARD             \
	"SELECT " API_COLUMNS \
	" FROM ratings WHERE org_id = $1 AND workspace_id = $2 AND wins + losses + draws >= $3 ORDER BY "
#define API_PAGE ", agent LIMIT $4 OFFSET $5"

/* The first is the default. */
static const struct {
	const char *sort_by, *sql;
} api_boards[] = {
    {"elo", API_BOARD "elo_milli DESC" API_PAGE},
    {"wins", API_BOARD "wins DESC, elo_milli DESC" API_PAGE},
    {"matches", API_BOARD "wins + losses + draws DESC, elo_milli DESC" API_PAGE},
    {"win_rate", API_BOARD "wins * 1000000 / (wins + losses + draws) DESC, elo_milli DESC" API_PAGE},
};

static const char *api_board_sql(struct str sort_by)
{
	size_t i;

	for (i = 0; i < countof(api_boards); i++)
		if (str_eqz(sort_by, api_boards[i].sort_by))
			return api_boards[i].sql;
	return api_boards[0].sql;
}

CO_FN static void api_leaderboard(struct http_request *req)
{
	int64_t limit = http_query_int(req, "limit", 1, 100, 20),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	const struct db_val args[] = {DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id),
				      DB_I(http_query_int(req, "min_debates", 1, INT32_MAX, 1)), DB_I(limit),
				      DB_I(offset)};
	struct error err = ERROR_INIT;
	struct db_rows count, rows;
	json_t *list, *page;
	int64_t total;
	size_t i;

	if (!db_query(
		api_db(req), req->arena,
		"SELECT COUNT(*) FROM ratings WHERE org_id = $1 AND workspace_id = $2 AND wins + losses + draws >= $3",
		args, 3, &count, &err) ||
	    !db_query(api_db(req), req->arena, api_board_sql(http_query(req, "sort_by")), args, countof(args), &rows,
		      &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < rows.count; i++) {
		struct api_rating r = api_rating(&rows, i);

		json_array_append_new(list, api_entry(&r, offset + (int64_t)i + 1));
	}
	total = db_int(&count, 0, 0);
	page = json_pack("{s:I, s:I, s:I, s:I, s:b}", "total", (json_int_t)total, "count", (json_int_t)rows.count,
			 "limit", (json_int_t)limit, "offset", (json_int_t)offset, "has_more",
			 (int)(offset + (int64_t)rows.count < total));
	json_object_set(page, "rankings", list);
	json_object_set_new(page, "agents", list);
	http_reply_json(req, 200, page);
}

/* ---- matches ---- */

#define API_MATCH "SELECT debate_id, winner, participants, changes, domain, created_at FROM matches WHERE "

/* {agent: milli-points} to {agent: points}. */
static json_t *api_points(json_t *milli)
{
	json_t *o = json_object(), *v;
	const char *key;

	json_object_foreach(milli, key, v) api_put_real(o, key, (double)json_integer_value(v) / 1e3);
	return o;
}

static json_t *api_match(struct http_request *req, const struct db_rows *r, size_t i)
{
	struct error err = ERROR_INIT;
	json_t *o = json_object(), *names = json_parse(req->arena, db_str(r, i, 2), &err);

	json_put_str(o, "debate_id", db_str(r, i, 0));
	json_put_str(o, "winner", db_str(r, i, 1));
	json_object_set_new(o, "participants", names != NULL ? json_incref(names) : json_array());
	json_object_set_new(o, "elo_changes", api_points(json_parse(req->arena, db_str(r, i, 3), &err)));
	json_put_str(o, "domain", db_str(r, i, 4));
	api_put_time(o, "created_at", db_int(r, i, 5));
	return o;
}

CO_FN static void api_matches(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *list;
	size_t i;

	if (!db_query(api_db(req), req->arena,
		      API_MATCH "org_id = $1 AND workspace_id = $2 ORDER BY created_at DESC, debate_id DESC LIMIT $3",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id),
			      DB_I(http_query_int(req, "limit", 1, 50, 10))),
		      &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++)
		json_array_append_new(list, api_match(req, &r, i));
	http_reply_json(req, 200, json_pack("{s:o, s:I}", "matches", list, "count", (json_int_t)r.count));
}

/* ---- one agent ---- */

static bool api_name(const struct http_request *req, struct error *err)
{
	struct str name = req->params[0];
	size_t i;

	for (i = 0; i < name.n; i++) {
		char c = name.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      strchr("_-.:", c) != NULL) ||
		    c == '\0')
			break;
	}
	return (name.n > 0 && name.n <= API_NAME_MAX && i == name.n) ||
	       error_field(err, ERR_INVALID_PATH, "name", "not an agent's name");
}

/* *rank is 0 for an agent without matches. */
CO_FN static bool api_load_rating(struct http_request *req, struct api_rating *out, int64_t *rank, struct error *err)
{
	const struct db_val org = DB_S(req->ctx.org_id), workspace = DB_S(req->ctx.workspace_id);
	struct db_rows r;

	if (!api_name(req, err) ||
	    !db_query(api_db(req), req->arena,
		      "SELECT " API_COLUMNS " FROM ratings WHERE org_id = $1 AND workspace_id = $2 AND agent = $3",
		      DB_ARGS(org, workspace, DB_S(req->params[0])), &r, err))
		return false;
	*rank = 0;
	*out = (struct api_rating){.agent = req->params[0], .elo_milli = RANKING_START};
	if (r.count == 0)
		return true;
	*out = api_rating(&r, 0);
	if (!db_query(api_db(req), req->arena,
		      "SELECT COUNT(*) FROM ratings WHERE org_id = $1 AND workspace_id = $2 AND elo_milli > $3",
		      DB_ARGS(org, workspace, DB_I(out->elo_milli)), &r, err))
		return false;
	*rank = db_int(&r, 0, 0) + 1;
	return true;
}

CO_FN static void api_profile(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct api_rating rating;
	int64_t rank;
	json_t *o;

	if (!api_load_rating(req, &rating, &rank, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = api_entry(&rating, rank);
	if (rank == 0)
		json_object_set_new(o, "rank", json_null());
	json_object_set_new(o, "calibration", json_null());
	http_reply_json(req, 200, o);
}

/* The rating before and after each match follows from today's, backwards: all changes are increments. */
static json_t *api_history_of(struct http_request *req, const struct db_rows *r, const struct api_rating *rating)
{
	json_t *history = json_array(), *matches = json_array(), *m;
	int64_t after = rating->elo_milli, change;
	struct error err = ERROR_INIT;
	const char *name = arena_str(req->arena, rating->agent).p;
	size_t i;

	for (i = 0; i < r->count; i++) {
		bool won = str_eq(db_str(r, i, 1), rating->agent);

		m = api_match(req, r, i);
		change = json_get_int(json_parse(req->arena, db_str(r, i, 3), &err), name, 0);
		json_put_str(m, "result", won ? STR("win") : STR("loss"));
		json_object_set(m, "timestamp", json_object_get(m, "created_at"));
		api_put_real(m, "elo", (double)after / 1e3);
		api_put_real(m, "elo_after", (double)after / 1e3);
		api_put_real(m, "elo_before", (double)(after - change) / 1e3);
		api_put_real(m, "elo_change", (double)change / 1e3);
		after -= change;
		json_array_append(history, m);
		json_array_append_new(matches, m);
	}
	return json_pack("{s:o, s:o}", "history", history, "matches", matches);
}

/* The member that `changes` has for this agent, as a LIKE pattern. */
static struct str api_pattern(struct arena *a, struct str name)
{
	struct buf b = BUF_INIT;
	struct str pattern;
	size_t i;

	buf_addz(&b, "%\"");
	for (i = 0; i < name.n; i++) {
		if (name.p[i] == '_')
			buf_addc(&b, '\\');
		buf_addc(&b, name.p[i]);
	}
	buf_addz(&b, "\":%");
	pattern = arena_str(a, buf_str(&b));
	buf_free(&b);
	return pattern;
}

CO_FN static void api_history(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct api_rating rating;
	struct db_rows r;
	int64_t rank;
	json_t *o;

	if (!api_load_rating(req, &rating, &rank, &err) ||
	    !db_query(api_db(req), req->arena,
		      API_MATCH "org_id = $1 AND workspace_id = $2 AND changes LIKE $3 ESCAPE '\\'"
				" ORDER BY created_at DESC, debate_id DESC LIMIT $4",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id),
			      DB_S(api_pattern(req->arena, rating.agent)),
			      DB_I(http_query_int(req, "limit", 1, 100, 30))),
		      &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = api_history_of(req, &r, &rating);
	json_put_str(o, "agent", rating.agent);
	json_put_int(o, "count", (int64_t)r.count);
	api_put_real(o, "elo", (double)rating.elo_milli / 1e3);
	http_reply_json(req, 200, o);
}

#define READ(p, fn, text, schema)                                                                                 \
	{                                                                                                         \
		.method = HTTP_GET, .path = (p), .handler = (fn), .permission = "agents:read", .rate = RATE_READ, \
		.summary = (text), .response = (schema), .sources = "ratings"                                     \
	}

static const struct route ranking_rows[] = {
    READ("/api/leaderboard", api_leaderboard, "Agents by rating", "Leaderboard"),
    READ("/api/leaderboard/rankings", api_leaderboard, "Agents by rating", "Leaderboard"),
    READ("/api/rankings", api_leaderboard, "Agents by rating", "Leaderboard"),
    READ("/api/matches/recent", api_matches, "Newest rated debates", "MatchList"),
    READ("/api/agent/{name}/profile", api_profile, "Rating and record of an agent", "AgentProfile"),
    READ("/api/agents/{name}/profile", api_profile, "Rating and record of an agent", "AgentProfile"),
    READ("/api/agent/{name}/history", api_history, "Rating of an agent after each debate", "AgentHistory"),
    READ("/api/agents/{name}/history", api_history, "Rating of an agent after each debate", "AgentHistory"),
};

const struct route_table ranking_routes = {ranking_rows, countof(ranking_rows)};
