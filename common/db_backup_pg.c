/* SPDX-License-Identifier: MIT */
/*
 * Backups of a PostgreSQL database by its own programs (postgresql-client): pg_dump's custom format, restored by psql
 * in one transaction. Called through db_backup.c. A pooler of transactions is no address for these programs:
 * storage.dsn must then be overridden by one of the server itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/db_backup_store.h"
#include "common/db_history.h"
#include "common/db_pg.h"
#include "common/fault.h"

#define TOOL_WORDS 16

extern char **environ;

/* ---- running a program ---- */

/*
 * The environment with the address in the variables that libpq reads, so that no password stands in a command line. To
 * be freed with its strings from *own on.
 */
static char **tool_environment(PGconn *pg, size_t *own)
{
	PQconninfoOption *options = PQconninfo(pg), *o;
	size_t n = 0, cap;
	char **v;

	while (environ[n] != NULL)
		n++;
	cap = n + 64;
	v = xcalloc(cap, sizeof(*v));
	memcpy(v, environ, n * sizeof(*v));
	*own = n;
	for (o = options; o != NULL && o->keyword != NULL && n + 1 < cap; o++) {
		struct buf line = BUF_INIT;

		if (o->envvar == NULL || o->val == NULL || o->val[0] == '\0')
			continue;
		buf_printf(&line, "%s=%s", o->envvar, o->val);
		v[n++] = line.p;
	}
	PQconninfoFree(options);
	return v;
}

