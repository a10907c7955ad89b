/* SPDX-License-Identifier: MIT */
/*
 * Copies rows from one store to another. Called by `aragorad export --to`. Tables are made by migrations, not here; the
 * file form is db_export_sql.c's.
 */
#include "common/db_content.h"
#include "common/db_export.h"
#include "common/fault.h"
#include "common/json.h"

#define EXPORT_KEYS 8

/* What the target already has of its own: made by migrating it. */
static bool export_skips(struct str name)
{
	return str_eqz(name, "schema_migrations");
}

struct export
{
	struct dba *from, *to;
	const char *source;
	const struct migration *m;
	size_t n;
	export_told told;
	void *arg;
};

/* Do the migrations themselves put rows there? */
static bool export_seeded(const struct export *x, struct str name)
{
	struct buf insert = BUF_INIT;
	bool found = false;

	buf_printf(&insert, "INSERT INTO %.*s (", STR_ARG(name));
	for (size_t i = 0; i < x->n && !found; i++)
		found = strstr(x->m[i].up, insert.p) != NULL;
	buf_free(&insert);
	return found;
}

static const char export_notes[] =
    "CREATE TABLE IF NOT EXISTS _export (name TEXT PRIMARY KEY NOT NULL, copied INTEGER NOT NULL,"
    " last TEXT NOT NULL) STRICT";

/* ---- how far an earlier run came ---- */

/* The key as JSON, so that text and numbers come back as what they were. */
static struct str export_key_text(struct arena *a, const struct db_val *key, size_t n)
{
	json_t *list = json_own(a, json_array());

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, key[i].type == DB_INT ? json_integer(key[i].i) : json_str(key[i].s));
	return json_text(a, list);
}

static bool export_key_read(struct arena *a, struct str text, struct db_val *key, size_t n)
{
	json_t *list = json_parse(a, text, NULL);

	if (json_array_size(list) != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_array_get(list, i);

		key[i] = json_is_integer(v) ? DB_I(json_integer_value(v))
					    : DB_S(((struct str){json_string_value(v), json_string_length(v)}));
	}
	return true;
}

static bool export_resume(const struct export *x, struct arena *a, const struct dba_table *t, struct content *walk,
			  int64_t *copied, struct error *err)
{
	struct db_val key[EXPORT_KEYS];
	struct db_rows rows;

	*copied = 0;
	if (!dba_query(x->to, a, "SELECT copied, last FROM _export WHERE name = $1", DB_ARGS(DB_S(t->name)), &rows,
		       err))
		return false;
	if (rows.count == 0)
		return true;
	if (!export_key_read(a, db_str(&rows, 0, 1), key, t->keys))
		return error_set(err, ERR_CONFLICT, "the notes of an earlier export about %.*s cannot be read",
				 STR_ARG(t->name));
	*copied = db_int(&rows, 0, 0);
	content_after(walk, key);
	return true;
}

static bool export_note(const struct export *x, const struct dba_table *t, int64_t copied, struct str last,
			struct error *err)
{
	return dba_run(x->to,
		       "INSERT INTO _export (name, copied, last) VALUES ($1, $2, $3)"
		       " ON CONFLICT (name) DO UPDATE SET copied = excluded.copied, last = excluded.last",
		       DB_ARGS(DB_S(t->name), DB_I(copied), DB_S(last)), NULL, err);
}

/* ---- one table ---- */

/* Rows and the note of how far they reach are one transaction. */
static bool export_page(const struct export *x, const struct dba_table *t, const struct content *walk,
			const struct db_rows *rows, int64_t copied, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_val key[EXPORT_KEYS];
	bool ok;

	content_key(walk, rows, rows->count - 1, key);
	ok = dba_begin(x->to, false, err) && dba_load(x->to, t, rows, err) &&
	     export_note(x, t, copied, export_key_text(a, key, t->keys), err);
	FAULT("export.before_commit");
	if (ok)
		ok = dba_commit(x->to, err);
	else
		dba_rollback(x->to);
	arena_free(a);
	return ok;
}

static bool export_one(const struct export *x, const struct dba_table *t, struct export_table *out, struct error *err)
{
	struct arena *a = arena_new(0);
	struct content *walk = content_new(x->from, t, err);
	struct db_rows rows = {0, 0, NULL};
	int64_t copied = 0;
	bool ok = walk != NULL && t->keys <= EXPORT_KEYS && export_resume(x, a, t, walk, &copied, err);

	while (ok && (ok = content_next(walk, &rows, err)) && rows.count > 0) {
		copied += (int64_t)rows.count;
		out->copied += (int64_t)rows.count;
		ok = export_page(x, t, walk, &rows, copied, err);
	}
	content_free(walk);
	arena_free(a);
	return ok;
}

