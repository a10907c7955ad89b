/* SPDX-License-Identifier: MIT */
/*
 * Reservations against budgets (spending.h). Called by the paid steps of debates. Budgets are locked in one order and
 * then judged by statements of the same transaction, so that two calls anywhere never take the same rest.
 */
#include "worker/tenancy/spending.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/tenancy/budget.h"
#include "worker/worker.h"

#define SPENDING_TOPIC "spending:changed" /* message: id of the organization */
#define SPENDING_ORGS 64                  /* of which a worker remembers the budgets */
#define SPENDING_SUMS 256                 /* sums that it remembers */
#define SPENDING_FRESH (1 * SEC_US)       /* of the budgets themselves */
#define SPENDING_SUM_AGE (60 * SEC_US)
#define SPENDING_SETTLED_MS 60000    /* rows of the ledger older than this come no more */
#define SPENDING_PAUSE (250 * MS_US) /* between two looks while calls in flight stand in the way */
#define SPENDING_AT_ONCE 16          /* budgets that are about one tenant */

static const int spending_levels[] = {100, 80, 50};

struct spending_org {
	struct arena *a; /* NULL: an empty place */
	struct str id;
	struct budget *v;
	size_t n;
	int64_t loaded_us;
};

struct spending_sum {
	char budget[40], workspace[40], user[40];
	int64_t since, until; /* milliseconds; 0: an empty place */
	int64_t cost, tokens, made_us;
};

struct spending {
	struct worker *w;
	struct bus_sub *changes;
	struct spending_org orgs[SPENDING_ORGS];
	struct spending_sum sums[SPENDING_SUMS];
	unsigned next_org, next_sum;
};

/* A budget as it is for one tenant at this moment. */
struct spending_state {
	const struct budget *b;
	struct str workspace, user;
	struct spending_sum base;
	int64_t spent, tokens, held, held_tokens;
};

struct spending_look {
	struct spending_state *v;
	size_t n;
};

/* Somebody has changed a budget of this organization. */
static void spending_on_change(void *arg, struct str topic, struct str org_id)
{
	struct spending *s = arg;
	size_t i;

	(void)topic;
	for (i = 0; i < SPENDING_ORGS; i++)
		if (s->orgs[i].a != NULL && str_eq(s->orgs[i].id, org_id))
			s->orgs[i].loaded_us = clock_mono_us() - SPENDING_FRESH;
}

struct spending *spending_open(struct worker *w)
{
	struct spending *s = xcalloc(1, sizeof(*s));

	s->w = w;
	s->changes = bus_subscribe(w->bus, STR(SPENDING_TOPIC), spending_on_change, s);
	return s;
}

void spending_close(struct spending *s)
{
	size_t i;

	if (s == NULL)
		return;
	bus_unsubscribe(s->w->bus, s->changes);
	for (i = 0; i < SPENDING_ORGS; i++)
		arena_free(s->orgs[i].a);
	free(s);
}

void spending_changed(struct worker *w, struct str org_id)
{
	spending_on_change(w->spending, STR_NONE, org_id);
	bus_publish(w->bus, STR(SPENDING_TOPIC), org_id);
}

/* ---- what is remembered ---- */

