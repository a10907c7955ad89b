/* SPDX-License-Identifier: MIT */
/*
 * The database interface: values, batches, fences, grouping, cancellation; over SQLite also what happens when the file
 * or the room on the disk goes away. With ARAGORA_TEST_DSN the tests that are about any store run on that PostgreSQL
 * database, which they empty.
 */
#include "common/db.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/clock.h"
#include "tests/unit/store_harness.h"

#define WAIT_US (10 * SEC_US) /* longer than any recovery; only a failing test waits so long */

static const struct migration test_schema[] = {
    {1, "items",
     "CREATE TABLE items (id TEXT PRIMARY KEY NOT NULL, n INTEGER NOT NULL, note TEXT) STRICT;"
     "CREATE TABLE parents (id INTEGER PRIMARY KEY) STRICT;"
     "CREATE TABLE children (parent INTEGER NOT NULL REFERENCES parents(id)) STRICT;",
     "DROP TABLE children; DROP TABLE parents; DROP TABLE items;"},
};

static const char *test_dsn;

static int setup(void **state)
{
	return store_set_up(state, test_dsn, test_schema, countof(test_schema));
}

/* ---- helpers on a coroutine ---- */

CO_FN static bool put(struct fixture *f, const char *id, int64_t n, struct error *err)
{
	struct db_batch *b = db_batch_new(f->db);

	db_batch_add(b, "INSERT INTO items (id, n) VALUES ($1, $2)", DB_ARGS(DB_Z(id), DB_I(n)), 1);
	return db_commit(f->db, b, err);
}

CO_FN static int64_t count_of(struct fixture *f, struct db *db)
{
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (!db_query(db, f->arena, "SELECT COUNT(*) FROM items", DB_NO_ARGS, &r, &err))
		fail_msg("%s", err.msg);
	return db_int(&r, 0, 0);
}

CO_FN static void wait_health(struct fixture *f, bool wanted)
{
	int64_t deadline = clock_mono_us() + WAIT_US;
	struct error err = ERROR_INIT;

	while (db_healthy(f->db, &err) != wanted) {
		assert_true(clock_mono_us() < deadline);
		co_sleep(5 * MS_US);
	}
}

/* ---- reading and writing ---- */

static void values_body(struct fixture *f)
{
	struct error err = ERROR_INIT;
	struct db_batch *b = db_batch_new(f->db);
	struct db_rows r;

	db_batch_add(b, "INSERT INTO items (note, n, id) VALUES ($3, $2, $1)",
		     DB_ARGS(DB_Z("a"), DB_I(INT64_MIN), DB_Z("fünf '$1' \xf0\x9f\x8c\x8d")), 1);
	db_batch_add(b, "INSERT INTO items (id, n, note) VALUES ($1, $2, $3)", DB_ARGS(DB_Z("b"), DB_I(7), DB_NONE), 1);
	db_batch_add(b, "INSERT INTO items (id, n, note) VALUES ($1, $2, $3)",
		     DB_ARGS(DB_S(STR_NONE), DB_I(0), DB_S(STR(""))), 1);
	assert_int_equal(db_batch_size(b), 3);
	assert_true(db_commit(f->db, b, &err));
	/* SQLite would number $2 first, by appearance. */
	assert_true(db_query(f->db, f->arena,
			     "SELECT id, n, note, '$1' FROM items WHERE n < $2 AND id >= $1 ORDER BY id",
			     DB_ARGS(DB_S(STR("")), DB_I(8)), &r, &err));
	assert_int_equal(r.count, 3);
	assert_int_equal(r.columns, 4);
	assert_int_equal(db_str(&r, 0, 0).n, 0);
	assert_false(db_null(&r, 0, 2));
	assert_true(str_eqz(db_str(&r, 1, 0), "a"));
	assert_true(db_int(&r, 1, 1) == INT64_MIN);
	assert_true(str_eqz(db_str(&r, 1, 2), "fünf '$1' \xf0\x9f\x8c\x8d"));
	assert_true(str_eqz(db_str(&r, 1, 3), "$1"));
	assert_true(db_null(&r, 2, 2));
	assert_int_equal(db_str(&r, 2, 2).n, 0);
	assert_int_equal(db_int(&r, 2, 2), 0);
}

static void test_values(void **state)
{
	on_co(*state, values_body);
}

