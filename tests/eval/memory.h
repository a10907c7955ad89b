/* SPDX-License-Identifier: MIT */
/*
 * The engine with simulated agents and its steps in memory: no database, no loop, no clock. One question at a time.
 */
#ifndef TESTS_EVAL_MEMORY_H
#define TESTS_EVAL_MEMORY_H

#include <jansson.h>

#include "master/commands/eval_measure.h"
#include "tests/eval/sim.h"

/* How a debate is held; members left at zero are what the shipping plan says. */
struct setup {
	int rounds;            /* 0: drafts and vote only */
	const char *consensus; /* NULL: the shipping default */
	const char *topology;  /* NULL: the shipping default */
	bool no_gate;          /* do not skip the debate where the drafts agree */
	int64_t gate_ppm;      /* how sure they must be for that; 0: the shipping default */
	int version;           /* the rules of that engine; 0: of today's */
	bool spare;            /* do not ask for votes that cannot change the decision */
	int64_t threshold_ppm; /* 0: the shipping default */
};

/* Reads the shipping defaults. False after a message. */
bool memory_open(void);
void memory_close(void);
/* Holds one debate and takes its sample; the result document goes to *result (new reference) if that is not NULL. */
void memory_debate(const struct sim_world *w, const struct setup *s, int64_t question, struct eval_sample *out,
		   json_t **result);
/* k samples of agent i with the engine's prompt for drafts, and the answer that most of them give. */
void memory_samples(const struct sim_world *w, size_t i, size_t k, int64_t question, struct eval_sample *out);

#endif
