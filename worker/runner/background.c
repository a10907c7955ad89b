/* SPDX-License-Identifier: MIT */
/*
 * The background of a debate (step.h): asks the sources once, at the start; every later run reads the journal. Called
 * by the engine. Finds nothing by itself and judges nothing: what a text is worth is for the agents, who are told where
 * it comes from.
 */
#include "worker/runner/background.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/co.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/engine/similarity.h"
#include "worker/engine/taint.h"
#include "worker/knowledge/outbox.h"
#include "worker/memory/consensus_memory.h"
#include "worker/memory/continuum.h"
#include "worker/runner/journal.h"
#include "worker/worker.h"

static const struct background_source sources[] = {
    {"consensus", consensus_memory_gather},
    {"knowledge", knowledge_gather},
    {"continuum", continuum_gather},
};

/* ---- choosing ---- */

static int background_compare_str(struct str x, struct str y)
{
	int c = memcmp(x.n > 0 ? x.p : "", y.n > 0 ? y.p : "", x.n < y.n ? x.n : y.n);

	return c != 0 ? c : (x.n > y.n) - (x.n < y.n);
}

static int background_order(const void *a, const void *b)
{
	const struct background_item *x = a, *y = b;
	int c = (x->score_ppm < y->score_ppm) - (x->score_ppm > y->score_ppm);

	if (c == 0)
		c = background_compare_str(x->source, y->source);
	return c != 0 ? c : background_compare_str(x->id, y->id);
}

static bool background_told(const struct similarity_vector *const *told, size_t n, const struct similarity_vector *v)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (similarity_cosine(told[i], v) >= BACKGROUND_SAME_PPM)
			return true;
	return false;
}

size_t background_choose(struct arena *a, struct background_item *items, size_t n, size_t count, size_t bytes)
{
	const struct similarity_vector *told[BACKGROUND_COUNT_MAX], *v;
	size_t i, size, kept = 0;

	count = count < countof(told) ? count : countof(told);
	if (n > 0)
		qsort(items, n, sizeof(*items), background_order);
	for (i = 0; i < n && kept < count; i++) {
		struct background_item *it = &items[i];

		it->title = str_utf8_cut(str_trim(it->title), BACKGROUND_TITLE_MAX);
		it->text = str_utf8_cut(str_trim(it->text), BACKGROUND_TEXT_MAX);
		size = it->title.n + it->text.n;
		if (it->text.n == 0 || size > bytes)
			continue;
		v = similarity_vector(a, arena_printf(a, "%.*s\n%.*s", STR_ARG(it->title), STR_ARG(it->text)));
		if (background_told(told, kept, v))
			continue;
		bytes -= size;
		told[kept] = v;
		items[kept++] = *it;
	}
	return kept;
}

/* ---- gathering ---- */

struct background_found {
	struct background_item *items;
	size_t n;
};

CO_FN static void background_ask(struct worker *w, struct arena *a, const struct context *ctx, struct str task,
				 const struct background_source *source, struct background_found *found)
{
	struct co_scope scope = {.kind = SCOPE_CALL, .deadline = clock_mono_us() + BACKGROUND_LIMIT_US};
	struct error err = ERROR_INIT;
	struct background_item *items = NULL, *all;
	size_t i, n = 0;
	bool ok;

	co_scope_enter(&scope);
	ok = source->gather(w, a, ctx, task, &items, &n, &err);
	co_scope_leave(&scope);
	if (!ok) {
		log_warn("debate", "a source of background is left out", KV_S("source", source->name),
			 KV_S("reason", err.msg));
		return;
	}
	all = arena_alloc(a, (found->n + n + 1) * sizeof(*all));
	if (found->n > 0)
		memcpy(all, found->items, found->n * sizeof(*all));
	for (i = 0; i < n; i++) {
		all[found->n + i] = items[i];
		all[found->n + i].source = str_of(source->name);
	}
	found->items = all;
	found->n += n;
}

