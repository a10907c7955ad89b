/* SPDX-License-Identifier: MIT */
/*
 * Small parts of the handlers of debates, see request.h. Called by api.c and its sisters; know no SQL.
 */
#include "worker/debate/request.h"

#include "common/json.h"
#include "worker/identity/body.h"
#include "worker/worker.h"

#define REQUEST_TAGS_MAX 20
#define REQUEST_TAG_BYTES 100

json_t *request_object(struct http_request *req)
{
	return (json_t *)(uintptr_t)body_object(req); /* of the request's arena; who asks here may add to it */
}

bool request_problem(struct http_request *req, const char *field, const char *text)
{
	struct error err = ERROR_INIT;

	error_field(&err, ERR_INVALID_VALUE, field, "%s", text);
	http_reply_error(req, &err);
	return false;
}

void request_invalid(struct http_request *req, const struct error *err, json_t *problems)
{
	json_t *o = json_pack("{s:s, s:s, s:O}", "error", http_error_sentence(req->arena, err), "code",
			      err_wire(err->code), "errors", problems);

	json_put_str(o, "trace_id", req->request_id);
	if (err->field[0] != '\0')
		json_put_str(o, "field", str_of(err->field));
	http_reply_json(req, err_status(err->code), o);
}

CO_FN bool request_debate(struct http_request *req, struct debate_row *row)
{
	struct error err = ERROR_INIT;

	if (debate_get(request_worker(req)->db, req->arena, &req->ctx, req->params[0], row, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

bool request_text(struct http_request *req, const json_t *body, const char *field, size_t max, struct str *out)
{
	const json_t *v = json_object_get(body, field);
	struct error err = ERROR_INIT;

	*out = STR("");
	if (v == NULL || json_is_null(v))
		return true;
	if (!json_is_string(v))
		return request_problem(req, field, "must be a string");
	*out = str_trim((struct str){json_string_value(v), json_string_length(v)});
	if (out->n <= max)
		return true;
	error_field(&err, ERR_INVALID_VALUE, field, "must be at most %zu bytes", max);
	http_reply_error(req, &err);
	return false;
}

bool request_tags(struct http_request *req, const json_t *tags)
{
	bool ok = json_is_array(tags) && json_array_size(tags) <= REQUEST_TAGS_MAX;
	const json_t *v;
	size_t i;

	json_array_foreach(tags, i, v) ok = ok && json_is_string(v) && json_string_length(v) <= REQUEST_TAG_BYTES;
	return ok || request_problem(req, "tags", "must be at most 20 strings of at most 100 characters");
}

void request_refused(struct http_request *req, struct error *err)
{
	if (err->code == ERR_CONFLICT)
		err->code = ERR_BAD_REQUEST;
	http_reply_error(req, err);
}
