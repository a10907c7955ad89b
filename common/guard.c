/* SPDX-License-Identifier: MIT */
/*
 * The rules of the guard: a strict reading of URLs, tables of names and networks that are not to be called. Called by
 * fetch.c at each transfer that is guarded and by handlers when a URL is registered. Resolves nothing and keeps nothing
 * about a URL between two calls.
 */
#include "common/guard.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>

#define GUARD_ALLOW_MAX 64
#define GUARD_V4_BITS 96 /* of ::ffff:0:0/96 */

/* IPv4 as mapped IPv6. */
struct guard_net {
	uint8_t b[16];
	unsigned bits;
};

struct guard_rule {
	const char *net;
	const char *why;
};

/* Never called, whatever is listed: whoever lists a whole private network does not mean the keys of the machine. */
static const struct guard_rule guard_never[] = {
    {"169.254.169.254/32", "is the metadata service of a cloud"},
    {"100.100.100.200/32", "is the metadata service of a cloud"},
    {"192.0.0.192/32", "is the metadata service of a cloud"},
    {"168.63.129.16/32", "is the metadata service of a cloud"},
    {"fd00:ec2::254/128", "is the metadata service of a cloud"},
};

/* IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and updates). */
static const struct guard_rule guard_blocked[] = {
    {"0.0.0.0/8", "is an address of this host"},
    {"10.0.0.0/8", "is a private address"},
    {"100.64.0.0/10", "is a shared address (CGNAT)"},
    {"127.0.0.0/8", "is a loopback address"},
    {"169.254.0.0/16", "is a link-local address"},
    {"172.16.0.0/12", "is a private address"},
    {"192.0.0.0/24", "is a reserved address"},
    {"192.0.2.0/24", "is a documentation address"},
    {"192.88.99.0/24", "is a 6to4 relay"},
    {"192.168.0.0/16", "is a private address"},
    {"198.18.0.0/15", "is a benchmarking address"},
    {"198.51.100.0/24", "is a documentation address"},
    {"203.0.113.0/24", "is a documentation address"},
    {"224.0.0.0/4", "is a multicast address"},
    {"240.0.0.0/4", "is a reserved address"},
    {"::/128", "is the unspecified address"},
    {"::1/128", "is a loopback address"},
    {"fc00::/7", "is a private address"},
    {"fe80::/10", "is a link-local address"},
    {"ff00::/8", "is a multicast address"},
    {"2001::/23", "is a tunnel or reserved address"},
    {"2001:db8::/32", "is a documentation address"},
    {"2002::/16", "is a 6to4 address"},
    {"3fff::/20", "is a documentation address"},
};

/* Names that mean something inside a network, whatever they resolve to. */
static const char *const guard_local_names[] = {"localhost", "local", "internal", "lan", "home.arpa", "intranet"};

static const struct {
	const char *port;
	bool http, https;
} guard_ports[] = {{"80", true, false}, {"443", false, true}, {"8443", false, true}};

struct guard {
	bool plain_http;
	size_t never_n, blocked_n, allow_n;
	struct guard_net never[countof(guard_never)], blocked[countof(guard_blocked)], allow[GUARD_ALLOW_MAX];
};

/* ---- networks ---- */

static bool guard_parse_ip(const char *text, uint8_t b[16], unsigned *bits)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	*bits = 128;
	if (inet_pton(AF_INET6, text, b) == 1)
		return true;
	memcpy(b, mapped, sizeof(mapped));
	*bits = 32;
	return inet_pton(AF_INET, text, b + 12) == 1;
}

static bool guard_parse_net(struct str s, struct guard_net *net)
{
	ptrdiff_t slash = str_chr(s, '/');
	char text[INET6_ADDRSTRLEN];
	uint64_t prefix;
	unsigned bits;
	struct str ip = slash < 0 ? s : str_sub(s, 0, (size_t)slash);

	if (ip.n >= sizeof(text))
		return false;
	(void)snprintf(text, sizeof(text), "%.*s", STR_ARG(ip));
	if (!guard_parse_ip(text, net->b, &bits))
		return false;
	prefix = bits;
	if (slash >= 0 && !str_to_u64(str_sub(s, (size_t)slash + 1, s.n), bits, &prefix))
		return false;
	net->bits = (unsigned)prefix + (bits == 32 ? GUARD_V4_BITS : 0);
	return true;
}

static bool guard_in_net(const struct guard_net *net, const uint8_t b[16])
{
	unsigned whole = net->bits / 8, rest = net->bits % 8;

	return memcmp(net->b, b, whole) == 0 &&
	       (rest == 0 || ((net->b[whole] ^ b[whole]) & (uint8_t)(0xff << (8 - rest))) == 0);
}

