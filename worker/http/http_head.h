/* SPDX-License-Identifier: MIT */
/*
 * Tokeniser of request heads: finds the end of a head that arrives in pieces, then cuts it into slices. Strict where
 * laxness lets two parsers disagree (RFC 9112): CRLF only, no folding, no blanks around names.
 */
#ifndef WORKER_HTTP_HTTP_HEAD_H
#define WORKER_HTTP_HTTP_HEAD_H

#include "worker/http/http.h"

#define HTTP_FIELDS_MAX 100
#define HTTP_TARGET_MAX 8192

/* How far the search for the blank line has come; zero-initialised per head. */
struct http_head_scan {
	size_t pos;  /* bytes looked at; the length of the head once it is complete */
	size_t line; /* where the current line began */
};

struct http_head {
	struct str method_text;
	enum http_method method;
	struct str target; /* as received */
	int minor;         /* 0 or 1: higher minor versions of 1 count as 1 */
	struct http_field fields[HTTP_FIELDS_MAX];
	size_t field_count;
};

/* 1: complete, s->pos is its length; 0: more bytes needed; -1: hopeless, err says why. `in` begins with the head. */
int http_head_scan(struct http_head_scan *s, struct str in, size_t limit, struct error *err) MUST_CHECK;
/* Cuts a complete head, blank line included. The slices point into `head`. */
bool http_head_parse(struct str head, struct http_head *h, struct error *err) MUST_CHECK;
/* Parts of it that HTTP/2 has too: the method, the form of h->target. */
bool http_head_method(struct http_head *h, struct str text, struct error *err) MUST_CHECK;
bool http_head_target(const struct http_head *h, struct error *err) MUST_CHECK;
/* First field of that name, or NULL. */
const struct http_field *http_head_find(const struct http_field *fields, size_t n, const char *name);
/* Is c a token character (RFC 9110 5.6.2)? */
bool http_is_token(unsigned char c);

#endif
