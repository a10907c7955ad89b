/* SPDX-License-Identifier: MIT */
/*
 * What adapters read from the tables of other areas: ratings, expertise by domain, habits of a workspace, budgets.
 * Called by adapters.c. Figures are shown with how many debates they rest on; what rests on too few is left out.
 */
#include "common/json.h"
#include "worker/knowledge/adapters.h"
#include "worker/memory/continuum.h"
#include "worker/tenancy/quota.h"
#include "worker/worker.h"

#define SOURCE_IMPORTANT 700000 /* rest-wide 5.8, Continuum */
#define SOURCE_START 1500000    /* an agent's first rating, milli-points */
#define SOURCE_ELO_DEBATES 5    /* rest-wide 5.8, Elo */
#define SOURCE_CHANGE 25000     /* rest-wide 5.8, Ranking: 25 points */
#define SOURCE_OBSERVED 3       /* rest-wide 5.7: a pattern has been seen three times */

static int64_t source_least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

CO_FN bool source_elo(struct worker *w, const struct context *ctx, int64_t since, struct harvest *h, struct error *err)
{
	struct db_rows r;
	size_t i;

	if (!db_query(
		w->db, h->arena,
		"SELECT agent, elo_milli, wins, losses, draws, updated_at FROM ratings WHERE workspace_id = $1 AND"
		" updated_at > $2 AND wins + losses + draws >= $3 ORDER BY updated_at, agent LIMIT $4",
		DB_ARGS(DB_S(ctx->workspace_id), DB_I(since), DB_I(SOURCE_ELO_DEBATES), DB_I(HARVEST_MAX)), &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		int64_t games = db_int(&r, i, 2) + db_int(&r, i, 3) + db_int(&r, i, 4);
		struct str agent = db_str(&r, i, 0);
		struct harvest_item *it = harvest_add(
		    h, adapter_find(STR("elo")), agent,
		    arena_printf(h->arena, "Agent %.*s is rated %.1f after %lld debates (%lld won, %lld lost).",
				 STR_ARG(agent), (double)db_int(&r, i, 1) / 1e3, (long long)games,
				 (long long)db_int(&r, i, 2), (long long)db_int(&r, i, 3)),
		    source_least(games * KNOWLEDGE_ONE / 20, KNOWLEDGE_ONE));

		if (it != NULL) {
			it->node.type = STR("entity");
			it->node.agent_id = agent;
		}
		h->read_to = db_int(&r, i, 5);
	}
	return true;
}

CO_FN bool source_ranking(struct worker *w, const struct context *ctx, int64_t since, struct harvest *h,
			  struct error *err)
{
	struct db_rows r;
	size_t i;

	if (!db_query(w->db, h->arena,
		      "SELECT agent, domain, elo_milli, wins + losses + draws, updated_at FROM domain_ratings WHERE"
		      " workspace_id = $1 AND updated_at > $2 AND (elo_milli >= $3 OR elo_milli <= $4)"
		      " ORDER BY updated_at, agent, domain LIMIT $5",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_I(since), DB_I(SOURCE_START + SOURCE_CHANGE),
			      DB_I(SOURCE_START - SOURCE_CHANGE), DB_I(HARVEST_MAX)),
		      &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		struct str agent = db_str(&r, i, 0), domain = db_str(&r, i, 1);
		struct harvest_item *it = harvest_add(
		    h, adapter_find(STR("ranking")),
		    arena_printf(h->arena, "%.*s_%.*s", STR_ARG(agent), STR_ARG(domain)),
		    arena_printf(h->arena,
				 "In the domain %.*s agent %.*s is %s the others: %+.1f points after %lld debates.",
				 STR_ARG(domain), STR_ARG(agent), db_int(&r, i, 2) > SOURCE_START ? "above" : "below",
				 (double)(db_int(&r, i, 2) - SOURCE_START) / 1e3, (long long)db_int(&r, i, 3)),
		    source_least(db_int(&r, i, 3) * KNOWLEDGE_ONE / 5, KNOWLEDGE_ONE));

		if (it != NULL) {
			it->node.type = STR("entity");
			it->node.agent_id = agent;
		}
		h->read_to = db_int(&r, i, 4);
	}
	return true;
}

/* rest-wide 5.7: the more often it was seen, the surer; what all agree on is unanimous. */
static const char *source_strength(int64_t ppm)
{
	return ppm >= 900000 ? "unanimous" : ppm >= 700000 ? "strong" : ppm >= 500000 ? "moderate" : "weak";
}

static void source_pattern(struct harvest *h, const char *type, struct str value, int64_t count, int64_t full)
{
	int64_t ppm = source_least(count * KNOWLEDGE_ONE / full, KNOWLEDGE_ONE);
	struct harvest_item *it;

	if (count < SOURCE_OBSERVED)
		return;
	it = harvest_add(h, adapter_find(STR("culture")), arena_printf(h->arena, "%s_%.*s", type, STR_ARG(value)),
			 arena_printf(h->arena, "Pattern of this workspace, %s: %.*s (seen %lld times).", type,
				      STR_ARG(value), (long long)count),
			 ppm);
	if (it == NULL)
		return;
	it->node.type = STR("culture");
	it->node.tier = STR("glacial");
	it->node.metadata =
	    arena_printf(h->arena, "{\"pattern_type\": \"%s\", \"observations\": %lld, \"strength\": \"%s\"}", type,
			 (long long)count, source_strength(ppm));
}

/* The newest decisions tell how the workspace decides and who prevails. */
CO_FN bool source_culture(struct worker *w, const struct context *ctx, int64_t since, struct harvest *h,
			  struct error *err)
{
	struct db_rows methods, winners;
	size_t i;

	if (!db_query(w->db, h->arena,
		      "SELECT method, strength, COUNT(*), MAX(created_at) FROM consensus_memory WHERE workspace_id = $1"
		      " GROUP BY method, strength HAVING MAX(created_at) > $2 ORDER BY 3 DESC, 1, 2 LIMIT 20",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_I(since)), &methods, err) ||
	    !db_query(w->db, h->arena,
		      "SELECT winner, COUNT(*) FROM matches WHERE workspace_id = $1 AND winner <> '' GROUP BY winner"
		      " ORDER BY 2 DESC, 1 LIMIT 3",
		      DB_ARGS(DB_S(ctx->workspace_id)), &winners, err))
		return false;
	for (i = 0; i < methods.count; i++) {
		source_pattern(h, "decision_style",
			       arena_printf(h->arena, "%.*s with %.*s agreement", STR_ARG(db_str(&methods, i, 0)),
					    STR_ARG(db_str(&methods, i, 1))),
			       db_int(&methods, i, 2), 9);
		if (db_int(&methods, i, 3) > h->read_to)
			h->read_to = db_int(&methods, i, 3);
	}
	for (i = 0; i < winners.count; i++)
		source_pattern(h, "agent_preferences", db_str(&winners, i, 0), db_int(&winners, i, 1), 6);
	return true;
}

