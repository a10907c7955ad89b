/* SPDX-License-Identifier: MIT */
/*
 * Probes, health documents and metrics (rest-core 2 and 3). All but /readyz/dependencies answer from what this process
 * already knows: they do not wait, so that a probe tells the truth while a store hangs.
 */
#include "worker/system/system.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "common/metrics.h"
#include "common/redis.h"
#include "common/startup.h"
#include "worker/agents/agent.h"
#include "worker/system/maintenance.h"
#include "worker/worker.h"

/* How long the document of /api/health is answered again. */
#define HEALTH_FRESH (100 * MS_US)

static struct worker *health_worker(const struct http_request *req)
{
	return req->user;
}

static json_t *health_now(void)
{
	char iso[CLOCK_ISO_MAX];

	return json_string(clock_iso(iso, clock_wall_ms()));
}

static double health_uptime(const struct worker *w)
{
	return (double)(clock_wall_ms() - atomic_load(&w->shm->started_ms)) / 1000.0;
}

/* "not_configured" also stands for a node that is alone by intention. */
static const char *health_redis_word(const struct worker *w)
{
	if (w->redis == NULL)
		return "not_configured";
	return redis_healthy(w->redis, NULL) ? "connected" : "disconnected";
}

/* Without Redis a node serves on, its events come from the log: that is degraded, not down. */
static bool health_redis_ok(const struct worker *w, struct error *err)
{
	return w->redis == NULL || redis_healthy(w->redis, err);
}

/* A copy with its end, whatever is written there at this moment. */
static const char *health_phase_detail(const struct shm_phase *p, char out[SHM_PHASE_DETAIL])
{
	(void)snprintf(out, SHM_PHASE_DETAIL, "%.*s", SHM_PHASE_DETAIL - 1, p->detail);
	return out;
}

/* What the start waits for is away even if no connection has noticed. */
static bool health_db_ok(const struct worker *w, struct error *err)
{
	if (atomic_load(&w->shm->store_pending) == 0)
		return db_healthy(w->db, err);
	if (err != NULL)
		error_set(err, ERR_UNAVAILABLE, "%.*s", SHM_PHASE_DETAIL - 1,
			  w->shm->startup.phases[STARTUP_BACKENDS].detail);
	return false;
}

/* ---- probes ---- */

/* The process answers: that is all a liveness probe may ask. */
static void health_live(struct http_request *req)
{
	http_reply_json(req, 200, json_pack("{s:s}", "status", "ok"));
}

static bool health_draining(const struct worker *w)
{
	return w->draining || atomic_load(&w->shm->draining) != 0;
}

static const char *health_not_ready(const struct worker *w, struct error *err)
{
	if (health_draining(w))
		return "shutting_down";
	if (!health_db_ok(w, err))
		return "database";
	if (!startup_is_over(&w->shm->startup)) {
		error_set(err, ERR_UNAVAILABLE, "the first workers do not all serve yet (/api/health/startup)");
		return "startup in progress";
	}
	return NULL;
}

/* The document of readiness; *reason is NULL when ready. */
static json_t *health_readiness_document(const struct worker *w, const char *reason, const struct error *err)
{
	bool db = health_db_ok(w, NULL);
	json_t *o = json_pack("{s:s, s:{s:b, s:b, s:b, s:b, s:b}, s:f, s:b, s:s}", "status",
			      reason == NULL ? "ready" : "not_ready", "checks", "startup_complete",
			      (int)startup_is_over(&w->shm->startup), "handlers_initialized", 1, "storage_initialized",
			      (int)db, "db_pool", (int)db, "redis_pool", (int)health_redis_ok(w, NULL), "latency_ms",
			      (double)db_latency_us(w->db) / 1000.0, "fast_probe", 1, "full_validation",
			      "/readyz/dependencies");

	if (reason != NULL) {
		json_object_set_new(o, "reason", json_string(reason));
		json_object_set_new(o, "detail", json_string(err->msg));
	}
	return o;
}

static void health_reply_ready(struct http_request *req, const char *reason, json_t *o)
{
	if (reason != NULL)
		http_reply_field(req, "Retry-After", "5");
	http_reply_json(req, reason == NULL ? 200 : 503, o);
}

static void health_ready(struct http_request *req)
{
	const struct worker *w = health_worker(req);
	struct error err = ERROR_INIT;
	const char *reason = health_not_ready(w, &err);

	health_reply_ready(req, reason, health_readiness_document(w, reason, &err));
}

