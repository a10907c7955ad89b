/* SPDX-License-Identifier: MIT */
/*
 * Tokens of others: signatures made by another implementation verify, nothing else does; what a token must say.
 */
#include "worker/identity/jwk.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Keys and tokens by PyJWT and Python's cryptography; the private halves were thrown away. */
static const char test_keys[] =
    "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"r\",\"use\":\"sig\",\"alg\":\"RS256\",\"n\":"
    "\"qAow735pTUbhI4y9na3E26sathbh1ryh2"
    "nX6fRvw_aktWZuFFh_IFEfRCECProajONeqUDj4G__Uww68YGLNDcXdGXf4viF3nfughe12v-0EUjp8fteZ8T4om9kS0wM53"
    "UBlo9B8iQhCsa2Bm2_GicKdWcqeWA69VOT5oqfy2trhqSj0Bqx2Xh78Ds24itNAruX3c1h5JZfdyzvDXfjYSMB5NstTnPIuI"
    "pXvfbHBemF2dgbGn6jHxz3g0T_1_oa_Z9EmeLQA4iEOWOUlXSlZhtXf9miNdQGo2MWha9t9bQmEEjlzP5gLQV5yX7SLy7IC3"
    "mrrUknohOmbg_wq18zBoQ\",\"e\":\"AQAB\"},{\"kty\":\"RSA\",\"kid\":\"small\",\"n\":\"qCgBDNjheoigrtcuqdo8Xptw4_nfz"
    "ZRd453R1IVHqMXE_9Mtqk4Pnm7kp3PghcS6TtnUjF6jOGVl1E1UqWkRFEKEWrPRGCabDBPA3gDvXe-b34GkEX4LHIEoHXofw"
    "NDubVOKKzVZTckOGbzY3gJoO3QeLc7aQxed4553McjDnsU\",\"e\":\"AQAB\"},{\"kty\":\"EC\",\"kid\":\"e\",\"crv\":\"P-256\","
    "\"x\":\"VbH1iD9rdp0AEcdv1rontRc5TCxP0Fg4mC1R_SuAU20\",\"y\":\"4d3gBJP7zKibqp_5GeM70Gy_fVuO8LkJUlttxenpJ"
    "Us\"},{\"kty\":\"OKP\",\"kid\":\"d\",\"crv\":\"Ed25519\",\"x\":\"6KfpUDI2FJH_sOeoFdqS8vunGta0YN93WweZu5VglZ4\"}]}";
static const char token_rsa[] =
    "eyJhbGciOiJSUzI1NiIsImtpZCI6InIiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwiYXVkI"
    "joiY2xpZW50Iiwic3ViIjoiYWxpY2UiLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMzYwMCwibm9uY2UiOiJuLTEiL"
    "CJlbWFpbCI6ImFAZXhhbXBsZS5vcmcifQ.Ltj7QODYqg3_p1_jkqAmX5A9fj8WcS1yYDU2Cr9nCMwqV4WCaTcha62zsqLIjB"
    "wx9dRUlzhsgYUj7J6G_ZXVqiUuWaSad2UAIlWzPi0OwDQVcvHE0XaQCziVlGJebyXdFPaQKaylWa6mUEwWd2SO1gCNzdTb3h"
    "gx9So6nkF_mFBBp1qYjDPXLXLf_pVA0Up0OgbvVVsZ0aJsCJNLBqPJlQafjrPbWptf49QDw-5Qn7_Gkxuf2g0WSBM1JsHRZe"
    "ax7ri00ewax90oP2p4fc9_L1fb6b35I0ogJuLTnYrgz1NTEbO5S7GcyvWeC4us89xjAJ4bLXqqQMEOvoGul8IqNw";
static const char token_ec[] =
    "eyJhbGciOiJFUzI1NiIsImtpZCI6ImUiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwiYXVkI"
    "joiY2xpZW50Iiwic3ViIjoiYWxpY2UiLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMzYwMCwibm9uY2UiOiJuLTEiL"
    "CJlbWFpbCI6ImFAZXhhbXBsZS5vcmcifQ.9rK9tGN7hFRs6d2pPpoksYXGeW2M5ZTZV1ix4Fwp7GDBmkFsPgGrTbsqoT8KGT"
    "E5E7fEOCksaEvE4kd6JFtmMQ";
static const char token_ed[] =
    "eyJhbGciOiJFZERTQSIsImtpZCI6ImQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwiYXVkI"
    "joiY2xpZW50Iiwic3ViIjoiYWxpY2UiLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMzYwMCwibm9uY2UiOiJuLTEiL"
    "CJlbWFpbCI6ImFAZXhhbXBsZS5vcmcifQ.okemcy4HvCm2A_OJSVZfO7OE5a5X47Vb-JbV_jq2vvZO5V-_ty3apxB78aunrw"
    "tsZza-md_FG-k7TBp-tUMvBA";
