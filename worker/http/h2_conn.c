/* SPDX-License-Identifier: MIT */
/*
 * A connection that speaks HTTP/2: bytes into the library and out of it, the limits that keep one client's frames from
 * costing the others, idle time, and the end in order (GOAWAY). Called by http_conn.c as the owner of the connection.
 * Requests are h2_stream.c's matter.
 */
#include <arpa/inet.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/metrics.h"
#include "worker/http/h2.h"

#define H2_OUT_HIGH 65536            /* bytes of frames that wait for the socket; the rest stays in the streams */
#define H2_TURN_FRAMES 32            /* so many frames cost a turn as much as a request */
#define H2_BUCKET_TIME (10 * SEC_US) /* to which server.http2.max_resets and max_control refer */
#define H2_ACKS_MAX 256              /* answers to PING and SETTINGS that may wait */
#define H2_WINDOW_SHARE 4            /* window of a connection in windows of streams */
#define H2_PING "aragora"            /* with its NUL the eight bytes of the ping behind the notice */

enum { FRAME_HEAD = 9 };

/* ---- output ---- */

char *h2_room(struct h2_conn *h2, size_t n, int *error)
{
	struct http_conn *c = h2->conn;
	struct rbuf *own;
	char *room;

	*error = NGHTTP2_ERR_CALLBACK_FAILURE;
	if (c == NULL || c->state != CONN_OWNED)
		return NULL;
	if (c->out.bytes > H2_OUT_HIGH) {
		*error = NGHTTP2_ERR_WOULDBLOCK;
		return NULL;
	}
	room = conn_reserve(c, n);
	if (room != NULL) {
		conn_commit(c, n);
		return room;
	}
	own = rbuf_new(n);
	if (own == NULL)
		return NULL;
	conn_send(c, own);
	return own->data;
}

static ssize_t h2_on_send(nghttp2_session *session, const uint8_t *p, size_t n, int flags, void *arg)
{
	int error;
	char *room = h2_room(arg, n, &error);

	(void)session;
	(void)flags;
	if (room == NULL)
		return error;
	memcpy(room, p, n);
	return (ssize_t)n;
}

void h2_mark(struct h2_conn *h2)
{
	if (h2->conn != NULL)
		conn_mark(h2->conn);
}

/* ---- the end ---- */

void h2_free_unused(struct h2_conn *h2)
{
	if (h2->conn != NULL || h2->busy > 0)
		return;
	nghttp2_session_del(h2->session);
	h2->session = NULL;
	if (h2->orphans == 0)
		free(h2);
}

static void h2_put32(char *p, uint32_t n)
{
	n = htonl(n);
	memcpy(p, &n, sizeof(n));
}

/* Not by the library: it may be in the middle of what went wrong. Frames leave it whole, so this is between two. */
static void h2_say_goaway(struct h2_conn *h2, uint32_t code)
{
	char frame[FRAME_HEAD + 8] = {0, 0, 8, NGHTTP2_GOAWAY};
	struct rbuf *r;

	h2_put32(frame + FRAME_HEAD, (uint32_t)nghttp2_session_get_last_proc_stream_id(h2->session));
	h2_put32(frame + FRAME_HEAD + 4, code);
	r = rbuf_of((struct str){frame, sizeof(frame)});
	if (r != NULL)
		conn_send(h2->conn, r);
}

/* Nothing more is read or made: what is queued goes out, then the connection closes. */
static void h2_finish(struct h2_conn *h2)
{
	struct http_conn *c = h2->conn;

	if (c->state != CONN_OWNED)
		return;
	/* Frames that cross our last word must not have it lost to a reset. */
	c->input_left = true;
	conn_finish(c);
	h2_streams_drop(h2);
}

static void h2_ended(struct h2_conn *h2, const char *why)
{
	struct http_conn *c = h2->conn;

	if (h2->why != NULL)
		return;
	h2->why = why;
	metric_add(M_H2_ENDED, 1, why, NULL);
	if (c->addr_text[0] == '\0')
		http_addr_text(&c->addr, c->addr_text);
	log_info("http", "an HTTP/2 connection is ended", KV_S("why", why), KV_S("peer", c->addr_text));
}

void h2_abort(struct h2_conn *h2, uint32_t code, const char *why)
{
	if (h2->conn == NULL || h2->conn->state != CONN_OWNED)
		return;
	h2_ended(h2, why);
	h2_say_goaway(h2, code);
	h2_finish(h2);
}

