/* SPDX-License-Identifier: MIT */
/*
 * The built web application: its files under static.root answer every path outside /api/ that no other route has.
 * Decides which file answers, with which headers, whole, in part or not at all. Opening them is files.c.
 */
#include "worker/web/site.h"

#include <errno.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "worker/http/http_semantics.h"
#include "worker/http/route.h"
#include "worker/middleware/pipeline.h"
#include "worker/web/files.h"
#include "worker/worker.h"

#define SITE_NONCE 16                                        /* random bytes, security.md 7.1 */
#define SITE_IMMUTABLE "public, max-age=31536000, immutable" /* a year: RFC 8246, RFC 9111 1.2.2 */

struct site_wait {
	struct http_request *req;
	bool fallback; /* the index of the root is asked for in place of what is not there */
};

static const struct worker *site_worker(const struct http_request *req)
{
	return req->user;
}

static const struct conf *site_conf(const struct http_request *req)
{
	return site_worker(req)->conf;
}

/* ---- paths ---- */

static struct str site_last_segment(struct str path)
{
	size_t i = path.n;

	while (i > 0 && path.p[i - 1] != '/')
		i--;
	return str_sub(path, i, path.n);
}

/* A segment begins with a dot: .git, .env. RFC 8615 has one such folder that is meant to be seen. */
static bool site_hidden(struct str path)
{
	struct str rest = str_sub(path, 1, path.n), segment;
	bool first = true;

	for (; str_split(&rest, '/', &segment); first = false)
		if (segment.n > 0 && segment.p[0] == '.' && !(first && str_eqz(segment, ".well-known")))
			return true;
	return false;
}

/* Was the path written with a slash at its end? Normalising takes it off. */
static bool site_asks_for_folder(const struct http_request *req)
{
	ptrdiff_t query = str_chr(req->target, '?');
	struct str path = query < 0 ? req->target : str_sub(req->target, 0, (size_t)query);

	return path.n == 0 || path.p[path.n - 1] == '/' || req->path.n == 1;
}

/* Unknown paths are the page's own when nobody would take them for the name of a file. */
static bool site_falls_back(const struct http_request *req)
{
	return site_conf(req)->site.fallback && !site_hidden(req->path) &&
	       str_chr(site_last_segment(req->path), '.') < 0 &&
	       http_accepts(http_field_list(req, "accept"), STR("text/html"));
}

/* ---- answers ---- */

static void site_refuse(struct http_request *req, int error)
{
	struct error err = ERROR_INIT;

	if (error == ENOENT)
		error_set(&err, ERR_NOT_FOUND, "there is nothing at %.*s", (int)(req->path.n < 160 ? req->path.n : 160),
			  req->path.p);
	else
		error_set(&err, ERR_UNAVAILABLE, "the file cannot be read now");
	http_reply_error(req, &err);
}

/* Links of a page are relative to its folder, so the slash must be there. */
static void site_redirect(struct http_request *req)
{
	static const char hex[] = "0123456789ABCDEF";
	struct buf b = BUF_INIT;
	size_t i;

	for (i = 0; i < req->path.n; i++) {
		unsigned char c = (unsigned char)req->path.p[i];

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    memchr("/-._~!$&'()*+,;=:@", c, 18) != NULL) { /* RFC 3986 3.3 */
			buf_addc(&b, (char)c);
		} else {
			buf_addc(&b, '%');
			buf_addc(&b, hex[c >> 4]);
			buf_addc(&b, hex[c & 15]);
		}
	}
	buf_addc(&b, '/');
	if (req->query.n > 0) {
		buf_addc(&b, '?');
		buf_add(&b, req->query);
	}
	http_reply_value(req, "Location", arena_str(req->arena, buf_str(&b)));
	buf_free(&b);
	http_reply(req, 301, NULL, STR_NONE);
}

static bool site_immutable(const struct http_request *req, const struct files_file *file)
{
	const struct conf *c = site_conf(req);
	size_t i;

	if (file->html)
		return false;
	for (i = 0; i < c->site.immutable_paths.n; i++)
		if (str_starts(req->path, str_of(c->site.immutable_paths.v[i])))
			return true;
	return c->site.immutable && file->hashed;
}

/* What 200, 206 and 304 (RFC 9110 15.4.5) say about this file. */
static void site_headers(struct http_request *req, const struct files_file *file, enum http_coding coding,
			 bool fallback)
{
	int64_t max_age = site_conf(req)->site.max_age / SEC_US;

	http_reply_value(req, "ETag", arena_str(req->arena, str_of(file->forms[coding].etag)));
	if (file->last_modified[0] != '\0')
		http_reply_value(req, "Last-Modified", arena_str(req->arena, str_of(file->last_modified)));
	if (file->html || max_age == 0)
		http_reply_value(req, "Cache-Control", STR("no-cache"));
	else if (site_immutable(req, file))
		http_reply_value(req, "Cache-Control", STR(SITE_IMMUTABLE));
	else
		http_reply_field(req, "Cache-Control", "public, max-age=%lld", (long long)max_age);
	http_reply_value(req, "Accept-Ranges", STR("bytes"));
	if (file->have != 1u << CODING_IDENTITY)
		http_reply_value(req, "Vary", fallback ? STR("Accept, Accept-Encoding") : STR("Accept-Encoding"));
	else if (fallback)
		http_reply_value(req, "Vary", STR("Accept"));
}

static void site_release(void *arg)
{
	files_unref(arg);
}

