/* SPDX-License-Identifier: MIT */
/*
 * Ratings as files in the data directory: elo_ratings.json (all of them) and elo_snapshot.json (leaderboard and newest
 * matches), written once per cluster every agents.ratings_snapshot_interval and on POST
 * /api/admin/schedulers/ratings-snapshot/run.
 */
#ifndef WORKER_RANKING_SNAPSHOT_H
#define WORKER_RANKING_SNAPSHOT_H

struct job;
struct route_table;

extern const struct job ratings_snapshot_job;
extern const struct route_table ranking_snapshot_routes;

#endif
