/* SPDX-License-Identifier: MIT */
/*
 * Passwords that are changed or forgotten, and addresses that are confirmed, with links by mail (rest-core 6.3). A link
 * works once; of its token the store has a hash. Whoever asks for a link learns nothing about who has an account.
 */
#include "worker/identity/recovery.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/tenant.h"
#include "worker/audit/audit.h"
#include "worker/identity/own.h"
#include "worker/identity/session.h"
#include "worker/identity/user.h"
#include "worker/mail/mail.h"
#include "worker/worker.h"

#define RECOVERY_TOKEN 32     /* random bytes */
#define RECOVERY_TOKEN_MAX 64 /* characters that are looked at */
#define RECOVERY_PER_HOUR 3   /* mails of a kind to an account, security.md 3.4 */
#define HOUR_MS INT64_C(3600000)
#define RECOVERY_RESET_MS HOUR_MS
#define RECOVERY_VERIFY_MS (24 * HOUR_MS)

struct recovery_kind {
	const char *purpose, *page, *subject, *text;
	int64_t life_ms;
};

static const struct recovery_kind recovery_reset = {
    "reset", "/reset-password", "Choose a new password",
    "Somebody, probably you, asked for a new password for your account.\r\n\r\nChoose one within an hour:\r\n%s\r\n\r\n"
    "If it was not you, do nothing: your password stays as it is.\r\n",
    RECOVERY_RESET_MS};
static const struct recovery_kind recovery_verify = {
    "verify", "/verify-email", "Confirm your e-mail address",
    "Confirm within a day that this address is yours:\r\n%s\r\n\r\nIf you have no account here, do nothing.\r\n",
    RECOVERY_VERIFY_MS};

/* ---- sending ---- */

static struct str recovery_hash(struct arena *a, struct str token)
{
	char hex[SHA256_HEX];

	crypto_sha256_hex(token, hex);
	return arena_str(a, str_of(hex));
}

/* The token stands behind '#': what is there is sent to no server and stands in no log. */
static bool recovery_mail(struct worker *w, struct arena *a, const struct recovery_kind *kind, struct str email,
			  const char *token)
{
	struct str link = arena_printf(a, "%s%s#token=%s", w->conf->auth.public_url, kind->page, token);
	struct buf text = BUF_INIT;
	struct str rest = str_of(kind->text);
	ptrdiff_t at = str_find(rest, STR("%s"));
	bool ok;

	buf_add(&text, str_sub(rest, 0, (size_t)at));
	buf_add(&text, link);
	buf_add(&text, str_sub(rest, (size_t)at + 2, rest.n));
	ok = mail_post(w, email, kind->subject, buf_str(&text));
	explicit_bzero(text.p, text.n);
	buf_free(&text);
	return ok;
}

/* ERR_FENCED: there were enough of them in the last hour. */
CO_FN static bool recovery_token(struct worker *w, struct arena *a, const struct recovery_kind *kind,
				 struct str user_id, char token[45], struct error *err)
{
	uint8_t bytes[RECOVERY_TOKEN];
	int64_t now = clock_wall_ms();
	struct db_batch *b = db_batch_new(w->db);

	ids_random(bytes, sizeof(bytes));
	(void)crypto_base64url(token, bytes, sizeof(bytes));
	explicit_bzero(bytes, sizeof(bytes));
	/* The user's row is locked: of several at once, each counts the ones before it. */
	db_batch_add(b, SQL_ANYBODY("nobody has logged in") "UPDATE users SET updated_at = updated_at WHERE id = $1",
		     DB_ARGS(DB_S(user_id)), 1);
	db_batch_add(b,
		     SQL_ANYBODY("nobody has logged in") "INSERT INTO one_time_tokens (id, org_id, user_id, purpose, "
							 "email, created_at, expires_at)"
							 " SELECT $1, u.org_id, u.id, $3, u.email, $4, $5 FROM users u "
							 "WHERE u.id = $2 AND"
							 " (SELECT COUNT(*) FROM one_time_tokens t WHERE t.user_id = "
							 "$2 AND t.purpose = $3"
							 " AND t.created_at > $6) < $7",
		     DB_ARGS(DB_S(recovery_hash(a, str_of(token))), DB_S(user_id), DB_Z(kind->purpose), DB_I(now),
			     DB_I(now + kind->life_ms), DB_I(now - HOUR_MS), DB_I(RECOVERY_PER_HOUR)),
		     1);
	db_batch_add(b, SQL_ANYBODY("what has expired") "DELETE FROM one_time_tokens WHERE expires_at < $1",
		     DB_ARGS(DB_I(now - 24 * HOUR_MS)), DB_ANY);
	return db_commit(w->db, b, err);
}

