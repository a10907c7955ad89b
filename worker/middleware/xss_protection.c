/* SPDX-License-Identifier: MIT */
/*
 * Answers and cookies that cannot be turned against the page that shows them: HTML made by the API runs no script
 * whatever stands in it, and cookies are closed to scripts and other sites. Escaping is the matter of who writes HTML.
 */
#include "common/conf.h"
#include "worker/middleware/pipeline.h"

/* HTML that a handler makes, and which brings no policy of its own. */
#define XSS_POLICY                                                                                                  \
	"default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; form-action 'none'; base-uri 'none';" \
	" frame-ancestors 'none'"

static bool xss_applies(const struct route *r, const struct conf *c)
{
	return c->headers.enabled && !(r->flags & (ROUTE_WS | ROUTE_FILES));
}

static bool xss_body(struct http_request *req, int *status, const char *type, struct str *body)
{
	(void)status;
	(void)body;
	if (type != NULL && strncmp(type, "text/html", 9) == 0 && !http_reply_has(req, "Content-Security-Policy"))
		http_reply_value(req, "Content-Security-Policy", STR(XSS_POLICY));
	return false;
}

void cookie_set(struct http_request *req, const char *name, struct str value, int64_t max_age_s, unsigned flags)
{
	static const char *const same_site[] = {"Lax", "Strict", "None"};
	const struct conf *c = middleware_conf(req);
	int same = flags & COOKIE_STRICT ? SAME_SITE_STRICT : c->headers.cookie_same_site;
	bool secure = c->headers.cookie_secure == AUTO_ON || (c->headers.cookie_secure == AUTO_AUTO && req->https);

	/* Browsers drop SameSite=None without Secure. */
	secure |= same == SAME_SITE_NONE;
	http_reply_field(req, "Set-Cookie", "%s=%.*s; Path=/; Max-Age=%lld; SameSite=%s%s%s", name, STR_ARG(value),
			 (long long)max_age_s, same_site[same], secure ? "; Secure" : "",
			 !(flags & COOKIE_READABLE) && c->headers.cookie_http_only ? "; HttpOnly" : "");
}

struct str cookie_get(const struct http_request *req, const char *name)
{
	struct str rest = http_field(req, "cookie"), pair, wanted = str_of(name);

	while (str_split(&rest, ';', &pair)) {
		pair = str_trim(pair);
		if (pair.n > wanted.n && pair.p[wanted.n] == '=' && str_starts(pair, wanted))
			return str_sub(pair, wanted.n + 1, pair.n);
	}
	return STR_NONE;
}

const struct middleware middleware_xss_protection = {
    .name = "xss_protection", .applies = xss_applies, .body = xss_body};
