/* SPDX-License-Identifier: MIT */
/*
 * The guard against URLs that lead inside: every form in which an address can be written, and what the operator's list
 * opens. Built and run by `make unit`. Resolves nothing.
 */
#include "common/guard.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct guard *guard_with(const char *net, bool plain_http)
{
	char *v[1] = {(char *)(uintptr_t)net};

	return guard_new(&(struct conf_list){v, net != NULL}, plain_http);
}

/* ---- texts ---- */

static const struct {
	const char *url;
	const char *says; /* part of the message; NULL: may be called; with '~' in front: only at listed addresses */
} urls[] = {
    {"https://example.org", NULL},
    {"https://example.org/hook?x=1&y=%20", NULL},
    {"HTTPS://Example.ORG:443/", NULL},
    {"https://hooks.example.org:8443/x", NULL},
    {"https://a_b.example.org/", NULL},
    {"https://1a.2b.example.org/", NULL},
    {"https://xn--bcher-kva.example/", NULL},
    /* Schemes. */
    {"http://example.org/", "~https only"},
    {"", "https://"},
    {"https:", "https://"},
    {"https:/example.org", "https://"},
    {"//example.org/", "https://"},
    {"file:///etc/passwd", "https://"},
    {"ftp://example.org/", "https://"},
    {"gopher://example.org/", "https://"},
    {"javascript:alert(1)", "https://"},
    {"https+unix://example.org/", "https://"},
    /* Hosts that are none. */
    {"https://", "no host"},
    {"https:///path", "no host"},
    {"https://:443/", "no host"},
    {"https://example.org./", "neither"},
    {"https://.example.org/", "neither"},
    {"https://example..org/", "neither"},
    {"https://exa%6dple.org/", "neither"},
    {"https://[::1/", "closing bracket"},
    {"https://[example.org]/", "neither"},
    {"https://::1/", "no host"},
    {"https://fe80::1/", "port"},
    {"https://[fe80::1%25eth0]/", "neither"},
    {"https://ex\xc3\xa4mple.org/", "characters"},
    {"https://example.org\\@127.0.0.1/", "characters"},
    {"https://example.org /", "characters"},
    {"https://example.org/\n", "characters"},
    /* Who reads what: credentials, fragments. */
    {"https://user@example.org/", "password"},
    {"https://user:secret@example.org/", "password"},
    {"https://example.org:443@127.0.0.1/", "password"},
    {"https://example.org#@127.0.0.1/", "fragment"},
    /* Ports. */
    {"https://example.org:/", "port"},
    {"https://example.org:0/", "port"},
    {"https://example.org:0443/", "port"},
    {"https://example.org:65536/", "port"},
    {"https://example.org:x/", "port"},
    {"https://example.org:22/", "~port"},
    {"https://example.org:80/", "~port"},
    /* IPv4 in all the ways in which inet_aton reads it. */
    {"https://127.0.0.1/", "loopback"},
    {"https://127.1.2.3/", "loopback"},
    {"https://127.1/", "neither"},
    {"https://127.0.1/", "neither"},
    {"https://2130706433/", "neither"},
    {"https://0x7f000001/", "neither"},
    {"https://0x7f.0.0.1/", "neither"},
    {"https://127.0.0.0x1/", "neither"},
    {"https://127.0.0.0x/", "neither"},
    {"https://017700000001/", "neither"},
    {"https://0177.0.0.1/", "neither"},
    {"https://127.0.0.01/", "neither"},
    {"https://127.0.0.1./", "neither"},
    {"https://256.1.1.1/", "neither"},
    {"https://1.2.3.4.5/", "neither"},
    {"https://0/", "neither"},
    {"https://0.0.0.0/", "this host"},
    {"https://10.1.2.3/", "private"},
    {"https://172.16.0.1/", "private"},
    {"https://172.31.255.255/", "private"},
    {"https://172.32.0.1/", "by its name"},
    {"https://192.168.1.1/", "private"},
    {"https://169.254.1.1/", "link-local"},
    {"https://169.254.169.254/latest/meta-data/", "metadata"},
    {"https://100.100.100.200/", "metadata"},
    {"https://168.63.129.16/", "metadata"},
    {"https://100.64.0.1/", "CGNAT"},
    {"https://224.0.0.1/", "multicast"},
    {"https://255.255.255.255/", "reserved"},
    {"https://93.184.216.34/", "by its name"},
    /* IPv6. */
    {"https://[::1]/", "loopback"},
    {"https://[::]/", "unspecified"},
    {"https://[0:0:0:0:0:0:0:1]/", "loopback"},
    {"https://[::ffff:127.0.0.1]/", "loopback"},
    {"https://[::ffff:7f00:1]/", "loopback"},
    {"https://[::ffff:169.254.169.254]/", "metadata"},
    {"https://[::127.0.0.1]/", "not a global"},
    {"https://[fc00::1]/", "private"},
    {"https://[fd00:ec2::254]/", "metadata"},
    {"https://[fe80::1]/", "link-local"},
    {"https://[ff02::1]/", "multicast"},
    {"https://[64:ff9b::7f00:1]/", "not a global"},
    {"https://[2002:7f00:1::]/", "6to4"},
    {"https://[2001:0:1::1]/", "tunnel"},
    {"https://[2001:db8::1]/", "documentation"},
    {"https://[2606:2800:220:1:248:1893:25c8:1946]/", "by its name"},
    /* Names of the local network. */
    {"https://localhost/", "~local machine"},
    {"https://LOCALHOST:8443/", "~local machine"},
    {"https://x.localhost/", "~local machine"},
    {"https://printer.local/", "~local machine"},
    {"https://metadata.google.internal/", "~local machine"},
    {"https://nas.lan/", "~local machine"},
    {"https://intranet/", "~local machine"},
    {"https://notlocal.example/", NULL},
    {"https://mylocalhost.org/", NULL},
};