static json_t *background_item_json(struct arena *a, const struct background_item *it, size_t number)
{
	json_t *o = json_object(), *taint = json_object();

	json_put_str(o, "label", arena_printf(a, "K%zu", number));
	json_put_str(o, "source", it->source);
	json_put_str(o, "id", it->id);
	json_put_str(o, "title", it->title);
	json_put_str(o, "text", it->text);
	json_object_set_new(o, "dissent", json_boolean(it->dissent));
	json_object_set_new(o, "trusted", json_boolean(it->trusted));
	if (taint_count(taint, it->title) + taint_count(taint, it->text) > 0)
		json_object_set(o, "taint", taint);
	json_decref(taint);
	json_put_int(o, "score_ppm", it->score_ppm);
	return o;
}

CO_FN json_t *background_find(struct worker *w, const struct context *ctx, struct str task,
			      const enum debate_stop *stop)
{
	const struct conf *c = w->conf;
	struct background_found found = {NULL, 0};
	struct arena *a = arena_new(0);
	json_t *items = json_array();
	size_t i, n;

	for (i = 0; i < countof(sources) && (stop == NULL || *stop == STOP_NONE); i++)
		background_ask(w, a, ctx, task, &sources[i], &found);
	n = background_choose(a, found.items, found.n, (size_t)c->memory.context_items,
			      (size_t)c->memory.context_bytes);
	for (i = 0; i < n; i++)
		json_array_append_new(items, background_item_json(a, &found.items[i], i + 1));
	arena_free(a);
	return items;
}

/* {items: […]}, new. */
CO_FN static json_t *background_gather(struct debate *d)
{
	json_t *items;
	const json_t *o;
	size_t i;

	co_set_tenant(&d->ctx); /* what sources ask of the store is held to the debate's workspace */
	items = background_find(d->w, &d->ctx, d->plan.task, &d->stop);
	co_set_tenant(NULL);
	json_array_foreach(items, i, o)
	    metric_add(M_KM_REUSE, 1, json_string_value(json_object_get(o, "source")), NULL);
	return json_pack("{s:o}", "items", items);
}

/* ---- the step ---- */

/* What the step is given, and what it tells who watches (websocket.md 3.4). */
static json_t *background_keep(struct step *s, void *arg)
{
	const json_t *items = json_get_arr(arg, "items"), *it;
	json_t *hits = json_array();
	size_t i;

	json_array_foreach(items, i, it)
	{
		json_t *o = json_object();

		json_object_set(o, "label", json_object_get(it, "label"));
		json_object_set(o, "source", json_object_get(it, "source"));
		json_object_set(o, "topic", json_object_get(it, "title"));
		json_object_set(o, "dissent", json_object_get(it, "dissent"));
		json_object_set_new(o, "similarity", json_real((double)json_get_int(it, "score_ppm", 0) / 1e6));
		json_array_append_new(hits, o);
	}
	if (json_array_size(hits) > 0) {
		json_t *data = json_object();

		json_put_str(data, "debate_id", s->d->plan.debate_id);
		json_put_str(data, "query", str_utf8_cut(s->d->plan.task, BACKGROUND_TITLE_MAX));
		json_put_int(data, "count", (int64_t)json_array_size(hits));
		json_object_set(data, "hits", hits);
		step_emit(s, "memory_recall", NULL, 0, data);
	}
	json_decref(hits);
	return json_incref(arg);
}

CO_FN bool step_background(struct debate *d, const char *key)
{
	const json_t *result;
	json_t *found;
	bool ok;

	if (!d->plan.recall)
		return true;
	result = step_done(d, key);
	if (result == NULL) {
		if (!step_may_start(d, key))
			return false;
		found = background_gather(d);
		ok = step_run(d, key, background_keep, found, &result);
		json_decref(found);
		if (!ok)
			return false;
	}
	d->plan.background = json_get_arr(result, "items");
	return true;
}
