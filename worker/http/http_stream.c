/* SPDX-License-Identifier: MIT */
/*
 * Replies that go on (server-sent events), and how HTTP/1 carries them: chunked for 1.1, until the end of the
 * connection for 1.0. Called by handlers and, frame by frame, from the loop. It neither builds events nor reads what
 * the client sends meanwhile.
 */
#include "common/conf.h"
#include "worker/http/http_conn.h"

/* A reply of known length is fetched as it is sent: little of it needs to wait in memory. */
#define STREAM_SIZED_QUEUE (128 * 1024)

static size_t stream_limit(const struct http_stream *s)
{
	return s->length >= 0 ? STREAM_SIZED_QUEUE : (size_t)s->server->conf->websocket.queue_bytes;
}

/* Streams without end are counted; of the others the access line tells when they are over. */
static void stream_count(const struct http_stream *s, int n)
{
	if (s->length < 0)
		server_count(s->server, 0, 0, n);
}

void stream_gone(struct http_stream *s)
{
	struct http_server *server = s->server;

	if (s->conn != NULL)
		stream_count(s, -1);
	s->conn = NULL;
	s->ops->on_close(s->arg);
	free(s);
	server_unref(server);
}

static void stream_gone_later(void *arg)
{
	stream_gone(arg);
}

void stream_shorter(struct http_stream *s)
{
	if (!s->full || s->carrier->stream_queued(s) >= stream_limit(s) / 2)
		return;
	s->full = false;
	if (s->ops->on_drain != NULL)
		s->ops->on_drain(s->arg);
}

struct http_stream *stream_begin(struct http_request *req, int status, const char *content_type, int64_t length,
				 const struct http_stream_ops *ops, void *arg)
{
	struct http_reply *h = req->reply;
	struct http_stream *s = xcalloc(1, sizeof(*s));

	BUG_ON(h->replied);
	h->replied = true;
	s->server = h->server;
	s->server->refs++;
	s->carrier = h->carrier;
	s->status = status;
	s->length = length;
	s->ops = ops;
	s->arg = arg;
	if (req->conn == NULL || h->timed_out) {
		loop_defer(s->server->loop, stream_gone_later, s);
		return s;
	}
	http_deadline_clear(&h->deadline);
	s->conn = req->conn;
	s->mute = req->head;
	req->status = status;
	s->carrier->stream_begin(s, h, content_type);
	stream_count(s, 1);
	if (length < 0)
		request_finished(h);
	if (s->mute)
		http_stream_end(s);
	return s;
}

struct http_stream *http_stream_begin(struct http_request *req, const char *content_type,
				      const struct http_stream_ops *ops, void *arg)
{
	return stream_begin(req, 200, content_type, -1, ops, arg);
}

bool http_stream_write(struct http_stream *s, struct rbuf *frame)
{
	if (s->conn == NULL || s->mute || s->ending || frame->n == 0) {
		rbuf_unref(frame);
		return s->conn != NULL && !s->ending && !s->full;
	}
	s->carrier->stream_write(s, frame);
	s->full = s->full || s->carrier->stream_queued(s) > stream_limit(s);
	return !s->full;
}

size_t http_stream_queued(const struct http_stream *s)
{
	return s->conn != NULL ? s->carrier->stream_queued(s) : 0;
}

void http_stream_end(struct http_stream *s)
{
	if (s->conn == NULL || s->ending)
		return;
	s->ending = true;
	s->carrier->stream_end(s);
}

void stream_fail(struct http_stream *s)
{
	if (s->conn != NULL)
		s->carrier->stream_fail(s);
}

/* ---- on an HTTP/1 connection ---- */

static size_t http1_stream_input(void *arg, char *p, size_t n)
{
	(void)arg;
	(void)p;
	(void)n;
	return 0;
}

static void http1_stream_drained(void *arg)
{
	struct http_stream *s = arg;
	struct http_conn *c = s->conn;

	if (!s->ending) {
		stream_shorter(s);
		return;
	}
	if (c->out.count > 0)
		return;
	c->owner = NULL;
	/* on_close may still look at the request, so it comes before the connection lets go of it. */
	stream_gone(s);
	request_done(c);
}

static void http1_stream_expired(void *arg, enum http_deadline_kind kind)
{
	const struct http_stream *s = arg;

	(void)kind;
	conn_close(s->conn);
}

static void http1_stream_go_away(void *arg)
{
	http_stream_end(arg);
}

static void http1_stream_closed(void *arg)
{
	stream_gone(arg);
}

/* A draining server lets it come to its end. */
static void http1_stream_stay(void *arg)
{
	(void)arg;
}

static const struct conn_owner http1_stream_owner = {.input = http1_stream_input,
						     .drained = http1_stream_drained,
						     .expired = http1_stream_expired,
						     .go_away = http1_stream_go_away,
						     .closed = http1_stream_closed};
static const struct conn_owner http1_sized_owner = {.input = http1_stream_input,
						    .drained = http1_stream_drained,
						    .expired = http1_stream_expired,
						    .go_away = http1_stream_stay,
						    .closed = http1_stream_closed,
						    .finite = true};

void http1_stream_begin(struct http_stream *s, struct http_reply *h, const char *content_type)
{
	if (s->length >= 0) {
		h->keep_alive = request_keeps(h);
		conn_send(s->conn, reply_head(h, s->status, content_type, s->length, NULL));
		conn_own(s->conn, &http1_sized_owner, s);
		return;
	}
	s->chunked = h->req.minor >= 1;
	h->keep_alive = s->chunked && request_keeps(h);
	conn_send(s->conn,
		  reply_head(h, s->status, content_type, -1,
			     s->chunked ? (h->keep_alive ? "Transfer-Encoding: chunked\r\n"
							 : "Transfer-Encoding: chunked\r\nConnection: close\r\n")
					: NULL));
	conn_own(s->conn, &http1_stream_owner, s);
}

void http1_stream_write(struct http_stream *s, struct rbuf *frame)
{
	char size[24];
	int n;

	if (s->chunked) {
		n = snprintf(size, sizeof(size), "%zx\r\n", frame->n);
		conn_send(s->conn, rbuf_of((struct str){size, (size_t)n}));
	}
	conn_send(s->conn, frame);
	if (s->chunked)
		conn_send(s->conn, rbuf_of(STR("\r\n")));
}

size_t http1_stream_queued(const struct http_stream *s)
{
	return s->conn->out.bytes;
}

void http1_stream_end(struct http_stream *s)
{
	if (s->chunked && !s->mute)
		conn_send(s->conn, rbuf_of(STR("0\r\n\r\n")));
	conn_mark(s->conn);
}

void http1_stream_fail(struct http_stream *s)
{
	conn_doom(s->conn);
}
