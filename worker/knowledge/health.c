/* SPDX-License-Identifier: MIT */
/*
 * How the Knowledge Mound of this server stands, for probes and people (seed 002, Health Monitoring; rest-wide 5.1):
 * eleven components, always all of them, and how far the vectors of nodes are. Public, so that it says nothing of
 * anybody's knowledge.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/agents/embed.h"
#include "worker/knowledge/adapters.h"
#include "worker/search/vectors.h"
#include "worker/worker.h"

enum health_state { HEALTH_ACTIVE, HEALTH_OPTIONAL, HEALTH_FAILED };

static enum health_state health_enabled(const struct worker *w)
{
	return w->conf->knowledge.enabled ? HEALTH_ACTIVE : HEALTH_OPTIONAL;
}

static enum health_state health_storage(const struct worker *w)
{
	return db_healthy(w->db, NULL) ? health_enabled(w) : HEALTH_FAILED;
}

/* Parts that this server does not have: none of them is missed. */
static enum health_state health_absent(const struct worker *w)
{
	(void)w;
	return HEALTH_OPTIONAL;
}

/* In the order of the seed's list of components. */
static const struct {
	const char *name, *what;
	enum health_state (*state)(const struct worker *w);
} health_components[] = {
    {"module", "the Knowledge Mound itself (knowledge.enabled)", health_enabled},
    {"core", "nodes, relations, search", health_enabled},
    {"storage", "the database", health_storage},
    {"culture_accumulator", "patterns of a workspace", health_enabled},
    {"staleness_tracker", "jobs for staleness and decay of confidence", health_enabled},
    {"rlm_integration", "summaries by a recursive language model", health_absent},
    {"debate_integration", "debates write and are given knowledge", health_enabled},
    {"redis_cache", "answers kept in Redis; the database answers all", health_absent},
    {"bidirectional_adapters", "adapters between the mound and its sources", health_enabled},
    {"control_plane_adapter", "outcomes of the control plane's tasks", health_absent},
    {"km_metrics", "aragora_km_* at /metrics", health_enabled},
};

static json_t *health_component(enum health_state state, const char *what)
{
	static const char *const words[] = {"active", "not_configured", "unavailable"};

	return json_pack("{s:b, s:s, s:s}", "healthy", state != HEALTH_FAILED, "status", words[state], "description",
			 what);
}

/*
 * Searching by meaning: not_configured, building while nodes wait for their vectors, ready; and the share of nodes that
 * have theirs, as the last run of the job left it, wherever in the cluster that was. New reference.
 */
CO_FN static json_t *health_vectors(struct http_request *req, bool storage)
{
	struct worker *w = req->user;
	struct error ignored = ERROR_INIT;
	const json_t *result = NULL;
	struct job_state job;
	int64_t made, missing;

	if (!embed_configured(w->conf) || w->conf->knowledge.vector_nodes == 0)
		return json_pack("{s:s, s:n}", "status", "not_configured", "progress");
	if (storage && jobs_state(w, req->arena, VECTORS_JOB, &job, &ignored) && job.last_result.n > 0)
		result = json_parse(req->arena, job.last_result, &ignored);
	if (result == NULL)
		return json_pack("{s:s, s:n}", "status", "unknown", "progress");
	made = json_get_int(json_get_obj(result, "mound"), "current", 0);
	missing = json_get_int(json_get_obj(result, "mound"), "missing", 0);
	return json_pack("{s:s, s:f, s:s%}", "status", missing > 0 ? "building" : "ready", "progress",
			 made + missing > 0 ? (double)made / (double)(made + missing) : 1.0, "search",
			 json_get_str(result, "search", STR("exact")).p,
			 json_get_str(result, "search", STR("exact")).n);
}

CO_FN static void health_mound(struct http_request *req)
{
	const struct worker *w = req->user;
	json_t *components = json_object(), *warnings = json_array(), *o;
	int total = (int)countof(health_components), healthy = 0, active = 0;
	char iso[CLOCK_ISO_MAX];
	size_t i;

	for (i = 0; i < countof(health_components); i++) {
		enum health_state state = health_components[i].state(w);

		healthy += state != HEALTH_FAILED;
		active += state == HEALTH_ACTIVE;
		json_object_set_new(components, health_components[i].name,
				    health_component(state, health_components[i].what));
		if (state == HEALTH_FAILED)
			json_array_append_new(warnings, json_sprintf("%s: unavailable", health_components[i].name));
	}
	o = json_pack("{s:s, s:{s:i, s:i, s:i}, s:o, s:o, s:f, s:s}", "status",
		      healthy < total ? "unavailable"
		      : active == 0   ? "not_configured"
				      : "healthy",
		      "summary", "total_components", total, "healthy", healthy, "active", active, "components",
		      components, "warnings", warnings, "response_time_ms",
		      (double)(clock_mono_us() - req->start_us) / 1e3, "timestamp", clock_iso(iso, clock_wall_ms()));
	json_object_set_new(o, "vectors", health_vectors(req, healthy == total));
	http_reply_json(req, healthy == total ? 200 : 503, o);
}

static const struct route health_rows[] = {
    ROUTE(GET, "/api/health/knowledge-mound", health_mound, NULL, READ,
	  "How the Knowledge Mound stands: eleven components, and the vectors", .flags = ROUTE_PUBLIC),
};
const struct route_table knowledge_health_routes = {health_rows, countof(health_rows)};
