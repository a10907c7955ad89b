/* SPDX-License-Identifier: MIT */
/*
 * Questions to the chain: filters as SQL, lists, counts, a walk over everything. Called by the API and by subcommands,
 * through whichever session they have. Whose events a caller may see is for the caller to put into the filter.
 */
#include "common/json.h"
#include "worker/audit/audit_log.h"

#define QUERY_PAGE 200

static const char *const query_categories[] = {"auth",   "access", "data",     "admin", "billing",
					       "debate", "api",    "security", "system"};
static const char *const query_outcomes[] = {"success", "failure", "denied", "error"};

CO_FN static bool query_db(void *arg, struct arena *a, const char *sql, const struct db_val *args, size_t n,
			   struct db_rows *rows, struct error *err)
{
	return db_query(arg, a, sql, args, n, rows, err);
}

struct audit_source audit_source_db(struct db *db)
{
	return (struct audit_source){.query = query_db, .arg = db};
}

/* ---- filters ---- */

static bool query_known(const char *const *list, size_t n, struct str s)
{
	size_t i;

	for (i = 0; i < n && !str_eqz(s, list[i]); i++)
		;
	return s.n == 0 || i < n;
}

bool audit_filter_ok(const struct audit_filter *f, struct error *err)
{
	if (!query_known(query_categories, countof(query_categories), f->category))
		return error_field(err, ERR_INVALID_VALUE, "category", "Invalid category: %.*s",
				   STR_ARG(str_utf8_cut(f->category, 40)));
	if (!query_known(query_outcomes, countof(query_outcomes), f->outcome))
		return error_field(err, ERR_INVALID_VALUE, "outcome", "Invalid outcome: %.*s",
				   STR_ARG(str_utf8_cut(f->outcome, 40)));
	return true;
}

/* Text for LIKE ... ESCAPE '\': found anywhere, whatever signs it holds. */
static struct str query_pattern(struct arena *a, struct str text)
{
	struct buf b = BUF_INIT;
	struct str s;

	buf_addc(&b, '%');
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];

		if (c == '%' || c == '_' || c == '\\')
			buf_addc(&b, '\\');
		buf_addc(&b, c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c);
	}
	buf_addc(&b, '%');
	s = db_clean(a, arena_str(a, buf_str(&b)));
	buf_free(&b);
	return s;
}

static void query_and(struct buf *sql, size_t n)
{
	buf_addz(sql, n == 0 ? " WHERE " : " AND ");
}

void audit_filter_where(const struct audit_filter *f, struct arena *a, struct buf *sql,
			struct db_val args[AUDIT_FILTER_ARGS], size_t *n)
{
	static const char *const searched[] = {"action", "actor_id", "resource_type", "resource_id",
					       "reason", "details",  "ip_address",    "correlation_id"};
	const struct {
		const char *test;
		struct str v;
	} texts[] = {{"category =", f->category},      {"action =", f->action},
		     {"outcome =", f->outcome},        {"actor_id =", f->actor},
		     {"workspace_id =", f->workspace}, {"resource_type =", f->resource_type},
		     {"resource_id =", f->resource}};
	const struct {
		const char *test;
		int64_t v;
	} numbers[] = {{"created_at >=", f->from_ms},
		       {"created_at <", f->until_ms},
		       {"seq >", f->after_seq},
		       {"seq <", f->before_seq}};

	*n = 0;
	for (size_t i = 0; i < countof(numbers); i++)
		if (numbers[i].v > 0) {
			query_and(sql, *n);
			args[(*n)++] = DB_I(numbers[i].v);
			buf_printf(sql, "%s $%zu", numbers[i].test, *n);
		}
	if (f->org.n > 0 || f->only_org) {
		query_and(sql, *n);
		args[(*n)++] = DB_S(f->org);
		buf_printf(sql, "org_id = $%zu", *n);
	}
	for (size_t i = 0; i < countof(texts); i++)
		if (texts[i].v.n > 0) {
			query_and(sql, *n);
			args[(*n)++] = DB_S(db_clean(a, texts[i].v));
			buf_printf(sql, "%s $%zu", texts[i].test, *n);
		}
	if (f->text.n > 0) {
		query_and(sql, *n);
		args[(*n)++] = DB_S(query_pattern(a, f->text));
		for (size_t i = 0; i < countof(searched); i++)
			buf_printf(sql, "%sLOWER(%s) LIKE $%zu ESCAPE '\\'", i == 0 ? "(" : " OR ", searched[i], *n);
		buf_addc(sql, ')');
	}
}

/* ---- lists and counts ---- */

