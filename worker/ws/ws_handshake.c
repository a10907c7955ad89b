/* SPDX-License-Identifier: MIT */
/*
 * The opening handshake (RFC 6455 section 4) on a request that the router has matched. Called by handlers. What is said
 * on the socket afterwards is ws_conn.c.
 */
#include "common/conf.h"
#include "common/crypto.h"
#include "worker/ws/ws_conn.h"

/* Sec-WebSocket-Protocol may be given in several headers: calls for each offered name; true when one was taken. */
static bool handshake_offers(const struct http_request *req, bool (*take)(struct str name, void *arg), void *arg)
{
	struct str list, name;
	size_t i;

	for (i = 0; i < req->field_count; i++) {
		if (!str_ieqz(req->fields[i].name, "sec-websocket-protocol"))
			continue;
		list = req->fields[i].value;
		while (str_split(&list, ',', &name))
			if (take(str_trim(name), arg))
				return true;
	}
	return false;
}

static bool handshake_is(struct str name, void *arg)
{
	return str_eqz(name, arg);
}

bool ws_offered(const struct http_request *req, const char *subprotocol)
{
	char *copy = xstrdup(subprotocol);
	bool found = handshake_offers(req, handshake_is, copy);

	free(copy);
	return found;
}

static bool handshake_token(struct str name, void *arg)
{
	struct str *out = arg, prefix = STR("access_token.");

	if (!str_starts(name, prefix))
		return false;
	*out = str_sub(name, prefix.n, name.n);
	return true;
}

struct str ws_offered_token(const struct http_request *req)
{
	struct str token = STR_NONE;

	handshake_offers(req, handshake_token, &token);
	return token;
}

static bool handshake_origin_ok(const struct http_request *req)
{
	const struct http_field *origin = http_head_find(req->fields, req->field_count, "origin");

	return origin == NULL || http_origin_allowed(req->reply->server->conf, origin->value) ||
	       http_origin_same(req, origin->value);
}

static bool handshake_key_ok(const struct http_request *req, struct str *key)
{
	uint8_t raw[24];
	size_t n = sizeof(raw), i, seen = 0;

	for (i = 0; i < req->field_count; i++)
		if (str_ieqz(req->fields[i].name, "sec-websocket-key")) {
			*key = req->fields[i].value;
			seen++;
		}
	return seen == 1 && key->n == 24 && crypto_unbase64(*key, raw, &n) && n == 16;
}

static bool handshake_check(struct http_request *req, struct str *key, struct error *err)
{
	bool upgrade = http_list_has(http_field(req, "upgrade"), "websocket") &&
		       http_list_has(http_field(req, "connection"), "upgrade");

	if (req->major != 1)
		return error_set(err, ERR_UPGRADE_REQUIRED, "WebSockets are opened by HTTP/1.1 here");
	if (!upgrade || req->minor == 0)
		return error_set(err, ERR_UPGRADE_REQUIRED, "this is a WebSocket: send an upgrade request");
	if (!str_eqz(http_field(req, "sec-websocket-version"), "13"))
		return error_set(err, ERR_UPGRADE_REQUIRED, "only WebSocket version 13 is spoken here");
	if (req->method != HTTP_GET || req->head || req->reply->framing.kind != BODY_NONE ||
	    !handshake_key_ok(req, key))
		return error_set(err, ERR_BAD_REQUEST, "malformed WebSocket handshake");
	if (!handshake_origin_ok(req))
		return error_set(err, ERR_FORBIDDEN, "the origin of this page is not allowed");
	/* A draining server opens it all the same: 1012, which follows, tells a client more than a handshake that
	 * failed. */
	return true;
}

static void handshake_accept_key(struct str key, char out[32])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char text[24 + sizeof(guid)];
	uint8_t digest[20];

	BUG_ON(key.p == NULL || key.n != 24);
	memcpy(text, key.p, 24);
	memcpy(text + 24, guid, sizeof(guid));
	crypto_sha1((struct str){text, 24 + sizeof(guid) - 1}, digest);
	crypto_base64(out, digest, sizeof(digest));
}

/* The first offer that can be accepted, whatever the number of headers; server replies name it. */
static struct ws_deflate handshake_deflate(const struct http_request *req)
{
	struct ws_deflate d = {.on = false};
	size_t i;

	for (i = 0; i < req->field_count; i++)
		if (str_ieqz(req->fields[i].name, "sec-websocket-extensions") &&
		    ws_deflate_offer(req->fields[i].value, &d))
			break;
	return d;
}

static void handshake_answer(struct http_request *req, struct str key, const char *subprotocol,
			     const struct ws_deflate *deflate)
{
	char accept[32], extension[192];
	struct str lines;

	handshake_accept_key(key, accept);
	(void)ws_deflate_answer(deflate, extension, sizeof(extension));
	lines = arena_printf(
	    req->arena, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s%s%s%s%s%s", accept,
	    subprotocol != NULL ? "Sec-WebSocket-Protocol: " : "", subprotocol != NULL ? subprotocol : "",
	    subprotocol != NULL ? "\r\n" : "", deflate->on ? "Sec-WebSocket-Extensions: " : "",
	    deflate->on ? extension : "", deflate->on ? "\r\n" : "");
	req->status = 101;
	conn_send(req->conn, reply_head(req->reply, 101, NULL, -1, lines.p));
}

/* One who is over the limits is told so by a close code, which a page can read. */
static const struct ws_ops handshake_refused;

struct ws *ws_accept(struct http_request *req, const char *subprotocol, const struct ws_ops *ops, void *arg)
{
	struct http_reply *h = req->reply;
	struct http_server *s = h->server;
	struct http_conn *c = req->conn;
	struct error err = ERROR_INIT;
	struct http_addr addr;
	struct str key = STR_NONE;
	struct ws_deflate deflate;
	enum peers_answer answer = PEERS_UNCOUNTED;
	struct ws *w;

	BUG_ON(h->replied);
	if (c != NULL && !h->timed_out && !handshake_check(req, &key, &err)) {
		if (err.code == ERR_UPGRADE_REQUIRED)
			http_reply_block(req, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
		http_reply_error(req, &err);
		return NULL;
	}
	h->replied = true;
	if (c == NULL || h->timed_out)
		return NULL;
	if (!http_addr_parse(req->client, &addr))
		addr = c->addr;
	if (server_limits(s, &addr))
		answer = http_peers_enter(&s->peers, PEERS_SOCKETS, &addr, s->conf->websocket.max_per_ip,
					  s->conf->websocket.connection_rate, loop_now(s->loop));
	deflate = handshake_deflate(req);
	handshake_answer(req, key, subprotocol, &deflate);
	if (answer == PEERS_REFUSED) {
		w = ws_new(c, &addr, false, &deflate, &handshake_refused, NULL);
		ws_close(w, WS_RATE, "too many connections from this address");
		w = NULL;
	} else {
		w = ws_new(c, &addr, answer == PEERS_COUNTED, &deflate, ops, arg);
	}
	request_detach(c);
	return w;
}
