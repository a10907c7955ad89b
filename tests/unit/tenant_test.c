/* SPDX-License-Identifier: MIT */
/*
 * The guard between tenants: what it takes from the migrations, which statements it takes for bound, and that every
 * statement in this program is bound, marked, or stands in a file whose work is for everybody.
 */
#include "common/tenant.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/schema.h"

static const struct migration test_schema[] = {
    {1, "all kinds",
     "CREATE TABLE debates (id TEXT PRIMARY KEY, org_id TEXT NOT NULL, workspace_id TEXT, user_id TEXT) STRICT;"
     "CREATE TABLE events (debate_id TEXT, seq INTEGER, workspace_id TEXT, PRIMARY KEY (debate_id, seq));"
     "CREATE TABLE steps (debate_id TEXT, key TEXT);"
     "CREATE TABLE keys (org_id TEXT, user_id TEXT, hash TEXT); CREATE TABLE notes (id TEXT, user_id TEXT);"
     "CREATE TABLE jobs (name TEXT PRIMARY KEY); CREATE INDEX i ON debates(workspace_id);",
     ""},
    {2, "later",
     "ALTER TABLE jobs ADD COLUMN n INTEGER; CREATE TABLE plain (x TEXT); ALTER TABLE plain ADD COLUMN org_id TEXT;",
     ""},
};

static enum tenant_verdict verdict(const char *sql)
{
	struct tenant_reading r;

	tenant_read(sql, &r);
	return r.verdict;
}

