/* SPDX-License-Identifier: MIT */
/*
 * Knowledge as background of a debate: nodes that fit the question, and insights that other workspaces have shared with
 * this one. Called by the journalled step of worker/runner/background.c, which holds it to the debate's workspace.
 */
#include "worker/knowledge/adapters.h"
#include "worker/knowledge/outbox.h"
#include "worker/runner/background.h"
#include "worker/search/fulltext.h"
#include "worker/worker.h"

#define REUSE_NODES 10
#define REUSE_INSIGHTS 100      /* the newest that are looked at */
#define REUSE_LEAST 200000      /* share of the question's words */
#define REUSE_CONFIDENCE 300000 /* what is less sure is no help */
#define REUSE_TRUSTED 850000    /* rest-wide 5.3: high */

static struct str reuse_title(const struct knowledge_node *n)
{
	ptrdiff_t line = str_chr(n->content, '\n');

	return str_utf8_cut(line > 0 ? str_sub(n->content, 0, (size_t)line) : n->content, 120);
}

CO_FN static bool reuse_insights(struct worker *w, struct arena *a, const struct context *ctx, struct str task,
				 struct background_item *items, size_t *n, struct error *err)
{
	struct db_rows r;
	size_t i;

	if (!db_query(
		w->db, a,
		"SELECT insight_id, content, confidence_ppm, task_type FROM knowledge_insights WHERE workspace_id = $1"
		" ORDER BY created_at DESC, insight_id LIMIT $2",
		DB_ARGS(DB_S(ctx->workspace_id), DB_I(REUSE_INSIGHTS)), &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		int64_t score = fulltext_score(a, task, db_str(&r, i, 1));

		if (score >= REUSE_LEAST)
			items[(*n)++] = (struct background_item){
			    .id = db_str(&r, i, 0),
			    .title = arena_printf(a, "Insight of another workspace (%.*s)", STR_ARG(db_str(&r, i, 3))),
			    .text = db_str(&r, i, 1),
			    .score_ppm = score * db_int(&r, i, 2) / KNOWLEDGE_ONE};
	}
	return true;
}

CO_FN bool knowledge_gather(struct worker *w, struct arena *a, const struct context *ctx, struct str task,
			    struct background_item **items, size_t *n, struct error *err)
{
	struct knowledge_hit *hits;
	size_t count, i;

	*n = 0;
	*items = arena_zalloc(a, (REUSE_NODES + REUSE_INSIGHTS) * sizeof(**items));
	if (!w->conf->knowledge.enabled)
		return true;
	if (!adapter_reverse(w, a, ctx, NULL, task, REUSE_NODES, &hits, &count, err))
		return false;
	for (i = 0; i < count; i++) {
		const struct knowledge_node *k = &hits[i].node;

		/* What only its writer may see is not for a debate that others read. */
		if (hits[i].score_ppm < REUSE_LEAST || k->confidence_ppm < REUSE_CONFIDENCE ||
		    str_eqz(k->visibility, "private"))
			continue;
		(*items)[(*n)++] = (struct background_item){
		    .id = k->id,
		    .title = reuse_title(k),
		    .text = k->content,
		    .trusted = k->confidence_ppm >= REUSE_TRUSTED && !str_eqz(k->validation, "unverified"),
		    .dissent = str_eqz(k->validation, "contested"),
		    .score_ppm = hits[i].score_ppm * k->confidence_ppm / KNOWLEDGE_ONE};
	}
	return reuse_insights(w, a, ctx, task, *items, n, err);
}
