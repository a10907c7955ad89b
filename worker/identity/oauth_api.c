/* SPDX-License-Identifier: MIT */
/*
 * /api/auth/oauth: going to a provider, coming back, linking and unlinking (rest-core 6.4). Tokens stand behind '#' of
 * the address that the browser is sent to, which reaches no server and no log.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/audit/audit.h"
#include "worker/http/route.h"
#include "worker/identity/mfa.h"
#include "worker/identity/oauth.h"
#include "worker/identity/own.h"
#include "worker/identity/session.h"
#include "worker/worker.h"

#define OAUTH_COOKIE "aragora_oauth"
#define OAUTH_CODE_MAX 2048

/* ---- small things ---- */

static void oauth_fail(struct http_request *req, const struct error *err)
{
	http_reply_error(req, err);
}

static void oauth_redirect(struct http_request *req, struct str url)
{
	http_reply_value(req, "Location", url);
	http_reply_value(req, "Cache-Control", STR("no-store"));
	http_reply_value(req, "Referrer-Policy", STR("no-referrer"));
	http_reply(req, 302, "text/plain; charset=utf-8", STR("See Location.\n"));
}

/* The provider of this name. False: answered. */
static bool oauth_provider_of(struct http_request *req, struct str name, enum oauth_provider *p)
{
	static const char *const others[] = {"github", "microsoft", "apple"}; /* clients know them */
	const struct worker *w = req->user;
	struct error err = ERROR_INIT;
	bool known;
	size_t i;

	*p = oauth_named(name);
	known = *p != OAUTH_PROVIDERS;
	if (known && oauth_configured(w->conf, *p))
		return true;
	for (i = 0; i < countof(others) && !known; i++)
		known = str_eqz(name, others[i]);
	if (known)
		error_set(&err, ERR_UNAVAILABLE, "logging in with this provider is not configured");
	else
		error_field(&err, ERR_NOT_FOUND, "provider", "is not one that this server knows");
	oauth_fail(req, &err);
	return false;
}

static struct str oauth_cookie(const struct http_request *req)
{
	struct str all = http_field(req, "cookie"), one;

	while (str_split(&all, ';', &one)) {
		one = str_trim(one);
		if (str_starts(one, STR(OAUTH_COOKIE "=")))
			return str_sub(one, sizeof(OAUTH_COOKIE), one.n);
	}
	return STR_NONE;
}

/* ---- going ---- */

static void oauth_set_cookie(struct http_request *req, struct str browser)
{
	http_reply_field(req, "Set-Cookie", OAUTH_COOKIE "=%.*s; Path=/api; Max-Age=%lld; HttpOnly; SameSite=Lax%s",
			 STR_ARG(browser),
			 (long long)(((const struct worker *)req->user)->conf->oauth.state_ttl / SEC_US),
			 req->https ? "; Secure" : "");
}

/*
 * Stores the login and makes the provider's address. The browser gets a cookie, so that nobody can be made to end a
 * login that another one began. False: answered.
 */
CO_FN static bool oauth_begin(struct http_request *req, struct oauth_state *s, struct str redirect, struct str *state,
			      struct str *url)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	char browser[2 * 16 + 1];

	ids_hex(browser, 16);
	s->browser = arena_str(req->arena, str_of(browser));
	s->redirect_url = redirect.n > 0 ? redirect : STR("");
	if (redirect.n > 0 && !oauth_redirect_ok(w->conf, redirect))
		error_field(&err, ERR_INVALID_VALUE, "redirect_url",
			    "is not an address that oauth.allowed_redirect_hosts allows");
	else if (oauth_state_new(w, req->arena, s, state, &err) &&
		 oauth_authorize_url(w, req->arena, s->provider, *state, url, &err)) {
		oauth_set_cookie(req, s->browser);
		return true;
	}
	oauth_fail(req, &err);
	return false;
}

CO_FN static void oauth_start(struct http_request *req)
{
	struct oauth_state s = {.user_id = STR(""), .org_id = STR("")};
	struct str state, url;

	if (!oauth_provider_of(req, req->params[0], &s.provider) ||
	    !oauth_begin(req, &s, http_query(req, "redirect_url"), &state, &url))
		return;
	oauth_redirect(req, url);
}

static void oauth_answer_url(struct http_request *req, enum oauth_provider p, struct str state, struct str url)
{
	json_t *o = json_object();

	json_put_str(o, "auth_url", url);
	json_put_str(o, "url", url);
	json_put_str(o, "state", state);
	json_put_str(o, "provider", str_of(oauth_name(p)));
	http_reply_json(req, 200, o);
}

