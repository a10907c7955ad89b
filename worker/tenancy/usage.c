/* SPDX-License-Identifier: MIT */
/*
 * GET /api/billing/usage and below (rest-core 7): what was used in a period, straight from the usage ledger. Totals, by
 * provider, model and day are the organization's; by agent and debate only those of the workspace that is asked from.
 * Called by the router; changes nothing and estimates nothing but how a cost divides into input and output.
 */
#include <time.h>

#include "common/clock.h"
#include "common/csv.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/agents/agent.h"
#include "worker/tenancy/quota.h"
#include "worker/tenancy/tenancy.h"
#include "worker/tenancy/usage.h"

#define USAGE_DAY_MS INT64_C(86400000)
#define USAGE_CALLS_MAX 10000 /* lines of one answer */
#define USAGE_ORG SQL_WITHIN_ORG("what is used is the organization's")
#define USAGE_SUMS                                                                                           \
	"CAST(SUM(tokens_in) AS BIGINT), CAST(SUM(tokens_out) AS BIGINT), CAST(SUM(cost_micro) AS BIGINT), " \
	"COUNT(*)"

struct usage_span {
	int64_t start, end; /* milliseconds, end excluded */
};

struct usage_sums {
	int64_t tokens_in, tokens_out, cost, calls;
};

/* ---- period ---- */

/* Months before this one, 0: this. */
static int64_t usage_month(int64_t now_ms, int months)
{
	time_t t = (time_t)(now_ms / 1000);
	struct tm tm;

	(void)gmtime_r(&t, &tm);
	tm = (struct tm){.tm_year = tm.tm_year, .tm_mon = tm.tm_mon + months, .tm_mday = 1};
	return (int64_t)timegm(&tm) * 1000;
}

/* `period` (day, week, month, quarter, year, all) or `start` and `end`; by default this month. */
static bool usage_read_span(struct http_request *req, struct usage_span *span, struct error *err)
{
	struct str period = http_query(req, "period"), start = http_query(req, "start"), end = http_query(req, "end");
	int64_t now = clock_wall_ms(), day = now / USAGE_DAY_MS * USAGE_DAY_MS;

	*span = (struct usage_span){usage_month(now, 0), usage_month(now, 1)};
	if (str_eqz(period, "day"))
		*span = (struct usage_span){day, day + USAGE_DAY_MS};
	else if (str_eqz(period, "week"))
		*span = (struct usage_span){day - 6 * USAGE_DAY_MS, day + USAGE_DAY_MS};
	else if (str_eqz(period, "quarter"))
		span->start = usage_month(now, -2);
	else if (str_eqz(period, "year"))
		span->start = usage_month(now, -11);
	else if (str_eqz(period, "all"))
		span->start = 0;
	else if (period.n > 0 && !str_eqz(period, "month") && !str_eqz(period, "monthly"))
		return error_field(err, ERR_INVALID_VALUE, "period", "must be day, week, month, quarter, year or all");
	if (start.n > 0 && !clock_parse(start, &span->start))
		return error_field(err, ERR_INVALID_VALUE, "start", "must be a date or time such as 2026-01-31");
	if (end.n > 0 && !clock_parse(end, &span->end))
		return error_field(err, ERR_INVALID_VALUE, "end", "must be a date or time such as 2026-01-31");
	return span->start < span->end ||
	       error_field(err, ERR_INVALID_VALUE, "end", "must be after the beginning of the period");
}

/* ---- sums ---- */

static double usage_usd(int64_t micro)
{
	return (double)micro / 1e6;
}

/* Columns at..at+3 of a row, as USAGE_SUMS has them. */
static struct usage_sums usage_row(const struct db_rows *r, size_t row, size_t at)
{
	return (struct usage_sums){db_int(r, row, at), db_int(r, row, at + 1), db_int(r, row, at + 2),
				   db_int(r, row, at + 3)};
}

static void usage_add(struct usage_sums *to, const struct usage_sums *from)
{
	to->tokens_in += from->tokens_in;
	to->tokens_out += from->tokens_out;
	to->cost += from->cost;
	to->calls += from->calls;
}

static void usage_put(json_t *o, const struct usage_sums *s)
{
	json_put_int(o, "tokens", s->tokens_in + s->tokens_out);
	json_put_int(o, "tokens_in", s->tokens_in);
	json_put_int(o, "tokens_out", s->tokens_out);
	json_put_int(o, "calls", s->calls);
	json_object_set_new(o, "cost", json_real(usage_usd(s->cost)));
	json_object_set_new(o, "cost_usd", json_real(usage_usd(s->cost)));
}

