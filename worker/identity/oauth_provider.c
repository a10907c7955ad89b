/* SPDX-License-Identifier: MIT */
/*
 * Talks to providers: their addresses (OpenID Connect Discovery), their keys, codes for tokens. Called by the endpoints
 * of single sign-on. Knows neither users nor sessions; never logs a code, a token or a secret.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/json.h"
#include "common/log.h"
#include "worker/identity/credential.h"
#include "worker/identity/jwk.h"
#include "worker/identity/oauth.h"
#include "worker/worker.h"

#define OAUTH_AGE_US (3600 * SEC_US)      /* addresses and keys are read anew then */
#define OAUTH_KEYS_AGAIN_US (30 * SEC_US) /* an unknown key makes us look no more often */
#define OAUTH_BODY_MAX 262144
#define OAUTH_CONNECT_US (10 * SEC_US)
#define OAUTH_IDLE_US (15 * SEC_US)
#define OAUTH_GOOGLE_ISSUER "https://accounts.google.com"

struct oauth_known {
	struct arena *a; /* of all below */
	struct str authorize, token, jwks_uri;
	int64_t read_us; /* 0: not yet */
	struct arena *keys_arena;
	json_t *keys;
	int64_t keys_us;
};

struct oauth {
	struct worker *w;
	struct oauth_known known[OAUTH_PROVIDERS];
};

struct oauth_settings {
	const char *issuer, *client_id, *client_secret, *redirect_uri;
};

static struct oauth_settings oauth_settings(const struct conf *c, enum oauth_provider p)
{
	if (p == OAUTH_GOOGLE)
		return (struct oauth_settings){c->oauth.google.issuer, c->oauth.google.client_id,
					       c->oauth.google.client_secret, c->oauth.google.redirect_uri};
	return (struct oauth_settings){c->oauth.oidc.issuer, c->oauth.oidc.client_id, c->oauth.oidc.client_secret,
				       c->oauth.oidc.redirect_uri};
}

static const char *const oauth_names[] = {"google", "oidc"};
_Static_assert(countof(oauth_names) == OAUTH_PROVIDERS, "a name for each provider");

const char *oauth_name(enum oauth_provider p)
{
	return oauth_names[p];
}

enum oauth_provider oauth_named(struct str name)
{
	unsigned p = 0;

	while (p < OAUTH_PROVIDERS && !str_eqz(name, oauth_names[p]))
		p++;
	return (enum oauth_provider)p;
}

bool oauth_configured(const struct conf *c, enum oauth_provider p)
{
	struct oauth_settings s = oauth_settings(c, p);

	return s.issuer[0] != '\0' && s.client_id[0] != '\0';
}

struct oauth *oauth_open(struct worker *w)
{
	struct oauth *o = xcalloc(1, sizeof(*o));

	o->w = w;
	return o;
}

void oauth_close(struct oauth *o)
{
	size_t i;

	if (o == NULL)
		return;
	for (i = 0; i < OAUTH_PROVIDERS; i++) {
		arena_free(o->known[i].a);
		arena_free(o->known[i].keys_arena);
	}
	free(o);
}

/* What is sent there must not be readable on the way, unless the operator has said so for the provider itself. */
static bool oauth_safe(const struct oauth_settings *s, struct str url)
{
	return str_starts(url, STR("https://")) ||
	       (str_starts(url, STR("http://")) && str_starts(str_of(s->issuer), STR("http://")));
}

CO_FN static bool oauth_get(struct worker *w, struct arena *a, struct str url, struct str *body, struct error *err)
{
	const struct fetch_header headers[] = {{"Accept", STR("application/json")}};
	const struct fetch_request rq = {.method = "GET",
					 .url = url,
					 .headers = headers,
					 .header_count = countof(headers),
					 .connect_us = OAUTH_CONNECT_US,
					 .idle_us = OAUTH_IDLE_US,
					 .max_body = OAUTH_BODY_MAX};
	struct fetch_response resp;

	if (!fetch_do(w->fetch, a, &rq, &resp) || resp.status != 200) {
		log_warn("identity", "a login provider does not answer", KV_STR("url", url),
			 KV_I("status", resp.status), KV_S("reason", resp.detail));
		return error_set(err, ERR_UNAVAILABLE, "the login provider does not answer");
	}
	*body = resp.body;
	return true;
}

/* The addresses of Google have not changed in ten years; a start need not ask for them. */
static void oauth_google(struct oauth_known *k)
{
	k->authorize = STR("https://accounts.google.com/o/oauth2/v2/auth");
	k->token = STR("https://oauth2.googleapis.com/token");
	k->jwks_uri = STR("https://www.googleapis.com/oauth2/v3/certs");
}

static bool oauth_learn(struct oauth_known *k, struct arena *a, const struct oauth_settings *s, struct str text,
			struct error *err)
{
	json_t *doc = json_parse(a, text, err);

