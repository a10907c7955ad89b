/* SPDX-License-Identifier: MIT */
/*
 * Full-text search: words of a query, the store's index, the order of the answer. Called by the areas that remember
 * things. Knows nothing of what they remember, and calls no model.
 */
#include "worker/search/fulltext.h"

#include "common/crypto.h"
#include "worker/worker.h"

/* Candidates per hit that is wanted: the store's order is not quite ours. */
#define FULLTEXT_CANDIDATES 4
/* PostgreSQL ranks by reading each match: of a query that half of the workspace matches, no more than these. */
#define FULLTEXT_RANKED "1000"
#define FULLTEXT_SCOPE 17 /* "w" and 16 digits */
#define FULLTEXT_ALIKE 4  /* letters that two words must share to be forms of one */
#define FULLTEXT_TURN 16  /* texts that are gone through before others have their turn: 128 KiB */

/* Words that say nothing about a subject; what is shorter than two letters is none anyhow. */
static const char *const fulltext_stops[] = {
    "an",    "and",    "any",  "are",  "as",    "at",   "be",   "been", "but",   "by",   "can",   "do",
    "does",  "for",    "from", "had",  "has",   "have", "how",  "if",   "in",    "into", "is",    "it",
    "its",   "may",    "more", "most", "no",    "not",  "of",   "on",   "or",    "our",  "out",   "over",
    "shall", "should", "so",   "some", "such",  "than", "that", "the",  "their", "them", "then",  "there",
    "these", "they",   "this", "to",   "us",    "was",  "we",   "were", "what",  "when", "where", "which",
    "who",   "why",    "will", "with", "would", "you",  "your"};

/* ---- words ---- */

static bool fulltext_letter(unsigned char c)
{
	return c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Takes the next run of letters off *rest; false at the end. */
static bool fulltext_next(struct str *rest, struct str *word)
{
	size_t i = 0, end;

	while (i < rest->n && !fulltext_letter((unsigned char)rest->p[i]))
		i++;
	for (end = i; end < rest->n && fulltext_letter((unsigned char)rest->p[end]); end++)
		;
	*word = str_sub(*rest, i, end);
	*rest = str_sub(*rest, end, rest->n);
	return word->n > 0;
}

static struct str fulltext_lower(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, s.n + 1);
	size_t i;

	for (i = 0; i < s.n; i++)
		p[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + ('a' - 'A') : s.p[i]);
	return (struct str){p, s.n};
}

static bool fulltext_stop(struct str word)
{
	size_t i;

	for (i = 0; i < countof(fulltext_stops); i++)
		if (str_eqz(word, fulltext_stops[i]))
			return true;
	return word.n < 2;
}

size_t fulltext_words(struct arena *a, struct str query, struct str *words, size_t max)
{
	struct str word;
	size_t n = 0, i;

	while (n < max && fulltext_next(&query, &word)) {
		word = fulltext_lower(a, str_utf8_cut(word, 64));
		for (i = 0; i < n && !str_eq(words[i], word); i++)
			;
		if (i == n && !fulltext_stop(word))
			words[n++] = word;
	}
	return n;
}

/* "debate" and "debates", "scaling" and "scaled": the shorter one but its ending is how the longer one begins. */
static bool fulltext_alike(struct str x, struct str y)
{
	size_t shorter = x.n < y.n ? x.n : y.n, longer = x.n < y.n ? y.n : x.n;
	size_t stem = shorter >= FULLTEXT_ALIKE + 2 ? shorter - 2 : shorter;

	if (shorter < FULLTEXT_ALIKE)
		return str_ieq(x, y);
	return longer - stem <= 5 && str_istarts(x, str_sub(y, 0, stem));
}

int64_t fulltext_coverage(const struct str *words, size_t n, struct str text)
{
	uint64_t seen = 0;
	struct str word;
	size_t i;

	while (fulltext_next(&text, &word))
		for (i = 0; i < n; i++)
			if ((seen >> i & 1) == 0 && fulltext_alike(word, words[i]))
				seen |= UINT64_C(1) << i;
	return n == 0 ? 0 : (int64_t)__builtin_popcountll(seen) * 1000000 / (int64_t)n;
}

