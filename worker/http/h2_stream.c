/* SPDX-License-Identifier: MIT */
/*
 * Requests of an HTTP/2 connection: the head that frames bring becomes a request like any other, its answer becomes
 * frames. Called by h2_conn.c and by the library; what a client may cost is counted there, what a head means is
 * http_framing.c.
 */
#include "common/conf.h"
#include "common/metrics.h"
#include "worker/http/h2.h"

#define H2_FRAME_FAIR 1024 /* bytes of an answer for which the client may send a frame of its own */
#define H2_HEAD_EXCESS 4   /* a head larger than so many limits ends the connection: its end would cost too much */

struct h2_stream {
	struct h2_stream *next, *prev;
	struct h2_conn *h2;
	int32_t id;
	struct http_reply *call;    /* NULL once it is answered */
	struct http_stream *events; /* an answer that comes piece by piece, or NULL */
	bool routed;                /* its head was complete */
	bool body_wanted;
	bool body_done; /* the client will send no more */
	bool ended;     /* nothing more will be queued */
	struct http_deadline deadline;
	/* The answer's bytes: the first `sent` of the first slice are gone. */
	struct rbuf **queue;
	struct rbuf *first[2];
	unsigned count, cap;
	size_t sent, queued;
};

static struct h2_stream *h2_stream_of(struct h2_conn *h2, int32_t id)
{
	return nghttp2_session_get_stream_user_data(h2->session, id);
}

static int64_t h2_buffer_limit(const struct h2_conn *h2)
{
	return h2->server->conf->server.http2.buffer;
}

/* ---- the queue ---- */

static void h2_queue(struct h2_stream *s, struct rbuf *r)
{
	if (s->count == s->cap) {
		struct rbuf **v = xcalloc(s->cap * 2, sizeof(struct rbuf *));

		memcpy(v, s->queue, s->count * sizeof(struct rbuf *));
		if (s->queue != s->first)
			free(s->queue);
		s->queue = v;
		s->cap *= 2;
	}
	s->queue[s->count++] = r;
	s->queued += r->n;
	s->h2->buffered += r->n;
	if (s->deadline.prev == NULL)
		http_deadline_set(&s->h2->server->deadlines, &s->deadline, DEADLINE_STREAM_WRITE);
}

/* Takes n bytes off, to `p`. */
static void h2_queue_take(struct h2_stream *s, char *p, size_t n)
{
	unsigned gone = 0;

	s->queued -= n;
	s->h2->buffered -= n;
	while (n > 0) {
		struct rbuf *r = s->queue[gone];
		size_t part = r->n - s->sent < n ? r->n - s->sent : n;

		memcpy(p, r->data + s->sent, part);
		p += part;
		n -= part;
		s->sent += part;
		if (s->sent < r->n)
			break;
		rbuf_unref(r);
		s->sent = 0;
		gone++;
	}
	s->count -= gone;
	memmove(s->queue, s->queue + gone, s->count * sizeof(struct rbuf *));
}

static void h2_queue_free(struct h2_stream *s)
{
	s->h2->buffered -= s->queued;
	while (s->count > 0)
		rbuf_unref(s->queue[--s->count]);
	if (s->queue != s->first)
		free(s->queue);
	s->queue = NULL;
	s->queued = 0;
}

/* ---- life ---- */

static void h2_orphan_freed(struct http_reply *h)
{
	struct h2_conn *h2 = h->carrier_arg;

	h2->orphans--;
	h2->buffered -= h->body.n;
	h2_free_unused(h2);
}

/* Of a request that no stream waits for any more: all that is left is its end. */
static const struct http_carrier h2_orphan = {.freed = h2_orphan_freed};

/* The request is answered, or its client has gone; its handler may still be at work and counts until it has ended. */
static void h2_let_go(struct h2_stream *s)
{
	struct http_reply *h = s->call;

	s->call = NULL;
	s->body_wanted = false;
	s->h2->orphans++;
	h->carrier = &h2_orphan;
	h->carrier_arg = s->h2;
	request_drop(h);
}

