/* SPDX-License-Identifier: MIT */
/*
 * A WebSocket after its handshake: messages from frames, control frames, pings, the closing handshake, limits. Driven
 * by the connection; speaks to the application through struct ws_ops. It knows nothing of what messages mean.
 */
#include "worker/ws/ws_conn.h"

#include "common/clock.h"
#include "common/conf.h"

/* What arrives: exists from the first byte of a message or control frame to its last, so that idle sockets are small.
 */
struct ws_incoming {
	struct ws_frame frame;
	bool in_frame;
	bool compressed;
	unsigned opcode; /* of the message being put together; 0 = none */
	uint64_t got;    /* payload bytes of the frame so far */
	uint64_t wire;   /* payload bytes of the message in the frames before this one */
	struct buf message;
	struct ws_utf8 utf8;
	struct ws_inflate *inflate;
	char control[WS_CONTROL_MAX];
};

struct ws {
	struct http_conn *conn;
	struct http_server *server;
	const struct ws_ops *ops;
	void *arg;
	struct ws_incoming *in; /* NULL: between messages */
	int64_t rate_at;        /* when the next message is due, microseconds */
	struct http_addr addr;
	struct ws_deflate deflate;
	bool counted; /* in the counts per address */
	bool close_sent;
	bool failed; /* input is not understood any more */
	bool full;   /* the queue is above its limit: on_drain is owed */
	bool paused; /* input waits until then */
	bool waits_pong;
};

/* The worker alone writes its slot's counters. */
static void ws_count(_Atomic uint64_t *cell)
{
	atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + 1, memory_order_relaxed);
}

static struct shm_slot *ws_slot(const struct ws *w)
{
	return &w->server->slots[w->server->slot];
}

/* ---- sending ---- */

static void ws_queue(struct ws *w, enum ws_opcode opcode, struct str payload)
{
	struct rbuf *r = ws_frame_build(opcode, false, payload);

	if (r == NULL)
		conn_doom(w->conn);
	else
		conn_send(w->conn, r);
}

static size_t ws_limit(const struct ws *w)
{
	return (size_t)w->server->conf->websocket.queue_bytes;
}

/* The window for compressing, if that was agreed on. */
static unsigned ws_bits(const struct ws *w)
{
	if (!w->deflate.on)
		return 0;
	return w->deflate.server_bits != 0 ? w->deflate.server_bits : WS_BITS_MAX;
}

/* The queue has passed its limit, or is short again. */
static void ws_full(struct ws *w, bool full)
{
	w->full = full;
	if (full)
		ws_count(&ws_slot(w)->ws_lagged);
	atomic_fetch_add_explicit(&ws_slot(w)->ws_lagging, full ? 1 : UINT32_MAX, memory_order_relaxed);
}

bool ws_send(struct ws *w, struct ws_message *m)
{
	if (w->close_sent || w->failed)
		return false;
	if (w->conn->out.bytes > 2 * ws_limit(w)) {
		conn_doom(w->conn);
		return false;
	}
	conn_send(w->conn, rbuf_ref(ws_message_frame(m, ws_bits(w))));
	ws_count(&ws_slot(w)->ws_out);
	if (!w->full && w->conn->out.bytes > ws_limit(w))
		ws_full(w, true);
	return !w->full;
}

size_t ws_queued(const struct ws *w)
{
	return w->conn->out.bytes;
}

bool ws_is_full(const struct ws *w)
{
	return w->full;
}

bool ws_roomy(const struct ws *w)
{
	return w->conn->out.bytes <= ws_limit(w) / 4;
}

void ws_pause_if_full(struct ws *w)
{
	w->paused = w->full;
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
	ws_count(&ws_slot(w)->ws_in);
	if (w->close_sent || w->ops->on_message == NULL)
		return;
	if (w->ops->on_limited == NULL || ws_allowed(w))
		w->ops->on_message(w->arg, text, binary);
	else
		w->ops->on_limited(w->arg);
}

