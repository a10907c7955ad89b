/* SPDX-License-Identifier: MIT */
/*
 * /api/agent/{name}/…: one agent's record: profile, history, performance, domains, reputation, consistency. Called by
 * the router. All of it is read from what matches have left; who has none gets the starting rating and empty lists.
 */
#include "worker/ranking/api.h"
#include "worker/ranking/calibration.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/worker.h"

#define AGENT_RECENT 20 /* matches that "recent" figures are of */

/* ---- history ---- */

#define AGENT_CHANGES                                                                                                 \
	"SELECT c.debate_id, c.kind, c.domain, c.outcome, c.change_milli, c.created_at, c.score_milli, m.winner,"     \
	" m.participants FROM rating_changes c LEFT JOIN matches m ON m.debate_id = c.debate_id AND m.workspace_id =" \
	" c.workspace_id WHERE c.workspace_id = $1 AND c.agent = $2 AND c.outcome <> 'none' AND ($3 = '' OR c.domain" \
	" = $3) ORDER BY c.created_at DESC, c.debate_id DESC LIMIT $4"

CO_FN static bool agent_changes(struct http_request *req, struct str agent, int64_t limit, struct db_rows *r,
				struct error *err)
{
	return db_query(ranking_db(req), req->arena, AGENT_CHANGES,
			DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(agent), DB_S(http_query(req, "domain")), DB_I(limit)),
			r, err);
}

/* The rating before and after each change follows from today's, backwards: all changes are increments. */
static json_t *agent_history(struct http_request *req, const struct db_rows *r, int64_t elo_milli)
{
	json_t *list = json_array(), *o, *names;
	struct error err = ERROR_INIT;
	size_t i;

	for (i = 0; i < r->count; i++) {
		int64_t change = db_int(r, i, 4);

		o = json_object();
		json_put_str(o, "debate_id", db_str(r, i, 0));
		json_put_str(o, "kind", db_str(r, i, 1));
		json_put_str(o, "domain", db_str(r, i, 2));
		json_put_str(o, "result", db_str(r, i, 3));
		json_put_str(o, "winner", db_str(r, i, 7));
		names = json_parse(req->arena, db_str(r, i, 8), &err);
		json_object_set_new(o, "participants", names != NULL ? json_incref(names) : json_array());
		ranking_put_real(o, "score", (double)db_int(r, i, 6) / 1e3);
		ranking_put_real(o, "elo", (double)elo_milli / 1e3);
		ranking_put_real(o, "elo_after", (double)elo_milli / 1e3);
		ranking_put_real(o, "elo_before", (double)(elo_milli - change) / 1e3);
		ranking_put_real(o, "elo_change", (double)change / 1e3);
		json_put_time(o, "timestamp", db_int(r, i, 5));
		json_put_time(o, "created_at", db_int(r, i, 5));
		elo_milli -= change;
		json_array_append_new(list, o);
	}
	return list;
}

CO_FN static void agent_get_history(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct api_rating rating;
	struct db_rows r;
	json_t *o, *list;
	int64_t rank;

	if (!ranking_asked(req, &rating, &rank))
		return;
	if (!agent_changes(req, rating.agent, http_query_int(req, "limit", 1, 100, 30), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = agent_history(req, &r, rating.elo_milli);
	o = json_pack("{s:s%, s:I, s:f}", "agent", rating.agent.p, rating.agent.n, "count", (json_int_t)r.count, "elo",
		      (double)rating.elo_milli / 1e3);
	json_object_set(o, "matches", list);
	json_object_set_new(o, "history", list);
	http_reply_json(req, 200, o);
}

/* ---- figures of late ---- */

struct agent_recent {
	int64_t matches, wins, streak, change_30d;
	const char *streak_type; /* win, loss, none */
	json_t *results;         /* of the newest matches first, in the request's arena */
};

CO_FN static bool agent_recent(struct http_request *req, struct str agent, struct agent_recent *out, struct error *err)
{
	struct db_rows r, sum;
	bool running = true;
	size_t i;

	*out = (struct agent_recent){.streak_type = "none", .results = json_own(req->arena, json_array())};
	if (!agent_changes(req, agent, AGENT_RECENT, &r, err) ||
	    !db_query(ranking_db(req), req->arena,
		      "SELECT COALESCE(SUM(change_milli), 0) FROM rating_changes WHERE workspace_id = $1 AND agent = $2"
		      " AND created_at >= $3",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(agent), DB_I(clock_wall_ms() - RANKING_RECENT_MS)),
		      &sum, err))
		return false;
	out->change_30d = db_int(&sum, 0, 0);
	for (i = 0; i < r.count; i++) {
		struct str outcome = db_str(&r, i, 3);

		if (!str_eqz(db_str(&r, i, 1), "match"))
			continue;
		out->matches++;
		out->wins += str_eqz(outcome, "win");
		json_array_append_new(out->results, json_str(outcome));
		if (out->matches == 1 && !str_eqz(outcome, "draw"))
			out->streak_type = str_eqz(outcome, "win") ? "win" : "loss";
		running = running && str_eqz(outcome, out->streak_type);
		out->streak += running;
	}
	return true;
}

CO_FN bool ranking_calibration(struct http_request *req, struct str agent, json_t **out, struct error *err)
{
	struct db_rows r;

	if (!db_query(
		ranking_db(req), req->arena,
		"SELECT samples, correct, brier_ppm, ece_ppm FROM calibrations WHERE workspace_id = $1 AND agent = $2"
		" AND domain = ''",
		DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(agent)), &r, err))
		return false;
	*out = json_own(req->arena, json_null());
	if (r.count > 0 && db_int(&r, 0, 0) > 0)
		*out = json_own(req->arena,
				json_pack("{s:I, s:f, s:f, s:f, s:f}", "prediction_count", (json_int_t)db_int(&r, 0, 0),
					  "accuracy", ranking_share(db_int(&r, 0, 1), db_int(&r, 0, 0)), "brier_score",
					  (double)db_int(&r, 0, 2) / 1e6, "ece", (double)db_int(&r, 0, 3) / 1e6,
					  "calibration_score",
					  (double)calibration_score(db_int(&r, 0, 0), db_int(&r, 0, 2)) / 1e6));
	return true;
}

