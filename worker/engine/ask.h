/* SPDX-License-Identifier: MIT */
/*
 * Private to the engine: the state of one run, and how its agents are asked. A phase collects questions, asks them
 * all at once, and is closed by a step; only then are answers taken over, in the order of the plan.
 */
#ifndef WORKER_ENGINE_ASK_H
#define WORKER_ENGINE_ASK_H

#include "worker/engine/decision.h"
#include "worker/engine/events.h"
#include "worker/engine/prompt.h"
#include "worker/engine/result.h"

struct engine {
	struct debate *d;
	const struct debate_plan *plan;
	struct arena *a;
	struct result result;
	struct seat *seats;
	size_t n;
	int round;                    /* that has begun; 0: drafts */
	int64_t spent_micro;          /* when the last round began */
	int64_t spent_tokens;         /* the same */
	int challenged_round;         /* after which evidence was asked for last; 0: never */
	const json_t *evidence;       /* of the last round's convergence */
	const json_t *standing;       /* what is known of the participants, or NULL; see step_standing() */
	const json_t *ratings;        /* of the participants, once the decision begins */
	const struct seat *judge;     /* who ruled, or NULL */
	struct similarity_memo *memo; /* of all texts and positions of this run */
	json_t *notes;                /* remarks of people so far; of the arena */
	json_t *people;               /* votes of people so far, as inbox items; of the arena */
	json_t *novelty;              /* {agent: [ppm of each text]}; of the arena */
	const json_t *progress;       /* what the last closed round brought, see progress.h; NULL: none yet */
	bool heard;                   /* what people want of the decision has been taken */
	const json_t *spared;         /* names of those whose votes were not needed, or NULL */
	const json_t *decision;
	struct str answer, synthesis;
	struct str convergence; /* status of the last round's */
	int64_t started_at_ms, ended_at_ms, running_ms;
};

/* One question to one agent. */
struct ask_call {
	struct engine *e;
	struct seat *seat, *target; /* target: whose text is judged, or NULL */
	struct seat **ballot;       /* P1 … Pn as this reader sees them, or NULL */
	size_t ballot_n;
	struct str key;
	struct step_call step;
	const json_t *result; /* NULL: the debate unwinds */
};

struct ask_kind {
	const char *phase;
	int max_tokens, temperature_ppm;
	bool stream;
	json_t *(*decode)(struct step *s, void *arg, struct str text);
};

/* Calls that run side by side. */
struct ask_phase {
	struct engine *e;
	const struct ask_kind *kind;
	struct ask_call *calls;
	size_t n, room;
};

/* The proposals as one reader sees them: P1 … Pn in an order of his own, without names. */
struct ask_ballot {
	struct seat **seats;
	struct prompt_item *items;
	const char **names;
	size_t n, own; /* own: n if the reader wrote none of them */
	json_t *facts;
};

/* Where an event of this run belongs; agent may be NULL. */
struct event_at ask_at(const struct engine *e, struct step *s, const char *agent);
/* A phase for at most `room` questions. */
struct ask_phase ask_open(struct engine *e, const struct ask_kind *kind, size_t room);
/* Adds a question; facts are taken over. */
struct ask_call *ask_add(struct ask_phase *ph, struct seat *seat, struct seat *target, const struct prompt *p,
			 json_t *facts);
/* Asks all at once and waits for all. What did come back is counted even if the debate has to unwind. */
CO_FN bool ask_all(struct ask_phase *ph) MUST_CHECK;
/*
 * Asks all, closes the phase, and has each answer that is in taken over. When the debate unwinds, what was said until
 * then is taken over too: the result of a cancelled debate shows it.
 */
CO_FN bool ask_run(struct ask_phase *ph, const char *close_key,
		   void (*take)(struct engine *e, const struct ask_call *c)) MUST_CHECK;
/* Of a call that succeeded: what decode made of the reply, and the reply. */
const json_t *ask_value(const struct ask_call *c);
struct str ask_text(const struct ask_call *c);

/* What is known of a participant, as in ranking_standing(); NULL: nothing. */
const json_t *ask_standing(const struct engine *e, const struct seat *seat);
/* Text as other agents may see it. */
struct str ask_hidden(const struct engine *e, struct str text, size_t max);
/* The ballot of a reader, in an order of his own; `purpose` tells ballots of one reader apart. */
void ask_ballot(struct engine *e, const struct seat *reader, const char *purpose, struct ask_ballot *b);
/* Labels differ from reader to reader; for those who watch, the names stand in their place. */
struct str ask_revealed(const struct ask_call *c, struct str text);

#endif
