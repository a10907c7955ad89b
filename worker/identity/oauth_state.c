/* SPDX-License-Identifier: MIT */
/*
 * Logins under way elsewhere, and where they may lead back to. Called by the endpoints of single sign-on. Asks no
 * provider.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/tenant.h"
#include "worker/identity/oauth.h"
#include "worker/worker.h"

#define OAUTH_STATE_BYTES 32
#define OAUTH_STATE_MAX 64
#define OAUTH_URL_MAX 2000

static struct str oauth_hash(struct arena *a, struct str s)
{
	char hex[SHA256_HEX];

	crypto_sha256_hex(s, hex);
	return s.n > 0 ? arena_str(a, str_of(hex)) : STR("");
}

#define OAUTH_PAGE "page:" /* in front of what is stored of the browser */

static struct str oauth_browser(struct arena *a, struct str browser, bool page)
{
	return arena_printf(a, "%s%.*s", page ? OAUTH_PAGE : "", STR_ARG(oauth_hash(a, browser)));
}

/* Somebody else's browser could be sent to the end of a login, or made to link its account to the sender's. */
static bool oauth_returns(struct arena *a, struct str stored, struct str user_id, const struct oauth_return *by)
{
	bool page = str_starts(stored, STR(OAUTH_PAGE));

	if (by->browser.n > 0 && crypto_equal(stored, oauth_browser(a, by->browser, page)))
		return true;
	return user_id.n > 0 ? str_eq(user_id, by->user_id) : page && by->page;
}

CO_FN bool oauth_state_new(struct worker *w, struct arena *a, const struct oauth_state *s, struct str *state,
			   struct error *err)
{
	uint8_t bytes[OAUTH_STATE_BYTES];
	int64_t now = clock_wall_ms();
	struct db_batch *b;
	struct db_rows r;
	char text[45];

	if (!db_query(w->db, a,
		      SQL_ANYBODY("how many there are") "SELECT COUNT(*) FROM oauth_states WHERE expires_at > $1",
		      DB_ARGS(DB_I(now)), &r, err))
		return false;
	if (db_int(&r, 0, 0) >= w->conf->oauth.max_states)
		return error_set(err, ERR_UNAVAILABLE, "too many logins are under way");
	ids_random(bytes, sizeof(bytes));
	*state = arena_str(a, (struct str){text, crypto_base64url(text, bytes, sizeof(bytes))});
	b = db_batch_new(w->db);
	db_batch_add(b, SQL_ANYBODY("what has expired") "DELETE FROM oauth_states WHERE expires_at < $1",
		     DB_ARGS(DB_I(now)), DB_ANY);
	db_batch_add(b,
		     SQL_ANYBODY("mostly nobody has logged in") "INSERT INTO oauth_states (id, org_id, user_id, "
								"provider, redirect_url, browser, created_at,"
								" expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		     DB_ARGS(DB_S(oauth_hash(a, *state)), DB_S(s->org_id), DB_S(s->user_id),
			     DB_Z(oauth_name(s->provider)), DB_S(s->redirect_url),
			     DB_S(oauth_browser(a, s->browser, s->page)), DB_I(now),
			     DB_I(now + w->conf->oauth.state_ttl / MS_US)),
		     1);
	return db_commit(w->db, b, err);
}

static bool oauth_state_gone(struct error *err)
{
	return error_field(err, ERR_INVALID_VALUE, "state", "is not of a login that is under way here");
}

CO_FN bool oauth_state_take(struct worker *w, struct arena *a, enum oauth_provider p, struct str state,
			    const struct oauth_return *by, struct oauth_state *s, struct error *err)
{
	struct db_batch *b;
	struct db_rows r;
	struct str id = oauth_hash(a, state);

	if (state.n == 0 || state.n > OAUTH_STATE_MAX)
		return oauth_state_gone(err);
	if (!db_query(
		w->db, a,
		SQL_ANYBODY("who has the state began the login") "SELECT user_id, org_id, redirect_url, browser FROM "
								 "oauth_states WHERE id = $1 AND provider = $2"
								 " AND expires_at > $3",
		DB_ARGS(DB_S(id), DB_Z(oauth_name(p)), DB_I(clock_wall_ms())), &r, err))
		return false;
	if (r.count == 0 || !oauth_returns(a, db_str(&r, 0, 3), db_str(&r, 0, 0), by))
		return oauth_state_gone(err);
	/* Whoever takes the row away has it; the other one, at the same moment, does not. */
	b = db_batch_new(w->db);
	db_batch_add(b, SQL_ANYBODY("who has the state began the login") "DELETE FROM oauth_states WHERE id = $1",
		     DB_ARGS(DB_S(id)), 1);
	if (!db_commit(w->db, b, err))
		return err->code == ERR_FENCED ? oauth_state_gone(err) : false;
	*s = (struct oauth_state){
	    .provider = p, .user_id = db_str(&r, 0, 0), .org_id = db_str(&r, 0, 1), .redirect_url = db_str(&r, 0, 2)};
	return true;
}

/* ---- where to ---- */

static bool oauth_host_is(struct str host, struct str entry)
{
	if (entry.n > 0 && entry.p[0] == '.')
		entry = str_sub(entry, 1, entry.n);
	return str_ieq(host, entry) || (host.n > entry.n + 1 && host.p[host.n - entry.n - 1] == '.' &&
					str_ieq(str_sub(host, host.n - entry.n, host.n), entry));
}

/* The host of "https://host[:port]/…" with nothing in it that two readers could understand differently. */
static bool oauth_url_host(struct str url, struct str *host, bool *https)
{
	struct str rest;
	size_t i, end;

	*https = str_istarts(url, STR("https://"));
	if (!*https && !str_istarts(url, STR("http://")))
		return false;
	for (i = 0; i < url.n; i++)
		if ((unsigned char)url.p[i] <= ' ' || (unsigned char)url.p[i] >= 127 ||
		    strchr("\\\"<>^`{|}#", url.p[i]) != NULL)
			return false;
	rest = str_sub(url, *https ? 8 : 7, url.n);
	for (end = 0; end < rest.n && strchr("/?", rest.p[end]) == NULL; end++)
		;
	rest = str_sub(rest, 0, end);
	if (rest.n == 0 || str_chr(rest, '@') >= 0 || str_chr(rest, '%') >= 0)
		return false;
	end = str_chr(rest, ':') >= 0 ? (size_t)str_chr(rest, ':') : rest.n;
	*host = str_sub(rest, 0, end);
	return host->n > 0;
}

bool oauth_redirect_ok(const struct conf *c, struct str url)
{
	struct str host;
	bool https;
	size_t i;

	if (url.n > OAUTH_URL_MAX || !oauth_url_host(url, &host, &https))
		return false;
	/* Tokens go there: in the clear only within this machine. */
	if (!https && !str_ieqz(host, "localhost") && !str_eqz(host, "127.0.0.1"))
		return false;
	for (i = 0; i < c->oauth.allowed_redirect_hosts.n; i++)
		if (oauth_host_is(host, str_of(c->oauth.allowed_redirect_hosts.v[i])))
			return true;
	return false;
}

void oauth_escape(struct buf *out, struct str s)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t i;

	for (i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
		    (c != '\0' && strchr("-._~", c) != NULL)) {
			buf_addc(out, (char)c);
		} else {
			buf_addc(out, '%');
			buf_addc(out, hex[c >> 4]);
			buf_addc(out, hex[c & 15]);
		}
	}
}
