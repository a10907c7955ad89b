/* SPDX-License-Identifier: MIT */
/*
 * What ps shows for this process. Linux shows the memory in which the arguments were handed over, so that memory is
 * written over; arguments and environment move elsewhere first. One title per process, inherited by fork.
 */
#ifndef COMMON_TITLE_H
#define COMMON_TITLE_H

#include "common/compat.h"

/*
 * First call of main: returns a copy of argv that lives as long as the process, and moves the environment to the heap.
 * Without it title_set does nothing.
 */
char **title_init(int argc, char **argv);
/* The arguments as they were, NULL-terminated; NULL without title_init. */
char *const *title_arguments(void);
/* Cut at the room there is. */
void title_set(const char *fmt, ...) PRINTF_FMT(1, 2);

#endif
