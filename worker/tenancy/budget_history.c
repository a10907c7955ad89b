/* SPDX-License-Identifier: MIT */
/*
 * What went through a budget (rest-core 7): its transactions, days or weeks of spending, and the marks that it passed
 * in this period. Called by the router; reads the ledger, and keeps who has taken note of a mark. Which debate
 * something was spent on is told only of the workspace that is asked from.
 */
#include "common/clock.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/tenancy/budget.h"
#include "worker/tenancy/quota.h"
#include "worker/tenancy/tenancy.h"

#define HISTORY_DAY_MS INT64_C(86400000)
#define HISTORY_ORG SQL_WITHIN_ORG("a budget is the organization's")
/* The part of the ledger that a budget is about: $2 workspace, $3 user ('' = any), from $4 on. */
#define HISTORY_ROWS                                                                              \
	" FROM usage_ledger WHERE org_id = $1 AND ($2 = '' OR workspace_id = $2) AND ($3 = '' OR" \
	" user_id = $3) AND created_at >= $4"

struct history {
	struct budget *budget; /* NULL: of the whole organization */
	struct str workspace, user;
	int64_t since;
};

/* The budget of the path, and what it is about for whoever asks; false: answered. */
CO_FN static bool history_load(struct http_request *req, struct history *h)
{
	struct error err = ERROR_INIT;
	size_t n;

	*h = (struct history){.workspace = STR(""), .user = STR("")};
	if (!budget_rows(req->user, req->arena, &req->ctx, req->params[0], &h->budget, &n, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	if (n != 1) {
		tenancy_missing(req, "Budget");
		return false;
	}
	(void)budget_is_about(h->budget, &req->ctx, &h->workspace, &h->user);
	h->since = budget_since(h->budget);
	return true;
}

static void history_cost(json_t *o, const char *key, int64_t micro)
{
	json_object_set_new(o, key, json_real((double)micro / 1e6));
}

/* ---- transactions ---- */

static json_t *history_transactions(const struct context *ctx, const struct db_rows *r)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < r->count; i++) {
		json_t *o = json_object();
		bool own = str_eq(db_str(r, i, 1), ctx->workspace_id);

		json_object_set_new(o, "debate_id", own ? json_str(db_str(r, i, 0)) : json_null());
		json_object_set_new(o, "agent", own ? json_str(db_str(r, i, 3)) : json_null());
		json_put_str(o, "workspace_id", db_str(r, i, 1));
		json_put_str(o, "user_id", db_str(r, i, 2));
		json_put_str(o, "provider", db_str(r, i, 4));
		json_put_str(o, "model", db_str(r, i, 5));
		json_put_int(o, "tokens_in", db_int(r, i, 6));
		json_put_int(o, "tokens_out", db_int(r, i, 7));
		history_cost(o, "amount_usd", db_int(r, i, 8));
		json_put_time(o, "created_at", db_int(r, i, 9));
		json_array_append_new(list, o);
	}
	return list;
}

CO_FN static void history_list(struct http_request *req)
{
	int64_t limit = http_query_int(req, "limit", 1, 100, 50), offset = http_query_int(req, "offset", 0, 100000, 0),
		total;
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_rows count, r;
	struct history h;

	if (!history_load(req, &h))
		return;
	if (!db_query(w->db, req->arena, HISTORY_ORG "SELECT COUNT(*)" HISTORY_ROWS,
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(h.workspace), DB_S(h.user), DB_I(h.since)), &count, &err) ||
	    !db_query(w->db, req->arena,
		      HISTORY_ORG
		      "SELECT debate_id, workspace_id, user_id, agent, provider, model, tokens_in, tokens_out,"
		      " cost_micro, created_at" HISTORY_ROWS
		      " ORDER BY created_at DESC, debate_id, step_key LIMIT $5 OFFSET $6",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(h.workspace), DB_S(h.user), DB_I(h.since), DB_I(limit),
			      DB_I(offset)),
		      &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	total = db_int(&count, 0, 0);
	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:I, s:s%, s:{s:I, s:I, s:b}}", "transactions",
				  history_transactions(&req->ctx, &r), "count", (json_int_t)r.count, "total",
				  (json_int_t)total, "budget_id", h.budget->id.p, h.budget->id.n, "pagination", "limit",
				  (json_int_t)limit, "offset", (json_int_t)offset, "has_more",
				  (int)(offset + (int64_t)r.count < total)));
}

/* ---- trends ---- */

