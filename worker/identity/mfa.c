/* SPDX-License-Identifier: MIT */
/*
 * Devices and backup codes in the store, and what it takes to be right. Called by the endpoints of the second factor
 * and by its enforcement. Never logs a code, a secret or how far a guess was off.
 */
#include "worker/identity/mfa.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/envelope.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/audit/audit.h"
#include "worker/delivery/delivery.h"
#include "worker/identity/credential.h"
#include "worker/identity/lockout.h"
#include "worker/identity/otp.h"
#include "worker/worker.h"

#define MFA_BACKUP_CHARS 10
#define DAY_MS INT64_C(86400000)

/* Letters and digits that nobody mistakes for others. */
static const char mfa_alphabet[] = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
_Static_assert(sizeof(mfa_alphabet) == 33, "five bits a character");

static struct envelope_place mfa_place(struct str user_id)
{
	return (struct envelope_place){"mfa", "mfa", "secret", user_id};
}

bool mfa_seal(struct worker *w, struct arena *a, struct str user_id, struct str secret, struct str *envelope,
	      struct error *err)
{
	struct envelope_place place = mfa_place(user_id);
	struct buf sealed = BUF_INIT;
	bool ok = envelope_seal(deliveries_keys(w->deliveries), &place, secret, &sealed, err);

	if (ok)
		*envelope = arena_str(a, buf_str(&sealed));
	buf_free(&sealed);
	return ok;
}

static bool mfa_open(struct worker *w, struct arena *a, struct str user_id, struct str envelope, struct str *secret,
		     struct error *err)
{
	struct envelope_place place = mfa_place(user_id);
	struct buf plain = BUF_INIT;
	bool ok = envelope_open(deliveries_keys(w->deliveries), &place, envelope, &plain, err);

	if (ok)
		*secret = arena_str(a, buf_str(&plain));
	else
		error_set(err, ERR_STORAGE, "the second factor cannot be read now");
	if (plain.p != NULL)
		explicit_bzero(plain.p, plain.n);
	buf_free(&plain);
	return ok;
}

CO_FN bool mfa_load(struct worker *w, struct arena *a, struct str user_id, struct mfa_device *d, struct error *err)
{
	struct db_rows r;

	*d = (struct mfa_device){.secret = STR_NONE};
	if (!db_query(w->db, a,
		      SQL_ANYBODY("before anybody has logged in") "SELECT kind, secret, counter, enabled FROM mfa"
								  " WHERE user_id = $1",
		      DB_ARGS(DB_S(user_id)), &r, err))
		return false;
	if (r.count == 0)
		return true;
	d->there = true;
	d->hotp = str_eqz(db_str(&r, 0, 0), "hotp");
	d->counter = db_int(&r, 0, 2);
	d->enabled = db_int(&r, 0, 3) != 0;
	return mfa_open(w, a, user_id, db_str(&r, 0, 1), &d->secret, err);
}

void mfa_wipe(struct mfa_device *d)
{
	if (d->secret.n > 0)
		explicit_bzero((char *)(uintptr_t)d->secret.p, d->secret.n);
	d->secret = STR_NONE;
}

bool mfa_matches(const struct mfa_device *d, struct str code, struct str next, int64_t *counter)
{
	uint64_t moved = 0;
	bool ok;

	if (!d->hotp)
		return totp_check(d->secret, clock_wall_ms() / 1000, code, d->counter, counter);
	ok = next.n > 0 ? hotp_resync(d->secret, (uint64_t)d->counter, code, next, &moved)
			: hotp_check(d->secret, (uint64_t)d->counter, code, &moved);
	*counter = (int64_t)moved;
	return ok;
}

/* ---- backup codes ---- */

/*
 * Keyed with the device's secret, which is an envelope: fifty random bits behind a plain hash could be searched by
 * whoever has the database alone.
 */
static struct str mfa_backup_hash(struct arena *a, const struct mfa_device *d, struct str code)
{
	uint8_t mac[SHA256_LEN];
	char plain[MFA_BACKUP_CHARS + 1], hex[SHA256_HEX];
	size_t n = 0, i;

	for (i = 0; i < code.n && n < MFA_BACKUP_CHARS; i++) {
		char c = code.p[i];

		if (c != '-' && c != ' ')
			plain[n++] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
	}
	crypto_hmac_sha256(d->secret, (struct str){plain, n}, mac);
	crypto_hex(hex, mac, sizeof(mac));
	explicit_bzero(plain, sizeof(plain));
	return arena_str(a, str_of(hex));
}

json_t *mfa_backup_codes(struct arena *a, struct db_batch *b, const struct account *u, const struct mfa_device *d)
{
	json_t *list = json_own(a, json_array());
	char code[MFA_BACKUP_CHARS + 2];
	int64_t now = clock_wall_ms();
	size_t i, k;

	db_batch_add(b, SQL_ANYBODY("the user of the request") "DELETE FROM mfa_backup_codes WHERE user_id = $1",
		     DB_ARGS(DB_S(u->id)), DB_ANY);
	for (i = 0; i < MFA_BACKUP_CODES; i++) {
		for (k = 0; k < MFA_BACKUP_CHARS + 1; k++)
			code[k] = k == MFA_BACKUP_CHARS / 2 ? '-' : mfa_alphabet[ids_uniform(32)];
		code[k] = '\0';
		json_array_append_new(list, json_string(code));
		db_batch_add(
		    b,
		    SQL_ANYBODY("the user of the request") "INSERT INTO mfa_backup_codes (user_id, hash, org_id, "
							   "created_at) VALUES ($1, $2, $3, $4)",
		    DB_ARGS(DB_S(u->id), DB_S(mfa_backup_hash(a, d, str_of(code))), DB_S(u->org_id), DB_I(now)), 1);
	}
	explicit_bzero(code, sizeof(code));
	return list;
}

