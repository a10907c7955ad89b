/* SPDX-License-Identifier: MIT */
/*
 * The store-independent half of administration: choice of the store and the catalogue of its tables. Called by
 * subcommands through their logic in common/. Knows no table of the product.
 */
#include "common/db_admin.h"

#include "common/conf.h"
#include "common/db_admin_store.h"

/* By storage.backend. */
static struct dba *(*const dba_stores[])(const struct conf *c, enum dba_mode mode,
					 struct error *err) = {dba_sqlite_open, dba_pg_open};

struct dba *dba_open(const struct conf *c, enum dba_mode mode, struct error *err)
{
	if (c->storage.backend < 0 || (size_t)c->storage.backend >= countof(dba_stores)) {
		error_field(err, ERR_INVALID_VALUE, "storage.backend", "this build has no such store");
		return NULL;
	}
	return dba_stores[c->storage.backend](c, mode, err);
}

void dba_close(struct dba *d)
{
	if (d != NULL)
		d->ops->close(d);
}

bool dba_shared(const struct dba *d)
{
	return d->ops->shared;
}

bool dba_exec(struct dba *d, const char *sql, struct error *err)
{
	return d->ops->exec(d, sql, err);
}

bool dba_define(struct dba *d, const char *sql, struct error *err)
{
	return d->ops->define(d, sql, err);
}

bool dba_run(struct dba *d, const char *sql, const struct db_val *args, size_t n, int64_t *rows, struct error *err)
{
	return d->ops->run(d, sql, args, n, rows, err);
}

bool dba_query(struct dba *d, struct arena *a, const char *sql, const struct db_val *args, size_t n,
	       struct db_rows *rows, struct error *err)
{
	*rows = (struct db_rows){0, 0, NULL};
	return d->ops->query(d, a, sql, args, n, rows, err);
}

bool dba_int(struct dba *d, const char *sql, const struct db_val *args, size_t n, int64_t *out, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows rows;
	bool ok = dba_query(d, a, sql, args, n, &rows, err);

	*out = ok && rows.count > 0 ? db_int(&rows, 0, 0) : 0;
	arena_free(a);
	return ok;
}

bool dba_load(struct dba *d, const struct dba_table *t, const struct db_rows *rows, struct error *err)
{
	return d->ops->load(d, t, rows, err);
}

bool dba_begin(struct dba *d, bool alone, struct error *err)
{
	return d->ops->begin(d, alone, err);
}

bool dba_begin_read(struct dba *d, struct error *err)
{
	return d->ops->begin_read(d, err);
}

bool dba_commit(struct dba *d, struct error *err)
{
	return d->ops->commit(d, err);
}

void dba_rollback(struct dba *d)
{
	d->ops->rollback(d);
}

/* ---- the catalogue ---- */

static bool dba_columns(struct dba *d, struct arena *a, struct dba_table *t, struct error *err)
{
	struct db_rows rows;

	if (!dba_query(d, a, d->ops->columns, DB_ARGS(DB_S(t->name)), &rows, err))
		return false;
	t->n = rows.count;
	t->columns = arena_alloc(a, (rows.count + 1) * sizeof(*t->columns));
	for (size_t i = 0; i < rows.count; i++) {
		t->columns[i] = (struct dba_column){db_str(&rows, i, 0), db_str(&rows, i, 1), db_int(&rows, i, 2)};
		t->keys += t->columns[i].key > 0;
	}
	return true;
}

bool dba_catalog(struct dba *d, struct arena *a, struct dba_catalog *out, struct error *err)
{
	struct db_rows rows;

	*out = (struct dba_catalog){NULL, 0};
	if (!dba_query(d, a, d->ops->tables, DB_NO_ARGS, &rows, err))
		return false;
	out->v = arena_alloc(a, (rows.count + 1) * sizeof(*out->v));
	for (size_t i = 0; i < rows.count; i++) {
		out->v[i] = (struct dba_table){.name = db_str(&rows, i, 0)};
		if (!dba_columns(d, a, &out->v[i], err))
			return false;
		out->n++;
	}
	return true;
}

const struct dba_table *dba_table_find(const struct dba_catalog *c, struct str name)
{
	for (size_t i = 0; i < c->n; i++) {
		if (str_eq(c->v[i].name, name))
			return &c->v[i];
	}
	return NULL;
}

void dba_quote(struct buf *out, struct str name)
{
	buf_addc(out, '"');
	for (size_t i = 0; i < name.n; i++) {
		if (name.p[i] == '"')
			buf_addc(out, '"');
		buf_addc(out, name.p[i]);
	}
	buf_addc(out, '"');
}

/* ---- the text form of COPY ---- */

/* COPY's text form (PostgreSQL manual, COPY): backslash escapes, \N for NULL. */
static void dba_copy_cell(struct buf *out, const struct db_val *v)
{
	static const char *const escapes[] = {
	    ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\v'] = "\\v", ['\f'] = "\\f", ['\r'] = "\\r"};

	switch (v->type) {
	case DB_NULL:
		buf_addz(out, "\\N");
		break;
	case DB_INT:
		buf_printf(out, "%lld", (long long)v->i);
		break;
	case DB_TEXT:
		for (size_t i = 0; i < v->s.n; i++) {
			unsigned char c = (unsigned char)v->s.p[i];

			if (c == '\\')
				buf_addz(out, "\\\\");
			else if (c < countof(escapes) && escapes[c] != NULL)
				buf_addz(out, escapes[c]);
			else
				buf_addc(out, (char)c);
		}
		break;
	}
}

static bool dba_copy_may(const struct db_val *v)
{
	return v->type != DB_TEXT || (str_chr(v->s, '\0') < 0 && str_utf8_valid(v->s));
}

bool dba_copy_text(const struct dba_table *t, const struct db_rows *rows, struct buf *out, struct error *err)
{
	for (size_t i = 0; i < rows->count * rows->columns; i++) {
		const struct db_val *v = &rows->cells[i];

		if (!dba_copy_may(v))
			return error_set(err, ERR_STORAGE,
					 "table %.*s, column %.*s, row %.*s: text that PostgreSQL cannot hold",
					 STR_ARG(t->name), STR_ARG(t->columns[i % rows->columns].name),
					 STR_ARG(str_sub(db_str(rows, i / rows->columns, 0), 0, 60)));
		dba_copy_cell(out, v);
		buf_addc(out, i % rows->columns + 1 == rows->columns ? '\n' : '\t');
	}
	return true;
}
