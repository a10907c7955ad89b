/* SPDX-License-Identifier: MIT */
/*
 * /api/debates/{id}/outcome: somebody who knows it from elsewhere says whether a debate's answer was right. Its votes
 * become predictions of which it is known whether they came true; where the answer was verified, the winner's rating
 * moves too; what memory keeps of the debate learns of it, and a wrong answer leaves the cache of decisions. Called by
 * the router. A later outcome of the same debate takes the place of the former.
 */
#include "worker/ranking/calibration.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/audit/audit.h"
#include "worker/debate/request.h"
#include "worker/decisions/decisions.h"
#include "worker/engine/domain.h"
#include "worker/http/body.h"
#include "worker/memory/continuum.h"
#include "worker/middleware/response_cache.h"
#include "worker/ranking/ranking_math.h"
#include "worker/stream/stream.h"
#include "worker/worker.h"

#define OUTCOME_SOURCE_MAX 200
#define OUTCOME_NOTE_MAX 2000
#define OUTCOME_VERIFIED_MILLI 8000 /* K / 2 x 0.5, debate.md 5.2 */

struct outcome {
	struct http_request *req;
	const struct debate_row *row;
	const json_t *result;
	struct str winner, domain, source, note;
	bool correct, verified;
	json_t *right; /* agents whose position was right; NULL: not known */
	int64_t now_ms;
	/* What was recorded before. */
	bool known, former_correct;
	int64_t former_at, former_milli; /* the rating change that it brought */
	int64_t change_milli;            /* that of this one */
	int64_t elo_milli;               /* of the winner now */
};

static const char outcome_sql[] =
    "SELECT correct, right_agents, verified, source, note, user_id, recorded_at, domain FROM debate_outcomes"
    " WHERE debate_id = $1 AND workspace_id = $2";

/* ---- the body ---- */

static bool outcome_participant(const struct outcome *o, const char *name)
{
	const json_t *list = json_get_arr(o->result, "participants"), *e;
	size_t i;

	json_array_foreach(list, i, e) if (name != NULL && strcmp(json_string_value(e), name) == 0) return true;
	return false;
}

/* Did agent's position turn out right? -1: nobody says. */
static int outcome_right(const struct outcome *o, struct str agent)
{
	const json_t *e;
	size_t i;

	if (o->right == NULL)
		return ranking_same_side(o->result, agent, o->winner) ? o->correct : o->correct ? 0 : -1;
	json_array_foreach(o->right, i,
			   e) if (ranking_same_side(o->result, agent, str_of(json_string_value(e)))) return 1;
	return 0;
}

static bool outcome_read_right(struct outcome *o, const json_t *body)
{
	const json_t *v = json_object_get(body, "right_agents"), *e;
	size_t i;

	if (v == NULL || json_is_null(v))
		return true;
	/* Each vote is compared with each of them. */
	if (!json_is_array(v) || json_array_size(v) > json_array_size(json_get_arr(o->result, "participants")))
		return body_reject(o->req, "right_agents", "must be a list of names, each participant at most once");
	json_array_foreach(v, i, e) if (!outcome_participant(o, json_string_value(e))) return body_reject(
	    o->req, "right_agents", "must name participants of the debate");
	o->right = json_get_arr(body, "right_agents");
	return true;
}

static bool outcome_read_correct(struct outcome *o, const json_t *body)
{
	const json_t *v = json_object_get(body, "correct");

	if (v != NULL && !json_is_boolean(v) && !json_is_null(v))
		return body_reject(o->req, "correct", "must be true or false");
	if (json_is_boolean(v))
		o->correct = json_is_true(v);
	else if (o->right == NULL)
		return body_reject(o->req, "correct", "is required: was the debate's answer right?");
	if (o->right == NULL)
		return true;
	if (json_is_boolean(v) && o->winner.n > 0 && outcome_right(o, o->winner) != o->correct)
		return body_reject(o->req, "right_agents", "contradicts what `correct` says of the winner");
	if (!json_is_boolean(v))
		o->correct = o->winner.n > 0 && outcome_right(o, o->winner) == 1;
	return true;
}

