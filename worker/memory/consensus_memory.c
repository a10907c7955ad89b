/* SPDX-License-Identifier: MIT */
/*
 * Consensus memory (consensus_memory.h): one row and one entry of the full-text index per finished debate. Called by
 * the effects of a debate's end and by the background of the next one. Routes are in consensus_api.c; how texts are
 * searched is worker/search.
 */
#include "worker/memory/consensus_memory.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/db.h"
#include "common/json.h"
#include "worker/search/fulltext.h"
#include "worker/worker.h"

/* Bytes; debate.md 8.1 row 5 gives 2000 and 500 characters. */
#define CONSENSUS_TOPIC_MAX 2000
#define CONSENSUS_CONCLUSION_MAX 2000
#define CONSENSUS_DISSENT_MAX 500
#define CONSENSUS_DISSENTS_MAX 8      /* kept of one debate */
#define CONSENSUS_FITS_PPM 340000     /* a third of the task's words: below it the subject is another one */
#define CONSENSUS_RECALL_MAX 4        /* decisions given to a debate */
#define CONSENSUS_RECALL_DISSENTS 2   /* of each */
#define CONSENSUS_INDIRECT_PPM 800000 /* words found only in the conclusion say less about the subject */

/* ---- writing ---- */

static json_t *consensus_dissents(const json_t *result)
{
	const json_t *dissents = json_get_arr(result, "dissents"), *d, *r;
	json_t *out = json_array();
	size_t i, k;

	json_array_foreach(dissents, i, d)
	{
		struct buf reasons = BUF_INIT;
		json_t *o = json_object();

		if (i == CONSENSUS_DISSENTS_MAX) {
			json_decref(o);
			break;
		}
		json_array_foreach(json_get_arr(d, "reasons"), k, r)
		    buf_printf(&reasons, "%s%s", k > 0 ? "; " : "", json_is_string(r) ? json_string_value(r) : "");
		json_put_str(o, "agent", json_get_str(d, "agent", STR("")));
		json_put_str(o, "view", str_utf8_cut(json_get_str(d, "view", STR("")), CONSENSUS_DISSENT_MAX));
		json_put_str(o, "reasons", str_utf8_cut(buf_str(&reasons), CONSENSUS_DISSENT_MAX));
		json_array_append_new(out, o);
		buf_free(&reasons);
	}
	return out;
}

void consensus_memory_add(struct db_batch *b, const struct context *ctx, const json_t *result, int64_t at_ms)
{
	const json_t *c = json_get_obj(result, "consensus");
	bool reached = json_get_bool(c, "reached", false);
	struct str id = json_get_str(result, "debate_id", STR("")),
		   topic = str_utf8_cut(json_get_str(result, "task", STR("")), CONSENSUS_TOPIC_MAX),
		   conclusion =
		       str_utf8_cut(str_trim(json_get_str(result, "final_answer", STR(""))), CONSENSUS_CONCLUSION_MAX);
	json_t *dissents = consensus_dissents(result);
	struct arena *a = arena_new(0);

	db_batch_add(b,
		     "INSERT INTO consensus_memory (debate_id, org_id, workspace_id, topic, conclusion, domain, "
		     "reached, strength,"
		     " method, confidence_ppm, margin_ppm, rounds, agents, dissents, dissent_count, created_at)"
		     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
		     " ON CONFLICT (debate_id) DO NOTHING",
		     DB_ARGS(DB_S(id), DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_S(topic), DB_S(conclusion),
			     DB_S(json_get_str(result, "domain", STR("general"))), DB_I(reached),
			     DB_S(reached ? json_get_str(c, "strength", STR("split")) : STR("split")),
			     DB_S(json_get_str(result, "method", STR(""))), DB_I(json_get_int(c, "confidence_ppm", 0)),
			     DB_I(json_get_int(c, "margin_ppm", 0)), DB_I(json_get_int(result, "rounds_used", 0)),
			     DB_S(json_text(a, json_get_arr(result, "participants"))), DB_S(json_text(a, dissents)),
			     DB_I(json_array_size(dissents)), DB_I(at_ms)),
		     DB_ANY);
	fulltext_put(b, ctx, CONSENSUS_MEMORY_KIND, id,
		     arena_printf(a, "%.*s\n%.*s", STR_ARG(topic), STR_ARG(conclusion)));
	json_decref(dissents);
	arena_free(a);
}

/* ---- finding ---- */

struct consensus_memory consensus_memory_row(const struct db_rows *r, size_t i)
{
	return (struct consensus_memory){.debate_id = db_str(r, i, 0),
					 .topic = db_str(r, i, 1),
					 .conclusion = db_str(r, i, 2),
					 .domain = db_str(r, i, 3),
					 .reached = db_int(r, i, 4) != 0,
					 .strength = db_str(r, i, 5),
					 .method = db_str(r, i, 6),
					 .confidence_ppm = db_int(r, i, 7),
					 .margin_ppm = db_int(r, i, 8),
					 .rounds = db_int(r, i, 9),
					 .agents = db_str(r, i, 10),
					 .dissents = db_str(r, i, 11),
					 .dissent_count = db_int(r, i, 12),
					 .created_at = db_int(r, i, 13)};
}

