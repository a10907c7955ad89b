/* SPDX-License-Identifier: MIT */
/*
 * How a debate runs besides who, how long and by which mode: the settings of debate.md 1.5, one table for the members
 * of a creation body, the plan and the engine. Pure.
 */
#ifndef WORKER_ENGINE_PROTOCOL_H
#define WORKER_ENGINE_PROTOCOL_H

#include <jansson.h>

#include "common/arena.h"

/* Shares are parts per million. */
struct protocol {
	/* The course. */
	bool structured_rounds;  /* each round has a goal: analysis, cross-examination, final position */
	bool role_rotation;      /* a cognitive role for each seat, another one each round */
	bool asymmetric_stances; /* seats argue for, against or between, whatever they hold */
	bool rotate_stances;     /* another stance each round */
	bool distinct;           /* of texts that are the same one is criticised for all */
	int64_t intensity;       /* 0 contests all, 10 integrates all; -1: nothing is said about it */
	int64_t sparsity_ppm;    /* share of the others who criticise a text in the sparse topology */
	/* Stops before the last round. */
	bool early_stopping;  /* agents who say that they are ready are heard */
	bool convergence;     /* texts that are stable and agree end the rounds */
	bool stability;       /* positions that nobody leaves end them, agreed or not */
	int64_t ready_ppm;    /* share of the seats that must be ready */
	int64_t rounds_min;   /* before readiness or stability may stop */
	int64_t converge_ppm; /* least likeness of each text to its former self */
	bool trickster;       /* agreement without evidence is challenged */
	int64_t novelty_ppm;  /* a text less new than this is challenged; 0: none is */
	/* The decision. */
	bool vote_weights;       /* votes also weigh by what is known of the voter */
	bool calibration;        /* stated confidences are corrected by what is known of the voter */
	bool adaptive_consensus; /* the threshold follows how well calibrated the voters are */
	bool verbosity_penalty;  /* a vote for a very long text weighs less */
	bool position_shuffling; /* each voter sees three orders */
	bool vote_early_stop;    /* who cannot change the decision any more is not asked for his vote */
	int64_t self_ppm;        /* weight of a vote for oneself */
	int64_t audience_ppm;    /* weight of a person's vote of middle intensity; 0: people's votes are not counted */
	int64_t group_ppm;       /* likeness from which proposals pool their votes; above 1: they never do */
	int64_t quorum_ppm;      /* share of the voters whose votes must be valid … */
	int64_t quorum_count;    /* … and their least number */
	int64_t judge;           /* enum protocol_judge */
};

enum protocol_judge {
	JUDGE_ELO_RANKED,
	JUDGE_CALIBRATED,
	JUDGE_LAST,
	JUDGE_RANDOM,
	JUDGE_VOTED,
	JUDGE_CRUX_AWARE,
	JUDGE_KINDS
};

/* Debates of plans that say nothing: as engine 2 ran them. */
struct protocol protocol_before(void);
/* What a new debate of this format ("light", "default", "full") has unless its creator says otherwise. */
struct protocol protocol_usual(struct str format, int64_t rounds, size_t agents, bool demo);

/* Of one bad setting; field as in the body. */
typedef void protocol_problem_fn(void *arg, const char *field, const char *message);
/*
 * Takes the settings that are in the body, at its top or inside `protocol` (the top wins), into *p. Bad ones, and
 * members of `protocol` that nobody knows, are told to problem() and left alone.
 */
void protocol_read(const json_t *body, int64_t rounds, struct protocol *p, protocol_problem_fn *problem, void *arg);

/*
 * The plan's member as that ENGINE_VERSION has it, new reference; and back: what is absent there is as in
 * protocol_before().
 */
json_t *protocol_json(const struct protocol *p, int version);
struct protocol protocol_decode(const json_t *o);
/* The stored member as a creation body would say it: shares from 0 to 1, judges by name. New reference. */
json_t *protocol_view(const json_t *stored);

#endif
