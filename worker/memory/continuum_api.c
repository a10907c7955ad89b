/* SPDX-License-Identifier: MIT */
/*
 * The routes to entries of continuum memory (rest-wide 6.3): reading, searching, making, moving, removing, export and
 * import. Figures and upkeep are in tiers_api.c. An empty memory answers with empty lists.
 */
#include "worker/memory/memory_api.h"

#include <math.h>

#include "common/clock.h"
#include "common/ids.h"
#include "common/json.h"
#include "worker/http/body.h"
#include "worker/http/page.h"
#include "worker/worker.h"

#define API_BRIEF 500 /* bytes of a content in lists of hits */
#define API_IDS_MAX 50
#define API_IMPORT_MAX 1000
#define API_METADATA_MAX 8192

/* ---- shared with the other routes ---- */

bool memory_on(struct http_request *req)
{
	const struct worker *w = req->user;
	struct error err = ERROR_INIT;

	if (w->conf->memory.enabled)
		return true;
	error_set(&err, ERR_UNAVAILABLE, "Continuum memory not initialized: memory.enabled is off");
	http_reply_error(req, &err);
	return false;
}

unsigned memory_tiers(struct str list)
{
	unsigned bits = 0;
	enum continuum_tier t;
	struct str name;

	while (str_split(&list, ',', &name))
		if (continuum_tier_find(str_trim(name), &t))
			bits |= 1U << t;
	return bits != 0 ? bits : CONTINUUM_ALL_TIERS;
}

json_t *memory_tier_names(unsigned tiers)
{
	json_t *list = json_array();
	size_t t;

	for (t = 0; t < CONTINUUM_TIERS; t++)
		if ((tiers >> t & 1U) != 0)
			json_array_append_new(list, json_string(continuum_rules[t].name));
	return list;
}

void memory_real(json_t *o, const char *key, int64_t ppm)
{
	json_object_set_new(o, key, json_real((double)ppm / 1e6));
}

int64_t memory_query_ppm(const struct http_request *req, const char *name)
{
	struct str s = http_query(req, name);
	char text[24], *end;
	double v;

	if (s.n == 0 || s.n >= sizeof(text))
		return 0;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	v = strtod(text, &end);
	return *end != '\0' || !(v > 0.0) ? 0 : v >= 1.0 ? CONTINUUM_ONE : (int64_t)(v * CONTINUUM_ONE);
}

json_t *memory_entry(const struct continuum_entry *e, size_t max)
{
	json_t *o = json_object(), *metadata;
	struct error err = ERROR_INIT;

	json_put_str(o, "id", e->id);
	json_put_str(o, "tier", str_of(continuum_rules[e->tier].name));
	json_put_str(o, "kind", e->kind);
	json_put_str(o, "content", str_utf8_cut(e->content, max));
	memory_real(o, "importance", e->importance_ppm);
	memory_real(o, "surprise_score", e->surprise_ppm);
	memory_real(o, "consolidation_score", continuum_consolidation(e->updates));
	json_object_set_new(o, "learning_rate", json_real(continuum_learning_rate(e->tier, e->updates)));
	json_object_set_new(o, "score", json_real(e->score));
	json_put_int(o, "update_count", e->updates);
	json_put_int(o, "success_count", e->successes);
	json_put_int(o, "failure_count", e->failures);
	json_put_str(o, "agent", e->agent);
	json_put_str(o, "debate_id", e->debate_id);
	metadata = json_parse(NULL, e->metadata, &err);
	json_object_set_new(o, "metadata", metadata != NULL ? metadata : json_object());
	json_object_set_new(o, "red_line", json_boolean(e->red_line));
	json_put_str(o, "red_line_reason", e->red_line_reason);
	json_put_time(o, "created_at", e->created_at);
	json_put_time(o, "updated_at", e->updated_at);
	return o;
}

json_t *memory_entries(const struct continuum_entry *v, size_t n, size_t max)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < n; i++)
		json_array_append_new(list, memory_entry(&v[i], max));
	return list;
}

/* ---- reading ---- */

static struct continuum_filter api_filter(const struct http_request *req, const char *tiers, int64_t limit)
{
	return (struct continuum_filter){.tiers = memory_tiers(http_query(req, tiers)),
					 .kind = http_query(req, "kind"),
					 .agent = http_query(req, "agent"),
					 .min_importance_ppm = memory_query_ppm(req, "min_importance"),
					 .limit = http_query_int(req, "limit", 1, 100, limit),
					 .offset = http_query_int(req, "offset", 0, INT32_MAX, 0)};
}