/* It is off the list. */
static void h2_stream_free(struct h2_stream *s)
{
	struct h2_conn *h2 = s->h2;

	h2->open--;
	h2->server->h2_streams--;
	/* It may have come and gone within a turn: idle time begins anew. */
	if (h2->timer == DEADLINE_IDLE)
		h2->timer = DEADLINE_NONE;
	if (h2->ready == s)
		h2->ready = NULL;
	http_deadline_clear(&s->deadline);
	/* on_close may still look at the request. */
	if (s->events != NULL)
		stream_gone(s->events);
	if (s->call != NULL && !s->routed) {
		s->call->req.status = 400;
		request_identify(s->call);
	}
	if (s->call != NULL) {
		request_take_back(s->call);
		h2_let_go(s);
	}
	h2_queue_free(s);
	free(s);
}

void h2_streams_drop(struct h2_conn *h2)
{
	struct h2_stream *s;

	while ((s = h2->streams) != NULL) {
		h2->streams = s->next;
		if (s->next != NULL)
			s->next->prev = NULL;
		/* Fails only for streams that the library has forgotten. */
		(void)nghttp2_session_set_stream_user_data(h2->session, s->id, NULL);
		h2_stream_free(s);
	}
}

void h2_streams_go_away(struct h2_conn *h2)
{
	struct h2_stream *s;

	for (s = h2->streams; s != NULL; s = s->next)
		if (s->events != NULL && s->events->length < 0)
			http_stream_end(s->events);
}

static void h2_reset(struct h2_stream *s, uint32_t code)
{
	if (nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, code) != 0)
		conn_doom(s->h2->conn);
	h2_mark(s->h2);
}

/* Does the client keep its windows shut, rather than our side have no turn for this stream? */
static bool h2_stalled(const struct h2_stream *s)
{
	struct h2_conn *h2 = s->h2;
	const struct http_server *server = h2->server;

	if (nghttp2_session_get_stream_remote_window_size(h2->session, s->id) <= 0)
		return true;
	return nghttp2_session_get_remote_window_size(h2->session) <= 0 &&
	       loop_now(server->loop) - h2->sent_at >= server->conf->server.write_timeout;
}

void h2_stream_expired(struct http_deadline *d)
{
	struct h2_stream *s = container_of(d, struct h2_stream, deadline);

	if (d->kind == DEADLINE_STREAM_BODY)
		request_body_expired(s->call);
	else if (h2_stalled(s))
		h2_reset(s, NGHTTP2_CANCEL);
	else
		http_deadline_set(&s->h2->server->deadlines, &s->deadline, DEADLINE_STREAM_WRITE);
}

/* ---- the head of an answer ---- */

/* Headers that speak of the connection have no place here (RFC 9113 8.2.2). */
static bool h2_field_forbidden(struct str name)
{
	static const char *const names[] = {"connection", "keep-alive", "proxy-connection", "transfer-encoding",
					    "upgrade"};

	for (size_t i = 0; i < countof(names); i++)
		if (str_ieqz(name, names[i]))
			return true;
	return false;
}

/* The library copies both, and makes the name's letters small. */
static nghttp2_nv h2_nv(struct str name, struct str value)
{
	/* Each request has another one: kept out of the table of what may come again. */
	bool unique = str_ieqz(name, "x-request-id") || str_ieqz(name, "set-cookie");
	nghttp2_nv nv = {
	    .namelen = name.n, .valuelen = value.n, .flags = unique ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE};

	/* The library's structure is not const, its use is. */
	memcpy(&nv.name, &name.p, sizeof(nv.name));
	memcpy(&nv.value, &value.p, sizeof(nv.value));
	return nv;
}

static size_t h2_put_block(nghttp2_nv *v, size_t n, struct str block)
{
	ptrdiff_t colon, lf;

	while ((lf = str_chr(block, '\n')) > 0 && (colon = str_chr(block, ':')) > 0 && colon < lf) {
		struct str name = str_sub(block, 0, (size_t)colon);

		if (!h2_field_forbidden(name))
			v[n++] = h2_nv(name, str_trim(str_sub(block, (size_t)colon + 1, (size_t)lf)));
		block = str_sub(block, (size_t)lf + 1, block.n);
	}
	return n;
}

static size_t h2_block_lines(struct str block)
{
	size_t n = 0;

	for (size_t i = 0; i < block.n; i++)
		n += block.p[i] == '\n';
	return n;
}

