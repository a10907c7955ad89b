/* SPDX-License-Identifier: MIT */
/*
 * The life of one request: made from a complete head, matched, given its body, dispatched, answered, freed when both
 * the connection and the handler have let go. Called by http_conn.c; it neither routes nor writes.
 */
#include <errno.h>

#include "common/clock.h"
#include "common/conf.h"
#include "worker/http/http_conn.h"
#include "worker/http/route.h"

bool http_peer_trusted(const struct http_request *req)
{
	return req->conn != NULL && req->conn->trusted;
}

/* ---- memory ---- */

struct http_reply *request_new(struct http_conn *c, const struct http_carrier *carrier, void *carrier_arg)
{
	struct http_server *s = c->server;
	struct arena *a = server_arena_take(s);
	struct http_reply *h = arena_zalloc(a, sizeof(*h));

	h->server = s;
	s->refs++;
	h->carrier = carrier;
	h->carrier_arg = carrier_arg;
	h->attached = true;
	h->next = &s->calls;
	h->prev = s->calls.prev;
	s->calls.prev->next = h;
	s->calls.prev = h;
	h->req.arena = a;
	h->req.conn = c;
	h->req.user = s->user;
	h->req.reply = h;
	h->req.method = HTTP_OTHER;
	h->req.major = 1;
	h->req.minor = 1;
	h->req.ctx = CONTEXT_DEFAULT;
	h->fields = h->first_fields;
	h->field_cap = countof(h->first_fields);
	/* The clock as it was read last in this turn: when the events came, or when the request before was done. */
	h->req.start_us = loop_now(s->loop);
	return h;
}

/* The one request of an HTTP/1 connection. */
static struct http_reply *request_attach(struct http_conn *c)
{
	BUG_ON(c->call != NULL);
	c->call = request_new(c, &http1_carrier, NULL);
	return c->call;
}

static void request_free_unused(struct http_reply *h)
{
	struct http_server *s = h->server;

	if (h->attached || h->holds > 0)
		return;
	http_deadline_clear(&h->deadline);
	h->next->prev = h->prev;
	h->prev->next = h->next;
	if (h->carrier->freed != NULL)
		h->carrier->freed(h);
	buf_free(&h->body);
	http_meaning_unref(h->meaning);
	server_arena_give(s, h->req.arena);
	server_unref(s);
}

void request_finished(struct http_reply *h)
{
	if (h->finished)
		return;
	h->finished = true;
	h->req.end_us = loop_refresh(h->server->loop);
	http_deadline_clear(&h->deadline);
	atomic_fetch_add_explicit(&h->server->slots[h->server->slot].requests, 1, memory_order_relaxed);
	if (h->server->hooks->finished != NULL)
		h->server->hooks->finished(&h->req);
}

void request_drop(struct http_reply *h)
{
	h->req.conn = NULL;
	/* The client has gone before the answer: 499 is how logs tell it. */
	if (h->req.status == 0)
		h->req.status = 499;
	request_finished(h);
	h->attached = false;
	request_free_unused(h);
}

void request_detach(struct http_conn *c)
{
	struct http_reply *h = c->call;

	c->call = NULL;
	if (h != NULL)
		request_drop(h);
}

void http_request_hold(struct http_request *req)
{
	req->reply->holds++;
}

void http_request_release(struct http_request *req)
{
	struct http_reply *h = req->reply;

	BUG_ON(h->holds == 0);
	if (h->holds == 1 && !h->replied && !h->timed_out) {
		struct error err = ERROR_INIT;

		if (req->conn != NULL)
			log_error("http", "handler returned without a reply", KV_STR("path", req->path));
		error_set(&err, ERR_INTERNAL, "the handler gave no answer");
		http_reply_error(req, &err);
	}
	h->holds--;
	request_free_unused(h);
}

/* ---- identity ---- */

/* splitmix64: unique in this process and not repeated after a restart; not a secret. */
static uint64_t request_next_id(struct http_server *s)
{
	uint64_t z = s->id_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static struct str request_make_id(struct http_reply *h)
{
	static const char hex[] = "0123456789abcdef";
	uint64_t z = request_next_id(h->server);
	char *p = h->id_text;
	size_t i;

	memcpy(p, "req-", 4);
	for (i = 4; i < sizeof(h->id_text); i++, z >>= 4)
		p[i] = hex[z & 15];
	return (struct str){p, sizeof(h->id_text)};
}

static bool request_id_ok(struct str id)
{
	size_t i;

	for (i = 0; i < id.n; i++) {
		char c = id.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
		      c == '_' || c == '-'))
			return false;
	}
	return id.n > 0 && id.n <= 128;
}

