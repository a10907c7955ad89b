/* SPDX-License-Identifier: MIT */
/*
 * The table of adapters and the one mechanism that serves all of them: writing what they found, forward syncs, reverse
 * queries, with their figures. Called by the outbox, the endpoints and the background of debates. What an adapter finds
 * is decided in harvest.c and sources.c.
 */
#include "worker/knowledge/adapters.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/worker.h"

/* In the order of their priorities (rest-wide 5.8). */
const struct adapter knowledge_adapters[] = {
    {.name = "continuum",
     .prefix = "cm_",
     .priority = 100,
     .needs = "continuum memory",
     .forward = "store_memory",
     .reverse = "search_similar",
     .background = false,
     .least_ppm = 700000,
     .from_source = source_continuum},
    {.name = "consensus",
     .prefix = "cs_",
     .priority = 90,
     .needs = "finished debates",
     .forward = "store_consensus",
     .reverse = "search_by_topic",
     .background = false,
     .least_ppm = 700000,
     .from_result = harvest_consensus},
    {.name = "control_plane",
     .prefix = "cp_",
     .priority = 85,
     .needs = "the control plane",
     .forward = "store_task_outcome",
     .reverse = "get_agent_recommendations",
     .background = true,
     .least_ppm = 0},
    {.name = "critique",
     .prefix = "cr_",
     .priority = 80,
     .needs = "finished debates",
     .forward = "store_pattern",
     .reverse = "search_patterns",
     .background = true,
     .from_result = harvest_critique},
    {.name = "evidence",
     .prefix = "ev_",
     .priority = 70,
     .needs = "finished debates",
     .forward = "store_evidence",
     .reverse = "search_by_topic",
     .background = true,
     .least_ppm = 600000,
     .from_result = harvest_evidence},
    {.name = "belief",
     .prefix = "bl_",
     .priority = 60,
     .needs = "a belief network",
     .forward = "store_belief",
     .reverse = "search_beliefs",
     .background = true,
     .least_ppm = 800000},
    {.name = "insights",
     .prefix = "in_",
     .priority = 50,
     .needs = "finished debates",
     .forward = "store_insight",
     .reverse = "search_insights",
     .background = false,
     .least_ppm = 700000,
     .from_result = harvest_insights},
    {.name = "elo",
     .prefix = "el_",
     .priority = 40,
     .needs = "ratings of agents",
     .forward = "store_rating",
     .reverse = "get_skill_history",
     .figures = true,
     .from_source = source_elo},
    {.name = "ranking",
     .prefix = "ex_",
     .priority = 38,
     .needs = "ratings by domain",
     .forward = "store_expertise",
     .reverse = "get_domain_experts",
     .figures = true,
     .from_source = source_ranking},
    {.name = "pulse",
     .prefix = "pl_",
     .priority = 30,
     .needs = "trending topics",
     .forward = "store_topic",
     .reverse = "search_topics",
     .background = true,
     .least_ppm = 600000},
    {.name = "culture",
     .prefix = "cpr_",
     .priority = 25,
     .needs = "remembered decisions",
     .forward = "store_pattern",
     .reverse = "load_patterns",
     .figures = true,
     .from_source = source_culture},
    {.name = "cost",
     .prefix = "ct_",
     .priority = 10,
     .needs = "budgets",
     .forward = "store_alert",
     .reverse = "get_alerts",
     .opt_in = true,
     .figures = true,
     .from_source = source_cost},
};
const size_t knowledge_adapters_count = countof(knowledge_adapters);

const struct adapter *adapter_find(struct str name)
{
	size_t i;

	for (i = 0; i < countof(knowledge_adapters); i++)
		if (str_eqz(name, knowledge_adapters[i].name))
			return &knowledge_adapters[i];
	return NULL;
}

bool adapter_configured(const struct worker *w, const struct adapter *ad)
{
	return w->conf->knowledge.enabled && (ad->from_result != NULL || ad->from_source != NULL) &&
	       (!ad->opt_in || w->conf->knowledge.cost_adapter);
}

struct harvest_item *harvest_add(struct harvest *h, const struct adapter *ad, struct str key, struct str content,
				 int64_t confidence_ppm)
{
	struct harvest_item *it = &h->v[h->n];

	if (h->n == HARVEST_MAX)
		return NULL;
	*it = (struct harvest_item){.parent = SIZE_MAX};
	it->node = (struct knowledge_new){.content = content,
					  .confidence_ppm = confidence_ppm,
					  .adapter = str_of(ad->name),
					  .adapter_key = arena_printf(h->arena, "%s%.*s", ad->prefix, STR_ARG(key)),
					  .source_type = "inference"};
	h->n++;
	return it;
}

