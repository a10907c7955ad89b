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

/* What may be kept: nothing that holds secrets (rest-core 6), and nothing at all without asking again. */
enum versioning_cache { CACHE_OWN, CACHE_ASK, CACHE_NEVER };

static enum versioning_cache versioning_cache(struct http_request *req)
{
	if (http_reply_has(req, "Cache-Control"))
		return CACHE_OWN;
	return req->route != NULL && (req->route->flags & ROUTE_SECRET) != 0 ? CACHE_NEVER : CACHE_ASK;
}

/* By version, and the cache rule. */
static const char *const versioning_lines[2][3] = {
    {"X-API-Version: v1\r\n", "X-API-Version: v1\r\nCache-Control: no-cache\r\n",
     "X-API-Version: v1\r\nCache-Control: no-store\r\n"},
    {"X-API-Version: v2\r\n", "X-API-Version: v2\r\nCache-Control: no-cache\r\n",
     "X-API-Version: v2\r\nCache-Control: no-store\r\n"},
};

static void versioning_reply(struct http_request *req)
{
	if (versioning_is_api(req->path))
		http_reply_block(req, versioning_lines[versioning_v2(req)][versioning_cache(req)]);
}

const struct middleware middleware_versioning = {.name = "versioning", .reply = versioning_reply};