static void ws_control(struct ws *w)
{
	const struct ws_frame *f = &w->in->frame;
	struct str payload = {w->in->control, (size_t)f->length};

	if (f->opcode == WS_OP_CLOSE)
		ws_on_close_frame(w, payload);
	else if (f->opcode == WS_OP_PING && !w->close_sent && w->conn->out.bytes <= 2 * ws_limit(w))
		ws_queue(w, WS_OP_PONG, payload);
}

static size_t ws_max(const struct ws *w)
{
	return (size_t)w->server->conf->websocket.max_message;
}

/* Compressed bytes may be a little more than what they unpack to, when nothing in them repeats. */
static size_t ws_max_wire(const struct ws *w, bool compressed)
{
	return compressed ? ws_max(w) + ws_max(w) / 8 + 64 : ws_max(w);
}

static void ws_message_end(struct ws *w)
{
	struct ws_incoming *in = w->in;

	ws_inflate_free(in->inflate);
	in->inflate = NULL;
	in->opcode = 0;
	in->wire = 0;
	buf_free(&in->message);
	in->message = BUF_INIT;
}

static bool ws_message_begin(struct ws *w, const struct ws_frame *f)
{
	struct ws_incoming *in = w->in;

	in->opcode = f->opcode;
	in->utf8 = (struct ws_utf8){0, 0, 0};
	in->compressed = f->rsv1;
	if (in->compressed)
		in->inflate = ws_inflate_new();
	return !in->compressed || in->inflate != NULL;
}

/* A frame's header is complete: does it fit what came before? */
static bool ws_frame_begin(struct ws *w)
{
	struct ws_incoming *in = w->in;
	const struct ws_frame *f = &in->frame;

	in->got = 0;
	in->in_frame = true;
	if (f->opcode >= WS_OP_CLOSE)
		return true;
	if ((f->opcode == WS_OP_CONTINUATION) != (in->opcode != 0)) {
		ws_fail(w, WS_PROTOCOL);
		return false;
	}
	if (f->opcode != WS_OP_CONTINUATION && !ws_message_begin(w, f)) {
		ws_fail(w, WS_INTERNAL);
		return false;
	}
	if (f->length + in->wire > ws_max_wire(w, in->compressed)) {
		ws_fail(w, WS_TOO_BIG);
		return false;
	}
	return true;
}

/* Checks text as it comes, so that a client is told of bad bytes at once. */
static bool ws_text_ok(struct ws *w, struct str piece)
{
	if (w->in->opcode != WS_OP_TEXT || ws_utf8_feed(&w->in->utf8, piece))
		return true;
	ws_fail(w, WS_BAD_DATA);
	return false;
}

/* Bytes of a compressed message; `end`: there are no more. */
static bool ws_unpack(struct ws *w, struct str piece, bool end)
{
	struct ws_incoming *in = w->in;
	size_t before = in->message.n;
	int code = end ? ws_inflate_end(in->inflate, &in->message, ws_max(w))
		       : ws_inflate(in->inflate, piece, &in->message, ws_max(w));

	if (code != 0) {
		ws_fail(w, code);
		return false;
	}
	return ws_text_ok(w, str_sub(buf_str(&in->message), before, in->message.n));
}

/* All payload of a frame has come; `whole` is the message if it is in one piece in the input. */
static bool ws_frame_end(struct ws *w, struct str whole)
{
	struct ws_incoming *in = w->in;
	bool text = in->opcode == WS_OP_TEXT;

	in->in_frame = false;
	if (in->frame.opcode >= WS_OP_CLOSE) {
		ws_control(w);
		return !w->failed;
	}
	in->wire += in->frame.length;
	if (!in->frame.fin)
		return true;
	if (in->compressed && !ws_unpack(w, STR_NONE, true))
		return false;
	if (text && in->utf8.due > 0) {
		ws_fail(w, WS_BAD_DATA);
		return false;
	}
	ws_deliver(w, whole.p != NULL ? whole : buf_str(&in->message), !text);
	ws_message_end(w);
	return !w->failed;
}

