/* SPDX-License-Identifier: MIT */
/*
 * Hashing, signing and verifying receipt documents, and the members that are shown besides the signed ones. Called when
 * a receipt is made and whenever one is read or posted; a posted document is hostile until it verifies.
 */
#include "worker/receipts/receipt_doc.h"

#include <math.h>

#include "common/json.h"

#define VERIFY_DEPTH 32 /* deeper than any receipt */

/* Not covered by content_hash. */
static const char *const verify_uncovered[] = {"content_hash", "artifact_hash", "signature"};

/* ---- Python's default style, for artifact_hash ---- */

static void python_string(struct buf *out, struct str s)
{
	static const char *const short_escapes[] = {['"'] = "\\\"", ['\\'] = "\\\\", ['\n'] = "\\n", ['\r'] = "\\r",
						    ['\t'] = "\\t", ['\f'] = "\\f",  ['\b'] = "\\b"};
	size_t i = 0;

	buf_addc(out, '"');
	while (i < s.n) {
		unsigned char c = (unsigned char)s.p[i];
		unsigned extra = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
		uint32_t point = extra == 0 ? c : c & (0x3fu >> extra);

		for (i++; extra > 0 && i < s.n; extra--, i++)
			point = point << 6 | ((unsigned char)s.p[i] & 0x3f);
		if (point < countof(short_escapes) && short_escapes[point] != NULL)
			buf_addz(out, short_escapes[point]);
		else if (point >= 0x20 && point < 0x7f)
			buf_addc(out, (char)point);
		else if (point < 0x10000)
			buf_printf(out, "\\u%04x", (unsigned)point);
		else
			buf_printf(out, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((point - 0x10000) >> 10)),
				   (unsigned)(0xdc00 + ((point - 0x10000) & 0x3ff)));
	}
	buf_addc(out, '"');
}

/* Fewest digits that read back as the same number; an exponent below 1e-4 and from 1e16 on. */
static void python_float(struct buf *out, double v)
{
	char digits[40], *e;
	int precision, exponent;

	for (precision = 0; precision < 17; precision++) {
		snprintf(digits, sizeof(digits), "%.*e", precision, v);
		if (strtod(digits, NULL) == v)
			break;
	}
	e = strchr(digits, 'e');
	exponent = e != NULL ? (int)strtol(e + 1, NULL, 10) : 0;
	if (exponent < -4 || exponent >= 16)
		buf_addz(out, digits);
	else
		buf_printf(out, "%.*f", precision > exponent ? precision - exponent : 1, v);
}

static int python_compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void python_value(struct buf *out, const json_t *j, unsigned depth);

static void python_object(struct buf *out, const json_t *j, unsigned depth)
{
	size_t n = json_object_size(j), i = 0;
	const char **keys = xcalloc(n + 1, sizeof(*keys));
	const char *key;
	json_t *v;
	/* jansson's iterators want a mutable object but do not change it. */
	json_t *object = json_copy((json_t *)(uintptr_t)j);

	json_object_foreach(object, key, v) keys[i++] = key;
	qsort(keys, n, sizeof(*keys), python_compare);
	buf_addc(out, '{');
	for (i = 0; i < n; i++) {
		if (i > 0)
			buf_addz(out, ", ");
		python_string(out, str_of(keys[i]));
		buf_addz(out, ": ");
		python_value(out, json_object_get(j, keys[i]), depth + 1);
	}
	buf_addc(out, '}');
	json_decref(object);
	free(keys);
}

static void python_value(struct buf *out, const json_t *j, unsigned depth)
{
	size_t i;

	BUG_ON(depth > VERIFY_DEPTH);
	switch (json_typeof(j)) {
	case JSON_OBJECT:
		python_object(out, j, depth);
		break;
	case JSON_ARRAY:
		buf_addc(out, '[');
		for (i = 0; i < json_array_size(j); i++) {
			buf_addz(out, i > 0 ? ", " : "");
			python_value(out, json_array_get(j, i), depth + 1);
		}
		buf_addc(out, ']');
		break;
	case JSON_STRING:
		python_string(out, (struct str){json_string_value(j), json_string_length(j)});
		break;
	case JSON_INTEGER:
		buf_printf(out, "%lld", (long long)json_integer_value(j));
		break;
	case JSON_REAL:
		python_float(out, json_real_value(j));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		buf_addz(out, json_is_true(j) ? "true" : "false");
		break;
	case JSON_NULL:
	default:
		buf_addz(out, "null");
		break;
	}
}

void receipt_python_json(struct buf *out, const json_t *j)
{
	python_value(out, j, 0);
}

/* ---- hashes and signature ---- */

