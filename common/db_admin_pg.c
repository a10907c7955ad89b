/* SPDX-License-Identifier: MIT */
/*
 * Administration of a PostgreSQL database: one connection, results as the cells that SQLite gives too. Called through
 * db_admin.c. Makes no tables by itself.
 */
#include "common/conf.h"
#include "common/db_admin_store.h"
#include "common/db_pg.h"

/* Of pg_type.dat; libpq's headers do not name them. */
#define PG_BOOL 16
#define PG_INT8 20
#define PG_INT2 21
#define PG_INT4 23
#define PG_NUMERIC 1700 /* what SUM makes of integers */

struct dba_server {
	struct dba dba;
	PGconn *pg;
};

static PGconn *dba_pg_of(struct dba *d)
{
	return container_of(d, struct dba_server, dba)->pg;
}

static bool dba_pg_exec(struct dba *d, const char *sql, struct error *err)
{
	return db_pg_exec(dba_pg_of(d), sql, NULL, err);
}

static bool dba_pg_define(struct dba *d, const char *sql, struct error *err)
{
	struct buf text = BUF_INIT;
	bool ok;

	db_pg_translate(&text, sql);
	ok = db_pg_exec(dba_pg_of(d), text.p, NULL, err);
	buf_free(&text);
	return ok;
}

static bool dba_pg_run(struct dba *d, const char *sql, const struct db_val *args, size_t n, int64_t *rows,
		       struct error *err)
{
	PGresult *r = db_pg_run(dba_pg_of(d), sql, args, n, err);
	int64_t touched = 0;

	if (r == NULL)
		return false;
	if (rows != NULL)
		*rows = str_to_i64(str_of(PQcmdTuples(r)), 0, INT64_MAX, &touched) ? touched : PQntuples(r);
	PQclear(r);
	return true;
}

static struct db_val dba_pg_cell(struct arena *a, const PGresult *r, int row, int column)
{
	struct str text = {PQgetvalue(r, row, column), (size_t)PQgetlength(r, row, column)};
	Oid type = PQftype(r, column);
	int64_t number;

	if (PQgetisnull(r, row, column))
		return DB_NONE;
	if (type == PG_BOOL)
		return DB_I(str_eqz(text, "t"));
	if ((type == PG_INT8 || type == PG_INT4 || type == PG_INT2 || type == PG_NUMERIC) &&
	    str_to_i64(text, INT64_MIN, INT64_MAX, &number))
		return DB_I(number);
	return DB_S(arena_str(a, text));
}

static bool dba_pg_query(struct dba *d, struct arena *a, const char *sql, const struct db_val *args, size_t n,
			 struct db_rows *rows, struct error *err)
{
	PGresult *r = db_pg_run(dba_pg_of(d), sql, args, n, err);
	struct db_val *cells;

	if (r == NULL)
		return false;
	rows->count = (size_t)PQntuples(r);
	rows->columns = (size_t)PQnfields(r);
	cells = arena_alloc(a, (rows->count * rows->columns + 1) * sizeof(*cells));
	for (size_t i = 0; i < rows->count * rows->columns; i++)
		cells[i] = dba_pg_cell(a, r, (int)(i / rows->columns), (int)(i % rows->columns));
	rows->cells = cells;
	PQclear(r);
	return true;
}

/* By COPY: one statement however wide the table is. */
static bool dba_pg_load(struct dba *d, const struct dba_table *t, const struct db_rows *rows, struct error *err)
{
	struct buf sql = BUF_INIT, text = BUF_INIT;
	PGconn *pg = dba_pg_of(d);
	PGresult *r = NULL;
	bool ok = dba_copy_text(t, rows, &text, err);

	buf_addz(&sql, "COPY ");
	dba_quote(&sql, t->name);
	for (size_t i = 0; i < t->n; i++) {
		buf_addz(&sql, i > 0 ? ", " : " (");
		dba_quote(&sql, t->columns[i].name);
	}
	buf_addz(&sql, ") FROM STDIN");
	if (ok) {
		r = PQexec(pg, sql.p);
		ok = PQresultStatus(r) == PGRES_COPY_IN || db_pg_fail(pg, r, err);
		PQclear(r);
	}
	if (ok && (text.n > INT32_MAX || PQputCopyData(pg, text.p, (int)text.n) != 1 || PQputCopyEnd(pg, NULL) != 1))
		ok = db_pg_fail(pg, NULL, err);
	/* The result of the copy, then the end of the statement. */
	while (ok && (r = PQgetResult(pg)) != NULL) {
		ok = PQresultStatus(r) == PGRES_COMMAND_OK || db_pg_fail(pg, r, err);
		PQclear(r);
	}
	while ((r = PQgetResult(pg)) != NULL)
		PQclear(r);
	buf_free(&sql);
	buf_free(&text);
	return ok;
}

static void dba_pg_rollback(struct dba *d)
{
	struct error ignored = ERROR_INIT;

	if (PQtransactionStatus(dba_pg_of(d)) != PQTRANS_IDLE && !dba_pg_exec(d, "ROLLBACK", &ignored))
		log_debug("db", "nothing to roll back", KV_S("reason", ignored.msg));
}

static bool dba_pg_begin(struct dba *d, bool alone, struct error *err)
{
	if (dba_pg_exec(d, "BEGIN", err) && (!alone || db_pg_migrate_lock(dba_pg_of(d), err)))
		return true;
	dba_pg_rollback(d);
	return false;
}

static bool dba_pg_begin_read(struct dba *d, struct error *err)
{
	return dba_pg_exec(d, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", err);
}

static bool dba_pg_commit(struct dba *d, struct error *err)
{
	return dba_pg_exec(d, "COMMIT", err);
}

static void dba_pg_close(struct dba *d)
{
	struct dba_server *s = container_of(d, struct dba_server, dba);

	PQfinish(s->pg);
	free(s);
}

static const struct dba_ops dba_pg_ops = {
    .shared = true,
    .tables = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
	      " WHERE n.nspname = current_schema() AND c.relkind = 'r' AND left(c.relname::text, 1) <> '_'"
	      " ORDER BY c.relname::text COLLATE \"C\"",
    .columns = "SELECT a.attname::text, upper(format_type(a.atttypid, NULL)), COALESCE((SELECT k.n FROM"
	       " unnest(i.indkey::int2[]) WITH ORDINALITY AS k(num, n) WHERE k.num = a.attnum), 0)"
	       " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
	       " JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()"
	       " LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary"
	       " WHERE c.relname = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    .exec = dba_pg_exec,
    .define = dba_pg_define,
    .run = dba_pg_run,
    .query = dba_pg_query,
    .load = dba_pg_load,
    .begin = dba_pg_begin,
    .begin_read = dba_pg_begin_read,
    .commit = dba_pg_commit,
    .rollback = dba_pg_rollback,
    .close = dba_pg_close,
};

struct dba *dba_pg_open(const struct conf *c, enum dba_mode mode, struct error *err)
{
	struct dba_server *s;
	PGconn *pg = db_pg_connect(c, err);

	(void)mode;
	if (pg == NULL)
		return NULL;
	s = xcalloc(1, sizeof(*s));
	s->dba.ops = &dba_pg_ops;
	s->pg = pg;
	return &s->dba;
}
