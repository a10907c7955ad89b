/* SPDX-License-Identifier: MIT */
/*
 * Keys that sign what the server keeps (receipts, the audit log): their text forms, and the short name under which a
 * signature tells its key. HMAC-SHA256, so who can verify can also sign.
 */
#ifndef COMMON_SIGN_KEY_H
#define COMMON_SIGN_KEY_H

#include "common/crypto.h"

#define SIGN_KEY_MIN 32 /* bytes; RFC 2104 3: not shorter than the hash */
#define SIGN_KEY_MAX 128
#define SIGN_KEY_ID 24 /* with NUL */

/*
 * Hexadecimal, base64 or base64url text of SIGN_KEY_MIN to SIGN_KEY_MAX bytes. False: it is none of these, and key
 * holds nothing.
 */
bool sign_key_parse(struct str text, uint8_t key[SIGN_KEY_MAX], size_t *n) MUST_CHECK;
/* prefix (at most 15 characters) and the first 8 hex digits of the key's SHA-256. */
void sign_key_name(const char *prefix, const uint8_t *key, size_t n, char id[SIGN_KEY_ID]);

#endif
