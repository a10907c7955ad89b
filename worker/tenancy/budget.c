/* SPDX-License-Identifier: MIT */
/*
 * Budgets of an organization (rest-core 7): what may be spent in a period, compared with the usage ledger, which is the
 * only place where money is counted. Called through its routes and by the budget_enforcement step. What calls that are
 * still to be made may cost is the matter of spending.c.
 */
#include "worker/tenancy/budget.h"

#include <time.h>

#include "common/clock.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/http/body.h"
#include "worker/tenancy/quota.h"
#include "worker/tenancy/spending.h"
#include "worker/tenancy/tenancy.h"

#define BUDGET_MICRO 1000000.0
#define BUDGET_USD_MIN 0.01
#define BUDGET_USD_MAX 1e9
#define BUDGET_TOKENS_MAX INT64_C(1000000000000000)
#define BUDGET_DAY_MS INT64_C(86400000)
#define BUDGET_COLUMNS                                                                                            \
	"id, name, description, amount_micro, period, auto_suspend, reset_at, is_active, created_at, updated_at," \
	" for_workspace, for_user, amount_tokens, alerted, alerted_start"

static const struct budget_period budget_periods[] = {{"monthly", 1, 0},   {"daily", 0, 1},   {"weekly", 0, 7},
						      {"quarterly", 3, 0}, {"annual", 12, 0}, {"unlimited", 0, 0}};

static const struct budget_period *budget_period(struct str name)
{
	size_t i;

	for (i = 0; i < countof(budget_periods); i++)
		if (str_eqz(name, budget_periods[i].name))
			return &budget_periods[i];
	return NULL;
}

static void budget_span(struct budget *b, int64_t now_ms)
{
	int64_t day = now_ms / BUDGET_DAY_MS;
	time_t t = (time_t)(now_ms / 1000);
	struct tm tm;

	(void)gmtime_r(&t, &tm);
	if (b->period->days > 0) {
		/* Day 0 of the epoch was a Thursday. */
		day -= b->period->days == 7 ? (day + 3) % 7 : 0;
		b->start = day * BUDGET_DAY_MS;
		b->end = b->start + b->period->days * BUDGET_DAY_MS;
	} else if (b->period->months > 0) {
		tm = (struct tm){
		    .tm_year = tm.tm_year, .tm_mon = tm.tm_mon - tm.tm_mon % b->period->months, .tm_mday = 1};
		b->start = (int64_t)timegm(&tm) * 1000;
		tm = (struct tm){.tm_year = tm.tm_year, .tm_mon = tm.tm_mon + b->period->months, .tm_mday = 1};
		b->end = (int64_t)timegm(&tm) * 1000;
	}
}

int64_t budget_since(const struct budget *b)
{
	return b->start > b->reset_at ? b->start : b->reset_at;
}

/* One of "" (all), BUDGET_EACH (the tenant's own) and an id (the tenant's, or it is not about it). */
static bool budget_narrow(struct str whose, struct str own, struct str *out)
{
	*out = str_eqz(whose, BUDGET_EACH) ? own : whose;
	return whose.n == 0 || str_eq(*out, own);
}

bool budget_is_about(const struct budget *b, const struct context *ctx, struct str *workspace, struct str *user)
{
	return budget_narrow(b->for_workspace, ctx->workspace_id, workspace) &&
	       budget_narrow(b->for_user, ctx->principal, user);
}

CO_FN bool budget_sum(struct worker *w, struct arena *a, const struct context *ctx, struct str workspace,
		      struct str user, int64_t since_ms, int64_t until_ms, int64_t *cost_micro, int64_t *tokens,
		      struct error *err)
{
	struct db_rows r;

	if (!db_query(w->db, a,
		      SQL_WITHIN_ORG("a budget is the organization's") //
		      "SELECT CAST(COALESCE(SUM(cost_micro), 0) AS BIGINT), CAST(COALESCE(SUM(tokens_in + tokens_out),"
		      " 0) AS BIGINT) FROM usage_ledger WHERE org_id = $1 AND ($2 = '' OR workspace_id = $2)"
		      " AND ($3 = '' OR user_id = $3) AND created_at >= $4 AND created_at < $5",
		      DB_ARGS(DB_S(ctx->org_id), DB_S(workspace), DB_S(user), DB_I(since_ms), DB_I(until_ms)), &r, err))
		return false;
	*cost_micro = db_int(&r, 0, 0);
	*tokens = db_int(&r, 0, 1);
	return true;
}

