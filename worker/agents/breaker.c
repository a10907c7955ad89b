/* SPDX-License-Identifier: MIT */
/*
 * The circuit breaker's rules and nothing else. Called by call.c around each attempt. Does not read a clock, log or
 * touch metrics, so that a test can walk it through every transition.
 */
#include "worker/agents/breaker.h"

#define BREAKERS_MAX 512 /* model names come from clients; beyond this a new one goes without a breaker */

void breakers_init(struct breakers *bs, unsigned threshold, int64_t cooldown_us)
{
	*bs = (struct breakers){.usual = {threshold > 0 ? threshold : 1, BREAKER_TRIALS, BREAKER_TRIALS, cooldown_us}};
}

void breakers_free(struct breakers *bs)
{
	struct breaker *b = bs->head, *next;

	for (; b != NULL; b = next) {
		next = b->next;
		free(b->key);
		free(b);
	}
	bs->head = NULL;
	bs->count = 0;
}

struct breaker *breaker_get(struct breakers *bs, struct str provider, struct str model)
{
	struct buf key = BUF_INIT;
	struct breaker *b;

	buf_add(&key, provider);
	buf_addc(&key, '|');
	buf_add(&key, model);
	for (b = bs->head; b != NULL; b = b->next)
		if (str_eqz(buf_str(&key), b->key))
			break;
	if (b == NULL && bs->count < BREAKERS_MAX) {
		b = xcalloc(1, sizeof(*b));
		b->key = str_dupz(buf_str(&key));
		b->rule = bs->rule_of != NULL ? bs->rule_of(bs->arg, provider) : bs->usual;
		b->next = bs->head;
		bs->head = b;
		bs->count++;
	}
	buf_free(&key);
	return b;
}

static void breaker_move(struct breaker *b, enum breaker_state to, int64_t now_us)
{
	b->state = to;
	b->epoch++;
	b->failures = to == BREAKER_CLOSED ? 0 : b->failures;
	b->successes = 0;
	b->trials = 0;
	if (to == BREAKER_OPEN)
		b->opened_us = now_us;
}

enum breaker_state breaker_state(const struct breaker *b, int64_t now_us)
{
	if (b->state == BREAKER_OPEN && now_us - b->opened_us >= b->rule.cooldown_us)
		return BREAKER_HALF_OPEN;
	return b->state;
}

bool breaker_allow(struct breaker *b, int64_t now_us, struct breaker_pass *pass)
{
	enum breaker_state now = breaker_state(b, now_us);

	if (now == BREAKER_OPEN)
		return false;
	if (now != b->state)
		breaker_move(b, now, now_us);
	if (now == BREAKER_HALF_OPEN) {
		if (b->trials >= b->rule.trials)
			return false;
		b->trials++;
	}
	*pass = (struct breaker_pass){b, b->epoch, now == BREAKER_HALF_OPEN};
	return true;
}

void breaker_report(const struct breaker_pass *pass, enum breaker_outcome o, int64_t now_us, int64_t wall_ms)
{
	struct breaker *b = pass->b;

	if (o == BREAKER_FAILURE)
		b->failed_wall_ms = wall_ms;
	if (o == BREAKER_SUCCESS) {
		b->succeeded++;
		b->succeeded_wall_ms = wall_ms;
	}
	if (pass->epoch != b->epoch)
		return;
	if (pass->trial)
		b->trials--;
	if (o == BREAKER_NEUTRAL)
		return;
	if (o == BREAKER_FAILURE) {
		b->failures++;
		if (pass->trial || b->failures >= b->rule.failures)
			breaker_move(b, BREAKER_OPEN, now_us);
	} else if (!pass->trial) {
		b->failures = 0;
	} else if (++b->successes >= b->rule.successes) {
		breaker_move(b, BREAKER_CLOSED, now_us);
	}
}

void breaker_reset(struct breaker *b)
{
	breaker_move(b, BREAKER_CLOSED, 0);
}

const char *breaker_state_name(enum breaker_state s)
{
	static const char *const names[] = {"closed", "half_open", "open"};

	return names[s];
}