/* What input costs of a sum, by the present prices of the model: the ledger holds only the sum. */
static double usage_input(struct str provider, struct str model, const struct usage_sums *s)
{
	int64_t in, out;
	double input, output;

	agents_price(provider, model, &in, &out);
	input = (double)s->tokens_in * (double)in;
	output = (double)s->tokens_out * (double)out;
	return input + output > 0 ? (double)s->cost * input / (input + output) : 0;
}

CO_FN bool usage_this_month(struct worker *w, struct arena *a, const struct context *ctx, int64_t now_ms,
			    struct usage_so_far *out, struct error *err)
{
	struct db_rows r;

	*out = (struct usage_so_far){.start = usage_month(now_ms, 0), .end = usage_month(now_ms, 1)};
	if (!db_query(w->db, a,
		      USAGE_ORG "SELECT CAST(COALESCE(SUM(cost_micro), 0) AS BIGINT),"
				" CAST(COALESCE(SUM(tokens_in + tokens_out), 0) AS BIGINT), COUNT(DISTINCT debate_id)"
				" FROM usage_ledger WHERE org_id = $1 AND created_at >= $2 AND created_at < $3",
		      DB_ARGS(DB_S(ctx->org_id), DB_I(out->start), DB_I(out->end)), &r, err))
		return false;
	out->cost_micro = db_int(&r, 0, 0);
	out->tokens = db_int(&r, 0, 1);
	out->debates = db_int(&r, 0, 2);
	return true;
}

struct usage {
	struct http_request *req;
	struct usage_span span;
	struct usage_sums total;
	int64_t debates;
	double input_micro;
	json_t *providers, *models, *days, *agents, *debate_list; /* of the request's arena */
};

CO_FN static bool usage_by_model(struct usage *u, struct error *err)
{
	const struct context *ctx = &u->req->ctx;
	struct worker *w = u->req->user;
	struct db_rows r;
	size_t i;

	if (!db_query(w->db, u->req->arena,
		      USAGE_ORG "SELECT provider, model, " USAGE_SUMS " FROM usage_ledger WHERE org_id = $1"
				" AND created_at >= $2 AND created_at < $3 GROUP BY provider, model ORDER BY provider,"
				" model LIMIT 1000",
		      DB_ARGS(DB_S(ctx->org_id), DB_I(u->span.start), DB_I(u->span.end)), &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		struct str provider = db_str(&r, i, 0), model = db_str(&r, i, 1);
		struct usage_sums s = usage_row(&r, i, 2), sum;
		json_t *o = json_object_getn(u->providers, provider.p, provider.n), *m = json_object();

		if (o == NULL) {
			o = json_object();
			json_object_setn_new(u->providers, provider.p, provider.n, o);
		}
		sum =
		    (struct usage_sums){json_get_int(o, "tokens_in", 0), json_get_int(o, "tokens_out", 0),
					(int64_t)(json_get_num(o, "cost", 0) * 1e6 + 0.5), json_get_int(o, "calls", 0)};
		usage_add(&sum, &s);
		usage_put(o, &sum);
		json_put_str(m, "provider", provider);
		json_put_str(m, "model", model);
		usage_put(m, &s);
		json_array_append_new(u->models, m);
		usage_add(&u->total, &s);
		u->input_micro += usage_input(provider, model, &s);
	}
	return true;
}

CO_FN static bool usage_by_day(struct usage *u, struct error *err)
{
	const struct context *ctx = &u->req->ctx;
	struct worker *w = u->req->user;
	char iso[CLOCK_ISO_MAX];
	struct db_rows r;
	size_t i;

	if (!db_query(w->db, u->req->arena,
		      USAGE_ORG "SELECT created_at / 86400000, COUNT(DISTINCT debate_id), " USAGE_SUMS
				" FROM usage_ledger WHERE org_id = $1 AND created_at >= $2 AND created_at < $3"
				" GROUP BY created_at / 86400000 ORDER BY created_at / 86400000 LIMIT 1000",
		      DB_ARGS(DB_S(ctx->org_id), DB_I(u->span.start), DB_I(u->span.end)), &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		struct usage_sums s = usage_row(&r, i, 2);
		json_t *o = json_object();

		json_put_str(o, "date", str_sub(str_of(clock_iso(iso, db_int(&r, i, 0) * USAGE_DAY_MS)), 0, 10));
		json_put_int(o, "debates", db_int(&r, i, 1));
		usage_put(o, &s);
		json_array_append_new(u->days, o);
	}
	return db_query(w->db, u->req->arena,
			USAGE_ORG "SELECT COUNT(DISTINCT debate_id) FROM usage_ledger WHERE org_id = $1"
				  " AND created_at >= $2 AND created_at < $3",
			DB_ARGS(DB_S(ctx->org_id), DB_I(u->span.start), DB_I(u->span.end)), &r, err) &&
	       ((u->debates = db_int(&r, 0, 0)) >= 0);
}

static void usage_list(json_t *list, const char *key, const struct db_rows *r)
{
	size_t i;

	for (i = 0; i < r->count; i++) {
		struct usage_sums s = usage_row(r, i, 1);
		json_t *o = json_object();

		json_put_str(o, key, db_str(r, i, 0));
		usage_put(o, &s);
		json_array_append_new(list, o);
	}
}

/* Of the workspace; the dearest hundred. */
CO_FN static bool usage_of_workspace(struct usage *u, struct error *err)
{
	const struct context *ctx = &u->req->ctx;
	struct worker *w = u->req->user;
	struct db_rows r;

	if (!db_query(w->db, u->req->arena,
		      "SELECT agent, " USAGE_SUMS " FROM usage_ledger WHERE workspace_id = $1 AND created_at >= $2"
		      " AND created_at < $3 GROUP BY agent ORDER BY SUM(cost_micro) DESC, agent LIMIT 100",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_I(u->span.start), DB_I(u->span.end)), &r, err))
		return false;
	usage_list(u->agents, "agent", &r);
	if (!db_query(w->db, u->req->arena,
		      "SELECT debate_id, " USAGE_SUMS " FROM usage_ledger WHERE workspace_id = $1 AND created_at >= $2"
		      " AND created_at < $3 GROUP BY debate_id ORDER BY SUM(cost_micro) DESC, debate_id LIMIT 100",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_I(u->span.start), DB_I(u->span.end)), &r, err))
		return false;
	usage_list(u->debate_list, "debate_id", &r);
	return true;
}

