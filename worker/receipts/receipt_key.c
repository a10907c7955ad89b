/* SPDX-License-Identifier: MIT */
/*
 * Text forms, signatures and public forms of receipt keys. Called by keys.c, verify.c and `aragorad receipt`. Does not
 * know where keys are kept.
 */
#include "worker/receipts/receipt_key.h"

#include <openssl/evp.h>
#include <openssl/pem.h>

#include "common/crypto.h"
#include "common/json.h"

#define KEY_SIG_LEN 64 /* of Ed25519, RFC 8032 5.1.6 */

static const struct {
	const char *name, *prefix;
} key_algorithms[RECEIPT_ALGORITHMS] = {
    [RECEIPT_HMAC] = {"HMAC-SHA256", "durable-"},
    [RECEIPT_ED25519] = {"Ed25519", "ed25519-"},
};

/* Before the colon of a text form. */
static const struct {
	const char *word;
	enum receipt_algorithm algorithm;
	bool public;
} key_forms[] = {
    {"hmac", RECEIPT_HMAC, false},
    {"hmac-sha256", RECEIPT_HMAC, false},
    {"ed25519", RECEIPT_ED25519, false},
    {"ed25519-public", RECEIPT_ED25519, true},
};

const char *receipt_algorithm_name(enum receipt_algorithm a)
{
	return key_algorithms[a].name;
}

/* ---- making ---- */

static void key_name(struct receipt_key *k)
{
	if (k->algorithm == RECEIPT_ED25519)
		sign_key_name(key_algorithms[k->algorithm].prefix, k->public, sizeof(k->public), k->id);
	else
		sign_key_name(key_algorithms[k->algorithm].prefix, k->secret, k->n, k->id);
}

bool receipt_key_make(enum receipt_algorithm a, const uint8_t *secret, size_t n, struct receipt_key *out)
{
	size_t len = sizeof(out->public);
	EVP_PKEY *pair;
	bool ok;

	*out = (struct receipt_key){.algorithm = a};
	if (n < SIGN_KEY_MIN || n > SIGN_KEY_MAX || (a == RECEIPT_ED25519 && n != RECEIPT_ED25519_LEN))
		return false;
	memcpy(out->secret, secret, n);
	out->n = n;
	if (a == RECEIPT_ED25519) {
		pair = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, n);
		ok = pair != NULL && EVP_PKEY_get_raw_public_key(pair, out->public, &len) == 1;
		EVP_PKEY_free(pair);
		if (!ok)
			return false;
	}
	key_name(out);
	return true;
}

static bool key_public(const uint8_t *bytes, size_t n, struct receipt_key *out)
{
	*out = (struct receipt_key){.algorithm = RECEIPT_ED25519};
	if (n != sizeof(out->public))
		return false;
	memcpy(out->public, bytes, n);
	key_name(out);
	return true;
}

static bool key_parse(struct str text, struct receipt_key *out)
{
	ptrdiff_t colon = str_chr(text, ':');
	struct str word = colon >= 0 ? str_trim(str_sub(text, 0, (size_t)colon)) : STR("hmac");
	uint8_t bytes[SIGN_KEY_MAX];
	size_t n = 0, i;
	bool ok;

	for (i = 0; i < countof(key_forms) && !str_ieqz(word, key_forms[i].word); i++)
		;
	ok = i < countof(key_forms) && sign_key_parse(str_sub(text, (size_t)(colon + 1), text.n), bytes, &n);
	if (ok)
		ok = key_forms[i].public ? key_public(bytes, n, out)
					 : receipt_key_make(key_forms[i].algorithm, bytes, n, out);
	explicit_bzero(bytes, sizeof(bytes));
	return ok;
}

bool receipt_keys_parse(struct str list, struct receipt_keys *k, struct error *err)
{
	struct receipt_key made;
	struct str one;
	unsigned at = 0;

	while (str_split(&list, ',', &one)) {
		one = str_trim(one);
		at++;
		if (one.n == 0)
			continue;
		if (k->n == RECEIPT_KEYS_MAX)
			return error_set(err, ERR_INVALID_VALUE, "more than %d keys", RECEIPT_KEYS_MAX);
		if (!key_parse(one, &made))
			return error_set(err, ERR_INVALID_VALUE,
					 "key %u of the list is not a key of 32 bytes or more in hex or base64; before "
					 "it may stand hmac:, ed25519: or ed25519-public: (32 bytes)",
					 at);
		if (receipt_key_find(k, str_of(made.id), str_of(receipt_algorithm_name(made.algorithm))) == NULL)
			k->v[k->n++] = made;
		explicit_bzero(&made, sizeof(made));
	}
	return true;
}

