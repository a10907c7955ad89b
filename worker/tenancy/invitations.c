/* SPDX-License-Identifier: MIT */
/*
 * Invitations into an organization: a random token, of which only the hash is kept, sent by mail to one address, good
 * once and for tenancy.invitation_days. Called through its routes. Whoever accepts is logged in with that address, or
 * gets an account on the spot, whose address is still to be confirmed.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/log.h"
#include "common/tenant.h"
#include "worker/audit/audit.h"
#include "worker/http/body.h"
#include "worker/identity/changes.h"
#include "worker/identity/password.h"
#include "worker/identity/recovery.h"
#include "worker/identity/session.h"
#include "worker/identity/user.h"
#include "worker/mail/mail.h"
#include "worker/permission/permission.h"
#include "worker/tenancy/quota.h"
#include "worker/tenancy/tenancy.h"

#define INVITATION_TOKEN 64 /* hex digits */
#define INVITATION_DAY_MS INT64_C(86400000)

static const struct tenancy_column invitation_columns[] = {{"id", TENANCY_TEXT},         {"email", TENANCY_TEXT},
							   {"role", TENANCY_TEXT},       {"invited_by", TENANCY_TEXT},
							   {"created_at", TENANCY_TIME}, {"expires_at", TENANCY_TIME},
							   {"accepted_at", TENANCY_TIME}};

static struct str invitation_hash(struct arena *a, struct str token)
{
	char hex[SHA256_HEX];

	crypto_sha256_hex(token, hex);
	return arena_str(a, str_of(hex));
}

CO_FN static void invitation_list(struct http_request *req)
{
	const struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (!db_query(w->db, req->arena,
		      "SELECT id, email, role, invited_by, created_at, expires_at, accepted_at FROM invitations"
		      " WHERE org_id = $1 ORDER BY created_at DESC, id LIMIT 200",
		      DB_ARGS(DB_S(req->ctx.org_id)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:O, s:I}", "invitations",
				  tenancy_rows(req->arena, &r, invitation_columns, countof(invitation_columns)),
				  "total", (json_int_t)r.count));
}

/* The link; it stands in the mail and, for whoever invites, in the answer. */
static struct str invitation_url(struct http_request *req, struct str token)
{
	return arena_printf(req->arena, "%s://%.*s/invite?token=%.*s", req->https ? "https" : "http",
			    STR_ARG(http_field(req, "Host")), STR_ARG(token));
}

static bool invitation_read(struct http_request *req, const json_t *body, struct str *email, struct str *role)
{
	struct str org = json_get_str(body, "organization_id", req->ctx.org_id);
	struct error err = ERROR_INIT;
	struct body_problems p;

	body_problems_begin(req, &p);
	*email = body_text(&p, body, "email", 1, USER_EMAIL_MAX, false);
	*role = body_text(&p, body, "role", 0, 64, false);
	if (role->n == 0)
		*role = STR(ROLE_DEFAULT);
	if (email->n > 0 && !user_email_valid(*email)) {
		error_field(&err, ERR_INVALID_VALUE, "email", "is not an e-mail address");
		body_problem(&p, &err);
	}
	if (role_find(*role) == NULL && !role_custom_name_valid(*role)) {
		error_field(&err, ERR_INVALID_VALUE, "role", "there is no such role");
		body_problem(&p, &err);
	}
	if (body_refused(req, &p))
		return false;
	if (!str_eq(org, req->ctx.org_id)) {
		tenancy_missing(req, "Organization");
		return false;
	}
	if (role_may_assign(req->ctx.who->role, STR(""), *role))
		return true;
	error_field(&err, ERR_FORBIDDEN, "role", "your role does not allow to give this one");
	http_reply_error(req, &err);
	return false;
}

