/* SPDX-License-Identifier: MIT */
/*
 * Rate limits in three steps of the chain: the client's address before anybody is asked who he is (which may cost a
 * password hash), the cluster where a limit on guesses must not be passed by spreading over nodes, and the caller once
 * he is known. What is counted and how is worker/limits/.
 */
#include "common/conf.h"
#include "worker/limits/limits.h"
#include "worker/limits/limits_internal.h"
#include "worker/middleware/pipeline.h"

static bool rate_limit_applies(const struct route *r, const struct conf *c)
{
	return c->rate_limit.enabled && limits_apply(r);
}

static bool rate_limit_waits(const struct route *r, const struct conf *c)
{
	return rate_limit_applies(r, c) && c->rate_limit.distributed && c->redis.url[0] != '\0' && limits_strict(r);
}

const struct middleware middleware_rate_limit_address = {
    .name = "rate_limit_address", .applies = rate_limit_applies, .before = limits_address};
const struct middleware middleware_rate_limit_cluster = {
    .name = "rate_limit_cluster", .applies = rate_limit_waits, .before = limits_cluster, .waits = true};
const struct middleware middleware_rate_limit = {
    .name = "rate_limit", .applies = rate_limit_applies, .before = limits_caller};
