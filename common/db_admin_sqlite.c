/* SPDX-License-Identifier: MIT */
/*
 * Administration of an SQLite file: a session that queues with the workers at write.lock, or works on a file that is
 * nobody else's. Called through db_admin.c. Makes no tables by itself.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/db_admin_store.h"
#include "common/db_conn.h"

struct dba_file {
	struct dba dba;
	struct db_conn conn;
	int lock_fd; /* -1: the file is ours alone */
	bool locked;
};

static struct dba_file *dba_file_of(struct dba *d)
{
	return container_of(d, struct dba_file, dba);
}

static bool dba_file_exec(struct dba *d, const char *sql, struct error *err)
{
	return db_conn_exec(&dba_file_of(d)->conn, sql, err);
}

static bool dba_file_run(struct dba *d, const char *sql, const struct db_val *args, size_t n, int64_t *rows,
			 struct error *err)
{
	return db_conn_run(&dba_file_of(d)->conn, sql, args, n, rows, err);
}

static struct db_val dba_file_cell(struct arena *a, sqlite3_stmt *stmt, int column)
{
	struct str s;

	switch (sqlite3_column_type(stmt, column)) {
	case SQLITE_NULL:
		return DB_NONE;
	case SQLITE_INTEGER:
	case SQLITE_FLOAT:
		return DB_I(sqlite3_column_int64(stmt, column));
	default:
		s.p = sqlite3_column_blob(stmt, column);
		s.n = (size_t)sqlite3_column_bytes(stmt, column);
		return DB_S(arena_str(a, s));
	}
}

static bool dba_file_query(struct dba *d, struct arena *a, const char *sql, const struct db_val *args, size_t n,
			   struct db_rows *rows, struct error *err)
{
	struct db_conn *c = &dba_file_of(d)->conn;
	size_t cap = 16;
	struct db_val *cells, *kept;
	sqlite3_stmt *stmt;
	bool ok;
	int rc;

	if (!db_conn_prepare(c, sql, args, n, &stmt, err))
		return false;
	rows->columns = (size_t)sqlite3_column_count(stmt);
	cells = xmalloc((cap * rows->columns + 1) * sizeof(*cells));
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		if (rows->count == cap) {
			cap *= 2;
			cells = xrealloc(cells, (cap * rows->columns + 1) * sizeof(*cells));
		}
		for (size_t i = 0; i < rows->columns; i++)
			cells[rows->count * rows->columns + i] = dba_file_cell(a, stmt, (int)i);
		rows->count++;
	}
	ok = rc == SQLITE_DONE || db_conn_fail(c, rc, err);
	db_conn_done(stmt);
	kept = arena_alloc(a, (rows->count * rows->columns + 1) * sizeof(*kept));
	memcpy(kept, cells, rows->count * rows->columns * sizeof(*kept));
	free(cells);
	rows->cells = kept;
	return ok;
}

static bool dba_file_load(struct dba *d, const struct dba_table *t, const struct db_rows *rows, struct error *err)
{
	struct buf sql = BUF_INIT;
	bool ok = true;

	buf_addz(&sql, "INSERT INTO ");
	dba_quote(&sql, t->name);
	for (size_t i = 0; i < t->n; i++) {
		buf_addz(&sql, i > 0 ? ", " : " (");
		dba_quote(&sql, t->columns[i].name);
	}
	for (size_t i = 0; i < t->n; i++)
		buf_printf(&sql, "%s$%zu", i > 0 ? ", " : ") VALUES (", i + 1);
	buf_addc(&sql, ')');
	for (size_t i = 0; ok && i < rows->count; i++)
		ok = dba_file_run(d, sql.p, &rows->cells[i * rows->columns], t->n, NULL, err);
	buf_free(&sql);
	return ok;
}

static void dba_file_unlock(struct dba_file *f)
{
	if (f->locked)
		db_lock_release(f->lock_fd);
	f->locked = false;
}

