/* SPDX-License-Identifier: MIT */
/*
 * What credentials stand for, remembered by this worker. Called by the authentication step and by sockets. An entry is
 * found by the end of its token, which is a signature or random, and compared whole in constant time; it is forgotten
 * when a change concerns it, and by age. Refusals are remembered too, so that a revoked token costs no query each time.
 */
#include "worker/identity/credential.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/tenant.h"
#include "worker/access/effective.h"
#include "worker/access/impersonation.h"
#include "worker/identity/apikey.h"
#include "worker/identity/service.h"
#include "worker/worker.h"

#define CREDENTIALS_MAX 4096
#define CREDENTIALS_BUCKETS 8192
#define CREDENTIALS_AGE_US (300 * SEC_US)  /* what no change tells of is seen then; security.md 1.9 */
#define CREDENTIAL_KEY_BYTES 43            /* of the end of a token: its signature */
#define SERVICE_KEY_MARK '\n'              /* begins what a service's claim is remembered under */
#define CREDENTIAL_PLACES 32               /* that are remembered of one; more are asked for each time */
#define CREDENTIAL_TOUCH_US (300 * SEC_US) /* how often the activity of a session is written */

/* The caller in another organization or workspace than the credential's. */
struct credential_place {
	struct identity who;
	struct permissions permissions;
	int64_t until_ms; /* as that of the credential */
	struct credential_place *next;
};

struct credential {
	struct identity who; /* user_id empty: refused */
	struct account account;
	struct permissions permissions;
	const struct permissions *scopes; /* of a key; NULL: all that the user may */
	struct credential_place *places;
	unsigned place_count;
	struct credential *next;          /* in the bucket */
	struct credential *older, *newer; /* by use */
	struct arena *a;
	struct str token;
	uint64_t hash;
	unsigned refs; /* the table's and those of requests */
	int64_t loaded_us, touched_us;
	int64_t until_ms; /* the permissions change by themselves then */
	struct error refused;
	const char *reason; /* static */
};

struct credentials {
	struct worker *w;
	struct credential *buckets[CREDENTIALS_BUCKETS];
	struct credential ends; /* of the list by use: ends.newer is the oldest */
	size_t count;
	struct permissions everything, service;
	struct identity anonymous, api_token;
	struct jwt_keys keys;
	char made[2 * 32 + 1]; /* the secret of data_dir, if none is configured */
};

/* ---- the table ---- */

static uint64_t credential_hash(struct str token)
{
	struct str tail =
	    token.n > CREDENTIAL_KEY_BYTES ? str_sub(token, token.n - CREDENTIAL_KEY_BYTES, token.n) : token;
	uint64_t h = UINT64_C(14695981039346656037);
	size_t i;

	for (i = 0; i < tail.n; i++)
		h = (h ^ (unsigned char)tail.p[i]) * UINT64_C(1099511628211);
	return h ^ h >> 32;
}

static struct credential **credential_slot(struct credentials *c, struct str token, uint64_t hash)
{
	struct credential **at = &c->buckets[hash & (CREDENTIALS_BUCKETS - 1)];

	while (*at != NULL && !((*at)->hash == hash && crypto_equal((*at)->token, token)))
		at = &(*at)->next;
	return at;
}

static void credential_unref(void *ptr)
{
	struct credential *e = ptr;

	if (--e->refs > 0)
		return;
	explicit_bzero((char *)(uintptr_t)e->token.p, e->token.n);
	arena_free(e->a);
}

static void credential_unlink(struct credential *e)
{
	e->older->newer = e->newer;
	e->newer->older = e->older;
}

static void credential_link(struct credentials *c, struct credential *e)
{
	e->older = c->ends.older;
	e->newer = &c->ends;
	e->older->newer = e;
	c->ends.older = e;
}

static void credential_drop(struct credentials *c, struct credential *e)
{
	struct credential **at = &c->buckets[e->hash & (CREDENTIALS_BUCKETS - 1)];

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	credential_unlink(e);
	c->count--;
	credential_unref(e);
}

static void credential_keep(struct credentials *c, struct credential *e)
{
	struct credential **at = credential_slot(c, e->token, e->hash);

	if (*at != NULL)
		credential_drop(c, *at);
	if (c->count == CREDENTIALS_MAX)
		credential_drop(c, c->ends.newer);
	e->refs++;
	e->next = c->buckets[e->hash & (CREDENTIALS_BUCKETS - 1)];
	c->buckets[e->hash & (CREDENTIALS_BUCKETS - 1)] = e;
	credential_link(c, e);
	c->count++;
}

