/* SPDX-License-Identifier: MIT */
/*
 * Which version of the API an answer is of: the one in the client's spelling of the path, else the one it names by
 * X-API-Version or Accept: application/vnd.aragora.v2+json. All are one API: none is refused.
 */
#include "worker/middleware/pipeline.h"

static bool versioning_is_api(struct str path)
{
	return str_starts(path, STR("/api/")) || str_eqz(path, "/api");
}

static bool versioning_v2(const struct http_request *req)
{
	if (str_starts(req->target, STR("/api/v2/")))
		return true;
	if (str_starts(req->target, STR("/api/v1/")))
		return false;
	return str_ieqz(http_field(req, "x-api-version"), "v2") ||
	       str_ifind(http_field(req, "accept"), STR("application/vnd.aragora.v2+json")) >= 0;
}

/* By version, and whether the handler has a cache rule of its own: an answer of the API is never kept unasked. */
static const char *const versioning_lines[2][2] = {
    {"X-API-Version: v1\r\nCache-Control: no-cache\r\n", "X-API-Version: v1\r\n"},
    {"X-API-Version: v2\r\nCache-Control: no-cache\r\n", "X-API-Version: v2\r\n"},
};

static void versioning_reply(struct http_request *req)
{
	if (versioning_is_api(req->path))
		http_reply_block(req, versioning_lines[versioning_v2(req)][http_reply_has(req, "Cache-Control")]);
}

const struct middleware middleware_versioning = {.name = "versioning", .reply = versioning_reply};
