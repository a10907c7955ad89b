/* SPDX-License-Identifier: MIT */
/*
 * What an organization has used, from the ledger. Private to this room.
 */
#ifndef WORKER_TENANCY_USAGE_H
#define WORKER_TENANCY_USAGE_H

#include "common/context.h"
#include "common/db.h"

struct worker;

struct usage_so_far {
	int64_t start, end; /* milliseconds, end excluded; UTC */
	int64_t cost_micro, tokens, debates;
};
/* The month of `now_ms` so far. */
CO_FN bool usage_this_month(struct worker *w, struct arena *a, const struct context *ctx, int64_t now_ms,
			    struct usage_so_far *out, struct error *err) MUST_CHECK;

#endif