/* ---- changes ---- */

bool credential_touched(const struct identity *who, enum identity_change kind, struct str id)
{
	switch (kind) {
	case IDENTITY_CHANGE_USER:
		return str_eq(who->user_id, id) || str_eq(who->impersonator, id);
	case IDENTITY_CHANGE_KEY:
		return str_eq(who->key_id, id);
	case IDENTITY_CHANGE_SESSION:
		return str_eq(who->session_id, id);
	case IDENTITY_CHANGE_TOKEN:
		return str_eq(who->token_id, id);
	case IDENTITY_CHANGE_ORG:
	case IDENTITY_CHANGE_WORKSPACE:
	case IDENTITY_CHANGE_ROLE:
	case IDENTITY_CHANGE_ALL:
		return who->kind != IDENTITY_ANONYMOUS && who->kind != IDENTITY_TOKEN;
	}
	return true;
}

static void credentials_changed(void *arg, enum identity_change kind, struct str id)
{
	struct credentials *c = arg;
	struct credential *e, *newer;

	for (e = c->ends.newer; e != &c->ends; e = newer) {
		newer = e->newer;
		if (e->reason != NULL || credential_touched(&e->who, kind, id))
			credential_drop(c, e);
	}
}

/* ---- finding ---- */

bool credential_plausible(const struct worker *w, struct str token)
{
	ptrdiff_t dot = str_chr(token, '.');

	if (conf_auth_required(w->conf) || w->conf->auth.api_token[0] != '\0')
		return token.n > 0;
	return str_starts(token, STR("ara_")) ||
	       (dot > 0 && str_chr(str_sub(token, (size_t)dot + 1, token.n), '.') > 0);
}

struct credential_touch {
	struct worker *w;
	char session[];
};

CO_FN static void credential_write_activity(void *arg)
{
	struct credential_touch *t = arg;
	struct db_batch *b = db_batch_new(t->w->db);
	struct error err = ERROR_INIT;

	db_batch_add(
	    b,
	    SQL_ANYBODY(
		"outside of requests") "UPDATE sessions SET last_activity = $1 WHERE id = $2 AND last_activity < $1",
	    DB_ARGS(DB_I(clock_wall_ms()), DB_Z(t->session)), DB_ANY);
	if (!db_commit(t->w->db, b, &err))
		log_debug("identity", "the activity of a session was not written", KV_S("reason", err.msg));
	free(t);
}

static void credential_touch(struct worker *w, struct credential *e)
{
	struct credential_touch *t;

	if (e->who.session_id.n == 0 || loop_now(w->loop) - e->touched_us < CREDENTIAL_TOUCH_US || w->draining)
		return;
	e->touched_us = loop_now(w->loop);
	t = xcalloc(1, sizeof(*t) + e->who.session_id.n + 1);
	t->w = w;
	memcpy(t->session, e->who.session_id.p, e->who.session_id.n);
	if (co_spawn("session_activity", credential_write_activity, t) == NULL)
		free(t);
}

static enum credential_answer credential_refuse(struct error *err, const char **reason, const char *why,
						const char *text)
{
	*reason = why;
	error_set(err, ERR_INVALID_TOKEN, "%s", text);
	return CREDENTIAL_REFUSED;
}

static enum credential_answer credential_answer(struct worker *w, struct arena *a, struct credential *e,
						const struct identity **who, const char **reason, struct error *err)
{
	if (e->reason != NULL) {
		*reason = e->reason;
		*err = e->refused;
		return CREDENTIAL_REFUSED;
	}
	if (e->who.expires_ms != 0 && e->who.expires_ms <= clock_wall_ms())
		return credential_refuse(err, reason, "expired", "the token has expired");
	credential_touch(w, e);
	e->refs++;
	arena_defer(a, credential_unref, e);
	*who = &e->who;
	return CREDENTIAL_KNOWN;
}

static enum credential_answer credential_remembered(struct worker *w, struct arena *a, struct str token,
						    const struct identity **who, const char **reason, struct error *err)
{
	struct credentials *c = w->credentials;
	struct credential *e = *credential_slot(c, token, credential_hash(token));

	if (e == NULL || !identity_changes_fresh(w))
		return CREDENTIAL_ASK;
	if (loop_now(w->loop) - e->loaded_us > CREDENTIALS_AGE_US ||
	    (e->reason == NULL && e->until_ms <= clock_wall_ms())) {
		credential_drop(c, e);
		return CREDENTIAL_ASK;
	}
	credential_unlink(e);
	credential_link(c, e);
	return credential_answer(w, a, e, who, reason, err);
}

