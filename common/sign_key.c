/* SPDX-License-Identifier: MIT */
/*
 * Text forms and names of signing keys. Called where such keys are loaded (worker/receipts, worker/audit). Does not
 * know where a key is kept, and rotates none.
 */
#include "common/sign_key.h"

#define SIGN_KEY_TEXT_MAX 512

/* base64url to base64 with padding. */
static size_t sign_key_plain(struct str text, char out[SIGN_KEY_TEXT_MAX])
{
	size_t i;

	for (i = 0; i < text.n; i++)
		out[i] = text.p[i] == '-' ? '+' : text.p[i] == '_' ? '/' : text.p[i];
	while (i % 4 != 0)
		out[i++] = '=';
	return i;
}

bool sign_key_parse(struct str text, uint8_t key[SIGN_KEY_MAX], size_t *n)
{
	char plain[SIGN_KEY_TEXT_MAX];
	bool ok;

	text = str_trim(text);
	if (text.n == 0 || text.n > sizeof(plain) - 4)
		return false;
	*n = text.n / 2;
	ok = text.n % 2 == 0 && *n <= SIGN_KEY_MAX && crypto_unhex(text, key, *n);
	if (!ok) {
		*n = SIGN_KEY_MAX;
		ok = crypto_unbase64((struct str){plain, sign_key_plain(text, plain)}, key, n);
		explicit_bzero(plain, sizeof(plain));
	}
	if (ok && *n >= SIGN_KEY_MIN)
		return true;
	explicit_bzero(key, SIGN_KEY_MAX);
	*n = 0;
	return false;
}

void sign_key_name(const char *prefix, const uint8_t *key, size_t n, char id[SIGN_KEY_ID])
{
	uint8_t digest[SHA256_LEN];
	char hex[9];

	crypto_sha256((struct str){(const char *)key, n}, digest);
	crypto_hex(hex, digest, 4);
	snprintf(id, SIGN_KEY_ID, "%.15s%s", prefix, hex);
}
