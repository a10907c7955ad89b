/* SPDX-License-Identifier: MIT */
/*
 * Digests, MACs and encodings over OpenSSL 3, and the key files. Called for receipts, tokens, sessions and the
 * WebSocket handshake. Deliberately without ciphers, TLS and any choice of algorithm.
 */
#include "common/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "common/ids.h"
#include "common/log.h"

#define CRYPTO_KEY_LEN 32
#define CRYPTO_PATH_MAX 1024
#define CRYPTO_KEY_TRIES 3

static const char crypto_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

static const EVP_MD *crypto_sha256_md, *crypto_sha1_md;
static pthread_once_t crypto_once = PTHREAD_ONCE_INIT;

/* EVP_sha256() has the provider looked up at each use, which costs more than the digest of a short text. */
static void crypto_fetch(void)
{
	crypto_sha256_md = EVP_MD_fetch(NULL, "SHA256", NULL);
	crypto_sha1_md = EVP_MD_fetch(NULL, "SHA1", NULL);
	BUG_ON(crypto_sha256_md == NULL || crypto_sha1_md == NULL);
}

static void crypto_digest(const EVP_MD *const *md, struct str data, uint8_t *out, unsigned want)
{
	unsigned len = 0;

	BUG_ON(pthread_once(&crypto_once, crypto_fetch) != 0);
	/* These digests cannot fail but for lack of memory, and nothing could be answered without them. */
	BUG_ON(EVP_Digest(data.n != 0 ? data.p : "", data.n, out, &len, *md, NULL) != 1);
	BUG_ON(len != want);
}

void crypto_sha256(struct str data, uint8_t out[SHA256_LEN])
{
	crypto_digest(&crypto_sha256_md, data, out, SHA256_LEN);
}

void crypto_sha256_hex(struct str data, char out[SHA256_HEX])
{
	uint8_t digest[SHA256_LEN];

	crypto_sha256(data, digest);
	crypto_hex(out, digest, sizeof(digest));
}

void crypto_sha1(struct str data, uint8_t out[20])
{
	crypto_digest(&crypto_sha1_md, data, out, 20);
}

void crypto_hmac_sha256(struct str key, struct str data, uint8_t out[SHA256_LEN])
{
	size_t len = 0;

	/* NULL would mean "no key was given" instead of the empty key. */
	BUG_ON(EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key.n != 0 ? key.p : "", key.n,
			 (const unsigned char *)(data.n != 0 ? data.p : ""), data.n, out, SHA256_LEN, &len) == NULL);
	BUG_ON(len != SHA256_LEN);
}

void crypto_hex(char *out, const uint8_t *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * n] = '\0';
}

