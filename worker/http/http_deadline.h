/* SPDX-License-Identifier: MIT */
/*
 * Deadlines of connections: each kind has one duration, so each kind is a queue in the order of setting, and setting,
 * moving and clearing are O(1). One timer serves all.
 */
#ifndef WORKER_HTTP_HTTP_DEADLINE_H
#define WORKER_HTTP_HTTP_DEADLINE_H

#include "common/loop.h"

enum http_deadline_kind {
	DEADLINE_NONE,
	DEADLINE_FIRST,        /* first byte on a new connection */
	DEADLINE_IDLE,         /* next request */
	DEADLINE_HEAD,         /* complete head, from its first byte */
	DEADLINE_BODY,         /* silence inside a body */
	DEADLINE_LINGER,       /* reading away what a refused client still sends */
	DEADLINE_WRITE,        /* no progress in sending */
	DEADLINE_REQUEST,      /* the handler's answer */
	DEADLINE_PING,         /* next WebSocket ping */
	DEADLINE_PONG,         /* answer to it */
	DEADLINE_CLOSE,        /* answer to a WebSocket close, or to the notice before a GOAWAY */
	DEADLINE_STREAM_BODY,  /* silence inside the body of one HTTP/2 stream */
	DEADLINE_STREAM_WRITE, /* no progress in sending the answer of one */
	DEADLINE_MAX
};

struct http_deadline {
	struct http_deadline *next, *prev; /* prev == NULL: not set */
	int64_t at;
	enum http_deadline_kind kind;
};

struct http_deadlines {
	struct loop *loop;
	struct http_deadline heads[DEADLINE_MAX]; /* rings */
	int64_t duration[DEADLINE_MAX];           /* microseconds; 0 = never */
	void (*fire)(struct http_deadline *d);    /* called with d cleared, d->kind still telling which */
	struct loop_timer timer;
	int64_t armed_at; /* 0 = not armed */
};

void http_deadlines_init(struct http_deadlines *s, struct loop *l, void (*fire)(struct http_deadline *d));
void http_deadlines_stop(struct http_deadlines *s);
/* Sets d to the kind's duration from now; replaces what was set. */
void http_deadline_set(struct http_deadlines *s, struct http_deadline *d, enum http_deadline_kind kind);
/* The same for a duration of its own; meant for kinds whose durations are mostly equal. */
void http_deadline_set_for(struct http_deadlines *s, struct http_deadline *d, enum http_deadline_kind kind, int64_t us);
void http_deadline_clear(struct http_deadline *d);

#endif