/* ---- before and after ---- */

/* A database without a row, but for those that migrations put there: these go, ours come. */
static bool export_empty(const struct export *x, const struct dba_catalog *tables, struct error *err)
{
	struct buf sql = BUF_INIT;
	int64_t n = 0;
	bool ok = true;

	for (size_t i = 0; ok && i < tables->n; i++) {
		if (export_skips(tables->v[i].name) || export_seeded(x, tables->v[i].name))
			continue;
		buf_clear(&sql);
		buf_addz(&sql, "SELECT COUNT(*) FROM ");
		dba_quote(&sql, tables->v[i].name);
		ok = dba_int(x->to, sql.p, DB_NO_ARGS, &n, err);
		if (ok && n > 0)
			ok = error_set(err, ERR_CONFLICT, "the database is not empty: table %.*s has %lld rows",
				       STR_ARG(tables->v[i].name), (long long)n);
	}
	for (size_t i = 0; ok && i < tables->n; i++) {
		if (!export_seeded(x, tables->v[i].name))
			continue;
		buf_clear(&sql);
		buf_addz(&sql, "DELETE FROM ");
		dba_quote(&sql, tables->v[i].name);
		ok = dba_run(x->to, sql.p, DB_NO_ARGS, NULL, err);
	}
	buf_free(&sql);
	return ok;
}

/* Another run of the same source, or an empty database. */
static bool export_may(const struct export *x, const struct dba_catalog *tables, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows rows;
	bool ok;

	ok = dba_define(x->to, export_notes, err) &&
	     dba_query(x->to, a, "SELECT last FROM _export WHERE name = ''", DB_NO_ARGS, &rows, err);
	if (ok && rows.count > 0 && !str_eqz(db_str(&rows, 0, 0), x->source))
		ok = error_set(err, ERR_CONFLICT, "the database holds a part of another export, of %.*s",
			       STR_ARG(db_str(&rows, 0, 0)));
	if (ok && rows.count == 0)
		ok = export_empty(x, tables, err) &&
		     dba_run(x->to, "INSERT INTO _export (name, copied, last) VALUES ('', 0, $1)",
			     DB_ARGS(DB_Z(x->source)), NULL, err);
	arena_free(a);
	return ok;
}

/* The same columns on both sides, in the source's order. */
static bool export_fits(const struct dba_table *t, const struct dba_catalog *there, struct error *err)
{
	const struct dba_table *other = dba_table_find(there, t->name);

	if (other == NULL)
		return error_set(err, ERR_CONFLICT, "table %.*s is not made by a migration of this program",
				 STR_ARG(t->name));
	for (size_t i = 0; i < t->n; i++) {
		if (i >= other->n || !str_eq(t->columns[i].name, other->columns[i].name))
			return error_set(err, ERR_CONFLICT, "table %.*s has other columns there", STR_ARG(t->name));
	}
	return true;
}

static bool export_compare(const struct export *x, const struct dba_table *t, struct export_table *out,
			   struct error *err)
{
	char hash[SHA256_HEX];
	int64_t rows;

	if (!content_hash(x->from, t, out->hash, &out->rows, err) || !content_hash(x->to, t, hash, &rows, err))
		return false;
	if (rows != out->rows)
		return error_set(err, ERR_STORAGE, "table %.*s has %lld rows there and %lld here", STR_ARG(t->name),
				 (long long)rows, (long long)out->rows);
	return strcmp(hash, out->hash) == 0 ||
	       error_set(err, ERR_STORAGE, "table %.*s has another content there", STR_ARG(t->name));
}

bool export_copy(struct dba *from, struct dba *to, const char *source, const struct migration *m, size_t n,
		 export_told told, void *arg, struct error *err)
{
	const struct export x = {from, to, source, m, n, told, arg};
	struct arena *a = arena_new(0);
	struct dba_catalog here, there;
	bool ok;

	ok = dba_catalog(from, a, &here, err) && dba_catalog(to, a, &there, err);
	for (size_t i = 0; ok && i < here.n; i++)
		ok = export_skips(here.v[i].name) || export_fits(&here.v[i], &there, err);
	ok = ok && export_may(&x, &here, err);
	for (size_t i = 0; ok && i < here.n; i++) {
		struct export_table t = {.name = here.v[i].name};

		if (export_skips(t.name))
			continue;
		ok = export_one(&x, &here.v[i], &t, err) && export_compare(&x, &here.v[i], &t, err);
		if (ok)
			told(arg, &t);
	}
	ok = ok && dba_exec(to, "DROP TABLE _export", err);
	arena_free(a);
	return ok;
}
