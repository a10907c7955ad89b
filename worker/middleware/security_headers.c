/* SPDX-License-Identifier: MIT */
/*
 * The headers that tell browsers what they may do with an answer; on every reply, errors too. Their text is made once
 * from the configuration (headers.*). A handler that sets its own Content-Security-Policy (a page) keeps it.
 */
#include "common/conf.h"
#include "worker/middleware/pipeline.h"

/* security.md 7.2. A page of ours has no inline script but those that carry the nonce of their answer. */
#define SECURITY_POLICY_API "default-src 'none'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'"
#define SECURITY_POLICY_PAGE                                                                                    \
	"default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: https:;" \
	" connect-src 'self' wss: https:; font-src 'self' data:; object-src 'none'; base-uri 'self';"           \
	" form-action 'self'; frame-ancestors 'none'"
#define SECURITY_POLICY_NONCE                                                                                      \
	"default-src 'self'; script-src 'self' 'nonce-%.*s'; style-src 'self' 'nonce-%.*s'; img-src 'self' data: " \
	"https:;"                                                                                                  \
	" connect-src 'self' wss: https:; font-src 'self' data:; object-src 'none'; base-uri 'self';"              \
	" form-action 'self'; frame-ancestors 'none'"
#define SECURITY_POLICY_DEV                                                                                      \
	"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';" \
	" img-src * data: blob:; connect-src *; font-src 'self' data:; frame-ancestors 'none'"

/* The lines of this process, by whether the client came by TLS and by policy; made from one configuration. */
static struct {
	const struct conf *conf;
	char *plain, *secure; /* all but the policy */
	char *policy[2];      /* of the API, of pages */
} security_text;

static void security_add(struct buf *b, const char *name, const char *value)
{
	if (value[0] != '\0')
		buf_printf(b, "%s: %s\r\n", name, value);
}

static char *security_policy(const struct conf *c, bool page)
{
	const char *text = !page || c->headers.csp_mode == CSP_API ? SECURITY_POLICY_API
			   : c->headers.csp_mode == CSP_DEV        ? SECURITY_POLICY_DEV
								   : SECURITY_POLICY_PAGE;
	struct buf b = BUF_INIT;
	char *out;

	if (!c->headers.enabled || !c->headers.csp)
		return xstrdup("");
	if (c->headers.policy[0] != '\0')
		text = c->headers.policy;
	buf_printf(&b, "%s: %s%s%s\r\n",
		   page && c->headers.csp_report_only ? "Content-Security-Policy-Report-Only"
						      : "Content-Security-Policy",
		   text, c->headers.csp_report_uri[0] != '\0' ? "; report-uri " : "", c->headers.csp_report_uri);
	out = str_dupz(buf_str(&b));
	buf_free(&b);
	return out;
}

static void security_compile(const struct conf *c)
{
	struct buf b = BUF_INIT;

	free(security_text.plain);
	free(security_text.secure);
	free(security_text.policy[0]);
	free(security_text.policy[1]);
	if (c->headers.enabled) {
		security_add(&b, "X-Content-Type-Options", c->headers.content_type_options);
		security_add(&b, "X-Frame-Options", c->headers.frame_options);
		security_add(&b, "X-XSS-Protection", c->headers.xss_protection);
		security_add(&b, "Referrer-Policy", c->headers.referrer_policy);
		security_add(&b, "Permissions-Policy", c->headers.permissions_policy);
	}
	security_text.plain = str_dupz(buf_str(&b));
	/* Over plain HTTP it must not be sent (RFC 6797 7.2). */
	if (c->headers.enabled && c->headers.hsts)
		security_add(&b, "Strict-Transport-Security", c->headers.transport_security);
	security_text.secure = str_dupz(buf_str(&b));
	buf_free(&b);
	security_text.policy[0] = security_policy(c, false);
	security_text.policy[1] = security_policy(c, true);
	security_text.conf = c;
}

void security_headers_nonce(struct http_request *req, struct str nonce)
{
	const struct conf *c = middleware_conf(req);

	if (!c->headers.enabled || !c->headers.csp || c->headers.policy[0] != '\0' ||
	    c->headers.csp_mode != CSP_STANDARD)
		return;
	http_reply_field(req,
			 c->headers.csp_report_only ? "Content-Security-Policy-Report-Only" : "Content-Security-Policy",
			 SECURITY_POLICY_NONCE "%s%s", STR_ARG(nonce), STR_ARG(nonce),
			 c->headers.csp_report_uri[0] != '\0' ? "; report-uri " : "", c->headers.csp_report_uri);
}

static void security_headers_reply(struct http_request *req)
{
	const struct conf *c = middleware_conf(req);
	bool page = req->route != NULL && (req->route->flags & ROUTE_FILES) != 0;

	if (security_text.conf != c)
		security_compile(c);
	http_reply_block(req, req->https ? security_text.secure : security_text.plain);
	if (!http_reply_has(req, "Content-Security-Policy") &&
	    !http_reply_has(req, "Content-Security-Policy-Report-Only"))
		http_reply_block(req, security_text.policy[page]);
}

const struct middleware middleware_security_headers = {.name = "security_headers", .reply = security_headers_reply};
