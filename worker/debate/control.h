/* SPDX-License-Identifier: MIT */
/*
 * What people do to a debate while it runs, over REST.
 */
#ifndef WORKER_DEBATE_CONTROL_H
#define WORKER_DEBATE_CONTROL_H

#include "worker/http/route.h"

extern const struct route_table control_routes;

#endif
