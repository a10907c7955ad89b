/* SPDX-License-Identifier: MIT */
/*
 * Things that somebody owns: what their owner may do with them beyond the own role, and what a grant for one of them
 * adds. Rows of other workspaces are not found: that is the same as not being there.
 */
#ifndef WORKER_ACCESS_RESOURCE_H
#define WORKER_ACCESS_RESOURCE_H

#include "common/db.h"
#include "worker/http/route.h"

struct worker;

struct resource_type {
	const char *name;  /* "debate" */
	const char *route; /* routes with this path, or below it, are about one; its id is their first parameter */
	const char *sql;   /* id, owner, status, tags, metadata of $1 in workspace $2 of organization $3 */
	const char *owner; /* what its owner may */
};

/* NULL: the route is about no such thing. */
const struct resource_type *resource_of(const struct route *r);
const struct resource_type *resource_type_find(struct str name);

/* Strings in the arena. */
struct resource {
	const struct resource_type *type;
	struct str id, owner_id, status, sensitivity;
	const json_t *tags;
};
/* ERR_NOT_FOUND: not in the workspace. */
CO_FN bool resource_load(struct worker *w, struct arena *a, const struct context *ctx, const struct resource_type *type,
			 struct str id, struct resource *out, struct error *err) MUST_CHECK;
/* Is the tier of an organization enough for data of this sensitivity? Empty: not marked. Unknown ones are a no. */
bool resource_sensitivity_allowed(struct str sensitivity, struct str tier);
/*
 * May whoever asks do this although the role says no: as the owner, or by a grant whose conditions hold now? What the
 * tier forbids no grant allows. False also with an error.
 */
CO_FN bool resource_allows(struct http_request *req, const struct resource *r, int permission, struct error *err);

extern const struct route_table access_grant_routes; /* grants_api.c */

#endif