/* Index of the first network that holds the address, or n. */
static size_t guard_find(const struct guard_net *nets, size_t n, const uint8_t b[16])
{
	size_t i;

	for (i = 0; i < n && !guard_in_net(&nets[i], b); i++)
		;
	return i;
}

static bool guard_is_mapped(const uint8_t b[16])
{
	struct guard_net mapped;

	return guard_parse_net(STR("::ffff:0:0/96"), &mapped) && guard_in_net(&mapped, b);
}

/* NULL: a public address of the internet. */
static const char *guard_not_public(const struct guard *g, const uint8_t b[16])
{
	size_t i = guard_find(g->blocked, g->blocked_n, b);

	if (i < g->blocked_n)
		return guard_blocked[i].why;
	/* Of IPv6 only 2000::/3 is global unicast (RFC 4291); NAT64 and all that has no use yet lies outside. */
	if (!guard_is_mapped(b) && (b[0] & 0xe0) != 0x20)
		return "is not a global address";
	return NULL;
}

static bool guard_judge(const struct guard *g, const struct guard_target *t, const uint8_t b[16], const char **why)
{
	size_t i = guard_find(g->never, g->never_n, b);

	if (i < g->never_n) {
		*why = guard_never[i].why;
		return false;
	}
	if (guard_find(g->allow, g->allow_n, b) < g->allow_n)
		return true;
	*why = guard_not_public(g, b);
	if (*why == NULL && t->only_listed[0] != '\0')
		*why = t->only_listed;
	return *why == NULL;
}

