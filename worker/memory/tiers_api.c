/* SPDX-License-Identifier: MIT */
/*
 * The routes to the tiers of continuum memory (rest-wide 6.3): figures, pressure, consolidation, cleanup. What they
 * show is counted when asked; nothing is kept for them.
 */
#include "worker/memory/memory_api.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/http/body.h"
#include "worker/worker.h"

#define TIERS_HOUR_MS INT64_C(3600000)
#define TIERS_DAY_MS (24 * TIERS_HOUR_MS)
#define TIERS_MAX_AGE_HOURS 8760

/* The counts of all tiers and the moves since `since_ms`; false: answered with the error. */
CO_FN static bool tiers_load(struct http_request *req, struct continuum_count *counts, int64_t since_ms,
			     int64_t *promotions, int64_t *demotions)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (!memory_on(req))
		return false;
	if (!continuum_counts(w, req->arena, &req->ctx, counts, &err) ||
	    !db_query(
		w->db, req->arena,
		"SELECT SUM(CASE WHEN to_tier < from_tier THEN 1 ELSE 0 END), SUM(CASE WHEN to_tier > from_tier THEN 1"
		" ELSE 0 END) FROM memory_transitions WHERE workspace_id = $1 AND created_at >= $2",
		DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(since_ms)), &r, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	*promotions = db_int(&r, 0, 0);
	*demotions = db_int(&r, 0, 1);
	return true;
}

static int64_t tiers_total(const struct continuum_count *counts)
{
	int64_t sum = 0;
	size_t t;

	for (t = 0; t < CONTINUUM_TIERS; t++)
		sum += counts[t].count;
	return sum;
}

static json_t *tiers_figures(const struct continuum_count *c, enum continuum_tier t)
{
	json_t *o = json_object();

	json_put_int(o, "count", c->count);
	json_put_int(o, "limit", continuum_rules[t].max);
	json_object_set_new(o, "utilization", json_real((double)c->count / (double)continuum_rules[t].max));
	memory_real(o, "avg_importance", c->importance_ppm);
	memory_real(o, "avg_surprise", c->surprise_ppm);
	json_put_int(o, "red_lines", c->red_lines);
	json_put_int(o, "archived", c->archived);
	return o;
}

CO_FN static void tiers_stats(struct http_request *req)
{
	struct continuum_count counts[CONTINUUM_TIERS];
	int64_t up, down;
	json_t *tiers;
	size_t t;

	if (!tiers_load(req, counts, 0, &up, &down))
		return;
	tiers = json_object();
	for (t = 0; t < CONTINUUM_TIERS; t++)
		json_object_set_new(tiers, continuum_rules[t].name, tiers_figures(&counts[t], (enum continuum_tier)t));
	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:{s:I, s:I}}", "tiers", tiers, "total_memories",
				  (json_int_t)tiers_total(counts), "transitions", "promotions", (json_int_t)up,
				  "demotions", (json_int_t)down));
}

static const char *tiers_span(char *out, size_t size, int64_t ms)
{
	if (ms % TIERS_DAY_MS == 0)
		(void)snprintf(out, size, "%lldd", (long long)(ms / TIERS_DAY_MS));
	else
		(void)snprintf(out, size, "%lldh", (long long)(ms / TIERS_HOUR_MS));
	return out;
}

CO_FN static void tiers_list(struct http_request *req)
{
	struct continuum_count counts[CONTINUUM_TIERS];
	int64_t up, down;
	char span[24];
	json_t *list;
	size_t t;

	if (!tiers_load(req, counts, clock_wall_ms() - TIERS_DAY_MS, &up, &down))
		return;
	list = json_array();
	for (t = 0; t < CONTINUUM_TIERS; t++) {
		json_t *o = tiers_figures(&counts[t], (enum continuum_tier)t);
		int64_t ttl = continuum_retention_ms((enum continuum_tier)t);

		json_put_str(o, "id", str_of(continuum_rules[t].name));
		json_put_str(o, "name", str_of(continuum_rules[t].name));
		json_put_str(o, "description", str_of(continuum_rules[t].description));
		json_put_int(o, "ttl_seconds", ttl / 1000);
		json_put_str(o, "ttl_human", str_of(tiers_span(span, sizeof(span), ttl)));
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:I}", "tiers", list, "total_memories", (json_int_t)tiers_total(counts),
				  "transitions_24h", (json_int_t)up + (json_int_t)down));
}