CO_FN static void api_retrieve(struct http_request *req)
{
	const struct continuum_filter f = api_filter(req, "tiers", 10);
	struct error err = ERROR_INIT;
	struct continuum_entry *v;
	json_t *o;
	size_t n;

	if (!memory_on(req))
		return;
	if (!continuum_search(req->user, req->arena, &req->ctx, http_query(req, "query"), &f, &v, &n, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = json_object();
	json_object_set_new(o, "memories", memory_entries(v, n, API_BRIEF));
	json_put_int(o, "count", (int64_t)n);
	json_put_str(o, "query", http_query(req, "query"));
	json_object_set_new(o, "tiers", memory_tier_names(f.tiers));
	http_reply_json(req, 200, o);
}

static int api_by_importance(const void *x, const void *y)
{
	const struct continuum_entry *a = x, *b = y;

	return (a->importance_ppm < b->importance_ppm) - (a->importance_ppm > b->importance_ppm);
}

static int api_by_time(const void *x, const void *y)
{
	const struct continuum_entry *a = x, *b = y;

	return (a->updated_at < b->updated_at) - (a->updated_at > b->updated_at);
}

/* The hits of q, sorted as asked; false: refused. */
CO_FN static bool api_find(struct http_request *req, const struct continuum_filter *f, struct continuum_entry **v,
			   size_t *n)
{
	struct str q = str_trim(http_query(req, "q")), sort = http_query(req, "sort");
	struct error err = ERROR_INIT;

	if (!memory_on(req))
		return false;
	if (q.n == 0)
		error_field(&err, ERR_MISSING_FIELD, "q", "q is required: what to look for");
	else if (continuum_search(req->user, req->arena, &req->ctx, q, f, v, n, &err)) {
		if (*n > 0 && str_eqz(sort, "importance"))
			qsort(*v, *n, sizeof(**v), api_by_importance);
		else if (*n > 0 && str_eqz(sort, "recency"))
			qsort(*v, *n, sizeof(**v), api_by_time);
		return true;
	}
	http_reply_error(req, &err);
	return false;
}

CO_FN static void api_search(struct http_request *req)
{
	const struct continuum_filter f = api_filter(req, "tier", 20);
	struct continuum_entry *v;
	json_t *o;
	size_t n;

	if (!api_find(req, &f, &v, &n))
		return;
	o = json_object();
	json_put_str(o, "query", http_query(req, "q"));
	json_object_set_new(o, "results", memory_entries(v, n, API_BRIEF));
	json_put_int(o, "count", (int64_t)n);
	json_object_set_new(o, "tiers_searched", memory_tier_names(f.tiers));
	json_object_set_new(o, "filters", json_pack("{s:f}", "min_importance", (double)f.min_importance_ppm / 1e6));
	http_reply_json(req, 200, o);
}

/* The entry around which time is looked at: the one named, or the best hit of q. */
CO_FN static bool api_anchor(struct http_request *req, struct continuum_entry *anchor)
{
	const struct continuum_filter f = {.tiers = CONTINUUM_ALL_TIERS, .limit = 1};
	struct str id = http_query(req, "anchor_id");
	struct error err = ERROR_INIT;
	struct continuum_entry *v;
	size_t n;

	if (id.n > 0) {
		if (memory_on(req) && continuum_get(req->user, req->arena, &req->ctx, id, anchor, &err))
			return true;
		if (!http_replied(req))
			http_reply_error(req, &err);
		return false;
	}
	if (!api_find(req, &f, &v, &n))
		return false;
	if (n == 0) {
		error_field(&err, ERR_NOT_FOUND, "q", "nothing in memory fits; name an anchor_id");
		http_reply_error(req, &err);
		return false;
	}
	*anchor = v[0];
	return true;
}

CO_FN static void api_timeline(struct http_request *req)
{
	struct continuum_filter f = {.tiers = CONTINUUM_ALL_TIERS,
				     .min_importance_ppm = memory_query_ppm(req, "min_importance"),
				     .by_time = true};
	struct continuum_entry anchor, *before, *after;
	struct error err = ERROR_INIT;
	size_t n_before, n_after;
	json_t *o;

	if (!api_anchor(req, &anchor))
		return;
	f.before_ms = anchor.created_at;
	f.limit = http_query_int(req, "before", 0, 50, 3);
	if (!continuum_list(req->user, req->arena, &req->ctx, &f, &before, &n_before, &err)) {
		http_reply_error(req, &err);
		return;
	}
	f.before_ms = 0;
	f.after_ms = anchor.created_at;
	f.oldest_first = true;
	f.limit = http_query_int(req, "after", 0, 50, 3);
	if (!continuum_list(req->user, req->arena, &req->ctx, &f, &after, &n_after, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = json_object();
	json_put_str(o, "anchor_id", anchor.id);
	json_object_set_new(o, "before", memory_entries(before, n_before, API_BRIEF));
	json_object_set_new(o, "anchor", memory_entry(&anchor, CONTINUUM_CONTENT_MAX));
	json_object_set_new(o, "after", memory_entries(after, n_after, API_BRIEF));
	http_reply_json(req, 200, o);
}

/* Those of `ids` that there are; without ids a page of all. */
CO_FN static bool api_load_entries(struct http_request *req, json_t *asked, json_t *entries, struct error *err)
{
	struct continuum_filter f = api_filter(req, "tier", 20);
	struct str ids = http_query(req, "ids"), id;
	struct continuum_entry e, *v;
	size_t n, i;

	if (ids.n == 0) {
		f.by_time = true;
		if (!continuum_list(req->user, req->arena, &req->ctx, &f, &v, &n, err))
			return false;
		for (i = 0; i < n; i++) {
			json_array_append_new(asked, json_str(v[i].id));
			json_array_append_new(entries, memory_entry(&v[i], CONTINUUM_CONTENT_MAX));
		}
		return true;
	}
	for (i = 0; i < API_IDS_MAX && str_split(&ids, ',', &id); i++) {
		struct error none = ERROR_INIT;

		json_array_append_new(asked, json_str(id));
		if (continuum_get(req->user, req->arena, &req->ctx, str_trim(id), &e, &none))
			json_array_append_new(entries, memory_entry(&e, CONTINUUM_CONTENT_MAX));
		else if (none.code != ERR_NOT_FOUND) {
			*err = none;
			return false;
		}
	}
	return true;
}

CO_FN static void api_entries(struct http_request *req)
{
	json_t *asked = json_own(req->arena, json_array()), *entries = json_own(req->arena, json_array());
	struct error err = ERROR_INIT;

	if (!memory_on(req))
		return;
	if (!api_load_entries(req, asked, entries, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:O, s:I, s:O}", "ids", asked, "count", (json_int_t)json_array_size(entries),
				  "entries", entries));
}

CO_FN static void api_show(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct continuum_entry e;

	if (!memory_on(req))
		return;
	if (continuum_get(req->user, req->arena, &req->ctx, req->params[0], &e, &err))
		http_reply_json(req, 200, memory_entry(&e, CONTINUUM_CONTENT_MAX));
	else
		http_reply_error(req, &err);
}

/* ---- making ---- */

static int64_t api_share(struct body_problems *p, const json_t *body, const char *field, int64_t dflt)
{
	const json_t *v = json_object_get(body, field);
	struct error err = ERROR_INIT;

	if (v == NULL || json_is_null(v))
		return dflt;
	if (json_is_number(v) && json_number_value(v) >= 0.0 && json_number_value(v) <= 1.0)
		return llround(json_number_value(v) * CONTINUUM_ONE);
	error_field(&err, ERR_INVALID_VALUE, field, "must be a number from 0 to 1");
	body_problem(p, &err);
	return dflt;
}

static void api_read_tier(struct body_problems *p, const json_t *body, enum continuum_tier *out)
{
	struct str name = body_text(p, body, "tier", 0, 16, false);
	struct error err = ERROR_INIT;

	*out = CONTINUUM_MEDIUM;
	if (name.n == 0 || continuum_tier_find(name, out))
		return;
	error_field(&err, ERR_INVALID_VALUE, "tier", "must be fast, medium, slow or glacial");
	body_problem(p, &err);
}

static struct str api_read_metadata(struct http_request *req, struct body_problems *p, const json_t *body)
{
	const json_t *v = json_object_get(body, "metadata");
	struct error err = ERROR_INIT;
	struct str text = STR("{}");

	if (v == NULL || json_is_null(v))
		return text;
	if (json_is_object(v))
		text = json_text(req->arena, v);
	if (json_is_object(v) && text.n <= API_METADATA_MAX)
		return text;
	error_field(&err, ERR_INVALID_VALUE, "metadata", "must be an object of at most %d bytes", API_METADATA_MAX);
	body_problem(p, &err);
	return STR("{}");
}

/* A note or critique as the client describes it; `content` may have another name there. */
static void api_read_entry(struct http_request *req, struct body_problems *p, const json_t *body, const char *content,
			   struct continuum_entry *e)
{
	struct error err = ERROR_INIT;
	char id[UUID_LEN + 1];

	ids_uuid7(id);
	*e = (struct continuum_entry){.id = arena_printf(req->arena, "mem_%s", id), .kind = STR("note")};
	e->content = body_text(p, body, content, 1, CONTINUUM_CONTENT_MAX, false);
	e->agent = body_text(p, body, "agent", 0, 64, false);
	e->debate_id = body_text(p, body, "debate_id", 0, 64, false);
	e->importance_ppm = api_share(p, body, "importance", CONTINUUM_ONE / 2);
	e->red_line_reason = body_text(p, body, "red_line_reason", 0, 500, false);
	e->metadata = api_read_metadata(req, p, body);
	e->red_line = json_get_bool(body, "red_line", false);
	if (json_object_get(body, "red_line") != NULL && !json_is_boolean(json_object_get(body, "red_line"))) {
		error_field(&err, ERR_INVALID_VALUE, "red_line", "must be true or false");
		body_problem(p, &err);
	}
	e->created_at = e->updated_at = clock_wall_ms();
	api_read_tier(p, body, &e->tier);
}

CO_FN static void api_store(struct http_request *req, const struct continuum_entry *e)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);
	struct error err = ERROR_INIT;

	continuum_add(b, &req->ctx, e);
	if (db_commit(w->db, b, &err))
		http_reply_json(req, 201, memory_entry(e, CONTINUUM_CONTENT_MAX));
	else
		http_reply_error(req, &err);
}

CO_FN static void api_create(struct http_request *req)
{
	const json_t *body;
	struct continuum_entry e;
	struct body_problems p;

	if (!memory_on(req) || (body = body_object(req)) == NULL)
		return;
	body_problems_begin(req, &p);
	api_read_entry(req, &p, body, "content", &e);
	if (!body_refused(req, &p))
		api_store(req, &e);
}

/* ---- critiques ---- */

static json_t *api_critique(const struct continuum_entry *e)
{
	json_t *o = memory_entry(e, CONTINUUM_CONTENT_MAX), *metadata = json_get_obj(o, "metadata");

	json_put_str(o, "critique", e->content);
	json_object_set(o, "target_agent", json_object_get(metadata, "target_agent"));
	memory_real(o, "score", e->importance_ppm);
	return o;
}

CO_FN static void api_critiques(struct http_request *req)
{
	struct continuum_filter f = api_filter(req, "tier", 20);
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct continuum_entry *v;
	json_t *list, *o;
	struct db_rows total;
	size_t i, n;

	if (!memory_on(req))
		return;
	f.kind = STR("critique");
	f.by_time = true;
	if (!continuum_list(w, req->arena, &req->ctx, &f, &v, &n, &err) ||
	    !db_query(w->db, req->arena,
		      "SELECT COUNT(*) FROM continuum_memory WHERE workspace_id = $1 AND archived_at = 0"
		      " AND kind = 'critique' AND ($2 = '' OR agent = $2)",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(f.agent)), &total, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < n; i++)
		json_array_append_new(list, api_critique(&v[i]));
	o = json_object();
	json_object_set_new(o, "critiques", list);
	page_put(o, f.limit, f.offset, n, db_int(&total, 0, 0));
	http_reply_json(req, 200, o);
}

CO_FN static void api_add_critique(struct http_request *req)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct continuum_entry e;
	struct body_problems p;
	struct str target;
	const json_t *body;
	struct db_batch *b;
	json_t *metadata;

	if (!memory_on(req) || (body = body_object(req)) == NULL)
		return;
	body_problems_begin(req, &p);
	api_read_entry(req, &p, body, "critique", &e);
	e.kind = STR("critique");
	e.importance_ppm = api_share(&p, body, "score", e.importance_ppm);
	target = body_text(&p, body, "target_agent", 0, 64, false);
	if (body_refused(req, &p))
		return;
	metadata = json_own(req->arena, json_parse(NULL, e.metadata, &err));
	if (target.n > 0)
		json_put_str(metadata, "target_agent", target);
	e.metadata = json_text(req->arena, metadata);
	b = db_batch_new(w->db);
	continuum_add(b, &req->ctx, &e);
	if (db_commit(w->db, b, &err))
		http_reply_json(req, 201, api_critique(&e));
	else
		http_reply_error(req, &err);
}