/* The client is to begin nothing more. Its answer to the ping tells that it knows; then the last stream is named. */
static void h2_notice(struct h2_conn *h2)
{
	if (h2->end != H2_OPEN)
		return;
	h2->end = H2_NOTICED;
	if (nghttp2_submit_shutdown_notice(h2->session) != 0 ||
	    nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, (const uint8_t *)H2_PING) != 0)
		conn_doom(h2->conn);
	h2_mark(h2);
}

static void h2_last(struct h2_conn *h2)
{
	int32_t last = nghttp2_session_get_last_proc_stream_id(h2->session);

	if (h2->end == H2_LAST)
		return;
	h2->end = H2_LAST;
	if (nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0) != 0)
		conn_doom(h2->conn);
	h2_mark(h2);
}

/* ---- limits ---- */

/* Counts `n` events, or forgets them when negative. False: there were more than `limit` in H2_BUCKET_TIME. */
static bool h2_bucket_add(struct h2_bucket *b, int n, int64_t limit, int64_t now)
{
	int64_t leaked;

	if (limit == 0)
		return true;
	if (__builtin_mul_overflow(now - b->at, limit, &leaked) || leaked > b->level)
		leaked = b->level;
	b->level += n * H2_BUCKET_TIME - leaked;
	b->at = now;
	if (b->level < 0)
		b->level = 0;
	return b->level <= limit * H2_BUCKET_TIME;
}

bool h2_count_reset(struct h2_conn *h2, bool by_client)
{
	const struct http_server *s = h2->server;

	metric_add(M_H2_RESETS, 1, by_client ? "in" : "out", NULL);
	if (h2_bucket_add(&h2->resets, 1, s->conf->server.http2.max_resets, loop_now(s->loop)))
		return true;
	h2_abort(h2, NGHTTP2_ENHANCE_YOUR_CALM, "resets");
	return false;
}

static size_t h2_frame_payload(const struct h2_conn *h2)
{
	return (size_t)h2->frame[0] << 16 | (size_t)h2->frame[1] << 8 | h2->frame[2];
}

/*
 * Frames that bring no request and no byte of one are paid for by those that do: a client answers what it gets with
 * WINDOW_UPDATEs and asks for more.
 */
static int h2_frame_weight(const struct h2_conn *h2)
{
	if (h2->frame[3] == NGHTTP2_HEADERS)
		return -4;
	if (h2->frame[3] != NGHTTP2_DATA)
		return 1;
	if (h2->brought)
		return h2_frame_payload(h2) > 255 ? -1 : 0;
	return (h2->frame[4] & NGHTTP2_FLAG_END_STREAM) != 0 ? 0 : 1;
}

void h2_earn(struct h2_conn *h2, int frames)
{
	(void)h2_bucket_add(&h2->control, -frames, h2->server->conf->server.http2.max_control,
			    loop_now(h2->server->loop));
}

static int h2_on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2_conn *h2 = arg;

	(void)session;
	if (frame->hd.type == NGHTTP2_RST_STREAM && frame->rst_stream.error_code != NGHTTP2_NO_ERROR)
		(void)h2_count_reset(h2, false);
	else if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
		h2_ended(h2, "protocol");
	h2_stream_sent(h2, frame);
	return 0;
}

/* ---- input ---- */

/* Bytes of `p` up to the end of the frame they belong to; *whole tells whether that end is among them. */
static size_t h2_frame_part(struct h2_conn *h2, const uint8_t *p, size_t n, bool *whole)
{
	size_t used = 0;

	*whole = false;
	if (h2->left == 0) {
		while (used < n && h2->frame_n < FRAME_HEAD)
			h2->frame[h2->frame_n++] = p[used++];
		if (h2->frame_n < FRAME_HEAD)
			return used;
		h2->left = h2_frame_payload(h2);
	}
	if (h2->left > n - used) {
		h2->left -= n - used;
		return n;
	}
	used += h2->left;
	h2->left = 0;
	*whole = h2->frame_n == FRAME_HEAD; /* else it was the preface */
	return used;
}

