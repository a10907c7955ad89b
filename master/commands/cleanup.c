/* SPDX-License-Identifier: MIT */
/*
 * `aragorad cleanup`: shows what has served its time, asks, archives, removes. What belongs to which category stands in
 * common/cleanup.c (files) and worker/retention.c (rows).
 */
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/json.h"
#include "master/commands/commands.h"
#include "master/commands/ops.h"
#include "master/commands/table.h"
#include "worker/retention.h"

struct cleanup {
	struct args args;
	bool dry_run, analyze, yes, verbose;
	const char *archive;
	struct cleanup_rules rules;
	int64_t event_days, journal_days, key_days;
	/* Of this run: */
	int64_t now_ms;
	struct cleanup_plan plan;
	struct retention_sum rows[RETENTION_KINDS];
	struct table *table;
	json_t *list;
	int64_t go, go_bytes;
};

static int64_t cleanup_row_days(const struct cleanup *o, enum retention_kind k)
{
	const int64_t days[] = {
	    [RETENTION_EVENTS] = o->event_days,
	    [RETENTION_JOURNALS] = o->journal_days,
	    [RETENTION_INBOX] = o->journal_days,
	    [RETENTION_IDEMPOTENCY] = o->key_days,
	};

	return days[k];
}

/* ---- the plan ---- */

static void cleanup_show_line(struct cleanup *o, const char *name, const struct retention_sum *s, const char *keep)
{
	char bytes[TABLE_TEXT], go_bytes[TABLE_TEXT], oldest[TABLE_TEXT];
	json_t *row = json_object();

	table_cell(o->table, "%s", name);
	table_cell(o->table, "%lld", (long long)s->rows);
	table_cell(o->table, "%s", table_bytes(bytes, s->bytes));
	table_cell(o->table, "%.10s", table_time(oldest, s->oldest));
	table_cell(o->table, "%s", keep);
	table_cell(o->table, "%lld", (long long)s->go);
	table_cell(o->table, "%s", table_bytes(go_bytes, s->go_bytes));
	json_put_str(row, "category", str_of(name));
	json_put_int(row, "found", s->rows);
	json_put_int(row, "bytes", s->bytes);
	json_put_int(row, "oldest", s->oldest);
	json_put_str(row, "keep", str_of(keep));
	json_put_int(row, "removable", s->go);
	json_put_int(row, "removable_bytes", s->go_bytes);
	json_array_append_new(o->list, row);
	o->go += s->go;
	o->go_bytes += s->go_bytes;
}

static void cleanup_show_files(struct cleanup *o)
{
	struct retention_sum sums[CLEANUP_CATEGORIES] = {{0}};

	for (size_t i = 0; i < o->plan.n; i++) {
		const struct cleanup_item *item = &o->plan.v[i];
		struct retention_sum *s = &sums[item->category];

		s->rows++;
		s->bytes += item->bytes;
		s->go += item->goes;
		s->go_bytes += item->goes ? item->bytes : 0;
		if (s->oldest == 0 || item->made_at < s->oldest)
			s->oldest = item->made_at;
	}
	for (int i = 0; i < CLEANUP_CATEGORIES; i++) {
		struct buf keep = BUF_INIT;

		cleanup_keep(&o->rules, (enum cleanup_category)i, &keep);
		cleanup_show_line(o, cleanup_name((enum cleanup_category)i), &sums[i], keep.p);
		buf_free(&keep);
	}
}

static void cleanup_show_rows(struct cleanup *o)
{
	for (int i = 0; i < RETENTION_KINDS; i++) {
		int64_t days = cleanup_row_days(o, (enum retention_kind)i);
		char keep[TABLE_TEXT];

		snprintf(keep, sizeof(keep),
			 days == RETENTION_FOREVER ? "for ever"
			 : days == 1               ? "1 day"
						   : "%lld days",
			 (long long)days);
		cleanup_show_line(o, retention_name((enum retention_kind)i), &o->rows[i], keep);
	}
}