static bool outcome_read(struct outcome *o, const json_t *body)
{
	const json_t *verified = json_object_get(body, "verified");

	if (verified != NULL && !json_is_boolean(verified) && !json_is_null(verified))
		return body_reject(o->req, "verified", "must be true or false");
	o->verified = json_is_true(verified);
	return outcome_read_right(o, body) && outcome_read_correct(o, body) &&
	       body_text_or_reject(o->req, body, "source", OUTCOME_SOURCE_MAX, &o->source) &&
	       body_text_or_reject(o->req, body, "note", OUTCOME_NOTE_MAX, &o->note);
}

/* ---- recording ---- */

/* The former outcome, and where the winner's rating stands. */
CO_FN static bool outcome_load(struct outcome *o, struct error *err)
{
	struct db *db = request_worker(o->req)->db;
	const struct db_val debate = DB_S(o->row->id), workspace = DB_S(o->req->ctx.workspace_id);
	struct db_rows former, change, rating;

	if (!db_query(db, o->req->arena, outcome_sql, DB_ARGS(debate, workspace), &former, err) ||
	    !db_query(db, o->req->arena,
		      "SELECT change_milli FROM rating_changes WHERE debate_id = $1 AND agent = $3 AND kind ="
		      " 'verification' AND workspace_id = $2",
		      DB_ARGS(debate, workspace, DB_S(o->winner)), &change, err) ||
	    !db_query(db, o->req->arena, "SELECT elo_milli FROM ratings WHERE workspace_id = $1 AND agent = $2",
		      DB_ARGS(workspace, DB_S(o->winner)), &rating, err))
		return false;
	o->known = former.count > 0;
	o->former_correct = o->known && db_int(&former, 0, 0) != 0;
	o->former_at = o->known ? db_int(&former, 0, 6) : 0;
	o->former_milli = change.count > 0 ? db_int(&change, 0, 0) : 0;
	o->elo_milli = (rating.count > 0 ? db_int(&rating, 0, 0) : RANKING_START) - o->former_milli;
	if (o->verified && o->winner.n > 0)
		o->change_milli = o->correct ? OUTCOME_VERIFIED_MILLI : -OUTCOME_VERIFIED_MILLI;
	/* What is refuted takes nobody below the floor. */
	if (o->change_milli < 0 && o->elo_milli + o->change_milli < RANKING_FLOOR)
		o->change_milli = o->elo_milli > RANKING_FLOOR ? RANKING_FLOOR - o->elo_milli : 0;
	if (o->now_ms <= o->former_at) /* its fence must move */
		o->now_ms = o->former_at + 1;
	return true;
}

/* First in the batch: of two that record at once one is refused. */
static void outcome_add_row(struct db_batch *b, const struct outcome *o)
{
	struct str right = o->right != NULL ? json_text(o->req->arena, o->right) : STR("");
	const struct db_val args[] = {DB_S(o->row->id),
				      DB_S(o->req->ctx.org_id),
				      DB_S(o->req->ctx.workspace_id),
				      DB_S(o->domain),
				      DB_I(o->correct),
				      DB_S(right),
				      DB_I(o->verified),
				      DB_S(o->source),
				      DB_S(o->note),
				      DB_S(o->req->ctx.principal),
				      DB_I(o->now_ms),
				      DB_I(o->former_at)};

	if (o->known)
		db_batch_add(b,
			     "UPDATE debate_outcomes SET domain = $4, correct = $5, right_agents = $6, verified = $7,"
			     " source = $8, note = $9, user_id = $10, recorded_at = $11 WHERE debate_id = $1"
			     " AND org_id = $2 AND workspace_id = $3 AND recorded_at = $12",
			     args, countof(args), 1);
	else
		db_batch_add(b,
			     "INSERT INTO debate_outcomes (debate_id, org_id, workspace_id, domain, correct,"
			     " right_agents, verified, source, note, user_id, recorded_at)"
			     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
			     args, countof(args) - 1, 1);
}

/*
 * A vote of which nobody says whether it was right is no prediction. What counts is the confidence that was stated, not
 * what former outcomes have made of it.
 */
