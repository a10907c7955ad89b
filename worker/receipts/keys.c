/* SPDX-License-Identifier: MIT */
/*
 * Which keys sign and verify receipts: those of the configuration, then those kept in data_dir/keys. Called at worker
 * start and by commands that verify. Which of them signs is a matter of order; it makes no key but the one it needs.
 */
#include "worker/receipts/receipt.h"

#include <unistd.h>

#include "common/conf.h"
#include "common/crypto.h"
#include "worker/receipts/receipt_key.h"

/* By algorithm: the file in data_dir/keys. */
static const char *const keys_files[RECEIPT_ALGORITHMS] = {
    [RECEIPT_HMAC] = "receipt.key",
    [RECEIPT_ED25519] = "receipt-ed25519.key",
};

/* Adds the key of a file in data_dir/keys; one that is not there is made when it is to sign. */
static bool keys_from_data_dir(const struct conf *c, enum receipt_algorithm a, struct receipt_keys *k,
			       struct error *err)
{
	uint8_t secret[RECEIPT_ED25519_LEN];
	struct buf path = BUF_INIT;
	bool ok = true;

	buf_printf(&path, "%s/keys/%s", c->storage.data_dir, keys_files[a]);
	if (k->n == 0 || access(path.p, F_OK) == 0) {
		ok = crypto_key_file(path.p, secret, err);
		if (ok && k->n < RECEIPT_KEYS_MAX) {
			struct receipt_key made;

			ok = receipt_key_make(a, secret, sizeof(secret), &made) ||
			     error_set(err, ERR_INVALID_VALUE, "%.150s: not a key", path.p);
			if (ok && receipt_key_find(k, str_of(made.id), str_of(receipt_algorithm_name(a))) == NULL)
				k->v[k->n++] = made;
			explicit_bzero(&made, sizeof(made));
		}
		explicit_bzero(secret, sizeof(secret));
	}
	buf_free(&path);
	return ok;
}

struct receipt_keys *receipt_keys_open(const struct conf *c, struct error *err)
{
	struct receipt_keys *k = xcalloc(1, sizeof(*k));
	bool ed25519 = c->receipts.algorithm == RECEIPT_ED25519;
	struct error why = ERROR_INIT;
	bool ok = receipt_keys_parse(str_of(c->receipts.signing_key), k, &why);

	if (ok && k->n > 0 && k->v[0].n == 0)
		ok = error_set(&why, ERR_INVALID_VALUE, "the first key signs, so it cannot be a public one");
	if (!ok)
		error_set(err, ERR_INVALID_VALUE, "receipts.signing_key: %.200s", why.msg);
	/* What was signed before a key was configured, or with the other algorithm, goes on to verify. */
	ok = ok && keys_from_data_dir(c, ed25519 ? RECEIPT_ED25519 : RECEIPT_HMAC, k, err) &&
	     keys_from_data_dir(c, ed25519 ? RECEIPT_HMAC : RECEIPT_ED25519, k, err);
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
