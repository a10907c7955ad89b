/* SPDX-License-Identifier: MIT */
/*
 * What the tier of an organization allows in a month, and what it has spent of its budgets (security.md 4.4,
 * rest-core 7). Quotas hold only with tenancy.quotas; budgets hold where somebody has made one.
 */
#ifndef WORKER_TENANCY_QUOTA_H
#define WORKER_TENANCY_QUOTA_H

#include "common/db.h"
#include "worker/http/http.h"
#include "worker/http/route.h"

struct worker;

extern const struct route_table quota_routes;           /* quota.c */
extern const struct route_table budget_routes;          /* budget.c */
extern const struct route_table usage_routes;           /* usage.c */
extern const struct route_table billing_routes;         /* billing.c */
extern const struct route_table forecast_routes;        /* forecast.c */
extern const struct route_table budget_history_routes;  /* budget_history.c */
extern const struct route_table budget_override_routes; /* budget_overrides.c */

enum quota_resource { QUOTA_DEBATES, QUOTA_USERS, QUOTA_RESOURCES };

struct quota {
	enum quota_resource resource;
	struct str tier;
	int64_t limit, used; /* limit INT64_MAX: none */
};

/*
 * How an organization stands. Without tenancy.quotas the limit is none, and nothing is asked. ERR_STORAGE: not known,
 * and whoever asks refuses.
 */
CO_FN bool quota_read(struct worker *w, struct arena *a, const struct context *ctx, enum quota_resource resource,
		      struct quota *out, struct error *err) MUST_CHECK;
/* The name of tier number i, from the smallest on, with its limits (INT64_MAX: none); NULL behind the last. */
const char *quota_tier(size_t i, int64_t limits[QUOTA_RESOURCES]);
/* The smallest tier that allows so many debates in a month. */
struct str quota_tier_for(double debates);
/* 402 with {error, code, message, resource, limit, used, remaining, tier, upgrade_url}. */
void quota_reply(struct http_request *req, const struct quota *q);
/*
 * Counts one debate in the batch that creates it: whatever makes the batch fail gives the count back. The batch touches
 * another number of rows (ERR_FENCED at statement *at) when the quota is used up; *at is -1 where none holds.
 */
CO_FN bool quota_count_debate(struct worker *w, struct arena *a, const struct context *ctx, struct db_batch *b,
			      int64_t *at, struct error *err) MUST_CHECK;

struct budget_state {
	struct str id, name;
	int64_t amount_micro, spent_micro;
	bool suspends; /* refuses when it is exceeded */
};
/* The budget that is used most, among the active ones; amount_micro 0: there is none. */
CO_FN bool budget_worst(struct worker *w, struct arena *a, const struct context *ctx, struct budget_state *out,
			struct error *err) MUST_CHECK;

#endif
