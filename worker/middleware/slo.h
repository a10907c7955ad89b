/* SPDX-License-Identifier: MIT */
/*
 * Objectives of the service by kind of route, and how well they are met.
 */
#ifndef WORKER_MIDDLEWARE_SLO_H
#define WORKER_MIDDLEWARE_SLO_H

#include "worker/http/route.h"

/* Labels of aragora_slo_requests_total, in this order. */
enum slo_class { SLO_PROBE, SLO_READ, SLO_WRITE, SLO_CREATE, SLO_EXPORT, SLO_CLASSES };

/* Public routes without a rate class are probes, others go by their rate class. */
enum slo_class slo_class(const struct route *r);
/*
 * {met, classes: [{class, total, failed, slow, availability {objective, actual, met, budget_used}, latency {…,
 * limit_ms}}]} of this node, all workers, since the counters began. A new reference.
 */
json_t *slo_report(const struct conf *c);

#endif
