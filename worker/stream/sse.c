/* SPDX-License-Identifier: MIT */
/*
 * The event log over plain HTTP: a JSON page, or server-sent events (WHATWG HTML 9.2) that begin after the last event
 * seen and end with debate_end. Frames come from the same topics as those of WebSockets.
 */
#include "worker/stream/sse.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/access/access.h"
#include "worker/debate/debate.h"
#include "worker/identity/watch.h"
#include "worker/stream/topic.h"
#include "worker/worker.h"

#define SSE_TYPE "text/event-stream; charset=utf-8"
#define SSE_PAGE_DEFAULT 100
#define SSE_PAGE_MAX 500
#define SSE_KEEPALIVE_US (15 * SEC_US) /* a comment line, so that proxies and clients see life */
#define SSE_SPECTATE_US (45 * SEC_US)  /* then a spectator's stream ends at its next sign of life */

struct sse {
	struct worker *w;
	struct http_stream *out;
	struct follower *follower;
	struct identity_watch *watch;
	struct loop_timer alive;
	int64_t until_us; /* of a spectator; 0: everybody else */
	bool ended;
};

/* The last event the client has: header of a reconnecting EventSource first, then any of the query's names. */
static int64_t sse_after(const struct http_request *req)
{
	static const char *const names[] = {"after_seq", "last_seq", "replay_from_seq", "since"};
	uint64_t id;
	size_t i;

	if (str_to_u64(http_field(req, "Last-Event-ID"), INT64_MAX, &id))
		return (int64_t)id;
	for (i = 0; i < countof(names); i++)
		if (http_query(req, names[i]).n > 0)
			return http_query_int(req, names[i], 0, INT64_MAX, 0);
	return 0;
}

static bool sse_wanted(const struct http_request *req)
{
	bool stream = false;

	if (str_to_bool(http_query(req, "stream"), &stream))
		return stream;
	return str_ifind(http_field(req, "Accept"), STR("text/event-stream")) >= 0;
}

/* ---- the stream ---- */

static void sse_finish(void *arg)
{
	struct sse *e = arg;

	http_stream_end(e->out);
}

/* debate_end as those with a link see it: neither what it cost nor its receipt is their affair. */
static struct str sse_end_for_spectators(struct arena *a, struct str envelope)
{
	struct error err = ERROR_INIT;
	json_t *all = json_parse(a, envelope, &err), *data = json_object_get(all, "data");

	json_object_del(data, "cost_usd");
	json_object_del(data, "receipt_id");
	json_object_del(data, "reason");
	return all != NULL ? json_text(a, all) : STR("{}");
}

/* The same as an event block, of the one that everybody else is sent. */
static struct rbuf *sse_last_for_spectators(const struct frame *f)
{
	struct str block = {f->sse->data, f->sse->n}, text;
	ptrdiff_t at = str_find(block, STR("\ndata: "));
	struct arena *a = arena_new(0);
	struct rbuf *r;

	BUG_ON(at < 0);
	text = sse_end_for_spectators(a, str_trim(str_sub(block, (size_t)at + 7, block.n)));
	r = rbuf_of(arena_printf(a, "%.*s\ndata: %.*s\n\n", STR_ARG(str_sub(block, 0, (size_t)at)), STR_ARG(text)));
	arena_free(a);
	return r;
}

static bool sse_send(void *arg, const struct frame *f)
{
	struct sse *e = arg;
	bool more;

	if (e->ended)
		return false;
	if (e->until_us != 0 && !f->open)
		return true;
	more = http_stream_write(e->out, f->last && e->until_us != 0 ? sse_last_for_spectators(f) : rbuf_ref(f->sse));
	if (f->last) { /* nothing follows; the end is said outside of the delivery */
		e->ended = true;
		loop_timer_stop(&e->alive);
		loop_timer_init(e->w->loop, &e->alive, sse_finish, e);
		loop_timer_set(&e->alive, 0);
	}
	return more && !e->ended;
}

static void sse_caught_up(void *arg, int64_t cursor)
{
	(void)arg;
	(void)cursor;
}

static void sse_failed(void *arg)
{
	struct sse *e = arg;

	http_stream_end(e->out); /* EventSource comes back with Last-Event-ID */
}

/* What it has not read yet is still sent, then it can resume from the log. */
static void sse_lagged(void *arg)
{
	struct sse *e = arg;

	if (e->ended)
		return;
	e->ended = true;
	loop_timer_stop(&e->alive);
	log_warn("stream", "an event stream that lagged for too long is ended",
		 KV_STR("debate", follower_debate(e->follower)), KV_I("last_seq", follower_cursor(e->follower)),
		 KV_I("queued", http_stream_queued(e->out)));
	http_stream_end(e->out);
}

static bool sse_roomy(void *arg)
{
	const struct sse *e = arg;

	return (int64_t)http_stream_queued(e->out) <= e->w->conf->websocket.queue_bytes / 4;
}

static const struct follower_ops sse_follower_ops = {sse_send, sse_caught_up, sse_failed, sse_lagged, sse_roomy, NULL};

static void sse_on_drain(void *arg)
{
	struct sse *e = arg;

	if (!e->ended && e->follower != NULL)
		follower_drained(e->follower);
}

