/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for common/json.c, for libFuzzer: scanner, parser, writer and the search in free text must agree with
 * each other and with jansson. Aborts where they differ. Deliberately reads nothing but its input.
 */
#include "common/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the scanner lets pass and the parser may still refuse; the beginnings of jansson's sentences. */
static const char *const json_fuzz_refusals[] = {
    "duplicate object key", "\\u0000 is not allowed",   "NUL byte in object key",
    "too big integer",      "too big negative integer", "real number overflow",
};

static bool json_fuzz_expected(const char *msg)
{
	for (size_t i = 0; i < countof(json_fuzz_refusals); i++) {
		if (strncmp(msg, json_fuzz_refusals[i], strlen(json_fuzz_refusals[i])) == 0)
			return true;
	}
	return false;
}

static bool json_fuzz_is_limit(const struct error *e)
{
	return strncmp(e->msg, "nested too deeply", 17) == 0 || strncmp(e->msg, "too many members", 16) == 0;
}

/* A text that the scanner refuses must not be JSON for jansson either, unless a limit was the reason. */
static void json_fuzz_refused(struct str text, const struct error *e)
{
	json_error_t why;
	json_t *j;

	BUG_ON(e->code != ERR_INVALID_JSON || e->msg[0] == '\0');
	/* jansson takes a NUL byte for the end of the text. */
	if (json_fuzz_is_limit(e) || str_chr(text, '\0') >= 0)
		return;
	j = json_loadb(text.n != 0 ? text.p : "", text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
	BUG_ON(j != NULL);
}

static bool json_fuzz_has_real(const json_t *j)
{
	json_t *value;
	size_t i;

	if (json_is_real(j))
		return true;
	for (void *it = json_object_iter((json_t *)(uintptr_t)j); it != NULL;
	     it = json_object_iter_next((json_t *)(uintptr_t)j, it)) {
		if (json_fuzz_has_real(json_object_iter_value(it)))
			return true;
	}
	json_array_foreach(j, i, value)
	{
		if (json_fuzz_has_real(value))
			return true;
	}
	return false;
}

/* What is written reads back as the same value, and the canonical form is its own canonical form. */
static void json_fuzz_round_trip(struct arena *a, const json_t *j)
{
	struct error e = ERROR_INIT;
	struct str text = json_text(a, j);
	json_t *again = json_parse(a, text, &e);

	BUG_ON(again == NULL || !json_equal(j, again));
	BUG_ON(!str_eq(json_text(a, again), text));
	if (json_fuzz_has_real(j))
		return;
	text = json_canonical(a, j);
	again = json_parse(a, text, &e);
	BUG_ON(again == NULL || !json_equal(j, again) || !str_eq(json_canonical(a, again), text));
}

static void json_fuzz_find(struct str text)
{
	struct str found = json_find_object(text);

	if (found.p == NULL)
		return;
	BUG_ON(found.p < text.p || found.p + found.n > text.p + text.n);
	BUG_ON(found.p[0] != '{' || found.p[found.n - 1] != '}');
	BUG_ON(!json_scan(found, NULL));
}

static void json_fuzz_string(struct arena *a, struct str text)
{
	json_t *j = json_own(a, json_str(text));

	BUG_ON(!str_utf8_valid((struct str){json_string_value(j), json_string_length(j)}));
	json_fuzz_round_trip(a, j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = {(const char *)data, size};
	struct error e = ERROR_INIT;
	struct arena *a = arena_new(0);
	json_t *j;

	json_fuzz_find(text);
	json_fuzz_string(a, text);
	if (!json_scan(text, &e)) {
		json_fuzz_refused(text, &e);
	} else {
		/* The object that fills the text is the first one in it. */
		BUG_ON(str_starts(str_trim(text), STR("{")) && !str_eq(json_find_object(text), str_trim(text)));
		j = json_parse(a, text, &e);
		if (j != NULL)
			json_fuzz_round_trip(a, j);
		else
			BUG_ON(!json_fuzz_expected(e.msg));
	}
	arena_free(a);
	return 0;
}
