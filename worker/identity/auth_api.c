/* SPDX-License-Identifier: MIT */
/*
 * /api/auth: making an account, logging in and out, refreshing, and the own profile (rest-core 6.3). Passwords are
 * compared on their own lane (password.h), tokens made by session.c. Neither is ever logged. Sessions as a list are
 * session_api.c.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/audit/audit.h"
#include "worker/http/body.h"
#include "worker/identity/credential.h"
#include "worker/identity/lockout.h"
#include "worker/identity/mfa.h"
#include "worker/identity/own.h"
#include "worker/identity/password.h"
#include "worker/identity/recovery.h"
#include "worker/identity/session.h"
#include "worker/identity/setup.h"
#include "worker/identity/user.h"
#include "worker/permission/permission.h"
#include "worker/worker.h"

#define AUTH_BODY_MAX 10240
#define AUTH_PASSWORD_BYTES 512 /* 128 characters of UTF-8; the policy counts characters */
#define AUTH_METADATA_MAX 4096
#define AUTH_URL_MAX 500

static struct worker *auth_worker(const struct http_request *req)
{
	return req->user;
}

static void auth_fail(struct http_request *req, const struct error *err)
{
	http_reply_error(req, err);
}

static void auth_message(struct http_request *req, json_t *o, const char *text)
{
	json_put_str(o, "message", str_of(text));
	http_reply_json(req, 200, o);
}

static void auth_audit(struct db_batch *b, struct http_request *req, const char *category, const char *action,
		       const char *type, struct str id)
{
	audit_add(b, req,
		  &(struct audit_event){
		      .category = category, .action = action, .resource_type = str_of(type), .resource_id = id});
}

/* The account behind the request; NULL: nobody has logged in, and the request has been answered. */
static const struct account *auth_account(struct http_request *req)
{
	struct error err = ERROR_INIT;

	if (req->ctx.who->account != NULL)
		return req->ctx.who->account;
	error_set(&err, ERR_AUTH_REQUIRED, "this is about the account that is logged in, and nobody is");
	auth_fail(req, &err);
	return NULL;
}

/* ---- register ---- */

struct auth_registration {
	struct str email, password, name, organization;
};

static bool auth_read_registration(struct http_request *req, const json_t *body, struct auth_registration *r)
{
	struct error err = ERROR_INIT;
	struct body_problems p;

	body_problems_begin(req, &p);
	r->email = body_text(&p, body, "email", 1, USER_EMAIL_MAX, false);
	r->password = body_text(&p, body, "password", 1, AUTH_PASSWORD_BYTES, true);
	r->name = body_text(&p, body, "name", 0, USER_NAME_MAX, false);
	r->organization = body_text(&p, body, "organization", 0, USER_ORG_NAME_MAX, false);
	if (r->organization.n == 0)
		r->organization = body_text(&p, body, "company_name", 0, USER_ORG_NAME_MAX, false);
	if (r->email.n > 0 && !user_email_valid(r->email)) {
		error_field(&err, ERR_INVALID_VALUE, "email", "is not an e-mail address");
		body_problem(&p, &err);
	}
	if (r->password.n > 0 && !password_policy(r->password, r->email, "password", &err))
		body_problem(&p, &err);
	return !body_refused(req, &p);
}

/*
 * Where nobody has to authenticate, accounts share the default organization with everybody else, and the first is its
 * owner. Where it is demanded, a stranger gets an organization of its own: nobody joins another one uninvited.
 */
CO_FN static bool auth_place(struct http_request *req, const struct auth_registration *r, struct user_new *u,
			     struct error *err)
{
	struct worker *w = auth_worker(req);
	struct db_rows rows;

	u->org_name = r->organization;
	if (u->org_name.n > 0)
		return true;
	if (conf_auth_required(w->conf)) {
		u->org_name = str_utf8_cut(
		    arena_printf(req->arena, "%.*s", STR_ARG(r->name.n > 0 ? r->name : r->email)), USER_ORG_NAME_MAX);
		return true;
	}
	u->org_id = STR(IDENTITY_DEFAULT);
	if (!db_query(
		w->db, req->arena,
		SQL_ANYBODY(
		    "has the default organization anybody?") "SELECT user_id FROM members WHERE org_id = $1 LIMIT 1",
		DB_ARGS(DB_S(u->org_id)), &rows, err))
		return false;
	u->role = rows.count == 0 ? STR("owner") : STR(ROLE_DEFAULT);
	return true;
}

