/* SPDX-License-Identifier: MIT */
/*
 * Verifies signatures of published keys over OpenSSL. Called by single sign-on. Deliberately without symmetric
 * algorithms (a public key must never become a secret) and without fetching anything.
 */
#include "worker/identity/jwk.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include "common/crypto.h"
#include "worker/identity/jwt.h"

#define JWK_SKEW 60            /* seconds by which the issuer's clock may differ */
#define JWK_RSA_MIN 2048       /* bits, RFC 7518 3.3 */
#define JWK_RSA_MAX 8192       /* verifying with more is a way to burn our time */
#define JWK_PART_MAX 1100      /* bytes of a number in a key */
#define JWK_P256 32            /* bytes of a coordinate */
#define JWK_ED25519 32         /* bytes of a public key */
#define JWK_ES256_SIGNATURE 64 /* r and s, RFC 7518 3.4 */

struct jwk_kind {
	const char *alg, *kty, *crv;
	EVP_PKEY *(*make)(const json_t *key);
	bool digest;
	size_t signature; /* bytes; 0: as the key demands */
};

static size_t jwk_part(const json_t *key, const char *name, uint8_t out[JWK_PART_MAX])
{
	struct str text = json_get_str(key, name, STR_NONE);
	size_t n = JWK_PART_MAX;

	return text.n > 0 && crypto_unbase64url(text, out, &n) ? n : 0;
}

static EVP_PKEY *jwk_from(const char *type, OSSL_PARAM *params)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *key = NULL;

	if (ctx == NULL || params == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static EVP_PKEY *jwk_rsa(const json_t *key)
{
	uint8_t n[JWK_PART_MAX], e[JWK_PART_MAX];
	size_t n_len = jwk_part(key, "n", n), e_len = jwk_part(key, "e", e);
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	BIGNUM *bn = BN_bin2bn(n, (int)n_len, NULL), *be = BN_bin2bn(e, (int)e_len, NULL);
	OSSL_PARAM *params = NULL;
	EVP_PKEY *out = NULL;

	/* A huge exponent costs as much as signing. */
	if (bld != NULL && bn != NULL && be != NULL && BN_num_bits(bn) >= JWK_RSA_MIN &&
	    BN_num_bits(bn) <= JWK_RSA_MAX && BN_is_odd(be) && BN_num_bits(be) >= 2 && BN_num_bits(be) <= 64 &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) == 1 &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be) == 1) {
		params = OSSL_PARAM_BLD_to_param(bld);
		out = jwk_from("RSA", params);
	}
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	BN_free(bn);
	BN_free(be);
	return out;
}

static EVP_PKEY *jwk_p256(const json_t *key)
{
	uint8_t x[JWK_PART_MAX], y[JWK_PART_MAX], point[1 + 2 * JWK_P256] = {POINT_CONVERSION_UNCOMPRESSED};
	char group[] = "P-256";
	OSSL_PARAM params[3];

	if (jwk_part(key, "x", x) != JWK_P256 || jwk_part(key, "y", y) != JWK_P256)
		return NULL;
	memcpy(point + 1, x, JWK_P256);
	memcpy(point + 1 + JWK_P256, y, JWK_P256);
	params[0] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0);
	params[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point));
	params[2] = OSSL_PARAM_construct_end();
	return jwk_from("EC", params);
}

static EVP_PKEY *jwk_ed25519(const json_t *key)
{
	uint8_t x[JWK_PART_MAX];

	if (jwk_part(key, "x", x) != JWK_ED25519)
		return NULL;
	return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, JWK_ED25519);
}

static const struct jwk_kind jwk_kinds[] = {
    {"RS256", "RSA", NULL, jwk_rsa, true, 0},
    {"ES256", "EC", "P-256", jwk_p256, true, JWK_ES256_SIGNATURE},
    {"EdDSA", "OKP", "Ed25519", jwk_ed25519, false, 64},
};

json_t *jwk_set_parse(struct arena *a, struct str text, struct error *err)
{
	json_t *set = json_parse(a, text, err), *keys = json_get_arr(set, "keys");

	if (set != NULL && (keys == NULL || json_array_size(keys) > JWK_KEYS_MAX))
		set = NULL, error_set(err, ERR_INVALID_JSON, "not a JSON Web Key set");
	return set;
}

static bool jwk_fits(const json_t *key, const struct jwk_kind *kind, struct str kid)
{
	struct str id = json_get_str(key, "kid", STR_NONE);

	return json_is_object(key) && (kid.n == 0 || str_eq(id, kid)) &&
	       str_eqz(json_get_str(key, "kty", STR_NONE), kind->kty) &&
	       str_eqz(json_get_str(key, "use", STR("sig")), "sig") &&
	       str_eqz(json_get_str(key, "alg", str_of(kind->alg)), kind->alg) &&
	       (kind->crv == NULL || str_eqz(json_get_str(key, "crv", STR_NONE), kind->crv));
}

/* r and s as the ASN.1 that OpenSSL reads. The caller frees it with OPENSSL_free. */
static int jwk_ecdsa_der(struct str raw, uint8_t **der)
{
	const uint8_t *p = (const uint8_t *)raw.p;
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(p, JWK_P256, NULL), *s = BN_bin2bn(p + JWK_P256, JWK_P256, NULL);
	int n = -1;

	if (sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1) {
		r = s = NULL;
		n = i2d_ECDSA_SIG(sig, der);
	}
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(sig);
	return n;
}

