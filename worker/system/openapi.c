/* SPDX-License-Identifier: MIT */
/*
 * /api/openapi.json: the description of the API (OpenAPI 3.1), made from the route tables and the schema table below.
 * Cheap enough to be made anew for each request.
 */
#include "worker/system/system.h"

#include <ctype.h>

#include "common/json.h"
#include "worker/worker.h"

/* One property of a schema; `type` is a JSON type, "[]x" an array of x, "{}" a free object, "#Name" another schema. */
struct openapi_field {
	const char *schema, *name, *type, *help;
	bool required;
};

static const struct openapi_field openapi_fields[] = {
    {"Error", "error", "string", "What is wrong, as a sentence", true},
    {"Error", "code", "string", "Stable code, for example MISSING_FIELD", true},
    {"Error", "trace_id", "string", "The request's X-Request-ID", true},
    {"Error", "field", "string", "The offending field", false},
    {"Error", "errors", "[]{}", "Every bad field, on 400", false},
    {"DebateCreate", "task", "string", "The question, 1 to 10000 characters; topic and question are accepted names too",
     true},
    {"DebateCreate", "rounds", "integer", "Debate rounds after the independent drafts, 1 to 12", false},
    {"DebateCreate", "agents", "[]{}", "Names, specs provider|model|persona|role, or objects; 2 to 10", false},
    {"DebateCreate", "consensus", "string",
     "majority, weighted, supermajority, unanimous, semantic, any, byzantine, judge, hybrid or none", false},
    {"DebateCreate", "consensus_threshold", "number", "The weighted share that decides, 0.5 to 1; 0.6 by default",
     false},
    {"DebateCreate", "topology", "string",
     "Who criticises whom: auto, all-to-all, ring, round-robin, sparse, star or adaptive", false},
    {"DebateCreate", "debate_format", "string",
     "light: one round, stops early; full: stops only if all agree; default between them", false},
    {"DebateCreate", "context", "string", "Background for the agents, at most 100000 characters", false},
    {"DebateCreate", "budget_limit_usd", "number", "What it may cost, to 100; it never costs more", false},
    {"DebateCreate", "metadata", "{}", "Kept and given back", false},
    {"DebateCreate", "callback_url", "string", "Is told of the end by a signed POST; public and https", false},
    {"DebateCreate", "callback_secret", "string", "Signs it (HMAC-SHA256), 16 to 256 characters", false},
    {"DebateCreated", "id", "string", "The debate's id", true},
    {"DebateCreated", "debate_id", "string", "The same", true},
    {"DebateCreated", "status", "string", "created", true},
    {"DebateCreated", "success", "boolean", "true", true},
    {"DebateCreated", "task", "string", "The question", true},
    {"DebateCreated", "agents", "[]string", "Names of the agents", true},
    {"DebateCreated", "websocket_url", "string", "Where its events are", true},
    {"DebateCreated", "demo", "boolean", "Built-in demo agents play", true},
    {"Debate", "id", "string", "Id", true},
    {"Debate", "debate_id", "string", "The same", true},
    {"Debate", "slug", "string", "Readable name, unique in the workspace", true},
    {"Debate", "task", "string", "The question", true},
    {"Debate", "status", "string", "created, running, completed, failed, cancelled or archived", true},
    {"Debate", "agents", "[]string", "Who takes part", true},
    {"Debate", "consensus_reached", "boolean", "Was the threshold met?", true},
    {"Debate", "confidence", "number", "0 to 1: the winning position's weighted share of the vote", true},
    {"Debate", "final_answer", "string", "The decision", false},
    {"Debate", "messages", "[]#Message", "What was said", false},
    {"Debate", "critiques", "[]{}", "Issues, suggestions, severity 0 to 10", false},
    {"Debate", "votes", "[]{}", "Choice, confidence, weight, reasoning", false},
    {"Debate", "consensus", "{}", "share, weighted_share, margin, strength, supporting and dissenting agents", false},
    {"Debate", "total_cost_usd", "number", "Cost", false},
    {"Debate", "receipt_id", "string", "The decision receipt", false},
    {"Debate", "callback", "{}", "How the delivery to callback_url stands", false},
    {"Debate", "created_at", "string", "ISO 8601, UTC", true},
    {"DebateList", "debates", "[]#Debate", "Newest first", true},
    {"DebateList", "total", "integer", "All that match", true},
    {"DebateList", "has_more", "boolean", "Is there a next page?", true},
    {"SearchResult", "results", "[]#Debate", "Newest first", true},
    {"SearchResult", "total", "integer", "All that match", true},
    {"Search", "query", "string", "Text to find in task, title and answer", true},
    {"DebateUpdate", "title", "string", "At most 500 characters", false},
    {"DebateUpdate", "tags", "[]string", "At most 20", false},
    {"DebateUpdate", "metadata", "{}", "Replaces the former", false},
    {"DebateUpdate", "status", "string", "archived, or active to take it back", false},
    {"DebateUpdated", "success", "boolean", "true", true},
    {"DebateUpdated", "updated_fields", "[]string", "What was changed", true},
    {"Deleted", "deleted", "boolean", "true", true},
    {"DebateStatus", "status", "string", "As in Debate", true},
    {"DebateStatus", "current_round", "integer", "0 while drafts are written", true},
    {"DebateStatus", "last_seq", "integer", "Number of its newest event", true},
    {"Message", "role", "string", "Role of the speaker", true},
    {"Message", "agent", "string", "Name of the speaker", true},
    {"Message", "content", "string", "The text", true},
    {"Message", "round", "integer", "0 for independent drafts", true},
    {"MessagePage", "messages", "[]#Message", "In order", true},
    {"MessagePage", "total", "integer", "All messages", true},
    {"Cancel", "reason", "string", "Shown with the result", false},
    {"Cancelled", "status", "string", "cancelled", true},
    {"EventPage", "events", "[]{}", "Envelopes {type, data, seq, timestamp, round, agent, debate_id}", true},
    {"EventPage", "next_seq", "integer", "Give it as after_seq to go on", true},
};

