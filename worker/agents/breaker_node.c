/* SPDX-License-Identifier: MIT */
/*
 * The breakers of models as the whole node sees them: each worker has its own and shows it in shared memory; what
 * counts is the worst of them. Called for the lists of breakers and for health. Changes nothing.
 */
#include "worker/agents/agent.h"
#include "worker/agents/breaker.h"
#include "worker/worker.h"

static struct breaker_seen *node_entry(struct breaker_seen *v, size_t *n, size_t max, struct str key)
{
	size_t i;

	for (i = 0; i < *n; i++)
		if (str_eq(v[i].key, key))
			return &v[i];
	if (*n == max)
		return NULL;
	v[*n] = (struct breaker_seen){.key = key};
	return &v[(*n)++];
}

static void node_add(struct breaker_seen *e, const struct conf *c, const struct shm_breaker *b, int64_t now_us)
{
	ptrdiff_t bar = str_chr(e->key, '|');
	int64_t opened = atomic_load(&b->opened_us), failed = atomic_load(&b->failed_ms),
		succeeded = atomic_load(&b->succeeded_ms), used = atomic_load(&b->used_ms);
	enum breaker_state state = (enum breaker_state)atomic_load(&b->state);
	uint32_t failures = atomic_load(&b->failures);

	e->rule = agents_breaker_rule(c, str_sub(e->key, 0, bar >= 0 ? (size_t)bar : e->key.n));
	if (state == BREAKER_OPEN && now_us - opened >= e->rule.cooldown_us)
		state = BREAKER_HALF_OPEN;
	e->successes += atomic_load(&b->successes);
	e->failures = failures > e->failures ? failures : e->failures;
	e->failed_ms = failed > e->failed_ms ? failed : e->failed_ms;
	e->succeeded_ms = succeeded > e->succeeded_ms ? succeeded : e->succeeded_ms;
	e->used_ms = used > e->used_ms ? used : e->used_ms;
	if (state > e->state) {
		e->state = state;
		e->opened_us = opened;
	}
}

size_t breakers_of_node(const struct worker *w, struct arena *a, int64_t now_us, struct breaker_seen *v, size_t max)
{
	unsigned used = w->shm != NULL ? atomic_load(&w->shm->slots_used) : 0, i, k, rows;
	size_t n = 0;

	for (i = 0; i < used; i++) {
		const struct shm_slot *s = &w->shm->slots[i];
		uint32_t state = atomic_load(&s->state);

		if (state != SLOT_SERVING && state != SLOT_DRAINING)
			continue;
		rows = atomic_load(&s->breakers_used);
		for (k = 0; k < rows && k < SHM_BREAKERS; k++) {
			const struct shm_breaker *b = &s->breakers[k];
			struct breaker_seen *e =
			    node_entry(v, &n, max, arena_str(a, (struct str){b->key, strnlen(b->key, sizeof(b->key))}));

			if (e != NULL)
				node_add(e, w->conf, b, now_us);
		}
	}
	return n;
}
