/* SPDX-License-Identifier: MIT */
/*
 * `aragorad user create | list | disable | enable | set-password | unlock | setup-token`: accounts from the shell of
 * who runs the server, beside a running one: it hears of what changed within a second. Passwords come by standard input
 * or are made here; never by the command line, which others can read.
 */
#include <termios.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/db_admin.h"
#include "common/ids.h"
#include "common/json.h"
#include "master/commands/commands.h"
#include "master/commands/ops.h"
#include "master/commands/table.h"
#include "worker/identity/changes.h"
#include "worker/identity/identity.h"
#include "worker/identity/lockout.h"
#include "worker/identity/password.h"
#include "worker/identity/setup.h"
#include "worker/identity/user.h"
#include "worker/permission/permission.h"

#define USER_PASSWORD_MAX 512
#define USER_MADE_BYTES 15

struct user_command {
	struct args args;
	const char *email, *name, *role;
	bool admin, generate;
	/* While it runs: */
	struct dba *d;
	struct arena *a;
	char password[USER_PASSWORD_MAX];
};

/* ---- what the actions share ---- */

/* The address: --email, or the operand behind the action. */
static struct str user_address(const struct user_command *o)
{
	const char *z = o->email != NULL ? o->email : o->args.operand_count > 1 ? o->args.operands[1] : "";

	return str_trim(str_of(z));
}

static bool user_begin(struct user_command *o, const struct conf *c, bool write, struct error *err)
{
	o->a = arena_new(0);
	o->d = dba_open(c, write ? DBA_WRITE : DBA_READ, err);
	return o->d != NULL && (!write || (dba_begin(o->d, false, err) && identity_rows(o->d, err)));
}

/* Commits, or says what was wrong. */
static int user_end(struct user_command *o, bool write, bool ok, struct error *err)
{
	if (ok && write)
		ok = dba_commit(o->d, err);
	if (o->d != NULL && !ok)
		dba_rollback(o->d);
	dba_close(o->d);
	arena_free(o->a);
	explicit_bzero(o->password, sizeof(o->password));
	return ok ? EXIT_OK : ops_fail(err);
}

static bool user_find(struct user_command *o, struct str *id, struct error *err)
{
	struct str email = user_address(o);
	struct db_rows r;

	if (email.n == 0)
		return error_set(err, ERR_MISSING_FIELD, "whose account? Name its e-mail address");
	if (!dba_query(o->d, o->a, "SELECT id FROM users WHERE email_key = $1 OR id = $2",
		       DB_ARGS(DB_S(user_email_key(o->a, email)), DB_S(email)), &r, err))
		return false;
	if (r.count == 0)
		return error_set(err, ERR_NOT_FOUND, "nobody has the address %.*s", STR_ARG(str_sub(email, 0, 100)));
	*id = db_str(&r, 0, 0);
	return true;
}

/* ---- passwords ---- */

