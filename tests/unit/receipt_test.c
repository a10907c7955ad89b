/* SPDX-License-Identifier: MIT */
/*
 * Receipts: equal bytes from equal results, hashes against vectors computed elsewhere, every change noticed, and pages
 * in which nothing of an agent's text becomes markup.
 */
#include "worker/receipts/formats.h"

#include <setjmp.h>
#include <stdarg.h>

#include <limits.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/json.h"
#include "worker/receipts/pdf.h"

#define SIGNED_AT INT64_C(1767528000123)

static const char test_result[] =
    "{\"debate_id\":\"d-1\",\"task\":\"Should we use <Redis> | or "
    "\\u00fcber-cache?\",\"status\":\"consensus_reached\",\"reason\":\"\","
    "\"demo\":true,\"engine_version\":1,\"method\":\"majority\",\"total_rounds\":2,\"rounds_used\":1,"
    "\"participants\":[\"claude\",\"gpt\",\"grok\"],\"winner\":\"claude\",\"final_answer\":\"# Yes\\n\\n- **cheap** "
    "`x<y`\\n"
    "<script>alert(1)</script>\",\"synthesis\":\"\",\"proposals\":{\"claude\":\"a\",\"gpt\":\"b\",\"grok\":\"c\"},"
    "\"consensus\":{\"method\":\"majority\",\"reached\":true,\"threshold_ppm\":600000,\"share_ppm\":666666,"
    "\"weighted_share_ppm\":677000,\"margin_ppm\":333333,\"confidence_ppm\":677000,\"strength\":\"moderate\","
    "\"supporting_agents\":[\"claude\",\"gpt\"],\"dissenting_agents\":[\"grok\"],\"groups\":[]},"
    "\"messages\":[{\"role\":\"proposer\",\"agent\":\"claude\",\"content\":\"draft\",\"round\":0,\"at_ms\":1},"
    "{\"role\":\"proposer\",\"agent\":\"claude\",\"content\":\"revised\",\"round\":1,\"at_ms\":5}],"
    "\"critiques\":[{\"round\":1,\"agent\":\"grok\",\"target_agent\":\"claude\",\"issues\":[\"cost\",\"a|b\"],"
    "\"suggestions\":[],"
    "\"severity_milli\":8500,\"reasoning\":\"why\"}],"
    "\"votes\":[{\"agent\":\"gpt\",\"choice\":\"claude\",\"confidence_ppm\":700000,\"weight_ppm\":1000000,"
    "\"reasoning\":\"<b>best</b>\",\"continue_debate\":false}],"
    "\"dissents\":[{\"agent\":\"grok\",\"view\":\"no\",\"reasons\":[\"cost\"]}],\"flips\":[],\"agent_failures\":{},"
    "\"convergence\":{\"status\":\"converged\",\"similarity_ppm\":800000,\"agreement_ppm\":1},"
    "\"per_agent\":{\"claude\":{\"provider\":\"demo\",\"model\":\"m\",\"calls\":3,\"failures\":0,\"tokens_in\":10,"
    "\"tokens_out\":20,"
    "\"cost_micro\":1234,\"ms\":900}},\"tokens_in\":10,\"tokens_out\":20,\"cost_micro\":1234,\"abandoned_calls\":1,"
    "\"started_at_ms\":1,\"ended_at_ms\":9,\"running_ms\":8000}";

struct fixture {
	struct arena *arena;
	struct receipt_keys keys;
	json_t *result, *doc;
};

static json_t *parse(struct arena *a, const char *text)
{
	struct error err = ERROR_INIT;
	json_t *j = json_parse(a, str_of(text), &err);

	if (j == NULL)
		fail_msg("%s", err.msg);
	return j;
}

#define KEY_HMAC "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
/* RFC 8032 7.1, test 1. */
#define KEY_SECRET "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
#define KEY_PUBLIC "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"

static void keys_of(const char *list, struct receipt_keys *k)
{
	struct error err = ERROR_INIT;

	*k = (struct receipt_keys){.n = 0};
	if (!receipt_keys_parse(str_of(list), k, &err))
		fail_msg("%s", err.msg);
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->arena = arena_new(0);
	keys_of(KEY_HMAC, &f->keys);
	f->result = parse(f->arena, test_result);
	f->doc = json_own(f->arena, receipt_build(f->arena, f->result, SIGNED_AT, &f->keys.v[0]));
	receipt_sign(&f->keys.v[0], f->doc);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	arena_free(f->arena);
	free(f);
	return 0;
}

