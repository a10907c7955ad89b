/* SPDX-License-Identifier: MIT */
/*
 * Searches by likeness (rest-wide 6.3): of continuum memory, and of all that a workspace remembers at once (memory,
 * decisions, knowledge). Called by the router. An answer says whether meaning or words were compared: without an
 * embedding server, or while it does not answer, words serve alone.
 */
#include "common/json.h"
#include "worker/access/access.h"
#include "worker/agents/embed.h"
#include "worker/debate/request.h"
#include "worker/http/body.h"
#include "worker/knowledge/knowledge.h"
#include "worker/memory/consensus_memory.h"
#include "worker/memory/memory_api.h"
#include "worker/worker.h"

#define SEARCH_BRIEF 500   /* bytes of a content in lists of hits */
#define SEARCH_PREVIEW 120 /* of one in short hits */
#define SEARCH_TITLE_MAX 120
#define SEARCH_LIMIT_MAX 100

/* A question from the query, or from a body. */
struct search {
	struct http_request *req;
	const json_t *body; /* NULL: GET */
	struct str query;
	int64_t limit, min_ppm;
	bool by_meaning;
};

/* "a,b": a text of either, or a list of texts of a body. */
static struct str search_words(const struct search *s, const char *name)
{
	const json_t *list = json_get_arr(s->body, name), *v;
	struct buf b = BUF_INIT;
	struct str out;
	size_t i;

	if (s->body == NULL)
		return http_query(s->req, name);
	if (list == NULL)
		return json_get_str(s->body, name, STR(""));
	json_array_foreach(list, i, v)
	    buf_printf(&b, "%s%s", i > 0 ? "," : "", json_is_string(v) ? json_string_value(v) : "");
	out = arena_str(s->req->arena, buf_str(&b));
	buf_free(&b);
	return out;
}

static int64_t search_limit(const struct search *s, int64_t dflt)
{
	int64_t n;

	if (s->body == NULL)
		return http_query_int(s->req, "limit", 1, SEARCH_LIMIT_MAX, dflt);
	n = json_get_int(s->body, "limit", dflt);
	return n < 1 ? 1 : n > SEARCH_LIMIT_MAX ? SEARCH_LIMIT_MAX : n;
}

static int64_t search_least(const struct search *s)
{
	double v = json_number_value(json_object_get(s->body, "min_similarity"));

	if (s->body == NULL)
		return memory_query_ppm(s->req, "min_similarity");
	return !(v > 0.0) ? 0 : v >= 1.0 ? CONTINUUM_ONE : (int64_t)(v * CONTINUUM_ONE);
}

/* False: answered. */
static bool search_read(struct http_request *req, int64_t dflt, struct search *s)
{
	*s = (struct search){.req = req};
	if (!memory_on(req) || !memory_question(req, &s->body, &s->query))
		return false;
	s->limit = search_limit(s, dflt);
	s->min_ppm = search_least(s);
	return true;
}

/* The question and how it was answered. */
static json_t *search_answer(const struct search *s, const char *name, json_t *results)
{
	const struct worker *w = s->req->user;
	json_t *o = json_object();

	json_put_str(o, "query", s->query);
	json_put_int(o, "count", (int64_t)json_array_size(results));
	json_object_set_new(o, name, results);
	json_put_str(o, "method", s->by_meaning ? STR("embeddings") : STR("words"));
	json_object_set_new(o, "embeddings_configured", json_boolean(embed_configured(w->conf)));
	return o;
}

static struct continuum_filter search_filter(const struct search *s)
{
	return (struct continuum_filter){.tiers = memory_tiers(search_words(s, s->body != NULL ? "tiers" : "tier")),
					 .min_importance_ppm = memory_query_ppm(s->req, "min_importance"),
					 .limit = s->limit};
}

static const char *search_match(bool semantic)
{
	return semantic ? "meaning" : "words";
}

/* ---- continuum memory ---- */

