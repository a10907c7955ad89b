/* SPDX-License-Identifier: MIT */
/*
 * The few cryptographic functions the product needs, over OpenSSL, and the secret files in data_dir/keys.
 */
#ifndef COMMON_CRYPTO_H
#define COMMON_CRYPTO_H

#include "common/err.h"
#include "common/str.h"

#define SHA256_LEN 32
#define SHA256_HEX 65 /* with NUL */

void crypto_sha256(struct str data, uint8_t out[SHA256_LEN]);
void crypto_sha256_hex(struct str data, char out[SHA256_HEX]);
void crypto_hmac_sha256(struct str key, struct str data, uint8_t out[SHA256_LEN]);
void crypto_sha1(struct str data, uint8_t out[20]); /* only for the WebSocket handshake, RFC 6455 4.2.2 */
/* Lower-case hex plus NUL; out has 2n + 1 bytes. */
void crypto_hex(char *out, const uint8_t *p, size_t n);
bool crypto_unhex(struct str hex, uint8_t *out, size_t n) MUST_CHECK;
/* RFC 4648 4 with padding plus NUL; out has 4 * ((n + 2) / 3) + 1 bytes. Returns the length. */
size_t crypto_base64(char *out, const uint8_t *p, size_t n);
/* Strict; *n is the capacity of out on entry and the decoded length on return. */
bool crypto_unbase64(struct str text, uint8_t *out, size_t *n) MUST_CHECK;
/* The same with the alphabet of URLs and without padding, RFC 4648 5. */
size_t crypto_base64url(char *out, const uint8_t *p, size_t n);
bool crypto_unbase64url(struct str text, uint8_t *out, size_t *n) MUST_CHECK;
/* Constant time for equal lengths. */
bool crypto_equal(struct str a, struct str b);
/*
 * Reads the 32-byte key file `path` (64 hex digits), or makes it (0600, created under a temporary name and linked, so
 * that two processes agree) and logs that it did. Fails if the file is readable by others.
 */
bool crypto_key_file(const char *path, uint8_t key[32], struct error *err) MUST_CHECK;

#endif
