/* SPDX-License-Identifier: MIT */
/*
 * Cosine of word counts, and a test for contradiction between short positions. Called by the consensus rules and by
 * the engine's convergence check. Knows no debate and no JSON; meaning beyond words is not attempted.
 */
#include "worker/engine/similarity.h"

#include <endian.h>

#define SIMILARITY_WORD_MAX 48
#define SIMILARITY_STOP_MAX 8 /* bytes of a stop word at most: two are compared as numbers */

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

static int similarity_by_hash(const void *x, const void *y)
{
	uint64_t a = ((const struct similarity_term *)x)->hash, b = ((const struct similarity_term *)y)->hash;

	return (a > b) - (a < b);
}

static bool similarity_counts(const struct similarity_word *w)
{
	return !(w->n == 1 && (unsigned char)w->p[0] < 0x80) && !similarity_is_stop(w);
}

/* Hashes of all words that count, sorted, equal ones merged. */
static void similarity_fill(struct similarity_vector *v, struct str text)
{
	struct similarity_word w;
	size_t i = 0, k, n = 0;

	while (similarity_next(text, &i, &w))
		if (similarity_counts(&w))
			v->terms[n++] = (struct similarity_term){similarity_hash(&w), 1};
	qsort(v->terms, n, sizeof(*v->terms), similarity_by_hash);
	for (k = 0; k < n; k++) {
		if (v->n > 0 && v->terms[v->n - 1].hash == v->terms[k].hash)
			v->terms[v->n - 1].count++;
		else
			v->terms[v->n++] = v->terms[k];
	}
	for (k = 0; k < v->n; k++)
		v->norm += (uint64_t)v->terms[k].count * v->terms[k].count;
}

const struct similarity_vector *similarity_vector(struct arena *a, struct str text)
{
	struct similarity_vector *v = arena_zalloc(a, sizeof(*v));

	text = str_utf8_cut(text, SIMILARITY_TEXT_MAX);
	/* A word that counts has two bytes and more. */
	v->terms = arena_alloc(a, (text.n / 2 + 1) * sizeof(*v->terms));
	similarity_fill(v, text);
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

int64_t similarity_cosine(const struct similarity_vector *x, const struct similarity_vector *y)
{
	unsigned __int128 dot = 0;
	size_t i = 0, j = 0;

	if (x->n == 0 || y->n == 0)
		return x->n == y->n ? SIMILARITY_ONE : 0;
	while (i < x->n && j < y->n) {
		if (x->terms[i].hash < y->terms[j].hash)
			i++;
		else if (x->terms[i].hash > y->terms[j].hash)
			j++;
		else
			dot += (uint64_t)x->terms[i++].count * y->terms[j++].count;
	}
	/* sqrt(dot² 10¹² / (|x|² |y|²)): dot < 2^31, so dot² 10¹² < 2^102. */
	return (int64_t)similarity_root(dot * dot * UINT64_C(1000000000000) / ((unsigned __int128)x->norm * y->norm));
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

/* The word itself or a plain inflection of it: support, supports, supported, supporting. */
static bool similarity_inflects(const struct similarity_word *w, const char *z)
{
	static const char *const endings[] = {"", "s", "d", "es", "ed", "ing"};
	size_t n = strlen(z), i;

	if (w->n < n || memcmp(w->p, z, n) != 0)
		return false;
	for (i = 0; i < countof(endings); i++)
		if (w->n - n == strlen(endings[i]) && memcmp(w->p + n, endings[i], w->n - n) == 0)
			return true;
	return false;
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
			if (similarity_same_word(&x->words[i], &y->words[k]))
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
