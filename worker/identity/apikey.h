/* SPDX-License-Identifier: MIT */
/*
 * API keys: "ara_" and 43 characters, shown once, stored as a hash. A key stands for its user, with less permissions
 * when it has scopes, and only from its networks when it has some. Looked up by the authentication step, which
 * remembers what it found until IDENTITY_CHANGE_KEY.
 */
#ifndef WORKER_IDENTITY_APIKEY_H
#define WORKER_IDENTITY_APIKEY_H

#include "common/db.h"
#include "worker/permission/permission.h"

struct route_table;
struct worker;

extern const struct route_table apikey_routes; /* apikey_api.c */

#define APIKEY_CHARS 47
#define APIKEY_PREFIX 12 /* characters that are shown of it */

struct apikey {
	struct str id, user_id, org_id; /* org_id: in which it was made */
	struct str networks;            /* JSON array of networks; empty: from everywhere */
	int64_t expires_ms;
	int64_t mfa_ms;                   /* when the second factor had been proved where it was made, 0: it had not */
	const struct permissions *scopes; /* NULL: all that the user may */
};

/* Does it look like one? */
bool apikey_like(struct str token);
/* What is stored of a key. */
struct str apikey_hash(struct arena *a, struct str token);
/*
 * A key that is neither revoked nor expired, in the arena. ERR_INVALID_TOKEN: there is none; ERR_STORAGE: it cannot be
 * known. Waits.
 */
CO_FN bool apikey_load(struct worker *w, struct arena *a, struct str token, struct apikey *out,
		       struct error *err) MUST_CHECK;
/* The same by id, for what was authenticated with it and is still open. */
CO_FN bool apikey_still(struct worker *w, struct arena *a, struct str id, struct apikey *out,
			struct error *err) MUST_CHECK;
/* May it be used from this address? Never waits. */
bool apikey_admits(struct str networks, struct str client);
/* Writes when and from where it was used last, in the background. Called now and then, not for every request. */
void apikey_used(struct worker *w, struct str id, struct str client);

#endif
