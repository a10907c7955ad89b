/* SPDX-License-Identifier: MIT */
/*
 * Tokeniser of request heads, called by the connection for each request. It knows lines and characters only: what the
 * fields mean together is http_framing.c, what the target means is route_path.c.
 */
#include "worker/http/http_head.h"

static const char *const method_names[HTTP_METHOD_MAX + 1] = {
    [HTTP_GET] = "GET",     [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",       [HTTP_PUT] = "PUT",
    [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS", [HTTP_OTHER] = "OTHER",
};

const char *http_method_name(enum http_method m)
{
	return m <= HTTP_OTHER ? method_names[m] : "OTHER";
}

bool http_is_token(unsigned char c)
{
	/* One bit per character: !#$%&'*+-.^_`|~ digits letters. */
	static const uint32_t bits[8] = {0, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff, 0, 0, 0, 0};

	return (bits[c >> 5] >> (c & 31)) & 1;
}

/* A line is complete at `lf`. Returns 1 for the blank line, 0 for another one, -1 for a line without CR. */
static int head_line(struct http_head_scan *s, struct str in, size_t lf, struct error *err)
{
	if (lf == s->line || in.p[lf - 1] != '\r') {
		error_set(err, ERR_BAD_REQUEST, "a line of the request head does not end with CRLF");
		return -1;
	}
	s->pos = lf + 1;
	if (lf - 1 == s->line && s->line > 0)
		return 1;
	s->line = lf + 1;
	return 0;
}

/* The request line alone is longer than a target may make it. */
static bool head_target_long(const struct http_head_scan *s, size_t n, size_t limit)
{
	return s->line == 0 && n > HTTP_TARGET_MAX + 32 && limit > HTTP_TARGET_MAX + 32;
}

/* What is wrong beyond a limit is not looked at: the verdict is the same in however many pieces the head comes. */
int http_head_scan(struct http_head_scan *s, struct str in, size_t limit, struct error *err)
{
	size_t at;
	int r;

	if (in.n > 0 && !http_is_token((unsigned char)in.p[0])) {
		error_set(err, ERR_BAD_REQUEST, "the request does not begin with a method");
		return -1;
	}
	while (s->pos < in.n) {
		const char *lf = memchr(in.p + s->pos, '\n', in.n - s->pos);

		at = lf != NULL ? (size_t)(lf - in.p) : in.n;
		if (lf == NULL || at >= limit || head_target_long(s, at, limit)) {
			s->pos = in.n;
			break;
		}
		r = head_line(s, in, at, err);
		if (r != 0)
			return r;
	}
	if (head_target_long(s, in.n, limit)) {
		error_set(err, ERR_URI_TOO_LONG, "the request target is longer than %d bytes", HTTP_TARGET_MAX);
		return -1;
	}
	if (s->pos > limit) {
		error_set(err, ERR_HEAD_TOO_LARGE, "the request head is larger than %zu bytes", limit);
		return -1;
	}
	return 0;
}

bool http_head_method(struct http_head *h, struct str text, struct error *err)
{
	unsigned m;
	size_t i;

	if (text.n == 0 || text.n > 32)
		return error_set(err, ERR_BAD_REQUEST, "malformed method");
	h->method_text = text;
	h->method = HTTP_OTHER;
	for (m = 0; m < HTTP_METHOD_MAX; m++) {
		if (text.p[0] == method_names[m][0] && str_eqz(text, method_names[m])) {
			h->method = (enum http_method)m;
			return true;
		}
	}
	for (i = 0; i < text.n; i++)
		if (!http_is_token((unsigned char)text.p[i]))
			return error_set(err, ERR_BAD_REQUEST, "malformed method");
	return true;
}

static bool head_version(struct str v, int *minor, struct error *err)
{
	if (v.n != 8 || memcmp(v.p, "HTTP/", 5) != 0 || v.p[5] < '0' || v.p[5] > '9' || v.p[6] != '.' || v.p[7] < '0' ||
	    v.p[7] > '9')
		return error_set(err, ERR_BAD_REQUEST, "malformed HTTP version");
	if (v.p[5] != '1')
		return error_set(err, ERR_HTTP_VERSION, "only HTTP/1.0 and HTTP/1.1 are spoken here");
	*minor = v.p[7] == '0' ? 0 : 1;
	return true;
}

/* RFC 9112 3.2; the path is checked when it is decoded. */
bool http_head_target(const struct http_head *h, struct error *err)
{
	size_t i;

	if (h->target.n > HTTP_TARGET_MAX)
		return error_set(err, ERR_URI_TOO_LONG, "the request target is longer than %d bytes", HTTP_TARGET_MAX);
	for (i = 0; i < h->target.n; i++) {
		unsigned char c = (unsigned char)h->target.p[i];

		if (c <= 0x20 || c >= 0x7f || c == '#')
			return error_set(err, ERR_BAD_REQUEST, "invalid character in the request target");
	}
	if (h->target.n == 0)
		return error_set(err, ERR_BAD_REQUEST, "empty request target");
	/* What follows it would be meant for somebody else: the connection ends with the answer. */
	if (h->method == HTTP_OTHER && str_eqz(h->method_text, "CONNECT"))
		return error_set(err, ERR_NOT_IMPLEMENTED, "CONNECT: this server is no proxy");
	/* Other strange methods end in 405; their target is not looked at. */
	if (h->target.p[0] == '/' || h->method == HTTP_OTHER)
		return true;
	if (h->method == HTTP_OPTIONS && str_eqz(h->target, "*"))
		return true;
	if (str_istarts(h->target, STR("http://")) || str_istarts(h->target, STR("https://")))
		return true;
	return error_set(err, ERR_BAD_REQUEST, "the request target is neither a path nor a URL");
}

static bool head_request_line(struct str line, struct http_head *h, struct error *err)
{
	struct str rest;
	ptrdiff_t sp;

	sp = str_chr(line, ' ');
	if (sp <= 0)
		return error_set(err, ERR_BAD_REQUEST, "malformed request line");
	if (!http_head_method(h, str_sub(line, 0, (size_t)sp), err))
		return false;
	rest = str_sub(line, (size_t)sp + 1, line.n);
	sp = str_chr(rest, ' ');
	if (sp <= 0)
		return error_set(err, ERR_BAD_REQUEST, "malformed request line");
	h->target = str_sub(rest, 0, (size_t)sp);
	if (!head_version(str_sub(rest, (size_t)sp + 1, rest.n), &h->minor, err))
		return false;
	return http_head_target(h, err);
}

/* RFC 9110 5.5: controls but the tab. */
static bool head_is_control(unsigned char c)
{
	static const uint32_t bits[8] = {0xfffffdff, 0, 0, 0x80000000, 0, 0, 0, 0};

	return (bits[c >> 5] >> (c & 31)) & 1;
}

static bool head_field(struct str line, struct http_field *f, struct error *err)
{
	size_t i, end;

	for (i = 0; i < line.n && http_is_token((unsigned char)line.p[i]); i++)
		;
	if (i == 0 || i == line.n || line.p[i] != ':')
		return error_set(err, ERR_BAD_REQUEST, "malformed header name");
	f->name = str_sub(line, 0, i);
	for (i++; i < line.n && (line.p[i] == ' ' || line.p[i] == '\t'); i++)
		;
	for (end = line.n; end > i && (line.p[end - 1] == ' ' || line.p[end - 1] == '\t'); end--)
		;
	f->value = str_sub(line, i, end);
	for (i = 0; i < f->value.n; i++)
		if (head_is_control((unsigned char)f->value.p[i]))
			return error_set(err, ERR_BAD_REQUEST, "control character in a header value");
	return true;
}

bool http_head_parse(struct str head, struct http_head *h, struct error *err)
{
	struct str line, rest = head;
	ptrdiff_t lf;

	h->field_count = 0;
	lf = str_chr(rest, '\n');
	BUG_ON(lf < 1);
	if (!head_request_line(str_sub(rest, 0, (size_t)lf - 1), h, err))
		return false;
	for (;;) {
		rest = str_sub(rest, (size_t)lf + 1, rest.n);
		lf = str_chr(rest, '\n');
		BUG_ON(lf < 1);
		line = str_sub(rest, 0, (size_t)lf - 1);
		if (line.n == 0)
			return true;
		if (h->field_count == HTTP_FIELDS_MAX)
			return error_set(err, ERR_HEAD_TOO_LARGE, "more than %d header fields", HTTP_FIELDS_MAX);
		if (!head_field(line, &h->fields[h->field_count], err))
			return false;
		h->field_count++;
	}
}

const struct http_field *http_head_find(const struct http_field *fields, size_t n, const char *name)
{
	struct str want = str_of(name);
	size_t i;

	for (i = 0; i < n; i++)
		if (str_ieq(fields[i].name, want))
			return &fields[i];
	return NULL;
}