enum credential_answer credential_find(struct worker *w, struct arena *a, struct str token, const struct identity **who,
				       const char **reason, struct error *err)
{
	struct str api = str_of(w->conf->auth.api_token);

	if (api.n > 0 && crypto_equal(token, api)) {
		*who = identity_api_token(w);
		return CREDENTIAL_KNOWN;
	}
	/* A query or a message can hold what a service's claim is remembered under: that is never a token. */
	if (token.n > 0 && token.p[0] == SERVICE_KEY_MARK)
		return credential_refuse(err, reason, "invalid", "the token is not valid");
	return credential_remembered(w, a, token, who, reason, err);
}

/* ---- loading ---- */

/* Who has left every organization still looks after the own account. */
#define CREDENTIAL_HOMELESS "authentication: create read revoke update; session: list_active revoke"

/* What role, assignments, delegations, break-glass and scopes allow where `who` is; completes it. */
CO_FN static bool credential_permissions(struct worker *w, struct arena *a, struct identity *who,
					 const struct permissions *scopes, struct permissions *out, int64_t *until_ms,
					 struct error *err)
{
	const struct access_subject s = {who->user_id, who->org_id, who->workspace_id, who->role};
	struct access_effective has = {.until_ms = INT64_MAX};

	memset(out, 0, sizeof(*out));
	who->permissions = out;
	who->emergency_id = STR_NONE;
	if (who->role.n == 0 ? !permissions_grant_text(&has.permissions, STR(CREDENTIAL_HOMELESS), err)
			     : !access_effective(w, a, &s, &has, err))
		return false;
	*until_ms = has.until_ms;
	if (who->impersonator.n == 0)
		who->emergency_id = has.emergency_id;
	else if (who->role.n > 0 && !impersonation_limit(w, a, who->session_id, who->token_id, who->impersonator,
							 who->org_id, &has.permissions, err))
		return false;
	if (scopes != NULL)
		permissions_keep(&has.permissions, scopes);
	*out = has.permissions;
	return true;
}

static bool credential_enter_org(struct credential *e, struct str org_id, struct error *err)
{
	const struct membership *m = account_member(&e->account, org_id);

	if (org_id.n == 0)
		return true;
	if (m == NULL || !m->active)
		return error_set(err, ERR_INVALID_TOKEN,
				 "the token is for an organization to which its user does not belong any more");
	e->who.org_id = e->who.workspace_id = m->org_id;
	e->who.role = m->role;
	e->who.tier = m->tier;
	return true;
}

/* security.md 3.1, what stands behind signature, expiry and type: revocation, version, user. */
CO_FN static bool credential_session(struct worker *w, struct credential *e, const struct jwt_claims *claims,
				     struct error *err)
{
	int64_t now = clock_wall_ms();
	struct db_rows r;

	if (!db_query(
		w->db, e->a,
		SQL_ANYBODY(
		    "whose the request is, is being found out") "SELECT (SELECT COUNT(*) FROM revoked_tokens WHERE id "
								"= $1), s.revoked_at, s.expires_at, s.mfa_at,"
								" s.last_activity FROM (SELECT 1 AS one) x LEFT JOIN "
								"sessions s ON s.id = $2 AND s.user_id = $3",
		DB_ARGS(DB_S(claims->jti), DB_S(claims->sid), DB_S(claims->sub)), &r, err))
		return false;
	if (db_int(&r, 0, 0) > 0)
		return error_set(err, ERR_INVALID_TOKEN, "the token has been revoked");
	/* The session of who acts for somebody else is looked at with the permissions. */
	if (claims->imp.n > 0)
		return true;
	if (claims->sid.n > 0 && (db_null(&r, 0, 2) || !db_null(&r, 0, 1)))
		return error_set(err, ERR_INVALID_TOKEN, "the token has been revoked");
	if (claims->sid.n > 0 &&
	    (db_int(&r, 0, 2) <= now || (w->conf->auth.session_inactivity > 0 &&
					 db_int(&r, 0, 4) < now - w->conf->auth.session_inactivity / MS_US)))
		return error_set(err, ERR_INVALID_TOKEN, "the session has ended");
	e->who.mfa_ms = db_int(&r, 0, 3);
	return true;
}