static void cleanup_show(struct cleanup *o)
{
	static const struct table_column columns[] = {{"CATEGORY", false}, {"FOUND", true}, {"SIZE", true},
						      {"OLDEST", false},   {"KEPT", false}, {"TO GO", true},
						      {"SIZE", true}};
	char size[TABLE_TEXT], *text;

	o->table = table_new(columns, countof(columns));
	o->list = json_array();
	cleanup_show_files(o);
	cleanup_show_rows(o);
	if (o->args.json) {
		text = json_dumps(o->list, JSON_INDENT(2));
		printf("%s\n", text);
		free(text);
	} else {
		table_print(o->table, stdout);
		printf("\n%lld to go, %s\n", (long long)o->go, table_bytes(size, o->go_bytes));
	}
	for (size_t i = 0; o->verbose && !o->args.json && i < o->plan.n; i++) {
		if (o->plan.v[i].goes)
			printf("  %s\n", o->plan.v[i].path);
	}
	table_free(o->table);
	json_decref(o->list);
}

/* A store that is not there yet has no rows, and nobody uses a file. */
static bool cleanup_plan(struct cleanup *o, const struct conf *c, struct dba *d, struct error *err)
{
	struct arena *a = arena_new(0);
	const char *const *in_use = NULL;
	bool ok = d == NULL || retention_open_debates(d, a, &in_use, err);

	for (int i = 0; ok && d != NULL && i < RETENTION_KINDS; i++)
		ok = retention_look(d, (enum retention_kind)i, cleanup_row_days(o, (enum retention_kind)i), o->now_ms,
				    &o->rows[i], err);
	ok = ok && cleanup_look(c, &o->rules, in_use, o->now_ms, &o->plan, err);
	arena_free(a);
	return ok;
}

/* ---- carrying it out ---- */

/* Every part is tried; what fails is said and the rest goes on. */
static int cleanup_do_plan(struct cleanup *o, struct dba *d)
{
	int64_t files = 0, bytes = 0, rows = 0, gone;
	char size[TABLE_TEXT];
	int code = EXIT_OK;

	for (size_t i = 0; i < o->plan.n; i++) {
		struct error err = ERROR_INIT;

		if (!o->plan.v[i].goes)
			continue;
		if (!cleanup_act(&o->plan.v[i], o->archive, o->now_ms, &err)) {
			code = ops_fail(&err);
			continue;
		}
		files++;
		bytes += o->plan.v[i].bytes;
	}
	for (int i = 0; d != NULL && i < RETENTION_KINDS; i++) {
		struct error err = ERROR_INIT;

		if (!retention_act(d, (enum retention_kind)i, cleanup_row_days(o, (enum retention_kind)i), o->now_ms,
				   o->archive, &gone, &err))
			code = ops_fail(&err);
		rows += gone;
	}
	if (!o->args.json)
		printf("removed %lld files and folders (%s) and %lld rows%s%s\n", (long long)files,
		       table_bytes(size, bytes), (long long)rows, o->archive != NULL ? "; archived to " : "",
		       o->archive != NULL ? o->archive : "");
	return code;
}

/* A restore reads what a cleanup might remove. */
static int cleanup_lock(const struct conf *c, struct error *err)
{
	struct buf path = BUF_INIT;
	int fd;

	buf_printf(&path, "%s/backups/.lock", c->storage.data_dir);
	fd = open(path.p, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
		close(fd);
		fd = -1;
	}
	if (fd < 0)
		error_set(err, ERR_CONFLICT, "%.200s: a backup or restore is at work", path.p);
	buf_free(&path);
	return fd;
}

