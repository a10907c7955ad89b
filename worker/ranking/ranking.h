/* SPDX-License-Identifier: MIT */
/*
 * Ratings of agents from finished debates (Elo), in integers (milli-points). Demo debates are never rated.
 */
#ifndef WORKER_RANKING_RANKING_H
#define WORKER_RANKING_RANKING_H

#include <jansson.h>

#include "common/context.h"
#include "common/db.h"

struct route_table;

/*
 * Adds the rating changes of a finished debate to its finishing batch (by increments, rows in name order) and appends
 * to *events {type, data} objects for match_recorded. `result` as in receipt.h, `before` the ratings read as a
 * journalled step: {agent: milli-points}.
 */
bool ranking_add(struct db_batch *b, const struct context *ctx, const json_t *result, const json_t *before,
		 json_t *events, struct error *err) MUST_CHECK;
/* Current ratings of the named agents: {agent: milli-points}; unknown ones are 1500000. New reference. */
CO_FN bool ranking_read(struct db *db, const struct context *ctx, const json_t *agents, json_t **out,
			struct error *err) MUST_CHECK;

extern const struct route_table ranking_routes; /* /api/leaderboard, /api/leaderboard/rankings, /api/rankings,
						   /api/matches/recent, /api/agent/{name}/profile … */

#endif
