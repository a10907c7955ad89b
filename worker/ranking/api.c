/* SPDX-License-Identifier: MIT */
/*
 * Leaderboards, recent matches and their statistics, and what all handlers of ratings share. Called by the router. An
 * agent without matches has the starting rating, it is not an error. Writes nothing.
 */
#include "worker/ranking/api.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/http/page.h"
#include "worker/worker.h"

#define API_NAME_MAX 64

/* ---- shared ---- */

struct db *ranking_db(const struct http_request *req)
{
	return ((const struct worker *)req->user)->db;
}

void ranking_put_real(json_t *o, const char *key, double v)
{
	json_object_set_new(o, key, json_real(v));
}

double ranking_share(int64_t part, int64_t whole)
{
	return whole > 0 ? (double)part / (double)whole : 0.0;
}

bool ranking_name(struct str name, const char *field, struct error *err)
{
	size_t i;

	for (i = 0; i < name.n; i++) {
		char c = name.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      strchr("_-.:", c) != NULL) ||
		    c == '\0')
			break;
	}
	return (name.n > 0 && name.n <= API_NAME_MAX && i == name.n) ||
	       error_field(err, ERR_INVALID_PATH, field, "not an agent's name");
}

struct api_rating rating_row(const struct db_rows *r, size_t i)
{
	return (struct api_rating){.agent = db_str(r, i, 0),
				   .elo_milli = db_int(r, i, 1),
				   .wins = db_int(r, i, 2),
				   .losses = db_int(r, i, 3),
				   .draws = db_int(r, i, 4),
				   .updated_at = db_int(r, i, 5),
				   .debates = db_int(r, i, 6),
				   .accepted = db_int(r, i, 7),
				   .critiques = db_int(r, i, 8),
				   .valuable = db_int(r, i, 9),
				   .votes = db_int(r, i, 10),
				   .conforming = db_int(r, i, 11),
				   .flips = db_int(r, i, 12)};
}

int64_t rating_matches(const struct api_rating *r)
{
	return r->wins + r->losses + r->draws;
}

double rating_consistency(const struct api_rating *r)
{
	return 1.0 - ranking_share(r->flips, r->debates);
}

json_t *rating_entry(const struct api_rating *r, int64_t rank)
{
	static const char *const names[] = {"name", "agent_name", "agent", "agent_id"};
	static const char *const elos[] = {"elo", "elo_rating", "rating"};
	static const char *const games[] = {"games", "matches", "total_debates", "matches_played", "games_played"};
	const struct ranking_record record = {r->debates, r->accepted, r->critiques, r->valuable};
	double consistency = rating_consistency(r);
	json_t *o = json_object();
	size_t i;

	json_object_set_new(o, "rank", rank > 0 ? json_integer(rank) : json_null());
	for (i = 0; i < countof(names); i++)
		json_put_str(o, names[i], r->agent);
	for (i = 0; i < countof(elos); i++)
		ranking_put_real(o, elos[i], (double)r->elo_milli / 1e3);
	for (i = 0; i < countof(games); i++)
		json_put_int(o, games[i], rating_matches(r));
	json_put_int(o, "wins", r->wins);
	json_put_int(o, "losses", r->losses);
	json_put_int(o, "draws", r->draws);
	ranking_put_real(o, "win_rate", ranking_share(r->wins, rating_matches(r)));
	json_object_set_new(o, "provisional", json_boolean(rating_matches(r) < RANKING_PROVISIONAL));
	ranking_put_real(o, "consistency", consistency);
	json_put_str(o, "consistency_class",
		     str_of(consistency >= 0.8   ? "high"
			    : consistency >= 0.6 ? "medium"
						 : "low"));
	ranking_put_real(o, "reputation", (double)ranking_reputation(&record) / 1e6);
	json_put_time(o, "last_active", r->updated_at);
	json_put_time(o, "last_debate", r->updated_at);
	return o;
}