/* A budget from three quarters on is a warning (rest-core 7). */
CO_FN bool source_cost(struct worker *w, const struct context *ctx, int64_t since, struct harvest *h, struct error *err)
{
	struct budget_state s;
	struct harvest_item *it;
	int64_t share;

	(void)since;
	if (!budget_worst(w, h->arena, ctx, &s, err))
		return false;
	share = s.amount_micro > 0 ? s.spent_micro * 100 / s.amount_micro : 0;
	if (share < 75)
		return true;
	it = harvest_add(
	    h, adapter_find(STR("cost")), s.id,
	    arena_printf(h->arena, "The budget %.*s is used up to %lld %%.", STR_ARG(s.name), (long long)share),
	    900000);
	if (it != NULL)
		it->node.metadata = arena_printf(h->arena, "{\"level\": \"%s\"}",
						 share >= 100  ? "exceeded"
						 : share >= 90 ? "critical"
							       : "warning");
	return true;
}

/* Entries that matter, the slower their tier the surer (rest-wide 5.8, Continuum). */
CO_FN bool source_continuum(struct worker *w, const struct context *ctx, int64_t since, struct harvest *h,
			    struct error *err)
{
	static const struct {
		enum continuum_tier tier;
		const char *name;
		int64_t ppm;
	} levels[] = {{CONTINUUM_FAST, "fast", 400000},
		      {CONTINUUM_MEDIUM, "medium", 700000},
		      {CONTINUUM_SLOW, "slow", 850000},
		      {CONTINUUM_GLACIAL, "glacial", 950000}};
	const struct continuum_filter f = {.tiers = CONTINUUM_ALL_TIERS,
					   .min_importance_ppm = SOURCE_IMPORTANT,
					   .after_ms = since,
					   .oldest_first = true,
					   .limit = HARVEST_MAX};
	struct continuum_entry *entries;
	struct harvest_item *it;
	size_t n, i, k;

	if (!continuum_list(w, h->arena, ctx, &f, &entries, &n, err))
		return false;
	for (i = 0; i < n; i++) {
		for (k = 0; k < countof(levels) - 1 && levels[k].tier != entries[i].tier; k++)
			;
		it = harvest_add(h, adapter_find(STR("continuum")), entries[i].id, entries[i].content, levels[k].ppm);
		if (it != NULL) {
			it->node.type = STR("memory");
			it->node.tier = str_of(levels[k].name);
			it->node.agent_id = entries[i].agent;
			it->node.debate_id = entries[i].debate_id;
		}
		if (entries[i].created_at > h->read_to)
			h->read_to = entries[i].created_at;
	}
	return true;
}