/* The peer's address, spelled once per connection; copied because the request may outlive it. */
static struct str request_peer(struct http_reply *h, struct http_conn *c)
{
	if (c->addr_text[0] == '\0')
		http_addr_text(&c->addr, c->addr_text);
	memcpy(h->client_text, c->addr_text, sizeof(h->client_text));
	return str_of(h->client_text);
}

/* What a proxy of ours tells of the client. */
static void request_forwarded(struct http_reply *h, const struct http_conn *c)
{
	struct str proto = http_field(&h->req, "x-forwarded-proto");
	struct http_addr addr;

	if (proto.n > 0)
		h->req.https = proto.n >= 5 && str_ieqz(str_trim(str_sub(proto, proto.n - 5, proto.n)), "https");
	if (http_field(&h->req, "x-forwarded-for").p == NULL)
		return;
	addr = http_forwarded_for(&h->server->trusted, h->req.fields, h->req.field_count, c->addr);
	http_addr_text(&addr, h->client_text);
	h->req.client = str_of(h->client_text);
}

void request_identify(struct http_reply *h)
{
	struct http_conn *c = h->req.conn;

	h->req.request_id = http_field(&h->req, "x-request-id");
	if (h->req.request_id.p == NULL)
		h->req.request_id = http_field(&h->req, "x-correlation-id");
	if (!request_id_ok(h->req.request_id))
		h->req.request_id = request_make_id(h);
	h->log.request_id = h->req.request_id;
	h->req.ctx.request_id = h->req.request_id;
	h->req.https = c->https;
	h->req.client = request_peer(h, c);
	if (c->trusted)
		request_forwarded(h, c);
}

/* ---- scope and deadline of the handler ---- */

void http_request_enter(struct http_request *req)
{
	struct http_reply *h = req->reply;

	h->scope = (struct co_scope){.kind = SCOPE_REQUEST};
	if (h->timed_out || h->taken_back)
		h->scope.cancelled = true;
	co_scope_enter(&h->scope);
	h->in_scope = true;
	if (req->trace.on)
		trace_parent(&req->trace, h->trace);
	h->log.trace = req->trace.on ? str_of(h->trace) : STR_NONE;
	co_set_log(&h->log);
}

void http_request_leave(struct http_request *req)
{
	req->reply->in_scope = false;
	co_set_log(NULL);
	co_scope_leave(&req->reply->scope);
}

void http_request_deadline(struct http_request *req, int64_t us)
{
	struct http_reply *h = req->reply;

	if (us <= 0 || req->conn == NULL || h->replied || h->timed_out)
		return;
	h->timeout_us = us;
	http_deadline_set_for(&h->server->deadlines, &h->deadline, DEADLINE_REQUEST, us);
}

void request_expired(struct http_reply *h)
{
	struct http_request *req = &h->req;
	double seconds = (double)h->timeout_us / (double)SEC_US;

	if (h->replied || h->timed_out || req->conn == NULL)
		return;
	http_request_hold(req);
	http_reply_field(req, "Retry-After", "%d", 5);
	http_reply_field(req, "X-Timeout-Seconds", "%g", seconds);
	http_reply_field(req, "X-Timeout", "%g", seconds);
	/* The client has its answer; the handler has not replied yet and may do so, in vain. */
	reply_problem(req, 504, "request_timeout", "The request took longer than its time limit", "",
		      json_pack("{s:f, s:o}", "timeout_seconds", seconds, "path",
				json_stringn_nocheck(req->path.p, req->path.n)));
	h->timed_out = true;
	h->replied = false;
	if (h->in_scope)
		co_scope_cancel(&h->scope, "request_timeout");
	http_request_release(req);
}

void request_take_back(struct http_reply *h)
{
	h->taken_back = true;
	if (h->in_scope && !h->replied && !h->timed_out)
		co_scope_cancel(&h->scope, "client_gone");
}

void request_cancel_all(struct http_server *s, const char *why)
{
	struct http_reply *h;

	for (h = s->calls.next; h != &s->calls; h = h->next)
		if (h->in_scope)
			co_scope_cancel(&h->scope, why);
}

/* ---- from head to dispatch ---- */

void request_reject(struct http_reply *h, const struct error *err)
{
	h->body_left = true;
	http_reply_error(&h->req, err);
}

