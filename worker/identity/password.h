/* SPDX-License-Identifier: MIT */
/*
 * Passwords: what is accepted as one, how it is stored (Argon2id, RFC 9106) and how it is compared. The blocking half
 * serves subcommands; the other runs it on a lane of its own, because each takes tens of milliseconds and megabytes.
 */
#ifndef WORKER_IDENTITY_PASSWORD_H
#define WORKER_IDENTITY_PASSWORD_H

#include "common/arena.h"
#include "common/co.h"
#include "common/err.h"

struct conf;
struct loop;
struct passwords;

#define PASSWORD_CHARS_MIN 12 /* security.md 3.4 */
#define PASSWORD_CHARS_MAX 128
#define PASSWORD_STORED_MAX 160 /* bytes of the stored form with NUL */

/* Stored form: "argon2id:$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>". Also read: "bcrypt:$2b$…". */
struct password_cost {
	uint32_t memory_kib, passes;
};
/* auth.password_memory and auth.password_passes. */
struct password_cost password_cost(const struct conf *c);

/*
 * May this be a password of the account with this address (empty: unknown)? False with ERR_INVALID_VALUE, the field
 * and every rule that is broken, never the password.
 */
bool password_policy(struct str password, struct str email, const char *field, struct error *err) MUST_CHECK;

/* Blocking. False when memory is gone (ERR_UNAVAILABLE). */
bool password_make(const struct password_cost *cost, struct str password, char stored[PASSWORD_STORED_MAX],
		   struct error *err) MUST_CHECK;

enum password_match {
	PASSWORD_WRONG,
	PASSWORD_RIGHT,
	PASSWORD_RIGHT_RENEW /* and the stored form is weaker than `cost`: it should be made anew */
};
/*
 * Blocking. An empty or unknown stored form is wrong, after as much work as a real one: whoever asks for an account
 * that is not there must not see it by the time.
 */
enum password_match password_try(const struct password_cost *cost, struct str stored, struct str password) MUST_CHECK;

/* The lane; lives as long as the worker. */
struct passwords *passwords_open(struct loop *l, const struct conf *c);
void passwords_close(struct passwords *p);
/* *stored: memory of the arena. ERR_UNAVAILABLE when too many wait, ERR_CANCELLED when a scope ended. */
CO_FN bool password_hash(struct passwords *p, struct arena *a, struct str password, struct str *stored,
			 struct error *err) MUST_CHECK;
/* True: *match is set, whatever it is; false as password_hash. */
CO_FN bool password_verify(struct passwords *p, struct str stored, struct str password, enum password_match *match,
			   struct error *err) MUST_CHECK;

#endif
