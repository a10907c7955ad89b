/* SPDX-License-Identifier: MIT */
/*
 * Counts failed attempts in the store and refuses more while an account or address is locked. Called around every
 * comparison of a password or code. Never looks at what is compared, and keeps no address of mail in readable form.
 */
#include "worker/identity/lockout.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/log.h"
#include "worker/audit/audit.h"
#include "worker/http/http_client.h"
#include "worker/worker.h"

#define LOCKOUT_TURNS 64
#define LOCKOUT_TURN_US (20 * SEC_US)
#define LOCKOUT_AGE_MS INT64_C(86400000)       /* after that failures are forgotten, security.md 3.4 */
#define LOCKOUT_KNOWN_MS (30 * LOCKOUT_AGE_MS) /* after that a place is a strange one again */
#define LOCKOUT_HALF 32                        /* hex digits of each half of a place's name */

static const struct {
	int64_t failures, ms;
} lockout_steps[] = {{5, 60000}, {10, 900000}, {15, 3600000}}; /* security.md 3.4 */

struct lockouts {
	struct co_lock turns[LOCKOUT_TURNS];
	struct http_cidrs exempt;
};

struct lockouts *lockouts_open(const struct conf *c)
{
	struct lockouts *l = xcalloc(1, sizeof(*l));

	http_cidrs_set(&l->exempt, &c->limits.exempt);
	return l;
}

void lockouts_close(struct lockouts *l)
{
	if (l == NULL)
		return;
	http_cidrs_free(&l->exempt);
	free(l);
}

void lockout_row(const char *kind, struct str account, char id[LOCKOUT_ID])
{
	char hex[SHA256_HEX];

	crypto_sha256_hex(account, hex);
	(void)snprintf(id, LOCKOUT_ID, "%s:%s", kind, hex);
}

/* IPv6 by /64: whoever has one address there has all of them. */
static void lockout_row_address(const struct lockouts *ls, struct str client, char id[LOCKOUT_ID])
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	char text[HTTP_ADDR_TEXT];
	struct http_addr a;

	id[0] = '\0';
	if (!http_addr_parse(client, &a) || http_cidrs_match(&ls->exempt, &a))
		return;
	if (memcmp(a.b, mapped, sizeof(mapped)) != 0)
		memset(a.b + 8, 0, 8);
	http_addr_text(&a, text);
	(void)snprintf(id, LOCKOUT_ID, "ip:%s", text);
}

/* "known:", half of the account's row, ":"; the address's half follows. */
static void lockout_places(const char *account, char prefix[LOCKOUT_ID])
{
	char hex[SHA256_HEX];

	crypto_sha256_hex(str_of(account), hex);
	(void)snprintf(prefix, LOCKOUT_ID, "known:%.*s:", LOCKOUT_HALF, hex);
}

static void lockout_row_place(struct lockout *l)
{
	char hex[SHA256_HEX];
	size_t n;

	l->place[0] = '\0';
	if (l->address[0] == '\0')
		return;
	lockout_places(l->account, l->place);
	crypto_sha256_hex(str_of(l->address), hex);
	n = strlen(l->place);
	(void)snprintf(l->place + n, sizeof(l->place) - n, "%.*s", LOCKOUT_HALF, hex);
}

/* When all that count are free again, and not later than `now`: now. Finds out whether the place is known. */
CO_FN static bool lockout_until(struct http_request *req, struct lockout *l, int64_t now, int64_t *until,
				struct error *err)
{
	struct db_rows r;
	size_t i;

	if (!db_query(l->w->db, req->arena,
		      "SELECT id, locked_until, updated_at FROM lockouts WHERE id IN ($1, $2, $3)",
		      DB_ARGS(DB_Z(l->account), DB_Z(l->address), DB_Z(l->place)), &r, err))
		return false;
	l->known = false;
	for (i = 0; i < r.count; i++)
		if (str_eqz(db_str(&r, i, 0), l->place))
			l->known = db_int(&r, i, 2) >= now - LOCKOUT_KNOWN_MS;
	for (*until = 0, i = 0; i < r.count; i++)
		if (!str_eqz(db_str(&r, i, 0), l->known ? l->account : l->place) && db_int(&r, i, 1) > *until)
			*until = db_int(&r, i, 1);
	return true;
}

CO_FN bool lockout_enter(struct http_request *req, const char *kind, struct str account, struct lockout *l,
			 struct error *err)
{
	int64_t now = clock_wall_ms(), until = 0;

	l->w = req->user;
	lockout_row(kind, account, l->account);
	lockout_row_address(l->w->lockouts, req->client, l->address);
	lockout_row_place(l);
	/* One at a time: else a hundred guesses at once would all be compared before the first is counted. */
	l->turn = &l->w->lockouts->turns[(unsigned char)l->account[strlen(l->account) - 1] % LOCKOUT_TURNS];
	if (co_lock(l->turn, clock_mono_us() + LOCKOUT_TURN_US) != CO_DONE)
		return error_set(err, ERR_UNAVAILABLE, "too many attempts at once, try again in a moment");
	if (lockout_until(req, l, now, &until, err) && until <= now)
		return true;
	co_unlock(l->turn);
	if (until <= now)
		return false;
	http_reply_field(req, "Retry-After", "%lld", (long long)((until - now + 999) / 1000));
	return error_set(err, ERR_RATE_LIMITED, "too many failed attempts; try again in %lld seconds",
			 (long long)((until - now + 999) / 1000));
}

