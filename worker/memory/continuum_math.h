/* SPDX-License-Identifier: MIT */
/*
 * The tiers of continuum memory and its formulas (rest-wide 6.1, 6.2). Pure; shares are parts per million wherever they
 * are stored, so that both stores and every machine keep the same.
 */
#ifndef WORKER_MEMORY_CONTINUUM_MATH_H
#define WORKER_MEMORY_CONTINUUM_MATH_H

#include "common/str.h"

#define CONTINUUM_ONE 1000000
#define CONTINUUM_COOLDOWN_MS (24 * INT64_C(3600000)) /* between two moves of one entry */
#define CONTINUUM_DEMOTE_UPDATES 10                   /* updates that an entry needs to go down */

enum continuum_tier { CONTINUUM_FAST, CONTINUUM_MEDIUM, CONTINUUM_SLOW, CONTINUUM_GLACIAL, CONTINUUM_TIERS };

struct continuum_rules {
	const char *name, *description;
	int64_t half_life_ms;
	int64_t learn_ppm, learn_decay_ppm; /* base rate, and its factor for each update */
	int64_t promote_ppm;                /* surprise above it moves the entry to the faster tier; one: never */
	int64_t demote_ppm;                 /* 1 - surprise above it moves it to the slower one; one: never */
	int64_t max;                        /* entries of a workspace */
	int64_t recency_ppm;                /* k of the retrieval score */
};
extern const struct continuum_rules continuum_rules[CONTINUUM_TIERS];

/* False for a name that is none. */
bool continuum_tier_find(struct str name, enum continuum_tier *out) MUST_CHECK;
/* Two half-lives: without an update for longer, an entry expires. */
int64_t continuum_retention_ms(enum continuum_tier t);
/* Base rate x decay^updates, 0 to 1. */
double continuum_learning_rate(enum continuum_tier t, int64_t updates);
/* min(1, ln(1 + updates) / ln 100) in ppm. */
int64_t continuum_consolidation(int64_t updates);
/* importance x (1 + surprise) / (1 + days since the update x k): what retrieval orders by. */
double continuum_score(enum continuum_tier t, int64_t importance_ppm, int64_t surprise_ppm, int64_t age_ms);
/* Does an entry move to the next faster, to the next slower tier? `since_move_ms`: since it last did. */
bool continuum_promotes(enum continuum_tier t, int64_t surprise_ppm, int64_t since_move_ms);
/* From slow to glacial only what is settled: consolidation >= 0.8, surprise <= 0.2 and 20 updates, besides the rule. */
bool continuum_demotes(enum continuum_tier t, int64_t surprise_ppm, int64_t updates, int64_t since_move_ms);

enum continuum_fate { CONTINUUM_KEEP, CONTINUUM_DEMOTE, CONTINUUM_FORGET };
/* 0.4 x recency (half-life 30 days) + 0.3 x consolidation + 0.3 x surprise; >= 0.3 keep, >= 0.15 demote. */
enum continuum_fate continuum_gate(int64_t age_ms, int64_t updates, int64_t surprise_ppm);

/* Importance of a debate's outcome: min(0.95, (confidence + 0.5) / 1.5), and 0.1 more for a consensus (at most 1). */
int64_t continuum_outcome_importance(int64_t confidence_ppm, bool consensus);
/* Fast after two rounds and confidence above 0.7, medium after one and above 0.5, else slow (debate.md 8.1 row 6). */
enum continuum_tier continuum_outcome_tier(int64_t rounds, int64_t confidence_ppm);

#endif
