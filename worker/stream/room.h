/* SPDX-License-Identifier: MIT */
/*
 * Private to stream.c, topic.c, tokens.c and firehose.c: the objects of the room and what these files ask of each
 * other.
 */
#ifndef WORKER_STREAM_ROOM_H
#define WORKER_STREAM_ROOM_H

#include "common/bus.h"
#include "common/context.h"
#include "common/loop.h"
#include "worker/stream/topic.h"

#define STREAM_TOKENS 16                      /* token streams a follower can have open at once */
#define STREAM_EVENT_MAX (BUS_DATAGRAM - 512) /* larger events travel as "topic, seq" */
#define STREAM_NAME_MAX 136                   /* of a topic on the bus */

/* Wire form on the bus: header, then the envelope. */
struct stream_message {
	char kind; /* 'E' event, 'H' hint, 'T' token */
	uint8_t token_kind;
	uint16_t type_len;
	int32_t attempt;
	int64_t seq; /* of the event; with a token the seq that it follows */
	uint64_t token_id;
	int64_t agent_seq; /* of a delta; with an end: of the last delta */
};

/* A token stream that somebody has had without a hole so far. */
struct token_stream {
	uint64_t id; /* 0: free */
	int attempt;
	int64_t last; /* agent_seq of the newest delta */
};

struct token_streams {
	struct token_stream v[STREAM_TOKENS];
};

struct follower {
	struct follower *next; /* in the topic */
	struct topic *topic;
	const struct follower_ops *ops;
	void *arg;
	int64_t cursor;
	int64_t report_at; /* -1: nothing to report */
	bool full;         /* the carrier's queue is above its limit */
	int64_t full_us;   /* since when */
	struct token_streams tokens;
};

/* A carrier that follows everything of a workspace. */
struct firehose {
	struct firehose *next, **link; /* of the source's */
	struct source *source;
	struct token_streams *tokens; /* NULL before the first */
	const struct follower_ops *ops;
	void *arg;
};

/* What the carriers of a workspace's firehose share. */
struct source {
	struct source *next;
	struct firehose *carriers;
	struct stream *s;
	struct context ctx;
	char workspace[128], org[128];
	struct bus_sub *sub;
	int64_t joined_ms;
	int64_t sound_ms; /* the last time that every hint had come */
	uint64_t head;    /* of the workspace's cell, accounted for by hints and looks */
	bool primed;      /* the debates that ran when it joined are known */
	bool look, suspicious;
};

struct topic {
	struct topic *next;
	struct stream *s;
	char id[130];
	char workspace[128], org[128];
	struct bus_sub *sub;
	struct follower *followers;
	struct frame *ring; /* the newest frames, ascending without holes, ring[count-1].seq == tail */
	size_t count, room, bytes;
	int64_t tail;   /* newest seq known without a hole; -1 before the first look at the log */
	int64_t wanted; /* a seq that is known to exist */
	int64_t fired;  /* newest seq that the workspace's firehose has had */
	uint64_t head;  /* cell value accounted for by messages and reads */
	bool suspicious, reading, firehose;
	bool foreign;     /* the workspace has no such debate: nothing that comes is for it */
	bool look;        /* it may have moved on another node: to be compared with the log */
	bool ended;       /* its last event is in the tail */
	int64_t moved_us; /* when an event came last */
	int64_t idle_since_us;
};

struct stream {
	struct worker *w;
	struct topic *topics;
	struct source *sources;
	struct stream_sockets *sockets;
	struct loop_timer tick;
	unsigned readers, ticks;
	int64_t ticked_us;
	uint64_t deaths;
	bool cluster; /* other nodes may commit events, which move no cell here */
	bool closing, comparing, looking;
};

/* ---- stream.c ---- */

/* Names on the bus of a debate's topic and of a workspace's hints. */
struct str stream_topic_name(char out[STREAM_NAME_MAX], struct str debate_id);
struct str stream_workspace_name(char out[STREAM_NAME_MAX], struct str workspace);

/* ---- topic.c ---- */

/* NULL: nobody here follows it. */
struct topic *topic_find(const struct stream *s, struct str debate_id);
/* Finds or makes it; interest on the bus is raised before it returns. */
struct topic *topic_get(struct stream *s, const struct context *ctx, struct str debate_id);
/* Nobody may follow it any more. The caller takes it off the list. */
void topic_free(struct topic *t);
/* Starts a reader of the log if somebody waits and none is at it. */
void topic_catch_up(struct topic *t);
/* Two looks in a row at a head that messages do not explain: the log is read. After a death at once. */
void topic_compare(struct topic *t, bool death);
/* Sends those away who have not come back from a full queue for websocket.lag_timeout. */
void topic_lagging(const struct topic *t, int64_t now);
/* Hands one frame to the carrier, whatever the cursor. */
void follower_send(struct follower *f, const struct frame *frame);

/* ---- tokens.c ---- */

/* A piece of an agent's text has come: to those who have had all of its stream. */
void topic_token(struct topic *t, const struct stream_message *m, struct str envelope);

/* ---- firehose.c ---- */

/* Who follows everything of that workspace, or NULL. */
struct source *source_find(const struct stream *s, const char *workspace);
/* Hears of new debates that the hints did not tell of: by cells, after a death or with other nodes by the log. */
void source_compare(struct source *h, bool death);
/* One event of a topic, to those who follow everything; the caller sees to it that none is left out or doubled. */
void topic_firehose(struct topic *t, const struct frame *frame);

#endif
