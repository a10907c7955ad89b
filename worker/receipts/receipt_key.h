/* SPDX-License-Identifier: MIT */
/*
 * Keys that sign receipts: HMAC-SHA256 (who can verify can also sign) and Ed25519 (RFC 8032; anybody can verify with
 * the public key, and equal input gives equal signatures). Several are known at a time: the first signs, all verify.
 */
#ifndef WORKER_RECEIPTS_RECEIPT_KEY_H
#define WORKER_RECEIPTS_RECEIPT_KEY_H

#include <jansson.h>

#include "common/err.h"
#include "common/sign_key.h"
#include "common/str.h"

#define RECEIPT_KEYS_MAX 16
#define RECEIPT_ED25519_LEN 32 /* of the secret and of the public key */
#define RECEIPT_SIG_MAX 89     /* base64 of 64 bytes, with NUL */

enum receipt_algorithm { RECEIPT_HMAC, RECEIPT_ED25519, RECEIPT_ALGORITHMS };

struct receipt_key {
	enum receipt_algorithm algorithm;
	uint8_t secret[SIGN_KEY_MAX];
	size_t n; /* bytes of secret; 0: only verifies */
	uint8_t public[RECEIPT_ED25519_LEN];
	char id[SIGN_KEY_ID]; /* "durable-" or "ed25519-", and 8 hex digits */
};

struct receipt_keys {
	struct receipt_key v[RECEIPT_KEYS_MAX];
	size_t n;
};

/* "HMAC-SHA256", "Ed25519". */
const char *receipt_algorithm_name(enum receipt_algorithm a);

/*
 * Adds the keys of a comma-separated list: "KEY" or "hmac:KEY" (32 to 128 bytes), "ed25519:KEY" (the secret of 32
 * bytes), "ed25519-public:KEY"; KEY in hexadecimal, base64 or base64url. A key that is there already is passed over.
 * False, with the reason but no part of a key in err.
 */
bool receipt_keys_parse(struct str list, struct receipt_keys *k, struct error *err) MUST_CHECK;
/* Makes the key of `n` secret bytes. False when they are no key of this algorithm. */
bool receipt_key_make(enum receipt_algorithm a, const uint8_t *secret, size_t n, struct receipt_key *out) MUST_CHECK;
/* NULL: not known here. */
const struct receipt_key *receipt_key_find(const struct receipt_keys *k, struct str id, struct str algorithm);

/* base64 in `out`. The key must be able to sign. */
void receipt_key_sign(const struct receipt_key *k, struct str message, char out[RECEIPT_SIG_MAX]);
/* `signature` is base64 from anywhere; compared in constant time. */
bool receipt_key_verify(const struct receipt_key *k, struct str message, struct str signature) MUST_CHECK;

/*
 * What may be told about the keys: [{key_id, algorithm, signs, public_key (base64), public_key_pem}]; nothing of a
 * secret, so HMAC keys are only named. New reference.
 */
json_t *receipt_keys_public(const struct receipt_keys *k);

#endif
