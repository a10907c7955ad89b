/* SPDX-License-Identifier: MIT */
/*
 * On whose behalf something is done. Every store call takes one; a query without it does not compile.
 */
#ifndef COMMON_CONTEXT_H
#define COMMON_CONTEXT_H

#include "common/str.h"

struct identity;

struct context {
	struct str principal; /* user id; "anonymous" in development without authentication */
	struct str org_id;
	struct str workspace_id;
	struct str request_id; /* empty outside requests */
	/* Who it is in full (worker/identity/identity.h): never NULL after the authentication step, NULL in jobs. */
	const struct identity *who;
};

/* The one owner of everything while there is no identity: principal "anonymous", org and workspace "default". */
#define CONTEXT_DEFAULT ((struct context){STR("anonymous"), STR("default"), STR("default"), STR_NONE, NULL})

#endif
