/* SPDX-License-Identifier: MIT */
/*
 * Tokens, scopes, tables and conditions of a statement, see sql_scan.h. Called by tenant.c, once per statement. Checks
 * no syntax: that is for the database.
 */
#include "common/sql_scan.h"

#include <ctype.h>

/* ---- tokens ---- */

static bool sql_name_char(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* The length of a quoted text that begins at p, quotes included, doubled ones too; 0: it does not end. */
static size_t sql_quoted(const char *p)
{
	size_t i;

	for (i = 1; p[i] != '\0'; i++) {
		if (p[i] != p[0])
			continue;
		if (p[i + 1] != p[0])
			return i + 1;
		i++;
	}
	return 0;
}

static size_t sql_token_length(const char *p, char *kind)
{
	const char *end;
	size_t n = 1;

	*kind = *p;
	if (*p == '\'') {
		*kind = 's';
		return sql_quoted(p);
	}
	if (p[0] == '/' && p[1] == '*') {
		end = strstr(p + 2, "*/");
		*kind = ' ';
		return end != NULL ? (size_t)(end - p) + 2 : 0;
	}
	if (*p != '$' && !sql_name_char(*p))
		return strchr("\"`[;#", *p) != NULL && *p != ';' ? 0 : 1;
	*kind = *p == '$' ? '$' : isdigit((unsigned char)*p) ? '0' : 'a';
	while (sql_name_char(p[n]))
		n++;
	return n;
}

static void sql_push(struct sql_tokens *out, const char *p, size_t n, char kind)
{
	struct sql_token *t;
	size_t i;

	if (out->n == out->cap) {
		out->cap = out->cap > 0 ? 2 * out->cap : 128;
		out->v = xrealloc(out->v, out->cap * sizeof(*out->v));
	}
	t = &out->v[out->n++];
	*t = (struct sql_token){.text = {p, n}, .kind = kind};
	for (i = 1; kind == '$' && i < n && i < 4; i++)
		t->param = t->param * 10 + (unsigned)(p[i] - '0');
}

bool sql_scan(const char *text, struct sql_tokens *out)
{
	const char *p = text;
	size_t n;
	char kind;

	*out = (struct sql_tokens){.n = 0};
	while (*p != '\0') {
		if (isspace((unsigned char)*p)) {
			p++;
			continue;
		}
		n = sql_token_length(p, &kind);
		if (n == 0)
			return false;
		if (kind != ' ')
			sql_push(out, p, n, kind);
		p += n;
	}
	return true;
}

void sql_free(struct sql_tokens *t)
{
	free(t->v);
	*t = (struct sql_tokens){.n = 0};
}

bool sql_is(const struct sql_token *t, const char *text)
{
	return t->kind != 's' && str_eqz(t->text, text);
}

static bool sql_any(const struct sql_token *t, const char *const *words)
{
	for (; *words != NULL; words++)
		if (sql_is(t, *words))
			return true;
	return false;
}

/* ---- scopes ---- */

enum sql_clause {
	CLAUSE_NONE,
	CLAUSE_SELECT,
	CLAUSE_FROM,
	CLAUSE_INTO,
	CLAUSE_ON,
	CLAUSE_WHERE,
	CLAUSE_SET,
	CLAUSE_TAIL
};

static const struct {
	const char *word;
	enum sql_clause clause;
} sql_clauses[] = {
    {"SELECT", CLAUSE_SELECT}, {"FROM", CLAUSE_FROM},     {"JOIN", CLAUSE_FROM},  {"UPDATE", CLAUSE_INTO},
    {"INTO", CLAUSE_INTO},     {"VALUES", CLAUSE_SELECT}, {"ON", CLAUSE_ON},      {"WHERE", CLAUSE_WHERE},
    {"SET", CLAUSE_SET},       {"GROUP", CLAUSE_TAIL},    {"ORDER", CLAUSE_TAIL}, {"HAVING", CLAUSE_TAIL},
    {"LIMIT", CLAUSE_TAIL},    {"OFFSET", CLAUSE_TAIL},   {"FOR", CLAUSE_TAIL},   {"RETURNING", CLAUSE_TAIL},
    {"WINDOW", CLAUSE_TAIL},
};

/* The clause that begins with token i, at the top of its scope; else the one before. */
static enum sql_clause sql_clause_of(const struct sql_tokens *t, size_t i, enum sql_clause now)
{
	size_t k;

	/* "IS DISTINCT FROM" has no table behind it, and an upsert's end is the business of the row it found. */
	if (sql_is(&t->v[i], "FROM") && i > 0 && sql_is(&t->v[i - 1], "DISTINCT") && now != CLAUSE_SELECT)
		return now;
	if (sql_is(&t->v[i], "ON") && i + 1 < t->n && sql_is(&t->v[i + 1], "CONFLICT"))
		return CLAUSE_TAIL;
	if (now == CLAUSE_TAIL)
		return now;
	for (k = 0; k < countof(sql_clauses); k++)
		if (sql_is(&t->v[i], sql_clauses[k].word))
			return sql_clauses[k].clause;
	return now;
}

struct sql_walk {
	struct {
		unsigned scope;
		bool select; /* the bracket opened a scope */
	} stack[64];
	unsigned depth;
	unsigned char level[SQL_SCOPES], clause[SQL_SCOPES];
};

static bool sql_open_scope(struct sql_statement *out, unsigned parent, unsigned *scope)
{
	if (out->scope_count == SQL_SCOPES)
		return false;
	*scope = (unsigned)out->scope_count++;
	out->parent[*scope] = parent;
	out->either[*scope] = false;
	return true;
}

static bool sql_bracket(const struct sql_tokens *t, size_t i, struct sql_walk *w, struct sql_statement *out)
{
	unsigned now = w->stack[w->depth].scope;

	if (sql_is(&t->v[i], "(")) {
		bool select = i + 1 < t->n && (sql_is(&t->v[i + 1], "SELECT") || sql_is(&t->v[i + 1], "WITH"));

		if (w->depth + 1 == countof(w->stack) || (select && !sql_open_scope(out, now, &now)))
			return false;
		if (!select)
			w->level[now]++;
		w->depth++;
		w->stack[w->depth].scope = now;
		w->stack[w->depth].select = select;
	} else {
		if (w->depth == 0)
			return false;
		if (!w->stack[w->depth].select)
			w->level[now]--;
		w->depth--;
	}
	return true;
}

/* Gives every token its scope, level and clause. */
static bool sql_place(struct sql_tokens *t, struct sql_statement *out)
{
	static const char *const unions[] = {"UNION", "EXCEPT", "INTERSECT", NULL}, *const foreign[] = {
											"RIGHT", "FULL", "USING",
											"NATURAL", NULL};
	struct sql_walk w = {.depth = 0};
	size_t i;

	if (!sql_open_scope(out, 0, &w.stack[0].scope))
		return false;
	for (i = 0; i < t->n; i++) {
		struct sql_token *k = &t->v[i];
		unsigned scope;

		if ((sql_is(k, "(") || sql_is(k, ")")) && !sql_bracket(t, i, &w, out))
			return false;
		/* The halves of a UNION have conditions of their own. */
		if (sql_any(k, unions) &&
		    !sql_open_scope(out, out->parent[w.stack[w.depth].scope], &w.stack[w.depth].scope))
			return false;
		if (sql_any(k, foreign))
			return false; /* conditions mean something else with them */
		scope = w.stack[w.depth].scope;
		if (w.level[scope] == 0 && k->kind == 'a')
			w.clause[scope] = (unsigned char)sql_clause_of(t, i, w.clause[scope]);
		k->scope = (unsigned char)scope;
		k->level = w.level[scope];
		k->clause = w.clause[scope];
		if (sql_is(k, "OR") && k->level == 0 && (k->clause == CLAUSE_WHERE || k->clause == CLAUSE_ON))
			out->either[scope] = true;
	}
	return w.depth == 0;
}

/* ---- tables ---- */

static bool sql_find_refs(const struct sql_tokens *t, const struct sql_table *(*find)(struct str name),
			  struct sql_statement *out)
{
	static const char *const before[] = {"FROM", "JOIN", "INTO", "UPDATE", ",", "(", "ONLY", NULL},
				 *const not_alias[] = {"WHERE",   "SET",    "ON",    "JOIN",   "LEFT",      "INNER",
						       "CROSS",   "ORDER",  "GROUP", "LIMIT",  "VALUES",    "RETURNING",
						       "SELECT",  "HAVING", "UNION", "EXCEPT", "INTERSECT", "FOR",
						       "DEFAULT", "OFFSET", NULL};
	size_t i, next;

	for (i = 1; i < t->n; i++) {
		const struct sql_token *k = &t->v[i];
		const struct sql_table *table = k->kind == 'a' ? find(k->text) : NULL;
		struct sql_ref *ref;

		if (table == NULL || (k->clause != CLAUSE_FROM && k->clause != CLAUSE_INTO) || !sql_any(k - 1, before))
			continue;
		if (k->clause == CLAUSE_INTO && !sql_is(k - 1, "INTO") && !sql_is(k - 1, "UPDATE"))
			continue; /* a column of the INSERT */
		if (out->ref_count == SQL_REFS)
			return false;
		ref = &out->refs[out->ref_count++];
		*ref = (struct sql_ref){
		    .table = table, .name = k->text, .scope = k->scope, .insert = sql_is(k - 1, "INTO")};
		next = i + 1 + (i + 1 < t->n && sql_is(&t->v[i + 1], "AS"));
		if (next < t->n && t->v[next].kind == 'a' && !sql_any(&t->v[next], not_alias))
			ref->name = t->v[next].text;
	}
	return true;
}

/* ---- conditions ---- */

/* [qualifier.]column at token *i; moves *i behind it. */
struct sql_operand {
	struct str qualifier, column;
};

static bool sql_operand(const struct sql_tokens *t, size_t *i, struct sql_operand *o)
{
	if (*i >= t->n || t->v[*i].kind != 'a')
		return false;
	*o = (struct sql_operand){STR_NONE, t->v[*i].text};
	(*i)++;
	if (*i + 1 < t->n && sql_is(&t->v[*i], ".")) {
		o->qualifier = o->column;
		o->column = t->v[*i + 1].text;
		*i += 2;
	}
	return true;
}

static enum sql_column sql_column_of(const struct sql_table *table, struct str name)
{
	static const char *const names[] = {"workspace_id", "org_id", "user_id"};
	size_t i;

	for (i = 0; i < countof(names); i++)
		if (str_eqz(name, names[i]) && (table->has & 1U << i) != 0)
			return (enum sql_column)i;
	if (str_eqz(name, "id"))
		return table->own != SQL_NO_COLUMN ? table->own : SQL_ID;
	return table->key != NULL && str_eqz(name, table->key) ? SQL_KEY : SQL_NO_COLUMN;
}

/* Which mention the operand means, seen from a scope: by name in this scope and those around it, or the only one here.
 */
static bool sql_resolve(const struct sql_statement *st, unsigned scope, const struct sql_operand *o, unsigned *ref,
			enum sql_column *column)
{
	size_t i;

	for (;;) {
		for (i = 0; i < st->ref_count; i++) {
			if (st->refs[i].scope != scope || st->refs[i].insert ||
			    (o->qualifier.n > 0 && !str_eq(o->qualifier, st->refs[i].name)))
				continue;
			*column = sql_column_of(st->refs[i].table, o->column);
			*ref = (unsigned)i;
			if (*column != SQL_NO_COLUMN)
				return true;
		}
		if (scope == 0 || o->qualifier.n == 0)
			return false;
		scope = st->parent[scope];
	}
}

static bool sql_link(struct sql_statement *st, struct sql_link link)
{
	if (st->link_count == SQL_LINKS)
		return false;
	st->links[st->link_count++] = link;
	return true;
}

/* Does a condition end here: AND, the end of the clause, of the bracket or of the statement? */
static bool sql_condition_ends(const struct sql_tokens *t, size_t i)
{
	static const char *const ends[] = {"AND",       "ORDER", "GROUP", "LIMIT",  "WHERE",     "JOIN", "LEFT",
					   "INNER",     "CROSS", "UNION", "FOR",    "RETURNING", "ON",   "EXCEPT",
					   "INTERSECT", ")",     ";",     "HAVING", NULL};

	return i >= t->n || sql_any(&t->v[i], ends);
}

/* In ON of a LEFT JOIN a condition binds the joined table alone. */
static bool sql_on_binds(const struct sql_statement *st, const struct sql_tokens *t, size_t at, unsigned ref)
{
	size_t i = at;

	if (t->v[at].clause != CLAUSE_ON)
		return true;
	while (i > 0 && !(sql_is(&t->v[i], "JOIN") && t->v[i].scope == t->v[at].scope))
		i--;
	return st->refs[ref].name.p > t->v[i].text.p && st->refs[ref].name.p < t->v[at].text.p;
}

/* column = $n, column = column, key IN (SELECT ...). Operand `a` ends before token i. */
static bool sql_condition(const struct sql_tokens *t, size_t at, struct sql_statement *st)
{
	unsigned scope = t->v[at].scope, ref, other;
	enum sql_column column, other_column;
	struct sql_operand a, b;
	size_t i = at;

	if (!sql_operand(t, &i, &a) || i >= t->n || !sql_resolve(st, scope, &a, &ref, &column) ||
	    st->refs[ref].scope != scope || !sql_on_binds(st, t, at, ref))
		return true;
	if (sql_is(&t->v[i], "IN") && i + 2 < t->n && sql_is(&t->v[i + 1], "(") && sql_is(&t->v[i + 2], "SELECT"))
		return sql_link(st, (struct sql_link){ref, t->v[i + 2].scope, column, SQL_NO_COLUMN, true});
	if (!sql_is(&t->v[i], "=") || ++i >= t->n)
		return true;
	if (t->v[i].kind == '$') {
		if (sql_condition_ends(t, i + 1) && column < SQL_COLUMNS)
			st->refs[ref].param[column] = t->v[i].param;
		return true;
	}
	if (!sql_operand(t, &i, &b) || !sql_condition_ends(t, i) || !sql_resolve(st, scope, &b, &other, &other_column))
		return true;
	if (!sql_link(st, (struct sql_link){ref, other, column, other_column, false}))
		return false;
	return st->refs[other].scope != scope || !sql_on_binds(st, t, at, other) ||
	       sql_link(st, (struct sql_link){other, ref, other_column, column, false});
}

static bool sql_find_conditions(const struct sql_tokens *t, struct sql_statement *st)
{
	static const char *const before[] = {"WHERE", "AND", "ON", NULL};
	size_t i;

	for (i = 0; i + 1 < t->n; i++) {
		const struct sql_token *k = &t->v[i + 1];
		bool conditions = k->clause == CLAUSE_WHERE || k->clause == CLAUSE_ON;

		if (!conditions || k->level > 0 || st->either[k->scope] || t->v[i].scope != k->scope ||
		    !sql_any(&t->v[i], before))
			continue;
		if (!sql_condition(t, i + 1, st))
			return false;
	}
	return true;
}

/* ---- writing ---- */

/* UPDATE ... SET workspace_id = ... gives rows to somebody else. */
static void sql_find_moves(const struct sql_tokens *t, struct sql_statement *st)
{
	size_t i, r;

	for (i = 0; i + 1 < t->n; i++) {
		if (t->v[i].clause != CLAUSE_SET || t->v[i].level > 0 || !sql_is(&t->v[i + 1], "="))
			continue;
		for (r = 0; r < st->ref_count; r++)
			if (st->refs[r].scope == t->v[i].scope &&
			    sql_column_of(st->refs[r].table, t->v[i].text) < SQL_USER)
				st->refs[r].moved = true;
	}
}

/* An expression of a list: tokens [begin, end). */
struct sql_value {
	size_t begin, end;
	unsigned param; /* the value is this parameter, perhaps cast; 0: no */
};

static struct sql_value sql_value(const struct sql_tokens *t, size_t begin)
{
	static const char *const ends[] = {",", ")", "FROM", "WHERE", NULL};
	struct sql_value v = {begin, begin, 0};
	unsigned depth = 0, params = 0;

	for (; v.end < t->n && (depth > 0 || !sql_any(&t->v[v.end], ends)); v.end++) {
		depth += sql_is(&t->v[v.end], "(");
		depth -= sql_is(&t->v[v.end], ")");
		params += t->v[v.end].kind == '$';
		v.param = t->v[v.end].kind == '$' ? t->v[v.end].param : v.param;
	}
	if (params != 1 || (v.end - begin > 1 && !sql_is(&t->v[begin], "CAST")))
		v.param = 0;
	return v;
}

/* The column of the same name, with or without its table's. */
static bool sql_value_is(const struct sql_tokens *t, const struct sql_value *v, struct str name)
{
	size_t n = v->end - v->begin;

	return (n == 1 || (n == 3 && sql_is(&t->v[v->begin + 1], "."))) && str_eq(t->v[v->end - 1].text, name);
}

#define SQL_INSERT_COLUMNS 64

/* INSERT INTO t (a, b) VALUES (x, y), or SELECT x, y: what the tenant's columns get. */
static bool sql_find_insert(const struct sql_tokens *t, struct sql_statement *st)
{
	struct sql_ref *into = &st->refs[0];
	struct str names[SQL_INSERT_COLUMNS];
	size_t i, n = 0, k;

	if (st->ref_count == 0 || !into->insert)
		return true;
	for (i = 0; i < t->n && !sql_is(&t->v[i], "("); i++)
		;
	for (i++; i < t->n && !sql_is(&t->v[i], ")"); i++)
		if (t->v[i].kind == 'a' && n < countof(names))
			names[n++] = t->v[i].text;
	i++;
	if (i + 1 >= t->n || n == countof(names) || !(sql_is(&t->v[i], "VALUES") || sql_is(&t->v[i], "SELECT")))
		return false;
	i += sql_is(&t->v[i], "VALUES") ? 2 : 1;
	into->copied = true;
	for (k = 0; k < n && i < t->n; k++) {
		struct sql_value v = sql_value(t, i);
		enum sql_column column = sql_column_of(into->table, names[k]);

		i = v.end + 1;
		if (column >= SQL_COLUMNS)
			continue;
		into->param[column] = v.param;
		into->copied = into->copied && (v.param > 0 || sql_value_is(t, &v, names[k]));
	}
	/* More than one row of values: not all of them have been looked at. */
	return i >= t->n || !sql_is(&t->v[i], ",");
}

bool sql_read(const char *text, const struct sql_table *(*find)(struct str name), struct sql_statement *out)
{
	struct sql_tokens t;
	bool ok;

	*out = (struct sql_statement){.ref_count = 0};
	ok = sql_scan(text, &t) && sql_place(&t, out) && sql_find_refs(&t, find, out) && sql_find_conditions(&t, out) &&
	     sql_find_insert(&t, out);
	if (ok)
		sql_find_moves(&t, out);
	sql_free(&t);
	return ok;
}
