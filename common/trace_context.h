/* SPDX-License-Identifier: MIT */
/*
 * The W3C trace context of one request: read from traceparent and tracestate, or begun here, and written for who is
 * called next (https://www.w3.org/TR/trace-context/). Ids are random, not secret.
 */
#ifndef COMMON_TRACE_CONTEXT_H
#define COMMON_TRACE_CONTEXT_H

#include "common/str.h"

#define TRACE_ID_LEN 32
#define TRACE_SPAN_LEN 16
#define TRACE_PARENT_LEN 55  /* 00-<trace id>-<span id>-<flags> */
#define TRACE_STATE_MAX 512  /* bytes that every party must pass on, section 3.3.1.5 */
#define TRACE_FLAG_SAMPLED 1 /* section 3.2.2.5.1 */

struct trace_context {
	bool on;
	bool joined; /* the trace is the caller's */
	uint8_t flags;
	char trace_id[TRACE_ID_LEN + 1];
	char span_id[TRACE_SPAN_LEN + 1];   /* of this request */
	char parent_id[TRACE_SPAN_LEN + 1]; /* the caller's span; "" = none */
	struct str state;                   /* tracestate as received; the caller's memory */
};

/*
 * Joins the trace of a traceparent with a span of its own; false (and *t is all zero) when it is malformed, so that a
 * new trace is to be begun. `state` is kept only within its bounds.
 */
bool trace_join(struct trace_context *t, struct str parent, struct str state) MUST_CHECK;
/* Begins a trace, sampled. */
void trace_begin(struct trace_context *t);
/* The trace of what has this name (a debate), the same in every process and after a takeover; sampled. */
void trace_of(struct trace_context *t, struct str name);
/* The traceparent for who is called next, with NUL; the own span is its parent. */
void trace_parent(const struct trace_context *t, char out[TRACE_PARENT_LEN + 1]);

#endif
