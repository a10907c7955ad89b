/* SPDX-License-Identifier: MIT */
/*
 * The list of migrations as the store remembers it beside the list that the program has, and undoing. Called by
 * `aragorad migrate` and the start-up child. Applying is db_migrate.c's.
 */
#include "common/db_history.h"

#include "common/conf.h"
#include "common/crypto.h"
#include "common/fault.h"

static const char *const history_states[] = {
    [HISTORY_APPLIED] = "applied",
    [HISTORY_PENDING] = "pending",
    [HISTORY_CHANGED] = "changed",
    [HISTORY_UNKNOWN] = "unknown",
};

const char *history_state_name(enum history_state s)
{
	return history_states[s];
}

static const struct migration *history_find(const struct migration *m, size_t n, int64_t number)
{
	for (size_t i = 0; i < n; i++) {
		if (m[i].number == number)
			return &m[i];
	}
	return NULL;
}

static void history_add(struct history *h, struct history_row row)
{
	h->v[h->n++] = row;
	h->applied += row.state == HISTORY_APPLIED;
	h->pending += row.state == HISTORY_PENDING;
	h->wrong += row.state == HISTORY_CHANGED || row.state == HISTORY_UNKNOWN;
}

static struct history_row history_recorded(const struct db_rows *rows, size_t i, const struct migration *m, size_t n)
{
	struct history_row row = {
	    .number = db_int(rows, i, 0),
	    .name = db_str(rows, i, 1),
	    .state = HISTORY_UNKNOWN,
	    .applied_at = db_int(rows, i, 3),
	};
	char hex[SHA256_HEX];

	row.of = history_find(m, n, row.number);
	if (row.of != NULL) {
		crypto_sha256_hex(str_of(row.of->up), hex);
		row.state = str_eqz(db_str(rows, i, 2), hex) ? HISTORY_APPLIED : HISTORY_CHANGED;
	}
	return row;
}

bool history_read(struct dba *d, struct arena *a, const struct migration *m, size_t n, struct history *out,
		  struct error *err)
{
	struct db_rows rows = {0, 0, NULL};
	struct dba_catalog catalog;
	size_t next = 0;

	*out = (struct history){0};
	if (!dba_catalog(d, a, &catalog, err))
		return false;
	if (dba_table_find(&catalog, STR("schema_migrations")) != NULL &&
	    !dba_query(d, a, "SELECT number, name, checksum, applied_at FROM schema_migrations ORDER BY number",
		       DB_NO_ARGS, &rows, err))
		return false;
	out->v = arena_alloc(a, (rows.count + n + 1) * sizeof(*out->v));
	for (size_t i = 0; i < rows.count || next < n; i++) {
		/* One that was never applied, below one that was, is as pending as those above. */
		while (next < n && (i >= rows.count || m[next].number < db_int(&rows, i, 0))) {
			history_add(out, (struct history_row){m[next].number, str_of(m[next].name), HISTORY_PENDING, 0,
							      &m[next]});
			next++;
		}
		if (i < rows.count) {
			history_add(out, history_recorded(&rows, i, m, n));
			next += next < n && m[next].number == db_int(&rows, i, 0);
		}
	}
	return true;
}

/* One step back: the newest above `to`. *done: there was none. */
static bool history_undo_one(struct dba *d, const struct migration *m, size_t n, int64_t to, bool *done,
			     struct error *err)
{
	struct arena *a = arena_new(0);
	const struct history_row *last = NULL;
	struct error why = ERROR_INIT;
	struct history h;
	bool ok;

	ok = dba_begin(d, true, err) && history_read(d, a, m, n, &h, err);
	for (size_t i = 0; ok && i < h.n; i++) {
		if (h.v[i].state != HISTORY_PENDING && h.v[i].number > to)
			last = &h.v[i];
	}
	*done = ok && last == NULL;
	if (ok && last != NULL && last->state != HISTORY_APPLIED) {
		ok = error_set(err, ERR_CONFLICT, "migration %lld (%.100s) is %s: this program has no way back from it",
			       (long long)last->number, last->name.n > 0 ? last->name.p : "",
			       history_states[last->state]);
	} else if (ok && last != NULL) {
		ok =
		    dba_define(d, last->of->down, &why) && dba_run(d, "DELETE FROM schema_migrations WHERE number = $1",
								   DB_ARGS(DB_I(last->number)), NULL, &why);
		if (!ok)
			error_set(err, why.code, "undoing migration %lld: %.200s", (long long)last->number, why.msg);
		FAULT("db.before_undo_commit");
	}
	if (ok)
		ok = dba_commit(d, err);
	else
		dba_rollback(d);
	arena_free(a);
	return ok;
}

bool history_undo(struct dba *d, const struct migration *m, size_t n, int64_t to, size_t *undone, struct error *err)
{
	bool done = false;

	for (*undone = 0;; (*undone)++) {
		if (!history_undo_one(d, m, n, to, &done, err))
			return false;
		if (done)
			return true;
	}
}

bool history_demand(const struct conf *c, const struct migration *m, size_t n, struct error *err)
{
	struct error why = ERROR_INIT;
	struct dba *d = dba_open(c, DBA_READ, &why);
	struct arena *a = arena_new(0);
	struct history h = {.pending = n};
	bool ok = d != NULL ? history_read(d, a, m, n, &h, &why) : why.code == ERR_NOT_FOUND;

	if (!ok && err != NULL)
		*err = why;
	if (ok && h.pending > 0)
		ok = error_set(
		    err, ERR_CONFLICT,
		    "%zu migrations are pending and storage.auto_migrate is off; run: aragorad migrate apply%s%.150s",
		    h.pending, c->path[0] != '\0' ? " -c " : "", c->path);
	arena_free(a);
	dba_close(d);
	return ok;
}
