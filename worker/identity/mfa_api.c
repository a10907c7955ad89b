/* SPDX-License-Identifier: MIT */
/*
 * /api/auth/mfa: setting up a second factor, proving it, doing without it again (rest-core 6.3). A secret and backup
 * codes are in the answers that make them and nowhere else.
 */
#include "common/clock.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/tenant.h"
#include "worker/audit/audit.h"
#include "worker/http/route.h"
#include "worker/identity/credential.h"
#include "worker/identity/mfa.h"
#include "worker/identity/otp.h"
#include "worker/identity/own.h"
#include "worker/identity/session.h"
#include "worker/worker.h"

#define MFA_ISSUER "Aragora"
#define MFA_CODE_MAX 32
#define MFA_ATTEMPTS 5 /* with one token, security.md 3.6 */
#define MFA_WARNING "Keep the backup codes: each works once, and they are not shown again."

static void mfa_fail(struct http_request *req, const struct error *err)
{
	http_reply_error(req, err);
}

static void mfa_fail_with(struct http_request *req, enum err code, const char *text)
{
	struct error err = ERROR_INIT;

	error_set(&err, code, "%s", text);
	http_reply_error(req, &err);
}

struct mfa_body {
	struct str code, next, password, pending, kind;
};

/* An empty code is allowed where `need_code` is false. */
static bool mfa_read(struct http_request *req, struct mfa_body *m, bool need_code)
{
	const json_t *body = body_object(req);
	struct body_problems p;

	if (body == NULL)
		return false;
	body_problems_begin(req, &p);
	m->code = body_text(&p, body, "code", need_code ? 1 : 0, MFA_CODE_MAX, false);
	m->next = body_text(&p, body, "next_code", 0, MFA_CODE_MAX, false);
	m->password = body_text(&p, body, "password", 0, 4 * PASSWORD_CHARS_MAX, true);
	m->pending = body_text(&p, body, "pending_token", 0, JWT_MAX, false);
	m->kind = body_text(&p, body, "type", 0, 8, false);
	return !body_refused(req, &p);
}

static void mfa_audit(struct db_batch *b, struct http_request *req, const char *action, struct str user_id)
{
	audit_add(b, req,
		  &(struct audit_event){
		      .category = "auth", .action = action, .resource_type = STR("user"), .resource_id = user_id});
}

/* ---- setting up ---- */

CO_FN static bool mfa_store_device(struct http_request *req, const struct account *u, struct str secret, bool hotp,
				   struct error *err)
{
	struct worker *w = req->user;
	struct str envelope;
	struct db_batch *b;

	if (!mfa_seal(w, req->arena, u->id, secret, &envelope, err))
		return false;
	b = db_batch_new(w->db);
	db_batch_add(b,
		     SQL_ANYBODY("the user of the request") "INSERT INTO mfa (user_id, org_id, kind, secret, counter, "
							    "created_at, updated_at)"
							    " VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT "
							    "(user_id) DO UPDATE SET kind = $3,"
							    " secret = $4, counter = $5, created_at = $6, updated_at = "
							    "$6 WHERE mfa.enabled = 0",
		     DB_ARGS(DB_S(u->id), DB_S(u->org_id), DB_Z(hotp ? "hotp" : "totp"), DB_S(envelope),
			     DB_I(hotp ? 0 : -1), DB_I(clock_wall_ms())),
		     1);
	if (db_commit(w->db, b, err))
		return true;
	return err->code == ERR_FENCED ? error_set(err, ERR_BAD_REQUEST, "the second factor is on already") : false;
}

CO_FN static void mfa_setup(struct http_request *req)
{
	const struct account *u = own_account_proved(req);
	uint8_t secret[OTP_SECRET];
	struct str bytes = {(const char *)secret, sizeof(secret)};
	struct error err = ERROR_INIT;
	struct mfa_body m;
	bool hotp;
	json_t *o;

	if (u == NULL || !mfa_read(req, &m, false))
		return;
	hotp = str_eqz(m.kind, "hotp");
	if (m.kind.n > 0 && !hotp && !str_eqz(m.kind, "totp")) {
		error_field(&err, ERR_INVALID_VALUE, "type", "must be totp or hotp");
		mfa_fail(req, &err);
		return;
	}
	ids_random(secret, sizeof(secret));
	if (!mfa_store_device(req, u, bytes, hotp, &err)) {
		mfa_fail(req, &err);
	} else {
		o = json_pack("{s:s, s:b}", "type", hotp ? "hotp" : "totp", "verification_required", 1);
		json_put_str(o, "secret", base32_encode(req->arena, bytes));
		json_put_str(o, "provisioning_uri",
			     otp_uri(req->arena, STR(MFA_ISSUER), u->email, bytes, hotp ? 0 : -1));
		own_message(req, o, "Add it to your authenticator app and confirm with a code.");
	}
	explicit_bzero(secret, sizeof(secret));
}

