/* SPDX-License-Identifier: MIT */
/*
 * Begins and renews sessions in the store, and makes their tokens. Called by everything that ends a login. A refresh
 * token that comes back after it was used has been stolen, or its thief was faster: then everything of that user ends
 * (security.md 3.2). It asks nobody for a password.
 */
#include "worker/identity/session.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/audit/audit.h"
#include "worker/identity/credential.h"
#include "worker/worker.h"

#define SESSION_AGENT_MAX 300
#define SESSION_GRACE_MS 10000 /* in which one client may have sent the same refresh twice */
#define HOUR_MS INT64_C(3600000)
#define DAY_MS INT64_C(86400000)

/* ---- the client ---- */

/* The same client: for the grace of parallel refreshes. Not its address as it stands: that is in the session. */
static struct str session_client(struct http_request *req)
{
	struct str both =
	    arena_printf(req->arena, "%.*s\n%.*s", STR_ARG(req->client), STR_ARG(http_field(req, "user-agent")));
	char hex[SHA256_HEX];

	crypto_sha256_hex(both, hex);
	return arena_str(req->arena, str_sub(str_of(hex), 0, 32));
}

static const char *session_first(struct str agent, const char *const (*table)[2], size_t n, const char *dflt)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (str_find(agent, str_of(table[i][0])) >= 0)
			return table[i][1];
	return dflt;
}

/* "Firefox on Linux": enough to tell one's own sessions apart. The first that matches: many name others too. */
static struct str session_device(struct arena *a, struct str agent)
{
	static const char *const programs[][2] = {
	    {"Edg/", "Edge"},      {"OPR/", "Opera"},          {"Firefox/", "Firefox"}, {"Chrome/", "Chrome"},
	    {"Safari/", "Safari"}, {"python", "Python"},       {"curl/", "curl"},       {"node", "Node.js"},
	    {"Go-http", "Go"},     {"aragora", "Aragora SDK"},
	};
	static const char *const systems[][2] = {
	    {"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"},
	    {"Windows", "Windows"}, {"Mac OS", "macOS"},  {"Linux", "Linux"},
	};
	const char *program = session_first(agent, programs, countof(programs), NULL);
	const char *system = session_first(agent, systems, countof(systems), NULL);

	if (program != NULL && system != NULL)
		return arena_printf(a, "%s on %s", program, system);
	return str_of(program != NULL ? program : system != NULL ? system : "Unknown device");
}

/* ---- tokens ---- */

struct session_pair {
	struct str session_id, org_id, role;
	char access_id[UUID_LEN + 1], refresh_id[UUID_LEN + 1];
	int64_t now_ms, access_ends_ms, refresh_ends_ms, mfa_ms, seq;
};

static void session_pair_new(const struct worker *w, struct session_pair *p)
{
	p->now_ms = clock_wall_ms();
	p->access_ends_ms = p->now_ms + w->conf->auth.jwt_expiry_hours * HOUR_MS;
	p->refresh_ends_ms = p->now_ms + w->conf->auth.refresh_expiry_days * DAY_MS;
	ids_uuid7(p->access_id);
	ids_uuid7(p->refresh_id);
}

/* Home, if the wanted one is not the user's; "" and no role if there is none. */
static void session_choose_org(const struct account *u, struct str wanted, struct session_pair *p)
{
	const struct membership *m = account_member(u, wanted);
	size_t i;

	if (m == NULL || !m->active)
		m = account_member(u, u->org_id);
	for (i = 0; i < u->org_count && (m == NULL || !m->active); i++)
		m = &u->orgs[i];
	p->org_id = m != NULL && m->active ? m->org_id : STR("");
	p->role = m != NULL && m->active ? m->role : STR("");
}

static json_t *session_tokens(const struct worker *w, struct arena *a, const struct account *u,
			      const struct session_pair *p)
{
	const struct jwt_claims access = {.type = JWT_ACCESS,
					  .sub = u->id,
					  .email = u->email,
					  .org_id = p->org_id,
					  .role = p->role,
					  .jti = str_of(p->access_id),
					  .sid = p->session_id,
					  .iat = p->now_ms / 1000,
					  .exp = p->access_ends_ms / 1000,
					  .tv = u->token_version,
					  .mfa = p->mfa_ms / 1000};
	const struct jwt_claims refresh = {.type = JWT_REFRESH,
					   .sub = u->id,
					   .org_id = p->org_id,
					   .jti = str_of(p->refresh_id),
					   .sid = p->session_id,
					   .family = p->session_id,
					   .iat = p->now_ms / 1000,
					   .exp = p->refresh_ends_ms / 1000,
					   .tv = u->token_version,
					   .seq = p->seq};
	char iso[CLOCK_ISO_MAX];
	json_t *o = json_own(a, json_object());

	json_put_str(o, "access_token", jwt_sign(a, credential_keys(w), &access));
	json_put_str(o, "refresh_token", jwt_sign(a, credential_keys(w), &refresh));
	json_put_str(o, "token_type", STR("Bearer"));
	json_put_int(o, "expires_in", (p->access_ends_ms - p->now_ms) / 1000);
	json_put_str(o, "expires_at", str_of(clock_iso(iso, p->access_ends_ms)));
	return o;
}

