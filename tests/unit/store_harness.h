/* SPDX-License-Identifier: MIT */
/*
 * A store of the test's own, migrated and open, and bodies that run on a coroutine against it. Included by tests that
 * read and write: SQLite in a new directory, or the PostgreSQL database of a DSN, which is emptied.
 */
#ifndef TESTS_UNIT_STORE_HARNESS_H
#define TESTS_UNIT_STORE_HARNESS_H

#include <ftw.h>
#include <sys/stat.h>

#include "common/conf.h"
#include "common/db.h"
#include "common/db_pg.h"
#include "tests/unit/co_harness.h"

struct fixture {
	char dir[64];
	struct conf *conf;
	struct db *db;
	struct arena *arena;
	/* of the coroutine that runs */
	void (*body)(struct fixture *f);
	bool done;
};

/* The configuration of a store in dir, or behind dsn unless that is NULL. */
static inline struct conf *store_conf(const char *dir, const char *dsn)
{
	const struct conf_override o[] = {
	    {"storage.data_dir", dir}, {"storage.min_free_bytes", "0"}, {"storage.dsn", dsn}};
	struct buf report = BUF_INIT;
	struct conf *c = conf_load(NULL, false, o, countof(o) - (dsn == NULL), &report);

	if (c == NULL)
		fail_msg("%s", report.p);
	buf_free(&report);
	return c;
}

static inline void store_empty(const struct conf *c)
{
	struct error err = ERROR_INIT;
	PGconn *pg = db_pg_connect(c, &err);

	if (pg == NULL ||
	    !db_pg_exec(pg, "SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public", NULL,
			&err))
		fail_msg("%s", err.msg);
	PQfinish(pg);
}

/* Makes *state a fixture with an open store of this schema; for the setup function of cmocka. */
static inline int store_set_up(void **state, const char *dsn, const struct migration *schema, size_t n)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct error err = ERROR_INIT;

	snprintf(f->dir, sizeof(f->dir), "/tmp/aragora-store-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->conf = store_conf(f->dir, dsn);
	loop_begin();
	f->arena = arena_new(0);
	if (dsn != NULL)
		store_empty(f->conf);
	if (!db_check_storage(f->conf, &err) || !db_migrate(f->conf, schema, n, &err))
		fail_msg("%s", err.msg);
	f->db = db_open(loop, f->conf, &err);
	if (f->db == NULL)
		fail_msg("%s", err.msg);
	*state = f;
	return 0;
}

static inline int store_remove(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static inline int store_tear_down(void **state)
{
	struct fixture *f = *state;

	arena_free(f->arena);
	db_close(f->db);
	loop_end();
	conf_unref(f->conf);
	nftw(f->dir, store_remove, 8, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

static inline void store_body(void *arg)
{
	struct fixture *f = arg;

	f->body(f);
	f->done = true;
}

/* Runs body on a coroutine until it has ended. */
static inline void on_co(struct fixture *f, void (*body)(struct fixture *f))
{
	f->body = body;
	f->done = false;
	spawn(store_body, f);
	while (!f->done)
		loop_turn(loop, true);
}

#endif