/* ---- dependencies: the only probe that asks and waits ---- */

#define HEALTH_PATIENCE (2 * SEC_US)

CO_FN static json_t *health_ask_redis(const struct worker *w, struct arena *a)
{
	struct redis_value pong;
	struct error err = ERROR_INIT;
	bool ok;
	json_t *o;

	if (w->redis == NULL)
		return json_pack("{s:b, s:b, s:b}", "connected", 0, "configured", 0, "required", 0);
	ok = redis_command(w->redis, a, REDIS_WORDS(STR("PING")), HEALTH_PATIENCE, &pong, &err);
	o = json_pack("{s:b, s:b, s:b}", "connected", (int)ok, "configured", 1, "required", 0);
	if (!ok)
		json_object_set_new(o, "message", json_string(err.msg));
	return o;
}

CO_FN static bool health_ask_db(const struct worker *w, struct arena *a, struct error *err)
{
	struct co_scope scope = {.kind = SCOPE_CALL, .deadline = clock_mono_us() + HEALTH_PATIENCE};
	struct db_rows rows;
	bool ok;

	co_scope_enter(&scope);
	ok = db_query(w->db, a, "SELECT COUNT(*) FROM processes", DB_NO_ARGS, &rows, err);
	co_scope_leave(&scope);
	return ok;
}

CO_FN static void health_dependencies(struct http_request *req)
{
	const struct worker *w = health_worker(req);
	bool postgres = w->conf->storage.backend == STORE_POSTGRES;
	struct error err = ERROR_INIT, asked = ERROR_INIT;
	bool pending = atomic_load(&w->shm->store_pending) != 0;
	bool db = pending ? health_db_ok(w, &asked) : health_ask_db(w, req->arena, &asked);
	json_t *redis = health_ask_redis(w, req->arena), *o, *checks, *server, *providers = json_array();
	const char *reason = health_not_ready(w, &err);
	int i, n = 0;

	if (reason == NULL && !db) {
		reason = "database";
		err = asked;
	}
	o = health_readiness_document(w, reason, &err);
	json_object_set_new(o, "fast_probe", json_false());
	checks = json_object_get(o, "checks");
	server = json_pack("{s:b, s:b, s:b}", "connected", postgres && db, "configured", (int)postgres, "required",
			   (int)postgres);
	if (postgres && !db)
		json_object_set_new(server, "message", json_string(asked.msg));
	for (i = 0; i < PROVIDER_MAX; i++) {
		if (i == PROVIDER_DEMO || !conf_provider_usable(w->conf, (enum conf_provider_id)i))
			continue;
		json_array_append_new(providers, json_string(conf_provider_name((enum conf_provider_id)i)));
		n++;
	}
	json_object_set_new(checks, "storage_initialized", json_boolean(db));
	json_object_set_new(checks, "redis", redis);
	json_object_set_new(checks, "postgresql", server);
	json_object_set_new(checks, "api_keys", json_pack("{s:i, s:o}", "configured_count", n, "providers", providers));
	health_reply_ready(req, reason, o);
}

/* ---- health ---- */

static const char *health_db_mode(const struct worker *w)
{
	return w->conf->storage.backend == STORE_POSTGRES ? "postgres" : "sqlite";
}

static json_t *health_check_db(const struct worker *w)
{
	struct error err = ERROR_INIT;
	bool ok = health_db_ok(w, &err);
	json_t *o = json_pack("{s:b, s:s, s:f}", "healthy", (int)ok, "backend", health_db_mode(w), "latency_ms",
			      (double)db_latency_us(w->db) / 1000.0);

	if (!ok)
		json_object_set_new(o, "error", json_string(err.msg));
	return o;
}

static json_t *health_check_redis(const struct worker *w)
{
	struct error err = ERROR_INIT;
	bool ok = health_redis_ok(w, &err);
	json_t *o = json_pack("{s:b, s:b}", "healthy", (int)ok, "configured", w->redis != NULL);

	if (w->redis != NULL)
		json_object_set_new(o, "latency_ms", json_real((double)redis_latency_us(w->redis) / 1000.0));
	if (!ok)
		json_object_set_new(o, "error", json_string(err.msg));
	return o;
}

