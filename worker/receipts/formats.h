/* SPDX-License-Identifier: MIT */
/*
 * Receipts as files.
 */
#ifndef WORKER_RECEIPTS_FORMATS_H
#define WORKER_RECEIPTS_FORMATS_H

#include "worker/receipts/receipt_doc.h"

struct worker;

struct receipt_format {
	const char *name;   /* of ?format= */
	const char *accept; /* media type in Accept */
	const char *type;   /* Content-Type */
	const char *suffix; /* of the file */
	bool binary;        /* inside JSON it is base64 */
	bool slow;          /* rendered in a lane */
	bool (*render)(struct arena *a, const json_t *doc, struct buf *out, struct error *err);
};

/*
 * `name` decides; without it the first of our types that `accept` names, JSON when it names none. NULL with
 * ERR_INVALID_VALUE for field format.
 */
const struct receipt_format *receipt_format_find(struct str name, struct str accept, struct error *err);
/* The file, in the arena; JSON is the signed document. May wait. */
CO_FN bool receipt_render(struct worker *w, struct arena *a, const struct receipt_format *f, const json_t *doc,
			  struct str *body, struct error *err) MUST_CHECK;

#endif
