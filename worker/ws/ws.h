/* SPDX-License-Identifier: MIT */
/*
 * WebSocket (RFC 6455) on connections that the HTTP server hands over after the upgrade.
 */
#ifndef WORKER_WS_WS_H
#define WORKER_WS_WS_H

#include "worker/http/http.h"

struct ws;
struct ws_message;

enum ws_close_code {
	WS_NORMAL = 1000,
	WS_GOING_AWAY = 1001,
	WS_PROTOCOL = 1002,
	WS_UNSUPPORTED = 1003,
	WS_BAD_DATA = 1007,
	WS_POLICY = 1008,
	WS_TOO_BIG = 1009,
	WS_INTERNAL = 1011,
	WS_RESTART = 1012,
	WS_TRY_LATER = 1013,
	WS_LAGGED = 4008,
	WS_RATE = 4029,
	WS_FORBIDDEN = 4003,
	WS_UNAUTHORIZED = 4401
};

struct ws_ops {
	void (*on_message)(void *arg, struct str text, bool binary); /* a complete message, valid until return */
	void (*on_drain)(void *arg);                                 /* the queue fell below half of its limit */
	void (*on_close)(void *arg);                                 /* exactly once; w is gone afterwards */
	void (*on_limited)(void *arg); /* a message above websocket.message_rate was dropped; NULL: there is no limit */
};

/*
 * Answers the upgrade of a request on a ROUTE_WS route with 101 and hands the connection over; NULL after having
 * replied with an error (426 no upgrade, 400 bad handshake, 403 origin, or 101 and close 4029 when the address has too
 * many) or when the client has gone. Subprotocol: NULL or the one to select.
 */
struct ws *ws_accept(struct http_request *req, const char *subprotocol, const struct ws_ops *ops, void *arg);
/* True if the client offers the subprotocol. */
bool ws_offered(const struct http_request *req, const char *subprotocol);
/* Value of an offered subprotocol "access_token.X": X; STR_NONE if none. */
struct str ws_offered_token(const struct http_request *req);

/*
 * A message to be shared between sockets: framed once, and compressed once for all who have agreed on the same window.
 * One reference; NULL when memory is gone.
 */
struct ws_message *ws_message_text(struct str text);
struct ws_message *ws_message_binary(struct str data);
struct ws_message *ws_message_ref(struct ws_message *m);
/* NULL is allowed. */
void ws_message_unref(struct ws_message *m);
/* Bytes of its frame, uncompressed. */
size_t ws_message_size(const struct ws_message *m);
/*
 * Queues a message (the reference stays the caller's). False when the queue is above its limit: stop until on_drain. A
 * socket at twice its limit is cut. After the close has begun messages are dropped.
 */
bool ws_send(struct ws *w, struct ws_message *m);
size_t ws_queued(const struct ws *w);
/* Is the queue above its limit? on_drain will come. */
bool ws_is_full(const struct ws *w);
/* Is there room for what may be lost? Ephemeral messages stop at a quarter of the queue's limit. */
bool ws_roomy(const struct ws *w);
/* Takes no further messages until what is queued has been read: for who answers every message with another. */
void ws_pause_if_full(struct ws *w);
/* Starts the close handshake; reason may be NULL. */
void ws_close(struct ws *w, int code, const char *reason);
/* Frame codec, pure (also for tests and fuzzing). */
struct ws_frame {
	bool fin;
	bool rsv1; /* of a compressed message's first frame */
	unsigned opcode;
	uint8_t mask[4];
	uint64_t length;
	size_t head; /* bytes of the header */
};
/*
 * 1: header parsed; 0: more bytes needed; -1: protocol error (*code says which close code). Client frames must be
 * masked. `deflate`: permessage-deflate was agreed on.
 */
int ws_frame_parse(struct str in, size_t max_payload, bool deflate, struct ws_frame *f, int *code);

struct route_table;
extern const struct route_table ws_routes; /* /ws/echo, /ws/echo/{room} */

#endif
