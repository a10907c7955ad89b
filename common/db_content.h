/* SPDX-License-Identifier: MIT */
/*
 * The content of a table, page by page in the order of its primary key: to hash it (two stores with equal content have
 * equal hashes) and to copy it. Blocking, for backups and exports.
 */
#ifndef COMMON_DB_CONTENT_H
#define COMMON_DB_CONTENT_H

#include "common/crypto.h"
#include "common/db_admin.h"

#define CONTENT_PAGE 200 /* rows read at a time; a row may hold a few hundred KiB */

/* Where a walk stands; opaque. */
struct content;

/* ERR_INTERNAL for a table without primary key. d, table and after stay the caller's and outlive the walk. */
struct content *content_new(struct dba *d, const struct dba_table *t, struct error *err) MUST_CHECK;
void content_free(struct content *w);
/* Begins behind the row with this key (t->keys values) instead of at the first one. */
void content_after(struct content *w, const struct db_val *key);
/* The next rows, all columns in the table's order; none at the end. Valid until the next call. */
bool content_next(struct content *w, struct db_rows *rows, struct error *err) MUST_CHECK;
/* The key of a row of the last page, in the memory of that page. */
void content_key(const struct content *w, const struct db_rows *rows, size_t row, struct db_val *key);

/* SHA-256 over all rows, and their number. */
bool content_hash(struct dba *d, const struct dba_table *t, char hex[SHA256_HEX], int64_t *rows,
		  struct error *err) MUST_CHECK;

#endif
