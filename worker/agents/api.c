/* SPDX-License-Identifier: MIT */
/*
 * GET /api/agents and below: who can play, in what state. Called by the router. Ratings are read through the ranking
 * room; nothing here calls a provider.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/agents/agents.h"
#include "worker/agents/registry.h"
#include "worker/http/route.h"