CO_FN static bool mfa_switch_on(struct http_request *req, const struct account *u, const struct mfa_device *d,
				int64_t counter, json_t **codes, struct error *err)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);

	db_batch_add(b,
		     SQL_ANYBODY("the user of the request") "UPDATE mfa SET enabled = 1, counter = $1, updated_at = $2 "
							    "WHERE user_id = $3 AND enabled = 0"
							    " AND counter = $4",
		     DB_ARGS(DB_I(counter), DB_I(clock_wall_ms()), DB_S(u->id), DB_I(d->counter)), 1);
	db_batch_add(b, SQL_ANYBODY("the user of the request") "UPDATE users SET mfa_enabled = 1 WHERE id = $1",
		     DB_ARGS(DB_S(u->id)), 1);
	*codes = mfa_backup_codes(req->arena, b, u, d);
	mfa_audit(b, req, "auth.mfa_enabled", u->id);
	session_end_all(b, u->id, "mfa_enabled");
	return own_commit(req, b, u->id, err);
}

CO_FN static void mfa_enable(struct http_request *req)
{
	const struct account *u = own_account_proved(req);
	struct error err = ERROR_INIT;
	struct mfa_device d;
	struct mfa_body m;
	int64_t counter;
	json_t *codes, *o;

	if (u == NULL || !mfa_read(req, &m, true))
		return;
	if (!mfa_load(req->user, req->arena, u->id, &d, &err)) {
		mfa_fail(req, &err);
		return;
	}
	if (!d.there || d.enabled) {
		mfa_fail_with(req, ERR_BAD_REQUEST,
			      d.there ? "the second factor is on already"
				      : "set it up first: POST /api/auth/mfa/setup");
	} else if (!mfa_matches(&d, m.code, m.next, &counter)) {
		error_field(&err, ERR_INVALID_VALUE, "code", "is not the one that the app shows now");
		mfa_fail(req, &err);
	} else if (!mfa_switch_on(req, u, &d, counter, &codes, &err)) {
		mfa_fail(req, &err);
	} else {
		log_info("identity", "second factor on", KV_STR("user_id", u->id));
		o = json_pack("{s:O, s:s, s:b}", "backup_codes", codes, "warning", MFA_WARNING, "sessions_invalidated",
			      1);
		own_message(req, o, "The second factor is on; log in again.");
	}
	mfa_wipe(&d);
}

/* ---- doing without ---- */

CO_FN static bool mfa_prove_either(struct http_request *req, const struct account *u, const struct mfa_body *m,
				   struct error *err)
{
	struct mfa_proof proof;
	struct str stored;

	if (m->code.n > 0)
		return mfa_prove(req, u->id, m->code, m->next, &proof, err);
	if (m->password.n > 0)
		return own_password_ok(req, u, m->password, &stored, err);
	return error_field(err, ERR_MISSING_FIELD, "code", "a code or the password is required");
}

CO_FN static void mfa_disable(struct http_request *req)
{
	const struct account *u = own_account_proved(req);
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct mfa_body m;
	struct db_batch *b;

	if (u == NULL || !mfa_read(req, &m, false))
		return;
	if (!mfa_prove_either(req, u, &m, &err)) {
		mfa_fail(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	db_batch_add(b, SQL_ANYBODY("the user of the request") "DELETE FROM mfa WHERE user_id = $1",
		     DB_ARGS(DB_S(u->id)), DB_ANY);
	db_batch_add(b, SQL_ANYBODY("the user of the request") "DELETE FROM mfa_backup_codes WHERE user_id = $1",
		     DB_ARGS(DB_S(u->id)), DB_ANY);
	db_batch_add(b, SQL_ANYBODY("the user of the request") "UPDATE users SET mfa_enabled = 0 WHERE id = $1",
		     DB_ARGS(DB_S(u->id)), 1);
	mfa_audit(b, req, "auth.mfa_disabled", u->id);
	if (!own_commit(req, b, u->id, &err)) {
		mfa_fail(req, &err);
		return;
	}
	log_info("identity", "second factor off", KV_STR("user_id", u->id));
	own_message(req, NULL, "The second factor is off.");
}

/* ---- proving ---- */

/* One more attempt with the token of a login; false when it is used up. */
CO_FN static bool mfa_attempt(struct http_request *req, const struct jwt_claims *c, struct error *err)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);
	int64_t now = clock_wall_ms();

	db_batch_add(
	    b,
	    SQL_ANYBODY(
		"nobody has logged in yet") "INSERT INTO mfa_pending (id, org_id, user_id, attempts, expires_at) "
					    "VALUES ($1, $2, $3, 1, $4)"
					    " ON CONFLICT (id) DO UPDATE SET attempts = mfa_pending.attempts + 1"
					    " WHERE mfa_pending.used_at IS NULL AND mfa_pending.attempts < $5",
	    DB_ARGS(DB_S(c->jti), DB_S(c->org_id.n > 0 ? c->org_id : STR("")), DB_S(c->sub), DB_I(c->exp * 1000),
		    DB_I(MFA_ATTEMPTS)),
	    1);
	db_batch_add(b, SQL_ANYBODY("what has expired") "DELETE FROM mfa_pending WHERE expires_at < $1",
		     DB_ARGS(DB_I(now - 60000)), DB_ANY);
	if (db_commit(w->db, b, err))
		return true;
	return err->code == ERR_FENCED
		   ? error_field(err, ERR_INVALID_TOKEN, "pending_token", "is used up: log in again")
		   : false;
}

