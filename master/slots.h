/* SPDX-License-Identifier: MIT */
/*
 * Processes in slots: fork, reap, back-off, watchdog. A slot belongs to one process from fork to reap.
 */
#ifndef MASTER_SLOTS_H
#define MASTER_SLOTS_H

#include <sys/types.h>

#include "common/compat.h"
#include "common/loop.h"

struct generation;
struct master;

#define SLOT_REASON 256

/* The master's own record of a slot; what the worker writes stands in shared memory. */
struct slot {
	struct master *master;
	struct generation *gen;
	pid_t pid; /* 0: no process */
	unsigned index;
	struct event ready_event;
	int ready_fd; /* -1 when the worker has said all it will say */
	bool ready;
	bool retiring;         /* told to end, or ending by itself: it is not replaced by reason of its exit */
	bool stalled;          /* the watchdog has given it up */
	bool relieved;         /* a successor is on its way; it is told to end when that one serves */
	struct slot *relieves; /* whose successor this is, until it serves */
	int64_t relief_at;     /* the last successor failed: not again before */
	int64_t started_us;
	int64_t kill_at; /* SIGKILL is due then; 0 = not */
	uint64_t last_beat;
	unsigned silent_checks;
	int64_t backoff_us; /* before the next start in this slot; doubles while its processes die young */
	int64_t restart_at; /* a replacement is due then; 0 = none */
	size_t reason_n;
	char reason[SLOT_REASON]; /* why it could not boot, in its own words */
};

void slots_init(struct master *m);
/* Forks a worker of the generation into the lowest free slot; NULL when there is none or the fork fails (errno). */
struct slot *slots_spawn(struct master *m, struct generation *g) MUST_CHECK;
/* No process of this or of another master has it. */
bool slots_free(const struct slot *s);
/* The same in the slot that a dead worker left. */
bool slots_respawn(struct master *m, struct slot *s, struct generation *g) MUST_CHECK;
/*
 * Starts a successor for each worker that has served server.max_requests; the old one is told to end when it serves.
 */
void slots_relieve(struct master *m);
/* Collects every dead child (CHLD). */
void slots_reap(struct master *m);
/* Gives back the slots of a master that is dead, as its workers end. */
void slots_reclaim(struct master *m);
/* Cancels replacements that are due later. */
void slots_forget_restarts(struct master *m);
/* Tells a worker to end. One that still boots is killed: it holds nothing. */
void slots_end(struct slot *s, int sig);
/* Sends to every live worker that is ready. */
void slots_signal_all(struct master *m, int sig);
/* Once per tick: due kills, boot time-outs, workers that leave by themselves. */
void slots_tick(struct master *m);
/* One check of the watchdog: replaces at most one worker that has not moved for `limit` checks. */
void slots_watch(struct master *m, unsigned limit);
/* Processes, of one generation or (NULL) of all; `serving`: only those ready and not retiring. */
unsigned slots_count(const struct master *m, const struct generation *g, bool serving);

#endif