static json_t *openapi_type(const char *type)
{
	if (strncmp(type, "[]", 2) == 0)
		return json_pack("{s:s, s:o}", "type", "array", "items", openapi_type(type + 2));
	if (type[0] == '#')
		return json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%s", type + 1));
	return json_pack("{s:s}", "type", strcmp(type, "{}") == 0 ? "object" : type);
}

static json_t *openapi_schemas(void)
{
	json_t *all = json_object();
	size_t i;

	for (i = 0; i < countof(openapi_fields); i++) {
		const struct openapi_field *f = &openapi_fields[i];
		json_t *s = json_object_get(all, f->schema), *p = openapi_type(f->type);

		if (s == NULL) {
			s = json_pack("{s:s, s:{}, s:[]}", "type", "object", "properties", "required");
			json_object_set_new(all, f->schema, s);
		}
		json_object_set_new(p, "description", json_string(f->help));
		json_object_set_new(json_object_get(s, "properties"), f->name, p);
		if (f->required)
			json_array_append_new(json_object_get(s, "required"), json_string(f->name));
	}
	return all;
}

static bool openapi_has_schema(const char *name)
{
	size_t i;

	for (i = 0; name != NULL && i < countof(openapi_fields); i++)
		if (strcmp(openapi_fields[i].schema, name) == 0)
			return true;
	return false;
}

static json_t *openapi_content(const char *schema)
{
	const char *known = openapi_has_schema(schema) ? schema : NULL;
	json_t *s = known != NULL ? json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%s", known))
				  : json_pack("{s:s}", "type", "object");

	return json_pack("{s:{s:o}}", "application/json", "schema", s);
}

/* "/api/debates/{id}/cancel" -> "debates". */
static struct str openapi_tag(const char *path)
{
	struct str s = str_of(path);

	if (str_starts(s, STR("/api/")))
		s = str_sub(s, 5, s.n);
	else
		s = str_sub(s, 1, s.n);
	return str_sub(s, 0, str_chr(s, '/') >= 0 ? (size_t)str_chr(s, '/') : s.n);
}

static json_t *openapi_parameters(const char *path)
{
	json_t *list = json_array();
	struct str rest = str_of(path), part;

	while (str_split(&rest, '/', &part))
		if (part.n > 2 && part.p[0] == '{')
			json_array_append_new(list,
					      json_pack("{s:s%, s:s, s:b, s:{s:s}}", "name", part.p + 1, part.n - 2,
							"in", "path", "required", 1, "schema", "type", "string"));
	return list;
}

static void openapi_route(void *arg, const struct route *r, const char *chain, bool waits)
{
	json_t *paths = arg, *item = json_object_get(paths, r->path), *op, *error;
	struct str tag = openapi_tag(r->path);
	char method[16];
	size_t i;

	(void)chain;
	(void)waits;
	if ((r->flags & ROUTE_FILES) != 0) /* not of the API */
		return;
	if (item == NULL) {
		item = json_object();
		json_object_set_new(paths, r->path, item);
	}
	for (i = 0; http_method_name(r->method)[i] != '\0' && i < sizeof(method) - 1; i++)
		method[i] = (char)tolower((unsigned char)http_method_name(r->method)[i]);
	method[i] = '\0';
	error = json_pack("{s:s, s:o}", "description", "Error", "content", openapi_content("Error"));
	op = json_pack("{s:s, s:[s%], s:o, s:{s:{s:s, s:o}, s:o}}", "summary", r->summary != NULL ? r->summary : "",
		       "tags", tag.n > 0 ? tag.p : "root", tag.n > 0 ? tag.n : (size_t)4, "parameters",
		       openapi_parameters(r->path), "responses", "200", "description", "OK", "content",
		       openapi_content(r->response), "default", error);
	if (r->request != NULL)
		json_object_set_new(op, "requestBody", json_pack("{s:o}", "content", openapi_content(r->request)));
	if (r->deprecated != NULL)
		json_object_set_new(op, "deprecated", json_true());
	if ((r->flags & ROUTE_PUBLIC) != 0)
		json_object_set_new(op, "security", json_array());
	else
		json_object_set_new(op, "x-permission", json_string(r->permission));
	json_object_set_new(item, method, op);
}

static void openapi_show(struct http_request *req)
{
	const struct worker *w = req->user;
	json_t *paths = json_object();

	router_each(w->router, openapi_route, paths);
	http_reply_json(
	    req, 200,
	    json_pack("{s:s, s:{s:s, s:s, s:s}, s:[{s:s}], s:[{s:[]}], s:o, s:{s:o, s:{s:{s:s, s:s}}}}", "openapi",
		      "3.1.0", "info", "title", "aragorad", "version", ARAGORA_VERSION, "description",
		      "Structured debates between LLM agents. /api/x, /api/v1/x and /api/v2/x are the same.", "servers",
		      "url", "/", "security", "bearer", "paths", paths, "components", "schemas", openapi_schemas(),
		      "securitySchemes", "bearer", "type", "http", "scheme", "bearer"));
}

static const struct route openapi_rows[] = {
    {.method = HTTP_GET,
     .path = "/api/openapi.json",
     .handler = openapi_show,
     .flags = ROUTE_PUBLIC | ROUTE_INLINE | ROUTE_ETAG,
     .summary = "This description"},
};
const struct route_table openapi_routes = {openapi_rows, countof(openapi_rows)};
