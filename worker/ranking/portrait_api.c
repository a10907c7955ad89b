/* SPDX-License-Identifier: MIT */
/*
 * Agents as a whole: /introspect, /opponent-briefing/{opponent} and /api/leaderboard-view. Called by the router. Put
 * together of what matches, votes and outcomes have left; of what nobody has measured it says null.
 */
#include "worker/ranking/api.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/access/access.h"
#include "worker/agents/agent.h"
#include "worker/debate/debate.h"
#include "worker/worker.h"

#define PORTRAIT_POSITIONS 5
#define PORTRAIT_DOMAINS 3      /* named as strengths, as weaknesses, as preferred */
#define PORTRAIT_DEBATES_MIN 3  /* below which a share of them says nothing */
#define PORTRAIT_SAMPLES_MIN 10 /* predictions below which nothing is said of confidences (debate.md 5.4) */
#define PORTRAIT_APART 0.1      /* stated less right, beyond it somebody is over- or underconfident */
#define PORTRAIT_TEXT_MAX 500
#define PORTRAIT_TEAMS 10

static struct worker *portrait_worker(struct http_request *req)
{
	return req->user;
}

/* ---- /introspect ---- */

/* unknown below ten predictions, else by the Brier score; guessing one half gives 0.25. */
static const char *portrait_confidence(const json_t *calibration)
{
	double brier = json_get_num(calibration, "brier_score", 1);

	if (json_get_int(calibration, "prediction_count", 0) < PORTRAIT_SAMPLES_MIN)
		return "unknown";
	return brier <= 0.15 ? "high" : brier <= 0.25 ? "medium" : "low";
}

static json_t *portrait_performance(const struct api_rating *r)
{
	return json_pack("{s:f, s:I, s:I, s:I, s:I, s:f}", "elo", (double)r->elo_milli / 1e3, "total_games",
			 (json_int_t)rating_matches(r), "wins", (json_int_t)r->wins, "losses", (json_int_t)r->losses,
			 "draws", (json_int_t)r->draws, "win_rate", ranking_share(r->wins, rating_matches(r)));
}

static json_t *portrait_memory(const struct api_rating *r)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "debates", (json_int_t)r->debates, "critiques",
			 (json_int_t)r->critiques, "votes", (json_int_t)r->votes, "flips", (json_int_t)r->flips);
}

/* Its last text and its vote in one debate, or null where it takes no part. */
static json_t *portrait_part(struct http_request *req, const struct debate_row *row, struct str agent)
{
	struct error unread = ERROR_INIT;
	const json_t *result = row->result.n > 0 ? json_parse(req->arena, row->result, &unread) : NULL;
	const json_t *plan = json_parse(req->arena, row->plan, &unread), *votes = json_get_arr(result, "votes"), *e;
	struct str text = json_get_str(json_get_obj(result, "proposals"), arena_str(req->arena, agent).p, STR(""));
	json_t *o = json_object();
	bool takes_part = false;
	size_t i;

	json_array_foreach(json_get_arr(plan, "agents"), i, e) takes_part =
	    takes_part || str_eq(json_get_str(e, "name", STR("")), agent);
	json_put_str(o, "debate_id", row->id);
	json_put_str(o, "task", row->task);
	json_put_str(o, "status", row->status);
	json_put_int(o, "round", row->current_round);
	json_object_set_new(o, "participates", json_boolean(takes_part));
	json_object_set_new(o, "proposal", text.n > 0 ? json_str(str_utf8_cut(text, PORTRAIT_TEXT_MAX)) : json_null());
	json_object_set_new(o, "vote", json_null());
	json_array_foreach(votes, i, e) if (str_eq(json_get_str(e, "agent", STR("")), agent))
	    json_put_str(o, "vote", json_get_str(e, "choice", STR("")));
	return o;
}

static json_t *portrait_identity(struct http_request *req, struct str agent)
{
	json_t *m = agents_metadata(portrait_worker(req)->conf, req->arena, agent), *o;

	o = m != NULL ? json_copy(m) : json_object();
	json_put_str(o, "name", agent);
	return o;
}

/* What an agent said in a debate is for who may read debates. */
CO_FN static bool portrait_context(struct http_request *req, struct str agent, json_t **out, struct error *err)
{
	struct str id = http_query(req, "debate_id");
	struct debate_row row;

	*out = json_own(req->arena, json_null());
	if (id.n == 0)
		return true;
	if (!rbac_allows(req, "debates.read"))
		return error_set(err, ERR_PERMISSION_DENIED, "debate_id needs the permission debates.read");
	if (!debate_get(portrait_worker(req)->db, req->arena, &req->ctx, id, &row, err))
		return false;
	*out = json_own(req->arena, portrait_part(req, &row, agent));
	return true;
}