static void verify_artifact_hash(const json_t *doc, char out[SHA256_HEX])
{
	static const char *const same[] = {"receipt_id", "gauntlet_id", "input_hash", "risk_summary"};
	json_t *o = json_object();
	struct buf text = BUF_INIT;
	size_t i;

	for (i = 0; i < countof(same); i++)
		json_object_set(o, same[i], json_object_get(doc, same[i]));
	json_object_set(o, "verdict", json_object_get(doc, "canonical_verdict"));
	json_object_set_new(o, "confidence", json_real((double)json_get_int(doc, "confidence_ppm", 0) / 1e6));
	receipt_python_json(&text, o);
	crypto_sha256_hex(buf_str(&text), out);
	buf_free(&text);
	json_decref(o);
}

static void verify_content_hash(const json_t *doc, char out[SHA256_HEX])
{
	json_t *covered = json_copy((json_t *)(uintptr_t)doc);
	struct arena *a = arena_new(0);
	size_t i;

	for (i = 0; i < countof(verify_uncovered); i++)
		json_object_del(covered, verify_uncovered[i]);
	crypto_sha256_hex(json_canonical(a, covered), out);
	arena_free(a);
	json_decref(covered);
}

void receipt_sign(const struct receipt_key *k, json_t *doc)
{
	char hash[SHA256_HEX], signature[RECEIPT_SIG_MAX];

	verify_content_hash(doc, hash);
	receipt_key_sign(k, str_of(hash), signature);
	json_put_str(doc, "content_hash", str_of(hash));
	json_put_str(doc, "signature", str_of(signature));
	verify_artifact_hash(doc, hash);
	json_put_str(doc, "artifact_hash", str_of(hash));
}

/* ---- members shown besides ---- */

static json_t *view_fraction(int64_t ppm)
{
	return json_real((double)ppm / 1e6);
}

static json_t *view_agents(const json_t *doc)
{
	json_t *o = json_object_get(doc, "participants");

	return json_is_array(o) ? json_deep_copy(o) : json_array();
}

static json_t *view_confidence(const json_t *doc)
{
	return view_fraction(json_get_int(doc, "confidence_ppm", 0));
}

static json_t *view_robustness(const json_t *doc)
{
	return view_fraction(json_get_int(doc, "robustness_ppm", 0));
}

/* In floating point: a posted document may hold any integer. */
static json_t *view_risk(const json_t *doc)
{
	return json_real((1e6 - (double)json_get_int(doc, "confidence_ppm", 0)) / 1e6);
}

static json_t *view_reached(const json_t *doc)
{
	return json_boolean(json_get_bool(json_get_obj(doc, "consensus_proof"), "reached", false));
}

static json_t *view_dissenting(const json_t *doc)
{
	json_t *o = json_object_get(json_get_obj(doc, "consensus_proof"), "dissenting_agents");

	return json_is_array(o) ? json_deep_copy(o) : json_array();
}

static json_t *view_seconds(const json_t *doc)
{
	return json_real((double)json_get_int(doc, "duration_ms", 0) / 1e3);
}

static json_t *view_dollars(const json_t *doc)
{
	return view_fraction(json_get_int(json_get_obj(doc, "cost_summary"), "cost_micro", 0));
}

static json_t *view_rounds(const json_t *doc)
{
	return json_integer(json_get_int(doc, "rounds_used", 0));
}

static json_t *view_checksum(const json_t *doc)
{
	return json_str(json_get_str(doc, "content_hash", STR("")));
}

static json_t *view_tokens(const json_t *doc)
{
	const json_t *cost = json_get_obj(doc, "cost_summary");
	int64_t sum = 0;

	/* A posted document may hold any integers. */
	if (__builtin_add_overflow(json_get_int(cost, "tokens_in", 0), json_get_int(cost, "tokens_out", 0), &sum))
		sum = 0;
	return json_integer(sum);
}

static json_t *view_risk_count(const json_t *doc, const char *level)
{
	return json_integer(json_get_int(json_get_obj(doc, "risk_summary"), level, 0));
}

static json_t *view_critical(const json_t *doc)
{
	return view_risk_count(doc, "critical");
}

static json_t *view_high(const json_t *doc)
{
	return view_risk_count(doc, "high");
}

static json_t *view_medium(const json_t *doc)
{
	return view_risk_count(doc, "medium");
}

static json_t *view_low(const json_t *doc)
{
	return view_risk_count(doc, "low");
}

