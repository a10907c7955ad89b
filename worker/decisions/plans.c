/* SPDX-License-Identifier: MIT */
/*
 * Plans (rest-wide 10.1): shall what a debate decided be carried out? A plan has a risk, is approved by rule or by a
 * person, handed over, and closed with what came of it. Called by the router. Carries out nothing: whoever does asks
 * for it with `execute` and tells its outcome.
 */
#include "common/clock.h"
#include "common/ids.h"
#include "common/json.h"
#include "worker/access/access.h"
#include "worker/audit/audit.h"
#include "worker/debate/request.h"
#include "worker/decisions/decisions.h"
#include "worker/http/body.h"
#include "worker/http/page.h"
#include "worker/http/route.h"
#include "worker/stream/stream.h"
#include "worker/worker.h"

#define PLAN_USD_LIMIT 1e6
#define PLAN_MICRO 1e6
#define PLAN_NOTE_MAX 2000

/* From the least on; a receipt's risk_level in lower case. What has no receipt is as risky as can be. */
static const char *const plan_risks[] = {"low", "medium", "high", "critical", NULL};

struct plan {
	struct str id, debate_id, title, created_by, status, mode, max_auto_risk, risk, decided_by, reason, executed_by,
	    note;
	int64_t budget_micro, cost_micro, success, created_at, updated_at, decided_at, executed_at, completed_at;
};

#define PLAN_COLUMNS                                                                                              \
	"id, debate_id, title, created_by, status, approval_mode, max_auto_risk, risk_level, decided_by, reason," \
	" executed_by, note, budget_micro, cost_micro, success, created_at, updated_at, decided_at, executed_at," \
	" completed_at"

static struct plan plan_row(const struct db_rows *r, size_t i)
{
	return (struct plan){.id = db_str(r, i, 0),
			     .debate_id = db_str(r, i, 1),
			     .title = db_str(r, i, 2),
			     .created_by = db_str(r, i, 3),
			     .status = db_str(r, i, 4),
			     .mode = db_str(r, i, 5),
			     .max_auto_risk = db_str(r, i, 6),
			     .risk = db_str(r, i, 7),
			     .decided_by = db_str(r, i, 8),
			     .reason = db_str(r, i, 9),
			     .executed_by = db_str(r, i, 10),
			     .note = db_str(r, i, 11),
			     .budget_micro = db_int(r, i, 12),
			     .cost_micro = db_int(r, i, 13),
			     .success = db_int(r, i, 14),
			     .created_at = db_int(r, i, 15),
			     .updated_at = db_int(r, i, 16),
			     .decided_at = db_int(r, i, 17),
			     .executed_at = db_int(r, i, 18),
			     .completed_at = db_int(r, i, 19)};
}

static json_t *plan_outcome_json(const struct plan *p)
{
	json_t *o = json_object();

	json_put_str(o, "plan_id", p->id);
	json_put_str(o, "debate_id", p->debate_id);
	json_put_str(o, "status", p->status);
	json_object_set_new(o, "success", json_boolean(p->success > 0));
	json_object_set_new(o, "cost_usd", json_real((double)p->cost_micro / PLAN_MICRO));
	json_object_set_new(o, "over_budget", json_boolean(p->budget_micro > 0 && p->cost_micro > p->budget_micro));
	json_put_str(o, "note", p->note);
	json_put_time(o, "completed_at", p->completed_at);
	return o;
}