static void sse_on_close(void *arg)
{
	struct sse *e = arg;

	loop_timer_stop(&e->alive);
	if (e->follower != NULL)
		follower_free(e->follower);
	identity_watch_free(e->watch);
	free(e);
}

static const struct http_stream_ops sse_stream_ops = {sse_on_drain, sse_on_close};

static void sse_alive(void *arg)
{
	struct sse *e = arg;

	if (e->until_us != 0 && clock_mono_us() >= e->until_us && !e->ended) {
		e->ended = true;
		http_stream_end(e->out);
		return;
	}
	(void)http_stream_write(e->out, rbuf_of(STR(": alive\n\n"))); /* a full queue shows at the next event */
	loop_timer_set(&e->alive, SSE_KEEPALIVE_US);
}

/* Whoever opened the stream may not listen any more: it ends, and opening it anew is refused. */
static void sse_lost(void *arg, const char *why)
{
	struct sse *e = arg;

	if (e->ended)
		return;
	e->ended = true;
	loop_timer_stop(&e->alive);
	log_info("stream", "an event stream is ended", KV_S("why", why),
		 KV_STR("user_id", identity_watch_who(e->watch)->user_id));
	http_stream_end(e->out);
}

/* spectator: whoever holds a link; nobody whose credentials could be watched. */
static void sse_begin(struct http_request *req, const struct context *ctx, const struct debate_row *row, int64_t after,
		      bool spectator)
{
	struct worker *w = req->user;
	struct sse *e = xcalloc(1, sizeof(*e));

	e->w = w;
	e->until_us = spectator ? clock_mono_us() + SSE_SPECTATE_US : 0;
	http_reply_field(req, "Cache-Control", "no-cache");
	http_reply_field(req, "X-Accel-Buffering", "no"); /* nginx passes events on as they come */
	e->out = http_stream_begin(req, SSE_TYPE, &sse_stream_ops, e);
	loop_timer_init(w->loop, &e->alive, sse_alive, e);
	loop_timer_set(&e->alive, SSE_KEEPALIVE_US);
	(void)http_stream_write(e->out, rbuf_of(STR("retry: 1000\n\n")));
	e->follower =
	    follower_new(w->stream, ctx, row->id, after < row->last_seq ? after : row->last_seq, &sse_follower_ops, e);
	if (spectator)
		return;
	/* Whoever gets in as owner of the debate, or by a grant, has no such permission to lose. */
	e->watch = identity_watch_new(
	    w, req->ctx.who, req->start_us,
	    access_allows(w, req->ctx.who, router_permission(req)) ? router_permission(req) : -1, sse_lost, e);
}

/* ---- the page ---- */

static void sse_page(struct http_request *req, const struct context *ctx, const struct debate_row *row, int64_t after,
		     bool spectator)
{
	struct worker *w = req->user;
	int limit = (int)http_query_int(req, "limit", 1, SSE_PAGE_MAX, SSE_PAGE_DEFAULT);
	struct error err = ERROR_INIT;
	struct stream_event *events;
	struct buf b = BUF_INIT;
	size_t i, n, shown = 0;

	if (!stream_read_log(w->db, req->arena, ctx, row->id, after, limit, &events, &n, &err)) {
		http_reply_error(req, &err);
		return;
	}
	buf_addz(&b, "{\"events\":[");
	for (i = 0; i < n; i++) {
		if (spectator && !frame_is_open(events[i].type))
			continue;
		if (shown++ > 0)
			buf_addc(&b, ',');
		buf_add(&b, spectator && str_eqz(events[i].type, "debate_end")
				? sse_end_for_spectators(req->arena, events[i].envelope)
				: events[i].envelope);
	}
	buf_printf(&b, "],\"next_seq\":%lld,\"count\":%zu,\"last_seq\":%lld,\"has_more\":%s}",
		   (long long)(n > 0 ? events[n - 1].seq : after), shown, (long long)row->last_seq,
		   n > 0 && events[n - 1].seq < row->last_seq ? "true" : "false");
	http_reply(req, 200, "application/json", buf_str(&b));
	buf_free(&b);
}

CO_FN static void sse_answer(struct http_request *req, const struct context *ctx, const struct debate_row *row,
			     bool spectator)
{
	struct worker *w = req->user;

	if (sse_wanted(req) && row->completed_at != 0 &&
	    (sse_after(req) >= row->last_seq || stream_log_gone(w->db, req->arena, row, sse_after(req))))
		http_reply(req, 204, NULL, STR_NONE); /* nothing will come: tells an EventSource to stay away */
	else if (sse_wanted(req) && req->method == HTTP_HEAD)
		http_reply(req, 200, SSE_TYPE,
			   STR_NONE); /* a stream without a body would keep the client waiting for nothing */
	else if (sse_wanted(req))
		sse_begin(req, ctx, row, sse_after(req), spectator);
	else
		sse_page(req, ctx, row, sse_after(req), spectator);
}

CO_FN void stream_events(struct http_request *req)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct debate_row row;

	if (debate_get(w->db, req->arena, &req->ctx, req->params[0], &row, &err))
		sse_answer(req, &req->ctx, &row, false);
	else
		http_reply_error(req, &err);
}

CO_FN void stream_spectate(struct http_request *req, const struct context *ctx, const struct debate_row *row)
{
	sse_answer(req, ctx, row, true);
}
