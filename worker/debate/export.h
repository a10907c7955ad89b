/* SPDX-License-Identifier: MIT */
/*
 * Debates as files.
 */
#ifndef WORKER_DEBATE_EXPORT_H
#define WORKER_DEBATE_EXPORT_H

#include <jansson.h>

#include "common/arena.h"
#include "common/err.h"

struct export_file {
	const char *content_type;
	const char *extension; /* "md" */
	struct str body;       /* in the arena */
};

/*
 * Renders a debate as view_debate() made it. format: json, md (markdown), html, txt, csv; table (csv only; empty =
 * summary): summary, messages, critiques, votes. ERR_INVALID_VALUE naming field format or table otherwise. Cells of CSV
 * that a spreadsheet would take for a formula are quoted with a leading apostrophe.
 */
bool export_render(struct arena *a, const json_t *debate, struct str format, struct str table, struct export_file *out,
		   struct error *err) MUST_CHECK;
/* One CSV line per debate, for the export of all; `header` first when true. Appended to out. */
void export_csv_row(struct buf *out, const json_t *debate, bool header);

#endif
