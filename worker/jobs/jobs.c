/* SPDX-License-Identifier: MIT */
/*
 * The rows of periodic jobs and their claims. Called by the clerk and by those who want a job to run now.
 * Does not know what a job does.
 */
#include "worker/jobs/jobs.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/json.h"
#include "common/log.h"
#include "worker/worker.h"

#define JOBS_POLL_US (50 * MS_US)
#define JOBS_STORE_RETRY_US SEC_US
#define JOBS_STORE_TRIES 30

struct jobs {
	struct worker *w;
	const struct job *const *table; /* NULL-terminated */
	unsigned active;
};

struct job_run {
	struct jobs *js;
	const struct job *job;
	int64_t epoch;
};

struct jobs *jobs_open(struct worker *w, const struct job *const *table)
{
	struct jobs *js = xcalloc(1, sizeof(*js));

	js->w = w;
	js->table = table;
	return js;
}

void jobs_close(struct jobs *js)
{
	free(js);
}

bool jobs_stopping(const struct jobs *js)
{
	return js->w->draining;
}

unsigned jobs_active(const struct jobs *js)
{
	return js->active;
}

/* ---- running ---- */

/* The end of a run; without it the job would rest until this process is dead, so a store that is away is waited for. */
CO_FN static bool jobs_store(struct job_run *r, const json_t *result, int64_t count, bool ok)
{
	struct worker *w = r->js->w;
	int64_t now = clock_wall_ms();
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	unsigned tries = 0;
	bool stored;

	do {
		struct db_batch *b = db_batch_new(w->db);

		db_batch_add(b,
			     "UPDATE jobs SET owner = '', ended_at = $4, runs = runs + 1, failures = failures + $5,"
			     " total = total + $6, last_result = $7, next_at = $8"
			     " WHERE name = $1 AND epoch = $2 AND owner = $3",
			     DB_ARGS(DB_Z(r->job->name), DB_I(r->epoch), DB_Z(w->incarnation), DB_I(now), DB_I(!ok),
				     DB_I(count), DB_S(json_text(a, result)), DB_I(now + r->job->interval_ms(w->conf))),
			     1);
		stored = db_commit(w->db, b, &err);
	} while (!stored && err.code == ERR_STORAGE && ++tries < JOBS_STORE_TRIES &&
		 co_sleep(JOBS_STORE_RETRY_US) != CO_ENDED);
	if (!stored)
		log_warn("jobs", "the end of a job was not stored", KV_S("job", r->job->name), KV_S("reason", err.msg));
	arena_free(a);
	return stored;
}

CO_FN static void jobs_run(void *arg)
{
	struct job_run *r = arg;
	int64_t start = clock_wall_ms(), count = 0;
	struct error err = ERROR_INIT;
	json_t *result = json_object();
	char iso[CLOCK_ISO_MAX];
	bool ok;

	json_put_str(result, "started_at", str_of(clock_iso(iso, start)));
	FAULT("jobs.claimed");
	ok = r->job->run(r->js->w, result, &count, &err);
	FAULT("jobs.before_end");
	json_put_str(result, "completed_at", str_of(clock_iso(iso, clock_wall_ms())));
	json_object_set_new(result, "duration_seconds", json_real((double)(clock_wall_ms() - start) / 1000.0));
	json_object_set_new(result, "success", json_boolean(ok));
	json_object_set_new(result, "error", ok ? json_null() : json_string(err.msg));
	if (jobs_store(r, result, count, ok)) {
		if (ok)
			log_info("jobs", "job done", KV_S("job", r->job->name), KV_I("count", count),
				 KV_I("ms", clock_wall_ms() - start));
		else
			log_warn("jobs", "job failed", KV_S("job", r->job->name), KV_I("count", count),
				 KV_S("reason", err.msg));
	}
	json_decref(result);
	r->js->active--;
	free(r);
}

/* ---- claiming ---- */

CO_FN static bool jobs_make(struct jobs *js, const struct job *job)
{
	struct db_batch *b = db_batch_new(js->w->db);
	struct error err = ERROR_INIT;

	db_batch_add(b, "INSERT INTO jobs (name, next_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
		     DB_ARGS(DB_Z(job->name), DB_I(clock_wall_ms() + job->first_ms)), DB_ANY);
	return db_commit(js->w->db, b, &err);
}

