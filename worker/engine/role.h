/* SPDX-License-Identifier: MIT */
/*
 * What one agent is to do in one round besides its persona: a stance, a cognitive role, the goal of the round. A
 * function of the plan, the seat and the round alone, so that every run gives the same.
 */
#ifndef WORKER_ENGINE_ROLE_H
#define WORKER_ENGINE_ROLE_H

#include "common/str.h"
#include "worker/engine/step.h"

enum role_for { ROLE_PROPOSE, ROLE_CRITIQUE, ROLE_REVISE };

/* Names as in events; NULL: none is given. */
struct role {
	const char *stance; /* affirmative, negative, neutral */
	const char *role;   /* analyst, skeptic, lateral_thinker, synthesizer, advocate, devil_advocate, … */
	const char *goal;   /* analysis, cross_examination, final_position, critique */
};

/* round 0: the drafts. challenged: the last round ended with a challenge to a hollow agreement. */
struct role role_of(const struct debate_plan *plan, size_t seat, int round, bool challenged);
/* The goal of a round, or NULL. */
const char *role_goal(const struct debate_plan *plan, int round);
/* The lines for the system prompt (stance and role) and for the task of the phase (goal); nothing if none is given. */
void role_write(struct buf *b, const struct role *r);
void role_write_goal(struct buf *b, const struct role *r, enum role_for phase);
/* How much a reviser gives way, 0 to 10 (debate.md 4.3); "" below 0. Static. */
const char *role_intensity(int64_t intensity);

#endif
