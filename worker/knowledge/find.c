/* SPDX-License-Identifier: MIT */
/*
 * Which nodes fit a question. Called by the endpoints and by whoever gives knowledge to debates. Only nodes of the
 * workspace are found; what was shared with it is listed elsewhere.
 */
#include "worker/knowledge/knowledge.h"
#include "worker/search/fulltext.h"
#include "worker/worker.h"

static bool find_fits(const struct knowledge_filter *f, const struct context *ctx, const struct knowledge_node *n)
{
	struct buf type = BUF_INIT;
	bool ok;

	buf_printf(&type, ",%.*s,", STR_ARG(n->type));
	ok = f->types.n == 0 || str_find(f->types, buf_str(&type)) >= 0;
	buf_free(&type);
	return ok && (f->tier.n == 0 || str_eq(f->tier, n->tier)) && n->confidence_ppm >= f->min_confidence_ppm &&
	       (f->superseded || n->superseded_by.n == 0) && (f->adapter.n == 0 || str_eq(f->adapter, n->adapter)) &&
	       (!str_eqz(n->visibility, "private") || str_eq(n->created_by, ctx->principal));
}

CO_FN bool knowledge_find(struct worker *w, struct arena *a, const struct context *ctx, struct str query,
			  const struct knowledge_filter *f, struct knowledge_hit **hits, size_t *n, struct error *err)
{
	struct knowledge_node *nodes;
	struct fulltext_hit *found;
	size_t count, i, k = 0;
	struct str *ids;

	*hits = NULL;
	*n = 0;
	if (!fulltext_find(w, a, ctx, KNOWLEDGE_KIND, query, FULLTEXT_LIMIT_MAX, &found, &count, err))
		return false;
	ids = arena_zalloc(a, (count + 1) * sizeof(*ids));
	for (i = 0; i < count; i++)
		ids[i] = found[i].ref;
	if (!knowledge_read(w, a, ctx, ids, count, &nodes, &count, err))
		return false;
	*hits = arena_zalloc(a, (count + 1) * sizeof(**hits));
	for (i = 0; i < count && *n < (size_t)f->limit; i++) {
		while (!str_eq(found[k].ref, nodes[i].id)) /* both are in the order of the hits */
			k++;
		if (find_fits(f, ctx, &nodes[i]))
			(*hits)[(*n)++] = (struct knowledge_hit){nodes[i], found[k].score_ppm, false};
	}
	return true;
}
