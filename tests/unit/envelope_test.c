/* SPDX-License-Identifier: MIT */
/*
 * Keys and envelopes: published vectors of AES-256-GCM, the bytes of the wire form, every kind of damage, rotation.
 */
#include "common/envelope.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "common/crypto.h"

#define KEY_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KEY_B "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"

static struct keyring *ring(const char *text)
{
	struct error err = ERROR_INIT;
	struct keyring *k = keyring_parse(str_of(text), &err);

	if (k == NULL)
		fail_msg("%s: %s", text, err.msg);
	return k;
}

static const struct envelope_place place = {"deliveries", "deliveries", "secret", {"row-1", 5}};

/* ---- the cipher ---- */

/* From "The Galois/Counter Mode of Operation (GCM)", McGrew and Viega, test cases 13, 14 and 16. */
static const struct {
	const char *key, *nonce, *aad, *plain, *cipher, *tag;
} gcm_vectors[] = {
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "", "", "",
     "530f8afbc74536b9a963b4f1c4cb738b"},
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
     "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de6"
     "57ba637b39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a"
     "0abcc9f662",
     "76fc6ece0f4e1768cddf8853bb2d551b"},
};

static struct str unhex(const char *hex, uint8_t out[128])
{
	struct str s = str_of(hex);

	assert_true(crypto_unhex(s, out, s.n / 2));
	return (struct str){(const char *)out, s.n / 2};
}

static void gcm_matches_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(gcm_vectors); i++) {
		uint8_t key[128], nonce[128], aad[128], plain[128], cipher[128], tag[128], out[128], got[GCM_TAG];
		struct str p = unhex(gcm_vectors[i].plain, plain), c = unhex(gcm_vectors[i].cipher, cipher);
		struct str a = unhex(gcm_vectors[i].aad, aad);

		unhex(gcm_vectors[i].key, key);
		unhex(gcm_vectors[i].nonce, nonce);
		unhex(gcm_vectors[i].tag, tag);
		assert_true(gcm_seal(key, nonce, a, p, out, got));
		assert_memory_equal(out, c.p, c.n);
		assert_memory_equal(got, tag, GCM_TAG);
		assert_true(gcm_open(key, nonce, a, c, out, tag));
		assert_memory_equal(out, p.p, p.n);
		tag[15] ^= 1;
		assert_false(gcm_open(key, nonce, a, c, out, tag));
	}
}

/* ---- keys ---- */