static void site_outside(struct http_request *req, uint64_t size)
{
	struct error err = ERROR_INIT;

	http_reply_field(req, "Content-Range", "bytes */%ju", (uintmax_t)size);
	error_field(&err, ERR_RANGE, "Range", "the file has %ju bytes", (uintmax_t)size);
	http_reply_error(req, &err);
}

static void site_send(struct http_request *req, struct files_file *file, enum http_coding coding, bool fallback)
{
	const struct files_form *form = &file->forms[coding];
	struct http_validators v = {str_of(form->etag), file->modified};
	uint64_t from = 0, length = form->size;
	enum http_range range = http_range(req, &v, form->size, &from, &length);
	int status = range == RANGE_PART ? 206 : 200;

	if (range == RANGE_OUTSIDE) {
		site_outside(req, form->size);
		return;
	}
	site_headers(req, file, coding, fallback);
	if (range == RANGE_PART)
		http_reply_field(req, "Content-Range", "bytes %ju-%ju/%ju", (uintmax_t)from,
				 (uintmax_t)(from + length - 1), (uintmax_t)form->size);
	if (coding != CODING_IDENTITY)
		http_reply_value(req, "Content-Encoding", str_of(http_coding_name(coding)));
	if (form->data != NULL) {
		http_reply(req, status, file->type, (struct str){form->data->data + from, (size_t)length});
		return;
	}
	file->refs++;
	http_reply_file(req, status, file->type, &(struct http_file){form->fd, site_release, file}, from, length);
}

/*
 * A page whose inline scripts and styles carry a nonce: it is another one in each answer, which nobody may keep
 * therefore, and which has no tag and no parts.
 */
static void site_with_nonce(struct http_request *req, const struct files_file *file)
{
	const struct rbuf *data = file->forms[CODING_IDENTITY].data;
	struct str rest = {data->data, data->n}, mark = STR(FILES_NONCE), body;
	char nonce[32];
	uint8_t raw[SITE_NONCE];
	struct buf out = BUF_INIT;
	ptrdiff_t at;
	size_t n;

	ids_random(raw, sizeof(raw));
	n = crypto_base64(nonce, raw, sizeof(raw));
	while ((at = str_find(rest, mark)) >= 0) {
		buf_add(&out, str_sub(rest, 0, (size_t)at));
		buf_add(&out, (struct str){nonce, n});
		rest = str_sub(rest, (size_t)at + mark.n, rest.n);
	}
	buf_add(&out, rest);
	body = arena_str(req->arena, buf_str(&out));
	buf_free(&out);
	security_headers_nonce(req, (struct str){nonce, n});
	http_reply_value(req, "Cache-Control", STR("no-store"));
	http_reply(req, 200, file->type, body);
}

static void site_answer(struct http_request *req, struct files_file *file, bool fallback)
{
	enum http_coding coding = file->have == 1u << CODING_IDENTITY
				      ? CODING_IDENTITY
				      : http_coding_choose(http_field_list(req, "accept-encoding"), file->have);
	struct http_validators v = {str_of(file->forms[coding].etag), file->modified};
	struct error err = ERROR_INIT;

	if (!fallback && file->folder && !site_asks_for_folder(req)) {
		site_redirect(req);
		return;
	}
	if (file->nonce) {
		site_with_nonce(req, file);
		return;
	}
	switch (http_condition(req, &v)) {
	case CONDITION_NOT_MODIFIED:
		site_headers(req, file, coding, fallback);
		http_reply(req, 304, NULL, STR_NONE);
		break;
	case CONDITION_FAILED:
		error_set(&err, ERR_PRECONDITION, "the file is not the one that was meant");
		http_reply_error(req, &err);
		break;
	case CONDITION_NONE:
		site_send(req, file, coding, fallback);
		break;
	}
}

/* ---- looking up ---- */

static void site_find(struct http_request *req, struct str path, bool fallback);

static void site_found(void *arg, struct files_file *file, int error)
{
	struct site_wait *w = arg;
	struct http_request *req = w->req;

	if (file != NULL && !w->fallback && !file->folder && site_asks_for_folder(req)) {
		file = NULL; /* "/app.js/" is nothing */
		error = ENOENT;
	}
	if (http_replied(req))
		; /* the time limit came first */
	else if (file != NULL)
		site_answer(req, file, w->fallback);
	else if (error == ENOENT && !w->fallback && site_falls_back(req))
		site_find(req, STR("/"), true);
	else
		site_refuse(req, error);
	http_request_release(req);
}

static void site_find(struct http_request *req, struct str path, bool fallback)
{
	struct site_wait *w = arena_alloc(req->arena, sizeof(*w));

	*w = (struct site_wait){req, fallback};
	http_request_hold(req);
	if (!files_get(site_worker(req)->files, path, site_found, w))
		http_request_deadline(req, site_conf(req)->server.request_timeout);
}

static void site_serve(struct http_request *req)
{
	if (site_hidden(req->path))
		site_refuse(req, ENOENT);
	else
		site_find(req, req->path, false);
}

#define FILES(p, s) \
	ROUTE(GET, p, site_serve, NULL, NONE, s, .flags = ROUTE_PUBLIC | ROUTE_INLINE | ROUTE_ANY_TYPE | ROUTE_FILES)

static const struct route site_rows[] = {
    FILES("/", "The index of the web application"),
    FILES("/{path...}", "Files of the web application"),
};
const struct route_table site_routes = {site_rows, countof(site_rows)};
