/* SPDX-License-Identifier: MIT */
/*
 * What becomes of a delivery after an attempt: delivered, tried again at a certain time, or a dead letter. Pure: the
 * clock and chance are given.
 */
#ifndef WORKER_DELIVERY_POLICY_H
#define WORKER_DELIVERY_POLICY_H

#include "common/compat.h"

/* How an attempt ended. */
enum delivery_end {
	DELIVERY_DONE,     /* the receiver said that it has it */
	DELIVERY_FAILED,   /* the receiver said no, or nothing was sent */
	DELIVERY_UNCERTAIN /* it was sent, and nobody knows what came of it */
};

/* As stored. */
enum delivery_state { DELIVERY_PENDING, DELIVERY_SENDING, DELIVERY_RETRYING, DELIVERY_DELIVERED, DELIVERY_DEAD };
const char *delivery_state_name(enum delivery_state s);

#define DELIVERY_CRASHES_MAX 5 /* deaths of the sending process after which it is a dead letter, DESIGN 2 */

struct delivery_policy {
	int64_t max_retries; /* attempts after the first */
	int64_t base_ms;     /* pause after the first attempt; each further one doubles it */
	int64_t cap_ms;
	int64_t max_age_ms;
};

struct delivery_attempt {
	enum delivery_end end;
	bool final;             /* another attempt cannot succeed */
	bool repeatable;        /* the format: may what is uncertain be sent again? */
	int64_t attempts;       /* made by now, this one included */
	int64_t crashes;        /* deaths of the process during attempts in a row, this one included */
	int64_t since_ms;       /* since when it is due */
	int64_t now_ms;         /* wall clock */
	int64_t retry_after_ms; /* the receiver's wish; < 0: none */
	uint32_t jitter_ppm;    /* 0 to 999999: chance */
};

struct delivery_next {
	enum delivery_state state;
	int64_t at_ms;   /* of the next attempt, when RETRYING */
	const char *why; /* why it is dead: static text, "" else */
};

/* min(base * 2^n, cap) and up to a quarter more by chance (seed: delay = min(base * 2^attempt, max) + jitter). */
int64_t delivery_pause(const struct delivery_policy *p, int64_t attempts, uint32_t jitter_ppm);
struct delivery_next delivery_decide(const struct delivery_policy *p, const struct delivery_attempt *a);

#endif