/* False also when the store failed; err tells. */
CO_FN static bool credential_jwt(struct worker *w, struct credential *e, const struct jwt_claims *claims,
				 struct error *err)
{
	if (!credential_session(w, e, claims, err))
		return false;
	if (!account_load(w, e->a, claims->sub, &e->account, err))
		return err->code == ERR_NOT_FOUND ? error_set(err, ERR_INVALID_TOKEN, "the token's user is gone")
						  : false;
	if (claims->tv < e->account.token_version)
		return error_set(err, ERR_INVALID_TOKEN, "the token has been revoked");
	if (!e->account.active)
		return error_set(err, ERR_INVALID_TOKEN, "the account is disabled");
	e->who.kind = IDENTITY_USER;
	e->who.user_id = e->account.id;
	e->who.email = e->account.email;
	e->who.name = e->account.name;
	e->who.session_id = claims->sid;
	e->who.token_id = claims->jti;
	e->who.impersonator = claims->imp;
	e->who.token_version = claims->tv;
	e->who.expires_ms = claims->exp * 1000;
	e->who.user_since_ms = e->account.created_ms;
	e->who.mfa_enabled = e->account.mfa_enabled;
	e->who.service_account = e->account.service_account;
	e->who.account = &e->account;
	e->who.credential = e;
	return credential_enter_org(e, claims->org_id, err) &&
	       credential_permissions(w, e->a, &e->who, e->scopes, &e->permissions, &e->until_ms, err);
}

/* A key acts as its user in the organization where it was made, with no more than its scopes. */
CO_FN static bool credential_key(struct worker *w, struct credential *e, const struct apikey *key, struct error *err)
{
	const struct jwt_claims claims = {
	    .sub = key->user_id, .org_id = key->org_id, .exp = key->expires_ms / 1000, .tv = INT64_MAX};

	e->scopes = key->scopes;
	if (!credential_jwt(w, e, &claims, err))
		return false;
	e->who.kind = IDENTITY_API_KEY;
	e->who.key_id = key->id;
	e->who.key_networks = key->networks;
	e->who.mfa_ms = key->mfa_ms;
	e->who.expires_ms = key->expires_ms;
	e->who.token_version = 0;
	return true;
}

static const char *credential_fault(enum jwt_fault fault, struct error *err)
{
	if (fault == JWT_EXPIRED) {
		error_set(err, ERR_INVALID_TOKEN, "the token has expired");
		return "expired";
	}
	error_set(err, ERR_INVALID_TOKEN, "the token is not valid");
	return "invalid";
}

static struct credential *credential_alloc(const struct worker *w, struct str token)
{
	struct arena *a = arena_new(0);
	struct credential *e = arena_zalloc(a, sizeof(*e));

	e->a = a;
	e->refs = 1;
	e->token = arena_str(a, token);
	e->hash = credential_hash(token);
	e->loaded_us = loop_now(w->loop);
	return e;
}

CO_FN static struct credential *credential_new(struct worker *w, struct str token, struct error *err)
{
	struct credential *e = credential_alloc(w, token);
	struct jwt_claims claims;
	struct apikey key;
	enum jwt_fault fault;

	if (apikey_like(token)) {
		if (!apikey_load(w, e->a, token, &key, err) || !credential_key(w, e, &key, err))
			e->reason = err->code == ERR_INVALID_TOKEN ? "revoked" : "unavailable";
		if (e->reason != NULL)
			e->refused = *err;
		return e;
	}
	fault = jwt_verify(e->a, &w->credentials->keys, token, JWT_ACCESS, clock_wall_ms() / 1000, &claims);
	if (fault != JWT_OK)
		e->reason = credential_fault(fault, err);
	else if (!credential_jwt(w, e, &claims, err))
		e->reason = err->code == ERR_INVALID_TOKEN ? "revoked" : "unavailable";
	if (e->reason != NULL)
		e->refused = *err;
	return e;
}

CO_FN enum credential_answer credential_load(struct worker *w, struct arena *a, struct str token,
					     const struct identity **who, const char **reason, struct error *err)
{
	enum credential_answer answer = credential_find(w, a, token, who, reason, err);
	uint64_t heard = identity_changes_heard(w);
	struct credential *e;

	if (answer != CREDENTIAL_ASK)
		return answer;
	e = credential_new(w, token, err);
	/* What is only wrong in itself is cheap to find out again; what may have changed meanwhile is not remembered.
	 */
	if (heard == identity_changes_heard(w) && identity_changes_fresh(w) &&
	    (e->reason == NULL || strcmp(e->reason, "revoked") == 0))
		credential_keep(w->credentials, e);
	answer = credential_answer(w, a, e, who, reason, err);
	credential_unref(e);
	return answer;
}

