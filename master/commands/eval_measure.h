/* SPDX-License-Identifier: MIT */
/*
 * What an evaluation measures: one sample per question and arm, and the figures over all of them, with intervals. Pure
 * arithmetic, the same for simulated agents (make eval) and for real ones (aragorad eval).
 */
#ifndef MASTER_COMMANDS_EVAL_MEASURE_H
#define MASTER_COMMANDS_EVAL_MEASURE_H

#include "common/str.h"

#define EVAL_Z95 1.959964  /* of a two-sided interval of 95 % */
#define EVAL_Z999 3.290527 /* of 99.9 %: what decides whether a check of the engine fails */
#define EVAL_ECE_BINS 10
#define EVAL_RESAMPLES 1000

/* One question under one arm. */
struct eval_sample {
	bool right, consensus;
	double confidence; /* 0 … 1 that the arm claims; below 0: it claims none */
	int64_t tokens, calls, cost_micro;
	int64_t right_to_wrong, wrong_to_right; /* participants between their draft and their last text */
};

struct eval_interval {
	double low, high;
};

/* The figures of one arm; tokens, calls and cost are means per question. */
struct eval_row {
	const char *name; /* not owned */
	size_t n;
	double accuracy;
	struct eval_interval range; /* Wilson, 95 % */
	double gain;                /* accuracy minus the baseline's on the same questions */
	struct eval_interval gain_range;
	double tokens, calls, cost_usd;
	int64_t right_to_wrong, wrong_to_right;
	double brier, ece; /* of the claimed confidence; below 0: none was claimed */
	double consensus;  /* share of questions */
};

/* Wilson's score interval of `right` of n at z standard deviations; 0 … 1 for n = 0. */
struct eval_interval eval_wilson(size_t right, size_t n, double z);
/*
 * Bootstrap interval of the mean of x[i] - y[i], right being 1, over EVAL_RESAMPLES resamples of the questions. The
 * same seed gives the same interval. z decides the share left out at each end.
 */
struct eval_interval eval_paired(const struct eval_sample *x, const struct eval_sample *y, size_t n, double z,
				 uint64_t seed);
/* Mean squared error of the claimed confidence; -1 if none was claimed. */
double eval_brier(const struct eval_sample *s, size_t n);
/* Expected calibration error over EVAL_ECE_BINS bins of equal width; -1 if none was claimed. */
double eval_ece(const struct eval_sample *s, size_t n);
/* All figures; `baseline` has as many samples, of the same questions, and may be `s` itself. */
struct eval_row eval_row(const char *name, const struct eval_sample *s, const struct eval_sample *baseline, size_t n);
/* Probability that more than half of n independent voters, each right with probability p, are right; ties count half.
 */
double eval_majority(unsigned n, double p);

#endif
