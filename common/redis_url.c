/* SPDX-License-Identifier: MIT */
/*
 * Reads the address of a Redis server. Called by the check of the configuration and by the client. Says what is wrong
 * without quoting the text, which may hold a password; names what this client does not speak (TLS, Cluster, Sentinel).
 */
#include "common/redis_url.h"

#include <ctype.h>

#define REDIS_PORT "6379"
#define REDIS_DB_MAX 16383 /* of databases in redis.conf */

static const struct {
	const char *scheme;
	const char *why;
} redis_url_refused[] = {
    {"rediss://",
     "TLS to Redis is not spoken; let stunnel or haproxy carry it and name their local port with redis://"},
    {"redis+cluster://", "Redis Cluster is not supported; name one Redis server"},
    {"redis-cluster://", "Redis Cluster is not supported; name one Redis server"},
    {"redis+sentinel://", "Redis Sentinel is not supported; name the server, or haproxy in front of it"},
    {"redis-sentinel://", "Redis Sentinel is not supported; name the server, or haproxy in front of it"},
};

static bool redis_url_fail(struct error *err, const char *why)
{
	return error_set(err, ERR_INVALID_VALUE, "%s", why);
}

/* With %XX decoded; false when it does not fit, holds a NUL or a broken escape. */
static bool redis_url_decode(struct str s, char *out, size_t room)
{
	size_t i, n = 0;
	int high, low;

	for (i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '%') {
			high = i + 2 < s.n ? str_hex_digit(s.p[i + 1]) : -1;
			low = high >= 0 ? str_hex_digit(s.p[i + 2]) : -1;
			if (low < 0)
				return false;
			c = (char)(high * 16 + low);
			i += 2;
		}
		if (c == '\0' || n + 1 >= room)
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	return true;
}

/* user:password@ — what stands before the last "@"; a lone word is the user, as in every URL. */
static bool redis_url_userinfo(struct str *rest, struct str authority, struct redis_address *out, struct error *err)
{
	ptrdiff_t at = -1, colon;
	struct str info;
	size_t i;

	for (i = 0; i < authority.n; i++)
		if (authority.p[i] == '@')
			at = (ptrdiff_t)i;
	if (at < 0)
		return true;
	info = str_sub(authority, 0, (size_t)at);
	*rest = str_sub(*rest, (size_t)at + 1, rest->n);
	colon = str_chr(info, ':');
	if (colon < 0)
		colon = (ptrdiff_t)info.n;
	if (!redis_url_decode(str_sub(info, 0, (size_t)colon), out->user, sizeof(out->user)) ||
	    !redis_url_decode(str_sub(info, (size_t)colon + 1, info.n), out->password, sizeof(out->password)))
		return redis_url_fail(err, "user or password is too long or wrongly escaped (write special characters "
					   "as %XX)");
	if (out->user[0] != '\0' && out->password[0] == '\0')
		return redis_url_fail(err, "has a user without a password (redis://user:password@host, or "
					   "redis://:password@host)");
	return true;
}

static bool redis_url_db(struct str s, struct redis_address *out, struct error *err)
{
	uint64_t n = 0;

	if (s.n > 0 && !str_to_u64(s, REDIS_DB_MAX, &n))
		return redis_url_fail(err, "the database must be a number (redis://host:6379/0)");
	out->db = (unsigned)n;
	return true;
}

