/* SPDX-License-Identifier: MIT */
/*
 * GET /api/agents/local and /local/status: which model servers of one's own answer, and with which models. Called by
 * the router. Asks the servers that the operator has configured and nothing else; their addresses are not told.
 */
#include "common/clock.h"
#include "common/fetch.h"
#include "common/json.h"
#include "worker/agents/agents.h"
#include "worker/agents/registry.h"
#include "worker/http/route.h"

#define LOCAL_TIMEOUT (2 * SEC_US)
#define LOCAL_ANSWER_MAX (1024 * 1024)
#define LOCAL_MODELS_MAX 200

/* Where a server lists its models, and how the list is spelled. */
static const struct local_server {
	enum conf_provider_id id;
	const char *path, *list, *member;
} local_servers[] = {
    {PROVIDER_OLLAMA, "/api/tags", "models", "name"},
    {PROVIDER_LM_STUDIO, "/models", "data", "id"},
    {PROVIDER_COMPATIBLE, "/models", "data", "id"},
};

struct local_probe {
	struct http_request *req;
	const struct local_server *server;
	json_t *models; /* NULL: it did not answer as documented */
	const char *error;
};

CO_FN static void local_ask(void *arg)
{
	struct local_probe *p = arg;
	struct worker *w = p->req->user;
	const struct conf_provider *conf = &w->conf->providers[p->server->id];
	struct co_scope scope = {.kind = SCOPE_CALL, .deadline = clock_mono_us() + LOCAL_TIMEOUT};
	struct fetch_header header = {"Authorization", STR_NONE};
	struct fetch_request fr = {.method = "GET", .headers = &header, .max_body = LOCAL_ANSWER_MAX};
	struct fetch_response resp;
	struct error err = ERROR_INIT;
	const json_t *list;
	size_t i;
	bool ok;

	fr.url = arena_printf(p->req->arena, "%s%s", conf->base_url, p->server->path);
	if (conf->api_key[0] != '\0') {
		header.value = arena_printf(p->req->arena, "Bearer %s", conf->api_key);
		fr.header_count = 1;
	}
	co_scope_enter(&scope);
	ok = fetch_do(w->fetch, p->req->arena, &fr, &resp) && resp.status == 200;
	co_scope_leave(&scope);
	if (!ok) {
		p->error = resp.status != 0 ? "the server answers, but does not list its models" : "no answer";
		return;
	}
	list = json_get_arr(json_parse(p->req->arena, resp.body, &err), p->server->list);
	if (list == NULL) {
		p->error = "the list of models is not in the documented format";
		return;
	}
	p->models = json_own(p->req->arena, json_array());
	for (i = 0; i < json_array_size(list) && i < LOCAL_MODELS_MAX; i++)
		json_array_append_new(p->models,
				      json_str(json_get_str(json_array_get(list, i), p->server->member, STR(""))));
}

/* {name, type, configured, available, models[], default_model, error?} */
static json_t *local_server_doc(const struct conf *c, const struct local_probe *p)
{
	const char *name = conf_provider_name(p->server->id);
	json_t *o = json_pack("{s:s, s:s, s:b, s:b, s:s}", "name", name, "type", name, "configured",
			      (int)registry_usable(c, p->server->id), "available", p->models != NULL, "default_model",
			      registry_model(c, p->server->id));

	json_object_set_new(o, "models", p->models != NULL ? json_incref(p->models) : json_array());
	if (p->error != NULL)
		json_put_str(o, "error", str_of(p->error));
	return o;
}

/* Asks all that are configured at once. */
CO_FN static json_t *local_probe_all(struct http_request *req, size_t *available, size_t *models)
{
	const struct conf *c = ((struct worker *)req->user)->conf;
	struct local_probe probes[countof(local_servers)];
	json_t *list = json_array();
	struct co_group group;
	size_t i;

	co_group_open(&group);
	for (i = 0; i < countof(local_servers); i++) {
		probes[i] = (struct local_probe){.req = req, .server = &local_servers[i]};
		if (!registry_usable(c, local_servers[i].id))
			probes[i].error = "not configured";
		else if (!co_group_spawn(&group, "local", local_ask, &probes[i]))
			probes[i].error = "too much is going on";
	}
	co_group_wait(&group);
	*available = *models = 0;
	for (i = 0; i < countof(local_servers); i++) {
		*available += probes[i].models != NULL;
		*models += json_array_size(probes[i].models);
		json_array_append_new(list, local_server_doc(c, &probes[i]));
	}
	return list;
}

CO_FN static void local_list(struct http_request *req)
{
	size_t available, models;
	json_t *servers = local_probe_all(req, &available, &models);

	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:I}", "servers", servers, "total", (json_int_t)json_array_size(servers),
				  "available_count", (json_int_t)available));
}

/* The first server that answers, with the model that it would be asked for if it has it, else its first. */
static json_t *local_recommended(const json_t *servers)
{
	const json_t *s, *models;
	struct str wanted;
	size_t i, k;

	json_array_foreach(servers, i, s)
	{
		models = json_get_arr(s, "models");
		if (json_array_size(models) == 0)
			continue;
		wanted = json_get_str(s, "default_model", STR(""));
		for (k = 0; k < json_array_size(models); k++)
			if (str_starts(str_of(json_string_value(json_array_get(models, k))), wanted))
				break;
		return json_pack("{s:O, s:O}", "server", json_object_get(s, "name"), "model",
				 json_array_get(models, k < json_array_size(models) ? k : 0));
	}
	return json_pack("{s:n, s:n}", "server", "model");
}

CO_FN static void local_status(struct http_request *req)
{
	size_t available, models, i;
	json_t *servers = local_probe_all(req, &available, &models), *agents = json_array(), *s;

	json_array_foreach(servers, i, s) if (json_get_bool(s, "available", false))
	    json_array_append(agents, json_object_get(s, "name"));
	http_reply_json(req, 200,
			json_pack("{s:b, s:I, s:o, s:o, s:o}", "available", available > 0, "total_models",
				  (json_int_t)models, "recommended", local_recommended(servers), "available_agents",
				  agents, "servers", servers));
}

#define READ(p, h, s) ROUTE(GET, p, h, "agents:read", READ, s)
static const struct route local_rows[] = {
    READ("/api/agents/local", local_list, "Model servers of one's own, and their models"),
    READ("/api/agents/local/status", local_status, "Can a local model be used, and which one"),
};
#undef READ

const struct route_table agents_local_routes = {local_rows, countof(local_rows)};