static const char token_small[] =
    "eyJhbGciOiJSUzI1NiIsImtpZCI6InNtYWxsIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwi"
    "YXVkIjoiY2xpZW50Iiwic3ViIjoiYWxpY2UiLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMzYwMCwibm9uY2UiOiJu"
    "LTEiLCJlbWFpbCI6ImFAZXhhbXBsZS5vcmcifQ.OnSruXd1gM-MfuvaVCPv9qqarw5RvodUdrnh4FAYlsi8WGBEX0JwALBjH"
    "Go83aF7MPKtjO-LdyhuPTbjUBF35j2R84Mbrnko9umZ4aYGl8OdyGcFX8krfaL7I-aHUSP7sr3-8rfXOGuUmCPmywjFoIg-s"
    "CD2i04sVdhqehbjxG0";
static const char token_rs512[] =
    "eyJhbGciOiJSUzUxMiIsImtpZCI6InIiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwiYXVkI"
    "joiY2xpZW50Iiwic3ViIjoiYWxpY2UiLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMzYwMCwibm9uY2UiOiJuLTEiL"
    "CJlbWFpbCI6ImFAZXhhbXBsZS5vcmcifQ.KEh3rS4KfWg93YNDsw9oPTF7JHsHC-2IPgc72j-fD3LSVUQMxrVoRD6sQdiTes"
    "JMEFUWpBzPR9T9uqJi2HDb48XAcDAj7cdQRKhWmf4r9xgVHBYRL9tbRhTLH0TMP3VCvwn-iuOg0Ja0le4pxfS2PedWBqPrMb"
    "2EZYPuXEZe-aFvMH53tleggywrHjOqne68VVNqAZMx4fxtYvCV2nT6Lyf9wjrAkVsgyGyiOXl7WRb6p3grOS-NJqnZrKvqOh"
    "o-OPWShNEJwfcFBEGjjqeYlfdFuVgIMjSSUL-b_i2UTod_BVVsBX4l6yBqee-dO8TzFxiL_XA8CrrxNFqabxtaFQ";
static const char token_confused[] =
    "eyJhbGciOiJIUzI1NiIsImtpZCI6InIifQ.eyJpc3MiOiAiaHR0cHM6Ly9pZHAuZXhhbXBsZSIsICJhdWQiOiAiY2xpZW50I"
    "iwgInN1YiI6ICJhbGljZSIsICJpYXQiOiAxNzAwMDAwMDAwLCAiZXhwIjogMTcwMDAwMzYwMCwgIm5vbmNlIjogIm4tMSIsI"
    "CJlbWFpbCI6ICJhQGV4YW1wbGUub3JnIn0.HlVKcYAa4hSHPib2l8llD1l3UNIOut_v9uN-gNwCQug";
static const char token_many[] =
    "eyJhbGciOiJFZERTQSIsImtpZCI6ImQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwiYXVkI"
    "jpbIm90aGVyIiwiY2xpZW50Il0sInN1YiI6ImFsaWNlIiwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjE3MDAwMDM2MDAsIm5vb"
    "mNlIjoibi0xIiwiZW1haWwiOiJhQGV4YW1wbGUub3JnIn0.S_Om8-urNBsQqzeFEt89hCErIne4AyL7Qij6BdmTOt8iE0XZ8"
    "2ROFiovfqxlzaz0nGb1kyTUN12PRvC3H3ksDA";
static const char token_azp[] =
    "eyJhbGciOiJFZERTQSIsImtpZCI6ImQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwiYXVkI"
    "jpbIm90aGVyIiwiY2xpZW50Il0sInN1YiI6ImFsaWNlIiwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjE3MDAwMDM2MDAsIm5vb"
    "mNlIjoibi0xIiwiZW1haWwiOiJhQGV4YW1wbGUub3JnIiwiYXpwIjoiY2xpZW50In0.5UlAkW6Sqxq_ZGNqkhS0fNVrywdb8"
    "RFXNBPxBX7xAwAZki9iZwStuOQDDHNUTwkzuDvC-49aCPcgP03qin5HDg";
static const char token_nokid[] =
    "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwiYXVkIjoiY2xpZW50Iiw"
    "ic3ViIjoiYWxpY2UiLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMzYwMCwibm9uY2UiOiJuLTEiLCJlbWFpbCI6ImF"
    "AZXhhbXBsZS5vcmcifQ.U-Qrt3PQjl1PQ_QZIcXsNdFUxpy1sVkx3nf5sD4qVmIh8YYc1NvmlZrBBFuhXq1UBUnPg4Pmj4mS"
    "YfjswTuPCA";

