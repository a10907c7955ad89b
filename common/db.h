/* SPDX-License-Identifier: MIT */
/*
 * The database as coroutines see it: queries that return rows in an arena, and batches that commit or do nothing.
 *
 * SQL is the dialect that SQLite and PostgreSQL share, with $1…$n parameters (at most 64). Text is UTF-8 without
 * U+0000, which PostgreSQL refuses: what is not becomes U+FFFD on its way into either store. A batch is statements,
 * parameters and expected row counts; there is no application code between BEGIN and COMMIT. Reads may be cancelled; a
 * submitted batch may not: db_commit returns only when its outcome is known.
 */
#ifndef COMMON_DB_H
#define COMMON_DB_H

#include "common/arena.h"
#include "common/co.h"
#include "common/err.h"

struct conf;
struct db;
struct loop;

enum db_type { DB_NULL, DB_INT, DB_TEXT };

struct db_val {
	enum db_type type;
	int64_t i;
	struct str s;
};

#define DB_I(v) ((struct db_val){.type = DB_INT, .i = (int64_t)(v)})
#define DB_S(v) ((struct db_val){.type = DB_TEXT, .s = (v)})
#define DB_Z(v) ((struct db_val){.type = DB_TEXT, .s = str_of(v)})
#define DB_NONE ((struct db_val){.type = DB_NULL})
/* Usage: db_query(db, arena, sql, DB_ARGS(DB_S(id), DB_I(3)), &rows, err) */
#define DB_ARGS(...) \
	(const struct db_val[]){__VA_ARGS__}, sizeof((const struct db_val[]){__VA_ARGS__}) / sizeof(struct db_val)
#define DB_NO_ARGS NULL, 0

struct db_rows {
	size_t count;
	size_t columns;
	const struct db_val *cells; /* row-major, in the arena of the call */
};

/* The cell; NULL reads as the empty slice or 0. */
struct str db_str(const struct db_rows *r, size_t row, size_t column);
int64_t db_int(const struct db_rows *r, size_t row, size_t column);
bool db_null(const struct db_rows *r, size_t row, size_t column);

/* Opens the store that the configuration names; needs the loop of this process (threads start after the fork). */
struct db *db_open(struct loop *l, const struct conf *c, struct error *err) MUST_CHECK;
/* Waits for submitted batches. */
void db_close(struct db *db);

/*
 * Reads. At most 10,000 rows (more is ERR_INTERNAL: page instead). ERR_STORAGE when the store cannot be reached,
 * ERR_CANCELLED when a scope ended the wait.
 */
CO_FN bool db_query(struct db *db, struct arena *a, const char *sql, const struct db_val *args, size_t n,
		    struct db_rows *rows, struct error *err) MUST_CHECK;

/* s, or a copy in the arena with U+FFFD for each U+0000 and each byte that is not UTF-8. */
struct str db_clean(struct arena *a, struct str s);

#define DB_ANY (-1)

struct db_batch;
/* Memory of the batch and of all values added is the batch's own. */
struct db_batch *db_batch_new(struct db *db);
void db_batch_free(struct db_batch *b);
/* Copies the values. `expect`: rows that must be touched, or DB_ANY. `sql` is static text. */
void db_batch_add(struct db_batch *b, const char *sql, const struct db_val *args, size_t n, int64_t expect);
/* Adds the statements of `from` as they are: their values stay its own, so that it lives until b is committed. */
void db_batch_join(struct db_batch *b, const struct db_batch *from);
size_t db_batch_size(const struct db_batch *b);
/* Is the store a server that several nodes share (PostgreSQL)? Else it is a file of this node (SQLite). */
bool db_shared(const struct db *db);
/* The same of the store that the batch is for, where an index must be written in its own words. */
bool db_batch_shared(const struct db_batch *b);
/*
 * Commits all or nothing and frees the batch in every case. ERR_FENCED: a statement touched another number of rows;
 * ERR_DUPLICATE: a unique key existed; err->field is the index of the statement in decimal. ERR_STORAGE: the store
 * failed (disk full, file gone, busy), nothing was written and it may be tried again. Not cancellable.
 */
CO_FN bool db_commit(struct db *db, struct db_batch *b, struct error *err) MUST_CHECK;

/*
 * Moves what the write-ahead log holds into the database (SQLite); called by the clerk every few seconds, a large log
 * is also cut. Nothing to do on other stores.
 */
CO_FN bool db_checkpoint(struct db *db, struct error *err) MUST_CHECK;

/* Is the store usable right now? False with the reason (disk full, file gone…). Never waits: result of the last probe.
 */
bool db_healthy(const struct db *db, struct error *err);
/* Latency of the last probe in microseconds. */
int64_t db_latency_us(const struct db *db);

/* Blocking, for start-up and subcommands, never in a worker's loop. */
/*
 * What only one store has, in migrations: DB_ONLY_SQLITE "statements;" DB_ONLY_END, and DB_ONLY_PG "statements;"
 * DB_ONLY_CLOSE, which SQLite takes for a comment. Tables of the former begin with '_', as they are not content.
 */
#define DB_ONLY_SQLITE "/*sqlite*/"
#define DB_ONLY_END "/*end*/"
#define DB_ONLY_PG "/*pg "
#define DB_ONLY_CLOSE "*/"

struct migration {
	int number; /* ascending from 1 */
	const char *name;
	const char *up; /* several statements separated by ';' */
	const char *down;
};
/* Applies what is missing under the store's write lock. Fails on a checksum mismatch or an unknown newer number. */
bool db_migrate(const struct conf *c, const struct migration *m, size_t n, struct error *err) MUST_CHECK;
/*
 * Checks before the start: data_dir exists or can be made (0700), is writable, has free space; the sub-folders keys,
 * run, memory, backups exist. SQLite: it is not on NFS or CIFS, and the database file is a healthy one. PostgreSQL: the
 * server can be reached within storage.pool_timeout, is not too old and can be written. ERR_UNAVAILABLE: the server is
 * away, or not the primary yet, and may come; anything else stays as it is until somebody mends it.
 */
bool db_check_storage(const struct conf *c, struct error *err) MUST_CHECK;
/* The part of it that asks no server. */
bool db_check_folders(const struct conf *c, struct error *err) MUST_CHECK;

#endif
