/* SPDX-License-Identifier: MIT */
/*
 * Reads members of a body, and answers for what is wrong with them: at once, or with one answer that names every bad
 * field. Called by handlers. Values are never repeated in an error: they may be passwords.
 */
#include "worker/http/body.h"

json_t *body_object(struct http_request *req)
{
	struct error err = ERROR_INIT;
	json_t *o;

	if (str_trim(req->body).n == 0)
		return json_own(req->arena, json_object());
	o = json_parse(req->arena, req->body, &err);
	if (o != NULL && json_is_object(o))
		return o;
	if (o != NULL)
		error_set(&err, ERR_INVALID_JSON, "the body must be a JSON object");
	http_reply_error(req, &err);
	return NULL;
}

bool body_reject(struct http_request *req, const char *field, const char *text)
{
	struct error err = ERROR_INIT;

	error_field(&err, ERR_INVALID_VALUE, field, "%s", text);
	http_reply_error(req, &err);
	return false;
}

void body_reject_all(struct http_request *req, const struct error *err, json_t *problems)
{
	json_t *o = json_pack("{s:s, s:s, s:O}", "error", http_error_sentence(req->arena, err), "code",
			      err_wire(err->code), "errors", problems);

	json_put_str(o, "trace_id", req->request_id);
	if (err->field[0] != '\0')
		json_put_str(o, "field", str_of(err->field));
	http_reply_json(req, err_status(err->code), o);
}

bool body_text_or_reject(struct http_request *req, const json_t *body, const char *field, size_t max, struct str *out)
{
	const json_t *v = json_object_get(body, field);
	struct error err = ERROR_INIT;

	*out = STR("");
	if (v == NULL || json_is_null(v))
		return true;
	if (!json_is_string(v))
		return body_reject(req, field, "must be a string");
	*out = str_trim((struct str){json_string_value(v), json_string_length(v)});
	if (out->n <= max)
		return true;
	error_field(&err, ERR_INVALID_VALUE, field, "must be at most %zu bytes", max);
	http_reply_error(req, &err);
	return false;
}

void body_problems_begin(struct http_request *req, struct body_problems *p)
{
	p->list = json_own(req->arena, json_array());
	p->first = ERROR_INIT;
}

void body_problem(struct body_problems *p, const struct error *err)
{
	json_array_append_new(p->list, json_pack("{s:s, s:s, s:s}", "field", err->field, "code", err_wire(err->code),
						 "message", err->msg));
	if (p->first.code == ERR_OK)
		p->first = *err;
}

struct str body_text(struct body_problems *p, const json_t *body, const char *field, size_t min, size_t max, bool exact)
{
	const json_t *v = json_object_get(body, field);
	struct str s = json_get_str(body, field, STR(""));
	struct error err = ERROR_INIT;

	if (!exact)
		s = str_trim(s);
	if (v != NULL && !json_is_string(v) && !json_is_null(v))
		error_field(&err, ERR_INVALID_VALUE, field, "must be a string");
	else if (s.n == 0 && min > 0)
		error_field(&err, ERR_MISSING_FIELD, field, "is required");
	else if (s.n < min || s.n > max)
		error_field(&err, ERR_INVALID_VALUE, field, "must have %zu to %zu bytes", min, max);
	else
		return s;
	body_problem(p, &err);
	return STR("");
}

bool body_refused(struct http_request *req, struct body_problems *p)
{
	json_t *o;

	if (p->first.code == ERR_OK)
		return false;
	o = json_pack("{s:s+++, s:s, s:s, s:O}", "error", p->first.field, p->first.field[0] != '\0' ? ": " : "",
		      p->first.msg, "", "code", err_wire(p->first.code), "field", p->first.field, "errors", p->list);
	json_put_str(o, "trace_id", req->request_id);
	http_reply_json(req, err_status(p->first.code), o);
	return true;
}
