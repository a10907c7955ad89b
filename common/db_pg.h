/* SPDX-License-Identifier: MIT */
/*
 * PostgreSQL for those who may wait: start-up checks, subcommands and the store's connecting thread. Private to
 * common/db*.c and master/commands; areas use db.h. Everything here blocks.
 */
#ifndef COMMON_DB_PG_H
#define COMMON_DB_PG_H

#include <postgresql/libpq-fe.h>

#include "common/db.h"

/* The DSN as libpq reads it: "postgresql+asyncpg://", as some programs write it, is "postgresql://". To be freed. */
char *db_pg_dsn(const char *dsn);

/*
 * A connection to the server that storage.dsn names, ready for SQL in UTF-8; every form that libpq knows: URI or
 * keywords, several hosts, Unix sockets, TLS, pass files, service files. Waits 5 s per address unless the DSN has its
 * own connect_timeout. NULL with one line for the operator, without secrets. The caller ends it with PQfinish.
 */
PGconn *db_pg_connect(const struct conf *c, struct error *err) MUST_CHECK;
/*
 * As db_pg_connect, but a server that is starting, full or not there yet is asked again until storage.pool_timeout has
 * passed: containers start in any order. What waiting cannot cure (password, database, TLS) fails at once.
 */
PGconn *db_pg_connect_patiently(const struct conf *c, struct error *err) MUST_CHECK;

/* Runs one or several statements without parameters; *count (may be NULL) is the last one's number of rows. */
bool db_pg_exec(PGconn *pg, const char *sql, int64_t *count, struct error *err) MUST_CHECK;
/* One statement with parameters, in text form. The result is the caller's (PQclear); NULL with err. */
PGresult *db_pg_run(PGconn *pg, const char *sql, const struct db_val *args, size_t n, struct error *err) MUST_CHECK;
/* Fills err from a failed result (or, with NULL, from the connection) as db.h says; returns false. */
bool db_pg_fail(PGconn *pg, const PGresult *r, struct error *err);

/*
 * Statements of a migration, written in the common dialect (that is SQLite's), in PostgreSQL's: INTEGER is BIGINT, TEXT
 * compares by bytes, REAL is DOUBLE PRECISION, STRICT and WITHOUT ROWID are dropped. Only words in upper
 * case outside quotes are looked at. What one store alone has is marked, see struct migration in db.h. Clears nothing,
 * appends to out.
 */
void db_pg_translate(struct buf *out, const char *sql);

/*
 * Inside a transaction: waits until no other node migrates this database; released at the end of the transaction, so
 * that it also works behind a pooler of transactions.
 */
bool db_pg_migrate_lock(PGconn *pg, struct error *err) MUST_CHECK;
/* Makes the tables that the store itself needs, schema_migrations and commit_marks, unless they are there. */
bool db_pg_migrate_tables(PGconn *pg, struct error *err) MUST_CHECK;

#endif
