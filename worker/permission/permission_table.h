/* SPDX-License-Identifier: MIT */
/* The data behind permission.h; nobody else reads it. */
#ifndef WORKER_PERMISSION_PERMISSION_TABLE_H
#define WORKER_PERMISSION_PERMISSION_TABLE_H

#include "worker/permission/permission.h"

struct permission_alias {
	const char *from, *to;
};

extern const char *const permission_keys[]; /* sorted by strcmp */
extern const size_t permission_keys_count;
extern const struct permission_alias permission_aliases[]; /* whole keys */
extern const size_t permission_aliases_count;
extern const struct permission_alias permission_resources[]; /* what stands before the action, with its dot */
extern const size_t permission_resources_count;
extern const struct role permission_roles[]; /* each before those that it includes */
extern const size_t permission_roles_count;

#endif