CO_FN static void portrait_introspect(struct http_request *req)
{
	struct error err = ERROR_INIT;
	json_t *o, *calibration, *positions, *context, *figures;
	char iso[CLOCK_ISO_MAX];
	struct api_rating r;
	int64_t rank;

	if (!ranking_asked(req, &r, &rank))
		return;
	if (!ranking_calibration(req, r.agent, &calibration, &err) ||
	    !ranking_positions(req, r.agent, PORTRAIT_POSITIONS, &positions, &err) ||
	    !portrait_context(req, r.agent, &context, &err)) {
		http_reply_error(req, &err);
		return;
	}
	figures = json_is_object(calibration)
		      ? json_copy(calibration)
		      : json_pack("{s:i, s:n, s:n}", "prediction_count", 0, "accuracy", "brier_score");
	json_put_str(figures, "confidence_level", str_of(portrait_confidence(calibration)));
	o = json_pack("{s:s, s:o, s:o, s:O, s:o, s:o, s:n, s:O}", "timestamp", clock_iso(iso, clock_wall_ms()),
		      "identity", portrait_identity(req, r.agent), "calibration", figures, "positions", positions,
		      "performance", portrait_performance(&r), "memory_summary", portrait_memory(&r),
		      "fatigue_indicators", "debate_context", context);
	json_put_str(o, "agent", r.agent);
	json_put_str(o, "agent_id", r.agent);
	json_put_str(o, "agent_name", r.agent);
	http_reply_json(req, 200, o);
}

/* ---- /opponent-briefing ---- */

struct briefing {
	struct http_request *req;
	struct api_rating opponent;
	const json_t *duel, *domains, *calibration;
	json_t *insights;    /* in the arena */
	struct str strategy; /* n 0: nothing follows */
};

static void briefing_say(struct briefing *b, struct str insight, struct str strategy)
{
	json_array_append_new(b->insights, json_str(insight));
	if (b->strategy.n == 0)
		b->strategy = strategy;
}

/* Where the opponent is weakest, against its own rating. */
static void briefing_domains(struct briefing *b)
{
	const json_t *last = json_array_get(b->domains, json_array_size(b->domains) - 1);
	double relative = json_get_num(last, "relative", 0);
	struct str domain = json_get_str(last, "domain", STR(""));

	if (last == NULL || relative >= 0)
		return;
	briefing_say(b,
		     arena_printf(b->req->arena, "In %.*s it stands %.0f points below its own rating.", STR_ARG(domain),
				  -relative),
		     arena_printf(b->req->arena, "Bring the question to %.*s, where it does worst.", STR_ARG(domain)));
}

static void briefing_confidences(struct briefing *b)
{
	int64_t n = json_get_int(b->calibration, "prediction_count", 0);
	double right = json_get_num(b->calibration, "accuracy", 0), ece = json_get_num(b->calibration, "ece", 0);

	if (n < PORTRAIT_SAMPLES_MIN || ece <= PORTRAIT_APART)
		return;
	briefing_say(b,
		     arena_printf(b->req->arena,
				  "What it says of its confidence is off by %.0f %%: it was right in %.0f %% of %lld"
				  " votes.",
				  ece * 100, right * 100, (long long)n),
		     STR("Ask for evidence where it sounds sure: its confidence does not tell."));
}

static void briefing_flips(struct briefing *b)
{
	const struct api_rating *r = &b->opponent;

	if (r->debates < PORTRAIT_DEBATES_MIN)
		return;
	if (r->flips * 3 >= r->debates)
		briefing_say(b,
			     arena_printf(b->req->arena, "It changes its position in %.0f %% of its debates.",
					  ranking_share(r->flips, r->debates) * 100),
			     STR("Press its first position: it often gives it up."));
	else if (r->flips == 0)
		briefing_say(b,
			     arena_printf(b->req->arena, "In %lld debates it has never changed its position.",
					  (long long)r->debates),
			     STR("Win over the others: it does not change its mind."));
}

static void briefing_critiques(struct briefing *b)
{
	const struct api_rating *r = &b->opponent;

	if (r->critiques >= PORTRAIT_DEBATES_MIN)
		briefing_say(b,
			     arena_printf(b->req->arena, "%lld of its %lld critiques were taken up.",
					  (long long)r->valuable, (long long)r->critiques),
			     STR_NONE);
}

static struct str briefing_history(struct briefing *b)
{
	int64_t n = json_get_int(b->duel, "matches", 0);
	struct str agent = b->req->params[0], opponent = b->req->params[1];

	if (n == 0)
		return arena_printf(b->req->arena, "%.*s and %.*s have not met in a rated debate.", STR_ARG(agent),
				    STR_ARG(opponent));
	return arena_printf(b->req->arena, "In %lld rated debate%s of both %.*s did better in %lld, %.*s in %lld.",
			    (long long)n, n == 1 ? "" : "s", STR_ARG(agent),
			    (long long)json_get_int(b->duel, "wins", 0), STR_ARG(opponent),
			    (long long)json_get_int(b->duel, "losses", 0));
}