bool audit_list(const struct audit_source *src, struct arena *a, const struct audit_filter *f, int64_t limit,
		int64_t offset, struct db_rows *rows, int64_t *total, struct error *err)
{
	struct db_val args[AUDIT_FILTER_ARGS];
	struct buf where = BUF_INIT, sql = BUF_INIT;
	struct db_rows count;
	size_t n;
	bool ok;

	audit_filter_where(f, a, &where, args, &n);
	buf_printf(&sql, "SELECT COUNT(*) FROM audit_events%s", where.n > 0 ? where.p : "");
	ok = src->query(src->arg, a, sql.p, args, n, &count, err);
	if (ok) {
		*total = db_int(&count, 0, 0);
		args[n++] = DB_I(limit);
		args[n++] = DB_I(offset);
		buf_clear(&sql);
		buf_printf(&sql,
			   "SELECT " AUDIT_CHAIN_LIST " FROM audit_events%s ORDER BY seq DESC LIMIT $%zu OFFSET $%zu",
			   where.n > 0 ? where.p : "", n - 1, n);
		ok = src->query(src->arg, a, sql.p, args, n, rows, err);
	}
	buf_free(&sql);
	buf_free(&where);
	return ok;
}

/* One page of the walk; *after moves on, *more says whether to go on. */
static bool query_page(const struct audit_source *src, const struct audit_filter *f,
		       bool (*fn)(void *arg, struct arena *a, const struct audit_record *r), void *arg, int64_t *after,
		       bool *more, struct error *err)
{
	struct db_val args[AUDIT_FILTER_ARGS];
	struct arena *a = arena_new(0);
	struct audit_filter at = *f;
	struct buf sql = BUF_INIT;
	struct db_rows rows;
	size_t n;
	bool ok;

	at.after_seq = *after;
	buf_addz(&sql, "SELECT " AUDIT_CHAIN_LIST " FROM audit_events");
	audit_filter_where(&at, a, &sql, args, &n);
	buf_printf(&sql, " ORDER BY seq LIMIT %d", QUERY_PAGE);
	ok = src->query(src->arg, a, sql.p, args, n, &rows, err);
	*more = ok && rows.count == QUERY_PAGE;
	for (size_t i = 0; ok && i < rows.count; i++) {
		struct audit_record r;

		audit_record_read(&rows, i, true, &r);
		*after = r.seq;
		if (!fn(arg, a, &r)) {
			*more = false;
			break;
		}
	}
	buf_free(&sql);
	arena_free(a);
	return ok;
}

bool audit_each(const struct audit_source *src, const struct audit_filter *f,
		bool (*fn)(void *arg, struct arena *a, const struct audit_record *r), void *arg, struct error *err)
{
	int64_t after = f->after_seq;
	bool more = true, ok = true;

	while (ok && more)
		ok = query_page(src, f, fn, arg, &after, &more, err);
	return ok;
}

json_t *audit_count_by(const struct audit_source *src, struct arena *a, const struct audit_filter *f,
		       const char *column, struct error *err)
{
	struct db_val args[AUDIT_FILTER_ARGS];
	struct buf sql = BUF_INIT;
	struct db_rows rows;
	json_t *o = NULL;
	size_t n;

	buf_printf(&sql, "SELECT %s, COUNT(*) FROM audit_events", column);
	audit_filter_where(f, a, &sql, args, &n);
	buf_printf(&sql, " GROUP BY %s ORDER BY %s", column, column);
	if (src->query(src->arg, a, sql.p, args, n, &rows, err)) {
		o = json_object();
		for (size_t i = 0; i < rows.count; i++)
			json_put_int(o, arena_str(a, db_str(&rows, i, 0)).p, db_int(&rows, i, 1));
	}
	buf_free(&sql);
	return o;
}

bool audit_bounds(const struct audit_source *src, struct arena *a, const struct audit_filter *f, int64_t *oldest_ms,
		  int64_t *newest_ms, struct error *err)
{
	struct db_val args[AUDIT_FILTER_ARGS];
	struct buf sql = BUF_INIT;
	struct db_rows rows;
	size_t n;
	bool ok;

	buf_addz(&sql, "SELECT COALESCE(MIN(created_at), 0), COALESCE(MAX(created_at), 0) FROM audit_events");
	audit_filter_where(f, a, &sql, args, &n);
	ok = src->query(src->arg, a, sql.p, args, n, &rows, err);
	if (ok) {
		*oldest_ms = db_int(&rows, 0, 0);
		*newest_ms = db_int(&rows, 0, 1);
	}
	buf_free(&sql);
	return ok;
}
