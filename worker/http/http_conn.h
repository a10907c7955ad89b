/* SPDX-License-Identifier: MIT */
/*
 * Private to worker/http and worker/ws: the connection, the private half of a request, the server that owns them.
 *
 * Nothing here is freed inside its own callback: a connection that ends is marked dead and freed at the end of the
 * turn; a request lives until the connection and the handler have both let go.
 */
#ifndef WORKER_HTTP_HTTP_CONN_H
#define WORKER_HTTP_HTTP_CONN_H

#include <sys/uio.h>

#include "common/co.h"
#include "common/loop.h"
#include "common/shm.h"
#include "common/trace_context.h"
#include "worker/http/http_client.h"
#include "worker/http/http_deadline.h"
#include "worker/http/http_framing.h"
#include "worker/http/http_memo.h"

#define CONN_IN_SIZE 16384         /* usual size of an input buffer */
#define CONN_OUT_SIZE 32768        /* size of a slice that several replies share */
#define CONN_OUT_HIGH (256 * 1024) /* above it no further pipelined request is begun */
#define CONN_TURN_MAX 16           /* requests per connection and loop turn */
#define CONN_DISCARD (64 * 1024)   /* a refused body up to this size is read away to keep the connection */

enum conn_state {
	CONN_IDLE, /* waits for the first byte of a request */
	CONN_HEAD,
	CONN_BODY,
	CONN_WORK,   /* a handler is at it */
	CONN_OWNED,  /* a WebSocket or a stream has it */
	CONN_FLUSH,  /* last bytes are on their way, then the end */
	CONN_LINGER, /* write side is shut, input is read away */
	CONN_DEAD    /* freed at the end of the turn */
};

/*
 * How bytes move: a plain socket, TLS, or the PROXY header before either. Return values and errno as read(2) and
 * writev(2). All but the first two may be NULL.
 */
struct io_ops {
	ssize_t (*read)(struct http_conn *c, void *p, size_t n);
	ssize_t (*write)(struct http_conn *c, const struct iovec *v, int n);
	/* Are there bytes that were taken off the socket, but not handed out? No event tells of them. */
	bool (*pending)(const struct http_conn *c);
	/* The output is complete: the last word before the socket is shut. */
	void (*finish)(struct http_conn *c);
	/* Frees io_state. */
	void (*detach)(struct http_conn *c);
};
extern const struct io_ops io_plain;

/* A protocol that has taken a connection over. */
struct conn_owner {
	/* Bytes came; returns how many were used. May change them (unmasking). */
	size_t (*input)(void *arg, char *p, size_t n);
	/* The output queue got shorter, or is empty at the end of a turn. */
	void (*drained)(void *arg);
	/* The deadline set by conn_deadline has passed. */
	void (*expired)(void *arg, enum http_deadline_kind kind);
	/* The server drains: say good-bye. May come again. */
	void (*go_away)(void *arg);
	/* The connection has ended; exactly once. */
	void (*closed)(void *arg);
	/*
	 * Writes to the socket itself whenever the queue is empty; as write(2), 0: nothing now, conn_mark asks again.
	 * Or NULL.
	 */
	ssize_t (*send)(void *arg);
	/* It ends by itself: a client that has shut its side still gets the rest. */
	bool finite;
	/* The server begins to drain: take nothing new. Or NULL. */
	void (*draining)(void *arg);
};

/* Input: data is p[off, end). */
struct conn_in {
	char *p;
	size_t off, end, cap;
};

/* Output: a ring of shared slices; the first `sent` bytes of the first are gone. */
struct conn_out {
	struct rbuf *first[4];
	struct rbuf **ring; /* `first` until it is too small */
	unsigned head, count, cap;
	size_t sent;
	size_t bytes;      /* queued and not yet sent */
	struct rbuf *room; /* a slice of the ring that conn_reserve fills, or NULL */
};

/* Does the client speak HTTP/2? */
enum conn_h2 {
	CONN_H2_NO,
	CONN_H2_MAYBE, /* its first bytes tell */
	CONN_H2_AGREED /* by ALPN */
};

