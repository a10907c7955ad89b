/* SPDX-License-Identifier: MIT */
/*
 * The access line: gunicorn's access_log_format, compiled once into a list of literals and fields. Called by
 * request_log.c. It masks secrets in queries and escapes what could forge a line; it writes to no file.
 */
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mask.h"
#include "worker/middleware/pipeline.h"

#define ACCESS_TOKEN 64 /* hex digits */

enum access_kind {
	ACCESS_LITERAL,
	ACCESS_HOST,
	ACCESS_DASH,
	ACCESS_USER,
	ACCESS_TIME,
	ACCESS_REQUEST,
	ACCESS_STATUS,
	ACCESS_BYTES,
	ACCESS_REFERER,
	ACCESS_AGENT,
	ACCESS_MICROS,
	ACCESS_SECONDS,
	ACCESS_DECIMAL,
	ACCESS_MILLIS,
	ACCESS_PID,
	ACCESS_METHOD,
	ACCESS_PATH,
	ACCESS_QUERY,
	ACCESS_PROTOCOL,
	ACCESS_HEADER,
	ACCESS_ID
};

struct access_item {
	enum access_kind kind;
	char *text; /* the literal, or the name of the header */
	size_t n;
};

struct access_format {
	struct access_item *v;
	size_t n;
	time_t time; /* of time_text */
	size_t time_n;
	char time_text[64];
};

/* Where the line grows; what does not fit is left off. */
struct access_pen {
	char *p, *end;
};

/* The letters of "%(x)s"; the header forms "{name}i" are apart. */
static const struct {
	const char *name;
	enum access_kind kind;
} access_fields[] = {
    {"h", ACCESS_HOST},   {"l", ACCESS_DASH},    {"u", ACCESS_USER},    {"t", ACCESS_TIME},     {"r", ACCESS_REQUEST},
    {"s", ACCESS_STATUS}, {"b", ACCESS_BYTES},   {"B", ACCESS_BYTES},   {"f", ACCESS_REFERER},  {"a", ACCESS_AGENT},
    {"D", ACCESS_MICROS}, {"T", ACCESS_SECONDS}, {"L", ACCESS_DECIMAL}, {"M", ACCESS_MILLIS},   {"p", ACCESS_PID},
    {"m", ACCESS_METHOD}, {"U", ACCESS_PATH},    {"q", ACCESS_QUERY},   {"H", ACCESS_PROTOCOL},
};

/* ---- compiling ---- */

static void access_add(struct access_format *f, enum access_kind kind, struct str text)
{
	f->v = xrealloc(f->v, (f->n + 1) * sizeof(*f->v));
	f->v[f->n++] = (struct access_item){kind, str_dupz(text), text.n};
}

/* A line break in the format would make two lines of one. */
static void access_add_literal(struct access_format *f, struct str text)
{
	char *p;

	access_add(f, ACCESS_LITERAL, text);
	for (p = f->v[f->n - 1].text; *p != '\0'; p++)
		if (*p == '\n' || *p == '\r')
			*p = ' ';
}

static void access_add_field(struct access_format *f, struct str name)
{
	size_t i;

	if (name.n > 3 && name.p[0] == '{' && str_ends(name, STR("}i"))) {
		struct str header = str_sub(name, 1, name.n - 2);

		access_add(f, str_ieqz(header, "x-request-id") ? ACCESS_ID : ACCESS_HEADER, header);
		return;
	}
	for (i = 0; i < countof(access_fields); i++)
		if (str_eqz(name, access_fields[i].name)) {
			access_add(f, access_fields[i].kind, STR(""));
			return;
		}
	access_add(f, ACCESS_DASH, STR(""));
}

struct access_format *access_format_compile(const char *text)
{
	struct access_format *f = xcalloc(1, sizeof(*f));
	struct str rest = str_of(text);