static bool valid(const struct fixture *f, const json_t *doc)
{
	struct receipt_check check;

	receipt_verify(&f->keys, doc, &check);
	assert_int_equal(check.error[0] == '\0', check.hash_ok && check.signature_ok);
	return check.hash_ok && check.signature_ok;
}

/* Vectors computed with Python's json, hashlib and hmac. */
static void test_python_style(void **state)
{
	static const struct {
		const char *json, *sha256;
	} vectors[] = {
	    {"{\"verdict\":\"PASS\",\"receipt_id\":\"r-1\",\"gauntlet_id\":\"debate-1\",\"input_hash\":"
	     "\"52cb6b5e4a038af1756708f98afb718a08c75b87b2f03dbee4dd9c8139c15c5e\",\"confidence\":0.85,"
	     "\"risk_summary\":{\"total\":3,\"low\":2,\"medium\":1,\"high\":0,\"critical\":0}}",
	     "631de392b43a1a952de63b961644f9aede77f4db69cfbab2523a577956abb54c"},
	    {"{\"question\":\"What is "
	     "2+2?\",\"verdict\":\"approved\",\"confidence\":0.85,\"agents\":[\"a\",\"b\"],\"rounds_used\":2,"
	     "\"timestamp\":\"2026-01-01T00:00:00+00:00\"}",
	     "8e004132523f350837d21b6bb4c66d59a4cfa0e84382954218c99599d2a3c0b0"},
	};
	static const struct {
		double v;
		const char *text;
	} floats[] = {{0.0, "0.0"},
		      {1.0, "1.0"},
		      {0.677, "0.677"},
		      {0.85, "0.85"},
		      {1e-6, "1e-06"},
		      {9.9e-5, "9.9e-05"},
		      {0.0001, "0.0001"},
		      {0.1 + 0.2, "0.30000000000000004"},
		      {123456789.5, "123456789.5"},
		      {1e16, "1e+16"},
		      {100.0, "100.0"}};
	struct fixture *f = *state;
	char hex[SHA256_HEX], mac_text[RECEIPT_SIG_MAX];
	uint8_t mac[SHA256_LEN];
	struct buf out = BUF_INIT;
	size_t i;

	for (i = 0; i < countof(vectors); i++) {
		buf_clear(&out);
		receipt_python_json(&out, parse(f->arena, vectors[i].json));
		crypto_sha256_hex(buf_str(&out), hex);
		assert_string_equal(hex, vectors[i].sha256);
		if (i > 0)
			continue;
		crypto_hmac_sha256((struct str){(const char *)f->keys.v[0].secret, f->keys.v[0].n}, buf_str(&out), mac);
		crypto_base64(mac_text, mac, sizeof(mac));
		assert_string_equal(mac_text, "XCQGsp8eyKt0i4Vwk3dfgunzaymDcaHp8tqp1KeS50A=");
	}
	for (i = 0; i < countof(floats); i++) {
		json_t *j = json_real(floats[i].v);

		buf_clear(&out);
		receipt_python_json(&out, j);
		assert_string_equal(out.p, floats[i].text);
		json_decref(j);
	}
	buf_clear(&out);
	receipt_python_json(&out, parse(f->arena, "[\"\\u00fc\\ud83c\\udf0d\\u007f\\n\\\"\\u0001\", null, true]"));
	assert_string_equal(out.p, "[\"\\u00fc\\ud83c\\udf0d\\u007f\\n\\\"\\u0001\", null, true]");
	buf_free(&out);
}

static void test_document(void **state)
{
	struct fixture *f = *state;
	json_t *again = json_own(f->arena, receipt_build(f->arena, f->result, SIGNED_AT, &f->keys.v[0]));
	const json_t *chain = json_get_arr(f->doc, "provenance_chain");
	static const char *const order[] = {"debate_start", "message", "critique", "message", "vote", "verdict"};
	char previous[SHA256_HEX] = "0000000000000000000000000000000000000000000000000000000000000000";
	size_t i;

	receipt_sign(&f->keys.v[0], again);
	assert_true(str_eq(json_canonical(f->arena, again), json_canonical(f->arena, f->doc)));
	assert_true(str_eqz(json_get_str(f->doc, "schema_version", STR("")), "2.1"));
	assert_int_equal(json_get_str(f->doc, "receipt_id", STR("")).n, RECEIPT_ID_LEN);
	assert_true(str_eqz(json_get_str(f->doc, "verdict", STR("")), "APPROVED_WITH_CONDITIONS"));
	assert_true(str_eqz(json_get_str(f->doc, "canonical_verdict", STR("")), "CONDITIONAL"));
	assert_true(str_eqz(json_get_str(f->doc, "signed_at", STR("")), "2026-01-04T12:00:00.123Z"));
	/* (0.8 x 677,000 + 800,000) / 2 */
	assert_int_equal(json_get_int(f->doc, "robustness_ppm", 0), 670800);
	assert_int_equal(json_get_int(json_get_obj(f->doc, "risk_summary"), "high", 0), 1);
	assert_int_equal(json_get_int(json_get_obj(f->doc, "risk_summary"), "medium", 0), 1);
	assert_int_equal(json_array_size(chain), countof(order));
	for (i = 0; i < countof(order); i++) {
		const json_t *e = json_array_get(chain, i);

		assert_true(str_eqz(json_get_str(e, "event_type", STR("")), order[i]));
		assert_true(str_eqz(json_get_str(e, "previous_hash", STR("")), previous));
		crypto_sha256_hex(json_canonical(f->arena, e), previous);
	}
}

