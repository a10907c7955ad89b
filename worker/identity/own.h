/* SPDX-License-Identifier: MIT */
/*
 * What the endpoints about one's own account share: whose it is, and whether it really is that person who asks.
 */
#ifndef WORKER_IDENTITY_OWN_H
#define WORKER_IDENTITY_OWN_H

#include "worker/http/body.h"
#include "worker/identity/changes.h"
#include "worker/identity/identity.h"
#include "worker/identity/lockout.h"
#include "worker/identity/password.h"

/* The account that is logged in, also with an API key or as somebody else. NULL: there is none, and 401 was answered.
 */
const struct account *own_account(struct http_request *req);
/*
 * The same for what an account's owner alone may change: with a session of his own, not with a key, and not by an
 * administrator in his place. NULL: 401 or 403 was answered.
 */
const struct account *own_account_proved(struct http_request *req);
/*
 * Is it the account's password? Counted by lockout.h. ERR_INVALID_CREDENTIALS when not (also when it has none), and
 * ERR_RATE_LIMITED, ERR_STORAGE, ERR_UNAVAILABLE. *stored: the form that it was compared with, in the request's arena.
 */
CO_FN bool own_password_ok(struct http_request *req, const struct account *u, struct str password, struct str *stored,
			   struct error *err) MUST_CHECK;
/* Adds the change of the user, commits, and tells everybody. */
CO_FN bool own_commit(struct http_request *req, struct db_batch *b, struct str user_id, struct error *err) MUST_CHECK;
/* {message}; takes o, which may be NULL. */
void own_message(struct http_request *req, json_t *o, const char *text);

#endif
