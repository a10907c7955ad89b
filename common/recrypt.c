/* SPDX-License-Identifier: MIT */
/*
 * Re-encryption of stored fields. Called by `aragorad encrypt`. Knows which fields are secret only from the row it is
 * given, and never writes a field whose old value it could not read.
 */
#include "common/recrypt.h"

#include "common/db_content.h"
#include "common/envelope.h"
#include "common/fault.h"

#define RECRYPT_KEYS 8

/* One walk through a table of which only the key and the secret columns are read. */
struct recrypt_walk {
	struct dba *d;
	const struct keyring *k;
	const struct secret_store *store;
	struct dba_table table;
	struct dba_column columns[RECRYPT_COLUMNS + RECRYPT_KEYS];
	struct buf update[RECRYPT_COLUMNS]; /* SQL, per secret column */
	bool execute;
	recrypt_failed failed;
	void *arg;
	struct recrypt *out;
};

static bool recrypt_narrow(struct recrypt_walk *w, const struct dba_table *t, struct error *err)
{
	size_t n = 0;

	if (t->keys > RECRYPT_KEYS)
		return error_set(err, ERR_INTERNAL, "table %s has too long a key", w->store->table);
	for (size_t i = 0; w->store->columns[i] != NULL; i++) {
		size_t at = 0;

		while (at < t->n && !str_eqz(t->columns[at].name, w->store->columns[i]))
			at++;
		if (at == t->n)
			return error_set(err, ERR_INTERNAL, "table %s has no column %s", w->store->table,
					 w->store->columns[i]);
		w->columns[n++] = t->columns[at];
	}
	for (size_t i = 0; i < t->n; i++) {
		if (t->columns[i].key > 0)
			w->columns[n++] = t->columns[i];
	}
	w->table = (struct dba_table){.name = t->name, .columns = w->columns, .n = n, .keys = t->keys};
	return true;
}

/* UPDATE t SET c = $1 WHERE c = $2 AND k = $3 AND … */
static void recrypt_sql(struct recrypt_walk *w, size_t secrets)
{
	for (size_t i = 0; i < secrets; i++) {
		struct buf *sql = &w->update[i];

		buf_addz(sql, "UPDATE ");
		dba_quote(sql, w->table.name);
		buf_addz(sql, " SET ");
		dba_quote(sql, w->columns[i].name);
		buf_addz(sql, " = $1 WHERE ");
		dba_quote(sql, w->columns[i].name);
		buf_addz(sql, " = $2");
		for (size_t k = 0; k < w->table.keys; k++) {
			buf_addz(sql, " AND ");
			dba_quote(sql, w->columns[secrets + k].name);
			buf_printf(sql, " = $%zu", k + 3);
		}
	}
}

/* The row as the area's own code names it when it seals: key columns joined with '|'. */
static void recrypt_row_name(const struct recrypt_walk *w, const struct db_val *keys, struct buf *out)
{
	for (size_t i = 0; i < w->table.keys; i++) {
		buf_addz(out, i > 0 ? "|" : "");
		if (keys[i].type == DB_INT)
			buf_printf(out, "%lld", (long long)keys[i].i);
		else
			buf_add(out, keys[i].s);
	}
}

static bool recrypt_write(struct recrypt_walk *w, size_t column, const struct db_val *keys, struct str old,
			  struct str fresh, struct error *err)
{
	struct db_val args[RECRYPT_KEYS + 2] = {DB_S(fresh), DB_S(old)};
	int64_t rows;

	memcpy(args + 2, keys, w->table.keys * sizeof(*keys));
	if (!dba_run(w->d, w->update[column].p, args, w->table.keys + 2, &rows, err))
		return false;
	w->out->written += rows;
	w->out->changed += rows == 0;
	return true;
}

/* False only when the store fails; a field that cannot be opened is counted and told. */
static bool recrypt_field(struct recrypt_walk *w, size_t column, const struct db_val *keys, struct str stored,
			  struct error *err)
{
	struct buf row = BUF_INIT, plain = BUF_INIT, fresh = BUF_INIT;
	struct envelope_place place = {w->store->name, w->store->table, w->store->columns[column], STR_NONE};
	enum envelope_state state = envelope_state(w->k, stored);
	struct error why = ERROR_INIT;
	bool ok = true;

	recrypt_row_name(w, keys, &row);
	place.row = buf_str(&row);
	w->out->fields++;
	if (!envelope_open(w->k, &place, stored, &plain, &why)) {
		w->out->failed++;
		w->failed(w->arg, place.column, place.row, &why);
	} else {
		w->out->plain += state == ENVELOPE_PLAIN;
		w->out->active += state == ENVELOPE_ACTIVE;
		w->out->old += state != ENVELOPE_PLAIN && state != ENVELOPE_ACTIVE;
		if (w->execute && state != ENVELOPE_ACTIVE)
			ok = envelope_seal(w->k, &place, buf_str(&plain), &fresh, err) &&
			     recrypt_write(w, column, keys, stored, buf_str(&fresh), err);
	}
	if (plain.n > 0)
		explicit_bzero(plain.p, plain.n);
	buf_free(&plain);
	buf_free(&fresh);
	buf_free(&row);
	return ok;
}

/* A page is one short transaction: servers write in between. */
static bool recrypt_page(struct recrypt_walk *w, const struct content *walk, const struct db_rows *rows,
			 struct error *err)
{
	struct db_val keys[RECRYPT_KEYS];
	bool ok = !w->execute || dba_begin(w->d, false, err);

	for (size_t i = 0; ok && i < rows->count; i++) {
		content_key(walk, rows, i, keys);
		for (size_t c = 0; ok && w->store->columns[c] != NULL; c++) {
			struct str stored = db_str(rows, i, c);

			ok = stored.n == 0 || recrypt_field(w, c, keys, stored, err);
		}
	}
	FAULT("encrypt.page");
	if (w->execute && ok)
		ok = dba_commit(w->d, err);
	else if (w->execute)
		dba_rollback(w->d);
	return ok;
}

bool recrypt_store(struct dba *d, const struct keyring *k, const struct secret_store *s, bool execute,
		   recrypt_failed failed, void *arg, struct recrypt *out, struct error *err)
{
	struct recrypt_walk w = {
	    .d = d, .k = k, .store = s, .execute = execute, .failed = failed, .arg = arg, .out = out};
	struct arena *a = arena_new(0);
	struct dba_catalog catalog;
	const struct dba_table *t = NULL;
	struct content *walk = NULL;
	struct db_rows rows = {0, 0, NULL};
	bool ok;

	*out = (struct recrypt){0};
	ok = dba_catalog(d, a, &catalog, err);
	if (ok)
		t = dba_table_find(&catalog, str_of(s->table));
	if (t != NULL) {
		ok = recrypt_narrow(&w, t, err);
		if (ok) {
			recrypt_sql(&w, w.table.n - w.table.keys);
			walk = content_new(d, &w.table, err);
			ok = walk != NULL;
		}
		while (ok && (ok = content_next(walk, &rows, err)) && rows.count > 0)
			ok = recrypt_page(&w, walk, &rows, err);
	}
	content_free(walk);
	for (size_t i = 0; i < RECRYPT_COLUMNS; i++)
		buf_free(&w.update[i]);
	arena_free(a);
	return ok;
}