	while (rest.n > 0) {
		ptrdiff_t at = str_find(rest, STR("%(")), end;

		if (at > 0)
			access_add_literal(f, str_sub(rest, 0, (size_t)at));
		if (at < 0 || (end = str_find(str_sub(rest, (size_t)at, rest.n), STR(")"))) < 0) {
			if (at != 0)
				rest = at < 0 ? rest : str_sub(rest, (size_t)at, rest.n);
			access_add_literal(f, rest);
			return f;
		}
		access_add_field(f, str_sub(rest, (size_t)at + 2, (size_t)(at + end)));
		rest = str_sub(rest, (size_t)(at + end) + 1, rest.n);
		/* The conversion letter behind the parenthesis. */
		if (rest.n > 0 && (rest.p[0] == 's' || rest.p[0] == 'd'))
			rest = str_sub(rest, 1, rest.n);
	}
	return f;
}

void access_format_free(struct access_format *f)
{
	size_t i;

	if (f == NULL)
		return;
	for (i = 0; i < f->n; i++)
		free(f->v[i].text);
	free(f->v);
	free(f);
}

/* ---- printing ---- */

static void access_put(struct access_pen *o, struct str s)
{
	size_t room = (size_t)(o->end - o->p);

	if (s.n > room)
		s.n = room;
	if (s.n > 0)
		memcpy(o->p, s.p, s.n);
	o->p += s.n;
}

static void access_putc(struct access_pen *o, char c)
{
	if (o->p < o->end)
		*o->p++ = c;
}

