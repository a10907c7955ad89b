/* SPDX-License-Identifier: MIT */
/*
 * Private to worker/receipts/: building, signing and showing the receipt document.
 *
 * The signed document (schema 2.1) holds integers and strings only. content_hash is the SHA-256 (hex) of the canonical
 * JSON (common/json.h) of all members but content_hash, artifact_hash and signature; signature is the base64 of the
 * signature of the 64 hex digits of content_hash, HMAC-SHA256 or Ed25519. artifact_hash is the older, narrower hash
 * that existing clients know: SHA-256 over six members in the default style of Python's json.dumps(sort_keys=True),
 * confidence as a float. Schema 2.0 had fewer members and the same hashes: such receipts verify alike.
 */
#ifndef WORKER_RECEIPTS_RECEIPT_DOC_H
#define WORKER_RECEIPTS_RECEIPT_DOC_H

#include "common/crypto.h"
#include "common/str.h"
#include "worker/receipts/receipt.h"
#include "worker/receipts/receipt_key.h"

#define RECEIPT_SCHEMA "2.1"
#define RECEIPT_ID_LEN 37 /* "rcpt_" and 32 hex digits */

/* The document without its hashes and signature, to be signed by `key`. New reference. */
json_t *receipt_build(struct arena *a, const json_t *result, int64_t signed_at_ms, const struct receipt_key *key);
/* Adds content_hash, artifact_hash and signature. */
void receipt_sign(const struct receipt_key *k, json_t *doc);

/*
 * What speaks against the answer: [{id, severity high|medium|low, category critique|dissent, title, description,
 * mitigation, source, verified}]. New reference.
 */
json_t *receipt_findings(struct arena *a, struct str winner, const json_t *critiques, const json_t *dissents);
/* Those of a receipt, also of one that was made before they were part of it. New reference. */
json_t *receipt_findings_of(struct arena *a, const json_t *doc);
/* How many there are: {critical, high, medium, low, total}. New reference. */
json_t *receipt_risks(const json_t *findings);

/* Text in the default style of Python's json.dumps(sort_keys=True): ", " and ": ", non-ASCII as \uXXXX, short floats.
 */
void receipt_python_json(struct buf *out, const json_t *j);

/*
 * The document with members that clients expect besides: confidence as a fraction, agent lists and the like. They are
 * not signed but follow from what is; verification recomputes them. New reference.
 */
json_t *receipt_view(const json_t *doc);
/* Is it the name of such a member? None that is signed may bear it. */
bool receipt_is_view(const char *name);
/* Takes those members off a copy (new reference); NULL when one contradicts the signed content (its name in *bad). */
json_t *receipt_unview(const json_t *doc, const char **bad);

/* ---- what both renderings show, as tables (show.c) ---- */

enum receipt_kind { SHOW_TEXT, SHOW_INT, SHOW_PPM, SHOW_MICRO, SHOW_MS, SHOW_TENTH, SHOW_LIST, SHOW_TIME, SHOW_HASH };

struct receipt_column {
	const char *label;
	const char *object; /* member that holds key, or NULL: the row itself */
	const char *key;
	enum receipt_kind kind;
};

struct receipt_section {
	const char *title;
	const char *empty; /* said when there are no rows, NULL: the section is left out */
	const char *rows;  /* name of the array */
	const struct receipt_column *columns;
	size_t n;
};

extern const struct receipt_column receipt_facts[];
extern const size_t receipt_facts_count;
extern const struct receipt_section receipt_sections[];
extern const size_t receipt_sections_count;

/* Appends the value in words, unescaped: "67.7 %", "$0.0123", "a; b". */
void receipt_show(struct buf *out, const json_t *row, const struct receipt_column *c);
/* One sentence: how the decision came about. */
void receipt_explain(struct buf *out, const json_t *doc);

/* ---- the light Markdown that models write (markup.c) ---- */

enum receipt_block { BLOCK_NONE, BLOCK_TEXT, BLOCK_BULLETS, BLOCK_NUMBERS, BLOCK_CODE };
/*
 * What a trimmed line outside fenced code is; *text is what remains of it. *level: 1 to 6 for a heading (whose kind is
 * BLOCK_NONE), else 0.
 */
enum receipt_block receipt_block_of(struct str line, struct str *text, unsigned *level);

/* The pieces of a line, set `rest`: a mark whose partner is missing is text. Linear over the whole line. */
enum receipt_inline_kind { INLINE_TEXT, INLINE_CODE, INLINE_BOLD };
struct receipt_inline {
	struct str rest;
	bool missing[2]; /* marks that are not looked for again */
};
bool receipt_inline_next(struct receipt_inline *in, struct str *text, enum receipt_inline_kind *kind);

/* As HTML: headings, lists, fenced code, bold and inline code; everything else is escaped text. Linear time. */
void receipt_markup(struct buf *out, struct str text);

#endif
