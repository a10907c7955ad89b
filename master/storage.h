/* SPDX-License-Identifier: MIT */
/*
 * The store at the start: checked and migrated by a child process, which also makes the node's id. A database server
 * that is away is waited for while workers serve probes, unless server.strict_startup forbids it.
 */
#ifndef MASTER_STORAGE_H
#define MASTER_STORAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"

struct master;

struct storage {
	bool pending;             /* not prepared yet: workers do nothing that needs it */
	pid_t child;              /* that prepares it, 0: none, -1: it has been reaped, its word waits */
	int fd;                   /* what it says, -1: no child */
	int64_t next_at, told_at; /* of the next try, of the last line of the log; monotonic us */
};

/*
 * A step of the start; the node's id is known after it. True also while a database server is away that may be waited
 * for (m->storage.pending): storage_tick then calls supervisor_on_store or supervisor_on_no_store.
 */
bool storage_start(struct master *m, struct error *err) MUST_CHECK;
void storage_tick(struct master *m);
/* Was it the child that prepares the store? */
bool storage_reaped(struct master *m, pid_t pid);
/* Ends a child that is still at work. */
void storage_close(struct master *m);

#endif
