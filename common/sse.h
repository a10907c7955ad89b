/* SPDX-License-Identifier: MIT */
/*
 * Streams in pieces: server-sent events (WHATWG HTML 9.2) and newline-delimited JSON. Both take bytes as they come,
 * hand over whole events or lines, and hold at most `max` bytes of an unfinished one.
 */
#ifndef COMMON_SSE_H
#define COMMON_SSE_H

#include "common/str.h"

/* False ends the reading: sse_feed and ndjson_feed return false too. The slices live until the call returns. */
typedef bool (*sse_event_fn)(void *arg, struct str event, struct str data);
typedef bool (*ndjson_line_fn)(void *arg, struct str line);

struct sse {
	struct buf line;  /* of the unfinished line */
	struct buf data;  /* data lines of the unfinished event, each followed by \n */
	struct buf event; /* value of the last event: line, "" = message */
	size_t max;
	size_t skip; /* bytes of a leading byte order mark seen so far; 4 = no longer looked for */
	bool has_data;
	bool after_cr; /* a \n that follows belongs to the \r before it */
};

void sse_init(struct sse *s, size_t max);
/* False: fn returned false, or an event is longer than the limit. Events without data are not handed over. */
bool sse_feed(struct sse *s, struct str chunk, sse_event_fn fn, void *arg) MUST_CHECK;
/* What was not ended by an empty line is dropped, as the standard demands. */
void sse_free(struct sse *s);

struct ndjson {
	struct buf line;
};

void ndjson_init(struct ndjson *n, size_t max);
/* Empty lines are skipped; \r before \n is not part of a line. False: fn returned false, or a line is too long. */
bool ndjson_feed(struct ndjson *n, struct str chunk, ndjson_line_fn fn, void *arg) MUST_CHECK;
/* The stream has ended: hands over a last line that had no newline. */
bool ndjson_finish(struct ndjson *n, ndjson_line_fn fn, void *arg) MUST_CHECK;
void ndjson_free(struct ndjson *n);

#endif
