/* SPDX-License-Identifier: MIT */
/*
 * GET /api/agents and below: who can play, and in what state. Called by the router. Ratings are read through the
 * ranking room; nothing here calls a provider, so "available" means configured, not proven.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/agents/agents.h"
#include "worker/agents/registry.h"
#include "worker/http/route.h"
#include "worker/ranking/ranking.h"

static struct worker *api_worker(struct http_request *req)
{
	return req->user;
}

/* {name, provider, model, available, type, demo?} */
static json_t *api_agent(struct http_request *req, const struct known_agent *k)
{
	const struct conf *c = api_worker(req)->conf;
	struct agent_spec spec = {.name = str_of(k->name)};
	struct error err;
	bool usable = registry_cast(c, req->arena, k, STR_NONE, &spec, &err);
	json_t *o =
	    json_pack("{s:s, s:s, s:b}", "name", k->name, "type", conf_provider_name(k->provider), "available", usable);

	json_put_str(o, "provider", usable ? spec.provider : str_of(conf_provider_name(k->provider)));
	json_put_str(o, "model", usable ? spec.model : str_of(registry_model(c, k->provider)));
	json_object_set_new(o, "demo", json_boolean(usable && str_eqz(spec.provider, "demo")));
	return o;
}

static void api_add_rating(json_t *o, const json_t *known)
{
	static const char *const counts[] = {"matches", "wins", "losses"};
	static const struct {
		const char *name, *ppm;
	} shares[] = {{"reputation", "reputation_ppm"},
		      {"calibration_score", "calibration_ppm"},
		      {"consistency_score", "consistency_ppm"}};
	size_t i;

	json_object_set_new(o, "elo", json_real((double)json_get_int(known, "elo_milli", 1500000) / 1000.0));
	for (i = 0; i < countof(counts); i++)
		json_put_int(o, counts[i], json_get_int(known, counts[i], 0));
	for (i = 0; i < countof(shares); i++)
		if (json_object_get(known, shares[i].ppm) != NULL)
			json_object_set_new(o, shares[i].name,
					    json_real((double)json_get_int(known, shares[i].ppm, 0) / 1e6));
}

/* Adds rating and record to each of `agents`, all read at once; what is not known of one is left out. */
CO_FN static bool api_add_ratings(struct http_request *req, json_t *agents, struct error *err)
{
	json_t *names = json_own(req->arena, json_array()), *ratings = NULL, *o;
	size_t i;

	json_array_foreach(agents, i, o) json_array_append(names, json_object_get(o, "name"));
	if (!ranking_standing(api_worker(req)->db, &req->ctx, names, STR(""), &ratings, err))
		return false;
	json_array_foreach(agents, i, o)
	    api_add_rating(o, json_object_get(ratings, json_get_str(o, "name", STR("")).p));
	json_decref(ratings);
	return true;
}

static void api_list(struct http_request *req)
{
	json_t *agents = json_array(), *doc;
	const struct known_agent *k;
	struct error err = ERROR_INIT;
	bool stats = false;
	size_t i;

	for (i = 0; (k = known_at(i)) != NULL; i++)
		if (!k->alias)
			json_array_append_new(agents, api_agent(req, k));
	if (str_to_bool(http_query(req, "include_stats"), &stats) && stats && !api_add_ratings(req, agents, &err)) {
		json_decref(agents);
		http_reply_error(req, &err);
		return;
	}
	doc = json_pack("{s:O, s:O, s:I}", "agents", agents, "items", agents, "total",
			(json_int_t)json_array_size(agents));
	json_decref(agents);
	http_reply_json(req, 200, doc);
}

static void api_one(struct http_request *req)
{
	const struct known_agent *k = NULL;
	struct error err = ERROR_INIT;
	json_t *list;
	size_t i;

	for (i = 0; known_at(i) != NULL && k == NULL; i++)
		if (str_ieqz(req->params[0], known_at(i)->name))
			k = known_at(i);
	if (k == NULL) {
		error_set(&err, ERR_NOT_FOUND, "no agent is called \"%.*s\"",
			  STR_ARG(str_utf8_cut(req->params[0], 64)));
		http_reply_error(req, &err);
		return;
	}
	list = json_own(req->arena, json_array());
	json_array_append_new(list, api_agent(req, k));
	if (api_add_ratings(req, list, &err))
		http_reply_json(req, 200, json_incref(json_array_get(list, 0)));
	else
		http_reply_error(req, &err);
}

