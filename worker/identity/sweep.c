/* SPDX-License-Identifier: MIT */
/*
 * The periodic job that keeps the tables of sessions small. Revocations stay until their token would have expired;
 * refresh tokens as long, so that a stolen one is noticed until then. Called by worker/jobs and by an administrator.
 */
#include "worker/identity/sweep.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/worker.h"

#define SWEEP_PAGE 200
#define SWEEP_KEPT_MS INT64_C(86400000) /* what has expired is kept for so long: clocks differ, and people ask */

static const struct {
	const char *name, *find, *remove;
} sweep_steps[] = {
    {"revoked_tokens",
     SQL_ANYBODY("what has expired") "SELECT id FROM revoked_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT $2",
     SQL_ANYBODY("what has expired") "DELETE FROM revoked_tokens WHERE id = $1"},
    {"refresh_tokens",
     SQL_ANYBODY("what has expired") "SELECT id FROM refresh_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT $2",
     SQL_ANYBODY("what has expired") "DELETE FROM refresh_tokens WHERE id = $1"},
    {"sessions",
     SQL_ANYBODY("what has expired") "SELECT id FROM sessions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2",
     SQL_ANYBODY("what has expired") "DELETE FROM sessions WHERE id = $1"},
    {"changes",
     "SELECT id FROM identity_changes WHERE kind IN ('session', 'token') AND changed_at < $1 ORDER BY n LIMIT $2",
     "DELETE FROM identity_changes WHERE kind IN ('session', 'token') AND id = $1"},
};

CO_FN static bool sweep_page(struct worker *w, size_t step, int64_t before, size_t *removed, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_batch *b = NULL;
	struct db_rows r;
	size_t i;
	bool ok = db_query(w->db, a, sweep_steps[step].find, DB_ARGS(DB_I(before), DB_I(SWEEP_PAGE)), &r, err);

	*removed = ok ? r.count : 0;
	if (ok && r.count > 0) {
		b = db_batch_new(w->db);
		for (i = 0; i < r.count; i++)
			db_batch_add(b, sweep_steps[step].remove, DB_ARGS(DB_S(db_str(&r, i, 0))), DB_ANY);
		ok = db_commit(w->db, b, err);
	}
	arena_free(a);
	return ok;
}

CO_FN bool identity_sweep(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	int64_t before = clock_wall_ms() - SWEEP_KEPT_MS, done;
	size_t i, n;

	for (i = 0; i < countof(sweep_steps); i++) {
		done = 0;
		do {
			if (!sweep_page(w, i, before, &n, err))
				return false;
			done += (int64_t)n;
		} while (n == SWEEP_PAGE && !w->draining);
		json_put_int(result, sweep_steps[i].name, done);
		*count += done;
	}
	return true;
}

static int64_t sweep_interval(const struct conf *c)
{
	(void)c;
	return IDENTITY_SWEEP_MS;
}

const struct job identity_sweep_job = {
    .name = "identity_sweep", .first_ms = IDENTITY_SWEEP_MS, .interval_ms = sweep_interval, .run = identity_sweep};