static int cleanup_do(struct args *a, const struct conf *c)
{
	struct cleanup *o = container_of(a, struct cleanup, args);
	struct error err = ERROR_INIT;
	bool look_only = o->dry_run || o->analyze;
	struct dba *d = dba_open(c, look_only ? DBA_READ : DBA_WRITE, &err);
	int code = EXIT_OK, lock = -1;

	o->now_ms = clock_wall_ms();
	if ((d == NULL && err.code != ERR_NOT_FOUND) || !cleanup_plan(o, c, d, &err)) {
		dba_close(d);
		return ops_fail(&err);
	}
	cleanup_show(o);
	if (look_only) {
		if (o->dry_run && !a->json)
			printf("Dry run: nothing was removed.\n");
	} else if (o->go > 0 && !ops_consent(o->yes, "Remove them?")) {
		code = EXIT_FAILED;
	} else if (o->go > 0) {
		lock = cleanup_lock(c, &err);
		code = lock >= 0 ? cleanup_do_plan(o, d) : ops_fail(&err);
		if (lock >= 0)
			code = ops_told(c, code == EXIT_OK, "admin.cleaned_up", "data_dir", c->storage.data_dir);
	}
	if (lock >= 0)
		close(lock);
	cleanup_free(&o->plan);
	dba_close(d);
	return code;
}

/* ---- the command ---- */

static const struct ops_action cleanup_actions[] = {{"", cleanup_do}};

static int cleanup_run(int argc, char **argv)
{
	struct cleanup o = {
	    .rules = cleanup_defaults(),
	    .event_days = retention_default(RETENTION_EVENTS),
	    .journal_days = retention_default(RETENTION_JOURNALS),
	    .key_days = retention_default(RETENTION_IDEMPOTENCY),
	};

	return ops_main(&command_cleanup, &o.args, cleanup_actions, argc, argv);
}

#define FLAG(n, l, field, h)                                                                                   \
	{                                                                                                      \
		.name = n, .letter = l, .kind = ARG_FLAG, .offset = offsetof(struct cleanup, field), .help = h \
	}
#define DAYS(n, field, h)                                                                                             \
	{                                                                                                             \
		.name = n, .kind = ARG_NUMBER, .offset = offsetof(struct cleanup, field), .value = "N", .max = 36500, \
		.help = h                                                                                             \
	}
static const struct arg cleanup_args[] = {
    ARG_CONF,
    FLAG("dry-run", 'n', dry_run, "only show what would go"),
    FLAG("analyze-only", 0, analyze, "only show how much there is"),
    FLAG("yes", 'y', yes, "do not ask"),
    DAYS("backup-days", rules.days[CLEANUP_BACKUPS], "keep backups so long (default 7)"),
    DAYS("backup-keep", rules.backups_kept, "and always so many of the newest (default 5)"),
    DAYS("replaced-days", rules.days[CLEANUP_REPLACED], "keep databases set aside by restore so long (default 7)"),
    DAYS("session-days", rules.days[CLEANUP_SESSIONS], "keep sessions/ so long (default 3; test_* 1 at most)"),
    DAYS("checkpoint-days", rules.days[CLEANUP_CHECKPOINTS], "keep checkpoints/ so long (default 7)"),
    DAYS("artifact-days", rules.days[CLEANUP_ARTIFACTS], "keep root-artifacts/ so long (default 7)"),
    DAYS("trace-days", rules.days[CLEANUP_TRACES], "keep traces of debates so long (default 90)"),
    DAYS("event-days", event_days, "keep event logs of ended debates so long; 0 (default): for ever"),
    DAYS("journal-days", journal_days, "keep journals of ended debates so long; 0 (default): for ever"),
    DAYS("key-days", key_days, "keep idempotency keys so long (default 1); 0: for ever"),
    {.name = "archive-to",
     .offset = offsetof(struct cleanup, archive),
     .value = "DIR",
     .help = "compress everything into this folder before it is removed"},
    FLAG("verbose", 'v', verbose, "name every file that goes"),
    ARG_JSON,
    ARG_HELP,
    ARG_END,
};

const struct command command_cleanup = {
    .name = "cleanup",
    .synopsis = "[--dry-run|--analyze-only|--yes] [OPTION...]",
    .summary = "remove what has served its time",
    .about =
	"Shows what gathers in the data folder and how long it is kept, asks, and removes what is older. Nothing "
	"that a running debate or an open delivery needs is touched, nor any database, key, result, receipt or the "
	"audit log: the server removes the beginning of that one by retention.audit_days.",
    .args = cleanup_args,
    .run = cleanup_run,
};
