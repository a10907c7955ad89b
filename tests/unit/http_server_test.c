/* SPDX-License-Identifier: MIT */
/*
 * Tests of requests and replies in motion: clients that leave, time limits, streams, sockets, draining, and what the
 * middleware adds. Handlers wait on the test's word, never on time.
 */
#include "http_harness.h"

#include "common/json.h"
#include "worker/ws/ws.h"
#include "worker/http/http_conn.h"

static struct co *waiting;
static bool released;
static bool saw_client_gone;
static enum co_end how_ended;
static struct http_stream *stream;
static struct ws *ws;
static unsigned closes, drains, limited;
static struct buf messages;

/* Waits until the test releases it, or its scope ends. */
CO_FN static void on_wait(struct http_request *req)
{
	waiting = co_self();
	while (!released && (how_ended = co_wait(0)) == CO_DONE)
		;
	waiting = NULL;
	saw_client_gone = req->conn == NULL;
	http_reply(req, 200, "text/plain", STR("waited"));
}

static void on_silent(struct http_request *req)
{
	(void)req;
}

static void on_json(struct http_request *req)
{
	struct error err = ERROR_INIT;
	json_t *doc = json_parse(NULL, req->body, &err);

	if (doc == NULL) {
		http_reply_error(req, &err);
		return;
	}
	json_put_str(doc, "who", req->ctx.principal);
	json_put_str(doc, "client", req->client);
	json_put_int(doc, "n", http_query_int(req, "n", 1, 100, 7));
	http_reply_json(req, 200, doc);
}

static void stream_on_close(void *arg)
{
	assert_ptr_equal(arg, &stream);
	closes++;
	stream = NULL;
}

static void stream_on_drain(void *arg)
{
	(void)arg;
	drains++;
}

static const struct http_stream_ops stream_ops = {stream_on_drain, stream_on_close};

static void on_stream(struct http_request *req)
{
	stream = http_stream_begin(req, "text/event-stream", &stream_ops, &stream);
}

static bool ws_say(struct str text)
{
	struct ws_message *m = ws_message_text(text);
	bool more = ws_send(ws, m);

	ws_message_unref(m);
	return more;
}

static void ws_on_message(void *arg, struct str text, bool binary)
{
	(void)arg;
	buf_printf(&messages, "[%s%.*s]", binary ? "b:" : "", STR_ARG(text));
	(void)ws_say(text);
}

static void ws_on_close(void *arg)
{
	(void)arg;
	closes++;
	ws = NULL;
}

static void ws_on_drain(void *arg)
{
	(void)arg;
	drains++;
}

static void ws_on_limited(void *arg)
{
	(void)arg;
	limited++;
}

static const struct ws_ops socket_ops = {ws_on_message, ws_on_drain, ws_on_close, ws_on_limited};

static void on_ws(struct http_request *req)
{
	struct ws *w = ws_accept(req, ws_offered(req, "aragora-v1") ? "aragora-v1" : NULL, &socket_ops, NULL);

	if (w != NULL)
		ws = w;
}

static const struct route rows[] = {
    {.method = HTTP_GET, .path = "/api/wait", .handler = on_wait, .permission = "debates:read"},
    {.method = HTTP_GET, .path = "/api/silent", .handler = on_silent, .permission = "debates:read"},
    {.method = HTTP_POST, .path = "/api/json", .handler = on_json, .permission = "debates:create"},
    {.method = HTTP_GET, .path = "/api/open", .handler = on_json, .flags = ROUTE_PUBLIC | ROUTE_INLINE},
    {.method = HTTP_GET,
     .path = "/api/stream",
     .handler = on_stream,
     .permission = "debates:read",
     .flags = ROUTE_STREAM},
    {.method = HTTP_GET, .path = "/ws", .handler = on_ws, .permission = "debates:read", .flags = ROUTE_WS},
};
static const struct route_table table = {rows, countof(rows)};