static json_t *plan_json(const struct plan *p)
{
	json_t *o = json_object();

	json_put_str(o, "id", p->id);
	json_put_str(o, "plan_id", p->id);
	json_put_str(o, "debate_id", p->debate_id);
	json_put_str(o, "title", p->title);
	json_put_str(o, "status", p->status);
	json_put_str(o, "approval_mode", p->mode);
	json_put_str(o, "max_auto_risk", p->max_auto_risk);
	json_put_str(o, "risk_level", p->risk);
	json_object_set_new(o, "budget_limit_usd",
			    p->budget_micro > 0 ? json_real((double)p->budget_micro / PLAN_MICRO) : json_null());
	json_put_str(o, "created_by", p->created_by);
	json_put_str(o, "decided_by", p->decided_by);
	json_put_str(o, "reason", p->reason);
	json_put_str(o, "executed_by", p->executed_by);
	json_put_time(o, "created_at", p->created_at);
	json_put_time(o, "updated_at", p->updated_at);
	json_put_time(o, "decided_at", p->decided_at);
	json_put_time(o, "executed_at", p->executed_at);
	json_put_time(o, "completed_at", p->completed_at);
	json_object_set_new(o, "outcome", p->completed_at > 0 ? plan_outcome_json(p) : json_null());
	return o;
}

/* ---- making ---- */

static size_t plan_risk(struct str word)
{
	size_t i;

	for (i = 0; plan_risks[i + 1] != NULL && !str_ieqz(word, plan_risks[i]); i++)
		;
	return i;
}

/* What the debate's receipt says. */
CO_FN static bool plan_judge(struct http_request *req, struct str debate_id, struct str *risk, struct error *err)
{
	struct worker *w = req->user;
	struct db_rows r;

	if (!db_query(w->db, req->arena, "SELECT risk_level FROM receipts WHERE debate_id = $1 AND workspace_id = $2",
		      DB_ARGS(DB_S(debate_id), DB_S(req->ctx.workspace_id)), &r, err))
		return false;
	*risk = str_of(plan_risks[plan_risk(r.count > 0 ? db_str(&r, 0, 0) : STR(""))]);
	return true;
}

static struct str plan_word(struct body_problems *p, const json_t *body, const char *field, const char *const *words,
			    const char *dflt, const char *problem)
{
	struct str s = body_text(p, body, field, 0, 32, false);
	struct error err = ERROR_INIT;
	size_t i;

	for (i = 0; words[i] != NULL; i++)
		if (str_eqz(s, words[i]))
			return str_of(words[i]);
	if (s.n > 0) {
		error_field(&err, ERR_INVALID_VALUE, field, "%s", problem);
		body_problem(p, &err);
	}
	return str_of(dflt);
}

/* Dollars as micro-dollars; 0: not given. */
static int64_t plan_usd(struct body_problems *p, const json_t *body, const char *field)
{
	const json_t *v = json_object_get(body, field);
	struct error err = ERROR_INIT;

	if (v == NULL || json_is_null(v))
		return 0;
	if (json_is_number(v) && json_number_value(v) >= 0 && json_number_value(v) <= PLAN_USD_LIMIT)
		return (int64_t)(json_number_value(v) * PLAN_MICRO + 0.5);
	error_field(&err, ERR_INVALID_VALUE, field, "must be a number of dollars from 0 to %d", (int)PLAN_USD_LIMIT);
	body_problem(p, &err);
	return 0;
}

static bool plan_read(struct http_request *req, const json_t *body, struct plan *p)
{
	static const char *const modes[] = {"risk_based", "always", "never", NULL};
	struct body_problems problems;

	*p = (struct plan){.reason = STR(""), .decided_by = STR(""), .executed_by = STR(""), .note = STR("")};
	body_problems_begin(req, &problems);
	p->debate_id = body_text(&problems, body, "debate_id", 1, 128, false);
	p->title = body_text(&problems, body, "title", 0, 200, false);
	p->mode = plan_word(&problems, body, "approval_mode", modes, modes[0],
			    "must be risk_based, always (a person approves) or never");
	p->max_auto_risk = plan_word(&problems, body, "max_auto_risk", plan_risks, plan_risks[0],
				     "must be low, medium, high or critical");
	p->budget_micro = plan_usd(&problems, body, "budget_limit_usd");
	return !body_refused(req, &problems);
}

/* A rule that lets pass more than the lowest risk is an approval by whoever sets it. */
static bool plan_may(struct http_request *req, const struct plan *p)
{
	bool wide = str_eqz(p->mode, "risk_based") && plan_risk(p->max_auto_risk) > 0;

	return (!wide && !str_eqz(p->mode, "never")) || rbac_demand(req, "plans.approve");
}