/* Claims the job and starts it. */
CO_FN static void jobs_claim(struct jobs *js, const struct job *job, int64_t epoch)
{
	struct db_batch *b = db_batch_new(js->w->db);
	struct error err = ERROR_INIT;
	struct job_run *r;

	db_batch_add(b,
		     "UPDATE jobs SET owner = $3, epoch = epoch + 1, started_at = $4 WHERE name = $1 AND epoch = $2"
		     " AND owner = '' AND next_at <= $4",
		     DB_ARGS(DB_Z(job->name), DB_I(epoch), DB_Z(js->w->incarnation), DB_I(clock_wall_ms())), 1);
	FAULT("jobs.before_claim");
	if (!db_commit(js->w->db, b, &err)) {
		if (err.code != ERR_FENCED) /* somebody else was first */
			log_warn("jobs", "a job cannot be claimed", KV_S("job", job->name), KV_S("reason", err.msg));
		return;
	}
	r = xcalloc(1, sizeof(*r));
	*r = (struct job_run){js, job, epoch + 1};
	js->active++;
	if (co_spawn("job", jobs_run, r) != NULL)
		return;
	js->active--; /* not even begun: told as a failure, and tried again after its interval */
	(void)jobs_store(r, json_object(), 0, false);
	free(r);
}

CO_FN void jobs_look(struct jobs *js)
{
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	int64_t now = clock_wall_ms();
	struct db_rows rows;
	const struct job *const *job;
	size_t i;

	if (!db_query(js->w->db, a, "SELECT name, owner, epoch, next_at FROM jobs", DB_NO_ARGS, &rows, &err)) {
		arena_free(a);
		return;
	}
	for (job = js->table; *job != NULL; job++) {
		for (i = 0; i < rows.count && !str_eqz(db_str(&rows, i, 0), (*job)->name); i++)
			;
		if (i == rows.count)
			(void)jobs_make(js, *job); /* again in a second, if the store is away */
		else if (db_str(&rows, i, 1).n == 0 && db_int(&rows, i, 3) <= now && !js->w->draining)
			jobs_claim(js, *job, db_int(&rows, i, 2));
	}
	arena_free(a);
}

void jobs_take_over(struct db_batch *b, struct str owner, int64_t now_ms)
{
	db_batch_add(
	    b, "UPDATE jobs SET owner = '', runs = runs + 1, failures = failures + 1, next_at = $2 WHERE owner = $1",
	    DB_ARGS(DB_S(owner), DB_I(now_ms)), DB_ANY);
}

/* ---- looking and asking ---- */

CO_FN bool jobs_state(struct worker *w, struct arena *a, const char *name, struct job_state *out, struct error *err)
{
	struct db_rows r;

	if (!db_query(w->db, a,
		      "SELECT owner, runs, failures, total, next_at, started_at, ended_at, last_result FROM jobs"
		      " WHERE name = $1",
		      DB_ARGS(DB_Z(name)), &r, err))
		return false;
	if (r.count == 0)
		return error_set(err, ERR_UNAVAILABLE, "the scheduler has not started yet");
	*out = (struct job_state){db_str(&r, 0, 0).n > 0, db_int(&r, 0, 1), db_int(&r, 0, 2), db_int(&r, 0, 3),
				  db_int(&r, 0, 4),       db_int(&r, 0, 5), db_int(&r, 0, 6), db_str(&r, 0, 7)};
	return true;
}

CO_FN bool jobs_run_now(struct worker *w, struct arena *a, const char *name, int64_t us, struct job_state *out,
			struct error *err)
{
	int64_t limit = clock_mono_us() + us, runs;
	struct db_batch *b;

	if (!jobs_state(w, a, name, out, err))
		return false;
	runs = out->runs;
	b = db_batch_new(w->db);
	db_batch_add(b, "UPDATE jobs SET next_at = 0 WHERE name = $1 AND owner = ''", DB_ARGS(DB_Z(name)), 1);
	if (!db_commit(w->db, b, err))
		return err->code == ERR_FENCED ? error_set(err, ERR_CONFLICT, "a run is in progress") : false;
	while (out->runs == runs) {
		if (clock_mono_us() > limit)
			return error_set(err, ERR_TIMEOUT, "the job goes on; its status tells when it is done");
		if (co_sleep(JOBS_POLL_US) == CO_ENDED)
			return error_set(err, ERR_CANCELLED, "cancelled");
		if (!jobs_state(w, a, name, out, err))
			return false;
	}
	return true;
}
