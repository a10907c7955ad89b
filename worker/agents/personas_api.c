/* SPDX-License-Identifier: MIT */
/*
 * GET /api/personas and /api/agent/{name}/metadata: the tables of personas and agents for people. Called by the router;
 * reads nothing but these tables and the configuration.
 */
#include "common/json.h"
#include "worker/agents/agents.h"
#include "worker/agents/registry.h"
#include "worker/http/route.h"

static json_t *personas_split(const char *text)
{
	struct str rest = str_of(text), part;
	json_t *list = json_array();

	while (str_split(&rest, ',', &part))
		json_array_append_new(list, json_str(str_trim(part)));
	return list;
}

static void personas_put_ppm(json_t *o, const char *key, int ppm)
{
	json_object_set_new(o, key, ppm > 0 ? json_real(ppm / 1e6) : json_null());
}

static json_t *personas_doc(const struct persona *p)
{
	json_t *o = json_object(), *expertise = json_object();
	size_t i;

	for (i = 0; i < countof(p->expertise) && p->expertise[i].percent > 0; i++)
		json_object_set_new(expertise, persona_domain_name(p->expertise[i].domain),
				    json_real(p->expertise[i].percent / 100.0));
	json_put_str(o, "name", str_of(p->key));
	json_put_str(o, "agent_name", str_of(p->key));
	json_put_str(o, "description", str_of(p->text));
	json_object_set_new(o, "traits", personas_split(p->traits));
	json_object_set_new(o, "expertise", expertise);
	personas_put_ppm(o, "temperature", p->sampling.temperature_ppm);
	personas_put_ppm(o, "top_p", p->sampling.top_p_ppm);
	json_object_set_new(o, "frequency_penalty", json_real(p->sampling.frequency_penalty_ppm / 1e6));
	json_object_set_new(o, "preferred_agent", p->agent != NULL ? json_string(p->agent) : json_null());
	json_object_set_new(o, "contrarian", json_boolean(p->contrarian));
	return o;
}

static void personas_list(struct http_request *req)
{
	json_t *list = json_array(), *doc;
	size_t i;

	for (i = 0; persona_at(i) != NULL; i++)
		json_array_append_new(list, personas_doc(persona_at(i)));
	doc = json_pack("{s:O, s:O, s:I, s:I}", "personas", list, "items", list, "count",
			(json_int_t)json_array_size(list), "total", (json_int_t)json_array_size(list));
	json_decref(list);
	http_reply_json(req, 200, doc);
}

static void personas_one(struct http_request *req)
{
	const struct persona *p = persona_find(req->params[0]);
	struct error err = ERROR_INIT;

	if (p != NULL) {
		http_reply_json(req, 200, personas_doc(p));
		return;
	}
	error_set(&err, ERR_NOT_FOUND, "no persona is called \"%.*s\"", STR_ARG(str_utf8_cut(req->params[0], 64)));
	http_reply_error(req, &err);
}

/* What an agent's persona of the same name knows about; empty for the others. */
static json_t *personas_specialties(const struct persona *p)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; p != NULL && i < countof(p->expertise) && p->expertise[i].percent > 0; i++)
		json_array_append_new(list, json_string(persona_domain_name(p->expertise[i].domain)));
	return list;
}

/* A seat's name begins with its agent's: "openai-api_skeptic". */
json_t *agents_metadata(const struct conf *c, struct arena *a, struct str name)
{
	const struct known_agent *k = registry_find(name);
	struct agent_spec spec = {.name = name};
	const struct persona *p;
	struct error skip;
	json_t *m;

	if (k == NULL)
		return NULL;
	p = persona_find(str_of(k->name));
	if (p == NULL && k->provider == PROVIDER_ANTHROPIC)
		p = persona_find(STR("claude"));
	m = json_own(a, json_object());
	if (registry_cast(c, a, k, STR_NONE, &spec, &skip)) {
		json_put_str(m, "provider", spec.provider);
		json_put_str(m, "model_id", spec.model);
	} else {
		json_put_str(m, "provider", str_of(conf_provider_name(k->provider)));
		json_put_str(m, "model_id", str_of(k->model != NULL ? k->model : registry_model(c, k->provider)));
	}
	json_object_set_new(m, "context_window", json_null());
	json_object_set_new(m, "specialties", personas_specialties(p));
	json_object_set_new(m, "strengths", p != NULL ? personas_split(p->traits) : json_array());
	json_object_set_new(m, "price_in_usd_per_million", json_real((double)spec.price_in / 1e6));
	json_object_set_new(m, "price_out_usd_per_million", json_real((double)spec.price_out / 1e6));
	json_object_set_new(m, "release_date", json_null());
	json_object_set_new(m, "updated_at", json_null());
	return m;
}

static void personas_metadata(struct http_request *req)
{
	json_t *o = json_object(), *m = agents_metadata(((struct worker *)req->user)->conf, req->arena, req->params[0]);

	json_put_str(o, "agent", req->params[0]);
	json_object_set_new(o, "metadata", m != NULL ? json_incref(m) : json_null());
	if (m == NULL)
		json_put_str(o, "message", STR("nothing is known of an agent of this name"));
	http_reply_json(req, 200, o);
}

#define READ(p, h, s) ROUTE(GET, p, h, "agents:read", READ, s, .flags = ROUTE_INLINE)
static const struct route personas_rows[] = {
    READ("/api/personas", personas_list, "Ways of looking that an agent can be given"),
    READ("/api/personas/{name}", personas_one, "One persona"),
    READ("/api/agent/{name}/metadata", personas_metadata, "Provider, model and strengths of an agent"),
    READ("/api/agents/{name}/metadata", personas_metadata, "Provider, model and strengths of an agent"),
};
#undef READ

const struct route_table personas_routes = {personas_rows, countof(personas_rows)};
