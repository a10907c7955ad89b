/* SPDX-License-Identifier: MIT */
/*
 * The agents of a worker as a whole: opening, closing, breaker gauges, and what /api/agents/health tells. Called by the
 * worker's boot and by api.c. Makes no calls; that is call.c.
 */
#include "worker/agents/agents.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/agents/registry.h"

#define AGENTS_BREAKERS_SHOWN 256

static const char *const agents_fail_names[AGENT_FAIL_MAX] = {
    [AGENT_OK] = "ok",
    [AGENT_FAIL_CONNECTION] = "connection",
    [AGENT_FAIL_TIMEOUT] = "timeout",
    [AGENT_FAIL_RATE] = "rate_limit",
    [AGENT_FAIL_AUTH] = "auth",
    [AGENT_FAIL_QUOTA] = "quota",
    [AGENT_FAIL_API] = "api",
    [AGENT_FAIL_PARSE] = "parse",
    [AGENT_FAIL_EMPTY] = "empty",
    [AGENT_FAIL_FILTER] = "filter",
    [AGENT_FAIL_BREAKER] = "circuit_open",
    [AGENT_FAIL_BUDGET] = "budget",
    [AGENT_FAIL_CANCELLED] = "cancelled",
};

const char *agent_fail_name(enum agent_fail f)
{
	return agents_fail_names[f];
}

/* EMPTY is retried too, but once: the caller counts. */
bool agent_fail_retryable(enum agent_fail f)
{
	return f == AGENT_FAIL_CONNECTION || f == AGENT_FAIL_TIMEOUT || f == AGENT_FAIL_RATE || f == AGENT_FAIL_EMPTY;
}

/* A label may stand for several models: the worst of them counts. */
static void agents_gauges(struct agents *a, uint64_t labels)
{
	const char *const *names = agents_known();
	int64_t now = clock_mono_us(), worst;
	const struct breaker *b;
	size_t i;

	for (i = 0; names[i] != NULL; i++) {
		if ((labels >> i & 1) == 0)
			continue;
		worst = 0;
		for (b = a->breakers.head; b != NULL; b = b->next)
			if ((b->labels >> i & 1) != 0 && (int64_t)breaker_state(b, now) > worst)
				worst = (int64_t)breaker_state(b, now);
		metric_set(M_BREAKER_STATE, worst, names[i], NULL);
	}
}

/* Sets the timer to the end of the next cooldown. */
static void agents_watch(struct agents *a)
{
	int64_t now = clock_mono_us(), left, next = -1;
	const struct breaker *b;

	for (b = a->breakers.head; b != NULL; b = b->next) {
		if (breaker_state(b, now) != BREAKER_OPEN)
			continue;
		left = b->opened_us + b->rule.cooldown_us - now;
		next = next < 0 || left < next ? left : next;
	}
	if (next >= 0)
		loop_timer_set(&a->cooldown, next + MS_US);
}

static void agents_cooled(void *arg)
{
	struct agents *a = arg;

	agents_gauges(a, UINT64_MAX);
	agents_watch(a);
}

/* The row of the breaker in shared memory; NULL: there are more than anybody looks at. */
static struct shm_breaker *agents_row(struct shm_slot *slot, const char *key)
{
	uint32_t n = atomic_load(&slot->breakers_used), i;
	struct shm_breaker *row;

	for (i = 0; i < n; i++)
		if (strncmp(slot->breakers[i].key, key, SHM_BREAKER_KEY - 1) == 0)
			return &slot->breakers[i];
	if (n == SHM_BREAKERS)
		return NULL;
	row = &slot->breakers[n];
	(void)snprintf(row->key, sizeof(row->key), "%s", key);
	atomic_store(&slot->breakers_used, n + 1);
	return row;
}

/* For whoever shows the breakers of the node. */
static void agents_show(const struct agents *a, const struct breaker *b)
{
	struct shm_breaker *row = a->resets != NULL ? agents_row(&a->w->shm->slots[a->w->slot], b->key) : NULL;

	if (row == NULL)
		return;
	atomic_store(&row->opened_us, b->opened_us);
	atomic_store(&row->failures, b->failures);
	atomic_store(&row->successes, b->succeeded);
	atomic_store(&row->failed_ms, b->failed_wall_ms);
	atomic_store(&row->succeeded_ms, b->succeeded_wall_ms);
	atomic_store(&row->used_ms, clock_wall_ms());
	atomic_store(&row->state, b->state);
}

static void agents_on_reset(void *arg, struct str topic, struct str key)
{
	struct agents *a = arg;
	struct breaker *b;

	(void)topic;
	for (b = a->breakers.head; b != NULL; b = b->next) {
		if (!str_eqz(key, "*") && !str_eqz(key, b->key))
			continue;
		breaker_reset(b);
		agents_gauges(a, b->labels);
		agents_show(a, b);
	}
}

void agents_breaker_changed(struct agents *a, const struct breaker *b)
{
	agents_gauges(a, b->labels);
	agents_show(a, b);
	if (b->state == BREAKER_OPEN)
		agents_watch(a);
}