struct world {
	struct arena *a;
	json_t *set;
};

static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct error err = ERROR_INIT;

	w->a = arena_new(0);
	w->set = jwk_set_parse(w->a, str_of(test_keys), &err);
	assert_non_null(w->set);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	arena_free(w->a);
	free(w);
	return 0;
}

static const struct jwk_expect good = {{"https://idp.example", 19}, {"client", 6}, {"n-1", 3}, 1700000100};

static bool verify(struct world *w, const char *token, const struct jwk_expect *e, struct error *err)
{
	json_t *claims = NULL;
	bool ok;

	*err = ERROR_INIT;
	ok = jwk_verify(w->a, w->set, str_of(token), e, &claims, err);
	assert_true(ok == (claims != NULL));
	if (ok)
		assert_string_equal(json_string_value(json_object_get(claims, "email")), "a@example.org");
	return ok;
}

static void signatures_of_published_keys_verify(void **state)
{
	static const char *const tokens[] = {token_rsa, token_ec, token_ed, token_azp, token_nokid};
	struct error err;
	size_t i;

	for (i = 0; i < countof(tokens); i++)
		if (!verify(*state, tokens[i], &good, &err))
			fail_msg("token %zu: %s", i, err.msg);
}

static void other_algorithms_and_weak_keys_are_refused(void **state)
{
	struct error err;

	assert_false(verify(*state, token_rs512, &good, &err));
	assert_int_equal(err.code, ERR_INVALID_TOKEN);
	/* HS256 with the public key as the secret. */
	assert_false(verify(*state, token_confused, &good, &err));
	assert_int_equal(err.code, ERR_INVALID_TOKEN);
	assert_false(verify(*state, token_small, &good, &err));
	assert_int_equal(err.code, ERR_NOT_FOUND);
	/* {"alg":"none"} */
	assert_false(verify(*state, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.AA", &good, &err));
	assert_int_equal(err.code, ERR_INVALID_TOKEN);
}

static void every_changed_byte_is_noticed(void **state)
{
	static const char *const tokens[] = {token_rsa, token_ec, token_ed};
	char text[2048];
	struct error err;
	size_t i, k, n;

	for (i = 0; i < countof(tokens); i++) {
		n = strlen(tokens[i]);
		for (k = 0; k < n; k += 7) {
			memcpy(text, tokens[i], n + 1);
			text[k] = text[k] == 'A' ? 'B' : 'A';
			if (verify(*state, text, &good, &err))
				fail_msg("token %zu passes with byte %zu changed", i, k);
		}
	}
}

static void a_token_for_others_is_refused(void **state)
{
	struct jwk_expect e = good;
	struct error err;

	e.audience = STR("someone");
	assert_false(verify(*state, token_ed, &e, &err));
	e = good;
	e.issuer = STR("https://idp.example/");
	assert_false(verify(*state, token_ed, &e, &err));
	e = good;
	e.nonce = STR("n-2");
	assert_false(verify(*state, token_ed, &e, &err));
	/* Of several audiences without being the one it was issued to. */
	assert_false(verify(*state, token_many, &good, &err));
}

static void times_are_judged(void **state)
{
	struct jwk_expect e = good;
	struct error err;

	e.now = 1700003600 + 59;
	assert_true(verify(*state, token_ed, &e, &err));
	e.now = 1700003600 + 60;
	assert_false(verify(*state, token_ed, &e, &err));
	assert_non_null(strstr(err.msg, "expired"));
	e.now = 1700000000 - 61;
	assert_false(verify(*state, token_ed, &e, &err));
}

static void an_unknown_key_is_another_error(void **state)
{
	struct world *w = *state;
	struct error err = ERROR_INIT;
	json_t *claims, *empty = jwk_set_parse(w->a, STR("{\"keys\":[]}"), &err);

	assert_non_null(empty);
	assert_false(jwk_verify(w->a, empty, STR("e30.e30.AA"), &good, &claims, &err));
	assert_int_equal(err.code, ERR_INVALID_TOKEN);
	assert_false(jwk_verify(w->a, empty, str_of(token_ed), &good, &claims, &err));
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_null(jwk_set_parse(w->a, STR("{\"keys\":{}}"), &err));
	assert_null(jwk_set_parse(w->a, STR("[]"), &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(signatures_of_published_keys_verify, setup, teardown),
	    cmocka_unit_test_setup_teardown(other_algorithms_and_weak_keys_are_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(every_changed_byte_is_noticed, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_token_for_others_is_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(times_are_judged, setup, teardown),
	    cmocka_unit_test_setup_teardown(an_unknown_key_is_another_error, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
