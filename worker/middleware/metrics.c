/* SPDX-License-Identifier: MIT */
/*
 * Counts finished requests and their durations. Streams and sockets count when they begin.
 */
#include "common/metrics.h"

#include "common/clock.h"
#include "worker/middleware/pipeline.h"

static void metrics_after(struct http_request *req)
{
	const char *method = req->head ? "HEAD" : http_method_name(req->method);
	double seconds = (double)(req->end_us - req->start_us) / (double)SEC_US;
	char status[16];

	snprintf(status, sizeof(status), "%d", req->status);
	metric_add(M_HTTP_REQUESTS, 1, method, status, NULL);
	metric_observe(M_HTTP_DURATION, seconds, method, NULL);
}

const struct middleware middleware_metrics = {.name = "metrics", .after = metrics_after};