static json_t *health_check_providers(const struct worker *w)
{
	json_t *providers = json_object();
	int i, usable = 0;

	for (i = 0; i < PROVIDER_MAX; i++) {
		bool ok = conf_provider_usable(w->conf, (enum conf_provider_id)i);

		json_object_set_new(providers, conf_provider_name((enum conf_provider_id)i), json_boolean(ok));
		usable += ok && i != PROVIDER_DEMO;
	}
	/* Without a provider the server still serves: demo agents play. */
	return json_pack("{s:b, s:b, s:i, s:o}", "healthy", 1, "any_available", usable > 0, "available_count", usable,
			 "providers", providers);
}

static json_t *health_checks(const struct worker *w)
{
	json_t *checks = json_object(), *breakers = agents_breakers(w->agents), *v;
	int open = 0, half = 0, closed = 0;
	const char *key;

	json_object_foreach(breakers, key, v)
	{
		const char *state = json_string_value(json_object_get(v, "state"));

		open += strcmp(state, "open") == 0;
		half += strcmp(state, "half_open") == 0;
		closed += strcmp(state, "closed") == 0;
	}
	json_decref(breakers);
	json_object_set_new(checks, "database", health_check_db(w));
	json_object_set_new(checks, "redis", health_check_redis(w));
	json_object_set_new(checks, "ai_providers", health_check_providers(w));
	json_object_set_new(
	    checks, "circuit_breakers",
	    json_pack("{s:b, s:i, s:i, s:i}", "healthy", 1, "open", open, "half_open", half, "closed", closed));
	json_object_set_new(checks, "websocket",
			    json_pack("{s:b, s:i}", "healthy", 1, "connections", (int)metric_total(M_WS_CONNECTIONS)));
	return checks;
}

static json_t *health_document(struct http_request *req, bool *healthy)
{
	struct worker *w = health_worker(req);
	struct error err = ERROR_INIT;
	double uptime = health_uptime(w);
	json_t *checks = health_checks(w), *o;
	bool redis = health_redis_ok(w, &err);

	*healthy = health_db_ok(w, &err);
	o = json_pack("{s:s, s:s, s:I, s:f, s:s, s:s, s:i, s:b, s:s, s:f, s:O, s:o}", "status",
		      *healthy && redis ? "healthy" : "degraded", "version", ARAGORA_VERSION, "uptime",
		      (json_int_t)uptime, "uptime_seconds", uptime, "database", *healthy ? "connected" : "disconnected",
		      "redis", health_redis_word(w), "agents_available", (int)agents_available(w->conf), "demo_mode",
		      (int)conf_demo_active(w->conf), "db_mode", health_db_mode(w), "response_time_ms",
		      (double)(clock_mono_us() - req->start_us) / 1000.0, "components", checks, "checks", checks);
	json_object_set_new(o, "timestamp", health_now());
	json_object_set_new(o, "maintenance", json_boolean(maintenance_since_ms(w) != 0));
	if (!*healthy || !redis)
		json_object_set_new(o, "reason", json_string(err.msg));
	return o;
}

/* The document of this process, kept for HEALTH_FRESH: gateways ask often, and most of it are sums over all workers. */
static struct {
	const struct worker *worker;
	int64_t until;
	uint64_t turn; /* of the loop, in which they were asked last */
	bool healthy, redis;
	struct buf text;
} health_kept;

/* Do store and Redis say something else than when the document was made? They are asked once a turn of the loop. */
static bool health_changed(const struct worker *w)
{
	uint64_t turn = loop_turns(w->loop);

	if (health_kept.turn == turn)
		return false;
	health_kept.turn = turn;
	return health_kept.healthy != health_db_ok(w, NULL) || health_kept.redis != health_redis_ok(w, NULL);
}

static void health_keep(struct http_request *req)
{
	const struct worker *w = health_worker(req);
	json_t *o = health_document(req, &health_kept.healthy);

	buf_clear(&health_kept.text);
	buf_add(&health_kept.text, json_text(req->arena, o));
	json_decref(o);
	health_kept.worker = w;
	health_kept.redis = health_redis_ok(w, NULL);
	health_kept.until = req->start_us + HEALTH_FRESH;
}

static void health_api(struct http_request *req)
{
	const struct worker *w = health_worker(req);

	if (health_kept.worker != w || req->start_us >= health_kept.until || health_changed(w))
		health_keep(req);
	http_reply(req, health_kept.healthy ? 200 : 503, "application/json", buf_str(&health_kept.text));
}

