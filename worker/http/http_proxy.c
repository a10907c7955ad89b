/* SPDX-License-Identifier: MIT */
/*
 * The PROXY protocol in front of a connection: a strict parser of both versions, and the stage that takes exactly the
 * header off the socket. Put in place by the accepting side. What the header says is believed as far as its sender is.
 */
#include "worker/http/http_proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

#include "worker/http/http_conn.h"
#include "worker/http/tls.h"

#define PROXY_V1_MAX 107
#define PROXY_V2_HEAD 16
#define PROXY_TLV_CRC32C 0x03
#define PROXY_TLV_SSL 0x20
#define PROXY_SSL_CLIENT 0x01

static const char proxy_v2_mark[12] = {'\r', '\n', '\r', '\n', '\0', '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

/* ---- version 1 ---- */

/* Takes the next word; words are parted by exactly one blank. */
static bool proxy_word(struct str *rest, struct str *word)
{
	return rest->p != NULL && str_split(rest, ' ', word) && word->n > 0;
}

static bool proxy_v1_address(struct str word, int family, struct http_addr *a)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char text[INET6_ADDRSTRLEN];

	if (word.n >= sizeof(text) || memchr(word.p, '\0', word.n) != NULL)
		return false;
	snprintf(text, sizeof(text), "%.*s", STR_ARG(word));
	if (family == AF_INET6)
		return inet_pton(AF_INET6, text, a->b) == 1;
	memcpy(a->b, mapped, sizeof(mapped));
	return inet_pton(AF_INET, text, a->b + 12) == 1;
}

static bool proxy_v1_port(struct str word)
{
	uint64_t port;

	return word.n <= 5 && !(word.n > 1 && word.p[0] == '0') && str_to_u64(word, 65535, &port);
}

/* "TCP4 source destination port port" */
static bool proxy_v1_line(struct str line, struct proxy_header *out)
{
	struct str kind, word[4], rest = line;
	struct http_addr destination;
	int family;

	if (!proxy_word(&rest, &kind))
		return false;
	/* What follows is to be ignored, says the specification. */
	if (str_eqz(kind, "UNKNOWN"))
		return true;
	if (str_eqz(kind, "TCP4"))
		family = AF_INET;
	else if (str_eqz(kind, "TCP6"))
		family = AF_INET6;
	else
		return false;
	for (size_t i = 0; i < countof(word); i++)
		if (!proxy_word(&rest, &word[i]))
			return false;
	if (rest.p != NULL && str_split(&rest, ' ', &kind))
		return false;
	out->has_client = true;
	return proxy_v1_address(word[0], family, &out->client) && proxy_v1_address(word[1], family, &destination) &&
	       proxy_v1_port(word[2]) && proxy_v1_port(word[3]);
}

static int proxy_v1(struct str in, struct proxy_header *out)
{
	const struct str mark = STR("PROXY ");
	struct str line = str_sub(in, 0, PROXY_V1_MAX);
	ptrdiff_t end = str_find(line, STR("\r\n"));

	if (!str_starts(line.n < mark.n ? mark : line, line.n < mark.n ? line : mark))
		return -1;
	if (end < 0)
		return in.n >= PROXY_V1_MAX ? -1 : 0;
	line = str_sub(line, mark.n, (size_t)end);
	if (str_chr(line, '\n') >= 0 || str_chr(line, '\r') >= 0 || !proxy_v1_line(line, out))
		return -1;
	return (int)end + 2;
}

/* ---- version 2 ---- */

static size_t proxy_u16(const char *p)
{
	return (size_t)((unsigned)(unsigned char)p[0] << 8 | (unsigned char)p[1]);
}

/* CRC-32C of the header with the field that holds it (at `hole`) taken as zero. */
static uint32_t proxy_crc(struct str in, size_t hole)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < in.n; i++) {
		crc ^= i >= hole && i < hole + 4 ? 0 : (unsigned char)in.p[i];
		for (unsigned k = 0; k < 8; k++)
			crc = crc >> 1 ^ (UINT32_C(0x82f63b78) & (0 - (crc & 1)));
	}
	return ~crc;
}

/* The type-length-value fields from `at` to the end of the header. */
static bool proxy_v2_fields(struct str in, size_t at, struct proxy_header *out)
{
	while (at < in.n) {
		size_t n;
		const char *v;

		if (in.n - at < 3)
			return false;
		n = proxy_u16(in.p + at + 1);
		v = in.p + at + 3;
		if (n > in.n - at - 3)
			return false;
		if (in.p[at] == PROXY_TLV_CRC32C) {
			uint32_t crc;

			if (n != 4)
				return false;
			memcpy(&crc, v, 4);
			if (ntohl(crc) != proxy_crc(in, at + 3))
				return false;
		} else if (in.p[at] == PROXY_TLV_SSL) {
			if (n < 5)
				return false;
			out->https = ((unsigned char)v[0] & PROXY_SSL_CLIENT) != 0;
		}
		at += 3 + n;
	}
	return true;
}

