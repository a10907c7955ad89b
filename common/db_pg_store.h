/* SPDX-License-Identifier: MIT */
/*
 * Private to common/db_pg*.c: the PostgreSQL store of one process, its connections and what travels on them.
 *
 * A connection is used by one coroutine at a time. Everything between two Syncs of the pipeline is one transaction: a
 * batch is sent whole, with its Sync, and is committed or rolled back by the server without a word from us.
 */
#ifndef COMMON_DB_PG_STORE_H
#define COMMON_DB_PG_STORE_H

#include "common/co.h"
#include "common/db_pg.h"
#include "common/db_store.h"
#include "common/ids.h"
#include "common/lane.h"
#include "common/loop.h"

/* ---- errors (db_pg_error.c) ---- */

enum pg_fault {
	PG_NONE,
	PG_MISTAKE,    /* of the program */
	PG_FENCED,     /* other row counts than expected */
	PG_DUPLICATE,  /* a unique key exists */
	PG_AGAIN,      /* rolled back because of others: repeat */
	PG_LOST,       /* the connection is of no use any more */
	PG_UNPREPARED, /* prepared statements do not work here: a pooler of transactions */
	PG_STALE,      /* what was prepared no longer fits: another connection */
	PG_STORAGE     /* the server cannot do it now */
};

#define PG_TOO_LONG "the database took longer than storage.statement_timeout"

/* NULL: the connection broke. */
enum pg_fault pg_fault_of(const PGresult *r);
/* A message of libpq in one line of at most n bytes with the NUL. */
void pg_message(const char *text, char *out, size_t n);
/* Fills err as db.h says; returns false. */
bool pg_fault_error(enum pg_fault fault, const char *text, struct error *err);

/* ---- statements (db_pg_sql.c) ---- */

#define PG_PARAMS_MAX 64
/* What the server says when a count is not the expected one: a text that is no number, so that the cast fails. */
#define PG_FENCE_MARK "aragora rows:"

/* Parameters in binary form: text with its length, integers as int8. They point into the values. */
struct pg_params {
	Oid types[PG_PARAMS_MAX];
	const char *values[PG_PARAMS_MAX];
	int lengths[PG_PARAMS_MAX];
	int formats[PG_PARAMS_MAX];
	uint64_t numbers[PG_PARAMS_MAX];
};
void pg_params_fill(struct pg_params *p, const struct db_val *args, size_t n);

/* A statement as the server gets it. */
struct pg_sql {
	struct pg_sql *next;
	const char *sql; /* address of the caller's text: the quick key */
	char *copy;      /* what stood there */
	int64_t expect;
	char types[PG_PARAMS_MAX + 1]; /* of the parameters, as the server is told */
	char *text;
	char name[40]; /* of the prepared statement, made from its text */
	size_t number; /* in this process */
};

#define PG_SQL_SETS 256
struct pg_sqls {
	struct pg_sql *sets[PG_SQL_SETS];
	size_t count;
};
const struct pg_sql *pg_sql_get(struct pg_sqls *s, const char *sql, int64_t expect, const struct db_val *args,
				size_t n);
void pg_sqls_free(struct pg_sqls *s);

/* ---- connections (db_pg_conn.c) ---- */

#define PG_MARK_DAYS 2      /* rows of commit_marks unused for so long belong to nobody */
#define PG_PREPARED_MAX 512 /* of one connection; further statements go unprepared */

/* What the connecting thread makes. */
struct pg_ready {
	const struct conf *conf;
	PGconn *pg; /* NULL: failed, see error */
	struct error error;
	bool pooler; /* sessions are not ours: nothing prepared, settings per transaction */
	char mark[UUID_LEN + 1];
};
/* Blocking: connects, finds out about a pooler, sets up the session, makes the mark. */
void pg_ready_make(struct pg_ready *r);