static void health_detailed(struct http_request *req)
{
	struct worker *w = health_worker(req);
	bool healthy;
	json_t *o = health_document(req, &healthy), *warnings = json_array();
	const struct shm_phase *security = &w->shm->startup.phases[STARTUP_SECURITY];
	char detail[SHM_PHASE_DETAIL];

	if (conf_demo_active(w->conf))
		json_array_append_new(
		    warnings, json_string("no model provider is configured: demo agents play every debate; real "
					  "agents are unavailable"));
	if (atomic_load(&security->state) == STARTUP_DEGRADED)
		json_array_append_new(warnings, json_string(health_phase_detail(security, detail)));
	json_object_set_new(o, "warnings", warnings);
	json_object_set_new(
	    o, "memory",
	    json_pack("{s:f}", "rss_mb", (double)atomic_load(&w->shm->slots[w->slot].rss_bytes) / 1048576.0));
	json_object_set_new(o, "active_debates", json_integer((json_int_t)metric_total(M_ACTIVE_DEBATES)));
	http_reply_json(req, healthy ? 200 : 503, o);
}

static void health_db(struct http_request *req)
{
	struct error err = ERROR_INIT;

	if (health_db_ok(health_worker(req), &err))
		http_reply_json(req, 200, json_pack("{s:s, s:s}", "database", "connected", "status", "healthy"));
	else
		http_reply_json(
		    req, 503,
		    json_pack("{s:s, s:s, s:s}", "database", "disconnected", "status", "degraded", "error", err.msg));
}

static void health_redis(struct http_request *req)
{
	const struct worker *w = health_worker(req);
	struct error err = ERROR_INIT;
	bool ok = health_redis_ok(w, &err);
	json_t *o = json_pack("{s:s}", "redis", health_redis_word(w));

	if (!ok)
		json_object_set_new(o, "error", json_string(err.msg));
	http_reply_json(req, ok ? 200 : 503, o);
}

/* The phases of the node's start, as they ended; what was degraded then may be well now: see /api/health. */
static void health_startup(struct http_request *req)
{
	const struct worker *w = health_worker(req);
	const struct shm_startup *s = &w->shm->startup;
	json_t *phases = json_array(), *o;
	size_t i;

	for (i = 0; i < SHM_PHASES; i++) {
		const struct shm_phase *p = &s->phases[i];
		char detail[SHM_PHASE_DETAIL];

		json_array_append_new(phases,
				      json_pack("{s:i, s:s, s:s, s:f, s:s}", "phase", (int)i + 1, "name",
						startup_name((enum startup_phase)i), "status",
						startup_word(atomic_load(&p->state)), "duration_ms",
						(double)(atomic_load(&p->us) + atomic_load(&p->worker_us)) / 1000.0,
						"detail", health_phase_detail(p, detail)));
	}
	o = json_pack("{s:s, s:b, s:f, s:o}", "status",
		      !startup_is_over(s)   ? "in_progress"
		      : startup_degraded(s) ? "degraded"
					    : "complete",
		      "strict", w->conf->server.strict_startup, "startup_time_ms",
		      (double)atomic_load(&s->total_us) / 1000.0, "phases", phases);
	json_object_set_new(o, "timestamp", health_now());
	http_reply_json(req, 200, o);
}

static void health_build(struct http_request *req)
{
	http_reply_json(req, 200, json_pack("{s:s, s:s, s:s}", "version", ARAGORA_VERSION, "sha", "", "sha_short", ""));
}

static void health_readiness(struct http_request *req)
{
	struct worker *w = health_worker(req);
	json_t *check = health_check_providers(w), *o;

	o = json_pack("{s:b, s:b, s:O, s:[], s:o}", "ready_to_debate", (int)health_db_ok(w, NULL), "demo_mode",
		      (int)conf_demo_active(w->conf), "providers", json_object_get(check, "providers"),
		      "missing_required", "storage", health_check_db(w));
	json_object_set_new(o, "timestamp", health_now());
	json_decref(check);
	http_reply_json(req, 200, o);
}

static void health_root(struct http_request *req)
{
	http_reply_json(req, 200,
			json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", "aragorad", "version", ARAGORA_VERSION, "api",
				  "/api/openapi.json", "health", "/api/health", "websocket", "/ws"));
}

/* ---- metrics ---- */