static void test_verdicts(void **state)
{
	static const struct {
		bool reached;
		int64_t confidence;
		const char *verdict, *canonical, *risk;
	} cases[] = {
	    {true, 700000, "APPROVED", "PASS", "LOW"},
	    {true, 699999, "APPROVED_WITH_CONDITIONS", "CONDITIONAL", "MEDIUM"},
	    {false, 990000, "NEEDS_REVIEW", "FAIL", "MEDIUM"},
	};
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < countof(cases); i++) {
		json_t *consensus = json_get_obj(f->result, "consensus"), *doc;

		json_object_set_new(consensus, "reached", json_boolean(cases[i].reached));
		json_put_int(consensus, "confidence_ppm", cases[i].confidence);
		doc = json_own(f->arena, receipt_build(f->arena, f->result, SIGNED_AT, &f->keys.v[0]));
		assert_true(str_eqz(json_get_str(doc, "verdict", STR("")), cases[i].verdict));
		assert_true(str_eqz(json_get_str(doc, "canonical_verdict", STR("")), cases[i].canonical));
		assert_true(str_eqz(json_get_str(doc, "risk_level", STR("")), cases[i].risk));
	}
}

/* Another value of the same kind. */
static json_t *changed(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_STRING:
		return json_string(json_string_length(v) > 0 ? "" : "x");
	case JSON_INTEGER:
		return json_integer(json_integer_value(v) + 1);
	case JSON_REAL:
		return json_real(json_real_value(v) + 0.25);
	case JSON_TRUE:
		return json_false();
	case JSON_OBJECT:
		return json_pack("{s:i}", "x", 1);
	case JSON_ARRAY:
		return json_pack("[s]", "x");
	case JSON_FALSE:
	case JSON_NULL:
	default:
		return json_true();
	}
}

/* Flips every value at every depth, one by one. */
static size_t flip_all(const struct fixture *f, const json_t *root, json_t *at)
{
	const char *key;
	json_t *v;
	size_t i, n = 0;

	json_object_foreach(at, key, v)
	{
		json_t *old = json_incref(v);

		n += flip_all(f, root, v) + 1;
		json_object_set_new(at, key, changed(v));
		if (valid(f, root))
			fail_msg("a change of \"%s\" went unnoticed", key);
		json_object_set_new(at, key, old);
	}
	json_array_foreach(at, i, v)
	{
		json_t *old = json_incref(v);

		n += flip_all(f, root, v) + 1;
		json_array_set_new(at, i, changed(v));
		assert_false(valid(f, root));
		json_array_set_new(at, i, old);
	}
	return n;
}

static void test_tampering(void **state)
{
	struct fixture *f = *state;
	json_t *view = json_own(f->arena, receipt_view(f->doc)), *copy;
	size_t flipped;

	assert_true(valid(f, f->doc));
	assert_true(valid(f, view));
	copy = json_own(f->arena, json_deep_copy(f->doc));
	flipped = flip_all(f, copy, copy);
	assert_true(flipped > 100);
	assert_true(valid(f, copy)); /* all put back */
	copy = json_own(f->arena, json_deep_copy(view));
	assert_true(flip_all(f, copy, copy) > flipped);
	json_object_set_new(copy, "added", json_true());
	assert_false(valid(f, copy));
	json_object_del(copy, "added");
	assert_true(valid(f, copy));
	json_object_del(copy, "final_answer");
	assert_false(valid(f, copy));
}

