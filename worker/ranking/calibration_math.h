/* SPDX-License-Identifier: MIT */
/*
 * How far can an agent's confidence be trusted? Figures over predictions whose outcome is known (debate.md 5.4, 5.5),
 * in parts per million. Pure: neither clock nor database. What a debate makes of them is in worker/engine/weight.h.
 */
#ifndef WORKER_RANKING_CALIBRATION_MATH_H
#define WORKER_RANKING_CALIBRATION_MATH_H

#include "common/compat.h"

#define CALIBRATION_SAMPLES_MIN 10 /* below it nothing is said */
#define CALIBRATION_FIT_MIN 20     /* samples that a temperature is fitted to */
#define CALIBRATION_BUCKETS 10
#define CALIBRATION_BUCKETS_MAX 20
#define CALIBRATION_HALF_LIFE_MS (INT64_C(30) * 24 * 3600 * 1000) /* of a sample's weight in the fit */

struct calibration_sample {
	int64_t confidence_ppm;
	bool correct;
	int64_t at_ms;
};

struct calibration_bucket {
	int64_t low_ppm, high_ppm;
	int64_t count, correct;
	int64_t brier_ppm; /* of the bucket; 0 if empty */
};

struct calibration {
	int64_t samples, correct;
	int64_t brier_ppm;         /* mean of (confidence - outcome)^2 */
	int64_t ece_ppm;           /* sum over 10 buckets of share x |accuracy - middle of the bucket| */
	int64_t bias_ppm;          /* mean confidence less accuracy */
	int64_t temperature_milli; /* 500 to 2000; 1000 below CALIBRATION_FIT_MIN samples */
	bool overconfident;        /* buckets from 0.7 promise on average over 0.1 more than they keep */
	bool underconfident;       /* buckets up to 0.5 keep on average over 0.1 more than they promise */
};

/* Sorts into n buckets of equal width, 1 to CALIBRATION_BUCKETS_MAX. */
void calibration_curve(const struct calibration_sample *s, size_t n, struct calibration_bucket *buckets,
		       size_t bucket_count);
/* All figures. now_ms is the age's zero for the fit. O(16 n). */
void calibration_of(const struct calibration_sample *s, size_t n, int64_t now_ms, struct calibration *out);
/* (1 - Brier) min(1, 0.5 + 0.5 (n - 10) / 40); 0 below 10 samples. */
int64_t calibration_score(int64_t samples, int64_t brier_ppm);

#endif
