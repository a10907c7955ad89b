/* SPDX-License-Identifier: MIT */
/*
 * Which nodes fit a question. Called by the endpoints and by whoever gives knowledge to debates. Only nodes of the
 * workspace are found; what was shared with it is listed elsewhere.
 */
#include "worker/knowledge/knowledge.h"
#include "worker/search/fulltext.h"
#include "worker/search/vectors.h"
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

/* Candidates by words and by meaning: each once, with the better of its scores, best first. */
struct find_candidates {
	struct str ids[2 * FULLTEXT_LIMIT_MAX];
	int64_t score_ppm[2 * FULLTEXT_LIMIT_MAX];
	bool semantic[2 * FULLTEXT_LIMIT_MAX];
	size_t n;
};

static void find_add(struct find_candidates *c, struct str id, int64_t score_ppm, bool semantic)
{
	size_t i, k;

	for (i = 0; i < c->n && !str_eq(c->ids[i], id); i++)
		;
	if (i < c->n && c->score_ppm[i] >= score_ppm)
		return;
	if (i == c->n)
		c->n++;
	/* From its place, or the end, up to behind those that are at least as good. */
	for (k = i; k > 0 && c->score_ppm[k - 1] < score_ppm; k--) {
		c->ids[k] = c->ids[k - 1];
		c->score_ppm[k] = c->score_ppm[k - 1];
		c->semantic[k] = c->semantic[k - 1];
	}
	c->ids[k] = id;
	c->score_ppm[k] = score_ppm;
	c->semantic[k] = semantic;
}

CO_FN static bool find_candidates(struct worker *w, struct arena *a, const struct context *ctx, struct str query,
				  struct find_candidates *c, struct error *err)
{
	struct vectors_hit *near;
	struct fulltext_hit *found;
	size_t n, i;
	bool asked;

	if (!fulltext_find(w, a, ctx, KNOWLEDGE_KIND, query, FULLTEXT_LIMIT_MAX, &found, &n, err))
		return false;
	for (i = 0; i < n; i++)
		find_add(c, found[i].ref, found[i].score_ppm, false);
	if (!vectors_find(w, a, ctx, VECTORS_KNOWLEDGE, query, FULLTEXT_LIMIT_MAX, &near, &n, &asked, err))
		return false;
	for (i = 0; i < n; i++)
		find_add(c, near[i].id, near[i].score_ppm, true);
	return true;
}

CO_FN bool knowledge_find(struct worker *w, struct arena *a, const struct context *ctx, struct str query,
			  const struct knowledge_filter *f, struct knowledge_hit **hits, size_t *n, struct error *err)
{
	struct find_candidates *c = arena_zalloc(a, sizeof(*c));
	struct knowledge_node *nodes;
	size_t count, i, k = 0;

	*hits = NULL;
	*n = 0;
	if (!find_candidates(w, a, ctx, query, c, err) || !knowledge_read(w, a, ctx, c->ids, c->n, &nodes, &count, err))
		return false;
	*hits = arena_zalloc(a, (count + 1) * sizeof(**hits));
	for (i = 0; i < count && *n < (size_t)f->limit; i++) {
		while (!str_eq(c->ids[k], nodes[i].id)) /* both are in the order of the candidates */
			k++;
		if (find_fits(f, ctx, &nodes[i]))
			(*hits)[(*n)++] = (struct knowledge_hit){nodes[i], c->score_ppm[k], c->semantic[k]};
	}
	return true;
}
