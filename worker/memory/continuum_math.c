/* SPDX-License-Identifier: MIT */
/*
 * Formulas of continuum memory. Called by continuum.c and its routes. Keeps nothing and reads no clock.
 */
#include "worker/memory/continuum_math.h"

#include <math.h>

#define HOUR_MS INT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)

/* rest-wide 6.1: half-lives from an hour to a month, each with its thresholds. */
const struct continuum_rules continuum_rules[CONTINUUM_TIERS] = {
    {"fast", "What the last hours brought", HOUR_MS, 300000, 950000, CONTINUUM_ONE, 200000, 1000, 24000000},
    {"medium", "What the last days brought", 24 * HOUR_MS, 100000, 990000, 700000, 300000, 5000, 1000000},
    {"slow", "What has held for weeks", 168 * HOUR_MS, 30000, 999000, 600000, 400000, 10000, 140000},
    {"glacial", "What has held for months", 720 * HOUR_MS, 10000, 999900, 500000, CONTINUUM_ONE, 50000, 30000},
};

bool continuum_tier_find(struct str name, enum continuum_tier *out)
{
	size_t i;

	for (i = 0; i < CONTINUUM_TIERS; i++)
		if (str_ieqz(name, continuum_rules[i].name)) {
			*out = (enum continuum_tier)i;
			return true;
		}
	return false;
}

int64_t continuum_retention_ms(enum continuum_tier t)
{
	return 2 * continuum_rules[t].half_life_ms;
}

double continuum_learning_rate(enum continuum_tier t, int64_t updates)
{
	return (double)continuum_rules[t].learn_ppm / 1e6 *
	       pow((double)continuum_rules[t].learn_decay_ppm / 1e6, (double)updates);
}

int64_t continuum_consolidation(int64_t updates)
{
	double v = log1p((double)updates) / log(100.0);

	return v >= 1.0 ? CONTINUUM_ONE : (int64_t)(v * CONTINUUM_ONE);
}

double continuum_score(enum continuum_tier t, int64_t importance_ppm, int64_t surprise_ppm, int64_t age_ms)
{
	double days = age_ms > 0 ? (double)age_ms / (double)DAY_MS : 0.0;

	return (double)importance_ppm / 1e6 * (1.0 + (double)surprise_ppm / 1e6) /
	       (1.0 + days * ((double)continuum_rules[t].recency_ppm / 1e6));
}

bool continuum_promotes(enum continuum_tier t, int64_t surprise_ppm, int64_t since_move_ms)
{
	return t != CONTINUUM_FAST && surprise_ppm > continuum_rules[t].promote_ppm &&
	       since_move_ms >= CONTINUUM_COOLDOWN_MS;
}

bool continuum_demotes(enum continuum_tier t, int64_t surprise_ppm, int64_t updates, int64_t since_move_ms)
{
	if (t == CONTINUUM_GLACIAL || CONTINUUM_ONE - surprise_ppm <= continuum_rules[t].demote_ppm ||
	    updates <= CONTINUUM_DEMOTE_UPDATES || since_move_ms < CONTINUUM_COOLDOWN_MS)
		return false;
	return t != CONTINUUM_SLOW ||
	       (continuum_consolidation(updates) >= 800000 && surprise_ppm <= 200000 && updates >= 20);
}

enum continuum_fate continuum_gate(int64_t age_ms, int64_t updates, int64_t surprise_ppm)
{
	double recency = pow(0.5, (double)(age_ms > 0 ? age_ms : 0) / (double)(30 * DAY_MS));
	double score =
	    0.4 * recency + 0.3 * (double)continuum_consolidation(updates) / 1e6 + 0.3 * (double)surprise_ppm / 1e6;

	return score >= 0.3 ? CONTINUUM_KEEP : score >= 0.15 ? CONTINUUM_DEMOTE : CONTINUUM_FORGET;
}

int64_t continuum_outcome_importance(int64_t confidence_ppm, bool consensus)
{
	int64_t v = (confidence_ppm + CONTINUUM_ONE / 2) * 2 / 3;

	v = v < 950000 ? v : 950000;
	v += consensus ? 100000 : 0;
	return v < CONTINUUM_ONE ? v : CONTINUUM_ONE;
}

enum continuum_tier continuum_outcome_tier(int64_t rounds, int64_t confidence_ppm)
{
	if (rounds >= 2 && confidence_ppm > 700000)
		return CONTINUUM_FAST;
	return rounds >= 1 && confidence_ppm > 500000 ? CONTINUUM_MEDIUM : CONTINUUM_SLOW;
}
