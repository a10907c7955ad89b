/* SPDX-License-Identifier: MIT */
/*
 * `aragorad receipt verify` and `receipt keys`: checks a receipt in a file without a server, with keys that are given
 * or those of this configuration. Asks nobody and stores nothing.
 */
#include <errno.h>

#include "common/json.h"
#include "master/commands/commands.h"
#include "master/commands/ops.h"
#include "worker/receipts/receipt.h"
#include "worker/receipts/receipt_key.h"

#define RECEIPT_FILE_MAX (64 * 1024 * 1024)
#define RECEIPT_EXIT_BROKEN 1      /* as EXIT_FAILED: it is not as it was signed */
#define RECEIPT_EXIT_UNKNOWN_KEY 3 /* whole, but signed with a key that is not here */

struct receipt_command {
	struct args args;
	const char *key;
};

/* ---- reading ---- */

static bool receipt_read(const char *path, struct buf *out, struct error *err)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	char piece[4096];
	size_t n;
	bool ok;

	if (f == NULL)
		return error_set(err, ERR_STORAGE, "%.200s: %s", path, strerror(errno));
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		buf_add(out, (struct str){piece, n});
	ok = ferror(f) == 0 || error_set(err, ERR_STORAGE, "%.200s: %s", path, strerror(errno));
	if (f != stdin)
		fclose(f);
	if (ok && out->overflow)
		ok = error_set(err, ERR_TOO_LARGE, "%.200s: larger than 64 MiB", path);
	return ok;
}

/* The document itself, or what an export of a client wraps it in: {"receipt": {…}}, {"content": "…" or {…}}. */
static const json_t *receipt_unwrap(struct arena *a, const json_t *doc, struct error *err)
{
	static const char *const wraps[] = {"receipt", "content"};
	size_t i;

	for (i = 0; i < countof(wraps) && json_object_get(doc, "content_hash") == NULL; i++) {
		const json_t *inner = json_object_get(doc, wraps[i]);

		if (json_is_string(inner))
			inner = json_parse(a, str_of(json_string_value(inner)), err);
		if (json_is_object(inner))
			doc = inner;
	}
	return doc;
}

/* --key: key texts, or the file that GET /api/receipts/keys gave. */
static bool receipt_keys_given(const char *text, struct receipt_keys *k, struct arena *a, struct error *err)
{
	struct buf file = BUF_LIMIT(RECEIPT_FILE_MAX);
	const json_t *doc, *e;
	size_t i;
	bool ok;

	if (text[0] != '@')
		return receipt_keys_parse(str_of(text), k, err);
	ok = receipt_read(text + 1, &file, err);
	doc = ok ? json_parse(a, buf_str(&file), err) : NULL;
	ok = doc != NULL;
	json_array_foreach(json_get_arr(doc, "keys"), i, e)
	{
		struct str public = json_get_str(e, "public_key", STR(""));

		if (ok && public.n > 0)
			ok = receipt_keys_parse(arena_printf(a, "ed25519-public:%.*s", STR_ARG(public)), k, err);
	}
	buf_free(&file);
	return ok;
}

/* ---- verify ---- */

static void receipt_print(const struct args *a, const json_t *doc, const struct receipt_check *check)
{
	struct str id = json_get_str(doc, "receipt_id", STR("")), key = json_get_str(doc, "signature_key_id", STR("")),
		   at = json_get_str(doc, "signed_at", STR("")),
		   algorithm = json_get_str(doc, "signature_algorithm", STR(""));
	json_t *o;
	char *text;

	if (!a->json) {
		printf("%.*s\n  content    %s\n  signature  %s\n  key        %.*s (%.*s)\n  signed at  %.*s\n",
		       STR_ARG(id), check->hash_ok ? "unchanged" : "CHANGED",
		       check->signature_ok ? "valid"
		       : check->known_key  ? "INVALID"
					   : "not checked: the key is not known",
		       STR_ARG(key), STR_ARG(algorithm), STR_ARG(at));
		return;
	}
	o = json_pack("{s:b, s:b, s:b, s:b, s:s%, s:s%, s:s%, s:s%, s:s}", "valid",
		      check->hash_ok && check->signature_ok, "integrity_valid", check->hash_ok, "signature_valid",
		      check->signature_ok, "known_key", check->known_key, "receipt_id", id.p, id.n, "key_id", key.p,
		      key.n, "algorithm", algorithm.p, algorithm.n, "signed_at", at.p, at.n, "error", check->error);
	text = json_dumps(o, JSON_INDENT(2));
	printf("%s\n", text);
	free(text);
	json_decref(o);
}