static ssize_t h2_on_read(nghttp2_session *session, int32_t id, uint8_t *p, size_t n, uint32_t *flags,
			  nghttp2_data_source *source, void *arg)
{
	const struct h2_stream *s = h2_stream_of(arg, id);

	(void)session;
	(void)p;
	(void)source;
	if (s == NULL)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (s->queued < n)
		n = s->queued;
	if (n == 0 && !s->ended)
		return NGHTTP2_ERR_DEFERRED;
	if (n > 0)
		*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (s->ended && n == s->queued)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

/* Status and headers; `body`: more follows. */
static void h2_submit(struct h2_stream *s, struct http_reply *h, int status, const char *type, int64_t length,
		      bool body)
{
	nghttp2_data_provider source = {.read_callback = h2_on_read};
	struct arena *a = h->req.arena;
	size_t i, n = 0, max = 4 + h->field_count;
	nghttp2_nv *v;

	for (i = 0; i < h->block_count; i++)
		max += h2_block_lines(h->blocks[i]);
	v = arena_alloc(a, max * sizeof(*v));
	v[n++] = h2_nv(STR(":status"), arena_printf(a, "%d", status));
	v[n++] = h2_nv(STR("date"), server_date(h->server));
	if (type != NULL)
		v[n++] = h2_nv(STR("content-type"), str_of(type));
	if (length >= 0)
		v[n++] = h2_nv(STR("content-length"), arena_printf(a, "%lld", (long long)length));
	for (i = 0; i < h->field_count; i++)
		if (!h2_field_forbidden(h->fields[i].name))
			v[n++] = h2_nv(h->fields[i].name, h->fields[i].value);
	for (i = 0; i < h->block_count; i++)
		n = h2_put_block(v, n, h->blocks[i]);
	BUG_ON(n > max);
	if (nghttp2_submit_response(s->h2->session, s->id, v, n, body ? &source : NULL) != 0)
		conn_doom(s->h2->conn);
	h2_mark(s->h2);
}

/* ---- as the carrier of a request ---- */

static void h2_await_body(struct http_reply *h, bool go_on)
{
	struct h2_stream *s = h->carrier_arg;
	const nghttp2_nv status = h2_nv(STR(":status"), STR("100"));

	s->body_wanted = true;
	http_deadline_set(&h->server->deadlines, &s->deadline, DEADLINE_STREAM_BODY);
	if (!go_on)
		return;
	if (nghttp2_submit_headers(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NULL, &status, 1, NULL) != 0)
		conn_doom(s->h2->conn);
	h2_mark(s->h2);
}

static void h2_body_done(struct http_reply *h)
{
	struct h2_stream *s = h->carrier_arg;

	s->body_wanted = false;
	http_deadline_clear(&s->deadline);
}

static void h2_reply(struct http_reply *h, int status, const char *type, int64_t length, struct str body)
{
	struct h2_stream *s = h->carrier_arg;
	struct rbuf *r = body.n > 0 ? rbuf_of(body) : NULL;

	h2_body_done(h);
	s->ended = true;
	if (body.n > 0 && r == NULL) {
		h2_reset(s, NGHTTP2_INTERNAL_ERROR);
	} else {
		if (r != NULL)
			h2_queue(s, r);
		h2_submit(s, h, status, type, length, r != NULL);
	}
	h2_let_go(s);
}

static void h2_stream_begin(struct http_stream *events, struct http_reply *h, const char *type)
{
	struct h2_stream *s = h->carrier_arg;

	h2_body_done(h);
	events->carrier_arg = s;
	s->events = events;
	if (h->server->hooks->headers != NULL)
		h->server->hooks->headers(&h->req);
	h2_submit(s, h, events->status, type, events->length, !events->mute);
}

static void h2_stream_write(struct http_stream *events, struct rbuf *frame)
{
	struct h2_stream *s = events->carrier_arg;

	h2_queue(s, frame);
	/* It fails when the library does not wait for this: then it will ask. */
	(void)nghttp2_session_resume_data(s->h2->session, s->id);
	h2_mark(s->h2);
}

static size_t h2_stream_queued(const struct http_stream *events)
{
	return ((const struct h2_stream *)events->carrier_arg)->queued;
}

static void h2_stream_end(struct http_stream *events)
{
	struct h2_stream *s = events->carrier_arg;

	s->ended = true;
	(void)nghttp2_session_resume_data(s->h2->session, s->id);
	h2_mark(s->h2);
}

/* The other streams of the connection go on. */
static void h2_stream_fail(struct http_stream *events)
{
	h2_reset(events->carrier_arg, NGHTTP2_INTERNAL_ERROR);
}

static const struct http_carrier h2_carrier = {
    .await_body = h2_await_body,
    .body_done = h2_body_done,
    .reply = h2_reply,
    .stream_begin = h2_stream_begin,
    .stream_write = h2_stream_write,
    .stream_end = h2_stream_end,
    .stream_queued = h2_stream_queued,
    .stream_fail = h2_stream_fail,
};

/* ---- the head of a request ---- */

/* The first thing that is wrong with it. */
static void h2_head_wrong(struct h2_conn *h2, enum err code, const char *what)
{
	if (h2->head_bad)
		return;
	h2->head_bad = true;
	error_set(&h2->head_error, code, "%s", what);
}

static void h2_head_pseudo(struct h2_conn *h2, struct str name, struct str value)
{
	/* Which there are, how often, and where, is the library's to check. */
	if (str_eqz(name, ":method"))
		h2->head.method_text = value;
	else if (str_eqz(name, ":path"))
		h2->path = value;
	else if (str_eqz(name, ":authority"))
		h2->authority = value;
	else if (str_eqz(name, ":scheme"))
		h2->scheme = value;
}

/* Several cookie fields are one that was cut for compression (RFC 9113 8.2.3). */
static void h2_head_cookies(struct http_head *head, struct arena *a)
{
	size_t i, kept = 0, crumbs = 0;
	struct buf whole = BUF_INIT;

	for (i = 0; i < head->field_count; i++)
		crumbs += str_eqz(head->fields[i].name, "cookie");
	if (crumbs < 2)
		return;
	for (i = 0; i < head->field_count; i++) {
		if (!str_eqz(head->fields[i].name, "cookie")) {
			head->fields[kept++] = head->fields[i];
			continue;
		}
		if (whole.n > 0)
			buf_addz(&whole, "; ");
		buf_add(&whole, head->fields[i].value);
	}
	head->fields[kept++] = (struct http_field){STR("cookie"), arena_str(a, buf_str(&whole))};
	head->field_count = kept;
	buf_free(&whole);
}

/* The authority is the host; a Host field beside it must say the same (RFC 9113 8.3.1). */
static bool h2_head_host(struct h2_conn *h2, struct error *err)
{
	struct http_head *head = &h2->head;
	size_t i, kept = 1;

	if (h2->authority.n == 0)
		return true;
	for (i = 0; i < head->field_count; i++)
		if (str_eqz(head->fields[i].name, "host") && !str_ieq(head->fields[i].value, h2->authority))
			return error_set(err, ERR_BAD_REQUEST, "the Host header differs from the authority");
	for (i = 0; i < head->field_count; i++)
		if (str_eqz(head->fields[i].name, "host"))
			break;
	if (i == head->field_count && head->field_count == HTTP_FIELDS_MAX)
		return error_set(err, ERR_HEAD_TOO_LARGE, "more than %d header fields", HTTP_FIELDS_MAX);
	/* What stands before the Host field, or all, moves up by one. */
	memmove(head->fields + kept, head->fields, i * sizeof(head->fields[0]));
	if (i == head->field_count)
		head->field_count++;
	head->fields[0] = (struct http_field){STR("host"), h2->authority};
	return true;
}

static bool h2_head_parse(struct h2_stream *s, struct error *err)
{
	struct h2_conn *h2 = s->h2;
	struct http_head *head = &h2->head;
	struct http_reply *h = s->call;
	struct http_request *req = &h->req;
	struct http_field *fields;
	ptrdiff_t q;

	if (h2->head_bad) {
		*err = h2->head_error;
		return false;
	}
	head->minor = 1;
	/* A CONNECT names no path. */
	head->target = h2->path.n > 0 ? h2->path : h2->authority;
	if (h2->scheme.n > 0 && !str_ieqz(h2->scheme, "http") && !str_ieqz(h2->scheme, "https"))
		return error_set(err, ERR_BAD_REQUEST, "the scheme is neither http nor https");
	if (!http_head_method(head, head->method_text, err) || !http_head_target(head, err) || !h2_head_host(h2, err))
		return false;
	h2_head_cookies(head, req->arena);
	fields = arena_alloc(req->arena, head->field_count * sizeof(*fields) + 1);
	for (size_t i = 0; i < head->field_count; i++) {
		fields[i] = head->fields[i];
		req->field_marks |= http_field_mark(fields[i].name);
	}
	req->fields = fields;
	req->field_count = head->field_count;
	req->method = head->method;
	req->head = head->method == HTTP_HEAD;
	req->target = head->target;
	q = str_chr(head->target, '?');
	req->query = q < 0 ? STR_NONE : str_sub(head->target, (size_t)q + 1, head->target.n);
	if (!http_framing(head, &h->framing, err))
		return false;
	/* Where the body ends, frames tell; that it is as long as it says is the library's to check. */
	if (s->body_done)
		h->framing.kind = BODY_NONE;
	else if (h->framing.kind != BODY_LENGTH)
		h->framing.kind = BODY_CHUNKED;
	return true;
}

void h2_stream_ready(struct h2_conn *h2)
{
	struct h2_stream *s = h2->ready;
	struct error err = ERROR_INIT;
	bool parsed;

	h2->ready = NULL;
	if (s->call == NULL)
		return;
	if (s->routed) {
		if (s->body_wanted)
			request_complete(s->call);
		return;
	}
	s->routed = true;
	parsed = h2_head_parse(s, &err);
	request_identify(s->call);
	if (parsed)
		request_route(s->call);
	else
		request_reject(s->call, &err);
}

/* ---- callbacks of the library ---- */

/* A place for one more request? */
static bool h2_stream_fits(const struct h2_conn *h2)
{
	return (int64_t)h2->open + h2->orphans < h2->server->conf->server.http2.max_streams &&
	       (int64_t)h2->buffered <= h2_buffer_limit(h2);
}

static int h2_on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	static const nghttp2_extpri in_turn = {.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY, .inc = 1};
	struct h2_conn *h2 = arg;
	struct h2_stream *s;

	h2->head_bytes = 0;
	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	if (h2->conn == NULL || h2->conn->state != CONN_OWNED)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (!h2_stream_fits(h2)) {
		metric_add(M_H2_REFUSED, 1, NULL);
		if (nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
					      NGHTTP2_REFUSED_STREAM) != 0)
			return NGHTTP2_ERR_CALLBACK_FAILURE;
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	h2->head.field_count = 0;
	h2->head.method_text = h2->authority = h2->scheme = h2->path = STR_NONE;
	h2->head_bad = false;
	s = xcalloc(1, sizeof(*s));
	s->h2 = h2;
	s->id = frame->hd.stream_id;
	s->queue = s->first;
	s->cap = countof(s->first);
	s->next = h2->streams;
	if (s->next != NULL)
		s->next->prev = s;
	h2->streams = s;
	h2->open++;
	h2->server->h2_streams++;
	s->call = request_new(h2->conn, &h2_carrier, s);
	s->call->req.major = 2;
	s->call->req.minor = 0;
	/* Fails only without memory; then the order is another one. */
	(void)nghttp2_session_change_extpri_stream_priority(session, s->id, &in_turn, 1);
	return nghttp2_session_set_stream_user_data(session, s->id, s);
}