/* False: answered. */
CO_FN static bool usage_load(struct http_request *req, struct usage *u)
{
	struct error err = ERROR_INIT;
	json_t **const lists[] = {&u->models, &u->days, &u->agents, &u->debate_list};
	size_t i;

	*u = (struct usage){.req = req, .providers = json_own(req->arena, json_object())};
	for (i = 0; i < countof(lists); i++)
		*lists[i] = json_own(req->arena, json_array());
	if (usage_read_span(req, &u->span, &err) && usage_by_model(u, &err) && usage_by_day(u, &err) &&
	    usage_of_workspace(u, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

/* ---- answers ---- */

/* Members that both forms of the answer have, the one in `usage` and the flat one. */
static void usage_figures(const struct usage *u, const struct quota *q, json_t *o)
{
	char iso[CLOCK_ISO_MAX];
	bool limited = q->limit < INT64_MAX;

	json_put_int(o, "debates_used", u->debates);
	json_object_set_new(o, "debates_limit", limited ? json_integer(q->limit) : json_null());
	json_object_set_new(o, "debates_remaining",
			    limited ? json_integer(q->limit > q->used ? q->limit - q->used : 0) : json_null());
	json_put_int(o, "tokens_used", u->total.tokens_in + u->total.tokens_out);
	json_put_int(o, "tokens_in", u->total.tokens_in);
	json_put_int(o, "tokens_out", u->total.tokens_out);
	json_put_int(o, "calls", u->total.calls);
	json_put_str(o, "period_start", str_of(clock_iso(iso, u->span.start)));
	json_put_str(o, "period_end", str_of(clock_iso(iso, u->span.end)));
}

static json_t *usage_costs(const struct usage *u)
{
	json_t *o = json_object(), *v;
	const char *provider;

	json_object_foreach(u->providers, provider, v) json_object_set(o, provider, json_object_get(v, "cost"));
	return o;
}

CO_FN static void usage_show(struct http_request *req)
{
	json_t *doc, *inner;
	struct error err = ERROR_INIT;
	struct quota q;
	struct usage u;

	if (!usage_load(req, &u))
		return;
	if (!quota_read(req->user, req->arena, &req->ctx, QUOTA_DEBATES, &q, &err)) {
		http_reply_error(req, &err);
		return;
	}
	inner = json_object();
	usage_figures(&u, &q, inner);
	json_object_set_new(inner, "estimated_cost_usd", json_real(usage_usd(u.total.cost)));
	json_object_set_new(inner, "cost_breakdown",
			    json_pack("{s:f, s:f, s:f}", "input_cost", u.input_micro / 1e6, "output_cost",
				      ((double)u.total.cost - u.input_micro) / 1e6, "total", usage_usd(u.total.cost)));
	json_object_set_new(inner, "cost_by_provider", usage_costs(&u));
	doc = json_object();
	usage_figures(&u, &q, doc);
	json_object_set_new(doc, "usage", inner);
	json_object_set_new(doc, "cost_usd", json_real(usage_usd(u.total.cost)));
	json_object_set(doc, "by_provider", u.providers);
	json_object_set_new(doc, "by_feature", json_object());
	json_object_set(doc, "by_model", u.models);
	json_object_set(doc, "by_day", u.days);
	json_object_set(doc, "by_agent", u.agents);
	json_object_set(doc, "by_debate", u.debate_list);
	http_reply_json(req, 200, doc);
}

CO_FN static void usage_breakdown(struct http_request *req)
{
	char start[CLOCK_ISO_MAX], end[CLOCK_ISO_MAX];
	struct usage u;

	if (usage_load(req, &u))
		http_reply_json(req, 200,
				json_pack("{s:O, s:O, s:O, s:O, s:O, s:f, s:s, s:s}", "by_model", u.models,
					  "by_provider", u.providers, "by_day", u.days, "by_agent", u.agents,
					  "by_debate", u.debate_list, "total_cost_usd", usage_usd(u.total.cost),
					  "period_start", clock_iso(start, u.span.start), "period_end",
					  clock_iso(end, u.span.end)));
}

static void usage_send(struct http_request *req, struct buf *b)
{
	http_reply_field(req, "Content-Disposition", "attachment; filename=\"usage.csv\"");
	http_reply(req, 200, "text/csv; charset=utf-8", arena_str(req->arena, buf_str(b)));
	buf_free(b);
}

/* One line for each paid call of the workspace, as the ledger has them, the oldest first. */
CO_FN static void usage_export_calls(struct http_request *req)
{
	static const char *const columns[] = {"created_at", "debate_id", "step",      "user_id",    "agent",
					      "provider",   "model",     "tokens_in", "tokens_out", "cost_usd"};
	int64_t limit = http_query_int(req, "limit", 1, USAGE_CALLS_MAX, USAGE_CALLS_MAX),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct buf b = BUF_INIT;
	struct usage_span span;
	char iso[CLOCK_ISO_MAX];
	struct db_rows r;
	size_t i, k;

	if (!usage_read_span(req, &span, &err) ||
	    !db_query(w->db, req->arena,
		      "SELECT created_at, debate_id, step_key, user_id, agent, provider, model, tokens_in, tokens_out,"
		      " cost_micro FROM usage_ledger WHERE workspace_id = $1 AND created_at >= $2 AND created_at < $3"
		      " ORDER BY created_at, debate_id, step_key LIMIT $4 OFFSET $5",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(span.start), DB_I(span.end), DB_I(limit), DB_I(offset)),
		      &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	for (k = 0; k < countof(columns); k++)
		csv_cell(&b, str_of(columns[k]), k + 1 == countof(columns));
	for (i = 0; i < r.count; i++) {
		csv_cell(&b, str_of(clock_iso(iso, db_int(&r, i, 0))), false);
		for (k = 1; k < 7; k++)
			csv_cell(&b, db_str(&r, i, k), false);
		buf_printf(&b, "%lld,%lld,%.6f\r\n", (long long)db_int(&r, i, 7), (long long)db_int(&r, i, 8),
			   usage_usd(db_int(&r, i, 9)));
	}
	usage_send(req, &b);
}

/* One line for each day; ?detail=calls: for each call. */
CO_FN static void usage_export(struct http_request *req)
{
	static const char *const columns[] = {"date", "debates", "calls", "tokens_in", "tokens_out", "cost_usd"};
	struct buf b = BUF_INIT;
	struct usage u;
	const json_t *day;
	size_t i, k;

	if (str_eqz(http_query(req, "detail"), "calls")) {
		usage_export_calls(req);
		return;
	}
	if (!usage_load(req, &u))
		return;
	for (k = 0; k < countof(columns); k++)
		csv_cell(&b, str_of(columns[k]), k + 1 == countof(columns));
	json_array_foreach(u.days, i, day) for (k = 0; k < countof(columns); k++)
	    csv_json(&b, json_object_get(day, columns[k]), k + 1 == countof(columns));
	usage_send(req, &b);
}

static const struct route usage_rows[] = {
    ROUTE(GET, "/api/billing/usage", usage_show, "analytics.read", READ,
	  "Tokens and costs of a period, by provider, model, day, agent and debate"),
    ROUTE(GET, "/api/billing/usage/breakdown", usage_breakdown, "analytics.read", READ, "The same without quotas"),
    ROUTE(GET, "/api/billing/usage/export", usage_export, "analytics.read", EXPORT,
	  "Days of a period as CSV; detail=calls: the paid calls of the workspace"),
};
const struct route_table usage_routes = {usage_rows, countof(usage_rows)};