static bool jwk_check(const struct jwk_kind *kind, EVP_PKEY *key, const struct jwt_parts *t)
{
	const uint8_t *sig = (const uint8_t *)t->signature.p;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t *der = NULL;
	size_t n = t->signature.n;
	bool ok = md != NULL;
	int len;

	if (ok && kind->make == jwk_p256) {
		len = jwk_ecdsa_der(t->signature, &der);
		ok = len > 0;
		sig = der;
		n = ok ? (size_t)len : 0;
	}
	ok = ok && EVP_DigestVerifyInit_ex(md, NULL, kind->digest ? "SHA256" : NULL, NULL, NULL, key, NULL) == 1 &&
	     EVP_DigestVerify(md, sig, n, (const uint8_t *)t->signing.p, t->signing.n) == 1;
	OPENSSL_free(der);
	EVP_MD_CTX_free(md);
	return ok;
}

static const struct jwk_kind *jwk_kind_of(const json_t *header)
{
	struct str alg = json_get_str(header, "alg", STR_NONE);
	size_t i;

	if (json_object_get(header, "crit") != NULL)
		return NULL;
	for (i = 0; i < countof(jwk_kinds); i++)
		if (str_eqz(alg, jwk_kinds[i].alg))
			return &jwk_kinds[i];
	return NULL;
}

static bool jwk_signed(const json_t *set, const struct jwk_kind *kind, const struct jwt_parts *t, struct error *err)
{
	struct str kid = json_get_str(t->header, "kid", STR_NONE);
	const json_t *one;
	bool found = false, ok = false;
	size_t i;

	json_array_foreach(json_get_arr(set, "keys"), i, one)
	{
		EVP_PKEY *key = !ok && jwk_fits(one, kind, kid) ? kind->make(one) : NULL;

		found = found || key != NULL;
		ok = ok || (key != NULL && jwk_check(kind, key, t));
		EVP_PKEY_free(key);
	}
	if (!found)
		return error_set(err, ERR_NOT_FOUND, "the issuer has no key with which the token is signed");
	return ok || error_set(err, ERR_INVALID_TOKEN, "the signature of the token is not valid");
}

/* One of several audiences is enough if we are also the party that it was issued to (Core 3.1.3.7, 3 to 5). */
static bool jwk_audience(const json_t *claims, struct str want)
{
	const json_t *aud = json_object_get(claims, "aud"), *one;
	struct str azp = json_get_str(claims, "azp", STR_NONE);
	bool found = false;
	size_t i;

	if (json_is_string(aud))
		return str_eqz(want, json_string_value(aud)) && (azp.n == 0 || str_eq(azp, want));
	json_array_foreach(aud, i, one) found = found || str_eqz(want, json_string_value(one));
	return found && (json_array_size(aud) == 1 ? azp.n == 0 || str_eq(azp, want) : str_eq(azp, want));
}

static bool jwk_time(const json_t *claims, const char *name, int64_t *out)
{
	const json_t *v = json_object_get(claims, name);

	*out = json_is_integer(v) ? json_integer_value(v) : (int64_t)json_real_value(v);
	return json_is_number(v) && json_number_value(v) >= 0 && json_number_value(v) < 1e15;
}

static bool jwk_judge(const json_t *claims, const struct jwk_expect *e, struct error *err)
{
	int64_t exp, iat, nbf;
	const char *why = NULL;

	if (!str_eq(json_get_str(claims, "iss", STR_NONE), e->issuer))
		why = "is of another issuer";
	else if (!jwk_audience(claims, e->audience))
		why = "is meant for somebody else";
	else if (!jwk_time(claims, "exp", &exp) || !jwk_time(claims, "iat", &iat))
		why = "has no valid exp and iat";
	else if (exp + JWK_SKEW <= e->now)
		why = "has expired";
	else if (iat > e->now + JWK_SKEW || (jwk_time(claims, "nbf", &nbf) && nbf > e->now + JWK_SKEW))
		why = "is not valid yet";
	else if (e->nonce.n > 0 && !crypto_equal(json_get_str(claims, "nonce", STR_NONE), e->nonce))
		why = "answers another request";
	else if (json_get_str(claims, "sub", STR_NONE).n == 0)
		why = "names nobody";
	return why == NULL || error_set(err, ERR_INVALID_TOKEN, "the token %s", why);
}

bool jwk_verify(struct arena *a, const json_t *set, struct str token, const struct jwk_expect *expect, json_t **claims,
		struct error *err)
{
	const struct jwk_kind *kind;
	struct jwt_parts t;

	if (!jwt_split(a, token, &t))
		return error_set(err, ERR_INVALID_TOKEN, "the token is malformed");
	kind = jwk_kind_of(t.header);
	if (kind == NULL || (kind->signature != 0 && t.signature.n != kind->signature))
		return error_set(err, ERR_INVALID_TOKEN, "the token is not signed with RS256, ES256 or EdDSA");
	if (!jwk_signed(set, kind, &t, err) || !jwk_judge(t.claims, expect, err))
		return false;
	*claims = t.claims;
	return true;
}
