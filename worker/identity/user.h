/* SPDX-License-Identifier: MIT */
/*
 * Making users: with registration, invitation, single sign-on, setup token and `aragorad user`, all by the same
 * statements.
 */
#ifndef WORKER_IDENTITY_USER_H
#define WORKER_IDENTITY_USER_H

#include "common/db.h"

#define USER_EMAIL_MAX 254 /* RFC 5321 4.5.3.1.3 */
#define USER_NAME_MAX 100
#define USER_ORG_NAME_MAX 100

struct user_new {
	struct str email, name;   /* no name: what stands before the @ */
	struct str password_hash; /* stored form; empty: no login with a password */
	struct str org_id, role;  /* joins this organization, with this role, ... */
	struct str org_name;      /* ... or, when not empty, a new one of this name, as its owner */
	bool email_verified, service_account;
};

/* local@domain.tld, at most USER_EMAIL_MAX bytes, no blanks or control characters. */
bool user_email_valid(struct str email);
/* What addresses are compared by: in lower case. In the arena. */
struct str user_email_key(struct arena *a, struct str email);
/* Lower-case letters, digits and '-' of a name, at most 40, and 6 random digits behind. In the arena. */
struct str user_slug(struct arena *a, struct str name);

/* The statements that make one, in order; each touches one row. ERR_DUPLICATE at the first: the address is taken. */
#define USER_STATEMENTS 4
struct user_statements {
	struct {
		const char *sql;
		struct db_val args[10];
		size_t n;
	} v[USER_STATEMENTS];
	size_t count;
	struct str user_id, org_id; /* made here, in the arena */
};
void user_statements(struct arena *a, const struct user_new *u, struct user_statements *out);
/* Adds them to a batch. */
void user_add(struct db_batch *b, const struct user_statements *s);
/*
 * Adds to a batch, before it confirms the address of an account, what takes away all that somebody may have set up who
 * registered it in expectation of its owner: API keys, second factor, logins elsewhere. Nothing if it was confirmed.
 */
void user_evict(struct db_batch *b, struct str user_id);

#endif