static int receipt_verify_file(struct args *a, const struct conf *c)
{
	const struct receipt_command *o = container_of(a, struct receipt_command, args);
	struct buf file = BUF_LIMIT(RECEIPT_FILE_MAX);
	struct receipt_check check = {.hash_ok = false};
	struct receipt_keys given = {.n = 0}, *own = NULL;
	struct arena *arena = arena_new(0);
	struct error err = ERROR_INIT;
	const json_t *doc = NULL;
	bool ok;
	int code;

	ok = a->operand_count == 2 ||
	     error_set(&err, ERR_INVALID_VALUE, "give the file of the receipt (- for standard input)");
	if (ok && o->key != NULL)
		ok = receipt_keys_given(o->key, &given, arena, &err);
	else if (ok)
		ok = (own = receipt_keys_open(c, &err)) != NULL;
	ok = ok && receipt_read(a->operands[1], &file, &err);
	doc = ok ? json_parse(arena, buf_str(&file), &err) : NULL;
	if (doc != NULL) {
		doc = receipt_unwrap(arena, doc, &err);
		receipt_verify(own != NULL ? own : &given, doc, &check);
		receipt_print(a, doc, &check);
	}
	code = doc == NULL                           ? ops_fail(&err)
	       : check.hash_ok && check.signature_ok ? EXIT_OK
	       : check.hash_ok && !check.known_key   ? RECEIPT_EXIT_UNKNOWN_KEY
						     : RECEIPT_EXIT_BROKEN;
	explicit_bzero(&given, sizeof(given));
	receipt_keys_close(own);
	buf_free(&file);
	arena_free(arena);
	return code;
}

/* ---- keys ---- */

static int receipt_print_keys(struct args *a, const struct conf *c)
{
	struct error err = ERROR_INIT;
	struct receipt_keys *k = receipt_keys_open(c, &err);
	json_t *list, *e;
	char *text;
	size_t i;

	if (k == NULL)
		return ops_fail(&err);
	list = receipt_keys_public(k);
	if (a->json) {
		text = json_dumps(list, JSON_INDENT(2));
		printf("%s\n", text);
		free(text);
	}
	json_array_foreach(list, i, e) if (!a->json)
	    printf("%s%-20s %-12s %s\n", json_is_true(json_object_get(e, "signs")) ? "* " : "  ",
		   json_string_value(json_object_get(e, "key_id")), json_string_value(json_object_get(e, "algorithm")),
		   json_get_str(e, "public_key", STR("(secret)")).p);
	json_decref(list);
	receipt_keys_close(k);
	return EXIT_OK;
}

/* ---- the command ---- */

static const struct ops_action receipt_actions[] = {
    {"verify", receipt_verify_file}, {"keys", receipt_print_keys}, {NULL, NULL}};

static int receipt_run(int argc, char **argv)
{
	struct receipt_command o = {.key = NULL};

	return ops_main(&command_receipt, &o.args, receipt_actions, argc, argv);
}

static const struct arg receipt_args[] = {
    ARG_CONF,
    {.name = "key",
     .letter = 'k',
     .offset = offsetof(struct receipt_command, key),
     .value = "KEY",
     .help = "verify with this key (ed25519-public:…, or as in receipts.signing_key), or with those of a file: @FILE"},
    ARG_JSON,
    ARG_HELP,
    ARG_END};

const struct command command_receipt = {
    .name = "receipt",
    .synopsis = "verify [-k KEY] FILE | keys",
    .summary = "check a receipt without a server; list the keys that sign receipts",
    .about = "verify checks the receipt in FILE (JSON, as any export gives it; - for standard input) with the keys of "
	     "this configuration, or with --key, which needs none. It fails (1) when the receipt is not as it was "
	     "signed, and (3) when it is unchanged but the key is not known. keys lists the keys; * signs.",
    .args = receipt_args,
    .operands_max = 2,
    .run = receipt_run,
};
