/* SPDX-License-Identifier: MIT */
/*
 * GET /api/billing/usage/forecast (rest-core 7): what this month comes to if it goes on as it went so far. Called by
 * the router. A straight line from the ledger, said to be one; it knows of no seasons.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/tenancy/quota.h"
#include "worker/tenancy/tenancy.h"
#include "worker/tenancy/usage.h"

#define FORECAST_DAY_MS INT64_C(86400000)

struct forecast {
	struct usage_so_far month;
	double passed, length; /* days; at least one has passed */
	struct quota quota;
	bool limited;
};

static double forecast_of(const struct forecast *f, int64_t used)
{
	return (double)used / f->passed * f->length;
}

/* Days until the tier's debates are used up at this pace; null: never, or not in this month. */
static json_t *forecast_until_limit(const struct forecast *f)
{
	double left = (double)(f->quota.limit - f->quota.used), pace = (double)f->quota.used / f->passed;

	if (!f->limited || pace <= 0 || left / pace > f->length - f->passed)
		return json_null();
	return json_real(left > 0 ? left / pace : 0.0);
}

static json_t *forecast_projection(const struct forecast *f)
{
	return json_pack("{s:f, s:f, s:f}", "cost_usd", forecast_of(f, f->month.cost_micro) / 1e6, "debates",
			 forecast_of(f, f->month.debates), "tokens", forecast_of(f, f->month.tokens));
}

CO_FN static void forecast_show(struct http_request *req)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	int64_t now = clock_wall_ms();
	json_t *o, *inner, *tier;
	struct forecast f;

	if (!usage_this_month(w, req->arena, &req->ctx, now, &f.month, &err) ||
	    !quota_read(w, req->arena, &req->ctx, QUOTA_DEBATES, &f.quota, &err)) {
		http_reply_error(req, &err);
		return;
	}
	f.length = (double)(f.month.end - f.month.start) / (double)FORECAST_DAY_MS;
	f.passed = (double)(now - f.month.start) / (double)FORECAST_DAY_MS;
	f.passed = f.passed < 1 ? 1 : f.passed;
	f.limited = f.quota.limit < INT64_MAX;
	inner = json_pack("{s:{s:f, s:I, s:I}, s:o, s:f, s:s}", "current_usage", "cost_usd",
			  (double)f.month.cost_micro / 1e6, "debates", (json_int_t)f.month.debates, "tokens",
			  (json_int_t)f.month.tokens, "projection", forecast_projection(&f), "days_remaining",
			  f.length - f.passed > 0 ? f.length - f.passed : 0.0, "method", "linear");
	tier = f.limited ? json_str(quota_tier_for(forecast_of(&f, f.month.debates))) : json_null();
	json_object_set(inner, "tier_recommendation", tier);
	o = json_pack("{s:o, s:f, s:f, s:f, s:o, s:o}", "forecast", inner, "projected_monthly_cost",
		      forecast_of(&f, f.month.cost_micro) / 1e6, "projected_debates", forecast_of(&f, f.month.debates),
		      "projected_tokens", forecast_of(&f, f.month.tokens), "recommended_tier", tier, "days_until_limit",
		      forecast_until_limit(&f));
	json_put_time(o, "period_start", f.month.start);
	json_put_time(o, "period_end", f.month.end);
	http_reply_json(req, 200, o);
}

static const struct route forecast_rows[] = {
    ROUTE(GET, "/api/billing/usage/forecast", forecast_show, "analytics.read", READ,
	  "What this month comes to at the pace so far"),
};
const struct route_table forecast_routes = {forecast_rows, countof(forecast_rows)};
