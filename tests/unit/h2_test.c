/* SPDX-License-Identifier: MIT */
/*
 * Tests of HTTP/2 connections whose handlers wait on the test's word: requests that are taken back, limits, deadlines,
 * event streams, draining. The client is the library's; what goes wrong on the wire is tests/integration/test_http2.py.
 */
#include "http_harness.h"

#include <nghttp2/nghttp2.h>

#include "worker/http/h2.h"

#define STREAMS 32 /* by (number of the stream - 1) / 2 */

static struct co *waiting[8];
static unsigned waits, gone;
static bool released;
static enum co_end how_ended;
static struct http_stream *stream;
static unsigned closes, drains;

CO_FN static void on_wait(struct http_request *req)
{
	unsigned at = waits++;

	assert_true(at < countof(waiting));
	waiting[at] = co_self();
	while (!released && (how_ended = co_wait(0)) == CO_DONE)
		;
	waiting[at] = NULL;
	gone += req->conn == NULL;
	http_reply(req, 200, "text/plain", STR("waited"));
}

/* A handler that does not notice that nobody waits any more. */
CO_FN static void on_stubborn(struct http_request *req)
{
	struct co_shield shield;

	co_shield(&shield, 60 * SEC_US);
	on_wait(req);
	co_unshield(&shield);
}

static void on_echo(struct http_request *req)
{
	struct buf out = BUF_INIT;
	size_t i;

	buf_printf(&out, "%d.%d %s %.*s", req->major, req->minor, http_method_name(req->method), STR_ARG(req->path));
	for (i = 0; i < req->field_count; i++)
		buf_printf(&out, "|%.*s=%.*s", STR_ARG(req->fields[i].name), STR_ARG(req->fields[i].value));
	buf_printf(&out, "|%.*s", STR_ARG(req->body));
	http_reply_value(req, "Connection", STR("close"));
	http_reply_block(req, "Keep-Alive: 5\r\nX-One: 1\r\nUpgrade: x\r\nX-Two:2\r\n");
	http_reply(req, 200, "text/plain", buf_str(&out));
	buf_free(&out);
}

static void stream_on_close(void *arg)
{
	(void)arg;
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
	stream = http_stream_begin(req, "text/event-stream", &stream_ops, NULL);
}

static const struct route rows[] = {
    {.method = HTTP_GET, .path = "/api/wait", .handler = on_wait, .permission = "debates:read"},
    {.method = HTTP_GET, .path = "/api/stubborn", .handler = on_stubborn, .permission = "debates:read"},
    {.method = HTTP_POST,
     .path = "/api/echo",
     .handler = on_echo,
     .permission = "debates:create",
     .flags = ROUTE_ANY_TYPE},
    {.method = HTTP_GET, .path = "/api/echo", .handler = on_echo, .flags = ROUTE_PUBLIC | ROUTE_INLINE},
    {.method = HTTP_GET,
     .path = "/api/stream",
     .handler = on_stream,
     .permission = "debates:read",
     .flags = ROUTE_STREAM},
};
static const struct route_table table = {rows, countof(rows)};

/* ---- the client ---- */

struct client {
	struct harness *h;
	nghttp2_session *session;
	struct {
		int status;
		struct buf body, head;
		bool closed;
		uint32_t code;
	} s[STREAMS];
	unsigned goaways;
	int32_t last;
};

static ssize_t client_send(nghttp2_session *session, const uint8_t *p, size_t n, int flags, void *arg)
{
	struct client *c = arg;

	(void)session;
	(void)flags;
	return send(c->h->client, p, n, MSG_NOSIGNAL) == (ssize_t)n ? (ssize_t)n : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int client_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
			 const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
	struct client *c = arg;
	unsigned at = (unsigned)frame->hd.stream_id / 2;

	(void)session;
	(void)flags;
	if (name_n == 7 && memcmp(name, ":status", 7) == 0)
		c->s[at].status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + value[2] - '0';
	buf_printf(&c->s[at].head, "%.*s: %.*s\n", (int)name_n, (const char *)name, (int)value_n, (const char *)value);
	return 0;
}

static int client_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct client *c = arg;

	(void)session;
	(void)flags;
	buf_add(&c->s[id / 2].body, (struct str){(const char *)p, n});
	return 0;
}

static int client_closed(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
	struct client *c = arg;

	(void)session;
	c->s[id / 2].closed = true;
	c->s[id / 2].code = code;
	return 0;
}

static int client_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct client *c = arg;

	(void)session;
	if (frame->hd.type == NGHTTP2_GOAWAY) {
		c->goaways++;
		c->last = frame->goaway.last_stream_id;
	}
	return 0;
}

