/* SPDX-License-Identifier: MIT */
/*
 * What header fields mean (RFC 9110): content codings, dates, validators and preconditions, ranges. Nothing here
 * replies or waits; everything works on the fields of one request.
 */
#ifndef WORKER_HTTP_HTTP_SEMANTICS_H
#define WORKER_HTTP_HTTP_SEMANTICS_H

#include "worker/http/http.h"

/* All values of a field that is a list, joined by commas (RFC 9110 5.3); STR_NONE when absent. May allocate. */
struct str http_field_list(const struct http_request *req, const char *name);

/* ---- content codings (RFC 9110 12.5.3), in ascending order of preference ---- */

enum http_coding { CODING_IDENTITY, CODING_GZIP, CODING_BR, CODING_MAX };
/* "br"; NULL for identity, which is never named in Content-Encoding. */
const char *http_coding_name(enum http_coding c);
/*
 * The best coding among those in `have` (a bit each) by the value of Accept-Encoding: the one with the highest weight,
 * the later one of equals. Identity when nothing else is acceptable, even where the client refuses it: an answer that
 * the client may not like is better than none.
 */
enum http_coding http_coding_choose(struct str accept_encoding, unsigned have);
/* Does Accept (RFC 9110 12.5.1) take the type "text/html", by its name, "text/" and a star, or two stars? Absent: yes.
 */
bool http_accepts(struct str accept, struct str type);

/* ---- dates (RFC 9110 5.6.7) ---- */

#define HTTP_DATE_MAX 30 /* with NUL */

/* Seconds since 1970, from any of the three forms. */
bool http_date_parse(struct str s, int64_t *seconds) MUST_CHECK;
/* As IMF-fixdate, or "" if the year has not four digits. */
void http_date_format(char out[HTTP_DATE_MAX], int64_t seconds);

/* ---- validators and preconditions (RFC 9110 8.8 and 13) ---- */

struct http_validators {
	struct str etag;  /* with its quotes, "W/" before a weak one; STR_NONE: none */
	int64_t modified; /* seconds since 1970; -1: not known */
};

/* Is the tag in the list, or the list "*"? `strong`: both must be strong (RFC 9110 8.8.3.2). */
bool http_etag_listed(struct str list, struct str etag, bool strong);

enum http_condition { CONDITION_NONE, CONDITION_NOT_MODIFIED, CONDITION_FAILED };
/*
 * If-Match, If-Unmodified-Since, If-None-Match, If-Modified-Since of a GET or HEAD, in the order of RFC 9110 13.2.2:
 * answer as usual, 304 or 412.
 */
enum http_condition http_condition(const struct http_request *req, const struct http_validators *v);

enum http_range { RANGE_ALL, RANGE_PART, RANGE_OUTSIDE };
/*
 * Range and If-Range of a GET (RFC 9110 14.2 and 13.1.5) for a body of `size` bytes. RANGE_PART: 206 with *length bytes
 * from *from; RANGE_OUTSIDE: 416. Several ranges, other units and malformed ones are ignored, as 14.2 allows.
 */
enum http_range http_range(const struct http_request *req, const struct http_validators *v, uint64_t size,
			   uint64_t *from, uint64_t *length);

#endif
