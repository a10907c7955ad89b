/* SPDX-License-Identifier: MIT */
/*
 * Cosine of word counts and of TF-IDF, and a test for contradiction between short positions. Called by the consensus
 * rules and by the engine's convergence check. Knows no debate and no JSON; meaning beyond words is not attempted.
 */
#include "worker/engine/similarity.h"

#include <endian.h>

#define SIMILARITY_WORD_MAX 48
#define SIMILARITY_STOP_MAX 8 /* bytes of a stop word at most: two are compared as numbers */
#define SIMILARITY_RUN 8      /* numbers that are sorted by insertion */
#define SIMILARITY_UNIT 1024  /* weights of words are whole multiples of one in so many */
#define SIMILARITY_BUCKETS 64
#define SIMILARITY_DOT_BITS 43 /* of a scalar product that may be squared and multiplied by 10^12 in 128 bits */

struct similarity_term {
	uint64_t hash;
	uint32_t count;
};

struct similarity_vector {
	size_t n;
	uint64_t norm; /* sum of squared counts; < 2^31 at the cap */
	struct similarity_term *terms;
};

struct similarity_word {
	char p[SIMILARITY_WORD_MAX];
	size_t n;
};

/* Sorted; words that say nothing about the subject. Words the contradiction test needs (for, not, no) are kept out. */
static const char similarity_stop[][SIMILARITY_STOP_MAX] = {
    "about", "all",  "also",  "an",    "and",    "any",  "are",  "as",   "at",    "be",    "because",
    "been",  "but",  "by",    "can",   "could",  "do",   "does", "each", "from",  "had",   "has",
    "have",  "how",  "if",    "in",    "into",   "is",   "it",   "its",  "may",   "might", "must",
    "of",    "on",   "or",    "our",   "should", "so",   "some", "such", "than",  "that",  "the",
    "their", "them", "then",  "there", "these",  "they", "this", "to",   "was",   "we",    "were",
    "what",  "when", "where", "which", "while",  "who",  "will", "with", "would", "you",   "your"};

static const char *const similarity_antonyms[][2] = {
    {"accept", "reject"}, {"agree", "disagree"},    {"approve", "disapprove"}, {"yes", "no"},
    {"true", "false"},    {"increase", "decrease"}, {"raise", "lower"},        {"support", "oppose"},
    {"allow", "deny"},    {"enable", "disable"},    {"include", "exclude"},    {"add", "remove"},
    {"create", "delete"}, {"start", "stop"},        {"begin", "end"},          {"open", "close"},
    {"for", "against"},   {"pro", "con"},           {"positive", "negative"},  {"good", "bad"},
    {"better", "worse"},  {"more", "less"},         {"high", "low"},           {"up", "down"},
    {"pass", "fail"},     {"win", "lose"},          {"keep", "discard"}};

static const char *const similarity_negations[] = {"not", "never", "no",  "cannot", "don",   "shouldn",
						   "isn", "doesn", "won", "wouldn", "avoid", "without"};

static const char *const similarity_options[] = {"option", "choice", "alternative", "answer", "proposal"};

