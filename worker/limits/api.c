/* SPDX-License-Identifier: MIT */
/*
 * GET /api/system/rate-limits: every limit with what is left of it for one client, address and user, by default the one
 * who asks; and how the limiter fares on this node. Looks only: nothing is taken from a bucket.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/identity/identity.h"
#include "worker/limits/limits_internal.h"
#include "worker/system/system.h"
#include "worker/worker.h"

/* Whose buckets are shown. */
struct limits_view {
	struct limits *l;
	struct http_addr addr;
	struct str user, org, token;
	int64_t now, wall_ms;
};

/* Who is counted by a row; empty: nobody of those asked for. */
static struct str limits_view_key(const struct limits_view *v, const struct limit *m)
{
	struct str address = {(const char *)v->addr.b, sizeof(v->addr.b)};

	if ((m->row->flags & LIMIT_BY_ADDRESS) != 0 || m - v->l->v == v->l->everybody)
		return address;
	switch (m->row->kind) {
	case LIMIT_TENANT:
		return v->org;
	case LIMIT_TOKEN:
		return v->token;
	case LIMIT_ADDRESS:
	case LIMIT_USER:
	case LIMIT_ACTION:
	case LIMIT_ENDPOINT:
	case LIMIT_TIER:
		return v->user.n > 0 ? v->user : address;
	case LIMIT_KINDS:
		break;
	}
	return STR_NONE;
}

static json_t *limits_view_row(const struct limits_view *v, const struct limit *m)
{
	const char *dot = strchr(m->row->name, '.');
	struct limits_who who = {.key = limits_view_key(v, m)};
	struct ratelimit_state s = {.remaining = m->burst};
	char iso[CLOCK_ISO_MAX];

	if (who.key.n > 0 && m->rule.step != 0)
		ratelimit_look(v->l->table, limits_key(v->l, m, &who), &m->rule, v->now, &s);
	return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:b}", "endpoint",
			 dot != NULL ? dot + 1 : m->row->name, "name", m->row->name, "type",
			 limits_kind_name(m->row->kind), "limit", (json_int_t)m->rate, "burst", (json_int_t)m->burst,
			 "period_seconds", (json_int_t)(LIMITS_PERIOD / SEC_US), "remaining",
			 (json_int_t)(m->rule.step != 0 ? s.remaining : 0), "reset_at",
			 clock_iso(iso, v->wall_ms + s.full_us / MS_US), "unlimited", (int)(m->rule.step == 0));
}

static json_t *limits_view_rejections(void)
{
	json_t *o = json_object();
	unsigned k;

	for (k = 0; k < LIMIT_KINDS; k++)
		json_put_int(o, limits_kind_name((enum limit_kind)k),
			     (int64_t)metric_total_of(M_RATE_REJECTIONS, 0, limits_kind_name((enum limit_kind)k)));
	return o;
}

static json_t *limits_view_doc(const struct limits_view *v, const char *client)
{
	const struct conf *c = v->l->w->conf;
	json_t *list = json_array();
	char iso[CLOCK_ISO_MAX];
	size_t i;

	for (i = 0; i < limit_row_count; i++)
		if (limit_rows[i].kind != LIMIT_TIER || c->rate_limit.tiers)
			json_array_append_new(list, limits_view_row(v, &v->l->v[i]));
	return json_pack("{s:b, s:s, s:s, s:s, s:b, s:o, s:{s:I, s:I, s:I}, s:{s:I, s:I}, s:o, s:s}", "enabled",
			 c->rate_limit.enabled, "backend", limits_cluster_backend(v->l->cluster), "circuit_breaker",
			 v->l->cluster != NULL ? limits_cluster_breaker(v->l->cluster) : "closed", "client", client,
			 "exempt", (int)http_cidrs_match(&v->l->exempt, &v->addr), "limits", list, "buckets", "used",
			 (json_int_t)ratelimit_used(v->l->table, v->now), "size",
			 (json_int_t)(RATELIMIT_SETS * RATELIMIT_WAYS), "evicted",
			 (json_int_t)atomic_load(&v->l->table->evicted), "decisions", "allowed",
			 (json_int_t)metric_total_of(M_RATE_DECISIONS, 0, "allowed"), "refused",
			 (json_int_t)metric_total_of(M_RATE_DECISIONS, 0, "refused"), "rejections",
			 limits_view_rejections(), "timestamp", clock_iso(iso, v->wall_ms));
}

static void limits_view_show(struct http_request *req)
{
	struct worker *w = req->user;
	struct str client = http_query(req, "client"), user = http_query(req, "user_id"),
		   org = http_query(req, "org_id");
	struct limits_view v = {.l = w->limits, .now = loop_now(w->loop), .wall_ms = clock_wall_ms()};
	struct error err = ERROR_INIT;
	char text[HTTP_ADDR_TEXT];

	if (!system_for_operator(req))
		return;
	if (!http_addr_parse(client.n > 0 ? client : req->client, &v.addr)) {
		if (client.n > 0)
			error_field(&err, ERR_INVALID_VALUE, "client", "must be an IP address");
		memset(v.addr.b, 0, sizeof(v.addr.b));
	}
	if (err.code != ERR_OK) {
		http_reply_error(req, &err);
		return;
	}
	v.addr = limits_net(v.addr);
	if (client.n == 0 && user.n == 0 && req->ctx.who->kind != IDENTITY_ANONYMOUS) {
		user = req->ctx.who->user_id;
		v.token = limits_credential(req->ctx.who);
	}
	v.user = user;
	v.org = org.n > 0 ? org : req->ctx.who->org_id;
	http_addr_text(&v.addr, text);
	http_reply_json(req, 200, limits_view_doc(&v, text));
}

static const struct route limits_rows_table[] = {
    ROUTE(GET, "/api/system/rate-limits", limits_view_show, "admin.system", READ,
	  "Rate limits and what is left of them: ?client=ADDRESS&user_id=&org_id=, else for the caller",
	  .flags = ROUTE_INLINE),
};
const struct route_table limits_routes = {limits_rows_table, countof(limits_rows_table)};
