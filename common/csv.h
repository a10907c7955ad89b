/* SPDX-License-Identifier: MIT */
/*
 * Cells of CSV files (RFC 4180) that a spreadsheet shows and never runs.
 */
#ifndef COMMON_CSV_H
#define COMMON_CSV_H

#include <jansson.h>

#include "common/str.h"

/*
 * Adds the quoted cell and what follows it: a comma, or the end of the line. A text that a spreadsheet would take for a
 * formula (it begins with = + - @, a tab or CR) gets an apostrophe before it.
 */
void csv_cell(struct buf *b, struct str s, bool last);
/* Any JSON value as a cell: a list as its length, an object and null as nothing. */
void csv_json(struct buf *b, const json_t *v, bool last);

#endif