struct breaker_rule agents_breaker_rule(const struct conf *c, struct str provider)
{
	struct breaker_rule rule = {(unsigned)c->debates.breaker_failures, BREAKER_TRIALS, BREAKER_TRIALS,
				    c->debates.breaker_cooldown};
	size_t i;

	for (i = 0; i < c->agents.breakers.n; i++) {
		struct str rest = str_of(c->agents.breakers.v[i]), name, part[3];
		uint64_t failures, successes, trials;

		if (str_split(&rest, '=', &name) && str_eq(name, provider) && str_split(&rest, '/', &part[0]) &&
		    str_split(&rest, '/', &part[1]) && str_split(&rest, '/', &part[2]) &&
		    str_to_u64(part[0], UINT32_MAX, &failures) && str_to_u64(part[1], UINT32_MAX, &successes) &&
		    duration_parse(part[2], &rule.cooldown_us) && str_to_u64(rest, UINT32_MAX, &trials)) {
			rule.failures = (unsigned)failures;
			rule.successes = (unsigned)successes;
			rule.trials = (unsigned)trials;
		}
	}
	return rule;
}

static struct breaker_rule agents_rule_of(void *arg, struct str provider)
{
	const struct agents *a = arg;

	return agents_breaker_rule(a->w->conf, provider);
}

struct agents *agents_open(struct worker *w)
{
	struct agents *a = xcalloc(1, sizeof(*a));

	a->w = w;
	breakers_init(&a->breakers, (unsigned)w->conf->debates.breaker_failures, w->conf->debates.breaker_cooldown);
	a->breakers.rule_of = agents_rule_of;
	a->breakers.arg = a;
	a->embed = embed_open();
	loop_timer_init(w->loop, &a->cooldown, agents_cooled, a);
	return a;
}

void agents_start(struct agents *a)
{
	atomic_store(&a->w->shm->slots[a->w->slot].breakers_used, 0);
	a->resets = bus_subscribe(a->w->bus, STR(AGENTS_RESET_TOPIC), agents_on_reset, a);
}

void agents_close(struct agents *a)
{
	if (a == NULL)
		return;
	if (a->resets != NULL)
		bus_unsubscribe(a->w->bus, a->resets);
	loop_timer_stop(&a->cooldown);
	breakers_free(&a->breakers);
	embed_close(a->embed);
	free(a);
}

json_t *agents_health(struct agents *a)
{
	const struct conf *c = a->w->conf;
	struct arena *arena = arena_new(0);
	const struct known_agent *k;
	struct agent_spec spec;
	struct error err;
	json_t *out = json_object();
	bool usable, keyed;
	size_t i;

	for (i = 0; (k = known_at(i)) != NULL; i++) {
		if (k->alias)
			continue;
		spec = (struct agent_spec){.name = str_of(k->name)};
		usable = registry_cast(c, arena, k, STR_NONE, &spec, &err);
		keyed = k->provider != PROVIDER_OLLAMA && k->provider != PROVIDER_LM_STUDIO &&
			k->provider != PROVIDER_COMPATIBLE && k->provider != PROVIDER_DEMO;
		json_object_set_new(out, k->name,
				    json_pack("{s:s, s:b, s:b, s:b, s:o, s:o}", "type", conf_provider_name(k->provider),
					      "requires_api_key", keyed, "api_key_configured",
					      c->providers[k->provider].api_key[0] != '\0', "available", usable,
					      "provider", json_str(spec.provider), "model", json_str(spec.model)));
	}
	arena_free(arena);
	return out;
}

static void agents_breaker_put(json_t *out, struct str key, enum breaker_state state, uint32_t failures,
			       int64_t failed_ms)
{
	json_object_setn_new(out, key.p, key.n,
			     json_pack("{s:s, s:I, s:o, s:b}", "state", breaker_state_name(state), "failure_count",
				       (json_int_t)failures, "last_failure", json_time(failed_ms), "available",
				       state != BREAKER_OPEN));
}

json_t *agents_breakers(struct agents *a)
{
	int64_t now = clock_mono_us();
	struct arena *arena = arena_new(0);
	struct breaker_seen *v = arena_alloc(arena, AGENTS_BREAKERS_SHOWN * sizeof(*v));
	size_t i, n = breakers_of_node(a->w, arena, now, v, AGENTS_BREAKERS_SHOWN);
	json_t *out = json_object();
	const struct breaker *b;

	for (i = 0; i < n; i++)
		agents_breaker_put(out, v[i].key, v[i].state, v[i].failures, v[i].failed_ms);
	for (b = a->breakers.head; b != NULL; b = b->next) /* own ones that found no row to show themselves in */
		if (json_object_get(out, b->key) == NULL)
			agents_breaker_put(out, str_of(b->key), breaker_state(b, now), b->failures, b->failed_wall_ms);
	arena_free(arena);
	return out;
}
