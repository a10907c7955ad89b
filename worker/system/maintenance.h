/* SPDX-License-Identifier: MIT */
/*
 * Maintenance mode: new debates are refused, running ones finish. It is a row of the store, so that it holds on every
 * node and over restarts; each creation reads the row, health shows what this node saw within the last second.
 */
#ifndef WORKER_SYSTEM_MAINTENANCE_H
#define WORKER_SYSTEM_MAINTENANCE_H

#include "common/co.h"
#include "common/err.h"

struct maintenance;
struct worker;

struct maintenance *maintenance_open(struct worker *w);
/* Starts looking at the row. */
void maintenance_start(struct maintenance *m);
/* No coroutine may be left. */
void maintenance_close(struct maintenance *m);
/* May something new be begun? False: ERR_MAINTENANCE with the reason, or ERR_STORAGE. */
CO_FN bool maintenance_allows(struct worker *w, struct arena *a, struct error *err) MUST_CHECK;
/* Wall clock of its beginning as this node knows it, 0: off. Never waits. */
int64_t maintenance_since_ms(const struct worker *w);

#endif
