/* SPDX-License-Identifier: MIT */
/*
 * Client-side rate limits of providers. Called by call.c around each attempt. Decides nothing about retries: who waits
 * too long is told that the limit is reached, as the provider would have done.
 */
#include "worker/agents/throttle.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/agents/registry.h"

#define THROTTLE_KIND 4096 /* of keys in the node's table of buckets: beyond those of worker/limits */
#define MINUTE_US (60 * SEC_US)
#define EPOCH_SECONDS 1000000000.0 /* larger numbers are moments, smaller ones durations */
#define EPOCH_MILLIS 100000000000.0

/* Calls in a minute and at once (debate.md 6.5), of the providers' own services. */
static const struct {
	int64_t rpm, burst;
	const char *host;
} throttle_builtin[PROVIDER_MAX] = {
    [PROVIDER_ANTHROPIC] = {1000, 50, "//api.anthropic.com/"},
    [PROVIDER_OPENAI] = {500, 30, "//api.openai.com/"},
    [PROVIDER_MISTRAL] = {300, 20, "//api.mistral.ai/"},
    [PROVIDER_GEMINI] = {60, 15, "//generativelanguage.googleapis.com/"},
    [PROVIDER_XAI] = {500, 30, "//api.x.ai/"},
    [PROVIDER_OPENROUTER] = {200, 30, "//openrouter.ai/"},
};

/* "NAME=RATE" or "NAME=RATE/BURST" of agents.rate_limits; the configuration has checked the form. */
static bool throttle_configured(const struct conf *c, enum conf_provider_id id, int64_t *rpm, int64_t *burst)
{
	const struct conf_list *list = &c->agents.rate_limits;
	size_t i;

	for (i = 0; i < list->n; i++) {
		struct str rest = str_of(list->v[i]), name, rate;
		uint64_t n = 0, b = 0;

		if (!str_split(&rest, '=', &name) || !str_eqz(name, conf_provider_name(id)) ||
		    !str_split(&rest, '/', &rate) || !str_to_u64(rate, RATELIMIT_RATE_MAX, &n))
			continue;
		if (rest.p == NULL || !str_to_u64(rest, RATELIMIT_BURST_MAX, &b))
			b = n / 10 + 1;
		*rpm = (int64_t)n;
		*burst = (int64_t)b;
		return true;
	}
	return false;
}

struct ratelimit_rule throttle_rule(const struct conf *c, enum conf_provider_id id)
{
	int64_t rpm = 0, burst = 1;

	if (!throttle_configured(c, id, &rpm, &burst) && throttle_builtin[id].host != NULL &&
	    strstr(c->providers[id].base_url, throttle_builtin[id].host) != NULL) {
		rpm = throttle_builtin[id].rpm;
		burst = throttle_builtin[id].burst;
	}
	return ratelimit_rule(rpm, MINUTE_US, burst);
}

static uint64_t throttle_key(const struct ratelimit_table *t, enum conf_provider_id id)
{
	return ratelimit_key(t, THROTTLE_KIND, str_of(conf_provider_name(id)), STR_NONE);
}

CO_FN bool throttle_acquire(struct agents *ag, enum conf_provider_id id, int64_t *waited_us)
{
	struct ratelimit_rule rule = throttle_rule(ag->w->conf, id);
	int64_t start = clock_mono_us(), now = start;
	struct ratelimit_state s;

	*waited_us = 0;
	if (rule.step == 0 || ag->w->shm == NULL)
		return true;
	for (;;) {
		ratelimit_take(&ag->w->shm->limits, throttle_key(&ag->w->shm->limits, id), &rule, now, &s);
		*waited_us = now - start;
		if (s.allowed)
			break;
		if (*waited_us + s.retry_us > THROTTLE_WAIT || co_sleep(s.retry_us) == CO_ENDED)
			return false;
		now = clock_mono_us();
	}
	if (*waited_us > 0)
		metric_add(M_AGENT_THROTTLED, 1, conf_provider_name(id), NULL);
	return true;
}

/* "6m0s", "1.5s", "250ms": pieces one behind another. */
static int64_t throttle_pieces(struct str s)
{
	int64_t sum = 0, us;
	size_t i, n;

	while (s.n > 0) {
		for (i = 0; i < s.n && ((s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '.'); i++)
			;
		for (n = i; n < s.n && s.p[n] >= 'a' && s.p[n] <= 'z'; n++)
			;
		if (i == 0 || n == i || !duration_parse(str_sub(s, 0, n), &us))
			return -1;
		sum += us;
		s = str_sub(s, n, s.n);
	}
	return sum;
}

int64_t throttle_reset(struct str value, int64_t wall_ms)
{
	struct buf z = BUF_INIT;
	int64_t at, us = -1;
	char *end = NULL;
	double n;

	value = str_trim(value);
	if (value.n == 0 || value.n > 40)
		return -1;
	buf_add(&z, value);
	n = strtod(z.p, &end);
	if (end == z.p + z.n && n >= 0 && n < 1e14)
		us = n > EPOCH_MILLIS    ? (int64_t)((n - (double)wall_ms) * 1000)
		     : n > EPOCH_SECONDS ? (int64_t)((n * 1000 - (double)wall_ms) * 1000)
					 : (int64_t)(n * 1e6);
	else if (clock_parse(value, &at))
		us = (at - wall_ms) * MS_US;
	else
		us = throttle_pieces(value);
	buf_free(&z);
	return us;
}

void throttle_told(struct agents *ag, enum conf_provider_id id, const struct fetch_response *resp)
{
	struct ratelimit_rule rule = throttle_rule(ag->w->conf, id);
	int64_t depth = (int64_t)rule.depth * 100, step = (int64_t)rule.step * 100, debt = 0, reset;
	uint64_t left;

	if (rule.step == 0 || ag->w->shm == NULL)
		return;
	if (resp->status == 429) {
		debt = depth + (resp->retry_after_us > 0 ? resp->retry_after_us : 0);
	} else if (str_to_u64(str_trim(resp->rate_remaining), INT32_MAX, &left)) {
		reset = left == 0 ? throttle_reset(resp->rate_reset, clock_wall_ms()) : 0;
		debt = left < (uint64_t)(depth / step) ? depth - (int64_t)left * step + (reset > 0 ? reset : 0) : 0;
	}
	if (debt > 0)
		ratelimit_raise(&ag->w->shm->limits, throttle_key(&ag->w->shm->limits, id), &rule, clock_mono_us(),
				debt < 2 * depth ? debt : 2 * depth);
}
