/* SPDX-License-Identifier: MIT */
/*
 * What a member may in an organization and workspace: the role of the membership (a custom one is looked up), roles
 * assigned beside it, delegations whose givers still have what they gave, break-glass. Asked once when an identity is
 * made; what changes any of it says identity_change_add(USER or ROLE).
 */
#ifndef WORKER_ACCESS_EFFECTIVE_H
#define WORKER_ACCESS_EFFECTIVE_H

#include "common/db.h"
#include "worker/permission/permission.h"

struct worker;

struct access_subject {
	struct str user_id, org_id, workspace_id;
	struct str role; /* of the membership */
};

struct access_effective {
	struct permissions permissions;
	int64_t until_ms;        /* it changes by itself then; INT64_MAX: it does not */
	struct str emergency_id; /* a break-glass session that is in it, or empty; in the arena */
};

/* False: the store failed, and nobody may anything. An unknown role grants nothing. */
CO_FN bool access_effective(struct worker *w, struct arena *a, const struct access_subject *s,
			    struct access_effective *out, struct error *err) MUST_CHECK;
/* The same for a member by id, with the role read from the membership; ERR_NOT_FOUND: not a member, or not active. */
CO_FN bool access_of_member(struct worker *w, struct arena *a, struct str org_id, struct str workspace_id,
			    struct str user_id, struct access_effective *out, struct error *err) MUST_CHECK;
/* What a role may: of the system, or a custom one of the organization. ERR_NOT_FOUND: there is none. */
CO_FN bool access_of_role(struct worker *w, struct arena *a, struct str org_id, struct str role,
			  struct permissions *out, struct error *err) MUST_CHECK;
/*
 * A membership gets another role or ends (role empty): adds to the batch that changes it the end of all that hangs on
 * it: assigned roles when it ends, and everything that the member gave away, for the new role may not cover it. The
 * caller adds identity_change_add(USER, user_id) itself, and those in *touched (delegates) too.
 */
CO_FN bool access_member_leaves(struct worker *w, struct arena *a, struct db_batch *b, struct str org_id,
				struct str user_id, bool ends, struct str **touched, size_t *n,
				struct error *err) MUST_CHECK;

#endif
