/* SPDX-License-Identifier: MIT */
/*
 * Address ranges, forwarded addresses, allowed origins. Pure functions over configuration and headers; who is counted
 * is http_peers.c.
 */
#include "worker/http/http_client.h"

#include <arpa/inet.h>

static const uint8_t addr_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool addr_is_v4(const struct http_addr *a)
{
	return memcmp(a->b, addr_mapped, sizeof(addr_mapped)) == 0;
}

static bool addr_plain(struct str s, struct http_addr *a)
{
	char z[INET6_ADDRSTRLEN];

	if (s.n == 0 || s.n >= sizeof(z))
		return false;
	memcpy(z, s.p, s.n);
	z[s.n] = '\0';
	if (strlen(z) != s.n)
		return false;
	if (inet_pton(AF_INET, z, a->b + 12) == 1) {
		memcpy(a->b, addr_mapped, sizeof(addr_mapped));
		return true;
	}
	return inet_pton(AF_INET6, z, a->b) == 1;
}

bool http_addr_parse(struct str s, struct http_addr *a)
{
	ptrdiff_t at;

	if (s.n > 0 && s.p[0] == '[') {
		at = str_chr(s, ']');
		return at > 0 && addr_plain(str_sub(s, 1, (size_t)at), a);
	}
	if (addr_plain(s, a))
		return true;
	at = str_chr(s, ':');
	return at > 0 && addr_plain(str_sub(s, 0, (size_t)at), a) && addr_is_v4(a);
}

void http_addr_text(const struct http_addr *a, char out[HTTP_ADDR_TEXT])
{
	const char *r;

	if (addr_is_v4(a))
		r = inet_ntop(AF_INET, a->b + 12, out, HTTP_ADDR_TEXT);
	else
		r = inet_ntop(AF_INET6, a->b, out, HTTP_ADDR_TEXT);
	BUG_ON(r == NULL);
}

static bool cidr_parse(struct str s, struct http_cidr *c)
{
	ptrdiff_t slash = str_chr(s, '/');
	uint64_t bits;
	bool v4;

	if (!addr_plain(slash < 0 ? s : str_sub(s, 0, (size_t)slash), &c->addr))
		return false;
	v4 = addr_is_v4(&c->addr);
	c->bits = 128;
	if (slash < 0)
		return true;
	if (!str_to_u64(str_sub(s, (size_t)slash + 1, s.n), v4 ? 32 : 128, &bits))
		return false;
	c->bits = (unsigned)bits + (v4 ? 96 : 0);
	return true;
}

void http_cidrs_set(struct http_cidrs *c, const struct conf_list *list)
{
	size_t i;

	c->n = 0;
	c->v = xcalloc(list->n * 2 + 1, sizeof(*c->v));
	for (i = 0; i < list->n; i++) {
		struct str s = str_trim(str_of(list->v[i]));

		if (str_ieqz(s, "localhost")) {
			if (cidr_parse(STR("127.0.0.0/8"), &c->v[c->n]))
				c->n++;
			s = STR("::1");
		}
		if (cidr_parse(s, &c->v[c->n]))
			c->n++;
	}
}

void http_cidrs_free(struct http_cidrs *c)
{
	free(c->v);
	*c = (struct http_cidrs){NULL, 0};
}

static bool cidr_match(const struct http_cidr *c, const struct http_addr *a)
{
	unsigned whole = c->bits / 8, rest = c->bits % 8;

	if (memcmp(c->addr.b, a->b, whole) != 0)
		return false;
	return rest == 0 || (c->addr.b[whole] ^ a->b[whole]) >> (8 - rest) == 0;
}

bool http_cidrs_match(const struct http_cidrs *c, const struct http_addr *a)
{
	size_t i;

	for (i = 0; i < c->n; i++)
		if (cidr_match(&c->v[i], a))
			return true;
	return false;
}

/* Walks one header value from the right; true when *found is an address that no proxy vouches for. */
static bool forwarded_walk(const struct http_cidrs *trusted, struct str list, struct http_addr *found)
{
	struct http_addr a;
	struct str item;
	size_t comma;

	for (;;) {
		for (comma = list.n; comma > 0 && list.p[comma - 1] != ','; comma--)
			;
		item = str_trim(str_sub(list, comma, list.n));
		if (item.n > 0) {
			/* Text that is no address was not written by a proxy of ours: what stands right of it counts.
			 */
			if (!http_addr_parse(item, &a))
				return true;
			*found = a;
			if (!http_cidrs_match(trusted, &a))
				return true;
		}
		if (comma == 0)
			return false;
		list = str_sub(list, 0, comma - 1);
	}
}

struct http_addr http_forwarded_for(const struct http_cidrs *trusted, const struct http_field *fields, size_t n,
				    struct http_addr peer)
{
	struct http_addr found = peer;

	while (n-- > 0)
		if (str_ieqz(fields[n].name, "x-forwarded-for") && forwarded_walk(trusted, fields[n].value, &found))
			break;
	return found;
}

bool http_origin_listed(const struct conf *c, struct str origin)
{
	size_t i;

	for (i = 0; i < c->cors.allowed_origins.n; i++)
		if (str_ieqz(origin, c->cors.allowed_origins.v[i]))
			return true;
	return false;
}

/* "null" is what many origins call themselves: sandboxed pages, files, redirects. */
bool http_origin_allowed(const struct conf *c, struct str origin)
{
	size_t i;

	if (str_eqz(origin, "null"))
		return false;
	for (i = 0; i < c->cors.allowed_origins.n; i++)
		if (strcmp(c->cors.allowed_origins.v[i], "*") == 0)
			return true;
	return http_origin_listed(c, origin);
}

bool http_origin_same(const struct http_request *req, struct str origin)
{
	ptrdiff_t at = str_find(origin, STR("://"));

	return at > 0 && str_ieq(str_sub(origin, (size_t)at + 3, origin.n), http_field(req, "host"));
}