/* Approved by rule, where the rule needs nobody; else it waits for a person. */
static void plan_begin(struct http_request *req, struct plan *p)
{
	bool by_rule = str_eqz(p->mode, "never") ||
		       (str_eqz(p->mode, "risk_based") && plan_risk(p->risk) <= plan_risk(p->max_auto_risk));
	char hex[13];

	ids_hex(hex, 6);
	p->id = arena_printf(req->arena, "plan_%s", hex);
	p->created_by = req->ctx.principal;
	p->created_at = p->updated_at = clock_wall_ms();
	p->status = by_rule ? STR("approved") : STR("awaiting_approval");
	p->decided_by = by_rule ? STR("policy") : STR("");
	p->decided_at = by_rule ? p->created_at : 0;
	p->success = -1;
}

static void plan_audit(struct db_batch *b, struct http_request *req, const char *action, struct str id)
{
	audit_add(b, req,
		  &(struct audit_event){
		      .category = "debate", .action = action, .resource_type = STR("plan"), .resource_id = id});
}

/* Who watches the workspace hears of every step; what carries plans out begins at plan_executing. */
static void plan_tell(struct http_request *req, const struct plan *p)
{
	struct worker *w = req->user;
	struct str type = arena_printf(req->arena, "plan_%.*s", STR_ARG(p->status));

	stream_notice(w->stream, req->ctx.workspace_id, type,
		      stream_envelope(req->arena, p->debate_id, 0, type, STR(""), 0, 0, clock_wall_ms(), STR(""),
				      json_own(req->arena, plan_json(p))));
}

CO_FN static void plan_create(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct debate_row row;
	struct db_batch *b;
	struct plan p;

	if (body == NULL || !plan_read(req, body, &p) || !plan_may(req, &p))
		return;
	if (!debate_get(w->db, req->arena, &req->ctx, p.debate_id, &row, &err) ||
	    (!str_eqz(row.status, "completed") &&
	     !error_field(&err, ERR_CONFLICT, "debate_id", "only what a completed debate decided can be planned")) ||
	    !plan_judge(req, p.debate_id, &p.risk, &err)) {
		http_reply_error(req, &err);
		return;
	}
	p.title = p.title.n > 0 ? p.title : str_utf8_cut(row.task, 200);
	plan_begin(req, &p);
	b = db_batch_new(w->db);
	db_batch_add(b,
		     "INSERT INTO decision_plans (id, org_id, workspace_id, debate_id, title, created_by, status,"
		     " approval_mode, max_auto_risk, risk_level, decided_by, decided_at, budget_micro, created_at,"
		     " updated_at) SELECT $1, org_id, workspace_id, id, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,"
		     " $13 FROM debates WHERE id = $2 AND workspace_id = $3",
		     DB_ARGS(DB_S(p.id), DB_S(p.debate_id), DB_S(req->ctx.workspace_id), DB_S(p.title),
			     DB_S(p.created_by), DB_S(p.status), DB_S(p.mode), DB_S(p.max_auto_risk), DB_S(p.risk),
			     DB_S(p.decided_by), DB_I(p.decided_at), DB_I(p.budget_micro), DB_I(p.created_at)),
		     1);
	plan_audit(b, req, "plan.create", p.id);
	if (!db_commit(w->db, b, &err)) {
		http_reply_error(req, &err);
		return;
	}
	plan_tell(req, &p);
	http_reply_field(req, "Location", "/api/decisions/plans/%.*s", STR_ARG(p.id));
	http_reply_json(req, 201, plan_json(&p));
}

/* ---- reading ---- */

/* The plan of the path; false: answered. */
CO_FN static bool plan_load(struct http_request *req, struct plan *p)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (db_query(w->db, req->arena,
		     "SELECT " PLAN_COLUMNS " FROM decision_plans WHERE id = $1 AND workspace_id = $2",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.workspace_id)), &r, &err)) {
		if (r.count > 0) {
			*p = plan_row(&r, 0);
			return true;
		}
		error_field(&err, ERR_NOT_FOUND, "id", "Plan not found");
	}
	http_reply_error(req, &err);
	return false;
}

