/* SPDX-License-Identifier: MIT */
/*
 * Signals of the master, read from a descriptor and dispatched by table.
 */
#ifndef MASTER_SIGNALS_H
#define MASTER_SIGNALS_H

#include "common/compat.h"

struct master;

/* Blocks all signals of the table: from here on they wait for signals_open. First step of a start. */
void signals_block(void);
/* Waits `us`; false when a signal that asks for the end came first. For the start, before the loop runs. */
bool signals_pause(int64_t us) MUST_CHECK;
/* Dispatches from the loop. */
void signals_open(struct master *m);
void signals_close(struct master *m);
/* In a child: default actions, nothing blocked. */
void signals_restore(void);

#endif
