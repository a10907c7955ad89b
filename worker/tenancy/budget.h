/* SPDX-License-Identifier: MIT */
/*
 * Budgets as rows: what budget.c shows and changes and spending.c holds calls to. Private to this room.
 */
#ifndef WORKER_TENANCY_BUDGET_H
#define WORKER_TENANCY_BUDGET_H

#include <jansson.h>

#include "common/context.h"
#include "common/db.h"

struct worker;

#define BUDGET_EACH "*" /* as for_workspace or for_user: each of them by itself */

/* Periods begin at midnight UTC: of the day, of Monday, of the first of one, three or twelve months. */
struct budget_period {
	const char *name;
	int months, days; /* both 0: for ever */
};

struct budget {
	struct str id, name, description;
	struct str for_workspace, for_user; /* "" = all together, BUDGET_EACH, or an id */
	const struct budget_period *period;
	int64_t amount;        /* micro-dollars */
	int64_t amount_tokens; /* 0: tokens do not count */
	int64_t spent, spent_tokens;
	int64_t reset_at, start, end, created_at, updated_at;
	int64_t alerted, alerted_start; /* percent that was told of, in the period that began then */
	bool auto_suspend, active;
	struct str overridden; /* "\nuser\nuser\n": whom it does not stop now; "" nobody */
};

/* Budgets of the organization, the one with the id or all of them (""); what is spent is not read. */
CO_FN bool budget_rows(struct worker *w, struct arena *a, const struct context *ctx, struct str id, struct budget **out,
		       size_t *n, struct error *err) MUST_CHECK;
/* Where counting begins: of the period, or later if the budget was reset in it. Milliseconds. */
int64_t budget_since(const struct budget *b);
/* Whose spending counts for the tenant: workspace and user, "" = any. False: the budget is not about it. */
bool budget_is_about(const struct budget *b, const struct context *ctx, struct str *workspace, struct str *user);
/* What the ledger says of [since, until) in the organization, narrowed by workspace and user ("" = any). */
CO_FN bool budget_sum(struct worker *w, struct arena *a, const struct context *ctx, struct str workspace,
		      struct str user, int64_t since_ms, int64_t until_ms, int64_t *cost_micro, int64_t *tokens,
		      struct error *err) MUST_CHECK;

/* ERR_INVALID_VALUE for user_id: the organization has no such member. */
CO_FN bool budget_member(struct worker *w, struct arena *a, const struct context *ctx, struct str user,
			 struct error *err) MUST_CHECK;

/* ---- budget_overrides.c ---- */

/* Fills in whom each of the budgets does not stop at this moment. */
CO_FN bool budget_overrides(struct worker *w, struct arena *a, const struct context *ctx, struct budget *v, size_t n,
			    struct error *err) MUST_CHECK;
/* Does it refuse what the tenant's user cannot pay from it? */
bool budget_stops(const struct budget *b, const struct context *ctx);
/* The same as a list of ids, new. */
json_t *budget_overridden(const struct budget *b);

#endif