static void session_add_refresh(struct db_batch *b, const struct account *u, const struct session_pair *p)
{
	db_batch_add(
	    b,
	    SQL_ANYBODY(
		"of who logs in") "INSERT INTO refresh_tokens (id, org_id, session_id, user_id, created_at, expires_at)"
				  " VALUES ($1, $2, $3, $4, $5, $6)",
	    DB_ARGS(DB_Z(p->refresh_id), DB_S(p->org_id), DB_S(p->session_id), DB_S(u->id), DB_I(p->now_ms),
		    DB_I(p->refresh_ends_ms)),
	    1);
}

/* ---- beginning ---- */

static void session_add(struct db_batch *b, struct http_request *req, const struct account *u,
			const struct session_proof *proof, const struct session_pair *p)
{
	struct str agent = str_utf8_cut(http_field(req, "user-agent"), SESSION_AGENT_MAX);

	db_batch_add(b,
		     SQL_ANYBODY("of who logs in") "INSERT INTO sessions (id, org_id, user_id, ip, user_agent, "
						   "device_name, mfa_at, mfa_methods,"
						   " created_at, last_activity, expires_at) VALUES ($1, $2, $3, $4, "
						   "$5, $6, $7, $8, $9, $9, $10)",
		     DB_ARGS(DB_S(p->session_id), DB_S(p->org_id), DB_S(u->id), DB_S(req->client), DB_S(agent),
			     DB_S(session_device(req->arena, agent)), DB_I(proof->mfa_ms),
			     DB_Z(proof->mfa != NULL ? proof->mfa : ""), DB_I(p->now_ms), DB_I(p->refresh_ends_ms)),
		     1);
	db_batch_add(b,
		     SQL_ANYBODY("of who logs in") "UPDATE users SET last_login_at = $1 WHERE id = $2 AND is_active = "
						   "1 AND token_version = $3",
		     DB_ARGS(DB_I(p->now_ms), DB_S(u->id), DB_I(u->token_version)), 1);
}

/* From here on the request is the user's: so the audit and the access log have it. */
static void session_apply(struct http_request *req, const struct account *u, const struct session_pair *p)
{
	struct identity *who = arena_zalloc(req->arena, sizeof(*who));

	*who = (struct identity){.kind = IDENTITY_USER,
				 .user_id = u->id,
				 .email = u->email,
				 .name = u->name,
				 .org_id = p->org_id,
				 .workspace_id = p->org_id,
				 .role = p->role,
				 .tier = STR(""),
				 .session_id = p->session_id,
				 .account = u,
				 .mfa_enabled = u->mfa_enabled,
				 .user_since_ms = u->created_ms};
	identity_apply(who, &req->ctx);
}

/* The sessions that must go so that one more has room. */
CO_FN static bool session_surplus(struct http_request *req, const struct account *u, struct db_rows *rows,
				  struct error *err)
{
	struct worker *w = req->user;

	*rows = (struct db_rows){0, 0, NULL};
	if (w->conf->auth.session_limit == 0)
		return true;
	return db_query(w->db, req->arena,
			SQL_ANYBODY("of who logs in") "SELECT id FROM sessions WHERE user_id = $1 AND revoked_at IS "
						      "NULL AND expires_at > $2"
						      " ORDER BY last_activity DESC, id DESC LIMIT 100 OFFSET $3",
			DB_ARGS(DB_S(u->id), DB_I(clock_wall_ms()), DB_I(w->conf->auth.session_limit - 1)), rows, err);
}

static void session_audit_login(struct db_batch *b, struct http_request *req, const struct session_proof *proof,
				const struct session_pair *p)
{
	json_t *details = json_own(req->arena, json_pack("{s:s, s:b}", "method", proof->method, "mfa", p->mfa_ms > 0));

	audit_add(b, req,
		  &(struct audit_event){.category = "auth",
					.action = "auth.login",
					.resource_type = STR("session"),
					.resource_id = p->session_id,
					.details = details});
}

