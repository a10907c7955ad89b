/* SPDX-License-Identifier: MIT */
/*
 * Counts finished requests and their durations. Streams and sockets count when they begin.
 */
#include "common/metrics.h"

#include "common/clock.h"
#include "worker/middleware/pipeline.h"

/* The series of the last request of this process: the next one is mostly of the same kind. */
static struct {
	const char *method;
	int status;
	size_t requests, duration;
} metrics_last;

static void metrics_look_up(const char *method, int status)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", status);
	metrics_last.method = method;
	metrics_last.status = status;
	metrics_last.requests = metric_series(M_HTTP_REQUESTS, method, text, NULL);
	metrics_last.duration = metric_series(M_HTTP_DURATION, method, NULL);
}

static void metrics_after(struct http_request *req)
{
	const char *method = req->head ? "HEAD" : http_method_name(req->method);

	if (method != metrics_last.method || req->status != metrics_last.status)
		metrics_look_up(method, req->status);
	metric_series_add(metrics_last.requests, 1);
	metric_series_observe(M_HTTP_DURATION, metrics_last.duration,
			      (double)(req->end_us - req->start_us) / (double)SEC_US);
}

const struct middleware middleware_metrics = {.name = "metrics", .after = metrics_after};
