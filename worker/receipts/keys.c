/* SPDX-License-Identifier: MIT */
/*
 * The signing key of receipts: from the environment, or the file in data_dir/keys. Called at worker start. Does not
 * rotate keys: receipts name the key they were signed with.
 */
#include "worker/receipts/receipt_doc.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/conf.h"

#define KEYS_VARIABLE "ARAGORA_RECEIPT_SIGNING_KEY"
#define KEYS_TEXT_MAX 512

static void keys_name(struct receipt_keys *k)
{
	uint8_t digest[SHA256_LEN];
	char hex[9];

	crypto_sha256((struct str){(const char *)k->key, k->n}, digest);
	crypto_hex(hex, digest, 4);
	snprintf(k->id, sizeof(k->id), "durable-%s", hex);
}

/* base64url to base64 with padding. */
static size_t keys_plain_base64(struct str text, char out[KEYS_TEXT_MAX])
{
	size_t i;

	for (i = 0; i < text.n; i++)
		out[i] = text.p[i] == '-' ? '+' : text.p[i] == '_' ? '/' : text.p[i];
	while (i % 4 != 0)
		out[i++] = '=';
	return i;
}

bool receipt_key_parse(struct str text, struct receipt_keys *out)
{
	char plain[KEYS_TEXT_MAX];
	bool ok;

	text = str_trim(text);
	if (text.n == 0 || text.n > sizeof(plain) - 4)
		return false;
	out->n = text.n / 2;
	ok = text.n % 2 == 0 && out->n <= sizeof(out->key) && crypto_unhex(text, out->key, out->n);
	if (!ok) {
		out->n = sizeof(out->key);
		ok = crypto_unbase64((struct str){plain, keys_plain_base64(text, plain)}, out->key, &out->n);
		explicit_bzero(plain, sizeof(plain));
	}
	if (!ok || out->n < RECEIPT_KEY_MIN)
		return false;
	keys_name(out);
	return true;
}

static bool keys_from_file(const char *path, struct receipt_keys *k, struct error *err)
{
	char text[KEYS_TEXT_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
	bool ok;

	if (n < 0)
		error_set(err, ERR_STORAGE, KEYS_VARIABLE "_FILE: %.150s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	if (n < 0)
		return false;
	ok = receipt_key_parse((struct str){text, (size_t)n}, k);
	explicit_bzero(text, sizeof(text));
	return ok || error_set(err, ERR_INVALID_VALUE, "%.150s: not a key of 32 bytes or more in hex or base64", path);
}

static bool keys_from_data_dir(const struct conf *c, struct receipt_keys *k, struct error *err)
{
	struct buf path = BUF_INIT;
	bool ok;

	buf_printf(&path, "%s/keys/receipt.key", c->storage.data_dir);
	ok = crypto_key_file(path.p, k->key, err);
	buf_free(&path);
	k->n = 32;
	keys_name(k);
	return ok;
}

struct receipt_keys *receipt_keys_open(const struct conf *c, struct error *err)
{
	struct receipt_keys *k = xcalloc(1, sizeof(*k));
	const char *text = getenv(KEYS_VARIABLE), *file = getenv(KEYS_VARIABLE "_FILE");
	bool ok;

	if (text != NULL && *text != '\0')
		ok = receipt_key_parse(str_of(text), k) ||
		     error_set(err, ERR_INVALID_VALUE,
			       KEYS_VARIABLE " is not a key of 32 bytes or more in hex or base64");
	else if (file != NULL && *file != '\0')
		ok = keys_from_file(file, k, err);
	else
		ok = keys_from_data_dir(c, k, err);
	if (ok)
		return k;
	receipt_keys_close(k);
	return NULL;
}

void receipt_keys_close(struct receipt_keys *k)
{
	if (k == NULL)
		return;
	explicit_bzero(k, sizeof(*k));
	free(k);
}
