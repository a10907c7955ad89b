/* SPDX-License-Identifier: MIT */
/*
 * Receipts: equal bytes from equal results, hashes against vectors computed elsewhere, every change noticed, and pages
 * in which nothing of an agent's text becomes markup.
 */
#include "worker/receipts/receipt_doc.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "common/json.h"

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

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->arena = arena_new(0);
	assert_true(
	    receipt_key_parse(STR("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"), &f->keys));
	f->result = parse(f->arena, test_result);
	f->doc = json_own(f->arena, receipt_build(f->arena, f->result, SIGNED_AT, f->keys.id));
	receipt_sign(&f->keys, f->doc);
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
	char hex[SHA256_HEX], mac_text[RECEIPT_SIG_LEN + 1];
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
		crypto_hmac_sha256((struct str){(const char *)f->keys.key, f->keys.n}, buf_str(&out), mac);
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
	json_t *again = json_own(f->arena, receipt_build(f->arena, f->result, SIGNED_AT, f->keys.id));
	const json_t *chain = json_get_arr(f->doc, "provenance_chain");
	static const char *const order[] = {"message", "critique", "message", "vote", "verdict"};
	char previous[SHA256_HEX] = "0000000000000000000000000000000000000000000000000000000000000000";
	size_t i;

	receipt_sign(&f->keys, again);
	assert_true(str_eq(json_canonical(f->arena, again), json_canonical(f->arena, f->doc)));
	assert_true(str_eqz(json_get_str(f->doc, "schema_version", STR("")), "2.0"));
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
		doc = json_own(f->arena, receipt_build(f->arena, f->result, SIGNED_AT, f->keys.id));
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
	assert_true(receipt_key_parse(STR("ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"), &other));
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
	} cases[] = {
	    {"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n", 32},
	    {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", 32},
	    {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", 32},
	    {"__79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA", 32},
	    {"00010203", 0},
	    {"AAEC", 0},
	    {"not a key at all, but long enough to be one of them", 0},
	    {"", 0},
	};
	struct receipt_keys k;
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		assert_int_equal(receipt_key_parse(str_of(cases[i].text), &k), cases[i].n > 0);
		if (cases[i].n > 0)
			assert_int_equal(k.n, cases[i].n);
		if (cases[i].n > 0 && i < 3)
			assert_string_equal(k.id, "durable-630dcd29");
	}
}

static bool has(struct str page, const char *text)
{
	return str_find(page, str_of(text)) >= 0;
}

static void test_pages(void **state)
{
	struct fixture *f = *state;
	struct str html = receipt_html(f->arena, f->doc), md = receipt_markdown(f->arena, f->doc);

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
	assert_true(has(md, "$0.0012"));
	assert_true(has(md, json_string_value(json_object_get(f->doc, "signature"))));
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
					   TEST(test_pages),        TEST(test_markup)};

	return cmocka_run_group_tests_name("receipt", tests, NULL, NULL);
}