/* Of one that is for each: what the caller has spent; of another's: that one's. */
CO_FN static bool budget_spent(struct worker *w, struct arena *a, const struct context *ctx, struct budget *b,
			       struct error *err)
{
	struct str workspace, user;

	(void)budget_is_about(b, ctx, &workspace, &user); /* it is shown to whoever may see budgets */
	return budget_sum(w, a, ctx, workspace, user, budget_since(b), INT64_MAX, &b->spent, &b->spent_tokens, err);
}

CO_FN bool budget_rows(struct worker *w, struct arena *a, const struct context *ctx, struct str id, struct budget **out,
		       size_t *n, struct error *err)
{
	struct db_rows r;
	size_t i;

	if (!db_query(w->db, a,
		      "SELECT " BUDGET_COLUMNS " FROM budgets WHERE org_id = $1 AND ($2 = '' OR id = $2)"
		      " ORDER BY created_at, id LIMIT 100",
		      DB_ARGS(DB_S(ctx->org_id), DB_S(id)), &r, err))
		return false;
	*out = arena_zalloc(a, (r.count + 1) * sizeof(**out));
	*n = r.count;
	for (i = 0; i < r.count; i++) {
		struct budget *b = &(*out)[i];

		*b = (struct budget){.id = db_str(&r, i, 0),
				     .name = db_str(&r, i, 1),
				     .description = db_str(&r, i, 2),
				     .amount = db_int(&r, i, 3),
				     .period = budget_period(db_str(&r, i, 4)),
				     .auto_suspend = db_int(&r, i, 5) != 0,
				     .reset_at = db_int(&r, i, 6),
				     .active = db_int(&r, i, 7) != 0,
				     .created_at = db_int(&r, i, 8),
				     .updated_at = db_int(&r, i, 9),
				     .for_workspace = db_str(&r, i, 10),
				     .for_user = db_str(&r, i, 11),
				     .amount_tokens = db_int(&r, i, 12),
				     .alerted = db_int(&r, i, 13),
				     .alerted_start = db_int(&r, i, 14)};
		if (b->period == NULL)
			b->period = &budget_periods[0];
		budget_span(b, clock_wall_ms());
	}
	return budget_overrides(w, a, ctx, *out, *n, err);
}

/* Budgets of the organization with what is spent: the one with the id, or all of them (''). */
CO_FN static bool budget_load(struct worker *w, struct arena *a, const struct context *ctx, struct str id,
			      struct budget **out, size_t *n, struct error *err)
{
	size_t i;

	if (!budget_rows(w, a, ctx, id, out, n, err))
		return false;
	for (i = 0; i < *n; i++)
		if (!budget_spent(w, a, ctx, &(*out)[i], err))
			return false;
	return true;
}

static bool budget_exceeded(const struct budget *b)
{
	return b->spent >= b->amount || (b->amount_tokens > 0 && b->spent_tokens >= b->amount_tokens);
}

/* Tokens that are used up say the same as money that is. */
static int64_t budget_as_money(const struct budget *b)
{
	return budget_exceeded(b) && b->spent < b->amount ? b->amount : b->spent;
}

CO_FN bool budget_worst(struct worker *w, struct arena *a, const struct context *ctx, struct budget_state *out,
			struct error *err)
{
	struct str workspace, user;
	struct budget *v;
	size_t i, n;

	*out = (struct budget_state){.amount_micro = 0};
	if (!budget_load(w, a, ctx, STR(""), &v, &n, err))
		return false;
	for (i = 0; i < n; i++) {
		const struct budget *b = &v[i];
		bool more = (double)b->spent * (double)out->amount_micro > (double)out->spent_micro * (double)b->amount;
		bool stops = budget_stops(b, ctx), exceeds = stops && budget_exceeded(b);
		bool exceeded = out->suspends && out->spent_micro >= out->amount_micro;

		if (b->active && budget_is_about(b, ctx, &workspace, &user) &&
		    (out->amount_micro == 0 || (exceeds && !exceeded) || (more && exceeds == exceeded)))
			*out = (struct budget_state){b->id, b->name, b->amount, budget_as_money(b), stops};
	}
	return true;
}

/* ---- JSON ---- */