CO_FN bool ranking_load(struct http_request *req, struct str agent, struct str domain, struct api_rating *out,
			int64_t *rank, struct error *err)
{
	const struct db_val args[] = {DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), DB_S(agent), DB_S(domain)};
	struct db_val above[4];
	struct db_rows r;
	bool whole = domain.n == 0;

	*rank = 0;
	*out = (struct api_rating){.agent = agent, .elo_milli = RANKING_START};
	if (!db_query(
		ranking_db(req), req->arena,
		whole ? "SELECT " RATING_COLUMNS(
			    "r") " FROM ratings r WHERE r.org_id = $1 AND r.workspace_id = $2 AND r.agent = $3"
		      : "SELECT " RATING_COLUMNS(
			    "x") " FROM ratings r JOIN domain_ratings x ON x.workspace_id ="
				 " r.workspace_id AND x.agent = r.agent WHERE r.org_id = $1 AND r.workspace_id = $2 AND"
				 " r.agent = $3 AND x.domain = $4",
		args, whole ? 3 : 4, &r, err))
		return false;
	if (r.count == 0)
		return true;
	*out = rating_row(&r, 0);
	above[0] = args[0];
	above[1] = args[1];
	above[2] = DB_I(out->elo_milli);
	above[3] = args[3];
	if (!db_query(ranking_db(req), req->arena,
		      whole ? "SELECT COUNT(*) FROM ratings WHERE org_id = $1 AND workspace_id = $2 AND elo_milli > $3"
			      " AND wins + losses + draws > 0"
			    : "SELECT COUNT(*) FROM domain_ratings WHERE org_id = $1 AND workspace_id = $2 AND"
			      " elo_milli > $3 AND domain = $4",
		      above, whole ? 3 : 4, &r, err))
		return false;
	*rank = rating_matches(out) > 0 ? db_int(&r, 0, 0) + 1 : 0;
	return true;
}

