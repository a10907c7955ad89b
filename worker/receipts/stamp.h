/* SPDX-License-Identifier: MIT */
/*
 * RFC 3161 time stamps of receipts: an authority outside confirms that a content hash existed at a time. Optional
 * (receipts.tsa_url); asked by a job after the debate, verified, and kept beside the receipt, whose own signature does
 * not depend on it.
 */
#ifndef WORKER_RECEIPTS_STAMP_H
#define WORKER_RECEIPTS_STAMP_H

#include <jansson.h>

#include "common/co.h"
#include "common/err.h"
#include "common/str.h"

struct arena;
struct job;
struct worker;

/* TimeStampReq (DER) for a content hash of 64 hex digits, with a random nonce. */
bool stamp_query(struct str content_hash, struct buf *der, struct error *err) MUST_CHECK;

struct stamp {
	int64_t at_ms;       /* when, by the authority's clock */
	char authority[128]; /* subject of the certificate that signed, "" if unknown */
};
/*
 * Is `reply` (TimeStampResp, DER, from anywhere) a granted stamp of this hash, signed by an authority that the
 * certificates in ca_file ("": those of the system) vouched for at that time, and an answer to `query` if one is given?
 * Reads files: for a lane.
 */
bool stamp_check(struct str content_hash, struct str reply, struct str query, const char *ca_file, struct stamp *out,
		 struct error *err) MUST_CHECK;

/* {timestamp, authority, valid, error?, token (base64 of the reply)} of a receipt, checked anew; NULL: it has none. */
CO_FN json_t *stamp_show(struct worker *w, struct arena *a, struct str org_id, struct str workspace_id,
			 struct str receipt_id, struct str content_hash, struct error *err);

extern const struct job receipt_stamps_job;

#endif
