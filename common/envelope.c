/* SPDX-License-Identifier: MIT */
/*
 * Envelopes of secret fields: AES-256-GCM with a random nonce per value, under a key named in the envelope. Called by
 * the store code of areas that keep secrets, and by `aragorad encrypt`. Does not decide which fields are secret
 * (worker/secrets.c lists them) and holds no keys.
 */
#include "common/envelope.h"

#include <openssl/evp.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/metrics.h"

#define ENVELOPE_FORM 0x01
#define ENVELOPE_KEY_VERSION 1
#define ENVELOPE_MARK "{\"_encrypted\":true,\"_value\":\""
#define ENVELOPE_HEAD (1 + 1 + KEYRING_ID_LEN + 4 + 1 + GCM_NONCE)
#define ENVELOPE_PLAIN_MAX ((size_t)16 << 20)

/* ---- the cipher ---- */

static bool gcm_run(bool seal, const uint8_t *key, const uint8_t *nonce, struct str aad, struct str in, uint8_t *out,
		    uint8_t *tag)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n = 0, last = 0;
	bool ok;

	BUG_ON(ctx == NULL || in.n > INT32_MAX || aad.n > INT32_MAX);
	ok = EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce, seal ? 1 : 0) == 1;
	if (ok && aad.n > 0)
		ok = EVP_CipherUpdate(ctx, NULL, &n, (const uint8_t *)aad.p, (int)aad.n) == 1;
	if (ok && in.n > 0)
		ok = EVP_CipherUpdate(ctx, out, &n, (const uint8_t *)in.p, (int)in.n) == 1 && (size_t)n == in.n;
	if (ok && !seal)
		ok = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, GCM_TAG, tag) == 1;
	ok = ok && EVP_CipherFinal_ex(ctx, out + in.n, &last) == 1 && last == 0;
	if (ok && seal)
		ok = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, GCM_TAG, tag) == 1;
	EVP_CIPHER_CTX_free(ctx);
	/* Unauthenticated plain text is nobody's business. */
	if (!ok && in.n > 0)
		explicit_bzero(out, in.n);
	return ok;
}

bool gcm_seal(const uint8_t key[KEYRING_KEY_LEN], const uint8_t nonce[GCM_NONCE], struct str aad, struct str in,
	      uint8_t *out, uint8_t tag[GCM_TAG])
{
	return gcm_run(true, key, nonce, aad, in, out, tag);
}

bool gcm_open(const uint8_t key[KEYRING_KEY_LEN], const uint8_t nonce[GCM_NONCE], struct str aad, struct str in,
	      uint8_t *out, const uint8_t tag[GCM_TAG])
{
	uint8_t copy[GCM_TAG];

	memcpy(copy, tag, sizeof(copy));
	return gcm_run(false, key, nonce, aad, in, out, copy);
}

/* ---- the form ---- */

/* A decoded envelope; slices of its block. */
struct envelope {
	uint8_t *block;
	struct str key_id, body; /* body: ciphertext without tag */
	const uint8_t *nonce, *tag;
};

static bool envelope_marked(struct str stored)
{
	json_t *j;
	bool marked;

	if (stored.n == 0 || stored.p[0] != '{' || str_find(stored, STR("\"_encrypted\"")) < 0)
		return false;
	j = json_parse(NULL, stored, NULL);
	marked = json_get_bool(j, "_encrypted", false);
	json_decref(j);
	return marked;
}

static bool envelope_cut(struct envelope *e, size_t n)
{
	const uint8_t *p = e->block;
	size_t id;

	if (n < 2 || p[0] != ENVELOPE_FORM)
		return false;
	id = p[1];
	if (n < 2 + id + 4 + 1 + GCM_NONCE + GCM_TAG || p[2 + id + 4] != GCM_NONCE)
		return false;
	e->key_id = (struct str){(const char *)p + 2, id};
	e->nonce = p + 2 + id + 4 + 1;
	e->body = (struct str){(const char *)e->nonce + GCM_NONCE, n - (2 + id + 4 + 1 + GCM_NONCE) - GCM_TAG};
	e->tag = (const uint8_t *)e->body.p + e->body.n;
	return true;
}

/* False: no well-formed envelope. Its block is freed by the caller in every case. */
static bool envelope_decode(struct str stored, struct envelope *e)
{
	json_t *j = json_parse(NULL, stored, NULL);
	struct str value = json_get_str(j, "_value", STR_NONE);
	size_t n = value.n / 4 * 3;
	bool ok;

	*e = (struct envelope){.block = xmalloc(n + 1)};
	ok = crypto_unbase64(value, e->block, &n) && envelope_cut(e, n);
	json_decref(j);
	return ok;
}

enum envelope_state envelope_state(const struct keyring *k, struct str stored)
{
	enum envelope_state state = ENVELOPE_DAMAGED;
	struct envelope e;

