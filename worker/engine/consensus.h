/* SPDX-License-Identifier: MIT */
/*
 * The rules of the decision: which proposals are the same, what the votes weigh, who has won and whether that is a
 * consensus. Pure integer arithmetic in parts per million on at most CONSENSUS_MAX proposals and votes.
 */
#ifndef WORKER_ENGINE_CONSENSUS_H
#define WORKER_ENGINE_CONSENSUS_H

#include "common/arena.h"
#include "worker/engine/similarity.h"

#define CONSENSUS_MAX 32
#define CONSENSUS_ONE 1000000
#define CONSENSUS_SAME_PPM 850000 /* proposals at least this alike pool their votes */
#define CONSENSUS_SELF_PPM 500000 /* weight of a vote for oneself */
#define CONSENSUS_POSITION_PPM \
	600000 /* positions with fewer words in common are different answers, however alike the prose around them */
#define CONSENSUS_POSITION_TFIDF_PPM \
	400000 /* the same by TF-IDF, where 0.6 of counts is 0.43; pairs in similarity_test.c say why less */

struct consensus_proposal {
	struct str name, text, position; /* author; full text; its one sentence */
	int64_t severity_milli;          /* mean severity of the critiques it received */
	size_t group;                    /* set by consensus_group: index of the group's first proposal */
};

struct consensus_vote {
	bool valid;    /* false: failed or abstained */
	size_t choice; /* index of a proposal */
	int64_t confidence_ppm;
	int64_t weight_ppm;
	int64_t elo_milli; /* of the voter, for ties; 0: not known */
	bool person;       /* somebody who watches: weighs, but is no head and no quorum */
};

/* What makes a leading group the winner. */
struct consensus_rule {
	int64_t threshold_ppm; /* of the weighted share */
	bool unanimous;        /* all valid votes, instead of a share */
	size_t heads_min;      /* votes by head besides; 0: no matter */
	int64_t quorum_ppm;    /* share of the voters whose votes must be valid … */
	int64_t quorum_count;  /* … and their least number, but never more than there are */
	bool by_margin;        /* strength tells of the lead, not of the share */
};

/* What makes two proposals one. */
struct consensus_sameness {
	int64_t text_ppm;     /* likeness of the texts, or of the meanings below; above 1 all stand alone */
	bool by_meaning;      /* no matter the texts, the positions count alone */
	const int64_t *alike; /* n x n likenesses of the positions' meanings, or NULL: by their words */
	enum similarity_measure how;
	struct similarity_memo *memo; /* of the texts, or NULL */
};

struct consensus_tally {
	bool quorum, reached;
	size_t winner;                     /* index of a proposal; the best one also without quorum */
	size_t group;                      /* of the winner */
	size_t valid;                      /* votes that count */
	size_t heads[CONSENSUS_MAX];       /* by group */
	int64_t weight_ppm[CONSENSUS_MAX]; /* by group: sum of weight x confidence */
	int64_t share_ppm;                 /* heads of the winning group / valid votes */
	int64_t weighted_share_ppm;        /* the same by weight: the confidence of the decision */
	int64_t margin_ppm;                /* weighted, to the second group */
	const char *strength;              /* unanimous, strong, moderate, weak, split */
};

/* Could two positions, of one sentence each, be one: mostly the same words, not contradictory nor another answer? */
bool consensus_same_position(struct str x, struct str y);
/* The same by the measure of a debate, with the vectors that it has. */
bool consensus_one_answer(struct similarity_memo *memo, enum similarity_measure how, struct str x, struct str y);
/*
 * Joins each proposal to the first earlier group whose first member is near-identical and holds the same position. In
 * the given order, so it is deterministic. O(n²) comparisons of bounded texts.
 */
void consensus_group(struct arena *a, struct consensus_proposal *p, size_t n, const struct consensus_sameness *same);
/*
 * Counts n proposals and `voters` entries of v, persons among them. Ties: more confidence, then higher rated voters,
 * then milder criticism, then the name (debate.md 3.2).
 */
void consensus_count(const struct consensus_proposal *p, size_t n, const struct consensus_vote *v, size_t voters,
		     const struct consensus_rule *rule, struct consensus_tally *out);
/* "unanimous" only if all heads agree; else by the weighted share. */
const char *consensus_strength(int64_t weighted_share_ppm, bool all_agree);
/* The same by the lead over the second: among two answers a share of s is a lead of 2 s - 1. */
const char *consensus_strength_of_margin(int64_t margin_ppm, bool all_agree);

#endif
