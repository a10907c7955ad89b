/* SPDX-License-Identifier: MIT */
/*
 * Tiers and quotas. A debate is counted in the transaction that creates it, so that two at once cannot both take the
 * last one, and what was not created was not counted. Called by the creation of debates, by invitations and by the
 * tier_enforcement step. Off unless tenancy.quotas says so.
 */
#include "worker/tenancy/quota.h"

#include <time.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/http/body.h"
#include "worker/tenancy/tenancy.h"

#define QUOTA_MONTH 8
#define QUOTA_NONE 999999 /* rest-core 7: what enterprise has stands for no limit */

static const char *const quota_names[] = {"debates", "users"};

/* security.md 4.4, rest-core 7: per month, and at a time. */
static const struct {
	const char *tier;
	int64_t limits[QUOTA_RESOURCES];
} quota_tiers[] = {
    {"free", {10, 1}}, {"starter", {100, 5}}, {"professional", {1000, 25}}, {"enterprise", {QUOTA_NONE, QUOTA_NONE}}};

/* An unknown tier is the smallest. */
static int64_t quota_tier_limit(struct str tier, enum quota_resource r)
{
	size_t i;

	for (i = 0; i < countof(quota_tiers) && !str_eqz(tier, quota_tiers[i].tier); i++)
		;
	return quota_tiers[i < countof(quota_tiers) ? i : 0].limits[r];
}

const char *quota_tier(size_t i, int64_t limits[QUOTA_RESOURCES])
{
	size_t r;

	if (i >= countof(quota_tiers))
		return NULL;
	for (r = 0; r < QUOTA_RESOURCES; r++)
		limits[r] = quota_tiers[i].limits[r] < QUOTA_NONE ? quota_tiers[i].limits[r] : INT64_MAX;
	return quota_tiers[i].tier;
}

struct str quota_tier_for(double debates)
{
	size_t i;

	for (i = 0; i + 1 < countof(quota_tiers) && debates > (double)quota_tiers[i].limits[QUOTA_DEBATES]; i++)
		;
	return str_of(quota_tiers[i].tier);
}

/* "2026-11", UTC. */
static void quota_month(char out[QUOTA_MONTH], int64_t now_ms)
{
	char iso[CLOCK_ISO_MAX];

	(void)snprintf(out, QUOTA_MONTH, "%.7s", clock_iso(iso, now_ms));
}

CO_FN bool quota_read(struct worker *w, struct arena *a, const struct context *ctx, enum quota_resource resource,
		      struct quota *out, struct error *err)
{
	char month[QUOTA_MONTH];
	struct db_rows r;

	*out = (struct quota){.resource = resource, .tier = STR(""), .limit = INT64_MAX};
	if (!w->conf->tenancy.quotas)
		return true;
	quota_month(month, clock_wall_ms());
	if (!db_query(w->db, a,
		      "SELECT o.tier, COALESCE((SELECT l.max_value FROM quota_limits l WHERE l.org_id = $1 AND"
		      " l.resource = $2), -1), COALESCE((SELECT q.used FROM quotas q WHERE q.org_id = $1 AND"
		      " q.resource = $2 AND q.period = $3), 0), (SELECT COUNT(*) FROM members m WHERE m.org_id = $1) +"
		      " (SELECT COUNT(*) FROM invitations i WHERE i.org_id = $1 AND i.accepted_at IS NULL AND"
		      " i.expires_at > $4) FROM organizations o WHERE o.id = $1",
		      DB_ARGS(DB_S(ctx->org_id), DB_Z(quota_names[resource]), DB_Z(month), DB_I(clock_wall_ms())), &r,
		      err))
		return false;
	if (r.count == 0)
		return error_set(err, ERR_NOT_FOUND, "Organization not found");
	out->tier = db_str(&r, 0, 0);
	out->limit = db_int(&r, 0, 1) >= 0 ? db_int(&r, 0, 1) : quota_tier_limit(out->tier, resource);
	if (out->limit >= QUOTA_NONE)
		out->limit = INT64_MAX;
	out->used = db_int(&r, 0, resource == QUOTA_USERS ? 3 : 2);
	return true;
}

void quota_reply(struct http_request *req, const struct quota *q)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:s}", "error", "quota_exceeded", "code",
			      "QUOTA_EXCEEDED", "resource", quota_names[q->resource], "limit", (json_int_t)q->limit,
			      "used", (json_int_t)q->used, "remaining",
			      (json_int_t)(q->limit > q->used ? q->limit - q->used : 0), "upgrade_url", "/pricing");

	metric_add(M_QUOTA_REFUSED, 1, NULL);
	json_put_str(o, "tier", q->tier);
	json_put_str(o, "message",
		     arena_printf(req->arena, "the organization has used up its %s: %lld of %lld",
				  quota_names[q->resource], (long long)q->used, (long long)q->limit));
	json_put_str(o, "trace_id", req->request_id);
	http_reply_json(req, 402, o);
}

CO_FN bool quota_count_debate(struct worker *w, struct arena *a, const struct context *ctx, struct db_batch *b,
			      int64_t *at, struct error *err)
{
	char month[QUOTA_MONTH];
	struct quota q;

	*at = -1;
	if (!quota_read(w, a, ctx, QUOTA_DEBATES, &q, err))
		return false;
	if (!w->conf->tenancy.quotas)
		return true;
	if (q.limit <= q.used)
		return error_set(err, ERR_QUOTA_EXCEEDED, "the quota of debates is used up");
	quota_month(month, clock_wall_ms());
	*at = (int64_t)db_batch_size(b);
	db_batch_add(b,
		     "INSERT INTO quotas (org_id, resource, period, used, updated_at) VALUES ($1, 'debates', $2, 1, $3)"
		     " ON CONFLICT (org_id, resource, period) DO UPDATE SET used = quotas.used + 1,"
		     " updated_at = excluded.updated_at WHERE quotas.used < $4",
		     DB_ARGS(DB_S(ctx->org_id), DB_Z(month), DB_I(clock_wall_ms()), DB_I(q.limit)), 1);
	return true;
}

