/* SPDX-License-Identifier: MIT */
/*
 * The step interface: all that the engine may touch. A step runs once ever; after a crash the same code runs again and
 * finished steps answer from the journal. The engine branches on nothing but the plan and step results, so time,
 * chance, ratings and arrival order enter only through steps. A build check of engine.o's undefined symbols holds it to
 * this header.
 *
 * Every function here returns false when the debate must unwind now (cancelled, out of time, lease lost, worker
 * draining, store away for good): the engine returns at once, and the runner decides by debate_stop().
 */
#ifndef WORKER_ENGINE_STEP_H
#define WORKER_ENGINE_STEP_H

#include <jansson.h>

#include "common/arena.h"
#include "common/co.h"
#include "worker/agents/agent.h"
#include "worker/engine/plan.h"

struct debate; /* one run of one debate in this process */
struct step;

enum debate_stop { STOP_NONE, STOP_CANCELLED, STOP_TIMEOUT, STOP_DRAIN, STOP_FENCED, STOP_STORAGE };

const struct debate_plan *debate_plan(const struct debate *d);
struct arena *debate_arena(struct debate *d); /* lives as long as this run */
enum debate_stop debate_stop(const struct debate *d);
/* The engine's own context, reachable when the runner asks for an unfinished result. Not owned. */
void debate_set_engine(struct debate *d, void *ctx);
void *debate_engine(const struct debate *d);

/* Adds a durable event to the running step: committed with its result, numbered in this order. data is taken over. */
void step_emit(struct step *s, const char *type, const char *agent, int round, json_t *data);
/* Wall clock as the step sees it (milliseconds UTC); journal it if the engine needs it. */
int64_t step_now_ms(const struct step *s);
/* Milliseconds this debate has been running, over all runs: for a step to journal, or for a result that no journal
 * ends. */
int64_t debate_running_ms(const struct debate *d);

/*
 * A step that computes in place. compute() runs only the first time, must not wait, and returns the result (new
 * reference, never NULL). *result is borrowed from the debate and is always the decoded stored form.
 */
CO_FN bool step_run(struct debate *d, const char *key, json_t *(*compute)(struct step *s, void *arg), void *arg,
		    const json_t **result) MUST_CHECK;

struct step_call {
	const struct agent_spec *agent;
	struct str system, prompt;
	int max_tokens, temperature_ppm;
	const char *phase;  /* propose, critique, revise, vote, judge, synthesis */
	const char *target; /* third part of the task_id, or NULL */
	int round;
	bool stream;         /* publish tokens */
	const json_t *facts; /* for demo agents */
	/*
	 * Turns the raw reply text into the step's result and emits its events. Pure. Runs once, for successful calls.
	 * NULL result: the text is unusable; the call is repeated once ("repair"), then fails as "parse".
	 */
	json_t *(*decode)(struct step *s, void *arg, struct str text);
	void *arg;
};
/*
 * A paid step: the start is committed before the call; result, events and usage row are one batch. Attempts are
 * journalled and continue their count after a takeover. *result is {"ok": true, "value": decode()'s, "text", "model",
 * "tokens_in", "tokens_out", "cost_micro", "ms", "truncated", "abandoned"} or {"ok": false, "error_type", "message",
 * "provider", "attempts", "at_ms", "abandoned"}: a failed agent is a result, not an error; agent_error was emitted.
 * "abandoned" counts attempts that were begun and whose outcome a crash swallowed. May be called from several
 * coroutines of one co_group.
 */
CO_FN bool step_call(struct debate *d, const char *key, const struct step_call *call, const json_t **result) MUST_CHECK;

/* Ratings of the participants as a journalled step: {agent: milli-points}. */
CO_FN bool step_ratings(struct debate *d, const char *key, const json_t **result) MUST_CHECK;
/* All that is known of the participants, as ranking_standing() gives it; {} if it cannot be read. */
CO_FN bool step_standing(struct debate *d, const char *key, const json_t **result) MUST_CHECK;
/* What rating the debate needs, as ranking_before() gives it; {} if it cannot be read. */
CO_FN bool step_ranking_before(struct debate *d, const char *key, const json_t **result) MUST_CHECK;
/* The same, not journalled, for a debate that was decided when its time ended: it is rated all the same. NULL: unknown.
 */
CO_FN const json_t *step_ranking_late(struct debate *d);
/* What earlier debates and stored knowledge say about the task, kept in the plan for prompts and result (background.h).
 */
CO_FN bool step_background(struct debate *d, const char *key) MUST_CHECK;
/* What the budgets of the tenant have left, as a journalled step: {cost_micro, tokens}, -1: none counts these. */
CO_FN bool step_budgets(struct debate *d, const char *key, const json_t **result) MUST_CHECK;
/*
 * How alike are the meanings of n texts: {source: "embeddings", ppm: [n x n], tokens_in, cost_micro} from the
 * embeddings server, {source: "words"} where there is none or it does not answer.
 */
CO_FN bool step_alike(struct debate *d, const char *key, const struct str *texts, size_t n,
		      const json_t **result) MUST_CHECK;
/* The key of the step before the decision. */
#define INBOX_LAST_STEP "decide.inbox"
/*
 * Takes what waits in the inbox, in order: array of {id, kind, user_id, payload}; journalled with what it took. At the
 * beginning of a round ("r<n>.inbox") all that is due, before the decision (INBOX_LAST_STEP) votes and settings.
 */
CO_FN bool step_inbox(struct debate *d, const char *key, const json_t **result) MUST_CHECK;

/*
 * The end: stores the result document, its effects (receipt, ratings), their events and debate_end as the last event in
 * one batch. `result` (taken over) is described in result.h.
 */
CO_FN bool debate_finish(struct debate *d, json_t *result) MUST_CHECK;

#endif