static int h2_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
			const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
	struct h2_conn *h2 = arg;
	const struct h2_stream *s = h2_stream_of(h2, frame->hd.stream_id);
	size_t limit = (size_t)h2->server->conf->limits.head_bytes;
	struct http_field f = {{(const char *)name, name_n}, {(const char *)value, value_n}};

	(void)session;
	(void)flags;
	/* RFC 9113 6.5.2: each field counts 32 bytes more. */
	h2->head_bytes += name_n + value_n + 32;
	if (h2->head_bytes > limit * H2_HEAD_EXCESS)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	/* Trailers are not kept. */
	if (s == NULL || s->call == NULL || s->routed || h2->head_bad)
		return 0;
	if (h2->head_bytes > limit || h2->head.field_count == HTTP_FIELDS_MAX) {
		h2_head_wrong(h2, ERR_HEAD_TOO_LARGE, "the request head is too large");
		return 0;
	}
	f.name = arena_str(s->call->req.arena, f.name);
	f.value = arena_str(s->call->req.arena, f.value);
	if (name_n > 0 && name[0] == ':')
		h2_head_pseudo(h2, f.name, f.value);
	else
		h2->head.fields[h2->head.field_count++] = f;
	return 0;
}

static int h2_on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
				size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
	(void)session;
	(void)frame;
	(void)name;
	(void)name_n;
	(void)value;
	(void)value_n;
	(void)flags;
	h2_head_wrong(arg, ERR_BAD_REQUEST, "a header has an invalid name or value");
	return 0;
}

