/* SPDX-License-Identifier: MIT */
/*
 * One SQLite connection: opening with the right pragmas, the cache of prepared statements, $n parameters, result codes
 * as errors, and the write lock of the data directory. Called by the store's threads and by start-up checks; every call
 * may block. Does not decide when to write or what to do about a failure.
 */
#include "common/db_conn.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#define CONN_SETS 64 /* of the statement cache */
#define CONN_WAYS 4
#define CONN_BUSY_MS 5000

struct db_cached {
	const char *sql; /* address of the caller's text: the quick key */
	char *text;      /* what stood there */
	sqlite3_stmt *stmt;
	uint64_t used;
};

static const char *const conn_pragmas[] = {
    [DB_CONN_READ] = "PRAGMA query_only = 1; PRAGMA trusted_schema = 0; PRAGMA temp_store = 2;",
    [DB_CONN_WRITE] =
	"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = 1;"
	" PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -16384; PRAGMA trusted_schema = 0; PRAGMA temp_store = 2;",
};

/* ---- errors ---- */

/* Primary result codes that mean "the store cannot serve now", with words an operator understands. */
static const struct {
	int code;
	const char *why;
} conn_storage[] = {
    {SQLITE_FULL, "disk full"},
    {SQLITE_IOERR, "input/output error on the database file"},
    {SQLITE_READONLY, "the database is read-only"},
    {SQLITE_CANTOPEN, "the database file cannot be opened"},
    {SQLITE_CORRUPT, "the database file is damaged"},
    {SQLITE_NOTADB, "the database file is not a database"},
    {SQLITE_BUSY, "the database is locked by another program"},
    {SQLITE_LOCKED, "the database is locked"},
    {SQLITE_PROTOCOL, "the database is locked by another program"},
    {SQLITE_PERM, "no permission for the database file"},
    {SQLITE_NOMEM, "out of memory"},
};

bool db_conn_fail(const struct db_conn *c, int rc, struct error *err)
{
	const char *text = c->db != NULL ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc);
	size_t i;

	for (i = 0; i < countof(conn_storage); i++)
		if (conn_storage[i].code == (rc & 0xff))
			return error_set(err, ERR_STORAGE, "%s (%s, %d)", conn_storage[i].why, text, rc);
	if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_ROWID)
		return error_set(err, ERR_DUPLICATE, "%s", text);
	return error_set(err, ERR_INTERNAL, "%s (%d)", text, rc);
}

/* ---- opening ---- */

