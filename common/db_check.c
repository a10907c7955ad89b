/* SPDX-License-Identifier: MIT */
/*
 * Checks of the data directory before anything starts: it exists or is made, can be written, has room, and for SQLite
 * that it lies on a local disk and a database in it is healthy; for PostgreSQL that the server can be used. Called by
 * the start-up child and by `aragorad -T`. Repairs nothing.
 */
#include "common/db_store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/db_conn.h"
#include "common/db_pg.h"

#define CHECK_BUDGET_US (5 * SEC_US) /* of the integrity check; what it has not seen by then is not checked */
#define CHECK_STEPS 10000            /* SQLite instructions between two looks at the clock */

static const char *const check_folders[] = {"keys", "run", "memory", "backups"};

/* File systems on which SQLite's locks or shared memory do not work. */
static const struct {
	unsigned long type;
	const char *name;
} check_remote[] = {
    {NFS_SUPER_MAGIC, "NFS"}, {0xff534d42UL, "CIFS"},   {0xfe534d42UL, "SMB"},
    {SMB_SUPER_MAGIC, "SMB"}, {AFS_SUPER_MAGIC, "AFS"},
};

static bool check_fail(const char *path, const char *why, struct error *err)
{
	return error_field(err, ERR_STORAGE, "storage.data_dir", "%.160s: %s", path, why);
}

/* Makes the directory and those above it. */
static bool check_directory(const char *path, struct error *err)
{
	char *copy = xstrdup(path), *p;
	struct stat st;
	bool ok = true;

	for (p = copy + 1; ok && *copy != '\0'; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		ok = mkdir(copy, 0700) == 0 || errno == EEXIST || check_fail(copy, strerror(errno), err);
		*p = c;
		if (c == '\0')
			break;
	}
	if (ok && stat(path, &st) != 0)
		ok = check_fail(path, strerror(errno), err);
	else if (ok && !S_ISDIR(st.st_mode))
		ok = check_fail(path, "is not a directory", err);
	free(copy);
	return ok;
}

static bool check_access(const char *path, int mode, struct error *err)
{
	return faccessat(AT_FDCWD, path, mode, AT_EACCESS) == 0 || check_fail(path, strerror(errno), err);
}

static bool check_file_system(const struct conf *c, bool database, struct error *err)
{
	const char *dir = c->storage.data_dir;
	char why[120];
	struct statvfs v;
	struct statfs f;
	size_t i;

	if (statfs(dir, &f) != 0 || statvfs(dir, &v) != 0)
		return check_fail(dir, strerror(errno), err);
	for (i = 0; database && i < countof(check_remote); i++)
		if ((unsigned long)(unsigned int)f.f_type == check_remote[i].type) {
			snprintf(why, sizeof(why), "is on %s; the database needs a local disk", check_remote[i].name);
			return check_fail(dir, why, err);
		}
	if ((uint64_t)v.f_bavail * (uint64_t)v.f_frsize < (uint64_t)c->storage.min_free_bytes) {
		snprintf(why, sizeof(why), "%llu bytes free, storage.min_free_bytes demands %lld",
			 (unsigned long long)v.f_bavail * v.f_frsize, (long long)c->storage.min_free_bytes);
		return check_fail(dir, why, err);
	}
	return true;
}

static int check_out_of_time(void *arg)
{
	const int64_t *deadline = arg;

	return clock_mono_us() > *deadline;
}

static bool check_integrity(struct db_conn *c, const char *path, struct error *err)
{
	int64_t deadline = clock_mono_us() + CHECK_BUDGET_US;
	struct error why = ERROR_INIT;
	sqlite3_stmt *stmt;
	bool ok = true;
	int rc;

	sqlite3_progress_handler(c->db, CHECK_STEPS, check_out_of_time, &deadline);
	if (!db_conn_prepare(c, "PRAGMA quick_check(1)", DB_NO_ARGS, &stmt, &why))
		return check_fail(path, why.msg, err);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") != 0) {
		snprintf(why.msg, sizeof(why.msg), "the database file is damaged: %.100s",
			 (const char *)sqlite3_column_text(stmt, 0));
		ok = check_fail(path, why.msg, err);
	} else if (rc != SQLITE_ROW && rc != SQLITE_INTERRUPT) {
		db_conn_fail(c, rc, &why);
		ok = check_fail(path, why.msg, err);
	}
	db_conn_done(stmt);
	return ok;
}

/* No file is fine: migrations make it. */
static bool check_database(const char *path, struct error *err)
{
	struct error why = ERROR_INIT;
	struct db_conn conn;
	struct stat st;
	bool ok;

	if (lstat(path, &st) != 0)
		return errno == ENOENT || check_fail(path, strerror(errno), err);
	if (!S_ISREG(st.st_mode))
		return check_fail(path, "is not a regular file", err);
	if (!check_access(path, R_OK | W_OK, err))
		return false;
	if (!db_conn_open(&conn, path, DB_CONN_READ, &why))
		return check_fail(path, why.msg, err);
	ok = check_integrity(&conn, path, err);
	db_conn_close(&conn);
	return ok;
}

/* `database`: it is in there too. */
static bool check_folders_of(const struct conf *c, bool database, struct error *err)
{
	const char *dir = c->storage.data_dir;
	bool ok = check_directory(dir, err) && check_access(dir, R_OK | W_OK | X_OK, err) &&
		  check_file_system(c, database, err);
	char *path;
	size_t i;

	for (i = 0; ok && i < countof(check_folders); i++) {
		path = db_path(dir, check_folders[i]);
		ok = check_directory(path, err) && check_access(path, R_OK | W_OK | X_OK, err);
		free(path);
	}
	return ok;
}

bool db_check_folders(const struct conf *c, struct error *err)
{
	return check_folders_of(c, c->storage.backend == STORE_SQLITE, err);
}

bool db_sqlite_check(const struct conf *c, struct error *err)
{
	char *path = db_path(c->storage.data_dir, DB_FILE);
	bool ok = check_folders_of(c, true, err) && check_database(path, err);

	free(path);
	return ok;
}

/* ---- PostgreSQL ---- */

#define CHECK_PG_OLDEST 120000 /* version 12, the oldest that libpq's pipeline and our SQL are known to work with */

static bool check_server(PGconn *pg, struct error *err)
{
	PGresult *r;
	bool ok;

	if (PQserverVersion(pg) < CHECK_PG_OLDEST)
		return error_field(err, ERR_STORAGE, "storage.dsn",
				   "the server is PostgreSQL %d; at least 12 is needed", PQserverVersion(pg) / 10000);
	r = db_pg_run(pg, "SHOW transaction_read_only", DB_NO_ARGS, err);
	if (r == NULL && PQstatus(pg) == CONNECTION_BAD)
		err->code = ERR_UNAVAILABLE; /* it ends just now, or a pooler does not reach it */
	/* A standby that is being promoted says so too: it is not there yet. */
	ok =
	    r != NULL && (strcmp(PQgetvalue(r, 0, 0), "off") == 0 ||
			  error_field(err, ERR_UNAVAILABLE, "storage.dsn",
				      "the server can only be read (a standby?); target_session_attrs=read-write finds "
				      "the primary among several hosts"));
	PQclear(r);
	return ok;
}

bool db_pg_check(const struct conf *c, struct error *err)
{
	PGconn *pg;
	bool ok;

	if (!check_folders_of(c, false, err))
		return false;
	pg = db_pg_connect_patiently(c, err);
	ok = pg != NULL && check_server(pg, err);
	PQfinish(pg);
	return ok;
}