static int h2_on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct h2_conn *h2 = arg;
	struct h2_stream *s = h2_stream_of(h2, id);
	struct error err = ERROR_INIT;
	struct http_reply *h;
	size_t before;

	(void)session;
	(void)flags;
	h2->brought = true;
	if (s == NULL || !s->body_wanted)
		return 0;
	h = s->call;
	before = h->body.n;
	if (!request_piece(h, (struct str){(const char *)p, n}))
		return 0;
	h2->buffered += h->body.n - before;
	http_deadline_set(&h2->server->deadlines, &s->deadline, DEADLINE_STREAM_BODY);
	/* One alone may have what its route allows. */
	if ((int64_t)h2->buffered > h2_buffer_limit(h2) && h2->buffered > h->body.n) {
		error_set(&err, ERR_UNAVAILABLE, "this connection has too many bodies under way");
		request_reject(h, &err);
	}
	return 0;
}

/* Whose head or data the frame is; NULL for any other, and for a stream that is gone. */
static struct h2_stream *h2_stream_of_frame(struct h2_conn *h2, const nghttp2_frame *frame)
{
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return NULL;
	return h2_stream_of(h2, frame->hd.stream_id);
}

void h2_stream_frame(struct h2_conn *h2, const nghttp2_frame *frame)
{
	struct h2_stream *s = h2_stream_of_frame(h2, frame);

	if (s == NULL)
		return;
	if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
		s->body_done = true;
	if (!s->routed || s->body_done)
		h2->ready = s;
}