static const struct {
	double share;
	const char *action, *status;
} budget_thresholds[] = {{1.0, "hard_limit", "exceeded"},
			 {0.9, "soft_limit", "critical"},
			 {0.75, "warn", "warning"},
			 {0.5, "notify", "active"},
			 {0.0, "none", "active"}};

static json_t *budget_json(const struct context *ctx, const struct budget *b)
{
	double share = (double)b->spent / (double)b->amount;
	double tokens = b->amount_tokens > 0 ? (double)b->spent_tokens / (double)b->amount_tokens : 0;
	json_t *o = json_object(), *list = json_array();
	char iso[CLOCK_ISO_MAX];
	size_t i;

	share = tokens > share ? tokens : share;
	for (i = 0; share < budget_thresholds[i].share; i++)
		;
	json_put_str(o, "budget_id", b->id);
	json_put_str(o, "id", b->id);
	json_put_str(o, "org_id", ctx->org_id);
	json_put_str(o, "name", b->name);
	json_put_str(o, "description", b->description);
	json_put_str(o, "scope",
		     str_of(b->for_user.n > 0        ? "user"
			    : b->for_workspace.n > 0 ? "workspace"
						     : "organization"));
	json_object_set_new(o, "workspace_id", b->for_workspace.n > 0 ? json_str(b->for_workspace) : json_null());
	json_object_set_new(o, "user_id", b->for_user.n > 0 ? json_str(b->for_user) : json_null());
	json_object_set_new(o, "amount_tokens", b->amount_tokens > 0 ? json_integer(b->amount_tokens) : json_null());
	json_put_int(o, "spent_tokens", b->spent_tokens);
	json_object_set_new(o, "amount_usd", json_real((double)b->amount / BUDGET_MICRO));
	json_object_set_new(o, "spent_usd", json_real((double)b->spent / BUDGET_MICRO));
	json_object_set_new(o, "remaining_usd",
			    json_real(b->spent < b->amount ? (double)(b->amount - b->spent) / BUDGET_MICRO : 0.0));
	json_object_set_new(o, "usage_percentage", json_real(share));
	json_put_str(o, "period", str_of(b->period->name));
	json_object_set_new(o, "period_start", json_real((double)b->start / 1000.0));
	json_put_str(o, "period_start_iso", str_of(clock_iso(iso, b->start)));
	json_object_set_new(o, "period_end", b->end > 0 ? json_real((double)b->end / 1000.0) : json_null());
	json_put_time(o, "period_end_iso", b->end);
	json_put_str(o, "status",
		     !b->active                  ? STR("paused")
		     : i == 0 && b->auto_suspend ? STR("suspended")
						 : str_of(budget_thresholds[i].status));
	json_put_str(o, "current_action", str_of(budget_thresholds[i].action));
	json_object_set_new(o, "overrides", budget_overridden(b));
	json_object_set_new(o, "auto_suspend", json_boolean(b->auto_suspend));
	json_object_set_new(o, "is_exceeded", json_boolean(i == 0));
	for (i = countof(budget_thresholds) - 1; i-- > 0;)
		json_array_append_new(list, json_pack("{s:f, s:s}", "percentage", budget_thresholds[i].share, "action",
						      budget_thresholds[i].action));
	json_object_set_new(o, "thresholds", list);
	json_object_set_new(o, "created_at", json_real((double)b->created_at / 1000.0));
	json_object_set_new(o, "updated_at", json_real((double)b->updated_at / 1000.0));
	return o;
}

/* ---- endpoints ---- */

