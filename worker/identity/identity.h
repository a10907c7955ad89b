/* SPDX-License-Identifier: MIT */
/*
 * Who a request is made for: filled by the authentication step, read by everybody after it through ctx->who.
 *
 * A request without an identity does not exist: who has shown nothing is the anonymous identity. An identity is never
 * changed once made; in another organization or workspace the same caller has another one (credential_enter).
 */
#ifndef WORKER_IDENTITY_IDENTITY_H
#define WORKER_IDENTITY_IDENTITY_H

#include "common/co.h"
#include "common/context.h"
#include "common/err.h"

struct arena;
struct conf;
struct credential;
struct dba;
struct permissions;
struct worker;

#define IDENTITY_DEFAULT "default" /* id of the organization and of the workspace that are always there */

enum identity_kind {
	IDENTITY_ANONYMOUS,
	IDENTITY_USER,    /* logged in: a JWT */
	IDENTITY_API_KEY, /* a user's key */
	IDENTITY_TOKEN,   /* auth.api_token: the operator's services, role admin */
	IDENTITY_SERVICE  /* a service that speaks for somebody else, behind a proven credential */
};

/* An organization that a user belongs to. */
struct membership {
	struct str org_id, name, slug, tier, role;
	int64_t joined_ms;
	bool active; /* the organization is */
};

/* A workspace that a user may use: by name, as one that all members share, or as an owner or admin. */
struct membership_workspace {
	struct str id, org_id, name;
	struct str role; /* in the workspace; empty: the one in the organization */
};

/* The user behind an identity as it is stored. */
struct account {
	struct str id, email, name, org_id /* home */, avatar_url, metadata;
	bool active, email_verified, service_account, mfa_enabled;
	int64_t token_version, created_ms, updated_ms, last_login_ms, mfa_grace_ms /* 0: not begun */;
	int64_t mfa_bypass_ms; /* until when a service account may administrate without a second factor */
	const struct membership *orgs;
	size_t org_count;
	const struct membership_workspace *workspaces;
	size_t workspace_count;
};

struct identity {
	enum identity_kind kind;
	struct str user_id, email, name; /* user_id "anonymous" or "api-token" without a user */
	struct str org_id, workspace_id; /* of this request; whoever it is belongs to them */
	struct str role;                 /* in the organization: owner, member, ..., or a custom one: "org:name" */
	struct str tier;                 /* of the organization: free, starter, professional, enterprise */
	struct str session_id, token_id; /* of a JWT: the session it came from, its jti */
	struct str key_id;               /* of an API key */
	struct str key_networks;         /* from where it may be used (apikey.h); empty: from everywhere */
	struct str impersonator;         /* user id of the admin behind it, or empty */
	struct str emergency_id;         /* break-glass session that adds permissions, or empty */
	const struct account *account;   /* NULL without a user */
	struct credential *credential;   /* what the worker remembers of the user's token or key, or NULL */
	const struct permissions *permissions; /* what may be done; NULL: nothing */
	int64_t mfa_ms;     /* wall clock of the last proof of a second factor, 0: never; of a key: when it was made */
	int64_t expires_ms; /* of the credential, 0: never */
	int64_t user_since_ms; /* when the user was made */
	int64_t token_version; /* of a JWT; smaller than the user's: revoked */
	bool mfa_enabled;
	bool service_account;
};

/*
 * The default organization and its workspace, made when they are not there. Blocking, by the start-up child and by
 * subcommands, after the migrations.
 */
bool identity_prepare(const struct conf *c, struct error *err) MUST_CHECK;
/* Its rows alone, inside a transaction of d. */
bool identity_rows(struct dba *d, struct error *err) MUST_CHECK;

/* The identity of a caller without a credential: may do everything where nobody has to authenticate, else nothing. */
const struct identity *identity_anonymous(const struct worker *w);
/* Of a caller with auth.api_token. */
const struct identity *identity_api_token(const struct worker *w);
/*
 * Of a caller who has the permission for it: is it the operator of the server? Owners and admins of the default
 * organization, the API token, and everybody where nobody has to authenticate (anonymous callers have no permission
 * elsewhere). What concerns all tenants is theirs alone.
 */
bool identity_operates(const struct identity *who);
/* Fills ctx: on whose behalf, and for which organization and workspace. `who` outlives ctx. */
void identity_apply(const struct identity *who, struct context *ctx);
/* In the arena, for whoever keeps an identity longer than its request lives; without account and credential. */
struct identity *identity_copy(struct arena *a, const struct identity *who);

/* The account of a user from the store, with memberships; ERR_NOT_FOUND: there is none. Waits. */
CO_FN bool account_load(struct worker *w, struct arena *a, struct str user_id, struct account *out,
			struct error *err) MUST_CHECK;
/* NULL: not a member. */
const struct membership *account_member(const struct account *u, struct str org_id);
const struct membership_workspace *account_workspace(const struct account *u, struct str workspace_id);

#endif
