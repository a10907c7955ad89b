/* SPDX-License-Identifier: MIT */
/*
 * `aragorad backup`, `backup list`, `backup verify` and `aragorad restore`: copies of the store while the server runs,
 * and the way back. What a backup is and how it is checked stands in common/db_backup.h.
 */
#include <unistd.h>

#include "common/clock.h"
#include "common/db_backup.h"
#include "common/json.h"
#include "master/commands/commands.h"
#include "master/commands/ops.h"
#include "master/commands/table.h"
#include "worker/schema.h"

struct backup_command {
	struct args args;
	const char *output;
	bool encrypt, prune, yes;
	int64_t days, latest;
};

static struct backup_command *backup_of(struct args *a)
{
	return container_of(a, struct backup_command, args);
}

/* ---- making ---- */

/* Those that the rule lets go; false after a message. */
static bool backup_prune(const struct backup_command *o, const struct conf *c, struct error *err)
{
	struct arena *a = arena_new(0);
	struct backup_list list;
	bool ok = backup_list(c, a, &list, err);

	for (size_t i = 0; ok && i < list.n; i++) {
		if (!backup_expendable(&list, i, clock_wall_ms(), o->days, o->latest))
			continue;
		ok = unlink(list.v[i].path) == 0 || error_set(err, ERR_STORAGE, "cannot remove %.200s", list.v[i].path);
		if (ok)
			printf("removed %s\n", list.v[i].path);
	}
	arena_free(a);
	return ok;
}

static void backup_print(const struct args *a, const struct backup *b, const char *word)
{
	char size[TABLE_TEXT];
	json_t *doc;
	char *text;

	if (!a->json) {
		printf("%s %s\n%s, %lld tables, %lld rows, migration %lld", word, b->path, table_bytes(size, b->bytes),
		       (long long)b->tables, (long long)b->rows, (long long)b->migration);
		printf(b->sealed ? ", encrypted with key %s\n" : "\n", b->key_id);
		return;
	}
	doc = json_object();
	json_put_str(doc, "path", str_of(b->path));
	json_put_int(doc, "size_bytes", b->bytes);
	json_put_int(doc, "tables", b->tables);
	json_put_int(doc, "rows", b->rows);
	json_put_int(doc, "migration", b->migration);
	json_object_set_new(doc, "encryption_key_id", b->sealed ? json_string(b->key_id) : json_null());
	text = json_dumps(doc, JSON_INDENT(2));
	printf("%s\n", text);
	free(text);
	json_decref(doc);
}

static int backup_create(struct args *a, const struct conf *c)
{
	const struct backup_command *o = backup_of(a);
	struct error err = ERROR_INIT;
	struct keyring *k = NULL;
	struct backup b;
	bool ok = true;

	if (o->encrypt) {
		k = keyring_open(c, true, &err);
		ok = k != NULL;
	}
	ok = ok && backup_make(c, k, o->output, &b, &err);
	if (ok) {
		backup_print(a, &b, "made and verified");
		if (!a->json)
			printf(
			    "The keys in %s/keys are not in it: keep a copy of them apart from it. Without receipt.key "
			    "receipts\ncannot be verified, without the encryption key secret fields cannot be read.\n",
			    c->storage.data_dir);
		ok = !o->prune || backup_prune(o, c, &err);
	}
	keyring_close(k);
	return ok ? ops_told(c, true, "admin.backup_created", "backup", b.path) : ops_fail(&err);
}

/* ---- list and verify ---- */

static void backup_print_list(const struct backup_list *list)
{
	json_t *doc = json_array(), *row;
	char *text;

	for (size_t i = 0; i < list->n; i++) {
		const struct backup *b = &list->v[i];

		row = json_object();
		json_put_str(row, "path", str_of(b->path));
		json_put_int(row, "made_at", b->made_at);
		json_put_int(row, "size_bytes", b->bytes);
		json_object_set_new(row, "encryption_key_id", b->sealed ? json_string(b->key_id) : json_null());
		json_array_append_new(doc, row);
	}
	text = json_dumps(doc, JSON_INDENT(2));
	printf("%s\n", text);
	free(text);
	json_decref(doc);
}

static void backup_print_table(const struct backup_list *list)
{
	static const struct table_column columns[] = {
	    {"MADE", false}, {"SIZE", true}, {"ENCRYPTED", false}, {"FILE", false}};
	struct table *t = table_new(columns, countof(columns));
	char when[TABLE_TEXT], size[TABLE_TEXT];

	for (size_t i = 0; i < list->n; i++) {
		table_cell(t, "%s", table_time(when, list->v[i].made_at));
		table_cell(t, "%s", table_bytes(size, list->v[i].bytes));
		table_cell(t, "%s", list->v[i].sealed ? list->v[i].key_id : "-");
		table_cell(t, "%s", list->v[i].path);
	}
	table_print(t, stdout);
	table_free(t);
}

static int backup_show(struct args *a, const struct conf *c)
{
	struct arena *arena = arena_new(0);
	struct error err = ERROR_INIT;
	struct backup_list list;
	int code = EXIT_OK;

	if (!backup_list(c, arena, &list, &err))
		code = ops_fail(&err);
	else if (a->json)
		backup_print_list(&list);
	else if (list.n > 0)
		backup_print_table(&list);
	else
		printf("there is no backup in %s/backups\n", c->storage.data_dir);
	arena_free(arena);
	return code;
}

