/* SPDX-License-Identifier: MIT */
/*
 * Slices and growing buffers. Called by everybody who touches bytes from outside. Deliberately without locale,
 * wide characters and Unicode case: identifiers and header names are ASCII.
 */
#include "common/str.h"

#include <stdarg.h>

#define STR_DISTANCE_MAX 64
#define BUF_FIRST 256

static unsigned char str_lower(char c)
{
	unsigned char u = (unsigned char)c;

	return u >= 'A' && u <= 'Z' ? (unsigned char)(u + ('a' - 'A')) : u;
}

static bool str_ieq_bytes(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (str_lower(a[i]) != str_lower(b[i]))
			return false;
	}
	return true;
}

bool str_ieq(struct str a, struct str b)
{
	return a.n == b.n && str_ieq_bytes(a.p, b.p, a.n);
}

bool str_istarts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && str_ieq_bytes(s.p, prefix.p, prefix.n);
}

bool str_ends(struct str s, struct str suffix)
{
	return s.n >= suffix.n && (suffix.n == 0 || memcmp(s.p + (s.n - suffix.n), suffix.p, suffix.n) == 0);
}

ptrdiff_t str_find(struct str s, struct str needle)
{
	const char *hit;

	if (needle.n == 0)
		return 0;
	hit = s.n >= needle.n ? memmem(s.p, s.n, needle.p, needle.n) : NULL;
	return hit != NULL ? hit - s.p : -1;
}

ptrdiff_t str_ifind(struct str s, struct str needle)
{
	unsigned char lower, upper;

	if (needle.n == 0)
		return 0;
	lower = str_lower(needle.p[0]);
	upper = lower >= 'a' && lower <= 'z' ? (unsigned char)(lower - ('a' - 'A')) : lower;
	for (size_t i = 0; i + needle.n <= s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if ((c == lower || c == upper) && str_ieq_bytes(s.p + i, needle.p, needle.n))
			return (ptrdiff_t)i;
	}
	return -1;
}

static bool str_is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
	while (s.n != 0 && str_is_space(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n != 0 && str_is_space(s.p[s.n - 1]))
		s.n--;
	return s;
}

bool str_split(struct str *rest, char separator, struct str *token)
{
	ptrdiff_t at;

	if (rest->p == NULL)
		return false;
	at = str_chr(*rest, separator);
	if (at < 0) {
		*token = *rest;
		*rest = STR_NONE;
		return true;
	}
	*token = str_sub(*rest, 0, (size_t)at);
	*rest = str_sub(*rest, (size_t)at + 1, rest->n);
	return true;
}

int str_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool str_to_u64(struct str s, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(s.p[i] - '0'), &value) || value > max)
			return false;
	}
	*out = value;
	return true;
}

bool str_to_i64(struct str s, int64_t min, int64_t max, int64_t *out)
{
	bool negative = s.n != 0 && s.p[0] == '-';
	uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
	uint64_t magnitude;
	int64_t value;

	if (!str_to_u64(negative ? str_sub(s, 1, s.n) : s, limit, &magnitude))
		return false;
	/* Negated as unsigned, so that INT64_MIN has no intermediate that overflows. */
	value = (int64_t)(negative ? 0 - magnitude : magnitude);
	if (value < min || value > max)
		return false;
	*out = value;
	return true;
}

bool str_to_bool(struct str s, bool *out)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = {
	    {"true", true},   {"1", true},  {"yes", true}, {"on", true},
	    {"false", false}, {"0", false}, {"no", false}, {"off", false},
	};

	for (size_t i = 0; i < countof(words); i++) {
		if (str_ieqz(s, words[i].word)) {
			*out = words[i].value;
			return true;
		}
	}
	return false;
}

char *str_dupz(struct str s)
{
	char *z = xmalloc(s.n + 1);

	if (s.n != 0)
		memcpy(z, s.p, s.n);
	z[s.n] = '\0';
	return z;
}

