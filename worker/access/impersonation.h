/* SPDX-License-Identifier: MIT */
/*
 * Acting for somebody else: an administrator with a fresh second factor gets a token of the target that says so (claim
 * imp), for a bounded time. It can do what both may, without the acts that would make the stay permanent; every request
 * with it is in the audit log.
 */
#ifndef WORKER_ACCESS_IMPERSONATION_H
#define WORKER_ACCESS_IMPERSONATION_H

#include "common/db.h"
#include "worker/http/route.h"
#include "worker/permission/permission.h"

struct worker;

/*
 * For an identity whose token has the claim imp: does the session stand, and may the admin still? Takes off what the
 * admin may not do, and what nobody does in another's name. ERR_INVALID_TOKEN: it has ended.
 */
CO_FN bool impersonation_limit(struct worker *w, struct arena *a, struct str session_id, struct str token_id,
			       struct str admin_id, struct str org_id, struct permissions *p,
			       struct error *err) MUST_CHECK;
/* Was a second factor proved within the last 300 s? False: it has been answered (403 MFA_STEP_UP_REQUIRED). */
bool access_step_up(struct http_request *req) MUST_CHECK;

extern const struct route_table impersonation_routes; /* impersonation.c */
extern const struct route_table emergency_routes;     /* emergency_api.c */

#endif