	if (!envelope_marked(stored))
		return ENVELOPE_PLAIN;
	if (envelope_decode(stored, &e)) {
		const struct keyring_key *key = keyring_find(k, e.key_id);

		state = key == NULL ? ENVELOPE_FOREIGN : key == keyring_active(k) ? ENVELOPE_ACTIVE : ENVELOPE_OLD;
	}
	free(e.block);
	return state;
}

static void envelope_aad(const struct envelope_place *at, struct buf *out)
{
	buf_printf(out, "%s|%s|%.*s", at->table, at->column, STR_ARG(at->row));
}

static void envelope_count(const struct envelope_place *at, const char *operation, int64_t begun)
{
	metric_add(M_ENCRYPTIONS, 1, operation, at->store, NULL);
	metric_observe(M_ENCRYPTION_LATENCY, (double)(clock_mono_us() - begun) / (double)SEC_US, operation, NULL);
}

static bool envelope_fail(const char *operation, const char *type, struct error *err, enum err code, const char *text)
{
	metric_add(M_ENCRYPTION_ERRORS, 1, operation, type, NULL);
	return error_set(err, code, "%s", text);
}

/* ---- seal and open ---- */

bool envelope_seal(const struct keyring *k, const struct envelope_place *at, struct str plain, struct buf *out,
		   struct error *err)
{
	const struct keyring_key *key = keyring_active(k);
	int64_t begun = clock_mono_us();
	size_t n = ENVELOPE_HEAD + plain.n + GCM_TAG;
	struct buf aad = BUF_INIT;
	uint8_t *block;
	char *text;
	bool ok;

	if (plain.n > ENVELOPE_PLAIN_MAX)
		return envelope_fail("encrypt", "size", err, ERR_TOO_LARGE, "a secret of this size is not kept");
	block = xcalloc(1, n);
	block[0] = ENVELOPE_FORM;
	block[1] = KEYRING_ID_LEN;
	memcpy(block + 2, key->id, KEYRING_ID_LEN);
	block[2 + KEYRING_ID_LEN + 3] = ENVELOPE_KEY_VERSION;
	block[2 + KEYRING_ID_LEN + 4] = GCM_NONCE;
	ids_random(block + ENVELOPE_HEAD - GCM_NONCE, GCM_NONCE);
	envelope_aad(at, &aad);
	ok = gcm_seal(key->key, block + ENVELOPE_HEAD - GCM_NONCE, buf_str(&aad), plain, block + ENVELOPE_HEAD,
		      block + ENVELOPE_HEAD + plain.n);
	if (ok) {
		text = xmalloc(4 * ((n + 2) / 3) + 1);
		buf_addz(out, ENVELOPE_MARK);
		buf_add(out, (struct str){text, crypto_base64(text, block, n)});
		buf_addz(out, "\"}");
		free(text);
		envelope_count(at, "encrypt", begun);
	}
	free(block);
	buf_free(&aad);
	return ok || envelope_fail("encrypt", "cipher", err, ERR_INTERNAL, "the cipher failed");
}

/*
 * By the name of the key; a name that is not known may be one of another program's making ("master"), so all keys are
 * tried then.
 */
static const struct keyring_key *envelope_try(const struct keyring *k, const struct envelope *e, struct str aad,
					      uint8_t *plain)
{
	const struct keyring_key *named = keyring_find(k, e->key_id);

	for (size_t i = 0; i < keyring_count(k); i++) {
		const struct keyring_key *key = named != NULL ? named : keyring_at(k, i);

		if (gcm_open(key->key, e->nonce, aad, e->body, plain, e->tag))
			return key;
		if (named != NULL)
			break;
	}
	return NULL;
}

bool envelope_open(const struct keyring *k, const struct envelope_place *at, struct str stored, struct buf *out,
		   struct error *err)
{
	int64_t begun = clock_mono_us();
	struct buf aad = BUF_INIT;
	struct envelope e;
	uint8_t *plain;
	bool ok, named;

	if (!envelope_marked(stored)) {
		buf_add(out, stored);
		return true;
	}
	if (!envelope_decode(stored, &e)) {
		free(e.block);
		return envelope_fail("decrypt", "damaged", err, ERR_STORAGE, "the encrypted value is damaged");
	}
	named = keyring_find(k, e.key_id) != NULL;
	plain = xmalloc(e.body.n + 1);
	envelope_aad(at, &aad);
	ok = envelope_try(k, &e, buf_str(&aad), plain) != NULL;
	if (ok) {
		buf_add(out, (struct str){(char *)plain, e.body.n});
		envelope_count(at, "decrypt", begun);
	}
	explicit_bzero(plain, e.body.n);
	free(plain);
	free(e.block);
	buf_free(&aad);
	if (ok)
		return true;
	if (named)
		return envelope_fail("decrypt", "tampered", err, ERR_STORAGE,
				     "the encrypted value was changed, or belongs to another row");
	return envelope_fail("decrypt", "key_not_found", err, ERR_NOT_FOUND,
			     "Key not found: the value was encrypted with another key than those in "
			     "ARAGORA_ENCRYPTION_KEY");
}