static bool similarity_is_word_byte(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

/* Bytes of the UTF-8 character at s if it belongs to a script written without spaces (from U+2E80), else 0. */
static size_t similarity_unspaced(struct str s, size_t i)
{
	unsigned char c = (unsigned char)s.p[i];

	if (c >= 0xE3 && c <= 0xED && i + 3 <= s.n)
		return 3;
	if (c == 0xE2 && i + 3 <= s.n && (unsigned char)s.p[i + 1] >= 0xBA)
		return 3;
	if (c == 0xF0 && i + 4 <= s.n && (unsigned char)s.p[i + 1] >= 0xA0)
		return 4;
	return 0;
}

/* Takes the next word off s from *i on, in lower case, cut to its first bytes. */
static bool similarity_next(struct str s, size_t *i, struct similarity_word *w)
{
	size_t j, one;

	while (*i < s.n && !similarity_is_word_byte((unsigned char)s.p[*i]))
		++*i;
	if (*i >= s.n)
		return false;
	w->n = 0;
	one = similarity_unspaced(s, *i);
	for (j = *i; j < s.n && similarity_is_word_byte((unsigned char)s.p[j]); j++) {
		unsigned char c = (unsigned char)s.p[j];

		if (one != 0 ? j == *i + one : similarity_unspaced(s, j) != 0)
			break;
		if (w->n < sizeof(w->p))
			w->p[w->n++] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
	}
	*i = j;
	return true;
}

static int similarity_compare_word(const struct similarity_word *w, const char *z)
{
	size_t n = strlen(z);
	int c = memcmp(w->p, z, w->n < n ? w->n : n);

	return c != 0 ? c : (w->n > n) - (w->n < n);
}

/* Numbers in the order of the words they are made of. */
static uint64_t similarity_number(const char word[SIMILARITY_STOP_MAX])
{
	uint64_t n;

	memcpy(&n, word, sizeof(n));
	return be64toh(n);
}

static bool similarity_is_stop(const struct similarity_word *w)
{
	size_t lo = 0, hi = w->n <= SIMILARITY_STOP_MAX ? countof(similarity_stop) : 0;
	char padded[SIMILARITY_STOP_MAX] = {0};
	uint64_t wanted;

	memcpy(padded, w->p, w->n <= SIMILARITY_STOP_MAX ? w->n : 0);
	wanted = similarity_number(padded);
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		uint64_t n = similarity_number(similarity_stop[mid]);

		if (n == wanted)
			return true;
		if (wanted < n)
			hi = mid;
		else
			lo = mid + 1;
	}
	return false;
}

/* FNV-1a, 64 bits: a collision makes two words one, nothing worse. */
static uint64_t similarity_hash(const struct similarity_word *w)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	size_t i;

	for (i = 0; i < w->n; i++)
		h = (h ^ (unsigned char)w->p[i]) * UINT64_C(0x100000001b3);
	return h;
}

static bool similarity_counts(const struct similarity_word *w)
{
	return !(w->n == 1 && (unsigned char)w->p[0] < 0x80) && !similarity_is_stop(w);
}

/* Merges the sorted runs [from, mid) and [mid, to) of x into y. */
static void similarity_merge(const uint64_t *x, uint64_t *y, size_t from, size_t mid, size_t to)
{
	size_t i = from, k = mid, n;

	for (n = from; n < to; n++)
		y[n] = k >= to || (i < mid && x[i] <= x[k]) ? x[i++] : x[k++];
}

/* Sorts n numbers; `spare` has room for as many. Never worse than O(n log n), whoever chose the words. */
static void similarity_sort(uint64_t *x, uint64_t *spare, size_t n)
{
	uint64_t *from = x, *to = spare, *swap, v;
	size_t run, i, k;

	for (i = 1; i < n; i++) { /* runs of SIMILARITY_RUN by insertion */
		v = x[i];
		for (k = i; k % SIMILARITY_RUN != 0 && x[k - 1] > v; k--)
			x[k] = x[k - 1];
		x[k] = v;
	}
	for (run = SIMILARITY_RUN; run < n; run *= 2) {
		for (i = 0; i < n; i += 2 * run)
			similarity_merge(from, to, i, i + run < n ? i + run : n, i + 2 * run < n ? i + 2 * run : n);
		swap = from;
		from = to;
		to = swap;
	}
	if (from != x && n > 0)
		memcpy(x, from, n * sizeof(*x));
}

/* Hashes of all words that count, in their order. */
static size_t similarity_words(struct str text, uint64_t *hashes)
{
	struct similarity_word w;
	size_t i = 0, n = 0;

	while (similarity_next(text, &i, &w))
		if (similarity_counts(&w))
			hashes[n++] = similarity_hash(&w);
	return n;
}

