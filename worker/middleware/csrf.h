/* SPDX-License-Identifier: MIT */
/*
 * Tokens against requests that other pages make browsers send (security.md 8.4): the signed double-submit cookie. They
 * are bound to the session cookie, so that one user's token is worth nothing with another's session.
 */
#ifndef WORKER_MIDDLEWARE_CSRF_H
#define WORKER_MIDDLEWARE_CSRF_H

#include "worker/http/http.h"

#define SESSION_COOKIE "aragora_session" /* the cookie that authenticates */
#define CSRF_COOKIE "_csrf_token"
#define CSRF_AGE_S 86400
#define CSRF_SKEW_S 60
#define CSRF_TOKEN_MAX 192

/* Loads the key: csrf.secret, else derived from auth.jwt_secret, else data_dir/keys/csrf.key. Waits for the disk. */
bool csrf_open(const struct conf *c, struct error *err) MUST_CHECK;
/* A token for that session cookie ("" = none yet) as of `now` (seconds), with NUL; returns its length. */
size_t csrf_token(struct str session, int64_t now, char out[CSRF_TOKEN_MAX]);
/* Is it one of ours for that session, and young enough? Constant time but for the form. */
bool csrf_valid(struct str token, struct str session, int64_t now);
/* Sets the cookie that scripts of the page copy into X-CSRF-Token, and returns the token in the arena. */
struct str csrf_issue(struct http_request *req, struct str session);

#endif
