/* SPDX-License-Identifier: MIT */
/*
 * Events of debates on their way to people. A durable event is in the log (debate_events) with a dense seq before
 * anyone sees it; a token is ephemeral. Each worker follows the topics its sockets want: newest frames in memory, older
 * ones read from the log once for all who wait.
 *
 * Every subscriber has a cursor: event n goes out only if n = cursor + 1; whoever is behind reads on from the log.
 */
#ifndef WORKER_STREAM_STREAM_H
#define WORKER_STREAM_STREAM_H

#include "common/context.h"
#include "worker/http/http.h"
#include "worker/http/route.h"

struct stream;
struct worker;

/* A durable event, just committed. Text is JSON: the complete envelope as sent to clients. */
struct stream_event {
	struct str debate_id;
	struct str workspace_id;
	int64_t seq;
	struct str type;
	struct str envelope;
};

/* A piece of an agent's text while it is being written; never stored. */
enum stream_token_kind { TOKEN_START, TOKEN_DELTA, TOKEN_FINISH };
struct stream_token {
	struct str debate_id;
	struct str workspace_id;
	enum stream_token_kind kind;
	struct str agent;
	struct str task_id; /* "<agent>:<phase>[:<target>]" */
	int round;
	int attempt;
	int64_t agent_seq; /* from 1 at each TOKEN_START's stream */
	int64_t after_seq; /* durable seq it follows */
	struct str text;   /* delta, or the full text with TOKEN_FINISH */
};

struct stream *stream_open(struct worker *w);
/* Ends: sockets were closed by the server before. */
void stream_close(struct stream *s);
/* Publishes committed events, in seq order, all of one debate: local subscribers, mailboxes, head cell. Never waits. */
void stream_committed(struct stream *s, const struct stream_event *events, size_t n);
/* Publishes an ephemeral token event. Never waits. */
void stream_token(struct stream *s, const struct stream_token *t);
/*
 * Something that people of a workspace should hear at once and that no log keeps: to whoever follows everything there,
 * on all nodes. The envelope is borrowed. Never waits.
 */
void stream_notice(struct stream *s, struct str workspace_id, struct str type, struct str envelope);
/* Sockets and streams that follow the debate on this worker. */
unsigned stream_subscribers(const struct stream *s, struct str debate_id);
/* Restart: tell all subscribers to come back (WebSockets 1012, SSE end), spread over `spread_us`. */
void stream_drain(struct stream *s, int64_t spread_us);

/*
 * The envelope of an event: {type, data, timestamp, round, agent, seq, agent_seq, loop_id, debate_id, event_id}. `data`
 * is borrowed. Compact JSON in the arena. seq 0 is left out.
 */
struct str stream_envelope(struct arena *a, struct str debate_id, int64_t seq, struct str type, struct str agent,
			   int round, int64_t agent_seq, int64_t timestamp_ms, struct str task_id, const json_t *data);

/* Event page: up to `limit` envelopes with seq > after, from the log. */
struct db;
CO_FN bool stream_read_log(struct db *db, struct arena *a, const struct context *ctx, struct str debate_id,
			   int64_t after, int limit, struct stream_event **events, size_t *n,
			   struct error *err) MUST_CHECK;
/*
 * Has the log of an ended debate lost what follows `after` (retention)? Who asks for it gets the state instead. False
 * also when the log cannot be read: reading on tells.
 */
struct debate_row;
CO_FN bool stream_log_gone(struct db *db, struct arena *a, const struct debate_row *row, int64_t after);

extern const struct route_table stream_routes; /* /ws, /ws/{debate_id}, /api/debates/{id}/events */

#endif
