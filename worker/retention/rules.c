/* SPDX-License-Identifier: MIT */
/*
 * The rules of retention and the two jobs that apply them, page by page. Called by the jobs and by the API for the
 * numbers of a dry run. Debates, their results and ratings are not touched.
 */
#include "common/clock.h"
#include "common/json.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/audit/audit.h"
#include "worker/retention/retention.h"
#include "worker/retention_sql.h"
#include "worker/worker.h"

#define RULE_DAY_MS INT64_C(86400000)
#define RULE_STATEMENTS 4

/*
 * `page` selects what goes next: $1 the time before which it may go, $2 how many. The statements remove what is in
 * the page, in one batch; the last one takes the page's own rows.
 */
struct retention_rule {
	const char *name;
	const struct job *job;
	size_t days; /* offset in struct conf; 0 days: for ever */
	int64_t page_rows;
	const char *count;
	const char *remove[RULE_STATEMENTS];
	/* In the place of the above where SQL alone does not do: how many are due; removes the next, *n of them. */
	bool (*due)(struct worker *w, int64_t before_ms, int64_t *n, struct error *err);
	bool (*step)(struct worker *w, int64_t before_ms, int64_t *n, struct error *err);
};

#define RULE(word, of, field, rows, page, ...)                                                                       \
	{                                                                                                            \
		.name = (word), .job = (of), .days = offsetof(struct conf, retention.field), .page_rows = (rows),    \
		.count =                                                                                             \
		    SQL_ANYBODY("retention is the operator's; only a number is shown") "SELECT COUNT(*) FROM (" page \
										       ") p",                        \
		.remove = {__VA_ARGS__},                                                                             \
	}

#define PAGE_RECEIPTS                                                                                        \
	"SELECT id FROM receipts WHERE created_at < $1 AND NOT EXISTS (SELECT 1 FROM receipt_holds h WHERE " \
	"h.receipt_id = receipts.id) ORDER BY created_at, id LIMIT $2"
#define PAGE_KEYS                                                                                                \
	"SELECT org_id, principal, route, key FROM idempotency_keys WHERE created_at < $1 AND object_id NOT IN " \
	"(" RETENTION_OPEN_DEBATES ") ORDER BY created_at, org_id, principal, route, key LIMIT $2"
#define PAGE_DELIVERED \
	"SELECT id FROM deliveries WHERE state = 'delivered' AND delivered_at < $1 ORDER BY delivered_at, id LIMIT $2"
#define PAGE_DEAD "SELECT id FROM deliveries WHERE state = 'dead' AND dead_at < $1 ORDER BY dead_at, id LIMIT $2"
#define PAGE_ENDPOINTS                                                                                         \
	"SELECT endpoint FROM delivery_endpoints WHERE updated_at < $1 AND open_until < $1 ORDER BY endpoint " \
	"LIMIT $2"
#define PAGE_DEBATES(table)                                                                                          \
	RETENTION_ENDED_BEFORE RETENTION_NOT_DELIVERED " AND EXISTS (SELECT 1 FROM " table                           \
						       " x WHERE x.debate_id = d.id) ORDER BY d.completed_at, d.id " \
						       "LIMIT $2"
#define PAGE_USAGE                                                                                 \
	"SELECT debate_id, step_key FROM usage_ledger WHERE created_at < $1 AND debate_id NOT IN " \
	"(" RETENTION_OPEN_DEBATES ") ORDER BY created_at, debate_id, step_key LIMIT $2"
#define PAGE_BATCHES "SELECT id FROM batches WHERE open = 0 AND completed_at < $1 ORDER BY completed_at, id LIMIT $2"
#define PAGE_SHARES(table) \
	"SELECT token_hash FROM " table " WHERE expires_at < $1 ORDER BY expires_at, token_hash LIMIT $2"
#define ATTEMPTS(page) "DELETE FROM delivery_attempts WHERE delivery_id IN (" page ")"