struct http_conn {
	struct http_server *server;
	struct http_conn *next, *prev;
	struct http_conn *next_dirty;
	const struct io_ops *io;
	void *io_state; /* of io */
	int fd;
	enum conn_state state;
	enum conn_h2 h2;
	bool dirty;      /* in the list of what the end of the turn looks at */
	bool processing; /* inside conn_process: no second one below it */
	bool fresh;      /* nothing was read yet */
	bool reading;    /* read event is set */
	bool writing;    /* write event is set */
	bool peer_eof;   /* the client will send no more */
	bool input_left; /* more may come that nobody wants: linger before closing */
	bool counted;    /* in the count per address */
	bool doomed;     /* to be closed at the end of the turn */
	bool trusted;    /* the peer is a proxy of ours */
	bool io_write;   /* io must write before it can read on */
	bool https;      /* the client speaks TLS to us, or to the proxy that vouches for it by PROXY */
	bool tls;        /* TLS begins behind the PROXY header */
	bool again;      /* the owner has had its share of the turn: its input is offered again in the next */
	struct event read_ev, write_ev;
	struct conn_in in;
	struct conn_out out;
	struct http_head_scan scan;
	struct http_reply *call; /* the request in progress */
	const struct conn_owner *owner;
	void *owner_arg;
	struct http_deadline deadline; /* of the state */
	struct http_deadline write_deadline;
	struct http_addr addr;
	char addr_text[HTTP_ADDR_TEXT]; /* addr as text, made for the first request; "" before */
	unsigned turn_requests;         /* begun since the last read event */
};

/*
 * How a request and its answer travel: alone on their connection (HTTP/1), or as one stream of many (HTTP/2). Called
 * while the client is there; what is replied or begun comes once.
 */
struct http_carrier {
	/* The body is wanted. `go_on`: the client waits to be told so. */
	void (*await_body)(struct http_reply *h, bool go_on);
	/* The body has come. */
	void (*body_done)(struct http_reply *h);
	/* The complete answer; length < 0: it has none. The request may be gone afterwards. */
	void (*reply)(struct http_reply *h, int status, const char *content_type, int64_t length, struct str body);
	/* An answer that goes on: its head (status and length are the stream's), its bytes (the reference is taken),
	 * its end. */
	void (*stream_begin)(struct http_stream *s, struct http_reply *h, const char *content_type);
	void (*stream_write)(struct http_stream *s, struct rbuf *frame);
	void (*stream_end)(struct http_stream *s);
	size_t (*stream_queued)(const struct http_stream *s);
	/* What was promised cannot be sent: it must not look complete. */
	void (*stream_fail)(struct http_stream *s);
	/* Connection and handler have both let go; or NULL. */
	void (*freed)(struct http_reply *h);
};
extern const struct http_carrier http1_carrier;

#define REPLY_BLOCKS_MAX 12

struct reply_field {
	struct str name, value;
};

/* The private half of a request. */
struct http_reply {
	struct http_request req;
	struct http_server *server;
	const struct http_carrier *carrier;
	void *carrier_arg;              /* of carrier */
	struct http_reply *next, *prev; /* of all live requests */
	unsigned holds;                 /* handler side */
	bool attached;                  /* the connection side: it waits for the answer or streams it */
	bool replied;                   /* the handler has replied */
	bool timed_out;                 /* 504 was sent in its place */
	bool taken_back;                /* the client does not want the answer any more */
	bool finished;                  /* the finished hook has run */
	bool keep_alive;                /* what the reply will say */
	bool body_left;                 /* the body was not read to its end */
	bool discard;                   /* the body is read away, then `refusal` is the answer */
	bool in_scope;
	struct error refusal;
	struct http_meaning *meaning; /* of a head that is shared with others; or NULL */
	struct http_framing framing;
	struct http_chunked chunked;
	uint64_t body_left_bytes; /* of a Content-Length body */
	size_t body_limit;
	int64_t body_from;  /* when the first bytes of the body came; 0 before */
	uint64_t body_seen; /* bytes of it, framing included */
	struct buf body;
	struct http_deadline deadline;
	int64_t timeout_us;
	struct co_scope scope;
	struct log_ctx log;
	char trace[TRACE_PARENT_LEN + 1]; /* in log, once the request is on a coroutine */
	struct reply_field *fields;       /* first_fields until they are too few */
	size_t field_count, field_cap;
	struct reply_field first_fields[4];
	struct str blocks[REPLY_BLOCKS_MAX];
	unsigned block_count;
	char id_text[16];                 /* an id made here */
	char client_text[HTTP_ADDR_TEXT]; /* the client's address */
};

