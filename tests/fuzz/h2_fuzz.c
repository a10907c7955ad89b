/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes an HTTP/2 connection behind its preface: the input is a list of frames (type, flags, stream, length, payload),
 * so that mutations reach what is behind the frame header; a type from 128 on makes the payload raw bytes. It goes in
 * whole and in pieces. Handlers answer, stream, hold the request back; every one must end with the connection.
 */
#include "tests/fuzz/fuzz_http.h"
#include "worker/http/h2.h"

#define FUZZ_HELD 64

static struct fuzz_world {
	struct http_request *held[FUZZ_HELD];
	unsigned held_count;
	unsigned begun, finished, streams;
} world;

static void fuzz_on_close(void *arg)
{
	(void)arg;
	world.streams--;
}

static const struct http_stream_ops fuzz_ops = {.on_close = fuzz_on_close};

/* What the path begins with decides how it is answered. */
static void fuzz_dispatch(struct http_request *req)
{
	struct http_stream *s;

	BUG_ON(req->major != 2 || req->field_count > HTTP_FIELDS_MAX || http_field(req, "host").n == 0);
	switch (req->path.n > 1 ? req->path.p[1] : '/') {
	case 's':
		world.streams++;
		s = http_stream_begin(req, "text/event-stream", &fuzz_ops, NULL);
		(void)http_stream_write(s, rbuf_of(STR("data: x\n\n")));
		if (req->path.n > 2)
			http_stream_end(s);
		break;
	case 'h':
		if (world.held_count < FUZZ_HELD) {
			http_request_hold(req);
			world.held[world.held_count++] = req;
			break;
		}
		__attribute__((fallthrough));
	default:
		http_reply(req, 200, "text/plain", req->body.n > 0 ? req->body : req->path);
		break;
	}
}

static bool fuzz_match(struct http_request *req, size_t *body_limit, struct error *err)
{
	world.begun++;
	*body_limit = 1024;
	return req->path.n < 2 || req->path.p[1] != 'n' || error_set(err, ERR_NOT_FOUND, "no such path");
}

static void fuzz_finished(struct http_request *req)
{
	BUG_ON(req->status == 0);
	world.finished++;
}

static const struct http_hooks fuzz_hooks = {.dispatch = fuzz_dispatch, .match = fuzz_match, .finished = fuzz_finished};

/* The bytes that the input stands for. */
static void fuzz_frames(struct str in, struct buf *out)
{
	static const char settings[9] = {0, 0, 0, NGHTTP2_SETTINGS};

	buf_add(out, H2_PREFACE);
	buf_add(out, (struct str){settings, sizeof(settings)});
	while (in.n >= 4) {
		size_t n = (unsigned char)in.p[3] < in.n - 4 ? (unsigned char)in.p[3] : in.n - 4;
		const char head[9] = {0, 0, (char)n, in.p[0], in.p[1], 0, 0, 0, in.p[2]};

		if ((unsigned char)in.p[0] < 128)
			buf_add(out, (struct str){head, sizeof(head)});
		buf_add(out, str_sub(in, 4, 4 + n));
		in = str_sub(in, 4 + n, in.n);
	}
}

static void fuzz_release(unsigned keep)
{
	while (world.held_count > keep) {
		struct http_request *req = world.held[--world.held_count];

		http_reply(req, 200, "text/plain", STR("held"));
		http_request_release(req);
	}
}

static void fuzz_run(struct str bytes, uint32_t seed)
{
	bool ended;
	int fd = fuzz_http_send(bytes, seed, &ended);

	/* Some answers come before the end of the connection, the others after it. */
	fuzz_release(world.held_count / 2);
	(void)fuzz_http_turn(fd, FUZZ_TURNS);
	fuzz_http_close(fd);
	fuzz_release(0);
	loop_turn(fuzz_http.loop, false);
	BUG_ON(world.streams != 0 || world.finished < world.begun || fuzz_http.server->h2_streams != 0 ||
	       fuzz_http.server->h2_conns != 0 || fuzz_http.server->calls.next != &fuzz_http.server->calls);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct conf_override overrides[] = {{"limits.head_bytes", "4096"},
							 {"log.level", "error"},
							 {"server.http2.max_streams", "8"},
							 {"server.http2.buffer", "65536"}};
	struct buf bytes = BUF_INIT;

	if (size < 1 || size > 8192)
		return 0;
	if (fuzz_http.loop == NULL)
		fuzz_http_open(overrides, countof(overrides), &fuzz_hooks);
	fuzz_frames((struct str){(const char *)data + 1, size - 1}, &bytes);
	fuzz_run(buf_str(&bytes), 0);
	fuzz_run(buf_str(&bytes), data[0] + 1U);
	buf_free(&bytes);
	return 0;
}
