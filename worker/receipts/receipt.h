/* SPDX-License-Identifier: MIT */
/*
 * Decision receipts: what was asked, who took part, what was said, how it was decided, in one canonical document with
 * a content hash over everything and a signature (HMAC-SHA256 or Ed25519). Built from the journal only: integers and
 * strings.
 */
#ifndef WORKER_RECEIPTS_RECEIPT_H
#define WORKER_RECEIPTS_RECEIPT_H

#include <jansson.h>

#include "common/context.h"
#include "common/crypto.h"
#include "common/db.h"

struct conf;
struct receipt_keys;
struct route_table;

/*
 * The keys of receipts.signing_key, then those in data_dir/keys: receipt.key and receipt-ed25519.key, of which the one
 * that receipts.algorithm names is made at the first start when no key is configured. The first key signs.
 */
struct receipt_keys *receipt_keys_open(const struct conf *c, struct error *err) MUST_CHECK;
void receipt_keys_close(struct receipt_keys *k);

/*
 * Adds the receipt of a finished debate to the batch that finishes it. `result` is the journalled result document (see
 * engine/result.h), `signed_at_ms` the journalled end. The receipt id is derived from the debate id, so a re-run makes
 * the same bytes. *doc is the complete receipt (new reference).
 */
bool receipt_add(struct db_batch *b, const struct receipt_keys *k, const struct context *ctx, const json_t *result,
		 int64_t signed_at_ms, json_t **doc, struct error *err) MUST_CHECK;

struct receipt_check {
	bool hash_ok;
	bool signature_ok;
	bool known_key;
	char error[160];               /* "" when all is well */
	char content_hash[SHA256_HEX]; /* as it should be; "" for what is no receipt at all */
};
/* Verifies a receipt document (stored or posted by anyone). */
void receipt_verify(const struct receipt_keys *k, const json_t *doc, struct receipt_check *out);

/* Of a result's `consensus`: APPROVED, APPROVED_WITH_CONDITIONS or NEEDS_REVIEW. Static. */
const char *receipt_verdict(const json_t *consensus);

/* In the arena. */
struct str receipt_markdown(struct arena *a, const json_t *doc);
struct str receipt_html(struct arena *a, const json_t *doc);

extern const struct route_table receipt_routes; /* /api/receipts, /api/receipts/{id}, …/verify,
						   /api/debates/{id}/receipt, POST /api/receipts/verify */

#endif