static void mistakes_body(struct fixture *f)
{
	struct error err = ERROR_INIT;
	struct db_batch *b;
	struct db_rows r;

	assert_false(db_query(f->db, f->arena, "SELECT nothing FROM nowhere", DB_NO_ARGS, &r, &err));
	assert_int_equal(err.code, ERR_INTERNAL);
	assert_int_equal(r.count, 0);
	assert_false(db_query(f->db, f->arena, "SELECT $1", DB_NO_ARGS, &r, &err));
	assert_int_equal(err.code, ERR_INTERNAL);
	/* The read connection cannot write. */
	assert_false(db_query(f->db, f->arena, "INSERT INTO items (id, n) VALUES ('x', 1)", DB_NO_ARGS, &r, &err));
	/* STRICT and foreign keys are errors of the program, not duplicates. */
	b = db_batch_new(f->db);
	db_batch_add(b, "INSERT INTO parents (id) VALUES (1)", DB_NO_ARGS, 1);
	db_batch_add(b, "INSERT INTO children (parent) VALUES ($1)", DB_ARGS(DB_I(99)), 1);
	assert_false(db_commit(f->db, b, &err));
	assert_int_equal(err.code, ERR_INTERNAL);
	assert_string_equal(err.field, "1");
	b = db_batch_new(f->db);
	db_batch_add(b, "INSERT INTO items (id, n) VALUES ('x', $1)", DB_ARGS(DB_Z("text")), 1);
	assert_false(db_commit(f->db, b, &err));
	assert_int_equal(err.code, ERR_INTERNAL);
	assert_int_equal(count_of(f, f->db), 0);
	/* Nothing to do is done. */
	assert_true(db_commit(f->db, db_batch_new(f->db), &err));
	assert_true(db_healthy(f->db, &err));
}

static void test_mistakes(void **state)
{
	on_co(*state, mistakes_body);
}

static void limit_body(struct fixture *f)
{
	static const char rows_of[] =
	    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < $1) SELECT x FROM c";
	struct error err = ERROR_INIT;
	struct db_rows r;

	assert_true(db_query(f->db, f->arena, rows_of, DB_ARGS(DB_I(10000)), &r, &err));
	assert_int_equal(r.count, 10000);
	assert_int_equal(db_int(&r, 9999, 0), 10000);
	assert_false(db_query(f->db, f->arena, rows_of, DB_ARGS(DB_I(10001)), &r, &err));
	assert_int_equal(err.code, ERR_INTERNAL);
	assert_int_equal(r.count, 0);
}

static void test_limit(void **state)
{
	on_co(*state, limit_body);
}

static void fence_body(struct fixture *f)
{
	struct error err = ERROR_INIT;
	struct db_batch *b;

	assert_true(put(f, "a", 1, &err));
	b = db_batch_new(f->db);
	db_batch_add(b, "INSERT INTO items (id, n) VALUES ('b', 2)", DB_NO_ARGS, 1);
	db_batch_add(b, "UPDATE items SET n = $2 WHERE id = 'a' AND n = $1", DB_ARGS(DB_I(5), DB_I(6)), 1);
	db_batch_add(b, "INSERT INTO items (id, n) VALUES ('c', 3)", DB_NO_ARGS, 1);
	assert_false(db_commit(f->db, b, &err));
	assert_int_equal(err.code, ERR_FENCED);
	assert_string_equal(err.field, "1");
	assert_int_equal(count_of(f, f->db), 1);
	/* A statement that reads counts what it finds. */
	b = db_batch_new(f->db);
	db_batch_add(b, "SELECT 1 FROM items WHERE id = 'a'", DB_NO_ARGS, 1);
	db_batch_add(b, "UPDATE items SET n = 9", DB_NO_ARGS, DB_ANY);
	db_batch_add(b, "DELETE FROM items WHERE n = 10", DB_NO_ARGS, 0);
	assert_true(db_commit(f->db, b, &err));
	assert_false(put(f, "a", 1, &err));
	assert_int_equal(err.code, ERR_DUPLICATE);
	assert_string_equal(err.field, "0");
}