int64_t fulltext_score(struct arena *a, struct str query, struct str text)
{
	struct str words[FULLTEXT_WORDS_MAX];
	size_t n = fulltext_words(a, query, words, FULLTEXT_WORDS_MAX);

	return fulltext_coverage(words, n, text);
}

/* ---- writing ---- */

/* The number of a document in the index: enough of a hash that two never meet; if they did, the later one is not found.
 */
static int64_t fulltext_number(struct str workspace_id, const char *kind, struct str ref)
{
	struct buf key = BUF_INIT;
	uint8_t hash[SHA256_LEN];
	uint64_t n = 0;
	size_t i;

	buf_printf(&key, "%s:", kind);
	buf_add(&key, workspace_id);
	buf_addc(&key, ':');
	buf_add(&key, ref);
	crypto_sha256(buf_str(&key), hash);
	buf_free(&key);
	for (i = 0; i < sizeof(n); i++)
		n = n << 8 | hash[i];
	return (int64_t)(n >> 2);
}

/* One word for kind and workspace: matches of others are not even looked at. */
static void fulltext_scope(char out[FULLTEXT_SCOPE + 1], const char *kind, struct str workspace_id)
{
	struct buf key = BUF_INIT;
	char hex[SHA256_HEX];

	buf_printf(&key, "%s:", kind);
	buf_add(&key, workspace_id);
	crypto_sha256_hex(buf_str(&key), hex);
	buf_free(&key);
	(void)snprintf(out, FULLTEXT_SCOPE + 1, "w%.16s", hex);
}

/* FTS5 takes what it forgets from the row, so that this stands before the row changes. */
static void fulltext_forget(struct db_batch *b, const struct context *ctx, int64_t n)
{
	db_batch_add(b,
		     "INSERT INTO _search_text (_search_text, rowid, text, scope) SELECT 'delete', n, text, scope"
		     " FROM search_documents WHERE n = $1 AND workspace_id = $2",
		     DB_ARGS(DB_I(n), DB_S(ctx->workspace_id)), DB_ANY);
}

void fulltext_put(struct db_batch *b, const struct context *ctx, const char *kind, struct str ref, struct str text)
{
	int64_t n = fulltext_number(ctx->workspace_id, kind, ref);
	char scope[FULLTEXT_SCOPE + 1];

	fulltext_scope(scope, kind, ctx->workspace_id);
	text = str_utf8_cut(text, FULLTEXT_TEXT_MAX);
	if (!db_batch_shared(b))
		fulltext_forget(b, ctx, n);
	db_batch_add(b,
		     "INSERT INTO search_documents (n, org_id, workspace_id, kind, ref, scope, text)"
		     " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (n) DO UPDATE SET text = excluded.text"
		     " WHERE search_documents.ref = $5 AND search_documents.workspace_id = $3",
		     DB_ARGS(DB_I(n), DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_Z(kind), DB_S(ref), DB_Z(scope),
			     DB_S(text)),
		     DB_ANY);
	if (!db_batch_shared(b))
		db_batch_add(b,
			     "INSERT INTO _search_text (rowid, text, scope) SELECT n, text, scope FROM search_documents"
			     " WHERE n = $1 AND workspace_id = $2 AND ref = $3",
			     DB_ARGS(DB_I(n), DB_S(ctx->workspace_id), DB_S(ref)), DB_ANY);
}

void fulltext_remove(struct db_batch *b, const struct context *ctx, const char *kind, struct str ref)
{
	int64_t n = fulltext_number(ctx->workspace_id, kind, ref);

	if (!db_batch_shared(b))
		fulltext_forget(b, ctx, n);
	db_batch_add(b, "DELETE FROM search_documents WHERE n = $1 AND workspace_id = $2",
		     DB_ARGS(DB_I(n), DB_S(ctx->workspace_id)), DB_ANY);
}

/* ---- finding ---- */

/*
 * The words are letters only, so that nothing in them is of the query language. FTS5: scope:"w…" AND text:("a" OR "b");
 * PostgreSQL: 'a' | 'b'.
 */
static struct str fulltext_query(struct arena *a, bool shared, const char *scope, const struct str *words, size_t n)
{
	struct buf q = BUF_INIT;
	struct str out;
	size_t i;