/* Behind the answer: neither it nor the time it takes tell whether there is such an account. */
struct recovery_wish {
	struct worker *w;
	const struct recovery_kind *kind;
	size_t n;
	char email_key[];
};

/* The account that the link is for; none, and true, if there is nobody to write to. */
CO_FN static bool recovery_wanted(const struct recovery_wish *r, struct arena *a, struct db_rows *rows,
				  struct error *err)
{
	bool confirm = r->kind == &recovery_verify;

	return db_query(r->w->db, a,
			SQL_ANYBODY("nobody has logged in") "SELECT id, email FROM users WHERE email_key = $1 AND "
							    "is_active = 1 AND service_account = 0"
							    " AND ($2 = 0 OR email_verified = 0)",
			DB_ARGS(DB_S(((struct str){r->email_key, r->n})), DB_I(confirm)), rows, err);
}

CO_FN static void recovery_send(void *arg)
{
	struct recovery_wish *r = arg;
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct db_rows rows;
	char token[45];
	bool ok = recovery_wanted(r, a, &rows, &err);

	if (ok && rows.count > 0)
		ok = recovery_token(r->w, a, r->kind, db_str(&rows, 0, 0), token, &err) &&
		     (recovery_mail(r->w, a, r->kind, db_str(&rows, 0, 1), token) ||
		      error_set(&err, ERR_UNAVAILABLE, "too many mails are under way"));
	if (!ok && err.code == ERR_FENCED)
		log_info("identity", "no further link is sent in this hour", KV_S("purpose", r->kind->purpose));
	else if (!ok)
		log_error("identity", "a link was not sent", KV_S("purpose", r->kind->purpose),
			  KV_S("reason", err.msg));
	explicit_bzero(token, sizeof(token));
	arena_free(a);
	free(r);
}

static bool recovery_begin(struct worker *w, const struct recovery_kind *kind, struct str email_key)
{
	struct recovery_wish *r = xcalloc(1, sizeof(*r) + email_key.n + 1);

	r->w = w;
	r->kind = kind;
	r->n = email_key.n;
	memcpy(r->email_key, email_key.p, email_key.n);
	if (co_spawn("recovery", recovery_send, r) != NULL)
		return true;
	free(r);
	return false;
}

bool recovery_send_verification(struct worker *w, struct str email_key)
{
	return recovery_begin(w, &recovery_verify, email_key);
}

static void recovery_ask(struct http_request *req, const struct recovery_kind *kind)
{
	const json_t *body = body_object(req);
	struct body_problems p;
	struct str email;
	json_t *o;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	email = body_text(&p, body, "email", 3, USER_EMAIL_MAX, false);
	if (body_refused(req, &p))
		return;
	if (!recovery_begin(req->user, kind, user_email_key(req->arena, email)))
		log_error("identity", "a link was not sent", KV_S("purpose", kind->purpose),
			  KV_S("reason", "too busy"));
	o = json_object();
	json_put_str(o, "email", email);
	own_message(req, o, "If there is such an account, a mail is on its way.");
}

static void recovery_forgot(struct http_request *req)
{
	recovery_ask(req, &recovery_reset);
}

static void recovery_resend(struct http_request *req)
{
	recovery_ask(req, &recovery_verify);
}

/* ---- using a link ---- */

struct recovery_found {
	struct str hash, user_id, org_id, email, name;
};

CO_FN static bool recovery_find(struct http_request *req, const struct recovery_kind *kind, struct str token,
				struct recovery_found *f, struct error *err)
{
	struct worker *w = req->user;
	struct db_rows r;

	f->hash = recovery_hash(req->arena, token);
	if (!db_query(
		w->db, req->arena,
		SQL_ANYBODY(
		    "who has the token is its user") "SELECT t.user_id, u.org_id, u.email, u.name FROM one_time_tokens "
						     "t JOIN users u"
						     " ON u.id = t.user_id AND u.email = t.email WHERE t.id = $1 AND "
						     "t.purpose = $2"
						     " AND t.used_at IS NULL AND t.expires_at > $3 AND u.is_active = 1",
		DB_ARGS(DB_S(f->hash), DB_Z(kind->purpose), DB_I(clock_wall_ms())), &r, err))
		return false;
	if (r.count == 0)
		return error_field(err, ERR_INVALID_VALUE, "token", "is wrong, was used, or has expired");
	f->user_id = db_str(&r, 0, 0);
	f->org_id = db_str(&r, 0, 1);
	f->email = db_str(&r, 0, 2);
	f->name = db_str(&r, 0, 3);
	return true;
}

