/* SPDX-License-Identifier: MIT */
/*
 * Where a request ends: the rules of RFC 9112 section 6 in one place, and the incremental decoder of chunked bodies.
 */
#ifndef WORKER_HTTP_HTTP_FRAMING_H
#define WORKER_HTTP_HTTP_FRAMING_H

#include "worker/http/http_head.h"

enum http_body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED };
enum http_expect { EXPECT_NOTHING, EXPECT_CONTINUE, EXPECT_UNKNOWN };

struct http_framing {
	enum http_body_kind kind;
	uint64_t length; /* with BODY_LENGTH */
	enum http_expect expect;
	bool keep_alive; /* what the client wants */
};

bool http_framing(const struct http_head *h, struct http_framing *f, struct error *err) MUST_CHECK;

/* Does a comma-separated list contain the token, case-insensitive? */
bool http_list_has(struct str list, const char *token);

enum http_chunk_state {
	CHUNK_SIZE,
	CHUNK_SIZE_BLANK, /* blanks between size and extension */
	CHUNK_EXT,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	CHUNK_TRAILER, /* at the beginning of a line */
	CHUNK_TRAILER_NAME,
	CHUNK_TRAILER_VALUE,
	CHUNK_TRAILER_LF,
	CHUNK_END_LF,
	CHUNK_DONE
};

/* Zero-initialised per body. */
struct http_chunked {
	enum http_chunk_state state;
	unsigned digits;
	unsigned extra; /* bytes of extension in this chunk, or of trailers */
	uint64_t left;  /* bytes of data left in this chunk */
};

/*
 * Takes bytes from in: *used of them are done with, of which *data (maybe empty) is body. 1: the body is complete;
 * 0: go on with the rest, or with more; -1: malformed.
 */
int http_chunked_feed(struct http_chunked *d, struct str in, size_t *used, struct str *data) MUST_CHECK;

#endif