/* ---- endpoints ---- */

static int64_t quota_next_month(int64_t now_ms)
{
	time_t t = (time_t)(now_ms / 1000);
	struct tm tm;

	(void)gmtime_r(&t, &tm);
	tm = (struct tm){.tm_year = tm.tm_year, .tm_mon = tm.tm_mon + 1, .tm_mday = 1};
	return (int64_t)timegm(&tm) * 1000;
}

static json_t *quota_json(const struct quota *q)
{
	bool none = q->limit == INT64_MAX;
	double share = none || q->limit == 0 ? 0.0 : 100.0 * (double)q->used / (double)q->limit;
	char iso[CLOCK_ISO_MAX];
	json_t *o = json_object();

	json_object_set_new(o, "limit", none ? json_null() : json_integer(q->limit));
	json_put_int(o, "current", q->used);
	json_object_set_new(o, "remaining",
			    none ? json_null() : json_integer(q->limit > q->used ? q->limit - q->used : 0));
	json_object_set_new(o, "percentage_used", json_real(share));
	json_object_set_new(o, "is_exceeded", json_boolean(!none && q->used >= q->limit));
	json_object_set_new(o, "is_warning", json_boolean(!none && share >= 80.0));
	json_put_str(o, "period", q->resource == QUOTA_USERS ? STR("current") : STR("monthly"));
	json_object_set_new(
	    o, "resets_at",
	    q->resource == QUOTA_USERS ? json_null() : json_string(clock_iso(iso, quota_next_month(clock_wall_ms()))));
	return o;
}

CO_FN static void quota_list(struct http_request *req)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	json_t *quotas = json_own(req->arena, json_object());
	struct quota q;
	unsigned i;

	for (i = 0; i < QUOTA_RESOURCES; i++) {
		if (!quota_read(w, req->arena, &req->ctx, (enum quota_resource)i, &q, &err)) {
			http_reply_error(req, &err);
			return;
		}
		json_object_set_new(quotas, quota_names[i], quota_json(&q));
	}
	http_reply_json(req, 200, json_pack("{s:O, s:b}", "quotas", quotas, "enforced", (int)w->conf->tenancy.quotas));
}

/* {tier?, debates?, users?}; a number of -1 takes the tier's again. */
CO_FN static void quota_set(struct http_request *req)
{
	struct worker *w = req->user;
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	struct body_problems p;
	struct db_batch *b;
	struct str tier;
	size_t i;

	if (body == NULL)
		return;
	if (!identity_operates(req->ctx.who)) {
		tenancy_missing(req, "Organization");
		return;
	}
	body_problems_begin(req, &p);
	tier = body_text(&p, body, "tier", 0, 32, false);
	for (i = 0; i < countof(quota_tiers) && !str_eqz(tier, quota_tiers[i].tier); i++)
		;
	if (tier.n > 0 && i == countof(quota_tiers)) {
		error_field(&err, ERR_INVALID_VALUE, "tier", "must be free, starter, professional or enterprise");
		body_problem(&p, &err);
	}
	if (body_refused(req, &p))
		return;
	b = db_batch_new(w->db);
	db_batch_add(
	    b, "UPDATE organizations SET tier = CASE WHEN $2 = '' THEN tier ELSE $2 END, updated_at = $3 WHERE id = $1",
	    DB_ARGS(DB_S(req->params[0]), DB_S(tier), DB_I(clock_wall_ms())), 1);
	for (i = 0; i < QUOTA_RESOURCES; i++)
		if (json_is_integer(json_object_get(body, quota_names[i])))
			db_batch_add(
			    b,
			    SQL_ANYBODY(
				"the operator sets the limits of others") "INSERT INTO quota_limits (org_id, resource, "
									  "max_value) VALUES ($1, $2, $3)"
									  " ON CONFLICT (org_id, resource) DO UPDATE "
									  "SET max_value = excluded.max_value",
			    DB_ARGS(DB_S(req->params[0]), DB_Z(quota_names[i]),
				    DB_I(json_get_int(body, quota_names[i], -1))),
			    1);
	if (tenancy_commit(req, b,
			   &(struct tenancy_act){.category = "billing",
						 .action = "organization.quota_change",
						 .type = "organization",
						 .id = req->params[0],
						 .details = json_deep_copy(body),
						 .fenced = "Organization"}))
		http_reply_json(req, 200,
				json_pack("{s:b, s:s%}", "success", 1, "id", req->params[0].p, req->params[0].n));
}

static const struct route quota_rows[] = {
    ROUTE(GET, "/api/quotas", quota_list, "organization.read", READ, "What the organization has used of its tier"),
    ROUTE(GET, "/api/billing/quotas", quota_list, "organization.read", READ,
	  "What the organization has used of its tier"),
    ROUTE(PUT, "/api/admin/organizations/{id}/quotas", quota_set, "admin.system", WRITE,
	  "Set the tier of an organization, or limits of its own"),
};
const struct route_table quota_routes = {quota_rows, countof(quota_rows)};
