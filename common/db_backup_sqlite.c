/* SPDX-License-Identifier: MIT */
/*
 * Backups of the SQLite file: a copy of one state of it while others write, with a list of what must be in it; putting
 * one back. Called through db_backup.c. A copy is complete in itself: no log beside it, readable from a medium that
 * cannot be written.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/db_backup_store.h"
#include "common/db_conn.h"
#include "common/db_content.h"
#include "common/db_history.h"
#include "common/fault.h"

#define COPY_PAGES 4096 /* between two points at which a test may kill it; one state of the file all the same */

static const char copy_lists[] =
    "DROP TABLE IF EXISTS _backup_info; DROP TABLE IF EXISTS _backup_tables;"
    "CREATE TABLE _backup_info (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT;"
    "CREATE TABLE _backup_tables (name TEXT PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, hash TEXT NOT NULL) STRICT;";

/* ---- copying ---- */

/*
 * The reading transaction holds one state; SQLite's backup copies that state, and writers go on in the log. The copy is
 * synced once at the end instead of page by page.
 */
static bool copy_pages(struct dba *from, struct dba *to, struct error *err)
{
	struct db_conn *source = dba_sqlite(from), *target = dba_sqlite(to);
	sqlite3_backup *b;
	int64_t objects;
	int rc;

	if (!dba_exec(to, "PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF", err) ||
	    !dba_begin_read(from, err) ||
	    !dba_int(from, "SELECT COUNT(*) FROM sqlite_schema", DB_NO_ARGS, &objects, err))
		return false;
	b = sqlite3_backup_init(target->db, "main", source->db, "main");
	if (b == NULL)
		return db_conn_fail(target, sqlite3_errcode(target->db), err);
	do {
		rc = sqlite3_backup_step(b, COPY_PAGES);
		FAULT("backup.copying");
	} while (rc == SQLITE_OK);
	rc = sqlite3_backup_finish(b);
	dba_rollback(from);
	return rc == SQLITE_OK || db_conn_fail(target, rc, err);
}

static bool copy_info(struct dba *d, const char *key, struct str value, struct error *err)
{
	return dba_run(d, "INSERT INTO _backup_info (key, value) VALUES ($1, $2)", DB_ARGS(DB_Z(key), DB_S(value)),
		       NULL, err);
}

/* Writes down what the copy holds, so that a damaged content is seen even when the file's structure is whole. */
static bool copy_note(struct dba *d, struct error *err)
{
	struct arena *a = arena_new(0);
	struct dba_catalog catalog;
	char iso[CLOCK_ISO_MAX], hex[SHA256_HEX];
	int64_t rows;
	bool ok;

	ok = dba_exec(d, copy_lists, err) && dba_catalog(d, a, &catalog, err) && dba_begin(d, false, err) &&
	     copy_info(d, "made_at", str_of(clock_iso(iso, clock_wall_ms())), err) &&
	     copy_info(d, "made_by", STR("aragorad " ARAGORA_VERSION), err);
	for (size_t i = 0; ok && i < catalog.n; i++)
		ok = content_hash(d, &catalog.v[i], hex, &rows, err) &&
		     dba_run(d, "INSERT INTO _backup_tables (name, rows, hash) VALUES ($1, $2, $3)",
			     DB_ARGS(DB_S(catalog.v[i].name), DB_I(rows), DB_Z(hex)), NULL, err);
	ok = ok && dba_commit(d, err);
	arena_free(a);
	return ok;
}

static bool sqlite_copy(const struct conf *c, const char *path, struct error *err)
{
	struct dba *from = dba_open(c, DBA_READ, err);
	struct dba *to = from != NULL ? dba_open_file(path, DBA_CREATE, err) : NULL;
	bool ok = to != NULL && copy_pages(from, to, err);

	dba_close(to);
	dba_close(from);
	/* The copied head says that there is a log; opened once more, and then without one. */
	to = ok ? dba_open_file(path, DBA_WRITE, err) : NULL;
	ok = to != NULL && copy_note(to, err) && dba_exec(to, "PRAGMA journal_mode = DELETE", err);
	dba_close(to);
	return ok && backup_sync(path, err);
}

