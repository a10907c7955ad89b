/* SPDX-License-Identifier: MIT */
/*
 * Compresses complete answers of text for clients that ask for it: small ones at once, large ones on the cpu lane.
 * Streams are left alone, and static files bring their own compressed forms.
 *
 * BREACH: the length of a compressed answer that holds a secret beside input of the attacker's tells the secret, letter
 * by letter. So routes whose answers hold secrets declare ROUTE_SECRET and are never compressed; nor is, whatever its
 * route says, an answer that sets a cookie or may not be stored.
 */
#include <brotli/encode.h>
#include <zlib.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/lane.h"
#include "common/metrics.h"
#include "worker/http/http_semantics.h"
#include "worker/middleware/pipeline.h"
#include "worker/worker.h"

#define COMPRESSION_INLINE 32768 /* up to this size it takes less than half a millisecond: not worth a thread */
#define COMPRESSION_WINDOW 18    /* of brotli: 256 KiB, so that memory stays small */
#define COMPRESSION_CODINGS (1u << CODING_IDENTITY | 1u << CODING_GZIP | 1u << CODING_BR)

struct compression_job {
	struct http_request *req;
	enum http_coding coding;
	int level;
	int status;
	char *type;
	char *in; /* on the lane: a copy, for the handler's memory is gone by then */
	size_t in_n;
	char *out;
	size_t out_room, out_n; /* 0: it did not get smaller */
};

static bool compression_applies(const struct route *r, const struct conf *c)
{
	return conf_compression(c) && !(r->flags & (ROUTE_WS | ROUTE_SECRET | ROUTE_FILES));
}

/* ---- what may be compressed ---- */

static bool compression_type(const char *content_type)
{
	static const char *const types[] = {"application/json", "text/", "application/xml", "image/svg+xml"};
	struct str type = str_of(content_type);
	size_t i;

	for (i = 0; i < countof(types); i++)
		if (str_istarts(type, str_of(types[i])))
			return true;
	return false;
}

static bool compression_secret(struct http_request *req)
{
	const struct str *cache = http_reply_find(req, "Cache-Control");

	return http_reply_has(req, "Set-Cookie") || (cache != NULL && str_ifind(*cache, STR("no-store")) >= 0);
}

/* The compressed form is another sequence of bytes: the tag no longer promises them (RFC 9110 8.8.1). */
static void compression_weaken(struct http_request *req)
{
	struct str *etag = http_reply_find(req, "ETag");

	if (etag != NULL && str_starts(*etag, STR("\"")))
		*etag = arena_printf(req->arena, "W/%.*s", STR_ARG(*etag));
}

/* ---- compressing ---- */

/* The stream of the loop's thread: making one anew costs more than a small answer does. */
static struct {
	z_stream z;
	int level; /* 0: not made yet */
} compression_kept;

static bool compression_gzip_run(z_stream *z, struct compression_job *j)
{
	/* zlib only reads what next_in points to. */
	z->next_in = (unsigned char *)(uintptr_t)j->in;
	z->avail_in = (unsigned)j->in_n;
	z->next_out = (unsigned char *)j->out;
	z->avail_out = (unsigned)j->out_room;
	if (deflate(z, Z_FINISH) != Z_STREAM_END)
		return false;
	j->out_n = z->total_out;
	return true;
}

