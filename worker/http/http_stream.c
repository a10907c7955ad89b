/* SPDX-License-Identifier: MIT */
/*
 * Replies that go on (server-sent events): chunked for HTTP/1.1, until the end of the connection for 1.0. Called by
 * handlers and, frame by frame, from the loop. It neither builds events nor reads what the client sends meanwhile.
 */
#include "common/conf.h"
#include "worker/http/http_conn.h"

struct http_stream {
	struct http_conn *conn; /* NULL: nobody listens, frames are swallowed */
	struct http_server *server;
	const struct http_stream_ops *ops;
	void *arg;
	bool chunked;
	bool mute; /* HEAD: no body */
	bool full; /* above the limit: on_drain is owed */
	bool ending;
};

static size_t stream_limit(const struct http_stream *s)
{
	return (size_t)s->server->conf->websocket.queue_bytes;
}

/* The one end of a stream; the connection no longer knows it. */
static void stream_gone(struct http_stream *s)
{
	struct http_server *server = s->server;

	s->conn = NULL;
	s->ops->on_close(s->arg);
	free(s);
	server_unref(server);
}

static void stream_gone_later(void *arg)
{
	stream_gone(arg);
}

static size_t stream_input(void *arg, char *p, size_t n)
{
	(void)arg;
	(void)p;
	(void)n;
	return 0;
}

static void stream_drained(void *arg)
{
	struct http_stream *s = arg;
	struct http_conn *c = s->conn;

	if (s->ending) {
		if (c->out.count > 0)
			return;
		c->owner = NULL;
		server_count(s->server, 0, 0, -1);
		/* on_close may still look at the request, so it comes before the connection lets go of it. */
		stream_gone(s);
		request_done(c);
	} else if (s->full && c->out.bytes < stream_limit(s) / 2) {
		s->full = false;
		if (s->ops->on_drain != NULL)
			s->ops->on_drain(s->arg);
	}
}

static void stream_expired(void *arg, enum http_deadline_kind kind)
{
	const struct http_stream *s = arg;

	(void)kind;
	conn_close(s->conn);
}

static void stream_go_away(void *arg)
{
	http_stream_end(arg);
}

static void stream_closed(void *arg)
{
	struct http_stream *s = arg;

	server_count(s->server, 0, 0, -1);
	stream_gone(s);
}

static const struct conn_owner stream_owner = {stream_input, stream_drained, stream_expired, stream_go_away,
					       stream_closed};

struct http_stream *http_stream_begin(struct http_request *req, const char *content_type,
				      const struct http_stream_ops *ops, void *arg)
{
	struct http_reply *h = req->reply;
	struct http_stream *s = xcalloc(1, sizeof(*s));
	struct http_conn *c = req->conn;

	BUG_ON(h->replied);
	h->replied = true;
	s->server = h->server;
	s->server->refs++;
	s->ops = ops;
	s->arg = arg;
	if (c == NULL || h->timed_out) {
		loop_defer(s->server->loop, stream_gone_later, s);
		return s;
	}
	http_deadline_clear(&h->deadline);
	s->conn = c;
	s->mute = req->head;
	s->chunked = req->minor >= 1;
	req->status = 200;
	h->keep_alive = s->chunked && request_keeps(h);
	conn_send(c, reply_head(h, 200, content_type, -1,
				s->chunked ? (h->keep_alive ? "Transfer-Encoding: chunked\r\n"
							    : "Transfer-Encoding: chunked\r\nConnection: close\r\n")
					   : NULL));
	conn_own(c, &stream_owner, s);
	server_count(s->server, 0, 0, 1);
	request_finished(h);
	if (s->mute)
		s->ending = true;
	return s;
}

bool http_stream_write(struct http_stream *s, struct rbuf *frame)
{
	struct http_conn *c = s->conn;
	char size[24];
	int n;

	if (c == NULL || s->mute || s->ending || frame->n == 0) {
		rbuf_unref(frame);
		return c != NULL && !s->ending && !s->full;
	}
	if (s->chunked) {
		n = snprintf(size, sizeof(size), "%zx\r\n", frame->n);
		conn_send(c, rbuf_of((struct str){size, (size_t)n}));
	}
	conn_send(c, frame);
	if (s->chunked)
		conn_send(c, rbuf_of(STR("\r\n")));
	s->full = s->full || c->out.bytes > stream_limit(s);
	return !s->full;
}

size_t http_stream_queued(const struct http_stream *s)
{
	return s->conn != NULL ? s->conn->out.bytes : 0;
}

void http_stream_end(struct http_stream *s)
{
	if (s->conn == NULL || s->ending)
		return;
	s->ending = true;
	if (s->chunked)
		conn_send(s->conn, rbuf_of(STR("0\r\n\r\n")));
	conn_mark(s->conn);
}