/* What was made once may be tried in one batch after the other. */
static void join_body(struct fixture *f)
{
	struct db_batch *made = db_batch_new(f->db), *b;
	struct error err = ERROR_INIT;
	struct db_rows rows;

	db_batch_add(made, "INSERT INTO items (id, n) VALUES ($1, $2)", DB_ARGS(DB_S(STR("joined")), DB_I(4)), 1);
	b = db_batch_new(f->db);
	db_batch_join(b, made);
	db_batch_add(b, "DELETE FROM items WHERE n = 99", DB_NO_ARGS, 1);
	assert_int_equal(db_batch_size(b), 2);
	assert_false(db_commit(f->db, b, &err));
	assert_int_equal(err.code, ERR_FENCED);
	b = db_batch_new(f->db);
	db_batch_join(b, made);
	assert_true(db_commit(f->db, b, &err));
	db_batch_free(made);
	assert_true(db_query(f->db, f->arena, "SELECT id, n FROM items", DB_NO_ARGS, &rows, &err));
	assert_int_equal(rows.count, 1);
	assert_true(str_eqz(db_str(&rows, 0, 0), "joined"));
}

static void test_join(void **state)
{
	on_co(*state, join_body);
}

static void test_fence(void **state)
{
	on_co(*state, fence_body);
}

/* ---- several at once ---- */

#define WRITERS 40

struct writer {
	struct fixture *f;
	struct db *db;
	int id;
	bool ok;
	struct error err;
};

static void writer_body(void *arg)
{
	struct writer *w = arg;
	struct db_batch *b = db_batch_new(w->db);
	char id[16];

	/* Each third one is wrong in its second statement. */
	snprintf(id, sizeof(id), "w%d", w->id);
	db_batch_add(b, "INSERT INTO items (id, n) VALUES ($1, $2)", DB_ARGS(DB_Z(id), DB_I(w->id)), 1);
	db_batch_add(b, "UPDATE items SET note = 'ok' WHERE id = $1", DB_ARGS(DB_Z(w->id % 3 == 0 ? "none" : id)), 1);
	w->ok = db_commit(w->db, b, &w->err);
}

static struct db *other; /* a second way to the same store */

static void group_body(struct fixture *f)
{
	struct writer *w = xcalloc(WRITERS, sizeof(*w));
	struct error err = ERROR_INIT;
	struct co_group g;
	int i;

	other = db_open(loop, f->conf, &err);
	assert_non_null(other);
	co_group_open(&g);
	for (i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){f, i % 2 == 0 ? f->db : other, i, false, ERROR_INIT};
		assert_true(co_group_spawn(&g, "writer", writer_body, &w[i]));
	}
	co_group_wait(&g);
	for (i = 0; i < WRITERS; i++) {
		assert_int_equal(w[i].ok, i % 3 != 0);
		if (!w[i].ok)
			assert_int_equal(w[i].err.code, ERR_FENCED);
	}
	assert_int_equal(count_of(f, f->db), WRITERS - (WRITERS + 2) / 3);
	assert_int_equal(count_of(f, other), WRITERS - (WRITERS + 2) / 3);
	free(w);
}

static void test_group(void **state)
{
	struct fixture *f = *state;

	on_co(f, group_body);
	db_close(other);
}

/* ---- cancelled waits ---- */

struct canceller {
	struct fixture *f;
	struct co_scope scope;
	bool read_ok, write_ok;
	struct error read_err, write_err;
};

static void cancelled_reader(void *arg)
{
	struct canceller *c = arg;
	struct db_rows r;

	co_scope_enter(&c->scope);
	c->read_ok = db_query(c->f->db, c->f->arena,
			      "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 3000000) "
			      "SELECT MAX(x) FROM c WHERE x > $1",
			      DB_ARGS(DB_I(0)), &r, &c->read_err);
	co_scope_leave(&c->scope);
}

static void cancelled_writer(void *arg)
{
	struct canceller *c = arg;

	co_scope_enter(&c->scope);
	c->write_ok = put(c->f, "kept", 1, &c->write_err);
	co_scope_leave(&c->scope);
}

static void cancel_body(struct fixture *f)
{
	struct canceller r = {.f = f, .scope = {.kind = SCOPE_REQUEST}}, w = r;
	struct co_group g;

	co_group_open(&g);
	assert_true(co_group_spawn(&g, "reader", cancelled_reader, &r));
	assert_true(co_group_spawn(&g, "writer", cancelled_writer, &w));
	co_yield (); /* both have submitted */
	co_scope_cancel(&r.scope, "client gone");
	co_scope_cancel(&w.scope, "client gone");
	co_group_wait(&g);
	assert_false(r.read_ok);
	assert_int_equal(r.read_err.code, ERR_CANCELLED);
	assert_true(w.write_ok); /* the outcome of a submitted batch is always told */
	assert_int_equal(count_of(f, f->db), 1);
}

