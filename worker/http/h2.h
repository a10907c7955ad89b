/* SPDX-License-Identifier: MIT */
/*
 * HTTP/2 (RFC 9113) on a connection, with libnghttp2: h2_conn.c has the connection and its limits, h2_stream.c the
 * requests on it. Private to worker/http; handlers see the same requests as over HTTP/1.
 */
#ifndef WORKER_HTTP_H2_H
#define WORKER_HTTP_H2_H

#include <nghttp2/nghttp2.h>

#include "worker/http/http_conn.h"

/* What a client that speaks HTTP/2 sends first (RFC 9113 3.4). */
#define H2_PREFACE STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

/* Level of a bucket that leaks as much as it holds in H2_BUCKET_TIME. */
struct h2_bucket {
	int64_t level; /* events x H2_BUCKET_TIME */
	int64_t at;    /* when it was right */
};

/* How far the end of a connection has come. */
enum h2_end {
	H2_OPEN,
	H2_NOTICED, /* the client was told to begin nothing more; what is on its way still counts (RFC 9113 6.8) */
	H2_LAST     /* the last stream is named */
};

struct h2_conn {
	struct http_conn *conn; /* NULL: has ended */
	struct http_server *server;
	nghttp2_session *session;
	struct h2_stream *streams; /* list */
	unsigned busy;             /* inside the session: it cannot be freed */
	unsigned open;             /* streams */
	unsigned orphans;          /* requests still at work whose stream is gone or answered */
	size_t buffered;           /* bytes of bodies, both ways */
	enum h2_end end;
	const char *why; /* it is ended for this: a value of the metric's label */
	bool greeted;    /* the client's SETTINGS have come */
	bool in_head;    /* between HEADERS and the end of its block */
	int64_t sent_at; /* when bytes of an answer last went */
	struct h2_bucket resets, control;
	enum http_deadline_kind timer; /* which runs on conn->deadline */
	bool moved;                    /* a frame was completed since it was set, other than a piece of a head */
	/* The frame that is being read. */
	uint8_t frame[9];
	unsigned frame_n;        /* bytes of its header that have come */
	size_t left;             /* bytes of its payload that have not */
	bool brought;            /* it brought bytes of a body */
	unsigned frames;         /* since the last that counted as a request of the turn */
	struct h2_stream *ready; /* it completed this stream's request */
	/* The head that is being read: one at a time, however many streams there are. */
	struct http_head head;
	struct str authority, scheme, path;
	size_t head_bytes; /* as SETTINGS_MAX_HEADER_LIST_SIZE counts */
	struct error head_error;
	bool head_bad;
};

/* ---- h2_conn.c ---- */

/* The connection speaks HTTP/2 from here on; its input begins with the preface. */
void h2_begin(struct http_conn *c);
/* Ends the connection at once, for what the client did. */
void h2_abort(struct h2_conn *h2, uint32_t code, const char *why);
/* Has the end of the turn send what is submitted. */
void h2_mark(struct h2_conn *h2);
/* Room for n bytes of output in one piece, to be filled at once; NULL: not now (*error tells the library why). */
char *h2_room(struct h2_conn *h2, size_t n, int *error);
/* Counts a request that was cancelled or spoilt. False: it was one too many, and the connection ends. */
bool h2_count_reset(struct h2_conn *h2, bool by_client);
/* Body bytes were sent that are worth so many frames of the client. */
void h2_earn(struct h2_conn *h2, int frames);
/* Frees it when connection and requests have ended. */
void h2_free_unused(struct h2_conn *h2);

/* ---- h2_stream.c ---- */

/* Adds the callbacks that concern streams alone. */
void h2_stream_callbacks(nghttp2_session_callbacks *cbs);
/* A frame of a stream came, or went. */
void h2_stream_frame(struct h2_conn *h2, const nghttp2_frame *frame);
void h2_stream_sent(struct h2_conn *h2, const nghttp2_frame *frame);
/* The request that the last frame has completed is begun, or its body is. */
void h2_stream_ready(struct h2_conn *h2);
/* The deadline of a stream has passed. */
void h2_stream_expired(struct http_deadline *d);
/* Ends the event streams of the connection. */
void h2_streams_go_away(struct h2_conn *h2);
/* The connection has ended: so have its streams. */
void h2_streams_drop(struct h2_conn *h2);

#endif