/* By score, the newer first among equals. */
static int consensus_order(const void *a, const void *b)
{
	const struct consensus_memory *x = a, *y = b;
	int c = (x->score_ppm < y->score_ppm) - (x->score_ppm > y->score_ppm);

	return c != 0 ? c : (x->created_at < y->created_at) - (x->created_at > y->created_at);
}

/* What the hits are, with the score that counts: of the topic, or of topic and conclusion at a discount. */
CO_FN static bool consensus_load(struct worker *w, struct arena *a, const struct context *ctx, struct str topic,
				 const struct fulltext_hit *hits, size_t n, struct consensus_memory *out, size_t *count,
				 struct error *err)
{
	struct db_rows r;
	size_t i;

	for (i = 0; i < n; i++) {
		struct consensus_memory *m = &out[*count];
		int64_t indirect = hits[i].score_ppm / 1000 * (CONSENSUS_INDIRECT_PPM / 1000);

		if (!db_query(w->db, a,
			      "SELECT debate_id, topic, conclusion, domain, reached, strength, method, confidence_ppm,"
			      " margin_ppm, rounds, agents, dissents, dissent_count, created_at FROM consensus_memory"
			      " WHERE debate_id = $1 AND workspace_id = $2",
			      DB_ARGS(DB_S(hits[i].ref), DB_S(ctx->workspace_id)), &r, err))
			return false;
		if (r.count == 0)
			continue;
		*m = consensus_memory_row(&r, 0);
		m->score_ppm = fulltext_score(a, topic, m->topic);
		if (m->score_ppm < indirect)
			m->score_ppm = indirect;
		(*count)++;
	}
	return true;
}

CO_FN bool consensus_memory_find(struct worker *w, struct arena *a, const struct context *ctx, struct str topic,
				 size_t limit, int64_t min_ppm, struct consensus_memory **out, size_t *n,
				 struct error *err)
{
	struct fulltext_hit *hits;
	size_t found, count = 0, i;

	limit = limit < CONSENSUS_MEMORY_FOUND_MAX ? limit : CONSENSUS_MEMORY_FOUND_MAX;
	*n = 0;
	if (!fulltext_find(w, a, ctx, CONSENSUS_MEMORY_KIND, topic, FULLTEXT_LIMIT_MAX, &hits, &found, err))
		return false;
	*out = arena_zalloc(a, (limit + 1) * sizeof(**out));
	if (!consensus_load(w, a, ctx, topic, hits, found < limit ? found : limit, *out, &count, err))
		return false;
	if (count > 0)
		qsort(*out, count, sizeof(**out), consensus_order);
	for (i = 0; i < count && (*out)[i].score_ppm >= min_ppm; i++)
		;
	*n = i;
	return true;
}

/* ---- background of a debate ---- */

static struct background_item consensus_decision(struct arena *a, const struct consensus_memory *m)
{
	char iso[CLOCK_ISO_MAX];

	(void)clock_iso(iso, m->created_at);
	return (struct background_item){
	    .id = m->debate_id,
	    .title = m->topic,
	    .text = arena_printf(a, "%s on %.10s (%.*s, confidence %lld %%, %lld dissenting): %.*s",
				 m->reached ? "Decided" : "Left undecided", iso, STR_ARG(m->strength),
				 (long long)(m->confidence_ppm / 10000), (long long)m->dissent_count,
				 STR_ARG(m->conclusion)),
	    .score_ppm = m->score_ppm};
}

/* Without its author's name, as everything in prompts. */
static struct background_item consensus_dissent(struct arena *a, const struct consensus_memory *m, const json_t *d,
						size_t number)
{
	struct str view = json_get_str(d, "view", STR("")), reasons = json_get_str(d, "reasons", STR(""));

	return (struct background_item){
	    .id = arena_printf(a, "%.*s#%zu", STR_ARG(m->debate_id), number),
	    .title = m->topic,
	    .text = reasons.n > 0 ? arena_printf(a, "%.*s Reasons: %.*s", STR_ARG(view), STR_ARG(reasons))
				  : arena_str(a, view),
	    .dissent = true,
	    .score_ppm = m->score_ppm};
}

CO_FN bool consensus_memory_gather(struct worker *w, struct arena *a, const struct context *ctx, struct str task,
				   struct background_item **items, size_t *n, struct error *err)
{
	struct consensus_memory *found;
	size_t i, k, count;

	*n = 0;
	if (!consensus_memory_find(w, a, ctx, task, CONSENSUS_RECALL_MAX, CONSENSUS_FITS_PPM, &found, &count, err))
		return false;
	*items = arena_zalloc(a, (count * (1 + CONSENSUS_RECALL_DISSENTS) + 1) * sizeof(**items));
	for (i = 0; i < count; i++) {
		json_t *dissents = json_parse(a, found[i].dissents, err);

		(*items)[(*n)++] = consensus_decision(a, &found[i]);
		for (k = 0; k < json_array_size(dissents) && k < CONSENSUS_RECALL_DISSENTS; k++)
			(*items)[(*n)++] = consensus_dissent(a, &found[i], json_array_get(dissents, k), k + 1);
	}
	return true;
}
