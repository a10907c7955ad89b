/* SPDX-License-Identifier: MIT */
/*
 * `aragorad db check | vacuum | analyze | checkpoint`: is the store whole, and the upkeep that a database wants now and
 * then. The checks stand in worker/invariants.c.
 */
#include <unistd.h>

#include "common/conf.h"
#include "common/db_conn.h"
#include "common/db_history.h"
#include "common/json.h"
#include "master/commands/commands.h"
#include "master/commands/ops.h"
#include "master/commands/table.h"
#include "worker/invariants.h"
#include "worker/schema.h"

struct db_command {
	struct args args;
	const char *mode;
};

/* ---- check ---- */

struct db_report {
	const struct args *args;
	struct table *table;
	json_t *list;
	size_t failed;
};

static void db_report(struct db_report *r, const char *name, bool ok, const char *said)
{
	json_t *row = json_object();

	table_cell(r->table, "%s", name);
	table_cell(r->table, "%s", ok ? "ok" : "FAILED");
	table_cell(r->table, "%s", said);
	json_put_str(row, "check", str_of(name));
	json_object_set_new(row, "ok", json_boolean(ok));
	json_put_str(row, "message", str_of(said));
	json_array_append_new(r->list, row);
	r->failed += !ok;
}

/* Structure of the file; a server looks after its own. */
static bool db_check_file(struct dba *d, struct db_report *r, struct error *err)
{
	static const char *const pragmas[] = {"PRAGMA integrity_check(10)", "PRAGMA foreign_key_check"};
	static const char *const names[] = {"file structure", "foreign keys"};
	struct arena *a = arena_new(0);
	struct db_rows rows;
	bool ok = true, whole;

	for (size_t i = 0; ok && !dba_shared(d) && i < countof(pragmas); i++) {
		ok = dba_query(d, a, pragmas[i], DB_NO_ARGS, &rows, err);
		whole = ok && (rows.count == 0 || str_eqz(db_str(&rows, 0, 0), "ok"));
		if (ok)
			db_report(r, names[i], whole,
				  whole ? "" : arena_printf(a, "%.*s", STR_ARG(db_str(&rows, 0, 0))).p);
	}
	arena_free(a);
	return ok;
}

static bool db_check_history(struct dba *d, struct db_report *r, struct error *err)
{
	struct arena *a = arena_new(0);
	struct history h;
	char said[160];
	bool ok = history_read(d, a, schema_migrations, schema_migrations_count, &h, err);

	if (ok) {
		snprintf(said, sizeof(said), "%zu applied, %zu pending, %zu not of this program", h.applied, h.pending,
			 h.wrong);
		db_report(r, "migrations", h.pending + h.wrong == 0, said);
		ok = h.pending == 0 ||
		     error_set(err, ERR_CONFLICT,
			       "%zu migrations are pending: the rest is checked after `aragorad migrate "
			       "apply`",
			       h.pending);
	}
	arena_free(a);
	return ok;
}

static bool db_check_rules(struct dba *d, const struct conf *c, struct db_report *r, struct error *err)
{
	int64_t broken, checked;
	char first[80], said[320];

	for (size_t i = 0; i < invariants_count; i++) {
		if (!invariant_check(d, &invariants[i], &broken, first, err))
			return false;
		snprintf(said, sizeof(said), "%s", invariants[i].rule);
		if (broken > 0)
			snprintf(said, sizeof(said), "%lld break this: %s; the first: %s", (long long)broken,
				 invariants[i].rule, first);
		db_report(r, invariants[i].name, broken == 0, said);
	}
	if (!invariant_receipts(d, c, &checked, &broken, first, err))
		return false;
	snprintf(said, sizeof(said), "%lld of %lld receipts hold%s%s", (long long)(checked - broken),
		 (long long)checked, broken > 0 ? "; the first that does not: " : "", first);
	db_report(r, "receipts", broken == 0, said);
	return true;
}

static void db_print(struct db_report *r)
{
	json_t *doc;
	char *text;

	if (!r->args->json) {
		table_print(r->table, stdout);
		printf("\n%s\n", r->failed == 0 ? "the store is whole" : "the store is NOT whole");
		return;
	}
	doc = json_object();
	json_object_set_new(doc, "ok", json_boolean(r->failed == 0));
	json_object_set(doc, "checks", r->list);
	text = json_dumps(doc, JSON_INDENT(2));
	printf("%s\n", text);
	free(text);
	json_decref(doc);
}

