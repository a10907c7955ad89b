/* SPDX-License-Identifier: MIT */
/*
 * The schedulers of retention as operators see them (seed 002, "Decision Receipt Retention"): status with the numbers
 * of a dry run, and a run by hand. The work is done by the job, wherever its row is claimed.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/http/route.h"
#include "worker/retention/retention.h"
#include "worker/worker.h"

#define API_RUN_US (50 * SEC_US) /* below server.request_timeout */

static struct worker *api_worker(const struct http_request *req)
{
	return req->user;
}

static const struct job *api_job(const struct http_request *req)
{
	return strstr(req->route->path, retention_receipts_job.name) != NULL ? &retention_receipts_job : &retention_job;
}

static json_t *api_last(struct http_request *req, const struct job_state *s)
{
	struct error err = ERROR_INIT;
	json_t *last = s->last_result.n > 0 ? json_parse(req->arena, s->last_result, &err) : NULL;

	return last != NULL ? json_incref(last) : json_null();
}

static json_t *api_status_of(struct http_request *req, const struct job *job, const struct job_state *s)
{
	const struct conf *c = api_worker(req)->conf;
	double rate = s->runs > 0 ? (double)(s->runs - s->failures) / (double)s->runs : 1.0;
	json_t *o = json_pack("{s:b, s:b, s:f}", "running", 1, "in_progress", (int)s->running, "interval_hours",
			      (double)job->interval_ms(c) / 3600000.0);
	const char *total = job == &retention_receipts_job ? "total_receipts_deleted" : "total_deleted";

	if (job == &retention_receipts_job) {
		json_put_int(o, "interval_hours", c->retention.receipt_interval_hours);
		json_put_int(o, "retention_days", c->retention.receipt_days);
	}
	json_object_set_new(o, "stats",
			    json_pack("{s:I, s:I, s:I, s:f}", "total_runs", (json_int_t)s->runs, total,
				      (json_int_t)s->total, "failures", (json_int_t)s->failures, "success_rate", rate));
	json_put_time(o, "last_run", s->ended_ms);
	json_put_time(o, "next_run", s->next_ms);
	json_object_set_new(o, "last_result", api_last(req, s));
	return o;
}

CO_FN static void api_status(struct http_request *req)
{
	const struct job *job = api_job(req);
	struct error err = ERROR_INIT;
	struct job_state state;
	json_t *due, *o;

	if (!jobs_state(api_worker(req), req->arena, job->name, &state, &err) ||
	    (due = retention_due(api_worker(req), job, &err)) == NULL) {
		http_reply_error(req, &err);
		return;
	}
	o = api_status_of(req, job, &state);
	json_object_set_new(o, "due_now", due);
	http_reply_json(req, 200, o);
}

CO_FN static void api_cleanup(struct http_request *req)
{
	const struct job *job = api_job(req);
	struct error err = ERROR_INIT;
	struct job_state state;
	bool dry = false;
	json_t *o;

	if (str_to_bool(http_query(req, "dry_run"), &dry) && dry) {
		o = retention_due(api_worker(req), job, &err);
		if (o == NULL)
			http_reply_error(req, &err);
		else
			http_reply_json(req, 200, json_pack("{s:b, s:o}", "dry_run", 1, "due_now", o));
		return;
	}
	if (!jobs_run_now(api_worker(req), req->arena, job->name, API_RUN_US, &state, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200, api_last(req, &state));
}

#define ROW(m, p, h, perm, r, s) ROUTE(m, "/api/admin/schedulers/" p, h, "scheduler:" perm, r, s)

static const struct route retention_rows[] = {
    ROW(GET, "receipt-retention/status", api_status, "read", READ,
	"How the retention of receipts stands, and what is due"),
    ROW(POST, "receipt-retention/cleanup", api_cleanup, "execute", WRITE,
	"Remove expired receipts now (?dry_run=true: only count)"),
    ROW(GET, "retention/status", api_status, "read", READ, "How the retention of other rows stands, and what is due"),
    ROW(POST, "retention/cleanup", api_cleanup, "execute", WRITE,
	"Remove expired rows now (?dry_run=true: only count)"),
};
const struct route_table retention_routes = {retention_rows, countof(retention_rows)};
