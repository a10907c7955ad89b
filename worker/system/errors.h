/* SPDX-License-Identifier: MIT */
/*
 * Recent errors of the node: what master and workers log as errors is also kept in shared memory, and shown by
 * GET /api/system/errors. As a log line it holds no secret; of its pairs only the reason, the route and who asked are
 * kept.
 */
#ifndef WORKER_SYSTEM_ERRORS_H
#define WORKER_SYSTEM_ERRORS_H

#include "worker/http/route.h"

struct shm;

/* From now on this process's errors are kept there. Again after a fork is not needed. */
void errors_keep(struct shm *shm);

extern const struct route_table errors_routes;

#endif
