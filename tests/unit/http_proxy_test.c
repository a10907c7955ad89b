/* SPDX-License-Identifier: MIT */
/*
 * PROXY headers of both versions: what is taken, what is refused, that every header is incomplete until its last byte,
 * and that no byte behind it is used.
 */
#include "tests/unit/http_harness.h"
#include "worker/http/http_conn.h"
#include "worker/http/http_proxy.h"

/* Every text without one of the two results would be a mistake of the parser's author. */
static const struct {
	const char *text;
	const char *client; /* NULL: none; "": the header is refused */
} lines[] = {
    {"PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n", "192.0.2.1"},
    {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"},
    {"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0"},
    {"PROXY TCP6 2001:db8::1 ::1 1000 443\r\n", "2001:db8::1"},
    {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    {"PROXY UNKNOWN\r\n", NULL},
    {"PROXY UNKNOWN ffff::1 what ever 1 2\r\n", NULL},
    {"PROXY\r\n", ""},
    {"PROXY \r\n", ""},
    {"PROXY  TCP4 192.0.2.1 198.51.100.2 1000 443\r\n", ""},
    {"PROXY TCP4  192.0.2.1 198.51.100.2 1000 443\r\n", ""},
    {"PROXY TCP4 192.0.2.1 198.51.100.2 1000 443 \r\n", ""},
    {"PROXY TCP4 192.0.2.1 198.51.100.2 1000 443 9\r\n", ""},
    {"PROXY TCP4 192.0.2.1 198.51.100.2 1000\r\n", ""},
    {"PROXY TCP4 192.0.2.1 198.51.100.2 1000 65536\r\n", ""},
    {"PROXY TCP4 192.0.2.1 198.51.100.2 01000 443\r\n", ""},
    {"PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n", ""},
    {"PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n", ""},
    {"PROXY TCP4 192.0.2.256 198.51.100.2 1000 443\r\n", ""},
    {"PROXY TCP4 192.0.2 198.51.100.2 1000 443\r\n", ""},
    {"PROXY TCP4 2001:db8::1 ::1 1000 443\r\n", ""},
    {"PROXY TCP6 192.0.2.1 198.51.100.2 1000 443\r\n", ""},
    {"PROXY TCP6 2001:db8::1%eth0 ::1 1000 443\r\n", ""},
    {"PROXY TCP5 192.0.2.1 198.51.100.2 1000 443\r\n", ""},
    {"PROXY tcp4 192.0.2.1 198.51.100.2 1000 443\r\n", ""},
    {"proxy TCP4 192.0.2.1 198.51.100.2 1000 443\r\n", ""},
    {"PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\n\r\n", ""},
    {"PROXY TCP4 192.0.2.1 198.51.100.2 1000\r443\r\n", ""},
    {"PROXY UNKNOWN "
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
     ""},
    {"GET / HTTP/1.1\r\n", ""},
};

/* `text` and more behind it: parsed whole, and at each length before its end. */
static void check_header(struct str header, const char *client, bool https)
{
	struct buf more = BUF_INIT;
	struct proxy_header h;
	char text[HTTP_ADDR_TEXT];

	buf_add(&more, header);
	buf_addz(&more, "GET / HTTP/1.1\r\n\r\n");
	assert_int_equal(proxy_parse(buf_str(&more), &h), header.n);
	assert_int_equal(proxy_parse(header, &h), header.n);
	assert_int_equal(h.has_client, client != NULL);
	assert_int_equal(h.https, https);
	if (client != NULL) {
		http_addr_text(&h.client, text);
		assert_string_equal(text, client);
	}
	for (size_t n = 0; n < header.n; n++)
		assert_int_equal(proxy_parse(str_sub(header, 0, n), &h), 0);
	buf_free(&more);
}

static void check_refused(struct str header)
{
	struct proxy_header h;

	assert_int_equal(proxy_parse(header, &h), -1);
	assert_false(h.has_client);
	assert_false(h.https);
}

static void test_version_1(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(lines); i++) {
		if (lines[i].client != NULL && *lines[i].client == 0)
			check_refused(str_of(lines[i].text));
		else
			check_header(str_of(lines[i].text), lines[i].client, false);
	}
	/* A NUL inside a word ends no address. */
	check_refused(STR("PROXY TCP4 192.0.2.1\0x 198.51.100.2 1000 443\r\n"));
}

#define MARK "\r\n\r\n\0\r\nQUIT\n"
#define FOUR "\xc0\0\x02\x01\xc6\x33\x64\x02\x03\xe8\x01\xbb" /* 192.0.2.1:1000 to 198.51.100.2:443 */
#define SIX "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01" MARK "\0\0\0\x01\0\x02\0\x03"

static void test_version_2(void **state)
{
	(void)state;
	check_header(STR(MARK "\x21\x11\0\x0c" FOUR), "192.0.2.1", false);
	check_header(STR(MARK "\x21\x21\0\x24" SIX), "2001:db8::1", false);
	/* The balancer itself, with and without an address behind. */
	check_header(STR(MARK "\x20\0\0\0"), NULL, false);
	check_header(STR(MARK "\x20\x11\0\x0c" FOUR), NULL, false);
	/* Of no IP address, or not of a stream. */
	check_header(STR(MARK "\x21\0\0\0"), NULL, false);
	check_header(STR(MARK "\x21\x12\0\x0c" FOUR), NULL, false);
	/* Fields: unknown, empty, TLS with and without the client's bit. */
	check_header(STR(MARK "\x21\x11\0\x11" FOUR "\xea\0\x02hi"), "192.0.2.1", false);
	check_header(STR(MARK "\x21\x11\0\x0f" FOUR "\x04\0\0"), "192.0.2.1", false);
	check_header(STR(MARK "\x21\x11\0\x14" FOUR "\x20\0\x05\x01\0\0\0\0"), "192.0.2.1", true);
	check_header(STR(MARK "\x21\x11\0\x14" FOUR "\x20\0\x05\x02\0\0\0\0"), "192.0.2.1", false);
	/* CRC-32C, computed by other means. */
	check_header(STR(MARK "\x21\x11\0\x13" FOUR "\x03\0\x04\x93\xf0\x0e\xb1"), "192.0.2.1", false);
	check_refused(STR(MARK "\x21\x11\0\x13" FOUR "\x03\0\x04\x93\xf0\x0e\xb0"));
	check_refused(STR(MARK "\x21\x11\0\x12" FOUR "\x03\0\x03\x93\xf0\x0e"));
	/* Another version, command, family or transport. */
	check_refused(STR(MARK "\x11\x11\0\x0c" FOUR));
	check_refused(STR(MARK "\x31\x11\0\x0c" FOUR));
	check_refused(STR(MARK "\x22\x11\0\x0c" FOUR));
	check_refused(STR(MARK "\x21\x41\0\x0c" FOUR));
	check_refused(STR(MARK "\x21\x13\0\x0c" FOUR));
	/* Addresses or fields that the length cuts. */
	check_refused(STR(MARK "\x21\x11\0\x0b" FOUR));
	check_refused(STR(MARK "\x21\x11\0\x0d" FOUR "\x04"));
	check_refused(STR(MARK "\x21\x11\0\x10" FOUR "\x04\0\x02x"));
	check_refused(STR(MARK "\x21\x11\0\x10" FOUR "\x20\0\x01\x01"));
	/* Longer than any balancer sends. */
	check_refused(STR(MARK "\x21\x11\x07\xf1"));
	check_refused(STR(MARK "\x21\x11\xff\xff"));
	/* Almost the mark. */
	check_refused(STR("\r\n\r\n\0\r\nQUIX"));
}

/* ---- the stage in front of a connection ---- */

static void answer_client(struct http_request *req)
{
	http_reply(req, 200, req->https ? "text/secure" : "text/plain", req->client);
}

static const struct route proxy_rows[] = {
    {.method = HTTP_GET, .path = "/client", .handler = answer_client, .flags = ROUTE_PUBLIC | ROUTE_INLINE},
};
static const struct route_table proxy_routes = {proxy_rows, countof(proxy_rows)};

#define REQUEST "GET /client HTTP/1.1\r\nHost: x\r\n\r\n"
#define FORWARDED "GET /client HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"

static struct harness *proxied(const char *trusted)
{
	const struct conf_override o[] = {{"server.trusted_proxies", trusted}};

	return harness_new(o, 1, &proxy_routes);
}

/* A connection of that peer to a listener marked "proxy:". */
static void proxied_connect(struct harness *h, const char *peer)
{
	struct http_addr addr;
	int fd[2];

	if (h->client >= 0)
		close(h->client);
	buf_clear(&h->in);
	h->eof = false;
	assert_true(http_addr_parse(str_of(peer), &addr));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
	h->client = fd[0];
	accept_layers(conn_new(h->w.http, fd[1], &addr), LISTEN_PROXY);
}

static bool said(const struct harness *h, const char *text)
{
	return str_find(buf_str(&h->in), str_of(text)) >= 0;
}

static void test_stage(void **state)
{
	static const struct str bytes[] = {
	    {"PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n" REQUEST,
	     sizeof("PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n" REQUEST) - 1},
	    {MARK "\x21\x11\0\x0c" FOUR REQUEST, sizeof(MARK "\x21\x11\0\x0c" FOUR REQUEST) - 1},
	};
	struct harness *h = proxied("10.0.0.0/8");

	(void)state;
	for (size_t i = 0; i < countof(bytes); i++) {
		/* Glued to the request, byte by byte, and in pieces that cut both. */
		for (size_t step = 0; step < 20; step += step < 2 ? 1 : 5) {
			proxied_connect(h, "10.1.2.3");
			harness_send(h, bytes[i], step);
			harness_turns(h, 5);
			assert_true(said(h, "\r\n\r\n192.0.2.1"));
		}
	}
	harness_free(h);
}

static void test_stage_trust(void **state)
{
	struct harness *h = proxied("10.0.0.0/8, 192.0.2.7");
	struct answer a;

	(void)state;
	/* A stranger is not even listened to. */
	proxied_connect(h, "11.1.2.3");
	harness_sendz(h, "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n" REQUEST);
	harness_turns(h, 5);
	assert_true(h->eof);
	assert_int_equal(h->in.n, 0);
	/* What the client itself claims is not believed, only what trusted proxies claim. */
	proxied_connect(h, "10.1.2.3");
	harness_sendz(h, "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n" FORWARDED);
	harness_turns(h, 5);
	assert_true(said(h, "\r\n\r\n192.0.2.1"));
	proxied_connect(h, "10.1.2.3");
	harness_sendz(h, "PROXY TCP4 192.0.2.7 198.51.100.2 1000 443\r\n" FORWARDED);
	harness_turns(h, 5);
	assert_true(said(h, "\r\n\r\n203.0.113.9"));
	/* A health check of the balancer. */
	proxied_connect(h, "10.1.2.3");
	harness_sendz(h, "PROXY UNKNOWN\r\n" REQUEST);
	harness_turns(h, 5);
	assert_true(said(h, "\r\n\r\n10.1.2.3"));
	/* A request without a header is none. */
	proxied_connect(h, "10.1.2.3");
	harness_sendz(h, REQUEST);
	harness_turns(h, 5);
	assert_true(h->eof);
	assert_int_equal(h->in.n, 0);
	/* TLS at the balancer. */
	proxied_connect(h, "10.1.2.3");
	harness_send(h, STR(MARK "\x21\x11\0\x14" FOUR "\x20\0\x05\x01\0\0\0\0" REQUEST), 0);
	a = harness_answer(h);
	assert_true(answer_has(&a, "Content-Type: text/secure\r\n"));
	assert_true(answer_has(&a, "Strict-Transport-Security: "));
	harness_free(h);
}

static void test_stage_limits(void **state)
{
	const struct conf_override o[] = {{"server.trusted_proxies", "10.0.0.0/8"}, {"limits.connections_per_ip", "1"}};
	struct harness *h = harness_new(o, 2, &proxy_routes);
	int first;

	(void)state;
	/* Clients are counted, not their balancer. */
	proxied_connect(h, "10.1.2.3");
	harness_sendz(h, "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n" REQUEST);
	harness_turns(h, 5);
	assert_true(said(h, "200 OK"));
	first = h->client;
	h->client = -1;
	proxied_connect(h, "10.1.2.3");
	harness_sendz(h, "PROXY TCP4 192.0.2.2 198.51.100.2 1000 443\r\n" REQUEST);
	harness_turns(h, 5);
	assert_true(said(h, "200 OK"));
	proxied_connect(h, "10.1.2.3");
	harness_sendz(h, "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n" REQUEST);
	harness_turns(h, 5);
	assert_true(said(h, "429 "));
	assert_false(said(h, "200 OK"));
	close(first);
	harness_turns(h, 5);
	proxied_connect(h, "10.1.2.3");
	harness_sendz(h, "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n" REQUEST);
	harness_turns(h, 5);
	assert_true(said(h, "200 OK"));
	harness_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_version_1),   cmocka_unit_test(test_version_2),    cmocka_unit_test(test_stage),
	    cmocka_unit_test(test_stage_trust), cmocka_unit_test(test_stage_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
