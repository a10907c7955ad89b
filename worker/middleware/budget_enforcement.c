/* SPDX-License-Identifier: MIT */
/*
 * An organization that has spent its budget starts no further debate: 402. From nine tenths on it is warned in a
 * header (security.md 4.4). When the ledger cannot be read nothing is started either. Where nobody made a budget there
 * is none.
 */
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/middleware/pipeline.h"
#include "worker/tenancy/quota.h"

static bool budget_applies(const struct route *r, const struct conf *c)
{
	(void)c;
	return r->method == HTTP_POST && r->rate == RATE_CREATE && r->permission != NULL &&
	       (strcmp(r->permission, "debates:create") == 0 || strcmp(r->permission, "debates.create") == 0);
}

static void budget_refuse(struct http_request *req, const struct budget_state *s)
{
	json_t *o = json_pack("{s:s, s:s, s:f, s:f}", "error", "the organization has spent its budget", "code",
			      "budget_exceeded", "limit_usd", (double)s->amount_micro / 1e6, "spent_usd",
			      (double)s->spent_micro / 1e6);

	metric_add(M_BUDGET_REFUSED, 1, NULL);
	log_warn("tenancy", "a debate was refused: the budget is spent", KV_STR("org_id", req->ctx.org_id),
		 KV_STR("budget_id", s->id));
	json_put_str(o, "budget_id", s->id);
	json_put_str(o, "trace_id", req->request_id);
	http_reply_json(req, 402, o);
}

CO_FN static bool budget_before(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct budget_state s;

	if (!budget_worst(req->user, req->arena, &req->ctx, &s, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	if (s.amount_micro == 0 || (double)s.spent_micro < 0.9 * (double)s.amount_micro)
		return true;
	http_reply_field(req, "X-Budget-Used", "%.0f%%", 100.0 * (double)s.spent_micro / (double)s.amount_micro);
	if (!s.suspends || s.spent_micro < s.amount_micro)
		return true;
	budget_refuse(req, &s);
	return false;
}

const struct middleware middleware_budget_enforcement = {
    .name = "budget_enforcement", .applies = budget_applies, .before = budget_before, .waits = true};
