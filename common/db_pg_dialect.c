/* SPDX-License-Identifier: MIT */
/*
 * Migrations in PostgreSQL's words. They are written once, in the dialect of SQLite; this is the one place that knows
 * how the two differ in what declares tables. Called by migrations only: queries are common to both as they stand.
 * What only one of them has stands in marks that the other takes for comments: statements between DB_ONLY_SQLITE and
 * DB_ONLY_END are left out here, and what is in a comment that begins with DB_ONLY_PG is taken as it stands.
 */
#include "common/db_pg.h"

#include <ctype.h>

/*
 * TEXT COLLATE "C": comparisons and order by bytes, as SQLite does, whatever locale the database was made with; also
 * indexes do not break when the system's locale data changes. An empty word is dropped, with the comma behind it.
 */
static const struct {
	const char *word, *pg;
} dialect_words[] = {
    {"INTEGER", "BIGINT"},
    {"TEXT", "TEXT COLLATE \"C\""},
    {"REAL", "DOUBLE PRECISION"},
    {"STRICT", ""},
    {"WITHOUT", ""},
    {"ROWID", ""},
};

/* NULL: a word that stays. */
static const char *dialect_find(struct str word)
{
	size_t i;

	for (i = 0; i < countof(dialect_words); i++)
		if (str_eqz(word, dialect_words[i].word))
			return dialect_words[i].pg;
	return NULL;
}

static bool dialect_letter(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* Behind a dropped word: blanks and one comma go too. */
static const char *dialect_skip(const char *p)
{
	const char *q = p;

	while (*q == ' ' || *q == '\n' || *q == '\t')
		q++;
	return *q == ',' ? q + 1 : p;
}

/* Copies a quoted piece with its quotes; returns what is behind it. */
static const char *dialect_quoted(struct buf *out, const char *p)
{
	const char *end = strchr(p + 1, *p);
	size_t n = end != NULL ? (size_t)(end - p) + 1 : strlen(p);

	buf_add(out, (struct str){p, n});
	return p + n;
}

/* Behind a mark of one store's own statements; p itself if there is none. */
static const char *dialect_marked(struct buf *out, const char *p)
{
	const char *end;

	if (strncmp(p, DB_ONLY_SQLITE, strlen(DB_ONLY_SQLITE)) == 0) {
		end = strstr(p, DB_ONLY_END);
		BUG_ON(end == NULL);
		return end + strlen(DB_ONLY_END);
	}
	if (strncmp(p, DB_ONLY_PG, strlen(DB_ONLY_PG)) == 0) {
		p += strlen(DB_ONLY_PG);
		end = strstr(p, "*/");
		BUG_ON(end == NULL);
		buf_add(out, (struct str){p, (size_t)(end - p)});
		return end + 2;
	}
	return p;
}

void db_pg_translate(struct buf *out, const char *sql)
{
	struct str before = STR("");
	const char *p = sql;

	while (*p != '\0') {
		struct str word = {p, 0};
		const char *pg, *behind = dialect_marked(out, p);

		if (behind != p) {
			p = behind;
			continue;
		}
		if (*p == '\'' || *p == '"') {
			p = dialect_quoted(out, p);
			continue;
		}
		while (dialect_letter(p[word.n]))
			word.n++;
		if (word.n == 0) {
			buf_addc(out, *p++);
			continue;
		}
		/* CAST(x AS TEXT) takes no collation. */
		pg = str_eqz(before, "AS") && str_eqz(word, "TEXT") ? NULL : dialect_find(word);
		p += word.n;
		if (pg == NULL)
			buf_add(out, word);
		else
			buf_addz(out, pg);
		if (pg != NULL && *pg == '\0')
			p = dialect_skip(p);
		before = word;
	}
}