static bool proxy_v2_address(struct str in, struct proxy_header *out)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	unsigned family = (unsigned char)in.p[13] >> 4, transport = (unsigned char)in.p[13] & 15;
	static const size_t sizes[] = {0, 12, 36, 216};

	if (family >= countof(sizes) || transport > 2 || in.n - PROXY_V2_HEAD < sizes[family])
		return false;
	if (family == 1) {
		memcpy(out->client.b, mapped, sizeof(mapped));
		memcpy(out->client.b + 12, in.p + PROXY_V2_HEAD, 4);
	} else if (family == 2) {
		memcpy(out->client.b, in.p + PROXY_V2_HEAD, 16);
	}
	out->has_client = (family == 1 || family == 2) && transport == 1;
	return proxy_v2_fields(in, PROXY_V2_HEAD + sizes[family], out);
}

static int proxy_v2(struct str in, struct proxy_header *out)
{
	size_t n;

	if (in.n < PROXY_V2_HEAD)
		return 0;
	n = PROXY_V2_HEAD + proxy_u16(in.p + 14);
	if (((unsigned char)in.p[12] != 0x20 && (unsigned char)in.p[12] != 0x21) || n > PROXY_HEADER_MAX)
		return -1;
	if (in.n < n)
		return 0;
	/* LOCAL: the balancer asks for itself, the rest is to be skipped. */
	if ((unsigned char)in.p[12] == 0x21 && !proxy_v2_address(str_sub(in, 0, n), out))
		return -1;
	return (int)n;
}

int proxy_parse(struct str in, struct proxy_header *out)
{
	size_t n = in.n < sizeof(proxy_v2_mark) ? in.n : sizeof(proxy_v2_mark);
	int used;

	*out = (struct proxy_header){0};
	if (n == 0)
		return 0;
	used = memcmp(in.p, proxy_v2_mark, n) == 0 ? proxy_v2(in, out) : proxy_v1(in, out);
	if (used <= 0)
		*out = (struct proxy_header){0};
	return used;
}

/* ---- the stage in front of a connection ---- */

struct proxy_state {
	size_t n;
	char p[PROXY_HEADER_MAX];
};

static void proxy_detach(struct http_conn *c)
{
	free(c->io_state);
	c->io_state = NULL;
}

/* The header is complete: what is behind it belongs to TLS or HTTP. False when the connection is to end. */
static bool proxy_done(struct http_conn *c, const struct proxy_header *h)
{
	proxy_detach(c);
	c->io = &io_plain;
	if (h->has_client) {
		c->addr = h->client;
		c->addr_text[0] = '\0';
		c->trusted = http_cidrs_match(&c->server->trusted, &c->addr);
		c->https = h->https;
	}
	if (c->tls) {
		if (!tls_attach(c, c->server->tls))
			return false;
	}
	accept_admit(c);
	return true;
}

/*
 * Looks at what is there, then takes no more of it than belongs to the header: what follows is for the next layer,
 * which reads the socket by itself.
 */
static ssize_t proxy_read(struct http_conn *c, void *p, size_t n)
{
	struct proxy_state *s = c->io_state;
	struct proxy_header h;
	ssize_t got = recv(c->fd, s->p + s->n, sizeof(s->p) - s->n, MSG_PEEK);
	int used;

	if (got <= 0)
		return got;
	used = proxy_parse((struct str){s->p, s->n + (size_t)got}, &h);
	if (used < 0 || (used == 0 && s->n + (size_t)got == sizeof(s->p))) {
		log_info("http", "no valid PROXY header, closing");
		errno = EPROTO;
		return -1;
	}
	got = recv(c->fd, s->p + s->n, used > 0 ? (size_t)used - s->n : (size_t)got, 0);
	if (got <= 0)
		return got;
	s->n += (size_t)got;
	if (used == 0 || s->n < (size_t)used) {
		errno = EAGAIN;
		return -1;
	}
	if (!proxy_done(c, &h)) {
		errno = ENOMEM;
		return -1;
	}
	/* It may have been refused: then nothing more is read. */
	if (c->state != CONN_IDLE) {
		errno = EAGAIN;
		return -1;
	}
	return c->io->read(c, p, n);
}

/* Without TLS a refusal can be said even before the header has come. */
static ssize_t proxy_write(struct http_conn *c, const struct iovec *v, int n)
{
	if (!c->tls)
		return io_plain.write(c, v, n);
	errno = EPIPE;
	return -1;
}

static const struct io_ops io_proxy = {.read = proxy_read, .write = proxy_write, .detach = proxy_detach};

void proxy_attach(struct http_conn *c)
{
	char text[HTTP_ADDR_TEXT];

	if (!c->trusted) {
		http_addr_text(&c->addr, text);
		log_info("http", "a PROXY listener was called by an address not in server.trusted_proxies, closing",
			 KV_S("peer", text));
		conn_doom(c);
		return;
	}
	c->io_state = xcalloc(1, sizeof(struct proxy_state));
	c->io = &io_proxy;
}
