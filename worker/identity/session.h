/* SPDX-License-Identifier: MIT */
/*
 * Sessions: what a login begins, and the pairs of tokens that come of it. An access token is good by its signature
 * until it expires, its session ends, it is revoked or its user changes; a refresh token is good once, for the next
 * pair.
 */
#ifndef WORKER_IDENTITY_SESSION_H
#define WORKER_IDENTITY_SESSION_H

#include "worker/http/http.h"
#include "worker/http/route.h"
#include "worker/identity/identity.h"

extern const struct route_table session_routes; /* session_api.c: /api/auth/sessions */
extern const struct route_table auth_routes;    /* auth_api.c: register, login, refresh, logout, me */

struct db_batch;

/* How somebody proved who it is. */
struct session_proof {
	const char *method; /* "password", "google", "setup": for the audit log */
	int64_t mfa_ms;     /* wall clock of the proof of a second factor, 0: none */
	const char *mfa;    /* "totp", "hotp", "backup", or "" */
	struct str org_id;  /* wanted; empty or not the user's: the home organization, else the first */
};

/*
 * Begins a session for an active user, ending the oldest beyond auth.session_limit. *tokens: {access_token,
 * refresh_token, token_type, expires_in, expires_at}, in the request's arena.
 */
CO_FN bool session_begin(struct http_request *req, const struct account *u, const struct session_proof *proof,
			 json_t **tokens, struct error *err) MUST_CHECK;
/*
 * Ends a login: begins the session and answers with {user, tokens, organization, organizations, ...} and the tokens at
 * the top level too, or with the error.
 */
CO_FN void session_answer(struct http_request *req, struct str user_id, const struct session_proof *proof, int status);

/* The next pair for a refresh token, which is used up by it. */
CO_FN bool session_refresh(struct http_request *req, struct str refresh_token, json_t **tokens,
			   struct error *err) MUST_CHECK;

/*
 * Adds to the batch: all sessions of a user end, and no token made so far is good. Before the commit the caller adds
 * what else belongs to the act, and last identity_change_add(USER); after it, identity_changed(USER).
 */
void session_end_all(struct db_batch *b, struct str user_id, const char *why);

/* JSON of a user as clients know it (rest-core 6.2), and of its organizations. Owned by the arena. */
json_t *account_json(struct arena *a, const struct account *u, const struct identity *who);
json_t *account_organization_json(struct arena *a, const struct account *u, struct str org_id);
json_t *account_organizations_json(struct arena *a, const struct account *u);

#endif
