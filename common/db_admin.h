/* SPDX-License-Identifier: MIT */
/*
 * One blocking session with the store, for subcommands and the start-up child: the same SQL on SQLite and PostgreSQL,
 * in the common dialect with $1…$n. Never used in a worker's loop.
 */
#ifndef COMMON_DB_ADMIN_H
#define COMMON_DB_ADMIN_H

#include "common/db.h"

enum dba_mode {
	DBA_READ,
	DBA_WRITE,
	DBA_CREATE, /* SQLite: makes the file when there is none */
};

struct dba;

/* The store that the configuration names. NULL with one line for the operator. */
struct dba *dba_open(const struct conf *c, enum dba_mode mode, struct error *err) MUST_CHECK;
/* An SQLite file: a backup, or a copy under way. Nobody else writes to it, so that no lock is taken. */
struct dba *dba_open_file(const char *path, enum dba_mode mode, struct error *err) MUST_CHECK;
void dba_close(struct dba *d);
/* Is it a server that several nodes share (PostgreSQL)? Else it is a file of this node. */
bool dba_shared(const struct dba *d);

/* Several statements of this store's own dialect, without parameters or results. */
bool dba_exec(struct dba *d, const char *sql, struct error *err) MUST_CHECK;
/* The same in the common dialect of migrations. */
bool dba_define(struct dba *d, const char *sql, struct error *err) MUST_CHECK;
/* One statement; *rows (may be NULL): how many it touched. */
bool dba_run(struct dba *d, const char *sql, const struct db_val *args, size_t n, int64_t *rows,
	     struct error *err) MUST_CHECK;
/* One statement's rows, all of them, in the arena. */
bool dba_query(struct dba *d, struct arena *a, const char *sql, const struct db_val *args, size_t n,
	       struct db_rows *rows, struct error *err) MUST_CHECK;
/* The number in the first cell, 0 when there is no row. */
bool dba_int(struct dba *d, const char *sql, const struct db_val *args, size_t n, int64_t *out,
	     struct error *err) MUST_CHECK;

struct dba_table;
/* Adds rows, which hold all columns of t in its order, to the table of its name. */
bool dba_load(struct dba *d, const struct dba_table *t, const struct db_rows *rows, struct error *err) MUST_CHECK;
/*
 * The rows in the text form of PostgreSQL's COPY. ERR_STORAGE, with column and row, for text that PostgreSQL cannot
 * hold: a NUL, or no UTF-8.
 */
bool dba_copy_text(const struct dba_table *t, const struct db_rows *rows, struct buf *out,
		   struct error *err) MUST_CHECK;

/*
 * A transaction that writes, among all other writers of this store; `alone` also keeps out whoever else migrates. A
 * transaction that only reads sees one state of the store from its first statement to its end.
 */
bool dba_begin(struct dba *d, bool alone, struct error *err) MUST_CHECK;
bool dba_begin_read(struct dba *d, struct error *err) MUST_CHECK;
bool dba_commit(struct dba *d, struct error *err) MUST_CHECK;
/* Harmless when no transaction is open. */
void dba_rollback(struct dba *d);

/* The connection of an SQLite session, for what has no common form; aborts on another store. */
struct db_conn *dba_sqlite(struct dba *d);

/* ---- what there is ---- */

struct dba_column {
	struct str name, type; /* type: as declared, upper case on SQLite */
	int64_t key;           /* place in the primary key from 1, 0: not part of it */
};

struct dba_table {
	struct str name;
	struct dba_column *columns;
	size_t n, keys;
};

struct dba_catalog {
	struct dba_table *v;
	size_t n;
};

/*
 * All tables with their columns, by name, from the store itself, so that tables of later releases are included. Those
 * whose names begin with '_' are notes of backups and exports, not content. In the arena.
 */
bool dba_catalog(struct dba *d, struct arena *a, struct dba_catalog *out, struct error *err) MUST_CHECK;
/* NULL: there is none of this name. */
const struct dba_table *dba_table_find(const struct dba_catalog *c, struct str name);
/* Adds the name as a quoted identifier. */
void dba_quote(struct buf *out, struct str name);

#endif
