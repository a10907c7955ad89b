/* SPDX-License-Identifier: MIT */
/*
 * /api/agent/{name}/moments: what stands out in an agent's record. Called by the router. Each moment is one row that
 * says so by itself (a gain, a run of wins, an outcome that became known, a change of position); nothing is judged.
 */
#include "worker/ranking/api.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/worker.h"

#define MOMENTS_ROWS 200        /* newest rows of each kind that are looked at */
#define MOMENTS_UPSET 20000     /* milli-points: more than half of the largest K is won by nobody who was expected to */
#define MOMENTS_GAIN_MAX 40000  /* the largest K */
#define MOMENTS_SURE 900000     /* ppm; who is wrong with that much confidence was badly wrong */
#define MOMENTS_PROVEN 0.9      /* of an answer that was verified or refuted */
#define MOMENTS_STREAK_FULL 10. /* wins in a row that are as telling as it gets */

static const int moments_streaks[] = {3, 5, 10, 20, 50};

struct moment {
	const char *type;
	struct str debate_id, domain, text;
	double score; /* 0 to 1 */
	int64_t round, at_ms;
};

struct moments {
	struct arena *a;
	struct moment *v;
	size_t n, cap;
};

static void moments_add(struct moments *m, const struct moment *one)
{
	struct moment *more;

	if (m->n == m->cap) {
		more = arena_alloc(m->a, (m->cap * 2 + 16) * sizeof(*more));
		if (m->n > 0)
			memcpy(more, m->v, m->n * sizeof(*more));
		m->v = more;
		m->cap = m->cap * 2 + 16;
	}
	m->v[m->n++] = *one;
}

/* ---- matches and verifications ---- */

static bool moments_is_mark(int streak)
{
	size_t i;

	for (i = 0; i < countof(moments_streaks); i++)
		if (streak == moments_streaks[i])
			return true;
	return false;
}

static void moments_of_match(struct moments *m, const struct moment *at, struct str outcome, int64_t change, int streak)
{
	struct moment one = *at;

	if (str_eqz(outcome, "win") && change > MOMENTS_UPSET) {
		one.type = "upset_victory";
		one.score = (double)(change < MOMENTS_GAIN_MAX ? change : MOMENTS_GAIN_MAX) / MOMENTS_GAIN_MAX;
		one.text = arena_printf(m->a, "Won against agents rated higher: %+.1f points", (double)change / 1e3);
		moments_add(m, &one);
	}
	if (moments_is_mark(streak)) {
		one.type = "streak_achievement";
		one.score = streak < MOMENTS_STREAK_FULL ? streak / MOMENTS_STREAK_FULL : 1.0;
		one.text = arena_printf(m->a, "Won %d rated debates in a row", streak);
		moments_add(m, &one);
	}
}

CO_FN static bool moments_read_changes(struct http_request *req, struct str agent, struct moments *m, struct error *err)
{
	struct db_rows r;
	int streak = 0;
	size_t i;

	if (!db_query(ranking_db(req), req->arena,
		      "SELECT debate_id, kind, domain, outcome, change_milli, created_at FROM rating_changes"
		      " WHERE workspace_id = $1 AND agent = $2 ORDER BY created_at DESC, debate_id LIMIT $3",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(agent), DB_I(MOMENTS_ROWS)), &r, err))
		return false;
	for (i = r.count; i-- > 0;) { /* from the oldest, for the runs */
		struct str outcome = db_str(&r, i, 3);
		struct moment at = {
		    .debate_id = db_str(&r, i, 0), .domain = db_str(&r, i, 2), .round = -1, .at_ms = db_int(&r, i, 5)};

		if (str_eqz(db_str(&r, i, 1), "match")) {
			streak = str_eqz(outcome, "win") ? streak + 1 : 0;
			moments_of_match(m, &at, outcome, db_int(&r, i, 4), streak);
			continue;
		}
		at.type = str_eqz(outcome, "verified") ? "answer_verified" : "answer_refuted";
		at.score = MOMENTS_PROVEN;
		at.text = str_eqz(outcome, "verified") ? STR("Its winning answer was verified from outside")
						       : STR("Its winning answer was refuted from outside");
		moments_add(m, &at);
	}
	return true;
}

/* ---- votes whose outcome is known ---- */

CO_FN static bool moments_read_predictions(struct http_request *req, struct str agent, struct moments *m,
					   struct error *err)
{
	struct db_rows r;
	size_t i;