bool db_conn_open(struct db_conn *c, const char *path, enum db_conn_mode mode, struct error *err)
{
	static const int flags[] = {
	    [DB_CONN_READ] = SQLITE_OPEN_READONLY,
	    [DB_CONN_WRITE] = SQLITE_OPEN_READWRITE,
	    [DB_CONN_CREATE] = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
	};
	int rc;

	*c = (struct db_conn){0};
	rc = sqlite3_open_v2(path, &c->db, flags[mode] | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
	if (rc != SQLITE_OK) {
		db_conn_fail(c, rc, err);
		db_conn_close(c);
		return false;
	}
	sqlite3_busy_timeout(c->db, CONN_BUSY_MS);
	c->cache = xcalloc(CONN_SETS * CONN_WAYS, sizeof(*c->cache));
	if (!db_conn_exec(c, conn_pragmas[mode == DB_CONN_READ ? DB_CONN_READ : DB_CONN_WRITE], err)) {
		db_conn_close(c);
		return false;
	}
	return true;
}

static void conn_forget(struct db_cached *e)
{
	sqlite3_finalize(e->stmt);
	free(e->text);
	*e = (struct db_cached){0};
}

void db_conn_close(struct db_conn *c)
{
	size_t i;

	for (i = 0; c->cache != NULL && i < CONN_SETS * CONN_WAYS; i++)
		conn_forget(&c->cache[i]);
	free(c->cache);
	sqlite3_close(c->db);
	*c = (struct db_conn){0};
}

/* ---- statements ---- */

/*
 * $1 becomes ?1: SQLite numbers $-names by order of appearance, so "$2 … $1" would silently swap its values. Text in
 * quotes stays as it is.
 */
static void conn_rewrite(struct buf *out, const char *sql)
{
	char quote = '\0';
	const char *p;

	for (p = sql; *p != '\0'; p++) {
		bool parameter = quote == '\0' && p[0] == '$' && p[1] >= '1' && p[1] <= '9';

		if (quote == '\0' && (*p == '\'' || *p == '"'))
			quote = *p;
		else if (*p == quote)
			quote = '\0';
		buf_addc(out, parameter ? '?' : *p);
	}
}

static sqlite3_stmt *conn_compile(struct db_conn *c, const char *sql, struct error *err)
{
	sqlite3_stmt *stmt = NULL;
	struct buf text = BUF_INIT;
	int rc;

	conn_rewrite(&text, sql);
	rc = sqlite3_prepare_v3(c->db, text.p, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
	buf_free(&text);
	if (rc != SQLITE_OK) {
		db_conn_fail(c, rc, err);
		return NULL;
	}
	BUG_ON(stmt == NULL); /* empty SQL */
	return stmt;
}

/* The statement's place in the cache: its own, or the least recently used of its set. */
static struct db_cached *conn_slot(struct db_conn *c, const char *sql)
{
	struct db_cached *set =
	    &c->cache[CONN_WAYS * (((uintptr_t)sql * UINT64_C(0x9e3779b97f4a7c15) >> 32) % CONN_SETS)];
	struct db_cached *oldest = set;
	size_t i;

	for (i = 0; i < CONN_WAYS; i++) {
		if (set[i].sql == sql && strcmp(set[i].text, sql) == 0)
			return &set[i];
		if (set[i].used < oldest->used)
			oldest = &set[i];
	}
	conn_forget(oldest);
	return oldest;
}

static int conn_bind(sqlite3_stmt *stmt, int index, const struct db_val *v)
{
	switch (v->type) {
	case DB_INT:
		return sqlite3_bind_int64(stmt, index, v->i);
	case DB_TEXT:
		return sqlite3_bind_text64(stmt, index, v->s.n > 0 ? v->s.p : "", v->s.n, SQLITE_STATIC, SQLITE_UTF8);
	case DB_NULL:
		break;
	}
	return sqlite3_bind_null(stmt, index);
}

bool db_conn_prepare(struct db_conn *c, const char *sql, const struct db_val *args, size_t n, sqlite3_stmt **out,
		     struct error *err)
{
	struct db_cached *e = conn_slot(c, sql);
	size_t i;
	int rc;

	if (e->stmt == NULL) {
		e->stmt = conn_compile(c, sql, err);
		if (e->stmt == NULL)
			return false;
		e->sql = sql;
		e->text = xstrdup(sql);
	}
	e->used = ++c->uses;
	if (sqlite3_bind_parameter_count(e->stmt) != (int)n)
		return error_set(err, ERR_INTERNAL, "%zu values for %d parameters in: %.160s", n,
				 sqlite3_bind_parameter_count(e->stmt), sql);
	for (i = 0; i < n; i++) {
		rc = conn_bind(e->stmt, (int)i + 1, &args[i]);
		if (rc != SQLITE_OK) {
			db_conn_done(e->stmt);
			return db_conn_fail(c, rc, err);
		}
	}
	*out = e->stmt;
	return true;
}

void db_conn_done(sqlite3_stmt *stmt)
{
	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
}

bool db_conn_run(struct db_conn *c, const char *sql, const struct db_val *args, size_t n, int64_t *rows,
		 struct error *err)
{
	sqlite3_stmt *stmt;
	int64_t returned = 0;
	bool ok;
	int rc;

	if (!db_conn_prepare(c, sql, args, n, &stmt, err))
		return false;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
		returned++;
	ok = rc == SQLITE_DONE || db_conn_fail(c, rc, err);
	if (rows != NULL)
		*rows = sqlite3_stmt_readonly(stmt) ? returned : sqlite3_changes64(c->db);
	db_conn_done(stmt);
	return ok;
}

bool db_conn_int(struct db_conn *c, const char *sql, const struct db_val *args, size_t n, int64_t *out,
		 struct error *err)
{
	sqlite3_stmt *stmt = NULL;
	bool ok;
	int rc;

	if (!db_conn_prepare(c, sql, args, n, &stmt, err))
		return false;
	rc = sqlite3_step(stmt);
	*out = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
	ok = rc == SQLITE_ROW || rc == SQLITE_DONE || db_conn_fail(c, rc, err);
	db_conn_done(stmt);
	return ok;
}

bool db_conn_exec(struct db_conn *c, const char *sql, struct error *err)
{
	int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK || db_conn_fail(c, rc, err);
}

bool db_conn_moved(const struct db_conn *c)
{
	int moved = 0;

	return sqlite3_file_control(c->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK || moved != 0;
}

/* ---- the write lock of the data directory ---- */

char *db_path(const char *dir, const char *name)
{
	struct buf b = BUF_INIT;

	buf_printf(&b, "%s/%s", dir, name);
	return b.p;
}

int db_lock_open(const char *dir, struct error *err)
{
	char *path = db_path(dir, DB_LOCK_FILE);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		error_set(err, ERR_STORAGE, "%s: %s", path, strerror(errno));
	free(path);
	return fd;
}

/*
 * Writers of a node queue here, in the kernel, rather than in SQLite's busy handler, which sleeps and starves. No
 * time-out: a frozen holder is killed by the master's watchdog, and the kernel releases its lock.
 */
bool db_lock_take(int fd, struct error *err)
{
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return error_set(err, ERR_STORAGE, "%s: %s", DB_LOCK_FILE, strerror(errno));
	return true;
}

void db_lock_release(int fd)
{
	flock(fd, LOCK_UN);
}