/* ---- proving ---- */

/* Adds what uses the code up; false: it cannot be right. */
static bool mfa_use(struct arena *a, struct db_batch *b, const struct mfa_device *d, struct str user_id,
		    struct str code, struct str next, struct mfa_proof *proof)
{
	int64_t counter;

	if (mfa_matches(d, code, next, &counter)) {
		proof->method = d->hotp ? "hotp" : "totp";
		db_batch_add(
		    b,
		    SQL_ANYBODY("before anybody has logged in") "UPDATE mfa SET counter = $1, updated_at = $2 WHERE "
								"user_id = $3 AND counter = $4 AND enabled = 1",
		    DB_ARGS(DB_I(counter), DB_I(clock_wall_ms()), DB_S(user_id), DB_I(d->counter)), 1);
		return true;
	}
	if (code.n < MFA_BACKUP_CHARS)
		return false;
	proof->method = "backup";
	db_batch_add(
	    b,
	    SQL_ANYBODY("before anybody has logged in") "DELETE FROM mfa_backup_codes WHERE user_id = $1 AND hash = $2",
	    DB_ARGS(DB_S(user_id), DB_S(mfa_backup_hash(a, d, code))), 1);
	return true;
}

/* *right: was it? False with err: that could not be found out. */
CO_FN static bool mfa_try(struct http_request *req, struct str user_id, struct str code, struct str next,
			  struct mfa_proof *proof, bool *right, struct error *err)
{
	struct worker *w = req->user;
	struct mfa_device d;
	struct db_batch *b;
	struct db_rows r;

	*right = false;
	if (!mfa_load(w, req->arena, user_id, &d, err))
		return false;
	if (!d.enabled)
		return true;
	b = db_batch_new(w->db);
	*right = mfa_use(req->arena, b, &d, user_id, code, next, proof);
	mfa_wipe(&d);
	if (!*right) {
		db_batch_free(b);
		return true;
	}
	if (!db_commit(w->db, b, err)) {
		*right = false;
		return err->code == ERR_FENCED; /* no such backup code, or the code was used at this moment elsewhere */
	}
	if (!db_query(
		w->db, req->arena,
		SQL_ANYBODY("before anybody has logged in") "SELECT COUNT(*) FROM mfa_backup_codes WHERE user_id = $1",
		DB_ARGS(DB_S(user_id)), &r, err))
		return false;
	proof->backup_codes = db_int(&r, 0, 0);
	return true;
}

CO_FN bool mfa_prove(struct http_request *req, struct str user_id, struct str code, struct str next,
		     struct mfa_proof *proof, struct error *err)
{
	struct lockout l;
	bool ok, right;

	*proof = (struct mfa_proof){.method = ""};
	if (!lockout_enter(req, "mfa", user_id, &l, err))
		return false;
	ok = mfa_try(req, user_id, code, next, proof, &right, err);
	lockout_leave(req, &l, !ok ? LOCKOUT_NEITHER : right ? LOCKOUT_PASSED : LOCKOUT_FAILED);
	if (!ok || right)
		return ok;
	metric_add(M_AUTH_FAILURES, 1, "invalid", NULL);
	audit_note_request(req, &(struct audit_event){.category = "auth",
						      .action = "auth.mfa_failed",
						      .outcome = "failure",
						      .resource_type = STR("user"),
						      .resource_id = user_id});
	return error_field(err, ERR_MFA_INVALID, "code", "the code is wrong, was used before, or is too old");
}

struct str mfa_pending_token(struct worker *w, struct arena *a, struct str user_id, int64_t token_version)
{
	int64_t now = clock_wall_ms() / 1000;
	struct jwt_claims claims = {
	    .type = JWT_MFA_PENDING, .sub = user_id, .iat = now, .exp = now + MFA_PENDING_S, .tv = token_version};
	char jti[UUID_LEN + 1];

	ids_uuid7(jti);
	claims.jti = str_of(jti);
	return jwt_sign(a, credential_keys(w), &claims);
}

/* ---- of whom it is demanded ---- */

bool mfa_enforced(const struct conf *c)
{
	return c->auth.admin_mfa == AUTO_ON || (c->auth.admin_mfa == AUTO_AUTO && c->server.env == CONF_PRODUCTION);
}

bool mfa_role_demands(struct str role)
{
	static const char *const roles[] = {
	    "admin",     "owner",           "superadmin",     "super_admin",
	    "org_admin", "workspace_admin", "security_admin", "compliance_officer"}; /* security.md 3.6 */
	size_t i;

	for (i = 0; i < countof(roles); i++)
		if (str_eqz(role, roles[i]))
			return true;
	return false;
}

int64_t mfa_grace_until(const struct conf *c, const struct account *u)
{
	return (u->mfa_grace_ms > 0 ? u->mfa_grace_ms : u->created_ms) + c->auth.mfa_grace_days * DAY_MS;
}