static size_t outcome_add_predictions(struct db_batch *b, const struct outcome *o)
{
	const json_t *votes = json_get_arr(o->result, "votes"), *v;
	const struct context *ctx = &o->req->ctx;
	size_t i, n = 0;

	db_batch_add(b, "DELETE FROM predictions WHERE debate_id = $1 AND workspace_id = $2",
		     DB_ARGS(DB_S(o->row->id), DB_S(ctx->workspace_id)), DB_ANY);
	json_array_foreach(votes, i, v)
	{
		struct str agent = json_get_str(v, "agent", STR("")), choice = json_get_str(v, "choice", STR(""));
		int right = choice.n > 0 ? outcome_right(o, choice) : -1;

		/* People may have voted too; they are not rated. */
		if (right < 0 || !outcome_participant(o, arena_str(o->req->arena, agent).p))
			continue;
		db_batch_add(b,
			     "INSERT INTO predictions (debate_id, agent, org_id, workspace_id, domain, confidence_ppm,"
			     " correct, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
			     " ON CONFLICT (debate_id, agent) DO NOTHING",
			     DB_ARGS(DB_S(o->row->id), DB_S(agent), DB_S(ctx->org_id), DB_S(ctx->workspace_id),
				     DB_S(o->domain),
				     DB_I(json_get_int(v, "stated_ppm", json_get_int(v, "confidence_ppm", 0))),
				     DB_I(right), DB_I(json_get_int(o->result, "ended_at_ms", 0))),
			     DB_ANY);
		/* Who has never played still has a standing from now on. */
		db_batch_add(b,
			     "INSERT INTO ratings (workspace_id, agent, org_id, elo_milli, wins, losses, draws,"
			     " updated_at) VALUES ($1, $2, $3, $4, 0, 0, 0, $5) ON CONFLICT (workspace_id, agent) DO"
			     " NOTHING",
			     DB_ARGS(DB_S(ctx->workspace_id), DB_S(agent), DB_S(ctx->org_id), DB_I(RANKING_START),
				     DB_I(json_get_int(o->result, "ended_at_ms", 0))),
			     DB_ANY);
		n++;
	}
	return n;
}

static void outcome_add_rating(struct db_batch *b, const struct outcome *o)
{
	const struct context *ctx = &o->req->ctx;
	const struct db_val by = DB_I(o->change_milli - o->former_milli);

	if (o->change_milli == o->former_milli)
		return;
	db_batch_add(b, "UPDATE ratings SET elo_milli = elo_milli + $3 WHERE workspace_id = $1 AND agent = $2",
		     DB_ARGS(DB_S(ctx->workspace_id), DB_S(o->winner), by), 1);
	db_batch_add(b,
		     "UPDATE domain_ratings SET elo_milli = elo_milli + $3 WHERE workspace_id = $1 AND agent = $2"
		     " AND domain = $4",
		     DB_ARGS(DB_S(ctx->workspace_id), DB_S(o->winner), by, DB_S(o->domain)), DB_ANY);
	db_batch_add(b,
		     "INSERT INTO rating_changes (debate_id, agent, kind, org_id, workspace_id, domain, outcome, side,"
		     " score_milli, change_milli, created_at) VALUES ($1, $2, 'verification', $3, $4, $5, $6, -1, 0,"
		     " $7, $8) ON CONFLICT (debate_id, agent, kind) DO UPDATE SET outcome = excluded.outcome,"
		     " change_milli = excluded.change_milli",
		     DB_ARGS(DB_S(o->row->id), DB_S(o->winner), DB_S(ctx->org_id), DB_S(ctx->workspace_id),
			     DB_S(o->domain), DB_Z(o->correct ? "verified" : "refuted"), DB_I(o->change_milli),
			     DB_I(o->now_ms)),
		     1);
}

/* An outcome is counted once, whatever is said of it how often; of two that differ the later one counts. */
static void outcome_add_memory(struct db_batch *b, const struct outcome *o)
{
	int64_t sure = json_get_int(json_get_obj(o->result, "consensus"), "confidence_ppm", 0);

	if (!o->known)
		continuum_judged(b, &o->req->ctx, o->row->id, o->correct, o->correct ? CONTINUUM_ONE - sure : sure,
				 o->now_ms);
	else if (o->former_correct != o->correct)
		continuum_rejudged(b, &o->req->ctx, o->row->id, o->correct, o->now_ms);
}

