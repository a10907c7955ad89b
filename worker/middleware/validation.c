/* SPDX-License-Identifier: MIT */
/*
 * Bodies against the schema that their route declares: a JSON object, types and bounds of its fields, all that is wrong
 * at once. Schemas without bounds are checked by their handlers, which know more (what belongs together, aliases).
 */
#include "common/json.h"
#include "common/metrics.h"
#include "worker/http/problems.h"
#include "worker/middleware/pipeline.h"
#include "worker/system/schema.h"

static bool validation_applies(const struct route *r, const struct conf *c)
{
	(void)c;
	return r->request != NULL && schema_checked(r->request);
}

static bool validation_before(struct http_request *req)
{
	struct problems p = PROBLEMS_INIT;
	struct error err = ERROR_INIT;
	const json_t *body;

	if (str_trim(req->body).n == 0)
		return true;
	body = json_parse(req->arena, req->body, &err);
	if (body != NULL && !json_is_object(body))
		error_set(&err, ERR_INVALID_JSON, "the body must be a JSON object");
	if (err.code != ERR_OK) {
		metric_add(M_HTTP_REFUSED, 1, "validation", NULL);
		http_reply_error(req, &err);
		return false;
	}
	schema_check(req->route->request, body, &p);
	if (p.list != NULL)
		metric_add(M_HTTP_REFUSED, 1, "validation", NULL);
	return problems_none(req, &p);
}

const struct middleware middleware_validation = {
    .name = "validation", .applies = validation_applies, .before = validation_before};
