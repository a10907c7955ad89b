/* SPDX-License-Identifier: MIT */
/*
 * The ways in which a debate comes to its decision, one row each. A plan names one; the engine and the counting follow
 * its row.
 */
#ifndef WORKER_ENGINE_MODE_H
#define WORKER_ENGINE_MODE_H

#include "worker/engine/consensus.h"
#include "worker/engine/step.h"

enum mode_way {
	MODE_VOTE,   /* all vote, votes are counted by the rule */
	MODE_JUDGE,  /* one participant rules */
	MODE_HYBRID, /* all vote; where that decides nothing a participant rules who knows the arguments, not the votes
		      */
	MODE_NONE    /* nothing is decided, positions stand side by side */
};

struct mode {
	const char *name;
	const char *about; /* half a sentence for people */
	enum mode_way way;
	int64_t threshold_ppm; /* the least share that decides; the plan may ask for more */
	bool any;              /* whoever leads has won, whatever the share */
	bool unanimous;        /* all who voted */
	bool faults;           /* 2f + 1 of all participants, f = (n - 1) / 3: as many may fail or lie */
	bool by_meaning;       /* proposals pool their votes if their positions agree, whatever the texts say besides */
	bool by_rating;        /* votes also weigh by the voter's rating */
	size_t agents_min;
};

/* The mode of that name, whatever its case; NULL: unknown. */
const struct mode *mode_find(struct str name);
/* All names, for messages: "majority, weighted, ...". Static. */
const char *mode_names(void);
/* What a plan of this mode asks for when its creator asked for `wanted_ppm` (0: nothing). */
int64_t mode_threshold(const struct mode *m, int64_t wanted_ppm);
/* The rule for the counting of this plan's votes. */
struct consensus_rule mode_rule(const struct mode *m, const struct debate_plan *plan, int64_t threshold_ppm);
/* What a vote weighs for its voter's rating: clamp(1 + 0.3 (elo - 1500) / 500, 0.5, 2) of debate.md 3.5. */
int64_t mode_rating_weight(int64_t elo_milli);

#endif