CO_FN static void plan_show(struct http_request *req)
{
	struct plan p;

	if (plan_load(req, &p))
		http_reply_json(req, 200, plan_json(&p));
}

CO_FN static void plan_show_outcome(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct plan p;

	if (!plan_load(req, &p))
		return;
	if (p.completed_at > 0) {
		http_reply_json(req, 200, plan_outcome_json(&p));
		return;
	}
	error_field(&err, ERR_NOT_FOUND, "id", "the plan has no outcome yet, it is %.*s", STR_ARG(p.status));
	http_reply_error(req, &err);
}

CO_FN static void plan_list(struct http_request *req)
{
	int64_t limit = http_query_int(req, "limit", 1, 100, 20),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	const struct db_val workspace = DB_S(req->ctx.workspace_id), status = DB_S(http_query(req, "status")),
			    debate = DB_S(http_query(req, "debate_id"));
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_rows r, total;
	json_t *list, *o;
	size_t i;

	if (!db_query(w->db, req->arena,
		      "SELECT COUNT(*) FROM decision_plans WHERE workspace_id = $1 AND ($2 = '' OR status = $2)"
		      " AND ($3 = '' OR debate_id = $3)",
		      DB_ARGS(workspace, status, debate), &total, &err) ||
	    !db_query(w->db, req->arena,
		      "SELECT " PLAN_COLUMNS " FROM decision_plans WHERE workspace_id = $1 AND ($2 = '' OR status = $2)"
		      " AND ($3 = '' OR debate_id = $3) ORDER BY created_at DESC, id LIMIT $4 OFFSET $5",
		      DB_ARGS(workspace, status, debate, DB_I(limit), DB_I(offset)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		struct plan p = plan_row(&r, i);

		json_array_append_new(list, plan_json(&p));
	}
	o = json_object();
	json_object_set_new(o, "plans", list);
	page_put(o, limit, offset, r.count, db_int(&total, 0, 0));
	http_reply_json(req, 200, o);
}

/* ---- moving on ---- */

enum plan_act { PLAN_APPROVE, PLAN_REJECT, PLAN_EXECUTE, PLAN_OUTCOME, PLAN_ACTS };

static const struct {
	const char *from, *to, *audit;
} plan_acts[] = {[PLAN_APPROVE] = {"awaiting_approval", "approved", "plan.approve"},
		 [PLAN_REJECT] = {"awaiting_approval", "rejected", "plan.reject"},
		 [PLAN_EXECUTE] = {"approved", "executing", "plan.execute"},
		 [PLAN_OUTCOME] = {"executing", "completed", "plan.outcome"}};
_Static_assert(countof(plan_acts) == PLAN_ACTS, "one row per act");

/* Stores the plan as it is now; of two who act at once one is refused. */
CO_FN static void plan_move(struct http_request *req, enum plan_act act, struct plan *p)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_batch *b;

	if (!str_eqz(p->status, plan_acts[act].from)) {
		error_set(&err, ERR_CONFLICT, "the plan is %.*s, not %s", STR_ARG(p->status), plan_acts[act].from);
		http_reply_error(req, &err);
		return;
	}
	p->status = act == PLAN_OUTCOME && p->success == 0 ? STR("failed") : str_of(plan_acts[act].to);
	p->updated_at = clock_wall_ms();
	b = db_batch_new(w->db);
	db_batch_add(b,
		     "UPDATE decision_plans SET status = $4, decided_by = $5, decided_at = $6, reason = $7,"
		     " executed_by = $8, executed_at = $9, completed_at = $10, success = $11, cost_micro = $12,"
		     " note = $13, updated_at = $14 WHERE id = $1 AND workspace_id = $2 AND status = $3",
		     DB_ARGS(DB_S(p->id), DB_S(req->ctx.workspace_id), DB_Z(plan_acts[act].from), DB_S(p->status),
			     DB_S(p->decided_by), DB_I(p->decided_at), DB_S(p->reason), DB_S(p->executed_by),
			     DB_I(p->executed_at), DB_I(p->completed_at), DB_I(p->success), DB_I(p->cost_micro),
			     DB_S(p->note), DB_I(p->updated_at)),
		     1);
	plan_audit(b, req, plan_acts[act].audit, p->id);
	if (db_commit(w->db, b, &err)) {
		plan_tell(req, p);
		http_reply_json(req, 200, plan_json(p));
		return;
	}
	if (err.code == ERR_FENCED)
		error_set(&err, ERR_CONFLICT, "somebody else has just acted on the plan");
	http_reply_error(req, &err);
}

CO_FN static void plan_decide(struct http_request *req)
{
	bool approve = str_ends(str_of(req->route->path), STR("/approve"));
	const json_t *body = body_object(req);
	struct body_problems problems;
	struct str reason;
	struct plan p;

	if (body == NULL)
		return;
	body_problems_begin(req, &problems);
	reason = body_text(&problems, body, "reason", 0, PLAN_NOTE_MAX, false);
	if (body_refused(req, &problems) || !plan_load(req, &p))
		return;
	p.decided_by = req->ctx.principal;
	p.decided_at = clock_wall_ms();
	p.reason = reason;
	plan_move(req, approve ? PLAN_APPROVE : PLAN_REJECT, &p);
}

CO_FN static void plan_execute(struct http_request *req)
{
	struct plan p;

	if (!plan_load(req, &p))
		return;
	p.executed_by = req->ctx.principal;
	p.executed_at = clock_wall_ms();
	plan_move(req, PLAN_EXECUTE, &p);
}

CO_FN static void plan_record_outcome(struct http_request *req)
{
	const json_t *body = body_object(req), *v;
	struct error err = ERROR_INIT;
	struct body_problems problems;
	int64_t cost;
	struct str note;
	struct plan p;

	if (body == NULL)
		return;
	body_problems_begin(req, &problems);
	v = json_object_get(body, "success");
	if (!json_is_boolean(v)) {
		error_field(&err, v == NULL ? ERR_MISSING_FIELD : ERR_INVALID_VALUE, "success",
			    "must be true or false: was it carried out?");
		body_problem(&problems, &err);
	}
	note = body_text(&problems, body, "note", 0, PLAN_NOTE_MAX, false);
	cost = plan_usd(&problems, body, "cost_usd");
	if (body_refused(req, &problems) || !plan_load(req, &p))
		return;
	p.success = json_is_true(v);
	p.note = note;
	p.cost_micro = cost;
	p.completed_at = clock_wall_ms();
	plan_move(req, PLAN_OUTCOME, &p);
}

#define PLANS "/api/decisions/plans"

static const struct route plan_rows[] = {
    ROUTE(POST, PLANS, plan_create, "plans.create", WRITE, "Plan to carry out what a debate decided"),
    ROUTE(GET, PLANS, plan_list, "plans.read", READ, "Plans of the workspace, the newest first"),
    ROUTE(GET, PLANS "/{id}", plan_show, "plans.read", READ, "One plan"),
    ROUTE(POST, PLANS "/{id}/approve", plan_decide, "plans.approve", WRITE, "Approve a plan that waits for it"),
    ROUTE(POST, PLANS "/{id}/reject", plan_decide, "plans.deny", WRITE, "Reject a plan that waits for approval"),
    ROUTE(POST, PLANS "/{id}/execute", plan_execute, "plans.create", WRITE,
	  "Take over an approved plan, to carry it out elsewhere"),
    ROUTE(POST, PLANS "/{id}/outcome", plan_record_outcome, "plans.create", WRITE,
	  "Say what came of carrying out a plan"),
    ROUTE(GET, PLANS "/{id}/outcome", plan_show_outcome, "plans.read", READ, "What came of a plan"),
};
const struct route_table plan_routes = {plan_rows, countof(plan_rows)};
