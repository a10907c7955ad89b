/* SPDX-License-Identifier: MIT */
/*
 * The arithmetic of calibration, see its header. Called where outcomes are recorded, by its job and by who shows
 * figures. Logarithm and exponential are made of the four operations, so that every machine computes the same.
 */
#include "worker/ranking/calibration_math.h"

#define CALIBRATION_ONE 1000000
#define CALIBRATION_LN2 0.693147180559945309
#define CALIBRATION_T_MIN 500 /* thousandths; grid of debate.md 5.5 */
#define CALIBRATION_T_MAX 2000
#define CALIBRATION_T_STEP 100
#define CALIBRATION_APART 100000 /* over- and underconfident beyond it */

/* ---- elementary functions ---- */

/* ln x for x > 0: powers of two taken off, then 2 artanh((x - 1) / (x + 1)). */
static double calibration_ln(double x)
{
	double y, power, sum = 0;
	int k = 0, i;

	while (x > 1.5) {
		x /= 2;
		k++;
	}
	while (x < 0.75) {
		x *= 2;
		k--;
	}
	y = (x - 1) / (x + 1);
	power = y;
	for (i = 1; i < 20; i += 2) {
		sum += power / i;
		power *= y * y;
	}
	return 2 * sum + k * CALIBRATION_LN2;
}

/* e^x for |x| <= 60: a series of a small argument, squared up again. */
static double calibration_exp(double x)
{
	double y = x / 1024, term = 1, sum = 1;
	int i;

	for (i = 1; i <= 8; i++) {
		term = term * y / i;
		sum += term;
	}
	for (i = 0; i < 10; i++)
		sum *= sum;
	return sum;
}

static double calibration_clamp(double v, double least, double most)
{
	return v < least ? least : v > most ? most : v;
}

/* sigma(logit(c) / T) */
static double calibration_scaled(double c, int64_t temperature_milli)
{
	double logit = calibration_ln(c / (1 - c));

	return 1 / (1 + calibration_exp(-logit * 1000 / (double)temperature_milli));
}

static int64_t calibration_ppm(double v)
{
	return v < 0 ? -(int64_t)(0.5 - v * CALIBRATION_ONE) : (int64_t)(v * CALIBRATION_ONE + 0.5);
}

static double calibration_real(int64_t ppm)
{
	return (double)ppm / CALIBRATION_ONE;
}

static double calibration_square(double confidence, bool correct)
{
	double d = confidence - correct;

	return d * d;
}

/* ---- figures ---- */

static size_t calibration_bucket(int64_t confidence_ppm, size_t bucket_count)
{
	int64_t c = confidence_ppm < 0 ? 0 : confidence_ppm;
	size_t k = (size_t)c * bucket_count / CALIBRATION_ONE;

	return k < bucket_count ? k : bucket_count - 1;
}

void calibration_curve(const struct calibration_sample *s, size_t n, struct calibration_bucket *buckets,
		       size_t bucket_count)
{
	double sums[CALIBRATION_BUCKETS_MAX] = {0};
	size_t i, k;

	BUG_ON(bucket_count == 0 || bucket_count > CALIBRATION_BUCKETS_MAX);
	for (k = 0; k < bucket_count; k++)
		buckets[k] =
		    (struct calibration_bucket){.low_ppm = (int64_t)(k * CALIBRATION_ONE / bucket_count),
						.high_ppm = (int64_t)((k + 1) * CALIBRATION_ONE / bucket_count)};
	for (i = 0; i < n; i++) {
		k = calibration_bucket(s[i].confidence_ppm, bucket_count);
		buckets[k].count++;
		buckets[k].correct += s[i].correct;
		sums[k] += calibration_square(calibration_real(s[i].confidence_ppm), s[i].correct);
	}
	for (k = 0; k < bucket_count; k++)
		if (buckets[k].count > 0)
			buckets[k].brier_ppm = calibration_ppm(sums[k] / (double)buckets[k].count);
}