static void access_put_number(struct access_pen *o, uint64_t n)
{
	char digits[20], *d = digits + sizeof(digits);

	do {
		*--d = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	access_put(o, (struct str){d, (size_t)(digits + sizeof(digits) - d)});
}

/* Does the character stand for itself in a line: printable ASCII but the quote and the backslash? */
static bool access_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* The same of eight at once: the highest bit of a byte is set where it is not (and of some behind that one). */
static bool access_plain_word(const char *p)
{
	static const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t x, quote, slash, del;

	memcpy(&x, p, sizeof(x));
	quote = x ^ ones * '"';
	slash = x ^ ones * '\\';
	del = x ^ ones * 0x7f;
	return ((x | (x - ones * 0x20) | (quote - ones) | (slash - ones) | (del - ones)) & ones * 0x80) == 0;
}

/* How many characters at the front stand for themselves. */
static size_t access_plain_run(struct str s)
{
	size_t i = 0;

	if (s.n >= 8) {
		while (i + 8 <= s.n && access_plain_word(s.p + i))
			i += 8;
		if (i + 8 > s.n && access_plain_word(s.p + s.n - 8))
			return s.n;
	}
	while (i < s.n && access_plain((unsigned char)s.p[i]))
		i++;
	return i;
}

/* Quotes, backslashes and control characters as \xHH: a client cannot end the line or a quoted field. */
static void access_escape(struct access_pen *o, struct str s)
{
	static const char hex[] = "0123456789abcdef";
	size_t plain;

	if (s.n == 0)
		access_putc(o, '-');
	for (; s.n > 0; s = str_sub(s, plain + 1, s.n)) {
		unsigned char c;

		plain = access_plain_run(s);
		access_put(o, str_sub(s, 0, plain));
		if (plain == s.n)
			return;
		c = (unsigned char)s.p[plain];
		if (o->end - o->p < 4)
			o->end = o->p;
		access_put(o, (struct str){(const char[]){'\\', 'x', hex[c >> 4], hex[c & 15]}, 4});
	}
}

/* Headers that stay out of logs whatever the format asks for. */
static bool access_is_credential(struct str header)
{
	static const char *const names[] = {"authorization",   "proxy-authorization",   "x-api-key",
					    "cookie",          "x-auth-token",          "x-csrf-token",
					    "x-service-token", "sec-websocket-protocol"};

	for (size_t i = 0; i < countof(names); i++)
		if (str_ieqz(header, names[i]))
			return true;
	return mask_parameter(header);
}

static bool access_is_secret(struct str name)
{
	/* An encoded name is not worth decoding here: its value is masked to be safe. */
	return mask_parameter(name) || (name.n > 0 && memchr(name.p, '%', name.n) != NULL);
}

static void access_query(struct access_pen *o, struct str query)
{
	struct str pair;
	bool first = true;

	while (str_split(&query, '&', &pair)) {
		ptrdiff_t eq = str_chr(pair, '=');

		if (!first)
			access_putc(o, '&');
		first = false;
		if (eq >= 0 && access_is_secret(str_sub(pair, 0, (size_t)eq))) {
			access_escape(o, str_sub(pair, 0, (size_t)eq + 1));
			access_put(o, STR(MASK_TEXT));
		} else if (pair.n > 0) {
			access_escape(o, pair);
		}
	}
}

/* A page's address: its query is masked like ours, what follows # belongs to the browser alone. */
static void access_referer(struct access_pen *o, struct str url)
{
	ptrdiff_t at = str_chr(url, '#'), q;

	if (at >= 0)
		url = str_sub(url, 0, (size_t)at);
	q = str_chr(url, '?');
	access_escape(o, q < 0 ? url : str_sub(url, 0, (size_t)q + 1));
	if (q >= 0)
		access_query(o, str_sub(url, (size_t)q + 1, url.n));
}

static struct str access_raw_path(const struct http_request *req)
{
	ptrdiff_t q = str_chr(req->target, '?');

	return q < 0 ? req->target : str_sub(req->target, 0, (size_t)q);
}

/* Is it as tokens of links are spelt (worker/access/share_link.c)? */
static bool access_like_token(struct str s)
{
	size_t i;

	for (i = 0; i < s.n && str_hex_digit(s.p[i]) >= 0; i++)
		;
	return i == s.n && s.n == ACCESS_TOKEN;
}

/*
 * The token of a link that stands in the path is its bearer's secret; STR_NONE: there is none. Where no route takes the
 * request, of another method or with something behind the token, whatever looks like one is taken for one.
 */
static struct str access_token(const struct http_request *req)
{
	struct str path = req->route != NULL ? str_of(req->route->path) : access_raw_path(req), segment;
	unsigned i = 0;

	while (req->route == NULL && str_split(&path, '/', &segment))
		if (access_like_token(segment))
			return segment;
	while (str_split(&path, '/', &segment)) {
		if (str_eqz(segment, "{token}"))
			return req->params[i];
		i += segment.n > 0 && segment.p[0] == '{';
	}
	return STR_NONE;
}

static void access_path(struct access_pen *o, const struct http_request *req)
{
	struct str path = access_raw_path(req), token = access_token(req);
	ptrdiff_t at = token.n > 0 ? str_find(path, token) : -1;

	if (token.n == 0) {
		access_escape(o, path);
		return;
	}
	/* One that came encoded is not looked for. */
	access_escape(o, at >= 0 ? str_sub(path, 0, (size_t)at) : STR("/"));
	access_put(o, STR(MASK_TEXT));
	if (at >= 0 && (size_t)at + token.n < path.n)
		access_escape(o, str_sub(path, (size_t)at + token.n, path.n));
}

static const char *access_method(const struct http_request *req)
{
	return req->head ? "HEAD" : http_method_name(req->method);
}

/* As the end of a request line. */
static struct str access_protocol(const struct http_request *req)
{
	if (req->major == 2)
		return STR(" HTTP/2.0");
	return req->minor == 0 ? STR(" HTTP/1.0") : STR(" HTTP/1.1");
}

static void access_request_line(struct access_pen *o, const struct http_request *req)
{
	if (req->target.n == 0) {
		access_putc(o, '-');
		return;
	}
	access_put(o, str_of(access_method(req)));
	access_putc(o, ' ');
	access_path(o, req);
	if (req->query.p != NULL) {
		access_putc(o, '?');
		access_query(o, req->query);
	}
	access_put(o, access_protocol(req));
}

/* The time of a line, spelled once a second. */
static void access_time(struct access_format *f, struct access_pen *o)
{
	time_t now = time(NULL);
	struct tm tm;

	if (now != f->time) {
		f->time = now;
		f->time_n = 0;
		if (localtime_r(&now, &tm) != NULL)
			f->time_n = strftime(f->time_text, sizeof(f->time_text), "[%d/%b/%Y:%H:%M:%S %z]", &tm);
	}
	access_put(o, (struct str){f->time_text, f->time_n});
}

/* Fields that are text of the request. */
static bool access_text(const struct access_item *i, const struct http_request *req, struct access_pen *o)
{
	switch ((int)i->kind) {
	case ACCESS_LITERAL:
		access_put(o, (struct str){i->text, i->n});
		return true;
	case ACCESS_HOST:
		access_escape(o, req->client);
		return true;
	case ACCESS_USER:
		access_escape(o, str_eqz(req->ctx.principal, "anonymous") ? STR_NONE : req->ctx.principal);
		return true;
	case ACCESS_REFERER:
		access_referer(o, http_field(req, "referer"));
		return true;
	case ACCESS_AGENT:
		access_escape(o, http_field(req, "user-agent"));
		return true;
	case ACCESS_HEADER:
		if (access_is_credential(str_of(i->text)))
			access_put(o, STR(MASK_TEXT));
		else if (str_ieqz(str_of(i->text), "referer"))
			access_referer(o, http_field(req, "referer"));
		else
			access_escape(o, http_field(req, i->text));
		return true;
	case ACCESS_ID:
		access_escape(o, req->request_id);
		return true;
	case ACCESS_METHOD:
		access_put(o, str_of(access_method(req)));
		return true;
	case ACCESS_PATH:
		access_path(o, req);
		return true;
	case ACCESS_QUERY:
		access_query(o, req->query);
		return true;
	case ACCESS_REQUEST:
		access_request_line(o, req);
		return true;
	case ACCESS_PROTOCOL:
		access_put(o, str_sub(access_protocol(req), 1, SIZE_MAX));
		return true;
	default:
		return false;
	}
}

static void access_number(struct access_format *f, const struct access_item *i, const struct http_request *req,
			  struct access_pen *o)
{
	int64_t us = req->end_us - req->start_us;
	char text[16];

	switch ((int)i->kind) {
	case ACCESS_TIME:
		access_time(f, o);
		break;
	case ACCESS_STATUS:
		access_put_number(o, (uint64_t)req->status);
		break;
	case ACCESS_BYTES:
		access_put_number(o, req->bytes_out);
		break;
	case ACCESS_MICROS:
		access_put_number(o, (uint64_t)us);
		break;
	case ACCESS_MILLIS:
		access_put_number(o, (uint64_t)(us / MS_US));
		break;
	case ACCESS_SECONDS:
		access_put_number(o, (uint64_t)(us / SEC_US));
		break;
	case ACCESS_DECIMAL:
		access_put_number(o, (uint64_t)(us / SEC_US));
		snprintf(text, sizeof(text), ".%06d", (int)(us % SEC_US));
		access_put(o, str_of(text));
		break;
	case ACCESS_PID:
		access_putc(o, '<');
		access_put_number(o, (uint64_t)getpid());
		access_putc(o, '>');
		break;
	default: /* ACCESS_DASH */
		access_putc(o, '-');
		break;
	}
}

size_t access_format_line(struct access_format *f, const struct http_request *req, char *line)
{
	struct access_pen pen = {line, line + LOG_ACCESS_MAX};
	size_t i;

	for (i = 0; i < f->n; i++)
		if (!access_text(&f->v[i], req, &pen))
			access_number(f, &f->v[i], req, &pen);
	return (size_t)(pen.p - line);
}