CO_FN static void invitation_create(struct http_request *req)
{
	struct worker *w = req->user;
	const json_t *body = body_object(req);
	int64_t now = clock_wall_ms(), life = w->conf->tenancy.invitation_days * INVITATION_DAY_MS;
	char id[UUID_LEN + 1], token[INVITATION_TOKEN + 1];
	struct str email, role, url, text;
	struct error err = ERROR_INIT;
	struct db_batch *b;
	struct quota q;
	json_t *o;

	if (body == NULL || !invitation_read(req, body, &email, &role))
		return;
	if (!quota_read(w, req->arena, &req->ctx, QUOTA_USERS, &q, &err)) {
		http_reply_error(req, &err);
		return;
	}
	if (q.used >= q.limit) {
		quota_reply(req, &q);
		return;
	}
	ids_uuid7(id);
	ids_hex(token, INVITATION_TOKEN / 2);
	url = invitation_url(req, str_of(token));
	b = db_batch_new(w->db);
	/* A new one takes the place of those to the same address. */
	db_batch_add(b, "DELETE FROM invitations WHERE org_id = $1 AND email_key = $2 AND accepted_at IS NULL",
		     DB_ARGS(DB_S(req->ctx.org_id), DB_S(user_email_key(req->arena, email))), DB_ANY);
	db_batch_add(b,
		     "INSERT INTO invitations (id, org_id, email, email_key, role, token_hash, invited_by, created_at,"
		     " expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		     DB_ARGS(DB_Z(id), DB_S(req->ctx.org_id), DB_S(email), DB_S(user_email_key(req->arena, email)),
			     DB_S(role), DB_S(invitation_hash(req->arena, str_of(token))), DB_S(req->ctx.principal),
			     DB_I(now), DB_I(now + life)),
		     1);
	if (!tenancy_commit(req, b,
			    &(struct tenancy_act){.category = "admin",
						  .action = "user.invite",
						  .type = "invitation",
						  .id = str_of(id),
						  .details = json_pack("{s:s%, s:s%}", "email", email.p, email.n,
								       "role", role.p, role.n)}))
		return;
	text =
	    arena_printf(req->arena, "You are invited to join an organization on this server.\n\n%.*s\n", STR_ARG(url));
	o = json_pack("{s:s, s:s%, s:s, s:s%, s:I, s:s, s:s%}", "message", "the invitation is on its way", "email",
		      email.p, email.n, "invite_token", token, "invite_url", url.p, url.n, "expires_in",
		      (json_int_t)(life / 1000), "id", id, "role", role.p, role.n);
	json_object_set_new(o, "mailed", json_boolean(mail_post(w, email, "Invitation", text)));
	explicit_bzero(token, sizeof(token));
	http_reply_json(req, 201, o);
}

CO_FN static void invitation_delete(struct http_request *req)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);

	db_batch_add(b, "DELETE FROM invitations WHERE id = $1 AND org_id = $2 AND accepted_at IS NULL",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id)), 1);
	if (tenancy_commit(req, b,
			   &(struct tenancy_act){.category = "admin",
						 .action = "user.invite_revoke",
						 .type = "invitation",
						 .id = req->params[0],
						 .fenced = "Invitation"}))
		http_reply_json(req, 200,
				json_pack("{s:b, s:s%}", "deleted", 1, "id", req->params[0].p, req->params[0].n));
}

/* ---- accepting ---- */

struct invitation {
	struct str id, org_id, email, email_key, role;
	int64_t expires_at, accepted_at;
};

