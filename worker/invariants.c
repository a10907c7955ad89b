/* SPDX-License-Identifier: MIT */
/*
 * The invariants of the store. Called by `aragorad db check`. Repairs nothing: what to do about a broken row is for a
 * person to decide.
 */
#include "worker/invariants.h"

#include "common/json.h"
#include "worker/receipts/receipt.h"

#define INVARIANT_LIMIT " LIMIT 10000"
#define RATED                                                                                                        \
	"SELECT workspace_id, agent, SUM(change_milli) AS change_milli, SUM(CASE WHEN kind = 'match' AND outcome <>" \
	" 'none' THEN 1 ELSE 0 END) AS n FROM rating_changes GROUP BY workspace_id, agent"
#define ENDED "d.status NOT IN ('queued', 'running')"

const struct invariant invariants[] = {
    /* Retention may take the whole log of an old debate, never a part of it. */
    {"dense events", "the events of a debate are numbered 1 to last_seq without gaps",
     "SELECT d.id FROM debates d JOIN (SELECT debate_id, COUNT(*) AS n, MIN(seq) AS lo, MAX(seq) AS hi FROM "
     "debate_events"
     " GROUP BY debate_id) e ON e.debate_id = d.id WHERE e.lo <> 1 OR e.n <> e.hi OR e.hi <> d.last_seq"
     " ORDER BY d.id" INVARIANT_LIMIT},
    {"events of running debates", "a debate that has not ended keeps its events",
     "SELECT d.id FROM debates d WHERE d.status IN ('queued', 'running') AND d.last_seq > 0"
     " AND NOT EXISTS (SELECT 1 FROM debate_events e WHERE e.debate_id = d.id) ORDER BY d.id" INVARIANT_LIMIT},
    {"last event", "the log of a debate that has ended closes with debate_end, and no other log has one",
     "SELECT d.id FROM debates d JOIN debate_events e ON e.debate_id = d.id AND e.seq = d.last_seq"
     " WHERE (" ENDED ") <> (e.type = 'debate_end') ORDER BY d.id" INVARIANT_LIMIT},
    {"plans", "a debate that runs or waits has the plan it was created with",
     "SELECT d.id FROM debates d WHERE d.status IN ('queued', 'running') AND d.plan IN ('', '{}')"
     " ORDER BY d.id" INVARIANT_LIMIT},
    {"results", "a completed debate has its result",
     "SELECT d.id FROM debates d WHERE d.status = 'completed' AND d.result IS NULL ORDER BY d.id" INVARIANT_LIMIT},
    {"ends", "a debate that has ended has the time of its end, no other has",
     "SELECT d.id FROM debates d WHERE (" ENDED ") <> (d.completed_at IS NOT NULL) ORDER BY d.id" INVARIANT_LIMIT},
    {"owners", "a debate that has ended belongs to no process",
     "SELECT d.id FROM debates d WHERE " ENDED " AND d.owner <> '' ORDER BY d.id" INVARIANT_LIMIT},
    {"receipt of a debate", "a receipt is named by its debate",
     "SELECT r.id FROM receipts r JOIN debates d ON d.id = r.debate_id"
     " WHERE d.receipt_id IS NULL OR d.receipt_id <> r.id ORDER BY r.id" INVARIANT_LIMIT},
    {"events without debate", "every event belongs to a debate",
     "SELECT DISTINCT e.debate_id FROM debate_events e"
     " WHERE NOT EXISTS (SELECT 1 FROM debates d WHERE d.id = e.debate_id) ORDER BY e.debate_id" INVARIANT_LIMIT},
    {"steps without debate", "every step of the journal belongs to a debate",
     "SELECT DISTINCT s.debate_id FROM debate_steps s"
     " WHERE NOT EXISTS (SELECT 1 FROM debates d WHERE d.id = s.debate_id) ORDER BY s.debate_id" INVARIANT_LIMIT},
    {"finished steps", "a step that is done has its result and the time",
     "SELECT s.debate_id FROM debate_steps s WHERE s.state = 'done' AND (s.result IS NULL OR s.done_at IS NULL)"
     " ORDER BY s.debate_id" INVARIANT_LIMIT},
    /* Only where the history is whole: matches of former versions have left none. */
    {"ratings", "an agent's rating is what debates and outcomes have changed of it",
     "SELECT r.agent FROM ratings r JOIN (" RATED ") c ON c.workspace_id = r.workspace_id AND c.agent = r.agent"
     " WHERE c.n = r.wins + r.losses + r.draws AND r.elo_milli <> 1500000 + c.change_milli"
     " ORDER BY r.agent" INVARIANT_LIMIT},
    {"matches", "every match counts once for each of its agents",
     "SELECT r.agent FROM ratings r JOIN (" RATED ") c ON c.workspace_id = r.workspace_id AND c.agent = r.agent"
     " WHERE c.n > r.wins + r.losses + r.draws ORDER BY r.agent" INVARIANT_LIMIT},
};
const size_t invariants_count = countof(invariants);

bool invariant_check(struct dba *d, const struct invariant *i, int64_t *broken, char first[80], struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows rows;
	bool ok = dba_query(d, a, i->query, DB_NO_ARGS, &rows, err);

	*broken = ok ? (int64_t)rows.count : 0;
	snprintf(first, 80, "%.*s", STR_ARG(*broken > 0 ? str_sub(db_str(&rows, 0, 0), 0, 79) : STR("")));
	arena_free(a);
	return ok;
}

/* Its own key may have been replaced since: then the hash alone proves that nothing was changed by accident. */
static bool invariant_receipt_holds(const struct receipt_keys *keys, const struct db_rows *rows, size_t row)
{
	struct receipt_check check = {0};
	json_t *doc = json_parse(NULL, db_str(rows, row, 2), NULL);
	bool holds = false;

	if (doc != NULL) {
		receipt_verify(keys, doc, &check);
		holds = check.hash_ok && (check.signature_ok || !check.known_key) &&
			str_eq(json_get_str(doc, "debate_id", STR("")), db_str(rows, row, 1)) &&
			str_eq(json_get_str(doc, "content_hash", STR("")), db_str(rows, row, 3));
	}
	json_decref(doc);
	return holds;
}

bool invariant_receipts(struct dba *d, const struct conf *c, int64_t *checked, int64_t *broken, char first[80],
			struct error *err)
{
	struct receipt_keys *keys = receipt_keys_open(c, err);
	struct buf last = BUF_INIT;
	bool ok = keys != NULL, more = true;

	*checked = *broken = 0;
	first[0] = '\0';
	while (ok && more) {
		struct arena *a = arena_new(0);
		struct db_rows rows;

		ok = dba_query(
		    d, a,
		    "SELECT id, debate_id, document, content_hash FROM receipts WHERE id > $1 ORDER BY id LIMIT 100",
		    DB_ARGS(DB_S(buf_str(&last))), &rows, err);
		for (size_t i = 0; ok && i < rows.count; i++) {
			++*checked;
			if (!invariant_receipt_holds(keys, &rows, i) && (*broken)++ == 0)
				snprintf(first, 80, "%.*s", STR_ARG(str_sub(db_str(&rows, i, 0), 0, 79)));
		}
		more = ok && rows.count > 0;
		if (more) {
			buf_clear(&last);
			buf_add(&last, db_str(&rows, rows.count - 1, 0));
		}
		arena_free(a);
	}
	buf_free(&last);
	receipt_keys_close(keys);
	return ok;
}