/* {"openrouter_available", "openrouter_enabled", "local_llm_available", "local_enabled", "local_providers": []} */
static json_t *api_fallback(const struct conf *c)
{
	static const enum conf_provider_id local[] = {PROVIDER_OLLAMA, PROVIDER_LM_STUDIO, PROVIDER_COMPATIBLE};
	json_t *names = json_array();
	size_t i;

	for (i = 0; i < countof(local); i++)
		if (registry_usable(c, local[i]))
			json_array_append_new(names, json_string(conf_provider_name(local[i])));
	return json_pack("{s:b, s:b, s:b, s:b, s:o}", "openrouter_available", registry_usable(c, PROVIDER_OPENROUTER),
			 "openrouter_enabled", c->debates.openrouter_fallback, "local_llm_available",
			 json_array_size(names) > 0, "local_enabled", c->debates.local_fallback, "local_providers",
			 names);
}

static void api_health(struct http_request *req)
{
	struct worker *w = api_worker(req);
	json_t *agents = agents_health(w->agents), *breakers = agents_breakers(w->agents), *o;
	size_t total = json_object_size(agents), usable = 0, open = 0;
	char iso[CLOCK_ISO_MAX];
	const char *key, *status;

	json_object_foreach(agents, key, o) usable += json_get_bool(o, "available", false);
	json_object_foreach(breakers, key, o) open += !json_get_bool(o, "available", true);
	status = usable == 0 ? "unhealthy" : open > 0 ? "degraded" : "healthy";
	http_reply_json(req, 200,
			json_pack("{s:s, s:s, s:b, s:o, s:o, s:o, s:{s:b, s:s}, s:{s:I, s:I, s:f}}", "timestamp",
				  clock_iso(iso, clock_wall_ms()), "overall_status", status, "demo",
				  conf_demo_active(w->conf), "agents", agents, "circuit_breakers", breakers, "fallback",
				  api_fallback(w->conf), "embeddings", "configured", (int)embed_configured(w->conf),
				  "model", w->conf->embeddings.model, "summary", "available_agents", (json_int_t)usable,
				  "total_agents", (json_int_t)total, "availability_rate",
				  total > 0 ? (double)usable / (double)total : 0.0));
}

static void api_availability(struct http_request *req)
{
	struct worker *w = api_worker(req);
	json_t *health = agents_health(w->agents), *agents = json_object(), *have = json_array(), *lack = json_array(),
	       *o;
	const char *name;
	bool usable;

	json_object_foreach(health, name, o)
	{
		usable = json_get_bool(o, "available", false);
		json_object_set_new(agents, name, json_boolean(usable));
		json_array_append_new(usable ? have : lack, json_string(name));
	}
	json_decref(health);
	http_reply_json(req, 200,
			json_pack("{s:b, s:b, s:o, s:o, s:o}", "openrouter_available",
				  registry_usable(w->conf, PROVIDER_OPENROUTER), "demo", conf_demo_active(w->conf),
				  "agents", agents, "available", have, "missing", lack));
}

#define READ(p, h, f, s) ROUTE(GET, p, h, "agents:read", READ, s, .flags = (f))
static const struct route agents_route_rows[] = {
    READ("/api/agents", api_list, 0, "Agents that can be named in a debate; include_stats=true adds ratings"),
    READ("/api/agents/health", api_health, ROUTE_INLINE,
	 "Agents, their providers and the circuit breakers of the node"),
    READ("/api/agents/availability", api_availability, ROUTE_INLINE, "Which agents can be used now"),
    READ("/api/agents/{name}", api_one, 0, "One agent"),
};
#undef READ

const struct route_table agents_routes = {agents_route_rows, countof(agents_route_rows)};