static void test_hostile(void **state)
{
	struct fixture *f = *state;
	struct receipt_keys other;
	struct receipt_check check;
	json_t *copy = json_own(f->arena, json_deep_copy(f->doc)), *deep = json_array();
	int i;

	assert_false(valid(f, json_own(f->arena, json_array())));
	assert_false(valid(f, json_own(f->arena, json_object())));
	json_object_set_new(copy, "confidence_ppm", json_integer(INT64_MIN));
	assert_false(valid(f, copy));
	json_object_set_new(copy, "engine_version", json_real(1.0)); /* no canonical text */
	assert_false(valid(f, copy));
	for (i = 0; i < 60; i++)
		deep = json_pack("[o]", deep);
	json_object_set_new(copy, "engine_version", deep);
	assert_false(valid(f, copy));
	keys_of("ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", &other);
	receipt_verify(&other, f->doc, &check);
	assert_true(check.hash_ok);
	assert_false(check.signature_ok || check.known_key);
	assert_non_null(strstr(check.error, "unknown"));
}

static void test_keys(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		bool ok;
	} cases[] = {
	    {KEY_HMAC "\n", 32, true},
	    {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", 32, true},
	    {"hmac:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", 32, true},
	    {"__79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA", 32, true},
	    {"00010203", 0, false},
	    {"AAEC", 0, false},
	    {"not a key at all, but long enough to be one of them", 0, false},
	    {"ed25519:" KEY_SECRET KEY_SECRET, 0, false},
	    {"rsa:" KEY_HMAC, 0, false},
	    {"", 0, true},
	};
	struct receipt_keys k;
	struct error err = ERROR_INIT;
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		k.n = 0;
		assert_int_equal(receipt_keys_parse(str_of(cases[i].text), &k, &err), cases[i].ok);
		assert_int_equal(k.n, cases[i].n > 0);
		if (cases[i].n > 0)
			assert_int_equal(k.v[0].n, cases[i].n);
		if (cases[i].n > 0 && i < 3)
			assert_string_equal(k.v[0].id, "durable-630dcd29");
	}
	/* The message tells which of them is bad, and nothing of it. */
	k.n = 0;
	assert_false(receipt_keys_parse(STR(KEY_HMAC ", ed25519:" KEY_HMAC "00"), &k, &err));
	assert_non_null(strstr(err.msg, "key 2 of the list"));
	assert_null(strstr(err.msg, "0001"));
}

static bool verifies(const char *list, const json_t *doc)
{
	struct receipt_check check;
	struct receipt_keys k;

	keys_of(list, &k);
	receipt_verify(&k, doc, &check);
	return check.hash_ok && check.signature_ok;
}

static void test_ed25519(void **state)
{
	struct fixture *f = *state;
	struct receipt_keys k;
	char signature[RECEIPT_SIG_MAX];
	json_t *doc, *again, *list;

	keys_of("ed25519:" KEY_SECRET, &k);
	/* RFC 8032 7.1, test 1: the empty message. */
	receipt_key_sign(&k.v[0], STR(""), signature);
	assert_string_equal(signature,
			    "5VZDAMNgrHKQhuLMgG6CioSHfx645dl02HPgZSJJAVVfuIIVkKM7rMYeOXAc+bRr0lv18FlbviRlUUFDjnoQCw==");
	doc = json_own(f->arena, receipt_build(f->arena, f->result, SIGNED_AT, &k.v[0]));
	receipt_sign(&k.v[0], doc);
	again = json_own(f->arena, receipt_build(f->arena, f->result, SIGNED_AT, &k.v[0]));
	receipt_sign(&k.v[0], again);
	assert_true(json_equal(doc, again));
	assert_true(str_eqz(json_get_str(doc, "signature_algorithm", STR("")), "Ed25519"));
	assert_true(verifies("ed25519:" KEY_SECRET, doc));
	assert_true(verifies("ed25519-public:" KEY_PUBLIC, doc));
	assert_false(verifies("ed25519-public:" KEY_HMAC, doc));
	assert_false(verifies(KEY_HMAC, doc));
	json_put_str(doc, "final_answer", STR("other"));
	assert_false(verifies("ed25519-public:" KEY_PUBLIC, doc));
	list = json_own(f->arena, receipt_keys_public(&k));
	assert_true(str_eqz(json_get_str(json_array_get(list, 0), "public_key", STR("")),
			    "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="));
	assert_null(strstr(json_text(f->arena, list).p, "nWGxne")); /* the secret */
}

