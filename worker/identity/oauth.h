/* SPDX-License-Identifier: MIT */
/*
 * Logging in with an account elsewhere: OpenID Connect with the authorization code flow, PKCE (RFC 7636, S256) and a
 * nonce; the ID token is verified with the provider's published keys. Google is one such provider, the other is
 * configured by its issuer.
 *
 * A login under way is a row of oauth_states, named by a hash of its random state and used up by whoever comes back
 * with it first. PKCE verifier and nonce are derived from the state and this server's secret, so that the row holds
 * nothing worth stealing.
 */
#ifndef WORKER_IDENTITY_OAUTH_H
#define WORKER_IDENTITY_OAUTH_H

#include "worker/http/http.h"
#include "worker/identity/identity.h"

struct oauth;
struct route_table;
struct worker;

extern const struct route_table oauth_routes; /* oauth_api.c */

enum oauth_provider { OAUTH_GOOGLE, OAUTH_OIDC, OAUTH_PROVIDERS };

/* What the provider says about who has logged in there; memory of the arena. */
struct oauth_person {
	struct str subject, email, name;
	bool email_verified;
};

/* "google", "oidc"; and back: OAUTH_PROVIDERS for any other. */
const char *oauth_name(enum oauth_provider p);
enum oauth_provider oauth_named(struct str name);
bool oauth_configured(const struct conf *c, enum oauth_provider p);

/* ---- oauth_provider.c ---- */

/* Where the browser is to go. Asks the provider for its addresses when they are not known. ERR_UNAVAILABLE. */
CO_FN bool oauth_authorize_url(struct worker *w, struct arena *a, enum oauth_provider p, struct str state,
			       struct str *url, struct error *err) MUST_CHECK;
/* Trades a code for who it is. ERR_INVALID_TOKEN: the provider, or we, do not accept it; ERR_UNAVAILABLE. */
CO_FN bool oauth_exchange(struct worker *w, struct arena *a, enum oauth_provider p, struct str code, struct str state,
			  struct oauth_person *who, struct error *err) MUST_CHECK;
struct oauth *oauth_open(struct worker *w);
void oauth_close(struct oauth *o);

/* ---- oauth_state.c ---- */

struct oauth_state {
	enum oauth_provider provider;
	struct str user_id;      /* who links an account, or empty */
	struct str org_id;       /* the one that was active then */
	struct str redirect_url; /* empty: oauth.success_url */
	struct str browser;      /* random text that the same browser brings back in a cookie */
	bool page;               /* a page may bring it back without the cookie: it has compared the state itself */
};
/* Who brings a state back. */
struct oauth_return {
	struct str browser; /* its cookie, or empty */
	struct str user_id; /* whose credential it showed, or empty */
	bool page;          /* a page does, not the browser by itself */
};
/* Stores it under a new random state. ERR_UNAVAILABLE: too many logins are under way. */
CO_FN bool oauth_state_new(struct worker *w, struct arena *a, const struct oauth_state *s, struct str *state,
			   struct error *err) MUST_CHECK;
/*
 * Takes it away; ERR_INVALID_VALUE: there is none (any more), or it is of another provider or browser. What links an
 * account is brought back by the browser or the user that began it.
 */
CO_FN bool oauth_state_take(struct worker *w, struct arena *a, enum oauth_provider p, struct str state,
			    const struct oauth_return *by, struct oauth_state *s, struct error *err) MUST_CHECK;
/* May a login lead back there? */
bool oauth_redirect_ok(const struct conf *c, struct str url);
/* Appends text as a component of a URL, RFC 3986 2.1. */
void oauth_escape(struct buf *out, struct str s);

/* ---- oauth_link.c ---- */

/*
 * The user that the person is here: linked before, linked now (by state.user_id, or because the provider vouches for
 * the address), or new. *linked: an account was linked to the one that was logged in, nobody logs in. Errors have a
 * short word for pages in err->field: "email_not_verified", "registration_closed", "already_linked", "disabled".
 */
CO_FN bool oauth_land(struct http_request *req, const struct oauth_state *s, const struct oauth_person *who,
		      struct str *user_id, bool *linked, struct error *err) MUST_CHECK;

#endif