CO_FN static bool mfa_spend(struct http_request *req, const struct jwt_claims *c, struct error *err)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);

	db_batch_add(
	    b,
	    SQL_ANYBODY(
		"nobody has logged in yet") "UPDATE mfa_pending SET used_at = $1 WHERE id = $2 AND used_at IS NULL",
	    DB_ARGS(DB_I(clock_wall_ms()), DB_S(c->jti)), 1);
	if (db_commit(w->db, b, err))
		return true;
	return err->code == ERR_FENCED
		   ? error_field(err, ERR_INVALID_TOKEN, "pending_token", "is used up: log in again")
		   : false;
}

static void mfa_put_proof(json_t *o, const struct mfa_proof *proof)
{
	json_object_set_new(o, "verified", json_true());
	json_object_set_new(o, "mfa_enabled", json_true());
	json_put_int(o, "backup_codes_remaining", proof->backup_codes);
	if (proof->backup_codes < MFA_BACKUP_FEW)
		json_put_str(o, "warning", STR("Few backup codes are left: make new ones."));
}

CO_FN static void mfa_finish_login(struct http_request *req, const struct jwt_claims *c, const struct mfa_proof *proof)
{
	const struct session_proof how = {
	    .method = "mfa", .mfa_ms = clock_wall_ms(), .mfa = proof->method, .org_id = c->org_id};
	struct error err = ERROR_INIT;
	struct account u;
	json_t *tokens, *o;

	if (!mfa_spend(req, c, &err) || !account_load(req->user, req->arena, c->sub, &u, &err) ||
	    !session_begin(req, &u, &how, &tokens, &err)) {
		mfa_fail(req, &err);
		return;
	}
	o = json_copy(tokens);
	json_object_set(o, "tokens", tokens);
	json_object_set(o, "user", account_json(req->arena, &u, NULL));
	json_object_set(o, "organization", account_organization_json(req->arena, &u, u.org_id));
	json_object_set(o, "organizations", account_organizations_json(req->arena, &u));
	mfa_put_proof(o, proof);
	own_message(req, o, "logged in");
}

CO_FN static void mfa_verify_login(struct http_request *req, const struct mfa_body *m)
{
	const struct jwt_keys *keys = credential_keys(req->user);
	struct error err = ERROR_INIT;
	struct jwt_claims c;
	struct mfa_proof proof;
	struct account u;

	if (jwt_verify(req->arena, keys, m->pending, JWT_MFA_PENDING, clock_wall_ms() / 1000, &c) != JWT_OK) {
		error_field(&err, ERR_INVALID_TOKEN, "pending_token", "is not valid any more: log in again");
		mfa_fail(req, &err);
		return;
	}
	/* A password that was changed meanwhile takes back what was proved with the old one. */
	if (!mfa_attempt(req, &c, &err) || !account_load(req->user, req->arena, c.sub, &u, &err)) {
		mfa_fail(req, &err);
	} else if (!u.active || c.tv < u.token_version) {
		error_field(&err, ERR_INVALID_TOKEN, "pending_token", "is not valid any more: log in again");
		mfa_fail(req, &err);
	} else if (!mfa_prove(req, c.sub, m->code, m->next, &proof, &err)) {
		mfa_fail(req, &err);
	} else {
		mfa_finish_login(req, &c, &proof);
	}
}

