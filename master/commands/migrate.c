/* SPDX-License-Identifier: MIT */
/*
 * `aragorad migrate apply | status | rollback | new NAME` and `aragorad init-db`: brings the tables up to date, shows
 * what was applied, goes back, prints what a developer adds to worker/schema.c. Applying beside a running server is
 * fine (migrations only add); going back is not.
 */
#include <ctype.h>
#include <unistd.h>

#include "common/db_history.h"
#include "common/json.h"
#include "master/commands/commands.h"
#include "master/commands/ops.h"
#include "master/commands/table.h"
#include "worker/schema.h"

struct migrate {
	struct args args;
	int64_t to, steps;
	bool yes;
};

static const struct migrate *migrate_of(struct args *a)
{
	return container_of(a, struct migrate, args);
}

/* ---- status ---- */

static void migrate_print(const struct history *h)
{
	static const struct table_column columns[] = {
	    {"NUMBER", true}, {"NAME", false}, {"STATE", false}, {"APPLIED", false}};
	struct table *t = table_new(columns, countof(columns));
	char when[TABLE_TEXT];

	for (size_t i = 0; i < h->n; i++) {
		table_cell(t, "%lld", (long long)h->v[i].number);
		table_cell(t, "%.*s", STR_ARG(h->v[i].name));
		table_cell(t, "%s", history_state_name(h->v[i].state));
		table_cell(t, "%s", table_time(when, h->v[i].applied_at));
	}
	table_print(t, stdout);
	table_free(t);
	printf("\n%zu applied, %zu pending", h->applied, h->pending);
	if (h->wrong > 0)
		printf(", %zu not of this program: it must not be started on this database", h->wrong);
	printf("\n");
}

static void migrate_print_json(const struct history *h)
{
	json_t *doc = json_object(), *list = json_array();
	char *text;

	for (size_t i = 0; i < h->n; i++) {
		json_t *row = json_object();

		json_put_int(row, "number", h->v[i].number);
		json_put_str(row, "name", h->v[i].name);
		json_put_str(row, "state", str_of(history_state_name(h->v[i].state)));
		json_put_int(row, "applied_at", h->v[i].applied_at);
		json_array_append_new(list, row);
	}
	json_object_set_new(doc, "migrations", list);
	json_put_int(doc, "applied", (int64_t)h->applied);
	json_put_int(doc, "pending", (int64_t)h->pending);
	json_put_int(doc, "wrong", (int64_t)h->wrong);
	text = json_dumps(doc, JSON_INDENT(2));
	printf("%s\n", text);
	free(text);
	json_decref(doc);
}

/* A store that is not there yet has everything pending. */
static bool migrate_history(const struct conf *c, struct arena *a, struct history *h, struct error *err)
{
	struct error why = ERROR_INIT;
	struct dba *d = dba_open(c, DBA_READ, &why);
	bool ok = d != NULL && history_read(d, a, schema_migrations, schema_migrations_count, h, &why);

	dba_close(d);
	if (!ok && why.code == ERR_NOT_FOUND) {
		h->n = h->pending = schema_migrations_count;
		h->v = arena_alloc(a, h->n * sizeof(*h->v));
		for (size_t i = 0; i < h->n; i++)
			h->v[i] = (struct history_row){.number = schema_migrations[i].number,
						       .name = str_of(schema_migrations[i].name),
						       .state = HISTORY_PENDING};
		return true;
	}
	if (!ok)
		*err = why;
	return ok;
}

static int migrate_status(struct args *a, const struct conf *c)
{
	struct arena *arena = arena_new(0);
	struct error err = ERROR_INIT;
	struct buf store = BUF_INIT;
	struct history h = {0};
	int code;

	if (migrate_history(c, arena, &h, &err)) {
		ops_store_name(c, &store);
		if (!a->json)
			printf("Store: %s\n\n", store.p);
		if (a->json)
			migrate_print_json(&h);
		else
			migrate_print(&h);
		code = h.pending + h.wrong == 0 ? EXIT_OK : EXIT_FAILED;
	} else {
		code = ops_fail(&err);
	}
	buf_free(&store);
	arena_free(arena);
	return code;
}

/* ---- apply ---- */

static int migrate_apply(struct args *a, const struct conf *c)
{
	struct arena *arena = arena_new(0);
	struct history before = {0}, after = {0};
	struct error err = ERROR_INIT;
	int code = EXIT_FAILED;

	(void)a;
	/* Another process may apply the same ones at this moment: then there is nothing left for us, which is fine. */
	if (db_check_storage(c, &err) && migrate_history(c, arena, &before, &err) &&
	    db_migrate(c, schema_migrations, schema_migrations_count, &err) &&
	    migrate_history(c, arena, &after, &err)) {
		for (size_t i = 0; i < before.n; i++) {
			if (before.v[i].state == HISTORY_PENDING)
				printf("now applied: %lld %.*s\n", (long long)before.v[i].number,
				       STR_ARG(before.v[i].name));
		}
		if (before.pending == 0)
			printf("nothing to apply; %zu applied\n", after.applied);
		code = EXIT_OK;
	} else {
		ops_fail(&err);
	}
	arena_free(arena);
	return code;
}

/* ---- rollback ---- */

/* Where it ends: --to, or so many steps back. */
static int64_t migrate_target(const struct migrate *m, const struct history *h)
{
	int64_t steps = m->steps;

	if (m->to >= 0)
		return m->to;
	for (size_t i = h->n; i > 0; i--) {
		if (h->v[i - 1].state != HISTORY_PENDING && steps-- == 0)
			return h->v[i - 1].number;
	}
	return 0;
}