static bool tool_wait(const char *name, pid_t pid, struct error *err)
{
	int status = 0;

	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		continue;
	return (WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
	       error_set(err, ERR_STORAGE, "%s failed (status %d); it says why above", name,
			 WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* words[0] is looked up in PATH. Its standard output goes nowhere. */
static bool tool_run(const struct conf *c, const char *const *words, struct error *err)
{
	posix_spawn_file_actions_t actions;
	char *copy[TOOL_WORDS + 1] = {NULL}, **env;
	PGconn *pg = db_pg_connect(c, err);
	size_t own, n = 0;
	pid_t pid;
	int rc;

	if (pg == NULL)
		return false;
	env = tool_environment(pg, &own);
	PQfinish(pg);
	for (; words[n] != NULL && n < TOOL_WORDS; n++)
		copy[n] = xstrdup(words[n]);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	rc = posix_spawnp(&pid, copy[0], &actions, NULL, copy, env);
	posix_spawn_file_actions_destroy(&actions);
	for (size_t i = 0; i < n; i++)
		free(copy[i]);
	for (size_t i = own; env[i] != NULL; i++) {
		explicit_bzero(env[i], strlen(env[i]));
		free(env[i]);
	}
	free(env);
	if (rc != 0)
		return error_set(err, ERR_NOT_FOUND, "%s: %s; install the package postgresql-client", words[0],
				 strerror(rc));
	return tool_wait(words[0], pid, err);
}

/* ---- copying and verifying ---- */

static bool pg_copy(const struct conf *c, const char *path, struct error *err)
{
	const char *words[] = {"pg_dump",       "--format=custom", "--no-owner", "--no-privileges",
			       "--no-password", "--file",          path,         NULL};
	bool ok = tool_run(c, words, err) && chmod(path, 0600) == 0;

	FAULT("backup.copying");
	return ok && backup_sync(path, err);
}

/* Rows in a plain dump: those between a COPY line and "\.". The numbers of schema_migrations stand first in theirs. */
static bool pg_count(const char *path, const struct migration *m, size_t n, struct backup *out, struct error *err)
{
	FILE *f = fopen(path, "r");
	char *line = NULL;
	size_t cap = 0;
	bool inside = false, history = false, known = true;
	ssize_t len;

	if (f == NULL)
		return backup_fail(path, err);
	while ((len = getline(&line, &cap, f)) > 0) {
		struct str s = {line, (size_t)len};
		int64_t number;

		if (!inside && str_starts(s, STR("COPY "))) {
			inside = true;
			history = str_find(s, STR("schema_migrations ")) >= 0;
			out->tables++;
		} else if (inside && str_eqz(s, "\\.\n")) {
			inside = false;
		} else if (inside) {
			out->rows++;
			if (history && str_to_i64(str_sub(s, 0, strcspn(line, "\t")), 0, INT32_MAX, &number)) {
				size_t i = 0;

				while (i < n && m[i].number != number)
					i++;
				known = known && (m == NULL || i < n);
				out->migration = number > out->migration ? number : out->migration;
			}
		}
	}
	free(line);
	fclose(f);
	if (out->migration == 0)
		return error_set(err, ERR_STORAGE,
				 "the backup has no list of migrations: it is not one of this program");
	return known || error_set(err, ERR_CONFLICT,
				  "the backup has migrations that this program does not know (newest %lld); use the "
				  "program that made it",
				  (long long)out->migration);
}

/* Reads the whole of it as a restore would. */
static bool pg_unpack(const struct conf *c, const char *path, const char *to, bool tables, struct error *err)
{
	const char *words[] = {
	    "pg_restore", tables ? "--no-owner" : "--data-only", "--no-privileges", "--file", to, path, NULL};

	unlink(to);
	return tool_run(c, words, err);
}

static bool pg_verify(const struct conf *c, const char *path, const struct migration *m, size_t n, struct backup *out,
		      struct error *err)
{
	struct buf script = BUF_INIT;
	bool ok;

	backup_name(c, ".verify_", ".partial", &script);
	ok = pg_unpack(c, path, script.p, false, err) && pg_count(script.p, m, n, out, err);
	unlink(script.p);
	buf_free(&script);
	return ok;
}

/* ---- restoring ---- */

/* Every table of today goes first, also those that the backup does not know. */
static bool pg_write_drops(const struct conf *c, const char *path, struct error *err)
{
	struct dba *d = dba_open(c, DBA_READ, err);
	struct arena *a = arena_new(0);
	struct dba_catalog tables = {NULL, 0};
	struct buf text = BUF_INIT;
	FILE *f = NULL;
	bool ok = d != NULL && dba_catalog(d, a, &tables, err);

	for (size_t i = 0; ok && i < tables.n; i++) {
		buf_addz(&text, "DROP TABLE IF EXISTS ");
		dba_quote(&text, tables.v[i].name);
		buf_addz(&text, " CASCADE;\n");
	}
	if (ok) {
		f = fopen(path, "we");
		ok = (f != NULL && fwrite(text.p, 1, text.n, f) == text.n) || backup_fail(path, err);
	}
	if (f != NULL && fclose(f) != 0 && ok)
		ok = backup_fail(path, err);
	buf_free(&text);
	arena_free(a);
	dba_close(d);
	return ok;
}

static bool pg_restore(const struct conf *c, const char *path, struct buf *aside, struct error *err)
{
	struct buf drops = BUF_INIT, script = BUF_INIT;
	const char *words[] = {"psql",
			       "--no-psqlrc",
			       "--quiet",
			       "--no-password",
			       "--single-transaction",
			       "-v",
			       "ON_ERROR_STOP=1",
			       "-f",
			       NULL,
			       "-f",
			       NULL,
			       NULL};
	bool ok;

	backup_name(c, ".drops_", ".partial", &drops);
	backup_name(c, ".restore_", ".partial", &script);
	backup_name(c, "replaced_", ".dump", aside);
	words[8] = drops.p;
	words[10] = script.p;
	ok = pg_copy(c, aside->p, err) && pg_unpack(c, path, script.p, true, err) && pg_write_drops(c, drops.p, err);
	FAULT("restore.before_swap");
	ok = ok && tool_run(c, words, err);
	unlink(drops.p);
	unlink(script.p);
	buf_free(&drops);
	buf_free(&script);
	return ok;
}

static int64_t pg_size(const struct conf *c)
{
	struct error ignored = ERROR_INIT;
	struct dba *d = dba_open(c, DBA_READ, &ignored);
	int64_t bytes = 0;

	if (d != NULL && !dba_int(d, "SELECT pg_database_size(current_database())", DB_NO_ARGS, &bytes, &ignored))
		bytes = 0;
	dba_close(d);
	return bytes;
}

const struct backup_ops backup_pg_ops = {
    .extension = ".dump",
    .copy = pg_copy,
    .verify = pg_verify,
    .restore = pg_restore,
    .size = pg_size,
};