static void test_texts(void **state)
{
	struct guard *g = guard_with(NULL, false);

	(void)state;
	for (size_t i = 0; i < countof(urls); i++) {
		struct error err = ERROR_INIT;
		struct guard_target t;
		bool ok = guard_url(g, str_of(urls[i].url), &t, &err);
		const char *says = urls[i].says, *said = ok ? t.only_listed : err.msg;
		bool limited = says != NULL && says[0] == '~';

		if (ok != (says == NULL || limited) || strstr(said, says == NULL ? "" : says + limited) == NULL ||
		    (says == NULL && t.only_listed[0] != '\0'))
			fail_msg("%s: %s, \"%s\"", urls[i].url, ok ? "passed" : "refused", said);
	}
	guard_free(g);
}

static void test_length(void **state)
{
	struct guard *g = guard_with(NULL, false);
	struct error err = ERROR_INIT;
	struct guard_target t;
	char url[GUARD_URL_MAX + 2];

	(void)state;
	memset(url, 'a', sizeof(url));
	memcpy(url, "https://example.org/", 20);
	assert_true(guard_url(g, (struct str){url, GUARD_URL_MAX}, &t, &err));
	assert_false(guard_url(g, (struct str){url, GUARD_URL_MAX + 1}, &t, &err));
	memset(url + 8, 'a', 64);
	memcpy(url + 8 + 64, ".org/", 5);
	assert_false(guard_url(g, (struct str){url, 100}, &t, &err)); /* a label of 64 */
	guard_free(g);
}

static void test_parts(void **state)
{
	struct guard *g = guard_with(NULL, true);
	struct error err = ERROR_INIT;
	struct guard_target t;

	(void)state;
	assert_true(guard_url(g, STR("http://Example.org?x"), &t, &err));
	assert_false(t.https);
	assert_string_equal(t.host, "Example.org");
	assert_string_equal(t.port, "80");
	assert_string_equal(t.only_listed, "");
	assert_true(guard_url(g, STR("https://example.org:8443"), &t, &err));
	assert_true(t.https);
	assert_string_equal(t.port, "8443");
	guard_free(g);
}

/* ---- addresses ---- */

