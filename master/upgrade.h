/* SPDX-License-Identifier: MIT */
/*
 * USR2: a new master, started from the program as it is now, beside this one. Both serve the same sockets until one of
 * them is told to end; whichever goes first, the other one stays.
 */
#ifndef MASTER_UPGRADE_H
#define MASTER_UPGRADE_H

#include <sys/types.h>

#include "common/loop.h"

struct master;

/* The other master, seen from this one. */
struct upgrade {
	pid_t peer;   /* 0: there is none */
	bool heir;    /* the peer has started us and is to go, not the other way round */
	bool serving; /* the heir, here or there, has all its workers */
	int channel;  /* its end is the peer's death; -1 */
	struct event channel_event;
	bool listening;
	bool shares_keys; /* of session tickets: they are the former master's */
	bool wanted;      /* USR2 came while something else was under way */
	/* What an heir has been handed over; -1 or empty once it has found its place. */
	int lock_fd, shm_fd, keys_fd;
	int *mailboxes; /* pairs */
	size_t mailbox_count;
};

/* First step of a start: takes what a former master has handed over, and closes every other descriptor. */
void upgrade_inherit(struct master *m);
/* The handed-over lock if it is the one of this path, else -1. */
int upgrade_take_lock(struct master *m, const char *path);
/* Attaches to the segment and mailboxes handed over; false when there are none, or of another layout. */
bool upgrade_take_shared(struct master *m);
/* The former master's keys of session tickets; false when there are none, or of another layout. */
bool upgrade_take_keys(struct master *m);
/* The loop is there: the peer's end will be noticed. */
void upgrade_watch(struct master *m);
/* All our workers serve: tells the former master. */
void upgrade_on_serving(struct master *m);
/* USR2. */
void upgrade_request(struct master *m);
/* Notices a former master that has ended before its channel tells. */
void upgrade_look(struct master *m);
/* Once per tick: an upgrade that had to wait. */
void upgrade_tick(struct master *m);
/* A child of the master has ended; false if it is not the new master. */
bool upgrade_reaped(struct master *m, pid_t pid, int status);
/* WINCH: the workers of this master retire, the master stays. */
void upgrade_retire_workers(struct master *m);
void upgrade_close(struct master *m);

#endif