const struct similarity_vector *similarity_vector(struct arena *a, struct str text)
{
	struct similarity_vector *v = arena_zalloc(a, sizeof(*v));
	uint64_t *hashes;
	size_t n, k, different;

	text = str_utf8_cut(text, SIMILARITY_TEXT_MAX);
	hashes = xcalloc(text.n + 2, sizeof(*hashes)); /* twice: a word that counts has two bytes and more */
	n = similarity_words(text, hashes);
	similarity_sort(hashes, hashes + n, n);
	for (k = 0, different = 0; k < n; k++)
		different += k == 0 || hashes[k] != hashes[k - 1];
	v->terms = arena_alloc(a, (different + 1) * sizeof(*v->terms));
	for (k = 0; k < n; k++) {
		if (k == 0 || hashes[k] != hashes[k - 1])
			v->terms[v->n++] = (struct similarity_term){hashes[k], 0};
		v->terms[v->n - 1].count++;
	}
	for (k = 0; k < v->n; k++)
		v->norm += (uint64_t)v->terms[k].count * v->terms[k].count;
	free(hashes);
	return v;
}

static uint64_t similarity_root(unsigned __int128 x)
{
	unsigned __int128 lo = 0, hi = (unsigned __int128)1 << 62;

	while (lo < hi) { /* largest r with r * r <= x */
		unsigned __int128 mid = (lo + hi + 1) / 2;

		if (mid * mid <= x)
			lo = mid;
		else
			hi = mid - 1;
	}
	return (uint64_t)lo;
}

/* sqrt(dot^2 10^12 / (x y)), x and y being squared lengths. */
static int64_t similarity_share(uint64_t dot, uint64_t x, uint64_t y)
{
	unsigned shift = 0;
	uint64_t share;

	while (dot >> shift >> SIMILARITY_DOT_BITS != 0)
		shift++;
	dot >>= shift;
	x >>= shift;
	y >>= shift;
	share = similarity_root((unsigned __int128)dot * dot * UINT64_C(1000000000000) / ((unsigned __int128)x * y));
	return share < SIMILARITY_ONE ? (int64_t)share
				      : SIMILARITY_ONE; /* what was shifted out may be missing in x y */
}

/* Weighted by the squares of these: words that both texts use, and words of one. */
static int64_t similarity_between(const struct similarity_vector *x, const struct similarity_vector *y, uint64_t both,
				  uint64_t one)
{
	uint64_t dot = 0, xs = 0, ys = 0;
	size_t i = 0, j = 0;

	if (x->n == 0 || y->n == 0)
		return x->n == y->n ? SIMILARITY_ONE : 0;
	while (i < x->n && j < y->n) {
		const struct similarity_term *a = &x->terms[i], *b = &y->terms[j];

		i += a->hash <= b->hash;
		j += a->hash >= b->hash;
		if (a->hash != b->hash)
			continue;
		dot += (uint64_t)a->count * b->count;
		xs += (uint64_t)a->count * a->count;
		ys += (uint64_t)b->count * b->count;
	}
	if (dot == 0)
		return 0;
	return similarity_share(dot * both, xs * both + (x->norm - xs) * one, ys * both + (y->norm - ys) * one);
}

int64_t similarity_cosine(const struct similarity_vector *x, const struct similarity_vector *y)
{
	return similarity_between(x, y, 1, 1);
}

/* ---- TF-IDF ---- */

/* Natural logarithm of n >= 1 in units of 2^-16: bits of the binary one by squaring, times ln 2. */
static uint64_t similarity_ln(uint64_t n)
{
	unsigned whole = 63 - (unsigned)__builtin_clzll(n), i;
	uint64_t x = n << 32 >> whole, log = whole; /* x: 1 to 2 in units of 2^-32 */

	for (i = 0; i < 16; i++) {
		x = (uint64_t)((unsigned __int128)x * x >> 32);
		log = log << 1 | x >> 33;
		x >>= x >> 33;
	}
	return log * 45426 >> 16; /* ln 2 = 0.693147 */
}

/* What a word weighs that df of n texts use, in units of 1 / SIMILARITY_UNIT. */
static uint64_t similarity_idf(uint64_t n, uint64_t df)
{
	return SIMILARITY_UNIT + (similarity_ln(1 + n) - similarity_ln(1 + df)) * SIMILARITY_UNIT / 65536;
}

