/* SPDX-License-Identifier: MIT */
/*
 * The store-independent half of the database interface: batches, cells of results, and the choice of the store. Called
 * by every area's store code. Does not know SQL and does not talk to any database itself.
 */
#include "common/db.h"

#include "common/conf.h"
#include "common/db_store.h"
#include "common/tenant.h"

/* By storage.backend. */
static const struct db_ops *const db_stores[] = {&db_sqlite_ops, &db_pg_ops};

static const struct db_ops *db_ops_of(const struct conf *c, struct error *err)
{
	if (c->storage.backend < 0 || (size_t)c->storage.backend >= countof(db_stores)) {
		error_field(err, ERR_INVALID_VALUE, "storage.backend", "this build has no such store");
		return NULL;
	}
	return db_stores[c->storage.backend];
}

/* ---- results ---- */

static const struct db_val *db_cell(const struct db_rows *r, size_t row, size_t column)
{
	BUG_ON(row >= r->count || column >= r->columns);
	return &r->cells[row * r->columns + column];
}

struct str db_str(const struct db_rows *r, size_t row, size_t column)
{
	const struct db_val *v = db_cell(r, row, column);

	return v->type == DB_TEXT ? v->s : STR_NONE;
}

int64_t db_int(const struct db_rows *r, size_t row, size_t column)
{
	const struct db_val *v = db_cell(r, row, column);

	return v->type == DB_INT ? v->i : 0;
}

bool db_null(const struct db_rows *r, size_t row, size_t column)
{
	return db_cell(r, row, column)->type == DB_NULL;
}

/* ---- text ---- */

struct str db_clean(struct arena *a, struct str s)
{
	struct buf b = BUF_INIT;
	struct str out;
	size_t i, step;

	if (s.n == 0 || (memchr(s.p, '\0', s.n) == NULL && str_utf8_valid(s)))
		return s;
	for (i = 0; i<s.n; i += step> 0 ? step : 1) {
		step = s.p[i] != '\0' ? str_utf8_step(str_sub(s, i, s.n)) : 0;
		buf_add(&b, step > 0 ? str_sub(s, i, i + step) : STR("\xef\xbf\xbd"));
	}
	out = arena_str(a, buf_str(&b));
	buf_free(&b);
	return out;
}

/* The same values, copied only if one is not clean. */
static const struct db_val *db_clean_all(struct arena *a, const struct db_val *args, size_t n)
{
	struct db_val *copy = NULL;
	struct str clean;
	size_t i;

	for (i = 0; i < n; i++) {
		if (args[i].type != DB_TEXT)
			continue;
		clean = db_clean(a, args[i].s);
		if (clean.p == args[i].s.p)
			continue;
		if (copy == NULL) {
			copy = arena_alloc(a, n * sizeof(*copy));
			memcpy(copy, args, n * sizeof(*copy));
		}
		copy[i].s = clean;
	}
	return copy != NULL ? copy : args;
}

/* ---- batches ---- */

bool db_shared(const struct db *db)
{
	return db->ops == &db_pg_ops;
}

struct db_batch *db_batch_new(struct db *db)
{
	struct db_batch *b = xcalloc(1, sizeof(*b));

	BUG_ON(db == NULL);
	b->arena = arena_new(0);
	b->shared = db_shared(db);
	return b;
}

bool db_batch_shared(const struct db_batch *b)
{
	return b->shared;
}

void db_batch_free(struct db_batch *b)
{
	if (b == NULL)
		return;
	arena_free(b->arena);
	free(b->v);
	free(b);
}

static struct db_stmt *db_batch_room(struct db_batch *b)
{
	if (b->n == b->cap) {
		b->cap = b->cap > 0 ? 2 * b->cap : 8;
		b->v = xrealloc(b->v, b->cap * sizeof(*b->v));
	}
	return &b->v[b->n++];
}

void db_batch_add(struct db_batch *b, const char *sql, const struct db_val *args, size_t n, int64_t expect)
{
	struct db_stmt *st = db_batch_room(b);
	size_t i;

	*st = (struct db_stmt){sql, arena_alloc(b->arena, (n + 1) * sizeof(*args)), n, expect};
	for (i = 0; i < n; i++) {
		st->args[i] = args[i];
		if (args[i].type == DB_TEXT)
			st->args[i].s = arena_str(b->arena, db_clean(b->arena, args[i].s));
	}
}

void db_batch_join(struct db_batch *b, const struct db_batch *from)
{
	size_t i;

	for (i = 0; i < from->n; i++)
		*db_batch_room(b) = from->v[i];
}

size_t db_batch_size(const struct db_batch *b)
{
	return b->n;
}

/* ---- the store behind ---- */

struct db *db_open(struct loop *l, const struct conf *c, struct error *err)
{
	const struct db_ops *ops = db_ops_of(c, err);

	return ops != NULL ? ops->open(l, c, err) : NULL;
}

void db_close(struct db *db)
{
	if (db != NULL)
		db->ops->close(db);
}

CO_FN bool db_query(struct db *db, struct arena *a, const char *sql, const struct db_val *args, size_t n,
		    struct db_rows *rows, struct error *err)
{
	*rows = (struct db_rows){0, 0, NULL};
	if (!tenant_admits(&sql, args, n, err))
		return false;
	return db->ops->query(db, a, sql, db_clean_all(a, args, n), n, rows, err);
}

CO_FN bool db_commit(struct db *db, struct db_batch *b, struct error *err)
{
	bool ok = true;
	size_t i;

	for (i = 0; ok && i < b->n; i++)
		ok = tenant_admits(&b->v[i].sql, b->v[i].args, b->v[i].n, err);
	ok = ok && (b->n == 0 || db->ops->commit(db, b, err));
	db_batch_free(b);
	return ok;
}

CO_FN bool db_checkpoint(struct db *db, struct error *err)
{
	return db->ops->checkpoint(db, err);
}

bool db_healthy(const struct db *db, struct error *err)
{
	return db->ops->healthy(db, err);
}

int64_t db_latency_us(const struct db *db)
{
	return db->ops->latency_us(db);
}

bool db_migrate(const struct conf *c, const struct migration *m, size_t n, struct error *err)
{
	const struct db_ops *ops = db_ops_of(c, err);

	return ops != NULL && ops->migrate(c, m, n, err);
}

bool db_check_storage(const struct conf *c, struct error *err)
{
	const struct db_ops *ops = db_ops_of(c, err);

	return ops != NULL && ops->check(c, err);
}
