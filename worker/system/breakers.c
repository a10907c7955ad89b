/* SPDX-License-Identifier: MIT */
/*
 * GET /api/circuit-breakers and /api/system/circuit-breakers (rest-core 8.2, both forms in one body): the breakers of
 * models in all workers of this node, those of webhooks in the store, and that of Redis for rate limits; and their
 * reset. A model's breaker belongs to each worker: shown is the worst of them.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/log.h"
#include "worker/agents/agent.h"
#include "worker/agents/breaker.h"
#include "worker/system/system.h"
#include "worker/worker.h"

#define BREAKERS_MAX 256 /* different ones that are shown */
#define BREAKERS_STORED "200"

/* What is known of one breaker, over all workers. */
struct breakers_seen {
	struct str key;
	const char *kind;
	enum breaker_state state;
	uint32_t failures, successes;
	struct breaker_rule rule; /* of agents */
	int64_t threshold, cooldown_us, opened_us, failed_ms, succeeded_ms, used_ms;
};

struct breakers_list {
	struct breakers_seen *v;
	size_t n;
	int64_t now_us, now_ms;
};

static struct breakers_seen *breakers_entry(struct breakers_list *l, struct str key, const char *kind)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		if (str_eq(l->v[i].key, key))
			return &l->v[i];
	if (l->n == BREAKERS_MAX)
		return NULL;
	l->v[l->n] = (struct breakers_seen){.key = key, .kind = kind};
	return &l->v[l->n++];
}

static void breakers_of_agents(struct breakers_list *l, const struct worker *w, struct arena *a)
{
	struct breaker_seen *v = arena_alloc(a, BREAKERS_MAX * sizeof(*v));
	size_t i, n = breakers_of_node(w, a, l->now_us, v, BREAKERS_MAX);
	struct breakers_seen *e;

	for (i = 0; i < n; i++) {
		e = breakers_entry(l, v[i].key, "agent");
		if (e == NULL)
			break;
		*e = (struct breakers_seen){.key = v[i].key,
					    .kind = "agent",
					    .state = v[i].state,
					    .failures = v[i].failures,
					    .successes = v[i].successes,
					    .rule = v[i].rule,
					    .threshold = v[i].rule.failures,
					    .cooldown_us = v[i].rule.cooldown_us,
					    .opened_us = v[i].opened_us,
					    .failed_ms = v[i].failed_ms,
					    .succeeded_ms = v[i].succeeded_ms,
					    .used_ms = v[i].used_ms};
	}
}