/* The entry of the leaderboard and figures of late. NULL: answered. */
CO_FN static json_t *agent_record(struct http_request *req, struct api_rating *rating, struct agent_recent *recent)
{
	struct error err = ERROR_INIT;
	json_t *o, *calibration;
	int64_t rank;

	if (!ranking_asked(req, rating, &rank))
		return NULL;
	if (!agent_recent(req, rating->agent, recent, &err) ||
	    !ranking_calibration(req, rating->agent, &calibration, &err)) {
		http_reply_error(req, &err);
		return NULL;
	}
	o = rating_entry(rating, rank);
	json_put_int(o, "streak", recent->streak);
	json_put_str(o, "streak_type", str_of(recent->streak_type));
	json_object_set(o, "calibration", calibration);
	ranking_put_real(o, "elo_change_30d", (double)recent->change_30d / 1e3);
	ranking_put_real(o, "flip_rate", ranking_share(rating->flips, rating->debates));
	ranking_put_real(o, "consistency_score", rating_consistency(rating));
	return o;
}

CO_FN static void agent_get_profile(struct http_request *req)
{
	struct agent_recent recent;
	struct api_rating rating;
	json_t *o = agent_record(req, &rating, &recent);

	if (o != NULL)
		http_reply_json(req, 200, o);
}

CO_FN static void agent_get_performance(struct http_request *req)
{
	struct agent_recent recent;
	struct api_rating rating;
	json_t *o = agent_record(req, &rating, &recent);

	if (o == NULL)
		return;
	json_put_int(o, "total_games", rating_matches(&rating));
	json_put_int(o, "total_debates", rating.debates);
	ranking_put_real(o, "loss_rate", ranking_share(rating.losses, rating_matches(&rating)));
	ranking_put_real(o, "draw_rate", ranking_share(rating.draws, rating_matches(&rating)));
	ranking_put_real(o, "recent_win_rate", ranking_share(recent.wins, recent.matches));
	json_object_set(o, "recent_results", recent.results);
	json_put_int(o, "critiques_total", rating.critiques);
	json_put_int(o, "critiques_accepted", rating.valuable);
	ranking_put_real(o, "critique_acceptance_rate", ranking_share(rating.valuable, rating.critiques));
	http_reply_json(req, 200, o);
}

CO_FN static void agent_get_elo(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct api_rating rating;
	struct db_rows r;
	int64_t rank;

	if (!ranking_asked(req, &rating, &rank))
		return;
	if (!agent_changes(req, rating.agent, http_query_int(req, "limit", 1, 100, 30), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:s%, s:f, s:b, s:o}", "agent", rating.agent.p, rating.agent.n, "elo",
				  (double)rating.elo_milli / 1e3, "provisional",
				  (int)(rating_matches(&rating) < RANKING_PROVISIONAL), "history",
				  agent_history(req, &r, rating.elo_milli)));
}

/* ---- reputation, consistency, domains ---- */

