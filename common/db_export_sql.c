/* SPDX-License-Identifier: MIT */
/*
 * The store as a file that psql loads into an empty PostgreSQL database. Called by `aragorad export --sql`. Text that
 * PostgreSQL would refuse is an error that names its row, not a file that fails to load.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/db_content.h"
#include "common/db_export.h"
#include "common/db_history.h"
#include "common/db_pg.h"
#include "common/fault.h"

struct export_file {
	const char *path;
	FILE *out;
};

static bool file_fail(const struct export_file *f, struct error *err)
{
	return error_set(err, ERR_STORAGE, "%.200s: %s", f->path, strerror(errno));
}

static bool file_rows(struct export_file *f, const struct dba_table *t, const struct db_rows *rows, struct error *err)
{
	struct buf text = BUF_INIT;
	bool ok =
	    dba_copy_text(t, rows, &text, err) && (fwrite(text.p, 1, text.n, f->out) == text.n || file_fail(f, err));

	buf_free(&text);
	return ok;
}

static bool file_table(struct export_file *f, struct dba *from, const struct dba_table *t, struct export_table *told,
		       struct error *err)
{
	struct content *walk = content_new(from, t, err);
	struct buf head = BUF_INIT;
	struct db_rows rows;
	bool ok = walk != NULL && content_hash(from, t, told->hash, &told->rows, err);

	/* Migrations may have put rows there. */
	buf_printf(&head, "\n-- %.*s: %lld rows, sha256 %s\nDELETE FROM ", STR_ARG(t->name), (long long)told->rows,
		   told->hash);
	dba_quote(&head, t->name);
	buf_addz(&head, ";\nCOPY ");
	dba_quote(&head, t->name);
	for (size_t i = 0; i < t->n; i++) {
		buf_addz(&head, i > 0 ? ", " : " (");
		dba_quote(&head, t->columns[i].name);
	}
	buf_addz(&head, ") FROM stdin;\n");
	ok = ok && (fwrite(head.p, 1, head.n, f->out) == head.n || file_fail(f, err));
	while (ok && (ok = content_next(walk, &rows, err)) && rows.count > 0) {
		told->copied += (int64_t)rows.count;
		ok = file_rows(f, t, &rows, err);
	}
	if (ok && told->copied != told->rows)
		ok = error_set(err, ERR_STORAGE, "table %.*s changed while it was read", STR_ARG(t->name));
	ok = ok && (fputs("\\.\n", f->out) >= 0 || file_fail(f, err));
	buf_free(&head);
	content_free(walk);
	return ok;
}

static bool file_head(struct export_file *f, const struct migration *m, size_t n, struct error *err)
{
	struct buf text = BUF_INIT;
	char iso[CLOCK_ISO_MAX];
	bool ok;

	buf_printf(
	    &text,
	    "-- Made by aragorad " ARAGORA_VERSION " at %s. Load it into an empty database: psql DATABASE < FILE\n"
	    "SET client_encoding = 'UTF8';\nSET client_min_messages = warning;\n\\set ON_ERROR_STOP on\nBEGIN;\n"
	    "CREATE TABLE schema_migrations (number BIGINT PRIMARY KEY NOT NULL, name TEXT COLLATE \"C\" NOT NULL,"
	    " checksum TEXT COLLATE \"C\" NOT NULL, applied_at BIGINT NOT NULL);\n",
	    clock_iso(iso, clock_wall_ms()));
	for (size_t i = 0; i < n; i++) {
		buf_printf(&text, "\n-- migration %d: %s\n", m[i].number, m[i].name);
		db_pg_translate(&text, m[i].up);
		buf_addz(&text, "\n");
	}
	ok = fwrite(text.p, 1, text.n, f->out) == text.n || file_fail(f, err);
	buf_free(&text);
	return ok;
}

static bool file_history(struct dba *from, const struct migration *m, size_t n, struct error *err)
{
	struct arena *a = arena_new(0);
	struct history h;
	bool ok = history_read(from, a, m, n, &h, err);

	if (ok && h.pending + h.wrong > 0)
		ok = error_set(err, ERR_CONFLICT,
			       "%zu migrations are pending and %zu are not of this program; see "
			       "`aragorad migrate status`",
			       h.pending, h.wrong);
	arena_free(a);
	return ok;
}

static bool file_write(struct export_file *f, struct dba *from, const struct migration *m, size_t n, export_told told,
		       void *arg, struct error *err)
{
	struct arena *a = arena_new(0);
	struct dba_catalog tables;
	bool ok;

	ok = dba_begin_read(from, err) && file_history(from, m, n, err) && dba_catalog(from, a, &tables, err) &&
	     file_head(f, m, n, err);
	for (size_t i = 0; ok && i < tables.n; i++) {
		struct export_table t = {.name = tables.v[i].name};

		ok = file_table(f, from, &tables.v[i], &t, err);
		if (ok)
			told(arg, &t);
	}
	dba_rollback(from);
	ok = ok && (fputs("\nCOMMIT;\n", f->out) >= 0 || file_fail(f, err));
	arena_free(a);
	return ok;
}

bool export_sql(struct dba *from, const char *path, const struct migration *m, size_t n, export_told told, void *arg,
		struct error *err)
{
	struct buf partial = BUF_INIT;
	struct export_file f = {.path = path};
	int fd;
	bool ok;

	buf_printf(&partial, "%s.partial", path);
	if (access(path, F_OK) == 0) {
		buf_free(&partial);
		return error_set(err, ERR_CONFLICT, "%.200s exists already", path);
	}
	fd = open(partial.p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	f.out = fd >= 0 ? fdopen(fd, "w") : NULL;
	ok = f.out != NULL ? file_write(&f, from, m, n, told, arg, err) : file_fail(&f, err);
	FAULT("export.before_rename");
	ok = ok && ((fflush(f.out) == 0 && fsync(fd) == 0 && rename(partial.p, path) == 0) || file_fail(&f, err));
	if (f.out != NULL)
		fclose(f.out);
	if (!ok)
		unlink(partial.p);
	buf_free(&partial);
	return ok;
}
