/* SPDX-License-Identifier: MIT */
/*
 * Private to the stream room: topics (one per debate that somebody on this worker follows), followers with their
 * cursors, and the readers that bring followers up from the log.
 */
#ifndef WORKER_STREAM_TOPIC_H
#define WORKER_STREAM_TOPIC_H

#include "common/bus.h"
#include "worker/stream/stream.h"
#include "worker/ws/ws.h"

struct follower;
struct stream;

/* One event, rendered once for all sockets of each kind. */
struct frame {
	int64_t seq; /* 0: ephemeral */
	bool last;   /* debate_end */
	bool open;   /* for spectators too: says what was said and decided, nothing of people, money or failures */
	const char *debate; /* whose it is; "" of none */
	struct ws_message *ws;
	struct rbuf *sse; /* complete event block */
};

/* How a follower's carrier takes frames. */
struct follower_ops {
	/* Queues the frame (takes no reference of its caller's). False: it is queued, but no more until
	 * follower_drained. */
	bool (*send)(void *arg, const struct frame *f);
	/* The cursor has reached the seq at which it was told to report (replay_end). */
	void (*caught_up)(void *arg, int64_t cursor);
	/* The log cannot be read: ends the carrier with a code that says come back. */
	void (*failed)(void *arg);
	/* It has been too slow for too long: the same. May be called again. */
	void (*lagged)(void *arg);
	/* Is there room for what may be lost? NULL: always. */
	bool (*roomy)(void *arg);
	/*
	 * Is its queue above the limit by what another follower has sent to it? Then this one waits for
	 * follower_drained too. NULL: it has no other.
	 */
	bool (*full)(void *arg);
};

/* Follows one debate from `after` on; the cursor only moves by sending. Raises interest before it returns. */
struct follower *follower_new(struct stream *s, const struct context *ctx, struct str debate_id, int64_t after,
			      const struct follower_ops *ops, void *arg);
/* Calls ops->caught_up once when the cursor is at `seq` or beyond. */
void follower_report_at(struct follower *f, int64_t seq);
int64_t follower_cursor(const struct follower *f);
struct str follower_debate(const struct follower *f);
/* The carrier takes frames again. */
void follower_drained(struct follower *f);
void follower_free(struct follower *f);

/* Calls fn for each debate of ctx's workspace that somebody on this worker follows by name. */
void stream_each_topic(const struct stream *s, const struct context *ctx,
		       void (*fn)(void *arg, const char *debate_id, unsigned followers), void *arg);

/* Follows every debate of a workspace from now on, without holes; a carrier that falls behind is ended. */
struct firehose;
struct firehose *firehose_new(struct stream *s, const struct context *ctx, const struct follower_ops *ops, void *arg);
void firehose_free(struct firehose *h);

/* For the WebSocket side of the room: the worker, its list of sockets (ws_api.c). */
struct worker *stream_worker(struct stream *s);
struct stream_sockets **stream_sockets(struct stream *s);
/* Renders an envelope; debate: whose it is, "" of none, and has to outlive the frame. */
void frame_render(struct frame *f, const char *debate, int64_t seq, struct str type, struct str envelope);
void frame_clear(struct frame *f);
/* Is an event of this type for spectators too? */
bool frame_is_open(struct str type);

/* ws_stats.c */
void stream_stats(struct http_request *req);

/* ws_api.c */
void stream_sockets_drain(struct stream *s, int64_t spread_us);
void stream_sockets_close(struct stream *s);

#endif