static const struct {
	const char *name;
	json_t *(*make)(const json_t *doc);
} verify_views[] = {
    {"confidence", view_confidence},
    {"robustness_score", view_robustness},
    {"risk_score", view_risk},
    {"consensus_reached", view_reached},
    {"participating_agents", view_agents},
    {"agents_involved", view_agents},
    {"dissenting_agents", view_dissenting},
    {"rounds_completed", view_rounds},
    {"duration_seconds", view_seconds},
    {"cost_usd", view_dollars},
    {"tokens_used", view_tokens},
    {"critical_count", view_critical},
    {"high_count", view_high},
    {"medium_count", view_medium},
    {"low_count", view_low},
    {"checksum", view_checksum},
};

bool receipt_is_view(const char *name)
{
	size_t i;

	for (i = 0; i < countof(verify_views); i++)
		if (strcmp(name, verify_views[i].name) == 0)
			return true;
	return false;
}

json_t *receipt_view(const json_t *doc)
{
	json_t *o = json_copy((json_t *)(uintptr_t)doc);
	size_t i;

	for (i = 0; i < countof(verify_views); i++)
		json_object_set_new(o, verify_views[i].name, verify_views[i].make(doc));
	return o;
}

/* Other programs write 1.0 as 1. */
static bool view_equal(const json_t *a, const json_t *b)
{
	if (json_is_number(a) && json_is_number(b))
		return fabs(json_number_value(a) - json_number_value(b)) < 1e-9;
	return json_equal(a, b) != 0;
}

json_t *receipt_unview(const json_t *doc, const char **bad)
{
	json_t *o = json_copy((json_t *)(uintptr_t)doc);
	size_t i;

	*bad = NULL;
	for (i = 0; i < countof(verify_views) && *bad == NULL; i++) {
		const json_t *shown = json_object_get(doc, verify_views[i].name);
		json_t *right = verify_views[i].make(doc);

		if (shown != NULL && !view_equal(shown, right))
			*bad = verify_views[i].name;
		json_decref(right);
		json_object_del(o, verify_views[i].name);
	}
	if (*bad == NULL)
		return o;
	json_decref(o);
	return NULL;
}

/* ---- verifying ---- */

/* Canonical text exists for integers, strings, booleans and null only; a posted document may hold anything. */
static bool verify_hashable(const json_t *j, unsigned depth)
{
	json_t *v;
	size_t i;
	void *it;

	if (json_is_real(j) || depth > VERIFY_DEPTH)
		return false;
	json_array_foreach(j, i, v) if (!verify_hashable(v, depth + 1)) return false;
	for (it = json_object_iter((json_t *)(uintptr_t)j); it != NULL;
	     it = json_object_iter_next((json_t *)(uintptr_t)j, it))
		if (!verify_hashable(json_object_iter_value(it), depth + 1))
			return false;
	return true;
}

static void verify_say(struct receipt_check *out, const char *what)
{
	snprintf(out->error, sizeof(out->error), "%s", what);
}

static void verify_document(const struct receipt_keys *k, const json_t *doc, struct receipt_check *out)
{
	struct str key_id = json_get_str(doc, "signature_key_id", STR(""));
	const struct receipt_key *key = receipt_key_find(k, key_id, json_get_str(doc, "signature_algorithm", STR("")));
	char *content = out->content_hash, artifact[SHA256_HEX];

	verify_content_hash(doc, content);
	verify_artifact_hash(doc, artifact);
	out->known_key = key != NULL;
	out->hash_ok = crypto_equal(json_get_str(doc, "content_hash", STR("")), str_of(content)) &&
		       crypto_equal(json_get_str(doc, "artifact_hash", STR("")), str_of(artifact));
	out->signature_ok =
	    key != NULL && receipt_key_verify(key, str_of(content), json_get_str(doc, "signature", STR("")));
	if (!out->hash_ok)
		verify_say(out, "the content does not match its hash");
	else if (!out->known_key)
		snprintf(out->error, sizeof(out->error), "signed with a key unknown to this server: %.*s",
			 STR_ARG(str_utf8_cut(key_id, 64)));
	else if (!out->signature_ok)
		verify_say(out, "the signature does not match the content");
}

void receipt_verify(const struct receipt_keys *k, const json_t *doc, struct receipt_check *out)
{
	const char *bad = NULL;
	json_t *plain;

	*out = (struct receipt_check){0};
	if (!json_is_object(doc)) {
		verify_say(out, "not a receipt document");
		return;
	}
	plain = receipt_unview(doc, &bad);
	if (plain == NULL) {
		snprintf(out->error, sizeof(out->error), "\"%s\" does not follow from the signed content", bad);
		return;
	}
	if (verify_hashable(plain, 0))
		verify_document(k, plain, out);
	else
		verify_say(out, "signed content holds no fractional numbers and is not nested deeply");
	json_decref(plain);
}