static void client_turns(struct client *c, unsigned n)
{
	while (n-- > 0) {
		if (!c->h->eof)
			assert_int_equal(nghttp2_session_send(c->session), 0);
		harness_turns(c->h, 1);
		if (c->h->in.n > 0)
			assert_int_equal(nghttp2_session_mem_recv(c->session, (const uint8_t *)c->h->in.p, c->h->in.n),
					 c->h->in.n);
		buf_clear(&c->h->in);
	}
}

static struct client *client_new(const struct conf_override *overrides, size_t n, uint32_t window)
{
	struct client *c = xcalloc(1, sizeof(*c));
	nghttp2_settings_entry own = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window};
	nghttp2_session_callbacks *cbs;

	waits = gone = closes = drains = 0;
	released = false;
	stream = NULL;
	c->h = harness_new(overrides, n, &table);
	harness_connect(c->h);
	assert_int_equal(nghttp2_session_callbacks_new(&cbs), 0);
	nghttp2_session_callbacks_set_send_callback(cbs, client_send);
	nghttp2_session_callbacks_set_on_header_callback(cbs, client_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cbs, client_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cbs, client_closed);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cbs, client_frame);
	assert_int_equal(nghttp2_session_client_new(&c->session, cbs, c), 0);
	nghttp2_session_callbacks_del(cbs);
	assert_int_equal(nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, &own, 1), 0);
	client_turns(c, 4);
	return c;
}

static void client_free(struct client *c)
{
	released = true;
	for (unsigned i = 0; i < waits; i++)
		if (waiting[i] != NULL)
			co_wake(waiting[i]);
	harness_turns(c->h, 10);
	nghttp2_session_del(c->session);
	for (unsigned i = 0; i < STREAMS; i++) {
		buf_free(&c->s[i].body);
		buf_free(&c->s[i].head);
	}
	harness_free(c->h);
	free(c);
}

static nghttp2_nv nv(const char *name, const char *value)
{
	nghttp2_nv v = {.namelen = strlen(name), .valuelen = strlen(value)};

	memcpy(&v.name, &name, sizeof(name));
	memcpy(&v.value, &value, sizeof(value));
	return v;
}

/* Begins a GET; returns its index in c->s. */
static unsigned client_get(struct client *c, const char *path, const nghttp2_nv *more, size_t n)
{
	nghttp2_nv v[16] = {nv(":method", "GET"), nv(":scheme", "http"), nv(":path", path), nv(":authority", "there")};
	int32_t id;

	if (n > 0)
		memcpy(v + 4, more, n * sizeof(*more));
	id = nghttp2_submit_request(c->session, NULL, v, 4 + n, NULL, NULL);
	assert_true(id > 0 && id / 2 < STREAMS);
	client_turns(c, 4);
	return (unsigned)id / 2;
}

static void client_reset(struct client *c, unsigned at)
{
	assert_int_equal(nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, (int32_t)at * 2 + 1, NGHTTP2_CANCEL),
			 0);
	client_turns(c, 4);
}

/* ---- tests ---- */

static void test_request(void **state)
{
	const nghttp2_nv more[] = {nv("cookie", "a=1"), nv("x", "y"), nv("host", "THERE"), nv("cookie", "b=2")};
	struct client *c = client_new(NULL, 0, 65535);
	unsigned at = client_get(c, "/api/v1/echo?q", more, countof(more));

	(void)state;
	assert_int_equal(c->s[at].status, 200);
	assert_string_equal(c->s[at].body.p, "2.0 GET /api/echo|host=there|x=y|cookie=a=1; b=2|");
	/* What speaks of the connection is left out, the rest is there. */
	assert_non_null(strstr(c->s[at].head.p, "x-one: 1\nx-two: 2\n"));
	assert_null(strstr(c->s[at].head.p, "connection"));
	assert_null(strstr(c->s[at].head.p, "keep-alive"));
	assert_null(strstr(c->s[at].head.p, "upgrade"));
	client_free(c);
}

static void test_taken_back(void **state)
{
	struct client *c = client_new(NULL, 0, 65535);
	unsigned at = client_get(c, "/api/wait", NULL, 0);

	(void)state;
	assert_int_equal(waits, 1);
	assert_non_null(waiting[0]);
	client_reset(c, at);
	/* The scope of the handler has ended; its answer goes nowhere, the connection goes on. */
	assert_null(waiting[0]);
	assert_int_equal(how_ended, CO_ENDED);
	assert_int_equal(gone, 1);
	at = client_get(c, "/api/echo", NULL, 0);
	assert_int_equal(c->s[at].status, 200);
	/* The end of the connection takes back all that is left. */
	(void)client_get(c, "/api/wait", NULL, 0);
	(void)client_get(c, "/api/wait", NULL, 0);
	assert_int_equal(waits, 3);
	harness_hang_up(c->h);
	c->h->eof = true;
	harness_turns(c->h, 10);
	assert_int_equal(gone, 3);
	assert_int_equal(http_server_connections(c->h->w.http), 0);
	client_free(c);
}

