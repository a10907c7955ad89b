/* SPDX-License-Identifier: MIT */
/*
 * What a request head means, and a memory of heads that come again word by word: probes, polls and pipelines repeat
 * themselves, and their heads are then compared instead of parsed. Heads that carry credentials, a query or a body are
 * never kept.
 */
#ifndef WORKER_HTTP_HTTP_MEMO_H
#define WORKER_HTTP_HTTP_MEMO_H

#include "worker/http/http_framing.h"

#define HTTP_MEMO_SLOTS 64
#define HTTP_MEMO_HEAD 1024 /* longer heads are not kept */

struct http_meaning {
	struct arena *arena; /* its own, if it is kept in a memo */
	unsigned refs;       /* the memo and the requests that use it */
	struct str raw;      /* the head, blank line included; the slices below point into it */
	enum http_method method;
	int minor;
	struct str target;
	struct str query; /* without '?' */
	struct str path;  /* normalised; p is NULL if the target's path is malformed */
	const struct http_field *fields;
	size_t field_count;
	uint64_t field_marks; /* http_field_mark of all */
	struct http_framing framing;
};

struct http_memo_slot {
	uint64_t heard; /* hash of the newest head that fell here: one that comes twice is kept */
	struct http_meaning *kept;
};

struct http_memo {
	struct http_memo_slot slots[HTTP_MEMO_SLOTS];
	struct http_meaning *last; /* found last, not counted; NULL: none */
	uint64_t missed;           /* hash of the head that was not found last */
};

/* Parses a complete head into m; text and fields are put into the arena. */
bool http_meaning_parse(struct http_meaning *m, struct arena *a, struct str raw, struct error *err) MUST_CHECK;
/* Lets go of what http_memo_find returned. NULL is allowed. */
void http_meaning_unref(struct http_meaning *m);
/* If `in` begins with the head that was found last: its length; else 0. */
size_t http_memo_repeats(const struct http_memo *m, struct str in);
/* The meaning of a complete head that is kept, with a reference for the caller; NULL: parse it. */
struct http_meaning *http_memo_find(struct http_memo *m, struct str raw);
/* The head that was not found just now, parsed: keeps it if it has come before and may be kept. */
void http_memo_hear(struct http_memo *m, const struct http_meaning *head);
void http_memo_free(struct http_memo *m);

#endif
