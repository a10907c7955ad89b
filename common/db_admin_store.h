/* SPDX-License-Identifier: MIT */
/*
 * Private to common/db_admin*.c: what a store implements to be administered.
 */
#ifndef COMMON_DB_ADMIN_STORE_H
#define COMMON_DB_ADMIN_STORE_H

#include "common/db_admin.h"

struct dba_ops {
	bool shared;
	const char *tables;  /* SQL: names of all tables, in order */
	const char *columns; /* SQL: name, type, place in the key of the columns of $1, in order */
	bool (*exec)(struct dba *d, const char *sql, struct error *err);
	bool (*define)(struct dba *d, const char *sql, struct error *err);
	bool (*run)(struct dba *d, const char *sql, const struct db_val *args, size_t n, int64_t *rows,
		    struct error *err);
	bool (*query)(struct dba *d, struct arena *a, const char *sql, const struct db_val *args, size_t n,
		      struct db_rows *rows, struct error *err);
	bool (*load)(struct dba *d, const struct dba_table *t, const struct db_rows *rows, struct error *err);
	bool (*begin)(struct dba *d, bool alone, struct error *err);
	bool (*begin_read)(struct dba *d, struct error *err);
	bool (*commit)(struct dba *d, struct error *err);
	void (*rollback)(struct dba *d);
	void (*close)(struct dba *d);
};

struct dba {
	const struct dba_ops *ops;
};

struct dba *dba_sqlite_open(const struct conf *c, enum dba_mode mode, struct error *err) MUST_CHECK;
struct dba *dba_pg_open(const struct conf *c, enum dba_mode mode, struct error *err) MUST_CHECK;

#endif
