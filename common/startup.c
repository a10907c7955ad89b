/* SPDX-License-Identifier: MIT */
/*
 * The record of a start: eight phases, each with its time and its end. Called by the master and by booting workers.
 * Decides nothing: whether a degraded phase ends the start is the master's affair (server.strict_startup).
 */
#include "common/startup.h"

#include "common/log.h"

static const char *const startup_names[] = {
    [STARTUP_CONFIGURATION] = "configuration",
    [STARTUP_BACKENDS] = "backends",
    [STARTUP_SCHEMA] = "schema",
    [STARTUP_OBSERVABILITY] = "observability",
    [STARTUP_SCHEDULERS] = "schedulers",
    [STARTUP_KNOWLEDGE] = "control plane and knowledge",
    [STARTUP_SECURITY] = "security",
    [STARTUP_WORKERS] = "workers",
};
_Static_assert(countof(startup_names) == SHM_PHASES, "one name per phase");

const char *startup_name(enum startup_phase phase)
{
	return startup_names[phase];
}

const char *startup_word(uint32_t state)
{
	static const char *const words[] = {"pending", "ok", "degraded"};

	return state < countof(words) ? words[state] : "unknown";
}

void startup_note(struct shm_startup *s, enum startup_phase phase, bool worker, int64_t us, enum startup_state state,
		  const char *detail)
{
	struct shm_phase *p = &s->phases[phase];
	uint32_t was = atomic_load(&p->state);

	if (startup_is_over(s))
		return;
	if (!worker)
		atomic_fetch_add(&p->us, us);
	else if (us > atomic_load(&p->worker_us))
		atomic_store(&p->worker_us, us);
	if (detail != NULL && was <= (uint32_t)state) /* not over what is wrong */
		(void)snprintf(p->detail, sizeof(p->detail), "%s", detail);
	if (was < (uint32_t)state)
		atomic_store(&p->state, (uint32_t)state);
}

void startup_over(struct shm_startup *s, int64_t us)
{
	size_t i;

	if (startup_is_over(s))
		return; /* the segment of a former master: its start is the node's */
	for (i = 0; i < SHM_PHASES; i++) {
		const struct shm_phase *p = &s->phases[i];
		bool fine = atomic_load(&p->state) != STARTUP_DEGRADED;

		LOG_AT(fine ? LOG_INFO : LOG_WARNING, "startup", startup_names[i], KV_I("phase", i + 1),
		       KV_S("state", startup_word(atomic_load(&p->state))),
		       KV_F("ms", (double)(atomic_load(&p->us) + atomic_load(&p->worker_us)) / 1000.0),
		       KV_S("detail", p->detail));
	}
	atomic_store(&s->total_us, us > 0 ? us : 1);
}

bool startup_is_over(const struct shm_startup *s)
{
	return atomic_load(&s->total_us) != 0;
}

bool startup_degraded(const struct shm_startup *s)
{
	size_t i;

	for (i = 0; i < SHM_PHASES; i++)
		if (atomic_load(&s->phases[i].state) == STARTUP_DEGRADED)
			return true;
	return false;
}