/* ---- in another organization or workspace ---- */

const struct identity *credential_entered(const struct identity *who, const struct membership *m,
					  struct str workspace_id)
{
	const struct credential_place *p = who->credential != NULL ? who->credential->places : NULL;

	for (; p != NULL; p = p->next)
		if (str_eq(p->who.workspace_id, workspace_id) && str_eq(p->who.org_id, m->org_id) &&
		    p->until_ms > clock_wall_ms())
			return &p->who;
	return NULL;
}

static struct credential_place *credential_place(struct arena *a, const struct identity *who,
						 const struct membership *m, struct str workspace_id)
{
	struct credential_place *p = arena_zalloc(a, sizeof(*p));

	p->who = *who;
	p->who.org_id = m->org_id;
	p->who.workspace_id = workspace_id;
	p->who.role = m->role;
	p->who.tier = m->tier;
	return p;
}

CO_FN const struct identity *credential_enter(struct worker *w, struct arena *a, const struct identity *who,
					      const struct membership *m, struct str workspace_id, struct error *err)
{
	const struct identity *known = credential_entered(who, m, workspace_id);
	uint64_t heard = identity_changes_heard(w);
	struct credential *e = who->credential;
	struct credential_place *p, *kept;

	if (known != NULL)
		return known;
	p = credential_place(a, who, m, workspace_id);
	/* A service brings its roles itself, wherever it is. */
	if (e == NULL) {
		p->who.role = who->role;
		return &p->who;
	}
	if (!credential_permissions(w, a, &p->who, e->scopes, &p->permissions, &p->until_ms, err))
		return NULL;
	if (e->place_count == CREDENTIAL_PLACES || heard != identity_changes_heard(w) || !identity_changes_fresh(w))
		return &p->who;
	kept = arena_alloc(e->a, sizeof(*kept));
	*kept = *p;
	kept->who.permissions = &kept->permissions;
	kept->who.emergency_id = arena_str(e->a, p->who.emergency_id);
	kept->next = e->places;
	e->places = kept;
	e->place_count++;
	return &kept->who;
}

/* ---- is it still so? ---- */

CO_FN static bool service_still(struct worker *w, struct credential *e, const struct identity *who, struct error *err)
{
	const struct service_claim claim = {.user_id = who->user_id, .org_id = who->org_id, .roles = who->role};

	return service_identity(w, e->a, &claim, &e->who, &e->account, &e->permissions, err) ||
	       (err->code != ERR_STORAGE && error_set(err, ERR_INVALID_TOKEN, "the user is not active any more"));
}

/* Of an organization's other workspaces one must be a member, and may there what that brings. */
CO_FN static bool credential_still_in(struct worker *w, struct credential *e, const struct identity *who,
				      struct error *err)
{
	if (who->kind == IDENTITY_SERVICE || str_eq(who->workspace_id, who->org_id))
		return true;
	if (account_workspace(&e->account, who->workspace_id) == NULL)
		return error_set(err, ERR_INVALID_TOKEN, "the user does not belong to the workspace any more");
	e->who.workspace_id = who->workspace_id;
	return credential_permissions(w, e->a, &e->who, e->scopes, &e->permissions, &e->until_ms, err);
}

CO_FN bool credential_still(struct worker *w, const struct identity *who, int permission, struct error *err)
{
	const struct jwt_claims claims = {.sub = who->user_id,
					  .sid = who->session_id,
					  .jti = who->token_id,
					  .org_id = who->org_id,
					  .imp = who->impersonator,
					  .tv = who->token_version};
	struct apikey key;
	struct arena *a;
	struct credential *e;
	bool ok;

	if (who->kind == IDENTITY_ANONYMOUS || who->kind == IDENTITY_TOKEN)
		return true;
	a = arena_new(0);
	e = arena_zalloc(a, sizeof(*e));
	e->a = a;
	if (who->kind == IDENTITY_SERVICE)
		ok = service_still(w, e, who, err);
	else if (who->kind == IDENTITY_API_KEY)
		ok = apikey_still(w, a, who->key_id, &key, err) && credential_key(w, e, &key, err);
	else
		ok = credential_jwt(w, e, &claims, err);
	ok = ok && credential_still_in(w, e, who, err);
	if (ok && permission >= 0 && !permissions_have(&e->permissions, permission))
		ok = error_set(err, ERR_INVALID_TOKEN, "the permission has been taken away");
	arena_free(a);
	return ok;
}