/* The latest `limit` days or weeks in which something was spent, the oldest first. */
CO_FN static bool history_trends(struct http_request *req, const struct history *h, int64_t days, int64_t limit,
				 json_t *list, struct error *err)
{
	struct worker *w = req->user;
	struct db_rows r;
	size_t i;

	/* Weeks begin on Mondays; day 0 of the epoch was a Thursday. */
	if (!db_query(w->db, req->arena,
		      HISTORY_ORG "SELECT (created_at / 86400000 + $6) / $5, CAST(SUM(cost_micro) AS BIGINT),"
				  " CAST(SUM(tokens_in + tokens_out) AS BIGINT), COUNT(*)" HISTORY_ROWS
				  " GROUP BY 1 ORDER BY 1 DESC LIMIT $7",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(h->workspace), DB_S(h->user), DB_I(h->since), DB_I(days),
			      DB_I(days == 7 ? 3 : 0), DB_I(limit)),
		      &r, err))
		return false;
	for (i = r.count; i-- > 0;) {
		int64_t first = db_int(&r, i, 0) * days - (days == 7 ? 3 : 0);
		json_t *o = json_object();

		json_put_time(o, "period_start", first * HISTORY_DAY_MS);
		json_put_time(o, "period_end", (first + days) * HISTORY_DAY_MS);
		history_cost(o, "spent_usd", db_int(&r, i, 1));
		json_put_int(o, "tokens", db_int(&r, i, 2));
		json_put_int(o, "calls", db_int(&r, i, 3));
		json_array_append_new(list, o);
	}
	return true;
}

CO_FN static void history_show_trends(struct http_request *req)
{
	int64_t limit = http_query_int(req, "limit", 1, 366, 30);
	struct str period = http_query(req, "period");
	struct history h = {.workspace = STR(""), .user = STR("")};
	bool whole = strchr(req->route->path, '{') == NULL,
	     weeks = str_eqz(period, "weekly") || str_eqz(period, "week");
	json_t *list = json_own(req->arena, json_array()), *o;
	struct error err = ERROR_INIT;

	if (!whole && !history_load(req, &h))
		return;
	h.since = 0; /* what was is shown beyond the period of the budget */
	if (period.n > 0 && !weeks && !str_eqz(period, "daily") && !str_eqz(period, "day"))
		error_field(&err, ERR_INVALID_VALUE, "period", "must be daily or weekly");
	if (err.code != ERR_OK || !history_trends(req, &h, weeks ? 7 : 1, limit, list, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = json_pack("{s:O, s:s, s:I}", "trends", list, "period", weeks ? "weekly" : "daily", "count",
		      (json_int_t)json_array_size(list));
	json_put_str(o, "org_id", req->ctx.org_id);
	if (!whole)
		json_put_str(o, "budget_id", h.budget->id);
	http_reply_json(req, 200, o);
}

/* ---- alerts ---- */

/* The marks of rest-core 7. */
static const struct history_mark {
	int64_t percent;
	const char *action, *severity;
} history_marks[] = {
    {50, "notify", "info"}, {75, "warn", "warning"}, {90, "soft_limit", "critical"}, {100, "hard_limit", "exceeded"}};

static bool history_passed(const struct budget *b, int64_t percent, int64_t cost, int64_t tokens)
{
	double share = (double)percent / 100, of = (double)b->amount_tokens;

	return (double)cost >= share * (double)b->amount || (of > 0 && (double)tokens >= share * of);
}

static struct str history_alert_id(struct arena *a, const struct budget *b, int64_t percent)
{
	return arena_printf(a, "%.*s-%lld", STR_ARG(b->id), (long long)percent);
}

/* Who has taken note of the mark in this period. */
static void history_noted(json_t *o, const struct db_rows *r, int64_t percent)
{
	size_t i;

	for (i = 0; i < r->count && db_int(r, i, 0) != percent; i++)
		;
	json_object_set_new(o, "acknowledged", json_boolean(i < r->count));
	if (i == r->count)
		return;
	json_put_str(o, "acknowledged_by", db_str(r, i, 1));
	json_put_time(o, "acknowledged_at", db_int(r, i, 2));
}

CO_FN static bool history_notes(struct http_request *req, const struct history *h, struct db_rows *r, struct error *err)
{
	struct worker *w = req->user;

	return db_query(w->db, req->arena,
			"SELECT percent, user_id, created_at FROM budget_acknowledgements WHERE budget_id = $1"
			" AND org_id = $2 AND period_start = $3",
			DB_ARGS(DB_S(h->budget->id), DB_S(req->ctx.org_id), DB_I(h->since)), r, err);
}

/* Those that were passed in this period, by the ledger. */
CO_FN static void history_alerts(struct http_request *req)
{
	struct error err = ERROR_INIT;
	int64_t cost, tokens;
	struct db_rows notes;
	struct history h;
	json_t *list;
	size_t i;

	if (!history_load(req, &h))
		return;
	if (!budget_sum(req->user, req->arena, &req->ctx, h.workspace, h.user, h.since, INT64_MAX, &cost, &tokens,
			&err) ||
	    !history_notes(req, &h, &notes, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < countof(history_marks); i++) {
		const struct history_mark *m = &history_marks[i];
		json_t *o;

		if (!history_passed(h.budget, m->percent, cost, tokens))
			continue;
		o = json_pack("{s:f, s:s, s:s}", "threshold", (double)m->percent / 100, "action", m->action, "severity",
			      m->severity);
		json_put_str(o, "alert_id", history_alert_id(req->arena, h.budget, m->percent));
		json_put_str(o, "budget_id", h.budget->id);
		history_cost(o, "spent_usd", cost);
		history_cost(o, "amount_usd", h.budget->amount);
		json_put_time(o, "period_start", h.budget->start);
		history_noted(o, &notes, m->percent);
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:s%}", "alerts", list, "count", (json_int_t)json_array_size(list),
				  "budget_id", h.budget->id.p, h.budget->id.n));
}

/* The mark that the path names, if it was passed; the first who takes note is kept. */
CO_FN static void history_acknowledge(struct http_request *req)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	int64_t cost, tokens;
	struct db_batch *b;
	struct history h;
	size_t i;

	if (!history_load(req, &h))
		return;
	if (!budget_sum(w, req->arena, &req->ctx, h.workspace, h.user, h.since, INT64_MAX, &cost, &tokens, &err)) {
		http_reply_error(req, &err);
		return;
	}
	for (i = 0; i < countof(history_marks) &&
		    !(str_eq(history_alert_id(req->arena, h.budget, history_marks[i].percent), req->params[1]) &&
		      history_passed(h.budget, history_marks[i].percent, cost, tokens));
	     i++)
		;
	if (i == countof(history_marks)) {
		tenancy_missing(req, "Alert");
		return;
	}
	b = db_batch_new(w->db);
	db_batch_add(b,
		     "INSERT INTO budget_acknowledgements (budget_id, period_start, percent, org_id, user_id,"
		     " created_at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (budget_id, period_start, percent) DO"
		     " NOTHING",
		     DB_ARGS(DB_S(h.budget->id), DB_I(h.since), DB_I(history_marks[i].percent), DB_S(req->ctx.org_id),
			     DB_S(req->ctx.principal), DB_I(clock_wall_ms())),
		     DB_ANY);
	if (tenancy_commit(
		req, b,
		&(struct tenancy_act){
		    .category = "billing", .action = "budget.alert_acknowledge", .type = "budget", .id = h.budget->id}))
		http_reply_json(
		    req, 200,
		    json_pack("{s:b, s:s%}", "acknowledged", 1, "alert_id", req->params[1].p, req->params[1].n));
}

