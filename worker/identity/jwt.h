/* SPDX-License-Identifier: MIT */
/*
 * Our own tokens: JSON Web Tokens (RFC 7519) with HS256, as text and as claims. Pure: no store, no revocation, no
 * clock. Tokens of others are verified by jwk.h.
 */
#ifndef WORKER_IDENTITY_JWT_H
#define WORKER_IDENTITY_JWT_H

#include "common/json.h"

#define JWT_MAX 8192      /* bytes of a token; longer ones are malformed */
#define JWT_SECRET_MIN 32 /* bytes of a secret */

enum jwt_type { JWT_ACCESS, JWT_REFRESH, JWT_MFA_PENDING, JWT_TYPE_MAX };

/* Empty strings and zeros are left out of a token and are what an absent claim reads as. Times are seconds. */
struct jwt_claims {
	enum jwt_type type;
	struct str sub, email, org_id, role;
	struct str jti, sid; /* of this token; session */
	struct str family;   /* refresh tokens: all that descend from one login */
	struct str imp;      /* the admin behind an impersonation */
	int64_t iat, exp, nbf;
	int64_t tv;  /* token version of the user */
	int64_t seq; /* refresh tokens: place in the family */
	int64_t mfa; /* when a second factor was proved */
};

struct jwt_keys {
	struct str current, previous; /* previous: empty, or accepted before previous_until */
	int64_t previous_until;       /* seconds */
};

/* In the order in which they are looked for: what is wrong with the signature hides everything behind it. */
enum jwt_fault {
	JWT_OK,
	JWT_MALFORMED, /* not three parts of base64url with JSON objects */
	JWT_ALGORITHM, /* not HS256; nothing was computed */
	JWT_SIGNATURE,
	JWT_CLAIMS, /* a claim is missing or has the wrong type */
	JWT_EARLY,  /* nbf is in the future */
	JWT_EXPIRED,
	JWT_WRONG_TYPE
};

/* The token, in the arena. keys->current has at least JWT_SECRET_MIN bytes; less aborts. */
struct str jwt_sign(struct arena *a, const struct jwt_keys *keys, const struct jwt_claims *claims);
/*
 * Fills *claims (memory of the arena) from a token of the wanted type that is valid at `now` (seconds; clocks may
 * differ by a few, but for expiry). Signatures are compared in constant time. *claims is only set with JWT_OK.
 */
enum jwt_fault jwt_verify(struct arena *a, const struct jwt_keys *keys, struct str token, enum jwt_type type,
			  int64_t now, struct jwt_claims *claims) MUST_CHECK;

/* Takes a token apart for verification elsewhere. Memory of the arena; nothing in it is proved yet. */
struct jwt_parts {
	struct str signing; /* "header.claims" as it was signed */
	json_t *header, *claims;
	struct str signature; /* raw bytes */
};
bool jwt_split(struct arena *a, struct str token, struct jwt_parts *parts) MUST_CHECK;

#endif