static struct harness *start(const struct conf_override *overrides, size_t n)
{
	waiting = NULL;
	released = saw_client_gone = false;
	how_ended = CO_DONE;
	stream = NULL;
	ws = NULL;
	closes = drains = limited = 0;
	buf_clear(&messages);
	return harness_new(overrides, n, &table);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static void until_waiting(struct harness *h)
{
	for (unsigned i = 0; i < 100 && waiting == NULL; i++)
		harness_turns(h, 1);
	assert_non_null(waiting);
}

static void release(struct harness *h)
{
	released = true;
	if (waiting != NULL)
		co_wake(waiting);
	harness_turns(h, 10);
}

/* ---- handlers and clients ---- */

static void test_waiting_handler(void **state)
{
	struct harness *h = start(NULL, 0);
	struct answer a;

	(void)state;
	harness_connect(h);
	harness_sendz(h, GET("/api/wait") GET("/api/silent"));
	until_waiting(h);
	assert_int_equal(h->in.n, 0);
	release(h);
	a = harness_answer(h);
	assert_true(str_eqz(a.body, "waited"));
	/* The second one comes after the first, and a handler without a reply is an error of ours. */
	a = harness_answer(h);
	assert_int_equal(a.status, 500);
	assert_true(str_find(a.body, STR("INTERNAL_ERROR")) > 0);
	harness_free(h);
}

static void test_client_goes(void **state)
{
	struct harness *h = start(NULL, 0);

	(void)state;
	harness_connect(h);
	harness_sendz(h, GET("/api/wait"));
	until_waiting(h);
	assert_int_equal(http_server_connections(h->w.http), 1);
	harness_hang_up(h);
	harness_turns(h, 5);
	assert_int_equal(http_server_connections(h->w.http), 0);
	release(h);
	assert_true(saw_client_gone);
	harness_free(h);
}

static void test_half_closed_client(void **state)
{
	struct harness *h = start(NULL, 0);

	(void)state;
	harness_connect(h);
	harness_sendz(h, GET("/api/wait"));
	until_waiting(h);
	assert_int_equal(shutdown(h->client, SHUT_WR), 0);
	harness_turns(h, 5);
	release(h);
	assert_true(str_eqz(harness_answer(h).body, "waited"));
	harness_turns(h, 5);
	assert_true(h->eof);
	harness_free(h);
}

static void test_server_freed_while_waiting(void **state)
{
	struct harness *h = start(NULL, 0);

	(void)state;
	harness_connect(h);
	harness_sendz(h, GET("/api/wait"));
	until_waiting(h);
	/* The scope of the request ends, so the handler comes back by itself. */
	harness_free(h);
	assert_int_equal(how_ended, CO_ENDED);
}

static void test_request_timeout(void **state)
{
	static const struct conf_override c[] = {{"server.request_timeout", "50ms"}};
	struct harness *h = start(c, 1);
	struct answer a;

	(void)state;
	harness_connect(h);
	harness_sendz(h, GET("/api/wait"));
	HARNESS_UNTIL(h, h->in.n > 0);
	a = harness_answer(h);
	assert_int_equal(a.status, 504);
	assert_true(answer_has(&a, "\r\nX-Timeout-Seconds: 0.05\r\n"));
	assert_true(answer_has(&a, "\r\nRetry-After: "));
	assert_true(str_find(a.body, STR("\"code\":\"request_timeout\"")) > 0);
	assert_true(str_find(a.body, STR("\"path\":\"/api/wait\"")) > 0);
	harness_turns(h, 5);
	assert_int_equal(how_ended, CO_ENDED);
	/* The late reply went nowhere and the connection is as good as before. */
	assert_int_equal(h->in.n, 0);
	harness_sendz(h, GET("/api/silent"));
	assert_int_equal(harness_answer(h).status, 500);
	harness_free(h);
}

static void test_deadlines(void **state)
{
	static const struct conf_override c[] = {
	    {"server.keepalive", "50ms"}, {"server.head_timeout", "50ms"}, {"server.body_timeout", "50ms"}};
	struct harness *h = start(c, 3);
	struct answer a;

	(void)state;
	/* Nothing at all: closed without a word. */
	harness_connect(h);
	HARNESS_UNTIL(h, h->eof);
	assert_int_equal(h->in.n, 0);
	/* Half a head, half a body. */
	harness_connect(h);
	harness_sendz(h, "GET /api/silent HT");
	HARNESS_UNTIL(h, h->in.n > 0);
	a = harness_answer(h);
	assert_int_equal(a.status, 408);
	assert_true(answer_has(&a, "\r\nConnection: close\r\n"));
	harness_connect(h);
	harness_sendz(h, "POST /api/json HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{");
	HARNESS_UNTIL(h, h->in.n > 0);
	assert_int_equal(harness_answer(h).status, 408);
	/* Idle between requests. */
	harness_connect(h);
	harness_sendz(h, GET("/api/silent"));
	assert_int_equal(harness_answer(h).status, 500);
	HARNESS_UNTIL(h, h->eof);
	harness_free(h);
}

static void test_pipeline_bounded(void **state)
{
	struct harness *h = start(NULL, 0);
	struct buf many = BUF_INIT;

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		buf_addz(&many, GET("/api/open"));
	harness_connect(h);
	assert_int_equal(send(h->client, many.p, many.n, 0), (ssize_t)many.n);
	harness_turns(h, 1);
	/* One turn answers its share, no more. */
	unsigned first = 0;
	struct str in = buf_str(&h->in);
	for (struct answer a; answer_take(&in, &a);)
		first++;
	assert_int_equal(first, CONN_TURN_MAX);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(harness_answer(h).status, 400);
	buf_free(&many);
	harness_free(h);
}

/* ---- streams ---- */

static void test_stream(void **state)
{
	struct harness *h = start(NULL, 0);
	struct answer a;

	(void)state;
	harness_connect(h);
	harness_sendz(h, GET("/api/stream"));
	a = harness_answer(h);
	assert_int_equal(a.status, 200);
	assert_true(answer_has(&a, "\r\nTransfer-Encoding: chunked\r\n"));
	assert_true(answer_has(&a, "\r\nContent-Type: text/event-stream\r\n"));
	assert_non_null(stream);
	assert_true(http_stream_write(stream, rbuf_of(STR("data: 1\n\n"))));
	/* A request that comes meanwhile waits for the end of the stream. */
	harness_sendz(h, GET("/api/silent"));
	harness_turns(h, 3);
	assert_true(str_eqz(buf_str(&h->in), "9\r\ndata: 1\n\n\r\n"));
	buf_clear(&h->in);
	http_stream_end(stream);
	harness_turns(h, 3);
	assert_int_equal(closes, 1);
	assert_true(str_starts(buf_str(&h->in), STR("0\r\n\r\n")));
	buf_consume(&h->in, 5);
	assert_int_equal(harness_answer(h).status, 500);
	harness_free(h);
}

static void test_stream_client_goes(void **state)
{
	struct harness *h = start(NULL, 0);

	(void)state;
	harness_connect(h);
	harness_sendz(h, GET("/api/stream"));
	harness_answer(h);
	harness_hang_up(h);
	harness_turns(h, 5);
	assert_int_equal(closes, 1);
	harness_free(h);
}

static void test_stream_backpressure(void **state)
{
	static const struct conf_override c[] = {{"websocket.queue_bytes", "1048576"}};
	struct harness *h = start(c, 1);
	struct rbuf *block = rbuf_new(100000);
	unsigned taken = 0;

	(void)state;
	memset(block->data, 'x', block->n);
	harness_connect(h);
	harness_sendz(h, GET("/api/stream"));
	harness_answer(h);
	/* The test does not read while it writes: the queue fills. */
	while (http_stream_write(stream, rbuf_ref(block))) {
		loop_turn(h->w.loop, false);
		assert_true(++taken < 1000);
	}
	assert_true(http_stream_queued(stream) > 1048576);
	assert_int_equal(drains, 0);
	harness_turns(h, 50);
	assert_int_equal(drains, 1);
	assert_int_equal(http_stream_queued(stream), 0);
	rbuf_unref(block);
	http_stream_end(stream);
	harness_turns(h, 3);
	harness_free(h);
}

/* ---- WebSocket ---- */

#define UPGRADE(extra)                                                                             \
	"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" \
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" extra "\r\n"

/* A masked client frame. */
static void put_frame(struct buf *b, unsigned first, struct str payload)
{
	static const unsigned char mask[4] = {0x11, 0x22, 0x33, 0x44};

	buf_addc(b, (char)first);
	if (payload.n < 126) {
		buf_addc(b, (char)(0x80 | payload.n));
	} else {
		buf_addc(b, (char)(0x80 | 126));
		buf_addc(b, (char)(payload.n >> 8));
		buf_addc(b, (char)(payload.n & 0xff));
	}
	buf_add(b, (struct str){(const char *)mask, 4});
	for (size_t i = 0; i < payload.n; i++)
		buf_addc(b, (char)((unsigned char)payload.p[i] ^ mask[i & 3]));
}

static void open_ws(struct harness *h)
{
	struct answer a;

	harness_connect(h);
	harness_sendz(h, UPGRADE("Sec-WebSocket-Protocol: access_token.abc, aragora-v1\r\n"));
	a = harness_answer(h);
	assert_int_equal(a.status, 101);
	/* The sample of RFC 6455 1.3. */
	assert_true(answer_has(&a, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
	assert_true(answer_has(&a, "\r\nSec-WebSocket-Protocol: aragora-v1\r\n"));
	assert_false(answer_has(&a, "Content-Length"));
	assert_non_null(ws);
}

static void test_ws_messages(void **state)
{
	for (size_t step = 0; step < 2; step++) {
		struct harness *h = start(NULL, 0);
		struct buf b = BUF_INIT;

		(void)state;
		open_ws(h);
		put_frame(&b, 0x81, STR("one"));
		put_frame(&b, 0x01, STR("t\xc3"));
		put_frame(&b, 0x89, STR("ping")); /* between the fragments, inside a character */
		put_frame(&b, 0x00, STR(""));
		put_frame(&b, 0x80, STR("\xa4x"));
		put_frame(&b, 0x82, STR("\xff"));
		put_frame(&b, 0x81, STR(""));
		harness_send(h, buf_str(&b), step);
		harness_turns(h, 3);
		assert_true(str_eqz(buf_str(&messages), "[one][t\xc3\xa4x][b:\xff][]"));
		assert_true(str_starts(buf_str(&h->in), STR("\x81\x03one\x8a\x04ping\x81\x04t\xc3\xa4x")));
		/* The closing handshake, begun by the client. */
		buf_clear(&b);
		buf_clear(&h->in);
		put_frame(&b, 0x88,
			  STR("\x03\xe8"
			      "bye"));
		harness_send(h, buf_str(&b), step);
		harness_turns(h, 3);
		assert_true(str_eq(buf_str(&h->in), STR("\x88\x02\x03\xe8")));
		assert_true(h->eof);
		assert_int_equal(closes, 1);
		buf_free(&b);
		harness_free(h);
	}
}

static void test_ws_close_by_us(void **state)
{
	struct harness *h = start(NULL, 0);
	struct buf b = BUF_INIT;

	(void)state;
	open_ws(h);
	ws_close(ws, WS_RESTART, "later");
	assert_false(ws_say(STR("too late")));
	harness_turns(h, 2);
	assert_true(str_eq(buf_str(&h->in), STR("\x88\x07\x03\xf4later")));
	assert_int_equal(closes, 0);
	put_frame(&b, 0x88, STR("\x03\xf4"));
	harness_send(h, buf_str(&b), 0);
	harness_turns(h, 3);
	assert_int_equal(closes, 1);
	assert_true(h->eof);
	buf_free(&b);
	harness_free(h);
}

static void test_ws_protocol_errors(void **state)
{
	static const struct {
		const char *what;
		struct str bytes;
		unsigned code;
	} bad[] = {
	    {"unmasked", {"\x81\x01x", 3}, 1002},
	    {"reserved bit", {"\xc1\x80\0\0\0\0", 6}, 1002},
	    {"reserved opcode", {"\x83\x80\0\0\0\0", 6}, 1002},
	    {"fragmented ping", {"\x09\x80\0\0\0\0", 6}, 1002},
	    {"long ping", {"\x89\xfe\0\x7e\0\0\0\0", 8}, 1002},
	    {"continuation of nothing", {"\x80\x80\0\0\0\0", 6}, 1002},
	    {"new message inside another", {"\x01\x80\0\0\0\0\x81\x80\0\0\0\0", 12}, 1002},
	    {"long form of a short length", {"\x81\xfe\0\x01\0\0\0\0x", 9}, 1002},
	    {"bad UTF-8", {"\x81\x81\0\0\0\0\xff", 7}, 1007},
	    {"bad UTF-8 early in a fragment", {"\x01\x82\0\0\0\0\xc0\x80", 8}, 1007},
	    {"half a character", {"\x81\x81\0\0\0\0\xc3", 7}, 1007},
	    {"too big", {"\x81\xff\0\0\0\0\0\x01\0\x01\0\0\0\0", 14}, 1009},
	    {"close of one byte", {"\x88\x81\0\0\0\0\x03", 7}, 1002},
	    {"close with a reserved code", {"\x88\x82\0\0\0\0\x03\xed", 8}, 1002},
	    {"close with bad UTF-8", {"\x88\x83\0\0\0\0\x03\xe8\xff", 9}, 1007},
	};
	struct harness *h = start(NULL, 0);

	(void)state;
	for (size_t i = 0; i < countof(bad); i++) {
		unsigned code = 0;

		closes = 0;
		open_ws(h);
		harness_send(h, bad[i].bytes, 0);
		harness_turns(h, 5);
		if (h->in.n == 4 && h->in.p[0] == '\x88' && h->in.p[1] == 2)
			code = (unsigned)(unsigned char)h->in.p[2] << 8 | (unsigned char)h->in.p[3];
		if (code != bad[i].code)
			fail_msg("%s: close code %u, not %u", bad[i].what, code, bad[i].code);
		harness_hang_up(h);
		harness_turns(h, 5);
		assert_int_equal(closes, 1);
	}
	assert_int_equal(messages.n, 0);
	harness_free(h);
}

static void test_ws_handshake_refused(void **state)
{
	static const struct {
		const char *request;
		int status;
	} bad[] = {
	    {GET("/ws"), 426},
	    {"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n"
	     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
	     426},
	    {"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
	     "Sec-WebSocket-Key: short\r\n\r\n",
	     400},
	    {UPGRADE("Origin: http://evil.example\r\n"), 403},
	};
	struct harness *h = start(NULL, 0);

	(void)state;
	for (size_t i = 0; i < countof(bad); i++) {
		harness_connect(h);
		harness_sendz(h, bad[i].request);
		assert_int_equal(harness_answer(h).status, bad[i].status);
	}
	assert_null(ws);
	harness_connect(h);
	harness_sendz(h, UPGRADE("Origin: http://localhost:3000\r\n"));
	assert_int_equal(harness_answer(h).status, 101);
	harness_connect(h);
	harness_sendz(h, UPGRADE("Origin: http://x\r\n"));
	assert_int_equal(harness_answer(h).status, 101);
	harness_turns(h, 3);
	harness_free(h);
}

static void test_ws_limits(void **state)
{
	static const struct conf_override c[] = {{"limits.exempt", "10.0.0.0/8"},
						 {"websocket.max_per_ip", "1"},
						 {"websocket.message_rate", "1"},
						 {"websocket.message_burst", "2"}};
	struct harness *h = start(c, 4);
	struct buf b = BUF_INIT;
	int first;

	(void)state;
	open_ws(h);
	for (unsigned i = 0; i < 5; i++)
		put_frame(&b, 0x81, STR("m"));
	harness_send(h, buf_str(&b), 0);
	harness_turns(h, 3);
	assert_true(str_eqz(buf_str(&messages), "[m][m]"));
	assert_int_equal(limited, 3);
	first = h->client;
	h->client = -1;
	harness_connect(h);
	harness_sendz(h, UPGRADE(""));
	assert_int_equal(harness_answer(h).status, 101);
	harness_turns(h, 2);
	assert_true(str_starts(buf_str(&h->in), (struct str){"\x88\x28\x0f\xbd", 4}));
	close(first);
	buf_free(&b);
	harness_free(h);
}

static void test_ws_ping(void **state)
{
	static const struct conf_override c[] = {{"websocket.ping_interval", "50ms"}};
	struct harness *h = start(c, 1);
	struct buf b = BUF_INIT;

	(void)state;
	open_ws(h);
	HARNESS_UNTIL(h, h->in.n >= 2);
	assert_true(str_eq(buf_str(&h->in), (struct str){"\x89\0", 2}));
	put_frame(&b, 0x8a, STR(""));
	buf_clear(&h->in);
	harness_send(h, buf_str(&b), 0);
	/* Answered: the next one comes after the interval, not the end. */
	HARNESS_UNTIL(h, h->in.n >= 2);
	assert_true(str_eq(buf_str(&h->in), (struct str){"\x89\0", 2}));
	assert_false(h->eof);
	buf_free(&b);
	harness_free(h);
}

static void test_ws_slow_reader(void **state)
{
	static const struct conf_override c[] = {{"websocket.queue_bytes", "1048576"}};
	struct harness *h = start(c, 1);
	char *text = xmalloc(100000);
	struct ws_message *frame;
	unsigned i;

	(void)state;
	memset(text, 'x', 100000);
	frame = ws_message_text((struct str){text, 100000});
	open_ws(h);
	for (i = 0; ws_send(ws, frame); i++)
		loop_turn(h->w.loop, false);
	assert_true(ws_queued(ws) > 1048576);
	harness_turns(h, 50);
	assert_int_equal(drains, 1);
	/* One that never stops sending to a reader that never reads is cut. */
	for (i = 0; i < 1000 && ws != NULL; i++) {
		ws_send(ws, frame);
		loop_turn(h->w.loop, false);
	}
	assert_null(ws);
	assert_int_equal(closes, 1);
	ws_message_unref(frame);
	free(text);
	harness_free(h);
}

/* ---- draining ---- */

static void test_drain(void **state)
{
	struct harness *h = start(NULL, 0);
	struct answer a;
	int socket_client;

	(void)state;
	open_ws(h);
	socket_client = h->client;
	h->client = -1;
	harness_connect(h);
	harness_sendz(h, GET("/api/wait"));
	until_waiting(h);
	http_server_drain(h->w.http, 0);
	harness_turns(h, 2);
	{
		char p[64];

		assert_true(recv(socket_client, p, sizeof(p), MSG_DONTWAIT) >= 4);
		assert_memory_equal(p + 2, "\x03\xf4", 2);
	}
	close(socket_client);
	release(h);
	a = harness_answer(h);
	assert_int_equal(a.status, 200);
	assert_true(answer_has(&a, "\r\nConnection: close\r\n"));
	harness_hang_up(h);
	harness_turns(h, 5);
	assert_int_equal(http_server_connections(h->w.http), 0);
	harness_free(h);
}

/* ---- middleware ---- */

static void test_default_headers(void **state)
{
	static const char *const wanted[] = {"\r\nDate: ",
					     "\r\nContent-Length: ",
					     "\r\nContent-Type: application/json\r\n",
					     "\r\nX-Request-ID: req-",
					     "\r\nX-Content-Type-Options: nosniff\r\n",
					     "\r\nX-Frame-Options: DENY\r\n",
					     "\r\nContent-Security-Policy: ",
					     "\r\nVary: Origin\r\n"};
	struct harness *h = start(NULL, 0);

	(void)state;
	/* Also on replies to what was no request. */
	for (unsigned i = 0; i < 2; i++) {
		struct answer a;

		harness_connect(h);
		harness_sendz(h, i == 0 ? GET("/api/nothing") : "\x16\x03");
		a = harness_answer(h);
		for (size_t k = 0; k < countof(wanted); k++)
			if (!answer_has(&a, wanted[k]))
				fail_msg("%s is missing", wanted[k] + 2);
		assert_int_equal(answer_has(&a, "\r\nX-API-Version: v1\r\n"), i == 0);
		assert_true(str_find(a.body, STR("\"trace_id\":\"req-")) > 0);
	}
	harness_free(h);
}

static void test_request_id_and_cors(void **state)
{
	struct harness *h = start(NULL, 0);
	struct answer a;

	(void)state;
	harness_connect(h);
	harness_sendz(
	    h,
	    "OPTIONS /api/json HTTP/1.1\r\nHost: x\r\nX-Request-ID: my.id-1\r\nOrigin: http://localhost:3000\r\n\r\n");
	a = harness_answer(h);
	assert_int_equal(a.status, 200);
	assert_true(answer_has(&a, "\r\nX-Request-ID: my.id-1\r\n"));
	assert_true(answer_has(&a, "\r\nAllow: POST, OPTIONS\r\n"));
	assert_true(answer_has(&a, "\r\nAccess-Control-Allow-Origin: http://localhost:3000\r\n"));
	assert_true(answer_has(&a, "\r\nAccess-Control-Allow-Methods: "));
	harness_sendz(h, "GET /api/json HTTP/1.1\r\nHost: x\r\nX-Request-ID: bad id\r\nOrigin: http://evil\r\n\r\n");
	a = harness_answer(h);
	assert_int_equal(a.status, 405);
	assert_true(answer_has(&a, "\r\nAllow: POST, OPTIONS\r\n"));
	assert_true(answer_has(&a, "\r\nX-Request-ID: req-"));
	assert_false(answer_has(&a, "Access-Control-Allow-Origin"));
	harness_free(h);
}

static void test_json_routes(void **state)
{
	struct harness *h = start(NULL, 0);
	struct answer a;

	(void)state;
	harness_connect(h);
	harness_sendz(h, "POST /api/json?n=500 HTTP/1.1\r\nHost: x\r\n\r\n");
	a = harness_answer(h);
	assert_true(str_eqz(a.body, "{\"who\":\"anonymous\",\"client\":\"127.0.0.1\",\"n\":100}"));
	/* The peer is a proxy of ours: the rightmost address that is none counts. */
	harness_sendz(
	    h, "POST /api/json?n=x HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6, 10.1.2.3, 127.0.0.1\r\n\r\n");
	a = harness_answer(h);
	assert_true(str_eqz(a.body, "{\"who\":\"anonymous\",\"client\":\"10.1.2.3\",\"n\":7}"));
	harness_sendz(h, "POST /api/json HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: 2\r\n\r\n{}");
	a = harness_answer(h);
	assert_int_equal(a.status, 415);
	harness_sendz(h, "POST /api/json HTTP/1.1\r\nHost: x\r\nContent-Type: Application/JSON; "
			 "charset=utf-8\r\nContent-Length: 1\r\n\r\n{");
	a = harness_answer(h);
	assert_int_equal(a.status, 400);
	assert_true(str_find(a.body, STR("INVALID_JSON")) > 0);
	harness_free(h);
}

static void test_authentication(void **state)
{
	static const struct {
		const char *request;
		int status;
	} cases[] = {
	    {"POST /api/json HTTP/1.1\r\nHost: x\r\n\r\n", 401},
	    {"POST /api/json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n\r\n", 401},
	    {"POST /api/json?token=secret-token HTTP/1.1\r\nHost: x\r\n\r\n", 401},
	    {"POST /api/json HTTP/1.1\r\nHost: x\r\nAuthorization: bearer secret-token\r\n\r\n", 200},
	    {"POST /api/json HTTP/1.1\r\nHost: x\r\nX-API-Key: secret-token\r\n\r\n", 200},
	    {"OPTIONS /api/json HTTP/1.1\r\nHost: x\r\n\r\n", 200},
	    {GET("/api/open"), 400},
	    {GET("/ws"), 401},
	};
	static const struct conf_override c[] = {{"auth.api_token", "secret-token"}};
	struct harness *h = start(c, 1);
	struct answer a;

	(void)state;
	harness_connect(h);
	for (size_t i = 0; i < countof(cases); i++) {
		harness_sendz(h, cases[i].request);
		a = harness_answer(h);
		if (a.status != cases[i].status)
			fail_msg("%s: %d", cases[i].request, a.status);
		assert_int_equal(answer_has(&a, "\r\nWWW-Authenticate: Bearer\r\n"), a.status == 401);
		if (a.status == 200 && a.body.n > 0)
			assert_true(str_find(a.body, STR("api-token")) > 0);
	}
	harness_connect(h);
	harness_sendz(h, UPGRADE("Sec-WebSocket-Protocol: access_token.secret-token\r\n"));
	assert_int_equal(harness_answer(h).status, 101);
	harness_connect(h);
	harness_sendz(h, "GET /ws?token=secret-token HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(harness_answer(h).status, 426);
	harness_free(h);
}

static void test_head(void **state)
{
	struct harness *h = start(NULL, 0);
	struct str in;

	(void)state;
	harness_connect(h);
	harness_sendz(h, "HEAD /api/open HTTP/1.1\r\nHost: x\r\n\r\n");
	harness_turns(h, 3);
	in = buf_str(&h->in);
	/* The length of the body that GET would bring, and no body. */
	assert_true(str_find(in, STR("Content-Length: 0")) < 0);
	assert_true(str_find(in, STR("Content-Length: ")) > 0);
	assert_true(str_ends(in, STR("\r\n\r\n")));
	harness_free(h);
}

static void test_access_line(void **state)
{
	struct harness *h = start(NULL, 0);
	struct access_format *f =
	    access_format_compile("%(h)s %(l)s %(u)s \"%(r)s\" %(s)s %(b)s \"%(a)s\" %({x-request-id}i)s %(zz)s %");
	struct http_field fields[] = {{STR("User-Agent"), STR("a\"b\x01\xff")}};
	struct http_request req = {.method = HTTP_GET,
				   .minor = 1,
				   .target = STR("/ws?token=abc&a=b&%74oken=x"),
				   .query = STR("token=abc&a=b&%74oken=x"),
				   .client = STR("1.2.3.4"),
				   .status = 101,
				   .bytes_out = 12,
				   .fields = fields,
				   .field_count = 1,
				   .request_id = STR("req-1"),
				   .ctx = CONTEXT_DEFAULT};
	char out[LOG_ACCESS_MAX + 1];

	(void)state;
	out[access_format_line(f, &req, out)] = '\0';
	assert_string_equal(
	    out, "1.2.3.4 - - \"GET /ws?token=***&a=b&%74oken=*** HTTP/1.1\" 101 12 \"a\\x22b\\x01\\xff\" req-1 - %");
	access_format_free(f);
	harness_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_waiting_handler),
	    cmocka_unit_test(test_client_goes),
	    cmocka_unit_test(test_half_closed_client),
	    cmocka_unit_test(test_server_freed_while_waiting),
	    cmocka_unit_test(test_request_timeout),
	    cmocka_unit_test(test_deadlines),
	    cmocka_unit_test(test_pipeline_bounded),
	    cmocka_unit_test(test_stream),
	    cmocka_unit_test(test_stream_client_goes),
	    cmocka_unit_test(test_stream_backpressure),
	    cmocka_unit_test(test_ws_messages),
	    cmocka_unit_test(test_ws_close_by_us),
	    cmocka_unit_test(test_ws_protocol_errors),
	    cmocka_unit_test(test_ws_handshake_refused),
	    cmocka_unit_test(test_ws_limits),
	    cmocka_unit_test(test_ws_ping),
	    cmocka_unit_test(test_ws_slow_reader),
	    cmocka_unit_test(test_drain),
	    cmocka_unit_test(test_default_headers),
	    cmocka_unit_test(test_request_id_and_cors),
	    cmocka_unit_test(test_json_routes),
	    cmocka_unit_test(test_authentication),
	    cmocka_unit_test(test_head),
	    cmocka_unit_test(test_access_line),
	};

	int failed = cmocka_run_group_tests_name("http_server", tests, NULL, NULL);

	buf_free(&messages);
	return failed;
}