static void lockout_count(struct db_batch *b, const char *id, int64_t now)
{
	db_batch_add(b,
		     "INSERT INTO lockouts (id, failures, locked_until, updated_at) VALUES ($1, 1, 0, $2)"
		     " ON CONFLICT (id) DO UPDATE SET"
		     " failures = CASE WHEN lockouts.updated_at < $3 THEN 1 ELSE lockouts.failures + 1 END,"
		     " locked_until = CASE WHEN lockouts.updated_at < $3 THEN 0"
		     " WHEN lockouts.failures + 1 >= $4 THEN $5 WHEN lockouts.failures + 1 >= $6 THEN $7"
		     " WHEN lockouts.failures + 1 >= $8 THEN $9 ELSE 0 END, updated_at = $2",
		     DB_ARGS(DB_Z(id), DB_I(now), DB_I(now - LOCKOUT_AGE_MS), DB_I(lockout_steps[2].failures),
			     DB_I(now + lockout_steps[2].ms), DB_I(lockout_steps[1].failures),
			     DB_I(now + lockout_steps[1].ms), DB_I(lockout_steps[0].failures),
			     DB_I(now + lockout_steps[0].ms)),
		     DB_ANY);
}

static void lockout_failed(const struct lockout *l, struct db_batch *b)
{
	int64_t now = clock_wall_ms();

	lockout_count(b, l->known ? l->place : l->account, now);
	if (l->address[0] != '\0')
		lockout_count(b, l->address, now);
	db_batch_add(b, "DELETE FROM lockouts WHERE updated_at < $1 AND (updated_at < $2 OR id NOT LIKE 'known:%')",
		     DB_ARGS(DB_I(now - LOCKOUT_AGE_MS), DB_I(now - LOCKOUT_KNOWN_MS)), DB_ANY);
}

/* Guesses of others go on being counted where the owner came in from a place of his. */
static void lockout_passed(const struct lockout *l, struct db_batch *b)
{
	if (!l->known)
		db_batch_add(b, "DELETE FROM lockouts WHERE id = $1", DB_ARGS(DB_Z(l->account)), DB_ANY);
	if (l->place[0] != '\0')
		db_batch_add(b,
			     "INSERT INTO lockouts (id, failures, locked_until, updated_at) VALUES ($1, 0, 0, $2)"
			     " ON CONFLICT (id) DO UPDATE SET failures = 0, locked_until = 0, updated_at = $2",
			     DB_ARGS(DB_Z(l->place), DB_I(clock_wall_ms())), DB_ANY);
}

/* Has this attempt been the one that locked? For the log: operators look there when somebody calls. */
CO_FN static void lockout_tell(struct http_request *req, struct lockout *l)
{
	struct error err = ERROR_INIT;
	int64_t until = 0;

	if (!lockout_until(req, l, clock_wall_ms(), &until, &err) || until <= clock_wall_ms())
		return;
	log_warn("identity", "locked after too many failed attempts", KV_S("id", l->account),
		 KV_STR("client", req->client), KV_I("seconds", (until - clock_wall_ms() + 999) / 1000));
	audit_note_request(req, &(struct audit_event){.category = "auth",
						      .action = "auth.lockout",
						      .outcome = "denied",
						      .resource_type = STR("lockout"),
						      .resource_id = str_of(l->account)});
}

CO_FN void lockout_leave(struct http_request *req, struct lockout *l, enum lockout_outcome outcome)
{
	struct error err = ERROR_INIT;
	struct co_shield shield;
	struct db_batch *b;

	if (outcome != LOCKOUT_NEITHER) {
		/* Whoever hangs up before the answer is counted all the same. */
		co_shield(&shield, LOCKOUT_TURN_US);
		b = db_batch_new(l->w->db);
		if (outcome == LOCKOUT_FAILED)
			lockout_failed(l, b);
		else
			lockout_passed(l, b);
		if (!db_commit(l->w->db, b, &err))
			log_error("identity", "a failed attempt was not counted", KV_S("reason", err.msg));
		else if (outcome == LOCKOUT_FAILED)
			lockout_tell(req, l);
		co_unshield(&shield);
	}
	co_unlock(l->turn);
}

void lockout_forget(struct db_batch *b, const char *kind, struct str account)
{
	char id[LOCKOUT_ID], from[LOCKOUT_ID], to[LOCKOUT_ID];

	lockout_row(kind, account, id);
	lockout_places(id, from);
	(void)snprintf(to, sizeof(to), "%s", from);
	to[strlen(to) - 1] = ':' + 1; /* behind all that begin so */
	db_batch_add(b, "DELETE FROM lockouts WHERE id = $1", DB_ARGS(DB_Z(id)), DB_ANY);
	db_batch_add(b, "DELETE FROM lockouts WHERE id >= $1 AND id < $2", DB_ARGS(DB_Z(from), DB_Z(to)), DB_ANY);
}