/* The private half of a reply that goes on. */
struct http_stream {
	struct http_conn *conn; /* NULL: nobody listens, frames are swallowed */
	struct http_server *server;
	const struct http_carrier *carrier;
	void *carrier_arg; /* of carrier */
	const struct http_stream_ops *ops;
	void *arg;
	int status;
	int64_t length; /* of the body, -1 when it is not known before its end */
	bool chunked;
	bool mute; /* HEAD: no body */
	bool full; /* above the limit: on_drain is owed */
	bool ending;
};

struct http_server {
	struct loop *loop;
	const struct conf *conf;
	struct shm_slot *slots;
	unsigned slot;
	const struct http_hooks *hooks;
	void *user;
	unsigned refs; /* owner, connections, requests, a queued end of turn */
	bool closed;   /* http_server_free was called */
	bool draining;
	bool turn_queued;
	struct http_conn conns;  /* ring */
	struct http_reply calls; /* ring */
	struct http_conn *dirty;
	unsigned count;            /* connections */
	unsigned sockets, streams; /* of them WebSockets and streams */
	unsigned h2_conns, h2_streams;
	struct http_deadlines deadlines;
	struct http_cidrs trusted, exempt;
	struct http_peers peers;
	struct http_accept *accept;
	const struct tls *tls; /* of listeners marked LISTEN_TLS */
	struct lane *files;    /* reads pieces of files that are not in memory, or NULL */
	char *record;          /* scratch space, see server_record */
	struct loop_timer drain_timer;
	int64_t drain_from, drain_spread;
	unsigned drain_total;
	struct arena *arenas[32]; /* spare */
	unsigned arena_count;
	void *inputs[32]; /* spare input buffers */
	unsigned input_count;
	struct rbuf *outputs[32]; /* spare slices of CONN_OUT_SIZE */
	unsigned output_count;
	struct http_memo memo;
	uint64_t id_state;
	int64_t date_s;
	char date[32];
	size_t date_n;
	char status_line[128]; /* of status_line_for, at date_s */
	size_t status_line_n;
	int status_line_for;
	uint64_t ws_in, ws_out; /* messages of WebSockets that the metrics know of */
};

/* ---- http_conn.c ---- */

/* Takes the descriptor; `addr` NULL: a Unix socket. */
struct http_conn *conn_new(struct http_server *s, int fd, const struct http_addr *addr);
/* Ends it now; memory goes at the end of the turn. Harmless when dead. */
void conn_close(struct http_conn *c);
/* Closes it at the end of the turn, whatever is queued: for callers below whom nothing may be called back. */
void conn_doom(struct http_conn *c);
/* No more input is wanted: sends what is queued, then closes (lingering if input may be left). */
void conn_finish(struct http_conn *c);
/* Queues a slice; the reference is taken. It is sent at the end of the turn. */
void conn_send(struct http_conn *c, struct rbuf *r);
/*
 * Room for n more bytes at the end of the output, to be followed by conn_commit in the same breath; NULL when they
 * must come as a slice of their own.
 */
char *conn_reserve(struct http_conn *c, size_t n);
void conn_commit(struct http_conn *c, size_t n);
/* Has the end of the turn look at it. */
void conn_mark(struct http_conn *c);
void conn_state_set(struct http_conn *c, enum conn_state state);
void conn_deadline(struct http_conn *c, enum http_deadline_kind kind);
/* Hands the connection to another protocol (CONN_OWNED); input that is left comes at the end of the turn. */
void conn_own(struct http_conn *c, const struct conn_owner *owner, void *arg);
/* End of turn: works on what is buffered, sends, frees the dead. */
void conn_turn_end(struct http_server *s);
void conn_expired(struct http_conn *c, enum http_deadline_kind kind);
void conn_write_expired(struct http_conn *c);

/* ---- http_request.c ---- */