/* ---- writing ---- */

/* Nodes of an adapter's key that hold another content: figures of before go, anything else is superseded. */
CO_FN static bool write_replace(struct worker *w, struct arena *a, const struct context *ctx, struct db_batch *b,
				const struct harvest_item *it, struct str id, int64_t now_ms, struct error *err)
{
	const struct adapter *ad = adapter_find(it->node.adapter);
	struct db_rows r;
	size_t i;

	if (!db_query(w->db, a,
		      "SELECT id FROM knowledge_nodes WHERE workspace_id = $1 AND adapter = $2 AND adapter_key = $3 AND"
		      " id <> $4 AND archived_at = 0 AND superseded_by = '' LIMIT 20",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_S(it->node.adapter), DB_S(it->node.adapter_key), DB_S(id)),
		      &r, err))
		return false;
	for (i = 0; i < r.count; i++)
		if (ad->figures)
			knowledge_remove(b, ctx, db_str(&r, i, 0));
		else
			db_batch_add(b,
				     "UPDATE knowledge_nodes SET superseded_by = $3, updated_at = $4 WHERE id = $1 AND"
				     " workspace_id = $2",
				     DB_ARGS(DB_S(db_str(&r, i, 0)), DB_S(ctx->workspace_id), DB_S(id), DB_I(now_ms)),
				     DB_ANY);
	return true;
}

/* A pattern's confidence is the share of its outcomes that went well (rest-wide 5.8, Critique: .8, .6, .4). */
static void write_outcome(struct db_batch *b, struct arena *a, const struct context *ctx,
			  const struct knowledge_node *before, struct str id, int outcome)
{
	struct error ignored = ERROR_INIT;
	const json_t *old = before != NULL ? json_parse(a, before->metadata, &ignored) : NULL;
	int64_t outcomes = json_get_int(old, "outcomes", 0) + 1;
	int64_t successes = json_get_int(old, "successes", 0) + (outcome > 0);
	int64_t rate = successes * 100 / outcomes;
	json_t *o = json_own(a, json_object());

	json_put_int(o, "outcomes", outcomes);
	json_put_int(o, "successes", successes);
	db_batch_add(
	    b, "UPDATE knowledge_nodes SET metadata = $3, confidence_ppm = $4 WHERE id = $1 AND workspace_id = $2",
	    DB_ARGS(DB_S(id), DB_S(ctx->workspace_id), DB_S(json_text(a, o)),
		    DB_I(rate >= 80   ? 850000
			 : rate >= 60 ? 700000
			 : rate >= 40 ? 400000
				      : 200000)),
	    1);
}

static const struct knowledge_node *write_known(const struct knowledge_node *known, size_t n, struct str id)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (str_eq(known[i].id, id))
			return &known[i];
	return NULL;
}

CO_FN bool adapter_write(struct worker *w, struct arena *a, const struct context *ctx, const struct harvest *h,
			 struct db_batch *b, struct adapter_done *done, struct error *err)
{
	char(*ids)[KNOWLEDGE_ID_LEN + 1] = arena_alloc(a, (h->n + 1) * sizeof(*ids)), link[KNOWLEDGE_ID_LEN + 1];
	struct str *wanted = arena_alloc(a, (h->n + 1) * sizeof(*wanted));
	int64_t now = clock_wall_ms(), room;
	struct knowledge_node *known;
	size_t i, n;

	for (i = 0; i < h->n; i++) {
		knowledge_id(ids[i], ctx->workspace_id, h->v[i].node.visibility, h->v[i].node.created_by,
			     h->v[i].node.content);
		wanted[i] = str_of(ids[i]);
	}
	if (!knowledge_read(w, a, ctx, wanted, h->n, &known, &n, err) || !knowledge_room(w, ctx, &room, err))
		return false;
	for (i = 0; i < h->n; i++) {
		const struct harvest_item *it = &h->v[i];
		const struct knowledge_node *before = write_known(known, n, wanted[i]);

		/* Figures take the place of older ones. */
		if (before == NULL && !adapter_find(it->node.adapter)->figures && room-- <= 0) {
			wanted[i] = STR("");
			done->skipped++;
			continue;
		}
		knowledge_add(b, ctx, &it->node, now, ids[i]);
		if (!write_replace(w, a, ctx, b, it, wanted[i], now, err))
			return false;
		if (it->outcome != 0)
			write_outcome(b, a, ctx, before, wanted[i], it->outcome);
		if (it->parent < i && wanted[it->parent].n > 0 && !str_eq(wanted[it->parent], wanted[i])) {
			knowledge_link(b, ctx, wanted[i], wanted[it->parent], str_of(it->relation), KNOWLEDGE_ONE,
				       STR(""), now, link);
			done->links++;
		}
		*(before == NULL ? &done->synced : &done->updated) += 1;
	}
	return true;
}

