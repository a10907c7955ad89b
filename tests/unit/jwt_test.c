/* SPDX-License-Identifier: MIT */
/*
 * Our own tokens: the vector of RFC 7515, claims there and back, rotation of the secret, and everything that must not
 * pass.
 */
#include "worker/identity/jwt.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "common/crypto.h"

#define NOW INT64_C(1700000000)

static const struct jwt_keys keys = {
    .current = {"the secret of today, long enough!", 33},
    .previous = {"the secret of yesterday, as long!", 33},
    .previous_until = NOW + 100,
};

static struct jwt_claims claims(void)
{
	return (struct jwt_claims){.type = JWT_ACCESS,
				   .sub = STR("u-1"),
				   .email = STR("a@example.org"),
				   .org_id = STR("default"),
				   .role = STR("admin"),
				   .jti = STR("j-1"),
				   .sid = STR("s-1"),
				   .iat = NOW,
				   .exp = NOW + 60,
				   .tv = 3,
				   .mfa = NOW - 5};
}

/* A token of these texts, signed with the current secret. */
static struct str forge(struct arena *a, const char *header, const char *body, struct str secret)
{
	char h[256], b[2048], s[64];
	uint8_t mac[SHA256_LEN];
	struct str signing;

	crypto_base64url(h, (const uint8_t *)header, strlen(header));
	crypto_base64url(b, (const uint8_t *)body, strlen(body));
	signing = arena_printf(a, "%s.%s", h, b);
	crypto_hmac_sha256(secret, signing, mac);
	crypto_base64url(s, mac, sizeof(mac));
	return arena_printf(a, "%.*s.%s", STR_ARG(signing), s);
}

static void claims_come_back(void **state)
{
	struct arena *a = arena_new(0);
	struct jwt_claims c = claims(), got;
	struct str token = jwt_sign(a, &keys, &c);

	(void)state;
	assert_true(str_starts(token, STR("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.")));
	assert_int_equal(jwt_verify(a, &keys, token, JWT_ACCESS, NOW, &got), JWT_OK);
	assert_true(str_eqz(got.sub, "u-1") && str_eqz(got.email, "a@example.org") && str_eqz(got.org_id, "default"));
	assert_true(str_eqz(got.role, "admin") && str_eqz(got.jti, "j-1") && str_eqz(got.sid, "s-1"));
	assert_int_equal(got.tv, 3);
	assert_int_equal(got.mfa, NOW - 5);
	assert_int_equal(got.exp, NOW + 60);
	assert_int_equal(got.imp.n, 0);
	arena_free(a);
}

static void the_vector_of_the_rfc_is_signed_right(void **state)
{
	/* RFC 7515 A.1; what it says is not what our tokens say. */
	static const char token[] = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
				    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
				    "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
	static const char key[] = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9"
				  "CAow";
	struct arena *a = arena_new(0);
	struct jwt_claims got;
	struct jwt_keys k = {0};
	uint8_t secret[64];
	size_t n = sizeof(secret);

	(void)state;
	assert_true(crypto_unbase64url(str_of(key), secret, &n));
	k.current = (struct str){(const char *)secret, n};
	assert_int_equal(jwt_verify(a, &k, str_of(token), JWT_ACCESS, 1300819379, &got), JWT_CLAIMS);
	secret[0] ^= 1;
	assert_int_equal(jwt_verify(a, &k, str_of(token), JWT_ACCESS, 1300819379, &got), JWT_SIGNATURE);
	arena_free(a);
}

static void no_other_algorithm_is_looked_at(void **state)
{
	static const char *const headers[] = {
	    "{\"alg\":\"none\"}",    "{\"alg\":\"HS512\"}", "{\"alg\":\"RS256\"}",
	    "{\"alg\":\"hs256\"}",   "{\"typ\":\"JWT\"}",   "{\"alg\":\"HS256\",\"crit\":[\"exp\"]}",
	    "{\"alg\":[\"HS256\"]}",
	};
	struct arena *a = arena_new(0);
	struct jwt_claims got;
	size_t i;

	(void)state;
	for (i = 0; i < countof(headers); i++)
		assert_int_equal(jwt_verify(a, &keys, forge(a, headers[i], "{}", keys.current), JWT_ACCESS, NOW, &got),
				 JWT_ALGORITHM);
	arena_free(a);
}

