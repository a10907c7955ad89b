/* SPDX-License-Identifier: MIT */
/*
 * Joins the trace of the caller or begins one, gives its ids back, and times the stages of requests that may wait. What
 * never waits and is public (probes, files) only joins: there is nothing to tell of it otherwise. It exports nothing.
 */
#include "common/log.h"
#include "common/metrics.h"

#include "common/clock.h"
#include "worker/middleware/pipeline.h"

static bool tracing_begins(const struct route *r)
{
	return (r->flags & (ROUTE_PUBLIC | ROUTE_INLINE)) != (ROUTE_PUBLIC | ROUTE_INLINE);
}

static bool tracing_head(struct http_request *req, size_t *limit, struct error *err)
{
	struct str parent = http_field(req, "traceparent");

	(void)limit;
	(void)err;
	if (parent.n > 0 && trace_join(&req->trace, parent, http_field(req, "tracestate")))
		return true;
	if (tracing_begins(req->route))
		trace_begin(&req->trace);
	return true;
}

static void tracing_reply(struct http_request *req)
{
	const struct trace_context *t = &req->trace;
	char parent[TRACE_PARENT_LEN + 1];

	if (!t->on)
		return;
	trace_parent(t, parent);
	http_reply_lines(req, arena_printf(req->arena, "X-Trace-ID: %s\r\nX-Span-ID: %s\r\ntraceparent: %s\r\n%s%s%s",
					   t->trace_id, t->span_id, parent, t->joined ? "X-Parent-Span-ID: " : "",
					   t->parent_id, t->joined ? "\r\n" : ""));
}

static void tracing_stage(const char *stage, int64_t from, int64_t to)
{
	if (from > 0 && to >= from)
		metric_observe(M_HTTP_STAGE, (double)(to - from) / (double)SEC_US, stage, NULL);
}

static void tracing_after(struct http_request *req)
{
	const struct trace_context *t = &req->trace;

	if (req->chain_us == 0)
		return;
	tracing_stage("receive", req->start_us, req->chain_us);
	tracing_stage("chain", req->chain_us, req->handler_us > 0 ? req->handler_us : req->end_us);
	tracing_stage("handler", req->handler_us, req->end_us);
	if (t->on && log_enabled(LOG_DEBUG))
		log_debug("trace", "span", KV_S("trace_id", t->trace_id), KV_S("span_id", t->span_id),
			  KV_S("parent_id", t->parent_id), KV_S("route", req->route->path), KV_I("status", req->status),
			  KV_I("receive_us", req->chain_us - req->start_us),
			  KV_I("chain_us", (req->handler_us > 0 ? req->handler_us : req->end_us) - req->chain_us),
			  KV_I("handler_us", req->handler_us > 0 ? req->end_us - req->handler_us : 0));
}

const struct middleware middleware_tracing = {
    .name = "tracing", .head = tracing_head, .reply = tracing_reply, .after = tracing_after};