/* A frame is complete. */
static void h2_frame_done(struct h2_conn *h2)
{
	const struct http_server *s = h2->server;
	int weight = h2_frame_weight(h2);

	h2->frame_n = 0;
	h2->brought = false;
	if (h2->frame[3] == NGHTTP2_HEADERS || h2->frame[3] == NGHTTP2_CONTINUATION)
		h2->in_head = (h2->frame[4] & NGHTTP2_FLAG_END_HEADERS) == 0;
	h2->moved |= !h2->in_head;
	if (!h2_bucket_add(&h2->control, weight, s->conf->server.http2.max_control, loop_now(s->loop))) {
		h2_abort(h2, NGHTTP2_ENHANCE_YOUR_CALM, "control");
		return;
	}
	if (++h2->frames >= H2_TURN_FRAMES) {
		h2->frames = 0;
		h2->conn->turn_requests++;
	}
	if (h2->ready != NULL) {
		h2->conn->turn_requests++;
		h2_stream_ready(h2);
	}
}

/* The library gave up: for the client, for a callback of ours, or for memory. */
static void h2_failed(struct h2_conn *h2, int error)
{
	if (h2->conn == NULL || h2->conn->state != CONN_OWNED)
		return;
	if (error == NGHTTP2_ERR_NOMEM)
		conn_doom(h2->conn);
	else if (error == NGHTTP2_ERR_BAD_CLIENT_MAGIC)
		h2_abort(h2, NGHTTP2_PROTOCOL_ERROR, "protocol");
	else if (h2->frame[3] == NGHTTP2_HEADERS || h2->frame[3] == NGHTTP2_CONTINUATION)
		h2_abort(h2, NGHTTP2_ENHANCE_YOUR_CALM, "head");
	else
		h2_abort(h2, NGHTTP2_ENHANCE_YOUR_CALM, "control");
}

/* Which deadline the connection stands under. */
static void h2_timer(struct h2_conn *h2)
{
	enum http_deadline_kind kind = DEADLINE_NONE;
	bool in_data = h2->frame_n > 3 && h2->frame[3] == NGHTTP2_DATA;

	if (h2->end == H2_NOTICED)
		kind = DEADLINE_CLOSE;
	else if (!h2->greeted || h2->in_head || (h2->frame_n > 0 && !in_data))
		kind = DEADLINE_HEAD;
	else if (h2->open == 0)
		kind = DEADLINE_IDLE;
	/* Each frame has its own time to be complete in. */
	if (kind == h2->timer && !(kind == DEADLINE_HEAD && h2->moved))
		return;
	h2->timer = kind;
	h2->moved = false;
	conn_deadline(h2->conn, kind);
}

/* Has the library make frames of what is submitted, as far as the queue is short. */
static void h2_make(struct h2_conn *h2)
{
	const struct http_server *s = h2->server;
	int r;

	if (h2->open == 0 && s->conf->server.keepalive == 0 && nghttp2_session_get_last_proc_stream_id(h2->session) > 0)
		h2_last(h2);
	r = nghttp2_session_send(h2->session);
	if (r != 0)
		h2_failed(h2, r);
	if (h2->conn == NULL || h2->conn->state != CONN_OWNED)
		return;
	if (nghttp2_session_want_read(h2->session) == 0 && nghttp2_session_want_write(h2->session) == 0)
		h2_finish(h2);
	else
		h2_timer(h2);
}

/* The library takes what is there, frame by frame, so that each is counted and answered before the next. */
static size_t h2_take(struct h2_conn *h2, const uint8_t *p, size_t n)
{
	struct http_conn *c = h2->conn;
	size_t used = 0;

	while (used < n && h2->conn != NULL && c->state == CONN_OWNED) {
		bool whole;
		size_t part;
		ssize_t r;

		if (c->turn_requests >= CONN_TURN_MAX) {
			c->again = true;
			break;
		}
		part = h2_frame_part(h2, p + used, n - used, &whole);
		r = nghttp2_session_mem_recv(h2->session, p + used, part);
		used += part;
		if (r < 0)
			h2_failed(h2, (int)r);
		else if (whole && h2->conn != NULL && c->state == CONN_OWNED)
			h2_frame_done(h2);
	}
	return used;
}

static size_t h2_input(void *arg, char *p, size_t n)
{
	struct h2_conn *h2 = arg;
	size_t used;

	if (h2->conn->again)
		return 0;
	h2->busy++;
	used = h2_take(h2, (const uint8_t *)p, n);
	if (h2->conn != NULL && h2->conn->state == CONN_OWNED)
		h2_make(h2);
	h2->busy--;
	h2_free_unused(h2);
	return used;
}

/* ---- callbacks of the library ---- */

