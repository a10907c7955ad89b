/* SPDX-License-Identifier: MIT */
/*
 * Refuses to be told another method than the one of the request line: who stands before us has judged that one. It
 * looks at headers and at the parameter that frameworks know.
 */
#include "common/metrics.h"
#include "worker/middleware/pipeline.h"

static const char *const method_override_fields[] = {"x-http-method-override", "x-method-override", "x-http-method"};

static bool method_override_asked(const struct http_request *req, struct str *method)
{
	size_t i;

	for (i = 0; i < countof(method_override_fields); i++) {
		*method = http_field(req, method_override_fields[i]);
		if (method->p != NULL)
			return true;
	}
	if (str_find(req->query, STR("_method=")) < 0)
		return false;
	*method = http_query(req, "_method");
	return method->p != NULL;
}

static bool method_override_head(struct http_request *req, size_t *limit, struct error *err)
{
	struct str method;

	(void)limit;
	if (!method_override_asked(req, &method) || str_ieqz(method, http_method_name(req->method)))
		return true;
	metric_add(M_HTTP_REFUSED, 1, "method_override", NULL);
	return error_set(err, ERR_BAD_REQUEST, "the method is that of the request line; it cannot be overridden");
}

const struct middleware middleware_method_override = {.name = "method_override", .head = method_override_head};
