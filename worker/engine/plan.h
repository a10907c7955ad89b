/* SPDX-License-Identifier: MIT */
/*
 * What a debate is to be: a plan is made once, out of a creation body and the configuration of that moment, stored with
 * the debate, and read again at each of its runs, whatever is configured by then.
 */
#ifndef WORKER_ENGINE_PLAN_H
#define WORKER_ENGINE_PLAN_H

#include <jansson.h>

#include "common/arena.h"
#include "common/err.h"
#include "worker/agents/agent.h"
#include "worker/engine/protocol.h"
#include "worker/engine/topology.h"

/* 2: all modes of mode.h; 3: protocol.h, standing, votes of people; 4: texts are compared by TF-IDF */
#define ENGINE_VERSION 4

struct conf;
struct mode;

/* What a debate was created with. Everything here is in the plan and therefore the same in every run. */
struct debate_plan {
	struct str debate_id, task, context, language;
	int version;       /* ENGINE_VERSION that made it */
	struct str domain; /* what the task is about (domain.h); empty in plans of older engines */
	const struct agent_spec *agents;
	size_t agent_count;
	int rounds;              /* debate rounds after the independent drafts, >= 1 */
	const struct mode *mode; /* how it decides */
	enum topology topology;  /* who criticises whom */
	int64_t threshold_ppm;   /* of the weighted share; 600000 */
	int64_t early_agree_ppm; /* what agreement of the drafts skips the debate, see decision_agreement() */
	int64_t budget_micro;    /* micro-dollars; 0: no limit */
	int64_t budget_tokens;   /* in and out together; 0: no limit */
	bool shared_budgets;     /* budgets of its tenant could stop it when it was made */
	int64_t timeout_ms, agent_timeout_ms;
	struct protocol protocol;
	uint64_t seed; /* all shuffling comes from it */
	bool demo;
	bool by_position; /* votes for equal positions pool whatever the texts say besides; false in older plans */
	const json_t *documents; /* [{title, text}] given with the task (documents.h); NULL: none */
	const json_t *taint;     /* classes found in context and documents (taint.h) with their counts; NULL: none */
	bool recall;             /* what earlier debates and stored knowledge say is looked up first */
	/* [{label, source, id, title, text, dissent, trusted, score_ppm}] once step_background has run; NULL: nothing
	 */
	const json_t *background;
};

#define PLAN_USD_MAX 100 /* rest-core 4.2: budget_limit_usd */
#define PLAN_TOKENS_MAX 1000000000

/*
 * Checks a creation body ({task|topic|question, rounds, agents, consensus, protocol, context, metadata, …}) and
 * resolves it to a plan document, with every bad field in *problems (array of {field, code, message}) if it fails.
 */
bool plan_resolve(const struct conf *c, struct arena *a, const json_t *body, json_t **plan, json_t **problems,
		  struct error *err) MUST_CHECK;
/* Decodes a stored plan. Strings live in the arena. */
bool plan_decode(struct arena *a, const json_t *plan, struct debate_plan *out, struct error *err) MUST_CHECK;

#endif