CO_FN bool session_begin(struct http_request *req, const struct account *u, const struct session_proof *proof,
			 json_t **tokens, struct error *err)
{
	struct worker *w = req->user;
	struct session_pair p = {.mfa_ms = proof->mfa_ms};
	char id[UUID_LEN + 1];
	struct db_rows gone;
	struct db_batch *b;
	size_t i;

	if (!session_surplus(req, u, &gone, err))
		return false;
	ids_uuid7(id);
	p.session_id = str_of(id);
	session_pair_new(w, &p);
	session_choose_org(u, proof->org_id, &p);
	session_apply(req, u, &p);
	b = db_batch_new(w->db);
	session_add(b, req, u, proof, &p);
	session_audit_login(b, req, proof, &p);
	session_add_refresh(b, u, &p);
	for (i = 0; i < gone.count; i++)
		db_batch_add(
		    b,
		    SQL_ANYBODY(
			"of who logs in") "UPDATE sessions SET revoked_at = $1, revoked_why = 'too_many' WHERE id = $2",
		    DB_ARGS(DB_I(p.now_ms), DB_S(db_str(&gone, i, 0))), DB_ANY);
	for (i = 0; i < gone.count; i++)
		identity_change_add(b, IDENTITY_CHANGE_SESSION, db_str(&gone, i, 0));
	if (!db_commit(w->db, b, err)) {
		if (err->code == ERR_FENCED)
			error_set(err, ERR_UNAVAILABLE, "the account was changed just now; try again");
		return false;
	}
	for (i = 0; i < gone.count; i++)
		identity_changed(w, IDENTITY_CHANGE_SESSION, db_str(&gone, i, 0));
	*tokens = session_tokens(w, req->arena, u, &p);
	log_info("identity", "session begins", KV_STR("user_id", u->id), KV_S("session_id", id),
		 KV_S("method", proof->method), KV_STR("client", req->client));
	return true;
}

/* ---- renewing ---- */

static bool session_bad(const char *reason, struct error *err)
{
	metric_add(M_AUTH_FAILURES, 1, reason, NULL);
	return error_set(err, ERR_INVALID_TOKEN,
			 strcmp(reason, "expired") == 0 ? "the refresh token has expired"
							: "the refresh token is not valid");
}

void session_end_all(struct db_batch *b, struct str user_id, const char *why)
{
	int64_t now = clock_wall_ms();

	db_batch_add(
	    b,
	    SQL_ANYBODY("also of somebody who forgot the password") "UPDATE users SET token_version = token_version + "
								    "1, updated_at = $1 WHERE id = $2",
	    DB_ARGS(DB_I(now), DB_S(user_id)), 1);
	db_batch_add(
	    b,
	    SQL_ANYBODY("also of somebody who forgot the password") "UPDATE sessions SET revoked_at = $1, revoked_why "
								    "= $2 WHERE user_id = $3 AND revoked_at IS NULL",
	    DB_ARGS(DB_I(now), DB_Z(why), DB_S(user_id)), DB_ANY);
}

/* Somebody else has the token. Whoever is the thief, both must log in again. */
CO_FN static bool session_stolen(struct http_request *req, const struct jwt_claims *claims, struct error *err)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);

	session_end_all(b, claims->sub, "token_reuse");
	audit_add(b, req,
		  &(struct audit_event){.category = "auth",
					.action = "auth.token_reuse",
					.outcome = "denied",
					.resource_type = STR("user"),
					.resource_id = claims->sub,
					.reason = STR("a refresh token was used a second time; all sessions end")});
	identity_change_add(b, IDENTITY_CHANGE_USER, claims->sub);
	if (!db_commit(w->db, b, err))
		return false;
	identity_changed(w, IDENTITY_CHANGE_USER, claims->sub);
	log_warn("identity", "a refresh token was used twice; all sessions of its user end",
		 KV_STR("user_id", claims->sub), KV_STR("session_id", claims->sid), KV_STR("client", req->client));
	return session_bad("reuse", err);
}

enum session_use { USE_FIRST, USE_AGAIN, USE_STOLEN, USE_NEVER };

/* How was the token, which could not be used now, used before? */
CO_FN static bool session_used(struct http_request *req, const struct jwt_claims *claims, enum session_use *use,
			       struct error *err)
{
	struct worker *w = req->user;
	struct db_rows r;

