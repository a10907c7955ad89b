/* SPDX-License-Identifier: MIT */
/*
 * The access line: gunicorn's access_log_format, compiled once into a list of literals and fields. Called by
 * request_log.c. It masks secrets in queries and escapes what could forge a line; it writes nothing.
 */
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "worker/middleware/pipeline.h"

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

/* Names of query parameters whose values never reach a log. */
static const char *const access_secrets[] = {"token", "access_token", "api_key", "key", "password", "secret", "code"};

/* ---- compiling ---- */

static void access_add(struct access_format *f, enum access_kind kind, struct str text)
{
	f->v = xrealloc(f->v, (f->n + 1) * sizeof(*f->v));
	f->v[f->n++] = (struct access_item){kind, str_dupz(text), text.n};
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
			access_add(f, ACCESS_LITERAL, str_sub(rest, 0, (size_t)at));
		if (at < 0 || (end = str_find(str_sub(rest, (size_t)at, rest.n), STR(")"))) < 0) {
			if (at != 0)
				rest = at < 0 ? rest : str_sub(rest, (size_t)at, rest.n);
			access_add(f, ACCESS_LITERAL, rest);
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

/* Does the character stand for itself in a line? */
static bool access_plain(unsigned char c)
{
	/* One bit per character: printable ASCII but the quote and the backslash. */
	static const uint32_t bits[8] = {0, 0xfffffffb, 0xefffffff, 0x7fffffff, 0, 0, 0, 0};

	return (bits[c >> 5] >> (c & 31)) & 1;
}

/* Quotes, backslashes and control characters as \xHH: a client cannot end the line or a quoted field. */
static void access_escape(struct buf *out, struct str s)
{
	size_t i, plain = 0;

	if (s.n == 0)
		buf_addc(out, '-');
	for (i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (access_plain(c))
			continue;
		buf_add(out, str_sub(s, plain, i));
		buf_printf(out, "\\x%02x", c);
		plain = i + 1;
	}
	buf_add(out, str_sub(s, plain, s.n));
}

static bool access_is_secret(struct str name)
{
	size_t i;

	for (i = 0; i < countof(access_secrets); i++)
		if (str_ieqz(name, access_secrets[i]))
			return true;
	/* An encoded name is not worth decoding here: its value is masked to be safe. */
	return name.n > 0 && memchr(name.p, '%', name.n) != NULL;
}

static void access_query(struct buf *out, struct str query)
{
	struct str pair;
	bool first = true;

	while (str_split(&query, '&', &pair)) {
		ptrdiff_t eq = str_chr(pair, '=');

		if (!first)
			buf_addc(out, '&');
		first = false;
		if (eq >= 0 && access_is_secret(str_sub(pair, 0, (size_t)eq))) {
			access_escape(out, str_sub(pair, 0, (size_t)eq + 1));
			buf_addz(out, "***");
		} else if (pair.n > 0) {
			access_escape(out, pair);
		}
	}
}

static struct str access_raw_path(const struct http_request *req)
{
	ptrdiff_t q = str_chr(req->target, '?');

	return q < 0 ? req->target : str_sub(req->target, 0, (size_t)q);
}

static const char *access_method(const struct http_request *req)
{
	return req->head ? "HEAD" : http_method_name(req->method);
}

/* As the end of a request line. */
static struct str access_protocol(const struct http_request *req)
{
	return req->minor == 0 ? STR(" HTTP/1.0") : STR(" HTTP/1.1");
}

static void access_request_line(struct buf *out, const struct http_request *req)
{
	if (req->target.n == 0) {
		buf_addc(out, '-');
		return;
	}
	buf_addz(out, access_method(req));
	buf_addc(out, ' ');
	access_escape(out, access_raw_path(req));
	if (req->query.p != NULL) {
		buf_addc(out, '?');
		access_query(out, req->query);
	}
	buf_add(out, access_protocol(req));
}

/* The time of a line, spelled once a second. */
static void access_time(struct access_format *f, struct buf *out)
{
	time_t now = time(NULL);
	struct tm tm;

	if (now != f->time) {
		f->time = now;
		f->time_n = 0;
		if (localtime_r(&now, &tm) != NULL)
			f->time_n = strftime(f->time_text, sizeof(f->time_text), "[%d/%b/%Y:%H:%M:%S %z]", &tm);
	}
	buf_add(out, (struct str){f->time_text, f->time_n});
}

/* Fields that are text of the request. */
static bool access_text(const struct access_item *i, const struct http_request *req, struct buf *out)
{
	switch ((int)i->kind) {
	case ACCESS_LITERAL:
		buf_add(out, (struct str){i->text, i->n});
		return true;
	case ACCESS_HOST:
		access_escape(out, req->client);
		return true;
	case ACCESS_USER:
		access_escape(out, str_eqz(req->ctx.principal, "anonymous") ? STR_NONE : req->ctx.principal);
		return true;
	case ACCESS_REFERER:
		access_escape(out, http_field(req, "referer"));
		return true;
	case ACCESS_AGENT:
		access_escape(out, http_field(req, "user-agent"));
		return true;
	case ACCESS_HEADER:
		/* Credentials stay out of logs whatever the format asks for. */
		if (str_ieqz(str_of(i->text), "authorization") || str_ieqz(str_of(i->text), "x-api-key") ||
		    str_ieqz(str_of(i->text), "cookie"))
			buf_addz(out, "***");
		else
			access_escape(out, http_field(req, i->text));
		return true;
	case ACCESS_ID:
		access_escape(out, req->request_id);
		return true;
	case ACCESS_METHOD:
		buf_addz(out, access_method(req));
		return true;
	case ACCESS_PATH:
		access_escape(out, access_raw_path(req));
		return true;
	case ACCESS_QUERY:
		access_query(out, req->query);
		return true;
	case ACCESS_REQUEST:
		access_request_line(out, req);
		return true;
	case ACCESS_PROTOCOL:
		buf_add(out, str_sub(access_protocol(req), 1, SIZE_MAX));
		return true;
	default:
		return false;
	}
}

static void access_number(struct access_format *f, const struct access_item *i, const struct http_request *req,
			  struct buf *out)
{
	int64_t us = req->end_us - req->start_us;

	switch ((int)i->kind) {
	case ACCESS_TIME:
		access_time(f, out);
		break;
	case ACCESS_STATUS:
		buf_addu(out, (uint64_t)req->status);
		break;
	case ACCESS_BYTES:
		buf_addu(out, req->bytes_out);
		break;
	case ACCESS_MICROS:
		buf_addu(out, (uint64_t)us);
		break;
	case ACCESS_MILLIS:
		buf_addu(out, (uint64_t)(us / MS_US));
		break;
	case ACCESS_SECONDS:
		buf_addu(out, (uint64_t)(us / SEC_US));
		break;
	case ACCESS_DECIMAL:
		buf_printf(out, "%lld.%06lld", (long long)(us / SEC_US), (long long)(us % SEC_US));
		break;
	case ACCESS_PID:
		buf_printf(out, "<%ld>", (long)getpid());
		break;
	default: /* ACCESS_DASH */
		buf_addc(out, '-');
		break;
	}
}

void access_format_line(struct access_format *f, const struct http_request *req, struct buf *out)
{
	size_t i;

	for (i = 0; i < f->n; i++)
		if (!access_text(&f->v[i], req, out))
			access_number(f, &f->v[i], req, out);
}