static void test_cancel(void **state)
{
	on_co(*state, cancel_body);
}

/* ---- the store goes away ---- */

static void test_path(const struct fixture *f, const char *name, char out[128])
{
	snprintf(out, 128, "%s/%s", f->dir, name);
}

static void moved_body(struct fixture *f)
{
	char path[128], away[128];
	struct error err = ERROR_INIT;
	struct db_rows r;

	test_path(f, "aragora.db", path);
	test_path(f, "elsewhere.db", away);
	assert_true(put(f, "a", 1, &err));
	assert_int_equal(rename(path, away), 0);
	/* At once, not only after the next probe. */
	assert_false(put(f, "b", 2, &err));
	assert_int_equal(err.code, ERR_STORAGE);
	assert_string_equal(err.msg, "database file is gone");
	wait_health(f, false);
	assert_false(db_query(f->db, f->arena, "SELECT 1", DB_NO_ARGS, &r, &err));
	assert_int_equal(err.code, ERR_STORAGE);
	assert_int_equal(access(path, F_OK), -1); /* nobody made an empty one */
	assert_int_equal(rename(away, path), 0);
	wait_health(f, true);
	assert_true(put(f, "b", 2, &err));
	assert_int_equal(count_of(f, f->db), 2);
}

static void test_moved(void **state)
{
	on_co(*state, moved_body);
}