int64_t similarity_alike(enum similarity_measure how, const struct similarity_vector *x,
			 const struct similarity_vector *y)
{
	uint64_t both = 1, one = 1;

	if (how == SIMILARITY_TFIDF) {
		both = similarity_idf(2, 2) * similarity_idf(2, 2);
		one = similarity_idf(2, 1) * similarity_idf(2, 1);
	}
	return similarity_between(x, y, both, one);
}

struct similarity_member {
	const struct similarity_vector *v;
	uint32_t *weights; /* of its terms; at most 2^14 occurrences x 2^13 */
	uint64_t norm;
};

struct similarity_set {
	struct arena *a;
	enum similarity_measure how;
	size_t n, room;
	bool weighed;
	struct similarity_member *members;
};

struct similarity_set *similarity_set_new(struct arena *a, enum similarity_measure how, size_t room)
{
	struct similarity_set *s = arena_zalloc(a, sizeof(*s));

	s->a = a;
	s->how = how;
	s->room = room;
	s->members = arena_zalloc(a, (room + 1) * sizeof(*s->members));
	return s;
}

size_t similarity_set_add(struct similarity_set *s, const struct similarity_vector *v)
{
	BUG_ON(s->n == s->room || s->weighed);
	s->members[s->n].v = v;
	return s->n++;
}

/* In how many of the sorted hashes of all texts, counted from the first one like it, does this word occur? */
static uint64_t similarity_users(const uint64_t *all, size_t total, uint64_t hash)
{
	size_t lo = 0, hi = total, n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (all[mid] < hash)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (n = lo; n < total && all[n] == hash; n++)
		;
	return n - lo;
}

static void similarity_weigh_one(struct similarity_set *s, struct similarity_member *m, const uint64_t *all,
				 size_t total, const uint64_t *idf)
{
	size_t i;

	m->weights = arena_alloc(s->a, (m->v->n + 1) * sizeof(*m->weights));
	for (i = 0; i < m->v->n; i++) {
		m->weights[i] =
		    (uint32_t)(m->v->terms[i].count * idf[similarity_users(all, total, m->v->terms[i].hash)]);
		m->norm += (uint64_t)m->weights[i] * m->weights[i];
	}
}

static void similarity_weigh(struct similarity_set *s)
{
	uint64_t *all, *idf = xcalloc(s->n + 1, sizeof(*idf));
	size_t i, k, total = 0;

	for (i = 0; i < s->n; i++)
		total += s->members[i].v->n;
	all = xcalloc(2 * total + 1, sizeof(*all));
	for (i = 0, total = 0; i < s->n; i++)
		for (k = 0; k < s->members[i].v->n; k++)
			all[total++] = s->members[i].v->terms[k].hash;
	similarity_sort(all, all + total, total);
	for (i = 1; i <= s->n; i++)
		idf[i] = similarity_idf(s->n, i);
	for (i = 0; i < s->n; i++)
		similarity_weigh_one(s, &s->members[i], all, total, idf);
	free(idf);
	free(all);
	s->weighed = true;
}

int64_t similarity_set_alike(struct similarity_set *s, size_t x, size_t y)
{
	const struct similarity_member *p = &s->members[x], *q = &s->members[y];
	uint64_t dot = 0;
	size_t i = 0, j = 0;

	BUG_ON(x >= s->n || y >= s->n);
	if (s->how == SIMILARITY_COUNTS)
		return similarity_cosine(p->v, q->v);
	if (p->v->n == 0 || q->v->n == 0)
		return p->v->n == q->v->n ? SIMILARITY_ONE : 0;
	if (!s->weighed)
		similarity_weigh(s);
	while (i < p->v->n && j < q->v->n) {
		uint64_t a = p->v->terms[i].hash, b = q->v->terms[j].hash;

		if (a == b)
			dot += (uint64_t)p->weights[i] * q->weights[j];
		i += a <= b;
		j += a >= b;
	}
	return dot == 0 ? 0 : similarity_share(dot, p->norm, q->norm);
}

