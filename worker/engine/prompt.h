/* SPDX-License-Identifier: MIT */
/*
 * What the agents are told. Every text that is not ours (task, context, other agents' words, people's suggestions) goes
 * in between marks that it cannot contain, with the rule that nothing inside is an instruction. Participants' names
 * never appear.
 */
#ifndef WORKER_ENGINE_PROMPT_H
#define WORKER_ENGINE_PROMPT_H

#include "worker/engine/role.h"
#include "worker/engine/step.h"

#define PROMPT_TEXT_MAX 24000  /* bytes of a proposal for its critic or author */
#define PROMPT_BALLOT_MAX 6000 /* bytes of each proposal for voters and judge */
#define PROMPT_WINNER_MAX 16000
#define PROMPT_OTHER_MAX 1500 /* bytes of each further position in a synthesis */

struct prompt {
	struct str system, text;
};

struct prompt_item {
	struct str label, text;
};

/* `text` cut to max bytes at a character, participants' names replaced unless the task speaks of them. O(n x agents).
 */
struct str prompt_anonymous(struct arena *a, const struct debate_plan *plan, struct str text, size_t max);

/* The labels P1 … Pn of one reader's ballot replaced by the names behind them, for those who watch. O(n). */
struct str prompt_reveal(struct arena *a, struct str text, const char *const *names, size_t n);

/* Whose turn it is, and what he is told besides the material. Texts must have been made anonymous. */
struct prompt_turn {
	const struct agent_spec *agent;
	struct role role;    /* of this round; votes, rulings and syntheses have none */
	const json_t *notes; /* people's suggestions, an array of strings, or NULL */
	struct str lacks;    /* a revision in a hollow agreement: what the text is short of ("sources, reasons") */
	bool stale;          /* a revision: little of the last one was new */
};

/* All of the arena. */
void prompt_propose(struct arena *a, const struct debate_plan *plan, const struct prompt_turn *turn,
		    struct prompt *out);
void prompt_critique(struct arena *a, const struct debate_plan *plan, const struct prompt_turn *turn,
		     struct str proposal, struct prompt *out);
/* critiques: [{issues[], suggestions[], severity_milli, reasoning}] of this round; made anonymous here. */
void prompt_revise(struct arena *a, const struct debate_plan *plan, const struct prompt_turn *turn, struct str own,
		   const json_t *critiques, struct prompt *out);
void prompt_vote(struct arena *a, const struct debate_plan *plan, const struct prompt_turn *turn,
		 const struct prompt_item *items, size_t n, struct prompt *out);
void prompt_judge(struct arena *a, const struct debate_plan *plan, const struct prompt_turn *turn,
		  const struct prompt_item *items, size_t n, struct prompt *out);

/* Who is to rule: one of the authors of the items, but not of number `own` (n: none of them is the reader's). */
void prompt_elect(struct arena *a, const struct debate_plan *plan, const struct prompt_turn *turn,
		  const struct prompt_item *items, size_t n, size_t own, struct prompt *out);

struct prompt_outcome {
	struct str winner;                /* "" in a debate without decision */
	const struct prompt_item *others; /* the remaining positions */
	size_t other_count;
	struct str verdict;       /* one sentence: how it was decided */
	const json_t *objections; /* strings: reasons of dissenters and the gravest criticism of the winner */
};
void prompt_synthesis(struct arena *a, const struct debate_plan *plan, const struct prompt_turn *turn,
		      const struct prompt_outcome *o, struct prompt *out);
/* What stands in for a synthesis that no agent wrote: a function of the outcome alone. */
struct str prompt_frame(struct arena *a, const struct prompt_outcome *o);

#endif
