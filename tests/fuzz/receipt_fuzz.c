/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes receipts that anybody may post: no document verifies that was not signed, one that we sign does, and what is
 * shown of it holds no tag but ours. The input is JSON; what is none is shown as a text of an agent.
 */
#include "common/json.h"
#include "tests/fuzz/fuzz.h"
#include "worker/receipts/receipt_doc.h"

static const char *const fuzz_tags[] = {
    "<p>",   "</p>",  "<code>", "</code>", "<strong>", "</strong>",    "<pre>",        "</pre>", "<ul>",
    "</ul>", "<ol>",  "</ol>",  "<li>",    "</li>",    "<h3>",         "</h3>",        "<h4>",   "</h4>",
    "<h5>",  "</h5>", "<h6>",   "</h6>",   "<br>",     "<blockquote>", "</blockquote>"};

static void fuzz_markup(struct str text)
{
	struct buf out = BUF_INIT;
	struct str rest;
	ptrdiff_t at;
	size_t i;

	receipt_markup(&out, text);
	for (rest = buf_str(&out); (at = str_chr(rest, '<')) >= 0; rest = str_sub(rest, 1, rest.n)) {
		rest = str_sub(rest, (size_t)at, rest.n);
		for (i = 0; i < countof(fuzz_tags) && !str_starts(rest, str_of(fuzz_tags[i])); i++)
			;
		BUG_ON(i == countof(fuzz_tags));
	}
	buf_free(&out);
}

/* Is there anything in it that canonical JSON refuses? */
static bool fuzz_signable(const json_t *doc)
{
	const char *bad;
	json_t *plain = receipt_unview(doc, &bad);
	struct receipt_keys other = {.n = 0};
	struct receipt_check check;
	bool ok;

	receipt_verify(&other, doc, &check);
	ok = plain != NULL && strstr(check.error, "fractional") == NULL;
	json_decref(plain);
	return ok;
}

static void fuzz_document(struct arena *a, json_t *doc)
{
	struct receipt_keys keys = {.n = 1};
	struct receipt_key *key = &keys.v[0];
	uint8_t secret[RECEIPT_ED25519_LEN];
	struct receipt_check check;
	const char *bad;
	json_t *plain;

	memset(secret, 7, sizeof(secret));
	BUG_ON(!receipt_key_make(json_object_size(doc) % 2 == 0 ? RECEIPT_HMAC : RECEIPT_ED25519, secret,
				 sizeof(secret), key));
	receipt_verify(&keys, doc, &check);
	BUG_ON(check.signature_ok);
	BUG_ON(memchr(receipt_html(a, doc).p, '\0', receipt_html(a, doc).n) != NULL);
	(void)receipt_markdown(a, doc);
	json_decref(receipt_view(doc));
	if (!fuzz_signable(doc))
		return;
	plain = receipt_unview(doc, &bad);
	json_put_str(plain, "signature_key_id", str_of(key->id));
	json_put_str(plain, "signature_algorithm", str_of(receipt_algorithm_name(key->algorithm)));
	receipt_sign(key, plain);
	receipt_verify(&keys, plain, &check);
	BUG_ON(!check.signature_ok || !check.hash_ok || check.error[0] != '\0');
	json_decref(plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = {(const char *)data, size};
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	json_t *doc = json_parse(NULL, text, &err);

	if (json_is_object(doc))
		fuzz_document(a, doc);
	else
		fuzz_markup(text);
	json_decref(doc);
	arena_free(a);
	return 0;
}
