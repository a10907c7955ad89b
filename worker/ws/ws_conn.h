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
struct rbuf *ws_frame_build(enum ws_opcode opcode, struct str payload);
/* May a client send this close code (RFC 6455 7.4)? */
bool ws_close_code_ok(unsigned code);

/* A socket on a connection that speaks WebSocket from now on. `counted`: it has a place in the counts per address. */
struct ws *ws_new(struct http_conn *c, const struct http_addr *client, bool counted, const struct ws_ops *ops,
		  void *arg);

#endif