/* ---- verifying ---- */

static bool verify_structure(struct dba *d, const char *path, struct error *err)
{
	struct arena *a = arena_new(0);
	struct error why = ERROR_INIT;
	struct db_rows rows;
	bool ok = dba_query(d, a, "PRAGMA integrity_check(1)", DB_NO_ARGS, &rows, &why);

	if (ok && (rows.count != 1 || !str_eqz(db_str(&rows, 0, 0), "ok")))
		ok = error_set(&why, ERR_STORAGE, "%.*s", STR_ARG(str_sub(db_str(&rows, 0, 0), 0, 120)));
	if (!ok)
		error_set(err, ERR_STORAGE, "%.100s is damaged: %.140s", path, why.msg);
	arena_free(a);
	return ok;
}

/* One table against what was written down when the copy was made. */
static bool verify_table(struct dba *d, const char *path, const struct dba_table *t, struct str name, int64_t rows,
			 struct str hash, struct error *err)
{
	char hex[SHA256_HEX];
	int64_t count;

	if (t == NULL)
		return error_set(err, ERR_STORAGE, "%.150s is damaged: table %.*s is missing", path, STR_ARG(name));
	if (!content_hash(d, t, hex, &count, err))
		return false;
	if (count != rows)
		return error_set(err, ERR_STORAGE, "%.120s is damaged: table %.*s has %lld rows, not %lld", path,
				 STR_ARG(name), (long long)count, (long long)rows);
	return str_eqz(hash, hex) ||
	       error_set(err, ERR_STORAGE, "%.150s is damaged: table %.*s has another content", path, STR_ARG(name));
}

static bool verify_tables(struct dba *d, struct arena *a, const char *path, const struct dba_catalog *catalog,
			  struct backup *out, struct error *err)
{
	struct db_rows rows;

	if (!dba_query(d, a, "SELECT name, rows, hash FROM _backup_tables ORDER BY name", DB_NO_ARGS, &rows, err))
		return error_set(err, ERR_STORAGE,
				 "%.150s was not made by `aragorad backup`: it has no list of its tables", path);
	for (size_t i = 0; i < rows.count; i++) {
		struct str name = db_str(&rows, i, 0);

		if (!verify_table(d, path, dba_table_find(catalog, name), name, db_int(&rows, i, 1),
				  db_str(&rows, i, 2), err))
			return false;
		out->tables++;
		out->rows += db_int(&rows, i, 1);
	}
	return true;
}

static bool verify_migrations(struct dba *d, struct arena *a, const char *path, const struct migration *m, size_t n,
			      struct backup *out, struct error *err)
{
	struct history h;

	if (!dba_int(d, "SELECT COALESCE(MAX(number), 0) FROM schema_migrations", DB_NO_ARGS, &out->migration, err))
		return false;
	if (m == NULL)
		return true;
	if (!history_read(d, a, m, n, &h, err))
		return false;
	return h.wrong == 0 || error_set(err, ERR_CONFLICT,
					 "%.150s has migrations that this program does not know (newest %lld); use the "
					 "program that made it",
					 path, (long long)out->migration);
}

static bool sqlite_verify(const struct conf *c, const char *path, const struct migration *m, size_t n,
			  struct backup *out, struct error *err)
{
	struct dba *d = dba_open_file(path, DBA_READ, err);
	struct arena *a = arena_new(0);
	struct dba_catalog catalog;
	bool ok;

	(void)c;
	ok = d != NULL && verify_structure(d, path, err) && dba_catalog(d, a, &catalog, err) &&
	     verify_tables(d, a, path, &catalog, out, err) && verify_migrations(d, a, path, m, n, out, err);
	arena_free(a);
	dba_close(d);
	return ok;
}

/* ---- restoring ---- */