/* ---- memo ---- */

struct similarity_known {
	struct str text;
	const struct similarity_vector *v;
	struct similarity_known *next;
};

struct similarity_memo {
	struct arena *a;
	struct similarity_known *buckets[SIMILARITY_BUCKETS];
};

struct similarity_memo *similarity_memo_new(struct arena *a)
{
	struct similarity_memo *m = arena_zalloc(a, sizeof(*m));

	m->a = a;
	return m;
}

const struct similarity_vector *similarity_memo_vector(struct similarity_memo *m, struct str text)
{
	struct similarity_known **bucket = &m->buckets[((uintptr_t)text.p >> 4) % SIMILARITY_BUCKETS], *k;

	for (k = *bucket; k != NULL; k = k->next)
		if (k->text.p == text.p && k->text.n == text.n)
			return k->v;
	k = arena_alloc(m->a, sizeof(*k));
	*k = (struct similarity_known){text, similarity_vector(m->a, text), *bucket};
	*bucket = k;
	return k->v;
}

/* ---- contradiction ---- */

struct similarity_position {
	struct similarity_word words[SIMILARITY_POSITION_MAX];
	size_t n;
};

static void similarity_read(struct similarity_position *p, struct str text)
{
	size_t i = 0;

	p->n = 0;
	while (p->n < SIMILARITY_POSITION_MAX && similarity_next(text, &i, &p->words[p->n]))
		p->n++;
}

/* The n bytes at p or a plain inflection of them: support, supports, supported, supporting. */
static bool similarity_inflection(const struct similarity_word *w, const char *p, size_t n)
{
	static const char *const endings[] = {"", "s", "d", "es", "ed", "ing"};
	size_t i;

	if (w->n < n || memcmp(w->p, p, n) != 0)
		return false;
	for (i = 0; i < countof(endings); i++)
		if (w->n - n == strlen(endings[i]) && memcmp(w->p + n, endings[i], w->n - n) == 0)
			return true;
	return false;
}

static bool similarity_inflects(const struct similarity_word *w, const char *z)
{
	return similarity_inflection(w, z, strlen(z));
}

static bool similarity_has(const struct similarity_position *p, const char *z)
{
	size_t i;

	for (i = 0; i < p->n; i++)
		if (similarity_inflects(&p->words[i], z))
			return true;
	return false;
}

static bool similarity_is_negation(const struct similarity_word *w)
{
	size_t i;

	for (i = 0; i < countof(similarity_negations); i++)
		if (similarity_compare_word(w, similarity_negations[i]) == 0)
			return true;
	return false;
}

static size_t similarity_count_negations(const struct similarity_position *p)
{
	size_t i, n = 0;

	for (i = 0; i < p->n; i++)
		n += similarity_is_negation(&p->words[i]);
	return n;
}

/* A word of three letters or more (or of an unspaced script) that both use. */
static bool similarity_share_subject(const struct similarity_position *x, const struct similarity_position *y)
{
	size_t i, j;

	for (i = 0; i < x->n; i++) {
		const struct similarity_word *w = &x->words[i];

		if (w->n < 3 || similarity_is_stop(w) || similarity_is_negation(w))
			continue;
		for (j = 0; j < y->n; j++)
			if (w->n == y->words[j].n && memcmp(w->p, y->words[j].p, w->n) == 0)
				return true;
	}
	return false;
}

/* "option B": the label after the first such word, or NULL. */
static const struct similarity_word *similarity_label(const struct similarity_position *p)
{
	size_t i, k;

	for (i = 0; i + 1 < p->n; i++)
		for (k = 0; k < countof(similarity_options); k++)
			if (similarity_compare_word(&p->words[i], similarity_options[k]) == 0 &&
			    p->words[i + 1].n <= 2 && !similarity_is_stop(&p->words[i + 1]) &&
			    !similarity_is_negation(&p->words[i + 1]))
				return &p->words[i + 1];
	return NULL;
}