	if (!db_query(w->db, req->arena,
		      SQL_ANYBODY("the refresh token tells whose") "SELECT t.used_at, t.used_by, s.revoked_at FROM "
								   "refresh_tokens t JOIN sessions s ON s.id ="
								   " t.session_id WHERE t.id = $1 AND t.user_id = $2",
		      DB_ARGS(DB_S(claims->jti), DB_S(claims->sub)), &r, err))
		return false;
	if (r.count == 0 || db_null(&r, 0, 0) || !db_null(&r, 0, 2))
		*use = USE_NEVER; /* swept, or its session has ended: what it could open is closed already */
	else if (clock_wall_ms() - db_int(&r, 0, 0) <= SESSION_GRACE_MS &&
		 str_eq(db_str(&r, 0, 1), session_client(req)))
		*use = USE_AGAIN;
	else
		*use = USE_STOLEN;
	return true;
}

CO_FN static bool session_renew(struct http_request *req, const struct jwt_claims *claims, const struct account *u,
				struct session_pair *p, enum session_use use, struct error *err)
{
	struct worker *w = req->user;
	int64_t idle = w->conf->auth.session_inactivity / MS_US;
	struct db_batch *b = db_batch_new(w->db);

	if (use == USE_FIRST)
		db_batch_add(
		    b,
		    SQL_ANYBODY("the refresh token tells whose") "UPDATE refresh_tokens SET used_at = $1, used_by = $2 "
								 "WHERE id = $3 AND session_id = $4"
								 " AND user_id = $5 AND used_at IS NULL",
		    DB_ARGS(DB_I(p->now_ms), DB_S(session_client(req)), DB_S(claims->jti), DB_S(claims->sid),
			    DB_S(u->id)),
		    1);
	db_batch_add(
	    b,
	    SQL_ANYBODY(
		"the refresh token tells whose") "UPDATE sessions SET last_activity = $1, expires_at = $2, ip = $3 "
						 "WHERE id = $4 AND user_id = $5"
						 " AND revoked_at IS NULL AND expires_at > $1 AND last_activity >= $6",
	    DB_ARGS(DB_I(p->now_ms), DB_I(p->refresh_ends_ms), DB_S(req->client), DB_S(claims->sid), DB_S(u->id),
		    DB_I(idle > 0 ? p->now_ms - idle : 0)),
	    1);
	session_add_refresh(b, u, p);
	return db_commit(w->db, b, err);
}

CO_FN static bool session_rotate(struct http_request *req, const struct jwt_claims *claims, const struct account *u,
				 struct session_pair *p, struct error *err)
{
	enum session_use use = USE_FIRST;

	if (session_renew(req, claims, u, p, use, err))
		return true;
	if (err->code != ERR_FENCED)
		return false;
	if (strcmp(err->field, "0") != 0)
		return session_bad("revoked", err);
	if (!session_used(req, claims, &use, err))
		return false;
	if (use == USE_STOLEN)
		return session_stolen(req, claims, err);
	if (use == USE_AGAIN && session_renew(req, claims, u, p, use, err))
		return true;
	return use == USE_AGAIN && err->code != ERR_FENCED ? false : session_bad("revoked", err);
}

CO_FN bool session_refresh(struct http_request *req, struct str refresh_token, json_t **tokens, struct error *err)
{
	struct worker *w = req->user;
	struct session_pair p = {.mfa_ms = 0};
	struct account *u = arena_zalloc(req->arena, sizeof(*u));
	struct jwt_claims claims;
	enum jwt_fault fault;
	struct db_rows r;

	fault = jwt_verify(req->arena, credential_keys(w), refresh_token, JWT_REFRESH, clock_wall_ms() / 1000, &claims);
	if (fault != JWT_OK)
		return session_bad(fault == JWT_EXPIRED ? "expired" : "invalid", err);
	if (!account_load(w, req->arena, claims.sub, u, err))
		return err->code == ERR_NOT_FOUND ? session_bad("revoked", err) : false;
	if (!u->active || claims.tv < u->token_version)
		return session_bad("revoked", err);
	if (!db_query(w->db, req->arena,
		      SQL_ANYBODY("the refresh token tells whose") "SELECT mfa_at FROM sessions WHERE id = $1",
		      DB_ARGS(DB_S(claims.sid)), &r, err))
		return false;
	p.mfa_ms = r.count > 0 ? db_int(&r, 0, 0) : 0;
	p.session_id = claims.sid;
	p.seq = claims.seq + 1;
	session_pair_new(w, &p);
	session_choose_org(u, claims.org_id, &p);
	if (!session_rotate(req, &claims, u, &p, err))
		return false;
	session_apply(req, u, &p);
	audit_note_request(req, &(struct audit_event){.category = "auth",
						      .action = "auth.token_refreshed",
						      .resource_type = STR("session"),
						      .resource_id = p.session_id});
	*tokens = session_tokens(w, req->arena, u, &p);
	return true;
}
