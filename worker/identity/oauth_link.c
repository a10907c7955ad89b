/* SPDX-License-Identifier: MIT */
/*
 * Whom a person from elsewhere is here. Called at the end of a login elsewhere. An address alone links nothing: the
 * provider must vouch for it, and what somebody has set up on an address that was never confirmed is taken away.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/tenant.h"
#include "worker/audit/audit.h"
#include "worker/identity/oauth.h"
#include "worker/identity/own.h"
#include "worker/identity/session.h"
#include "worker/identity/user.h"
#include "worker/permission/permission.h"
#include "worker/worker.h"

static bool land_refuse(struct error *err, enum err code, const char *word, const char *text)
{
	return error_field(err, code, word, "%s", text);
}

static void land_add_link(struct db_batch *b, const struct oauth_state *s, const struct oauth_person *who,
			  struct str user_id, struct str org_id)
{
	db_batch_add(b,
		     SQL_ANYBODY("who was recognised just now") "INSERT INTO oauth_links (provider, subject, org_id, "
								"user_id, email, created_at, last_login_at)"
								" VALUES ($1, $2, $3, $4, $5, $6, $6)",
		     DB_ARGS(DB_Z(oauth_name(s->provider)), DB_S(who->subject), DB_S(org_id), DB_S(user_id),
			     DB_S(who->email), DB_I(clock_wall_ms())),
		     1);
}

static void land_audit(struct db_batch *b, struct http_request *req, const char *action, struct str user_id)
{
	audit_add(b, req,
		  &(struct audit_event){
		      .category = "auth", .action = action, .resource_type = STR("user"), .resource_id = user_id});
}

CO_FN static bool land_commit(struct http_request *req, struct db_batch *b, struct str user_id, struct error *err)
{
	return own_commit(req, b, user_id, err) ||
	       (err->code == ERR_DUPLICATE
		    ? land_refuse(err, ERR_CONFLICT, "already_linked", "one of the accounts is linked already")
		    : false);
}

/* *user_id empty: not linked. */
CO_FN static bool land_find(struct http_request *req, const struct oauth_state *s, const struct oauth_person *who,
			    struct str *user_id, struct error *err)
{
	struct worker *w = req->user;
	struct db_rows r;

	if (!db_query(
		w->db, req->arena,
		SQL_ANYBODY(
		    "nobody has logged in yet") "SELECT user_id FROM oauth_links WHERE provider = $1 AND subject = $2",
		DB_ARGS(DB_Z(oauth_name(s->provider)), DB_S(who->subject)), &r, err))
		return false;
	*user_id = r.count > 0 ? db_str(&r, 0, 0) : STR("");
	return true;
}

/* Whoever is logged in adds a way to log in. */
CO_FN static bool land_link(struct http_request *req, const struct oauth_state *s, const struct oauth_person *who,
			    struct str linked_to, struct error *err)
{
	struct worker *w = req->user;
	struct db_batch *b;

	if (linked_to.n > 0)
		return str_eq(linked_to, s->user_id) ||
		       land_refuse(err, ERR_CONFLICT, "already_linked", "it is linked to another account here");
	b = db_batch_new(w->db);
	land_add_link(b, s, who, s->user_id, s->org_id);
	land_audit(b, req, "auth.oauth_linked", s->user_id);
	return land_commit(req, b, s->user_id, err);
}

CO_FN static bool land_known(struct http_request *req, const struct oauth_state *s, const struct oauth_person *who,
			     struct error *err)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);

	db_batch_add(
	    b,
	    SQL_ANYBODY("who was recognised just now") "UPDATE oauth_links SET last_login_at = $1, email = $2 WHERE "
						       "provider = $3 AND subject = $4",
	    DB_ARGS(DB_I(clock_wall_ms()), DB_S(who->email), DB_Z(oauth_name(s->provider)), DB_S(who->subject)), 1);
	return db_commit(w->db, b, err);
}

