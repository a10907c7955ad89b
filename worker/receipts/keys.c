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
#define KEYS_PREFIX "durable-"

bool receipt_key_parse(struct str text, struct receipt_keys *out)
{
	if (!sign_key_parse(text, out->key, &out->n))
		return false;
	sign_key_name(KEYS_PREFIX, out->key, out->n, out->id);
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
	sign_key_name(KEYS_PREFIX, k->key, k->n, k->id);
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