static void request_dispatch(struct http_reply *h)
{
	struct http_request *req = &h->req;
	const struct log_ctx *before = log_context(&h->log);

	req->body = buf_str(&h->body);
	http_request_hold(req);
	h->server->hooks->dispatch(req);
	log_context(before);
	http_request_release(req);
}

void request_complete(struct http_reply *h)
{
	h->carrier->body_done(h);
	if (h->discard)
		http_reply_error(&h->req, &h->refusal);
	else
		request_dispatch(h);
}

static void request_too_large(struct http_reply *h)
{
	struct error err = ERROR_INIT;

	error_set(&err, ERR_TOO_LARGE, "the request body is larger than %zu bytes", h->body_limit);
	request_reject(h, h->discard ? &h->refusal : &err);
}

/* The answer is known before the body: small bodies are read away so that the connection can go on. */
static void request_refuse_early(struct http_reply *h, const struct error *err)
{
	const struct http_framing *f = &h->framing;

	if (f->kind == BODY_NONE) {
		http_reply_error(&h->req, err);
		return;
	}
	if (f->expect != EXPECT_NOTHING || (f->kind == BODY_LENGTH && f->length > CONN_DISCARD)) {
		request_reject(h, err);
		return;
	}
	h->refusal = *err;
	h->discard = true;
	h->body_limit = CONN_DISCARD;
	h->body_left_bytes = f->length;
	h->carrier->await_body(h, false);
}

static void request_await_body(struct http_reply *h)
{
	if (h->framing.kind == BODY_LENGTH && h->framing.length > h->body_limit) {
		request_too_large(h);
		return;
	}
	if (h->framing.expect == EXPECT_UNKNOWN) {
		h->body_left = h->framing.kind != BODY_NONE;
		reply_problem(&h->req, 417, "EXPECTATION_FAILED", "only the expectation 100-continue is understood", "",
			      NULL);
		return;
	}
	if (h->framing.kind == BODY_NONE) {
		request_complete(h);
		return;
	}
	h->body_left_bytes = h->framing.length;
	h->body.max = h->body_limit + 1;
	h->carrier->await_body(h, h->framing.expect == EXPECT_CONTINUE);
}

void request_route(struct http_reply *h)
{
	struct http_request *req = &h->req;
	struct error err = ERROR_INIT;

	if (req->head)
		req->method = HTTP_GET;
	h->body_limit = (size_t)h->server->conf->limits.body_bytes;
	if (req->path.p == NULL && !route_normalise(req->target, req->arena, &req->path, &err)) {
		request_reject(h, &err);
		return;
	}
	if (h->server->hooks->match != NULL && !h->server->hooks->match(req, &h->body_limit, &err))
		request_refuse_early(h, &err);
	else
		request_await_body(h);
}

/* The text is kept with the request: a handler that waits must not see the next head under its slices. */
static bool request_parse(struct http_reply *h, struct str raw, struct error *err)
{
	struct http_request *req = &h->req;
	struct http_meaning *m = http_memo_find(&h->server->memo, raw);

	h->meaning = m;
	if (m == NULL) {
		m = arena_alloc(req->arena, sizeof(*m));
		if (!http_meaning_parse(m, req->arena, raw, err))
			return false;
		http_memo_hear(&h->server->memo, m);
	}
	req->fields = m->fields;
	req->field_count = m->field_count;
	req->field_marks = m->field_marks;
	req->method = m->method;
	req->head = m->method == HTTP_HEAD;
	req->minor = m->minor;
	req->target = m->target;
	req->query = m->query;
	req->path = m->path;
	h->framing = m->framing;
	return true;
}

void request_begin(struct http_conn *c, struct str head, const struct error *bad)
{
	struct http_reply *h = request_attach(c);
	struct error err = ERROR_INIT;
	bool parsed;

	if (bad != NULL)
		err = *bad;
	parsed = bad == NULL && request_parse(h, head, &err);
	request_identify(h);
	if (parsed)
		request_route(h);
	else
		request_reject(h, &err);
}

/* ---- body ---- */

/* Keeps body bytes; false when there are too many. */
static bool request_keep(struct http_reply *h, struct str data)
{
	if (h->discard) {
		h->body_limit -= data.n < h->body_limit ? data.n : h->body_limit;
		return data.n == 0 || h->body_limit > 0;
	}
	if (h->body.n + data.n > h->body_limit)
		return false;
	buf_add(&h->body, data);
	return true;
}

