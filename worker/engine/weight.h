/* SPDX-License-Identifier: MIT */
/*
 * What a vote weighs: factors from what is known of its voter (ranking_standing()), calibration of stated confidences,
 * votes of people who watch. Pure; parts per million. Who is not known weighs one in every respect.
 */
#ifndef WORKER_ENGINE_WEIGHT_H
#define WORKER_ENGINE_WEIGHT_H

#include "worker/engine/step.h"

#define WEIGHT_ONE 1000000
#define WEIGHT_MIN 100000
#define WEIGHT_MAX 5000000
#define WEIGHT_AUDIENCE_MAX 1000 /* people whose votes are counted, the latest ones */

/* The vote that is weighed. */
struct weight_vote {
	size_t holders;         /* of the voter's own answer, himself among them; 0: the vote is for another one */
	size_t length;          /* characters of the chosen proposal */
	bool known;             /* weigh by what is known of the voter */
	const json_t *standing; /* of the voter, or NULL */
};

/* Rating in milli-points: in the debate's domain if there is one, else over all, else where everybody starts. */
int64_t weight_rating(const json_t *standing);
/*
 * Product of the factors, WEIGHT_MIN to WEIGHT_MAX (debate.md 3.5). Factors that differ from one are put into the
 * object `factors` as "<name>_ppm".
 */
int64_t weight_of(const struct protocol *p, const struct weight_vote *v, json_t *factors);
/*
 * A stated confidence as the voter's record suggests to read it (debate.md 5.5): by temperature from 20 samples on,
 * else by up to 30 % against its bias from 10 on, else as stated.
 */
int64_t weight_confidence(const json_t *standing, int64_t ppm);
/*
 * The threshold for voters of this record: badly calibrated ones need more agreement (debate.md 3.5), never less than
 * one half. standing: {agent: …}.
 */
int64_t weight_threshold(const json_t *standing, int64_t threshold_ppm);

/* What one person's vote of this intensity (1 to 10) weighs: 5 -> audience_ppm, 1 -> half, 10 -> double. */
int64_t weight_person(int64_t audience_ppm, int64_t intensity);
/*
 * Votes of people from inbox items of kind "user_vote" or "vote", payload {choice, intensity 1 to 10 = 5}: the last one
 * of each user, [{choice, weight_ppm}]; choice is the agent meant, as in weight_choice(). Together they weigh at most
 * audience_ppm for each of the seats that are in: many people move a decision, they do not take it. New reference.
 */
json_t *weight_audience(const struct debate_plan *plan, const json_t *items, size_t seats);
/* The agent that a person's words name, exactly or by an unambiguous part; NULL: none. */
const struct agent_spec *weight_choice(const struct debate_plan *plan, struct str words);

#endif
