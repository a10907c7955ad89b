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

struct str http_field_value(const struct http_request *req, struct str name)
{
	size_t i;

	for (i = 0; i < req->field_count; i++)
		if (req->fields[i].name.n == name.n && str_ieq(req->fields[i].name, name))
			return req->fields[i].value;
	return STR_NONE;
}

/* ---- headers ---- */

void http_reply_add(struct http_request *req, struct str name, struct str value)
{
	struct http_reply *h = req->reply;

	BUG_ON(value.n > 0 && (memchr(value.p, '\r', value.n) != NULL || memchr(value.p, '\n', value.n) != NULL));
	if (h->field_count == h->field_cap) {
		size_t cap = h->field_cap * 2;
		struct reply_field *v = arena_alloc(req->arena, cap * sizeof(*v));

		memcpy(v, h->fields, h->field_count * sizeof(*v));
		h->fields = v;
		h->field_cap = cap;
	}
	h->fields[h->field_count++] = (struct reply_field){name, value};
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
	http_reply_value(req, arena_strdup(req->arena, name), (struct str){p, (size_t)n});
}

void http_reply_lines(struct http_request *req, struct str lines)
{
	struct http_reply *h = req->reply;

	BUG_ON(h->block_count == REPLY_BLOCKS_MAX);
	h->blocks[h->block_count++] = lines;
}

struct str *http_reply_find(struct http_request *req, const char *name)
{
	struct http_reply *h = req->reply;
	size_t i;

	for (i = 0; i < h->field_count; i++)
		if (str_ieqz(h->fields[i].name, name))
			return &h->fields[i].value;
	return NULL;
}

bool http_reply_has(const struct http_request *req, const char *name)
{
	const struct http_reply *h = req->reply;
	struct str wanted = str_of(name);
	size_t i;

	for (i = 0; i < h->field_count; i++)
		if (h->fields[i].name.n == wanted.n && str_ieq(h->fields[i].name, wanted))
			return true;
	return false;
}

/* Most bytes of a head besides content type, extra lines, fields and blocks. */
#define REPLY_HEAD_FIXED 256

static char *reply_put(char *p, struct str s)
{
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	return p + s.n;
}