/* ---- moving and removing ---- */

CO_FN static void api_delete(struct http_request *req)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct continuum_entry e;
	struct db_batch *b;
	bool force;

	if (!memory_on(req))
		return;
	if (!str_to_bool(http_query(req, "force"), &force))
		force = false;
	if (continuum_get(w, req->arena, &req->ctx, req->params[0], &e, &err)) {
		if (e.red_line && !force) {
			error_set(&err, ERR_CONFLICT,
				  "it is behind a red line (%.*s); force=true deletes it all the same",
				  STR_ARG(str_sub(e.red_line_reason, 0, 200)));
		} else {
			b = db_batch_new(w->db);
			continuum_remove(b, &req->ctx, e.id, false, "deleted", force, clock_wall_ms());
			if (db_commit(w->db, b, &err)) {
				http_reply_json(req, 200,
						json_pack("{s:b, s:s, s:s%}", "success", 1, "message",
							  "the memory is deleted", "id", e.id.p, e.id.n));
				return;
			}
		}
	}
	http_reply_error(req, &err);
}

/* To the tier that `choose` names; the client's word goes over cooldown and thresholds. */
CO_FN static void api_move_to(struct http_request *req, const struct continuum_entry *e, enum continuum_tier to)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_batch *b;

	if (to == e->tier) {
		error_set(&err, ERR_CONFLICT, "it is in the %s tier already", continuum_rules[to].name);
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	continuum_move(b, &req->ctx, e->id, e->tier, to, "asked", clock_wall_ms());
	if (!db_commit(w->db, b, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:b, s:s%, s:s, s:s}", "success", 1, "id", e->id.p, e->id.n, "from_tier",
				  continuum_rules[e->tier].name, "to_tier", continuum_rules[to].name));
}