CO_FN static bool outcome_store(struct outcome *o, size_t *predictions, struct error *err)
{
	struct worker *w = request_worker(o->req);
	struct db_batch *b = db_batch_new(w->db);
	int64_t forgotten = 0;
	json_t *details = json_own(o->req->arena, json_pack("{s:b, s:b, s:s%}", "correct", (int)o->correct, "verified",
							    (int)o->verified, "source", o->source.p, o->source.n));

	outcome_add_row(b, o);
	*predictions = outcome_add_predictions(b, o);
	outcome_add_rating(b, o);
	outcome_add_memory(b, o);
	audit_add(b, o->req,
		  &(struct audit_event){.category = "debate",
					.action = "debate.outcome_recorded",
					.resource_type = STR("debate"),
					.resource_id = o->row->id,
					.details = details});
	/* An answer that was wrong is given to nobody else. */
	if (!o->correct &&
	    !decision_cache_forget(w, b, o->req->ctx.org_id, DECISION_OUTCOME, o->row->id, STR(""), &forgotten, err)) {
		db_batch_free(b);
		return false;
	}
	if (db_commit(w->db, b, err)) {
		if (!o->correct)
			decision_cache_forgotten(DECISION_OUTCOME, forgotten);
		return true;
	}
	if (err->code == ERR_FENCED || err->code == ERR_DUPLICATE)
		error_set(err, ERR_CONFLICT, "somebody else has just recorded an outcome of this debate");
	return false;
}

/* ---- telling ---- */

static void outcome_tell(struct outcome *o, const char *type, json_t *data)
{
	struct worker *w = request_worker(o->req);

	json_own(o->req->arena, data);
	json_put_str(data, "debate_id", o->row->id);
	json_put_str(data, "domain", o->domain);
	stream_notice(w->stream, o->req->ctx.workspace_id, str_of(type),
		      stream_envelope(o->req->arena, o->row->id, 0, str_of(type), json_get_str(data, "agent", STR("")),
				      0, 0, clock_wall_ms(), STR(""), data));
}

CO_FN static bool outcome_refresh(struct outcome *o, struct error *err)
{
	const json_t *votes = json_get_arr(o->result, "votes"), *v;
	struct worker *w = request_worker(o->req);
	struct calibration c;
	size_t i;

	json_array_foreach(votes, i, v)
	{
		struct str agent = arena_str(o->req->arena, json_get_str(v, "agent", STR("")));

		if (!outcome_participant(o, agent.p))
			continue;
		if (!calibration_refresh(w, o->req->ctx.org_id, o->req->ctx.workspace_id, agent, o->now_ms, &c, err))
			return false;
		outcome_tell(o, "calibration_update",
			     json_pack("{s:s%, s:I, s:f, s:f, s:f}", "agent", agent.p, agent.n, "samples",
				       (json_int_t)c.samples, "brier_score", (double)c.brier_ppm / 1e6, "ece",
				       (double)c.ece_ppm / 1e6, "calibration_score",
				       (double)calibration_score(c.samples, c.brier_ppm) / 1e6));
	}
	if (o->change_milli != o->former_milli)
		outcome_tell(o, "agent_elo_updated",
			     json_pack("{s:s%, s:f, s:f, s:f, s:f, s:s}", "agent", o->winner.p, o->winner.n, "old_elo",
				       (double)(o->elo_milli + o->former_milli) / 1e3, "new_elo",
				       (double)(o->elo_milli + o->change_milli) / 1e3, "elo_change",
				       (double)(o->change_milli - o->former_milli) / 1e3, "change",
				       (double)(o->change_milli - o->former_milli) / 1e3, "reason", "verification"));
	return true;
}

/* ---- handlers ---- */

CO_FN static bool outcome_open(struct http_request *req, struct debate_row *row, struct outcome *o, struct error *err)
{
	*o = (struct outcome){.req = req, .row = row, .now_ms = clock_wall_ms()};
	if (!str_eqz(row->status, "completed") || row->result.p == NULL)
		return error_set(err, ERR_CONFLICT, "only a debate that was completed has an outcome");
	if (row->demo != 0)
		return error_set(err, ERR_CONFLICT, "demo agents are never rated");
	o->result = json_parse(req->arena, row->result, err);
	o->winner = json_get_str(o->result, "winner", STR(""));
	o->domain = json_get_str(o->result, "domain", STR(DOMAIN_GENERAL));
	return o->result != NULL;
}

