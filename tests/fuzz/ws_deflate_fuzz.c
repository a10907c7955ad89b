/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes a whole WebSocket behind its handshake: frames, fragments, control frames, permessage-deflate, UTF-8 and the
 * limit of messages. However the bytes are cut, the same messages come out, none longer than allowed, and the socket
 * fails or does not. Byte 0: bit 0 compression, bit 1 the rest is one compressed text to be framed here, bit 2 its
 * window; byte 1 seeds the cuts.
 */
#include "tests/fuzz/fuzz_http.h"
#include "worker/ws/ws_conn.h"

#define FUZZ_MESSAGE_MAX 4096

static int fuzz_fd; /* copied for each connection: nothing comes over it */

static void fuzz_message(void *arg, struct str text, bool binary)
{
	struct buf *seen = arg;

	BUG_ON(text.n > FUZZ_MESSAGE_MAX || (!binary && !str_utf8_valid(text)));
	buf_printf(seen, "%c%zu:", binary ? 'b' : 't', text.n);
	buf_add(seen, text);
}

static void fuzz_closed(void *arg)
{
	buf_addc(arg, '.');
}

static const struct ws_ops fuzz_ops = {.on_message = fuzz_message, .on_close = fuzz_closed};
static const struct http_hooks fuzz_hooks;

static void fuzz_world_open(void)
{
	static const struct conf_override overrides[] = {{"websocket.max_message", "4096"}, {"log.level", "error"}};
	int fd[2];

	fuzz_http_open(overrides, countof(overrides), &fuzz_hooks);
	BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) == -1);
	fuzz_fd = fd[0];
}

/* Feeds what the connection would: new bytes behind those that were left. False once the socket reads no more. */
static bool fuzz_feed(struct http_conn *c, struct buf *in, struct str piece)
{
	size_t used = 1;

	buf_add(in, piece);
	while (in->n > 0 && used > 0 && c->state == CONN_OWNED) {
		used = c->owner->input(c->owner_arg, in->p, in->n);
		BUG_ON(used > in->n);
		buf_consume(in, used);
	}
	return c->state == CONN_OWNED;
}

/* Returns whether the socket is still well; *seen is what was received. */
static bool fuzz_run(struct str bytes, uint32_t seed, const struct ws_deflate *d, struct buf *seen)
{
	struct http_conn *c = conn_new(fuzz_http.server, dup(fuzz_fd), NULL);
	struct buf in = BUF_INIT;
	bool well = true;
	size_t queued;

	(void)ws_new(c, &c->addr, false, d, &fuzz_ops, seen);
	while (well && bytes.n > 0)
		well = fuzz_feed(c, &in, fuzz_piece(&bytes, &seed));
	queued = c->out.bytes;
	BUG_ON(!well && queued < 2); /* whoever fails is told why */
	conn_close(c);
	loop_turn(fuzz_http.loop, false);
	buf_free(&in);
	return well;
}

/* One compressed text as two masked frames. */
static void fuzz_frame(struct buf *out, struct str part, bool first, bool last)
{
	buf_addc(out, (char)((last ? 0x80 : 0) | (first ? 0x41 : 0)));
	if (part.n < 126) {
		buf_addc(out, (char)(0x80 | part.n));
	} else {
		buf_addc(out, (char)(0x80 | 126));
		buf_addc(out, (char)(part.n >> 8));
		buf_addc(out, (char)(part.n & 0xff));
	}
	buf_add(out, STR("\0\0\0\0"));
	buf_add(out, part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf bytes = BUF_INIT, whole = BUF_INIT, cut = BUF_INIT;
	struct str rest;
	struct ws_deflate d = {.on = false};
	bool a, b;

	if (size < 2 || size > UINT16_MAX)
		return 0;
	if (fuzz_http.loop == NULL)
		fuzz_world_open();
	rest = (struct str){(const char *)data + 2, size - 2};
	d.on = (data[0] & 3) != 0;
	d.client_bits = (data[0] & 4) != 0 ? WS_BITS_MIN : 0;
	if ((data[0] & 2) != 0) {
		fuzz_frame(&bytes, str_sub(rest, 0, rest.n / 3), true, false);
		fuzz_frame(&bytes, str_sub(rest, rest.n / 3, rest.n), false, true);
	} else {
		buf_add(&bytes, rest);
	}
	a = fuzz_run(buf_str(&bytes), 0, &d, &whole);
	b = fuzz_run(buf_str(&bytes), data[1] + 1U, &d, &cut);
	BUG_ON(a != b || !str_eq(buf_str(&whole), buf_str(&cut)));
	buf_free(&bytes);
	buf_free(&whole);
	buf_free(&cut);
	return 0;
}