CO_FN static bool api_named(struct http_request *req, struct continuum_entry *e)
{
	struct error err = ERROR_INIT;

	if (!memory_on(req))
		return false;
	if (continuum_get(req->user, req->arena, &req->ctx, req->params[0], e, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

CO_FN static void api_promote(struct http_request *req)
{
	struct continuum_entry e;

	if (api_named(req, &e))
		api_move_to(req, &e, e.tier == CONTINUUM_FAST ? CONTINUUM_FAST : e.tier - 1);
}

CO_FN static void api_demote(struct http_request *req)
{
	struct continuum_entry e;

	if (api_named(req, &e))
		api_move_to(req, &e, e.tier == CONTINUUM_GLACIAL ? CONTINUUM_GLACIAL : e.tier + 1);
}

CO_FN static void api_move(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct continuum_entry e;
	struct body_problems p;
	enum continuum_tier to;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	api_read_tier(&p, body, &to);
	if (json_object_get(body, "tier") == NULL) {
		struct error err = ERROR_INIT;

		error_field(&err, ERR_MISSING_FIELD, "tier", "tier is required: fast, medium, slow or glacial");
		body_problem(&p, &err);
	}
	if (!body_refused(req, &p) && api_named(req, &e))
		api_move_to(req, &e, to);
}

/* ---- export and import ---- */

CO_FN static void api_export(struct http_request *req)
{
	struct continuum_filter f = {.tiers = memory_tiers(http_query(req, "tier")),
				     .oldest_first = true,
				     .limit = http_query_int(req, "limit", 1, CONTINUUM_LOAD_MAX, CONTINUUM_LOAD_MAX),
				     .offset = http_query_int(req, "offset", 0, INT32_MAX, 0)};
	struct error err = ERROR_INIT;
	struct continuum_entry *v;
	size_t n;
	json_t *o;

	if (!memory_on(req))
		return;
	if (!continuum_list(req->user, req->arena, &req->ctx, &f, &v, &n, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = json_object();
	json_put_str(o, "version", STR("1.0"));
	json_put_time(o, "exported_at", clock_wall_ms());
	json_object_set_new(o, "entries", memory_entries(v, n, CONTINUUM_CONTENT_MAX));
	json_put_int(o, "count", (int64_t)n);
	json_put_int(o, "offset", f.offset);
	http_reply_json(req, 200, o);
}

/* What export gives comes back with its ids; an id that is there already is left alone. */
static void api_import_one(struct http_request *req, struct body_problems *p, const json_t *o, struct db_batch *b)
{
	struct str kind = json_get_str(o, "kind", STR("note")), id = json_get_str(o, "id", STR(""));
	int64_t updates = json_get_int(o, "update_count", 0), ok = json_get_int(o, "success_count", 0),
		bad = json_get_int(o, "failure_count", 0);
	struct continuum_entry e;

	api_read_entry(req, p, o, "content", &e);
	if (id.n > 0 && id.n <= 128)
		e.id = arena_str(req->arena, id);
	if (str_eqz(kind, "critique") || str_eqz(kind, "outcome"))
		e.kind = kind;
	e.surprise_ppm = api_share(p, o, "surprise_score", 0);
	e.successes = ok > 0 && ok < INT32_MAX ? ok : 0;
	e.failures = bad > 0 && bad < INT32_MAX ? bad : 0;
	e.updates = updates >= e.successes + e.failures && updates < INT32_MAX ? updates : e.successes + e.failures;
	continuum_add(b, &req->ctx, &e);
}

CO_FN static void api_import(struct http_request *req)
{
	const json_t *body = body_object(req), *entries, *o;
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct body_problems p;
	struct db_batch *b;
	size_t i;

	if (body == NULL || !memory_on(req))
		return;
	entries = json_get_arr(body, "entries");
	body_problems_begin(req, &p);
	if (entries == NULL || json_array_size(entries) > API_IMPORT_MAX) {
		error_field(&err, ERR_INVALID_VALUE, "entries",
			    "must be a list of at most %d entries as export gives them", API_IMPORT_MAX);
		body_problem(&p, &err);
	}
	b = db_batch_new(w->db);
	json_array_foreach(entries, i, o) api_import_one(req, &p, o, b);
	if (body_refused(req, &p)) {
		db_batch_free(b);
		return;
	}
	if (db_commit(w->db, b, &err))
		http_reply_json(
		    req, 200, json_pack("{s:b, s:I}", "success", 1, "imported", (json_int_t)json_array_size(entries)));
	else
		http_reply_error(req, &err);
}

static const struct route continuum_rows[] = {
    MEMORY_READ("/api/memory/continuum/retrieve", api_retrieve, "Memories that fit a question, the best first"),
    MEMORY_WRITE("/api/memory/continuum", api_create, "Keep a note in memory"),
    MEMORY_READ("/api/memory/continuum/{id}", api_show, "One entry of memory"),
    ROUTE(DELETE, "/api/memory/continuum/{id}", api_delete, "memory:delete", WRITE,
	  "Delete an entry; force=true also behind a red line"),
    MEMORY_READ("/api/memory/search", api_search, "Search memory"),
    MEMORY_READ("/api/memory/search-timeline", api_timeline, "What was remembered before and after an entry"),
    MEMORY_READ("/api/memory/entries", api_entries, "Entries by id or page"),
    MEMORY_READ("/api/memory/viewer", api_entries, "Entries by id or page"),
    MEMORY_READ("/api/memory/query", api_retrieve, "Memories that fit a question, the best first"),
    MEMORY_READ("/api/memory/critiques", api_critiques, "Critiques that are kept"),
    MEMORY_WRITE("/api/memory/critiques", api_add_critique, "Keep a critique"),
    MEMORY_READ("/api/memory/export", api_export, "Entries as import takes them, a page at a time"),
    MEMORY_MANAGE("/api/memory/import", api_import, "Take over entries of an export"),
    MEMORY_MANAGE("/api/memory/{id}/promote", api_promote, "Move an entry to the next faster tier"),
    MEMORY_MANAGE("/api/memory/{id}/demote", api_demote, "Move an entry to the next slower tier"),
    MEMORY_MANAGE("/api/memory/{id}/move", api_move, "Move an entry to a tier"),
};

const struct route_table continuum_routes = {continuum_rows, countof(continuum_rows)};
