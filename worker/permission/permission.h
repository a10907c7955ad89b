/* SPDX-License-Identifier: MIT */
/*
 * Permissions and the system's roles: pure tables and sets, no configuration, no database, never waits. A permission is
 * "resource.action"; "resource:action" is the same. Sets are bit masks whose numbering holds for this process only:
 * what is stored or sent is text.
 */
#ifndef WORKER_PERMISSION_PERMISSION_H
#define WORKER_PERMISSION_PERMISSION_H

#include <jansson.h>

#include "common/err.h"
#include "common/str.h"

#define PERMISSIONS_MAX 512

struct permissions {
	uint64_t bit[PERMISSIONS_MAX / 64];
};

/* A role of the system. */
struct role {
	const char *name;
	unsigned priority;      /* 1 to 100; more is mightier */
	const char *parents[3]; /* roles whose permissions it has too; NULL behind the last */
	const char *grants;     /* "debates: create read; webhooks: *", or "*" */
	const char *summary;    /* one sentence */
};

/* The priority of every custom role of an organization: between member and debate_creator. */
#define ROLE_CUSTOM_PRIORITY 45
/* The role of a new member who was given none. */
#define ROLE_DEFAULT "member"

/*
 * The number of a permission: any spelling (':' for '.', former names of resources, aliases). -1: there is none of that
 * name, also for a wildcard that is no permission of its own.
 */
int permission_find(struct str key);
/* Its canonical key. The number must be valid. */
const char *permission_key(int permission);
/* How many there are; numbers run from 0. */
int permission_count(void);

/* Is the permission in the set? False for NULL and for a negative number. */
bool permissions_have(const struct permissions *p, int permission);
/*
 * Adds a permission, all of "resource.*" (with those whose action has dots), or all ("*"). False, and nothing is added:
 * no permission has that name.
 */
bool permissions_grant(struct permissions *p, struct str pattern) MUST_CHECK;
/* Adds what a text of grants says, as in struct role. False: the first unknown name is in err. */
bool permissions_grant_text(struct permissions *p, struct str text, struct error *err) MUST_CHECK;
void permissions_add(struct permissions *p, const struct permissions *more);
/* Leaves only what is in both. */
void permissions_keep(struct permissions *p, const struct permissions *only);
/* Is everything in `part` in `p` too? */
bool permissions_include(const struct permissions *p, const struct permissions *part);
unsigned permissions_count(const struct permissions *p);
/* The keys, sorted, as an array of texts; the caller owns it. */
json_t *permissions_json(const struct permissions *p);

/* A system role by its name; NULL: there is none. */
const struct role *role_find(struct str name);
/* System role number i; NULL behind the last. */
const struct role *role_at(size_t i);
/* What a system role may, with what it inherits; false (and an empty set): no such role. */
bool role_permissions(struct str role, struct permissions *out);
/* The same for reading, for as long as the process lives; NULL: no such role. */
const struct permissions *role_set(struct str role);
/*
 * May somebody with role `actor` take `from` (empty: none yet) away from a member and give `to`? Owners: every role but
 * owner, custom ones too; admins: among member, analyst and viewer; nobody else. Whether `to` exists is not asked.
 */
bool role_may_assign(struct str actor, struct str from, struct str to);
/* "org:name" with a name of 1 to 40 letters, digits, '-' and '_', beginning with a letter. */
bool role_custom_name_valid(struct str role);

#endif
