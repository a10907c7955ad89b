/* SPDX-License-Identifier: MIT */
/*
 * Reads on PostgreSQL: one statement, its rows copied row by row so that no answer can outgrow its bounds. What a
 * broken connection or a restart of the server interrupts is asked again until storage.pool_timeout has passed. Called
 * through db.c.
 */
#include "common/db_pg_store.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/metrics.h"

#define QUERY_PAUSE_US (20 * MS_US)
#define PG_BOOL 16 /* pg_type.dat */

struct pg_read {
	struct pg_store *store;
	const char *sql;
	const struct db_val *args;
	size_t n;
	struct db_val *cells; /* text cells hold their offset in `text` until the end */
	size_t count, columns, cap;
	struct buf text;
	bool cancelled;
	struct error error;
};

static void pg_read_free(void *arg)
{
	struct pg_read *r = arg;

	free(r->cells);
	buf_free(&r->text);
	free(r);
}

static void pg_read_reset(struct pg_read *r)
{
	r->count = 0;
	buf_clear(&r->text);
}

/* Types whose values are integers to us (pg_type.dat): int8, int2, int4, oid, float4, float8, numeric. */
static bool pg_is_number(Oid type)
{
	static const Oid numbers[] = {20, 21, 23, 26, 700, 701, 1700};
	size_t i;

	for (i = 0; i < countof(numbers) && numbers[i] != type; i++)
		;
	return i < countof(numbers);
}

static struct db_val pg_cell(struct pg_read *r, const PGresult *res, int row, int column)
{
	const char *text = PQgetvalue(res, row, column);
	struct str s = {text, (size_t)PQgetlength(res, row, column)};
	struct db_val v;

	if (PQgetisnull(res, row, column) == 1)
		return DB_NONE;
	if (PQftype(res, column) == PG_BOOL)
		return DB_I(text[0] == 't');
	if (pg_is_number(PQftype(res, column)))
		return DB_I(strtoll(text, NULL, 10)); /* of a sum or an average the whole part */
	v = (struct db_val){.type = DB_TEXT, .i = (int64_t)r->text.n, .s = {NULL, s.n}};
	buf_add(&r->text, s);
	return v;
}

static bool pg_read_row(struct pg_read *r, const PGresult *res, int row)
{
	size_t column;

	if (r->count == DB_ROWS_MAX)
		return error_set(&r->error, ERR_INTERNAL, "more than %d rows: %.160s", DB_ROWS_MAX, r->sql);
	if (r->count == r->cap) {
		r->cap = r->cap > 0 ? 2 * r->cap : 16;
		r->cells = xrealloc(r->cells, (r->cap * r->columns + 1) * sizeof(*r->cells));
	}
	for (column = 0; column < r->columns; column++)
		r->cells[r->count * r->columns + column] = pg_cell(r, res, row, (int)column);
	if (r->text.overflow)
		return error_set(&r->error, ERR_INTERNAL, "more than %zu bytes: %.160s", DB_BYTES_MAX, r->sql);
	r->count++;
	return true;
}

/* One result of the statement: a row, the end of the rows, or an error. */
static enum pg_fault pg_read_result(struct pg_read *r, const PGresult *res)
{
	ExecStatusType status = PQresultStatus(res);
	int row;

	if (status == PGRES_SINGLE_TUPLE || status == PGRES_TUPLES_OK) {
		r->columns = (size_t)PQnfields(res);
		for (row = 0; row < PQntuples(res); row++)
			if (!pg_read_row(r, res, row))
				return PG_MISTAKE;
		return PG_NONE;
	}
	if (status == PGRES_COMMAND_OK || status == PGRES_PIPELINE_ABORTED)
		return PG_NONE;
	pg_fault_error(pg_fault_of(res), PQresultErrorMessage(res), &r->error);
	return pg_fault_of(res);
}

static enum pg_fault pg_read_ended(struct pg_read *r, enum pg_io io, const char *broke)
{
	const struct co_scope *scope;

	switch (io) {
	case PG_IO_TIMEOUT:
		log_warn("db", "a statement took longer than storage.statement_timeout", KV_S("sql", r->sql));
		error_set(&r->error, ERR_STORAGE, "%s", PG_TOO_LONG);
		return PG_STORAGE;
	case PG_IO_ENDED:
		scope = co_ended_by();
		r->cancelled = true;
		error_set(&r->error, ERR_CANCELLED, "%s",
			  scope != NULL && scope->why != NULL ? scope->why : "cancelled");
		return PG_STORAGE;
	case PG_IO_RESULT:
	case PG_IO_LOST:
		break;
	}
	if (r->error.code == ERR_OK) /* else the server said why before it closed */
		pg_fault_error(PG_LOST, broke[0] != '\0' ? broke : "the connection to the database broke", &r->error);
	return PG_LOST;
}