static bool restore_copy_file(const char *from, const char *to, struct error *err)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
	struct stat st;
	ssize_t n = 1;
	bool ok;

	unlink(to);
	if (in >= 0)
		out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	ok = out >= 0 && fstat(in, &st) == 0;
	while (ok && n > 0) {
		n = copy_file_range(in, NULL, out, NULL, 1 << 24, 0);
		ok = n >= 0;
	}
	ok = ok && fsync(out) == 0;
	if (!ok)
		backup_fail(out >= 0 ? to : from, err);
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return ok;
}

/* The lists of the backup are not part of the content. */
static bool restore_strip(const char *path, struct error *err)
{
	struct dba *d = dba_open_file(path, DBA_WRITE, err);
	bool ok = d != NULL && dba_exec(d,
					"DROP TABLE IF EXISTS _backup_info; DROP TABLE IF EXISTS _backup_tables;"
					" PRAGMA journal_mode = DELETE",
					err);

	dba_close(d);
	return ok && backup_sync(path, err);
}

/* What stands in the log belongs to the old file; without this it would be replayed into the new one. */
static bool restore_fold_log(const char *current, const char *aside, struct error *err)
{
	static const char *const suffixes[] = {"-wal", "-shm"};
	struct error ignored = ERROR_INIT;
	struct dba *d = dba_open_file(current, DBA_WRITE, &ignored);
	struct buf from = BUF_INIT, to = BUF_INIT;
	bool ok = true;

	if (d != NULL && !dba_exec(d, "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE", &ignored))
		ignored.code = ERR_STORAGE;
	dba_close(d);
	/* A file too damaged for that keeps its log beside it, aside. */
	for (size_t i = 0; ok && i < countof(suffixes); i++) {
		buf_clear(&from);
		buf_clear(&to);
		buf_printf(&from, "%s%s", current, suffixes[i]);
		buf_printf(&to, "%s%s", aside, suffixes[i]);
		ok = rename(from.p, to.p) == 0 || errno == ENOENT || backup_fail(from.p, err);
	}
	buf_free(&from);
	buf_free(&to);
	return ok;
}

/* The former file gets a second name before the new one takes its place: at no moment is there none. */
static bool restore_swap(const char *fresh, const char *current, struct buf *aside, struct error *err)
{
	if (access(current, F_OK) == 0) {
		if (!restore_fold_log(current, aside->p, err))
			return false;
		if (link(current, aside->p) != 0)
			return backup_fail(aside->p, err);
		if (!backup_sync_parent(aside->p, err)) /* else a power cut could leave the new file alone */
			return false;
		FAULT("restore.set_aside");
	} else {
		buf_clear(aside);
	}
	if (rename(fresh, current) != 0)
		return backup_fail(current, err);
	return backup_sync_parent(current, err);
}

static bool sqlite_restore(const struct conf *c, const char *path, struct buf *aside, struct error *err)
{
	char *current = db_path(c->storage.data_dir, DB_FILE);
	struct buf fresh = BUF_INIT;
	bool ok;

	backup_name(c, ".restore_", ".partial", &fresh);
	backup_name(c, "replaced_", ".db", aside);
	ok = restore_copy_file(path, fresh.p, err) && restore_strip(fresh.p, err);
	FAULT("restore.before_swap");
	ok = ok && restore_swap(fresh.p, current, aside, err);
	unlink(fresh.p);
	buf_free(&fresh);
	free(current);
	return ok;
}

static int64_t sqlite_size(const struct conf *c)
{
	static const char *const names[] = {DB_FILE, DB_FILE "-wal"};
	int64_t bytes = 0;
	struct stat st;

	for (size_t i = 0; i < countof(names); i++) {
		char *path = db_path(c->storage.data_dir, names[i]);

		bytes += stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
		free(path);
	}
	return bytes;
}

const struct backup_ops backup_sqlite_ops = {
    .extension = ".db",
    .copy = sqlite_copy,
    .verify = sqlite_verify,
    .restore = sqlite_restore,
    .size = sqlite_size,
};
