/* SPDX-License-Identifier: MIT */
/*
 * As much of a statement as the guard between tenants needs: which known tables it mentions, and which of their
 * columns are bound to parameters or to each other. Reads the dialect of our own statements; what it does not
 * understand is never reported as bound.
 */
#ifndef COMMON_SQL_SCAN_H
#define COMMON_SQL_SCAN_H

#include "common/str.h"

struct sql_token {
	struct str text; /* of the statement */
	char kind;       /* 'a' name or keyword, '$' parameter, 's' string, '0' number, else the sign itself */
	unsigned param;  /* of '$' */
	/* Set by sql_read: the innermost SELECT, how many brackets deep in it, and the clause. */
	unsigned char scope, level, clause;
};

struct sql_tokens {
	struct sql_token *v;
	size_t n, cap;
};

/* False for what does not end (string, comment). sql_free in every case. */
bool sql_scan(const char *text, struct sql_tokens *out) MUST_CHECK;
void sql_free(struct sql_tokens *t);
/* Keywords in capitals, names as they stand, signs. */
bool sql_is(const struct sql_token *t, const char *text);

/* Columns that say to whom a row belongs; SQL_ID is the row's own id, SQL_KEY the table's `key`. */
enum sql_column { SQL_WORKSPACE, SQL_ORG, SQL_USER, SQL_COLUMNS, SQL_ID = SQL_COLUMNS, SQL_KEY, SQL_NO_COLUMN };

struct sql_table {
	char name[64];
	unsigned has;        /* bit 1 << enum sql_column, below SQL_COLUMNS */
	enum sql_column own; /* what its id stands for: SQL_ORG of organizations, or SQL_NO_COLUMN */
	const char *key;     /* column that names the row it is a part of, or NULL */
};

#define SQL_REFS 24
#define SQL_LINKS 32
#define SQL_SCOPES 32

/* One mention of a table. */
struct sql_ref {
	const struct sql_table *table;
	struct str name; /* its alias, or the table's name */
	unsigned scope;
	unsigned param[SQL_COLUMNS]; /* the column must equal this parameter; 0: none */
	bool insert;                 /* INTO: the columns get these values */
	bool copied;                 /* insert: tenant columns come from the SELECT in the same statement */
	bool moved;                  /* SET changes to whom rows belong */
};

/* A column of one mention must equal a column of another, or be among what a SELECT gives. */
struct sql_link {
	unsigned ref, other; /* indices */
	enum sql_column column, other_column;
	bool select; /* `other` is a scope */
};

struct sql_statement {
	struct sql_ref refs[SQL_REFS];
	struct sql_link links[SQL_LINKS];
	unsigned parent[SQL_SCOPES];
	bool either[SQL_SCOPES]; /* an OR stands beside the conditions: none of them must hold */
	size_t ref_count, link_count, scope_count;
};

/* False: not understood. `find` gives the table of a name, NULL for one that is of no interest. */
bool sql_read(const char *text, const struct sql_table *(*find)(struct str name), struct sql_statement *out) MUST_CHECK;

#endif