/* The token, and all others of its kind, cannot be used any more. */
static void recovery_use(struct db_batch *b, const struct recovery_kind *kind, const struct recovery_found *f)
{
	int64_t now = clock_wall_ms();

	db_batch_add(b,
		     SQL_ANYBODY("who has the token is its user") "UPDATE one_time_tokens SET used_at = $1 WHERE id = "
								  "$2 AND used_at IS NULL AND expires_at > $1",
		     DB_ARGS(DB_I(now), DB_S(f->hash)), 1);
	db_batch_add(b,
		     SQL_ANYBODY("who has the token is its user") "UPDATE one_time_tokens SET used_at = $1 WHERE "
								  "user_id = $2 AND purpose = $3 AND used_at IS NULL",
		     DB_ARGS(DB_I(now), DB_S(f->user_id), DB_Z(kind->purpose)), DB_ANY);
}

/* ERR_FENCED of such a batch means that somebody else was faster. */
static void recovery_fail(struct http_request *req, struct error *err)
{
	if (err->code == ERR_FENCED)
		error_field(err, ERR_INVALID_VALUE, "token", "is wrong, was used, or has expired");
	http_reply_error(req, err);
}

CO_FN static bool recovery_set(struct http_request *req, const struct recovery_found *f, struct str stored,
			       struct error *err)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);
	int64_t now = clock_wall_ms();

	recovery_use(b, &recovery_reset, f);
	user_evict(b, f->user_id);
	db_batch_add(b,
		     SQL_ANYBODY("who has the token is its user") "UPDATE users SET password_hash = $1, password_at = "
								  "$2, email_verified = 1, updated_at = $2"
								  " WHERE id = $3 AND is_active = 1",
		     DB_ARGS(DB_S(stored), DB_I(now), DB_S(f->user_id)), 1);
	lockout_forget(b, "email", user_email_key(req->arena, f->email));
	audit_add(b, req,
		  &(struct audit_event){.category = "auth",
					.action = "auth.password_reset",
					.resource_type = STR("user"),
					.resource_id = f->user_id});
	session_end_all(b, f->user_id, "password_reset");
	return own_commit(req, b, f->user_id, err);
}

/* Whether the token is good is told before the password is judged, and hashing costs only who has one. */
CO_FN static void recovery_do_reset(struct http_request *req)
{
	const json_t *body = body_object(req);
	const char *field = json_object_get(body, "new_password") != NULL ? "new_password" : "password";
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct recovery_found f;
	struct body_problems p;
	struct str token, password, stored;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	token = body_text(&p, body, "token", 1, RECOVERY_TOKEN_MAX, false);
	password = body_text(&p, body, field, 1, 4 * PASSWORD_CHARS_MAX, true);
	if (body_refused(req, &p))
		return;
	if (!recovery_find(req, &recovery_reset, token, &f, &err) || !password_policy(password, f.email, field, &err) ||
	    !password_hash(w->passwords, req->arena, password, &stored, &err) || !recovery_set(req, &f, stored, &err)) {
		recovery_fail(req, &err);
		return;
	}
	log_info("identity", "password reset", KV_STR("user_id", f.user_id));
	own_message(req, json_pack("{s:b}", "sessions_invalidated", 1), "The password is changed; log in with it.");
}

