/* SPDX-License-Identifier: MIT */
/*
 * What requests about knowledge say: members of bodies with their bounds, filters of the query string, the workspace.
 * Called by the endpoints of this folder. Collects what is wrong instead of answering, but for the workspace.
 */
#include "common/json.h"
#include "worker/knowledge/knowledge.h"

#define INPUT_LIST_MAX 50
#define INPUT_ITEM_MAX 200
#define INPUT_OBJECT_MAX 16384
#define INPUT_ID_MAX 64

bool knowledge_word(const char *const *list, struct str word)
{
	for (; *list != NULL; list++)
		if (str_eqz(word, *list))
			return true;
	return false;
}

static void input_wrong(struct body_problems *p, const char *field, const char *must)
{
	struct error err = ERROR_INIT;

	error_field(&err, ERR_INVALID_VALUE, field, "%s", must);
	body_problem(p, &err);
}

int64_t knowledge_share(struct body_problems *p, const json_t *body, const char *field, int64_t dflt)
{
	const json_t *v = json_object_get(body, field);
	double d = json_number_value(v);

	if (v == NULL || json_is_null(v))
		return dflt;
	if (json_is_number(v) && d >= 0.0 && d <= 1.0)
		return (int64_t)(d * KNOWLEDGE_ONE + 0.5);
	input_wrong(p, field, "must be a number from 0 to 1");
	return dflt;
}

struct str knowledge_choice(struct body_problems *p, const json_t *body, const char *field, const char *const *list,
			    const char *dflt)
{
	struct str s = body_text(p, body, field, 0, 64, false);
	struct buf must = BUF_INIT;
	size_t i;

	if (s.n == 0)
		return str_of(dflt);
	if (knowledge_word(list, s))
		return s;
	buf_addz(&must, "must be one of");
	for (i = 0; list[i] != NULL; i++)
		buf_printf(&must, "%s %s", i > 0 ? "," : "", list[i]);
	input_wrong(p, field, must.p);
	buf_free(&must);
	return str_of(dflt);
}

struct str knowledge_texts(struct body_problems *p, struct arena *a, const json_t *body, const char *field)
{
	const json_t *v = json_object_get(body, field), *item;
	bool ok = json_is_array(v) && json_array_size(v) <= INPUT_LIST_MAX;
	size_t i;

	if (v == NULL || json_is_null(v))
		return STR("[]");
	json_array_foreach(v, i, item) ok = ok && json_is_string(item) && json_string_length(item) <= INPUT_ITEM_MAX;
	if (ok)
		return json_text(a, v);
	input_wrong(p, field, "must be a list of at most 50 texts of at most 200 bytes");
	return STR("[]");
}

struct str knowledge_object(struct body_problems *p, struct arena *a, const json_t *body, const char *field)
{
	const json_t *v = json_object_get(body, field);
	struct str text;

	if (v == NULL || json_is_null(v))
		return STR("{}");
	text = json_text(a, v);
	if (json_is_object(v) && text.n <= INPUT_OBJECT_MAX)
		return text;
	input_wrong(p, field, "must be an object of at most 16 KiB");
	return STR("{}");
}

struct str knowledge_either(struct body_problems *p, const json_t *body, const char *field, const char *other,
			    size_t max)
{
	if (json_object_get(body, field) == NULL && json_object_get(body, other) != NULL)
		field = other;
	return body_text(p, body, field, 1, max, false);
}

size_t knowledge_ids(struct body_problems *p, struct arena *a, const json_t *body, const char *field, size_t max,
		     struct str **ids)
{
	const json_t *v = json_object_get(body, field), *item;
	size_t n = json_array_size(v), i;
	char place[64];

	if (!json_is_array(v) || n == 0 || n > max) {
		(void)snprintf(place, sizeof(place), "must be a list of 1 to %zu ids", max);
		input_wrong(p, field, place);
		return 0;
	}
	*ids = arena_zalloc(a, n * sizeof(**ids));
	json_array_foreach(v, i, item)
	{
		(*ids)[i] = str_of(json_string_value(item));
		if ((*ids)[i].n > 0 && (*ids)[i].n <= INPUT_ID_MAX)
			continue;
		(void)snprintf(place, sizeof(place), "%s[%zu]", field, i);
		input_wrong(p, place, "must be an id, as text of 1 to 64 bytes");
	}
	return n;
}

bool knowledge_here(struct http_request *req, const json_t *body)
{
	struct str id = json_get_str(body, "workspace_id", http_query(req, "workspace_id"));
	struct error err = ERROR_INIT;

	if (id.n == 0 || str_eq(id, req->ctx.workspace_id) || str_eqz(id, "default"))
		return true;
	error_field(&err, ERR_NOT_FOUND, "workspace_id",
		    "Workspace not found; another one is selected by X-Workspace-ID");
	http_reply_error(req, &err);
	return false;
}

struct str knowledge_type_list(struct arena *a, struct str csv, const json_t *array)
{
	struct buf b = BUF_INIT;
	const json_t *item;
	struct str out;
	size_t i;

	json_array_foreach(array, i, item) if (json_is_string(item)) buf_printf(&b, ",%s", json_string_value(item));
	if (csv.n > 0)
		buf_printf(&b, ",%.*s", STR_ARG(csv));
	if (b.n > 0)
		buf_addc(&b, ',');
	out = arena_str(a, buf_str(&b));
	buf_free(&b);
	return out;
}

int64_t knowledge_query_share(struct http_request *req, const char *name, int64_t dflt)
{
	struct str s = http_query(req, name);
	char number[32];
	double v;

	if (s.n == 0)
		return dflt;
	(void)snprintf(number, sizeof(number), "%.*s", STR_ARG(str_sub(s, 0, 30)));
	v = strtod(number, NULL);
	return v >= 0.0 && v <= 1.0 ? (int64_t)(v * KNOWLEDGE_ONE + 0.5) : dflt;
}

void knowledge_query_filter(struct http_request *req, struct knowledge_filter *f)
{
	struct str types = http_query(req, "node_types");

	*f = (struct knowledge_filter){.limit = http_query_int(req, "limit", 1, KNOWLEDGE_PAGE_MAX, 50),
				       .offset = http_query_int(req, "offset", 0, INT32_MAX, 0)};
	f->types = knowledge_type_list(req->arena, types.n > 0 ? types : http_query(req, "node_type"), NULL);
	f->tier = http_query(req, "tier");
	f->topic = http_query(req, "topic");
	f->adapter = http_query(req, "adapter");
	f->min_confidence_ppm = knowledge_query_share(req, "min_confidence", 0);
}