/* 15 bits of window, and 16 for the gzip header (zlib.h, deflateInit2). */
static bool compression_gzip_open(z_stream *z, int level)
{
	memset(z, 0, sizeof(*z));
	return deflateInit2(z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK;
}

static bool compression_gzip_loop(struct compression_job *j)
{
	if (compression_kept.level != j->level) {
		if (compression_kept.level != 0)
			deflateEnd(&compression_kept.z);
		compression_kept.level = 0;
		if (!compression_gzip_open(&compression_kept.z, j->level))
			return false;
		compression_kept.level = j->level;
	}
	return deflateReset(&compression_kept.z) == Z_OK && compression_gzip_run(&compression_kept.z, j);
}

static bool compression_gzip_lane(struct compression_job *j)
{
	z_stream z;
	bool ok;

	if (!compression_gzip_open(&z, j->level))
		return false;
	ok = compression_gzip_run(&z, j);
	deflateEnd(&z);
	return ok;
}

/* At the same level brotli takes a little longer than gzip; one step below it is faster, and still smaller. */
static bool compression_brotli(struct compression_job *j)
{
	j->out_n = j->out_room;
	return BrotliEncoderCompress(j->level - 1, COMPRESSION_WINDOW, BROTLI_MODE_TEXT, j->in_n,
				     (const uint8_t *)j->in, &j->out_n, (uint8_t *)j->out) == BROTLI_TRUE;
}

/* What does not get smaller fails: the answer goes as it is. */
static void compression_run(struct compression_job *j, bool (*gzip)(struct compression_job *j))
{
	if (!(j->coding == CODING_BR ? compression_brotli(j) : gzip(j)))
		j->out_n = 0;
}

/* ---- at once ---- */

static struct str compression_finish(const struct compression_job *j)
{
	struct http_request *req = j->req;

	if (j->out_n == 0)
		return (struct str){j->in, j->in_n};
	http_reply_value(req, "Content-Encoding", str_of(http_coding_name(j->coding)));
	compression_weaken(req);
	metric_add(M_COMPRESSION_BYTES, (int64_t)j->in_n, "in", NULL);
	metric_add(M_COMPRESSION_BYTES, (int64_t)j->out_n, "out", NULL);
	return (struct str){j->out, j->out_n};
}

static void compression_now(struct compression_job *j, struct str *body)
{
	j->in = (char *)(uintptr_t)body->p;
	j->in_n = body->n;
	j->out_room = body->n - 1;
	j->out = arena_alloc(j->req->arena, j->out_room);
	compression_run(j, compression_gzip_loop);
	*body = compression_finish(j);
}

/* ---- on the lane ---- */

static void compression_work(void *job)
{
	compression_run(job, compression_gzip_lane);
}

static void compression_free(struct compression_job *j)
{
	free(j->type);
	free(j->in);
	free(j->out);
	free(j);
}

static void compression_done(void *job)
{
	struct compression_job *j = job;
	struct http_request *req = j->req;

	http_reply_resume(req, j->status, j->type, compression_finish(j));
	http_request_release(req);
	compression_free(j);
}

/* False: there is no memory, or no room on the lane; the answer goes as it is. */
static bool compression_later(const struct compression_job *like, struct str body, const char *type)
{
	const struct worker *w = like->req->user;
	struct compression_job *j = xcalloc(1, sizeof(*j));

	*j = *like;
	j->type = xstrdup(type);
	j->in_n = body.n;
	j->out_room = body.n - 1;
	j->in = malloc(body.n);
	j->out = malloc(j->out_room);
	if (j->in != NULL && j->out != NULL) {
		memcpy(j->in, body.p, body.n);
		http_request_hold(j->req);
		if (lane_submit(w->cpu, compression_work, compression_done, j))
			return true;
		http_request_release(j->req);
	}
	compression_free(j);
	return false;
}

static bool compression_body(struct http_request *req, int *status, const char *type, struct str *body)
{
	const struct worker *w = req->user;
	struct compression_job j = {.req = req, .level = (int)w->conf->compression.level, .status = *status};

	if (body->n <= 1 || (int64_t)body->n < w->conf->compression.min_bytes || body->n > INT32_MAX ||
	    !compression_type(type) || http_reply_has(req, "Content-Encoding") || compression_secret(req))
		return false;
	http_reply_value(req, "Vary", STR("Accept-Encoding"));
	j.coding = http_coding_choose(http_field_list(req, "accept-encoding"), COMPRESSION_CODINGS);
	if (j.coding == CODING_IDENTITY)
		return false;
	if (*status == 304) { /* as the 200 would have it */
		compression_weaken(req);
		return false;
	}
	if (body->n > COMPRESSION_INLINE && w->cpu != NULL)
		return compression_later(&j, *body, type);
	compression_now(&j, body);
	return false;
}

const struct middleware middleware_compression = {
    .name = "compression", .applies = compression_applies, .body = compression_body};