CO_FN static bool auth_create(struct http_request *req, const struct user_new *u, struct str *user_id,
			      struct error *err)
{
	struct worker *w = auth_worker(req);
	struct db_batch *b = db_batch_new(w->db);
	struct user_statements s;

	user_statements(req->arena, u, &s);
	user_add(b, &s);
	auth_audit(b, req, "data", "data.created", "user", s.user_id);
	if (!db_commit(w->db, b, err)) {
		if (err->code == ERR_DUPLICATE && strcmp(err->field, "0") == 0)
			error_field(err, ERR_CONFLICT, "email", "an account with this address exists");
		return false;
	}
	*user_id = s.user_id;
	log_info("identity", "user made", KV_STR("user_id", s.user_id), KV_STR("org_id", s.org_id));
	if (!u->email_verified && !recovery_send_verification(w, user_email_key(req->arena, u->email)))
		log_warn("identity", "no mail to confirm the address was sent", KV_STR("user_id", s.user_id));
	return true;
}

CO_FN static void auth_register(struct http_request *req)
{
	struct worker *w = auth_worker(req);
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	struct auth_registration r;
	struct user_new u = {.org_id = STR("")};
	struct str id;

	if (body == NULL)
		return;
	if (w->conf->auth.registration == REGISTRATION_OFF) {
		error_set(&err, ERR_FORBIDDEN, "accounts are made by invitation here (auth.registration)");
		auth_fail(req, &err);
		return;
	}
	if (!auth_read_registration(req, body, &r))
		return;
	u.email = r.email;
	u.name = r.name;
	if (auth_place(req, &r, &u, &err) &&
	    password_hash(w->passwords, req->arena, r.password, &u.password_hash, &err) &&
	    auth_create(req, &u, &id, &err))
		session_answer(req, id, &(struct session_proof){.method = "registration"}, 201);
	else
		auth_fail(req, &err);
}

/* ---- setup: the first owner ---- */

