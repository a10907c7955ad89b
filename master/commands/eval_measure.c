/* SPDX-License-Identifier: MIT */
/*
 * Statistics of evaluations (eval_measure.h). Called by `aragorad eval` and by the simulations of `make eval`. Knows
 * nothing of questions and agents; draws from a generator with a seed, never from the machine's.
 */
#include "master/commands/eval_measure.h"

#include <math.h>
#include <stdlib.h>

#include "worker/engine/topology.h"

struct eval_interval eval_wilson(size_t right, size_t n, double z)
{
	double p, middle, half, scale;

	if (n == 0)
		return (struct eval_interval){0, 1};
	p = (double)right / (double)n;
	scale = 1 + z * z / (double)n;
	middle = (p + z * z / (2 * (double)n)) / scale;
	half = z * sqrt(p * (1 - p) / (double)n + z * z / (4 * (double)n * (double)n)) / scale;
	return (struct eval_interval){fmin(p, fmax(0, middle - half)), fmax(p, fmin(1, middle + half))};
}

static int eval_compare(const void *x, const void *y)
{
	int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;

	return (a > b) - (a < b);
}

struct eval_interval eval_paired(const struct eval_sample *x, const struct eval_sample *y, size_t n, double z,
				 uint64_t seed)
{
	int64_t *sums = xcalloc(EVAL_RESAMPLES, sizeof(*sums));
	struct eval_interval range = {-1, 1};
	double tail = erfc(z / sqrt(2)) / 2;
	size_t i, k, out = (size_t)(tail * EVAL_RESAMPLES);

	for (i = 0; i < EVAL_RESAMPLES && n > 0; i++) {
		sums[i] = 0;
		for (k = 0; k < n; k++) {
			size_t at = (size_t)(topology_next(&seed) % n);

			sums[i] += x[at].right - y[at].right;
		}
	}
	qsort(sums, EVAL_RESAMPLES, sizeof(sums[0]), eval_compare);
	if (n > 0)
		range = (struct eval_interval){(double)sums[out] / (double)n,
					       (double)sums[EVAL_RESAMPLES - 1 - out] / (double)n};
	free(sums);
	return range;
}

double eval_brier(const struct eval_sample *s, size_t n)
{
	double sum = 0;
	size_t i, claimed = 0;

	for (i = 0; i < n; i++) {
		if (s[i].confidence < 0)
			continue;
		sum += (s[i].confidence - s[i].right) * (s[i].confidence - s[i].right);
		claimed++;
	}
	return claimed > 0 ? sum / (double)claimed : -1;
}

double eval_ece(const struct eval_sample *s, size_t n)
{
	double confidence[EVAL_ECE_BINS] = {0}, right[EVAL_ECE_BINS] = {0}, sum = 0;
	size_t i, bin, claimed = 0;

	for (i = 0; i < n; i++) {
		if (s[i].confidence < 0)
			continue;
		bin = (size_t)(s[i].confidence * EVAL_ECE_BINS);
		bin = bin < EVAL_ECE_BINS ? bin : EVAL_ECE_BINS - 1;
		confidence[bin] += s[i].confidence;
		right[bin] += s[i].right;
		claimed++;
	}
	for (bin = 0; bin < EVAL_ECE_BINS; bin++)
		sum += fabs(confidence[bin] - right[bin]);
	return claimed > 0 ? sum / (double)claimed : -1;
}

struct eval_row eval_row(const char *name, const struct eval_sample *s, const struct eval_sample *baseline, size_t n)
{
	struct eval_row r = {.name = name, .n = n, .brier = eval_brier(s, n), .ece = eval_ece(s, n)};
	double m = n > 0 ? (double)n : 1;
	size_t i, right = 0, base = 0, reached = 0;

	for (i = 0; i < n; i++) {
		right += s[i].right;
		base += baseline[i].right;
		reached += s[i].consensus;
		r.tokens += (double)s[i].tokens / m;
		r.calls += (double)s[i].calls / m;
		r.cost_usd += (double)s[i].cost_micro / 1e6 / m;
		r.right_to_wrong += s[i].right_to_wrong;
		r.wrong_to_right += s[i].wrong_to_right;
	}
	r.accuracy = (double)right / m;
	r.range = eval_wilson(right, n, EVAL_Z95);
	r.gain = ((double)right - (double)base) / m;
	r.gain_range = eval_paired(s, baseline, n, EVAL_Z95, n + 1);
	r.consensus = (double)reached / m;
	return r;
}

double eval_majority(unsigned n, double p)
{
	double sum = 0, term = pow(1 - p, n); /* of exactly k right */
	unsigned k;

	for (k = 0; k <= n; k++) {
		if (2 * k >= n)
			sum += 2 * k == n ? term / 2 : term;
		term = p < 1 ? term * (n - k) / (k + 1) * p / (1 - p) : 0;
	}
	return p < 1 ? sum : 1;
}
