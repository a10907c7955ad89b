/* SPDX-License-Identifier: MIT */
/*
 * Walks a table by primary key and hashes what it sees. Called by backup and export. Holds no cursor open between
 * pages, so that a walk of hours does not hold a file's log or a server's connection for itself; who wants one state of
 * the store opens a reading transaction around it.
 */
#include "common/db_content.h"

#include <openssl/evp.h>

#define CONTENT_KEYS_MAX 8

struct content {
	struct dba *d;
	const struct dba_table *t;
	size_t key[CONTENT_KEYS_MAX]; /* columns of the primary key, in its order */
	struct buf first, next;       /* SQL: of the first page, of the page behind a key */
	struct db_val last[CONTENT_KEYS_MAX];
	struct buf last_text[CONTENT_KEYS_MAX];
	bool begun;
	struct arena *page;
};

static void content_list(const struct content *w, struct buf *out, bool keys)
{
	size_t n = keys ? w->t->keys : w->t->n;

	for (size_t i = 0; i < n; i++) {
		buf_addz(out, i > 0 ? ", " : "");
		dba_quote(out, w->t->columns[keys ? w->key[i] : i].name);
	}
}

static void content_sql(struct content *w, struct buf *out, bool after)
{
	buf_addz(out, "SELECT ");
	content_list(w, out, false);
	buf_addz(out, " FROM ");
	dba_quote(out, w->t->name);
	if (after) {
		buf_addz(out, " WHERE (");
		content_list(w, out, true);
		buf_addz(out, ") > (");
		for (size_t i = 0; i < w->t->keys; i++)
			buf_printf(out, "%s$%zu", i > 0 ? ", " : "", i + 1);
		buf_addz(out, ")");
	}
	buf_addz(out, " ORDER BY ");
	content_list(w, out, true);
	buf_printf(out, " LIMIT %d", CONTENT_PAGE);
}

struct content *content_new(struct dba *d, const struct dba_table *t, struct error *err)
{
	struct content *w;

	if (t->keys == 0 || t->keys > CONTENT_KEYS_MAX) {
		error_set(err, ERR_INTERNAL, "table %.*s has no primary key that can be walked", STR_ARG(t->name));
		return NULL;
	}
	w = xcalloc(1, sizeof(*w));
	w->d = d;
	w->t = t;
	for (size_t i = 0; i < t->n; i++) {
		if (t->columns[i].key > 0)
			w->key[t->columns[i].key - 1] = i;
	}
	content_sql(w, &w->first, false);
	content_sql(w, &w->next, true);
	return w;
}

void content_free(struct content *w)
{
	if (w == NULL)
		return;
	for (size_t i = 0; i < CONTENT_KEYS_MAX; i++)
		buf_free(&w->last_text[i]);
	if (w->page != NULL)
		arena_free(w->page);
	buf_free(&w->first);
	buf_free(&w->next);
	free(w);
}

void content_after(struct content *w, const struct db_val *key)
{
	for (size_t i = 0; i < w->t->keys; i++) {
		w->last[i] = key[i];
		if (key[i].type != DB_TEXT)
			continue;
		buf_clear(&w->last_text[i]);
		buf_add(&w->last_text[i], key[i].s);
		w->last[i].s = buf_str(&w->last_text[i]);
	}
	w->begun = true;
}

void content_key(const struct content *w, const struct db_rows *rows, size_t row, struct db_val *key)
{
	for (size_t i = 0; i < w->t->keys; i++)
		key[i] = rows->cells[row * rows->columns + w->key[i]];
}

bool content_next(struct content *w, struct db_rows *rows, struct error *err)
{
	struct db_val key[CONTENT_KEYS_MAX];
	bool ok;

	if (w->page != NULL)
		arena_free(w->page);
	w->page = arena_new(0);
	if (w->begun)
		ok = dba_query(w->d, w->page, w->next.p, w->last, w->t->keys, rows, err);
	else
		ok = dba_query(w->d, w->page, w->first.p, DB_NO_ARGS, rows, err);
	if (ok && rows->count > 0) {
		content_key(w, rows, rows->count - 1, key);
		content_after(w, key);
	}
	return ok;
}

/* ---- hashing ---- */

/* One spelling per value: type, then length or digits, so that no two rows look alike. */
static void content_spell(struct buf *out, const struct db_val *v)
{
	switch (v->type) {
	case DB_NULL:
		buf_addz(out, "n;");
		break;
	case DB_INT:
		buf_printf(out, "i%lld;", (long long)v->i);
		break;
	case DB_TEXT:
		buf_printf(out, "s%zu:", v->s.n);
		buf_add(out, v->s);
		break;
	}
}

bool content_hash(struct dba *d, const struct dba_table *t, char hex[SHA256_HEX], int64_t *count, struct error *err)
{
	struct content *w = content_new(d, t, err);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t digest[EVP_MAX_MD_SIZE];
	struct buf line = BUF_INIT;
	struct db_rows rows;
	bool ok = w != NULL;

	BUG_ON(ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1);
	*count = 0;
	while (ok && (ok = content_next(w, &rows, err)) && rows.count > 0) {
		for (size_t i = 0; i < rows.count * rows.columns; i++)
			content_spell(&line, &rows.cells[i]);
		BUG_ON(EVP_DigestUpdate(ctx, line.p, line.n) != 1);
		buf_clear(&line);
		*count += (int64_t)rows.count;
	}
	BUG_ON(EVP_DigestFinal_ex(ctx, digest, NULL) != 1);
	crypto_hex(hex, digest, SHA256_LEN);
	EVP_MD_CTX_free(ctx);
	buf_free(&line);
	content_free(w);
	return ok;
}
