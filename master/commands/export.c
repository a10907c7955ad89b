/* SPDX-License-Identifier: MIT */
/*
 * `aragorad export --sql FILE` and `export --to postgres DSN`: from the simple profile's SQLite to a server. The logic
 * is common/db_export.h's.
 */
#include <limits.h>
#include <unistd.h>

#include "common/db_export.h"
#include "common/json.h"
#include "master/commands/commands.h"
#include "master/commands/ops.h"
#include "master/commands/table.h"
#include "worker/schema.h"

struct export_command {
	struct args args;
	const char *sql, *to;
	struct table *table;
	json_t *list;
	int64_t rows;
};

static const struct table_column export_columns[] = {
    {"TABLE", false}, {"ROWS", true}, {"COPIED NOW", true}, {"SHA-256", false}};

static void export_told_of(void *arg, const struct export_table *t)
{
	struct export_command *o = arg;
	json_t *row = json_object();

	table_cell(o->table, "%.*s", STR_ARG(t->name));
	table_cell(o->table, "%lld", (long long)t->rows);
	table_cell(o->table, "%lld", (long long)t->copied);
	table_cell(o->table, "%.16s", t->hash);
	json_put_str(row, "table", t->name);
	json_put_int(row, "rows", t->rows);
	json_put_int(row, "copied", t->copied);
	json_put_str(row, "sha256", str_of(t->hash));
	json_array_append_new(o->list, row);
	o->rows += t->rows;
}

static void export_print(const struct export_command *o, const char *where)
{
	char *text;

	if (o->args.json) {
		text = json_dumps(o->list, JSON_INDENT(2));
		printf("%s\n", text);
		free(text);
		return;
	}
	table_print(o->table, stdout);
	printf("\n%lld rows are in %s\n", (long long)o->rows, where);
}

/* ---- a file ---- */

static bool export_to_file(struct export_command *o, const struct conf *c, struct error *err)
{
	struct dba *from = dba_open(c, DBA_READ, err);
	bool ok = from != NULL &&
		  export_sql(from, o->sql, schema_migrations, schema_migrations_count, export_told_of, o, err);

	dba_close(from);
	if (ok)
		export_print(o, o->sql);
	return ok;
}

/* ---- a database ---- */

/* The configuration as it will be: the same but for the store. */
static struct conf *export_target(const struct export_command *o, struct error *err)
{
	const struct conf_override overrides[] = {{"storage.backend", "postgres"},
						  {"storage.dsn", o->args.operands[0]}};
	struct buf report = BUF_INIT;
	struct conf *c = conf_load(o->args.conf_path, true, overrides, countof(overrides), &report);

	if (c == NULL)
		error_set(err, ERR_INVALID_VALUE, "%.*s", STR_ARG(str_trim(buf_str(&report))));
	buf_free(&report);
	return c;
}

static bool export_to_server(struct export_command *o, const struct conf *c, struct error *err)
{
	struct conf *target = export_target(o, err);
	char source[PATH_MAX];
	struct dba *from = NULL, *to = NULL;
	bool ok;

	if (realpath(c->storage.data_dir, source) == NULL)
		snprintf(source, sizeof(source), "%s", c->storage.data_dir);
	/* Both at the same migrations: tables are compared column by column. */
	ok = target != NULL && db_migrate(c, schema_migrations, schema_migrations_count, err) &&
	     db_migrate(target, schema_migrations, schema_migrations_count, err);
	if (ok) {
		from = dba_open(c, DBA_READ, err);
		to = from != NULL ? dba_open(target, DBA_WRITE, err) : NULL;
		ok = to != NULL &&
		     export_copy(from, to, source, schema_migrations, schema_migrations_count, export_told_of, o, err);
	}
	dba_close(from);
	dba_close(to);
	conf_unref(target);
	if (ok)
		export_print(o, "the database; rows and hashes are equal on both sides");
	return ok;
}

static int export_do(struct args *a, const struct conf *c)
{
	struct export_command *o = container_of(a, struct export_command, args);
	struct error err = ERROR_INIT;
	int lock = -1;
	bool ok;

	if ((o->sql == NULL) == (o->to == NULL) || (o->to != NULL) != (a->operand_count == 1)) {
		fprintf(stderr, "aragorad export: needs either --sql FILE, or --to postgres DSN\n");
		return EXIT_USAGE;
	}
	if (o->to != NULL && strcmp(o->to, "postgres") != 0) {
		fprintf(stderr, "aragorad export: --to takes postgres, not %s\n", o->to);
		return EXIT_USAGE;
	}
	if (c->storage.backend != 0) {
		fprintf(stderr, "aragorad export: the store is PostgreSQL already; `aragorad backup` copies it\n");
		return EXIT_FAILED;
	}
	o->table = table_new(export_columns, countof(export_columns));
	o->list = json_array();
	if (o->sql != NULL) {
		ok = export_to_file(o, c, &err);
	} else {
		lock = ops_alone(c, &err);
		ok = lock >= 0 && export_to_server(o, c, &err);
	}
	if (lock >= 0)
		close(lock);
	table_free(o->table);
	json_decref(o->list);
	if (ok && o->sql != NULL)
		return ops_told(c, true, "data.exported", "store", o->sql);
	return ok ? EXIT_OK : ops_fail(&err);
}

static const struct ops_action export_actions[] = {{"", export_do}};

static int export_run(int argc, char **argv)
{
	struct export_command o = {.sql = NULL};

	return ops_main(&command_export, &o.args, export_actions, argc, argv);
}

static const struct arg export_args[] = {
    ARG_CONF,
    {.name = "sql",
     .offset = offsetof(struct export_command, sql),
     .value = "FILE",
     .help = "write a file that psql loads into an empty database"},
    {.name = "output", .letter = 'o', .offset = offsetof(struct export_command, sql), .value = "FILE", .help = NULL},
    {.name = "to",
     .offset = offsetof(struct export_command, to),
     .value = "postgres",
     .help = "copy into the database that DSN names; the server must be stopped"},
    ARG_JSON,
    ARG_HELP,
    ARG_END,
};

const struct command command_export = {
    .name = "export",
    .synopsis = "--sql FILE | --to postgres DSN [OPTION...]",
    .summary = "from SQLite to PostgreSQL",
    .about = "Takes the content of the SQLite store to PostgreSQL: as a file for psql, one state of the store, also "
	     "beside a "
	     "running server; or straight into a database, which must be empty. A copy that was stopped goes on where "
	     "it was "
	     "when it is started again; in the end rows and hashes of all tables are compared.",
    .args = export_args,
    .operands_max = 1,
    .run = export_run,
};