CO_FN bool ranking_asked(struct http_request *req, struct api_rating *out, int64_t *rank)
{
	struct error err = ERROR_INIT;

	if (ranking_name(req->params[0], "name", &err) &&
	    ranking_load(req, req->params[0], http_query(req, "domain"), out, rank, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

/* ---- leaderboard ---- */

#define API_PLAYED(x) x ".wins + " x ".losses + " x ".draws"
#define API_PAGE(x) ", " x ".agent LIMIT $4 OFFSET $5"
#define API_ALL(sort)                                                                                                \
	"SELECT " RATING_COLUMNS("r") " FROM ratings r WHERE r.org_id = $1 AND r.workspace_id = $2 AND " API_PLAYED( \
	    "r") " >= $3 ORDER BY " sort API_PAGE("r")
#define API_DOMAIN(sort)                                                                                          \
	"SELECT " RATING_COLUMNS(                                                                                 \
	    "x") " FROM domain_ratings x JOIN ratings r ON r.workspace_id = x.workspace_id AND r.agent = x.agent" \
		 " WHERE x.org_id = $1 AND x.workspace_id = $2 AND " API_PLAYED("x") " >= $3 AND x.domain = $6"   \
										     " ORDER BY " sort API_PAGE("x")
/* In both directions, over all and in a domain. */
#define API_SORT(name, key, rest)                                                                             \
	{                                                                                                     \
		name,                                                                                         \
		{                                                                                             \
			{API_ALL(key("r") " DESC" rest("r")), API_ALL(key("r") " ASC" rest("r"))},            \
			{                                                                                     \
				API_DOMAIN(key("x") " DESC" rest("x")), API_DOMAIN(key("x") " ASC" rest("x")) \
			}                                                                                     \
		}                                                                                             \
	}
#define API_ELO(x) x ".elo_milli"
#define API_WINS(x) x ".wins"
#define API_RATE(x) x ".wins * 1000000 / (" API_PLAYED(x) ")"
#define API_ALONE(x) ""
#define API_THEN_ELO(x) ", " x ".elo_milli DESC"

/* The first is the default. */
static const struct {
	const char *sort_by, *sql[2][2]; /* by domain?, ascending? */
} api_boards[] = {
    API_SORT("elo", API_ELO, API_ALONE),
    API_SORT("wins", API_WINS, API_THEN_ELO),
    API_SORT("matches", API_PLAYED, API_THEN_ELO),
    API_SORT("win_rate", API_RATE, API_THEN_ELO),
};

static const char *api_board_sql(struct str sort_by, bool domain, bool ascending)
{
	size_t i;

	for (i = countof(api_boards) - 1; i > 0 && !str_eqz(sort_by, api_boards[i].sort_by); i--)
		;
	return api_boards[i].sql[domain][ascending];
}

CO_FN bool ranking_board(struct http_request *req, int64_t limit, json_t **out, struct error *err)
{
	struct str domain = http_query(req, "domain");
	int64_t offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	const struct db_val least = DB_I(http_query_int(req, "min_debates", 1, INT32_MAX, 1));
	const struct db_val page[] = {
	    DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), least, DB_I(limit), DB_I(offset), DB_S(domain)};
	const struct db_val all[] = {page[0], page[1], least, page[5]};
	struct db_rows count, rows;
	json_t *list, *o;
	size_t i;

	if (!db_query(ranking_db(req), req->arena,
		      domain.n == 0 ? "SELECT COUNT(*) FROM ratings WHERE org_id = $1 AND workspace_id = $2 AND wins +"
				      " losses + draws >= $3"
				    : "SELECT COUNT(*) FROM domain_ratings WHERE org_id = $1 AND workspace_id = $2 AND"
				      " wins + losses + draws >= $3 AND domain = $4",
		      all, domain.n == 0 ? 3 : 4, &count, err) ||
	    !db_query(
		ranking_db(req), req->arena,
		api_board_sql(http_query(req, "sort_by"), domain.n > 0, str_ieqz(http_query(req, "order"), "asc")),
		page, domain.n == 0 ? 5 : 6, &rows, err))
		return false;
	list = json_array();
	for (i = 0; i < rows.count; i++) {
		struct api_rating r = rating_row(&rows, i);

		json_array_append_new(list, rating_entry(&r, offset + (int64_t)i + 1));
	}
	o = json_object();
	page_put(o, limit, offset, rows.count, db_int(&count, 0, 0));
	json_object_set_new(o, "domain", domain.n > 0 ? json_str(domain) : json_null());
	json_object_set(o, "rankings", list);
	json_object_set_new(o, "agents", list);
	*out = json_own(req->arena, o);
	return true;
}

CO_FN static void api_leaderboard(struct http_request *req)
{
	struct error err = ERROR_INIT;
	json_t *o;

	if (ranking_board(req, http_query_int(req, "limit", 1, 100, 20), &o, &err))
		http_reply_json(req, 200, json_incref(o));
	else
		http_reply_error(req, &err);
}

/* ---- matches ---- */

/* {agent: thousandths} to {agent: number}. */
static json_t *api_points(struct http_request *req, struct str text)
{
	struct error err = ERROR_INIT;
	json_t *o = json_object(), *milli = json_parse(req->arena, text, &err), *v;
	const char *key;

	json_object_foreach(milli, key, v) ranking_put_real(o, key, (double)json_integer_value(v) / 1e3);
	return o;
}

static json_t *api_match(struct http_request *req, const struct db_rows *r, size_t i)
{
	struct error err = ERROR_INIT;
	json_t *o = json_object(), *names = json_parse(req->arena, db_str(r, i, 2), &err);

	json_put_str(o, "debate_id", db_str(r, i, 0));
	json_put_str(o, "winner", db_str(r, i, 1));
	json_object_set_new(o, "participants", names != NULL ? json_incref(names) : json_array());
	json_object_set_new(o, "elo_changes", api_points(req, db_str(r, i, 3)));
	json_object_set_new(o, "scores", api_points(req, db_str(r, i, 4)));
	json_put_str(o, "domain", db_str(r, i, 5));
	json_put_time(o, "created_at", db_int(r, i, 6));
	return o;
}

CO_FN bool ranking_matches(struct http_request *req, json_t **out, struct error *err)
{
	struct str domain = http_query(req, "domain");
	struct db_rows r;
	size_t i;

	if (!db_query(ranking_db(req), req->arena,
		      "SELECT debate_id, winner, participants, changes, scores, domain, created_at FROM matches WHERE"
		      " org_id = $1 AND workspace_id = $2 AND ($3 = '' OR domain = $3) ORDER BY created_at DESC,"
		      " debate_id DESC LIMIT $4 OFFSET $5",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), DB_S(domain),
			      DB_I(http_query_int(req, "limit", 1, 50, 10)),
			      DB_I(http_query_int(req, "offset", 0, INT32_MAX, 0))),
		      &r, err))
		return false;
	*out = json_own(req->arena, json_array());
	for (i = 0; i < r.count; i++)
		json_array_append_new(*out, api_match(req, &r, i));
	return true;
}