static int migrate_undo(const struct migrate *m, const struct conf *c, const struct history *h)
{
	int64_t to = migrate_target(m, h);
	struct error err = ERROR_INIT;
	size_t undone = 0;
	struct dba *d;
	bool any = false, ok;

	for (size_t i = h->n; i > 0; i--) {
		if (h->v[i - 1].state == HISTORY_PENDING || h->v[i - 1].number <= to)
			continue;
		printf("undo %lld: %.*s\n", (long long)h->v[i - 1].number, STR_ARG(h->v[i - 1].name));
		any = true;
	}
	if (!any) {
		printf("nothing to undo\n");
		return EXIT_OK;
	}
	printf("Tables and columns that these migrations made go away with their content; `aragorad backup` first.\n");
	if (!ops_consent(m->yes, "Undo them?"))
		return EXIT_FAILED;
	d = dba_open(c, DBA_WRITE, &err);
	ok = d != NULL && history_undo(d, schema_migrations, schema_migrations_count, to, &undone, &err);
	dba_close(d);
	printf("%zu undone\n", undone);
	return ok ? ops_told(c, true, "admin.migrations_undone", "store", NULL) : ops_fail(&err);
}

static int migrate_rollback(struct args *a, const struct conf *c)
{
	struct arena *arena = arena_new(0);
	struct error err = ERROR_INIT;
	struct history h = {0};
	int code = EXIT_FAILED, lock = ops_alone(c, &err);

	if (lock < 0)
		ops_fail(&err);
	else if (!migrate_history(c, arena, &h, &err))
		ops_fail(&err);
	else
		code = migrate_undo(migrate_of(a), c, &h);
	if (lock >= 0)
		close(lock);
	arena_free(arena);
	return code;
}

/* ---- new ---- */

static int migrate_new(struct args *a, const struct conf *c)
{
	int number = schema_migrations[schema_migrations_count - 1].number + 1;

	(void)c;
	if (a->operand_count < 2) {
		fprintf(stderr, "aragorad migrate new: needs a name, such as \"webhooks and their deliveries\"\n");
		return EXIT_USAGE;
	}
	for (const char *p = a->operands[1]; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\' || iscntrl((unsigned char)*p)) {
			fprintf(stderr,
				"aragorad migrate new: the name stands in a C string: no quotes, no backslashes\n");
			return EXIT_USAGE;
		}
	}
	fprintf(stderr,
		"Migrations are compiled in. Put this into worker/schema.c: the texts above the table, the row at "
		"its end.\nWrite the dialect that SQLite and PostgreSQL share (INTEGER, TEXT, STRICT); only add.\n\n");
	printf("static const char up_%04d[] = \"CREATE TABLE name (\"\n"
	       "\t\t\t      \" id TEXT PRIMARY KEY NOT NULL,\"\n"
	       "\t\t\t      \" org_id TEXT NOT NULL, workspace_id TEXT NOT NULL,\"\n"
	       "\t\t\t      \" created_at INTEGER NOT NULL\"\n"
	       "\t\t\t      \") STRICT, WITHOUT ROWID;\";\n\n"
	       "static const char down_%04d[] = \"DROP TABLE name;\";\n\n"
	       "    {%d, \"%s\", up_%04d, down_%04d},\n",
	       number, number, number, a->operands[1], number, number);
	return EXIT_OK;
}

/* ---- the commands ---- */

static const struct ops_action migrate_actions[] = {
    {"apply", migrate_apply},        {"status", migrate_status}, {"rollback", migrate_rollback},
    {"upgrade", migrate_apply}, /* as other tools call them */
    {"downgrade", migrate_rollback}, {"new", migrate_new},       {NULL, NULL},
};

static int migrate_run(int argc, char **argv)
{
	struct migrate m = {.to = -1, .steps = 1};

	return ops_main(&command_migrate, &m.args, migrate_actions, argc, argv);
}

static const struct arg migrate_args[] = {
    ARG_CONF,
    {.name = "to",
     .kind = ARG_NUMBER,
     .offset = offsetof(struct migrate, to),
     .value = "N",
     .max = INT32_MAX,
     .help = "rollback: undo all migrations above this number; 0: all"},
    {.name = "steps",
     .kind = ARG_NUMBER,
     .offset = offsetof(struct migrate, steps),
     .value = "N",
     .min = 1,
     .max = INT32_MAX,
     .help = "rollback: undo so many, the newest first (default 1)"},
    {.name = "yes",
     .letter = 'y',
     .kind = ARG_FLAG,
     .offset = offsetof(struct migrate, yes),
     .help = "rollback: do not ask"},
    ARG_JSON,
    ARG_HELP,
    ARG_END,
};

const struct command command_migrate = {
    .name = "migrate",
    .synopsis = "apply|status|rollback|new [OPTION...] [NAME]",
    .summary = "bring the tables up to date, show what was applied, go back",
    .about =
	"apply brings the tables up to date; any number of nodes may do so at once. status lists all migrations and "
	"fails (1) when one is pending or not of this program. rollback undoes the newest one, or all above --to; the "
	"server must be stopped. new NAME prints what a developer adds.",
    .args = migrate_args,
    .operands_min = 1,
    .operands_max = 2,
    .run = migrate_run,
};

static const struct ops_action init_actions[] = {{"", migrate_apply}};

static int init_run(int argc, char **argv)
{
	struct args a = {0};

	return ops_main(&command_init_db, &a, init_actions, argc, argv);
}

static const struct arg init_args[] = {ARG_CONF, ARG_HELP, ARG_END};

const struct command command_init_db = {
    .name = "init-db",
    .synopsis = "[-c FILE]",
    .summary = "make the data folder and the tables; harmless when they are there",
    .args = init_args,
    .run = init_run,
};
