/* SPDX-License-Identifier: MIT */
/*
 * What handlers say: headers, complete replies, JSON, the error envelope. Called by handlers, middleware and the
 * request machinery; it queues bytes on the connection and sends none itself.
 */
#include <stdarg.h>

#include "common/conf.h"
#include "common/json.h"
#include "worker/http/http_conn.h"

/* Bodies up to this size travel in the same slice as their head. */
#define REPLY_JOIN 16384

static const struct {
	int status;
	const char *text;
} reply_reasons[] = {
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {423, "Locked"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *reply_reason(int status)
{
	size_t i;

	for (i = 0; i < countof(reply_reasons); i++)
		if (reply_reasons[i].status == status)
			return reply_reasons[i].text;
	return "Unknown";
}

struct str http_field(const struct http_request *req, const char *name)
{
	const struct http_field *f = http_head_find(req->fields, req->field_count, name);

	return f != NULL ? f->value : STR_NONE;
}

/* ---- headers ---- */

static void reply_add(struct http_reply *h, const char *name, struct str value)
{
	BUG_ON(value.n > 0 && (memchr(value.p, '\r', value.n) != NULL || memchr(value.p, '\n', value.n) != NULL));
	if (h->field_count == h->field_cap) {
		size_t cap = h->field_cap > 0 ? h->field_cap * 2 : 8;
		struct reply_field *v = arena_alloc(h->req.arena, cap * sizeof(*v));

		if (h->field_count > 0)
			memcpy(v, h->fields, h->field_count * sizeof(*v));
		h->fields = v;
		h->field_cap = cap;
	}
	h->fields[h->field_count++] = (struct reply_field){arena_strdup(h->req.arena, name), value};
}

void http_reply_field(struct http_request *req, const char *name, const char *fmt, ...)
{
	char small[512];
	va_list ap;
	char *p;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	BUG_ON(n < 0);
	p = arena_alloc(req->arena, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	reply_add(req->reply, name, (struct str){p, (size_t)n});
}

void http_reply_block(struct http_request *req, const char *lines)
{
	struct http_reply *h = req->reply;

	BUG_ON(h->block_count == REPLY_BLOCKS_MAX);
	h->blocks[h->block_count++] = lines;
}

bool http_reply_has(const struct http_request *req, const char *name)
{
	const struct http_reply *h = req->reply;
	size_t i;

	for (i = 0; i < h->field_count; i++)
		if (str_ieqz(str_of(h->fields[i].name), name))
			return true;
	return false;
}

static void reply_line(struct buf *b, const char *name, struct str value)
{
	buf_addz(b, name);
	buf_add(b, STR(": "));
	buf_add(b, value);
	buf_add(b, STR("\r\n"));
}

/* The head of the reply, written into b. */
static void reply_write_head(struct http_reply *h, struct buf *b, int status, const char *content_type,
			     int64_t content_length, const char *extra)
{
	size_t i;

	buf_printf(b, "HTTP/1.1 %d %s\r\n", status, reply_reason(status));
	reply_line(b, "Date", str_of(server_date(h->server)));
	if (content_type != NULL)
		reply_line(b, "Content-Type", str_of(content_type));
	if (content_length >= 0)
		buf_printf(b, "Content-Length: %lld\r\n", (long long)content_length);
	if (extra != NULL)
		buf_addz(b, extra);
	else if (!h->keep_alive)
		buf_add(b, STR("Connection: close\r\n"));
	else if (h->req.minor == 0)
		buf_add(b, STR("Connection: keep-alive\r\n"));
	for (i = 0; i < h->field_count; i++)
		reply_line(b, h->fields[i].name, h->fields[i].value);
	for (i = 0; i < h->block_count; i++)
		buf_addz(b, h->blocks[i]);
	buf_add(b, STR("\r\n"));
}

struct rbuf *reply_head(struct http_reply *h, int status, const char *content_type, int64_t content_length,
			const char *extra)
{
	struct buf b = BUF_INIT;
	struct rbuf *r;

	if (h->server->hooks->headers != NULL)
		h->server->hooks->headers(&h->req);
	reply_write_head(h, &b, status, content_type, content_length, extra);
	r = rbuf_of(buf_str(&b));
	buf_free(&b);
	return r;
}

/* ---- replies ---- */

bool http_replied(const struct http_request *req)
{
	return req->reply->replied || req->reply->timed_out;
}

/* Does the answer still reach somebody? Marks the request as answered. */
static bool reply_begin(struct http_reply *h)
{
	BUG_ON(h->replied);
	h->replied = true;
	return h->req.conn != NULL && !h->timed_out;
}

/* Head and body as slices; a large body travels in one of its own. */
static void reply_queue(struct http_reply *h, int status, const char *content_type, struct str body)
{
	/* 204 and 304 have no body and no length (RFC 9110 8.6). */
	bool bodiless = status == 204 || status == 304;
	struct http_conn *c = h->req.conn;
	struct buf b = BUF_INIT;
	struct rbuf *tail = NULL;

	if (h->server->hooks->headers != NULL)
		h->server->hooks->headers(&h->req);
	reply_write_head(h, &b, status, bodiless || body.n == 0 ? NULL : content_type, bodiless ? -1 : (int64_t)body.n,
			 NULL);
	if (!bodiless && !h->req.head) {
		h->req.bytes_out = body.n;
		if (body.n <= REPLY_JOIN)
			buf_add(&b, body);
		else
			tail = rbuf_of(body);
		if (body.n > REPLY_JOIN && tail == NULL) {
			/* No memory for the body: the client sees a truncated reply rather than a wrong one. */
			buf_free(&b);
			h->keep_alive = false;
			h->body_left = true;
			return;
		}
	}
	conn_send(c, rbuf_of(buf_str(&b)));
	if (tail != NULL)
		conn_send(c, tail);
	buf_free(&b);
}

void http_reply(struct http_request *req, int status, const char *content_type, struct str body)
{
	struct http_reply *h = req->reply;

	if (!reply_begin(h))
		return;
	req->status = status;
	h->keep_alive = request_keeps(h);
	/* A reply before the whole body was read (a time-out inside it) cannot be followed by another request. */
	if (req->conn->state == CONN_BODY) {
		h->keep_alive = false;
		h->body_left = true;
	}
	reply_queue(h, status, content_type, body);
	request_done(req->conn);
}

void http_reply_json(struct http_request *req, int status, json_t *doc)
{
	struct str text = json_text(req->arena, doc);

	json_decref(doc);
	http_reply(req, status, "application/json", text);
}

void reply_problem(struct http_request *req, int status, const char *code, const char *msg, const char *field,
		   json_t *extra)
{
	json_t *doc = json_object();
	bool hide = status >= 500 && status != 504 && req->reply->server->conf->server.env == CONF_PRODUCTION;

	json_put_str(doc, "error", str_of(hide ? reply_reason(status) : msg));
	json_put_str(doc, "code", str_of(code));
	json_put_str(doc, "trace_id", req->request_id);
	if (field[0] != '\0')
		json_put_str(doc, "field", str_of(field));
	if (extra != NULL) {
		json_object_update(doc, extra);
		json_decref(extra);
	}
	http_reply_json(req, status, doc);
}

void http_reply_error(struct http_request *req, const struct error *err)
{
	int status = err_status(err->code);

	if (status == 401 && !http_reply_has(req, "WWW-Authenticate"))
		http_reply_field(req, "WWW-Authenticate", "Bearer");
	if (status == 503 && !http_reply_has(req, "Retry-After"))
		http_reply_field(req, "Retry-After", "%d", 5);
	reply_problem(req, status, err_wire(err->code), err->msg, err->field, NULL);
}