/* The file that was named, or all in the folder. */
static int backup_check(struct args *a, const struct conf *c)
{
	struct arena *arena = arena_new(0);
	struct error err = ERROR_INIT;
	struct keyring *k = keyring_open(c, false, &err);
	struct backup_list list = {NULL, 0};
	struct backup b;
	int code = EXIT_OK;

	/* Without a key those that are not sealed can be read all the same. */
	if (k == NULL && err.code != ERR_NOT_FOUND) {
		code = ops_fail(&err);
	} else if (a->operand_count > 1) {
		list.v = arena_alloc(arena, sizeof(*list.v));
		snprintf(list.v[0].path, sizeof(list.v[0].path), "%s", a->operands[1]);
		list.n = 1;
	} else if (!backup_list(c, arena, &list, &err)) {
		code = ops_fail(&err);
	}
	for (size_t i = 0; i < list.n; i++) {
		err = ERROR_INIT;
		if (backup_verify(c, k, list.v[i].path, schema_migrations, schema_migrations_count, &b, &err))
			backup_print(a, &b, "verified");
		else
			code = ops_fail(&err);
	}
	keyring_close(k);
	arena_free(arena);
	return code;
}

/* ---- the command ---- */

static const struct ops_action backup_actions[] = {
    {"create", backup_create}, {"list", backup_show}, {"verify", backup_check}, {NULL, NULL}};

static int backup_run(int argc, char **argv)
{
	struct backup_command o = {.days = BACKUP_KEEP_DAYS, .latest = BACKUP_KEEP_LATEST};

	return ops_main(&command_backup, &o.args, backup_actions, argc, argv);
}

static const struct arg backup_args[] = {
    ARG_CONF,
    {.name = "output",
     .letter = 'o',
     .offset = offsetof(struct backup_command, output),
     .value = "FILE",
     .help = "write it there (default: a name with the time in data_dir/backups)"},
    {.name = "encrypt",
     .kind = ARG_FLAG,
     .offset = offsetof(struct backup_command, encrypt),
     .help = "encrypt it with the first key of storage.encryption_key"},
    {.name = "prune",
     .kind = ARG_FLAG,
     .offset = offsetof(struct backup_command, prune),
     .help = "then remove old ones from data_dir/backups"},
    {.name = "keep-days",
     .kind = ARG_NUMBER,
     .offset = offsetof(struct backup_command, days),
     .value = "N",
     .max = 36500,
     .help = "prune: keep those that are not older (default 7)"},
    {.name = "keep",
     .kind = ARG_NUMBER,
     .offset = offsetof(struct backup_command, latest),
     .value = "N",
     .min = 1,
     .max = 100000,
     .help = "prune: and always so many of the newest (default 5)"},
    ARG_JSON,
    ARG_HELP,
    ARG_END,
};

const struct command command_backup = {
    .name = "backup",
    .synopsis = "[create|list|verify] [OPTION...] [FILE]",
    .summary = "copy the store while the server runs; list and verify copies",
    .about =
	"create (the default) copies the store while the server runs, reads the copy back and checks it before it gets "
	"its name. list shows what is in data_dir/backups. verify checks FILE, or all that are there.",
    .args = backup_args,
    .operands_max = 2,
    .run = backup_run,
};

/* ---- restore ---- */

static int restore_do(struct args *a, const struct conf *c)
{
	const struct backup_command *o = backup_of(a);
	struct error err = ERROR_INIT;
	struct keyring *k = keyring_open(c, false, &err);
	struct buf aside = BUF_INIT;
	struct backup b;
	int lock = -1, code;
	bool ok = k != NULL || err.code == ERR_NOT_FOUND;

	if (ok && !db_check_storage(c, &err) && err.code != ERR_STORAGE)
		ok = false;
	if (ok) {
		lock = ops_alone(c, &err);
		ok = lock >= 0;
	}
	if (ok && !ops_consent(o->yes, "Replace the content of the store?")) {
		close(lock);
		keyring_close(k);
		return EXIT_FAILED;
	}
	ok = ok && backup_restore(c, k, a->operands[0], schema_migrations, schema_migrations_count, &b, &aside, &err);
	if (ok) {
		backup_print(a, &b, "restored");
		if (aside.n > 0 && !a->json)
			printf("what was there before is in %s\n", aside.p);
	}
	code = ok ? ops_told(c, true, "admin.backup_restored", "backup", b.path) : ops_fail(&err);
	if (lock >= 0)
		close(lock);
	buf_free(&aside);
	keyring_close(k);
	return code;
}

static const struct ops_action restore_actions[] = {{"", restore_do}};

static int restore_run(int argc, char **argv)
{
	struct backup_command o = {.yes = false};

	return ops_main(&command_restore, &o.args, restore_actions, argc, argv);
}

static const struct arg restore_args[] = {
    ARG_CONF,
    {.name = "yes",
     .letter = 'y',
     .kind = ARG_FLAG,
     .offset = offsetof(struct backup_command, yes),
     .help = "do not ask"},
    ARG_JSON,
    ARG_HELP,
    ARG_END,
};

const struct command command_restore = {
    .name = "restore",
    .synopsis = "[OPTION...] FILE",
    .summary = "put a backup in the place of the store's content",
    .about =
	"Verifies the backup, then puts it in the place of the store's content, which is kept beside the backups. The "
	"server must be stopped.",
    .args = restore_args,
    .operands_min = 1,
    .operands_max = 1,
    .run = restore_run,
};
