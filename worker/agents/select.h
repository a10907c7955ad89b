/* SPDX-License-Identifier: MIT */
/*
 * A team for a question: ways of looking that fit what it is about, on models that can be called, by what is known of
 * them and with variety. Happens once, before a debate is created; the plan holds the outcome.
 */
#ifndef WORKER_AGENTS_SELECT_H
#define WORKER_AGENTS_SELECT_H

#include <jansson.h>

#include "common/context.h"
#include "worker/agents/agent.h"

struct worker;

#define SELECT_SEATS_MIN 2
#define SELECT_SEATS_MAX 8

/* "auto_select_config" of a creation body (debate.md 2.4, 4): all with defaults. */
struct select_config {
	int64_t min_agents, max_agents; /* 2 to 8; seats are 3, 4 or 5 by complexity, within these */
	struct str domain;              /* a category, "" = by the question's words */
	double quality_priority;        /* 0 to 1: what ratings weigh; 0.7 */
	double diversity_preference;    /* 0 to 1: what another provider weighs; 0.5 */
};

/*
 * Reads auto_select and auto_select_config; calls problem() for each bad field. *wanted: a team is to be chosen (it is
 * asked for and no agents are named). True if there was no problem.
 */
bool select_config_read(const json_t *body, struct select_config *out, bool *wanted,
			void (*problem)(void *arg, const char *field, const char *text), void *arg);

/*
 * The team as "agents" of a body, and the reasons in *reasoning {category, complexity, confidence, keywords, expertise,
 * agents [{name, agent, persona, role, score, elo, reason}], method}. Pure. `ratings` {agent: milli-points} may be
 * NULL. New references. False when no two agents can be called.
 */
bool select_team(const struct conf *c, struct arena *a, struct str question, const struct select_config *config,
		 const json_t *ratings, json_t **agents, json_t **reasoning, struct error *err) MUST_CHECK;
/* Names whose ratings select_team() can use: the agents that can be called and what their seats would be called. */
json_t *select_names(const struct conf *c, struct arena *a, struct str question, const struct select_config *config);

/*
 * Before plan_resolve(): where a team is to be chosen, *body becomes a copy with "agents" and
 * metadata.selection_reasoning filled in; else it is left alone. Ratings are read here; without them the choice goes by
 * fit and variety. A body with bad fields is left alone too: plan_resolve() names them.
 */
CO_FN void select_agents(struct worker *w, struct arena *a, const struct context *ctx, json_t **body);

#endif