/* A new key signs, the former ones verify, in any order and of both kinds. */
static void test_rotation(void **state)
{
	static const char next[] = "ed25519:" KEY_SECRET "," KEY_HMAC;
	struct fixture *f = *state;
	struct receipt_keys k;
	json_t *doc;

	keys_of(next, &k);
	assert_int_equal(k.n, 2);
	doc = json_own(f->arena, receipt_build(f->arena, f->result, SIGNED_AT, &k.v[0]));
	receipt_sign(&k.v[0], doc);
	assert_true(verifies(next, doc));
	assert_true(verifies(next, f->doc)); /* of the key before */
	assert_false(verifies(KEY_HMAC, doc));
	keys_of(KEY_HMAC "," KEY_HMAC, &k);
	assert_int_equal(k.n, 1);
}

/* A receipt as release 0.1 made it with KEY_HMAC: it must verify for ever. */
static void test_old(void **state)
{
	static const char old[] =
	    "{\"abandoned_calls\":1,\"agent_failures\":{},\"agents\":[{\"agent\":\"claude\",\"calls\":3,\"cost_mic"
	    "ro\":1234,\"failures\":0,\"model\":\"m\",\"ms\":900,\"provider\":\"demo\",\"tokens_in\":10,\"tokens_o"
	    "ut\":20},{\"agent\":\"gpt\"},{\"agent\":\"grok\"}],\"artifact_hash\":\"cbbf6442cc2499299c20e5efdc08c4"
	    "9e93aa8971ec1820186ad21f3387e01c88\",\"canonical_verdict\":\"CONDITIONAL\",\"confidence_ppm\":677000,"
	    "\"consensus_proof\":{\"confidence_ppm\":677000,\"dissenting_agents\":[\"grok\"],\"evidence_hash\":\"c"
	    "4f1d892fe1aa2f7\",\"groups\":[],\"margin_ppm\":333333,\"method\":\"majority\",\"reached\":true,\"shar"
	    "e_ppm\":666666,\"strength\":\"moderate\",\"supporting_agents\":[\"claude\",\"gpt\"],\"threshold_ppm\""
	    ":600000,\"weighted_share_ppm\":677000,\"winner\":\"claude\"},\"content_hash\":\"0d4f0d04c5a018fe9f60d"
	    "bd76aafa853126106664523928f0dec6cfcaa5d3bac\",\"convergence\":{\"agreement_ppm\":1,\"similarity_ppm\""
	    ":800000,\"status\":\"converged\"},\"cost_summary\":{\"abandoned_calls\":1,\"cost_micro\":1234,\"token"
	    "s_in\":10,\"tokens_out\":20},\"critiques\":[{\"agent\":\"grok\",\"issues\":[\"cost\",\"a|b\"],\"reaso"
	    "ning\":\"why\",\"round\":1,\"severity_milli\":8500,\"suggestions\":[],\"target_agent\":\"claude\"}],\""
	    "debate_id\":\"d-1\",\"demo\":true,\"dissenting_views\":[{\"agent\":\"grok\",\"reasons\":[\"cost\"],\""
	    "view\":\"no\"}],\"duration_ms\":8000,\"ended_at_ms\":9,\"engine_version\":1,\"final_answer\":\"# Yes\\"
	    "n\\n- **cheap** `x<y`\\n<script>alert(1)</script>\",\"flips\":[],\"gauntlet_id\":\"d-1\",\"input_hash"
	    "\":\"9b700eee1ecf2e0eb517d1decd0923675c1e2b0dd1def4d411ae2499cef6a147\",\"input_summary\":\"Should we"
	    " use <Redis> | or über-cache?\",\"participants\":[\"claude\",\"gpt\",\"grok\"],\"proposals\":{\"claud"
	    "e\":\"a\",\"gpt\":\"b\",\"grok\":\"c\"},\"provenance_chain\":[{\"agent\":\"claude\",\"at_ms\":1,\"con"
	    "tent_sha256\":\"7743ce348d9284d677a185f33295b92266cc435a5b5f775029b300066d26693a\",\"description\":\""
	    "draft\",\"event_type\":\"message\",\"previous_hash\":\"0000000000000000000000000000000000000000000000"
	    "000000000000000000\",\"round\":0,\"sequence\":1},{\"agent\":\"grok\",\"at_ms\":0,\"content_sha256\":\""
	    "4b824e31ea1f92736b22f1993033429548e1b5d99aec6fe211c72a3299663130\",\"description\":\"Critique of clau"
	    "de: why\",\"event_type\":\"critique\",\"previous_hash\":\"660bf61a2884c506726c7416db97ffdc1a0da11a2a9"
	    "34007b27aa417ca8c6178\",\"round\":1,\"sequence\":2},{\"agent\":\"claude\",\"at_ms\":5,\"content_sha25"
	    "6\":\"1e4de31f94535968f4e4ca8fd577a4598e984bc5c89dae095924e944c121c7a3\",\"description\":\"revised\","
	    "\"event_type\":\"message\",\"previous_hash\":\"6c88f6235a3044858e953deba79b4893d54618526815076843c838"
	    "a31246feea\",\"round\":1,\"sequence\":3},{\"agent\":\"gpt\",\"at_ms\":0,\"content_sha256\":\"f22eebb6"
	    "a58ccf591c4b1665ef93fa33887ae5aa3408f076f95b1cfc23beec58\",\"description\":\"Vote for claude\",\"even"
	    "t_type\":\"vote\",\"previous_hash\":\"8dbaa984597b28983e93b2d4995e2f3812e1ee38a98ecd035fff5a7eef3d8f4"
	    "f\",\"round\":1,\"sequence\":4},{\"agent\":\"\",\"at_ms\":1767528000123,\"content_sha256\":\"c4f1d892"
	    "fe1aa2f722490ef4c90b28644f6b0c81996b48a2244db92546609cf7\",\"description\":\"APPROVED_WITH_CONDITIONS"
	    "\",\"event_type\":\"verdict\",\"previous_hash\":\"ebd3c1c9eb8f0475ab2125d2faa5a257f6ee338efeeb4eed8ce"
	    "b2bc650ae642a\",\"round\":1,\"sequence\":5}],\"question\":\"Should we use <Redis> | or über-cache?\","
	    "\"reason\":\"\",\"receipt_id\":\"rcpt_6b8d51ed897809435c8990463d1be38c\",\"risk_level\":\"MEDIUM\",\""
	    "risk_summary\":{\"critical\":0,\"high\":1,\"low\":0,\"medium\":1,\"total\":2},\"robustness_ppm\":6708"
	    "00,\"rounds_used\":1,\"schema_version\":\"2.0\",\"signature\":\"pSE4Om0NbUhJnQgkTfqMldUA1+5cwX6OmWlV1"
	    "YoSm5g=\",\"signature_algorithm\":\"HMAC-SHA256\",\"signature_key_id\":\"durable-630dcd29\",\"signed_"
	    "at\":\"2026-01-04T12:00:00.123Z\",\"signed_at_ms\":1767528000123,\"started_at_ms\":1,\"status\":\"con"
	    "sensus_reached\",\"synthesis\":\"\",\"timestamp\":\"2026-01-04T12:00:00.123Z\",\"total_rounds\":2,\"v"
	    "erdict\":\"APPROVED_WITH_CONDITIONS\",\"verdict_reasoning\":\"The agents reached consensus, but their"
	    " confidence is below 70 %; check the conditions and dissent before acting.\",\"votes\":[{\"agent\":\""
	    "gpt\",\"choice\":\"claude\",\"confidence_ppm\":700000,\"continue_debate\":false,\"reasoning\":\"<b>be"
	    "st</b>\",\"weight_ppm\":1000000}],\"winner\":\"claude\"}";
	struct fixture *f = *state;
	json_t *doc = parse(f->arena, old), *copy = json_own(f->arena, json_deep_copy(doc)), *findings;

	assert_true(str_eqz(json_get_str(doc, "schema_version", STR("")), "2.0"));
	assert_true(valid(f, doc));
	assert_true(valid(f, json_own(f->arena, receipt_view(doc))));
	assert_true(flip_all(f, copy, copy) > 100);
	findings = json_own(f->arena, receipt_findings_of(f->arena, doc));
	assert_int_equal(json_array_size(findings), 2);
	assert_true(receipt_html(f->arena, doc).n > 0 && receipt_markdown(f->arena, doc).n > 0);
}