/* A page that goes by itself and brings the state back: it compares it. */
CO_FN static void oauth_url(struct http_request *req)
{
	struct oauth_state s = {.user_id = STR(""), .org_id = STR(""), .page = true};
	struct str state, url, redirect = http_query(req, "redirect_url");

	if (redirect.n == 0)
		redirect = http_query(req, "redirect_uri");
	if (oauth_provider_of(req, http_query(req, "provider"), &s.provider) &&
	    oauth_begin(req, &s, redirect, &state, &url))
		oauth_answer_url(req, s.provider, state, url);
}

/* ---- coming back ---- */

/* What became of a login: tokens, or what is still missing. NULL with err. */
CO_FN static json_t *oauth_finish(struct http_request *req, enum oauth_provider p, struct str code, struct str state,
				  bool page, struct oauth_state *s, struct account *u, struct error *err)
{
	const struct account *asks = req->ctx.who->account;
	const struct oauth_return by = {oauth_cookie(req), asks != NULL ? asks->id : STR(""), page};
	struct session_proof proof = {.method = oauth_name(p)};
	struct worker *w = req->user;
	struct oauth_person who;
	json_t *tokens, *o;
	struct str user_id;
	bool linked;

	if (!oauth_state_take(w, req->arena, p, state, &by, s, err) ||
	    !oauth_exchange(w, req->arena, p, code, state, &who, err) ||
	    !oauth_land(req, s, &who, &user_id, &linked, err))
		return NULL;
	if (linked)
		return json_pack("{s:b, s:s}", "linked", 1, "provider", oauth_name(p));
	if (!account_load(w, req->arena, user_id, u, err))
		return NULL;
	if (!u->active) {
		error_field(err, ERR_FORBIDDEN, "disabled", "the account is disabled");
		return NULL;
	}
	if (u->mfa_enabled) {
		o = json_pack("{s:b}", "mfa_required", 1);
		json_put_str(o, "pending_token", mfa_pending_token(w, req->arena, u->id, u->token_version));
		return o;
	}
	return session_begin(req, u, &proof, &tokens, err) ? json_copy(tokens) : NULL;
}

static void oauth_note_failure(struct http_request *req, enum oauth_provider p, const struct error *err)
{
	metric_add(M_AUTH_FAILURES, 1, "invalid", NULL);
	log_info("identity", "a login elsewhere failed", KV_S("provider", oauth_name(p)), KV_S("reason", err->msg));
	audit_note_request(req, &(struct audit_event){.category = "auth",
						      .action = "auth.login_failed",
						      .outcome = "failure",
						      .resource_type = STR("provider"),
						      .resource_id = str_of(oauth_name(p)),
						      .reason = str_of(err->msg)});
}

/* Short words for a page, never a text from outside. */
static const char *oauth_error_word(const struct error *err)
{
	static const char *const words[] = {"email_not_verified", "registration_closed", "already_linked", "disabled"};
	size_t i;

	for (i = 0; i < countof(words); i++)
		if (strcmp(err->field, words[i]) == 0)
			return words[i];
	if (strcmp(err->field, "state") == 0)
		return "invalid_state";
	return err_status(err->code) >= 500 ? "temporarily_unavailable" : "login_failed";
}

static void oauth_back_with_error(struct http_request *req, const char *word)
{
	const char *page = ((const struct worker *)req->user)->conf->oauth.error_url;

	oauth_redirect(req,
		       arena_printf(req->arena, "%s%cerror=%s", page, strchr(page, '?') != NULL ? '&' : '?', word));
}

static struct str oauth_fragment(struct arena *a, struct str page, const json_t *o)
{
	struct buf b = BUF_INIT;
	const char *key;
	const json_t *v;
	struct str out;

	buf_add(&b, page);
	json_object_foreach((json_t *)(uintptr_t)o, key, v)
	{
		buf_addc(&b, b.n == page.n ? '#' : '&');
		buf_printf(&b, "%s=", key);
		if (json_is_string(v))
			oauth_escape(&b, (struct str){json_string_value(v), json_string_length(v)});
		else if (json_is_integer(v))
			buf_printf(&b, "%lld", (long long)json_integer_value(v));
		else
			buf_addz(&b, json_is_true(v) ? "true" : "false");
	}
	out = arena_str(a, buf_str(&b));
	explicit_bzero(b.p, b.n);
	buf_free(&b);
	return out;
}

