/* SPDX-License-Identifier: MIT */
/*
 * What the routes of receipts share.
 */
#ifndef WORKER_RECEIPTS_API_H
#define WORKER_RECEIPTS_API_H

#include "worker/http/route.h"
#include "worker/receipts/formats.h"

#define RECEIPT_BATCH_MAX 100

/* A receipt of the caller's workspace; strings in the request's arena. */
struct receipt_row {
	struct str id, debate_id, document;
	int64_t created_at;
};

/* By its own id, its debate's id or its debate's slug; ERR_NOT_FOUND. */
CO_FN bool receipt_row_load(struct http_request *req, struct str ref, struct receipt_row *row,
			    struct error *err) MUST_CHECK;
/* Its document, of the request's arena; NULL with err. */
CO_FN const json_t *receipt_load(struct http_request *req, struct str ref, struct error *err);
/* The answer with the receipt in this format, inside JSON where the client takes nothing else. */
CO_FN void receipt_send(struct http_request *req, const json_t *doc, const struct receipt_format *f);

extern const struct route_table receipt_list_routes;  /* list, search, statistics, age (list_api.c) */
extern const struct route_table receipt_share_routes; /* links for others, legal hold (share_api.c) */

#endif
