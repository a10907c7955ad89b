/* SPDX-License-Identifier: MIT */
/*
 * Numbered migrations on PostgreSQL: each in a transaction of its own that first takes the database's migration lock,
 * so that any number of nodes may start at once, also through a pooler of transactions. Called by the start-up child
 * and by `aragorad migrate`. Never runs in a worker and never goes down.
 */
#include "common/db_store.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/db_pg.h"

/* "aragorad" in hexadecimal: the name of the lock among the database's advisory locks. */
#define MIGRATE_LOCK "SELECT pg_advisory_xact_lock(x'617261676f726164'::bigint)"

/*
 * commit_marks: one row per connection of a worker, counting its transactions, so that after a lost connection it can
 * be told which of them were committed (db_pg_commit.c).
 */
static const char migrate_tables[] =
    "CREATE TABLE IF NOT EXISTS schema_migrations ("
    " number INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL"
    ") STRICT;"
    "CREATE TABLE IF NOT EXISTS commit_marks ("
    " id TEXT PRIMARY KEY NOT NULL, seq INTEGER NOT NULL, mask INTEGER NOT NULL,"
    " closed INTEGER NOT NULL DEFAULT 0, used_at INTEGER NOT NULL"
    ") STRICT";

bool db_pg_migrate_lock(PGconn *pg, struct error *err)
{
	return db_pg_exec(pg, MIGRATE_LOCK, NULL, err);
}

static bool migrate_exec(PGconn *pg, const char *sql, struct error *err)
{
	struct buf text = BUF_INIT;
	bool ok;

	db_pg_translate(&text, sql);
	ok = text.n == 0 || db_pg_exec(pg, text.p, NULL, err); /* all of it may be SQLite's */
	buf_free(&text);
	return ok;
}

bool db_pg_migrate_tables(PGconn *pg, struct error *err)
{
	/* "already exists, skipping" is no news. */
	return db_pg_exec(pg, "SET LOCAL client_min_messages = warning", NULL, err) &&
	       migrate_exec(pg, migrate_tables, err);
}

/* What is recorded must be what this program has under the same number. */
static bool migrate_check(const PGresult *r, int row, const struct migration *m, size_t n, struct error *err)
{
	const char *name = PQgetvalue(r, row, 1);
	char hex[SHA256_HEX];
	int64_t number;
	size_t i;

	if (!str_to_i64(str_of(PQgetvalue(r, row, 0)), 0, INT32_MAX, &number))
		return error_set(err, ERR_CONFLICT, "schema_migrations holds \"%.40s\" as a number",
				 PQgetvalue(r, row, 0));
	for (i = 0; i < n && m[i].number != number; i++)
		;
	if (i == n)
		return error_set(err, ERR_CONFLICT,
				 "the database was written by a newer aragorad (migration %d: %.100s)", (int)number,
				 name);
	crypto_sha256_hex(str_of(m[i].up), hex);
	if (strcmp(hex, PQgetvalue(r, row, 2)) != 0)
		return error_set(err, ERR_CONFLICT, "migration %d (%.100s) was applied with another content",
				 (int)number, name);
	return true;
}

/* *next: the first migration behind the highest applied, or n. */
static bool migrate_applied(PGconn *pg, const struct migration *m, size_t n, size_t *next, struct error *err)
{
	PGresult *r =
	    db_pg_run(pg, "SELECT number, name, checksum FROM schema_migrations ORDER BY number", DB_NO_ARGS, err);
	int64_t last = 0;
	bool ok = r != NULL;
	int i;

	for (i = 0; ok && i < PQntuples(r); i++)
		ok = migrate_check(r, i, m, n, err) && str_to_i64(str_of(PQgetvalue(r, i, 0)), 0, INT32_MAX, &last);
	PQclear(r);
	for (*next = 0; *next < n && m[*next].number <= last; (*next)++)
		;
	return ok;
}

static bool migrate_apply(PGconn *pg, const struct migration *m, struct error *err)
{
	struct error why = ERROR_INIT;
	char hex[SHA256_HEX];
	PGresult *r = NULL;

	crypto_sha256_hex(str_of(m->up), hex);
	if (migrate_exec(pg, m->up, &why))
		r = db_pg_run(
		    pg, "INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES ($1, $2, $3, $4)",
		    DB_ARGS(DB_I(m->number), DB_Z(m->name), DB_Z(hex), DB_I(clock_wall_ms())), &why);
	if (r == NULL)
		return error_set(err, why.code, "migration %d (%.60s): %.150s", m->number, m->name, why.msg);
	PQclear(r);
	return true;
}

/* One turn under the lock. *done: nothing was left to do. */
static bool migrate_one(PGconn *pg, const struct migration *m, size_t n, bool *done, struct error *err)
{
	size_t next;
	bool ok;

	ok = db_pg_exec(pg, "BEGIN", NULL, err) && db_pg_migrate_lock(pg, err) && db_pg_migrate_tables(pg, err) &&
	     migrate_applied(pg, m, n, &next, err);
	*done = ok && next == n;
	ok = ok && (*done || migrate_apply(pg, &m[next], err)) && db_pg_exec(pg, "COMMIT", NULL, err);
	if (!ok && PQtransactionStatus(pg) != PQTRANS_IDLE)
		PQclear(PQexec(pg, "ROLLBACK"));
	return ok;
}

bool db_pg_migrate(const struct conf *c, const struct migration *m, size_t n, struct error *err)
{
	PGconn *pg = db_pg_connect(c, err);
	bool ok = pg != NULL, done = false;
	size_t i;

	for (i = 1; i < n; i++)
		BUG_ON(m[i].number <= m[i - 1].number);
	while (ok && !done)
		ok = migrate_one(pg, m, n, &done, err);
	if (!ok && PQstatus(pg) == CONNECTION_BAD)
		err->code = ERR_UNAVAILABLE; /* a session that was ended says nothing about the migration */
	PQfinish(pg);
	return ok;
}