/* Those that have failed lately; the rest is closed. */
CO_FN static bool breakers_of_webhooks(struct breakers_list *l, struct http_request *req, struct error *err)
{
	struct worker *w = req->user;
	struct breakers_seen *e;
	struct db_rows r;
	int64_t until;
	size_t i;

	if (!db_query(w->db, req->arena,
		      "SELECT endpoint, failures, open_until, updated_at FROM delivery_endpoints WHERE failures > 0"
		      " ORDER BY updated_at DESC LIMIT " BREAKERS_STORED,
		      DB_NO_ARGS, &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		e = breakers_entry(l, db_str(&r, i, 0), "webhook");
		if (e == NULL)
			break;
		until = db_int(&r, i, 2);
		e->failures = (uint32_t)db_int(&r, i, 1);
		e->threshold = w->conf->deliveries.breaker_failures;
		e->cooldown_us = w->conf->deliveries.breaker_cooldown;
		e->failed_ms = e->used_ms = db_int(&r, i, 3);
		e->state = until > l->now_ms ? BREAKER_OPEN : until > 0 ? BREAKER_HALF_OPEN : BREAKER_CLOSED;
		e->opened_us = l->now_us + (until - l->now_ms) * MS_US - e->cooldown_us;
	}
	return true;
}

/* ---- forms ---- */

static double breakers_seconds(int64_t us)
{
	return us > 0 ? (double)us / (double)SEC_US : 0.0;
}

/* Form A spells half-open with a dash, form B with an underscore. */
static json_t *breakers_form_a(const struct breakers_list *l, const struct breakers_seen *e)
{
	bool open = e->state == BREAKER_OPEN;
	json_t *o;

	o = json_pack("{s:s, s:s, s:I, s:I, s:f, s:f, s:f, s:o, s:{s:i, s:[]}}", "status",
		      e->state == BREAKER_HALF_OPEN ? "half-open" : breaker_state_name(e->state), "kind", e->kind,
		      "failures", (json_int_t)e->failures, "failure_threshold", (json_int_t)e->threshold,
		      "cooldown_seconds", breakers_seconds(e->cooldown_us), "cooldown_remaining",
		      open ? breakers_seconds(e->opened_us + e->cooldown_us - l->now_us) : 0.0, "open_duration",
		      open ? breakers_seconds(l->now_us - e->opened_us) : 0.0, "last_accessed_seconds_ago",
		      e->used_ms > 0 ? json_real((double)(l->now_ms - e->used_ms) / 1000.0) : json_null(),
		      "entity_mode", "tracked_entities", 0, "open_entities");
	if (e->rule.trials > 0) {
		json_put_int(o, "success_threshold", e->rule.successes);
		json_put_int(o, "half_open_max_calls", e->rule.trials);
	}
	return o;
}

static json_t *breakers_form_b(const struct breakers_seen *e)
{
	return json_pack("{s:o, s:o, s:s, s:s, s:I, s:I, s:I, s:o, s:o}", "agent", json_str(e->key), "agent_id",
			 json_str(e->key), "kind", e->kind, "state", breaker_state_name(e->state), "failures",
			 (json_int_t)e->failures, "failure_count", (json_int_t)e->failures, "success_count",
			 (json_int_t)e->successes, "last_failure", json_time(e->failed_ms), "last_success",
			 json_time(e->succeeded_ms));
}

static json_t *breakers_doc(const struct breakers_list *l)
{
	json_t *a = json_object(), *b = json_array(), *open = json_array(), *high = json_array(), *doc;
	json_int_t states[3] = {0}, failures = 0, failing = 0;
	size_t i;

	for (i = 0; i < l->n; i++) {
		const struct breakers_seen *e = &l->v[i];

		states[e->state]++;
		failures += e->failures;
		failing += e->failures > 0;
		json_object_setn_new(a, e->key.p, e->key.n, breakers_form_a(l, e));
		json_array_append_new(b, breakers_form_b(e));
		if (e->state == BREAKER_OPEN)
			json_array_append_new(open, json_str(e->key));
		else if (e->threshold > 1 && e->failures * 2 >= e->threshold)
			json_array_append_new(high, json_str(e->key));
	}
	doc = json_pack("{s:f, s:I, s:{s:I, s:I, s:I, s:I, s:I, s:I}, s:o, s:{s:s}, s:o}", "timestamp",
			(double)l->now_ms / 1000.0, "registry_size", (json_int_t)l->n, "summary", "total",
			(json_int_t)l->n, "open", states[BREAKER_OPEN], "closed", states[BREAKER_CLOSED], "half_open",
			states[BREAKER_HALF_OPEN], "total_failures", failures, "circuits_with_failures", failing,
			"circuit_breakers", a, "health", "status", states[BREAKER_OPEN] > 0 ? "degraded" : "healthy",
			"breakers", b);
	json_object_set_new(json_object_get(doc, "health"), "open_circuits", open);
	json_object_set_new(json_object_get(doc, "health"), "high_failure_circuits", high);
	return doc;
}

/* ---- routes ---- */

CO_FN static void breakers_show(struct http_request *req)
{
	const struct worker *w = req->user;
	struct breakers_list l = {.v = arena_zalloc(req->arena, BREAKERS_MAX * sizeof(*l.v)),
				  .now_us = clock_mono_us(),
				  .now_ms = clock_wall_ms()};
	struct error err = ERROR_INIT;

	if (!system_for_operator(req))
		return;
	breakers_of_agents(&l, w, req->arena);
	if (breakers_of_webhooks(&l, req, &err))
		http_reply_json(req, 200, breakers_doc(&l));
	else
		http_reply_error(req, &err);
}

/* Every worker of every node that is heard of; webhooks in the store. */
CO_FN static bool breakers_reset(struct http_request *req, struct str key, struct error *err)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);

	if (key.n == 0)
		db_batch_add(b, "UPDATE delivery_endpoints SET failures = 0, open_until = 0, updated_at = $1",
			     DB_ARGS(DB_I(clock_wall_ms())), DB_ANY);
	else
		db_batch_add(b,
			     "UPDATE delivery_endpoints SET failures = 0, open_until = 0, updated_at = $2"
			     " WHERE endpoint = $1",
			     DB_ARGS(DB_S(key), DB_I(clock_wall_ms())), DB_ANY);
	if (!db_commit(w->db, b, err))
		return false;
	bus_publish(w->bus, STR(AGENTS_RESET_TOPIC), key.n > 0 ? key : STR("*"));
	log_info("system", "circuit breakers are reset", KV_STR("which", key.n > 0 ? key : STR("all")),
		 KV_STR("by", req->ctx.principal));
	return true;
}

CO_FN static void breakers_reset_one(struct http_request *req)
{
	struct error err = ERROR_INIT;

	if (!system_for_operator(req))
		return;
	if (breakers_reset(req, req->params[0], &err))
		http_reply_json(req, 200, json_pack("{s:b, s:o}", "reset", 1, "agent", json_str(req->params[0])));
	else
		http_reply_error(req, &err);
}

CO_FN static void breakers_reset_all(struct http_request *req)
{
	struct error err = ERROR_INIT;

	if (!system_for_operator(req))
		return;
	if (breakers_reset(req, STR_NONE, &err))
		http_reply_json(req, 200, json_pack("{s:b, s:b}", "reset", 1, "success", 1));
	else
		http_reply_error(req, &err);
}

#define ROW(m, p, h, r, s) ROUTE(m, p, h, "admin.system", r, s)

static const struct route breakers_rows[] = {
    ROW(GET, "/api/circuit-breakers", breakers_show, READ, "Circuit breakers of models and webhooks"),
    ROW(GET, "/api/system/circuit-breakers", breakers_show, READ, "Circuit breakers of models and webhooks"),
    ROW(POST, "/api/system/circuit-breakers/{agent}/reset", breakers_reset_one, WRITE, "Close one circuit breaker"),
    ROW(POST, "/api/admin/circuit-breakers/reset", breakers_reset_all, WRITE, "Close all circuit breakers"),
};
const struct route_table breakers_routes = {breakers_rows, countof(breakers_rows)};