static char *reply_put_number(char *p, uint64_t n)
{
	char digits[20], *d = digits + sizeof(digits);

	do {
		*--d = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	return reply_put(p, (struct str){d, (size_t)(digits + sizeof(digits) - d)});
}

static char *reply_put_line(char *p, struct str name, struct str value)
{
	p = reply_put(p, name);
	p = reply_put(p, STR(": "));
	p = reply_put(p, value);
	return reply_put(p, STR("\r\n"));
}

/* A bound of what reply_put_head writes. */
static size_t reply_head_max(const struct http_reply *h, const char *content_type, const char *extra)
{
	size_t i, n = REPLY_HEAD_FIXED + str_of(content_type).n + str_of(extra).n;

	for (i = 0; i < h->field_count; i++)
		n += h->fields[i].name.n + h->fields[i].value.n + 4;
	for (i = 0; i < h->block_count; i++)
		n += h->blocks[i].n;
	return n;
}

/* Writes the head of the reply, at most reply_head_max bytes; returns its end. */
static char *reply_put_head(struct http_reply *h, char *p, int status, const char *content_type, int64_t content_length,
			    const char *extra)
{
	size_t i;

	p = reply_put(p, server_status_line(h->server, status));
	if (content_type != NULL)
		p = reply_put_line(p, STR("Content-Type"), str_of(content_type));
	if (content_length >= 0) {
		p = reply_put(p, STR("Content-Length: "));
		p = reply_put_number(p, (uint64_t)content_length);
		p = reply_put(p, STR("\r\n"));
	}
	if (extra != NULL)
		p = reply_put(p, str_of(extra));
	else if (!h->keep_alive)
		p = reply_put(p, STR("Connection: close\r\n"));
	else if (h->req.minor == 0)
		p = reply_put(p, STR("Connection: keep-alive\r\n"));
	for (i = 0; i < h->field_count; i++)
		p = reply_put_line(p, h->fields[i].name, h->fields[i].value);
	for (i = 0; i < h->block_count; i++)
		p = reply_put(p, h->blocks[i]);
	return reply_put(p, STR("\r\n"));
}

struct rbuf *reply_head(struct http_reply *h, int status, const char *content_type, int64_t content_length,
			const char *extra)
{
	struct rbuf *r;

	if (h->server->hooks->headers != NULL)
		h->server->hooks->headers(&h->req);
	r = rbuf_new(reply_head_max(h, content_type, extra));
	BUG_ON(r == NULL);
	r->n = (size_t)(reply_put_head(h, r->data, status, content_type, content_length, extra) - r->data);
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

/*
 * Head and body, behind what this turn has answered already; a large body travels in a slice of its own. False: there
 * is no memory.
 */
static bool reply_write(struct http_reply *h, int status, const char *content_type, int64_t content_length,
			struct str body)
{
	struct http_conn *c = h->req.conn;
	struct str joined = body.n <= REPLY_JOIN ? body : STR_NONE;
	size_t room = reply_head_max(h, content_type, NULL) + joined.n;
	struct rbuf *own = NULL, *tail = NULL;
	char *start = conn_reserve(c, room), *end;

	if (start == NULL) {
		own = rbuf_new(room);
		if (own == NULL)
			return false;
		start = own->data;
	}
	if (joined.n < body.n && (tail = rbuf_of(body)) == NULL) {
		rbuf_unref(own);
		return false;
	}
	end = reply_put(reply_put_head(h, start, status, content_type, content_length, NULL), joined);
	if (own == NULL) {
		conn_commit(c, (size_t)(end - start));
	} else {
		own->n = (size_t)(end - start);
		conn_send(c, own);
	}
	if (tail != NULL)
		conn_send(c, tail);
	return true;
}

void http1_reply(struct http_reply *h, int status, const char *content_type, int64_t length, struct str body)
{
	struct http_conn *c = h->req.conn;

	h->keep_alive = request_keeps(h);
	/* A reply before the whole body was read (a time-out inside it) cannot be followed by another request. */
	if (c->state == CONN_BODY) {
		h->keep_alive = false;
		h->body_left = true;
	}
	if (!reply_write(h, status, content_type, length, body)) {
		/* The client sees a connection that ends rather than a wrong answer. */
		h->keep_alive = false;
		h->body_left = true;
	}
	request_done(c);
}

static void reply_now(struct http_request *req, int status, const char *content_type, struct str body)
{
	/* 204 and 304 have no body and no length (RFC 9110 8.6). */
	bool bodiless = status == 204 || status == 304;
	struct http_reply *h = req->reply;
	struct str sent = bodiless || req->head ? STR_NONE : body;

	req->status = status;
	if (h->server->hooks->headers != NULL)
		h->server->hooks->headers(req);
	req->bytes_out = sent.n;
	h->carrier->reply(h, status, bodiless || body.n == 0 ? NULL : content_type, bodiless ? -1 : (int64_t)body.n,
			  sent);
}

void http_reply(struct http_request *req, int status, const char *content_type, struct str body)
{
	const struct http_hooks *hooks = req->reply->server->hooks;

	if (!reply_begin(req->reply))
		return;
	if (body.n == 0 || hooks->body == NULL || !hooks->body(req, &status, content_type, &body))
		reply_now(req, status, content_type, body);
}

void http_reply_resume(struct http_request *req, int status, const char *content_type, struct str body)
{
	if (req->conn != NULL)
		reply_now(req, status, content_type, body);
}

void reply_empty(struct http_request *req, int status, const char *content_type, int64_t length)
{
	struct http_reply *h = req->reply;

	if (!reply_begin(h))
		return;
	req->status = status;
	if (h->server->hooks->headers != NULL)
		h->server->hooks->headers(req);
	h->carrier->reply(h, status, content_type, length, STR_NONE);
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
	http_reply_problem(req, err, NULL);
}

const char *http_error_sentence(struct arena *a, const struct error *err)
{
	if (err->field[0] == '\0' || (strncmp(err->msg, "must ", 5) != 0 && strncmp(err->msg, "is ", 3) != 0))
		return err->msg;
	return arena_printf(a, "%s: %s", err->field, err->msg).p;
}

void http_reply_problem(struct http_request *req, const struct error *err, json_t *extra)
{
	int status = err_status(err->code);

	if (status == 401 && !http_reply_has(req, "WWW-Authenticate"))
		http_reply_value(req, "WWW-Authenticate", STR("Bearer"));
	if (status == 503 && !http_reply_has(req, "Retry-After"))
		http_reply_field(req, "Retry-After", "%d", 5);
	reply_problem(req, status, err_wire(err->code), http_error_sentence(req->arena, err), err->field, extra);
}