/* Budgets of the organization as of a second ago; copied into the arena, for a wait may change the cache. */
CO_FN static bool spending_budgets(struct worker *w, struct arena *a, const struct context *ctx, struct budget **v,
				   size_t *n, struct error *err)
{
	struct spending *s = w->spending;
	struct spending_org *org = NULL;
	struct arena *fresh;
	size_t i;

	for (i = 0; i < SPENDING_ORGS && org == NULL; i++)
		if (s->orgs[i].a != NULL && str_eq(s->orgs[i].id, ctx->org_id))
			org = &s->orgs[i];
	if (org != NULL && org->n == 0 && clock_mono_us() - org->loaded_us < SPENDING_FRESH) {
		*n = 0; /* the usual case costs nothing */
		return true;
	}
	if (org == NULL || clock_mono_us() - org->loaded_us >= SPENDING_FRESH) {
		struct spending_org now = {.a = (fresh = arena_new(0))};

		if (!budget_rows(w, fresh, ctx, STR(""), &now.v, &now.n, err)) {
			arena_free(fresh);
			return false;
		}
		now.id = arena_str(fresh, ctx->org_id);
		now.loaded_us = clock_mono_us();
		org = NULL;
		for (i = 0; i < SPENDING_ORGS && org == NULL; i++)
			if (s->orgs[i].a != NULL && str_eq(s->orgs[i].id, ctx->org_id))
				org = &s->orgs[i];
		if (org == NULL)
			org = &s->orgs[s->next_org++ % SPENDING_ORGS];
		arena_free(org->a);
		*org = now;
	}
	*n = org->n;
	*v = arena_alloc(a, (org->n + 1) * sizeof(**v));
	for (i = 0; i < org->n; i++) {
		struct budget *b = &(*v)[i];

		*b = org->v[i];
		b->id = arena_str(a, b->id);
		b->name = arena_str(a, b->name);
		b->for_workspace = arena_str(a, b->for_workspace);
		b->for_user = arena_str(a, b->for_user);
		b->auto_suspend = budget_stops(b, ctx); /* of these copies, which are for one tenant */
		b->overridden = STR("");
	}
	return true;
}

static bool spending_same(const char *have, struct str want)
{
	return str_eqz(want, have);
}

/* The sum of what is settled, from memory or made anew. Names longer than a place are never remembered. */
CO_FN static bool spending_base(struct worker *w, struct arena *a, const struct context *ctx, struct spending_state *st,
				struct error *err)
{
	struct spending_sum *sums = w->spending->sums, *base = &st->base;
	int64_t since = budget_since(st->b), now = clock_wall_ms();
	size_t i;

	for (i = 0; i < SPENDING_SUMS; i++) {
		const struct spending_sum *x = &sums[i];

		if (x->until != 0 && x->since == since && clock_mono_us() - x->made_us < SPENDING_SUM_AGE &&
		    spending_same(x->budget, st->b->id) && spending_same(x->workspace, st->workspace) &&
		    spending_same(x->user, st->user)) {
			*base = *x;
			return true;
		}
	}
	*base = (struct spending_sum){.since = since, .until = now - SPENDING_SETTLED_MS, .made_us = clock_mono_us()};
	if (base->until < since)
		base->until = since;
	if (base->until > since &&
	    !budget_sum(w, a, ctx, st->workspace, st->user, since, base->until, &base->cost, &base->tokens, err))
		return false;
	(void)snprintf(base->budget, sizeof(base->budget), "%.*s", STR_ARG(st->b->id));
	(void)snprintf(base->workspace, sizeof(base->workspace), "%.*s", STR_ARG(st->workspace));
	(void)snprintf(base->user, sizeof(base->user), "%.*s", STR_ARG(st->user));
	if (base->until > 0)
		sums[w->spending->next_sum++ % SPENDING_SUMS] = *base;
	return true;
}

/* ---- how a budget stands ---- */

#define SPENDING_OF "org_id = $1 AND ($2 = '' OR workspace_id = $2) AND ($3 = '' OR user_id = $3)"

CO_FN static bool spending_read(struct worker *w, struct arena *a, const struct context *ctx, struct spending_state *st,
				struct error *err)
{
	struct db_rows r;

	if (!spending_base(w, a, ctx, st, err) ||
	    !db_query(
		w->db, a,
		SQL_WITHIN_ORG("a budget is the organization's") //
		"SELECT 0, CAST(COALESCE(SUM(cost_micro), 0) AS BIGINT), CAST(COALESCE(SUM(tokens_in + tokens_out), 0)"
		" AS BIGINT) FROM usage_ledger WHERE " SPENDING_OF " AND created_at >= $4"
		" UNION ALL SELECT 1, CAST(COALESCE(SUM(cost_micro), 0) AS BIGINT), CAST(COALESCE(SUM(tokens), 0) AS"
		" BIGINT) FROM budget_reservations WHERE " SPENDING_OF " AND expires_at > $5 ORDER BY 1",
		DB_ARGS(DB_S(ctx->org_id), DB_S(st->workspace), DB_S(st->user), DB_I(st->base.until),
			DB_I(clock_wall_ms())),
		&r, err))
		return false;
	st->spent = db_int(&r, 0, 1) + st->base.cost;
	st->tokens = db_int(&r, 0, 2) + st->base.tokens;
	st->held = db_int(&r, 1, 1);
	st->held_tokens = db_int(&r, 1, 2);
	return true;
}

