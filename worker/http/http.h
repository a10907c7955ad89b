/* SPDX-License-Identifier: MIT */
/*
 * Requests and replies as handlers see them, and the server that carries them. Knows nothing of the business: routes
 * come in as a table, principals as a context. HTTP/1.1 and HTTP/2 carry both; handlers do not
 * see which.
 */
#ifndef WORKER_HTTP_HTTP_H
#define WORKER_HTTP_HTTP_H

#include <jansson.h>
#include <sys/socket.h>

#include "common/arena.h"
#include "common/context.h"
#include "common/err.h"
#include "common/rbuf.h"
#include "common/trace_context.h"

struct conf;
struct http_conn;
struct http_server;
struct lane;
struct loop;
struct route;
struct router_entry;
struct shm_slot;
struct tls;
struct ws_ops;

enum http_method {
	HTTP_GET,
	HTTP_HEAD,
	HTTP_POST,
	HTTP_PUT,
	HTTP_PATCH,
	HTTP_DELETE,
	HTTP_OPTIONS,
	HTTP_METHOD_MAX,
	HTTP_OTHER = HTTP_METHOD_MAX
};
const char *http_method_name(enum http_method m);

struct http_field {
	struct str name, value;
};

#define HTTP_PARAMS_MAX 4

struct http_request {
	struct http_conn *conn;  /* NULL once the client has gone */
	void *user;              /* the server's `user`: struct worker */
	struct arena *arena;     /* dies with the request */
	enum http_method method; /* HEAD is dispatched as GET; `head` says so */
	bool head;
	int major, minor;  /* HTTP/1.minor, or HTTP/2.0 */
	struct str target; /* as received */
	struct str path;   /* decoded and normalised: one spelling of /api/v1/x and /api/x, no trailing '/' */
	struct str query;  /* raw, without '?' */
	const struct http_field *fields;
	size_t field_count;
	uint64_t field_marks;               /* http_field_mark of all fields; 0: not known */
	struct str body;                    /* complete; bounded by the route's limit */
	const struct route *route;          /* NULL until matched */
	const struct router_entry *entry;   /* of route; the router's own */
	struct str params[HTTP_PARAMS_MAX]; /* values of {x} in the route's path, in order, decoded */
	struct context ctx;                 /* who asks; filled by the authentication middleware */
	struct str request_id;              /* X-Request-ID or made here */
	struct str client;                  /* address after trusted proxies */
	bool audited;               /* the audit log has an event of it: the pipeline adds none for its refusal */
	bool https;                 /* by TLS or by X-Forwarded-Proto from a trusted proxy */
	struct str cache_key;       /* under which the answer may be kept; of the cache step */
	uint64_t cache_versions;    /* of its sources, before the handler ran */
	struct trace_context trace; /* filled by the tracing middleware, on where it applies */
	int64_t start_us;
	int64_t chain_us, handler_us; /* begin of the chain and of the handler, of routes that may wait; else 0 */
	int64_t end_us;               /* the answer was handed over; set before the `finished` hook */
	/* The answer so far. */
	int status;
	uint64_t bytes_out;
	struct http_reply *reply; /* private to the http room */
};

/* First value of a request header, case-insensitive; STR_NONE when absent. */
struct str http_field_value(const struct http_request *req, struct str name);

/* Does the connection come from an address in server.trusted_proxies? */
bool http_peer_trusted(const struct http_request *req);

/* A bit that names of the same length and first letter share: most headers that are asked for are absent. */
static inline uint64_t http_field_mark(struct str name)
{
	return name.n > 0 ? UINT64_C(1) << (((size_t)(name.p[0] & 31) * 5 + name.n) & 63) : 0;
}

static inline struct str http_field(const struct http_request *req, const char *name)
{
	struct str s = str_of(name);

	if (req->field_marks != 0 && (req->field_marks & http_field_mark(s)) == 0)
		return STR_NONE;
	return http_field_value(req, s);
}

/* First value of a query parameter, decoded, in the arena; STR_NONE when absent. An empty value has p != NULL. */
struct str http_query(const struct http_request *req, const char *name);
/* Text of a query with %XX and '+' decoded, in the arena; a bad escape is kept as it stands. */
struct str http_decoded(struct arena *a, struct str s);
/* Query parameter as a number clamped to [min, max]; dflt when absent or not a number. */
int64_t http_query_int(const struct http_request *req, const char *name, int64_t min, int64_t max, int64_t dflt);

/* Adds a reply header; the value is copied. CR and LF in it abort. */
void http_reply_field(struct http_request *req, const char *name, const char *fmt, ...) PRINTF_FMT(3, 4);
/* The same without formatting; name and value are kept by reference: literals, or in the request's arena. */
void http_reply_add(struct http_request *req, struct str name, struct str value);

static inline void http_reply_value(struct http_request *req, const char *name, struct str value)
{
	http_reply_add(req, str_of(name), value);
}

/* Adds complete header lines, each ended by CRLF; the text is static. */
void http_reply_lines(struct http_request *req, struct str lines);

static inline void http_reply_block(struct http_request *req, const char *lines)
{
	http_reply_lines(req, str_of(lines));
}

/* The value of a header that http_reply_field or http_reply_add has added, to be replaced; NULL: none. */
struct str *http_reply_find(struct http_request *req, const char *name);
/* Has the header been added by http_reply_field? */
bool http_reply_has(const struct http_request *req, const char *name);
/*
 * The one answer of a request; copies the body. A second call aborts. If the client has gone it does nothing.
 */
