/* SPDX-License-Identifier: MIT */
/*
 * Circuit breakers, one per provider and model: after a row of failures a model is left alone for a while, then tried
 * with a few calls. State belongs to the process; time is given by the caller.
 */
#ifndef WORKER_AGENTS_BREAKER_H
#define WORKER_AGENTS_BREAKER_H

#include "common/arena.h"

/* The values are those of the metric aragora_circuit_breaker_state. */
enum breaker_state { BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN };

/* What an attempt says about the provider's health. NEUTRAL: nothing (rate limit, quota, cancelled). */
enum breaker_outcome { BREAKER_SUCCESS, BREAKER_FAILURE, BREAKER_NEUTRAL };

#define BREAKER_TRIALS \
	3 /* calls at once while half-open, and successes in a row that close it, where nothing differs */

/* When it opens and closes. */
struct breaker_rule {
	unsigned failures;  /* in a row that open it */
	unsigned successes; /* in a row that close it */
	unsigned trials;    /* calls at once while half-open */
	int64_t cooldown_us;
};

struct breaker {
	struct breaker *next;
	char *key; /* "provider|model" */
	struct breaker_rule rule;
	enum breaker_state state;
	unsigned failures;  /* in a row */
	unsigned successes; /* while half-open */
	unsigned trials;    /* under way while half-open */
	uint64_t epoch;     /* bumped at each change of state: late outcomes of an earlier state count for nothing */
	int64_t opened_us;
	int64_t failed_wall_ms, succeeded_wall_ms; /* 0 = never */
	uint32_t succeeded;                        /* calls, ever */
	uint64_t labels;                           /* agents that used it, as bits of agents_known() */
};

struct breakers {
	struct breaker *head;
	size_t count;
	struct breaker_rule usual;
	/* The rule of a provider whose breaker is made; NULL: the usual one. */
	struct breaker_rule (*rule_of)(void *arg, struct str provider);
	void *arg;
};

/* A call let through; give it back with its outcome. */
struct breaker_pass {
	struct breaker *b;
	uint64_t epoch;
	bool trial;
};

void breakers_init(struct breakers *bs, unsigned threshold, int64_t cooldown_us);
void breakers_free(struct breakers *bs);
/* The breaker of a provider and model, made closed if new; NULL when there are too many (models are named by clients).
 */
struct breaker *breaker_get(struct breakers *bs, struct str provider, struct str model);
/* May a call be made now? True fills *pass. */
bool breaker_allow(struct breaker *b, int64_t now_us, struct breaker_pass *pass) MUST_CHECK;
void breaker_report(const struct breaker_pass *pass, enum breaker_outcome o, int64_t now_us, int64_t wall_ms);
/* Closed, with nothing remembered; calls under way count for nothing any more. */
void breaker_reset(struct breaker *b);
/* State as of now: an open breaker whose cooldown is over counts as half-open. */
enum breaker_state breaker_state(const struct breaker *b, int64_t now_us);
struct conf;
struct worker;

/* One breaker over all workers of the node: the worst state, the latest times, the sum of successes. */
struct breaker_seen {
	struct str key; /* in the arena */
	enum breaker_state state;
	uint32_t failures, successes;
	struct breaker_rule rule;
	int64_t opened_us, failed_ms, succeeded_ms, used_ms;
};

/* Fills at most max of them and returns how many; none where debates run apart from a server. */
size_t breakers_of_node(const struct worker *w, struct arena *a, int64_t now_us, struct breaker_seen *v, size_t max);
/* agents.breakers, else debates.breaker_failures and breaker_cooldown. */
struct breaker_rule agents_breaker_rule(const struct conf *c, struct str provider);
/* "closed", "half_open", "open" */
const char *breaker_state_name(enum breaker_state s);

#endif
