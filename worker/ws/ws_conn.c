/* SPDX-License-Identifier: MIT */
/*
 * A WebSocket after its handshake: messages from frames, control frames, pings, the closing handshake, limits. Driven
 * by the connection; speaks to the application through struct ws_ops. It knows nothing of what messages mean.
 */
#include "worker/ws/ws_conn.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/metrics.h"

struct ws {
	struct http_conn *conn;
	struct http_server *server;
	const struct ws_ops *ops;
	void *arg;
	struct http_addr addr;
	char client[HTTP_ADDR_TEXT];
	bool counted; /* in the counts per address */
	bool close_sent;
	bool failed; /* input is not understood any more */
	bool full;   /* the queue is above its limit: on_drain is owed */
	bool waits_pong;
	bool in_frame;
	unsigned opcode; /* of the message being put together; 0 = none */
	struct ws_frame frame;
	uint64_t got; /* payload bytes of the frame so far */
	struct buf message;
	struct ws_utf8 utf8;
	char control[WS_CONTROL_MAX];
	int64_t rate_at; /* when the next message is due, microseconds */
};

/* ---- sending ---- */

static void ws_queue(struct ws *w, enum ws_opcode opcode, struct str payload)
{
	struct rbuf *r = ws_frame_build(opcode, payload);

	if (r == NULL)
		conn_doom(w->conn);
	else
		conn_send(w->conn, r);
}

static size_t ws_limit(const struct ws *w)
{
	return (size_t)w->server->conf->websocket.queue_bytes;
}

bool ws_send(struct ws *w, struct rbuf *frame)
{
	if (w->close_sent || w->failed) {
		rbuf_unref(frame);
		return false;
	}
	if (w->conn->out.bytes > 2 * ws_limit(w)) {
		rbuf_unref(frame);
		conn_doom(w->conn);
		return false;
	}
	conn_send(w->conn, frame);
	metric_add(M_WS_MESSAGES, 1, "out", NULL);
	w->full = w->full || w->conn->out.bytes > ws_limit(w);
	return !w->full;
}

bool ws_send_text(struct ws *w, struct str text)
{
	struct rbuf *r = ws_frame_text(text);

	if (r == NULL) {
		conn_doom(w->conn);
		return false;
	}
	return ws_send(w, r);
}

size_t ws_queued(const struct ws *w)
{
	return w->conn->out.bytes;
}

struct str ws_client(const struct ws *w)
{
	return str_of(w->client);
}

/* ---- closing ---- */

static void ws_send_close(struct ws *w, int code, struct str reason)
{
	char payload[WS_CONTROL_MAX];
	struct str cut = str_utf8_cut(reason, sizeof(payload) - 2);

	if (w->close_sent)
		return;
	w->close_sent = true;
	payload[0] = (char)(code >> 8);
	payload[1] = (char)(code & 0xff);
	if (cut.n > 0)
		memcpy(payload + 2, cut.p, cut.n);
	ws_queue(w, WS_OP_CLOSE, code == 0 ? STR_NONE : (struct str){payload, cut.n + 2});
}

void ws_close(struct ws *w, int code, const char *reason)
{
	if (w->close_sent || w->failed)
		return;
	ws_send_close(w, code, str_of(reason));
	conn_deadline(w->conn, DEADLINE_CLOSE);
}

/* The client broke the protocol: says why and reads nothing more. */
static void ws_fail(struct ws *w, int code)
{
	w->failed = true;
	ws_send_close(w, code, STR_NONE);
	w->conn->input_left = true;
	conn_finish(w->conn);
}

static void ws_on_close_frame(struct ws *w, struct str payload)
{
	struct ws_utf8 u = {0, 0, 0};
	unsigned code = 0;

	if (payload.n >= 2)
		code = (unsigned)(unsigned char)payload.p[0] << 8 | (unsigned char)payload.p[1];
	if (payload.n == 1 || (payload.n >= 2 && !ws_close_code_ok(code))) {
		ws_fail(w, WS_PROTOCOL);
		return;
	}
	if (payload.n > 2 && (!ws_utf8_feed(&u, str_sub(payload, 2, payload.n)) || u.due > 0)) {
		ws_fail(w, WS_BAD_DATA);
		return;
	}
	w->failed = true;
	ws_send_close(w, (int)code, STR_NONE);
	conn_finish(w->conn);
}

/* ---- receiving ---- */

/* The allowance of messages per second with its burst (GCRA). */
static bool ws_allowed(struct ws *w)
{
	const struct conf *c = w->server->conf;
	int64_t now = loop_now(w->server->loop), step, burst;

	if (c->websocket.message_rate <= 0)
		return true;
	step = SEC_US / c->websocket.message_rate;
	burst = c->websocket.message_burst > 0 ? c->websocket.message_burst : 1;
	if (w->rate_at > now + (burst - 1) * step)
		return false;
	w->rate_at = (w->rate_at > now ? w->rate_at : now) + step;
	return true;
}

static void ws_deliver(struct ws *w, struct str text, bool binary)
{
	metric_add(M_WS_MESSAGES, 1, "in", NULL);
	if (w->close_sent || w->ops->on_message == NULL)
		return;
	if (ws_allowed(w))
		w->ops->on_message(w->arg, text, binary);
	else if (w->ops->on_limited != NULL)
		w->ops->on_limited(w->arg);
}

static void ws_control(struct ws *w)
{
	struct str payload = {w->control, (size_t)w->frame.length};

	if (w->frame.opcode == WS_OP_CLOSE)
		ws_on_close_frame(w, payload);
	else if (w->frame.opcode == WS_OP_PING && !w->close_sent && w->conn->out.bytes <= 2 * ws_limit(w))
		ws_queue(w, WS_OP_PONG, payload);
}

