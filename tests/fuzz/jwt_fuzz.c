/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes what strangers send as a token: no input is a token of ours, none is one of an issuer's whose key nobody has,
 * and a key set of any shape is survived. A first line "set" makes the rest a key set.
 */
#include "tests/fuzz/fuzz.h"
#include "worker/identity/jwk.h"
#include "worker/identity/jwt.h"

#define FUZZ_SET "set\n"
/* Header and claims of an unsigned token, for the sets: {"alg":"RS256"}, {"alg":"ES256"}, {"alg":"EdDSA"}. */
static const char *const fuzz_tokens[] = {
    "eyJhbGciOiJSUzI1NiJ9.e30.AAAA",
    "eyJhbGciOiJFUzI1NiJ9.e30.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "eyJhbGciOiJFZERTQSJ9.e30.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};

static void fuzz_set(struct arena *a, struct str text)
{
	static const struct jwk_expect expect = {{"i", 1}, {"a", 1}, {NULL, 0}, 1};
	struct error err = ERROR_INIT;
	json_t *set = jwk_set_parse(a, text, &err), *claims;
	size_t i;

	for (i = 0; set != NULL && i < countof(fuzz_tokens); i++)
		BUG_ON(jwk_verify(a, set, str_of(fuzz_tokens[i]), &expect, &claims, &err));
}

static void fuzz_token(struct arena *a, struct str token)
{
	static const struct jwt_keys keys = {.current = {"0123456789abcdef0123456789abcdef", 32}};
	struct jwt_claims c, again;
	struct jwt_parts parts;
	struct str ours;

	BUG_ON(jwt_verify(a, &keys, token, JWT_ACCESS, 1700000000, &c) == JWT_OK);
	if (jwt_split(a, token, &parts))
		BUG_ON(!json_is_object(parts.header) || !json_is_object(parts.claims));
	/* Any text as a claim comes back as it is, or with what is no text replaced. */
	c = (struct jwt_claims){.sub = STR("u"), .email = token, .iat = 1, .exp = 2000000000};
	ours = jwt_sign(a, &keys, &c);
	if (ours.n <= JWT_MAX) {
		BUG_ON(jwt_verify(a, &keys, ours, JWT_ACCESS, 1700000000, &again) != JWT_OK);
		BUG_ON(str_utf8_valid(token) && str_chr(token, '\0') < 0 && !str_eq(again.email, token));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = {(const char *)data, size};
	struct arena *a = arena_new(0);

	if (str_starts(text, STR(FUZZ_SET)))
		fuzz_set(a, str_sub(text, strlen(FUZZ_SET), text.n));
	else
		fuzz_token(a, text);
	arena_free(a);
	return 0;
}
