/* SPDX-License-Identifier: MIT */
/*
 * Finished debates become knowledge: one row is committed with the end of a debate, and is worked off at once by the
 * process that finished it, or later by a job of the cluster. Three tries, then it waits for a person as a dead letter.
 * The end of a debate waits for none of this.
 */
#include "worker/knowledge/outbox.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/knowledge/adapters.h"
#include "worker/worker.h"

#define OUTBOX_TRIES 3
#define OUTBOX_PAGE 20

void knowledge_ended(struct db_batch *b, const struct context *ctx, struct str debate_id, int64_t at_ms)
{
	db_batch_add(b,
		     "INSERT INTO knowledge_outbox (debate_id, org_id, workspace_id, next_at, created_at)"
		     " VALUES ($1, $2, $3, $4, $4) ON CONFLICT (debate_id) DO NOTHING",
		     DB_ARGS(DB_S(debate_id), DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_I(at_ms)), DB_ANY);
}

CO_FN bool knowledge_forget(struct db *db, struct db_batch *b, const struct context *ctx, struct str debate_id,
			    struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows r;
	size_t i;
	bool ok;

	/* Keys of adapters have the debate's id in them, see harvest.c. */
	ok = db_query(db, a,
		      "SELECT id FROM knowledge_nodes WHERE workspace_id = $1 AND adapter IN ('consensus', 'critique',"
		      " 'evidence', 'insights') AND (adapter_key LIKE '%' || $2 || '%' OR (adapter = 'critique' AND"
		      " metadata LIKE '%\"outcomes\":1,%' AND provenance LIKE '%' || $2 || '%')) LIMIT 1000",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_S(debate_id)), &r, err);
	for (i = 0; ok && i < r.count; i++)
		knowledge_remove(b, ctx, db_str(&r, i, 0));
	db_batch_add(b, "DELETE FROM knowledge_outbox WHERE debate_id = $1 AND workspace_id = $2",
		     DB_ARGS(DB_S(debate_id), DB_S(ctx->workspace_id)), DB_ANY);
	arena_free(a);
	return ok;
}

/* ---- writing ---- */

/* What all adapters find in a result; those that found something and are switched on are counted. */
static void outbox_harvest(struct worker *w, struct harvest *h, const json_t *result)
{
	size_t i;

	for (i = 0; i < knowledge_adapters_count; i++) {
		const struct adapter *ad = &knowledge_adapters[i];
		int64_t start = clock_mono_us();

		if (ad->from_result == NULL || !adapter_configured(w, ad))
			continue;
		ad->from_result(h, result);
		metric_observe(M_KM_FORWARD, (double)(clock_mono_us() - start) / 1e6, ad->name, NULL);
	}
}

static void outbox_count(struct worker *w, bool ok)
{
	size_t i;

	for (i = 0; i < knowledge_adapters_count; i++)
		if (knowledge_adapters[i].from_result != NULL && adapter_configured(w, &knowledge_adapters[i]))
			metric_add(M_KM_SYNCS, 1, knowledge_adapters[i].name, "forward", ok ? "success" : "error",
				   NULL);
}

/* What the debate was given and has cited has proved of use (rest-wide 5.4: cited). */
static void outbox_cited(struct db_batch *b, const struct context *ctx, const json_t *result)
{
	const json_t *given = json_get_arr(result, "background"), *it;
	size_t i;

	json_array_foreach(given, i, it) if (str_eqz(json_get_str(it, "source", STR("")), "knowledge") &&
					     json_array_size(json_get_arr(it, "cited_by")) > 0)
	    db_batch_add(b,
			 "UPDATE knowledge_nodes SET confidence_ppm = CASE WHEN confidence_ppm > 950000 THEN 1000000"
			 " ELSE confidence_ppm + 50000 END WHERE id = $1 AND workspace_id = $2",
			 DB_ARGS(DB_S(json_get_str(it, "id", STR(""))), DB_S(ctx->workspace_id)), DB_ANY);
}

CO_FN static bool outbox_write(struct worker *w, struct arena *a, const struct context *ctx, struct str debate_id,
			       struct error *err)
{
	struct harvest *h = arena_zalloc(a, sizeof(*h));
	struct adapter_done done = {0};
	const json_t *result;
	struct db_batch *b;
	struct db_rows r;

	h->arena = a;
	if (!db_query(w->db, a, "SELECT result FROM debates WHERE id = $1 AND workspace_id = $2",
		      DB_ARGS(DB_S(debate_id), DB_S(ctx->workspace_id)), &r, err))
		return false;
	if (r.count == 0)
		return error_set(err, ERR_NOT_FOUND, "the debate is gone");
	result = json_parse(a, db_str(&r, 0, 0), err);
	if (result == NULL)
		return false;
	outbox_harvest(w, h, result);
	b = db_batch_new(w->db);
	if (!adapter_write(w, a, ctx, h, b, &done, err)) {
		db_batch_free(b);
		return false;
	}
	outbox_cited(b, ctx, result);
	/* Last, and exactly one: whoever else works at it writes nothing twice. */
	db_batch_add(b, "DELETE FROM knowledge_outbox WHERE debate_id = $1 AND workspace_id = $2",
		     DB_ARGS(DB_S(debate_id), DB_S(ctx->workspace_id)), 1);
	if (!db_commit(w->db, b, err))
		return false;
	knowledge_left_out(w, ctx, done.skipped, debate_id);
	return true;
}

