/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes a whole connection, heads, bodies, pipelining and the way to a WebSocket: bytes go in through
 * a socket, once whole and once in pieces, and handlers must see the same requests and messages, and the connection end
 * or not, both times. Byte 0 seeds the cuts.
 */
#include "tests/fuzz/fuzz_http.h"
#include "worker/http/http_conn.h"
#include "worker/http/route.h"
#include "worker/ws/ws.h"

static struct fuzz_world {
	struct router *router;
	struct buf *seen;
} world;

static void fuzz_see(char kind, struct str s)
{
	buf_printf(world.seen, "%c%zu:", kind, s.n);
	buf_add(world.seen, s);
}

static void fuzz_echo(struct http_request *req)
{
	fuzz_see('p', req->path);
	fuzz_see('q', req->query);
	fuzz_see('b', req->body);
	fuzz_see('c', req->client);
	http_reply(req, 200, "text/plain", req->body);
}

static void fuzz_message(void *arg, struct str text, bool binary)
{
	(void)arg;
	BUG_ON(!binary && !str_utf8_valid(text));
	fuzz_see(binary ? 'B' : 'T', text);
}

static void fuzz_closed(void *arg)
{
	(void)arg;
}

static void fuzz_socket(struct http_request *req)
{
	static const struct ws_ops ops = {.on_message = fuzz_message, .on_close = fuzz_closed};

	fuzz_see('w', req->path);
	(void)ws_accept(req, NULL, &ops, NULL);
}

static const struct route fuzz_routes[] = {
    {HTTP_GET, "/", fuzz_echo, .flags = ROUTE_PUBLIC},
    {HTTP_POST, "/", fuzz_echo, .flags = ROUTE_PUBLIC},
    {HTTP_PUT, "/small/{id}", fuzz_echo, .flags = ROUTE_PUBLIC, .body_limit = 16},
    {HTTP_GET, "/ws", fuzz_socket, .flags = ROUTE_PUBLIC | ROUTE_WS},
};
static const struct route_table fuzz_table = {fuzz_routes, countof(fuzz_routes)};

static bool fuzz_match(struct http_request *req, size_t *body_limit, struct error *err)
{
	struct str allow = STR_NONE;

	req->route = router_match(world.router, req->method, req->path, req->params, req->arena, &allow, err);
	*body_limit = req->route != NULL && req->route->body_limit > 0 ? req->route->body_limit : 1024;
	return req->route != NULL;
}

static void fuzz_dispatch(struct http_request *req)
{
	struct error err = ERROR_INIT;

	if (req->route != NULL) {
		req->route->handler(req);
		return;
	}
	error_set(&err, ERR_NOT_FOUND, "no such path");
	http_reply_error(req, &err);
}

static void fuzz_finished(struct http_request *req)
{
	buf_printf(world.seen, "s%d:", req->status);
}

static const struct http_hooks fuzz_hooks = {.dispatch = fuzz_dispatch, .match = fuzz_match, .finished = fuzz_finished};

static void fuzz_world_open(void)
{
	static const struct conf_override overrides[] = {{"websocket.max_message", "4096"},
							 {"limits.head_bytes", "4096"},
							 {"server.http2.enabled", "false"},
							 {"log.level", "error"}};
	struct error err = ERROR_INIT;

	fuzz_http_open(overrides, countof(overrides), &fuzz_hooks);
	world.router = router_new(&fuzz_table, 1, NULL, 0, fuzz_http.conf, &err);
	BUG_ON(world.router == NULL);
}

/* True when the server ended the connection. */
static bool fuzz_run(struct str bytes, uint32_t seed, struct buf *seen)
{
	bool ended;

	world.seen = seen;
	fuzz_http_close(fuzz_http_send(bytes, seed, &ended));
	return ended;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole = BUF_INIT, cut = BUF_INIT;
	struct str bytes;
	bool a, b;

	if (size < 1 || size > 8192)
		return 0;
	if (fuzz_http.loop == NULL)
		fuzz_world_open();
	bytes = (struct str){(const char *)data + 1, size - 1};
	a = fuzz_run(bytes, 0, &whole);
	b = fuzz_run(bytes, data[0] + 1U, &cut);
	BUG_ON(a != b || !str_eq(buf_str(&whole), buf_str(&cut)));
	buf_free(&whole);
	buf_free(&cut);
	return 0;
}