static void claims_are_strict(void **state)
{
	static const struct {
		const char *body;
		enum jwt_fault fault;
	} t[] = {
	    {"{\"sub\":\"u\",\"iat\":1700000000,\"exp\":1700000001,\"type\":\"access\"}", JWT_OK},
	    {"{\"sub\":\"u\",\"iat\":1700000000,\"exp\":1700000001,\"type\":\"access\",\"org_id\":null}", JWT_OK},
	    {"{\"sub\":\"u\",\"iat\":1700000000,\"exp\":1700000000,\"type\":\"access\"}", JWT_EXPIRED},
	    {"{\"sub\":\"u\",\"iat\":1700000000,\"type\":\"access\"}", JWT_CLAIMS},
	    {"{\"sub\":\"u\",\"iat\":1700000000,\"exp\":\"1700000001\",\"type\":\"access\"}", JWT_CLAIMS},
	    {"{\"sub\":\"u\",\"iat\":1700000000,\"exp\":1e30,\"type\":\"access\"}", JWT_CLAIMS},
	    {"{\"sub\":\"u\",\"iat\":1700000000,\"exp\":-1,\"type\":\"access\"}", JWT_CLAIMS},
	    {"{\"sub\":\"\",\"iat\":1700000000,\"exp\":1700000001,\"type\":\"access\"}", JWT_CLAIMS},
	    {"{\"sub\":7,\"iat\":1700000000,\"exp\":1700000001,\"type\":\"access\"}", JWT_CLAIMS},
	    {"{\"sub\":\"u\",\"iat\":1700000000,\"exp\":1700000001}", JWT_CLAIMS},
	    {"{\"sub\":\"u\",\"iat\":1700000000,\"exp\":1700000001,\"type\":\"root\"}", JWT_CLAIMS},
	    {"{\"sub\":\"u\",\"iat\":1700000000,\"exp\":1700000001,\"type\":\"refresh\"}", JWT_WRONG_TYPE},
	    {"{\"sub\":\"u\",\"iat\":1700000061,\"exp\":1700000099,\"type\":\"access\"}", JWT_EARLY},
	    {"{\"sub\":\"u\",\"sub\":\"v\",\"iat\":1700000000,\"exp\":1700000001,\"type\":\"access\"}", JWT_MALFORMED},
	    {"[]", JWT_MALFORMED},
	    {"{", JWT_MALFORMED},
	};
	struct arena *a = arena_new(0);
	struct jwt_claims got;
	size_t i;

	(void)state;
	for (i = 0; i < countof(t); i++) {
		struct str token = forge(a, "{\"alg\":\"HS256\"}", t[i].body, keys.current);

		if (jwt_verify(a, &keys, token, JWT_ACCESS, NOW, &got) != t[i].fault)
			fail_msg("%s: not fault %d", t[i].body, (int)t[i].fault);
	}
	arena_free(a);
}

static void the_previous_secret_counts_for_a_while(void **state)
{
	struct jwt_keys old = {.current = keys.previous};
	struct arena *a = arena_new(0);
	struct jwt_claims c = claims(), got;
	struct str token;

	(void)state;
	c.exp = NOW + 1000;
	token = jwt_sign(a, &old, &c);
	assert_int_equal(jwt_verify(a, &keys, token, JWT_ACCESS, NOW + 99, &got), JWT_OK);
	assert_int_equal(jwt_verify(a, &keys, token, JWT_ACCESS, NOW + 100, &got), JWT_SIGNATURE);
	/* No secret at all accepts nothing, also not what was signed with the empty one. */
	old = (struct jwt_keys){0};
	token = forge(a, "{\"alg\":\"HS256\"}", "{}", STR_NONE);
	assert_int_equal(jwt_verify(a, &old, token, JWT_ACCESS, NOW, &got), JWT_SIGNATURE);
	arena_free(a);
}

static void every_changed_byte_is_noticed(void **state)
{
	struct arena *a = arena_new(0);
	struct jwt_claims c = claims(), got;
	struct str token = jwt_sign(a, &keys, &c);
	char *text = arena_strdup(a, token.p);
	size_t i;

	(void)state;
	for (i = 0; i < token.n; i++) {
		char was = text[i];

		for (text[i] = '-'; text[i] <= 'z'; text[i]++)
			if (text[i] != was &&
			    jwt_verify(a, &keys, (struct str){text, token.n}, JWT_ACCESS, NOW, &got) == JWT_OK)
				fail_msg("byte %zu as %c", i, text[i]);
		text[i] = was;
	}
	assert_int_equal(jwt_verify(a, &keys, (struct str){text, token.n - 1}, JWT_ACCESS, NOW, &got), JWT_SIGNATURE);
	arena_free(a);
}

static void what_is_no_token_is_malformed(void **state)
{
	static const char *const t[] = {"",     ".",    "..",      "...",     "a.b",  "a.b.",
					".b.c", "a..c", "a.b.c.d", "e30.e30", "=.=.="};
	struct arena *a = arena_new(0);
	struct jwt_claims got;
	size_t i;

	(void)state;
	for (i = 0; i < countof(t); i++)
		assert_int_equal(jwt_verify(a, &keys, str_of(t[i]), JWT_ACCESS, NOW, &got), JWT_MALFORMED);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(claims_come_back),
	    cmocka_unit_test(the_vector_of_the_rfc_is_signed_right),
	    cmocka_unit_test(no_other_algorithm_is_looked_at),
	    cmocka_unit_test(claims_are_strict),
	    cmocka_unit_test(the_previous_secret_counts_for_a_while),
	    cmocka_unit_test(every_changed_byte_is_noticed),
	    cmocka_unit_test(what_is_no_token_is_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