static void replaced_body(struct fixture *f)
{
	char path[128], empty[128];
	struct error err = ERROR_INIT;
	int fd;

	test_path(f, "aragora.db", path);
	test_path(f, "empty", empty);
	assert_true(put(f, "old", 1, &err));
	assert_int_equal(count_of(f, f->db), 1);
	/* An empty file is no database of ours. */
	fd = open(empty, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(rename(empty, path), 0);
	assert_false(put(f, "lost", 2, &err));
	wait_health(f, false);
	co_sleep(1200 * MS_US); /* a further probe has looked at it */
	assert_false(db_healthy(f->db, &err));
	/* A real one, with the log of the former beside it. */
	assert_int_equal(unlink(path), 0);
	assert_true(db_migrate(f->conf, test_schema, countof(test_schema), &err));
	wait_health(f, true);
	assert_int_equal(count_of(f, f->db), 0);
	assert_true(put(f, "new", 3, &err));
	assert_int_equal(count_of(f, f->db), 1);
}

static void test_replaced(void **state)
{
	on_co(*state, replaced_body);
}

/* A restored backup shows what it holds, not what the former file's log holds. */
static void restored_body(struct fixture *f)
{
	char path[128], backup[128], command[300];
	struct error err = ERROR_INIT;

	test_path(f, "aragora.db", path);
	test_path(f, "backup.db", backup);
	snprintf(command, sizeof(command), "cp %s %s", path, backup); /* our own close() would drop SQLite's locks */
	assert_true(put(f, "a", 1, &err));
	assert_true(db_checkpoint(f->db, &err));
	assert_int_equal(system(command), 0);
	assert_true(put(f, "b", 2, &err));
	assert_true(put(f, "c", 3, &err));
	assert_int_equal(count_of(f, f->db), 3);
	assert_int_equal(rename(backup, path), 0);
	assert_false(put(f, "lost", 4, &err));
	wait_health(f, false);
	wait_health(f, true);
	assert_int_equal(count_of(f, f->db), 1);
	assert_true(put(f, "d", 4, &err));
	assert_int_equal(count_of(f, f->db), 2);
}

static void test_restored(void **state)
{
	on_co(*state, restored_body);
}

static void write_error_body(struct fixture *f)
{
	struct rlimit old, low;
	struct error err = ERROR_INIT;

	assert_true(put(f, "a", 1, &err));
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = (struct rlimit){4096, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	assert_false(put(f, "b", 2, &err));
	assert_int_equal(err.code, ERR_STORAGE);
	assert_false(db_healthy(f->db, &err));
	assert_int_equal(count_of(f, f->db), 1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	/* By the probe alone, nobody writes. */
	wait_health(f, true);
	assert_true(put(f, "b", 2, &err));
	assert_int_equal(count_of(f, f->db), 2);
}

static void test_write_error(void **state)
{
	signal(SIGXFSZ, SIG_IGN);
	on_co(*state, write_error_body);
}

static void full_body(struct fixture *f)
{
	struct error err = ERROR_INIT;

	assert_false(db_healthy(f->db, &err));
	assert_non_null(strstr(err.msg, "disk full"));
	assert_false(put(f, "a", 1, &err));
	assert_int_equal(err.code, ERR_STORAGE);
	assert_int_equal(count_of(f, f->db), 0); /* reads go on */
}

static void test_full(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;

	db_close(f->db);
	f->conf->storage.min_free_bytes = INT64_MAX;
	f->db = db_open(loop, f->conf, &err);
	assert_non_null(f->db);
	on_co(f, full_body);
	assert_false(db_check_storage(f->conf, &err));
	assert_non_null(strstr(err.msg, f->dir));
}

static void checkpoint_body(struct fixture *f)
{
	struct error err = ERROR_INIT;
	char path[128];
	struct stat before, after;

	test_path(f, "aragora.db", path);
	assert_int_equal(stat(path, &before), 0);
	assert_true(put(f, "a", 1, &err));
	assert_true(db_checkpoint(f->db, &err));
	assert_int_equal(stat(path, &after), 0);
	assert_true(after.st_mtim.tv_nsec != before.st_mtim.tv_nsec || after.st_mtim.tv_sec != before.st_mtim.tv_sec);
	assert_int_equal(count_of(f, f->db), 1);
	assert_true(db_latency_us(f->db) >= 0);
}

static void test_checkpoint(void **state)
{
	on_co(*state, checkpoint_body);
}

#ifdef FAULT_POINTS

/* The COMMIT of the shared transaction fails: both run again alone. Then one that is alone fails. */
static void fault_body(struct fixture *f)
{
	struct writer w[2] = {{f, f->db, 1, false, ERROR_INIT}, {f, f->db, 2, false, ERROR_INIT}};
	struct error err = ERROR_INIT;
	struct co_group g;

	co_group_open(&g);
	assert_true(co_group_spawn(&g, "writer", writer_body, &w[0]));
	assert_true(co_group_spawn(&g, "writer", writer_body, &w[1]));
	co_group_wait(&g);
	assert_true(w[0].ok && w[1].ok);
	assert_int_equal(count_of(f, f->db), 2);
	assert_false(put(f, "a", 1, &err));
	assert_int_equal(err.code, ERR_STORAGE);
	assert_string_equal(err.msg, "disk full");
	assert_int_equal(count_of(f, f->db), 2);
	assert_true(put(f, "a", 1, &err));
	assert_true(db_healthy(f->db, &err));
}

static void test_fault(void **state)
{
	on_co(*state, fault_body);
}

#endif

/* ---- migrations and checks ---- */

static void test_migrations(void **state)
{
	struct fixture *f = *state;
	struct migration m[3] = {test_schema[0],
				 {2, "more", "CREATE TABLE more (x INTEGER) STRICT; SELECT broken", ""},
				 {3, "last", "CREATE TABLE last (x INTEGER) STRICT", ""}};
	struct error err = ERROR_INIT;

	assert_true(db_migrate(f->conf, m, 1, &err)); /* nothing to do */
	assert_false(db_migrate(f->conf, m, 3, &err));
	assert_non_null(strstr(err.msg, "migration 2 (more)"));
	m[1].up = "CREATE TABLE more (x INTEGER) STRICT"; /* the failed one left nothing */
	assert_true(db_migrate(f->conf, m, 3, &err));
	assert_false(db_migrate(f->conf, m, 2, &err));
	assert_non_null(strstr(err.msg, "newer aragorad"));
	m[0].up = "CREATE TABLE items (id TEXT) STRICT";
	assert_false(db_migrate(f->conf, m, 3, &err));
	assert_non_null(strstr(err.msg, "another content"));
}

static void test_check(void **state)
{
	struct fixture *f = *state;
	char deep[128], path[128];
	struct error err = ERROR_INIT;
	struct conf *c;
	struct stat st;
	FILE *file;

	test_path(f, "a/b/c", deep);
	c = store_conf(deep, test_dsn);
	assert_true(db_check_storage(c, &err));
	test_path(f, "a/b/c/keys", path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_null(db_open(loop, c, &err)); /* a running server makes no database */
	assert_int_equal(err.code, ERR_STORAGE);
	test_path(f, "a/b/c/aragora.db", path);
	assert_int_equal(access(path, F_OK), -1);
	file = fopen(path, "w");
	assert_non_null(file);
	for (int i = 0; i < 1000; i++)
		fputs("this is not a database ", file);
	fclose(file);
	assert_false(db_check_storage(c, &err));
	assert_non_null(strstr(err.msg, "aragora.db"));
	assert_non_null(strstr(err.msg, "not a database"));
	conf_unref(c);
	c = store_conf(path, test_dsn); /* a file in place of the directory */
	assert_false(db_check_storage(c, &err));
	assert_non_null(strstr(err.msg, "aragora.db"));
	conf_unref(c);
}

/* What PostgreSQL cannot hold becomes U+FFFD on either store. */
static void clean_body(struct fixture *f)
{
	const struct str plain = STR("ä"), dirty = {"a\0b\xff\xc3\xa4", 6};
	struct error err = ERROR_INIT;
	struct db_batch *b = db_batch_new(f->db);
	struct db_rows r;

	db_batch_add(b, "INSERT INTO items (id, n, note) VALUES ('d', 1, $1)", DB_ARGS(DB_S(dirty)), 1);
	assert_true(db_commit(f->db, b, &err));
	assert_true(
	    db_query(f->db, f->arena, "SELECT note FROM items WHERE note = $1", DB_ARGS(DB_S(dirty)), &r, &err));
	assert_int_equal(r.count, 1);
	assert_true(str_eqz(db_str(&r, 0, 0), "a\xef\xbf\xbd"
					      "b\xef\xbf\xbd\xc3\xa4"));
	assert_ptr_equal(db_clean(f->arena, plain).p, plain.p);
}

static void test_clean(void **state)
{
	on_co(*state, clean_body);
}

/* A migration of the common dialect in PostgreSQL's words. */
static void test_dialect(void **state)
{
	static const struct {
		const char *common, *pg;
	} cases[] = {
	    {"CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT NOT NULL DEFAULT 'TEXT, STRICT') STRICT;",
	     "CREATE TABLE t (a BIGINT PRIMARY KEY, b TEXT COLLATE \"C\" NOT NULL DEFAULT 'TEXT, STRICT') ;"},
	    {"CREATE TABLE t (a REAL) STRICT, WITHOUT ROWID; CREATE INDEX i ON t(a)",
	     "CREATE TABLE t (a DOUBLE PRECISION)   ; CREATE INDEX i ON t(a)"},
	    {"CREATE TABLE t (a TEXT) WITHOUT ROWID, STRICT", "CREATE TABLE t (a TEXT COLLATE \"C\")   "},
	    {"UPDATE t SET text = CAST(a AS TEXT), MY_INTEGER = 1",
	     "UPDATE t SET text = CAST(a AS TEXT), MY_INTEGER = 1"},
	    {"CREATE TABLE t (a TEXT);" DB_ONLY_SQLITE "CREATE VIRTUAL TABLE v USING fts5(a);" DB_ONLY_END DB_ONLY_PG
	     "CREATE INDEX g ON t USING GIN (a);" DB_ONLY_CLOSE "DROP TABLE x;",
	     "CREATE TABLE t (a TEXT COLLATE \"C\");CREATE INDEX g ON t USING GIN (a);DROP TABLE x;"},
	};
	struct buf b = BUF_INIT;
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		buf_clear(&b);
		db_pg_translate(&b, cases[i].common);
		assert_string_equal(b.p, cases[i].pg);
	}
	buf_free(&b);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, store_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef FAULT_POINTS
	    TEST(test_fault), /* first: faults count passages of the process */
#endif
	    TEST(test_values),     TEST(test_mistakes),   TEST(test_limit),       TEST(test_fence),
	    TEST(test_join),       TEST(test_group),      TEST(test_cancel),      TEST(test_moved),
	    TEST(test_replaced),   TEST(test_restored),   TEST(test_write_error), TEST(test_full),
	    TEST(test_checkpoint), TEST(test_migrations), TEST(test_check),       TEST(test_clean),
	    TEST(test_dialect),
	};

	const struct CMUnitTest any[] = {
	    TEST(test_values), TEST(test_mistakes), TEST(test_limit),      TEST(test_fence), TEST(test_join),
	    TEST(test_group),  TEST(test_cancel),   TEST(test_migrations), TEST(test_clean),
	};

	test_dsn = getenv("ARAGORA_TEST_DSN");
	if (test_dsn != NULL)
		return cmocka_run_group_tests_name("db on PostgreSQL", any, NULL, NULL);
	setenv("ARAGORA_FAULT", "db.full=fail@1,db.full=fail@3", 1);
	return cmocka_run_group_tests_name("db", tests, NULL, NULL);
}