static bool user_read_line(struct user_command *o, const char *prompt, struct error *err)
{
	struct termios before, quiet;
	bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
	bool ok;

	if (terminal) {
		quiet = before;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		fprintf(stderr, "%s", prompt);
		(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
	}
	ok = fgets(o->password, sizeof(o->password), stdin) != NULL;
	if (terminal) {
		(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
		fprintf(stderr, "\n");
	}
	o->password[strcspn(o->password, "\r\n")] = '\0';
	return (ok && o->password[0] != '\0') ||
	       error_set(err, ERR_MISSING_FIELD, "no password: give one on standard input, or --generate");
}

/* One of each kind that the policy wants, and 120 bits that nobody knows. */
static void user_make_password(struct user_command *o)
{
	char hex[2 * USER_MADE_BYTES + 1];

	ids_hex(hex, USER_MADE_BYTES);
	(void)snprintf(o->password, sizeof(o->password), "A-%s", hex);
	explicit_bzero(hex, sizeof(hex));
}

static bool user_password(struct user_command *o, const struct conf *c, struct str email,
			  char stored[PASSWORD_STORED_MAX], struct error *err)
{
	struct password_cost cost = password_cost(c);

	if (o->generate)
		user_make_password(o);
	else if (!user_read_line(o, "New password: ", err))
		return false;
	return password_policy(str_of(o->password), email, "password", err) &&
	       password_make(&cost, str_of(o->password), stored, err);
}

static void user_say(const struct user_command *o, const char *what, struct str id)
{
	if (o->args.json) {
		json_t *doc = json_pack("{s:s}", "result", what);
		char *text;

		json_put_str(doc, "user_id", id);
		if (o->generate)
			json_put_str(doc, "password", str_of(o->password));
		text = json_dumps(doc, JSON_INDENT(2));
		printf("%s\n", text);
		free(text);
		json_decref(doc);
		return;
	}
	printf("%s: %.*s\n", what, STR_ARG(id));
	if (o->generate)
		printf("Password (shown once): %s\n", o->password);
}

/* ---- create ---- */

/* --admin: the owner, if the organization has none yet. */
static bool user_role(struct user_command *o, struct str *role, struct error *err)
{
	int64_t owners = 0;

	*role = str_of(o->role != NULL ? o->role : ROLE_DEFAULT);
	if (role_find(*role) == NULL)
		return error_set(err, ERR_INVALID_VALUE, "there is no role %.50s", o->role);
	if (!o->admin)
		return true;
	if (!dba_int(o->d, "SELECT COUNT(*) FROM members WHERE org_id = $1 AND role = 'owner'",
		     DB_ARGS(DB_Z(IDENTITY_DEFAULT)), &owners, err))
		return false;
	*role = owners == 0 ? STR("owner") : STR("admin");
	return true;
}

static bool user_insert(struct user_command *o, const struct user_new *u, struct str *id, struct error *err)
{
	struct user_statements s;
	size_t i;

	user_statements(o->a, u, &s);
	*id = s.user_id;
	for (i = 0; i < s.count; i++)
		if (!dba_run(o->d, s.v[i].sql, s.v[i].args, s.v[i].n, NULL, err))
			return false;
	/* The setup token is for whoever has no account, and now somebody has. */
	return dba_run(o->d, "DELETE FROM settings WHERE key = 'setup_token'", DB_NO_ARGS, NULL, err);
}

static int user_create(struct args *args, const struct conf *c)
{
	struct user_command *o = container_of(args, struct user_command, args);
	struct str email = user_address(o), id = STR("");
	struct user_new u = {.email = email,
			     .name = str_of(o->name != NULL ? o->name : ""),
			     .org_id = STR(IDENTITY_DEFAULT),
			     .email_verified = true};
	char stored[PASSWORD_STORED_MAX] = "";
	struct error err = ERROR_INIT;
	int64_t taken = 0;
	bool ok = user_email_valid(email) || error_set(&err, ERR_INVALID_VALUE, "--email is not an e-mail address");

	ok = ok && user_password(o, c, email, stored, &err) && user_begin(o, c, true, &err) &&
	     user_role(o, &u.role, &err) &&
	     dba_int(o->d, "SELECT COUNT(*) FROM users WHERE email_key = $1",
		     DB_ARGS(DB_S(user_email_key(o->a, email))), &taken, &err);
	if (ok && taken > 0)
		ok = error_set(&err, ERR_CONFLICT, "an account with this address exists");
	u.password_hash = str_of(stored);
	ok = ok && user_insert(o, &u, &id, &err);
	if (ok)
		user_say(o, arena_printf(o->a, "created, %.*s", STR_ARG(u.role)).p, id);
	return user_end(o, true, ok, &err);
}

/* ---- list ---- */

static const char user_list_sql[] =
    "SELECT u.email, u.name, u.id, u.is_active, u.mfa_enabled, u.last_login_at, m.org_id, m.role FROM users u"
    " LEFT JOIN members m ON m.user_id = u.id ORDER BY u.created_at, u.id, m.org_id";

static json_t *user_row_json(const struct db_rows *r, size_t i)
{
	static const char *const texts[] = {"email", "name", "id"};
	char iso[CLOCK_ISO_MAX];
	json_t *o = json_object();
	size_t k;

	for (k = 0; k < countof(texts); k++)
		json_put_str(o, texts[k], db_str(r, i, k));
	json_object_set_new(o, "is_active", json_boolean(db_int(r, i, 3) != 0));
	json_object_set_new(o, "mfa_enabled", json_boolean(db_int(r, i, 4) != 0));
	json_object_set_new(o, "last_login_at", json_null());
	if (!db_null(r, i, 5))
		json_put_str(o, "last_login_at", str_of(clock_iso(iso, db_int(r, i, 5))));
	json_put_str(o, "org_id", db_str(r, i, 6));
	json_put_str(o, "role", db_str(r, i, 7));
	return o;
}

static void user_print_json(const struct db_rows *r)
{
	json_t *list = json_array();
	char *text;
	size_t i;

	for (i = 0; i < r->count; i++)
		json_array_append_new(list, user_row_json(r, i));
	text = json_dumps(list, JSON_INDENT(2));
	printf("%s\n", text);
	free(text);
	json_decref(list);
}

static void user_print(const struct db_rows *r)
{
	static const struct table_column columns[] = {{"EMAIL", false},      {"NAME", false},  {"ORGANIZATION", false},
						      {"ROLE", false},       {"STATE", false}, {"MFA", false},
						      {"LAST LOGIN", false}, {"ID", false}};
	struct table *t = table_new(columns, countof(columns));
	char time[TABLE_TEXT];
	size_t i;

	for (i = 0; i < r->count; i++) {
		table_cell(t, "%.*s", STR_ARG(db_str(r, i, 0)));
		table_cell(t, "%.*s", STR_ARG(db_str(r, i, 1)));
		table_cell(t, "%.*s", STR_ARG(db_str(r, i, 6)));
		table_cell(t, "%.*s", STR_ARG(db_str(r, i, 7)));
		table_cell(t, "%s", db_int(r, i, 3) != 0 ? "active" : "disabled");
		table_cell(t, "%s", db_int(r, i, 4) != 0 ? "on" : "off");
		table_cell(t, "%s", table_time(time, db_int(r, i, 5)));
		table_cell(t, "%.*s", STR_ARG(db_str(r, i, 2)));
	}
	table_print(t, stdout);
	table_free(t);
}

static int user_list(struct args *args, const struct conf *c)
{
	struct user_command *o = container_of(args, struct user_command, args);
	struct error err = ERROR_INIT;
	struct db_rows r;
	bool ok = user_begin(o, c, false, &err) && dba_query(o->d, o->a, user_list_sql, DB_NO_ARGS, &r, &err);

	if (ok && args->json)
		user_print_json(&r);
	else if (ok)
		user_print(&r);
	return user_end(o, false, ok, &err);
}

/* ---- changes ---- */

/* All sessions end with the change, and running servers hear of it. */
static bool user_revoke(struct user_command *o, struct str id, const char *why, struct error *err)
{
	int64_t now = clock_wall_ms();

	return dba_run(o->d, "UPDATE users SET token_version = token_version + 1, updated_at = $1 WHERE id = $2",
		       DB_ARGS(DB_I(now), DB_S(id)), NULL, err) &&
	       dba_run(
		   o->d,
		   "UPDATE sessions SET revoked_at = $1, revoked_why = $2 WHERE user_id = $3 AND revoked_at IS NULL",
		   DB_ARGS(DB_I(now), DB_Z(why), DB_S(id)), NULL, err) &&
	       identity_change_run(o->d, IDENTITY_CHANGE_USER, id, err);
}

static int user_switch(struct user_command *o, const struct conf *c, bool active)
{
	struct error err = ERROR_INIT;
	struct str id = STR("");
	bool ok = user_begin(o, c, true, &err) && user_find(o, &id, &err) &&
		  dba_run(o->d, "UPDATE users SET is_active = $1 WHERE id = $2", DB_ARGS(DB_I(active), DB_S(id)), NULL,
			  &err) &&
		  user_revoke(o, id, active ? "enabled" : "disabled", &err);

	if (ok)
		user_say(o, active ? "enabled" : "disabled, all sessions ended", id);
	return user_end(o, true, ok, &err);
}

static int user_disable(struct args *args, const struct conf *c)
{
	return user_switch(container_of(args, struct user_command, args), c, false);
}

static int user_enable(struct args *args, const struct conf *c)
{
	return user_switch(container_of(args, struct user_command, args), c, true);
}

static int user_set_password(struct args *args, const struct conf *c)
{
	struct user_command *o = container_of(args, struct user_command, args);
	char stored[PASSWORD_STORED_MAX] = "";
	struct error err = ERROR_INIT;
	struct str id = STR("");
	bool ok = user_password(o, c, user_address(o), stored, &err) && user_begin(o, c, true, &err) &&
		  user_find(o, &id, &err) &&
		  dba_run(o->d, "UPDATE users SET password_hash = $1, password_at = $2 WHERE id = $3",
			  DB_ARGS(DB_Z(stored), DB_I(clock_wall_ms()), DB_S(id)), NULL, &err) &&
		  user_revoke(o, id, "password", &err);

	if (ok)
		user_say(o, "password set, all sessions ended", id);
	return user_end(o, true, ok, &err);
}

static int user_unlock(struct args *args, const struct conf *c)
{
	struct user_command *o = container_of(args, struct user_command, args);
	struct error err = ERROR_INIT;
	struct str id = STR("");
	char row[LOCKOUT_ID];
	bool ok = user_begin(o, c, true, &err) && user_find(o, &id, &err);

	if (ok) {
		lockout_row("email", user_email_key(o->a, user_address(o)), row);
		ok = dba_run(o->d, "DELETE FROM lockouts WHERE id = $1", DB_ARGS(DB_Z(row)), NULL, &err);
	}
	if (ok) {
		lockout_row("mfa", id, row);
		ok = dba_run(o->d, "DELETE FROM lockouts WHERE id = $1", DB_ARGS(DB_Z(row)), NULL, &err);
	}
	if (ok)
		user_say(o, "unlocked", id);
	return user_end(o, true, ok, &err);
}

static int user_setup_token(struct args *args, const struct conf *c)
{
	struct user_command *o = container_of(args, struct user_command, args);
	struct error err = ERROR_INIT;
	char token[SETUP_TOKEN_MAX] = "";
	bool ok = user_begin(o, c, true, &err) && setup_token_make(o->d, true, token, &err);
	int code;

	if (ok && token[0] == '\0')
		ok = error_set(&err, ERR_CONFLICT, "there are users already: use aragorad user create --admin");
	code = user_end(o, true, ok, &err);
	if (code == EXIT_OK)
		printf("%s\n", token);
	explicit_bzero(token, sizeof(token));
	return code;
}

static const struct ops_action user_actions[] = {
    {"list", user_list},
    {"create", user_create},
    {"disable", user_disable},
    {"enable", user_enable},
    {"set-password", user_set_password},
    {"unlock", user_unlock},
    {"setup-token", user_setup_token},
    {NULL, NULL},
};

static int user_run(int argc, char **argv)
{
	struct user_command o = {.admin = false};

	return ops_main(&command_user, &o.args, user_actions, argc, argv);
}

#define AT(field) .offset = offsetof(struct user_command, field)

static const struct arg user_args[] = {
    ARG_CONF,
    {.name = "email", AT(email), .value = "ADDRESS", .help = "whose account (or as the operand behind the action)"},
    {.name = "name", AT(name), .value = "NAME", .help = "create: the name to be shown"},
    {.name = "role", AT(role), .value = "ROLE", .help = "create: role in the default organization (member)"},
    {.name = "admin", .kind = ARG_FLAG, AT(admin), .help = "create: the owner, or an admin when there is an owner"},
    {.name = "generate", .kind = ARG_FLAG, AT(generate), .help = "make a password and print it"},
    ARG_JSON,
    ARG_HELP,
    ARG_END,
};

const struct command command_user = {
    .name = "user",
    .synopsis = "[ACTION] [ADDRESS] [OPTION...]",
    .summary = "accounts: make the first admin, list, disable, new password (read from standard input)",
    .about =
	"Accounts of the default organization, from the shell of who runs the server; a running one hears of a change "
	"within a second. ACTION is list, create, disable, enable, set-password, unlock or setup-token. A password is "
	"one line on standard input (asked for at a terminal), or made with --generate. "
	"--admin makes the owner, or an admin when there is an owner. set-password and disable end all sessions.",
    .args = user_args,
    .operands_max = 2,
    .run = user_run,
};