/* The union of what clients of either receipt model read, all of it signed. */
static void test_members(void **state)
{
	static const char *const names[] = {"receipt_id",
					    "gauntlet_id",
					    "audit_trail_id",
					    "input_summary",
					    "input_type",
					    "input_hash",
					    "risk_summary",
					    "attacks_attempted",
					    "probes_run",
					    "vulnerabilities_found",
					    "findings",
					    "verified_claims",
					    "unresolved_tensions",
					    "dissenting_views",
					    "consensus_proof",
					    "cost_summary",
					    "config_used",
					    "settlement_metadata",
					    "provenance_chain",
					    "provenance_head",
					    "robustness_ppm",
					    "robustness_formula",
					    "proposals",
					    "flips",
					    "agents"};
	struct fixture *f = *state;
	const json_t *e = json_array_get(json_get_arr(f->doc, "dissenting_views"), 0), *found;
	size_t i;

	for (i = 0; i < countof(names); i++) {
		if (json_object_get(f->doc, names[i]) == NULL)
			fail_msg("no %s", names[i]);
		assert_false(receipt_is_view(names[i]));
	}
	assert_null(json_object_get(f->doc, "messages"));
	assert_true(str_eqz(json_get_str(e, "alternative_view", STR("")), "no"));
	assert_int_equal(json_get_int(e, "severity_ppm", 0), 850000); /* of its critique */
	found = json_get_arr(f->doc, "findings");
	assert_int_equal(json_array_size(found), 2);
	assert_true(str_eqz(json_get_str(json_array_get(found, 0), "severity", STR("")), "high"));
	assert_true(str_eqz(json_get_str(json_array_get(found, 0), "description", STR("")), "cost; a|b"));
	assert_true(str_eqz(json_get_str(json_array_get(found, 1), "category", STR("")), "dissent"));
	/* What an engine of later adds to the result is in the receipt. */
	json_object_set_new(f->result, "taint", json_pack("{s:i}", "override", 2));
	json_object_set_new(f->result, "confidence", json_integer(3)); /* a name of clients, derived from others */
	e = json_own(f->arena, receipt_build(f->arena, f->result, SIGNED_AT, &f->keys.v[0]));
	assert_int_equal(json_get_int(json_get_obj(e, "taint"), "override", 0), 2);
	assert_null(json_object_get(e, "confidence"));
}

