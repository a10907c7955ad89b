/* SPDX-License-Identifier: MIT */
/*
 * Reads predictions and keeps the table of what they come to. Called when an outcome is recorded and by a job once a
 * day, because the fitted temperature weighs predictions by their age. The arithmetic is in calibration_math.c.
 */
#include "worker/ranking/calibration.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/middleware/response_cache.h"
#include "worker/worker.h"

#define CALIBRATION_PAGE 100
#define CALIBRATION_FIRST_MS (INT64_C(10) * 60 * 1000)
#define CALIBRATION_INTERVAL_MS (INT64_C(24) * 3600 * 1000)

CO_FN bool calibration_read(struct db *db, struct arena *a, struct str workspace_id, struct str agent,
			    struct str domain, struct calibration_set *out, struct error *err)
{
	struct db_rows r;
	struct str *domains;
	size_t i;

	if (!db_query(db, a,
		      "SELECT confidence_ppm, correct, created_at, domain FROM predictions WHERE workspace_id = $1"
		      " AND agent = $2 AND ($3 = '' OR domain = $3) ORDER BY created_at DESC LIMIT $4",
		      DB_ARGS(DB_S(workspace_id), DB_S(agent), DB_S(domain), DB_I(CALIBRATION_SAMPLES_MAX)), &r, err))
		return false;
	out->n = r.count;
	out->samples = arena_zalloc(a, (r.count + 1) * sizeof(*out->samples));
	out->domains = domains = arena_zalloc(a, (r.count + 1) * sizeof(*domains));
	for (i = 0; i < r.count; i++) {
		out->samples[i] =
		    (struct calibration_sample){db_int(&r, i, 0), db_int(&r, i, 1) != 0, db_int(&r, i, 2)};
		domains[i] = db_str(&r, i, 3);
	}
	return true;
}

static void calibration_store(struct db_batch *b, struct str org_id, struct str workspace_id, struct str agent,
			      struct str domain, int64_t now_ms, const struct calibration *c)
{
	db_batch_add(b,
		     "INSERT INTO calibrations (workspace_id, agent, domain, org_id, samples, correct, brier_ppm,"
		     " ece_ppm, bias_ppm, temperature_milli, updated_at)"
		     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
		     " ON CONFLICT (workspace_id, agent, domain) DO UPDATE SET samples = excluded.samples,"
		     " correct = excluded.correct, brier_ppm = excluded.brier_ppm, ece_ppm = excluded.ece_ppm,"
		     " bias_ppm = excluded.bias_ppm, temperature_milli = excluded.temperature_milli,"
		     " updated_at = excluded.updated_at",
		     DB_ARGS(DB_S(workspace_id), DB_S(agent), DB_S(domain), DB_S(org_id), DB_I(c->samples),
			     DB_I(c->correct), DB_I(c->brier_ppm), DB_I(c->ece_ppm), DB_I(c->bias_ppm),
			     DB_I(c->temperature_milli), DB_I(now_ms)),
		     1);
}

/* The samples of one domain, kept in place of `part`. */
static size_t calibration_part(const struct calibration_set *set, struct str domain, struct calibration_sample *part)
{
	size_t i, n = 0;

	for (i = 0; i < set->n; i++)
		if (str_eq(set->domains[i], domain))
			part[n++] = set->samples[i];
	return n;
}

static bool calibration_first_of(const struct calibration_set *set, size_t i)
{
	size_t k;

	for (k = 0; k < i && !str_eq(set->domains[k], set->domains[i]); k++)
		;
	return k == i;
}

CO_FN bool calibration_refresh(struct worker *w, struct str org_id, struct str workspace_id, struct str agent,
			       int64_t now_ms, struct calibration *overall, struct error *err)
{
	struct arena *a = arena_new(0);
	struct calibration_set set;
	struct calibration_sample *part;
	struct calibration c;
	struct db_batch *b;
	bool ok = calibration_read(w->db, a, workspace_id, agent, STR(""), &set, err);
	size_t i;

	if (ok) {
		b = db_batch_new(w->db);
		calibration_of(set.samples, set.n, now_ms, overall);
		calibration_store(b, org_id, workspace_id, agent, STR(""), now_ms, overall);
		part = arena_alloc(a, (set.n + 1) * sizeof(*part));
		for (i = 0; i < set.n; i++)
			if (calibration_first_of(&set, i)) {
				calibration_of(part, calibration_part(&set, set.domains[i], part), now_ms, &c);
				calibration_store(b, org_id, workspace_id, agent, set.domains[i], now_ms, &c);
			}
		ok = db_commit(w->db, b, err);
	}
	arena_free(a);
	return ok;
}

/* ---- the job ---- */

/* The next agents behind (*workspace, *agent), which move on; *n: how many. */
CO_FN static bool calibration_page(struct worker *w, struct arena *a, struct str *workspace, struct str *agent,
				   size_t *n, struct error *err)
{
	struct calibration c;
	struct db_rows r;

	if (!db_query(w->db, a,
		      SQL_ANYBODY("figures of all agents grow older") "SELECT workspace_id, agent, org_id FROM"
								      " calibrations WHERE (workspace_id, agent) >"
								      " ($1, $2) AND domain = '' ORDER BY"
								      " workspace_id, agent LIMIT $3",
		      DB_ARGS(DB_S(*workspace), DB_S(*agent), DB_I(CALIBRATION_PAGE)), &r, err))
		return false;
	for (*n = 0; *n < r.count; (*n)++) {
		*workspace = db_str(&r, *n, 0);
		*agent = db_str(&r, *n, 1);
		if (jobs_stopping(w->jobs))
			return error_set(err, ERR_CANCELLED, "the server is stopping; the next run begins anew");
		if (!calibration_refresh(w, db_str(&r, *n, 2), *workspace, *agent, clock_wall_ms(), &c, err))
			return false;
	}
	return true;
}

CO_FN static bool calibration_run(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	struct str workspace = STR(""), agent = STR("");
	struct arena *a = arena_new(0);
	size_t n = CALIBRATION_PAGE;
	bool ok = true;

	while (ok && n == CALIBRATION_PAGE) {
		ok = calibration_page(w, a, &workspace, &agent, &n, err);
		*count += (int64_t)n;
	}
	arena_free(a);
	json_put_int(result, "agents", *count);
	if (*count > 0)
		response_cache_changed(w->shm, "ratings");
	return ok;
}

static int64_t calibration_interval(const struct conf *c)
{
	(void)c;
	return CALIBRATION_INTERVAL_MS;
}

const struct job calibration_job = {.name = "calibration",
				    .first_ms = CALIBRATION_FIRST_MS,
				    .interval_ms = calibration_interval,
				    .run = calibration_run};
