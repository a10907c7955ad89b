/* SPDX-License-Identifier: MIT */
/*
 * Statements and their parameters as PostgreSQL gets them: types from the values, text and integers in binary form, and
 * the wrapping by which the server itself refuses a row count that is not the expected one. Called by queries and
 * commits. Sends nothing.
 */
#include "common/db_pg_store.h"

#include <endian.h>

#include "common/crypto.h"

/* Types of pg_type.dat, fixed for ever; 0: the server infers it. */
#define PG_INT8 20
#define PG_TEXT 25

static const struct {
	Oid oid;
	char letter;
} pg_types[] = {[DB_NULL] = {0, 'n'}, [DB_INT] = {PG_INT8, 'i'}, [DB_TEXT] = {PG_TEXT, 't'}};

void pg_params_fill(struct pg_params *p, const struct db_val *args, size_t n)
{
	size_t i;

	BUG_ON(n > PG_PARAMS_MAX);
	for (i = 0; i < n; i++) {
		p->types[i] = pg_types[args[i].type].oid;
		p->formats[i] = 1;
		p->values[i] = NULL;
		p->lengths[i] = 0;
		if (args[i].type == DB_INT) {
			p->numbers[i] = htobe64((uint64_t)args[i].i);
			p->values[i] = (const char *)&p->numbers[i];
			p->lengths[i] = sizeof(p->numbers[i]);
		} else if (args[i].type == DB_TEXT) {
			BUG_ON(args[i].s.n > INT32_MAX);
			p->values[i] = args[i].s.n > 0 ? args[i].s.p : "";
			p->lengths[i] = (int)args[i].s.n;
		}
	}
}

/*
 * The whole statement becomes a part of one that counts what it touched and fails with a text of its own when the count
 * is another: the transaction is aborted inside the server, whatever else is already under way to it. Under READ
 * COMMITTED an UPDATE that waited for another transaction looks at its condition again, so that a fence cannot be
 * passed by who came second.
 */
static char *pg_sql_text(const char *sql, int64_t expect)
{
	bool reads = strncmp(sql, "SELECT", 6) == 0;
	struct buf b = BUF_INIT;
	char *out;

	if (expect == DB_ANY)
		return xstrdup(sql);
	buf_printf(&b, "WITH touched AS (%s%s) ", sql,
		   reads || strstr(sql, " RETURNING ") != NULL ? "" : " RETURNING 1");
	buf_printf(&b,
		   "SELECT CAST(CASE WHEN COUNT(*) = %lld THEN '0' ELSE '" PG_FENCE_MARK
		   "' || COUNT(*) || '|' END AS INTEGER) FROM touched",
		   (long long)expect);
	out = str_dupz(buf_str(&b));
	buf_free(&b);
	return out;
}

/*
 * Equal names mean equal statements: if a pooler of transactions that nobody noticed gives us a session in which
 * another process has prepared something, that is not executed in place of what we meant.
 */
static void pg_sql_name(struct pg_sql *q)
{
	struct buf b = BUF_INIT;
	char hex[SHA256_HEX];

	buf_printf(&b, "%s|%s", q->types, q->text);
	crypto_sha256_hex(buf_str(&b), hex);
	snprintf(q->name, sizeof(q->name), "a%.32s", hex);
	buf_free(&b);
}

static struct pg_sql *pg_sql_new(size_t number, const char *sql, int64_t expect, const char *types)
{
	struct pg_sql *q = xcalloc(1, sizeof(*q));

	q->sql = sql;
	q->copy = xstrdup(sql);
	q->expect = expect;
	q->number = number;
	q->text = pg_sql_text(sql, expect);
	snprintf(q->types, sizeof(q->types), "%s", types);
	pg_sql_name(q);
	return q;
}

const struct pg_sql *pg_sql_get(struct pg_sqls *s, const char *sql, int64_t expect, const struct db_val *args, size_t n)
{
	struct pg_sql **set = &s->sets[((uintptr_t)sql * UINT64_C(0x9e3779b97f4a7c15) >> 32) % PG_SQL_SETS];
	char types[PG_PARAMS_MAX + 1];
	struct pg_sql *q;
	size_t i;

	BUG_ON(n > PG_PARAMS_MAX);
	for (i = 0; i < n; i++)
		types[i] = pg_types[args[i].type].letter;
	types[i] = '\0';
	for (q = *set; q != NULL; q = q->next)
		if (q->sql == sql && q->expect == expect && strcmp(q->types, types) == 0 && strcmp(q->copy, sql) == 0)
			return q;
	q = pg_sql_new(s->count++, sql, expect, types);
	q->next = *set;
	*set = q;
	return q;
}

void pg_sqls_free(struct pg_sqls *s)
{
	struct pg_sql *q, *next;
	size_t i;

	for (i = 0; i < PG_SQL_SETS; i++)
		for (q = s->sets[i]; q != NULL; q = next) {
			next = q->next;
			free(q->copy);
			free(q->text);
			free(q);
		}
	*s = (struct pg_sqls){0};
}
