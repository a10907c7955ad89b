/* SPDX-License-Identifier: MIT */
/*
 * /api/openapi.json: the description of the API (OpenAPI 3.1), made from the route tables and the schema table.
 * Cheap enough to be made anew for each request.
 */
#include "worker/system/system.h"

#include <ctype.h>

#include "common/json.h"
#include "worker/system/schema.h"
#include "worker/worker.h"

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

	for (i = 0; i < schema_fields_count; i++) {
		const struct schema_field *f = &schema_fields[i];
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

	for (i = 0; name != NULL && i < schema_fields_count; i++)
		if (strcmp(schema_fields[i].schema, name) == 0)
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
    ROUTE(GET, "/api/openapi.json", openapi_show, NULL, NONE, "This description",
	  .flags = ROUTE_PUBLIC | ROUTE_INLINE | ROUTE_ETAG),
};
const struct route_table openapi_routes = {openapi_rows, countof(openapi_rows)};