static int h2_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2_conn *h2 = arg;

	(void)session;
	if (frame->hd.type == NGHTTP2_SETTINGS)
		h2->greeted = true;
	else if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 && h2->end == H2_NOTICED &&
		 memcmp(frame->ping.opaque_data, H2_PING, sizeof(H2_PING)) == 0)
		h2_last(h2);
	else if (frame->hd.type == NGHTTP2_RST_STREAM)
		(void)h2_count_reset(h2, true);
	else
		h2_stream_frame(h2, frame);
	return 0;
}

/* ---- as the owner of the connection ---- */

static void h2_drained(void *arg)
{
	struct h2_conn *h2 = arg;

	if (h2->busy > 0 || h2->conn->state != CONN_OWNED)
		return;
	h2->busy++;
	h2_make(h2);
	h2->busy--;
	h2_free_unused(h2);
}

static void h2_expired(void *arg, enum http_deadline_kind kind)
{
	struct h2_conn *h2 = arg;

	h2->timer = DEADLINE_NONE;
	switch ((int)kind) {
	case DEADLINE_IDLE:
	case DEADLINE_CLOSE:
		h2_last(h2);
		break;
	case DEADLINE_HEAD:
		h2_abort(h2, NGHTTP2_ENHANCE_YOUR_CALM, "timeout");
		break;
	default:
		conn_close(h2->conn);
		break;
	}
}

static void h2_draining(void *arg)
{
	h2_notice(arg);
}

static void h2_go_away(void *arg)
{
	h2_notice(arg);
	h2_streams_go_away(arg);
}

static void h2_closed(void *arg)
{
	struct h2_conn *h2 = arg;

	h2->server->h2_conns--;
	h2->busy++;
	h2_streams_drop(h2);
	h2->busy--;
	h2->conn = NULL;
	h2_free_unused(h2);
}

static const struct conn_owner h2_owner = {
    .input = h2_input,
    .drained = h2_drained,
    .expired = h2_expired,
    .go_away = h2_go_away,
    .closed = h2_closed,
    .draining = h2_draining,
};

/* ---- the beginning ---- */

static nghttp2_session *h2_session(struct h2_conn *h2)
{
	nghttp2_session_callbacks *cbs = NULL;
	nghttp2_option *opt = NULL;
	nghttp2_session *session = NULL;

	if (nghttp2_session_callbacks_new(&cbs) != 0 || nghttp2_option_new(&opt) != 0)
		goto done;
	nghttp2_session_callbacks_set_send_callback(cbs, h2_on_send);
	nghttp2_session_callbacks_set_on_frame_send_callback(cbs, h2_on_frame_send);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cbs, h2_on_frame);
	h2_stream_callbacks(cbs);
	nghttp2_option_set_max_outbound_ack(opt, H2_ACKS_MAX);
	/* Ours is counted with what else ends a request; see h2_count_reset. */
	nghttp2_option_set_stream_reset_rate_limit(opt, UINT32_MAX, UINT32_MAX);
	if (nghttp2_session_server_new2(&session, cbs, h2, opt) != 0)
		session = NULL;
done:
	nghttp2_option_del(opt);
	nghttp2_session_callbacks_del(cbs);
	return session;
}

static bool h2_settings(struct h2_conn *h2)
{
	const struct conf *c = h2->server->conf;
	uint32_t window = (uint32_t)c->server.http2.window;
	const nghttp2_settings_entry own[] = {
	    {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)c->server.http2.max_streams},
	    {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window},
	    {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)c->limits.head_bytes},
	    /* Streams take turns: no tree of priorities to be attacked by (RFC 9218 2.1). */
	    {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
	};

	return nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, own, countof(own)) == 0 &&
	       nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
						     (int32_t)(window * H2_WINDOW_SHARE)) == 0;
}

void h2_begin(struct http_conn *c)
{
	struct h2_conn *h2 = xcalloc(1, sizeof(*h2));

	h2->conn = c;
	h2->server = c->server;
	h2->left = H2_PREFACE.n;
	h2->session = h2_session(h2);
	if (h2->session == NULL || !h2_settings(h2)) {
		nghttp2_session_del(h2->session);
		free(h2);
		conn_doom(c);
		return;
	}
	c->server->h2_conns++;
	conn_own(c, &h2_owner, h2);
	h2_timer(h2);
	if (c->server->draining)
		h2_notice(h2);
}