static size_t request_body_length(struct http_reply *h, struct str in)
{
	size_t n = in.n < h->body_left_bytes ? in.n : (size_t)h->body_left_bytes;

	h->body_left_bytes -= n;
	if (!h->discard)
		buf_add(&h->body, str_sub(in, 0, n));
	if (h->body_left_bytes == 0)
		request_complete(h);
	return n;
}

static size_t request_body_chunked(struct http_reply *h, struct str in)
{
	struct error err = ERROR_INIT;
	size_t used = 0, total = 0;
	struct str data;
	int r = 0;

	while (r == 0 && total < in.n) {
		r = http_chunked_feed(&h->chunked, str_sub(in, total, in.n), &used, &data);
		if (r < 0) {
			error_set(&err, ERR_BAD_REQUEST, "malformed chunked body");
			request_reject(h, &err);
			return in.n;
		}
		total += used;
		if (!request_keep(h, data)) {
			request_too_large(h);
			return in.n;
		}
	}
	if (r == 1)
		request_complete(h);
	return total;
}

/* A client that sends a byte now and then would never be silent for long: it must also reach a rate. */
static bool request_body_late(struct http_reply *h, size_t n)
{
	const struct conf *c = h->server->conf;
	int64_t now = loop_now(h->server->loop);

	if (h->body_from == 0)
		h->body_from = now;
	h->body_seen += n;
	/* A body is far smaller than 2^43 bytes: see limits.body_bytes. */
	return c->server.body_rate > 0 &&
	       now - h->body_from > c->server.body_timeout + (int64_t)h->body_seen * SEC_US / c->server.body_rate;
}

void request_body_expired(struct http_reply *h)
{
	reply_problem(&h->req, 408, "REQUEST_TIMEOUT", "the request body did not arrive in time", "", NULL);
}

bool request_piece(struct http_reply *h, struct str data)
{
	if (request_body_late(h, data.n)) {
		request_body_expired(h);
		return false;
	}
	if (request_keep(h, data))
		return true;
	request_too_large(h);
	return false;
}

size_t request_body(struct http_conn *c, struct str in)
{
	struct http_reply *h = c->call;

	if (request_body_late(h, in.n)) {
		conn_expired(c, DEADLINE_BODY);
		return in.n;
	}
	conn_deadline(c, DEADLINE_BODY);
	return h->framing.kind == BODY_LENGTH ? request_body_length(h, in) : request_body_chunked(h, in);
}

/* ---- on an HTTP/1 connection ---- */

static void http1_await_body(struct http_reply *h, bool go_on)
{
	struct http_conn *c = h->req.conn;

	conn_state_set(c, CONN_BODY);
	conn_deadline(c, DEADLINE_BODY);
	/* Who has sent its body already does not wait. */
	if (go_on && c->in.off == c->in.end)
		conn_send(c, rbuf_of(STR("HTTP/1.1 100 Continue\r\n\r\n")));
}

static void http1_body_done(struct http_reply *h)
{
	conn_state_set(h->req.conn, CONN_WORK);
	conn_deadline(h->req.conn, DEADLINE_NONE);
}

const struct http_carrier http1_carrier = {
    .await_body = http1_await_body,
    .body_done = http1_body_done,
    .reply = http1_reply,
    .stream_begin = http1_stream_begin,
    .stream_write = http1_stream_write,
    .stream_end = http1_stream_end,
    .stream_queued = http1_stream_queued,
    .stream_fail = http1_stream_fail,
};

/* ---- the answer ---- */

bool request_keeps(const struct http_reply *h)
{
	return h->framing.keep_alive && !h->body_left && !h->server->draining && h->server->conf->server.keepalive > 0;
}

void request_done(struct http_conn *c)
{
	struct http_reply *h = c->call;
	bool keep = h->keep_alive;

	c->input_left |= h->body_left;
	request_detach(c);
	if (keep) {
		conn_state_set(c, CONN_IDLE);
		conn_mark(c);
	} else {
		conn_finish(c);
	}
}

void request_refuse(struct http_conn *c, enum err code, const char *msg, int retry_after)
{
	struct error err = ERROR_INIT;
	struct http_reply *h;

	conn_state_set(c, CONN_WORK);
	conn_deadline(c, DEADLINE_NONE);
	h = request_attach(c);
	request_identify(h);
	if (retry_after > 0)
		http_reply_field(&h->req, "Retry-After", "%d", retry_after);
	error_set(&err, code, "%s", msg);
	request_reject(h, &err);
}