static bool redis_url_host(struct str authority, struct redis_address *out, struct error *err)
{
	struct str host = authority, port = STR_NONE;
	ptrdiff_t end;
	uint64_t n;
	size_t i;

	if (str_chr(authority, ',') >= 0)
		return redis_url_fail(err, "names several servers; Redis Cluster is not supported, name one");
	if (authority.n > 0 && authority.p[0] == '[') {
		end = str_chr(authority, ']');
		host = end > 0 ? str_sub(authority, 1, (size_t)end) : STR_NONE;
		port = end > 0 ? str_sub(authority, (size_t)end + 1, authority.n) : STR_NONE;
	} else if ((end = str_chr(authority, ':')) >= 0) {
		host = str_sub(authority, 0, (size_t)end);
		port = str_sub(authority, (size_t)end, authority.n);
	}
	if (port.n > 0 && (port.p[0] != ':' || !str_to_u64(str_sub(port, 1, port.n), 65535, &n) || n == 0))
		return redis_url_fail(err, "the port must be a number from 1 to 65535");
	for (i = 0; i < host.n; i++)
		if (!isalnum((unsigned char)host.p[i]) && memchr(".-_:", host.p[i], 4) == NULL)
			return redis_url_fail(err, "the host must be a name or an address");
	if (host.n == 0 || host.n >= sizeof(out->host))
		return redis_url_fail(err, "names no host (redis://host:6379/0)");
	(void)snprintf(out->host, sizeof(out->host), "%.*s", STR_ARG(host));
	(void)snprintf(out->port, sizeof(out->port), "%.*s",
		       STR_ARG(port.n > 0 ? str_sub(port, 1, port.n) : STR(REDIS_PORT)));
	return true;
}

static bool redis_url_unix(struct str rest, struct redis_address *out, struct error *err)
{
	ptrdiff_t slash = str_chr(rest, '/');
	struct str path = slash >= 0 ? str_sub(rest, (size_t)slash, rest.n) : STR_NONE;

	out->is_unix = true;
	if (slash != 0 || path.n < 2)
		return redis_url_fail(err, "must name the socket by its full path (unix:///run/redis/redis.sock)");
	if (!redis_url_decode(path, out->path, sizeof(out->path)))
		return redis_url_fail(err, "the path of the socket is too long or wrongly escaped");
	return true;
}

/* ?db=n, the one parameter there is. */
static bool redis_url_query(struct str *rest, struct redis_address *out, struct error *err)
{
	ptrdiff_t mark = str_chr(*rest, '?');
	struct str query;

	if (mark < 0)
		return true;
	query = str_sub(*rest, (size_t)mark + 1, rest->n);
	*rest = str_sub(*rest, 0, (size_t)mark);
	if (!str_starts(query, STR("db=")))
		return redis_url_fail(err, "knows no other parameter than db");
	return redis_url_db(str_sub(query, 3, query.n), out, err);
}

static bool redis_url_tcp(struct str rest, struct redis_address *out, struct error *err)
{
	ptrdiff_t slash = str_chr(rest, '/');
	struct str path = slash >= 0 ? str_sub(rest, (size_t)slash + 1, rest.n) : STR_NONE;

	if (path.n > 0 && !redis_url_db(path, out, err))
		return false;
	return redis_url_host(slash >= 0 ? str_sub(rest, 0, (size_t)slash) : rest, out, err);
}

bool redis_url_parse(struct str url, struct redis_address *out, struct error *err)
{
	bool tcp = str_istarts(url, STR("redis://"));
	struct str rest = str_sub(url, tcp ? 8 : 7, url.n), authority;
	ptrdiff_t at;
	size_t i;

	*out = (struct redis_address){0};
	for (i = 0; i < countof(redis_url_refused); i++)
		if (str_istarts(url, str_of(redis_url_refused[i].scheme)))
			return redis_url_fail(err, redis_url_refused[i].why);
	if (!tcp && !str_istarts(url, STR("unix://")))
		return redis_url_fail(err, "must begin with redis:// or unix://");
	if (memchr(rest.p, '\0', rest.n) != NULL || str_chr(rest, ' ') >= 0)
		return redis_url_fail(err, "contains a blank");
	/* A password may hold a slash, a path may hold an @: the user ends at the last @ before the first slash, or,
	 * when there is none, at the last @ of all. */
	at = str_chr(rest, '/');
	authority = at >= 0 && str_chr(str_sub(rest, 0, (size_t)at), '@') >= 0 ? str_sub(rest, 0, (size_t)at) : rest;
	if (!tcp && at == 0)
		authority = STR_NONE;
	return redis_url_userinfo(&rest, authority, out, err) && redis_url_query(&rest, out, err) &&
	       (tcp ? redis_url_tcp(rest, out, err) : redis_url_unix(rest, out, err));
}
