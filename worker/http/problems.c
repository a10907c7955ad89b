/* SPDX-License-Identifier: MIT */
/*
 * Collects what is wrong with a request. Called by middleware and handlers that check several fields; it checks nothing
 * itself.
 */
#include "worker/http/problems.h"

#include <stdarg.h>

#include "common/json.h"

void problem_add(struct problems *p, enum err code, const char *field, const char *fmt, ...)
{
	char text[200];
	json_t *problem;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* cut is fine: a sentence for people */
	va_end(ap);
	if (p->list == NULL) {
		p->list = json_array();
		error_field(&p->first, code, field, "%s", text);
	}
	if (json_array_size(p->list) >= PROBLEMS_MAX)
		return;
	problem = json_pack("{s:s}", "code", err_wire(code));
	json_put_str(problem, "field", str_of(field)); /* repairs what is no text, or was cut */
	json_put_str(problem, "message", str_of(text));
	json_array_append_new(p->list, problem);
}

bool problems_none(struct http_request *req, struct problems *p)
{
	json_t *o;

	if (p->list == NULL)
		return true;
	o = json_pack("{s:s, s:o}", "code", err_wire(p->first.code), "errors", p->list);
	json_put_str(o, "error", str_of(p->first.msg));
	json_put_str(o, "trace_id", req->request_id);
	json_put_str(o, "field", str_of(p->first.field));
	p->list = NULL;
	http_reply_json(req, err_status(p->first.code), o);
	return false;
}