/* The budgets that are about the tenant, in the order of their making, which is the order of locks. */
CO_FN static bool spending_states(struct worker *w, struct arena *a, const struct context *ctx,
				  struct spending_state **out, size_t *n, struct error *err)
{
	struct budget *v;
	size_t i, all;

	*n = 0;
	if (!spending_budgets(w, a, ctx, &v, &all, err))
		return false;
	if (all == 0)
		return true;
	*out = arena_zalloc(a, SPENDING_AT_ONCE * sizeof(**out));
	for (i = 0; i < all && *n < SPENDING_AT_ONCE; i++) {
		struct spending_state *st = &(*out)[*n];

		if (!v[i].active || !budget_is_about(&v[i], ctx, &st->workspace, &st->user))
			continue;
		st->b = &v[i];
		(*n)++;
	}
	return true;
}

static bool spending_holds(const struct spending_state *st, const struct spending_call *call)
{
	return st->b->auto_suspend && (call->cost_micro > 0 || st->b->amount_tokens > 0);
}

static bool spending_fits(const struct spending_state *st, const struct spending_call *call, bool in_flight)
{
	const struct budget *b = st->b;
	int64_t cost = st->spent + (in_flight ? st->held : 0) + call->cost_micro;
	int64_t tokens = st->tokens + (in_flight ? st->held_tokens : 0) + call->tokens;

	return (call->cost_micro == 0 || cost <= b->amount) && (b->amount_tokens == 0 || tokens <= b->amount_tokens);
}

CO_FN bool spending_applies(struct worker *w, const struct context *ctx)
{
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct spending_state *st;
	bool found = false;
	size_t i, n;

	if (spending_states(w, a, ctx, &st, &n, &err))
		for (i = 0; i < n; i++)
			found = found || st[i].b->auto_suspend;
	else
		log_warn("tenancy", "budgets cannot be read", KV_S("reason", err.msg));
	arena_free(a);
	return found;
}

CO_FN bool spending_look(struct worker *w, struct arena *a, const struct context *ctx, struct spending_look **out,
			 struct error *err)
{
	struct spending_look *look = arena_zalloc(a, sizeof(*look));
	size_t i;

	if (!spending_states(w, a, ctx, &look->v, &look->n, err))
		return false;
	for (i = 0; i < look->n; i++)
		if (!spending_read(w, a, ctx, &look->v[i], err))
			return false;
	*out = look;
	return true;
}

void spending_left(const struct spending_look *look, int64_t *cost_micro, int64_t *tokens)
{
	int64_t left;
	size_t i;

	*cost_micro = *tokens = -1;
	for (i = 0; i < look->n; i++) {
		const struct spending_state *st = &look->v[i];

		if (!st->b->auto_suspend)
			continue;
		left = st->b->amount - st->spent - st->held;
		left = left > 0 ? left : 0;
		*cost_micro = *cost_micro < 0 || left < *cost_micro ? left : *cost_micro;
		if (st->b->amount_tokens == 0)
			continue;
		left = st->b->amount_tokens - st->tokens - st->held_tokens;
		left = left > 0 ? left : 0;
		*tokens = *tokens < 0 || left < *tokens ? left : *tokens;
	}
}

/* ---- telling ---- */

/* Percent of the money or of the tokens, whichever is more. */
static int64_t spending_percent(const struct spending_state *st)
{
	int64_t money = (int64_t)((__int128)st->spent * 100 / (st->b->amount > 0 ? st->b->amount : 1));
	int64_t tokens = st->b->amount_tokens > 0 ? (int64_t)((__int128)st->tokens * 100 / st->b->amount_tokens) : 0;

	return money > tokens ? money : tokens;
}