size_t str_utf8_step(struct str s)
{
	const unsigned char *u = (const unsigned char *)s.p;
	unsigned char low = 0x80, high = 0xbf;
	size_t len;

	if (s.n == 0)
		return 0;
	if (u[0] < 0x80)
		return 1;
	if (u[0] < 0xc2 || u[0] > 0xf4)
		return 0;
	len = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
	if (s.n < len)
		return 0;
	/* The second byte alone tells overlong forms, surrogates and values above U+10FFFF. */
	if (u[0] == 0xe0)
		low = 0xa0;
	else if (u[0] == 0xed)
		high = 0x9f;
	else if (u[0] == 0xf0)
		low = 0x90;
	else if (u[0] == 0xf4)
		high = 0x8f;
	if (u[1] < low || u[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++) {
		if ((u[i] & 0xc0) != 0x80)
			return 0;
	}
	return len;
}

bool str_utf8_valid(struct str s)
{
	size_t at = 0;

	while (at < s.n) {
		uint64_t eight;
		size_t step;

		/* Most text is ASCII: eight bytes without a high bit are eight characters. */
		if (s.n - at >= sizeof(eight)) {
			memcpy(&eight, s.p + at, sizeof(eight));
			if ((eight & UINT64_C(0x8080808080808080)) == 0) {
				at += sizeof(eight);
				continue;
			}
		}
		step = str_utf8_step((struct str){s.p + at, s.n - at});
		if (step == 0)
			return false;
		at += step;
	}
	return true;
}

size_t str_utf8_length(struct str s)
{
	size_t i, n = 0;

	for (i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
	return n;
}

struct str str_utf8_cut(struct str s, size_t n)
{
	size_t back = 0;

	if (n >= s.n)
		return s;
	/* Only continuation bytes directly behind the cut make it a cut inside a character. */
	while (back < 4 && back < n && ((unsigned char)s.p[n - back] & 0xc0) == 0x80)
		back++;
	if (((unsigned char)s.p[n - back] & 0xc0) == 0x80)
		back = 0;
	return str_sub(s, 0, n - back);
}

unsigned str_distance(struct str a, struct str b)
{
	unsigned row[STR_DISTANCE_MAX + 1];

	if (a.n > STR_DISTANCE_MAX || b.n > STR_DISTANCE_MAX)
		return (unsigned)(a.n > b.n ? a.n : b.n);
	for (unsigned j = 0; j <= b.n; j++)
		row[j] = j;
	for (unsigned i = 1; i <= a.n; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= b.n; j++) {
			unsigned best = diagonal + (a.p[i - 1] != b.p[j - 1]);

			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[b.n];
}

/* Room for n more bytes and a NUL. Without a limit the process dies when memory is gone; with one it is overflow. */
static bool buf_grow(struct buf *b, size_t n)
{
	size_t want, cap;
	char *p;

	if (b->overflow)
		return false;
	if (__builtin_add_overflow(b->n, n, &want) || want == SIZE_MAX || (b->max != 0 && want > b->max)) {
		BUG_ON(b->max == 0);
		b->overflow = true;
		return false;
	}
	if (want < b->cap)
		return true;
	cap = b->cap < BUF_FIRST ? BUF_FIRST : b->cap;
	while (cap <= want) {
		if (__builtin_mul_overflow(cap, (size_t)2, &cap))
			cap = want + 1;
	}
	p = realloc(b->p, cap);
	if (p == NULL) {
		BUG_ON(b->max == 0);
		b->overflow = true;
		return false;
	}
	b->p = p;
	b->cap = cap;
	return true;
}

/* The usual case of buf_grow: there is room already. */
static inline bool buf_fits(const struct buf *b, size_t n)
{
	return b->max == 0 && !b->overflow && n < b->cap - b->n;
}

void buf_add(struct buf *b, struct str s)
{
	if (s.n == 0 || !(buf_fits(b, s.n) || buf_grow(b, s.n)))
		return;
	memcpy(b->p + b->n, s.p, s.n);
	b->n += s.n;
	b->p[b->n] = '\0';
}

void buf_addc(struct buf *b, char c)
{
	buf_add(b, (struct str){&c, 1});
}

void buf_addu(struct buf *b, uint64_t n)
{
	char digits[20], *p = digits + sizeof(digits);

	do {
		*--p = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	buf_add(b, (struct str){p, (size_t)(digits + sizeof(digits) - p)});
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	size_t room = b->p != NULL ? b->cap - b->n : 0;
	va_list ap, again;
	int len;

	va_start(ap, fmt);
	va_copy(again, ap);
	len = vsnprintf(b->p != NULL ? b->p + b->n : NULL, room, fmt, ap);
	va_end(ap);
	BUG_ON(len < 0);
	/* The first try may have written beyond the limit or past an overflow: buf_grow decides whether it counts. */
	if (buf_grow(b, (size_t)len)) {
		if ((size_t)len >= room)
			vsnprintf(b->p + b->n, b->cap - b->n, fmt, again);
		b->n += (size_t)len;
	} else if (b->p != NULL) {
		b->p[b->n] = '\0';
	}
	va_end(again);
}

struct str buf_str(const struct buf *b)
{
	return b->p != NULL ? (struct str){b->p, b->n} : STR("");
}

char *buf_reserve(struct buf *b, size_t n)
{
	if (!buf_grow(b, n))
		return NULL;
	b->p[b->n] = '\0';
	return b->p + b->n;
}

void buf_commit(struct buf *b, size_t n)
{
	BUG_ON(n != 0 && (b->cap <= b->n || n >= b->cap - b->n));
	b->n += n;
	if (b->p != NULL)
		b->p[b->n] = '\0';
}

void buf_consume(struct buf *b, size_t n)
{
	BUG_ON(n > b->n);
	if (n == 0)
		return;
	memmove(b->p, b->p + n, b->n - n);
	b->n -= n;
	b->p[b->n] = '\0';
}

void buf_clear(struct buf *b)
{
	b->n = 0;
	b->overflow = false;
	if (b->p != NULL)
		b->p[0] = '\0';
}

void buf_free(struct buf *b)
{
	free(b->p);
	b->p = NULL;
	b->n = 0;
	b->cap = 0;
	b->overflow = false;
}