CO_FN static void recovery_do_verify(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct recovery_found f;
	struct body_problems p;
	struct db_batch *b;
	struct str token;
	json_t *o;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	token = body_text(&p, body, "token", 1, RECOVERY_TOKEN_MAX, false);
	if (body_refused(req, &p))
		return;
	if (!recovery_find(req, &recovery_verify, token, &f, &err)) {
		recovery_fail(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	recovery_use(b, &recovery_verify, &f);
	db_batch_add(
	    b,
	    SQL_ANYBODY(
		"who has the token is its user") "UPDATE users SET email_verified = 1, updated_at = $1 WHERE id = $2",
	    DB_ARGS(DB_I(clock_wall_ms()), DB_S(f.user_id)), 1);
	audit_add(b, req,
		  &(struct audit_event){.category = "auth",
					.action = "auth.email_verified",
					.resource_type = STR("user"),
					.resource_id = f.user_id});
	if (!own_commit(req, b, f.user_id, &err)) {
		recovery_fail(req, &err);
		return;
	}
	o = json_pack("{s:b, s:b}", "verified", 1, "needs_org_setup", f.org_id.n == 0);
	json_put_str(o, "user_id", f.user_id);
	json_put_str(o, "email", f.email);
	json_put_str(o, "name", f.name);
	json_put_str(o, "organization_id", f.org_id);
	own_message(req, o, "The address is confirmed.");
}

/* ---- changing ---- */

CO_FN static bool recovery_change_store(struct http_request *req, const struct account *u, struct str before,
					struct str after, struct error *err)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);
	int64_t now = clock_wall_ms();

	db_batch_add(b,
		     SQL_ANYBODY("the user of the request") "UPDATE users SET password_hash = $1, password_at = $2, "
							    "updated_at = $2 WHERE id = $3"
							    " AND password_hash = $4",
		     DB_ARGS(DB_S(after), DB_I(now), DB_S(u->id), DB_S(before)), 1);
	audit_add(b, req,
		  &(struct audit_event){.category = "auth",
					.action = "auth.password_changed",
					.resource_type = STR("user"),
					.resource_id = u->id});
	session_end_all(b, u->id, "password_changed");
	return own_commit(req, b, u->id, err) ||
	       (err->code == ERR_FENCED ? error_set(err, ERR_CONFLICT, "the password was changed just now") : false);
}

CO_FN static void recovery_change(struct http_request *req)
{
	const struct account *u = own_account_proved(req);
	const json_t *body = u != NULL ? body_object(req) : NULL;
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct body_problems p;
	struct str current, fresh, before, after;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	current = body_text(&p, body, "current_password", 1, 4 * PASSWORD_CHARS_MAX, true);
	fresh = body_text(&p, body, "new_password", 1, 4 * PASSWORD_CHARS_MAX, true);
	if (fresh.n > 0 && !password_policy(fresh, u->email, "new_password", &err))
		body_problem(&p, &err);
	else if (fresh.n > 0 && str_eq(fresh, current)) {
		error_field(&err, ERR_INVALID_VALUE, "new_password", "is the current one");
		body_problem(&p, &err);
	}
	if (body_refused(req, &p))
		return;
	if (!own_password_ok(req, u, current, &before, &err) ||
	    !password_hash(w->passwords, req->arena, fresh, &after, &err) ||
	    !recovery_change_store(req, u, before, after, &err)) {
		http_reply_error(req, &err);
		return;
	}
	log_info("identity", "password changed", KV_STR("user_id", u->id));
	own_message(req, json_pack("{s:b}", "sessions_invalidated", 1), "The password is changed; log in with it.");
}

#define ROW(p, h, perm, f, s) \
	ROUTE(POST, "/api/auth/" p, h, perm, WRITE, s, .flags = ROUTE_SECRET | (f), .body_limit = 16384)

static const struct route recovery_rows[] = {
    ROW("password", recovery_change, "authentication:read", 0, "Change the password; all sessions end"),
    ROW("password/change", recovery_change, "authentication:read", 0, "The same"),
    ROW("change-password", recovery_change, "authentication:read", 0, "The same"),
    ROW("password/forgot", recovery_forgot, NULL, ROUTE_PUBLIC, "Ask for a link to choose a new password"),
    ROW("forgot-password", recovery_forgot, NULL, ROUTE_PUBLIC, "The same"),
    ROW("password/reset", recovery_do_reset, NULL, ROUTE_PUBLIC, "Choose a new password with the token of the link"),
    ROW("reset-password", recovery_do_reset, NULL, ROUTE_PUBLIC, "The same"),
    ROW("verify-email", recovery_do_verify, NULL, ROUTE_PUBLIC, "Confirm an e-mail address with the token of the link"),
    ROW("resend-verification", recovery_resend, NULL, ROUTE_PUBLIC, "Ask for another link to confirm the address"),
    ROW("verify-email/resend", recovery_resend, NULL, ROUTE_PUBLIC, "The same"),
};
const struct route_table recovery_routes = {recovery_rows, countof(recovery_rows)};