void http_reply(struct http_request *req, int status, const char *content_type, struct str body);
/* Sends the answer that the body hook has kept back; nothing if the client has gone. */
void http_reply_resume(struct http_request *req, int status, const char *content_type, struct str body);
/* Takes the reference of doc. */
void http_reply_json(struct http_request *req, int status, json_t *doc);
/* The error envelope {error, code, trace_id, field?}; 5xx texts are generic in production, 401 and 503 get their
 * headers. */
void http_reply_error(struct http_request *req, const struct error *err);
/*
 * What people are told of it: "must be ..." has no subject, and clients show the sentence alone, so it begins with the
 * field. Of the error or of the arena.
 */
const char *http_error_sentence(struct arena *a, const struct error *err);
/* The same with further members; takes the reference of `extra`. */
void http_reply_problem(struct http_request *req, const struct error *err, json_t *extra);
bool http_replied(const struct http_request *req);

/* An open regular file; release(arg) comes exactly once, when it is no longer read. */
struct http_file {
	int fd;
	void (*release)(void *arg);
	void *arg;
};
/*
 * The one answer of a request: `length` bytes of the file from `offset`, which must be there (a file that gets shorter
 * meanwhile ends the connection). Returns at once; the bytes follow as the client takes them.
 */
void http_reply_file(struct http_request *req, int status, const char *content_type, const struct http_file *file,
		     uint64_t offset, uint64_t length);

/*
 * Who goes on with a request after `dispatch` has returned holds it first and releases it when done; a release without
 * a reply answers 500. After 'release' the request must not be touched.
 */
void http_request_hold(struct http_request *req);
void http_request_release(struct http_request *req);
/*
 * The answer must come within `us`, else the client gets 504, the scope of the handler's coroutine ends, and its own
 * reply is dropped when it comes. Does not bound streams and sockets that have begun.
 */
void http_request_deadline(struct http_request *req, int64_t us);
/*
 * Enters the request's scope (SCOPE_REQUEST, ended by the deadline) and log context on the running coroutine; paired
 * with http_request_leave. The router does it for its coroutines.
 */
void http_request_enter(struct http_request *req);
void http_request_leave(struct http_request *req);

/*
 * A reply that goes on: server-sent events. After http_stream_begin the request is the stream's until on_close; frames
 * are pushed from the loop. ops->on_close comes exactly once, then the stream must not be touched. Never NULL: if the
 * client has gone meanwhile, the stream swallows what is written and on_close comes in this turn.
 */
struct http_stream;
struct http_stream_ops {
	void (*on_drain)(void *arg); /* the queue fell below half of its limit */
	void (*on_close)(void *arg);
};
struct http_stream *http_stream_begin(struct http_request *req, const char *content_type,
				      const struct http_stream_ops *ops, void *arg);
/* Queues one shared buffer (the reference is taken). False when the queue is above its limit: stop until on_drain. */
bool http_stream_write(struct http_stream *s, struct rbuf *frame);
size_t http_stream_queued(const struct http_stream *s);
/* Ends the stream after what is queued. */
void http_stream_end(struct http_stream *s);

/* ---- the server ---- */

struct http_hooks {
	/* Runs the matched (or unmatched: req->route == NULL) request; inline or on a coroutine as it decides. */
	void (*dispatch)(struct http_request *req);
	/* Matches the path before the body is read: sets req->route, params; returns the body limit in bytes or fills
	 * err. */
	bool (*match)(struct http_request *req, size_t *body_limit, struct error *err);
	/*
	 * A complete answer with a body, before its head is made: may change status and body, and add headers. True: it
	 * holds the request, has copied what it needs, and calls http_reply_resume. Or NULL.
	 */
	bool (*body)(struct http_request *req, int *status, const char *content_type, struct str *body);
	/* The answer is on its way or the client has gone: access line, metrics. Called once per request. */
	void (*finished)(struct http_request *req);
	/* Adds headers that every reply has, also those to requests that could not be parsed (target empty); or NULL.
	 */
	void (*headers)(struct http_request *req);
};

struct http_server *http_server_new(struct loop *l, const struct conf *c, struct shm_slot *slots, unsigned slot,
				    const struct http_hooks *hooks, void *user);
/*
 * Starts accepting on listening sockets (inherited descriptors), which stay the caller's. marks: of each, enum
 * conf_listen; tls serves those with LISTEN_TLS and outlives the server.
 */
void http_server_listen(struct http_server *s, const int *fds, const unsigned *marks, size_t n, const struct tls *tls);
/*
 * The lane that reads pieces of files (http_reply_file) which are not in memory; without it they are read in the loop,
 * however long that takes. It is freed after the server.
 */
void http_server_files(struct http_server *s, struct lane *lane);
/* Takes an accepted connection (tests). */
void http_server_adopt(struct http_server *s, int fd);
/*
 * Stops accepting (after emptying the queues when `last`); idle connections end by their timer, the next reply on each
 * says close; WebSockets and streams get their going-away close spread over `spread_us`.
 */
void http_server_drain(struct http_server *s, int64_t spread_us);
/* To be called every 100 ms: tries an accept that a lost wake-up may have left, sets the gauges. */
void http_server_tick(struct http_server *s);
/* Open connections, all kinds. */
unsigned http_server_connections(const struct http_server *s);
/* Closes everything that is left. */
void http_server_free(struct http_server *s);

#endif
