/* SPDX-License-Identifier: MIT */
/*
 * Guards and small answers for endpoints about one's own account. Called by keys, passwords, second factors and linked
 * logins. Changes nothing by itself.
 */
#include "worker/identity/own.h"

#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/identity/user.h"
#include "worker/worker.h"

static const struct account *own_refuse(struct http_request *req, enum err code, const char *text)
{
	struct error err = ERROR_INIT;

	error_set(&err, code, "%s", text);
	http_reply_error(req, &err);
	return NULL;
}

const struct account *own_account(struct http_request *req)
{
	const struct account *u = req->ctx.who->account;

	return u != NULL
		   ? u
		   : own_refuse(req, ERR_AUTH_REQUIRED, "this is about the account that is logged in, and nobody is");
}

const struct account *own_account_proved(struct http_request *req)
{
	const struct identity *who = req->ctx.who;

	if (own_account(req) == NULL)
		return NULL;
	if (who->kind != IDENTITY_USER)
		return own_refuse(req, ERR_FORBIDDEN, "an API key may not do this: log in");
	if (who->impersonator.n > 0)
		return own_refuse(req, ERR_FORBIDDEN, "only the account's owner may do this, nobody in their place");
	return who->account;
}

CO_FN bool own_password_ok(struct http_request *req, const struct account *u, struct str password, struct str *stored,
			   struct error *err)
{
	struct worker *w = req->user;
	enum password_match match = PASSWORD_WRONG;
	struct lockout l;
	struct db_rows r;
	bool ok;

	*stored = STR_NONE;
	if (!lockout_enter(req, "email", user_email_key(req->arena, u->email), &l, err))
		return false;
	ok = db_query(w->db, req->arena,
		      SQL_ANYBODY("the user of the request") "SELECT password_hash FROM users WHERE id = $1",
		      DB_ARGS(DB_S(u->id)), &r, err);
	if (ok && r.count > 0)
		*stored = db_str(&r, 0, 0);
	ok = ok && password_verify(w->passwords, *stored, password, &match, err);
	lockout_leave(req, &l, !ok ? LOCKOUT_NEITHER : match == PASSWORD_WRONG ? LOCKOUT_FAILED : LOCKOUT_PASSED);
	if (!ok || match != PASSWORD_WRONG)
		return ok;
	metric_add(M_AUTH_FAILURES, 1, "invalid", NULL);
	return error_set(err, ERR_INVALID_CREDENTIALS, "the password is wrong");
}

CO_FN bool own_commit(struct http_request *req, struct db_batch *b, struct str user_id, struct error *err)
{
	struct worker *w = req->user;

	identity_change_add(b, IDENTITY_CHANGE_USER, user_id);
	if (!db_commit(w->db, b, err))
		return false;
	identity_changed(w, IDENTITY_CHANGE_USER, user_id);
	return true;
}

void own_message(struct http_request *req, json_t *o, const char *text)
{
	if (o == NULL)
		o = json_object();
	json_put_str(o, "message", str_of(text));
	http_reply_json(req, 200, o);
}