bool guard_address(const struct guard *g, const struct guard_target *t, const struct sockaddr *sa, const char **why)
{
	uint8_t b[16] = {[10] = 0xff, [11] = 0xff};

	if (sa->sa_family == AF_INET) {
		memcpy(b + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
	} else if (sa->sa_family == AF_INET6) {
		memcpy(b, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
	} else {
		*why = "is not an internet address";
		return false;
	}
	return guard_judge(g, t, b, why);
}

/* ---- URLs ---- */

static bool guard_refuse(struct error *err, const char *text)
{
	return error_set(err, ERR_INVALID_VALUE, "%s", text);
}

/* For listed addresses only; the first reason stays. */
static void guard_limit(struct guard_target *t, const char *why)
{
	if (t->only_listed[0] == '\0')
		(void)snprintf(t->only_listed, sizeof(t->only_listed), "%s", why);
}

/* Visible ASCII without what parsers read in different ways. */
static bool guard_plain(struct str url)
{
	size_t i;

	for (i = 0; i < url.n; i++)
		if ((unsigned char)url.p[i] <= 0x20 || (unsigned char)url.p[i] >= 0x7f ||
		    memchr("\\\"<>^`{|}", url.p[i], 9) != NULL)
			return false;
	return true;
}

/* The last label of a name is no number: else some parser would read the whole as an address ("2130706433", "0x7f.1").
 */
static bool guard_numeric(struct str label)
{
	size_t i = str_istarts(label, STR("0x")) ? 2 : 0;
	bool hex = i == 2;

	for (; i < label.n; i++)
		if (hex ? !isxdigit((unsigned char)label.p[i]) : !isdigit((unsigned char)label.p[i]))
			return false;
	return true;
}

static bool guard_label(struct str label)
{
	size_t i;

	for (i = 0; i < label.n; i++)
		if (!isalnum((unsigned char)label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
			return false;
	return label.n > 0 && label.n <= 63;
}

/* Labels of letters, digits, '-' and '_'; at least one dot, or the name is one of the local network. */
static bool guard_name(struct str host, struct guard_target *t)
{
	struct str rest = host, label = STR_NONE;
	unsigned labels = 0;
	size_t i;

	while (rest.p != NULL) {
		if (!str_split(&rest, '.', &label) || !guard_label(label))
			return false;
		labels++;
	}
	if (labels == 0 || guard_numeric(label))
		return false;
	if (labels == 1)
		guard_limit(t, "has the name of a local machine");
	for (i = 0; i < countof(guard_local_names); i++) {
		struct str name = str_of(guard_local_names[i]);
		struct str tail = str_sub(host, host.n > name.n ? host.n - name.n : 0, host.n);

		if (str_ieq(tail, name) && (host.n == name.n || host.p[host.n - name.n - 1] == '.'))
			guard_limit(t, "has the name of a local machine");
	}
	return true;
}

/* host or [v6] into t; *rest is what follows. */
static bool guard_host(const struct guard *g, struct str authority, struct guard_target *t, struct str *rest,
		       struct error *err)
{
	bool bracket = authority.n > 0 && authority.p[0] == '[';
	ptrdiff_t end = str_chr(authority, bracket ? ']' : ':');
	struct str host;
	const char *why;
	uint8_t b[16];
	unsigned bits;

	if (bracket && end < 0)
		return guard_refuse(err, "has a host without its closing bracket");
	host = str_sub(authority, bracket ? 1 : 0, end < 0 ? authority.n : (size_t)end);
	*rest = str_sub(authority, end < 0 ? authority.n : (size_t)end + (bracket ? 1 : 0), authority.n);
	if (host.n == 0 || host.n >= sizeof(t->host))
		return guard_refuse(err, "has no host, or one that is too long");
	(void)snprintf(t->host, sizeof(t->host), "%.*s", STR_ARG(host));
	t->literal = guard_parse_ip(t->host, b, &bits);
	if (bracket != (t->literal && bits == 128))
		return guard_refuse(err, "has a host that is neither a name nor an address");
	if (!t->literal)
		return guard_name(host, t) || guard_refuse(err, "has a host that is neither a name nor an address");
	guard_limit(t, "must be called by its name");
	if (!guard_judge(g, t, b, &why))
		return error_set(err, ERR_INVALID_VALUE, "names %s, which %s", t->host, why);
	return true;
}

static bool guard_port(struct str rest, struct guard_target *t, struct error *err)
{
	uint64_t port = t->https ? 443 : 80;
	size_t i;

	if (rest.n > 0 && (rest.p[0] != ':' || rest.n > 6 || !str_to_u64(str_sub(rest, 1, rest.n), 65535, &port) ||
			   port == 0 || rest.p[1] == '0'))
		return guard_refuse(err, "has a port that is not a number from 1 to 65535");
	(void)snprintf(t->port, sizeof(t->port), "%u", (unsigned)port);
	for (i = 0; i < countof(guard_ports); i++)
		if (strcmp(guard_ports[i].port, t->port) == 0 &&
		    (t->https ? guard_ports[i].https : guard_ports[i].http))
			return true;
	guard_limit(t, "may not be called on that port");
	return true;
}

bool guard_url(const struct guard *g, struct str url, struct guard_target *t, struct error *err)
{
	struct str rest, authority, port = STR_NONE;
	size_t end = 0;

	*t = (struct guard_target){.https = str_istarts(url, STR("https://"))};
	if (!t->https && !str_istarts(url, STR("http://")))
		return guard_refuse(err, "must begin with https:// (or http:// where that is allowed)");
	if (url.n > GUARD_URL_MAX)
		return error_set(err, ERR_INVALID_VALUE, "must be at most %d bytes", GUARD_URL_MAX);
	if (!guard_plain(url))
		return guard_refuse(err, "has characters that a URL does not have; percent-encode them");
	if (str_chr(url, '#') >= 0)
		return guard_refuse(err, "must not have a fragment (#)");
	rest = str_sub(url, t->https ? 8 : 7, url.n);
	while (end < rest.n && rest.p[end] != '/' && rest.p[end] != '?')
		end++;
	authority = str_sub(rest, 0, end);
	if (str_chr(authority, '@') >= 0)
		return guard_refuse(err, "must not have a user name or password");
	if (!t->https && !g->plain_http)
		guard_limit(t, "may be called by https only");
	return guard_host(g, authority, t, &port, err) && guard_port(port, t, err);
}

/* ---- life ---- */

static size_t guard_parse_rules(const struct guard_rule *rules, size_t n, struct guard_net *out)
{
	size_t i;

	for (i = 0; i < n; i++)
		BUG_ON(!guard_parse_net(str_of(rules[i].net), &out[i]));
	return n;
}

struct guard *guard_new(const struct conf_list *allow, bool plain_http)
{
	struct guard *g = xcalloc(1, sizeof(*g));
	size_t i;

	g->plain_http = plain_http;
	g->never_n = guard_parse_rules(guard_never, countof(guard_never), g->never);
	g->blocked_n = guard_parse_rules(guard_blocked, countof(guard_blocked), g->blocked);
	/* The configuration has checked their form; what is no network allows nothing. */
	for (i = 0; i < allow->n && g->allow_n < GUARD_ALLOW_MAX; i++)
		g->allow_n += guard_parse_net(str_of(allow->v[i]), &g->allow[g->allow_n]);
	return g;
}

void guard_free(struct guard *g)
{
	free(g);
}