/* n bytes of payload, unmasked. False when the socket has failed. */
static bool ws_payload(struct ws *w, char *p, size_t n)
{
	struct ws_incoming *in = w->in;
	bool last = in->got + n == in->frame.length;
	struct str piece = {p, n}, whole = STR_NONE;

	ws_unmask(p, n, in->frame.mask, (size_t)(in->got & 3));
	if (in->frame.opcode >= WS_OP_CLOSE) {
		memcpy(in->control + in->got, p, n);
	} else if (in->compressed) {
		if (!ws_unpack(w, piece, false))
			return false;
	} else {
		if (!ws_text_ok(w, piece))
			return false;
		if (last && in->got == 0 && in->frame.fin && in->message.n == 0)
			whole = piece;
		else
			buf_add(&in->message, piece);
	}
	in->got += n;
	return !last || ws_frame_end(w, whole);
}

/* The header of the next frame; how many bytes it has, 0 if more are needed or the socket has failed. */
static size_t ws_header(struct ws *w, struct str in)
{
	struct ws_frame frame;
	int code = 0, r = ws_frame_parse(in, ws_max_wire(w, w->deflate.on), w->deflate.on, &frame, &code);

	if (r < 0)
		ws_fail(w, code);
	if (r <= 0)
		return 0;
	if (w->in == NULL)
		w->in = xcalloc(1, sizeof(*w->in));
	w->in->frame = frame;
	return ws_frame_begin(w) ? frame.head : 0;
}

static void ws_incoming_free(struct ws *w)
{
	if (w->in == NULL)
		return;
	ws_message_end(w);
	free(w->in);
	w->in = NULL;
}

/* Frames, as far as they have come. */
static size_t ws_frames(struct ws *w, char *p, size_t n)
{
	size_t used = 0, take, head;
	const struct ws_incoming *in;

	while (!w->failed && !w->paused && (used < n || w->in != NULL)) {
		if (w->in == NULL || !w->in->in_frame) {
			head = used < n ? ws_header(w, (struct str){p + used, n - used}) : 0;
			if (head == 0)
				break;
			used += head;
		}
		in = w->in;
		take = n - used < in->frame.length - in->got ? n - used : (size_t)(in->frame.length - in->got);
		if (take == 0 && in->got < in->frame.length)
			break;
		if (!ws_payload(w, p + used, take))
			break;
		used += take;
		if (!w->in->in_frame && w->in->opcode == 0)
			ws_incoming_free(w);
	}
	return w->failed ? n : used;
}

static size_t ws_input(void *arg, char *p, size_t n)
{
	struct ws *w = arg;

	if (w->failed)
		return n;
	if (w->waits_pong) {
		/* Any sign of life will do. */
		w->waits_pong = false;
		conn_deadline(w->conn, w->close_sent ? DEADLINE_CLOSE : DEADLINE_PING);
	}
	return ws_frames(w, p, n);
}

/* ---- the connection's calls ---- */

static void ws_drained(void *arg)
{
	struct ws *w = arg;

	if (!w->full || w->conn->out.bytes >= ws_limit(w) / 2)
		return;
	ws_full(w, false);
	if (w->paused) {
		w->paused = false;
		conn_mark(w->conn); /* what waits in the buffer is looked at again */
	}
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
		http_peers_leave(&s->peers, PEERS_SOCKETS, &w->addr);
	server_count(s, 0, -1, 0);
	if (w->ops->on_close != NULL)
		w->ops->on_close(w->arg);
	if (w->full)
		ws_full(w, false);
	ws_incoming_free(w);
	free(w);
	server_unref(s);
}

static const struct conn_owner ws_owner = {
    .input = ws_input, .drained = ws_drained, .expired = ws_expired, .go_away = ws_go_away, .closed = ws_closed};

struct ws *ws_new(struct http_conn *c, const struct http_addr *client, bool counted, const struct ws_deflate *deflate,
		  const struct ws_ops *ops, void *arg)
{
	struct ws *w = xcalloc(1, sizeof(*w));

	w->conn = c;
	w->server = c->server;
	w->server->refs++;
	w->ops = ops;
	w->arg = arg;
	w->addr = *client;
	w->counted = counted;
	w->deflate = *deflate;
	server_count(w->server, 0, 1, 0);
	conn_own(c, &ws_owner, w);
	conn_deadline(c, DEADLINE_PING);
	return w;
}