CO_FN static bool budget_get_all(struct http_request *req, struct str id, struct budget **v, size_t *n)
{
	struct error err = ERROR_INIT;

	if (!budget_load(req->user, req->arena, &req->ctx, id, v, n, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	if (id.n == 0 || *n == 1)
		return true;
	tenancy_missing(req, "Budget");
	return false;
}

CO_FN static void budget_reply(struct http_request *req, int status, struct str id)
{
	struct budget *v;
	size_t n;

	if (budget_get_all(req, id, &v, &n))
		http_reply_json(req, status, budget_json(&req->ctx, v));
}

CO_FN static void budget_list(struct http_request *req)
{
	bool active = false;
	struct budget *v;
	json_t *list;
	size_t i, n;

	if (!str_to_bool(http_query(req, "active_only"), &active))
		active = false;
	if (!budget_get_all(req, STR(""), &v, &n))
		return;
	list = json_array();
	for (i = 0; i < n; i++)
		if (v[i].active || !active)
			json_array_append_new(list, budget_json(&req->ctx, &v[i]));
	http_reply_json(req, 200,
			json_pack("{s:O, s:I, s:s%}", "budgets", list, "count", (json_int_t)json_array_size(list),
				  "org_id", req->ctx.org_id.p, req->ctx.org_id.n));
	json_decref(list);
}

CO_FN static void budget_show(struct http_request *req)
{
	budget_reply(req, 200, req->params[0]);
}

CO_FN static void budget_summary(struct http_request *req)
{
	int64_t amount = 0, spent = 0, exceeded = 0;
	struct budget *v;
	size_t i, n;

	if (!budget_get_all(req, STR(""), &v, &n))
		return;
	for (i = 0; i < n; i++) {
		amount += v[i].active ? v[i].amount : 0;
		spent = v[i].active && v[i].spent > spent ? v[i].spent : spent;
		exceeded += v[i].active && v[i].spent >= v[i].amount;
	}
	http_reply_json(req, 200,
			json_pack("{s:s%, s:I, s:f, s:f, s:I}", "org_id", req->ctx.org_id.p, req->ctx.org_id.n, "count",
				  (json_int_t)n, "total_budget_usd", (double)amount / BUDGET_MICRO, "total_spent_usd",
				  (double)spent / BUDGET_MICRO, "exceeded_count", (json_int_t)exceeded));
}

struct budget_body {
	struct str name, description, for_workspace, for_user;
	int64_t tokens;                     /* -1: not given */
	const struct budget_period *period; /* NULL: not given */
	double amount;                      /* 0: not given */
	int auto_suspend, active;           /* -1: not given */
};

static int budget_flag(struct body_problems *p, const json_t *body, const char *field)
{
	const json_t *v = json_object_get(body, field);
	struct error err = ERROR_INIT;

	if (v == NULL)
		return -1;
	if (json_is_boolean(v))
		return json_is_true(v);
	error_field(&err, ERR_INVALID_VALUE, field, "must be true or false");
	body_problem(p, &err);
	return -1;
}

static int64_t budget_tokens(struct body_problems *p, const json_t *body)
{
	const json_t *v = json_object_get(body, "amount_tokens");
	struct error err = ERROR_INIT;

	if (v == NULL)
		return -1;
	if (json_is_null(v))
		return 0;
	if (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= BUDGET_TOKENS_MAX)
		return json_integer_value(v);
	error_field(&err, ERR_INVALID_VALUE, "amount_tokens", "must be a whole number of tokens, 0 or null for none");
	body_problem(p, &err);
	return -1;
}

static bool budget_read_body(struct http_request *req, const json_t *body, bool whole, struct budget_body *out)
{
	const json_t *amount = json_object_get(body, "amount_usd");
	struct error err = ERROR_INIT;
	struct body_problems p;
	struct str period;

	body_problems_begin(req, &p);
	out->name = body_text(&p, body, "name", whole, 200, false);
	out->description = body_text(&p, body, "description", 0, 2000, false);
	period = body_text(&p, body, "period", 0, 16, false);
	out->period = period.n > 0 ? budget_period(period) : NULL;
	out->amount = json_number_value(amount);
	out->for_workspace = body_text(&p, body, "workspace_id", 0, 64, false);
	out->for_user = body_text(&p, body, "user_id", 0, 64, false);
	out->tokens = budget_tokens(&p, body);
	out->auto_suspend = budget_flag(&p, body, "auto_suspend");
	out->active = budget_flag(&p, body, "is_active");
	if (period.n > 0 && out->period == NULL) {
		error_field(&err, ERR_INVALID_VALUE, "period",
			    "must be daily, weekly, monthly, quarterly, annual or unlimited");
		body_problem(&p, &err);
	}
	if (amount == NULL ? whole
			   : !json_is_number(amount) || out->amount < BUDGET_USD_MIN || out->amount > BUDGET_USD_MAX) {
		error_field(&err, amount == NULL ? ERR_MISSING_FIELD : ERR_INVALID_VALUE, "amount_usd",
			    "must be a number from 0.01 to 1000000000");
		body_problem(&p, &err);
	}
	return !body_refused(req, &p);
}

CO_FN bool budget_member(struct worker *w, struct arena *a, const struct context *ctx, struct str user,
			 struct error *err)
{
	struct db_rows r;

	if (str_eq(user, ctx->principal))
		return true;
	if (!db_query(w->db, a, "SELECT 1 FROM members WHERE org_id = $1 AND user_id = $2",
		      DB_ARGS(DB_S(ctx->org_id), DB_S(user)), &r, err))
		return false;
	return r.count > 0 || error_field(err, ERR_INVALID_VALUE, "user_id", "the organization has no such member");
}

/* Is there such a workspace and such a user in the organization? If not, it has been answered. */
CO_FN static bool budget_known(struct http_request *req, const struct budget_body *in)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_rows r = {.count = 1};

	if (in->for_workspace.n > 0 && !str_eqz(in->for_workspace, BUDGET_EACH) &&
	    db_query(
		w->db, req->arena,
		SQL_WITHIN_ORG("a budget is the organization's") "SELECT 1 FROM workspaces WHERE id = $1 AND org_id ="
								 " $2",
		DB_ARGS(DB_S(in->for_workspace), DB_S(req->ctx.org_id)), &r, &err) &&
	    r.count == 0 && !str_eq(in->for_workspace, req->ctx.workspace_id))
		error_field(&err, ERR_INVALID_VALUE, "workspace_id", "the organization has no such workspace");
	if (err.code == ERR_OK && (in->for_user.n == 0 || str_eqz(in->for_user, BUDGET_EACH) ||
				   budget_member(w, req->arena, &req->ctx, in->for_user, &err)))
		return true;
	http_reply_error(req, &err);
	return false;
}

/* As tenancy_commit, and workers are told that budgets are others now. */
CO_FN static bool budget_commit(struct http_request *req, struct db_batch *b, const struct tenancy_act *act)
{
	if (!tenancy_commit(req, b, act))
		return false;
	spending_changed(req->user, req->ctx.org_id);
	return true;
}

CO_FN static void budget_create(struct http_request *req)
{
	struct worker *w = req->user;
	const json_t *body = body_object(req);
	int64_t now = clock_wall_ms();
	char id[UUID_LEN + 1];
	struct budget_body in;
	struct db_batch *b;

	if (body == NULL || !budget_read_body(req, body, true, &in) || !budget_known(req, &in))
		return;
	ids_uuid7(id);
	b = db_batch_new(w->db);
	db_batch_add(
	    b,
	    "INSERT INTO budgets (id, org_id, name, description, amount_micro, period, auto_suspend, created_by,"
	    " created_at, updated_at, for_workspace, for_user, amount_tokens)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $11, $12)",
	    DB_ARGS(DB_Z(id), DB_S(req->ctx.org_id), DB_S(in.name), DB_S(in.description),
		    DB_I(in.amount * BUDGET_MICRO), DB_Z(in.period != NULL ? in.period->name : "monthly"),
		    DB_I(in.auto_suspend != 0), DB_S(req->ctx.principal), DB_I(now), DB_S(in.for_workspace),
		    DB_S(in.for_user), DB_I(in.tokens > 0 ? in.tokens : 0)),
	    1);
	if (budget_commit(req, b,
			  &(struct tenancy_act){.category = "billing",
						.action = "budget.create",
						.type = "budget",
						.id = str_of(id),
						.details = json_pack("{s:f}", "amount_usd", in.amount)}))
		budget_reply(req, 201, arena_str(req->arena, str_of(id)));
}

static struct db_val budget_given(int flag)
{
	return flag >= 0 ? DB_I(flag) : DB_NONE;
}

CO_FN static void budget_change(struct http_request *req, const struct budget_body *in, int64_t reset_ms,
				const char *action)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);

	db_batch_add(b,
		     "UPDATE budgets SET name = CASE WHEN $3 = '' THEN name ELSE $3 END,"
		     " description = CASE WHEN $4 = '' THEN description ELSE $4 END,"
		     " amount_micro = CASE WHEN $5 = 0 THEN amount_micro ELSE $5 END,"
		     " period = CASE WHEN $6 = '' THEN period ELSE $6 END,"
		     " auto_suspend = COALESCE($7, auto_suspend), is_active = COALESCE($8, is_active),"
		     " reset_at = CASE WHEN $9 = 0 THEN reset_at ELSE $9 END, updated_at = $10, alerted = 0,"
		     " amount_tokens = CASE WHEN $11 < 0 THEN amount_tokens ELSE $11 END"
		     " WHERE id = $1 AND org_id = $2",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id), DB_S(in->name), DB_S(in->description),
			     DB_I(in->amount * BUDGET_MICRO), DB_Z(in->period != NULL ? in->period->name : ""),
			     budget_given(in->auto_suspend), budget_given(in->active), DB_I(reset_ms),
			     DB_I(clock_wall_ms()), DB_I(in->tokens)),
		     1);
	if (budget_commit(req, b,
			  &(struct tenancy_act){.category = "billing",
						.action = action,
						.type = "budget",
						.id = req->params[0],
						.fenced = "Budget"}))
		budget_reply(req, 200, req->params[0]);
}

