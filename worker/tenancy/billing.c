/* SPDX-License-Identifier: MIT */
/*
 * What an organization may use, in the words of billing (rest-core 7): the tiers and the one that it has. Called by the
 * router. This server takes no payments: no price is named, and what would need them answers 503.
 */
#include "common/json.h"
#include "worker/tenancy/quota.h"
#include "worker/tenancy/tenancy.h"
#include "worker/worker.h"

static json_t *billing_limit(int64_t n)
{
	return n < INT64_MAX ? json_integer(n) : json_null();
}

static json_t *billing_limits(int64_t debates, int64_t users)
{
	return json_pack("{s:o, s:o}", "debates_per_month", billing_limit(debates), "users_per_org",
			 billing_limit(users));
}

static void billing_plans(struct http_request *req)
{
	json_t *list = json_array();
	int64_t limits[QUOTA_RESOURCES];
	const char *tier;
	size_t i;

	for (i = 0; (tier = quota_tier(i, limits)) != NULL; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:o, s:n, s:n}", "id", tier, "tier", tier,
						      "name", tier, "limits",
						      billing_limits(limits[QUOTA_DEBATES], limits[QUOTA_USERS]),
						      "price_monthly_cents", "price_monthly"));
	http_reply_json(req, 200,
			json_pack("{s:o, s:b}", "plans", list, "enforced",
				  (int)((const struct worker *)req->user)->conf->tenancy.quotas));
}

CO_FN static void billing_subscription(struct http_request *req)
{
	struct quota q[QUOTA_RESOURCES];
	struct error err = ERROR_INIT;
	json_t *o;
	size_t i;

	for (i = 0; i < QUOTA_RESOURCES; i++)
		if (!quota_read(req->user, req->arena, &req->ctx, (enum quota_resource)i, &q[i], &err)) {
			http_reply_error(req, &err);
			return;
		}
	o = json_pack("{s:s, s:b, s:{s:s%}, s:o, s:b, s:b, s:b}", "status", "active", "is_active", 1, "organization",
		      "id", req->ctx.org_id.p, req->ctx.org_id.n, "limits",
		      billing_limits(q[QUOTA_DEBATES].limit, q[QUOTA_USERS].limit), "cancel_at_period_end", 0,
		      "is_trialing", 0, "payment_failed", 0);
	json_object_set_new(o, "tier", q[0].tier.n > 0 ? json_str(q[0].tier) : json_null());
	json_object_set_new(o, "current_period_end", json_null());
	http_reply_json(req, 200, json_pack("{s:o}", "subscription", o));
}

static void billing_absent(struct http_request *req)
{
	struct error err = ERROR_INIT;

	error_set(&err, ERR_UNAVAILABLE, "Billing not available: this server takes no payments");
	http_reply_error(req, &err);
}

#define BILLING_ABSENT(m, p)                                                                               \
	ROUTE(m, "/api/billing/" p, billing_absent, "organization.read", READ, "Not offered: answers 503", \
	      .flags = ROUTE_INLINE)

static const struct route billing_rows[] = {
    ROUTE(GET, "/api/billing/plans", billing_plans, "organization.read", READ, "The tiers and what they allow",
	  .flags = ROUTE_INLINE),
    ROUTE(GET, "/api/billing/subscription", billing_subscription, "organization.read", READ,
	  "The tier of the organization"),
    BILLING_ABSENT(GET, "trial"),
    BILLING_ABSENT(POST, "trial/start"),
    BILLING_ABSENT(POST, "checkout"),
    BILLING_ABSENT(POST, "portal"),
    BILLING_ABSENT(POST, "cancel"),
    BILLING_ABSENT(POST, "resume"),
    BILLING_ABSENT(GET, "invoices"),
};
const struct route_table billing_routes = {billing_rows, countof(billing_rows)};
