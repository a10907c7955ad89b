/* SPDX-License-Identifier: MIT */
/*
 * What has served its time goes while the server runs: receipts by the schedule of their own that operators know, the
 * rest by the settings of `retention`. (`aragorad cleanup` does the same by hand, with archives: worker/retention.h.)
 * Nothing goes that a debate which runs or waits, or a delivery that is not out yet, needs.
 */
#ifndef WORKER_RETENTION_RETENTION_H
#define WORKER_RETENTION_RETENTION_H

#include "worker/jobs/jobs.h"

extern const struct job retention_receipts_job, retention_job;
extern const struct route_table retention_routes;

/* How many rows each rule of a job would remove now: {"receipts": 3}. New reference; NULL with err. */
CO_FN json_t *retention_due(struct worker *w, const struct job *job, struct error *err);

#endif