CO_FN static void tiers_one(struct http_request *req)
{
	struct continuum_count counts[CONTINUUM_TIERS];
	struct error err = ERROR_INIT;
	enum continuum_tier t;
	int64_t up, down;
	json_t *o;

	if (!continuum_tier_find(req->params[0], &t)) {
		error_field(&err, ERR_NOT_FOUND, "tier", "no such tier: fast, medium, slow or glacial");
		http_reply_error(req, &err);
		return;
	}
	if (!tiers_load(req, counts, 0, &up, &down))
		return;
	o = tiers_figures(&counts[t], t);
	json_put_str(o, "tier", str_of(continuum_rules[t].name));
	http_reply_json(req, 200, o);
}

CO_FN static void tiers_pressure(struct http_request *req)
{
	static const struct {
		double below;
		const char *status;
	} bands[] = {{0.5, "normal"}, {0.8, "elevated"}, {0.9, "high"}, {2.0, "critical"}};
	struct continuum_count counts[CONTINUUM_TIERS];
	double pressure = 0.0, share;
	json_t *tiers;
	int64_t up, down;
	size_t t, i;

	if (!tiers_load(req, counts, 0, &up, &down))
		return;
	tiers = json_object();
	for (t = 0; t < CONTINUUM_TIERS; t++) {
		share = (double)counts[t].count / (double)continuum_rules[t].max;
		pressure = share > pressure ? share : pressure;
		json_object_set_new(tiers, continuum_rules[t].name, tiers_figures(&counts[t], (enum continuum_tier)t));
	}
	pressure = pressure < 1.0 ? pressure : 1.0;
	for (i = 0; pressure >= bands[i].below; i++)
		;
	http_reply_json(req, 200,
			json_pack("{s:f, s:s, s:o, s:I, s:b}", "pressure", pressure, "status", bands[i].status,
				  "tier_utilization", tiers, "total_memories", (json_int_t)tiers_total(counts),
				  "cleanup_recommended", (int)(pressure > 0.9)));
}