/* A head is complete (or hopeless: err is set): makes the request, answers it or waits for its body. */
void request_begin(struct http_conn *c, struct str head, const struct error *err);
/* Body bytes; returns how many were used. */
size_t request_body(struct http_conn *c, struct str in);
/* A new request of the connection. */
struct http_reply *request_new(struct http_conn *c, const struct http_carrier *carrier, void *carrier_arg);
/* Names it: id, client, scheme. The fields are there, if the head could be read. */
void request_identify(struct http_reply *h);
/* Target and fields are there: finds its route; answers it, runs it, or waits for its body. */
void request_route(struct http_reply *h);
/* Keeps a piece of the body; false: it was too much or too late, and has been answered. */
bool request_piece(struct http_reply *h, struct str data) MUST_CHECK;
/* The body is complete. */
void request_complete(struct http_reply *h);
/* Replies; what follows on the connection cannot be told from a body. */
void request_reject(struct http_reply *h, const struct error *err);
/* The connection lets go of the request: it is answered, or its client has gone. */
void request_drop(struct http_reply *h);
/* The client takes the request back: the scope of its handler ends. To be followed by request_drop. */
void request_take_back(struct http_reply *h);
/* The body did not come in time. */
void request_body_expired(struct http_reply *h);
/* Answers a connection without a request (limits, time-outs of the head). */
void request_refuse(struct http_conn *c, enum err code, const char *msg, int retry_after);
/* The same for the one request of an HTTP/1 connection. */
void request_detach(struct http_conn *c);
/* The answer is complete: next request or end of the connection. */
void request_done(struct http_conn *c);
void request_expired(struct http_reply *h);
/* Runs the finished hook once. */
void request_finished(struct http_reply *h);
/* May the connection be kept after this answer? */
bool request_keeps(const struct http_reply *h);
void request_cancel_all(struct http_server *s, const char *why);

/* ---- http_reply.c ---- */

/* Status line and all headers. content_length < 0: none; `extra` lines end with CRLF. */
struct rbuf *reply_head(struct http_reply *h, int status, const char *content_type, int64_t content_length,
			const char *extra);
/* The head alone of an answer whose body would have `length` bytes: to HEAD. */
void reply_empty(struct http_request *req, int status, const char *content_type, int64_t length);
/* The envelope with a status and a code of its own. */
void reply_problem(struct http_request *req, int status, const char *code, const char *msg, const char *field,
		   json_t *extra);
const char *reply_reason(int status);

/* The complete answer on an HTTP/1 connection. */
void http1_reply(struct http_reply *h, int status, const char *content_type, int64_t length, struct str body);

/* ---- http_stream.c ---- */

/*
 * http_stream_begin with a status and, if length >= 0, the number of bytes that will be written: such a stream is not
 * ended by draining, and its access line comes at its end.
 */
struct http_stream *stream_begin(struct http_request *req, int status, const char *content_type, int64_t length,
				 const struct http_stream_ops *ops, void *arg);
void http1_stream_begin(struct http_stream *s, struct http_reply *h, const char *content_type);
void http1_stream_write(struct http_stream *s, struct rbuf *frame);
void http1_stream_end(struct http_stream *s);
size_t http1_stream_queued(const struct http_stream *s);
void http1_stream_fail(struct http_stream *s);
/* The carrier has sent something: tells the handler when the queue is short enough. */
void stream_shorter(struct http_stream *s);
/* Cuts it off, and over HTTP/1 its connection, so that it does not look complete. */
void stream_fail(struct http_stream *s);
/* The one end of a stream; frees it. */
void stream_gone(struct http_stream *s);

/* ---- http_server.c ---- */

struct arena *server_arena_take(struct http_server *s);
void server_arena_give(struct http_server *s, struct arena *a);
char *server_input_take(struct http_server *s);
void server_input_give(struct http_server *s, char *p);
/* An empty slice with room for CONN_OUT_SIZE bytes; NULL when memory is gone. */
struct rbuf *server_output_take(struct http_server *s);
void server_output_give(struct http_server *s, struct rbuf *r);
/* Scratch space of n bytes, the same n at each call; its content lives until the next call. */
char *server_record(struct http_server *s, size_t n);
void server_unref(struct http_server *s);
/* Queues conn_turn_end. */
void server_want_turn_end(struct http_server *s);
/* IMF-fixdate of now. */
struct str server_date(struct http_server *s);
/* The status line and the line of the date; valid until the next call. */
struct str server_status_line(struct http_server *s, int status);
void server_count(struct http_server *s, int connections, int sockets, int streams);
/* Does a new connection or socket of this address fall under the limits per address? */
bool server_limits(const struct http_server *s, const struct http_addr *a);

/* ---- http_accept.c ---- */

struct http_accept *accept_new(struct http_server *s);
/* marks: of each listener, enum conf_listen; NULL: none. */
void accept_listen(struct http_accept *a, const int *fds, const unsigned *marks, size_t n);
/* Puts what the marks ask for between the socket and HTTP. */
void accept_layers(struct http_conn *c, unsigned marks);
/* The client's address is known: counts it, or refuses it. */
void accept_admit(struct http_conn *c);
void accept_tick(struct http_accept *a);
/* Empties the queues and lets go of the listeners. */
void accept_stop(struct http_accept *a);
void accept_free(struct http_accept *a);

#endif
