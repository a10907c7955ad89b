/* SPDX-License-Identifier: MIT */
/*
 * Figures for admins and SDKs (rest-core 8.1, 8.3; seed 004, 7.4 reads active_debates): users, organizations, debates,
 * what this server is, and how callers are limited. Reads tables of other areas and changes nothing.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/agents/agent.h"
#include "worker/identity/identity.h"
#include "worker/system/maintenance.h"
#include "worker/system/system.h"
#include "worker/worker.h"

#define DAY_MS (86400 * INT64_C(1000))

/* $1 a day ago, $2 a week ago */
static const char stats_users_sql[] = SQL_ANYBODY(
    "figures of the service, for its operator") "SELECT COUNT(*), COALESCE(SUM(CASE WHEN is_active = 1 THEN 1 ELSE 0 "
						"END), 0),"
						" COALESCE(SUM(CASE WHEN last_login_at >= $1 THEN 1 ELSE 0 END), 0),"
						" COALESCE(SUM(CASE WHEN created_at >= $2 THEN 1 ELSE 0 END), 0) FROM "
						"users";

/* $1 a week ago */
static const char stats_orgs_sql[] =
    SQL_ANYBODY("figures of the service, for its operator") "SELECT tier, COUNT(*), COALESCE(SUM(CASE WHEN created_at "
							    ">= $1 THEN 1 ELSE 0 END), 0) FROM organizations"
							    " GROUP BY tier ORDER BY tier";

/* $1 begin of the day, $2 a week ago, $3 begin of the month */
static const char stats_debates_sql[] = SQL_ANYBODY(
    "figures of the service, for its operator") "SELECT COUNT(*), COALESCE(SUM(CASE WHEN created_at >= $1 THEN 1 ELSE "
						"0 END), 0),"
						" COALESCE(SUM(CASE WHEN created_at >= $2 THEN 1 ELSE 0 END), 0),"
						" COALESCE(SUM(CASE WHEN created_at >= $3 THEN 1 ELSE 0 END), 0),"
						" COALESCE(SUM(CASE WHEN status IN ('queued', 'running') THEN 1 ELSE 0 "
						"END), 0),"
						" COALESCE(SUM(CASE WHEN status = 'running' THEN 1 ELSE 0 END), 0),"
						" COALESCE(SUM(CASE WHEN completed_at IS NOT NULL THEN 1 ELSE 0 END), "
						"0),"
						" COALESCE(SUM(consensus_reached), 0), COALESCE(SUM(running_ms), 0), "
						"COALESCE(SUM(cost_micro), 0) FROM debates";

struct stats_debates {
	int64_t total, today, week, month, open, running, ended, consensus, running_ms, cost_micro;
};

static int64_t stats_month_begin(int64_t now_ms)
{
	time_t t = (time_t)(now_ms / 1000);
	struct tm tm;

	gmtime_r(&t, &tm);
	tm.tm_mday = 1;
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	return (int64_t)timegm(&tm) * 1000;
}

CO_FN static bool stats_read_debates(struct http_request *req, int64_t now, struct stats_debates *out,
				     struct error *err)
{
	struct worker *w = req->user;
	struct db_rows r;

	if (!db_query(w->db, req->arena, stats_debates_sql,
		      DB_ARGS(DB_I(now - now % DAY_MS), DB_I(now - 7 * DAY_MS), DB_I(stats_month_begin(now))), &r, err))
		return false;
	*out = (struct stats_debates){.total = db_int(&r, 0, 0),
				      .today = db_int(&r, 0, 1),
				      .week = db_int(&r, 0, 2),
				      .month = db_int(&r, 0, 3),
				      .open = db_int(&r, 0, 4),
				      .running = db_int(&r, 0, 5),
				      .ended = db_int(&r, 0, 6),
				      .consensus = db_int(&r, 0, 7),
				      .running_ms = db_int(&r, 0, 8),
				      .cost_micro = db_int(&r, 0, 9)};
	return true;
}

CO_FN static bool stats_read_users(struct http_request *req, int64_t now, json_t *doc, struct error *err)
{
	struct worker *w = req->user;
	int64_t orgs = 0, fresh = 0;
	struct db_rows u, o;
	json_t *tiers;
	size_t i;

	if (!db_query(w->db, req->arena, stats_users_sql, DB_ARGS(DB_I(now - DAY_MS), DB_I(now - 7 * DAY_MS)), &u,
		      err) ||
	    !db_query(w->db, req->arena, stats_orgs_sql, DB_ARGS(DB_I(now - 7 * DAY_MS)), &o, err))
		return false;
	tiers = json_object();
	for (i = 0; i < o.count; i++) {
		json_put_int(tiers, arena_printf(req->arena, "%.*s", STR_ARG(db_str(&o, i, 0))).p, db_int(&o, i, 1));
		orgs += db_int(&o, i, 1);
		fresh += db_int(&o, i, 2);
	}
	json_put_int(doc, "total_users", db_int(&u, 0, 0));
	json_put_int(doc, "active_users", db_int(&u, 0, 1));
	json_put_int(doc, "users_active_24h", db_int(&u, 0, 2));
	json_put_int(doc, "active_users_24h", db_int(&u, 0, 2));
	json_put_int(doc, "new_users_7d", db_int(&u, 0, 3));
	json_put_int(doc, "total_organizations", orgs);
	json_put_int(doc, "new_orgs_7d", fresh);
	json_object_set_new(doc, "tier_distribution", tiers);
	return true;
}

