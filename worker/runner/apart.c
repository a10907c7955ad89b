/* SPDX-License-Identifier: MIT */
/*
 * Runs the engine for apart.h. Called by evaluations. Neither claims nor leases: the one process that holds the debate
 * is the one that runs it.
 */
#include "worker/runner/apart.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/engine/engine.h"
#include "worker/runner/run.h"

static void apart_open(struct debate *d, const struct apart *p)
{
	*d = (struct debate){.w = p->w,
			     .arena = arena_new(64 * 1024),
			     .plan = p->plan,
			     .cell = -1,
			     .keeper = p->keeper,
			     .journal = p->journal,
			     .run_started_us = clock_mono_us()};
	d->scope = (struct co_scope){.kind = SCOPE_DEBATE, .deadline = d->run_started_us + p->plan.timeout_ms * MS_US};
	co_scope_enter(&d->scope);
}

static void apart_close(struct debate *d)
{
	co_scope_leave(&d->scope);
	arena_free(d->arena);
	free(d);
}

CO_FN json_t *apart_debate(const struct apart *p)
{
	struct debate *d = xcalloc(1, sizeof(*d));
	json_t *result = NULL;

	apart_open(d, p);
	if (engine_run(d))
		result = d->apart_result;
	apart_close(d);
	return result;
}

CO_FN bool apart_call(const struct apart *p, struct arena *a, const char *key, const struct step_call *call,
		      struct str *text)
{
	struct debate *d = xcalloc(1, sizeof(*d));
	const json_t *result;
	bool ok;

	apart_open(d, p);
	ok = step_call(d, key, call, &result) && json_get_bool(result, "ok", false);
	if (ok)
		*text = arena_str(a, json_get_str(result, "text", STR("")));
	apart_close(d);
	return ok;
}
