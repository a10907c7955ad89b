/* SPDX-License-Identifier: MIT */
/*
 * The rules after an attempt. Called by the sender and by whoever takes over from a dead one. Reads no clock, no
 * configuration and no store.
 */
#include "worker/delivery/policy.h"

#define POLICY_CRASH_MS 500 /* after the second death in a row; doubled by each further one */

const char *delivery_state_name(enum delivery_state s)
{
	static const char *const names[] = {
	    [DELIVERY_PENDING] = "pending",     [DELIVERY_SENDING] = "sending", [DELIVERY_RETRYING] = "retrying",
	    [DELIVERY_DELIVERED] = "delivered", [DELIVERY_DEAD] = "dead",
	};

	return names[s];
}

int64_t delivery_pause(const struct delivery_policy *p, int64_t attempts, uint32_t jitter_ppm)
{
	int64_t ms = p->base_ms;

	while (attempts-- > 1 && ms < p->cap_ms)
		ms *= 2;
	if (ms > p->cap_ms)
		ms = p->cap_ms;
	return ms + ms / 4 * (int64_t)jitter_ppm / 1000000;
}

static const char *policy_dead(const struct delivery_policy *p, const struct delivery_attempt *a)
{
	if (a->final)
		return "refused for good";
	if (a->end == DELIVERY_UNCERTAIN && !a->repeatable)
		return "sent, but nobody knows whether it arrived";
	if (a->crashes >= DELIVERY_CRASHES_MAX)
		return "it ended its worker process five times in a row";
	if (a->attempts > p->max_retries)
		return "no attempt is left";
	return "";
}

struct delivery_next delivery_decide(const struct delivery_policy *p, const struct delivery_attempt *a)
{
	struct delivery_next next = {.state = DELIVERY_DELIVERED, .why = ""};
	int64_t pause;

	if (a->end == DELIVERY_DONE)
		return next;
	next.state = DELIVERY_DEAD;
	next.why = policy_dead(p, a);
	if (next.why[0] != '\0')
		return next;
	if (a->crashes > 0) /* not the receiver's fault: at once, and later only when it happens again */
		pause = a->crashes > 1 ? (int64_t)POLICY_CRASH_MS << (a->crashes - 1) : 0;
	else
		pause = delivery_pause(p, a->attempts, a->jitter_ppm);
	if (a->retry_after_ms > pause)
		pause = a->retry_after_ms;
	next.at_ms = a->now_ms + pause;
	if (next.at_ms - a->since_ms > p->max_age_ms) {
		next.why = "too old for another attempt";
		return next;
	}
	next.state = DELIVERY_RETRYING;
	return next;
}