void h2_stream_sent(struct h2_conn *h2, const nghttp2_frame *frame)
{
	struct h2_stream *s = h2_stream_of_frame(h2, frame);

	if (s == NULL)
		return;
	if (frame->hd.type == NGHTTP2_DATA) {
		h2->sent_at = loop_now(h2->server->loop);
		/* Clients give windows back in pieces of some KiB; small frames must not be of their making. */
		if (s->queued == 0 || frame->hd.length >= H2_FRAME_FAIR)
			h2_earn(h2, 2 + (int)(frame->hd.length / H2_FRAME_FAIR));
		if (s->queued > 0)
			http_deadline_set(&h2->server->deadlines, &s->deadline, DEADLINE_STREAM_WRITE);
		else
			http_deadline_clear(&s->deadline);
		if (s->events != NULL)
			stream_shorter(s->events);
	}
	/* What is left of the request's body is not wanted (RFC 9113 8.1). */
	if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && !s->body_done)
		h2_reset(s, NGHTTP2_NO_ERROR);
}

static int h2_on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n,
			   nghttp2_data_source *source, void *arg)
{
	struct h2_conn *h2 = arg;
	struct h2_stream *s = h2_stream_of(h2, frame->hd.stream_id);
	char *room;
	int error;

	(void)session;
	(void)source;
	if (s == NULL)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	room = h2_room(h2, 9 + n, &error);
	if (room == NULL)
		return error;
	memcpy(room, head, 9);
	h2_queue_take(s, room + 9, n);
	return 0;
}

static int h2_on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
	struct h2_conn *h2 = arg;
	struct h2_stream *s = h2_stream_of(h2, id);

	(void)session;
	(void)code;
	if (s == NULL)
		return 0;
	if (s->prev != NULL)
		s->prev->next = s->next;
	else
		h2->streams = s->next;
	if (s->next != NULL)
		s->next->prev = s->prev;
	h2_stream_free(s);
	return 0;
}

void h2_stream_callbacks(nghttp2_session_callbacks *cbs)
{
	nghttp2_session_callbacks_set_on_begin_headers_callback(cbs, h2_on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cbs, h2_on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(cbs, h2_on_invalid_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cbs, h2_on_data);
	nghttp2_session_callbacks_set_send_data_callback(cbs, h2_on_send_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cbs, h2_on_stream_close);
}
