/* SPDX-License-Identifier: MIT */
/*
 * Which rows have served their time, and removing them. Called by `aragorad cleanup`. Debates, results, receipts, the
 * ledger and ratings are not touched here.
 */
#include "worker/retention.h"

#include "common/cleanup_archive.h"
#include "common/fault.h"
#include "common/json.h"
#include "worker/retention_sql.h"

#define DAY_MS INT64_C(86400000)
#define RETENTION_PAGE 50 /* debates between two looks at what is left */

static const struct retention_row {
	const char *name, *table;
	const char *key;   /* column by which rows go together */
	const char *bytes; /* SQL: about how long a row is */
	const char *time;  /* column */
	bool by_debate;    /* goes with the age of the debate, else with that of the row */
	int64_t days;
} retention_table[] = {
    [RETENTION_EVENTS] = {"event logs", "debate_events", "debate_id", "LENGTH(envelope)", "created_at", true,
			  RETENTION_FOREVER},
    [RETENTION_JOURNALS] = {"journals", "debate_steps", "debate_id", "LENGTH(COALESCE(result, ''))", "started_at", true,
			    RETENTION_FOREVER},
    [RETENTION_INBOX] = {"votes and messages to debates", "debate_inbox", "debate_id", "LENGTH(payload)", "created_at",
			 true, RETENTION_FOREVER},
    /* A key answers for a day. */
    [RETENTION_IDEMPOTENCY] = {"idempotency keys", "idempotency_keys", "object_id", "LENGTH(key)", "created_at", false,
			       1},
};
_Static_assert(countof(retention_table) == RETENTION_KINDS, "one row per kind");

const char *retention_name(enum retention_kind k)
{
	return retention_table[k].name;
}

int64_t retention_default(enum retention_kind k)
{
	return retention_table[k].days;
}

/* " WHERE …" of what may go. */
static bool retention_where(struct dba *d, const struct retention_row *r, struct buf *out, struct error *err)
{
	struct arena *a = arena_new(0);
	struct dba_catalog catalog;
	bool ok = dba_catalog(d, a, &catalog, err);

	if (ok && r->by_debate)
		buf_printf(out, " WHERE %s IN (" RETENTION_ENDED_BEFORE "%s)", r->key,
			   dba_table_find(&catalog, STR("deliveries")) != NULL ? RETENTION_NOT_DELIVERED : "");
	else if (ok)
		buf_printf(out, " WHERE %s < $1 AND %s NOT IN (" RETENTION_OPEN_DEBATES ")", r->time, r->key);
	arena_free(a);
	return ok;
}

bool retention_look(struct dba *d, enum retention_kind k, int64_t days, int64_t now_ms, struct retention_sum *out,
		    struct error *err)
{
	const struct retention_row *r = &retention_table[k];
	struct arena *a = arena_new(0);
	struct buf sql = BUF_INIT;
	struct db_rows rows;
	bool ok;

	*out = (struct retention_sum){0};
	buf_printf(&sql, "SELECT COUNT(*), COALESCE(SUM(%s), 0), COALESCE(MIN(%s), 0) FROM %s", r->bytes, r->time,
		   r->table);
	ok = dba_query(d, a, sql.p, DB_NO_ARGS, &rows, err);
	if (ok) {
		out->rows = db_int(&rows, 0, 0);
		out->bytes = db_int(&rows, 0, 1);
		out->oldest = db_int(&rows, 0, 2);
	}
	if (ok && days != RETENTION_FOREVER) {
		buf_clear(&sql);
		buf_printf(&sql, "SELECT COUNT(*), COALESCE(SUM(%s), 0) FROM %s", r->bytes, r->table);
		ok = retention_where(d, r, &sql, err) &&
		     dba_query(d, a, sql.p, DB_ARGS(DB_I(now_ms - days * DAY_MS)), &rows, err);
		if (ok) {
			out->go = db_int(&rows, 0, 0);
			out->go_bytes = db_int(&rows, 0, 1);
		}
	}
	buf_free(&sql);
	arena_free(a);
	return ok;
}

/* ---- removing ---- */

static json_t *retention_cell(const struct db_val *v)
{
	switch (v->type) {
	case DB_INT:
		return json_integer(v->i);
	case DB_TEXT:
		return json_str(v->s);
	case DB_NULL:
		break;
	}
	return json_null();
}

/* " ORDER BY" the primary key. */
static void retention_order(const struct dba_table *t, struct buf *out)
{
	for (size_t k = 1; k <= t->keys; k++)
		for (size_t i = 0; i < t->n; i++)
			if (t->columns[i].key == (int64_t)k) {
				buf_addz(out, k == 1 ? " ORDER BY " : ", ");
				dba_quote(out, t->columns[i].name);
			}
}