/* ---- forward ---- */

static void adapter_note(struct db_batch *b, const struct context *ctx, const struct adapter *ad, int64_t read_to,
			 int64_t nodes, int64_t now_ms)
{
	db_batch_add(
	    b,
	    "INSERT INTO knowledge_syncs (workspace_id, adapter, org_id, forward_at, forward_to, forward_nodes)"
	    " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (workspace_id, adapter) DO UPDATE SET"
	    " forward_at = excluded.forward_at, forward_to = excluded.forward_to,"
	    " forward_nodes = knowledge_syncs.forward_nodes + excluded.forward_nodes",
	    DB_ARGS(DB_S(ctx->workspace_id), DB_Z(ad->name), DB_S(ctx->org_id), DB_I(now_ms), DB_I(read_to),
		    DB_I(nodes)),
	    1);
}

CO_FN static bool adapter_pull(struct worker *w, struct arena *a, const struct context *ctx, const struct adapter *ad,
			       struct adapter_done *done, struct error *err)
{
	struct harvest *h = arena_zalloc(a, sizeof(*h));
	struct db_batch *b;
	struct db_rows r;
	int64_t since;

	h->arena = a;
	if (!db_query(w->db, a, "SELECT forward_to FROM knowledge_syncs WHERE workspace_id = $1 AND adapter = $2",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_Z(ad->name)), &r, err))
		return false;
	since = h->read_to = r.count > 0 ? db_int(&r, 0, 0) : 0;
	if (!ad->from_source(w, ctx, since, h, err))
		return false;
	b = db_batch_new(w->db);
	if (!adapter_write(w, a, ctx, h, b, done, err)) {
		db_batch_free(b);
		return false;
	}
	/* What found no room is read again when there may be some. */
	adapter_note(b, ctx, ad, done->skipped == 0 ? h->read_to : since, done->synced, clock_wall_ms());
	if (!db_commit(w->db, b, err))
		return false;
	knowledge_left_out(w, ctx, done->skipped, STR(""));
	return true;
}

CO_FN bool adapter_forward(struct worker *w, struct arena *a, const struct context *ctx, const struct adapter *ad,
			   struct adapter_done *done, struct error *err)
{
	int64_t start = clock_mono_us();
	bool ok;

	*done = (struct adapter_done){0};
	if (!adapter_configured(w, ad)) {
		metric_add(M_KM_SYNCS, 1, ad->name, "forward", "not_configured", NULL);
		return error_set(err, ERR_UNAVAILABLE, "adapter %s is not configured: it needs %s", ad->name,
				 ad->needs);
	}
	/* What debates leave is written when they end; what is left of that is the job's. */
	ok = ad->from_source == NULL || adapter_pull(w, a, ctx, ad, done, err);
	metric_add(M_KM_SYNCS, 1, ad->name, "forward", ok ? "success" : "error", NULL);
	metric_observe(M_KM_FORWARD, (double)(clock_mono_us() - start) / 1e6, ad->name, NULL);
	return ok;
}

/* ---- reverse ---- */

CO_FN bool adapter_reverse(struct worker *w, struct arena *a, const struct context *ctx, const struct adapter *ad,
			   struct str query, int64_t limit, struct knowledge_hit **hits, size_t *n, struct error *err)
{
	struct knowledge_filter f = {.limit = ad != NULL ? limit : KNOWLEDGE_PAGE_MAX};
	const char *name = ad != NULL ? ad->name : "mound";
	int64_t start = clock_mono_us();
	size_t i, kept = 0;
	bool ok;

	if (ad != NULL)
		f.adapter = str_of(ad->name);
	ok = knowledge_find(w, a, ctx, query, &f, hits, n, err);
	for (i = 0; ok && ad == NULL && i < *n; i++) {
		const struct adapter *of = adapter_find((*hits)[i].node.adapter);

		if ((of == NULL || of->background) && kept < (size_t)limit)
			(*hits)[kept++] = (*hits)[i];
	}
	if (ad == NULL)
		*n = kept;
	metric_add(M_KM_SYNCS, 1, name, "reverse", ok ? "success" : "error", NULL);
	metric_observe(M_KM_REVERSE, (double)(clock_mono_us() - start) / 1e6, name, NULL);
	return ok;
}