/* The third failure makes it a dead letter. */
CO_FN static void outbox_failed(struct worker *w, const struct context *ctx, struct str debate_id, int64_t tries,
				const char *reason)
{
	bool dead = tries + 1 >= OUTBOX_TRIES;
	struct db_batch *b = db_batch_new(w->db);
	struct error err = ERROR_INIT;

	db_batch_add(b,
		     "UPDATE knowledge_outbox SET tries = tries + 1, last_error = $3, state = $4, next_at = $5"
		     " WHERE debate_id = $1 AND workspace_id = $2 AND tries = $6",
		     DB_ARGS(DB_S(debate_id), DB_S(ctx->workspace_id), DB_Z(reason), DB_Z(dead ? "dead" : "pending"),
			     DB_I(clock_wall_ms() + w->conf->knowledge.retry_interval / MS_US * (tries + 1)),
			     DB_I(tries)),
		     1);
	if (!db_commit(w->db, b, &err))
		return; /* somebody else was at it, or the store is away: the row is as it was */
	if (dead)
		metric_add(M_KM_DEAD, 1, NULL);
	log_warn("knowledge", dead ? "the knowledge of a debate is a dead letter" : "the knowledge of a debate waits",
		 KV_STR("debate_id", debate_id), KV_I("tries", tries + 1), KV_S("reason", reason));
}

CO_FN static bool outbox_one(struct worker *w, const struct context *ctx, struct str debate_id, int64_t tries)
{
	int64_t start = clock_mono_us();
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	bool ok = outbox_write(w, a, ctx, debate_id, &err);

	if (ok || err.code != ERR_FENCED) {
		knowledge_counted("sync", ok, start);
		outbox_count(w, ok);
	}
	if (!ok && err.code != ERR_FENCED && err.code != ERR_CANCELLED)
		outbox_failed(w, ctx, debate_id, tries, err.msg);
	arena_free(a);
	return ok;
}

/* ---- at once ---- */

struct outbox_hint {
	struct worker *w;
	struct arena *arena;
	struct context ctx;
	struct str debate_id;
};

CO_FN static void outbox_run(void *arg)
{
	struct outbox_hint *h = arg;

	(void)outbox_one(h->w, &h->ctx, h->debate_id, 0);
	arena_free(h->arena);
}

void knowledge_hint(struct worker *w, const struct context *ctx, struct str debate_id)
{
	struct arena *a;
	struct outbox_hint *h;

	if (!w->conf->knowledge.enabled || w->draining)
		return;
	a = arena_new(0);
	h = arena_zalloc(a, sizeof(*h));
	*h = (struct outbox_hint){.w = w, .arena = a, .debate_id = arena_str(a, debate_id)};
	h->ctx = (struct context){.principal = STR("system"),
				  .org_id = arena_str(a, ctx->org_id),
				  .workspace_id = arena_str(a, ctx->workspace_id)};
	if (co_spawn("knowledge", outbox_run, h) == NULL)
		arena_free(a); /* the job finds the row */
}

/* ---- later ---- */

/* A page of nothing but failures is the last: rows that do not move would come again at once. */
CO_FN static bool writes_run(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	int64_t failed = 0, written = 1;
	size_t i, n = OUTBOX_PAGE;

	while (n == OUTBOX_PAGE && written > 0 && !jobs_stopping(w->jobs)) {
		struct arena *a = arena_new(0);
		struct db_rows r;

		if (!db_query(
			w->db, a,
			SQL_ANYBODY(
			    "debates of all workspaces leave knowledge") "SELECT debate_id, org_id,"
									 " workspace_id, tries FROM knowledge_outbox "
									 "WHERE state = 'pending' AND next_at <= $1"
									 " ORDER BY next_at, debate_id LIMIT $2",
			/* What has just come is being worked off by who finished the debate. */
			DB_ARGS(DB_I(clock_wall_ms() - w->conf->knowledge.retry_interval / MS_US / 2),
				DB_I(OUTBOX_PAGE)),
			&r, err)) {
			arena_free(a);
			return false;
		}
		n = r.count;
		written = 0;
		for (i = 0; i < n && !jobs_stopping(w->jobs); i++) {
			const struct context ctx = {
			    .principal = STR("system"), .org_id = db_str(&r, i, 1), .workspace_id = db_str(&r, i, 2)};
			bool ok = outbox_one(w, &ctx, db_str(&r, i, 0), db_int(&r, i, 3));

			written += ok;
			failed += !ok;
		}
		*count += written;
		arena_free(a);
	}
	json_put_int(result, "written", *count);
	json_put_int(result, "failed", failed);
	return true;
}

static int64_t writes_interval(const struct conf *c)
{
	return c->knowledge.retry_interval / MS_US;
}

const struct job knowledge_writes_job = {
    .name = "knowledge-writes", .first_ms = 1000, .interval_ms = writes_interval, .run = writes_run};
