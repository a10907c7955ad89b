/* SPDX-License-Identifier: MIT */
/*
 * Predictions and what they come to. A vote becomes a prediction when somebody from outside says how the debate's
 * answer turned out; agreeing with the group's own decision proves nothing and is counted apart, as conformity.
 */
#ifndef WORKER_RANKING_CALIBRATION_H
#define WORKER_RANKING_CALIBRATION_H

#include "common/db.h"
#include "worker/http/route.h"
#include "worker/jobs/jobs.h"
#include "worker/ranking/calibration_math.h"

#define CALIBRATION_SAMPLES_MAX 1000 /* the newest predictions of an agent; older ones do not count any more */

struct calibration_set {
	struct calibration_sample *samples; /* newest first, in the arena */
	const struct str *domains;          /* of each */
	size_t n;
};

/* An agent's predictions; domain empty: of all. */
CO_FN bool calibration_read(struct db *db, struct arena *a, struct str workspace_id, struct str agent,
			    struct str domain, struct calibration_set *out, struct error *err) MUST_CHECK;
/* Computes an agent's figures anew, over all and by domain, and stores them. */
CO_FN bool calibration_refresh(struct worker *w, struct str org_id, struct str workspace_id, struct str agent,
			       int64_t now_ms, struct calibration *overall, struct error *err) MUST_CHECK;

extern const struct job calibration_job;        /* all agents: predictions age */
extern const struct route_table outcome_routes; /* /api/debates/{id}/outcome */

#endif
