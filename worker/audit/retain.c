/* SPDX-License-Identifier: MIT */
/*
 * Retention of the chain: its beginning goes, always up to a signed anchor, so that what is left still verifies.
 * Called by the retention job (worker/retention/rules.c). Knows no days.
 */
#include "common/json.h"
#include "worker/audit/audit_log.h"
#include "worker/worker.h"

/* The first anchor at or behind the beginning of the chain that is old enough: all events up to it are older still. */
#define RETAIN_THROUGH                                                            \
	"SELECT COALESCE(MIN(seq), 0) FROM audit_anchors WHERE made_at < $1 AND " \
	"seq >= (SELECT COALESCE(MIN(seq), 1) FROM audit_events)"

CO_FN bool audit_retention_due(struct worker *w, int64_t before_ms, int64_t *n, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows rows;
	bool ok = db_query(w->db, a,
			   "SELECT COUNT(*) FROM audit_events WHERE seq <= "
			   "(SELECT COALESCE(MAX(seq), 0) FROM audit_anchors WHERE made_at < $1)",
			   DB_ARGS(DB_I(before_ms)), &rows, err);

	if (ok)
		*n = db_int(&rows, 0, 0);
	arena_free(a);
	return ok;
}

/* The events and the word about them in one transaction. */
CO_FN static bool retain_through(struct worker *w, int64_t through, int64_t count, struct error *err)
{
	struct db_batch *b = db_batch_new(w->db);
	json_t *details = json_pack("{s:I, s:I}", "through_seq", (json_int_t)through, "events", (json_int_t)count);

	db_batch_add(b, "DELETE FROM audit_events WHERE seq <= $1", DB_ARGS(DB_I(through)), count);
	audit_add_as(b, w, NULL,
		     &(struct audit_event){.category = "data",
					   .action = AUDIT_RETAINED,
					   .resource_type = STR("audit_events"),
					   .details = details});
	json_decref(details);
	return db_commit(w->db, b, err);
}

CO_FN bool audit_retention_step(struct worker *w, int64_t before_ms, int64_t *n, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows rows;
	int64_t through = 0;
	bool ok = db_query(w->db, a, RETAIN_THROUGH, DB_ARGS(DB_I(before_ms)), &rows, err);

	*n = 0;
	if (ok) {
		through = db_int(&rows, 0, 0);
		ok = db_query(w->db, a, "SELECT COUNT(*) FROM audit_events WHERE seq <= $1", DB_ARGS(DB_I(through)),
			      &rows, err);
	}
	if (ok && through > 0) {
		*n = db_int(&rows, 0, 0);
		ok = *n == 0 || retain_through(w, through, *n, err);
	}
	arena_free(a);
	return ok;
}
