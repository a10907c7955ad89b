/* SPDX-License-Identifier: MIT */
/*
 * Paths and queries of targets: decoding, one spelling per resource, parameters of the query. Called before routing
 * and by handlers. It does not know routes.
 */
#include "worker/http/route.h"

/* Value of "%XX" at p, or -1. */
static int path_escape(struct str s, size_t i)
{
	int high, low;

	if (i + 2 >= s.n)
		return -1;
	high = str_hex_digit(s.p[i + 1]);
	low = str_hex_digit(s.p[i + 2]);
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* The path of a target in any form: "/a?b", "http://host/a?b", "*". */
static struct str path_of_target(struct str raw)
{
	ptrdiff_t at;

	if (raw.n > 0 && raw.p[0] != '/') {
		at = str_find(raw, STR("://"));
		if (at < 0)
			return STR("/");
		raw = str_sub(raw, (size_t)at + 3, raw.n);
		for (at = 0; (size_t)at < raw.n && raw.p[at] != '/' && raw.p[at] != '?'; at++)
			;
		raw = str_sub(raw, (size_t)at, raw.n);
	}
	at = str_chr(raw, '?');
	return at < 0 ? raw : str_sub(raw, 0, (size_t)at);
}

/* A segment has ended at out[n]: refuses "." and "..". */
static bool path_segment_ok(const char *out, size_t start, size_t n)
{
	size_t len = n - start;

	return !(len == 1 && out[start] == '.') && !(len == 2 && out[start] == '.' && out[start + 1] == '.');
}

/* "/api/debate/ID/..." is an older spelling of "/api/debates/ID/..."; the buffer has room for one more. */
static struct str path_plural(struct str path, char *buf)
{
	const struct str single = STR("/api/debate/");

	if (!str_starts(path, single))
		return path;
	memmove(buf + single.n, buf + single.n - 1, path.n - single.n + 1);
	buf[single.n - 1] = 's';
	return (struct str){buf, path.n + 1};
}

/* "/api/v1" and "/api/v2" are "/api". */
static struct str path_unversion(struct str path, char *buf)
{
	if (path.n < 7 || memcmp(path.p, "/api/v", 6) != 0 || (path.p[6] != '1' && path.p[6] != '2') ||
	    (path.n > 7 && path.p[7] != '/'))
		return path;
	memmove(buf + 4, buf + 7, path.n - 7);
	return (struct str){buf, path.n - 3};
}

bool route_normalise(struct str raw, struct arena *a, struct str *out, struct error *err)
{
	struct str path = path_of_target(raw);
	size_t i, n = 0, start = 1;
	char *buf = arena_alloc(a, path.n + 2);
	int c;

	buf[n++] = '/';
	for (i = 0; i < path.n; i++) {
		c = (unsigned char)path.p[i];
		if (c == '%') {
			c = path_escape(path, i);
			if (c <= 0)
				return error_set(err, ERR_BAD_REQUEST, "invalid escape in the path");
			i += 2;
		}
		if (c < 0x20 || c == 0x7f || c == '\\')
			return error_set(err, ERR_BAD_REQUEST, "invalid character in the path");
		if (c != '/') {
			buf[n++] = (char)c;
		} else if (n > start) {
			if (!path_segment_ok(buf, start, n))
				return error_set(err, ERR_BAD_REQUEST, "the path contains a dot segment");
			buf[n++] = '/';
			start = n;
		}
	}
	if (!path_segment_ok(buf, start, n))
		return error_set(err, ERR_BAD_REQUEST, "the path contains a dot segment");
	if (n > 1 && buf[n - 1] == '/')
		n--;
	*out = path_plural(path_unversion((struct str){buf, n}, buf), buf);
	return true;
}

struct str http_decoded(struct arena *a, struct str s)
{
	char *buf = arena_alloc(a, s.n + 1);
	size_t i, n = 0;
	int c;

	for (i = 0; i < s.n; i++) {
		c = s.p[i] == '%' ? path_escape(s, i) : -1;
		if (c >= 0) {
			buf[n++] = (char)c;
			i += 2;
		} else {
			buf[n++] = s.p[i] == '+' ? ' ' : s.p[i];
		}
	}
	buf[n] = '\0';
	return (struct str){buf, n};
}

struct str http_query(const struct http_request *req, const char *name)
{
	struct str pair, key, rest = req->query;
	ptrdiff_t eq;

	while (str_split(&rest, '&', &pair)) {
		eq = str_chr(pair, '=');
		key = eq < 0 ? pair : str_sub(pair, 0, (size_t)eq);
		if (key.n == 0)
			continue;
		if (memchr(key.p, '%', key.n) != NULL)
			key = http_decoded(req->arena, key);
		if (str_eqz(key, name))
			return http_decoded(req->arena, eq < 0 ? STR("") : str_sub(pair, (size_t)eq + 1, pair.n));
	}
	return STR_NONE;
}

int64_t http_query_int(const struct http_request *req, const char *name, int64_t min, int64_t max, int64_t dflt)
{
	struct str v = http_query(req, name);
	bool negative;
	int64_t n;
	size_t i;

	if (str_to_i64(v, min, max, &n))
		return n;
	/* Out of range is clamped, other text is the default. */
	negative = v.n > 0 && v.p[0] == '-';
	for (i = negative; i < v.n; i++)
		if (v.p[i] < '0' || v.p[i] > '9')
			return dflt;
	if (v.n == (size_t)negative)
		return dflt;
	return negative ? min : (str_to_i64(v, INT64_MIN, min, &n) ? min : max);
}