static bool judged(const struct guard *g, const struct guard_target *t, const char *ip, const char **why)
{
	struct sockaddr_in four = {.sin_family = AF_INET};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};

	if (inet_pton(AF_INET, ip, &four.sin_addr) == 1)
		return guard_address(g, t, (const struct sockaddr *)(const void *)&four, why);
	assert_int_equal(inet_pton(AF_INET6, ip, &six.sin6_addr), 1);
	return guard_address(g, t, (const struct sockaddr *)(const void *)&six, why);
}

/* The edges of every network: last address before, first and last inside, first after. */
static const struct {
	const char *before, *first, *last, *after; /* NULL: not public either */
} edges[] = {
    {NULL, "0.0.0.0", "0.255.255.255", "1.0.0.0"},
    {"9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"},
    {"100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"},
    {"126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"},
    {"169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"},
    {"172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"},
    {"191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"},
    {"192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"},
    {"192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"},
    {"198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"},
    {"198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"},
    {"203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"},
    {"223.255.255.255", "224.0.0.0", "255.255.255.255", NULL},
    {NULL, "::", "1fff:ffff::", "2000::"},
    {"2000:ffff::", "2001::", "2001:1ff:ffff::", "2001:200::"},
    {"2001:db7:ffff::", "2001:db8::", "2001:db8:ffff::", "2001:db9::"},
    {"2001:ffff::", "2002::", "2002:ffff::", "2003::"},
    {"3fff:1000::", "4000::", "ffff::", NULL},
    {"::ffff:9.255.255.255", "::ffff:10.0.0.0", "::ffff:10.255.255.255", "::ffff:11.0.0.0"},
};

static void test_edges(void **state)
{
	struct guard *g = guard_with(NULL, false);
	struct guard_target t = {.https = true};
	const char *why;

	(void)state;
	for (size_t i = 0; i < countof(edges); i++) {
		if (judged(g, &t, edges[i].first, &why) || judged(g, &t, edges[i].last, &why))
			fail_msg("%s to %s may be called", edges[i].first, edges[i].last);
		if (edges[i].before != NULL && !judged(g, &t, edges[i].before, &why))
			fail_msg("%s %s", edges[i].before, why);
		if (edges[i].after != NULL && !judged(g, &t, edges[i].after, &why))
			fail_msg("%s %s", edges[i].after, why);
	}
	guard_free(g);
}

static void test_listed(void **state)
{
	struct guard *g = guard_with("127.0.0.0/8", false);
	struct error err = ERROR_INIT;
	struct guard_target t;
	const char *why;

	(void)state;
	/* Listed: scheme, port and form do not matter; all else stays as it was. */
	assert_true(guard_url(g, STR("http://127.0.0.1:9000/hook"), &t, &err));
	assert_true(t.literal);
	assert_true(guard_url(g, STR("http://[::ffff:127.0.0.1]:9000/hook"), &t, &err));
	assert_false(guard_url(g, STR("http://10.0.0.1:9000/hook"), &t, &err));
	assert_false(guard_url(g, STR("http://[::1]:9000/hook"), &t, &err));
	assert_false(guard_url(g, STR("http://127.1:9000/hook"), &t, &err));
	assert_true(guard_url(g, STR("http://localhost:9000/hook"), &t, &err));
	assert_true(judged(g, &t, "127.0.0.1", &why));
	assert_false(judged(g, &t, "93.184.216.34", &why)); /* http, and that port, to the public */
	assert_non_null(strstr(why, "https only"));
	assert_false(judged(g, &t, "::1", &why));
	guard_free(g);
}

static void test_never(void **state)
{
	struct guard *g = guard_with("169.254.0.0/16", true);
	struct error err = ERROR_INIT;
	struct guard_target t;
	const char *why;

	(void)state;
	assert_true(guard_url(g, STR("http://169.254.1.1/"), &t, &err));
	assert_false(guard_url(g, STR("http://169.254.169.254/"), &t, &err));
	assert_false(judged(g, &t, "::ffff:169.254.169.254", &why));
	assert_non_null(strstr(why, "metadata"));
	guard_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_texts), cmocka_unit_test(test_length), cmocka_unit_test(test_parts),
	    cmocka_unit_test(test_edges), cmocka_unit_test(test_listed), cmocka_unit_test(test_never),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