/* Half, four fifths, all: told once in a period, by whoever sees it first. Budgets for each one are not told of. */
CO_FN static void spending_alert(struct worker *w, const struct context *ctx, const struct spending_state *st,
				 struct spending_told *told)
{
	const struct budget *b = st->b;
	int64_t percent = spending_percent(st), known = b->alerted_start == b->start ? b->alerted : 0;
	struct error err = ERROR_INIT;
	struct db_batch *batch;
	size_t i;

	for (i = 0; i < countof(spending_levels) && percent < spending_levels[i]; i++)
		;
	if (i == countof(spending_levels) || spending_levels[i] <= known || str_eqz(b->for_user, BUDGET_EACH) ||
	    str_eqz(b->for_workspace, BUDGET_EACH))
		return;
	batch = db_batch_new(w->db);
	db_batch_add(batch,
		     "UPDATE budgets SET alerted = $3, alerted_start = $4 WHERE id = $1 AND org_id = $2"
		     " AND (alerted < $3 OR alerted_start <> $4)",
		     DB_ARGS(DB_S(b->id), DB_S(ctx->org_id), DB_I(spending_levels[i]), DB_I(b->start)), 1);
	if (!db_commit(w->db, batch, &err))
		return; /* somebody else was first, or the next call tries again */
	log_warn("tenancy", "a budget has passed a mark", KV_STR("org_id", ctx->org_id), KV_STR("budget_id", b->id),
		 KV_I("percent", percent), KV_I("mark", spending_levels[i]));
	told->level = spending_levels[i];
	told->id = b->id;
	told->name = b->name;
	told->spent = st->spent;
	told->amount = b->amount;
}

static void spending_why(const struct spending_state *st, struct spending_told *told)
{
	const struct budget *b = st->b;
	struct str name = str_utf8_cut(b->name, 60);

	(void)snprintf(told->why, sizeof(told->why),
		       "the budget \"%.*s\" (%.6f USD, %s) does not cover the call: %.6f USD are spent", STR_ARG(name),
		       (double)b->amount / 1e6, b->period->name, (double)st->spent / 1e6);
}

/* ---- taking ---- */

static void spending_add(struct db_batch *b, const struct context *ctx, const struct spending_state *st, size_t n,
			 const struct spending_call *call)
{
	int64_t now = clock_wall_ms();
	size_t i;

	for (i = 0; i < n; i++)
		db_batch_add(b, "UPDATE budgets SET checked_at = $3 WHERE id = $1 AND org_id = $2",
			     DB_ARGS(DB_S(st[i].b->id), DB_S(ctx->org_id), DB_I(now)), DB_ANY);
	db_batch_add(
	    b,
	    SQL_WITHIN_ORG("what has expired is nobody's") "DELETE FROM budget_reservations WHERE org_id = $1 AND"
							   " expires_at <= $2",
	    DB_ARGS(DB_S(ctx->org_id), DB_I(now)), DB_ANY);
	spending_release(b, ctx, call->debate_id, call->key);
	for (i = 0; i < n; i++)
		if (spending_holds(&st[i], call))
			db_batch_add(
			    b,
			    SQL_WITHIN_ORG("a budget is the organization's") //
			    "UPDATE budgets SET checked_at = $7 WHERE id = $4 AND org_id = $1 AND ($9 = 0 OR"
			    " amount_micro >= $5 + (SELECT CAST(COALESCE(SUM(cost_micro), 0) AS BIGINT) FROM"
			    " usage_ledger WHERE " SPENDING_OF " AND created_at >= $6) + (SELECT"
			    " CAST(COALESCE(SUM(cost_micro), 0) AS BIGINT) FROM budget_reservations WHERE " SPENDING_OF
			    " AND expires_at > $7)) AND (amount_tokens = 0 OR amount_tokens >= $8 + (SELECT"
			    " CAST(COALESCE(SUM(tokens_in + tokens_out), 0) AS BIGINT) FROM usage_ledger WHERE"
			    " " SPENDING_OF " AND created_at >= $6) + (SELECT CAST(COALESCE(SUM(tokens), 0) AS BIGINT)"
			    " FROM budget_reservations WHERE " SPENDING_OF " AND expires_at > $7))",
			    DB_ARGS(DB_S(ctx->org_id), DB_S(st[i].workspace), DB_S(st[i].user), DB_S(st[i].b->id),
				    DB_I(st[i].base.cost + call->cost_micro), DB_I(st[i].base.until), DB_I(now),
				    DB_I(st[i].base.tokens + call->tokens), DB_I(call->cost_micro)),
			    1);
	db_batch_add(b,
		     "INSERT INTO budget_reservations (debate_id, step_key, org_id, workspace_id, user_id, cost_micro,"
		     " tokens, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		     DB_ARGS(DB_S(call->debate_id), DB_S(call->key), DB_S(ctx->org_id), DB_S(ctx->workspace_id),
			     DB_S(ctx->principal), DB_I(call->cost_micro), DB_I(call->tokens),
			     DB_I(now + call->hold_ms)),
		     1);
}