CO_FN static void auth_setup(struct http_request *req)
{
	struct worker *w = auth_worker(req);
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	struct auth_registration r;
	struct user_new u = {.org_id = STR(IDENTITY_DEFAULT), .role = STR("owner"), .email_verified = true};
	struct user_statements s;
	struct str token;
	struct db_batch *b;

	if (body == NULL)
		return;
	token = json_get_str(body, "token", json_get_str(body, "setup_token", STR("")));
	if (!setup_token_good(w, req->arena, token, &err)) {
		metric_add(M_AUTH_FAILURES, 1, "setup", NULL);
		auth_fail(req, &err);
		return;
	}
	if (!auth_read_registration(req, body, &r))
		return;
	u.email = r.email;
	u.name = r.name;
	if (!password_hash(w->passwords, req->arena, r.password, &u.password_hash, &err)) {
		auth_fail(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	setup_token_spend(b, req->arena, token);
	user_statements(req->arena, &u, &s);
	user_add(b, &s);
	db_batch_add(b,
		     SQL_ANYBODY("the first owner") "UPDATE organizations SET owner_id = $1, name = CASE WHEN $2 = '' "
						    "THEN name ELSE $2 END WHERE id = $3",
		     DB_ARGS(DB_S(s.user_id), DB_S(r.organization), DB_S(u.org_id)), 1);
	auth_audit(b, req, "admin", "admin.setup", "user", s.user_id);
	if (!db_commit(w->db, b, &err)) {
		if (err.code == ERR_FENCED)
			error_field(&err, ERR_INVALID_TOKEN, "token", "the setup token has been used");
		else if (err.code == ERR_DUPLICATE)
			error_field(&err, ERR_CONFLICT, "email", "an account with this address exists");
		auth_fail(req, &err);
		return;
	}
	log_info("identity", "the setup token was used: the first owner is there", KV_STR("user_id", s.user_id));
	session_answer(req, s.user_id, &(struct session_proof){.method = "setup"}, 201);
}

/* ---- login ---- */

struct auth_found {
	struct str id, hash; /* empty: no such account */
	bool active, mfa;
	int64_t token_version;
};

CO_FN static bool auth_find(struct http_request *req, struct str email, struct auth_found *f, struct error *err)
{
	struct db_rows r;

	*f = (struct auth_found){.id = STR(""), .hash = STR("")};
	if (!db_query(auth_worker(req)->db, req->arena,
		      SQL_ANYBODY("of who logs in") "SELECT id, password_hash, is_active, mfa_enabled, token_version "
						    "FROM users WHERE email_key = $1",
		      DB_ARGS(DB_S(user_email_key(req->arena, email))), &r, err))
		return false;
	if (r.count > 0)
		*f = (struct auth_found){db_str(&r, 0, 0), db_str(&r, 0, 1), db_int(&r, 0, 2) != 0,
					 db_int(&r, 0, 3) != 0, db_int(&r, 0, 4)};
	return true;
}

/* The stored form is weaker than what is configured now, and the password is at hand. Not worth a failed login. */
CO_FN static void auth_renew(struct http_request *req, const struct auth_found *f, struct str password)
{
	struct worker *w = auth_worker(req);
	struct error err = ERROR_INIT;
	struct db_batch *b;
	struct str hash;

	if (!password_hash(w->passwords, req->arena, password, &hash, &err))
		return;
	b = db_batch_new(w->db);
	db_batch_add(
	    b, SQL_ANYBODY("of who logs in") "UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3",
	    DB_ARGS(DB_S(hash), DB_S(f->id), DB_S(f->hash)), DB_ANY);
	if (!db_commit(w->db, b, &err))
		log_debug("identity", "a password was not hashed anew", KV_S("reason", err.msg));
}

static void auth_ask_second_factor(struct http_request *req, const struct auth_found *f)
{
	json_t *o = json_pack("{s:b, s:s}", "mfa_required", 1, "message", "a code of the second factor is needed");

	json_put_str(o, "pending_token", mfa_pending_token(auth_worker(req), req->arena, f->id, f->token_version));
	json_put_int(o, "expires_in", MFA_PENDING_S);
	http_reply_json(req, 200, o);
}

static void auth_refuse_login(struct http_request *req, const struct auth_found *f, const char *reason)
{
	struct error err = ERROR_INIT;

	audit_note_request(req, &(struct audit_event){.category = "auth",
						      .action = "auth.login_failed",
						      .outcome = "failure",
						      .resource_type = STR("user"),
						      .resource_id = f->id,
						      .reason = str_of(reason)});

	metric_add(M_AUTH_FAILURES, 1, reason, NULL);
	error_set(&err, ERR_INVALID_CREDENTIALS, "the e-mail address or the password is wrong");
	auth_fail(req, &err);
}

/* Unknown accounts, disabled ones and wrong passwords get the same answer after the same work. */
/* Counted, whether there is such an account or not. *match is only right for an account that may log in. */
CO_FN static bool auth_compare(struct http_request *req, struct str email, struct str password, struct auth_found *f,
			       enum password_match *match, struct error *err)
{
	struct worker *w = auth_worker(req);
	struct lockout l;
	bool ok;

	if (!lockout_enter(req, "email", user_email_key(req->arena, email), &l, err)) {
		if (err->code == ERR_RATE_LIMITED)
			metric_add(M_AUTH_FAILURES, 1, "locked", NULL);
		return false;
	}
	ok = auth_find(req, email, f, err) && password_verify(w->passwords, f->hash, password, match, err);
	lockout_leave(req, &l,
		      !ok                                                      ? LOCKOUT_NEITHER
		      : *match == PASSWORD_WRONG || f->id.n == 0 || !f->active ? LOCKOUT_FAILED
									       : LOCKOUT_PASSED);
	return ok;
}

CO_FN static void auth_login(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	enum password_match match;
	struct body_problems p;
	struct auth_found f;
	struct str email, password;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	email = body_text(&p, body, "email", 1, USER_EMAIL_MAX, false);
	password = body_text(&p, body, "password", 1, AUTH_PASSWORD_BYTES, true);
	if (body_refused(req, &p))
		return;
	if (!auth_compare(req, email, password, &f, &match, &err)) {
		auth_fail(req, &err);
		return;
	}
	if (match == PASSWORD_WRONG || f.id.n == 0 || !f.active) {
		auth_refuse_login(req, &f, match == PASSWORD_WRONG || f.id.n == 0 ? "credentials" : "disabled");
		return;
	}
	if (match == PASSWORD_RIGHT_RENEW)
		auth_renew(req, &f, password);
	if (f.mfa)
		auth_ask_second_factor(req, &f);
	else
		session_answer(req, f.id, &(struct session_proof){.method = "password"}, 200);
}

/* ---- the rest of a session's life ---- */

CO_FN static void auth_refresh(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	struct body_problems p;
	struct str token;
	json_t *tokens, *o;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	token = body_text(&p, body, "refresh_token", 1, JWT_MAX, false);
	if (body_refused(req, &p))
		return;
	if (!session_refresh(req, token, &tokens, &err)) {
		auth_fail(req, &err);
		return;
	}
	o = json_copy(tokens);
	json_object_set(o, "tokens", tokens);
	http_reply_json(req, 200, o);
}

static void auth_add_revoked(struct db_batch *b, const struct http_request *req, struct str jti, int64_t expires_ms,
			     const char *why)
{
	db_batch_add(b,
		     "INSERT INTO revoked_tokens (id, org_id, user_id, reason, revoked_by, revoked_at, expires_at)"
		     " VALUES ($1, $2, $3, $4, $3, $5, $6) ON CONFLICT (id) DO NOTHING",
		     DB_ARGS(DB_S(jti), DB_S(req->ctx.org_id), DB_S(req->ctx.principal), DB_Z(why),
			     DB_I(clock_wall_ms()), DB_I(expires_ms)),
		     DB_ANY);
}

CO_FN static void auth_logout(struct http_request *req)
{
	struct worker *w = auth_worker(req);
	const struct identity *who = req->ctx.who;
	struct error err = ERROR_INIT;
	struct db_batch *b;

	if (auth_account(req) == NULL)
		return;
	if (who->token_id.n == 0) {
		error_set(&err, ERR_BAD_REQUEST, "only a session can be logged out; API keys are revoked");
		auth_fail(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	auth_add_revoked(b, req, who->token_id, who->expires_ms, "logout");
	db_batch_add(b,
		     "UPDATE sessions SET revoked_at = $1, revoked_why = 'logout' WHERE id = $2 AND user_id = $3 AND "
		     "revoked_at IS NULL",
		     DB_ARGS(DB_I(clock_wall_ms()), DB_S(who->session_id), DB_S(who->user_id)), DB_ANY);
	if (who->impersonator.n > 0)
		db_batch_add(
		    b,
		    "UPDATE impersonations SET ended_at = $1, ended_by = $2 WHERE id = $3 AND org_id = $4"
		    " AND ended_at = 0",
		    DB_ARGS(DB_I(clock_wall_ms()), DB_S(who->impersonator), DB_S(who->session_id), DB_S(who->org_id)),
		    DB_ANY);
	auth_audit(b, req, "auth", "auth.logout", "session", who->session_id);
	identity_change_add(b, IDENTITY_CHANGE_TOKEN, who->token_id);
	identity_change_add(b, IDENTITY_CHANGE_SESSION, who->session_id);
	if (!db_commit(w->db, b, &err)) {
		auth_fail(req, &err);
		return;
	}
	identity_changed(w, IDENTITY_CHANGE_TOKEN, who->token_id);
	identity_changed(w, IDENTITY_CHANGE_SESSION, who->session_id);
	auth_message(req, json_object(), "logged out");
}

CO_FN static void auth_logout_all(struct http_request *req)
{
	struct worker *w = auth_worker(req);
	const struct account *u = own_account_proved(req);
	struct error err = ERROR_INIT;
	struct db_rows r = {0, 0, NULL};
	struct db_batch *b;
	json_t *o;

	if (u == NULL)
		return;
	b = db_batch_new(w->db);
	session_end_all(b, u->id, "logout_all");
	auth_audit(b, req, "auth", "auth.logout", "user", u->id);
	identity_change_add(b, IDENTITY_CHANGE_USER, u->id);
	if (!db_commit(w->db, b, &err) || !db_query(w->db, req->arena, "SELECT token_version FROM users WHERE id = $1",
						    DB_ARGS(DB_S(u->id)), &r, &err)) {
		auth_fail(req, &err);
		return;
	}
	identity_changed(w, IDENTITY_CHANGE_USER, u->id);
	o = json_pack("{s:b}", "sessions_invalidated", 1);
	json_put_int(o, "token_version", r.count > 0 ? db_int(&r, 0, 0) : 0);
	auth_message(req, o, "all sessions have ended");
}

/* An access or refresh token of one's own. */
static bool auth_own_token(struct http_request *req, struct str token, struct jwt_claims *claims, struct error *err)
{
	const struct jwt_keys *keys = credential_keys(auth_worker(req));
	int64_t now = clock_wall_ms() / 1000;

	if (jwt_verify(req->arena, keys, token, JWT_ACCESS, now, claims) != JWT_OK &&
	    jwt_verify(req->arena, keys, token, JWT_REFRESH, now, claims) != JWT_OK)
		return error_field(err, ERR_INVALID_VALUE, "token", "is no valid token of this server");
	if (!str_eq(claims->sub, req->ctx.principal))
		return error_field(err, ERR_INVALID_VALUE, "token", "is not a token of this account");
	return true;
}

static void auth_revoke_statements(struct db_batch *b, struct http_request *req, const struct jwt_claims *claims)
{
	auth_add_revoked(b, req, claims->jti, claims->exp * 1000, "revoked");
	if (claims->type == JWT_REFRESH) /* of no use without its session's next token: the session ends */
		db_batch_add(b,
			     "UPDATE sessions SET revoked_at = $1, revoked_why = 'revoked' WHERE id = $2 AND user_id = "
			     "$3 AND revoked_at IS NULL",
			     DB_ARGS(DB_I(clock_wall_ms()), DB_S(claims->sid), DB_S(claims->sub)), DB_ANY);
	auth_audit(b, req, "auth", "auth.token_revoked", "token", claims->jti);
	identity_change_add(b, IDENTITY_CHANGE_TOKEN, claims->jti);
	if (claims->type == JWT_REFRESH)
		identity_change_add(b, IDENTITY_CHANGE_SESSION, claims->sid);
}

CO_FN static void auth_revoke(struct http_request *req)
{
	struct worker *w = auth_worker(req);
	const json_t *body = body_object(req);
	const struct identity *who = req->ctx.who;
	struct jwt_claims claims = {.type = JWT_ACCESS, .jti = who->token_id, .exp = who->expires_ms / 1000};
	struct error err = ERROR_INIT;
	struct str token;
	struct db_batch *b;
	struct db_rows r = {0, 0, NULL};
	json_t *o;

	if (body == NULL || auth_account(req) == NULL)
		return;
	token = json_get_str(body, "token", STR(""));
	if (token.n == 0 && claims.jti.n == 0)
		error_field(&err, ERR_MISSING_FIELD, "token", "is required: this request was not made with one");
	if (err.code != ERR_OK || (token.n > 0 && !auth_own_token(req, token, &claims, &err))) {
		auth_fail(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	auth_revoke_statements(b, req, &claims);
	if (!db_commit(w->db, b, &err) ||
	    !db_query(w->db, req->arena, "SELECT COUNT(*) FROM revoked_tokens WHERE user_id = $1",
		      DB_ARGS(DB_S(req->ctx.principal)), &r, &err)) {
		auth_fail(req, &err);
		return;
	}
	identity_changed(w, IDENTITY_CHANGE_TOKEN, claims.jti);
	if (claims.type == JWT_REFRESH)
		identity_changed(w, IDENTITY_CHANGE_SESSION, claims.sid);
	o = json_pack("{s:b, s:I}", "persistent", 1, "blacklist_size", (json_int_t)db_int(&r, 0, 0));
	auth_message(req, o, "the token is revoked");
}

/* ---- me ---- */

static json_t *auth_me_json(struct http_request *req, const struct account *u)
{
	const struct identity *who = req->ctx.who;
	json_t *user = account_json(req->arena, u, who);
	json_t *o = json_copy(user);

	json_object_set(o, "user", user);
	json_object_set(o, "organization", account_organization_json(req->arena, u, who->org_id));
	json_object_set(o, "organizations", account_organizations_json(req->arena, u));
	json_object_set_new(o, "permissions", permissions_json(who->permissions));
	if (who->impersonator.n > 0)
		json_put_str(o, "impersonated_by", who->impersonator);
	return o;
}

/* The API token has no account, but its bearer may ask what it is. */
static json_t *auth_service_json(const struct identity *who)
{
	json_t *o = json_object(), *roles = json_array();

	json_put_str(o, "id", who->user_id);
	json_put_str(o, "name", who->name);
	json_put_str(o, "org_id", who->org_id);
	json_put_str(o, "role", who->role);
	json_array_append_new(roles, json_str(who->role));
	json_object_set_new(o, "roles", roles);
	json_object_set_new(o, "is_service_account", json_true());
	json_object_set_new(o, "user", json_deep_copy(o));
	json_object_set_new(o, "organization", json_null());
	json_object_set_new(o, "organizations", json_array());
	json_object_set_new(o, "permissions", permissions_json(who->permissions));
	return o;
}

static void auth_me(struct http_request *req)
{
	const struct identity *who = req->ctx.who;
	const struct account *u;

	if (who->account == NULL && who->kind != IDENTITY_ANONYMOUS) {
		http_reply_json(req, 200, auth_service_json(who));
		return;
	}
	u = auth_account(req);
	if (u != NULL)
		http_reply_json(req, 200, auth_me_json(req, u));
}

struct auth_profile {
	struct str name, avatar_url, metadata; /* p NULL: unchanged */
};

static void auth_read_metadata(struct http_request *req, const json_t *body, struct auth_profile *f,
			       struct body_problems *p)
{
	const json_t *metadata = json_object_get(body, "metadata");
	struct error err = ERROR_INIT;

	if (metadata == NULL)
		return;
	f->metadata = json_text(req->arena, metadata);
	if (json_is_object(metadata) && f->metadata.n <= AUTH_METADATA_MAX)
		return;
	error_field(&err, ERR_INVALID_VALUE, "metadata", "must be an object of at most %d bytes", AUTH_METADATA_MAX);
	body_problem(p, &err);
}

static bool auth_read_profile(struct http_request *req, const json_t *body, struct auth_profile *f)
{
	struct error err = ERROR_INIT;
	struct body_problems p;

	*f = (struct auth_profile){STR_NONE, STR_NONE, STR_NONE};
	body_problems_begin(req, &p);
	if (json_object_get(body, "name") != NULL)
		f->name = body_text(&p, body, "name", 1, USER_NAME_MAX, false);
	if (json_object_get(body, "avatar_url") != NULL)
		f->avatar_url = body_text(&p, body, "avatar_url", 0, AUTH_URL_MAX, false);
	if (f->avatar_url.n > 0 && !str_starts(f->avatar_url, STR("https://"))) {
		error_field(&err, ERR_INVALID_VALUE, "avatar_url", "must be an https:// URL");
		body_problem(&p, &err);
	}
	auth_read_metadata(req, body, f, &p);
	return !body_refused(req, &p);
}

CO_FN static void auth_change_me(struct http_request *req)
{
	struct worker *w = auth_worker(req);
	const struct account *u = auth_account(req);
	const json_t *body = u != NULL ? body_object(req) : NULL;
	struct error err = ERROR_INIT;
	struct account changed;
	struct auth_profile f;
	struct db_batch *b;
	json_t *o;

	if (body == NULL || !auth_read_profile(req, body, &f))
		return;
	b = db_batch_new(w->db);
	db_batch_add(b, "UPDATE users SET name = $1, avatar_url = $2, metadata = $3, updated_at = $4 WHERE id = $5",
		     DB_ARGS(DB_S(f.name.p != NULL ? f.name : u->name),
			     DB_S(f.avatar_url.p != NULL ? f.avatar_url : u->avatar_url),
			     DB_S(f.metadata.p != NULL ? f.metadata : u->metadata), DB_I(clock_wall_ms()), DB_S(u->id)),
		     1);
	auth_audit(b, req, "data", "data.updated", "user", u->id);
	identity_change_add(b, IDENTITY_CHANGE_USER, u->id);
	if (!db_commit(w->db, b, &err) || !account_load(w, req->arena, u->id, &changed, &err)) {
		auth_fail(req, &err);
		return;
	}
	identity_changed(w, IDENTITY_CHANGE_USER, u->id);
	o = auth_me_json(req, &changed);
	json_object_set_new(o, "updated", json_true());
	http_reply_json(req, 200, o);
}

/* ---- answering a login ---- */

CO_FN void session_answer(struct http_request *req, struct str user_id, const struct session_proof *proof, int status)
{
	struct account *u = arena_zalloc(req->arena, sizeof(*u));
	struct error err = ERROR_INIT;
	json_t *tokens, *o;
	struct str org;

	if (!account_load(auth_worker(req), req->arena, user_id, u, &err) ||
	    !session_begin(req, u, proof, &tokens, &err)) {
		auth_fail(req, &err);
		return;
	}
	org = req->ctx.org_id;
	o = json_copy(tokens);
	json_object_set(o, "tokens", tokens);
	json_object_set(o, "user", account_json(req->arena, u, NULL));
	json_object_set(o, "organization", account_organization_json(req->arena, u, org));
	json_object_set(o, "organizations", account_organizations_json(req->arena, u));
	http_reply_json(req, status, o);
}

/* ---- health ---- */

static void auth_health(struct http_request *req)
{
	const struct worker *w = auth_worker(req);
	bool ok = identity_changes_fresh(w);

	http_reply_json(req, ok ? 200 : 503,
			json_pack("{s:s, s:b, s:s}", "status", ok ? "healthy" : "unhealthy", "auth_required",
				  conf_auth_required(w->conf), "registration",
				  w->conf->auth.registration == REGISTRATION_OPEN ? "open" : "off"));
}

#define ROW(m, p, h, perm, f, s) \
	ROUTE(m, "/api/auth" p, h, perm, WRITE, s, .flags = ROUTE_SECRET | (f), .body_limit = AUTH_BODY_MAX)
#define READ_ROW(p, h, perm, f, s) ROUTE(GET, "/api/auth" p, h, perm, READ, s, .flags = ROUTE_SECRET | (f))

static const struct route auth_rows[] = {
    ROW(POST, "/register", auth_register, NULL, ROUTE_PUBLIC, "Make an account and log in"),
    ROW(POST, "/setup", auth_setup, NULL, ROUTE_PUBLIC, "Make the first owner, with the token of the first start"),
    ROW(POST, "/login", auth_login, NULL, ROUTE_PUBLIC, "Log in with e-mail address and password"),
    ROW(POST, "/refresh", auth_refresh, NULL, ROUTE_PUBLIC, "The next pair of tokens; the refresh token is used up"),
    ROW(POST, "/logout", auth_logout, "authentication:revoke", 0, "End this session"),
    ROW(POST, "/logout-all", auth_logout_all, "authentication:revoke", 0, "End all sessions of the account"),
    ROW(POST, "/revoke", auth_revoke, "authentication:revoke", 0, "Revoke a token, without one this request's"),
    READ_ROW("/me", auth_me, "authentication:read", ROUTE_INLINE, "Who is logged in, with permissions"),
    ROW(PUT, "/me", auth_change_me, "authentication:read", 0, "Change name, avatar_url, metadata"),
    ROW(PATCH, "/me", auth_change_me, "authentication:read", 0, "Change name, avatar_url, metadata"),
    ROW(POST, "/me", auth_change_me, "authentication:read", 0, "Change name, avatar_url, metadata"),
    READ_ROW("/profile", auth_me, "authentication:read", ROUTE_INLINE, "The same as me"),
    ROW(POST, "/profile", auth_change_me, "authentication:read", 0, "The same as me"),
    ROW(PUT, "/profile", auth_change_me, "authentication:read", 0, "The same as me"),
    ROW(PATCH, "/profile", auth_change_me, "authentication:read", 0, "The same as me"),
    READ_ROW("/health", auth_health, NULL, ROUTE_PUBLIC | ROUTE_INLINE, "Can callers be authenticated?"),
};
const struct route_table auth_routes = {auth_rows, countof(auth_rows)};