CO_FN static void search_semantic(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct continuum_filter f;
	struct continuum_entry *v;
	struct search s;
	json_t *list, *o;
	size_t i, n;

	if (!search_read(req, 10, &s))
		return;
	f = search_filter(&s);
	if (!continuum_similar(req->user, req->arena, &req->ctx, s.query, &f, s.min_ppm, &v, &n, &s.by_meaning, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < n; i++) {
		o = memory_entry(&v[i], SEARCH_BRIEF);
		memory_real(o, "similarity", v[i].fit_ppm);
		json_put_str(o, "match", str_of(search_match(v[i].semantic)));
		json_array_append_new(list, o);
	}
	o = search_answer(&s, "results", list);
	json_object_set_new(o, "tiers_searched", memory_tier_names(f.tiers));
	http_reply_json(req, 200, o);
}

/* ---- all that is remembered ---- */

struct search_result {
	json_t *o; /* of the arena */
	int64_t score_ppm;
	size_t at; /* in the order in which they were found */
};

struct search_found {
	struct search_result v[3 * SEARCH_LIMIT_MAX];
	size_t n;
};

static json_t *search_add(struct search *s, struct search_found *f, struct str id, struct str title, struct str content,
			  int64_t score_ppm, bool semantic)
{
	json_t *o = json_own(s->req->arena, json_object());

	json_put_str(o, "id", id);
	json_put_str(o, "title", str_utf8_cut(title, SEARCH_TITLE_MAX));
	json_put_str(o, "content", str_utf8_cut(content, SEARCH_BRIEF));
	memory_real(o, "score", score_ppm);
	json_put_str(o, "match", str_of(search_match(semantic)));
	f->v[f->n] = (struct search_result){o, score_ppm, f->n};
	f->n++;
	return o;
}

CO_FN static bool search_memory(struct search *s, struct search_found *f, struct error *err)
{
	const struct continuum_filter all = {.tiers = CONTINUUM_ALL_TIERS, .limit = s->limit};
	struct continuum_entry *v;
	size_t i, n;

	if (!continuum_similar(s->req->user, s->req->arena, &s->req->ctx, s->query, &all, s->min_ppm, &v, &n,
			       &s->by_meaning, err))
		return false;
	for (i = 0; i < n; i++) {
		json_t *o = search_add(s, f, v[i].id, v[i].content, v[i].content, v[i].fit_ppm, v[i].semantic);

		json_put_str(o, "tier", str_of(continuum_rules[v[i].tier].name));
		json_put_str(o, "kind", v[i].kind);
		json_put_time(o, "created_at", v[i].created_at);
	}
	return true;
}

/* Decisions are found by their words. */
CO_FN static bool search_consensus(struct search *s, struct search_found *f, struct error *err)
{
	struct consensus_memory *v;
	size_t i, n;

	if (!consensus_memory_find(s->req->user, s->req->arena, &s->req->ctx, s->query, (size_t)s->limit, s->min_ppm,
				   &v, &n, err))
		return false;
	for (i = 0; i < n; i++) {
		json_t *o = search_add(s, f, v[i].debate_id, v[i].topic, v[i].conclusion, v[i].score_ppm, false);

		json_put_str(o, "debate_id", v[i].debate_id);
		memory_real(o, "confidence", v[i].confidence_ppm);
		json_put_time(o, "created_at", v[i].created_at);
	}
	return true;
}

CO_FN static bool search_knowledge(struct search *s, struct search_found *f, struct error *err)
{
	const struct knowledge_filter all = {.types = STR(""),
					     .tier = STR(""),
					     .topic = STR(""),
					     .validation = STR(""),
					     .adapter = STR(""),
					     .limit = s->limit};
	struct knowledge_hit *v;
	size_t i, n;

	if (!knowledge_find(s->req->user, s->req->arena, &s->req->ctx, s->query, &all, &v, &n, err))
		return false;
	for (i = 0; i < n && v[i].score_ppm >= s->min_ppm; i++) {
		const struct knowledge_node *k = &v[i].node;
		json_t *o = search_add(s, f, k->id, k->content, k->content, v[i].score_ppm, v[i].semantic);

		s->by_meaning = s->by_meaning || v[i].semantic;
		json_put_str(o, "node_type", k->type);
		memory_real(o, "confidence", k->confidence_ppm);
		json_put_time(o, "created_at", k->created_at);
	}
	return true;
}

static bool search_knowledge_off(const struct http_request *req)
{
	return !((const struct worker *)req->user)->conf->knowledge.enabled || !rbac_allows(req, "knowledge:read");
}

static const struct search_source {
	const char *name;
	CO_FN bool (*find)(struct search *s, struct search_found *f, struct error *err);
	bool (*off)(const struct http_request *req); /* NULL: never, memory being on */
} search_sources[] = {
    {"memory", search_memory, NULL},
    {"consensus", search_consensus, NULL},
    {"knowledge", search_knowledge, search_knowledge_off},
};

/* Bits of the named sources; all of them without a name. False: answered. */
static bool search_which(struct search *s, unsigned *bits)
{
	struct str list = search_words(s, "sources"), name;
	size_t i;

	*bits = 0;
	while (str_split(&list, ',', &name)) {
		name = str_trim(name);
		for (i = 0; i < countof(search_sources) && !str_eqz(name, search_sources[i].name); i++)
			;
		if (i == countof(search_sources) && name.n > 0)
			return body_reject(s->req, "sources", "must be of memory, consensus and knowledge");
		*bits |= name.n > 0 ? 1U << i : 0;
	}
	if (*bits == 0)
		*bits = (1U << countof(search_sources)) - 1;
	return true;
}

static int search_order(const void *x, const void *y)
{
	const struct search_result *a = x, *b = y;

	if (a->score_ppm != b->score_ppm)
		return a->score_ppm < b->score_ppm ? 1 : -1;
	return (a->at > b->at) - (a->at < b->at);
}

/* What the sources have; by_source: how many each found, unavailable: those that may not be asked. */
CO_FN static bool search_gather(struct search *s, unsigned which, struct search_found *f, json_t *by_source,
				json_t *unavailable, struct error *err)
{
	size_t i, k, from;

	for (i = 0; i < countof(search_sources); i++) {
		const struct search_source *source = &search_sources[i];

		if ((which >> i & 1U) == 0)
			continue;
		if (source->off != NULL && source->off(s->req)) {
			json_array_append_new(unavailable, json_string(source->name));
			continue;
		}
		from = f->n;
		if (!source->find(s, f, err))
			return false;
		for (k = from; k < f->n; k++)
			json_put_str(f->v[k].o, "source", str_of(source->name));
		json_put_int(by_source, source->name, (int64_t)(f->n - from));
	}
	if (f->n > 0)
		qsort(f->v, f->n, sizeof(*f->v), search_order);
	return true;
}

CO_FN static void search_unified(struct http_request *req)
{
	json_t *by_source = json_own(req->arena, json_object()), *unavailable = json_own(req->arena, json_array()),
	       *list, *o;
	struct search_found *f = arena_zalloc(req->arena, sizeof(*f));
	struct error err = ERROR_INIT;
	struct search s;
	unsigned which;
	size_t i;

	if (!search_read(req, 20, &s) || !search_which(&s, &which))
		return;
	if (!search_gather(&s, which, f, by_source, unavailable, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < f->n && i < (size_t)s.limit; i++)
		json_array_append(list, f->v[i].o);
	o = search_answer(&s, "results", list);
	json_put_int(o, "total", (int64_t)f->n);
	json_object_set(o, "by_source", by_source);
	json_object_set(o, "unavailable", unavailable);
	http_reply_json(req, 200, o);
}

/* ---- short hits ---- */

/* Hits of knowledge, for who asks for what lies outside of memory. */
CO_FN static bool search_external(struct search *s, json_t *sources, json_t *results, struct error *err)
{
	struct search_found *f = arena_zalloc(s->req->arena, sizeof(*f));
	size_t i;

	if (search_knowledge_off(s->req))
		return true;
	if (!search_knowledge(s, f, err))
		return false;
	json_array_append_new(sources, json_string("knowledge"));
	for (i = 0; i < f->n; i++)
		json_array_append(results, f->v[i].o);
	return true;
}

/* The ordinary order is retrieval's; use_hybrid: by likeness, of meaning too. */
CO_FN static void search_index(struct http_request *req)
{
	json_t *sources = json_own(req->arena, json_array()), *external = json_own(req->arena, json_array()), *list, *o;
	bool hybrid = false, outside = false, ok;
	struct error err = ERROR_INIT;
	struct continuum_filter f;
	struct continuum_entry *v;
	struct search s;
	size_t i, n;

	if (!search_read(req, 20, &s))
		return;
	if (!str_to_bool(http_query(req, "use_hybrid"), &hybrid))
		hybrid = false;
	if (!str_to_bool(http_query(req, "include_external"), &outside))
		outside = false;
	f = search_filter(&s);
	ok = hybrid ? continuum_similar(req->user, req->arena, &req->ctx, s.query, &f, 0, &v, &n, &s.by_meaning, &err)
		    : continuum_search(req->user, req->arena, &req->ctx, s.query, &f, &v, &n, &err);
	if (!ok || (outside && !search_external(&s, sources, external, &err))) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < n; i++) {
		o = json_object();
		json_put_str(o, "id", v[i].id);
		json_put_str(o, "tier", str_of(continuum_rules[v[i].tier].name));
		json_put_str(o, "preview", str_utf8_cut(v[i].content, SEARCH_PREVIEW));
		memory_real(o, "importance", v[i].importance_ppm);
		json_object_set_new(o, "score", json_real(hybrid ? (double)v[i].fit_ppm / 1e6 : v[i].score));
		json_array_append_new(list, o);
	}
	o = search_answer(&s, "results", list);
	json_object_set_new(o, "tiers", memory_tier_names(f.tiers));
	json_object_set_new(o, "use_hybrid", json_boolean(hybrid));
	json_object_set(o, "external_sources", sources);
	json_object_set(o, "external_results", external);
	http_reply_json(req, 200, o);
}

#define SEARCH_POST(p, fn, text) ROUTE(POST, p, fn, "memory:read", READ, text)

static const struct route search_rows[] = {
    MEMORY_READ("/api/memory/search-index", search_index, "Search memory, short hits"),
    MEMORY_READ("/api/memory/semantic-search", search_semantic, "Entries of memory that are like a text"),
    SEARCH_POST("/api/memory/semantic-search", search_semantic, "Entries of memory that are like a text"),
    MEMORY_READ("/api/memory/unified/search", search_unified, "Search memory, decisions and knowledge at once"),
    SEARCH_POST("/api/memory/unified/search", search_unified, "Search memory, decisions and knowledge at once"),
};
const struct route_table memory_search_routes = {search_rows, countof(search_rows)};
