/* SPDX-License-Identifier: MIT */
/*
 * Private to worker/ranking/: the arithmetic of a match and of reputations, without database
 */
#ifndef WORKER_RANKING_RANKING_MATH_H
#define WORKER_RANKING_RANKING_MATH_H

#include "worker/ranking/calibration_math.h"
#include "worker/ranking/ranking.h"

#define RANKING_START 1500000                              /* milli-points of who has not played yet */
#define RANKING_FLOOR 100000                               /* what a refuted claim cannot take (debate.md 5.2) */
#define RANKING_PROVISIONAL 10                             /* matches below which a rating is provisional */
#define RANKING_RECENT_MS (INT64_C(30) * 24 * 3600 * 1000) /* what "lately" means */
#define RANKING_BOARD 10                                   /* rows of the board that an event brings */

struct ranking_player {
	const char *name;
	int64_t score;    /* only its share of a pair's sum counts */
	int64_t before;   /* milli-points */
	bool provisional; /* moves faster */
	int64_t change;   /* 0 before ranking_changes() */
};

/* Expected share of the first against the second, 0 to 1. */
double ranking_expected(int64_t mine_milli, int64_t other_milli);
/* Fills change; among players of equal K the sum over all is 0. Confidence counts from 0.1 to 1. */
void ranking_changes(struct ranking_player *p, size_t n, int64_t confidence_ppm);

/* Did two agents hold one position at the end of the debate? */
bool ranking_same_side(const json_t *result, struct str x, struct str y);

/* What a reputation is made of; accepted of debates, valuable of critiques. */
struct ranking_record {
	int64_t debates, accepted, critiques, valuable;
};

/* 0.6 accepted / debates + 0.4 valuable / critiques in ppm, one half for what there is none of (debate.md 5.6). */
int64_t ranking_reputation(const struct ranking_record *r);

#endif
