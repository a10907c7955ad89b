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
 * What is known before a debate is rated, for the journalled step at its end: {standing: as ranking_standing(), board:
 * [{agent, elo_milli, wins, debates}] the first of the workspace, rated: has this debate been rated before?}. Three
 * indexed statements. New reference.
 */
CO_FN bool ranking_before(struct db *db, const struct context *ctx, struct str debate_id, const json_t *agents,
			  struct str task, json_t **out, struct error *err) MUST_CHECK;
/*
 * Adds what a completed debate means for its agents to its finishing batch: ratings over all and of its domain by
 * increments (rows in name order), reputation, history, the match; and appends to *events {type, data} objects for
 * match_recorded, agent_elo_updated and leaderboard_update. `result` is described in result.h; `before` is what
 * ranking_before() said, or {agent: milli-points} in journals of former versions. Nothing is added for demo debates and
 * for debates that were rated.
 */
bool ranking_add(struct db_batch *b, const struct context *ctx, const json_t *result, const json_t *before,
		 json_t *events, struct error *err) MUST_CHECK;
/* Counts what ranking_add() left in events, once they are committed. */
void ranking_counted(const json_t *events);
/* Current ratings of the named agents: {agent: milli-points}; unknown ones are 1500000. New reference. */
CO_FN bool ranking_read(struct db *db, const struct context *ctx, const json_t *agents, json_t **out,
			struct error *err) MUST_CHECK;

/*
 * What is known of the named agents before a debate about `task`, for what their votes weigh (debate.md 3.5, 5.5):
 * {agent: {elo_milli, domain_elo_milli, matches, wins, losses, samples, brier_ppm, ece_ppm, bias_ppm,
 * temperature_milli, calibration_ppm, reputation_ppm, reliability_ppm, consistency_ppm}}. A member is absent while too
 * little is known for it, and then counts as neutral: domain_elo_milli is the rating in the subject of the task;
 * samples is how many stated confidences have met an outcome; bias_ppm mean confidence less the share that was right;
 * temperature_milli (from 20 samples) divides the logit of a confidence; calibration_ppm (from 10 samples) is the score
 * of debate.md 5.4; reputation_ppm that of 5.6; reliability_ppm the share of calls that succeeded; consistency_ppm one
 * less the share of debates with a change of position. One statement for 32 names, by the primary key. New reference.
 */
CO_FN bool ranking_standing(struct db *db, const struct context *ctx, const json_t *agents, struct str task,
			    json_t **out, struct error *err) MUST_CHECK;

extern const struct route_table ranking_routes;             /* leaderboards, matches */
extern const struct route_table ranking_agent_routes;       /* /api/agent/{name}/… */
extern const struct route_table ranking_pairs_routes;       /* comparison, head-to-head, allies and rivals */
extern const struct route_table ranking_flips_routes;       /* changes of position, positions */
extern const struct route_table ranking_moment_routes;      /* /api/agent/{name}/moments */
extern const struct route_table ranking_portrait_routes;    /* introspection, briefings, /api/leaderboard-view */
extern const struct route_table ranking_calibration_routes; /* /api/agent/{name}/calibration…, /api/calibration/… */

#endif
