/* SPDX-License-Identifier: MIT */
/*
 * Secret fields at rest. A column holds either plain text (what was written before there was a key) or the envelope
 *
 *   {"_encrypted":true,"_value":"<base64>"}
 *
 * whose bytes are 0x01, length of the key id, key id, key version (4 bytes, big-endian), length of the nonce (12),
 * nonce, AES-256-GCM ciphertext and tag. Table, column and row are authenticated with it (AAD "table|column|row"), so
 * that an envelope copied to another place does not open.
 */
#ifndef COMMON_ENVELOPE_H
#define COMMON_ENVELOPE_H

#include "common/keyring.h"

/* Where a value belongs. table and column are names without '|'; row is the key of the row, columns joined with '|'. */
struct envelope_place {
	const char *store; /* label of the metrics; one of metric_stores */
	const char *table, *column;
	struct str row;
};

enum envelope_state {
	ENVELOPE_PLAIN,   /* not encrypted */
	ENVELOPE_ACTIVE,  /* under the key that encrypts now */
	ENVELOPE_OLD,     /* under another key of the ring */
	ENVELOPE_FOREIGN, /* under a key that is not in the ring */
	ENVELOPE_DAMAGED, /* marked as encrypted, but no envelope */
};

/* What a stored value is, without opening it. */
enum envelope_state envelope_state(const struct keyring *k, struct str stored);
/* Adds the envelope of `plain` to *out. Fails only when OpenSSL does (ERR_INTERNAL). */
bool envelope_seal(const struct keyring *k, const struct envelope_place *at, struct str plain, struct buf *out,
		   struct error *err) MUST_CHECK;
/*
 * Adds the plain text of a stored value to *out; plain text passes as it is. The caller wipes *out. ERR_NOT_FOUND with
 * "Key not found" when no key of the ring opens it; ERR_STORAGE when it is damaged or belongs to another place.
 */
bool envelope_open(const struct keyring *k, const struct envelope_place *at, struct str stored, struct buf *out,
		   struct error *err) MUST_CHECK;

/*
 * The cipher below, for whole files too: AES-256-GCM of `in` to `out` (in.n bytes) with a tag of 16 bytes. open is
 * false when tag, nonce, AAD or ciphertext are not what was sealed; nothing is in `out` then.
 */
#define GCM_NONCE 12
#define GCM_TAG 16
bool gcm_seal(const uint8_t key[KEYRING_KEY_LEN], const uint8_t nonce[GCM_NONCE], struct str aad, struct str in,
	      uint8_t *out, uint8_t tag[GCM_TAG]) MUST_CHECK;
bool gcm_open(const uint8_t key[KEYRING_KEY_LEN], const uint8_t nonce[GCM_NONCE], struct str aad, struct str in,
	      uint8_t *out, const uint8_t tag[GCM_TAG]) MUST_CHECK;

#endif
