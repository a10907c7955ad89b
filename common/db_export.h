/* SPDX-License-Identifier: MIT */
/*
 * From SQLite to PostgreSQL: as a file that psql loads, or straight into a database. All tables of the source's own
 * catalogue, so that those of later areas come along. Blocking, for `aragorad export`.
 */
#ifndef COMMON_DB_EXPORT_H
#define COMMON_DB_EXPORT_H

#include "common/crypto.h"
#include "common/db_admin.h"

/* What became of one table. */
struct export_table {
	struct str name;
	int64_t rows;
	int64_t copied; /* in this run; an earlier one may have done the rest */
	char hash[SHA256_HEX];
};

typedef void (*export_told)(void *arg, const struct export_table *t);

/*
 * Writes `path` (0600; it must not exist) in one state of the source, beside running servers: tables by the program's
 * migrations, rows by COPY, all in one transaction. Appears complete or not at all. ERR_CONFLICT: the source has not
 * all of the program's migrations.
 */
bool export_sql(struct dba *from, const char *path, const struct migration *m, size_t n, export_told told, void *arg,
		struct error *err) MUST_CHECK;

/*
 * Copies into a database that is empty or that an earlier, stopped run of the same source has begun to fill; page by
 * page, each with a note of how far it came, so that it goes on there. In the end rows and content hashes of every
 * table are compared. Nobody may use either store meanwhile. `source` names where the rows come from: a run with
 * another name is refused.
 */
bool export_copy(struct dba *from, struct dba *to, const char *source, const struct migration *m, size_t n,
		 export_told told, void *arg, struct error *err) MUST_CHECK;

#endif
