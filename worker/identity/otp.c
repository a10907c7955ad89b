/* SPDX-License-Identifier: MIT */
/*
 * One-time passwords over OpenSSL's HMAC. Called by the second factor. Keeps nothing and knows no users.
 */
#include "worker/identity/otp.h"

#include <openssl/evp.h>

#include "common/crypto.h"

#define OTP_SHA1 20

static const char base32_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

void otp_code(struct str secret, uint64_t counter, unsigned digits, char out[9])
{
	static const uint32_t powers[] = {1000000, 10000000, 100000000};
	uint8_t mac[OTP_SHA1], moving[8];
	size_t len = 0, at;
	uint32_t bits;
	int i;

	BUG_ON(digits < 6 || digits > 8);
	for (i = 0; i < 8; i++)
		moving[i] = (uint8_t)(counter >> (56 - 8 * i));
	BUG_ON(EVP_Q_mac(NULL, "HMAC", NULL, "SHA1", NULL, secret.n != 0 ? secret.p : "", secret.n, moving,
			 sizeof(moving), mac, sizeof(mac), &len) == NULL);
	/* Dynamic truncation, RFC 4226 5.3. */
	at = mac[OTP_SHA1 - 1] & 15;
	bits = (uint32_t)(mac[at] & 127) << 24 | (uint32_t)mac[at + 1] << 16 | (uint32_t)mac[at + 2] << 8 | mac[at + 3];
	bits %= powers[digits - 6];
	out[digits] = '\0';
	for (i = (int)digits - 1; i >= 0; i--, bits /= 10)
		out[i] = (char)('0' + bits % 10);
}

static bool otp_equal(struct str secret, uint64_t counter, struct str code)
{
	char want[9];

	otp_code(secret, counter, OTP_DIGITS, want);
	return crypto_equal(code, (struct str){want, OTP_DIGITS});
}

bool totp_check(struct str secret, int64_t now, struct str code, int64_t last_step, int64_t *step)
{
	int64_t middle = now / OTP_STEP, found = -1, s;

	/* All are computed, so that the time does not tell which one it was. */
	for (s = middle - OTP_WINDOW; s <= middle + OTP_WINDOW; s++)
		if (s >= 0 && otp_equal(secret, (uint64_t)s, code))
			found = s;
	if (found < 0 || found <= last_step)
		return false;
	*step = found;
	return true;
}

bool hotp_check(struct str secret, uint64_t counter, struct str code, uint64_t *next)
{
	uint64_t i;

	for (i = 0; i < HOTP_AHEAD; i++)
		if (otp_equal(secret, counter + i, code)) {
			*next = counter + i + 1;
			return true;
		}
	return false;
}

bool hotp_resync(struct str secret, uint64_t counter, struct str first, struct str second, uint64_t *next)
{
	uint64_t i;

	for (i = 0; i < HOTP_RESYNC; i++)
		if (otp_equal(secret, counter + i, first) && otp_equal(secret, counter + i + 1, second)) {
			*next = counter + i + 2;
			return true;
		}
	return false;
}

struct str base32_encode(struct arena *a, struct str data)
{
	size_t n = (data.n * 8 + 4) / 5, i;
	char *out = arena_alloc(a, n + 1);
	unsigned held = 0, bits = 0;
	size_t done = 0;

	for (i = 0; i < data.n; i++) {
		bits = (bits << 8 | (uint8_t)data.p[i]) & 0xfff;
		for (held += 8; held >= 5; held -= 5)
			out[done++] = base32_alphabet[bits >> (held - 5) & 31];
	}
	if (held > 0)
		out[done++] = base32_alphabet[bits << (5 - held) & 31];
	out[done] = '\0';
	return (struct str){out, done};
}

/* Percent-encodes all but what RFC 3986 2.3 leaves alone. */
static void otp_escape(struct buf *b, struct str s)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t i;

	for (i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || strchr("-._~@", c) != NULL) {
			buf_addc(b, (char)c);
		} else {
			buf_addc(b, '%');
			buf_addc(b, hex[c >> 4]);
			buf_addc(b, hex[c & 15]);
		}
	}
}

struct str otp_uri(struct arena *a, struct str issuer, struct str account, struct str secret, int64_t counter)
{
	struct buf b = BUF_INIT;
	struct str text;

	buf_addz(&b, counter < 0 ? "otpauth://totp/" : "otpauth://hotp/");
	otp_escape(&b, issuer);
	buf_addc(&b, ':');
	otp_escape(&b, account);
	buf_printf(&b, "?secret=%.*s&issuer=", STR_ARG(base32_encode(a, secret)));
	otp_escape(&b, issuer);
	buf_printf(&b, "&algorithm=SHA1&digits=%d", OTP_DIGITS);
	if (counter < 0)
		buf_printf(&b, "&period=%d", OTP_STEP);
	else
		buf_printf(&b, "&counter=%lld", (long long)counter);
	text = arena_str(a, buf_str(&b));
	explicit_bzero(b.p, b.n);
	buf_free(&b);
	return text;
}
