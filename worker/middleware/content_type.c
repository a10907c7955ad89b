/* SPDX-License-Identifier: MIT */
/*
 * Bodies are JSON: a missing type passes, another one is answered with 415, an empty body counts as {}. Routes that
 * take anything say so. It does not parse.
 */
#include "worker/middleware/pipeline.h"

static bool content_type_applies(const struct route *r, const struct conf *c)
{
	(void)c;
	return !(r->flags & ROUTE_ANY_TYPE) &&
	       (r->method == HTTP_POST || r->method == HTTP_PUT || r->method == HTTP_PATCH);
}

static bool content_type_json(struct str type)
{
	ptrdiff_t semicolon = str_chr(type, ';');

	return str_ieqz(str_trim(semicolon < 0 ? type : str_sub(type, 0, (size_t)semicolon)), "application/json");
}

static bool content_type_before(struct http_request *req)
{
	struct str type = http_field(req, "content-type");
	struct error err = ERROR_INIT;

	if (req->body.n == 0) {
		req->body = STR("{}");
		return true;
	}
	if (type.n == 0 || content_type_json(type))
		return true;
	error_field(&err, ERR_UNSUPPORTED_MEDIA, "Content-Type", "the body must be application/json");
	http_reply_error(req, &err);
	return false;
}

const struct middleware middleware_content_type = {
    .name = "content_type", .applies = content_type_applies, .before = content_type_before};