	if (!shared)
		buf_printf(&q, "scope:\"%s\" AND text:(", scope);
	for (i = 0; i < n; i++) {
		buf_addz(&q, i == 0 ? "" : shared ? " | " : " OR ");
		buf_printf(&q, shared ? "'%.*s'" : "\"%.*s\"", STR_ARG(words[i]));
	}
	if (!shared)
		buf_addc(&q, ')');
	out = arena_str(a, buf_str(&q));
	buf_free(&q);
	return out;
}

CO_FN static bool fulltext_ask(struct worker *w, struct arena *a, const struct context *ctx, const char *kind,
			       struct str match, const char *scope, size_t limit, struct db_rows *r, struct error *err)
{
	if (!db_shared(w->db))
		return db_query(
		    w->db, a,
		    "SELECT d.ref, d.text FROM _search_text JOIN search_documents d ON d.n = _search_text.rowid"
		    " WHERE _search_text MATCH $3 AND d.workspace_id = $1 AND d.kind = $2"
		    " ORDER BY bm25(_search_text, 1.0, 0.0), d.ref LIMIT $4",
		    DB_ARGS(DB_S(ctx->workspace_id), DB_Z(kind), DB_S(match), DB_I(limit)), r, err);
	return db_query(
	    w->db, a,
	    "SELECT m.ref, m.text FROM (SELECT d.ref, d.text FROM search_documents d WHERE d.workspace_id = $1"
	    " AND d.scope = $2 AND to_tsvector('english', d.text) @@ to_tsquery('english', $3)"
	    " LIMIT " FULLTEXT_RANKED ") m"
	    " ORDER BY ts_rank(to_tsvector('english', m.text), to_tsquery('english', $3)) DESC, m.ref LIMIT $4",
	    DB_ARGS(DB_S(ctx->workspace_id), DB_Z(scope), DB_S(match), DB_I(limit)), r, err);
}

/* By coverage; among equals the store's order stays. */
static void fulltext_sort(struct fulltext_hit *v, size_t n)
{
	size_t i, k;

	for (i = 1; i < n; i++) {
		struct fulltext_hit h = v[i];

		for (k = i; k > 0 && v[k - 1].score_ppm < h.score_ppm; k--)
			v[k] = v[k - 1];
		v[k] = h;
	}
}

CO_FN bool fulltext_find(struct worker *w, struct arena *a, const struct context *ctx, const char *kind,
			 struct str query, size_t limit, struct fulltext_hit **hits, size_t *n, struct error *err)
{
	struct str words[FULLTEXT_WORDS_MAX];
	size_t count = fulltext_words(a, db_clean(a, query), words, FULLTEXT_WORDS_MAX), i;
	char scope[FULLTEXT_SCOPE + 1];
	struct db_rows r;

	*n = 0;
	*hits = NULL;
	if (count == 0 || limit == 0)
		return true;
	limit = limit < FULLTEXT_LIMIT_MAX ? limit : FULLTEXT_LIMIT_MAX;
	fulltext_scope(scope, kind, ctx->workspace_id);
	if (!fulltext_ask(w, a, ctx, kind, fulltext_query(a, db_shared(w->db), scope, words, count), scope,
			  limit * FULLTEXT_CANDIDATES, &r, err))
		return false;
	*hits = arena_alloc(a, (r.count + 1) * sizeof(**hits));
	for (i = 0; i < r.count; i++) {
		struct fulltext_hit h = {db_str(&r, i, 0), db_str(&r, i, 1), 0, i};

		h.score_ppm = fulltext_coverage(words, count, h.text);
		/* The store's stemmer knows forms that coverage does not: such a hit counts as half a word. */
		if (h.score_ppm == 0)
			h.score_ppm = 500000 / (int64_t)count;
		(*hits)[i] = h;
		if (i % FULLTEXT_TURN == FULLTEXT_TURN - 1 && co_yield () == CO_ENDED)
			return error_set(err, ERR_CANCELLED, "cancelled");
	}
	fulltext_sort(*hits, r.count);
	*n = r.count < limit ? r.count : limit;
	return true;
}
