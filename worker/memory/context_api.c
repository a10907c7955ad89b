/* SPDX-License-Identifier: MIT */
/*
 * GET and POST /api/memory/context: what earlier debates, memory and stored knowledge would give a debate of a
 * question, as its "background" step finds it (worker/runner/background.h). Called by the router; starts nothing and
 * counts nothing as used.
 */
#include "common/json.h"
#include "worker/debate/request.h"
#include "worker/debate/view.h"
#include "worker/http/body.h"
#include "worker/memory/memory_api.h"
#include "worker/runner/background.h"

#define CONTEXT_QUESTION_MAX 10000 /* bytes */

bool memory_question(struct http_request *req, const json_t **body, struct str *out)
{
	static const char *const names[] = {"query", "q", "task", "question"};
	size_t i;

	*out = STR("");
	*body = NULL;
	if (req->method == HTTP_POST && (*body = body_object(req)) == NULL)
		return false;
	for (i = 0; i < countof(names) && out->n == 0; i++)
		*out = str_trim(http_query(req, names[i]));
	for (i = 0; *body != NULL && i < countof(names) && out->n == 0; i++)
		if (!body_text_or_reject(req, *body, names[i], CONTEXT_QUESTION_MAX, out))
			return false;
	if (out->n > 0 && out->n <= CONTEXT_QUESTION_MAX)
		return true;
	(void)body_reject(req, "query", "is required: a question of at most 10000 bytes");
	return false;
}

CO_FN static void context_show(struct http_request *req)
{
	struct buf text = BUF_INIT;
	struct str question;
	json_t *items, *o;
	const json_t *it, *body;
	size_t i;

	if (!memory_on(req) || !memory_question(req, &body, &question))
		return;
	items = background_find(request_worker(req), &req->ctx, question, NULL);
	json_array_foreach(items, i, it)
	    buf_printf(&text, "%s[%.*s] %.*s\n%.*s", i > 0 ? "\n\n" : "", STR_ARG(json_get_str(it, "label", STR(""))),
		       STR_ARG(json_get_str(it, "title", STR(""))), STR_ARG(json_get_str(it, "text", STR(""))));
	o = json_object();
	view_floats(items);
	json_put_str(o, "query", question);
	json_put_str(o, "context", buf_str(&text));
	json_put_int(o, "count", (int64_t)json_array_size(items));
	json_object_set_new(o, "memories", items);
	buf_free(&text);
	http_reply_json(req, 200, o);
}

static const struct route context_rows[] = {
    MEMORY_READ("/api/memory/context", context_show, "What a debate of a question would be given"),
    MEMORY_READ("/api/memory/cross-debate", context_show, "What a debate of a question would be given"),
    ROUTE(POST, "/api/memory/context", context_show, "memory:read", READ, "What a debate of a question would be given"),
};
const struct route_table memory_context_routes = {context_rows, countof(context_rows)};
