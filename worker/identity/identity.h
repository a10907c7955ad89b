/* SPDX-License-Identifier: MIT */
/*
 * Who a request is made for: filled by the authentication step, read by everybody after it through ctx->who.
 *
 * A request without an identity does not exist: who has shown nothing is the anonymous identity. An identity is never
 * changed once made; who selects another organization or workspace for a request makes a copy in the request's arena.
 */
#ifndef WORKER_IDENTITY_IDENTITY_H
#define WORKER_IDENTITY_IDENTITY_H

#include "common/context.h"
#include "common/err.h"

struct conf;
struct permissions;

#define IDENTITY_DEFAULT "default" /* id of the organization and of the workspace that are always there */

enum identity_kind {
	IDENTITY_ANONYMOUS,
	IDENTITY_USER,    /* logged in: a JWT */
	IDENTITY_API_KEY, /* a user's key */
	IDENTITY_TOKEN,   /* auth.api_token: the operator's services, role admin */
	IDENTITY_SERVICE  /* a service that speaks for somebody else, behind a proven credential */
};

struct identity {
	enum identity_kind kind;
	struct str user_id, email, name; /* user_id "anonymous" or "api-token" without a user */
	struct str org_id, workspace_id; /* of this request; whoever it is belongs to them */
	struct str role;                 /* in the organization: owner, member, ..., or a custom one: "org:name" */
	struct str tier;                 /* of the organization: free, starter, professional, enterprise */
	struct str session_id, token_id; /* of a JWT: the session it came from, its jti */
	struct str key_id;               /* of an API key */
	struct str impersonator;         /* user id of the admin behind it, or empty */
	const struct permissions *permissions; /* what may be done; NULL: nothing */
	int64_t mfa_ms;                        /* wall clock of the last proof of a second factor, 0: never */
	int64_t expires_ms;                    /* of the credential, 0: never */
	int64_t user_since_ms;                 /* when the user was made */
	bool mfa_enabled;
	bool service_account;
};

/*
 * The default organization and its workspace, made when they are not there. Blocking, by the start-up child and by
 * subcommands, after the migrations.
 */
bool identity_prepare(const struct conf *c, struct error *err) MUST_CHECK;

/* The identity of a caller without a credential. */
const struct identity *identity_anonymous(void);
/* Of a caller with auth.api_token. */
const struct identity *identity_api_token(void);
/*
 * Of a caller who has the permission for it: is it the operator of the server? Owners and admins of the default
 * organization, the API token, and everybody where nobody has to authenticate (anonymous callers have no permission
 * elsewhere). What concerns all tenants is theirs alone.
 */
bool identity_operates(const struct identity *who);
/* Fills ctx: on whose behalf, and for which organization and workspace. `who` outlives ctx. */
void identity_apply(const struct identity *who, struct context *ctx);

#endif
