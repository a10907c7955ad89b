/* SPDX-License-Identifier: MIT */
/*
 * Documents of a creation body, see documents.h. Called where a plan is made, by the prompts and by the view of a
 * debate. Fetches nothing: a document is its text, not an address or an id.
 */
#include "worker/engine/documents.h"

#include "common/json.h"
#include "worker/engine/taint.h"

struct documents {
	protocol_problem_fn *problem;
	void *arg;
	size_t characters;
	json_t *list;
};

static struct str documents_text(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_string(v) ? (struct str){json_string_value(v), json_string_length(v)} : STR_NONE;
}

static void documents_add(struct documents *d, size_t number, const json_t *v)
{
	const json_t *titled = json_object_get(v, "title");
	struct str text, title = documents_text(v, "title");
	char field[32];
	json_t *o;

	(void)snprintf(field, sizeof(field), "documents[%zu]", number);
	if (json_is_string(v))
		text = (struct str){json_string_value(v), json_string_length(v)};
	else if ((text = documents_text(v, "content")).p == NULL)
		text = documents_text(v, "text");
	if (str_trim(text).n == 0) {
		d->problem(d->arg, field, "must be a text, or an object with `content` and perhaps `title`");
		return;
	}
	if ((titled != NULL && !json_is_null(titled) && title.p == NULL) || str_utf8_length(title) > DOCUMENTS_TITLE) {
		d->problem(d->arg, field, "must have a string of at most 200 characters as title");
		return;
	}
	d->characters += str_utf8_length(text);
	o = json_object();
	json_put_str(o, "title", str_trim(title));
	json_put_str(o, "text", text);
	json_array_append_new(d->list, o);
}

json_t *documents_read(struct arena *a, const json_t *body, protocol_problem_fn *problem, void *arg)
{
	const json_t *given = json_object_get(body, "documents"), *ids = json_object_get(body, "document_ids"), *v;
	struct documents d = {.problem = problem, .arg = arg, .list = json_own(a, json_array())};
	size_t i;

	if (ids != NULL && !json_is_null(ids) && !(json_is_array(ids) && json_array_size(ids) == 0))
		problem(arg, "document_ids",
			"must be absent: no documents are stored here, give their texts as `documents`");
	if (given == NULL || json_is_null(given))
		return d.list;
	if (!json_is_array(given) || json_array_size(given) > DOCUMENTS_MAX) {
		problem(arg, "documents", "must be a list of at most 50 texts");
		return d.list;
	}
	json_array_foreach(given, i, v) documents_add(&d, i, v);
	if (d.characters > DOCUMENTS_CHARACTERS)
		problem(arg, "documents", "must have at most 100000 characters together");
	return d.list;
}

bool documents_mention(const json_t *documents, struct str word)
{
	const json_t *o;
	size_t i;

	json_array_foreach(documents, i, o)
	{
		if (str_ifind(json_get_str(o, "text", STR("")), word) >= 0 ||
		    str_ifind(json_get_str(o, "title", STR("")), word) >= 0)
			return true;
	}
	return false;
}

void documents_taint(json_t *counts, const json_t *documents)
{
	const json_t *o;
	size_t i;

	json_array_foreach(documents, i, o)
	{
		(void)taint_count(counts, json_get_str(o, "title", STR("")));
		(void)taint_count(counts, json_get_str(o, "text", STR("")));
	}
}

json_t *documents_view(const json_t *documents)
{
	json_t *list = json_array(), *shown;
	const json_t *o;
	char label[32];
	size_t i;

	json_array_foreach(documents, i, o)
	{
		shown = json_object();
		(void)snprintf(label, sizeof(label), "document %zu", i + 1);
		json_put_str(shown, "label", str_of(label));
		json_put_str(shown, "title", json_get_str(o, "title", STR("")));
		json_put_int(shown, "characters", (int64_t)str_utf8_length(json_get_str(o, "text", STR(""))));
		json_array_append_new(list, shown);
	}
	return list;
}
