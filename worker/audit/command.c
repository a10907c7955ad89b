/* SPDX-License-Identifier: MIT */
/*
 * The audit log for subcommands: a session that can be asked, and the event of a command. Blocking; never in a worker.
 */
#include <pwd.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/db_admin.h"
#include "worker/audit/audit_log.h"

static bool command_query(void *arg, struct arena *a, const char *sql, const struct db_val *args, size_t n,
			  struct db_rows *rows, struct error *err)
{
	return dba_query(arg, a, sql, args, n, rows, err);
}

struct audit_source audit_source_dba(struct dba *d)
{
	return (struct audit_source){.query = command_query, .arg = d};
}

/* Who stands behind the command: before sudo, and before the process became server.user. */
static struct str command_user(struct arena *a)
{
	const char *name = getenv("SUDO_USER");
	FILE *f = name == NULL || *name == '\0' ? fopen("/proc/self/loginuid", "re") : NULL;
	const struct passwd *pw = NULL;
	unsigned long uid = UINT32_MAX;

	if (f != NULL) {
		if (fscanf(f, "%lu", &uid) != 1)
			uid = UINT32_MAX;
		(void)fclose(f);
		pw = getpwuid(uid != UINT32_MAX ? (uid_t)uid
						: getuid()); /* unset without a login: containers, services */
		name = pw != NULL ? pw->pw_name : NULL;
	}
	return name != NULL ? arena_str(a, str_of(name)) : arena_printf(a, "uid %u", (unsigned)getuid());
}

static bool command_there(struct dba *d, struct arena *a, bool *there, struct error *err)
{
	struct dba_catalog catalog;

	if (!dba_catalog(d, a, &catalog, err))
		return false;
	*there = dba_table_find(&catalog, STR("audit_inbox")) != NULL;
	return true;
}

static bool command_insert(struct dba *d, struct arena *a, const struct conf *c, const struct audit_who *who,
			   const struct audit_event *e, struct error *err)
{
	struct db_val values[AUDIT_INBOX_COLUMNS + 1];
	struct audit_record r;
	struct audit_key key;
	int64_t rows;
	bool ok;

	if (!audit_key_load(c, &key, err))
		return false;
	audit_record_fill(a, who, e, &r);
	audit_record_sign(a, &key, &r);
	explicit_bzero(&key, sizeof(key));
	audit_record_values(&r, values);
	ok = dba_begin(d, false, err) && dba_run(d, AUDIT_INSERT, values, countof(values), &rows, err);
	if (ok)
		return dba_commit(d, err);
	dba_rollback(d);
	return false;
}

/* who NULL: the user who runs this. */
static bool command_write(const struct conf *c, const struct audit_who *who, const struct audit_event *e,
			  struct error *err)
{
	struct dba *d = dba_open(c, DBA_WRITE, err);
	struct arena *a = arena_new(0);
	struct audit_who user = {.actor_kind = STR("command")};
	bool there = false, ok = d != NULL && command_there(d, a, &there, err);

	if (ok && there) {
		if (who == NULL)
			user.actor_id = command_user(a);
		ok = command_insert(d, a, c, who != NULL ? who : &user, e, err);
	}
	arena_free(a);
	dba_close(d);
	return ok;
}

bool audit_command(const struct conf *c, const struct audit_event *e, struct error *err)
{
	return command_write(c, NULL, e, err);
}

bool audit_service(const struct conf *c, const struct audit_event *e, struct error *err)
{
	const struct audit_who who = audit_who_context(NULL);

	return command_write(c, &who, e, err);
}
