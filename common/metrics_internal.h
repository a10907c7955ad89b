/* SPDX-License-Identifier: MIT */
/*
 * What /proc says about the processes of this node, for metrics.c.
 */
#ifndef COMMON_METRICS_INTERNAL_H
#define COMMON_METRICS_INTERNAL_H

#include <sys/types.h>

#include "common/shm.h"

struct node_usage {
	uint64_t rss_bytes; /* workers, as they report it */
	int64_t cpu_us;     /* master, workers, and workers that have ended */
	uint64_t open_fds;  /* of the processes that may be looked at */
};

void node_usage(const struct shm *shm, pid_t master, struct node_usage *out);

#endif