const struct receipt_key *receipt_key_find(const struct receipt_keys *k, struct str id, struct str algorithm)
{
	size_t i;

	for (i = 0; i < k->n; i++)
		if (str_eqz(id, k->v[i].id) && str_eqz(algorithm, key_algorithms[k->v[i].algorithm].name))
			return &k->v[i];
	return NULL;
}

/* ---- signing and verifying ---- */

static struct str key_mac(const struct receipt_key *k, struct str message, uint8_t mac[SHA256_LEN])
{
	crypto_hmac_sha256((struct str){(const char *)k->secret, k->n}, message, mac);
	return (struct str){(const char *)mac, SHA256_LEN};
}

void receipt_key_sign(const struct receipt_key *k, struct str message, char out[RECEIPT_SIG_MAX])
{
	uint8_t signature[KEY_SIG_LEN];
	size_t n = sizeof(signature);
	EVP_MD_CTX *ctx;
	EVP_PKEY *pair;

	BUG_ON(k->n == 0);
	if (k->algorithm == RECEIPT_HMAC) {
		crypto_base64(out, (const uint8_t *)key_mac(k, message, signature).p, SHA256_LEN);
		return;
	}
	pair = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, k->secret, k->n);
	ctx = EVP_MD_CTX_new();
	/* The key was made once already: only lack of memory can stop this. */
	BUG_ON(pair == NULL || ctx == NULL || EVP_DigestSignInit(ctx, NULL, NULL, NULL, pair) != 1 ||
	       EVP_DigestSign(ctx, signature, &n, (const uint8_t *)message.p, message.n) != 1);
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pair);
	crypto_base64(out, signature, n);
}

bool receipt_key_verify(const struct receipt_key *k, struct str message, struct str signature)
{
	uint8_t bytes[KEY_SIG_LEN], mac[SHA256_LEN];
	size_t n = sizeof(bytes);
	EVP_PKEY *public;
	EVP_MD_CTX *ctx;
	bool ok;

	if (!crypto_unbase64(signature, bytes, &n))
		return false;
	if (k->algorithm == RECEIPT_HMAC)
		return k->n > 0 && crypto_equal((struct str){(const char *)bytes, n}, key_mac(k, message, mac));
	public = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, k->public, sizeof(k->public));
	ctx = EVP_MD_CTX_new();
	ok = public != NULL && ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, public) == 1 &&
	     EVP_DigestVerify(ctx, bytes, n, (const uint8_t *)message.p, message.n) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(public);
	return ok;
}

/* ---- what may be told ---- */

static void key_put_pem(json_t *o, const struct receipt_key *k)
{
	EVP_PKEY *public = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, k->public, sizeof(k->public));
	BIO *out = BIO_new(BIO_s_mem());
	char *text = NULL;
	long n;

	if (public != NULL && out != NULL && PEM_write_bio_PUBKEY(out, public) == 1) {
		n = BIO_get_mem_data(out, &text);
		json_put_str(o, "public_key_pem", (struct str){text, n > 0 ? (size_t)n : 0});
	}
	BIO_free(out);
	EVP_PKEY_free(public);
}

json_t *receipt_keys_public(const struct receipt_keys *k)
{
	char text[RECEIPT_SIG_MAX];
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < k->n; i++) {
		json_t *o = json_object();

		json_put_str(o, "key_id", str_of(k->v[i].id));
		json_put_str(o, "algorithm", str_of(key_algorithms[k->v[i].algorithm].name));
		json_object_set_new(o, "signs", json_boolean(i == 0));
		if (k->v[i].algorithm == RECEIPT_ED25519) {
			crypto_base64(text, k->v[i].public, sizeof(k->v[i].public));
			json_put_str(o, "public_key", str_of(text));
			key_put_pem(o, &k->v[i]);
		}
		json_array_append_new(list, o);
	}
	return list;
}
