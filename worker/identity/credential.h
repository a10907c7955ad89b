/* SPDX-License-Identifier: MIT */
/*
 * From a credential to an identity. What a credential stands for is looked up once and then answered from memory until
 * something about it changes (changes.h), so that an authenticated request costs about a microsecond more than another.
 */
#ifndef WORKER_IDENTITY_CREDENTIAL_H
#define WORKER_IDENTITY_CREDENTIAL_H

#include "worker/identity/changes.h"
#include "worker/identity/identity.h"
#include "worker/identity/jwt.h"

struct credentials;

/*
 * Could the text be a credential at all? Where nobody has to authenticate and no API token is set, what looks neither
 * like a token nor like a key of ours is a placeholder that a client library demands, and says nothing about anybody.
 */
bool credential_plausible(const struct worker *w, struct str token);

enum credential_answer {
	CREDENTIAL_KNOWN,   /* *who is set */
	CREDENTIAL_REFUSED, /* *err says why; *reason is a label for metrics */
	CREDENTIAL_ASK      /* not in memory: credential_load() has to wait for the store */
};

/*
 * Whom does the token stand for: auth.api_token, an access token, an API key? *who lives as long as the arena. Never
 * waits.
 */
enum credential_answer credential_find(struct worker *w, struct arena *a, struct str token, const struct identity **who,
				       const char **reason, struct error *err);
/*
 * The same, asking the store when need be: KNOWN or REFUSED. ERR_STORAGE, and REFUSED, when it cannot be asked: who is
 * not known does not get in.
 */
CO_FN enum credential_answer credential_load(struct worker *w, struct arena *a, struct str token,
					     const struct identity **who, const char **reason, struct error *err);
/*
 * The identity that the same caller has in one of the account's memberships, and in a workspace of it (a string of the
 * account too): with what role, custom roles, assignments, delegations and break-glass allow there, and no more than a
 * key's scopes. NULL: not in memory, credential_enter() has to wait for the store. Lives as long as `who`.
 */
const struct identity *credential_entered(const struct identity *who, const struct membership *m,
					  struct str workspace_id);
/* The same, asking the store when need be; may be in the arena. NULL with err: nobody gets in there. */
CO_FN const struct identity *credential_enter(struct worker *w, struct arena *a, const struct identity *who,
					      const struct membership *m, struct str workspace_id,
					      struct error *err) MUST_CHECK;
/*
 * Is the identity (of a socket that is open for long) still good, and does it have the permission (a number; -1: no
 * matter)? Asks the store. False: not any more, or the store cannot tell (ERR_STORAGE).
 */
CO_FN bool credential_still(struct worker *w, const struct identity *who, int permission, struct error *err) MUST_CHECK;
/* Does a change concern the identity, so that credential_still() is to be asked? */
bool credential_touched(const struct identity *who, enum identity_change kind, struct str id);

/* The secrets that tokens are signed with. */
const struct jwt_keys *credential_keys(const struct worker *w);

/* Reads or makes the secret. NULL with err. */
struct credentials *credentials_open(struct worker *w, struct error *err);
void credentials_close(struct credentials *c);

#endif