/* Open unless metrics.token is set; then a Bearer token, never one in the URL (rest-core 3). */
static bool health_metrics_allowed(struct http_request *req)
{
	const struct conf *c = health_worker(req)->conf;
	struct str given = http_field(req, "Authorization");
	struct error err = ERROR_INIT;

	if (!c->metrics.enabled) {
		error_set(&err, ERR_NOT_FOUND, "metrics are switched off (metrics.enabled)");
	} else if (c->metrics.token[0] != '\0') {
		given = str_istarts(given, STR("Bearer ")) ? str_trim(str_sub(given, 7, given.n)) : STR_NONE;
		if (!crypto_equal(given, str_of(c->metrics.token)))
			error_set(&err, given.n > 0 ? ERR_INVALID_TOKEN : ERR_AUTH_REQUIRED,
				  "the metrics token is missing or wrong");
	}
	if (err.code == ERR_OK)
		return true;
	http_reply_error(req, &err);
	return false;
}

static void health_metrics(struct http_request *req)
{
	struct buf b = BUF_INIT;

	if (!health_metrics_allowed(req))
		return;
	metrics_render(health_worker(req)->shm, &b);
	http_reply(req, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&b));
	buf_free(&b);
}

/* Text for scrapers and curl; JSON for SDKs, which send Accept: application/json. */
static void health_api_metrics(struct http_request *req)
{
	struct str accept = http_field(req, "Accept");
	double total = metric_total(M_HTTP_REQUESTS), errors = metric_total_of(M_HTTP_REQUESTS, 1, "5"), uptime;
	json_t *o;

	if (!str_istarts(accept, STR("application/json"))) {
		health_metrics(req);
		return;
	}
	if (!health_metrics_allowed(req))
		return;
	uptime = health_uptime(health_worker(req));
	o = json_pack("{s:f, s:s, s:{s:I, s:I, s:f, s:[]}, s:{s:I, s:I, s:I, s:I}, s:{}, s:{}}", "uptime_seconds",
		      uptime, "uptime_human", arena_printf(req->arena, "%.0fs", uptime).p, "requests", "total",
		      (json_int_t)total, "errors", (json_int_t)errors, "error_rate", total > 0 ? errors / total : 0.0,
		      "top_endpoints", "debates", "total", (json_int_t)metric_total(M_DEBATES_TOTAL), "completed",
		      (json_int_t)metric_total(M_DEBATES_COMPLETED), "failed",
		      (json_int_t)metric_total(M_DEBATES_FAILED), "active", (json_int_t)metric_total(M_ACTIVE_DEBATES),
		      "cache", "databases");
	json_object_set_new(o, "timestamp", health_now());
	http_reply_json(req, 200, o);
}

#define PROBE(p, h, s) ROUTE(GET, p, h, NULL, NONE, s, .flags = ROUTE_PUBLIC | ROUTE_INLINE)

static const struct route root_rows[] = {
    PROBE("/", health_root, "What this server is"),
};
const struct route_table root_routes = {root_rows, countof(root_rows)};

static const struct route system_rows[] = {
    PROBE("/healthz", health_live, "Liveness probe"),
    PROBE("/livez", health_live, "Liveness probe"),
    PROBE("/health", health_live, "Liveness, for gateways"),
    PROBE("/api/health/live", health_live, "Liveness probe"),
    PROBE("/ready", health_ready, "Readiness probe"),
    PROBE("/readyz", health_ready, "Readiness probe"),
    ROUTE(GET, "/readyz/dependencies", health_dependencies, NULL, NONE, "Readiness, with every dependency asked now",
	  .flags = ROUTE_PUBLIC),
    PROBE("/api/health/ready", health_ready, "Readiness probe"),
    PROBE("/api/health", health_api, "Health with all checks"),
    PROBE("/api/health/detailed", health_detailed, "Health with warnings and memory"),
    PROBE("/api/health/db", health_db, "Database connectivity"),
    PROBE("/api/health/redis", health_redis, "Redis connectivity"),
    PROBE("/api/health/startup", health_startup, "The phases of the node's start"),
    PROBE("/api/health/build", health_build, "Version of this build"),
    PROBE("/health/build", health_build, "Version of this build"),
    PROBE("/api/readiness", health_readiness, "Can debates run, and with which providers"),
    PROBE("/metrics", health_metrics, "Prometheus metrics"),
    PROBE("/api/metrics", health_api_metrics, "Prometheus metrics, or JSON with Accept: application/json"),
    PROBE("/api/metrics/prometheus", health_metrics, "Prometheus metrics"),
};
const struct route_table system_routes = {system_rows, countof(system_rows)};