static bool similarity_opposed(const struct similarity_position *x, const struct similarity_position *y)
{
	size_t i;

	for (i = 0; i < countof(similarity_antonyms); i++) {
		bool xl = similarity_has(x, similarity_antonyms[i][0]),
		     xr = similarity_has(x, similarity_antonyms[i][1]);
		bool yl = similarity_has(y, similarity_antonyms[i][0]),
		     yr = similarity_has(y, similarity_antonyms[i][1]);

		if ((xl && !xr && yr && !yl) || (xr && !xl && yl && !yr))
			return true;
	}
	return false;
}

static bool similarity_same_word(const struct similarity_word *x, const struct similarity_word *y)
{
	return x->n == y->n && memcmp(x->p, y->p, x->n) == 0;
}

/* Does x name a number that y does not? */
static bool similarity_number_beyond(const struct similarity_position *x, const struct similarity_position *y)
{
	size_t i, k;

	for (i = 0; i < x->n; i++) {
		if (x->words[i].p[0] < '0' || x->words[i].p[0] > '9')
			continue;
		for (k = 0; k < y->n && !similarity_same_word(&x->words[i], &y->words[k]); k++)
			;
		if (k == y->n)
			return true;
	}
	return false;
}

/* Only what carries meaning, in its order; single characters too: they may be the answer. */
static void similarity_strip(struct similarity_position *p)
{
	size_t i, n = 0;

	for (i = 0; i < p->n; i++)
		if (!similarity_is_stop(&p->words[i]))
			p->words[n++] = p->words[i];
	p->n = n;
}

/* One word in two forms: price, prices; adopt, adopting. */
static bool similarity_one_word(const struct similarity_word *x, const struct similarity_word *y)
{
	const struct similarity_word *less = x->n < y->n ? x : y, *more = x->n < y->n ? y : x;

	return similarity_same_word(x, y) ||
	       (less->n > 2 && less->n < sizeof(less->p) && similarity_inflection(more, less->p, less->n));
}

/* The same sentence with one place filled otherwise: "the capital is Sydney", "the capital is Canberra". */
static bool similarity_other_filling(struct similarity_position *x, struct similarity_position *y)
{
	size_t from = 0, i, k;

	similarity_strip(x);
	similarity_strip(y);
	while (from < x->n && from < y->n && similarity_same_word(&x->words[from], &y->words[from]))
		from++;
	while (x->n > from && y->n > from && similarity_same_word(&x->words[x->n - 1], &y->words[y->n - 1])) {
		x->n--;
		y->n--;
	}
	if (x->n == from || y->n == from || x->n - from > SIMILARITY_FILLING_MAX ||
	    y->n - from > SIMILARITY_FILLING_MAX)
		return false;
	for (i = from; i < x->n; i++)
		for (k = from; k < y->n; k++)
			if (similarity_one_word(&x->words[i], &y->words[k]))
				return false;
	return true;
}

bool similarity_other_answer(struct str a, struct str b)
{
	struct similarity_position x, y;

	similarity_read(&x, a);
	similarity_read(&y, b);
	if (similarity_number_beyond(&x, &y) && similarity_number_beyond(&y, &x))
		return true;
	return similarity_other_filling(&x, &y);
}

bool similarity_contradicts(struct str a, struct str b)
{
	struct similarity_position x, y;
	const struct similarity_word *lx, *ly;

	similarity_read(&x, a);
	similarity_read(&y, b);
	lx = similarity_label(&x);
	ly = similarity_label(&y);
	if (lx != NULL && ly != NULL)
		return lx->n != ly->n || memcmp(lx->p, ly->p, lx->n) != 0;
	if (x.n > 3 && y.n > 3 && !similarity_share_subject(&x, &y))
		return false;
	if (similarity_opposed(&x, &y))
		return true;
	return similarity_count_negations(&x) % 2 != similarity_count_negations(&y) % 2 &&
	       similarity_share_subject(&x, &y);
}