static bool has(struct str page, const char *text)
{
	return str_find(page, str_of(text)) >= 0;
}

static void test_pages(void **state)
{
	struct fixture *f = *state;
	struct str html = receipt_html(f->arena, f->doc), md = receipt_markdown(f->arena, f->doc);
	json_t *sly = json_own(f->arena, json_copy(f->doc));

	json_put_str(sly, "question", STR("a\\|b"));
	assert_true(has(receipt_markdown(f->arena, sly), "**Question:** a\\\\\\|b\n"));
	assert_false(has(html, "<script"));
	assert_false(has(html, "<b>best"));
	assert_false(has(html, "<Redis>"));
	assert_false(has(html, "http://") || has(html, "https://"));
	assert_true(has(html, "&lt;script&gt;alert(1)&lt;/script&gt;"));
	assert_true(has(html, "<h3>Yes</h3>"));
	assert_true(has(html, "<li><strong>cheap</strong> <code>x&lt;y</code></li>"));
	assert_true(has(html, "Approved with conditions"));
	assert_true(has(html, "67.7 %"));
	assert_true(has(html, "Demonstration"));
	assert_true(has(html, json_string_value(json_object_get(f->doc, "content_hash"))));
	assert_true(has(html, json_string_value(json_object_get(f->doc, "signature"))));
	assert_true(has(html, "@media print") && has(html, "prefers-color-scheme"));
	assert_true(has(md, "| gpt | claude | 70.0 % | 100.0 % | \\<b>best\\</b> |"));
	assert_true(has(md, "cost; a\\|b"));
	assert_true(has(md, "| high | critique | cost; a\\|b |  | grok |"));
	assert_true(has(html, "<h2>Findings</h2>"));
	assert_true(has(md, "$0.0012"));
	assert_true(has(md, json_string_value(json_object_get(f->doc, "signature"))));
}

/* Beside the programs of this build; the test lies two folders below. */
static void find_module(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path));
	struct str folder = {path, n > 0 ? (size_t)n : 0};
	struct buf module = BUF_INIT;
	size_t i;

	for (i = 0; i < 3; i++)
		while (folder.n > 0 && folder.p[--folder.n] != '/')
			;
	buf_add(&module, folder);
	buf_addz(&module, "/aragora_pdf.so");
	receipt_pdf_at(module.p);
	buf_free(&module);
}

static struct str rendered(const struct fixture *f, const char *name)
{
	struct error err = ERROR_INIT;
	const struct receipt_format *format = receipt_format_find(str_of(name), STR(""), &err);
	struct buf out = BUF_INIT;
	struct str text;

	assert_non_null(format);
	assert_true(format->render(f->arena, f->doc, &out, &err));
	text = arena_str(f->arena, buf_str(&out));
	buf_free(&out);
	return text;
}

