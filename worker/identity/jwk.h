/* SPDX-License-Identifier: MIT */
/*
 * Tokens that others have signed: ID tokens of single sign-on, verified with the keys that their issuer publishes (JWK
 * sets, RFC 7517; OpenID Connect Core 3.1.3.7). Pure: keys and tokens come as text.
 */
#ifndef WORKER_IDENTITY_JWK_H
#define WORKER_IDENTITY_JWK_H

#include "common/json.h"

#define JWK_KEYS_MAX 64 /* in a set */

/* Is it a set of at most JWK_KEYS_MAX keys? The set is memory of the arena; else NULL, with ERR_INVALID_JSON. */
json_t *jwk_set_parse(struct arena *a, struct str text, struct error *err) MUST_CHECK;

struct jwk_expect {
	struct str issuer, audience; /* both must match */
	struct str nonce;            /* empty: none was sent */
	int64_t now;                 /* seconds */
};

/*
 * True: `token` is signed by a key of the set (RS256, ES256 or EdDSA with Ed25519; nothing else), is meant for us and
 * is valid now; *claims is then in the arena. ERR_NOT_FOUND: the set has no such key, it may be time to read it anew;
 * ERR_INVALID_TOKEN: everything else.
 */
bool jwk_verify(struct arena *a, const json_t *set, struct str token, const struct jwk_expect *expect, json_t **claims,
		struct error *err) MUST_CHECK;

#endif