/* A stream that was reset counts until the work for it has ended (rapid reset). */
static void test_orphans_count(void **state)
{
	static const struct conf_override two[] = {{"server.http2.max_streams", "2"}};
	struct client *c = client_new(two, countof(two), 65535);
	unsigned at;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		at = client_get(c, "/api/stubborn", NULL, 0);
		client_reset(c, at);
	}
	assert_int_equal(waits, 2);
	assert_non_null(waiting[0]);
	at = client_get(c, "/api/echo", NULL, 0);
	assert_true(c->s[at].closed);
	assert_int_equal(c->s[at].code, NGHTTP2_REFUSED_STREAM);
	released = true;
	co_wake(waiting[0]);
	client_turns(c, 4);
	at = client_get(c, "/api/echo", NULL, 0);
	assert_int_equal(c->s[at].status, 200);
	client_free(c);
}

static void test_deadline(void **state)
{
	static const struct conf_override soon[] = {{"server.request_timeout", "50ms"}};
	struct client *c = client_new(soon, countof(soon), 65535);
	unsigned at = client_get(c, "/api/wait", NULL, 0), other;

	(void)state;
	HARNESS_UNTIL(c->h, waiting[0] == NULL);
	client_turns(c, 4);
	assert_int_equal(c->s[at].status, 504);
	assert_int_equal(how_ended, CO_ENDED);
	other = client_get(c, "/api/echo", NULL, 0);
	assert_int_equal(c->s[other].status, 200);
	client_free(c);
}

static void test_event_stream(void **state)
{
	static const struct conf_override small[] = {{"websocket.queue_bytes", "65536"}};
	struct client *c = client_new(small, countof(small), 1000);
	unsigned at = client_get(c, "/api/stream", NULL, 0), n = 1;
	char frame[1000];

	(void)state;
	memset(frame, 'x', sizeof(frame));
	assert_int_equal(c->s[at].status, 200);
	/* The window is shut after the first: the rest waits until it is too much. */
	while (http_stream_write(stream, rbuf_of((struct str){frame, sizeof(frame)})) && n < 1000) {
		n++;
		if (n == 2)
			client_turns(c, 4);
	}
	assert_in_range(n, 60, 70);
	client_turns(c, 4);
	assert_in_range(c->s[at].body.n, 1000, 20000);
	assert_int_equal(drains, 0);
	for (unsigned i = 0; i < 1000 && c->s[at].body.n < n * sizeof(frame); i++)
		client_turns(c, 4);
	assert_int_equal(drains, 1);
	assert_int_equal(c->s[at].body.n, n * sizeof(frame));
	assert_int_equal(http_stream_queued(stream), 0);
	/* It ends when its client takes it back, or when the server ends it. */
	client_reset(c, at);
	assert_int_equal(closes, 1);
	at = client_get(c, "/api/stream", NULL, 0);
	assert_true(http_stream_write(stream, rbuf_of(STR("last"))));
	http_stream_end(stream);
	client_turns(c, 4);
	assert_int_equal(closes, 2);
	assert_string_equal(c->s[at].body.p, "last");
	assert_true(c->s[at].closed && c->s[at].code == NGHTTP2_NO_ERROR);
	client_free(c);
}

static void test_draining(void **state)
{
	struct client *c = client_new(NULL, 0, 65535);
	unsigned wait = client_get(c, "/api/wait", NULL, 0), events = client_get(c, "/api/stream", NULL, 0);

	(void)state;
	http_server_drain(c->h->w.http, 0);
	HARNESS_UNTIL(c->h, closes == 1);
	client_turns(c, 8);
	assert_true(c->s[events].closed && c->s[events].code == NGHTTP2_NO_ERROR);
	assert_int_equal(c->goaways, 2);
	assert_int_equal(c->last, (int)events * 2 + 1);
	/* What is under way is answered; then the connection ends. */
	assert_int_equal(http_server_connections(c->h->w.http), 1);
	released = true;
	co_wake(waiting[0]);
	client_turns(c, 8);
	assert_int_equal(c->s[wait].status, 200);
	assert_true(c->h->eof);
	client_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_request),  cmocka_unit_test(test_taken_back),   cmocka_unit_test(test_orphans_count),
	    cmocka_unit_test(test_deadline), cmocka_unit_test(test_event_stream), cmocka_unit_test(test_draining),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