/* ---- for whom a service asks ---- */

static struct str service_key(struct arena *a, const struct service_claim *claim)
{
	return arena_printf(a, "%c%.*s\n%.*s\n%.*s", SERVICE_KEY_MARK, STR_ARG(claim->user_id), STR_ARG(claim->org_id),
			    STR_ARG(claim->roles));
}

enum credential_answer service_find(struct worker *w, struct arena *a, const struct service_claim *claim,
				    const struct identity **who, struct error *err)
{
	const char *reason;

	return credential_remembered(w, a, service_key(a, claim), who, &reason, err);
}

CO_FN enum credential_answer service_load(struct worker *w, struct arena *a, const struct service_claim *claim,
					  const struct identity **who, struct error *err)
{
	struct str key = service_key(a, claim);
	uint64_t heard = identity_changes_heard(w);
	struct credential *e = credential_alloc(w, key);
	enum credential_answer answer;
	const char *reason;

	e->until_ms = INT64_MAX;
	if (!service_identity(w, e->a, claim, &e->who, &e->account, &e->permissions, err)) {
		credential_unref(e);
		return CREDENTIAL_REFUSED;
	}
	if (heard == identity_changes_heard(w) && identity_changes_fresh(w))
		credential_keep(w->credentials, e);
	answer = credential_answer(w, a, e, who, &reason, err);
	credential_unref(e);
	return answer;
}

/* ---- identities without a lookup ---- */

const struct identity *identity_anonymous(const struct worker *w)
{
	return &w->credentials->anonymous;
}

const struct identity *identity_api_token(const struct worker *w)
{
	return &w->credentials->api_token;
}

/* security.md 1.6: the token is a service with role admin; without a demand for authentication everybody is the owner.
 */
static void credentials_fixed(struct credentials *c)
{
	const struct identity service = {
	    .kind = IDENTITY_TOKEN,
	    .user_id = STR("api-token"),
	    .name = STR("api-token"),
	    .org_id = STR(IDENTITY_DEFAULT),
	    .workspace_id = STR(IDENTITY_DEFAULT),
	    .role = STR("admin"),
	    .tier = STR("enterprise"),
	    .permissions = &c->service,
	    .service_account = true,
	};
	bool open = !conf_auth_required(c->w->conf);

	c->api_token = c->anonymous = service;
	c->anonymous.kind = IDENTITY_ANONYMOUS;
	c->anonymous.user_id = c->anonymous.name = STR("anonymous");
	c->anonymous.role = open ? STR("owner") : STR("");
	c->anonymous.permissions = open ? &c->everything : NULL;
	c->anonymous.service_account = false;
	BUG_ON(!role_permissions(STR("owner"), &c->everything) || !role_permissions(STR("admin"), &c->service));
}

/* ---- the part of a worker ---- */

const struct jwt_keys *credential_keys(const struct worker *w)
{
	return &w->credentials->keys;
}

static bool credentials_secret(struct credentials *c, struct error *err)
{
	const struct conf *conf = c->w->conf;
	struct buf path = BUF_INIT;
	uint8_t key[32];
	bool ok;

	c->keys.current = str_of(conf->auth.jwt_secret);
	c->keys.previous = str_of(conf->auth.jwt_secret_previous);
	c->keys.previous_until =
	    conf->auth.jwt_rotated_at > 0 ? conf->auth.jwt_rotated_at + conf->auth.jwt_grace_hours * 3600 : INT64_MAX;
	if (c->keys.current.n > 0)
		return true;
	buf_printf(&path, "%s/keys/jwt.key", conf->storage.data_dir);
	ok = crypto_key_file(path.p, key, err);
	if (ok)
		crypto_hex(c->made, key, sizeof(key));
	c->keys.current = str_of(c->made);
	explicit_bzero(key, sizeof(key));
	buf_free(&path);
	return ok;
}

struct credentials *credentials_open(struct worker *w, struct error *err)
{
	struct credentials *c = xcalloc(1, sizeof(*c));

	c->w = w;
	c->ends.older = c->ends.newer = &c->ends;
	if (!credentials_secret(c, err)) {
		free(c);
		return NULL;
	}
	credentials_fixed(c);
	identity_on_change(w, credentials_changed, c);
	return c;
}

void credentials_close(struct credentials *c)
{
	while (c->ends.newer != &c->ends)
		credential_drop(c, c->ends.newer);
	explicit_bzero(c->made, sizeof(c->made));
	free(c);
}
