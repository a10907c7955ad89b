/* SPDX-License-Identifier: MIT */
/*
 * The common part of the operator's subcommands. Called by migrate, db, backup, restore, export, cleanup and encrypt.
 * Holds no logic of the store itself: that is in common/.
 */
#include "master/commands/ops.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/db_admin.h"
#include "common/db_conn.h"
#include "master/files.h"
#include "master/privileges.h"
#include "worker/audit/audit.h"

#define OPS_FRESH_MS 30000 /* a worker that was seen so recently is running */

static char ops_name[64] = "aragorad"; /* of this process: what messages begin with */

int ops_fail(const struct error *err)
{
	fprintf(stderr, "%s: %s%s%s\n", ops_name, err->field, err->field[0] != '\0' ? ": " : "", err->msg);
	return EXIT_FAILED;
}

int ops_told(const struct conf *c, bool done, const char *action, const char *resource_type, const char *resource)
{
	struct error err = ERROR_INIT;

	if (audit_command(c,
			  &(struct audit_event){.category = "admin",
						.action = action,
						.outcome = done ? "success" : "failure",
						.resource_type = str_of(resource_type),
						.resource_id = str_of(resource)},
			  &err))
		return done ? EXIT_OK : EXIT_FAILED;
	return ops_fail(&err);
}

static int ops_run(struct args *a, const struct conf *c, const struct ops_action *action)
{
	struct privileges p = {0};
	struct error err = ERROR_INIT;

	if (!privileges_find(c, &p, &err) || !privileges_drop(&p, &err))
		return ops_fail(&err);
	return action->run(a, c);
}

int ops_main(const struct command *command, struct args *a, const struct ops_action *actions, int argc, char **argv)
{
	const struct ops_action *action = actions;
	struct conf *c;
	int code;

	snprintf(ops_name, sizeof(ops_name), "aragorad %s", command->name);
	if (!args_parse(command, a, argc, argv, &code))
		return code;
	/* An action without name is the only one; without operand it is the first. */
	if (action->name[0] != '\0' && a->operand_count > 0) {
		while (action->name != NULL && strcmp(action->name, a->operands[0]) != 0)
			action++;
	}
	if (action->name == NULL) {
		fprintf(stderr, "%s: %s is not one of:", ops_name, a->operands[0]);
		for (action = actions; action->name != NULL; action++)
			fprintf(stderr, " %s", action->name);
		fprintf(stderr, "\n");
		return EXIT_USAGE;
	}
	c = args_conf(a);
	if (c == NULL)
		return EXIT_CONFIG;
	code = ops_run(a, c, action);
	conf_unref(c);
	return code;
}

bool ops_consent(bool yes, const char *question)
{
	char line[16];

	if (yes)
		return true;
	if (!isatty(STDIN_FILENO)) {
		fprintf(stderr, "%s: nothing done; add --yes to do it\n", ops_name);
		return false;
	}
	printf("%s [y/N] ", question);
	fflush(stdout);
	if (fgets(line, sizeof(line), stdin) != NULL && (line[0] == 'y' || line[0] == 'Y'))
		return true;
	fprintf(stderr, "%s: nothing done\n", ops_name);
	return false;
}

/* Of this data folder; "" when no server has started here yet. */
static void ops_node_id(const struct conf *c, char out[40])
{
	char *path = db_path(c->storage.data_dir, "node_id");
	FILE *f = fopen(path, "re");

	if (f == NULL || fgets(out, 40, f) == NULL)
		out[0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	if (f != NULL)
		fclose(f);
	free(path);
}

/*
 * On a server other nodes may be at work; their workers are seen in the table of processes. Those of this node are
 * known not to be, as we hold its lock.
 */
static bool ops_nobody_else(const struct conf *c, struct error *err)
{
	struct dba *d = dba_open(c, DBA_READ, err);
	struct arena *a = arena_new(0);
	char node[40];
	struct dba_catalog catalog;
	int64_t fresh = 0;
	bool ok = d != NULL && dba_catalog(d, a, &catalog, err);

	ops_node_id(c, node);
	if (ok && dba_table_find(&catalog, STR("processes")) != NULL)
		ok = dba_int(d, "SELECT COUNT(*) FROM processes WHERE seen_at > $1 AND node_id <> $2",
			     DB_ARGS(DB_I(clock_wall_ms() - OPS_FRESH_MS), DB_Z(node)), &fresh, err);
	if (ok && fresh > 0)
		ok = error_set(err, ERR_CONFLICT,
			       "%lld workers of other nodes use this database; stop them and wait %d s",
			       (long long)fresh, OPS_FRESH_MS / 1000);
	arena_free(a);
	dba_close(d);
	return ok;
}

/*
 * A master that was killed leaves workers behind that still finish their work; each keeps a file of data_dir/run locked
 * (worker/runner/clerk.c).
 */
static bool ops_no_worker(const struct conf *c, struct error *err)
{
	struct buf path = BUF_INIT;
	const struct dirent *e;
	unsigned alive = 0;
	DIR *dir;
	int fd;

	buf_printf(&path, "%s/run", c->storage.data_dir);
	dir = opendir(path.p);
	while (dir != NULL && (e = readdir(dir)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		fd = openat(dirfd(dir), e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		alive += fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0;
		if (fd >= 0)
			close(fd);
	}
	if (dir != NULL)
		closedir(dir);
	buf_free(&path);
	return alive == 0 || error_set(err, ERR_CONFLICT,
				       "the master has gone, but %u of its workers still finish their work in %.150s; "
				       "wait until they have ended",
				       alive, c->storage.data_dir);
}

int ops_alone(const struct conf *c, struct error *err)
{
	static const struct privileges as_we_are = {0};
	int fd = data_dir_lock(c, &as_we_are, err);

	if (fd >= 0 && (!ops_no_worker(c, err) || (c->storage.backend != 0 && !ops_nobody_else(c, err)))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Of an address only what is no secret: what follows the last @ and precedes the first ?. */
static struct str ops_without_password(const char *dsn)
{
	const char *at = strrchr(dsn, '@'), *from = at != NULL ? at + 1 : "";

	return (struct str){from, strcspn(from, "? ")};
}

void ops_store_name(const struct conf *c, struct buf *out)
{
	if (c->storage.backend == 0)
		buf_printf(out, "sqlite, %s/aragora.db", c->storage.data_dir);
	else
		buf_printf(out, "postgres, %.*s", STR_ARG(ops_without_password(c->storage.dsn)));
}
