/* SPDX-License-Identifier: MIT */
/*
 * Numbered migrations on SQLite: creates the database file, applies what is missing, each in its own transaction, under
 * the write lock. Called by the start-up child and by `aragorad migrate`. Never runs in a worker and never goes down.
 */
#include "common/db_store.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/db_conn.h"
#include "common/fault.h"

static const char migrate_table[] =
    "CREATE TABLE IF NOT EXISTS schema_migrations ("
    " number INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL"
    ") STRICT";

/* What is recorded must be what this program has under the same number. */
static bool migrate_check(sqlite3_stmt *row, const struct migration *m, size_t n, struct error *err)
{
	int number = sqlite3_column_int(row, 0);
	const char *name = (const char *)sqlite3_column_text(row, 1);
	const char *checksum = (const char *)sqlite3_column_text(row, 2);
	char hex[SHA256_HEX];
	size_t i;

	for (i = 0; i < n && m[i].number != number; i++)
		;
	if (i == n)
		return error_set(err, ERR_CONFLICT,
				 "the database was written by a newer aragorad (migration %d: %.100s)", number, name);
	crypto_sha256_hex(str_of(m[i].up), hex);
	if (strcmp(hex, checksum) != 0)
		return error_set(err, ERR_CONFLICT, "migration %d (%.100s) was applied with another content", number,
				 name);
	return true;
}

/* *last: the highest number applied. */
static bool migrate_applied(struct db_conn *c, const struct migration *m, size_t n, int *last, struct error *err)
{
	sqlite3_stmt *stmt;
	bool ok = true;
	int rc;

	*last = 0;
	if (!db_conn_prepare(c, "SELECT number, name, checksum FROM schema_migrations ORDER BY number", DB_NO_ARGS,
			     &stmt, err))
		return false;
	while (ok && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		ok = migrate_check(stmt, m, n, err);
		*last = sqlite3_column_int(stmt, 0);
	}
	if (ok && rc != SQLITE_DONE)
		ok = db_conn_fail(c, rc, err);
	db_conn_done(stmt);
	return ok;
}

static bool migrate_apply(struct db_conn *c, const struct migration *m, struct error *err)
{
	struct error why = ERROR_INIT;
	char hex[SHA256_HEX];

	crypto_sha256_hex(str_of(m->up), hex);
	if (db_conn_run(c, "BEGIN IMMEDIATE", DB_NO_ARGS, NULL, &why) && db_conn_exec(c, m->up, &why) &&
	    db_conn_run(c, "INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES ($1, $2, $3, $4)",
			DB_ARGS(DB_I(m->number), DB_Z(m->name), DB_Z(hex), DB_I(clock_wall_ms())), NULL, &why)) {
		FAULT("db.before_migrate_commit");
		if (db_conn_run(c, "COMMIT", DB_NO_ARGS, NULL, &why))
			return true;
	}
	if (sqlite3_get_autocommit(c->db) == 0)
		(void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
	return error_set(err, why.code, "migration %d (%.60s): %.150s", m->number, m->name, why.msg);
}

static bool migrate_all(struct db_conn *c, const struct migration *m, size_t n, struct error *err)
{
	size_t i;
	int last;

	if (!db_conn_exec(c, migrate_table, err) || !migrate_applied(c, m, n, &last, err))
		return false;
	for (i = 0; i < n; i++) {
		BUG_ON(i > 0 && m[i].number <= m[i - 1].number);
		if (m[i].number > last && !migrate_apply(c, &m[i], err))
			return false;
	}
	return true;
}

bool db_sqlite_migrate(const struct conf *c, const struct migration *m, size_t n, struct error *err)
{
	char *path = db_path(c->storage.data_dir, DB_FILE);
	int lock_fd = db_lock_open(c->storage.data_dir, err);
	struct db_conn conn;
	bool made, ok = false;

	if (lock_fd >= 0 && db_lock_take(lock_fd, err)) {
		made = access(path, F_OK) != 0;
		if (db_conn_open(&conn, path, DB_CONN_CREATE, err)) {
			/* SQLite gives the log the permissions of the file. */
			ok = (!made || chmod(path, 0600) == 0) && migrate_all(&conn, m, n, err);
			db_conn_close(&conn);
		}
	}
	if (lock_fd >= 0)
		close(lock_fd);
	free(path);
	return ok;
}
