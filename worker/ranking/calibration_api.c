/* SPDX-License-Identifier: MIT */
/*
 * Calibration as people read it: an agent's figures and curve, the leaderboard and the data of a chart. Called by the
 * router. All of it is of predictions with a known outcome; without them it says that there are none.
 */
#include "worker/ranking/api.h"
#include "worker/ranking/calibration.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/worker.h"

#define CALIBRATION_RATED 20 /* predictions below which a tier says nothing, rest-core 5.3 */
#define CALIBRATION_CHART_MAX 10

/* ---- one agent ---- */

struct calibration_asked {
	struct str agent, domain;
	struct calibration_set set;
	struct calibration figures;
};

/* Agent and domain of the request and what they come to. False: answered. */
CO_FN static bool calibration_ask(struct http_request *req, struct calibration_asked *q)
{
	struct error err = ERROR_INIT;

	q->agent = req->params[0];
	q->domain = http_query(req, "domain");
	if (!ranking_name(q->agent, "name", &err) ||
	    !calibration_read(ranking_db(req), req->arena, req->ctx.workspace_id, q->agent, q->domain, &q->set, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	calibration_of(q->set.samples, q->set.n, clock_wall_ms(), &q->figures);
	return true;
}

/* By the expected error; 0.05, 0.10 and 0.15 are what the sizes of samples here can tell apart. */
static const char *calibration_tier(const struct calibration *c)
{
	static const struct {
		int64_t most_ppm;
		const char *name;
	} tiers[] = {{50000, "excellent"}, {100000, "good"}, {150000, "moderate"}, {INT64_MAX, "poor"}};
	size_t i;

	if (c->samples < CALIBRATION_RATED)
		return "unrated";
	for (i = 0; c->ece_ppm > tiers[i].most_ppm; i++)
		;
	return tiers[i].name;
}

/* Figures under all the names that clients read them by; without predictions they are null. */
static json_t *calibration_view(const struct calibration *c)
{
	json_t *o = json_object();
	double score = (double)calibration_score(c->samples, c->brier_ppm) / 1e6;

	json_put_int(o, "prediction_count", c->samples);
	json_put_int(o, "predictions_count", c->samples);
	json_put_int(o, "total_predictions", c->samples);
	json_put_int(o, "sample_size", c->samples);
	json_put_int(o, "total_correct", c->correct);
	json_put_int(o, "correct_count", c->correct);
	ranking_put_real(o, "calibration_score", score);
	ranking_put_real(o, "overall_score", score);
	json_object_set_new(o, "accuracy",
			    c->samples > 0 ? json_real(ranking_share(c->correct, c->samples)) : json_null());
	json_object_set_new(o, "brier_score", c->samples > 0 ? json_real((double)c->brier_ppm / 1e6) : json_null());
	json_object_set_new(o, "ece", c->samples > 0 ? json_real((double)c->ece_ppm / 1e6) : json_null());
	ranking_put_real(o, "bias", (double)c->bias_ppm / 1e6);
	ranking_put_real(o, "temperature", (double)c->temperature_milli / 1e3);
	json_object_set_new(o, "is_overconfident", json_boolean(c->overconfident));
	json_object_set_new(o, "is_underconfident", json_boolean(c->underconfident));
	json_put_str(o, "trust_tier", str_of(calibration_tier(c)));
	return o;
}

static json_t *calibration_buckets(const struct calibration_set *set, size_t n)
{
	struct calibration_bucket b[CALIBRATION_BUCKETS_MAX];
	json_t *list = json_array(), *o;
	size_t i;

	calibration_curve(set->samples, set->n, b, n);
	for (i = 0; i < n; i++) {
		o = json_pack("{s:f, s:f, s:I, s:I}", "range_start", (double)b[i].low_ppm / 1e6, "range_end",
			      (double)b[i].high_ppm / 1e6, "total_predictions", (json_int_t)b[i].count,
			      "correct_predictions", (json_int_t)b[i].correct);
		json_object_set_new(o, "accuracy",
				    b[i].count > 0 ? json_real(ranking_share(b[i].correct, b[i].count)) : json_null());
		ranking_put_real(o, "expected_accuracy", (double)(b[i].low_ppm + b[i].high_ppm) / 2e6);
		json_object_set_new(o, "brier_score",
				    b[i].count > 0 ? json_real((double)b[i].brier_ppm / 1e6) : json_null());
		json_array_append_new(list, o);
	}
	return list;
}

/* {domain: calibration score} */
CO_FN static bool calibration_domains(struct http_request *req, struct str agent, json_t *o, struct error *err)
{
	json_t *scores = json_object();
	int64_t last = 0;
	struct db_rows r;
	size_t i;
	bool ok = db_query(ranking_db(req), req->arena,
			   "SELECT domain, samples, brier_ppm, updated_at FROM calibrations WHERE workspace_id = $1 AND"
			   " agent = $2 ORDER BY domain",
			   DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(agent)), &r, err);

	for (i = 0; ok && i < r.count; i++) {
		struct str domain = db_str(&r, i, 0);

		last = db_int(&r, i, 3) > last ? db_int(&r, i, 3) : last;
		if (domain.n > 0)
			json_object_setn_new(
			    scores, domain.p, domain.n,
			    json_real((double)calibration_score(db_int(&r, i, 1), db_int(&r, i, 2)) / 1e6));
	}
	json_object_set_new(o, "domain_scores", scores);
	json_put_time(o, "last_calibrated", last);
	return ok;
}

/* /calibration and /calibration-summary are one. */
CO_FN static void calibration_get(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct calibration_asked q;
	json_t *o;

	if (!calibration_ask(req, &q))
		return;
	o = json_own(req->arena, calibration_view(&q.figures));
	json_put_str(o, "agent", q.agent);
	json_object_set_new(o, "domain", q.domain.n > 0 ? json_str(q.domain) : json_null());
	json_object_set_new(o, "confidence_accuracy", calibration_buckets(&q.set, CALIBRATION_BUCKETS));
	if (calibration_domains(req, q.agent, o, &err))
		http_reply_json(req, 200, json_incref(o));
	else
		http_reply_error(req, &err);
}

CO_FN static void calibration_get_curve(struct http_request *req)
{
	struct calibration_asked q;
	size_t n = (size_t)http_query_int(req, "buckets", 5, CALIBRATION_BUCKETS_MAX, CALIBRATION_BUCKETS);

	if (calibration_ask(req, &q))
		http_reply_json(req, 200,
				json_pack("{s:s%, s:o, s:o, s:I}", "agent", q.agent.p, q.agent.n, "domain",
					  q.domain.n > 0 ? json_str(q.domain) : json_null(), "buckets",
					  calibration_buckets(&q.set, n), "count", (json_int_t)n));
}

/* ---- boards ---- */

#define CALIBRATION_BOARD(order)                                                                                     \
	"SELECT c.agent, c.samples, c.correct, c.brier_ppm, c.ece_ppm, r.elo_milli FROM calibrations c LEFT JOIN"    \
	" ratings r ON r.workspace_id = c.workspace_id AND r.agent = c.agent WHERE c.workspace_id = $1 AND c.domain" \
	" = $2 AND c.samples >= $3 ORDER BY " order ", c.agent LIMIT $4"
/* The score of debate.md 5.4, times 80: orders alike. */
#define CALIBRATION_COMPOSITE                                                                     \
	"(1000000 - c.brier_ppm) * (CASE WHEN c.samples >= 50 THEN 80 WHEN c.samples >= 10 THEN " \
	"c.samples + 30 ELSE 0 END) DESC"

/* The first is the default. */
static const struct {
	const char *metric, *sql;
} calibration_boards[] = {
    {"brier", CALIBRATION_BOARD("c.brier_ppm")},
    {"ece", CALIBRATION_BOARD("c.ece_ppm")},
    {"accuracy", CALIBRATION_BOARD("c.correct * 1000000 / c.samples DESC")},
    {"composite", CALIBRATION_BOARD(CALIBRATION_COMPOSITE)},
};

static bool calibration_metric(struct http_request *req, size_t *metric)
{
	struct str name = http_query(req, "metric");
	struct error err = ERROR_INIT;

	for (*metric = 0; *metric < countof(calibration_boards); (*metric)++)
		if (name.n == 0 || str_eqz(name, calibration_boards[*metric].metric))
			return true;
	error_field(&err, ERR_INVALID_VALUE, "metric", "must be brier, ece, accuracy or composite");
	http_reply_error(req, &err);
	return false;
}

CO_FN static void calibration_leaderboard(struct http_request *req)
{
	int64_t least = http_query_int(req, "min_predictions", 1, 1000, 5);
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *list, *o;
	size_t metric, i;

	if (!calibration_metric(req, &metric))
		return;
	if (!db_query(ranking_db(req), req->arena, calibration_boards[metric].sql,
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(http_query(req, "domain")), DB_I(least),
			      DB_I(http_query_int(req, "limit", 1, 100, 20))),
		      &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		o = json_pack("{s:s%, s:I, s:I, s:I, s:f}", "agent", db_str(&r, i, 0).p, db_str(&r, i, 0).n, "rank",
			      (json_int_t)i + 1, "predictions_count", (json_int_t)db_int(&r, i, 1), "correct_count",
			      (json_int_t)db_int(&r, i, 2), "accuracy",
			      ranking_share(db_int(&r, i, 2), db_int(&r, i, 1)));
		ranking_put_real(o, "brier_score", (double)db_int(&r, i, 3) / 1e6);
		ranking_put_real(o, "ece", (double)db_int(&r, i, 4) / 1e6);
		ranking_put_real(o, "calibration_score",
				 (double)calibration_score(db_int(&r, i, 1), db_int(&r, i, 3)) / 1e6);
		ranking_put_real(o, "elo", (double)(db_null(&r, i, 5) ? RANKING_START : db_int(&r, i, 5)) / 1e3);
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200,
			json_pack("{s:s, s:I, s:o, s:I}", "metric", calibration_boards[metric].metric,
				  "min_predictions", (json_int_t)least, "agents", list, "count", (json_int_t)r.count));
}

/* Curves of those with most predictions, and the line of perfect calibration to draw them against. */
CO_FN static void calibration_chart(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct calibration_set set;
	struct calibration c;
	struct db_rows r;
	json_t *list = json_own(req->arena, json_array()), *o;
	bool ok;
	size_t i;

	ok = db_query(
	    ranking_db(req), req->arena,
	    "SELECT agent FROM calibrations WHERE workspace_id = $1 AND domain = '' AND samples > 0"
	    " ORDER BY samples DESC, agent LIMIT $2",
	    DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(http_query_int(req, "limit", 1, CALIBRATION_CHART_MAX, 5))), &r,
	    &err);
	for (i = 0; ok && i < r.count; i++) {
		ok = calibration_read(ranking_db(req), req->arena, req->ctx.workspace_id, db_str(&r, i, 0), STR(""),
				      &set, &err);
		if (!ok)
			break;
		calibration_of(set.samples, set.n, clock_wall_ms(), &c);
		o = calibration_view(&c);
		json_put_str(o, "agent", db_str(&r, i, 0));
		json_object_set_new(o, "buckets", calibration_buckets(&set, CALIBRATION_BUCKETS));
		json_array_append_new(list, o);
	}
	if (!ok) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:O, s:I, s:[{s:f, s:f}, {s:f, s:f}]}", "agents", list, "count",
				  (json_int_t)r.count, "perfect", "confidence", 0.0, "accuracy", 0.0, "confidence", 1.0,
				  "accuracy", 1.0));
}

static const struct route calibration_rows[] = {
    RANKING_AGENT("/calibration", calibration_get, "How far an agent's confidence can be trusted", "AgentCalibration"),
    RANKING_AGENT("/calibration-summary", calibration_get, "How far an agent's confidence can be trusted",
		  "AgentCalibration"),
    RANKING_AGENT("/calibration-curve", calibration_get_curve, "Accuracy by stated confidence", "CalibrationCurve"),
    RANKING_READ("/api/calibration/leaderboard", calibration_leaderboard, "Agents by calibration",
		 "CalibrationLeaderboard"),
    RANKING_READ("/api/calibration/visualization", calibration_chart, "Curves of the agents with most predictions",
		 "CalibrationChart"),
};

const struct route_table ranking_calibration_routes = {calibration_rows, countof(calibration_rows)};