static const struct retention_rule rules[] = {
    RULE("receipts", &retention_receipts_job, receipt_days, 200, PAGE_RECEIPTS,
	 /* That there was one, and which, is told for ever (rest-wide 4.5). */
	 "INSERT INTO receipt_deletions (receipt_id, org_id, workspace_id, debate_id, content_hash, reason, deleted_at)"
	 " SELECT id, org_id, workspace_id, debate_id, content_hash, 'retention_expired', $3 FROM receipts"
	 " WHERE id IN (" PAGE_RECEIPTS ")",
	 "DELETE FROM receipt_stamps WHERE receipt_id IN (" PAGE_RECEIPTS ")",
	 "DELETE FROM receipt_shares WHERE receipt_id IN (" PAGE_RECEIPTS ")",
	 "DELETE FROM receipts WHERE id IN (" PAGE_RECEIPTS ")"),
    RULE("events", &retention_job, event_days, 20, PAGE_DEBATES("debate_events"),
	 "DELETE FROM debate_events WHERE debate_id IN (" PAGE_DEBATES("debate_events") ")"),
    RULE("journals", &retention_job, journal_days, 20, PAGE_DEBATES("debate_steps"),
	 "DELETE FROM debate_steps WHERE debate_id IN (" PAGE_DEBATES("debate_steps") ")"),
    RULE("usage", &retention_job, usage_days, 200, PAGE_USAGE,
	 "DELETE FROM usage_ledger WHERE (debate_id, step_key) IN (" PAGE_USAGE ")"),
    RULE("idempotency_keys", &retention_job, idempotency_days, 200, PAGE_KEYS,
	 "DELETE FROM idempotency_keys WHERE (org_id, principal, route, key) IN (" PAGE_KEYS ")"),
    RULE("deliveries", &retention_job, delivery_days, 200, PAGE_DELIVERED, ATTEMPTS(PAGE_DELIVERED),
	 "DELETE FROM deliveries WHERE id IN (" PAGE_DELIVERED ")"),
    RULE("dead_letters", &retention_job, dead_letter_days, 200, PAGE_DEAD, ATTEMPTS(PAGE_DEAD),
	 "DELETE FROM deliveries WHERE id IN (" PAGE_DEAD ")"),
    RULE("endpoints", &retention_job, delivery_days, 200, PAGE_ENDPOINTS,
	 "DELETE FROM delivery_endpoints WHERE endpoint IN (" PAGE_ENDPOINTS ")"),
    RULE("batches", &retention_job, batch_days, 50, PAGE_BATCHES,
	 "DELETE FROM batch_items WHERE batch_id IN (" PAGE_BATCHES ")",
	 "DELETE FROM batches WHERE id IN (" PAGE_BATCHES ")"),
    RULE("receipt_shares", &retention_job, share_days, 200, PAGE_SHARES("receipt_shares"),
	 "DELETE FROM receipt_shares WHERE token_hash IN (" PAGE_SHARES("receipt_shares") ")"),
    RULE("debate_shares", &retention_job, share_days, 200, PAGE_SHARES("debate_shares"),
	 "DELETE FROM debate_shares WHERE token_hash IN (" PAGE_SHARES("debate_shares") ")"),
    {.name = "audit",
     .job = &retention_job,
     .days = offsetof(struct conf, retention.audit_days),
     .due = audit_retention_due,
     .step = audit_retention_step},
};

static int64_t rule_days(const struct conf *c, const struct retention_rule *r)
{
	return *(const int64_t *)(const void *)((const char *)c + r->days);
}

CO_FN static bool rule_count(struct worker *w, const struct retention_rule *r, int64_t before, int64_t limit,
			     int64_t *n, struct error *err)
{
	struct arena *a;
	struct db_rows rows;
	bool ok;

	if (r->due != NULL)
		return r->due(w, before, n, err);
	a = arena_new(0);
	ok = db_query(w->db, a, r->count, DB_ARGS(DB_I(before), DB_I(limit)), &rows, err);

	if (ok)
		*n = db_int(&rows, 0, 0);
	arena_free(a);
	return ok;
}

/*
 * The next page, *n rows of it. Only the owner of the job removes, and nothing grows older than a fixed time: the page
 * is what was counted. What goes leaves an event in the audit log.
 */
CO_FN static bool rule_step(struct worker *w, const struct retention_rule *r, int64_t before, int64_t *n,
			    struct error *err)
{
	struct db_batch *b;
	json_t *details;
	size_t i;