static void test_formats(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;
	struct str csv = rendered(f, "csv"), sarif = rendered(f, "sarif"), pdf = rendered(f, "pdf");
	const json_t *run, *result;

	assert_null(receipt_format_find(STR("docx"), STR(""), &err));
	assert_string_equal(receipt_format_find(STR(""), STR("application/pdf, text/html"), &err)->name, "pdf");
	assert_string_equal(receipt_format_find(STR(""), STR("*/*"), &err)->name, "json");
	assert_true(
	    str_starts(csv, STR("Finding ID,Category,Severity,Title,Description,Mitigation,Verified,Source\r\n"
				"\"F1\",\"critique\",\"high\",\"cost\",\"cost; a|b\",\"\",\"false\",\"grok\"\r\n")));
	run = json_array_get(json_get_arr(parse(f->arena, sarif.p), "runs"), 0);
	assert_int_equal(json_array_size(json_get_arr(run, "results")), 2);
	result = json_array_get(json_get_arr(run, "results"), 0);
	assert_true(str_eqz(json_get_str(result, "level", STR("")), "error"));
	assert_true(str_eqz(json_get_str(json_get_obj(result, "message"), "text", STR("")), "cost: cost; a|b"));
	assert_true(str_starts(pdf, STR("%PDF-")));
	assert_true(str_eq(pdf, rendered(f, "pdf"))); /* the same receipt, the same file */
}

/* Another build's module, or none, is not used; once there is one it is. */
static void test_pdf_module(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;
	struct buf out = BUF_INIT;

	receipt_pdf_at("/nowhere/aragora_pdf.so");
	assert_false(receipt_pdf(f->arena, f->doc, &out, &err));
	assert_int_equal(err.code, ERR_UNAVAILABLE);
	receipt_pdf_at("libm.so.6"); /* no module of ours */
	assert_false(receipt_pdf(f->arena, f->doc, &out, &err));
	find_module();
	assert_true(receipt_pdf(f->arena, f->doc, &out, &err));
	buf_free(&out);
}

/* The longest answer there can be takes pages, and ends. */
static void test_long_pdf(void **state)
{
	struct fixture *f = *state;
	struct buf big = BUF_INIT;
	size_t i;

	for (i = 0; i < 1000; i++)
		buf_addz(&big, "- **one** of `many` lines \xd9\x85\xd8\xb1\xd8\xad\xd8\xa8\xd8\xa7 and then some\n");
	json_put_str(f->doc, "final_answer", buf_str(&big));
	assert_true(str_find(rendered(f, "pdf"), STR("/Type /Pages")) > 0);
	buf_free(&big);
}

static void test_markup(void **state)
{
	static const struct {
		const char *text, *html;
	} cases[] = {
	    {"one\ntwo\n\nthree", "<p>one<br>\ntwo</p>\n<p>three</p>\n"},
	    {"1. a\n2) b\ntext", "<ol>\n<li>a</li>\n<li>b</li>\n</ol>\n<p>text</p>\n"},
	    {"```c\nif (a < b) **x**\n```\nend", "<pre><code>if (a &lt; b) **x**\n</code></pre>\n<p>end</p>\n"},
	    {"a ** b `c", "<p>a ** b `c</p>\n"},
	    {"**a `b** c`", "<p><strong>a `b</strong> c`</p>\n"},
	    {"####### no", "<p>####### no</p>\n"},
	    {"`` x", "<p>`` x</p>\n"},
	    {"```\nopen <", "<pre><code>open &lt;\n</code></pre>\n"},
	    {"", ""},
	};
	struct buf out = BUF_INIT, big = BUF_INIT;
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		buf_clear(&out);
		receipt_markup(&out, str_of(cases[i].text));
		assert_true(str_eqz(buf_str(&out), cases[i].html));
	}
	/* The longest answer there can be, all marks: linear, not quadratic. */
	for (i = 0; i < 128 * 1024; i++)
		buf_addz(&big, i % 2 == 0 ? "*" : "`");
	buf_addz(&big, "**");
	buf_clear(&out);
	receipt_markup(&out, buf_str(&big));
	assert_true(out.n > big.n);
	buf_free(&big);
	buf_free(&out);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_python_style), TEST(test_document), TEST(test_verdicts),
					   TEST(test_tampering),    TEST(test_hostile),  TEST(test_keys),
					   TEST(test_ed25519),      TEST(test_rotation), TEST(test_old),
					   TEST(test_members),      TEST(test_pages),    TEST(test_pdf_module),
					   TEST(test_formats),      TEST(test_long_pdf), TEST(test_markup)};

	return cmocka_run_group_tests_name("receipt", tests, NULL, NULL);
}