void spending_release(struct db_batch *b, const struct context *ctx, struct str debate_id, struct str key)
{
	db_batch_add(b, "DELETE FROM budget_reservations WHERE debate_id = $1 AND step_key = $2 AND workspace_id = $3",
		     DB_ARGS(DB_S(debate_id), DB_S(key), DB_S(ctx->workspace_id)), DB_ANY);
}

enum spending_try { TRY_FREE, TRY_HELD, TRY_REFUSED, TRY_WAIT, TRY_STORE };

CO_FN static enum spending_try spending_once(struct worker *w, struct arena *a, const struct context *ctx,
					     const struct spending_call *call, const struct spending_look *look,
					     struct spending_told *told)
{
	struct error err = ERROR_INIT;
	enum spending_try outcome = TRY_FREE;
	const struct spending_state *st;
	struct spending_look *fresh;
	struct db_batch *b;
	size_t i;

	if (look == NULL) {
		if (!spending_look(w, a, ctx, &fresh, &err))
			return TRY_STORE;
		look = fresh;
	}
	for (i = 0; i < look->n; i++) {
		st = &look->v[i];
		spending_alert(w, ctx, st, told);
		if (!spending_holds(st, call))
			continue;
		outcome = outcome == TRY_FREE ? TRY_HELD : outcome;
		if (spending_fits(st, call, true))
			continue;
		spending_why(st, told);
		if (!spending_fits(st, call, false))
			return TRY_REFUSED;
		outcome = TRY_WAIT;
	}
	if (outcome != TRY_HELD)
		return outcome;
	b = db_batch_new(w->db);
	spending_add(b, ctx, look->v, look->n, call);
	if (db_commit(w->db, b, &err))
		return TRY_HELD;
	return err.code == ERR_FENCED ? TRY_WAIT : TRY_STORE;
}

CO_FN enum spending_answer spending_reserve(struct worker *w, struct arena *a, const struct context *ctx,
					    const struct spending_call *call, const struct spending_look *look,
					    struct spending_told *told)
{
	enum spending_try outcome;
	struct spending_told now;

	*told = (struct spending_told){.level = 0};
	for (;;) {
		now = (struct spending_told){.level = 0};
		outcome = spending_once(w, a, ctx, call, look, &now);
		look = NULL;
		if (now.level > told->level)
			*told = now;
		(void)snprintf(told->why, sizeof(told->why), "%s",
			       outcome == TRY_STORE ? "the budgets cannot be read" : now.why);
		if (outcome == TRY_FREE)
			return SPENDING_FREE;
		if (outcome == TRY_HELD)
			return SPENDING_HELD;
		if (outcome == TRY_REFUSED || clock_mono_us() + SPENDING_PAUSE >= call->deadline_us ||
		    co_sleep(SPENDING_PAUSE) == CO_ENDED)
			break;
	}
	metric_add(M_BUDGET_REFUSED, 1, NULL);
	return SPENDING_REFUSED;
}