/* Middle less accuracy, averaged over the buckets that have samples and lie within. */
static double calibration_excess(const struct calibration_bucket *b, int64_t from_ppm, int64_t to_ppm)
{
	double sum = 0;
	size_t k, n = 0;

	for (k = 0; k < CALIBRATION_BUCKETS; k++)
		if (b[k].count > 0 && b[k].low_ppm >= from_ppm && b[k].high_ppm <= to_ppm) {
			sum += calibration_real((b[k].low_ppm + b[k].high_ppm) / 2) -
			       (double)b[k].correct / (double)b[k].count;
			n++;
		}
	return n > 0 ? sum / (double)n : 0;
}

static double calibration_ece(const struct calibration_bucket *b, size_t n)
{
	double sum = 0;
	size_t k;

	for (k = 0; k < CALIBRATION_BUCKETS; k++)
		if (b[k].count > 0) {
			double off = (double)b[k].correct / (double)b[k].count -
				     calibration_real((b[k].low_ppm + b[k].high_ppm) / 2);

			sum += (off < 0 ? -off : off) * (double)b[k].count / (double)n;
		}
	return sum;
}

/* The temperature of the grid with the least Brier score, the nearest to 1 of equal ones; newer samples weigh more. */
static int64_t calibration_fit(const struct calibration_sample *s, size_t n, int64_t now_ms)
{
	int64_t best = 1000, t;
	double least = -1;
	size_t i;

	for (t = CALIBRATION_T_MIN; t <= CALIBRATION_T_MAX; t += CALIBRATION_T_STEP) {
		double sum = 0;

		for (i = 0; i < n; i++) {
			double age = s[i].at_ms < now_ms ? (double)(now_ms - s[i].at_ms) : 0;
			double halves = calibration_clamp(age / (double)CALIBRATION_HALF_LIFE_MS, 0, 60);
			double c = calibration_clamp(calibration_real(s[i].confidence_ppm), 0.01, 0.99);

			sum += calibration_exp(-halves * CALIBRATION_LN2) *
			       calibration_square(calibration_scaled(c, t), s[i].correct);
		}
		if (least < 0 || sum < least - 1e-9 || (sum < least + 1e-9 && llabs(t - 1000) < llabs(best - 1000))) {
			least = sum;
			best = t;
		}
	}
	return best;
}

void calibration_of(const struct calibration_sample *s, size_t n, int64_t now_ms, struct calibration *out)
{
	struct calibration_bucket b[CALIBRATION_BUCKETS];
	double brier = 0, sure = 0;
	size_t i;

	*out = (struct calibration){.samples = (int64_t)n, .temperature_milli = 1000};
	if (n == 0)
		return;
	for (i = 0; i < n; i++) {
		out->correct += s[i].correct;
		sure += calibration_real(s[i].confidence_ppm);
		brier += calibration_square(calibration_real(s[i].confidence_ppm), s[i].correct);
	}
	calibration_curve(s, n, b, CALIBRATION_BUCKETS);
	out->brier_ppm = calibration_ppm(brier / (double)n);
	out->ece_ppm = calibration_ppm(calibration_ece(b, n));
	out->bias_ppm = calibration_ppm((sure - (double)out->correct) / (double)n);
	out->overconfident = calibration_ppm(calibration_excess(b, 700000, CALIBRATION_ONE)) > CALIBRATION_APART;
	out->underconfident = calibration_ppm(-calibration_excess(b, 0, 500000)) > CALIBRATION_APART;
	if (n >= CALIBRATION_FIT_MIN)
		out->temperature_milli = calibration_fit(s, n, now_ms);
}

int64_t calibration_score(int64_t samples, int64_t brier_ppm)
{
	int64_t trust;

	if (samples < CALIBRATION_SAMPLES_MIN)
		return 0;
	trust = CALIBRATION_ONE / 2 + CALIBRATION_ONE / 2 * (samples - CALIBRATION_SAMPLES_MIN) / 40;
	return (CALIBRATION_ONE - brier_ppm) * (trust < CALIBRATION_ONE ? trust : CALIBRATION_ONE) / CALIBRATION_ONE;
}
