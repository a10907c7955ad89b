/* SPDX-License-Identifier: MIT */
/*
 * Debates apart from any server: run where they are asked for, their steps kept by whoever runs them instead of the
 * database. Used by evaluations, with the same engine, steps, budgets, retries and agents as in the server; what comes
 * from its store (ratings, what watchers say, background) is empty here, and no token is streamed to anybody.
 */
#ifndef WORKER_RUNNER_APART_H
#define WORKER_RUNNER_APART_H

#include "worker/engine/step.h"

struct worker;

enum step_kept {
	STEP_KEPT,
	STEP_KEPT_LAST, /* calls in flight may end and are kept, but no other step begins */
	STEP_NOT_KEPT   /* the run stops here */
};

struct step_keeper {
	/*
	 * Keeps what a step has come to, for good, before the debate goes on: state "started" or "done", as in the
	 * journal. usage: of an attempt that has cost something, or NULL. May not wait.
	 */
	enum step_kept (*keep)(void *arg, const char *key, const char *state, int64_t starts, const json_t *result,
			       const struct agent_reply *usage);
	void *arg;
};

struct apart {
	struct worker *w; /* conf, loop and agents are used */
	struct debate_plan plan;
	const struct step_keeper *keeper;
	json_t *journal; /* key -> {state, starts, result}: finished steps answer from it, new ones are added */
};

/* Holds the whole debate. The result document (result.h; new reference), or NULL: not all steps were kept, or the
 * plan's time is over. */
CO_FN json_t *apart_debate(const struct apart *p) MUST_CHECK;
/*
 * One paid step without an engine: step_call() of step.h with this key. *text is of the arena; false: the agent failed,
 * or the step could not be kept.
 */
CO_FN bool apart_call(const struct apart *p, struct arena *a, const char *key, const struct step_call *call,
		      struct str *text) MUST_CHECK;

#endif