enum pg_use {
	PG_IDLE,
	PG_BUSY,  /* a coroutine has it */
	PG_PROBE, /* asks the server whether it is there */
	PG_DRAIN  /* its reader has left; what is still coming is thrown away */
};

struct pg_conn {
	struct pg_store *store;
	struct pg_conn *next;
	PGconn *pg;
	struct event read, write;
	enum pg_use use;
	int64_t since_us; /* in this use */
	struct co *waiter;
	bool pooler;
	char mark[UUID_LEN + 1];
	int64_t seq; /* of the last group of batches sent */
	bool prepared[PG_PREPARED_MAX];
};

struct pg_conn *pg_conn_new(struct pg_store *s, struct pg_ready *r);
/* Ends it, whatever is under way. */
void pg_conn_close(struct pg_conn *c);

/* Puts a statement into the pipeline, before it its preparation if there is need: *prepares. False: broken,
 * or out of memory. */
bool pg_conn_send(struct pg_conn *c, const struct pg_sql *q, const struct db_val *args, size_t n, bool *prepares,
		  struct error *err) MUST_CHECK;
bool pg_conn_sync(struct pg_conn *c) MUST_CHECK;

enum pg_io { PG_IO_RESULT, PG_IO_LOST, PG_IO_TIMEOUT, PG_IO_ENDED };
/*
 * The next result; NULL is the end of one statement's results. The caller clears it. PG_IO_ENDED: a scope ended the
 * wait.
 */
CO_FN enum pg_io pg_conn_next(struct pg_conn *c, int64_t deadline, PGresult **r);

/* ---- the store (db_pg.c) ---- */

struct pg_submit;

/* Somebody who waits for a connection; on the waiting coroutine's stack. */
struct pg_wait {
	struct co *co;
	struct pg_conn *conn; /* given */
	struct pg_wait *next, *prev;
	bool queued;
};

struct pg_store {
	struct db db;
	struct loop *loop;
	struct conf *conf;
	struct lane *lane; /* connecting, cancelling */
	struct pg_sqls sqls;
	struct pg_conn *conns;
	unsigned open, connecting, size;
	struct pg_wait *first, *last;
	unsigned waiting;
	struct pg_submit *batches, **batches_end; /* not yet taken by a leader */
	struct loop_timer tick;
	int64_t connect_at; /* not before; backs off */
	unsigned failures;  /* of connecting, in a row */
	bool up, was_up, closing, pooler;
	char why[200];      /* while not up */
	int64_t latency_us; /* of the last probe */
	int64_t heard_us;   /* the server last answered */
	unsigned jobs;
};

struct pg_store *pg_store_of(struct db *db);
/* The deadline of a wait that begins now. */
int64_t pg_patience(const struct pg_store *s);
/*
 * Waits for a connection of the pool until `deadline` (0: for ever) or, if `stop` is not NULL, until it is true.
 * NULL with *end.
 */
CO_FN struct pg_conn *pg_acquire(struct pg_store *s, int64_t deadline, struct pg_wait *w, const bool *stop,
				 enum co_end *end);
/* Back into the pool, or to the next who waits. */
void pg_release(struct pg_conn *c);
/* The reader has left or the time is up: the connection empties itself, or is closed after a second. */
void pg_abandon(struct pg_conn *c);
/* A connection that is of no use: closed, and replaced when there is need. */
void pg_discard(struct pg_conn *c, enum pg_fault fault, const char *why);
/* Names the reason why there is no connection; returns false. */
bool pg_unavailable(const struct pg_store *s, struct error *err);
/* The server did answer. */
void pg_heard(struct pg_store *s);

/* db_pg_query.c, db_pg_commit.c */
CO_FN bool db_pg_query(struct db *db, struct arena *a, const char *sql, const struct db_val *args, size_t n,
		       struct db_rows *rows, struct error *err);
CO_FN bool db_pg_commit(struct db *db, struct db_batch *b, struct error *err);

#endif
