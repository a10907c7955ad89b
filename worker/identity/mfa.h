/* SPDX-License-Identifier: MIT */
/*
 * Second factors: an authenticator app by time (TOTP) or by counter (HOTP), and ten backup codes. Secrets are envelopes
 * at rest. A code that was accepted is not accepted again, on no worker and node: the last step or next counter is
 * moved in the store, and only forward.
 */
#ifndef WORKER_IDENTITY_MFA_H
#define WORKER_IDENTITY_MFA_H

#include "worker/http/http.h"
#include "worker/identity/identity.h"

struct db_batch;
struct route_table;
struct worker;

extern const struct route_table mfa_routes;       /* mfa_api.c: /api/auth/mfa */
extern const struct route_table mfa_admin_routes; /* mfa_admin.c: /api/admin/mfa */

#define MFA_BACKUP_CODES 10
#define MFA_BACKUP_FEW 3 /* fewer are worth a warning */

struct mfa_device {
	bool there, enabled, hotp;
	struct str secret; /* bytes, in the arena, which is wiped of them with mfa_wipe() */
	int64_t counter;
};
/* The device of a user; there == false: none. ERR_STORAGE, also when the secret cannot be opened. */
CO_FN bool mfa_load(struct worker *w, struct arena *a, struct str user_id, struct mfa_device *d,
		    struct error *err) MUST_CHECK;
void mfa_wipe(struct mfa_device *d);
/* Seals a new secret; *envelope in the arena. */
bool mfa_seal(struct worker *w, struct arena *a, struct str user_id, struct str secret, struct str *envelope,
	      struct error *err) MUST_CHECK;

struct mfa_proof {
	const char *method;   /* "totp", "hotp", "backup" */
	int64_t backup_codes; /* that are left */
};
/*
 * Is `code` one of the user's enabled device, or a backup code? It is used up then. `next`: the code after it, to find
 * a counter that went far ahead; or empty. ERR_MFA_INVALID when not; attempts are counted (lockout.h), so
 * ERR_RATE_LIMITED too.
 */
CO_FN bool mfa_prove(struct http_request *req, struct str user_id, struct str code, struct str next,
		     struct mfa_proof *proof, struct error *err) MUST_CHECK;
/* Would `code` be right for a device that is not enabled yet? *counter is what is to be stored then. */
bool mfa_matches(const struct mfa_device *d, struct str code, struct str next, int64_t *counter) MUST_CHECK;
/* Ten new backup codes in place of all others, as a JSON array that the arena owns; adds the statements. */
json_t *mfa_backup_codes(struct arena *a, struct db_batch *b, const struct account *u, const struct mfa_device *d);

/*
 * For whoever has proved the first factor and has a second: a token for POST /api/auth/mfa/verify, good for five
 * minutes and once. In the arena.
 */
struct str mfa_pending_token(struct worker *w, struct arena *a, struct str user_id, int64_t token_version);
#define MFA_PENDING_S 300 /* security.md 3.6 */

/* Is the second factor demanded of administrators? */
bool mfa_enforced(const struct conf *c);
/* Has the role, in whatever organization, to have one? */
bool mfa_role_demands(struct str role);
/* Until when an account without one may still act as an administrator. */
int64_t mfa_grace_until(const struct conf *c, const struct account *u);
/*
 * For acts that need a fresh proof: was the second factor proved within `ms`? False: 403 MFA_STEP_UP_REQUIRED was
 * answered. True where it is not enforced, and for services.
 */
bool mfa_demand_fresh(struct http_request *req, int64_t ms) MUST_CHECK;

#endif