	if (r->step != NULL)
		return r->step(w, before, n, err);
	if (!rule_count(w, r, before, r->page_rows, n, err))
		return false;
	if (*n == 0)
		return true;
	b = db_batch_new(w->db);
	for (i = 0; i < RULE_STATEMENTS; i++)
		if (r->remove[i] != NULL)
			db_batch_add(b, r->remove[i],
				     (const struct db_val[]){DB_I(before), DB_I(r->page_rows), DB_I(clock_wall_ms())},
				     strstr(r->remove[i], "$3") != NULL ? 3 : 2, DB_ANY);
	details = json_pack("{s:s, s:I}", "rule", r->name, "rows", (json_int_t)*n);
	audit_add_as(
	    b, w, NULL,
	    &(struct audit_event){
		.category = "data", .action = "data.expired", .resource_type = str_of(r->name), .details = details});
	json_decref(details);
	return db_commit(w->db, b, err);
}

CO_FN static bool rule_apply(struct worker *w, const struct retention_rule *r, int64_t *count, struct error *err)
{
	int64_t before = clock_wall_ms() - rule_days(w->conf, r) * RULE_DAY_MS, n = r->step != NULL ? 1 : r->page_rows;

	if (rule_days(w->conf, r) == 0)
		return true;
	/* A page that was not full was the last; who removes by steps says 0. */
	while (n > 0 && (r->step != NULL || n == r->page_rows)) {
		if (jobs_stopping(w->jobs))
			return error_set(err, ERR_CANCELLED, "the server is stopping; the next run goes on");
		if (!rule_step(w, r, before, &n, err))
			return false;
		*count += n;
		metric_add(M_RETENTION_DELETED, n, r->name, NULL);
	}
	return true;
}

/* All rules of the job; one that fails does not keep the others from their work. */
CO_FN static bool rules_apply(struct worker *w, const struct job *job, json_t *result, int64_t *count,
			      struct error *err)
{
	bool ok = true;
	size_t i;

	for (i = 0; i < countof(rules); i++) {
		int64_t n = 0;

		if (rules[i].job != job)
			continue;
		ok = rule_apply(w, &rules[i], &n, err) && ok;
		json_put_int(result, rules[i].name, n);
		*count += n;
	}
	return ok;
}

CO_FN json_t *retention_due(struct worker *w, const struct job *job, struct error *err)
{
	json_t *o = json_object();
	int64_t n;
	size_t i;

	for (i = 0; i < countof(rules); i++) {
		int64_t days = rule_days(w->conf, &rules[i]);

		if (rules[i].job != job)
			continue;
		n = 0;
		if (days > 0 && !rule_count(w, &rules[i], clock_wall_ms() - days * RULE_DAY_MS, INT32_MAX, &n, err)) {
			json_decref(o);
			return NULL;
		}
		json_put_int(o, rules[i].name, n);
	}
	return o;
}

/* ---- the jobs ---- */

CO_FN static bool receipts_run(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	int64_t start = clock_mono_us();
	bool ok = rules_apply(w, &retention_receipts_job, result, count, err);

	json_put_int(result, "receipts_deleted", *count);
	json_put_int(result, "retention_days", w->conf->retention.receipt_days);
	metric_add(M_RECEIPT_CLEANUPS, 1, NULL);
	metric_add(M_RECEIPTS_DELETED, *count, NULL);
	metric_observe(M_RECEIPT_CLEANUP_DURATION, (double)(clock_mono_us() - start) / 1e6, NULL);
	return ok;
}

static int64_t receipts_interval(const struct conf *c)
{
	return c->retention.receipt_interval_hours * INT64_C(3600000);
}

const struct job retention_receipts_job = {
    .name = "receipt-retention", .first_ms = 60000, .interval_ms = receipts_interval, .run = receipts_run};

CO_FN static bool others_run(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	return rules_apply(w, &retention_job, result, count, err);
}

static int64_t others_interval(const struct conf *c)
{
	return c->retention.interval / MS_US;
}

const struct job retention_job = {
    .name = "retention", .first_ms = 60000, .interval_ms = others_interval, .run = others_run};