	if (!db_query(
		ranking_db(req), req->arena,
		"SELECT p.debate_id, p.domain, p.confidence_ppm, p.correct, p.created_at, COALESCE(c.outcome, '') FROM"
		" (SELECT debate_id, domain, confidence_ppm, correct, created_at FROM predictions WHERE workspace_id ="
		" $1 AND agent = $2 ORDER BY created_at DESC LIMIT $3) p LEFT JOIN rating_changes c ON c.debate_id ="
		" p.debate_id AND c.agent = $2 AND c.kind = 'match' AND c.workspace_id = $1",
		DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(agent), DB_I(MOMENTS_ROWS)), &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		double sure = (double)db_int(&r, i, 2) / 1e6;
		bool right = db_int(&r, i, 3) != 0;
		struct moment at = {.debate_id = db_str(&r, i, 0),
				    .domain = db_str(&r, i, 1),
				    .score = sure,
				    .round = -1,
				    .at_ms = db_int(&r, i, 4)};

		if (right && str_eqz(db_str(&r, i, 5), "loss")) {
			at.type = "calibration_vindication";
			at.text = arena_printf(m->a, "Was right, %.0f %% sure, where the debate decided otherwise",
					       sure * 100);
		} else if (!right && db_int(&r, i, 2) >= MOMENTS_SURE) {
			at.type = "confident_error";
			at.text = arena_printf(m->a, "Was %.0f %% sure of an answer that turned out wrong", sure * 100);
		} else {
			continue;
		}
		moments_add(m, &at);
	}
	return true;
}

/* ---- changes of position ---- */

CO_FN static bool moments_read_flips(struct http_request *req, struct str agent, struct moments *m, struct error *err)
{
	json_t *flips, *e;
	size_t i;

	if (!ranking_flips(req, agent, &flips, err))
		return false;
	json_array_foreach(flips, i, e)
	{
		double same = json_get_num(e, "similarity_score", 0);
		struct str to = str_utf8_cut(json_get_str(e, "new_claim", STR("")), 160);
		struct moment at = {.type = "position_reversal",
				    .debate_id = json_get_str(e, "debate_id", STR("")),
				    .score = same < 0   ? 1
					     : same > 1 ? 0
							: 1 - same,
				    .round = json_get_int(e, "round_number", 0)};

		at.text =
		    arena_printf(m->a, "Changed its position in round %lld: %.*s", (long long)at.round, STR_ARG(to));
		if (!clock_parse(json_get_str(e, "timestamp", STR("")), &at.at_ms))
			at.at_ms = 0;
		moments_add(m, &at);
	}
	return true;
}

/* ---- the answer ---- */

static int moments_order(const void *a, const void *b)
{
	const struct moment *x = a, *y = b;

	if (x->score < y->score || x->score > y->score)
		return x->score > y->score ? -1 : 1;
	return (x->at_ms < y->at_ms) - (x->at_ms > y->at_ms);
}

static json_t *moments_view(struct arena *a, struct str agent, const struct moment *m)
{
	struct str id = m->round > 0
			    ? arena_printf(a, "%.*s:%s:%lld", STR_ARG(m->debate_id), m->type, (long long)m->round)
			    : arena_printf(a, "%.*s:%s", STR_ARG(m->debate_id), m->type);
	static const char *const ids[] = {"id", "moment_id"}, *const types[] = {"moment_type", "type"},
				 *const agents[] = {"agent_name", "agent"},
				 *const scores[] = {"significance_score", "impact_score"};
	json_t *o = json_object(), *context = json_object();
	size_t i;

	for (i = 0; i < countof(ids); i++) {
		json_put_str(o, ids[i], id);
		json_put_str(o, types[i], str_of(m->type));
		json_put_str(o, agents[i], agent);
		ranking_put_real(o, scores[i], m->score);
	}
	json_put_str(o, "description", m->text);
	json_put_str(o, "debate_id", m->debate_id);
	json_object_set_new(context, "round", m->round >= 0 ? json_integer(m->round) : json_null());
	json_object_set_new(context, "domain", m->domain.n > 0 ? json_str(m->domain) : json_null());
	json_object_set_new(o, "context", context);
	json_put_time(o, "timestamp", m->at_ms);
	return o;
}

CO_FN static void moments_get(struct http_request *req)
{
	struct moments m = {.a = req->arena};
	struct str agent = req->params[0];
	struct error err = ERROR_INIT;
	json_t *list;
	size_t i, limit = (size_t)http_query_int(req, "limit", 1, 100, 10);

	if (!ranking_name(agent, "name", &err) || !moments_read_changes(req, agent, &m, &err) ||
	    !moments_read_predictions(req, agent, &m, &err) || !moments_read_flips(req, agent, &m, &err)) {
		http_reply_error(req, &err);
		return;
	}
	if (m.n > 0)
		qsort(m.v, m.n, sizeof(*m.v), moments_order);
	list = json_array();
	for (i = 0; i < m.n && i < limit; i++)
		json_array_append_new(list, moments_view(req->arena, agent, &m.v[i]));
	http_reply_json(req, 200,
			json_pack("{s:s%, s:o, s:I, s:I}", "agent", agent.p, agent.n, "moments", list, "count",
				  (json_int_t)json_array_size(list), "total", (json_int_t)m.n));
}

static const struct route moments_rows[] = {
    RANKING_AGENT("/moments", moments_get, "What stands out in an agent's record", "AgentMoments"),
};

const struct route_table ranking_moment_routes = {moments_rows, countof(moments_rows)};
