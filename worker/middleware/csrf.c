/* SPDX-License-Identifier: MIT */
/*
 * Changes that a session cookie authenticates must come from a page that may read our cookies: they bring the token of
 * the cookie in a header too, and no foreign origin. Requests with other credentials pass: browsers add none of those
 * by themselves.
 */
#include "worker/middleware/csrf.h"

#include <inttypes.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/metrics.h"
#include "worker/http/http_client.h"
#include "worker/middleware/pipeline.h"

#define CSRF_NONCE 16 /* bytes */

static uint8_t csrf_key[SHA256_LEN]; /* of this process */

/* Callers of these come from elsewhere on purpose, and prove themselves by state or signature (security.md 8.4). */
static const char *const csrf_exempt[] = {"/api/auth/oauth/", "/api/auth/sso/", "/api/oauth/", "/api/bots/",
					  "/api/integrations/"};

bool csrf_open(const struct conf *c, struct error *err)
{
	struct buf path = BUF_INIT;
	bool ok;

	if (c->csrf.secret[0] != '\0' || c->auth.jwt_secret[0] != '\0') {
		const char *secret = c->csrf.secret[0] != '\0' ? c->csrf.secret : c->auth.jwt_secret;

		/* Another use of the secret than signing tokens: a key of its own. */
		crypto_hmac_sha256(str_of(secret), STR("aragora csrf token 1"), csrf_key);
		return true;
	}
	buf_printf(&path, "%s/keys/csrf.key", c->storage.data_dir);
	ok = crypto_key_file(path.p, csrf_key, err);
	buf_free(&path);
	return ok;
}

/* ---- tokens ---- */

/* Over the readable part and the session, each ended by what it cannot hold. */
static void csrf_sign(struct str head, struct str session, char hex[SHA256_HEX])
{
	uint8_t mac[SHA256_LEN];
	struct buf b = BUF_INIT;

	buf_add(&b, head);
	buf_addc(&b, '\n');
	buf_add(&b, session);
	crypto_hmac_sha256((struct str){(const char *)csrf_key, sizeof(csrf_key)}, buf_str(&b), mac);
	crypto_hex(hex, mac, sizeof(mac));
	buf_free(&b);
}

/* RFC 4648 5 without padding, in place. */
static size_t csrf_url_safe(char *p, size_t n)
{
	size_t i;

	while (n > 0 && p[n - 1] == '=')
		n--;
	for (i = 0; i < n; i++)
		p[i] = p[i] == '+' ? '-' : p[i] == '/' ? '_' : p[i];
	p[n] = '\0';
	return n;
}

size_t csrf_token(struct str session, int64_t now, char out[CSRF_TOKEN_MAX])
{
	char nonce[2 * CSRF_NONCE + 1], mac[SHA256_HEX], text[128];
	int n;

	ids_hex(nonce, CSRF_NONCE);
	n = snprintf(text, sizeof(text), "%" PRId64 ":%s", now, nonce);
	csrf_sign((struct str){text, (size_t)n}, session, mac);
	n = snprintf(text, sizeof(text), "%" PRId64 ":%s:%s", now, nonce, mac);
	return csrf_url_safe(out, crypto_base64(out, (const uint8_t *)text, (size_t)n));
}

/* Back to what was signed; false: no token of ours. */
static bool csrf_unpack(struct str token, char text[CSRF_TOKEN_MAX], struct str *out)
{
	char padded[CSRF_TOKEN_MAX + 4];
	size_t i, n = CSRF_TOKEN_MAX;

	if (token.n == 0 || token.n >= CSRF_TOKEN_MAX)
		return false;
	for (i = 0; i < token.n; i++)
		padded[i] = token.p[i] == '-' ? '+' : token.p[i] == '_' ? '/' : token.p[i];
	while (i % 4 != 0)
		padded[i++] = '=';
	if (!crypto_unbase64((struct str){padded, i}, (uint8_t *)text, &n))
		return false;
	*out = (struct str){text, n};
	return true;
}

bool csrf_valid(struct str token, struct str session, int64_t now)
{
	char text[CSRF_TOKEN_MAX], mac[SHA256_HEX];
	struct str whole, rest, time, nonce;
	int64_t made;

	if (!csrf_unpack(token, text, &whole))
		return false;
	rest = whole;
	if (!str_split(&rest, ':', &time) || !str_split(&rest, ':', &nonce) || nonce.n != 2 * (size_t)CSRF_NONCE ||
	    !str_to_i64(time, 0, INT64_MAX / 2, &made))
		return false;
	csrf_sign(str_sub(whole, 0, time.n + 1 + nonce.n), session, mac);
	return crypto_equal(rest, str_of(mac)) && made <= now + CSRF_SKEW_S && now - made <= CSRF_AGE_S;
}

struct str csrf_issue(struct http_request *req, struct str session)
{
	char text[CSRF_TOKEN_MAX];
	size_t n = csrf_token(session, clock_wall_ms() / 1000, text);
	struct str token = arena_str(req->arena, (struct str){text, n});

	cookie_set(req, CSRF_COOKIE, token, CSRF_AGE_S, COOKIE_STRICT | COOKIE_READABLE);
	return token;
}

/* ---- the step ---- */

static bool csrf_applies(const struct route *r, const struct conf *c)
{
	struct str path = str_of(r->path);
	size_t i;

	if (!conf_csrf(c) ||
	    (r->method != HTTP_POST && r->method != HTTP_PUT && r->method != HTTP_PATCH && r->method != HTTP_DELETE))
		return false;
	for (i = 0; i < countof(csrf_exempt); i++)
		if (str_starts(path, str_of(csrf_exempt[i])))
			return false;
	for (i = 0; i < c->csrf.exempt.n; i++)
		if (str_starts(path, str_of(c->csrf.exempt.v[i])))
			return false;
	return true;
}

/* What the browser itself says about the page that sends (Fetch Metadata, Origin): scripts cannot change it. */
static bool csrf_page_ok(const struct http_request *req)
{
	struct str origin = http_field(req, "origin"), site = http_field(req, "sec-fetch-site");

	if (origin.n > 0)
		return http_origin_same(req, origin) || http_origin_listed(middleware_conf(req), origin);
	return site.n == 0 || str_eqz(site, "same-origin") || str_eqz(site, "none");
}

static bool csrf_head(struct http_request *req, size_t *limit, struct error *err)
{
	struct str session, token;

	(void)limit;
	if (http_field(req, "cookie").p == NULL || http_field(req, "authorization").n > 0 ||
	    http_field(req, "x-api-key").n > 0)
		return true;
	session = cookie_get(req, SESSION_COOKIE);
	if (session.p == NULL)
		return true;
	token = http_field(req, "x-csrf-token");
	if (token.p == NULL)
		token = http_field(req, "x-xsrf-token");
	if (csrf_page_ok(req) && token.n > 0 && crypto_equal(token, cookie_get(req, CSRF_COOKIE)) &&
	    csrf_valid(token, session, clock_wall_ms() / 1000))
		return true;
	metric_add(M_HTTP_REFUSED, 1, "csrf", NULL);
	return error_field(
	    err, ERR_FORBIDDEN, "X-CSRF-Token",
	    "a change by a session cookie needs the token of GET /api/auth/csrf, and a page that may call");
}

const struct middleware middleware_csrf = {.name = "csrf", .applies = csrf_applies, .head = csrf_head};