bool system_for_operator(struct http_request *req)
{
	struct error err = ERROR_INIT;

	if (identity_operates(req->ctx.who))
		return true;
	error_set(&err, ERR_FORBIDDEN, "this concerns all tenants: only the operator of the server may do it");
	http_reply_error(req, &err);
	return false;
}

/* The figures twice: flat, and under "stats", as clients of two makes read them. */
CO_FN static void stats_admin(struct http_request *req)
{
	json_t *stats = json_own(req->arena, json_object()), *doc;
	int64_t now = clock_wall_ms();
	struct stats_debates d;
	struct error err = ERROR_INIT;

	if (!system_for_operator(req))
		return;
	if (!stats_read_debates(req, now, &d, &err) || !stats_read_users(req, now, stats, &err)) {
		http_reply_error(req, &err);
		return;
	}
	json_put_int(stats, "total_debates", d.total);
	json_put_int(stats, "debates_today", d.today);
	json_put_int(stats, "total_debates_this_month", d.month);
	json_put_int(stats, "active_debates", d.running);
	json_put_int(stats, "queued_debates", d.open - d.running);
	json_object_set_new(stats, "cost_usd_total", json_real((double)d.cost_micro / 1e6));
	doc = json_deep_copy(stats);
	json_object_set(doc, "stats", stats);
	json_object_set_new(doc, "maintenance", json_boolean(maintenance_since_ms(req->user) != 0));
	http_reply_json(req, 200, doc);
}

/* What Prometheus does not count per tenant is of the whole service: only admins see it. */
CO_FN static void stats_system(struct http_request *req)
{
	int64_t now = clock_wall_ms(), agents = 0;
	struct stats_debates d;
	struct error err = ERROR_INIT;

	if (!system_for_operator(req))
		return;
	if (!stats_read_debates(req, now, &d, &err)) {
		http_reply_error(req, &err);
		return;
	}
	while (agents_known()[agents] != NULL)
		agents++;
	http_reply_json(req, 200,
			json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:i, s:f}", "total_debates", (json_int_t)d.total,
				  "total_agents", (json_int_t)agents, "active_debates", (json_int_t)d.running,
				  "debates_today", (json_int_t)d.today, "debates_this_week", (json_int_t)d.week,
				  "avg_debate_duration_seconds",
				  d.ended > 0 ? (double)d.running_ms / 1000.0 / (double)d.ended : 0.0, "memory_entries",
				  0, "consensus_rate", d.ended > 0 ? (double)d.consensus / (double)d.ended : 0.0));
}

static void stats_info(struct http_request *req)
{
	const struct worker *w = req->user;
	int64_t up = clock_wall_ms() - atomic_load(&w->shm->started_ms);

	http_reply_json(req, 200,
			json_pack("{s:s, s:s, s:s, s:f, s:s, s:b}", "name", "aragorad", "version", ARAGORA_VERSION,
				  "environment", w->conf->server.env == CONF_PRODUCTION ? "production" : "development",
				  "uptime_seconds", (double)up / 1000.0, "node_id", w->shm->node_id, "maintenance",
				  (int)(maintenance_since_ms(w) != 0)));
}

static void stats_auth(struct http_request *req)
{
	const struct conf *c = ((const struct worker *)req->user)->conf;

	if (!system_for_operator(req))
		return;
	http_reply_json(req, 200,
			json_pack("{s:b, s:I, s:I, s:{s:I, s:I, s:I}}", "enabled", (int)conf_auth_required(c),
				  "rate_limit_per_minute", (json_int_t)c->rate_limit.per_token,
				  "ip_rate_limit_per_minute", (json_int_t)c->rate_limit.per_address, "stats",
				  "auth_failures", (json_int_t)metric_total(M_AUTH_FAILURES), "requests_allowed",
				  (json_int_t)metric_total_of(M_RATE_DECISIONS, 0, "allowed"), "requests_refused",
				  (json_int_t)metric_total_of(M_RATE_DECISIONS, 0, "refused")));
}

#define ROW(p, h, perm, f, s) ROUTE(GET, p, h, perm, READ, s, .flags = (f))

static const struct route stats_rows[] = {
    ROW("/api/admin/stats", stats_admin, "admin.view_metrics", 0, "Users, organizations and debates of the service"),
    ROW("/api/system/stats", stats_system, "admin.view_metrics", 0, "Debates of the service"),
    ROW("/api/system/info", stats_info, "system.read", ROUTE_INLINE, "Version, environment and uptime"),
    ROW("/api/auth/stats", stats_auth, "admin.view_metrics", ROUTE_INLINE, "Limits and refusals of callers"),
};
const struct route_table stats_routes = {stats_rows, countof(stats_rows)};