/* Whoever is logged in proves it anew for what needs a fresh proof. */
CO_FN static void mfa_verify_session(struct http_request *req, const struct mfa_body *m)
{
	const struct account *u = own_account_proved(req);
	const struct identity *who = req->ctx.who;
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct mfa_proof proof;
	struct db_batch *b;
	json_t *o;

	if (u == NULL)
		return;
	if (!mfa_prove(req, u->id, m->code, m->next, &proof, &err)) {
		mfa_fail(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	db_batch_add(b,
		     SQL_ANYBODY("the session of the request") "UPDATE sessions SET mfa_at = $1, mfa_methods = $2 "
							       "WHERE id = $3 AND user_id = $4",
		     DB_ARGS(DB_I(clock_wall_ms()), DB_Z(proof.method), DB_S(who->session_id), DB_S(u->id)), 1);
	identity_change_add(b, IDENTITY_CHANGE_SESSION, who->session_id);
	if (!db_commit(w->db, b, &err)) {
		mfa_fail(req, &err);
		return;
	}
	identity_changed(w, IDENTITY_CHANGE_SESSION, who->session_id);
	o = json_object();
	mfa_put_proof(o, &proof);
	own_message(req, o, "The second factor is proved.");
}

CO_FN static void mfa_verify(struct http_request *req)
{
	struct mfa_body m;

	if (!mfa_read(req, &m, true))
		return;
	if (m.pending.n > 0)
		mfa_verify_login(req, &m);
	else
		mfa_verify_session(req, &m);
}

/* ---- backup codes, status ---- */

CO_FN static void mfa_renew_codes(struct http_request *req)
{
	const struct account *u = own_account_proved(req);
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct mfa_device d = {.there = false};
	struct mfa_proof proof;
	struct mfa_body m;
	struct db_batch *b;
	json_t *codes;

	if (u == NULL || !mfa_read(req, &m, true))
		return;
	if (!mfa_prove(req, u->id, m.code, m.next, &proof, &err) || !mfa_load(w, req->arena, u->id, &d, &err)) {
		mfa_fail(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	codes = mfa_backup_codes(req->arena, b, u, &d);
	mfa_wipe(&d);
	mfa_audit(b, req, "auth.mfa_backup_codes", u->id);
	if (!db_commit(w->db, b, &err))
		mfa_fail(req, &err);
	else
		own_message(req, json_pack("{s:O, s:s}", "backup_codes", codes, "warning", MFA_WARNING),
			    "The former backup codes do not work any more.");
}

CO_FN static void mfa_status(struct http_request *req)
{
	const struct account *u = own_account(req);
	struct worker *w = req->user;
	bool required, on;
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *o;

	if (u == NULL)
		return;
	if (!db_query(w->db, req->arena,
		      SQL_ANYBODY("the user of the request") "SELECT m.kind, m.enabled, (SELECT COUNT(*) FROM "
							     "mfa_backup_codes c WHERE c.user_id = m.user_id)"
							     " FROM mfa m WHERE m.user_id = $1",
		      DB_ARGS(DB_S(u->id)), &r, &err)) {
		mfa_fail(req, &err);
		return;
	}
	required = mfa_enforced(w->conf) && mfa_role_demands(req->ctx.who->role);
	on = r.count > 0 && db_int(&r, 0, 1) != 0;
	o = json_pack("{s:b, s:b, s:b, s:b}", "enabled", on, "mfa_enabled", on, "setup_pending", r.count > 0 && !on,
		      "required", required);
	json_put_str(o, "type", r.count > 0 ? db_str(&r, 0, 0) : STR(""));
	json_put_int(o, "backup_codes_remaining", r.count > 0 ? db_int(&r, 0, 2) : 0);
	json_put_time(o, "verified_at", req->ctx.who->mfa_ms);
	json_put_time(o, "grace_period_ends_at", required && !u->mfa_enabled ? mfa_grace_until(w->conf, u) : 0);
	http_reply_json(req, 200, o);
}

#define ROW(m, p, h, perm, f, s) \
	ROUTE(m, "/api/auth/mfa" p, h, perm, WRITE, s, .flags = ROUTE_SECRET | (f), .body_limit = 16384)

static const struct route mfa_rows[] = {
    ROW(POST, "/setup", mfa_setup, "authentication:create", 0, "Begin with a second factor: secret and URI for an app"),
    ROW(POST, "/enable", mfa_enable, "authentication:update", 0, "Confirm it with a code; answers backup codes"),
    ROW(POST, "/disable", mfa_disable, "authentication:update", 0, "Do without it again, with a code or the password"),
    ROW(DELETE, "", mfa_disable, "authentication:update", 0, "The same"),
    ROW(POST, "/verify", mfa_verify, NULL, ROUTE_PUBLIC, "End a login with a code, or prove the second factor anew"),
    ROW(POST, "/backup-codes", mfa_renew_codes, "authentication:read", 0, "New backup codes in place of the former"),
    ROUTE(GET, "/api/auth/mfa/status", mfa_status, "authentication:read", READ,
	  "Is the second factor on, and must it be?"),
};
const struct route_table mfa_routes = {mfa_rows, countof(mfa_rows)};