/* Sends and reads to the Sync. *left: the connection still has something under way. */
CO_FN static enum pg_fault pg_read_run(struct pg_read *r, struct pg_conn *c, bool *left)
{
	const struct pg_sql *q = pg_sql_get(&r->store->sqls, r->sql, DB_ANY, r->args, r->n);
	int64_t deadline = clock_mono_us() + r->store->conf->storage.statement_timeout;
	enum pg_fault fault = PG_NONE, f;
	enum pg_io io;
	PGresult *res;
	bool prepares, sync = false, ended = false;

	*left = true;
	if (!pg_conn_send(c, q, r->args, r->n, &prepares, &r->error) || !pg_conn_sync(c))
		return PG_LOST;
	if (!prepares)
		(void)PQsetSingleRowMode(c->pg);
	while (!sync && (io = pg_conn_next(c, deadline, &res)) == PG_IO_RESULT) {
		sync = PQresultStatus(res) == PGRES_PIPELINE_SYNC;
		f = res == NULL || sync ? PG_NONE : pg_read_result(r, res);
		fault = fault == PG_NONE ? f : fault;
		if (res == NULL && prepares && !ended) {
			ended = true; /* of the preparation; the rows come next */
			c->prepared[q->number] = fault == PG_NONE;
			(void)PQsetSingleRowMode(c->pg);
		}
		PQclear(res);
		if (r->error.code == ERR_INTERNAL && fault == PG_MISTAKE && r->count > 0)
			return fault; /* too much: not waited for */
	}
	*left = !sync;
	return sync ? fault : pg_read_ended(r, io, PQerrorMessage(c->pg));
}

/* The connection goes where its state allows. */
static void pg_read_part(struct pg_conn *c, enum pg_fault fault, bool left, const char *why)
{
	if (fault == PG_LOST || fault == PG_UNPREPARED || fault == PG_STALE)
		pg_discard(c, fault, why);
	else if (left)
		pg_abandon(c);
	else
		pg_release(c);
}

static bool pg_may_repeat(enum pg_fault fault)
{
	return fault == PG_LOST || fault == PG_UNPREPARED || fault == PG_STALE || fault == PG_AGAIN;
}

static bool pg_no_connection(struct pg_read *r, enum co_end end)
{
	if (end == CO_ENDED) {
		(void)pg_read_ended(r, PG_IO_ENDED, "");
		return false;
	}
	return pg_unavailable(r->store, &r->error);
}

CO_FN static bool pg_read_until(struct pg_read *r, int64_t deadline)
{
	enum pg_fault fault;
	struct pg_conn *c;
	struct pg_wait w;
	enum co_end end;
	bool left;

	for (;;) {
		c = pg_acquire(r->store, deadline, &w, NULL, &end);
		if (c == NULL)
			return pg_no_connection(r, end);
		r->error = ERROR_INIT;
		fault = pg_read_run(r, c, &left);
		if (!left)
			pg_heard(r->store);
		pg_read_part(c, fault, left, r->error.msg);
		if (!pg_may_repeat(fault) || clock_mono_us() >= deadline)
			return fault == PG_NONE;
		metric_add(M_DB_RETRIES, 1, NULL);
		pg_read_reset(r);
		if (co_sleep(QUERY_PAUSE_US + ids_uniform(QUERY_PAUSE_US)) == CO_ENDED)
			return pg_no_connection(r, CO_ENDED);
	}
}

/* A mistake of the program: what writes goes through a batch. */
static bool pg_reads_only(const char *sql)
{
	return strncmp(sql, "SELECT", 6) == 0 || strncmp(sql, "WITH", 4) == 0;
}

CO_FN bool db_pg_query(struct db *db, struct arena *a, const char *sql, const struct db_val *args, size_t n,
		       struct db_rows *rows, struct error *err)
{
	struct pg_read *r = xcalloc(1, sizeof(*r));
	int64_t begun = clock_mono_us();
	bool ok;
	size_t i;

	BUG_ON(co_self() == NULL);
	*r = (struct pg_read){
	    .store = pg_store_of(db), .sql = sql, .args = args, .n = n, .text = BUF_LIMIT(DB_BYTES_MAX)};
	ok = pg_reads_only(sql) ? pg_read_until(r, pg_patience(r->store))
				: error_set(&r->error, ERR_INTERNAL, "not a statement that reads: %.160s", sql);
	metric_observe(M_DB_QUERY, (double)(clock_mono_us() - begun) / (double)SEC_US, NULL);
	if (!ok) {
		if (!r->cancelled)
			metric_add(M_DB_ERRORS, 1, NULL);
		if (err != NULL)
			*err = r->error;
		pg_read_free(r);
		return false;
	}
	for (i = 0; i < r->count * r->columns; i++)
		if (r->cells[i].type == DB_TEXT)
			r->cells[i].s.p = r->cells[i].s.n > 0 ? r->text.p + r->cells[i].i : "";
	arena_defer(a, pg_read_free, r);
	*rows = (struct db_rows){r->count, r->columns, r->cells};
	return true;
}