/* A frame's header is complete: does it fit what came before? */
static bool ws_frame_begin(struct ws *w)
{
	const struct ws_frame *f = &w->frame;

	w->got = 0;
	w->in_frame = true;
	if (f->opcode >= WS_OP_CLOSE)
		return true;
	if ((f->opcode == WS_OP_CONTINUATION) != (w->opcode != 0)) {
		ws_fail(w, WS_PROTOCOL);
		return false;
	}
	if (f->opcode != WS_OP_CONTINUATION) {
		w->opcode = f->opcode;
		w->utf8 = (struct ws_utf8){0, 0, 0};
	}
	if (f->length + w->message.n > (uint64_t)w->server->conf->websocket.max_message) {
		ws_fail(w, WS_TOO_BIG);
		return false;
	}
	return true;
}

/* All payload of a frame has come; `whole` is the message if it is in one piece in the input. */
static bool ws_frame_end(struct ws *w, struct str whole)
{
	bool text = w->opcode == WS_OP_TEXT;

	w->in_frame = false;
	if (w->frame.opcode >= WS_OP_CLOSE) {
		ws_control(w);
		return !w->failed;
	}
	if (!w->frame.fin)
		return true;
	if (text && w->utf8.due > 0) {
		ws_fail(w, WS_BAD_DATA);
		return false;
	}
	w->opcode = 0;
	ws_deliver(w, whole.p != NULL ? whole : buf_str(&w->message), !text);
	/* An idle socket keeps no buffer. */
	buf_free(&w->message);
	w->message = BUF_INIT;
	return !w->failed;
}

/* n bytes of payload, unmasked. False when the socket has failed. */
static bool ws_payload(struct ws *w, char *p, size_t n)
{
	bool last = w->got + n == w->frame.length;
	struct str piece = {p, n}, whole = STR_NONE;

	ws_unmask(p, n, w->frame.mask, (size_t)(w->got & 3));
	if (w->frame.opcode >= WS_OP_CLOSE) {
		memcpy(w->control + w->got, p, n);
	} else {
		if (w->opcode == WS_OP_TEXT && !ws_utf8_feed(&w->utf8, piece)) {
			ws_fail(w, WS_BAD_DATA);
			return false;
		}
		if (last && w->got == 0 && w->frame.fin && w->message.n == 0)
			whole = piece;
		else
			buf_add(&w->message, piece);
	}
	w->got += n;
	return !last || ws_frame_end(w, whole);
}

static size_t ws_input(void *arg, char *p, size_t n)
{
	struct ws *w = arg;
	size_t used = 0, take;
	int r, code = 0;

	if (w->failed)
		return n;
	if (w->waits_pong) {
		/* Any sign of life will do. */
		w->waits_pong = false;
		conn_deadline(w->conn, w->close_sent ? DEADLINE_CLOSE : DEADLINE_PING);
	}
	while (used < n || (w->in_frame && w->frame.length == w->got)) {
		if (!w->in_frame) {
			r = ws_frame_parse((struct str){p + used, n - used},
					   (size_t)w->server->conf->websocket.max_message, &w->frame, &code);
			if (r == 0)
				break;
			if (r < 0) {
				ws_fail(w, code);
				return n;
			}
			used += w->frame.head;
			if (!ws_frame_begin(w))
				return n;
		}
		take = n - used < w->frame.length - w->got ? n - used : (size_t)(w->frame.length - w->got);
		if (!ws_payload(w, p + used, take))
			return n;
		used += take;
	}
	return used;
}

/* ---- the connection's calls ---- */

static void ws_drained(void *arg)
{
	struct ws *w = arg;

	if (!w->full || w->conn->out.bytes >= ws_limit(w) / 2)
		return;
	w->full = false;
	if (w->ops->on_drain != NULL && !w->close_sent)
		w->ops->on_drain(w->arg);
}

static void ws_expired(void *arg, enum http_deadline_kind kind)
{
	struct ws *w = arg;

	if (kind == DEADLINE_PING) {
		w->waits_pong = true;
		ws_queue(w, WS_OP_PING, STR_NONE);
		conn_deadline(w->conn, DEADLINE_PONG);
	} else if (kind == DEADLINE_PONG) {
		ws_fail(w, WS_INTERNAL);
	} else {
		conn_close(w->conn);
	}
}

static void ws_go_away(void *arg)
{
	ws_close(arg, WS_RESTART, "the server restarts");
}

static void ws_closed(void *arg)
{
	struct ws *w = arg;
	struct http_server *s = w->server;

	if (w->counted)
		http_peers_leave(s->socket_peers, &w->addr);
	server_count(s, 0, -1, 0);
	if (w->ops->on_close != NULL)
		w->ops->on_close(w->arg);
	buf_free(&w->message);
	free(w);
	server_unref(s);
}

static const struct conn_owner ws_owner = {ws_input, ws_drained, ws_expired, ws_go_away, ws_closed};

struct ws *ws_new(struct http_conn *c, const struct http_addr *client, bool counted, const struct ws_ops *ops,
		  void *arg)
{
	struct ws *w = xcalloc(1, sizeof(*w));

	w->conn = c;
	w->server = c->server;
	w->server->refs++;
	w->ops = ops;
	w->arg = arg;
	w->addr = *client;
	w->counted = counted;
	http_addr_text(client, w->client);
	server_count(w->server, 0, 1, 0);
	conn_own(c, &ws_owner, w);
	conn_deadline(c, DEADLINE_PING);
	return w;
}