/* Names of domains above (sign 1) or below (-1) its own rating, the furthest first. */
static json_t *briefing_sides(const json_t *domains, int sign)
{
	size_t n = json_array_size(domains), i;
	json_t *list = json_array();

	for (i = 0; i < n && json_array_size(list) < PORTRAIT_DOMAINS; i++) {
		const json_t *d = json_array_get(domains, sign > 0 ? i : n - 1 - i);

		if (json_get_num(d, "relative", 0) * sign > 0)
			json_array_append(list, json_object_get(d, "domain"));
	}
	return list;
}

static json_t *briefing_preferred(const json_t *domains)
{
	json_t *list = json_array();
	size_t i, k, n = json_array_size(domains);

	for (k = 0; k < PORTRAIT_DOMAINS && k < n; k++) {
		const json_t *best = NULL, *d;

		for (i = 0; i < n; i++) {
			bool named = false;
			json_t *name;
			size_t j;

			d = json_array_get(domains, i);
			json_array_foreach(list, j, name) named =
			    named || json_equal(name, json_object_get(d, "domain"));
			if (!named &&
			    (best == NULL || json_get_int(d, "matches", 0) > json_get_int(best, "matches", 0)))
				best = d;
		}
		json_array_append(list, json_object_get(best, "domain"));
	}
	return list;
}

static json_t *briefing_view(struct briefing *b)
{
	int64_t n = rating_matches(&b->opponent);
	struct str history = briefing_history(b), text = history;
	json_t *o = json_object(), *v;
	bool known = n > 0;
	size_t i;

	json_array_foreach(b->insights, i, v) text =
	    arena_printf(b->req->arena, "%.*s %s", STR_ARG(text), json_string_value(v));
	json_put_str(o, "agent", b->req->params[0]);
	json_put_str(o, "opponent", b->req->params[1]);
	json_object_set_new(o, "briefing", known ? json_str(text) : json_null());
	if (!known)
		json_put_str(o, "message", STR("the opponent has not played a rated debate yet"));
	json_object_set_new(o, "opponent_profile",
			    known ? json_pack("{s:f, s:o, s:o, s:o}", "elo", (double)b->opponent.elo_milli / 1e3,
					      "strengths", briefing_sides(b->domains, 1), "weaknesses",
					      briefing_sides(b->domains, -1), "preferred_domains",
					      briefing_preferred(b->domains))
				  : json_null());
	json_put_str(o, "historical_summary", history);
	json_object_set_new(o, "recommended_strategy", b->strategy.n > 0 ? json_str(b->strategy) : json_null());
	json_object_set(o, "key_insights", b->insights);
	ranking_put_real(o, "confidence", n < RANKING_PROVISIONAL ? (double)n / RANKING_PROVISIONAL : 1.0);
	json_object_set(o, "head_to_head", (json_t *)(uintptr_t)b->duel);
	return o;
}

CO_FN static void portrait_briefing(struct http_request *req)
{
	struct briefing b = {.req = req, .insights = json_own(req->arena, json_array())};
	json_t *duel, *domains, *calibration;
	struct error err = ERROR_INIT;
	int64_t rank;

	if (!ranking_duel(req, &duel, &err) || !ranking_load(req, req->params[1], STR(""), &b.opponent, &rank, &err) ||
	    !ranking_domains(req, &b.opponent, &domains, &err) ||
	    !ranking_calibration(req, req->params[1], &calibration, &err)) {
		http_reply_error(req, &err);
		return;
	}
	b.duel = duel;
	b.domains = domains;
	b.calibration = calibration;
	briefing_domains(&b);
	briefing_confidences(&b);
	briefing_flips(&b);
	briefing_critiques(&b);
	http_reply_json(req, 200, briefing_view(&b));
}

/* ---- /api/leaderboard-view ---- */

CO_FN static bool board_rankings(struct http_request *req, json_t **out, struct error *err)
{
	json_t *board;

	if (!ranking_board(req, http_query_int(req, "limit", 1, 50, 10), &board, err))
		return false;
	*out = json_object_get(board, "rankings");
	return true;
}

CO_FN static bool board_reputation(struct http_request *req, json_t **out, struct error *err)
{
	json_t *board, *e;
	size_t i;

	if (!board_rankings(req, &board, err))
		return false;
	*out = json_own(req->arena, json_array());
	json_array_foreach(board, i, e) json_array_append_new(
	    *out, json_pack("{s:O, s:O, s:O, s:O}", "agent", json_object_get(e, "name"), "score",
			    json_object_get(e, "reputation"), "reputation", json_object_get(e, "reputation"),
			    "consistency", json_object_get(e, "consistency")));
	return true;
}

