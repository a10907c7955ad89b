/* SPDX-License-Identifier: MIT */
/*
 * For whom a service asks: identities made of what it says in headers. Remembered like those of credentials.
 */
#ifndef WORKER_IDENTITY_SERVICE_H
#define WORKER_IDENTITY_SERVICE_H

#include "worker/identity/credential.h"

struct service_claim {
	struct str user_id; /* a user's, or one of another system */
	struct str org_id;  /* empty: the default one */
	struct str roles;   /* with commas between; unknown ones and owner do not count */
};

/* As credential_find() and credential_load(); ERR_INVALID_VALUE names a header that cannot be, ERR_FORBIDDEN the rest.
 */
enum credential_answer service_find(struct worker *w, struct arena *a, const struct service_claim *claim,
				    const struct identity **who, struct error *err);
CO_FN enum credential_answer service_load(struct worker *w, struct arena *a, const struct service_claim *claim,
					  const struct identity **who, struct error *err);

/* Fills what the claim allows. False: err says why. For credential.c, which remembers it. */
CO_FN bool service_identity(struct worker *w, struct arena *a, const struct service_claim *claim, struct identity *who,
			    struct account *u, struct permissions *p, struct error *err) MUST_CHECK;

#endif