/* One state of the store throughout, so that a debate that goes on meanwhile is not taken for a broken one. */
static int db_check(struct args *a, const struct conf *c)
{
	static const struct table_column columns[] = {{"CHECK", false}, {"RESULT", false}, {"", false}};
	struct db_report r = {.args = a, .table = table_new(columns, countof(columns)), .list = json_array()};
	struct error err = ERROR_INIT;
	struct dba *d = dba_open(c, DBA_READ, &err);
	bool ok = d != NULL && dba_begin_read(d, &err) && db_check_file(d, &r, &err) && db_check_history(d, &r, &err) &&
		  db_check_rules(d, c, &r, &err);

	if (json_array_size(r.list) > 0)
		db_print(&r);
	dba_close(d);
	table_free(r.table);
	json_decref(r.list);
	if (!ok)
		return ops_fail(&err);
	return r.failed == 0 ? EXIT_OK : EXIT_FAILED;
}

/* ---- upkeep ---- */

static int db_upkeep(const struct conf *c, const char *sql, const char *done)
{
	struct error err = ERROR_INIT;
	struct dba *d = dba_open(c, DBA_WRITE, &err);
	bool ok = d != NULL && dba_exec(d, sql, &err);

	dba_close(d);
	if (!ok)
		return ops_fail(&err);
	printf("%s\n", done);
	return EXIT_OK;
}

/* Beside a running server it would hold up every write for as long as it takes, so only without one. */
static int db_vacuum(struct args *a, const struct conf *c)
{
	struct error err = ERROR_INIT;
	int lock = c->storage.backend == 0 ? ops_alone(c, &err) : STDIN_FILENO, code;

	(void)a;
	if (lock < 0)
		return ops_fail(&err);
	code = db_upkeep(c, c->storage.backend == 0 ? "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)" : "VACUUM",
			 "the space of deleted rows was given back");
	if (lock > STDERR_FILENO)
		close(lock);
	return code;
}

static int db_analyze(struct args *a, const struct conf *c)
{
	(void)a;
	return db_upkeep(c, "ANALYZE", "the statistics for the query planner are fresh");
}

static int db_checkpoint_now(struct args *a, const struct conf *c)
{
	static const char *const modes[] = {"passive", "full", "restart", "truncate"};
	const struct db_command *o = container_of(a, struct db_command, args);
	struct error err = ERROR_INIT;
	int pages = 0, moved = 0, rc;
	size_t mode = 0;
	struct dba *d;

	while (mode < countof(modes) && strcmp(modes[mode], o->mode) != 0)
		mode++;
	if (mode == countof(modes)) {
		fprintf(stderr, "aragorad db: --mode is passive, full, restart or truncate, not %s\n", o->mode);
		return EXIT_USAGE;
	}
	if (c->storage.backend != 0) {
		printf("the server looks after its own log; nothing to do\n");
		return EXIT_OK;
	}
	d = dba_open(c, DBA_WRITE, &err);
	if (d == NULL)
		return ops_fail(&err);
	rc = sqlite3_wal_checkpoint_v2(dba_sqlite(d)->db, "main", (int)mode, &pages, &moved);
	if (rc != SQLITE_OK)
		db_conn_fail(dba_sqlite(d), rc, &err);
	dba_close(d);
	if (rc != SQLITE_OK)
		return ops_fail(&err);
	printf("%d of %d pages of the log are in the database\n", moved, pages);
	return EXIT_OK;
}

_Static_assert(SQLITE_CHECKPOINT_PASSIVE == 0 && SQLITE_CHECKPOINT_TRUNCATE == 3, "the order of the modes' names");

/* ---- the command ---- */

static const struct ops_action db_actions[] = {{"check", db_check},
					       {"vacuum", db_vacuum},
					       {"analyze", db_analyze},
					       {"checkpoint", db_checkpoint_now},
					       {NULL, NULL}};

static int db_run(int argc, char **argv)
{
	struct db_command o = {.mode = "passive"};

	return ops_main(&command_db, &o.args, db_actions, argc, argv);
}

static const struct arg db_args[] = {
    ARG_CONF,
    {.name = "mode",
     .offset = offsetof(struct db_command, mode),
     .value = "MODE",
     .help = "checkpoint: passive (default), full, restart or truncate"},
    ARG_JSON,
    ARG_HELP,
    ARG_END,
};

const struct command command_db = {
    .name = "db",
    .synopsis = "check|vacuum|analyze|checkpoint [OPTION...]",
    .summary = "check the store; upkeep of the database",
    .about =
	"check looks at the structure of the database and at what must hold between its tables, and verifies every "
	"receipt; it fails (1) when something does not hold. vacuum gives back the space of deleted rows (SQLite: the "
	"server must be stopped), analyze renews the statistics of the query planner, checkpoint moves SQLite's log "
	"into the database. A running server checkpoints by itself.",
    .args = db_args,
    .operands_min = 1,
    .operands_max = 1,
    .run = db_run,
};
