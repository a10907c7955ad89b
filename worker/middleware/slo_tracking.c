/* SPDX-License-Identifier: MIT */
/*
 * Measures each request against the objective of its kind (slo.*): it must not fail, and be answered in time. Streams,
 * sockets and files have none. What the counts say is slo_report; alerts are made from the metric.
 */
#include "worker/middleware/slo.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/middleware/pipeline.h"

#define SLO_LOG_EVERY (60 * SEC_US) /* lines about one kind */
#define SLO_MILLION 1e6

static const char *const slo_names[SLO_CLASSES] = {"probe", "read", "write", "create", "export"};
static const char *const slo_outcomes[] = {"good", "slow", "failed"};
enum slo_outcome { SLO_GOOD, SLO_SLOW, SLO_FAILED };

/* The series of this process, looked up once, and when a kind was last written about. */
static struct {
	bool ready;
	size_t series[SLO_CLASSES][countof(slo_outcomes)];
	int64_t said_us[SLO_CLASSES];
} slo_state;

enum slo_class slo_class(const struct route *r)
{
	static const enum slo_class by_rate[] = {[RATE_NONE] = SLO_READ,
						 [RATE_READ] = SLO_READ,
						 [RATE_WRITE] = SLO_WRITE,
						 [RATE_CREATE] = SLO_CREATE,
						 [RATE_EXPORT] = SLO_EXPORT};

	return (r->flags & ROUTE_PUBLIC) && r->rate == RATE_NONE ? SLO_PROBE : by_rate[r->rate];
}

static int64_t slo_limit(const struct conf *c, enum slo_class class)
{
	const int64_t limits[SLO_CLASSES] = {c->slo.probe, c->slo.read, c->slo.write, c->slo.create, c->slo.export};

	return limits[class];
}

static void slo_look_up(void)
{
	size_t i, k;

	for (i = 0; i < SLO_CLASSES; i++)
		for (k = 0; k < countof(slo_outcomes); k++)
			slo_state.series[i][k] = metric_series(M_SLO, slo_names[i], slo_outcomes[k], NULL);
	slo_state.ready = true;
}

static bool slo_applies(const struct route *r, const struct conf *c)
{
	(void)c;
	return !(r->flags & (ROUTE_WS | ROUTE_STREAM | ROUTE_FILES));
}

static void slo_after(struct http_request *req)
{
	enum slo_class class = slo_class(req->route);
	int64_t took = req->end_us - req->start_us, limit = slo_limit(middleware_conf(req), class);
	enum slo_outcome outcome = req->status >= 500 ? SLO_FAILED : took > limit ? SLO_SLOW : SLO_GOOD;

	if (!slo_state.ready)
		slo_look_up();
	metric_series_add(slo_state.series[class][outcome], 1);
	if (outcome == SLO_GOOD ||
	    (slo_state.said_us[class] > 0 && req->end_us - slo_state.said_us[class] < SLO_LOG_EVERY))
		return;
	slo_state.said_us[class] = req->end_us;
	log_warn("slo", "slo_violation", KV_S("class", slo_names[class]), KV_S("outcome", slo_outcomes[outcome]),
		 KV_S("route", req->route->path), KV_I("status", req->status), KV_I("ms", took / 1000),
		 KV_I("limit_ms", limit / 1000), KV_STR("request_id", req->request_id));
}

const struct middleware middleware_slo_tracking = {.name = "slo_tracking", .applies = slo_applies, .after = slo_after};

/* ---- the report ---- */

/* What is met of an objective in ppm; how much of what it allows to go wrong is used up: 1 is all. */
static json_t *slo_measure(int64_t total, int64_t bad, int64_t objective)
{
	double allowed = (double)total * (SLO_MILLION - (double)objective) / SLO_MILLION;
	double share = total > 0 ? (double)(total - bad) / (double)total : 1;
	json_t *o = json_pack("{s:f, s:f, s:b}", "objective", (double)objective / SLO_MILLION, "actual", share, "met",
			      (int)(share * SLO_MILLION >= (double)objective));

	json_object_set_new(o, "budget_used", allowed > 0 ? json_real((double)bad / allowed) : json_null());
	return o;
}

json_t *slo_report(const struct conf *c)
{
	json_t *classes = json_array();
	bool met = true;
	size_t i;

	if (!slo_state.ready)
		slo_look_up();
	for (i = 0; i < SLO_CLASSES; i++) {
		int64_t good = metric_series_total(slo_state.series[i][SLO_GOOD]);
		int64_t slow = metric_series_total(slo_state.series[i][SLO_SLOW]);
		int64_t failed = metric_series_total(slo_state.series[i][SLO_FAILED]), total = good + slow + failed;
		json_t *available = slo_measure(total, failed, c->slo.availability);
		json_t *fast = slo_measure(good + slow, slow, c->slo.latency);

		met &= json_get_bool(available, "met", true) && json_get_bool(fast, "met", true);
		json_object_set_new(fast, "limit_ms", json_integer(slo_limit(c, (enum slo_class)i) / 1000));
		json_array_append_new(classes,
				      json_pack("{s:s, s:I, s:I, s:I, s:o, s:o}", "class", slo_names[i], "total",
						(json_int_t)total, "failed", (json_int_t)failed, "slow",
						(json_int_t)slow, "availability", available, "latency", fast));
	}
	return json_pack("{s:b, s:s, s:o}", "met", (int)met, "scope", "node, since its counters began", "classes",
			 classes);
}