static json_t *outcome_view(const struct outcome *o)
{
	json_t *v =
	    json_pack("{s:s%, s:b, s:b, s:f}", "debate_id", o->row->id.p, o->row->id.n, "correct", (int)o->correct,
		      "verified", (int)o->verified, "elo_change", (double)o->change_milli / 1e3);

	json_put_str(v, "domain", o->domain);
	json_put_str(v, "winner", o->winner);
	json_put_str(v, "source", o->source);
	json_put_str(v, "note", o->note);
	json_object_set_new(v, "right_agents", o->right != NULL ? json_incref(o->right) : json_null());
	json_put_time(v, "recorded_at", o->now_ms);
	return v;
}

CO_FN static void outcome_post(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct debate_row row;
	struct outcome o;
	const json_t *body = body_object(req);
	size_t predictions;
	json_t *v;

	if (body == NULL || !decisions_debate(req) || !request_debate(req, &row))
		return;
	if (!outcome_open(req, &row, &o, &err)) {
		http_reply_error(req, &err);
		return;
	}
	if (!outcome_read(&o, body))
		return;
	if (!outcome_load(&o, &err) || !outcome_store(&o, &predictions, &err) || !outcome_refresh(&o, &err)) {
		http_reply_error(req, &err);
		return;
	}
	metric_add(M_OUTCOMES, 1, o.correct ? "right" : "wrong", NULL);
	response_cache_changed(request_worker(req)->shm, "ratings");
	v = outcome_view(&o);
	json_object_set_new(v, "success", json_true());
	if (str_ends(str_of(req->route->path), STR("/verify")))
		json_put_str(v, "status", STR("verified")); /* as clients of that older path expect it, rest-core 4.9 */
	json_put_int(v, "predictions", (int64_t)predictions);
	http_reply_json(req, o.known ? 200 : 201, v);
}

CO_FN static void outcome_get(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct debate_row row;
	struct db_rows r;
	struct outcome o = {.req = req, .row = &row};
	bool list = str_ends(str_of(req->route->path), STR("/outcomes"));

	if (!decisions_debate(req) || !request_debate(req, &row))
		return;
	if (!db_query(request_worker(req)->db, req->arena, outcome_sql,
		      DB_ARGS(DB_S(row.id), DB_S(req->ctx.workspace_id)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	if (list && r.count == 0) {
		http_reply_json(req, 200, json_pack("{s:[], s:i}", "outcomes", "count", 0));
		return;
	}
	if ((r.count == 0 && !error_field(&err, ERR_NOT_FOUND, "id", "no outcome of this debate was recorded")) ||
	    !outcome_open(req, &row, &o, &err) || !outcome_load(&o, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o.correct = db_int(&r, 0, 0) != 0;
	o.right = db_str(&r, 0, 1).n > 0 ? json_parse(req->arena, db_str(&r, 0, 1), &err) : NULL;
	o.verified = db_int(&r, 0, 2) != 0;
	o.source = db_str(&r, 0, 3);
	o.note = db_str(&r, 0, 4);
	o.now_ms = db_int(&r, 0, 6);
	o.change_milli = o.former_milli;
	http_reply_json(req, 200,
			list ? json_pack("{s:[o], s:i}", "outcomes", outcome_view(&o), "count", 1) : outcome_view(&o));
}

static const struct route outcome_rows[] = {
    ROUTE_IO(POST, "/api/debates/{id}/outcome", outcome_post, "debates:update", WRITE,
	     "Say whether a debate's answer turned out right; its votes then count for calibration", "OutcomeRecord",
	     "DebateOutcome"),
    ROUTE_IO(POST, "/api/debates/{id}/verify", outcome_post, "debates:update", WRITE, "The same under an older name",
	     "OutcomeRecord", "DebateOutcome"),
    ROUTE(GET, "/api/debates/{id}/outcome", outcome_get, "debates:read", READ,
	  "Whether a debate's answer turned out right, if somebody said so", .response = "DebateOutcome"),
    ROUTE_IO(POST, "/api/decisions/{id}/outcome", outcome_post, "debates:update", WRITE,
	     "Say whether a decision turned out right: the outcome of its debate", "OutcomeRecord", "DebateOutcome"),
    ROUTE(GET, "/api/decisions/{id}/outcome", outcome_get, "decisions:read", READ,
	  "Whether a decision turned out right, if somebody said so", .response = "DebateOutcome"),
    ROUTE(GET, "/api/decisions/{id}/outcomes", outcome_get, "decisions:read", READ,
	  "The same as a list of at most one"),
};
const struct route_table outcome_routes = {outcome_rows, countof(outcome_rows)};