CO_FN static void oauth_callback(struct http_request *req)
{
	struct str code = http_query(req, "code"), state = http_query(req, "state");
	const struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct oauth_state s;
	enum oauth_provider p;
	struct account u;
	json_t *o;

	if (!oauth_provider_of(req, req->params[0], &p))
		return;
	if (http_query(req, "error").p != NULL || code.n == 0 || code.n > OAUTH_CODE_MAX) {
		oauth_back_with_error(req, str_eqz(http_query(req, "error"), "access_denied") ? "access_denied"
											      : "login_failed");
		return;
	}
	o = json_own(req->arena, oauth_finish(req, p, code, state, false, &s, &u, &err));
	if (o == NULL) {
		oauth_note_failure(req, p, &err);
		oauth_back_with_error(req, oauth_error_word(&err));
		return;
	}
	http_reply_value(req, "Set-Cookie", STR(OAUTH_COOKIE "=; Path=/api; Max-Age=0; HttpOnly; SameSite=Lax"));
	oauth_redirect(
	    req,
	    oauth_fragment(req->arena, s.redirect_url.n > 0 ? s.redirect_url : str_of(w->conf->oauth.success_url), o));
}

CO_FN static void oauth_post_callback(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	struct str name, code, state;
	struct oauth_state s;
	enum oauth_provider p;
	struct body_problems bad;
	struct account u;
	json_t *o, *tokens;

	if (body == NULL)
		return;
	body_problems_begin(req, &bad);
	name = body_text(&bad, body, "provider", 1, 32, false);
	code = body_text(&bad, body, "code", 1, OAUTH_CODE_MAX, false);
	state = body_text(&bad, body, "state", 1, 64, false);
	if (body_refused(req, &bad) || !oauth_provider_of(req, name, &p))
		return;
	o = oauth_finish(req, p, code, state, true, &s, &u, &err);
	if (o == NULL) {
		oauth_note_failure(req, p, &err);
		oauth_fail(req, &err);
		return;
	}
	if (json_object_get(o, "access_token") != NULL) {
		tokens = json_copy(o);
		json_object_set_new(o, "tokens", tokens);
		json_object_set(o, "user", account_json(req->arena, &u, NULL));
		json_object_set(o, "organizations", account_organizations_json(req->arena, &u));
	}
	http_reply_json(req, 200, o);
}

/* ---- what there is ---- */

static void oauth_providers(struct http_request *req)
{
	const struct worker *w = req->user;
	json_t *list = json_array();
	unsigned p;

	for (p = 0; p < OAUTH_PROVIDERS; p++) {
		const char *name = oauth_name((enum oauth_provider)p);
		json_t *o =
		    json_pack("{s:s, s:s, s:b}", "id", name, "name", p == OAUTH_GOOGLE ? "Google" : "Single sign-on",
			      "enabled", oauth_configured(w->conf, (enum oauth_provider)p));

		json_put_str(o, "auth_url", arena_printf(req->arena, "/api/auth/oauth/%s", name));
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200, json_pack("{s:o}", "providers", list));
}