CO_FN static void api_matches(struct http_request *req)
{
	struct error err = ERROR_INIT;
	json_t *list;

	if (ranking_matches(req, &list, &err))
		http_reply_json(req, 200,
				json_pack("{s:O, s:I}", "matches", list, "count", (json_int_t)json_array_size(list)));
	else
		http_reply_error(req, &err);
}

/* ---- statistics ---- */

/* Who has gained most in the last thirty days, or null. */
CO_FN static bool api_most_improved(struct http_request *req, json_t *o, struct error *err)
{
	struct db_rows r;
	json_t *best = json_null();

	if (!db_query(ranking_db(req), req->arena,
		      "SELECT agent, SUM(change_milli) FROM rating_changes WHERE workspace_id = $1 AND created_at >= $2"
		      " GROUP BY agent ORDER BY 2 DESC, agent LIMIT 1",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(clock_wall_ms() - RANKING_RECENT_MS)), &r, err))
		return false;
	if (r.count > 0 && db_int(&r, 0, 1) > 0) {
		best = json_object();
		json_put_str(best, "agent", db_str(&r, 0, 0));
		ranking_put_real(best, "elo_change", (double)db_int(&r, 0, 1) / 1e3);
	}
	json_object_set_new(o, "most_improved", best);
	return true;
}

CO_FN bool ranking_figures(struct http_request *req, json_t **out, struct error *err)
{
	const struct db_val workspace = DB_S(req->ctx.workspace_id);
	json_t *o = json_own(req->arena, json_object());
	struct db_rows r, m;
	int64_t n;

	if (!db_query(ranking_db(req), req->arena,
		      "SELECT COUNT(*), COALESCE(SUM(elo_milli), 0), COALESCE(MIN(elo_milli), 0),"
		      " COALESCE(MAX(elo_milli), 0) FROM ratings WHERE workspace_id = $1 AND wins + losses + draws > 0",
		      DB_ARGS(workspace), &r, err) ||
	    !db_query(ranking_db(req), req->arena, "SELECT COUNT(*) FROM matches WHERE workspace_id = $1",
		      DB_ARGS(workspace), &m, err) ||
	    !api_most_improved(req, o, err))
		return false;
	n = db_int(&r, 0, 0);
	json_put_int(o, "total_ranked_agents", n);
	json_put_int(o, "total_debates", db_int(&m, 0, 0));
	ranking_put_real(o, "average_elo", ranking_share(db_int(&r, 0, 1), n * 1000));
	json_object_set_new(
	    o, "elo_range",
	    json_pack("{s:f, s:f}", "min", (double)db_int(&r, 0, 2) / 1e3, "max", (double)db_int(&r, 0, 3) / 1e3));
	*out = o;
	return true;
}

CO_FN static void api_stats(struct http_request *req)
{
	struct error err = ERROR_INIT;
	json_t *o;

	if (ranking_figures(req, &o, &err))
		http_reply_json(req, 200, json_incref(o));
	else
		http_reply_error(req, &err);
}

static const struct route ranking_rows[] = {
    RANKING_READ("/api/leaderboard", api_leaderboard, "Agents by rating, over all or in a domain", "Leaderboard"),
    RANKING_READ("/api/leaderboard/rankings", api_leaderboard, "Agents by rating, over all or in a domain",
		 "Leaderboard"),
    RANKING_READ("/api/rankings", api_leaderboard, "Agents by rating, over all or in a domain", "Leaderboard"),
    RANKING_READ("/api/ranking/stats", api_stats, "Ratings of the workspace in figures", "RankingStats"),
    RANKING_READ("/api/matches/recent", api_matches, "Newest rated debates", "MatchList"),
};

const struct route_table ranking_routes = {ranking_rows, countof(ranking_rows)};
