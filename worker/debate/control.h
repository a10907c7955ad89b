/* SPDX-License-Identifier: MIT */
/*
 * What people do with debates besides creating and reading them, over REST.
 */
#ifndef WORKER_DEBATE_CONTROL_H
#define WORKER_DEBATE_CONTROL_H

#include "worker/http/route.h"

extern const struct route_table control_routes;      /* control_api.c: pause, votes, interventions */
extern const struct route_table settings_routes;     /* settings_api.c: weights, threshold */
extern const struct route_table template_routes;     /* templates_api.c */
extern const struct route_table shelf_routes;        /* shelf_api.c: archive, tags, notes */
extern const struct route_table figure_routes;       /* stats_api.c: figures, estimates */
extern const struct route_table debate_share_routes; /* share_api.c: links for others */
extern const struct route_table fork_routes;         /* fork_api.c: forks, follow-ups, debate-this */

#endif