static void keys_have_three_spellings(void **state)
{
	struct keyring *hex = ring(KEY_A), *base64, *url, *both;

	(void)state;
	base64 = ring("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
	url = ring("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
	assert_string_equal(keyring_active(hex)->id, keyring_active(base64)->id);
	assert_string_equal(keyring_active(hex)->id, keyring_active(url)->id);
	both = ring(" " KEY_B " , " KEY_A "," KEY_B);
	assert_int_equal(keyring_count(both), 2);
	assert_non_null(keyring_find(both, str_of(keyring_active(hex)->id)));
	assert_string_not_equal(keyring_active(both)->id, keyring_active(hex)->id);
	keyring_close(hex);
	keyring_close(base64);
	keyring_close(url);
	keyring_close(both);
}

/* SHA-256("aragora-key-id" || 00 01 … 1f), first 8 digits: other programs can compute it. */
static void key_ids_are_computable(void **state)
{
	struct keyring *k = ring(KEY_A);
	uint8_t bytes[128];
	struct buf text = BUF_INIT;
	char hex[SHA256_HEX];

	(void)state;
	buf_addz(&text, "aragora-key-id");
	buf_add(&text, unhex(KEY_A, bytes));
	crypto_sha256_hex(buf_str(&text), hex);
	assert_memory_equal(keyring_active(k)->id, hex, KEYRING_ID_LEN);
	buf_free(&text);
	keyring_close(k);
}

static void bad_keys_are_named_not_shown(void **state)
{
	static const struct {
		const char *text, *said;
	} cases[] = {
	    {"", "is empty"},
	    {"secretsecret", "key 1 is neither"},
	    {KEY_A ",00", "key 2 is neither"},
	    {KEY_A "0", "key 1 is neither"},
	    {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==", "key 1 is neither"},
	    {KEY_A ",,", "key 2 is neither"},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct error err = ERROR_INIT;

		assert_null(keyring_parse(str_of(cases[i].text), &err));
		assert_int_equal(err.code, ERR_INVALID_VALUE);
		assert_string_equal(err.field, "storage.encryption_key");
		assert_non_null(strstr(err.msg, cases[i].said));
		assert_null(strstr(err.msg, "secret"));
	}
}

/* ---- envelopes ---- */

static void round_trip(void **state)
{
	static const char *const texts[] = {"",          "x",    "whsec_0123456789",
					    "{\"a\":1}", "true", "\xc3\xa4\xe2\x82\xac\n\"\\"};
	struct keyring *k = ring(KEY_A);
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < countof(texts); i++) {
		struct buf sealed = BUF_INIT, again = BUF_INIT, plain = BUF_INIT;

		assert_true(envelope_seal(k, &place, str_of(texts[i]), &sealed, &err));
		assert_true(envelope_seal(k, &place, str_of(texts[i]), &again, &err));
		assert_false(str_eq(buf_str(&sealed), buf_str(&again))); /* a nonce of its own */
		assert_true(str_starts(buf_str(&sealed), STR("{\"_encrypted\":true,\"_value\":\"")));
		assert_int_equal(envelope_state(k, buf_str(&sealed)), ENVELOPE_ACTIVE);
		assert_true(envelope_open(k, &place, buf_str(&sealed), &plain, &err));
		assert_true(str_eqz(buf_str(&plain), texts[i]));
		buf_free(&sealed);
		buf_free(&again);
		buf_free(&plain);
	}
	keyring_close(k);
}

/* The bytes that reference and other programs agree on. */
static void opens_what_others_wrote(void **state)
{
	uint8_t block[128] = {0x01, 8}, key[128], *p = block + 2;
	struct keyring *k = ring(KEY_A);
	struct buf stored = BUF_INIT, plain = BUF_INIT;
	struct error err = ERROR_INIT;
	char text[200];

	(void)state;
	unhex(KEY_A, key);
	memcpy(p, keyring_active(k)->id, 8);
	p[11] = 1; /* version, big-endian */
	p[12] = 12;
	memset(p + 13, 7, 12);
	assert_true(gcm_seal(key, p + 13, STR("deliveries|secret|row-1"), STR("hello"), p + 25, p + 30));
	crypto_base64(text, block, 2 + 25 + 5 + GCM_TAG);
	buf_printf(&stored, "{\"_value\": \"%s\", \"_encrypted\": true}", text);
	assert_true(envelope_open(k, &place, buf_str(&stored), &plain, &err));
	assert_true(str_eqz(buf_str(&plain), "hello"));

	/* A key id of another program's making: every key is tried. */
	memcpy(p, "master!!", 8);
	crypto_base64(text, block, 2 + 25 + 5 + GCM_TAG);
	buf_clear(&stored);
	buf_clear(&plain);
	buf_printf(&stored, "{\"_encrypted\":true,\"_value\":\"%s\"}", text);
	assert_true(envelope_open(k, &place, buf_str(&stored), &plain, &err));
	assert_true(str_eqz(buf_str(&plain), "hello"));
	buf_free(&stored);
	buf_free(&plain);
	keyring_close(k);
}

static void plain_text_passes(void **state)
{
	static const char *const texts[] = {
	    "", "plain", "{", "{\"_encrypted\":false,\"_value\":\"x\"}", "{\"_encrypted\":true", "[\"_encrypted\"]"};
	struct keyring *k = ring(KEY_A);
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < countof(texts); i++) {
		struct buf out = BUF_INIT;

		assert_int_equal(envelope_state(k, str_of(texts[i])), ENVELOPE_PLAIN);
		assert_true(envelope_open(k, &place, str_of(texts[i]), &out, &err));
		assert_true(str_eqz(buf_str(&out), texts[i]));
		buf_free(&out);
	}
	keyring_close(k);
}

/* Each bit of the envelope counts, and so does each part of its place. */
static void tampering_is_seen(void **state)
{
	static const struct envelope_place others[] = {
	    {"deliveries", "deliveries", "secret", {"row-2", 5}},
	    {"deliveries", "deliveries", "other", {"row-1", 5}},
	    {"deliveries", "webhooks", "secret", {"row-1", 5}},
	};
	struct keyring *k = ring(KEY_A);
	struct buf sealed = BUF_INIT, out = BUF_INIT;
	struct error err = ERROR_INIT;
	uint8_t block[256];
	char text[400];
	size_t n = sizeof(block);
	struct str value;

	(void)state;
	assert_true(envelope_seal(k, &place, STR("a secret"), &sealed, &err));
	for (size_t i = 0; i < countof(others); i++) {
		err = ERROR_INIT;
		assert_false(envelope_open(k, &others[i], buf_str(&sealed), &out, &err));
		assert_int_equal(err.code, ERR_STORAGE);
	}
	value = str_sub(buf_str(&sealed), strlen("{\"_encrypted\":true,\"_value\":\""), sealed.n - 2);
	assert_true(crypto_unbase64(value, block, &n));
	for (size_t bit = 0; bit < 8 * n; bit++) {
		struct buf bad = BUF_INIT;

		/* The version of the key is information, not part of what is opened. */
		if (bit / 8 >= 10 && bit / 8 < 14)
			continue;
		block[bit / 8] ^= (uint8_t)(1U << bit % 8);
		crypto_base64(text, block, n);
		block[bit / 8] ^= (uint8_t)(1U << bit % 8);
		buf_printf(&bad, "{\"_encrypted\":true,\"_value\":\"%s\"}", text);
		/* A changed key id is unknown, so that all keys are tried: the text is what it was. */
		if (bit / 8 < 2 || bit / 8 >= 10)
			assert_false(envelope_open(k, &place, buf_str(&bad), &out, &err));
		buf_free(&bad);
	}
	assert_int_equal(out.n, 0);
	err = ERROR_INIT;
	assert_false(envelope_open(k, &place, STR("{\"_encrypted\":true,\"_value\":\"AAAA\"}"), &out, &err));
	assert_int_equal(envelope_state(k, STR("{\"_encrypted\":true}")), ENVELOPE_DAMAGED);
	buf_free(&sealed);
	buf_free(&out);
	keyring_close(k);
}

static void rotation(void **state)
{
	struct keyring *old = ring(KEY_A), *both = ring(KEY_B "," KEY_A), *fresh = ring(KEY_B);
	struct buf sealed = BUF_INIT, plain = BUF_INIT, moved = BUF_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_true(envelope_seal(old, &place, STR("s"), &sealed, &err));
	assert_int_equal(envelope_state(both, buf_str(&sealed)), ENVELOPE_OLD);
	assert_true(envelope_open(both, &place, buf_str(&sealed), &plain, &err));
	assert_true(envelope_seal(both, &place, buf_str(&plain), &moved, &err));
	assert_int_equal(envelope_state(fresh, buf_str(&moved)), ENVELOPE_ACTIVE);
	assert_int_equal(envelope_state(fresh, buf_str(&sealed)), ENVELOPE_FOREIGN);
	assert_false(envelope_open(fresh, &place, buf_str(&sealed), &plain, &err));
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_memory_equal(err.msg, "Key not found", 13);
	assert_true(str_eqz(buf_str(&plain), "s"));
	buf_free(&sealed);
	buf_free(&plain);
	buf_free(&moved);
	keyring_close(old);
	keyring_close(both);
	keyring_close(fresh);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(gcm_matches_vectors),
	    cmocka_unit_test(keys_have_three_spellings),
	    cmocka_unit_test(key_ids_are_computable),
	    cmocka_unit_test(bad_keys_are_named_not_shown),
	    cmocka_unit_test(round_trip),
	    cmocka_unit_test(opens_what_others_wrote),
	    cmocka_unit_test(plain_text_passes),
	    cmocka_unit_test(tampering_is_seen),
	    cmocka_unit_test(rotation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
