/* SPDX-License-Identifier: MIT */
/*
 * Text in columns for people: widths from the content, a bold head on a terminal (NO_COLOR, no-color.org, is
 * respected).
 */
#ifndef MASTER_COMMANDS_TABLE_H
#define MASTER_COMMANDS_TABLE_H

#include "common/str.h"

struct table_column {
	const char *name;
	bool right; /* numbers */
};

struct table;

/* The columns stay the caller's. */
struct table *table_new(const struct table_column *columns, size_t n);
/* The next cell; after the last one of a row the next row begins. */
void table_cell(struct table *t, const char *fmt, ...) PRINTF_FMT(2, 3);
void table_print(const struct table *t, FILE *out);
void table_free(struct table *t);

/* "12.3 MiB" */
#define TABLE_TEXT 32
const char *table_bytes(char out[TABLE_TEXT], int64_t bytes);
/* "2026-11-21 13:40:12" UTC; "-" for 0. */
const char *table_time(char out[TABLE_TEXT], int64_t wall_ms);

#endif
