/* SPDX-License-Identifier: MIT */
/*
 * Private to the endpoints of worker/access: reading lists from bodies, committing with the caches told, and the routes
 * of each file.
 */
#ifndef WORKER_ACCESS_API_H
#define WORKER_ACCESS_API_H

#include "worker/access/access.h"
#include "worker/access/effective.h"
#include "worker/audit/audit.h"
#include "worker/http/body.h"
#include "worker/http/route.h"
#include "worker/identity/changes.h"
#include "worker/identity/identity.h"

#define ACCESS_LIST_MAX 200
#define ACCESS_PAGE 200

/* The permissions of whoever asks; never NULL. */
const struct permissions *access_own(const struct http_request *req);
/*
 * Before permissions of one's own are given away for longer than a request: those of break-glass are not. False: it has
 * been answered.
 */
bool access_lasting(struct http_request *req) MUST_CHECK;
/*
 * A member that is a list of texts, joined by blanks, in the arena; each of at most 64 bytes without blanks, at most
 * ACCESS_LIST_MAX. Absent: empty. What is wrong is added to p.
 */
struct str access_words(struct http_request *req, struct body_problems *p, const json_t *body, const char *field);
/* The words as a list again. */
json_t *access_list(struct str words);
/* A number member within [min, max]; dflt when absent. */
int64_t access_number(struct body_problems *p, const json_t *body, const char *field, int64_t min, int64_t max,
		      int64_t dflt);
/*
 * Adds the event and the change (kind, id), commits, tells the caches. False: it has been answered. A duplicate is
 * answered with `taken`.
 */
CO_FN bool access_commit(struct http_request *req, struct db_batch *b, const struct audit_event *e,
			 enum identity_change kind, struct str id, const char *taken) MUST_CHECK;
/* Is the user an active member of the caller's organization? False: it has been answered (404, field). */
CO_FN bool access_member(struct http_request *req, struct str user_id, const char *field, struct str *role) MUST_CHECK;
void access_refuse(struct http_request *req, enum err code, const char *field, const char *fmt, ...) PRINTF_FMT(4, 5);

#endif