/* False after having answered: 404 for an unknown token, 410 for one that is used or too old. */
CO_FN static bool invitation_find(struct http_request *req, struct str token, struct invitation *out)
{
	const struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (!db_query(
		w->db, req->arena,
		SQL_ANYBODY("the token names its organization") "SELECT i.id, i.org_id, i.email, i.email_key, i.role, "
								"i.expires_at, i.accepted_at FROM invitations i"
								" JOIN organizations o ON o.id = i.org_id WHERE "
								"i.token_hash = $1 AND o.is_active = 1",
		DB_ARGS(DB_S(invitation_hash(req->arena, token))), &r, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	if (r.count == 0) {
		tenancy_missing(req, "Invitation");
		return false;
	}
	*out = (struct invitation){db_str(&r, 0, 0), db_str(&r, 0, 1), db_str(&r, 0, 2), db_str(&r, 0, 3),
				   db_str(&r, 0, 4), db_int(&r, 0, 5), db_int(&r, 0, 6)};
	if (out->accepted_at == 0 && out->expires_at > clock_wall_ms())
		return true;
	http_reply_json(req, 410,
			json_pack("{s:s, s:s, s:b}", "error",
				  out->accepted_at != 0 ? "the invitation has been used" : "the invitation has expired",
				  "code", "GONE", "valid", 0));
	return false;
}

CO_FN static void invitation_check(struct http_request *req)
{
	char iso[CLOCK_ISO_MAX];
	struct invitation i;

	if (!invitation_find(req, http_query(req, "token"), &i))
		return;
	http_reply_json(req, 200,
			json_pack("{s:b, s:s%, s:s%, s:s%, s:s}", "valid", 1, "email", i.email.p, i.email.n,
				  "organization_id", i.org_id.p, i.org_id.n, "role", i.role.p, i.role.n, "expires_at",
				  clock_iso(iso, i.expires_at)));
}

static void invitation_take(struct db_batch *b, const struct invitation *i, struct str user_id)
{
	db_batch_add(b,
		     SQL_ANYBODY("the token has named it") "UPDATE invitations SET accepted_at = $2, accepted_by = $3 "
							   "WHERE id = $1 AND org_id = $4 AND"
							   " accepted_at IS NULL AND expires_at > $2",
		     DB_ARGS(DB_S(i->id), DB_I(clock_wall_ms()), DB_S(user_id), DB_S(i->org_id)), 1);
}

CO_FN static bool invitation_commit(struct http_request *req, struct db_batch *b, const struct invitation *i,
				    struct str user_id)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;

	audit_add(b, req,
		  &(struct audit_event){.category = "admin",
					.action = "user.invite_accept",
					.resource_type = STR("organization"),
					.resource_id = i->org_id});
	identity_change_add(b, IDENTITY_CHANGE_USER, user_id);
	if (db_commit(w->db, b, &err)) {
		identity_changed(w, IDENTITY_CHANGE_USER, user_id);
		return true;
	}
	tenancy_fail(req, &err, "Invitation", "an account with this address exists; log in and accept again");
	return false;
}

/*
 * Nobody is logged in: the address gets its account here. That the address is theirs is not proved by it: whoever
 * invites has seen the token, too, and could take somebody else's address.
 */
CO_FN static void invitation_join_new(struct http_request *req, const json_t *body, const struct invitation *i)
{
	struct worker *w = req->user;
	struct user_new u = {.email = i->email, .org_id = i->org_id, .role = i->role};
	struct error err = ERROR_INIT;
	struct user_statements s;
	struct body_problems p;
	struct str password;
	struct db_batch *b;

	body_problems_begin(req, &p);
	u.name = body_text(&p, body, "name", 0, USER_NAME_MAX, false);
	u.org_name = STR("");
	password = body_text(&p, body, "password", 1, 512, true);
	if (password.n > 0 && !password_policy(password, i->email, "password", &err))
		body_problem(&p, &err);
	if (body_refused(req, &p))
		return;
	if (!password_hash(w->passwords, req->arena, password, &u.password_hash, &err)) {
		http_reply_error(req, &err);
		return;
	}
	user_statements(req->arena, &u, &s);
	b = db_batch_new(w->db);
	user_add(b, &s);
	invitation_take(b, i, s.user_id);
	if (!invitation_commit(req, b, i, s.user_id))
		return;
	if (!recovery_send_verification(w, user_email_key(req->arena, i->email)))
		log_warn("identity", "no mail to confirm the address was sent", KV_STR("user_id", s.user_id));
	session_answer(req, s.user_id, &(struct session_proof){.method = "invitation", .org_id = i->org_id}, 201);
}

CO_FN static void invitation_accept(struct http_request *req)
{
	struct worker *w = req->user;
	const json_t *body = body_object(req);
	const struct account *account = req->ctx.who != NULL ? req->ctx.who->account : NULL;
	struct error err = ERROR_INIT;
	struct body_problems p;
	struct invitation i;
	struct db_batch *b;
	struct str token;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	token = body_text(&p, body, "token", 1, 128, false);
	if (body_refused(req, &p) || !invitation_find(req, token, &i))
		return;
	if (account == NULL) {
		invitation_join_new(req, body, &i);
		return;
	}
	if (req->ctx.who->kind != IDENTITY_USER || req->ctx.who->impersonator.n > 0) {
		error_set(&err, ERR_FORBIDDEN, "only the account's owner may accept: log in");
		http_reply_error(req, &err);
		return;
	}
	if (!str_eq(user_email_key(req->arena, account->email), i.email_key)) {
		error_set(&err, ERR_FORBIDDEN, "the invitation is for another address");
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	tenancy_add_member(b, i.org_id, account->id, i.role);
	invitation_take(b, &i, account->id);
	if (invitation_commit(req, b, &i, account->id))
		http_reply_json(req, 200,
				json_pack("{s:s, s:s%, s:s%}", "message", "welcome", "organization_id", i.org_id.p,
					  i.org_id.n, "role", i.role.p, i.role.n));
}

#define ROW(m, p, h, perm, r, s) ROUTE(m, p, h, perm, r, s, .flags = ROUTE_SECRET)
#define OPEN(m, p, h, r, s) ROUTE(m, p, h, NULL, r, s, .flags = ROUTE_PUBLIC | ROUTE_SECRET)

static const struct route invitation_rows[] = {
    ROW(GET, "/api/org/invitations", invitation_list, "organization.invite", READ, "Invitations of the organization"),
    ROW(POST, "/api/org/invitations", invitation_create, "organization.invite", CREATE, "Invite somebody"),
    ROW(DELETE, "/api/org/invitations/{id}", invitation_delete, "organization.invite", WRITE,
	"Take an invitation back"),
    ROW(POST, "/api/users/invite", invitation_create, "users.invite", CREATE, "Invite somebody"),
    ROW(POST, "/api/auth/invite", invitation_create, "organization.invite", CREATE, "Invite somebody"),
    OPEN(GET, "/api/auth/check-invite", invitation_check, READ, "What an invitation is for"),
    OPEN(POST, "/api/auth/accept-invite", invitation_accept, WRITE, "Accept an invitation"),
};
const struct route_table invitation_routes = {invitation_rows, countof(invitation_rows)};
