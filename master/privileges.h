/* SPDX-License-Identifier: MIT */
/*
 * Who the processes run as. The master keeps what it was started with, to bind low ports and to reopen logs; workers
 * and whatever touches the data folder run as server.user and server.group.
 */
#ifndef MASTER_PRIVILEGES_H
#define MASTER_PRIVILEGES_H

#include <sys/types.h>

#include "common/conf.h"

struct privileges {
	bool drop; /* false: everything stays as it is */
	uid_t uid;
	gid_t gid;
	char user[64]; /* for the groups of the user; "" when only a number or a group is known */
};

/* Looks up the names of the configuration. False when they are unknown, or when this process may not become them. */
bool privileges_find(const struct conf *c, struct privileges *p, struct error *err) MUST_CHECK;
/* For good, in a child: user, group, groups of the user. */
bool privileges_drop(const struct privileges *p, struct error *err) MUST_CHECK;
/* For a file of the data folder that the master opens itself. */
void privileges_enter(const struct privileges *p);
void privileges_leave(const struct privileges *p);
/* Core dumps and memory of this process and its children, as the configuration says. */
void privileges_limit(const struct conf *c, bool worker);

#endif
