/* SPDX-License-Identifier: MIT */
/*
 * What operators see of the Knowledge Mound in metrics (seed 002, Knowledge Mound Operations). Called by all files of
 * this folder when an operation is over.
 */
#include "common/clock.h"
#include "common/metrics.h"
#include "worker/knowledge/knowledge.h"

void knowledge_counted(const char *operation, bool ok, int64_t start_us)
{
	metric_add(M_KM_OPERATIONS, 1, operation, ok ? "success" : "error", NULL);
	metric_observe(M_KM_LATENCY, (double)(clock_mono_us() - start_us) / 1e6, operation, NULL);
}
