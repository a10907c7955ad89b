/* SPDX-License-Identifier: MIT */
/*
 * Whose quota is used up hears it before anything is read: 402. What counts is the count in the transaction that
 * creates (quota_count_debate); this step saves the work of a request that must fail. Only with tenancy.quotas.
 */
#include "common/conf.h"
#include "worker/middleware/pipeline.h"
#include "worker/tenancy/quota.h"

static bool tier_applies(const struct route *r, const struct conf *c)
{
	return c->tenancy.quotas && r->method == HTTP_POST && r->rate == RATE_CREATE && r->permission != NULL &&
	       (strcmp(r->permission, "debates:create") == 0 || strcmp(r->permission, "debates.create") == 0);
}

CO_FN static bool tier_before(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct quota q;

	if (!quota_read(req->user, req->arena, &req->ctx, QUOTA_DEBATES, &q, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	if (q.used < q.limit) {
		if (q.limit != INT64_MAX)
			http_reply_field(req, "X-Quota-Remaining", "%lld", (long long)(q.limit - q.used));
		return true;
	}
	quota_reply(req, &q);
	return false;
}

const struct middleware middleware_tier_enforcement = {
    .name = "tier_enforcement", .applies = tier_applies, .before = tier_before, .waits = true};
