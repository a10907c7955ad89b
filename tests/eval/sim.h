/* SPDX-License-Identifier: MIT */
/*
 * Simulated agents: they read the question and each other's answers out of the engine's prompts and reply in the format
 * that the prompts ask for. Everything they do follows from their traits and a seed; what a question's right answer is
 * they use only to know what they would have known.
 */
#ifndef TESTS_EVAL_SIM_H
#define TESTS_EVAL_SIM_H

#include "common/arena.h"

#define SIM_AGENTS_MAX 10
#define SIM_OPTIONS_MAX 8
#define SIM_NONE SIZE_MAX

enum sim_temper {
	SIM_CALIBRATED, /* says how often it is right on questions like this */
	SIM_OVER,       /* leaves a fifth of the doubt */
	SIM_UNDER,      /* hardly more than one half, whatever it knows */
	SIM_FLAT        /* always 0.8 */
};

enum sim_kind {
	SIM_HONEST,
	SIM_ADVERSARY, /* a wrong answer, full confidence, invented reasons, never moved */
	SIM_COLLUDER   /* the same, and all of them with the same text, voting for each other */
};

struct sim_traits {
	enum sim_kind kind;
	enum sim_temper temper;
	double accuracy;   /* of drafts, over all questions */
	double spread;     /* by how much the difficulty of a question moves that, up or down */
	double shared;     /* probability that a draft comes from the source that all share */
	double own;        /* probability that another sample of the same agent is its first one again */
	double conformity; /* probability to follow what most others say, without a reason */
	double insight;    /* of a right critic: probability to give a reason that can be checked */
	double invention;  /* of a wrong critic: probability to give a reason that only looks so */
	double receptive;  /* probability to give way to a reason that holds */
	double gullible;   /* probability to give way to one that does not */
	double first;      /* probability to vote for what stands first, whatever it is */
	int words;         /* of a text */
};

struct sim_world {
	uint64_t seed;
	size_t options;   /* answers a question can have */
	bool own_words;   /* agents of one answer write different texts; else the same text */
	bool own_phrases; /* and say their position in different sentences */
	bool numbers;     /* answers are numbers, not words */
	size_t n;
	struct sim_traits agents[SIM_AGENTS_MAX];
};

/* The question as the plan's task has it. */
struct str sim_task(struct arena *a, int64_t question);
size_t sim_truth(const struct sim_world *w, int64_t question);
/* The answer a text stands for, from its position; SIM_NONE: none. */
size_t sim_answer(const struct sim_world *w, struct str text);
/* What agent i answers alone, in its sample number s (0: its draft). */
size_t sim_draft(const struct sim_world *w, int64_t question, size_t i, size_t s);
/* How sure it says it is of it. */
double sim_confidence(const struct sim_world *w, int64_t question, size_t i);
/* A uniform number in [0, 1) that follows from the seed and these. */
double sim_chance(const struct sim_world *w, int64_t question, size_t i, const char *purpose, size_t more);
/* The reply of agent i to a prompt of that phase. */
struct str sim_reply(struct arena *a, const struct sim_world *w, size_t i, const char *phase, struct str prompt);

#endif
