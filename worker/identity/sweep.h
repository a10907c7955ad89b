/* SPDX-License-Identifier: MIT */
/* Removes sessions, refresh tokens and revocations that nothing can refer to any more. */
#ifndef WORKER_IDENTITY_SWEEP_H
#define WORKER_IDENTITY_SWEEP_H

#include "common/co.h"
#include "worker/jobs/jobs.h"

#define IDENTITY_SWEEP_MS 300000 /* between two sweeps, security.md 3.2 */

extern const struct job identity_sweep_job;
/* Its run function: *result gets a number per table, *count their sum. */
CO_FN bool identity_sweep(struct worker *w, json_t *result, int64_t *count, struct error *err);

#endif