static bool retention_archive_one(struct dba *d, const struct retention_row *r, const struct dba_table *t,
				  struct str key, struct archive_lines *lines, struct error *err)
{
	struct arena *a = arena_new(0);
	struct buf sql = BUF_INIT;
	struct db_rows rows;
	bool ok;

	buf_addz(&sql, "SELECT ");
	for (size_t i = 0; i < t->n; i++) {
		buf_addz(&sql, i > 0 ? ", " : "");
		dba_quote(&sql, t->columns[i].name);
	}
	buf_printf(&sql, " FROM %s WHERE %s = $1", r->table, r->key);
	retention_order(t, &sql);
	ok = dba_query(d, a, sql.p, DB_ARGS(DB_S(key)), &rows, err);
	for (size_t i = 0; ok && i < rows.count; i++) {
		json_t *line = json_own(a, json_object());

		for (size_t c = 0; c < rows.columns; c++)
			json_object_set_new(line, arena_str(a, t->columns[c].name).p,
					    retention_cell(&rows.cells[i * rows.columns + c]));
		ok = archive_line(lines, json_text(a, line), err);
	}
	buf_free(&sql);
	arena_free(a);
	return ok;
}

/* The rows of one debate, all of them or none. */
static bool retention_remove_one(struct dba *d, const struct retention_row *r, struct str key, int64_t *gone,
				 struct error *err)
{
	struct buf sql = BUF_INIT;
	int64_t rows = 0;
	bool ok;

	buf_printf(&sql, "DELETE FROM %s WHERE %s = $1", r->table, r->key);
	ok = dba_begin(d, false, err) && dba_run(d, sql.p, DB_ARGS(DB_S(key)), &rows, err);
	FAULT("cleanup.before_commit");
	if (ok)
		ok = dba_commit(d, err);
	else
		dba_rollback(d);
	*gone += ok ? rows : 0;
	buf_free(&sql);
	return ok;
}

/* What goes is archived and safe before the first row of the page is removed. */
static bool retention_page(struct dba *d, const struct retention_row *r, const struct dba_table *t,
			   const struct db_rows *keys, const char *archive, int64_t now_ms, int64_t *gone,
			   struct error *err)
{
	struct archive_lines *lines = NULL;
	bool ok = true;

	if (archive != NULL) {
		lines = archive_lines_open(archive, r->table, now_ms, false, err);
		ok = lines != NULL;
		for (size_t i = 0; ok && i < keys->count; i++)
			ok = retention_archive_one(d, r, t, db_str(keys, i, 0), lines, err);
		if (lines != NULL)
			ok = archive_lines_close(lines, ok, err) && ok;
	}
	for (size_t i = 0; ok && i < keys->count; i++)
		ok = retention_remove_one(d, r, db_str(keys, i, 0), gone, err);
	return ok;
}

bool retention_act(struct dba *d, enum retention_kind k, int64_t days, int64_t now_ms, const char *archive,
		   int64_t *gone, struct error *err)
{
	const struct retention_row *r = &retention_table[k];
	struct arena *a = arena_new(0);
	struct buf sql = BUF_INIT, where = BUF_INIT;
	const struct dba_table *t = NULL;
	struct dba_catalog catalog;
	struct db_rows keys = {1, 0, NULL};
	bool ok = dba_catalog(d, a, &catalog, err) && retention_where(d, r, &where, err);

	*gone = 0;
	if (ok)
		t = dba_table_find(&catalog, str_of(r->table));
	buf_printf(&sql, "SELECT DISTINCT %s FROM %s%s LIMIT %d", r->key, r->table, ok ? where.p : "", RETENTION_PAGE);
	while (ok && t != NULL && days != RETENTION_FOREVER && keys.count > 0) {
		struct arena *page = arena_new(0);

		ok = dba_query(d, page, sql.p, DB_ARGS(DB_I(now_ms - days * DAY_MS)), &keys, err) &&
		     (keys.count == 0 || retention_page(d, r, t, &keys, archive, now_ms, gone, err));
		arena_free(page);
	}
	buf_free(&sql);
	buf_free(&where);
	arena_free(a);
	return ok;
}

bool retention_open_debates(struct dba *d, struct arena *a, const char *const **out, struct error *err)
{
	struct db_rows rows;
	const char **ids;

	if (!dba_query(d, a, RETENTION_OPEN_DEBATES " ORDER BY id", DB_NO_ARGS, &rows, err))
		return false;
	ids = arena_alloc(a, (rows.count + 1) * sizeof(*ids));
	for (size_t i = 0; i < rows.count; i++)
		ids[i] = arena_str(a, db_str(&rows, i, 0)).p;
	ids[rows.count] = NULL;
	*out = ids;
	return true;
}