bool crypto_unhex(struct str hex, uint8_t *out, size_t n)
{
	if (hex.n % 2 != 0 || hex.n / 2 != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		int high = str_hex_digit(hex.p[2 * i]);
		int low = str_hex_digit(hex.p[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* Both alphabets of RFC 4648, which differ in the last two digits and in padding. Returns the length. */
static size_t crypto_encode64(char *out, const uint8_t *p, size_t n, const char last[2], bool padded)
{
	char *at = out;

	for (size_t i = 0; i < n; i += 3) {
		size_t have = n - i < 3 ? n - i : 3;
		uint32_t bits = (uint32_t)p[i] << 16;

		if (have > 1)
			bits |= (uint32_t)p[i + 1] << 8;
		if (have > 2)
			bits |= p[i + 2];
		for (size_t k = 0; k < (padded ? 4 : have + 1); k++) {
			uint32_t digit = bits >> (18 - 6 * k) & 63;

			*at++ = k > have ? '=' : digit < 62 ? crypto_alphabet[digit] : last[digit - 62];
		}
	}
	*at = '\0';
	return (size_t)(at - out);
}

static int crypto_digit64(char c, const char last[2])
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == last[0] ? 62 : c == last[1] ? 63 : -1;
}

/* Digits without padding; one left over, or bits that no byte takes, would be a second spelling and are refused. */
static bool crypto_decode64(struct str digits, const char last[2], uint8_t *out, size_t *n)
{
	size_t len = digits.n / 4 * 3 + (digits.n % 4 != 0 ? digits.n % 4 - 1 : 0), done = 0;
	uint32_t bits = 0;

	if (digits.n % 4 == 1 || len > *n)
		return false;
	for (size_t i = 0; i < digits.n; i++) {
		int digit = crypto_digit64(digits.p[i], last);

		if (digit < 0)
			return false;
		bits = bits << 6 | (uint32_t)digit;
		/* Each digit but the first of four completes a byte; what is left over stays in the low bits. */
		if (i % 4 != 0)
			out[done++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	if (digits.n % 4 != 0 && (bits & (digits.n % 4 == 3 ? 3 : 15)) != 0)
		return false;
	*n = len;
	return true;
}

size_t crypto_base64(char *out, const uint8_t *p, size_t n)
{
	return crypto_encode64(out, p, n, "+/", true);
}

bool crypto_unbase64(struct str text, uint8_t *out, size_t *n)
{
	size_t padding = 0;

	if (text.n % 4 != 0)
		return false;
	while (padding < 2 && padding < text.n && text.p[text.n - 1 - padding] == '=')
		padding++;
	return crypto_decode64(str_sub(text, 0, text.n - padding), "+/", out, n);
}

size_t crypto_base64url(char *out, const uint8_t *p, size_t n)
{
	return crypto_encode64(out, p, n, "-_", false);
}

bool crypto_unbase64url(struct str text, uint8_t *out, size_t *n)
{
	return crypto_decode64(text, "-_", out, n);
}

bool crypto_equal(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || CRYPTO_memcmp(a.p, b.p, a.n) == 0);
}

/* Key files. */

/* ERR_NOT_FOUND when there is no file. */
static bool crypto_key_read(const char *path, uint8_t key[CRYPTO_KEY_LEN], struct error *err)
{
	char text[2 * CRYPTO_KEY_LEN + 2];
	struct stat st;
	ssize_t len;
	bool ok;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_STORAGE, "key file %s: %s", path,
				 strerror(errno));
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return error_set(err, ERR_STORAGE, "key file %s is not a regular file", path);
	}
	if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
		close(fd);
		return error_set(err, ERR_FORBIDDEN, "key file %s is open to others (mode %03o): chmod 600 it", path,
				 (unsigned)st.st_mode & 0777);
	}
	len = read(fd, text, sizeof(text));
	close(fd);
	/* 64 digits and at most one line feed. */
	ok = len >= 2 * CRYPTO_KEY_LEN &&
	     (len == 2 * CRYPTO_KEY_LEN || (len == 2 * CRYPTO_KEY_LEN + 1 && text[len - 1] == '\n')) &&
	     crypto_unhex((struct str){text, 2 * CRYPTO_KEY_LEN}, key, CRYPTO_KEY_LEN);
	explicit_bzero(text, sizeof(text));
	return ok || error_set(err, ERR_INVALID_VALUE, "key file %s must hold 64 hexadecimal digits", path);
}

/* A new file's name is safe on the disk only when its directory is. */
static void crypto_sync_dir(const char *path)
{
	char dir[CRYPTO_PATH_MAX];
	const char *slash = strrchr(path, '/');
	int fd;

	if (slash == NULL)
		snprintf(dir, sizeof(dir), ".");
	else
		snprintf(dir, sizeof(dir), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	/* Some file systems cannot sync a directory; the key is in place all the same. */
	if (fsync(fd) != 0)
		log_debug("crypto", "directory not synced", KV_S("path", dir), KV_S("error", strerror(errno)));
	close(fd);
}

static bool crypto_write_fresh(int fd)
{
	char text[2 * CRYPTO_KEY_LEN + 1];
	ssize_t len;

	ids_hex(text, CRYPTO_KEY_LEN);
	text[2 * CRYPTO_KEY_LEN] = '\n';
	len = write(fd, text, sizeof(text));
	explicit_bzero(text, sizeof(text));
	if (len >= 0 && len != (ssize_t)sizeof(text))
		errno = ENOSPC;
	return len == (ssize_t)sizeof(text) && fsync(fd) == 0;
}

/* link(2) lets one of several makers win with a complete file; the others then read the winner's. */
static bool crypto_key_make(const char *path, struct error *err)
{
	char temp[CRYPTO_PATH_MAX], suffix[17];
	bool linked, written;
	int fd, failed;

	ids_hex(suffix, 8);
	if (snprintf(temp, sizeof(temp), "%s.%s", path, suffix) >= (int)sizeof(temp))
		return error_set(err, ERR_INVALID_VALUE, "key file %s: name too long", path);
	fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(err, ERR_STORAGE, "key file %s cannot be made: %s", path, strerror(errno));
	written = crypto_write_fresh(fd);
	linked = written && link(temp, path) == 0;
	failed = errno;
	close(fd);
	unlink(temp);
	if (linked) {
		crypto_sync_dir(path);
		log_info("crypto", "key file made", KV_S("path", path));
	}
	return linked || (written && failed == EEXIST) ||
	       error_set(err, ERR_STORAGE, "key file %s cannot be made: %s", path, strerror(failed));
}

bool crypto_key_file(const char *path, uint8_t key[CRYPTO_KEY_LEN], struct error *err)
{
	struct error why = ERROR_INIT;

	for (int i = 0; i < CRYPTO_KEY_TRIES; i++) {
		if (crypto_key_read(path, key, &why))
			return true;
		if (why.code != ERR_NOT_FOUND || !crypto_key_make(path, &why))
			break;
	}
	return error_set(err, why.code, "%s", why.msg);
}