CO_FN static void tiers_archive(struct http_request *req)
{
	struct worker *w = req->user;
	json_t *by_tier = json_own(req->arena, json_object()), *by_reason = json_own(req->arena, json_object());
	int64_t total = 0, oldest = 0, newest = 0;
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *o;
	size_t i;

	if (!memory_on(req))
		return;
	if (!db_query(w->db, req->arena,
		      "SELECT tier, archive_reason, COUNT(*), MIN(archived_at), MAX(archived_at) FROM continuum_memory"
		      " WHERE workspace_id = $1 AND archived_at > 0 GROUP BY tier, archive_reason",
		      DB_ARGS(DB_S(req->ctx.workspace_id)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	for (i = 0; i < r.count; i++) {
		const char *tier = continuum_rules[db_int(&r, i, 0) & 3].name;
		const char *reason = arena_str(req->arena, db_str(&r, i, 1)).p;
		int64_t n = db_int(&r, i, 2), first = db_int(&r, i, 3), last = db_int(&r, i, 4);

		total += n;
		json_put_int(by_tier, tier, json_get_int(by_tier, tier, 0) + n);
		json_put_int(by_reason, reason, json_get_int(by_reason, reason, 0) + n);
		oldest = oldest == 0 || first < oldest ? first : oldest;
		newest = last > newest ? last : newest;
	}
	o = json_pack("{s:I, s:O, s:O}", "total_archived", (json_int_t)total, "by_tier", by_tier, "by_reason",
		      by_reason);
	json_put_time(o, "oldest", oldest);
	json_put_time(o, "newest", newest);
	http_reply_json(req, 200, o);
}

/* ---- usage by day ---- */

/* What was made and what came of it, per tier, in the last days. */
CO_FN static void tiers_analytics(struct http_request *req)
{
	int64_t days = http_query_int(req, "days", 1, 365, 30), since = clock_wall_ms() - days * TIERS_DAY_MS;
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	enum continuum_tier only = CONTINUUM_FAST;
	struct db_rows r;
	json_t *tiers;
	size_t i;

	if (!memory_on(req))
		return;
	if (req->params[0].n > 0 && !continuum_tier_find(req->params[0], &only))
		error_field(&err, ERR_NOT_FOUND, "tier", "no such tier: fast, medium, slow or glacial");
	else if (db_query(
		     w->db, req->arena,
		     "SELECT tier, COUNT(*), SUM(updates), SUM(successes), SUM(failures) FROM continuum_memory"
		     " WHERE workspace_id = $1 AND archived_at = 0 AND updated_at >= $2 GROUP BY tier ORDER BY tier",
		     DB_ARGS(DB_S(req->ctx.workspace_id), DB_I(since)), &r, &err)) {
		tiers = json_object();
		for (i = 0; i < r.count; i++) {
			int64_t ok = db_int(&r, i, 3), bad = db_int(&r, i, 4);

			if (req->params[0].n > 0 && db_int(&r, i, 0) != (int64_t)only)
				continue;
			json_object_set_new(tiers, continuum_rules[db_int(&r, i, 0) & 3].name,
					    json_pack("{s:I, s:I, s:I, s:I, s:f}", "active",
						      (json_int_t)db_int(&r, i, 1), "updates",
						      (json_int_t)db_int(&r, i, 2), "successes", (json_int_t)ok,
						      "failures", (json_int_t)bad, "success_rate",
						      ok + bad > 0 ? (double)ok / (double)(ok + bad) : 0.0));
		}
		http_reply_json(req, 200, json_pack("{s:I, s:o}", "days", (json_int_t)days, "tiers", tiers));
		return;
	}
	http_reply_error(req, &err);
}

/* ---- upkeep ---- */

CO_FN static void tiers_consolidate(struct http_request *req)
{
	int64_t start = clock_mono_us();
	struct error err = ERROR_INIT;
	struct continuum_moves m;

	if (!memory_on(req))
		return;
	if (!continuum_consolidate(req->user, &req->ctx, &m, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:b, s:I, s:I, s:I, s:I, s:f}", "success", 1, "entries_processed",
				  (json_int_t)m.processed, "entries_promoted", (json_int_t)m.promotions,
				  "entries_consolidated", (json_int_t)m.demotions, "entries_demoted",
				  (json_int_t)m.demotions, "duration_seconds",
				  (double)(clock_mono_us() - start) / 1e6));
}

static json_t *tiers_removed(const int64_t *counts, const int64_t *cutoff_ms, unsigned tiers, bool archive)
{
	json_t *by_tier = json_object();
	int64_t sum = 0;
	size_t t;

	for (t = 0; t < CONTINUUM_TIERS; t++) {
		json_t *o;

		if ((tiers >> t & 1U) == 0)
			continue;
		o = json_pack("{s:I, s:I}", "archived", (json_int_t)(archive ? counts[t] : 0), "deleted",
			      (json_int_t)(archive ? 0 : counts[t]));
		if (cutoff_ms != NULL)
			json_object_set_new(o, "cutoff_hours", json_real((double)cutoff_ms[t] / (double)TIERS_HOUR_MS));
		json_object_set_new(by_tier, continuum_rules[t].name, o);
		sum += counts[t];
	}
	return json_pack("{s:I, s:I, s:o}", "archived", (json_int_t)(archive ? sum : 0), "deleted",
			 (json_int_t)(archive ? 0 : sum), "by_tier", by_tier);
}

CO_FN static void tiers_cleanup(struct http_request *req)
{
	int64_t start = clock_mono_us(), hours = http_query_int(req, "max_age_hours", 0, TIERS_MAX_AGE_HOURS, 0);
	struct str name = http_query(req, "tier");
	unsigned tiers = CONTINUUM_ALL_TIERS;
	struct error err = ERROR_INIT;
	struct continuum_cleaned c;
	enum continuum_tier t;
	bool archive;

	if (!memory_on(req))
		return;
	if (!str_to_bool(http_query(req, "archive"), &archive))
		archive = true;
	if (name.n > 0 && !continuum_tier_find(name, &t)) {
		error_field(&err, ERR_INVALID_VALUE, "tier", "must be fast, medium, slow or glacial");
		http_reply_error(req, &err);
		return;
	}
	if (name.n > 0)
		tiers = 1U << t;
	if (!continuum_clean(req->user, &req->ctx, tiers, archive, hours * TIERS_HOUR_MS, &c, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:b, s:o, s:o, s:f}", "success", 1, "expired",
				  tiers_removed(c.expired, c.cutoff_ms, tiers, archive), "tier_limits",
				  tiers_removed(c.evicted, NULL, tiers, archive), "duration_seconds",
				  (double)(clock_mono_us() - start) / 1e6));
}

CO_FN static void tiers_prune(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	int64_t forgotten, demoted;
	bool dry_run;

	if (body == NULL || !memory_on(req))
		return;
	dry_run = json_get_bool(body, "dry_run", false);
	if (continuum_prune(req->user, &req->ctx, dry_run, &forgotten, &demoted, &err))
		http_reply_json(req, 200,
				json_pack("{s:b, s:b, s:I, s:I}", "success", 1, "dry_run", (int)dry_run, "pruned",
					  (json_int_t)forgotten, "demoted", (json_int_t)demoted));
	else
		http_reply_error(req, &err);
}

CO_FN static void tiers_reindex(struct http_request *req)
{
	int64_t start = clock_mono_us(), n;
	struct error err = ERROR_INIT;

	if (!memory_on(req))
		return;
	if (continuum_reindex(req->user, &req->ctx, &n, &err))
		http_reply_json(req, 200,
				json_pack("{s:b, s:I, s:f}", "success", 1, "entries_indexed", (json_int_t)n,
					  "duration_seconds", (double)(clock_mono_us() - start) / 1e6));
	else
		http_reply_error(req, &err);
}

/* The archive of the workspace, or what has been in it for `older_than_days`. */
CO_FN static void tiers_vacuum(struct http_request *req)
{
	int64_t start = clock_mono_us(), days = http_query_int(req, "older_than_days", 0, 36500, 0), n;
	struct error err = ERROR_INIT;

	if (!memory_on(req))
		return;
	if (continuum_vacuum(req->user, &req->ctx, clock_wall_ms() - days * TIERS_DAY_MS, &n, &err))
		http_reply_json(req, 200,
				json_pack("{s:b, s:I, s:f}", "success", 1, "removed", (json_int_t)n, "duration_seconds",
					  (double)(clock_mono_us() - start) / 1e6));
	else
		http_reply_error(req, &err);
}

/* Calls of the client library without a counterpart here: said, not pretended. */
static void tiers_not_here(struct http_request *req)
{
	struct error err = ERROR_INIT;

	error_set(&err, ERR_NOT_IMPLEMENTED,
		  "this operation does not exist here: memory is one store, which is exported, imported and moved "
		  "entry by entry");
	http_reply_error(req, &err);
}

#define TIERS_ABSENT(m, p)                                                                            \
	{                                                                                             \
		.method = (m), .path = (p), .handler = tiers_not_here, .permission = "memory:manage", \
		.rate = RATE_READ, .flags = ROUTE_INLINE, .summary = "Not offered: answers 501"       \
	}

static const struct route tiers_rows[] = {
    MEMORY_READ("/api/memory/tier-stats", tiers_stats, "Entries and averages by tier"),
    MEMORY_READ("/api/memory/stats", tiers_stats, "Entries and averages by tier"),
    MEMORY_READ("/api/memory/tiers", tiers_list, "The tiers and how full they are"),
    MEMORY_READ("/api/memory/tier/{tier}", tiers_one, "One tier"),
    MEMORY_READ("/api/memory/archive-stats", tiers_archive, "What is in the archive"),
    MEMORY_READ("/api/memory/pressure", tiers_pressure, "How near memory is to its limits"),
    MEMORY_READ("/api/memory/analytics", tiers_analytics, "Use of memory in the last days"),
    MEMORY_READ("/api/memory/analytics/tier/{tier}", tiers_analytics, "Use of one tier in the last days"),
    MEMORY_MANAGE("/api/memory/continuum/consolidate", tiers_consolidate, "Move entries between tiers now"),
    MEMORY_MANAGE("/api/memory/continuum/cleanup", tiers_cleanup, "Remove expired and surplus entries now"),
    MEMORY_MANAGE("/api/memory/prune", tiers_prune, "Archive what is old, unused and unsurprising"),
    MEMORY_MANAGE("/api/memory/rebuild-index", tiers_reindex,
		  "Index all entries anew, and have their vectors made anew"),
    ROUTE(POST, "/api/memory/vacuum", tiers_vacuum, "memory:delete", WRITE, "Remove for good what is in the archive"),
    TIERS_ABSENT(HTTP_POST, "/api/memory/compact"),
    TIERS_ABSENT(HTTP_POST, "/api/memory/analytics/snapshot"),
    TIERS_ABSENT(HTTP_POST, "/api/memory/sync"),
    TIERS_ABSENT(HTTP_GET, "/api/memory/coordinator/metrics"),
    TIERS_ABSENT(HTTP_GET, "/api/memory/coordinator/config"),
    TIERS_ABSENT(HTTP_POST, "/api/memory/cross-debate/inject"),
    TIERS_ABSENT(HTTP_GET, "/api/memory/snapshots"),
    TIERS_ABSENT(HTTP_POST, "/api/memory/snapshots"),
    TIERS_ABSENT(HTTP_GET, "/api/memory/snapshots/{id}"),
    TIERS_ABSENT(HTTP_DELETE, "/api/memory/snapshots/{id}"),
    TIERS_ABSENT(HTTP_POST, "/api/memory/snapshots/{id}/restore"),
};

const struct route_table memory_tier_routes = {tiers_rows, countof(tiers_rows)};
