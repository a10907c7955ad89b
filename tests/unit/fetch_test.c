/* SPDX-License-Identifier: MIT */
/*
 * The HTTP client against a small server that misbehaves on request: the path names what it does.
 * Built and run by `make unit`. The server is a thread that serves one connection after the other.
 */
#include "common/fetch.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/lane.h"
#include "tests/unit/co_harness.h"

/* -- server ------------------------------------------------------------------------------------------------------ */

enum ending { CLOSE, RESET, HOLD }; /* HOLD: until the client closes */

static const struct page {
	const char *path;
	const char *reply;
	enum ending ending;
} pages[] = {
    {"/ok", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", HOLD},
    {"/until-close", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it", CLOSE},
    {"/short", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", CLOSE},
    {"/bad-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", HOLD},
    {"/cut-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", CLOSE},
    {"/cut-head", "HTTP/1.1 200 OK\r\nContent-Le", CLOSE},
    {"/nothing", "", CLOSE},
    {"/reset", "", RESET},
    {"/silent", "", HOLD},
    {"/interim-silent", "HTTP/1.1 103 Early Hints\r\nRetry-After: 5\r\n\r\n", HOLD},
    {"/stall", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", HOLD},
    {"/interim", "HTTP/1.1 103 Early Hints\r\nRetry-After: 5\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", HOLD},
    {"/stream", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n",
     HOLD},
    {"/failed", "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", HOLD},
    {"/moved", "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n", HOLD},
    {"/busy", "HTTP/1.1 429 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", HOLD},
    {"/busy-ms", "HTTP/1.1 429 Busy\r\nRetry-After-Ms: 1500.7\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n", HOLD},
    {"/busy-past", "HTTP/1.1 429 Busy\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n",
     HOLD},
    {"/busy-far", "HTTP/1.1 429 Busy\r\nRetry-After: Sun, 06 Nov 2147483647 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n",
     HOLD},
    {"/busy-odd", "HTTP/1.1 429 Busy\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", HOLD},
};

static struct {
	int tcp;
	int un;
	int port;
	char path[64];
	pthread_t thread;
	atomic_uint requests;
	atomic_uint holding;
	pthread_mutex_t lock;
	struct buf last; /* the last request, head and body */
	bool stop;
} server;

static size_t content_length(const char *head)
{
	const char *p = strcasestr(head, "\r\nContent-Length:");

	return p == NULL ? 0 : strtoul(p + strlen("\r\nContent-Length:"), NULL, 10);
}

/* False when the client left without a request. */
static bool read_request(int fd, struct buf *in)
{
	for (;;) {
		char *room;
		const char *end = in->p == NULL ? NULL : strstr(in->p, "\r\n\r\n");
		ssize_t n;

		if (end != NULL && in->n >= (size_t)(end + 4 - in->p) + content_length(in->p))
			return true;
		room = buf_reserve(in, 65536);
		n = recv(fd, room, 65536, 0);
		if (n <= 0)
			return false;
		buf_commit(in, (size_t)n);
	}
}

static void send_all(int fd, struct str s)
{
	while (s.n > 0) {
		ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		s = str_sub(s, (size_t)n, s.n);
	}
}

static void send_special(int fd, const char *path, const struct buf *request)
{
	struct buf out = BUF_INIT;
	char date[64];
	time_t at = time(NULL) + 60;
	struct tm tm;

	if (str_starts(str_of(path), STR("/echo "))) {
		buf_printf(&out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", request->n);
		buf_add(&out, buf_str(request));
	} else if (str_starts(str_of(path), STR("/big "))) {
		buf_addz(&out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
		for (int i = 0; i < 10000; i++)
			buf_addz(&out, "0123456789");
	} else if (str_starts(str_of(path), STR("/busy-date "))) {
		strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&at, &tm));
		buf_printf(&out, "HTTP/1.1 429 Busy\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n", date);
	}
	send_all(fd, buf_str(&out));
	buf_free(&out);
}

static void finish(int fd, enum ending ending)
{
	struct linger hard = {1, 0};
	char byte;

	if (ending == RESET)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	if (ending == HOLD) {
		atomic_fetch_add(&server.holding, 1);
		while (recv(fd, &byte, 1, 0) > 0)
			continue;
		atomic_fetch_sub(&server.holding, 1);
	}
	close(fd);
}

static void serve(int fd)
{
	struct buf in = BUF_INIT;
	const struct page *page = NULL;
	const char *path;

	if (!read_request(fd, &in)) {
		buf_free(&in);
		close(fd);
		return;
	}
	atomic_fetch_add(&server.requests, 1);
	pthread_mutex_lock(&server.lock);
	buf_clear(&server.last);
	buf_add(&server.last, buf_str(&in));
	pthread_mutex_unlock(&server.lock);
	path = strchr(in.p, ' ') + 1;
	for (size_t i = 0; i < countof(pages); i++)
		if (strncmp(path, pages[i].path, strlen(pages[i].path)) == 0 && path[strlen(pages[i].path)] == ' ')
			page = &pages[i];
	if (page != NULL)
		send_all(fd, str_of(page->reply));
	else
		send_special(fd, path, &in);
	buf_free(&in);
	finish(fd, page == NULL ? CLOSE : page->ending);
}

static void *server_thread(void *arg)
{
	struct pollfd fds[2] = {{server.tcp, POLLIN, 0}, {server.un, POLLIN, 0}};

	(void)arg;
	while (poll(fds, 2, -1) > 0) {
		for (size_t i = 0; i < 2; i++) {
			int fd = (fds[i].revents & POLLIN) != 0 ? accept(fds[i].fd, NULL, NULL) : -1;
			bool stop;

			if (fd == -1)
				continue;
			pthread_mutex_lock(&server.lock);
			stop = server.stop;
			pthread_mutex_unlock(&server.lock);
			if (stop) {
				close(fd);
				return NULL;
			}
			serve(fd);
		}
	}
	return NULL;
}

static int listen_tcp(int backlog, int *port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	BUG_ON(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, backlog) != 0);
	BUG_ON(getsockname(fd, (struct sockaddr *)&addr, &size) != 0);
	*port = ntohs(addr.sin_port);
	return fd;
}

static int connect_tcp(int port, int flags)
{
	struct sockaddr_in addr = {
	    .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	BUG_ON(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 && errno != EINPROGRESS);
	return fd;
}

static int start_server(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	(void)state;
	pthread_mutex_init(&server.lock, NULL);
	server.tcp = listen_tcp(128, &server.port);
	snprintf(server.path, sizeof(server.path), "/tmp/aragora-fetch-test.%d", (int)getpid());
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", server.path);
	server.un = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	BUG_ON(bind(server.un, (struct sockaddr *)&un, sizeof(un)) != 0 || listen(server.un, 8) != 0);
	return pthread_create(&server.thread, NULL, server_thread, NULL);
}

static int stop_server(void **state)
{
	(void)state;
	pthread_mutex_lock(&server.lock);
	server.stop = true;
	pthread_mutex_unlock(&server.lock);
	close(connect_tcp(server.port, 0));
	pthread_join(server.thread, NULL);
	close(server.tcp);
	close(server.un);
	unlink(server.path);
	buf_free(&server.last);
	pthread_mutex_destroy(&server.lock);
	return 0;
}

/* -- client ------------------------------------------------------------------------------------------------------ */

static struct lane *slow;
static struct fetch *client;
static struct arena *arena;

struct call {
	struct fetch_request req;
	struct fetch_response resp;
	char url[128];
	struct co_scope scope;
	bool ok;
	struct buf data;
	unsigned refuse_at; /* chunk number, 0 = never */
	unsigned chunks;
};

/* The server takes one after the other: once this is answered, nothing of an earlier test is left in its queue. */
static void drain_server(void)
{
	int fd = connect_tcp(server.port, 0);
	char byte;

	send_all(fd, STR("GET /ok HTTP/1.1\r\n\r\n"));
	BUG_ON(recv(fd, &byte, 1, 0) != 1);
	close(fd);
}

static int set_up(void **state)
{
	(void)state;
	drain_server();
	loop_begin();
	slow = lane_new(loop, "slow", 2, 64);
	client = fetch_open(loop, slow, slow);
	arena = arena_new(0);
	atomic_store(&server.requests, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(fetch_active(client), 0);
	arena_free(arena);
	fetch_close(client);
	lane_free(slow);
	loop_end();
	return 0;
}

static struct call call_for(const char *path)
{
	struct call c = {.req = {.method = "GET"}, .scope = {.kind = SCOPE_CALL}};

	if (path[0] == '/')
		snprintf(c.url, sizeof(c.url), "http://127.0.0.1:%d%s", server.port, path);
	else
		snprintf(c.url, sizeof(c.url), "%s", path);
	return c;
}

static void do_call(void *arg)
{
	struct call *c = arg;

	c->req.url = str_of(c->url);
	co_scope_enter(&c->scope);
	c->ok = fetch_do(client, arena, &c->req, &c->resp);
	co_scope_leave(&c->scope);
}

static void start_call(struct call *c)
{
	spawn(do_call, c);
}

static void run_call(struct call *c)
{
	start_call(c);
	run_all();
	assert_int_equal(c->ok, c->resp.fail == FETCH_OK);
	assert_int_equal(c->resp.detail[0] == '\0', c->ok);
}

static void assert_body(const struct call *c, const char *expected)
{
	assert_int_equal(c->resp.body.n, strlen(expected));
	assert_memory_equal(c->resp.body.p, expected, c->resp.body.n);
}

static void test_ok(void **state)
{
	struct call c = call_for("/ok");

	(void)state;
	run_call(&c);
	assert_int_equal(c.resp.fail, FETCH_OK);
	assert_true(c.resp.sent);
	assert_int_equal(c.resp.status, 200);
	assert_body(&c, "{}");
	assert_true(str_eqz(c.resp.content_type, "application/json"));
	assert_int_equal(c.resp.retry_after_us, -1);
}

static void test_outcomes(void **state)
{
	static const struct {
		const char *path;
		enum fetch_fail fail;
		int status;
		const char *body;
		int64_t retry_us;
	} cases[] = {
	    {"/until-close", FETCH_OK, 200, "all of it", -1},
	    {"/interim", FETCH_OK, 204, "", -1},
	    {"/stream", FETCH_OK, 200, "onetwothree", -1},
	    {"/failed", FETCH_OK, 500, "oops", -1},
	    {"/moved", FETCH_OK, 302, "", -1},
	    {"/busy", FETCH_OK, 429, "", 7 * SEC_US},
	    {"/busy-ms", FETCH_OK, 429, "", 1500 * MS_US},
	    {"/busy-past", FETCH_OK, 429, "", 0},
	    {"/busy-far", FETCH_OK, 429, "", INT64_C(30) * 24 * 3600 * SEC_US},
	    {"/busy-odd", FETCH_OK, 429, "", -1},
	    {"/short", FETCH_CUT, 200, "abc", -1},
	    {"/bad-chunk", FETCH_CUT, 200, "hello", -1},
	    {"/cut-chunk", FETCH_CUT, 200, "hello", -1},
	    {"/cut-head", FETCH_CUT, 200, "", -1},
	    {"/nothing", FETCH_CUT, 0, "", -1},
	    {"/reset", FETCH_CUT, 0, "", -1},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct call c = call_for(cases[i].path);

		atomic_store(&server.requests, 0);
		run_call(&c);
		if (c.resp.fail != cases[i].fail || c.resp.status != cases[i].status)
			print_error("%s: %d %d %s\n", cases[i].path, (int)c.resp.fail, c.resp.status, c.resp.detail);
		assert_int_equal(c.resp.fail, cases[i].fail);
		assert_int_equal(c.resp.status, cases[i].status);
		assert_body(&c, cases[i].body);
		assert_int_equal(c.resp.retry_after_us, cases[i].retry_us);
		assert_true(c.resp.sent);
		/* Never repeated, never followed. */
		assert_int_equal(atomic_load(&server.requests), 1);
	}
}

static void test_retry_after_date(void **state)
{
	struct call c = call_for("/busy-date");

	(void)state;
	run_call(&c);
	assert_int_equal(c.resp.status, 429);
	assert_in_range(c.resp.retry_after_us, 30 * SEC_US, 60 * SEC_US);
}

static void test_request_on_the_wire(void **state)
{
	static const struct fetch_header headers[] = {
	    {"Idempotency-Key", {"k1", 2}}, {"X-Empty", {"", 0}}, {"Content-Type", {"application/json", 16}}};
	struct call c = call_for("/echo");

	(void)state;
	c.req.method = "POST";
	c.req.headers = headers;
	c.req.header_count = countof(headers);
	c.req.body = STR("{\"a\":1}");
	run_call(&c);
	assert_int_equal(c.resp.fail, FETCH_OK);
	assert_true(str_starts(c.resp.body, STR("POST /echo HTTP/1.1\r\n")));
	assert_true(str_ends(c.resp.body, STR("\r\n\r\n{\"a\":1}")));
	assert_true(str_find(c.resp.body, STR("\r\nIdempotency-Key: k1\r\n")) > 0);
	assert_true(str_find(c.resp.body, STR("\r\nX-Empty:\r\n")) > 0);
	assert_true(str_find(c.resp.body, STR("\r\nContent-Type: application/json\r\n")) > 0);
	assert_true(str_ifind(c.resp.body, STR("\r\nUser-Agent: aragorad/")) > 0);
	assert_true(str_ifind(c.resp.body, STR("Expect:")) < 0);
	assert_true(str_ifind(c.resp.body, STR("urlencoded")) < 0);
}

static void test_methods(void **state)
{
	struct call put = call_for("/echo");
	struct call del = call_for("/echo");
	struct call post = call_for("/echo");

	(void)state;
	put.req.method = "PUT";
	put.req.body = STR("x");
	del.req.method = "DELETE";
	post.req.method = "POST";
	run_call(&put);
	run_call(&del);
	run_call(&post);
	assert_true(str_starts(put.resp.body, STR("PUT /echo ")) && str_ends(put.resp.body, STR("\r\n\r\nx")));
	assert_true(str_starts(del.resp.body, STR("DELETE /echo ")) && str_ends(del.resp.body, STR("\r\n\r\n")));
	assert_true(str_starts(post.resp.body, STR("POST /echo ")));
	assert_true(str_find(post.resp.body, STR("\r\nContent-Length: 0\r\n")) > 0);
}

static void test_long_body_goes_out_whole(void **state)
{
	struct call c = call_for("/ok");
	char *text = xmalloc(3000000);

	(void)state;
	memset(text, 'x', 3000000);
	c.req.method = "POST";
	c.req.body = (struct str){text, 3000000};
	run_call(&c);
	assert_int_equal(c.resp.fail, FETCH_OK);
	pthread_mutex_lock(&server.lock);
	assert_true(server.last.n > 3000000);
	assert_int_equal(server.last.p[server.last.n - 3000000 - 1], '\n');
	assert_null(strcasestr(server.last.p, "expect:"));
	pthread_mutex_unlock(&server.lock);
	free(text);
}

/* -- streams and limits ------------------------------------------------------------------------------------------- */

static bool on_data(void *arg, struct str chunk)
{
	struct call *c = arg;

	BUG_ON(co_self() != NULL);
	buf_add(&c->data, chunk);
	return ++c->chunks != c->refuse_at;
}

static void test_stream(void **state)
{
	struct call c = call_for("/stream");

	(void)state;
	c.req.on_data = on_data;
	c.req.arg = &c;
	run_call(&c);
	assert_int_equal(c.resp.fail, FETCH_OK);
	assert_true(str_eqz(buf_str(&c.data), "onetwothree"));
	assert_body(&c, "");
	buf_free(&c.data);
}

static void test_stream_refused(void **state)
{
	struct call c = call_for("/stream");

	(void)state;
	c.req.on_data = on_data;
	c.req.arg = &c;
	c.refuse_at = 1;
	run_call(&c);
	assert_int_equal(c.resp.fail, FETCH_REFUSED);
	assert_int_equal(c.chunks, 1);
	buf_free(&c.data);
}

static void test_failed_stream_is_collected(void **state)
{
	struct call c = call_for("/failed");

	(void)state;
	c.req.on_data = on_data;
	c.req.arg = &c;
	run_call(&c);
	assert_int_equal(c.resp.status, 500);
	assert_body(&c, "oops");
	assert_int_equal(c.chunks, 0);
}

static void test_too_big(void **state)
{
	struct call c = call_for("/big");
	struct call stream = call_for("/big");
	struct call fits = call_for("/big");

	(void)state;
	c.req.max_body = 99999;
	stream.req.max_body = 50000;
	stream.req.on_data = on_data;
	stream.req.arg = &stream;
	fits.req.max_body = 100000;
	run_call(&c);
	run_call(&stream);
	run_call(&fits);
	assert_int_equal(c.resp.fail, FETCH_TOO_BIG);
	assert_int_equal(stream.resp.fail, FETCH_TOO_BIG);
	assert_true(stream.data.n <= 50000);
	assert_int_equal(fits.resp.fail, FETCH_OK);
	assert_int_equal(fits.resp.body.n, 100000);
	buf_free(&stream.data);
}

/* -- time and cancellation ----------------------------------------------------------------------------------------- */

static void test_stalls(void **state)
{
	static const char *const paths[] = {"/silent", "/stall", "/interim-silent"};
	static const int status[] = {0, 200, 0};

	(void)state;
	for (size_t i = 0; i < countof(paths); i++) {
		struct call c = call_for(paths[i]);
		int64_t start = clock_mono_us();

		c.req.idle_us = 50 * MS_US;
		run_call(&c);
		assert_int_equal(c.resp.fail, FETCH_STALLED);
		assert_int_equal(c.resp.status, status[i]);
		assert_true(c.resp.sent);
		assert_true(clock_mono_us() - start >= 50 * MS_US);
	}
}

static void test_deadline_of_a_scope(void **state)
{
	struct call c = call_for("/silent");

	(void)state;
	c.scope.deadline = clock_mono_us() + 300 * MS_US;
	run_call(&c);
	assert_int_equal(c.resp.fail, FETCH_DEADLINE);
	assert_true(c.resp.sent);
}

static void test_cancel(void **state)
{
	struct call c = call_for("/stall");

	(void)state;
	start_call(&c);
	while (atomic_load(&server.requests) == 0 || atomic_load(&server.holding) == 0)
		loop_turn(loop, false);
	assert_int_equal(fetch_active(client), 1);
	co_scope_cancel(&c.scope, "the client left");
	run_all();
	assert_int_equal(c.resp.fail, FETCH_DEADLINE);
	assert_string_equal(c.resp.detail, "the client left");
	assert_int_equal(fetch_active(client), 0);
	/* The connection is gone for the server, too. */
	while (atomic_load(&server.holding) != 0)
		loop_turn(loop, false);
}

static void test_cancel_at_every_turn(void **state)
{
	(void)state;
	for (unsigned turns = 0; turns < 12; turns++) {
		struct call c = call_for("/ok");

		if (turns % 2 == 1)
			snprintf(c.url, sizeof(c.url), "http://localhost:%d/ok", server.port);
		start_call(&c);
		for (unsigned i = 0; i < turns; i++)
			loop_turn(loop, false);
		co_scope_cancel(&c.scope, "test");
		run_all();
		assert_true(c.resp.fail == FETCH_OK || c.resp.fail == FETCH_DEADLINE);
	}
}

static void test_ended_scope_sends_nothing(void **state)
{
	struct call c = call_for("/ok");

	(void)state;
	co_scope_cancel(&c.scope, "test");
	run_call(&c);
	assert_int_equal(c.resp.fail, FETCH_DEADLINE);
	assert_false(c.resp.sent);
	assert_int_equal(atomic_load(&server.requests), 0);
}

/* -- reaching the server ------------------------------------------------------------------------------------------- */

static void test_connection_refused(void **state)
{
	struct call c;
	int port;

	(void)state;
	close(listen_tcp(1, &port));
	c = call_for("");
	snprintf(c.url, sizeof(c.url), "http://127.0.0.1:%d/", port);
	run_call(&c);
	assert_int_equal(c.resp.fail, FETCH_CONNECT);
	assert_false(c.resp.sent);
	assert_int_equal(c.resp.status, 0);
}

static void test_connect_timeout(void **state)
{
	struct call c = call_for("");
	int port;
	int fd = listen_tcp(0, &port);
	int fill[4];

	(void)state;
	/* With its queue full the kernel ignores further attempts. */
	for (size_t i = 0; i < countof(fill); i++)
		fill[i] = connect_tcp(port, SOCK_NONBLOCK);
	snprintf(c.url, sizeof(c.url), "http://127.0.0.1:%d/", port);
	c.req.connect_us = 100 * MS_US;
	run_call(&c);
	assert_int_equal(c.resp.fail, FETCH_CONNECT);
	assert_false(c.resp.sent);
	for (size_t i = 0; i < countof(fill); i++)
		close(fill[i]);
	close(fd);
}

static void test_name_is_resolved_in_the_lane(void **state)
{
	struct call c = call_for("");

	(void)state;
	snprintf(c.url, sizeof(c.url), "http://localhost:%d/ok", server.port);
	start_call(&c);
	loop_turn(loop, false);
	assert_int_equal(lane_load(slow), 1);
	run_all();
	assert_int_equal(c.resp.fail, FETCH_OK);
}

static void test_unknown_name(void **state)
{
	struct call c = call_for("http://no such host/");
	struct call long_name = call_for("");

	(void)state;
	run_call(&c);
	assert_int_equal(c.resp.fail, FETCH_OTHER);
	/* A label of more than 63 bytes is refused without asking anybody. */
	snprintf(long_name.url, sizeof(long_name.url), "http://%080d.invalid/", 1);
	run_call(&long_name);
	assert_int_equal(long_name.resp.fail, FETCH_DNS);
	assert_false(long_name.resp.sent);
}

static void test_handshake_is_part_of_connecting(void **state)
{
	struct call c = call_for("");

	(void)state;
	/* The hello has no blank line, so the server waits for more: a handshake that hangs. */
	snprintf(c.url, sizeof(c.url), "https://127.0.0.1:%d/ok", server.port);
	c.req.connect_us = 200 * MS_US;
	run_call(&c);
	assert_int_equal(c.resp.fail, FETCH_CONNECT);
	assert_false(c.resp.sent);
}

static void *answer_in_plain_text(void *arg)
{
	int fd = accept(*(const int *)arg, NULL, NULL);
	char hello[4096];

	if (recv(fd, hello, sizeof(hello), 0) > 0)
		send_all(fd, STR("HTTP/1.1 400 Bad Request\r\n\r\n"));
	close(fd);
	return NULL;
}

static void test_tls_failure(void **state)
{
	struct call c = call_for("");
	pthread_t id;
	int port;
	int fd = listen_tcp(1, &port);

	(void)state;
	assert_int_equal(pthread_create(&id, NULL, answer_in_plain_text, &fd), 0);
	snprintf(c.url, sizeof(c.url), "https://127.0.0.1:%d/", port);
	run_call(&c);
	assert_int_equal(c.resp.fail, FETCH_TLS);
	assert_false(c.resp.sent);
	pthread_join(id, NULL);
	close(fd);
}

static void test_bad_requests(void **state)
{
	static const struct fetch_header split = {"X-A", {"b\r\nX-C: d", 9}};
	struct call header = call_for("/ok");
	static const char *const urls[] = {"ftp://127.0.0.1/x", "file:///etc/passwd", "127.0.0.1/ok", "", "http://"};

	(void)state;
	header.req.headers = &split;
	header.req.header_count = 1;
	run_call(&header);
	assert_int_equal(header.resp.fail, FETCH_OTHER);
	for (size_t i = 0; i < countof(urls); i++) {
		struct call c = call_for("/");

		snprintf(c.url, sizeof(c.url), "%s", urls[i]);
		run_call(&c);
		assert_int_equal(c.resp.fail, FETCH_OTHER);
		assert_false(c.resp.sent);
	}
	assert_int_equal(atomic_load(&server.requests), 0);
}

static void test_unix_socket(void **state)
{
	struct call c = call_for("http://any.name/ok");

	(void)state;
	c.req.unix_socket = server.path;
	run_call(&c);
	assert_int_equal(c.resp.fail, FETCH_OK);
	assert_int_equal(c.resp.status, 200);
}

static void test_proxy_of_the_environment_is_ignored(void **state)
{
	struct call c = call_for("/ok");

	(void)state;
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	run_call(&c);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
	assert_int_equal(c.resp.fail, FETCH_OK);
}

static void test_fifty_at_once(void **state)
{
	struct call *all = xcalloc(50, sizeof(*all));

	(void)state;
	for (size_t i = 0; i < 50; i++) {
		all[i] = call_for(i % 2 == 0 ? "/ok" : "/failed");
		if (i % 5 == 0)
			snprintf(all[i].url, sizeof(all[i].url), "http://localhost:%d/ok", server.port);
		start_call(&all[i]);
	}
	run_all();
	for (size_t i = 0; i < 50; i++)
		assert_int_equal(all[i].resp.fail, FETCH_OK);
	assert_int_equal(atomic_load(&server.requests), 50);
	free(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	    T(test_ok),
	    T(test_outcomes),
	    T(test_retry_after_date),
	    T(test_request_on_the_wire),
	    T(test_methods),
	    T(test_long_body_goes_out_whole),
	    T(test_stream),
	    T(test_stream_refused),
	    T(test_failed_stream_is_collected),
	    T(test_too_big),
	    T(test_stalls),
	    T(test_deadline_of_a_scope),
	    T(test_cancel),
	    T(test_cancel_at_every_turn),
	    T(test_ended_scope_sends_nothing),
	    T(test_connection_refused),
	    T(test_connect_timeout),
	    T(test_name_is_resolved_in_the_lane),
	    T(test_unknown_name),
	    T(test_handshake_is_part_of_connecting),
	    T(test_tls_failure),
	    T(test_bad_requests),
	    T(test_unix_socket),
	    T(test_proxy_of_the_environment_is_ignored),
	    T(test_fifty_at_once),
	};

	return cmocka_run_group_tests(tests, start_server, stop_server);
}