	if (doc == NULL || !str_eqz(json_get_str(doc, "issuer", STR_NONE), s->issuer))
		return error_set(err, ERR_UNAVAILABLE, "the login provider does not describe itself as %s", s->issuer);
	k->authorize = json_get_str(doc, "authorization_endpoint", STR_NONE);
	k->token = json_get_str(doc, "token_endpoint", STR_NONE);
	k->jwks_uri = json_get_str(doc, "jwks_uri", STR_NONE);
	return (oauth_safe(s, k->authorize) && oauth_safe(s, k->token) && oauth_safe(s, k->jwks_uri)) ||
	       error_set(err, ERR_UNAVAILABLE, "the login provider names addresses that are not safe");
}

/* Discovery 1.0, 4. A copy: what is known may be replaced while the caller waits. */
CO_FN static bool oauth_addresses(struct worker *w, struct arena *a, enum oauth_provider p, struct oauth_known *out,
				  struct error *err)
{
	struct oauth_settings s = oauth_settings(w->conf, p);
	struct oauth_known *k = &w->oauth->known[p], fresh = {0};
	struct str body = STR_NONE, base = str_of(s.issuer);

	if (k->read_us == 0 || loop_now(w->loop) - k->read_us > OAUTH_AGE_US) {
		fresh.a = arena_new(0);
		if (str_eqz(base, OAUTH_GOOGLE_ISSUER)) {
			oauth_google(&fresh);
		} else {
			if (base.n > 0 && base.p[base.n - 1] == '/')
				base.n--;
			if (!oauth_get(w, fresh.a,
				       arena_printf(a, "%.*s/.well-known/openid-configuration", STR_ARG(base)), &body,
				       err) ||
			    !oauth_learn(&fresh, fresh.a, &s, body, err)) {
				arena_free(fresh.a);
				return false;
			}
		}
		arena_free(k->a);
		k->a = fresh.a;
		k->authorize = fresh.authorize;
		k->token = fresh.token;
		k->jwks_uri = fresh.jwks_uri;
		k->read_us = loop_now(w->loop);
	}
	*out = (struct oauth_known){.authorize = arena_str(a, k->authorize),
				    .token = arena_str(a, k->token),
				    .jwks_uri = arena_str(a, k->jwks_uri)};
	return true;
}

/* ---- the browser's way there ---- */

/* Of the state and our secret: who has the one, from a URL or the database, lacks the other. */
static struct str oauth_derived(struct worker *w, struct arena *a, const char *what, struct str state)
{
	uint8_t mac[SHA256_LEN];
	char text[45];

	crypto_hmac_sha256(credential_keys(w)->current, arena_printf(a, "oauth %s\n%.*s", what, STR_ARG(state)), mac);
	return arena_str(a, (struct str){text, crypto_base64url(text, mac, sizeof(mac))});
}

static struct str oauth_challenge(struct arena *a, struct str verifier)
{
	uint8_t digest[SHA256_LEN];
	char text[45];

	crypto_sha256(verifier, digest);
	return arena_str(a, (struct str){text, crypto_base64url(text, digest, sizeof(digest))});
}

static void oauth_param(struct buf *b, const char *name, struct str value)
{
	buf_addz(b, name);
	buf_addc(b, '=');
	oauth_escape(b, value);
}

CO_FN bool oauth_authorize_url(struct worker *w, struct arena *a, enum oauth_provider p, struct str state,
			       struct str *url, struct error *err)
{
	struct oauth_settings s = oauth_settings(w->conf, p);
	struct oauth_known k;
	struct buf b = BUF_INIT;

	if (!oauth_addresses(w, a, p, &k, err))
		return false;
	buf_add(&b, k.authorize);
	buf_addc(&b, str_chr(k.authorize, '?') >= 0 ? '&' : '?');
	oauth_param(&b, "client_id", str_of(s.client_id));
	oauth_param(&b, "&redirect_uri", str_of(s.redirect_uri));
	oauth_param(&b, "&response_type", STR("code"));
	oauth_param(&b, "&scope", STR("openid email profile"));
	oauth_param(&b, "&state", state);
	oauth_param(&b, "&nonce", oauth_derived(w, a, "nonce", state));
	oauth_param(&b, "&code_challenge", oauth_challenge(a, oauth_derived(w, a, "verifier", state)));
	oauth_param(&b, "&code_challenge_method", STR("S256"));
	if (p == OAUTH_GOOGLE) {
		oauth_param(&b, "&access_type", STR("offline"));
		oauth_param(&b, "&prompt", STR("consent"));
	}
	*url = arena_str(a, buf_str(&b));
	buf_free(&b);
	return true;
}

/* ---- code for token ---- */

CO_FN static bool oauth_ask_token(struct worker *w, struct arena *a, enum oauth_provider p, const struct oauth_known *k,
				  struct str code, struct str state, struct str *id_token, struct error *err)
{
	struct oauth_settings s = oauth_settings(w->conf, p);
	const struct fetch_header headers[] = {{"Accept", STR("application/json")},
					       {"Content-Type", STR("application/x-www-form-urlencoded")}};
	struct fetch_request rq = {.method = "POST",
				   .url = k->token,
				   .headers = headers,
				   .header_count = countof(headers),
				   .connect_us = OAUTH_CONNECT_US,
				   .idle_us = OAUTH_IDLE_US,
				   .max_body = OAUTH_BODY_MAX};
	struct fetch_response resp;
	struct buf form = BUF_INIT;
	json_t *doc;
	bool ok;

