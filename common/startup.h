/* SPDX-License-Identifier: MIT */
/*
 * The start in its eight phases (server seed, "Startup Sequence"): who did them tells how long they took and how they
 * ended. The record is in shared memory, written until the first workers all serve, and read by /api/health/startup.
 */
#ifndef COMMON_STARTUP_H
#define COMMON_STARTUP_H

#include "common/shm.h"

/* In the order of the seed. */
enum startup_phase {
	STARTUP_CONFIGURATION,
	STARTUP_BACKENDS,
	STARTUP_SCHEMA,
	STARTUP_OBSERVABILITY,
	STARTUP_SCHEDULERS,
	STARTUP_KNOWLEDGE, /* control plane and knowledge systems */
	STARTUP_SECURITY,
	STARTUP_WORKERS
};

enum startup_state { STARTUP_PENDING, STARTUP_OK, STARTUP_DEGRADED };

/* "configuration", "backends", ... */
const char *startup_name(enum startup_phase phase);
/* "pending", "ok", "degraded" */
const char *startup_word(uint32_t state);

/*
 * The phase, or a part of it, has been done in so many microseconds. Parts of one process add up; of several workers
 * (`worker`) the slowest counts. `detail` may be NULL: it stays. Does nothing once the start is over.
 */
void startup_note(struct shm_startup *s, enum startup_phase phase, bool worker, int64_t us, enum startup_state state,
		  const char *detail) __attribute__((nonnull(1)));
/* All workers serve; `us` since the start. Logs each phase. */
void startup_over(struct shm_startup *s, int64_t us);
/* Has a start been over? */
bool startup_is_over(const struct shm_startup *s);
/* Was any phase degraded? */
bool startup_degraded(const struct shm_startup *s);

#endif