/* Every writer is alone on SQLite. */
static bool dba_file_begin(struct dba *d, bool alone, struct error *err)
{
	struct dba_file *f = dba_file_of(d);

	(void)alone;
	if (f->lock_fd >= 0) {
		if (!db_lock_take(f->lock_fd, err))
			return false;
		f->locked = true;
	}
	if (db_conn_run(&f->conn, "BEGIN IMMEDIATE", DB_NO_ARGS, NULL, err))
		return true;
	dba_file_unlock(f);
	return false;
}

static bool dba_file_begin_read(struct dba *d, struct error *err)
{
	return db_conn_run(&dba_file_of(d)->conn, "BEGIN", DB_NO_ARGS, NULL, err);
}

static void dba_file_rollback(struct dba *d)
{
	struct dba_file *f = dba_file_of(d);

	if (sqlite3_get_autocommit(f->conn.db) == 0)
		(void)sqlite3_exec(f->conn.db, "ROLLBACK", NULL, NULL, NULL);
	dba_file_unlock(f);
}

static bool dba_file_commit(struct dba *d, struct error *err)
{
	struct dba_file *f = dba_file_of(d);
	bool ok = db_conn_run(&f->conn, "COMMIT", DB_NO_ARGS, NULL, err);

	if (!ok)
		dba_file_rollback(d);
	dba_file_unlock(f);
	return ok;
}

static void dba_file_close(struct dba *d)
{
	struct dba_file *f = dba_file_of(d);

	if (f->conn.db != NULL)
		dba_file_rollback(d);
	db_conn_close(&f->conn);
	if (f->lock_fd >= 0)
		close(f->lock_fd);
	free(f);
}

static const struct dba_ops dba_file_ops = {
    .tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
	      " AND substr(name, 1, 1) <> '_' ORDER BY name",
    .columns = "SELECT name, type, pk FROM pragma_table_info($1) ORDER BY cid",
    .exec = dba_file_exec,
    .define = dba_file_exec,
    .run = dba_file_run,
    .query = dba_file_query,
    .load = dba_file_load,
    .begin = dba_file_begin,
    .begin_read = dba_file_begin_read,
    .commit = dba_file_commit,
    .rollback = dba_file_rollback,
    .close = dba_file_close,
};

static const enum db_conn_mode dba_modes[] = {
    [DBA_READ] = DB_CONN_READ, [DBA_WRITE] = DB_CONN_WRITE, [DBA_CREATE] = DB_CONN_CREATE};

struct dba *dba_open_file(const char *path, enum dba_mode mode, struct error *err)
{
	struct dba_file *f = xcalloc(1, sizeof(*f));
	bool made = access(path, F_OK) != 0;

	f->dba.ops = &dba_file_ops;
	f->lock_fd = -1;
	if (made && mode != DBA_CREATE)
		error_set(err, ERR_NOT_FOUND, "%.200s: there is no database", path);
	/* SQLite gives its log the permissions of the file. */
	else if (db_conn_open(&f->conn, path, dba_modes[mode], err) && (!made || chmod(path, 0600) == 0))
		return &f->dba;
	dba_close(&f->dba);
	return NULL;
}

struct dba *dba_sqlite_open(const struct conf *c, enum dba_mode mode, struct error *err)
{
	char *path = db_path(c->storage.data_dir, DB_FILE);
	struct dba *d = NULL;
	int lock_fd = -1;

	/* The lock's file is made here too, so it must belong to whoever owns the folder: see privileges. */
	if (mode == DBA_READ || (lock_fd = db_lock_open(c->storage.data_dir, err)) >= 0)
		d = dba_open_file(path, mode, err);
	if (d != NULL)
		dba_file_of(d)->lock_fd = lock_fd;
	else if (lock_fd >= 0)
		close(lock_fd);
	free(path);
	return d;
}

struct db_conn *dba_sqlite(struct dba *d)
{
	BUG_ON(d->ops != &dba_file_ops);
	return &dba_file_of(d)->conn;
}
