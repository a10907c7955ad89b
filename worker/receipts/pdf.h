/* SPDX-License-Identifier: MIT */
/*
 * PDF is made by a module, aragora_pdf.so, which is loaded when the first one is asked for.
 */
#ifndef WORKER_RECEIPTS_PDF_H
#define WORKER_RECEIPTS_PDF_H

#include "worker/receipts/receipt_doc.h"

/* What the module exports under the name aragora_pdf_module. */
struct receipt_pdf_module {
	const char *version; /* ARAGORA_VERSION of its build; another one is not used */
	/* A4 pages with embedded fonts, each with its number and the receipt's hash. False: the machine has no fonts.
	 */
	bool (*render)(const json_t *doc, struct buf *out, struct error *err);
};
extern const struct receipt_pdf_module aragora_pdf_module;

/* Where the module is (copied); "" or never called: beside the program, or in ../lib/aragora. Before any thread asks.
 */
void receipt_pdf_at(const char *path);
/*
 * Loads the module at the first call (tens of milliseconds: in a lane) and renders. ERR_UNAVAILABLE: it is not
 * installed, is of another version, or the machine has no fonts.
 */
bool receipt_pdf(struct arena *a, const json_t *doc, struct buf *out, struct error *err) MUST_CHECK;

#endif
