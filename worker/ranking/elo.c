/* SPDX-License-Identifier: MIT */
/*
 * The arithmetic of Elo: everyone against everyone else, pair by pair, in whole milli-points. Called for the match of a
 * debate (match.c). Uses neither clock nor the mathematics library, so that every machine computes the same changes.
 */
#include "worker/ranking/ranking_math.h"

#define RANKING_K_MILLI 32000
#define RANKING_K_NEW_MILLI 40000 /* of provisional ratings, FIDE Handbook B.02 8.3.3 */
#define RANKING_LN10 2.302585092994046
#define RANKING_SPREAD 4000 /* points; beyond it the expectation does not change any more */
#define RANKING_HALVINGS 10
#define RANKING_TERMS 8

/* ---- arithmetic ---- */

/* 10^x for |x| <= 10 from additions and multiplications only: a Taylor series of a small argument, squared up again. */
static double ranking_pow10(double x)
{
	double y = x * RANKING_LN10 / (double)(1 << RANKING_HALVINGS), term = 1.0, sum = 1.0;
	int i;

	for (i = 1; i <= RANKING_TERMS; i++) {
		term = term * y / (double)i;
		sum += term;
	}
	for (i = 0; i < RANKING_HALVINGS; i++)
		sum *= sum;
	return sum;
}

double ranking_expected(int64_t mine_milli, int64_t other_milli)
{
	double points = (double)(other_milli - mine_milli) / 1000.0;

	if (points > RANKING_SPREAD)
		points = RANKING_SPREAD;
	else if (points < -RANKING_SPREAD)
		points = -RANKING_SPREAD;
	return 1.0 / (1.0 + ranking_pow10(points / 400.0));
}

static int64_t ranking_round(double v)
{
	return v < 0 ? -(int64_t)(0.5 - v) : (int64_t)(v + 0.5);
}

static int64_t ranking_gain(const struct ranking_player *p, double share_over_expected)
{
	return ranking_round((p->provisional ? RANKING_K_NEW_MILLI : RANKING_K_MILLI) * share_over_expected);
}

/*
 * Between two of equal K what one gains the other loses. The sum over opponents is divided by their number: a win among
 * ten is worth as much as a win between two.
 */
void ranking_changes(struct ranking_player *p, size_t n, int64_t confidence_ppm)
{
	double weight = (double)(confidence_ppm < 100000    ? 100000
				 : confidence_ppm > 1000000 ? 1000000
							    : confidence_ppm) /
			1e6;
	size_t i, k;

	for (i = 0; i < n; i++)
		for (k = i + 1; k < n; k++) {
			int64_t both = p[i].score + p[k].score;
			double result = both == 0 ? 0.5 : (double)p[i].score / (double)both;
			double over = weight * (result - ranking_expected(p[i].before, p[k].before)) / (double)(n - 1);

			p[i].change += ranking_gain(&p[i], over);
			p[k].change -= ranking_gain(&p[k], over);
		}
}
