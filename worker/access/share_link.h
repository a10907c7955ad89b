/* SPDX-License-Identifier: MIT */
/*
 * Links with which anybody may read one thing (a receipt, a debate) for a while: the token, of which only the hash is
 * stored, the settings of a new one, and the answer of one that is over. The rows are of whoever shares.
 */
#ifndef WORKER_ACCESS_SHARE_LINK_H
#define WORKER_ACCESS_SHARE_LINK_H

#include <jansson.h>

#include "worker/http/http.h"

#define SHARE_LINK_HOURS 24
#define SHARE_LINK_HOURS_MAX 720 /* rest-wide 4.1 */
#define SHARE_LINK_HOUR_MS INT64_C(3600000)
#define SHARE_LINK_GRACE_MS (30 * 24 * SHARE_LINK_HOUR_MS) /* how long an expired link is told from an unknown one */

/* A new token of 32 random bytes, in the arena. */
struct str share_link_token(struct arena *a);
/* What is stored of it; also of anything that somebody gives as one. */
struct str share_link_hash(struct arena *a, struct str token);
/* A whole number of the body from 1 to max; dflt where it is absent or null. False with err. */
bool share_link_number(const json_t *body, const char *field, int64_t dflt, int64_t max, int64_t *out,
		       struct error *err) MUST_CHECK;
/* The address of a path, with the host that the client asked for. In the request's arena. */
struct str share_link_url(struct http_request *req, struct str path);
/* Answers 410, which no error of ours has: the link was there. */
void share_link_gone(struct http_request *req, const char *why);

#endif
