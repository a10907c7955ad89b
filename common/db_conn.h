/* SPDX-License-Identifier: MIT */
/*
 * Private to common/db*.c: one SQLite connection with its prepared statements. Blocking; used by one thread at a time.
 */
#ifndef COMMON_DB_CONN_H
#define COMMON_DB_CONN_H

#include <sqlite3.h>

#include "common/db.h"

#define DB_FILE "aragora.db"
#define DB_LOCK_FILE "write.lock"

enum db_conn_mode { DB_CONN_READ, DB_CONN_WRITE, DB_CONN_CREATE };

struct db_cached;

struct db_conn {
	sqlite3 *db; /* NULL when closed */
	struct db_cached *cache;
	uint64_t uses;
	uint64_t generation; /* of the store when it was opened */
};

/* Opens and sets the pragmas of the mode. Only DB_CONN_CREATE makes a file. */
bool db_conn_open(struct db_conn *c, const char *path, enum db_conn_mode mode, struct error *err) MUST_CHECK;
/* Harmless when closed. */
void db_conn_close(struct db_conn *c);
/* Runs several statements without parameters or results. */
bool db_conn_exec(struct db_conn *c, const char *sql, struct error *err) MUST_CHECK;
/* Prepared (from the cache) and bound; give it back with db_conn_done before the arguments go away. */
bool db_conn_prepare(struct db_conn *c, const char *sql, const struct db_val *args, size_t n, sqlite3_stmt **out,
		     struct error *err) MUST_CHECK;
void db_conn_done(sqlite3_stmt *stmt);
/* Runs one statement to its end; *rows (may be NULL): rows changed, or returned by one that only reads. */
bool db_conn_run(struct db_conn *c, const char *sql, const struct db_val *args, size_t n, int64_t *rows,
		 struct error *err) MUST_CHECK;
/* First column of the first row, 0 when there is none. */
bool db_conn_int(struct db_conn *c, const char *sql, const struct db_val *args, size_t n, int64_t *out,
		 struct error *err) MUST_CHECK;
/* Has the file been removed, renamed or replaced under the connection? */
bool db_conn_moved(const struct db_conn *c);
/* Fills err from the result code of a failed call; returns false. */
bool db_conn_fail(const struct db_conn *c, int rc, struct error *err);

/* "dir/name", to be freed. */
char *db_path(const char *dir, const char *name);
/* Opens dir/write.lock; -1 with err. */
int db_lock_open(const char *dir, struct error *err) MUST_CHECK;
/* Waits until this process may write. Released with db_lock_release, by close or by death. */
bool db_lock_take(int fd, struct error *err) MUST_CHECK;
void db_lock_release(int fd);

#endif