/* Pairs that ended the newest debates on one side, at least three times. */
CO_FN static bool board_teams(struct http_request *req, json_t **out, struct error *err)
{
	struct db_rows r;
	size_t i;

	if (!db_query(ranking_db(req), req->arena,
		      "SELECT a.agent, b.agent, COUNT(*), SUM(CASE WHEN a.outcome IN ('win', 'draw') THEN 1 ELSE 0 END)"
		      " FROM (SELECT debate_id FROM matches WHERE workspace_id = $1 ORDER BY created_at DESC LIMIT 200)"
		      " m JOIN rating_changes a ON a.debate_id = m.debate_id AND a.workspace_id = $1 AND a.kind ="
		      " 'match' JOIN rating_changes b ON b.debate_id = m.debate_id AND b.workspace_id = $1 AND b.kind ="
		      " 'match' AND b.agent > a.agent AND b.side = a.side GROUP BY a.agent, b.agent HAVING COUNT(*) >="
		      " $2 ORDER BY 3 DESC, 1, 2 LIMIT $3",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(PORTRAIT_DEBATES_MIN), DB_I(PORTRAIT_TEAMS)), &r, err))
		return false;
	*out = json_own(req->arena, json_array());
	for (i = 0; i < r.count; i++)
		json_array_append_new(*out,
				      json_pack("{s:[o, o], s:I, s:I, s:f}", "agents", json_str(db_str(&r, i, 0)),
						json_str(db_str(&r, i, 1)), "debates", (json_int_t)db_int(&r, i, 2),
						"prevailed", (json_int_t)db_int(&r, i, 3), "win_rate",
						ranking_share(db_int(&r, i, 3), db_int(&r, i, 2))));
	return true;
}

/* {agents: {name: what its confidences are worth}, count} */
CO_FN static bool board_introspection(struct http_request *req, json_t **out, struct error *err)
{
	json_t *board, *e, *agents = json_own(req->arena, json_object()), *calibration;
	size_t i;

	if (!board_rankings(req, &board, err))
		return false;
	json_array_foreach(board, i, e)
	{
		struct str agent = json_get_str(e, "name", STR(""));

		if (!ranking_calibration(req, agent, &calibration, err))
			return false;
		json_object_setn_new(agents, agent.p, agent.n,
				     json_pack("{s:O, s:s}", "calibration", calibration, "confidence_level",
					       portrait_confidence(calibration)));
	}
	*out = json_own(req->arena,
			json_pack("{s:O, s:I}", "agents", agents, "count", (json_int_t)json_object_size(agents)));
	return true;
}

static const struct {
	const char *name;
	CO_FN bool (*make)(struct http_request *req, json_t **out, struct error *err);
} board_sections[] = {
    {"rankings", board_rankings}, {"matches", ranking_matches}, {"reputation", board_reputation},
    {"teams", board_teams},       {"stats", ranking_figures},   {"introspection", board_introspection},
};

/* A section that cannot be had does not keep back the others. */
CO_FN static void portrait_board(struct http_request *req)
{
	json_t *data = json_object(), *failed = json_array(), *messages = json_object(), *section;
	size_t i;

	for (i = 0; i < countof(board_sections); i++) {
		struct error err = ERROR_INIT;

		section = NULL;
		if (board_sections[i].make(req, &section, &err)) {
			json_object_set(data, board_sections[i].name, section);
			continue;
		}
		json_object_set_new(data, board_sections[i].name, json_null());
		json_array_append_new(failed, json_string(board_sections[i].name));
		json_put_str(messages, board_sections[i].name, str_of(err.msg));
	}
	http_reply_json(req, 200,
			json_pack("{s:o, s:{s:b, s:o, s:o}}", "data", data, "errors", "partial_failure",
				  (int)(json_array_size(failed) > 0), "failed_sections", failed, "messages", messages));
}

static const struct route portrait_rows[] = {
    RANKING_AGENT("/opponent-briefing/{opponent}", portrait_briefing, "What is known of an opponent", "AgentBriefing"),
    ROUTE(GET, "/api/agent/{name}/introspect", portrait_introspect, "agents:read", READ,
	  "An agent as it may see itself; ?debate_id= adds its part in that debate", .response = "AgentIntrospection"),
    ROUTE(GET, "/api/agents/{name}/introspect", portrait_introspect, "agents:read", READ,
	  "An agent as it may see itself; ?debate_id= adds its part in that debate", .response = "AgentIntrospection"),
    RANKING_READ("/api/leaderboard-view", portrait_board, "Leaderboard, matches and figures in one answer",
		 "LeaderboardView"),
};

const struct route_table ranking_portrait_routes = {portrait_rows, countof(portrait_rows)};