/* conformity: how often its vote was for who won. It tells of agreement, not of being right. */
CO_FN static void agent_get_reputation(struct http_request *req)
{
	struct ranking_record record;
	struct api_rating r;
	int64_t rank;

	if (!ranking_asked(req, &r, &rank))
		return;
	record = (struct ranking_record){r.debates, r.accepted, r.critiques, r.valuable};
	http_reply_json(req, 200,
			json_pack("{s:s%, s:f, s:f, s:I, s:I, s:f, s:I, s:I, s:f, s:{s:I, s:I, s:f}}", "agent",
				  r.agent.p, r.agent.n, "score", (double)ranking_reputation(&record) / 1e6,
				  "reputation", (double)ranking_reputation(&record) / 1e6, "proposals_made",
				  (json_int_t)r.debates, "proposals_accepted", (json_int_t)r.accepted,
				  "proposal_acceptance_rate", ranking_share(r.accepted, r.debates), "critiques_given",
				  (json_int_t)r.critiques, "critiques_valuable", (json_int_t)r.valuable,
				  "critique_value_rate", ranking_share(r.valuable, r.critiques), "conformity", "votes",
				  (json_int_t)r.votes, "with_winner", (json_int_t)r.conforming, "rate",
				  ranking_share(r.conforming, r.votes)));
}

CO_FN static void agent_get_consistency(struct http_request *req)
{
	struct api_rating r;
	double consistency;
	int64_t rank;

	if (!ranking_asked(req, &r, &rank))
		return;
	consistency = rating_consistency(&r);
	http_reply_json(req, 200,
			json_pack("{s:s%, s:f, s:f, s:f, s:f, s:I, s:I, s:I}", "agent", r.agent.p, r.agent.n,
				  "consistency_score", consistency, "overall_consistency", consistency,
				  "position_stability", consistency, "flip_rate", ranking_share(r.flips, r.debates),
				  "sample_size", (json_int_t)r.debates, "total_positions", (json_int_t)r.debates,
				  "total_flips", (json_int_t)r.flips));
}

CO_FN bool ranking_domains(struct http_request *req, const struct api_rating *rating, json_t **out, struct error *err)
{
	struct db_rows r;
	size_t i;

	if (!db_query(
		ranking_db(req), req->arena,
		"SELECT domain, elo_milli, wins, wins + losses + draws FROM domain_ratings WHERE workspace_id = $1"
		" AND agent = $2 ORDER BY elo_milli DESC, domain",
		DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(rating->agent)), &r, err))
		return false;
	*out = json_own(req->arena, json_array());
	for (i = 0; i < r.count; i++)
		json_array_append_new(*out,
				      json_pack("{s:s%, s:f, s:f, s:I, s:I, s:f}", "domain", db_str(&r, i, 0).p,
						db_str(&r, i, 0).n, "elo", (double)db_int(&r, i, 1) / 1e3, "relative",
						(double)(db_int(&r, i, 1) - rating->elo_milli) / 1e3, "matches",
						(json_int_t)db_int(&r, i, 3), "wins", (json_int_t)db_int(&r, i, 2),
						"win_rate", ranking_share(db_int(&r, i, 2), db_int(&r, i, 3))));
	return true;
}

CO_FN static void agent_get_domains(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct api_rating rating;
	int64_t rank;
	json_t *list;

	if (!ranking_name(req->params[0], "name", &err) ||
	    !ranking_load(req, req->params[0], STR(""), &rating, &rank, &err) ||
	    !ranking_domains(req, &rating, &list, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:s%, s:f, s:O, s:I}", "agent", rating.agent.p, rating.agent.n, "overall_elo",
				  (double)rating.elo_milli / 1e3, "domains", list, "domain_count",
				  (json_int_t)json_array_size(list)));
}

static const struct route agent_rows[] = {
    RANKING_AGENT("/profile", agent_get_profile, "Rating and record of an agent", "AgentProfile"),
    RANKING_AGENT("/performance", agent_get_performance, "Record of an agent, of late too", "AgentProfile"),
    RANKING_AGENT("/history", agent_get_history, "Rating of an agent after each debate", "AgentHistory"),
    RANKING_AGENT("/elo", agent_get_elo, "Rating of an agent, and how it came to it", "AgentHistory"),
    RANKING_AGENT("/reputation", agent_get_reputation, "What became of an agent's proposals and critiques",
		  "AgentReputation"),
    RANKING_AGENT("/consistency", agent_get_consistency, "How often an agent changes its position", "AgentConsistency"),
    RANKING_AGENT("/domains", agent_get_domains, "Ratings of an agent by domain", "AgentDomains"),
};

const struct route_table ranking_agent_routes = {agent_rows, countof(agent_rows)};
