/* SPDX-License-Identifier: MIT */
/*
 * Bytes from outside: a slice that is not NUL-terminated (struct str), and a growing buffer with a limit (struct buf).
 */
#ifndef COMMON_STR_H
#define COMMON_STR_H

#include "common/compat.h"

struct str {
	const char *p; /* may be NULL only if n is 0 */
	size_t n;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NONE ((struct str){NULL, 0})
/* For printf: "%.*s", STR_ARG(s) */
#define STR_ARG(s) (int)(s).n, ((s).p != NULL ? (s).p : "")

/* A slice over a NUL-terminated string; NULL gives the empty slice. The bytes stay the caller's. */
static inline struct str str_of(const char *z)
{
	return z != NULL ? (struct str){z, strlen(z)} : STR_NONE;
}

static inline bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_eqz(struct str a, const char *z)
{
	return str_eq(a, str_of(z));
}

/* ASCII case-insensitive. */
bool str_ieq(struct str a, struct str b);

static inline bool str_ieqz(struct str a, const char *z)
{
	return str_ieq(a, str_of(z));
}

static inline bool str_starts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool str_istarts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
/* Index of the byte or of the substring, or -1. */
static inline ptrdiff_t str_chr(struct str s, char c)
{
	const char *hit = s.n != 0 ? (const char *)memchr(s.p, c, s.n) : NULL;

	return hit != NULL ? hit - s.p : -1;
}

ptrdiff_t str_find(struct str s, struct str needle);
ptrdiff_t str_ifind(struct str s, struct str needle);
/* Without leading and trailing blanks, tabs, CR and LF. */
struct str str_trim(struct str s);
/* Bytes [from, to), both clamped to the length. */
static inline struct str str_sub(struct str s, size_t from, size_t to)
{
	if (to > s.n)
		to = s.n;
	if (from > to)
		from = to;
	return s.p != NULL ? (struct str){s.p + from, to - from} : STR_NONE;
}

/* Takes what stands before the next separator off *rest; false when *rest is exhausted (p == NULL). */
bool str_split(struct str *rest, char separator, struct str *token);
/* The value of a hexadecimal digit of either case; -1 for any other byte. */
int str_hex_digit(char c);
/* Digits only, no sign, no blanks, value <= max. */
bool str_to_u64(struct str s, uint64_t max, uint64_t *out) MUST_CHECK;
/* Optional leading '-', digits only, min <= value <= max. */
bool str_to_i64(struct str s, int64_t min, int64_t max, int64_t *out) MUST_CHECK;
/* "true 1 yes on" and "false 0 no off", case-insensitive. */
bool str_to_bool(struct str s, bool *out) MUST_CHECK;
/* NUL-terminated copy on the heap, for a library's edge; the caller frees it. */
char *str_dupz(struct str s);
/* Valid UTF-8 (RFC 3629: no surrogates, no overlong forms, <= U+10FFFF)? */
bool str_utf8_valid(struct str s);
/* Length (1 to 4) of the valid UTF-8 character that s begins with; 0 if it begins with none. */
size_t str_utf8_step(struct str s);
/* Number of characters (code points) of valid UTF-8. */
size_t str_utf8_length(struct str s);
/* Longest prefix of at most n bytes that does not end inside a UTF-8 character. */
struct str str_utf8_cut(struct str s, size_t n);
/* Edit distance (Levenshtein) of two short words, at most 64 bytes each; used for "did you mean". */
unsigned str_distance(struct str a, struct str b);

/* Growing buffer. When `max` is not 0 and would be passed, nothing more is added and `overflow` stays set. */
struct buf {
	char *p;
	size_t n;
	size_t cap;
	size_t max;
	bool overflow;
};

#define BUF_INIT ((struct buf){0})
#define BUF_LIMIT(m) ((struct buf){.max = (m)})

void buf_add(struct buf *b, struct str s);

static inline void buf_addz(struct buf *b, const char *z)
{
	buf_add(b, str_of(z));
}

void buf_addc(struct buf *b, char c);
/* The number in decimal digits. */
void buf_addu(struct buf *b, uint64_t n);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_FMT(2, 3);
/* The content; valid until the buffer changes. Always followed by a NUL that is not counted. */
struct str buf_str(const struct buf *b);
/* Room for n more bytes, uncounted; NULL when the limit forbids it. Follow with buf_commit(b, used). */
char *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
/* Drops the first n bytes. */
void buf_consume(struct buf *b, size_t n);
void buf_clear(struct buf *b);
void buf_free(struct buf *b);

#endif