	oauth_param(&form, "grant_type", STR("authorization_code"));
	oauth_param(&form, "&code", code);
	oauth_param(&form, "&redirect_uri", str_of(s.redirect_uri));
	oauth_param(&form, "&client_id", str_of(s.client_id));
	if (s.client_secret[0] != '\0')
		oauth_param(&form, "&client_secret", str_of(s.client_secret));
	oauth_param(&form, "&code_verifier", oauth_derived(w, a, "verifier", state));
	rq.body = buf_str(&form);
	ok = fetch_do(w->fetch, a, &rq, &resp);
	explicit_bzero(form.p, form.n);
	buf_free(&form);
	if (!ok || resp.status >= 500) {
		log_warn("identity", "a login provider does not answer", KV_STR("url", k->token),
			 KV_I("status", resp.status), KV_S("reason", resp.detail));
		return error_set(err, ERR_UNAVAILABLE, "the login provider does not answer");
	}
	doc = json_parse(a, resp.body, NULL);
	*id_token = json_get_str(doc, "id_token", STR_NONE);
	if (resp.status == 200 && id_token->n > 0)
		return true;
	log_info("identity", "a login provider refuses a code", KV_I("status", resp.status),
		 KV_STR("error", str_sub(json_get_str(doc, "error", STR_NONE), 0, 64)));
	return error_set(err, ERR_INVALID_TOKEN, "the login provider does not accept the code");
}

CO_FN static bool oauth_read_keys(struct worker *w, enum oauth_provider p, struct str uri, struct error *err)
{
	struct oauth_known *k = &w->oauth->known[p];
	struct arena *a = arena_new(0);
	struct str body = STR_NONE;
	json_t *keys;

	if (!oauth_get(w, a, uri, &body, err) || (keys = jwk_set_parse(a, body, err)) == NULL) {
		arena_free(a);
		return error_set(err, ERR_UNAVAILABLE, "the keys of the login provider cannot be read");
	}
	arena_free(k->keys_arena);
	k->keys_arena = a;
	k->keys = keys;
	k->keys_us = loop_now(w->loop);
	return true;
}

/* Keys are rotated: one that is not known is looked for, but not as often as strangers like. */
CO_FN static bool oauth_verify(struct worker *w, struct arena *a, enum oauth_provider p, struct str uri,
			       struct str id_token, const struct jwk_expect *expect, json_t **claims, struct error *err)
{
	struct oauth_known *k = &w->oauth->known[p];
	int64_t age;

	if ((k->keys == NULL || loop_now(w->loop) - k->keys_us > OAUTH_AGE_US) && !oauth_read_keys(w, p, uri, err))
		return false;
	if (jwk_verify(a, k->keys, id_token, expect, claims, err))
		return true;
	age = loop_now(w->loop) - k->keys_us;
	if (err->code != ERR_NOT_FOUND || age < OAUTH_KEYS_AGAIN_US)
		return error_set(err, ERR_INVALID_TOKEN, "%s", arena_strdup(a, err->msg));
	return oauth_read_keys(w, p, uri, err) && (jwk_verify(a, k->keys, id_token, expect, claims, err) ||
						   error_set(err, ERR_INVALID_TOKEN, "%s", arena_strdup(a, err->msg)));
}

CO_FN bool oauth_exchange(struct worker *w, struct arena *a, enum oauth_provider p, struct str code, struct str state,
			  struct oauth_person *who, struct error *err)
{
	struct oauth_settings s = oauth_settings(w->conf, p);
	struct jwk_expect expect = {.issuer = str_of(s.issuer), .audience = str_of(s.client_id)};
	struct oauth_known k;
	struct str id_token = STR_NONE;
	json_t *claims, *verified;

	if (!oauth_addresses(w, a, p, &k, err) || !oauth_ask_token(w, a, p, &k, code, state, &id_token, err))
		return false;
	expect.nonce = oauth_derived(w, a, "nonce", state);
	expect.now = clock_wall_ms() / 1000;
	if (!oauth_verify(w, a, p, k.jwks_uri, id_token, &expect, &claims, err)) {
		log_warn("identity", "an ID token is refused", KV_S("provider", oauth_name(p)),
			 KV_S("reason", err->msg));
		return false;
	}
	who->subject = json_get_str(claims, "sub", STR_NONE);
	who->email = json_get_str(claims, "email", STR(""));
	who->name = json_get_str(claims, "name", STR(""));
	/* Some providers write it as text. */
	verified = json_object_get(claims, "email_verified");
	who->email_verified =
	    json_is_true(verified) || str_eqz(json_get_str(claims, "email_verified", STR("")), "true");
	return true;
}
