/* SPDX-License-Identifier: MIT */
/*
 * Two small routes of the pipeline: the token that pages need for changes by cookie, and how the objectives are met.
 * What they show is made by the steps beside them.
 */
#include "common/json.h"
#include "worker/middleware/csrf.h"
#include "worker/middleware/pipeline.h"
#include "worker/middleware/slo.h"

static void browser_csrf(struct http_request *req)
{
	struct str session = cookie_get(req, SESSION_COOKIE), token = csrf_issue(req, session);
	json_t *o =
	    json_pack("{s:s, s:s, s:i}", "header", "X-CSRF-Token", "cookie", CSRF_COOKIE, "expires_in", CSRF_AGE_S);

	json_put_str(o, "csrf_token", token);
	http_reply_value(req, "Cache-Control", STR("no-store"));
	http_reply_json(req, 200, o);
}

static void browser_slo(struct http_request *req)
{
	http_reply_json(req, 200, slo_report(middleware_conf(req)));
}

static const struct route browser_rows[] = {
    ROUTE(GET, "/api/auth/csrf", browser_csrf, NULL, NONE,
	  "Token that a page sends back in X-CSRF-Token with changes by session cookie",
	  .flags = ROUTE_PUBLIC | ROUTE_INLINE | ROUTE_SECRET),
    ROUTE(GET, "/api/system/slo", browser_slo, "system:read", READ,
	  "How well this node meets its objectives, by kind of route", .flags = ROUTE_INLINE),
};
const struct route_table browser_routes = {browser_rows, countof(browser_rows)};
