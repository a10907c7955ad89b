/* SPDX-License-Identifier: MIT */
/*
 * The statements that make a user with a membership, and the rules for addresses. Called by the endpoints and by
 * `aragorad user`, which run them in their own ways. Nothing here waits or checks who may.
 */
#include "worker/identity/user.h"

#include <ctype.h>

#include "common/clock.h"
#include "common/ids.h"
#include "common/tenant.h"

#define USER_SLUG_MAX 40

bool user_email_valid(struct str email)
{
	ptrdiff_t at = str_chr(email, '@'), dot;
	struct str domain;
	size_t i;

	if (at <= 0 || email.n > USER_EMAIL_MAX || !str_utf8_valid(email))
		return false;
	for (i = 0; i < email.n; i++)
		if ((unsigned char)email.p[i] <= ' ' || email.p[i] == 0x7f ||
		    strchr("<>()[],;:\\\"", email.p[i]) != NULL)
			return false;
	domain = str_sub(email, (size_t)at + 1, email.n);
	dot = str_chr(domain, '.');
	return str_chr(domain, '@') < 0 && dot > 0 && domain.p[domain.n - 1] != '.' && str_find(domain, STR("..")) < 0;
}

struct str user_email_key(struct arena *a, struct str email)
{
	char *p = arena_alloc(a, email.n + 1);
	size_t i;

	for (i = 0; i < email.n; i++)
		p[i] = (char)tolower((unsigned char)email.p[i]);
	return (struct str){p, email.n};
}

struct str user_slug(struct arena *a, struct str name)
{
	char text[USER_SLUG_MAX + 1], tail[7];
	size_t i, n = 0;

	for (i = 0; i < name.n && n < USER_SLUG_MAX; i++) {
		unsigned char c = (unsigned char)name.p[i];

		if (c < 128 && isalnum(c))
			text[n++] = (char)tolower(c);
		else if (n > 0 && text[n - 1] != '-')
			text[n++] = '-';
	}
	while (n > 0 && text[n - 1] == '-')
		n--;
	text[n] = '\0';
	ids_hex(tail, 3);
	return arena_printf(a, "%s-%s", n > 0 ? text : "org", tail);
}

static struct str user_id_new(struct arena *a)
{
	char id[UUID_LEN + 1];

	ids_uuid7(id);
	return arena_str(a, str_of(id));
}

static void user_statement(struct user_statements *s, const char *sql, const struct db_val *args, size_t n)
{
	s->v[s->count].sql = sql;
	memcpy(s->v[s->count].args, args, n * sizeof(*args));
	s->v[s->count++].n = n;
}

void user_statements(struct arena *a, const struct user_new *u, struct user_statements *s)
{
	bool fresh = u->org_name.n > 0;
	int64_t now = clock_wall_ms();
	ptrdiff_t at = str_chr(u->email, '@');
	struct str name = u->name.n > 0 ? u->name : str_sub(u->email, 0, at > 0 ? (size_t)at : u->email.n);

	s->count = 0;
	s->user_id = user_id_new(a);
	s->org_id = fresh ? user_id_new(a) : u->org_id;
	user_statement(
	    s,
	    SQL_ANYBODY(
		"a new user") "INSERT INTO users (id, org_id, email, email_key, name, password_hash, email_verified,"
			      " service_account, password_at, created_at, updated_at)"
			      " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $9)",
	    DB_ARGS(DB_S(s->user_id), DB_S(s->org_id), DB_S(u->email), DB_S(user_email_key(a, u->email)), DB_S(name),
		    DB_S(u->password_hash), DB_I(u->email_verified), DB_I(u->service_account), DB_I(now)));
	if (fresh) {
		user_statement(
		    s,
		    SQL_ANYBODY(
			"a new user") "INSERT INTO organizations (id, name, slug, owner_id, created_at, updated_at)"
				      " VALUES ($1, $2, $3, $4, $5, $5)",
		    DB_ARGS(DB_S(s->org_id), DB_S(u->org_name), DB_S(user_slug(a, u->org_name)), DB_S(s->user_id),
			    DB_I(now)));
		user_statement(s,
			       SQL_ANYBODY("a new user") "INSERT INTO workspaces (id, org_id, name, slug, created_by, "
							 "created_at, updated_at)"
							 " VALUES ($1, $1, 'Default', 'default', $2, $3, $3)",
			       DB_ARGS(DB_S(s->org_id), DB_S(s->user_id), DB_I(now)));
	}
	if (s->org_id.n > 0)
		user_statement(
		    s,
		    SQL_ANYBODY("a new user") "INSERT INTO members (org_id, user_id, role, created_at, updated_at)"
					      " VALUES ($1, $2, $3, $4, $4)",
		    DB_ARGS(DB_S(s->org_id), DB_S(s->user_id), DB_S(fresh ? STR("owner") : u->role), DB_I(now)));
}

#define USER_UNCONFIRMED " AND EXISTS (SELECT 1 FROM users u WHERE u.id = $1 AND u.email_verified = 0)"

void user_evict(struct db_batch *b, struct str user_id)
{
	db_batch_add(b,
		     SQL_ANYBODY("of who proved the address just now") "UPDATE api_keys SET revoked_at = $2 WHERE "
								       "user_id = $1 AND revoked_at IS "
								       "NULL" USER_UNCONFIRMED,
		     DB_ARGS(DB_S(user_id), DB_I(clock_wall_ms())), DB_ANY);
	db_batch_add(b,
		     SQL_ANYBODY("of who proved the address just now") "DELETE FROM mfa WHERE user_id = "
								       "$1" USER_UNCONFIRMED,
		     DB_ARGS(DB_S(user_id)), DB_ANY);
	db_batch_add(b,
		     SQL_ANYBODY("of who proved the address just now") "DELETE FROM mfa_backup_codes WHERE user_id = "
								       "$1" USER_UNCONFIRMED,
		     DB_ARGS(DB_S(user_id)), DB_ANY);
	db_batch_add(b,
		     SQL_ANYBODY("of who proved the address just now") "DELETE FROM oauth_links WHERE user_id = "
								       "$1" USER_UNCONFIRMED,
		     DB_ARGS(DB_S(user_id)), DB_ANY);
	db_batch_add(b,
		     SQL_ANYBODY("of who proved the address just now") "UPDATE users SET mfa_enabled = 0 WHERE id = $1 "
								       "AND email_verified = 0",
		     DB_ARGS(DB_S(user_id)), DB_ANY);
}

void user_add(struct db_batch *b, const struct user_statements *s)
{
	size_t i;

	for (i = 0; i < s->count; i++)
		db_batch_add(b, s->v[i].sql, s->v[i].args, s->v[i].n, 1);
}