CO_FN static void budget_update(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct budget_body in;

	if (body != NULL && budget_read_body(req, body, false, &in))
		budget_change(req, &in, 0, "budget.update");
}

/* What was spent so far does not count any more. */
CO_FN static void budget_reset(struct http_request *req)
{
	const struct budget_body in = {
	    .name = STR(""), .description = STR(""), .tokens = -1, .auto_suspend = -1, .active = -1};

	budget_change(req, &in, clock_wall_ms(), "budget.reset");
}

CO_FN static void budget_delete(struct http_request *req)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);

	db_batch_add(b, "DELETE FROM budgets WHERE id = $1 AND org_id = $2",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id)), 1);
	db_batch_add(b, "DELETE FROM budget_overrides WHERE budget_id = $1 AND org_id = $2",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id)), DB_ANY);
	db_batch_add(b, "DELETE FROM budget_acknowledgements WHERE budget_id = $1 AND org_id = $2",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id)), DB_ANY);
	if (budget_commit(req, b,
			  &(struct tenancy_act){.category = "billing",
						.action = "budget.delete",
						.type = "budget",
						.id = req->params[0],
						.fenced = "Budget"}))
		http_reply_json(
		    req, 200, json_pack("{s:b, s:s%}", "deleted", 1, "budget_id", req->params[0].p, req->params[0].n));
}

