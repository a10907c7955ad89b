/* SPDX-License-Identifier: MIT */
/*
 * Periodic jobs: one row each, claimed once per cluster by the clerk of some node, run on a coroutine, their last
 * result kept. The product's jobs are the rows of worker/periodic.c.
 */
#ifndef WORKER_JOBS_JOBS_H
#define WORKER_JOBS_JOBS_H

#include <jansson.h>

#include "common/db.h"

struct conf;
struct jobs;
struct worker;

struct job {
	const char *name;
	int64_t first_ms; /* after the row was made */
	int64_t (*interval_ms)(const struct conf *c);
	/*
	 * Does the work in pieces, and leaves off between two of them when jobs_stopping(). Adds what it did to *result
	 * and its sum to *count. False: failed, with err; what was done counts all the same.
	 */
	bool (*run)(struct worker *w, json_t *result, int64_t *count, struct error *err);
};

struct job_state {
	bool running; /* somebody is at it now */
	int64_t runs, failures, total, next_ms, started_ms, ended_ms;
	struct str last_result; /* JSON, "" before the first run */
};

/* `table` ends with NULL and stays. */
struct jobs *jobs_open(struct worker *w, const struct job *const *table);
/* Is this process leaving? */
bool jobs_stopping(const struct jobs *js);
/* Jobs under way in this process: its lease must not end before. */
unsigned jobs_active(const struct jobs *js);
/* By the clerk, once a second: makes rows that are missing, claims and starts what is due. */
CO_FN void jobs_look(struct jobs *js);
/* Adds to the batch that buries a dead process: what it was at is due again. */
void jobs_take_over(struct db_batch *b, struct str owner, int64_t now_ms);
void jobs_close(struct jobs *js);

/* ERR_UNAVAILABLE before the job's row was made. Strings in the arena. */
CO_FN bool jobs_state(struct worker *w, struct arena *a, const char *name, struct job_state *out,
		      struct error *err) MUST_CHECK;
/* Makes it due now and waits for its end, at most `us`. ERR_CONFLICT: it is running. */
CO_FN bool jobs_run_now(struct worker *w, struct arena *a, const char *name, int64_t us, struct job_state *out,
			struct error *err) MUST_CHECK;

#endif