/*
 * An account with the address that the provider vouches for. If the address was never confirmed here, somebody else may
 * have made the account in expectation of its owner: the password goes, and all sessions end.
 */
CO_FN static bool land_adopt(struct http_request *req, const struct oauth_state *s, const struct oauth_person *who,
			     const struct db_rows *r, struct error *err)
{
	struct worker *w = req->user;
	struct str user_id = db_str(r, 0, 0);
	struct db_batch *b;

	if (db_int(r, 0, 2) == 0)
		return land_refuse(err, ERR_FORBIDDEN, "disabled", "the account is disabled");
	b = db_batch_new(w->db);
	user_evict(b, user_id);
	land_add_link(b, s, who, user_id, db_str(r, 0, 1));
	if (db_int(r, 0, 3) == 0) {
		db_batch_add(b,
			     SQL_ANYBODY("who was recognised just now") "UPDATE users SET email_verified = 1, "
									"password_hash = '' WHERE id = $1",
			     DB_ARGS(DB_S(user_id)), 1);
		session_end_all(b, user_id, "oauth_adopted");
	}
	land_audit(b, req, "auth.oauth_linked", user_id);
	return land_commit(req, b, user_id, err);
}

CO_FN static bool land_create(struct http_request *req, const struct oauth_state *s, const struct oauth_person *who,
			      struct str *user_id, struct error *err)
{
	struct worker *w = req->user;
	struct user_new u = {.email = who->email,
			     .name = str_utf8_cut(who->name, USER_NAME_MAX),
			     .org_id = STR(IDENTITY_DEFAULT),
			     .role = STR(ROLE_DEFAULT),
			     .email_verified = true};
	struct user_statements made;
	struct db_batch *b;

	if (w->conf->auth.registration == REGISTRATION_OFF)
		return land_refuse(err, ERR_FORBIDDEN, "registration_closed", "accounts are made by invitation here");
	/* Where it matters who belongs to whom, a stranger belongs to nobody. */
	if (conf_auth_required(w->conf))
		u.org_name = str_utf8_cut(u.name.n > 0 ? u.name : u.email, USER_ORG_NAME_MAX);
	user_statements(req->arena, &u, &made);
	b = db_batch_new(w->db);
	user_add(b, &made);
	land_add_link(b, s, who, made.user_id, made.org_id);
	land_audit(b, req, "auth.registered", made.user_id);
	*user_id = made.user_id;
	return land_commit(req, b, made.user_id, err);
}

CO_FN static bool land_by_email(struct http_request *req, const struct oauth_state *s, const struct oauth_person *who,
				struct str *user_id, struct error *err)
{
	struct worker *w = req->user;
	struct db_rows r;

	if (!who->email_verified || !user_email_valid(who->email))
		return land_refuse(err, ERR_FORBIDDEN, "email_not_verified",
				   "the provider has not confirmed the e-mail address");
	if (!db_query(w->db, req->arena,
		      SQL_ANYBODY("nobody has logged in yet") "SELECT id, org_id, is_active, email_verified FROM users "
							      "WHERE email_key = $1",
		      DB_ARGS(DB_S(user_email_key(req->arena, who->email))), &r, err))
		return false;
	if (r.count == 0)
		return land_create(req, s, who, user_id, err);
	*user_id = db_str(&r, 0, 0);
	return land_adopt(req, s, who, &r, err);
}

CO_FN bool oauth_land(struct http_request *req, const struct oauth_state *s, const struct oauth_person *who,
		      struct str *user_id, bool *linked, struct error *err)
{
	*linked = s->user_id.n > 0;
	if (!land_find(req, s, who, user_id, err))
		return false;
	if (*linked)
		return land_link(req, s, who, *user_id, err);
	if (user_id->n > 0)
		return land_known(req, s, who, err);
	return land_by_email(req, s, who, user_id, err);
}