static const struct {
	const char *sql;
	enum tenant_verdict want;
} cases[] = {
    {"SELECT name FROM jobs", TENANT_FREE},
    {"SELECT id FROM debates WHERE workspace_id = $1", TENANT_BOUND},
    {"SELECT id FROM debates WHERE $1 = 1 AND workspace_id = $2 ORDER BY id", TENANT_BOUND},
    {"SELECT id FROM debates d WHERE d.workspace_id = $1 AND (d.id = $2 OR d.user_id = $2)", TENANT_BOUND},
    {"SELECT id FROM debates", TENANT_LOOSE},
    {"SELECT id FROM debates WHERE id = $1", TENANT_LOOSE},
    /* Whoever is in the organization is not in all of its workspaces. */
    {"SELECT id FROM debates WHERE org_id = $1", TENANT_LOOSE},
    {"SELECT id FROM debates WHERE user_id = $1", TENANT_LOOSE},
    {SQL_WITHIN_ORG("a test") "SELECT id FROM debates WHERE org_id = $1", TENANT_MARKED_ORG},
    {SQL_WITHIN_ORG("a test") "SELECT id FROM debates WHERE id = $1", TENANT_LOOSE},
    {SQL_ANYBODY("a test") "SELECT id FROM debates WHERE id = $1", TENANT_MARKED_ALL},
    /* Conditions that do not have to hold. */
    {"SELECT id FROM debates WHERE workspace_id = $1 OR id = $2", TENANT_LOOSE},
    {"SELECT id FROM debates WHERE workspace_id = $1 AND a = 1 OR id = $2", TENANT_LOOSE},
    {"SELECT id FROM debates WHERE NOT workspace_id = $1", TENANT_LOOSE},
    {"SELECT id FROM debates WHERE (workspace_id = $1 OR id = $2)", TENANT_LOOSE},
    {"SELECT id FROM debates WHERE workspace_id <> $1", TENANT_LOOSE},
    {"SELECT id FROM debates WHERE workspace_id = $1 || 'x'", TENANT_LOOSE},
    {"SELECT id FROM debates WHERE workspace_id = 'default'", TENANT_LOOSE},
    {"SELECT id FROM debates WHERE workspace_id = workspace_id", TENANT_LOOSE},
    {"SELECT ' WHERE workspace_id = $1' FROM debates", TENANT_LOOSE},
    {"SELECT CASE WHEN a AND workspace_id = $1 THEN 1 END FROM debates", TENANT_LOOSE},
    {"SELECT id FROM debates ORDER BY workspace_id = $1", TENANT_LOOSE},
    {"SELECT id FROM debates WHERE a IS DISTINCT FROM b AND workspace_id = $1", TENANT_BOUND},
    /* Joins: a condition binds the table that it names, and in ON only the one that is joined. */
    {"SELECT 1 FROM debates d JOIN events e ON e.debate_id = d.id WHERE d.workspace_id = $1", TENANT_LOOSE},
    {"SELECT 1 FROM debates d JOIN events e ON e.debate_id = d.id AND e.workspace_id = d.workspace_id"
     " WHERE d.workspace_id = $1",
     TENANT_BOUND},
    {"SELECT 1 FROM debates d LEFT JOIN jobs j ON d.workspace_id = $1", TENANT_LOOSE},
    {"SELECT 1 FROM jobs j LEFT JOIN debates d ON d.workspace_id = $1 WHERE j.name = $2", TENANT_BOUND},
    {"SELECT 1 FROM debates d JOIN steps s ON s.debate_id = d.id WHERE d.workspace_id = $1", TENANT_BOUND},
    {"SELECT 1 FROM jobs, debates WHERE name = $1", TENANT_LOOSE},
    {"SELECT 1 FROM debates RIGHT JOIN jobs ON 1 = 1 WHERE workspace_id = $1", TENANT_LOOSE},
    /* Each SELECT answers for itself. */
    {"SELECT name FROM jobs WHERE n = (SELECT COUNT(*) FROM debates)", TENANT_LOOSE},
    {"SELECT id FROM debates WHERE workspace_id = $1 UNION SELECT id FROM debates", TENANT_LOOSE},
    {"SELECT id FROM debates UNION SELECT id FROM debates WHERE workspace_id = $1", TENANT_LOOSE},
    {"SELECT id FROM debates WHERE workspace_id = $1 AND EXISTS (SELECT 1 FROM events e WHERE e.seq = 1)",
     TENANT_LOOSE},
    {"SELECT id FROM debates d WHERE d.workspace_id = $1 AND EXISTS (SELECT 1 FROM steps s WHERE s.debate_id = d.id)",
     TENANT_BOUND},
    {"WITH x AS (SELECT id FROM debates) SELECT id FROM x", TENANT_LOOSE},
    /* Parts of rows. */
    {"SELECT key FROM steps WHERE debate_id = $1", TENANT_LOOSE},
    {"DELETE FROM steps WHERE debate_id IN (SELECT id FROM debates WHERE id = $1 AND workspace_id = $2)", TENANT_BOUND},
    {"DELETE FROM steps WHERE debate_id IN (SELECT id FROM debates WHERE id = $1)", TENANT_LOOSE},
    {"DELETE FROM steps WHERE debate_id NOT IN (SELECT id FROM debates WHERE workspace_id = $1)", TENANT_LOOSE},
    {"DELETE FROM steps WHERE debate_id IN (SELECT name FROM jobs)", TENANT_LOOSE},
    {"DELETE FROM events WHERE debate_id IN (SELECT id FROM debates WHERE workspace_id = $1)", TENANT_LOOSE},
    /* Writing. */
    {"INSERT INTO debates (id, org_id, workspace_id) VALUES ($1, $2, $3)", TENANT_BOUND},
    {"INSERT INTO debates (id, org_id, workspace_id) VALUES ($1, 'x', $3)", TENANT_LOOSE},
    {"INSERT INTO debates (id, org_id) VALUES ($1, $2)", TENANT_LOOSE},
    {"INSERT INTO debates VALUES ($1, $2, $3, $4)", TENANT_LOOSE},
    {"INSERT INTO events (debate_id, workspace_id) VALUES ($1, $2), ($1, $3)", TENANT_LOOSE},
    {"INSERT INTO events (debate_id, seq, workspace_id) SELECT id, 1, workspace_id FROM debates WHERE workspace_id = "
     "$1",
     TENANT_BOUND},
    {"INSERT INTO events (debate_id, seq, workspace_id) SELECT id, 1, workspace_id FROM debates WHERE id = $1",
     TENANT_LOOSE},
    {"UPDATE debates SET a = $1 WHERE workspace_id = $2 AND id = $3", TENANT_BOUND},
    {"UPDATE debates SET workspace_id = $1 WHERE id = $3", TENANT_LOOSE},
    {"UPDATE debates SET workspace_id = $1 WHERE workspace_id = $2", TENANT_LOOSE},
    {"DELETE FROM debates WHERE id = $1", TENANT_LOOSE},
    /* Rows of an organization and of a person. */
    {"SELECT hash FROM keys WHERE org_id = $1", TENANT_BOUND},
    {"SELECT hash FROM keys WHERE user_id = $1", TENANT_BOUND},
    {"SELECT hash FROM keys WHERE hash = $1", TENANT_LOOSE},
    {"SELECT id FROM notes WHERE user_id = $1", TENANT_BOUND},
    {"SELECT x FROM plain", TENANT_LOOSE},
    {"SELECT x FROM \"debates\"", TENANT_LOOSE},
    {"SELECT x FROM debates WHERE workspace_id = $1 -- AND", TENANT_LOOSE},
};

static void test_verdicts(void **state)
{
	size_t i, wrong = 0;

	(void)state;
	tenant_learn(test_schema, countof(test_schema));
	for (i = 0; i < countof(cases); i++)
		if (verdict(cases[i].sql) != cases[i].want) {
			print_error("%d, not %d: %s\n", (int)verdict(cases[i].sql), (int)cases[i].want, cases[i].sql);
			wrong++;
		}
	assert_int_equal(wrong, 0);
}