/* {estimated_cost_usd}: would it fit? */
CO_FN static void budget_check(struct http_request *req)
{
	const json_t *body = body_object(req), *v;
	struct error err = ERROR_INIT;
	struct budget_state s;
	double cost;
	bool fits;

	if (body == NULL)
		return;
	v = json_object_get(body, "estimated_cost_usd");
	cost = json_number_value(v);
	if (!json_is_number(v) || cost < 0 || cost > BUDGET_USD_MAX)
		error_field(&err, ERR_INVALID_VALUE, "estimated_cost_usd", "must be a number of dollars");
	if (err.code != ERR_OK || !budget_worst(req->user, req->arena, &req->ctx, &s, &err)) {
		http_reply_error(req, &err);
		return;
	}
	fits = s.amount_micro == 0 || (double)s.spent_micro + cost * BUDGET_MICRO <= (double)s.amount_micro;
	http_reply_json(req, 200,
			json_pack("{s:b, s:s, s:s, s:f}", "allowed", (int)(fits || !s.suspends), "reason",
				  fits ? "within the budget" : "more than what is left of the budget", "action",
				  fits         ? "allow"
				  : s.suspends ? "hard_limit"
					       : "soft_limit",
				  "estimated_cost_usd", cost));
}

static const struct route budget_route_rows[] = {
    ROUTE(GET, "/api/budgets", budget_list, "budget.read", READ, "Budgets of the organization"),
    ROUTE(POST, "/api/budgets", budget_create, "budget.write", WRITE, "Make a budget"),
    ROUTE(GET, "/api/budgets/summary", budget_summary, "budget.read", READ, "All budgets together"),
    ROUTE(POST, "/api/budgets/check", budget_check, "budget.read", READ, "Would a cost fit into the budgets?"),
    ROUTE(GET, "/api/budgets/{id}", budget_show, "budget.read", READ, "One budget"),
    ROUTE(PATCH, "/api/budgets/{id}", budget_update, "budget.write", WRITE, "Change a budget"),
    ROUTE(DELETE, "/api/budgets/{id}", budget_delete, "budget.delete", WRITE, "Delete a budget"),
    ROUTE(POST, "/api/budgets/{id}/reset", budget_reset, "budget.write", WRITE, "Begin to count anew"),
};
const struct route_table budget_routes = {budget_route_rows, countof(budget_route_rows)};
