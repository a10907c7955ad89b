/* SPDX-License-Identifier: MIT */
/*
 * The rules of the decision: which proposals are the same, what the votes weigh, who has won and whether that is a
 * consensus. Pure integer arithmetic in parts per million on at most CONSENSUS_MAX proposals and votes.
 */
#ifndef WORKER_DEBATE_CONSENSUS_H
#define WORKER_DEBATE_CONSENSUS_H

#include "common/arena.h"

#define CONSENSUS_MAX 32
#define CONSENSUS_ONE 1000000
#define CONSENSUS_SAME_PPM 850000 /* proposals at least this alike pool their votes */
#define CONSENSUS_SELF_PPM 500000 /* weight of a vote for oneself */
#define CONSENSUS_POSITION_PPM \
	600000 /* positions less alike are different answers, however alike the prose around them */

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
};

/* What makes a leading group the winner. */
struct consensus_rule {
	int64_t threshold_ppm; /* of the weighted share */
	bool unanimous;        /* all valid votes, instead of a share */
	size_t heads_min;      /* votes by head besides; 0: no matter */
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
/*
 * Joins each proposal to the first earlier group whose first member is near-identical and holds the same position;
 * `by_meaning` the position alone counts. In the given order, so it is deterministic. O(n²) comparisons of bounded
 * texts.
 */
void consensus_group(struct arena *a, struct consensus_proposal *p, size_t n, bool by_meaning);
/*
 * Counts. Quorum: at least two and at least half of the voters have cast a valid vote. Ties: more confidence, then
 * milder criticism, then the name.
 */
void consensus_count(const struct consensus_proposal *p, size_t n, const struct consensus_vote *v, size_t voters,
		     const struct consensus_rule *rule, struct consensus_tally *out);
/* "unanimous" only if all heads agree; else by the weighted share. */
const char *consensus_strength(int64_t weighted_share_ppm, bool all_agree);

#endif