static void test_bindings(void **state)
{
	struct tenant_reading r;

	(void)state;
	tenant_learn(test_schema, countof(test_schema));
	tenant_read(
	    "SELECT 1 FROM debates d WHERE d.id = $1 AND d.org_id = $3 AND d.workspace_id = $2 AND d.user_id = $4", &r);
	assert_int_equal(r.count, 2); /* whose debate it is within the workspace is no matter of the tenant */
	assert_int_equal(r.bindings[0].param, 2);
	assert_int_equal(r.bindings[0].column, SQL_WORKSPACE);
	assert_int_equal(r.bindings[1].param, 3);
	tenant_read("SELECT hash FROM keys WHERE user_id = $2 AND hash = $1", &r);
	assert_int_equal(r.count, 1);
	assert_int_equal(r.bindings[0].column, SQL_USER);
}

/* ---- the program ---- */

/* Files whose statements are for everybody, because the engine runs everybody's debates. */
static const struct {
	const char *object, *why;
} engine[] = {
    {"worker/runner/runner.o", "claims debates of all workspaces"},
    {"worker/runner/clerk.o", "looks after debates whose worker died"},
    {"worker/runner/journal.o", "writes a debate that this process has claimed"},
    {"worker/runner/step.o", "the same"},
    {"worker/runner/step_finish.o", "the same"},
    {"worker/traces/traces.o", "writes traces of all debates into the operator's folder"},
    {"worker/retention/rules.o", "removes by age"},
    {"worker/retention.o", "aragorad cleanup"},
    {"worker/invariants.o", "aragorad db check"},
    {"common/db_admin_pg.o", "asks for the catalog"},
};

static struct {
	size_t statements, bound, loose;
} found;

static bool is_engine(const char *path)
{
	size_t i;

	for (i = 0; i < countof(engine); i++)
		if (strstr(path, engine[i].object) != NULL)
			return true;
	return false;
}

/* Texts of an object file that begin as statements do. */
static void look_at_text(const char *path, const char *text, size_t n)
{
	static const char *const begins[] = {"SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ",
					     "WITH ",   "/*all:",       "/*org:"};
	struct tenant_reading r;
	size_t i;

	for (i = 0; i < countof(begins) && strncmp(text, begins[i], strlen(begins[i])) != 0; i++)
		;
	if (i == countof(begins) || n > 20000 || memchr(text, '%', n) != NULL)
		return;
	tenant_read(text, &r);
	found.statements += r.verdict != TENANT_FREE;
	found.bound += r.verdict == TENANT_BOUND;
	if (r.verdict != TENANT_LOOSE || is_engine(path))
		return;
	print_error("%s: %s is bound to no tenant (see common/tenant.h):\n    %s\n", path, r.table, text);
	found.loose++;
}

static size_t build_folder; /* length of its path */

/* An object of a file that has been moved or taken out since is no part of the program. */
static bool is_left_over(const char *object)
{
	char source[4200];

	snprintf(source, sizeof(source), "%.*s/../..%.*sc", (int)build_folder, object,
		 (int)(strlen(object + build_folder) - 1), object + build_folder);
	return access(source, F_OK) != 0;
}

static int look_at_object(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	size_t n = strlen(path), i, begin = 0;
	char *all;
	int fd;

	(void)ftw;
	if (type != FTW_F || n < 2 || strcmp(path + n - 2, ".o") != 0 || strstr(path, "/tests/") != NULL ||
	    st->st_size == 0 || is_left_over(path))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	all = fd >= 0 ? mmap(NULL, (size_t)st->st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
	assert_true(all != MAP_FAILED);
	for (i = 0; i < (size_t)st->st_size; i++) {
		if (all[i] != '\0')
			continue;
		if (i > begin + 12)
			look_at_text(path, all + begin, i - begin);
		begin = i + 1;
	}
	munmap(all, (size_t)st->st_size);
	close(fd);
	return 0;
}

static void test_program(void **state)
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *end;
	int up;

	(void)state;
	tenant_learn(schema_migrations, schema_migrations_count);
	assert_true(n > 0);
	path[n] = '\0';
	for (up = 0; up < 3; up++) { /* build/MODE/tests/unit/tenant_test */
		end = strrchr(path, '/');
		assert_non_null(end);
		*end = '\0';
	}
	build_folder = strlen(path);
	assert_int_equal(nftw(path, look_at_object, 16, FTW_PHYS), 0);
	print_message("%zu statements on tenants' tables, %zu bound\n", found.statements, found.bound);
	assert_true(found.statements > 80);
	assert_true(found.bound > 30);
	assert_int_equal(found.loose, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_verdicts),
	    cmocka_unit_test(test_bindings),
	    cmocka_unit_test(test_program),
	};

	return cmocka_run_group_tests_name("tenant", tests, NULL, NULL);
}