CO_FN static void oauth_linked(struct http_request *req)
{
	const struct account *u = own_account(req);
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *list;
	size_t i;

	if (u == NULL)
		return;
	if (!db_query(w->db, req->arena,
		      SQL_ANYBODY("the user of the request") "SELECT provider, email, created_at, last_login_at FROM "
							     "oauth_links WHERE user_id = $1"
							     " ORDER BY provider",
		      DB_ARGS(DB_S(u->id)), &r, &err)) {
		oauth_fail(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		json_t *o = json_object();

		json_put_str(o, "provider", db_str(&r, i, 0));
		json_put_str(o, "email", db_str(&r, i, 1));
		json_put_time(o, "linked_at", db_int(&r, i, 2));
		json_put_time(o, "last_login_at", db_int(&r, i, 3));
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200, json_pack("{s:o}", "providers", list));
}

/* ---- linking ---- */

static struct str oauth_body_provider(struct http_request *req, const json_t *body)
{
	struct str name = json_get_str(body, "provider", STR_NONE), query = http_query(req, "provider");

	return name.n > 0 ? name : query;
}

CO_FN static void oauth_link(struct http_request *req)
{
	const struct account *u = own_account_proved(req);
	const json_t *body = u != NULL ? body_object(req) : NULL;
	struct oauth_state s = {.page = true};
	struct str state, url;

	if (body == NULL || !oauth_provider_of(req, oauth_body_provider(req, body), &s.provider))
		return;
	s.user_id = u->id;
	s.org_id = req->ctx.org_id;
	if (oauth_begin(req, &s, json_get_str(body, "redirect_url", STR_NONE), &state, &url))
		oauth_answer_url(req, s.provider, state, url);
}

/* The last way to log in stays. */
CO_FN static bool oauth_has_other(struct http_request *req, const struct account *u, enum oauth_provider p,
				  struct error *err)
{
	struct worker *w = req->user;
	struct db_rows r;

	if (!db_query(
		w->db, req->arena,
		SQL_ANYBODY(
		    "the user of the request") "SELECT (SELECT COUNT(*) FROM oauth_links WHERE user_id = $1 AND "
					       "provider <> $2)"
					       " + (SELECT COUNT(*) FROM users WHERE id = $1 AND password_hash <> '')",
		DB_ARGS(DB_S(u->id), DB_Z(oauth_name(p))), &r, err))
		return false;
	return db_int(&r, 0, 0) > 0 ||
	       error_set(err, ERR_BAD_REQUEST, "this is the only way to log in to the account: set a password first");
}

CO_FN static void oauth_unlink(struct http_request *req)
{
	const struct account *u = own_account_proved(req);
	const json_t *body = u != NULL ? body_object(req) : NULL;
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	enum oauth_provider p;
	struct db_batch *b;

	if (body == NULL)
		return;
	p = oauth_named(oauth_body_provider(req, body));
	if (p == OAUTH_PROVIDERS)
		error_field(&err, ERR_NOT_FOUND, "provider", "is not one that this server knows");
	if (err.code != ERR_OK || !oauth_has_other(req, u, p, &err)) {
		oauth_fail(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	db_batch_add(
	    b, SQL_ANYBODY("the user of the request") "DELETE FROM oauth_links WHERE user_id = $1 AND provider = $2",
	    DB_ARGS(DB_S(u->id), DB_Z(oauth_name(p))), 1);
	audit_add(b, req,
		  &(struct audit_event){.category = "auth",
					.action = "auth.oauth_unlinked",
					.resource_type = STR("user"),
					.resource_id = u->id});
	if (!db_commit(w->db, b, &err)) {
		if (err.code == ERR_FENCED)
			error_set(&err, ERR_NOT_FOUND, "the account is not linked to this provider");
		oauth_fail(req, &err);
		return;
	}
	own_message(req, NULL, "unlinked");
}

#define ROW(m, p, h, perm, r, f, s) ROUTE(m, p, h, perm, r, s, .flags = ROUTE_SECRET | (f), .body_limit = 16384)

static const struct route oauth_rows[] = {
    ROW(GET, "/api/auth/oauth/providers", oauth_providers, NULL, READ, ROUTE_PUBLIC | ROUTE_INLINE,
	"Where one may log in elsewhere"),
    ROW(GET, "/api/auth/oauth/url", oauth_url, NULL, WRITE, ROUTE_PUBLIC,
	"The address of a provider, for a page that goes there"),
    ROW(GET, "/api/auth/oauth/authorize", oauth_url, NULL, WRITE, ROUTE_PUBLIC, "The same"),
    ROW(POST, "/api/auth/oauth/callback", oauth_post_callback, NULL, WRITE, ROUTE_PUBLIC,
	"A page brings back what the provider gave it"),
    ROW(GET, "/api/auth/oauth/{provider}", oauth_start, NULL, WRITE, ROUTE_PUBLIC, "Send the browser to a provider"),
    ROW(GET, "/api/auth/oauth/{provider}/callback", oauth_callback, NULL, WRITE, ROUTE_PUBLIC,
	"The browser comes back from a provider"),
    ROW(GET, "/api/user/oauth-providers", oauth_linked, "authentication:read", READ, 0,
	"Providers linked to the account"),
    ROW(POST, "/api/auth/oauth/link", oauth_link, "authentication:update", WRITE, 0,
	"Begin to link an account elsewhere"),
    ROW(POST, "/api/auth/oauth/unlink", oauth_unlink, "authentication:update", WRITE, 0, "Unlink one"),
    ROW(DELETE, "/api/auth/oauth/unlink", oauth_unlink, "authentication:update", WRITE, 0, "The same"),
};
const struct route_table oauth_routes = {oauth_rows, countof(oauth_rows)};