/* ---- how the plan stands ---- */

CO_FN static void history_limits(struct http_request *req)
{
	static const char *const names[QUOTA_RESOURCES] = {"debates_per_month", "users_per_org"};
	bool counted = ((struct worker *)req->user)->conf->tenancy.quotas; /* else nobody counts */
	json_t *parts[4], *o;
	struct error err = ERROR_INIT;
	struct quota q;
	size_t i;

	for (i = 0; i < countof(parts); i++)
		parts[i] = json_own(req->arena, json_object());
	for (i = 0; i < QUOTA_RESOURCES; i++) {
		bool limited;

		if (!quota_read(req->user, req->arena, &req->ctx, (enum quota_resource)i, &q, &err)) {
			http_reply_error(req, &err);
			return;
		}
		limited = q.limit < INT64_MAX;
		json_object_set_new(parts[0], names[i], limited ? json_integer(q.limit) : json_null());
		json_object_set_new(parts[1], names[i], counted ? json_integer(q.used) : json_null());
		json_object_set_new(parts[2], names[i],
				    limited && q.limit > 0 ? json_real(100.0 * (double)q.used / (double)q.limit)
							   : json_null());
		json_object_set_new(parts[3], names[i], json_boolean(limited && q.used >= q.limit));
	}
	o = json_pack("{s:O, s:O, s:O, s:O}", "limits", parts[0], "used", parts[1], "percent", parts[2], "exceeded",
		      parts[3]);
	json_object_set_new(o, "tier", counted ? json_str(q.tier) : json_null());
	json_object_set_new(o, "enforced", json_boolean(counted));
	http_reply_json(req, 200, json_pack("{s:o}", "limits", o));
}

static const struct route history_rows[] = {
    ROUTE(GET, "/api/budgets/trends", history_show_trends, "budget.read", READ,
	  "What the organization spent, by day or week"),
    ROUTE(GET, "/api/budgets/{id}/transactions", history_list, "budget.read", READ,
	  "What was spent of a budget in its period"),
    ROUTE(GET, "/api/budgets/{id}/trends", history_show_trends, "budget.read", READ,
	  "What was spent under a budget, by day or week"),
    ROUTE(GET, "/api/budgets/{id}/alerts", history_alerts, "budget.read", READ,
	  "The marks that a budget has passed in its period"),
    ROUTE(POST, "/api/budgets/{id}/alerts/{alert}/acknowledge", history_acknowledge, "budget.write", WRITE,
	  "Take note of a mark that a budget has passed"),
    ROUTE(GET, "/api/billing/limits", history_limits, "organization.read", READ,
	  "What the tier of the organization allows, and what is used"),
};
const struct route_table budget_history_routes = {history_rows, countof(history_rows)};
