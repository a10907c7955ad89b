/* SPDX-License-Identifier: MIT */
/*
 * Private to worker/ws: what handshake, codec and connection share.
 */
#ifndef WORKER_WS_WS_CONN_H
#define WORKER_WS_WS_CONN_H

#include "worker/http/http_conn.h"
#include "worker/ws/ws.h"

enum ws_opcode {
	WS_OP_CONTINUATION = 0,
	WS_OP_TEXT = 1,
	WS_OP_BINARY = 2,
	WS_OP_CLOSE = 8,
	WS_OP_PING = 9,
	WS_OP_PONG = 10
};

#define WS_CONTROL_MAX 125

/* Incremental UTF-8 (RFC 3629): how many bytes are due, and the range of the next. Zero-initialised. */
struct ws_utf8 {
	unsigned due;
	uint8_t low, high;
};

/* False when the text cannot become valid. Text is complete when due == 0. */
bool ws_utf8_feed(struct ws_utf8 *u, struct str s) MUST_CHECK;
/* XORs p[0..n) with the mask, whose first byte to use is number `phase`. */
void ws_unmask(char *p, size_t n, const uint8_t mask[4], size_t phase);
/* A complete server frame. */
struct rbuf *ws_frame_build(enum ws_opcode opcode, bool rsv1, struct str payload);
/* The message as a frame for a socket with that window (0: no compression); the reference stays the message's. */
struct rbuf *ws_message_frame(struct ws_message *m, unsigned bits);
/* May a client send this close code (RFC 6455 7.4)? */
bool ws_close_code_ok(unsigned code);

/* ---- ws_deflate.c ---- */

#define WS_BITS_MIN 8
#define WS_BITS_MAX 15

/* What was agreed on; a window of 0 bits was not named. */
struct ws_deflate {
	bool on;
	uint8_t server_bits, client_bits;
};

/* The first acceptable offer in a value of Sec-WebSocket-Extensions. False: none is. */
bool ws_deflate_offer(struct str list, struct ws_deflate *out) MUST_CHECK;
/* The answer to it, as snprintf. */
int ws_deflate_answer(const struct ws_deflate *d, char *out, size_t room);
/* Appends the compressed text. False: it did not get shorter; `out` is then as before. */
bool ws_deflate(struct str text, unsigned bits, struct buf *out) MUST_CHECK;

/* One message being inflated, piece by piece. */
struct ws_inflate;
struct ws_inflate *ws_inflate_new(void); /* NULL: out of memory */
void ws_inflate_free(struct ws_inflate *i);
/* Appends what the piece unpacks to; 0, or the close code: WS_TOO_BIG when `out` would pass max, WS_BAD_DATA. */
int ws_inflate(struct ws_inflate *i, struct str in, struct buf *out, size_t max) MUST_CHECK;
/* The message is complete: 0, or the close code. */
int ws_inflate_end(struct ws_inflate *i, struct buf *out, size_t max) MUST_CHECK;

/*
 * A socket on a connection that speaks WebSocket from now on. `counted`: it has a place in the counts per address.
 */
struct ws *ws_new(struct http_conn *c, const struct http_addr *client, bool counted, const struct ws_deflate *deflate,
		  const struct ws_ops *ops, void *arg);

#endif
