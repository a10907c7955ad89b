/* SPDX-License-Identifier: MIT */
/*
 * Factors of votes, calibrated confidences and votes of people (debate.md 3.2, 3.4, 3.5, 5.5). Called inside the steps
 * that read a vote or settle the decision, so that what is computed here is journalled. Knows no database.
 */
#include "worker/engine/weight.h"

#include <math.h>

#include "common/json.h"
#include "worker/engine/mode.h"

#define WEIGHT_LENGTHY 3000 /* characters of a proposal from which a vote for it weighs less */
#define WEIGHT_VERBOSITY_MAX 300000
#define WEIGHT_SCALED_FROM 10 /* samples */
#define WEIGHT_HEATED_FROM 20
#define WEIGHT_ADAPT_FROM 5
#define WEIGHT_ADAPT_MAX 850000
#define WEIGHT_RATING 1500000 /* milli-points of who is not rated yet */
#define WEIGHT_INTENSITY 5    /* when none is given */
#define WEIGHT_CHOICE_MIN 3   /* bytes of a part of a name */

static int64_t weight_clamp(int64_t v, int64_t least, int64_t most)
{
	return v < least ? least : v > most ? most : v;
}

/* ---- factors ---- */

int64_t weight_rating(const json_t *standing)
{
	return json_get_int(standing, "domain_elo_milli", json_get_int(standing, "elo_milli", WEIGHT_RATING));
}

static int64_t weight_elo(const json_t *s)
{
	return mode_rating_weight(weight_rating(s));
}

/* clamp(0.5 + score + 0.2 (calibration - 0.5), 0.4, 1.6); what is unknown of the two is one half. */
static int64_t weight_reputation(const json_t *s)
{
	int64_t calibration = json_get_int(s, "calibration_ppm", WEIGHT_ONE / 2);

	return weight_clamp(WEIGHT_ONE / 2 + json_get_int(s, "reputation_ppm", WEIGHT_ONE / 2) +
				(calibration - WEIGHT_ONE / 2) / 5,
			    400000, 1600000);
}

static int64_t weight_calibration(const json_t *s)
{
	return WEIGHT_ONE / 2 + json_get_int(s, "calibration_ppm", WEIGHT_ONE / 2);
}

static int64_t weight_consistency(const json_t *s)
{
	return WEIGHT_ONE / 2 + json_get_int(s, "consistency_ppm", WEIGHT_ONE) / 2;
}

static int64_t weight_reliability(const json_t *s)
{
	return json_get_int(s, "reliability_ppm", WEIGHT_ONE);
}

static const struct {
	const char *name;
	int64_t (*of)(const json_t *standing);
} weight_factors[] = {
    {"elo_ppm", weight_elo},
    {"reputation_ppm", weight_reputation},
    {"calibration_ppm", weight_calibration},
    {"consistency_ppm", weight_consistency},
    {"reliability_ppm", weight_reliability},
};

/* 1 - min(0.3, 0.1 (length / 1000 - 3)). */
static int64_t weight_verbosity(size_t length)
{
	int64_t over = length > WEIGHT_LENGTHY ? (int64_t)(length - WEIGHT_LENGTHY) * 100 : 0;

	return WEIGHT_ONE - (over < WEIGHT_VERBOSITY_MAX ? over : WEIGHT_VERBOSITY_MAX);
}

static void weight_apply(int64_t *weight, json_t *factors, const char *name, int64_t factor)
{
	if (factor == WEIGHT_ONE)
		return;
	json_put_int(factors, name, factor);
	*weight = *weight * factor / WEIGHT_ONE;
}

/* Of m equal texts each is taken by one author in m on average: self_ppm for that one, and one for the others. */
static int64_t weight_self(const struct protocol *p, size_t holders)
{
	return holders > 0 ? WEIGHT_ONE - (WEIGHT_ONE - p->self_ppm) / (int64_t)holders : WEIGHT_ONE;
}

int64_t weight_of(const struct protocol *p, const struct weight_vote *v, json_t *factors)
{
	int64_t weight = WEIGHT_ONE, self = weight_self(p, v->holders);
	size_t i;

	for (i = 0; v->known && v->standing != NULL && i < countof(weight_factors); i++)
		weight_apply(&weight, factors, weight_factors[i].name, weight_factors[i].of(v->standing));
	if (v->holders > 0)
		weight_apply(&weight, factors, "self_ppm", self);
	if (p->verbosity_penalty)
		weight_apply(&weight, factors, "verbosity_ppm", weight_verbosity(v->length));
	/* Who gave votes for oneself no weight at all means it. */
	return self == 0 ? 0 : weight_clamp(weight, WEIGHT_MIN, WEIGHT_MAX);
}

/* ---- confidences ---- */

/* sigma(logit(c) / T), clamped to 0.05 … 0.95 (debate.md 5.5). */
static int64_t weight_heated(int64_t ppm, int64_t temperature_milli)
{
	double c = (double)weight_clamp(ppm, 1, WEIGHT_ONE - 1) / WEIGHT_ONE;
	double z = log(c / (1 - c)) * 1000 / (double)temperature_milli;

	return weight_clamp((int64_t)(WEIGHT_ONE / (1 + exp(-z)) + 0.5), 50000, 950000);
}

/* By up to 30 % against the bias, in full from an expected error of 0.2 on. */
static int64_t weight_scaled(int64_t ppm, int64_t bias_ppm, int64_t ece_ppm)
{
	int64_t by = 300000 * weight_clamp(ece_ppm, 0, 200000) / 200000;

	if (bias_ppm == 0)
		return ppm;
	return weight_clamp(ppm * (WEIGHT_ONE + (bias_ppm > 0 ? -by : by)) / WEIGHT_ONE, 0, WEIGHT_ONE);
}

int64_t weight_confidence(const json_t *standing, int64_t ppm)
{
	int64_t samples = json_get_int(standing, "samples", 0),
		temperature = json_get_int(standing, "temperature_milli", 0);

	if (samples >= WEIGHT_HEATED_FROM && temperature > 0)
		return weight_heated(ppm, temperature);
	if (samples >= WEIGHT_SCALED_FROM)
		return weight_scaled(ppm, json_get_int(standing, "bias_ppm", 0), json_get_int(standing, "ece_ppm", 0));
	return ppm;
}

/* clamp(threshold + 0.3 (mean Brier - 0.25), 0.5, 0.85). */
int64_t weight_threshold(const json_t *standing, int64_t threshold_ppm)
{
	int64_t sum = 0, n = 0, most = threshold_ppm > WEIGHT_ADAPT_MAX ? threshold_ppm : WEIGHT_ADAPT_MAX;
	const char *agent;
	json_t *s;

	json_object_foreach((json_t *)(uintptr_t)standing, agent,
			    s) if (json_get_int(s, "samples", 0) >= WEIGHT_ADAPT_FROM &&
				   json_object_get(s, "brier_ppm") != NULL)
	{
		sum += json_get_int(s, "brier_ppm", 0);
		n++;
	}
	if (n == 0)
		return threshold_ppm;
	return weight_clamp(threshold_ppm + (sum / n - WEIGHT_ONE / 4) * 3 / 10, WEIGHT_ONE / 2, most);
}

/* ---- people ---- */

int64_t weight_person(int64_t audience_ppm, int64_t intensity)
{
	int64_t i = weight_clamp(intensity, 1, 10);

	if (i <= WEIGHT_INTENSITY)
		return audience_ppm / 2 + audience_ppm * (i - 1) / 8;
	return audience_ppm + audience_ppm * (i - WEIGHT_INTENSITY) / 5;
}

/* Ways to name an agent, surest first; where the name is a part of the words the longest such name is meant. */
enum weight_way { WEIGHT_EXACT, WEIGHT_ANY_CASE, WEIGHT_BEGINNING, WEIGHT_WITHIN, WEIGHT_WAYS };

static bool weight_names(struct str words, struct str name, enum weight_way way)
{
	switch (way) {
	case WEIGHT_EXACT:
		return str_eq(words, name);
	case WEIGHT_ANY_CASE:
		return str_ieq(words, name);
	case WEIGHT_BEGINNING:
		return words.n >= WEIGHT_CHOICE_MIN && str_istarts(name, words);
	case WEIGHT_WITHIN:
	case WEIGHT_WAYS:
		break;
	}
	return name.n >= WEIGHT_CHOICE_MIN && str_ifind(words, name) >= 0;
}

const struct agent_spec *weight_choice(const struct debate_plan *plan, struct str words)
{
	const struct agent_spec *found = NULL;
	bool unsure = false;
	int way;
	size_t i;

	words = str_trim(words);
	for (way = 0; words.n > 0 && found == NULL && way < WEIGHT_WAYS; way++)
		for (i = 0; i < plan->agent_count; i++) {
			const struct agent_spec *s = &plan->agents[i];

			if (!weight_names(words, s->name, way))
				continue;
			if (found == NULL || (way == WEIGHT_WITHIN && s->name.n > found->name.n)) {
				found = s;
				unsure = false;
			} else if (way != WEIGHT_WITHIN || s->name.n == found->name.n) {
				unsure = true;
			}
		}
	return unsure ? NULL : found;
}

static bool weight_is_vote(const json_t *item)
{
	struct str kind = json_get_str(item, "kind", STR(""));

	return str_eqz(kind, "user_vote") || str_eqz(kind, "vote");
}

/* {user: index of its last vote}. */
static json_t *weight_last(const json_t *items)
{
	json_t *last = json_object();
	size_t i;

	for (i = 0; i < json_array_size(items); i++) {
		struct str user = json_get_str(json_array_get(items, i), "user_id", STR(""));

		if (user.n > 0 && weight_is_vote(json_array_get(items, i)))
			json_object_setn_new(last, user.p, user.n, json_integer((json_int_t)i));
	}
	return last;
}

/* Who is not known by name counts once for each vote. */
static bool weight_counts(const json_t *items, size_t i, const json_t *last)
{
	struct str user = json_get_str(json_array_get(items, i), "user_id", STR(""));

	return weight_is_vote(json_array_get(items, i)) &&
	       (user.n == 0 || json_integer_value(json_object_getn(last, user.p, user.n)) == (json_int_t)i);
}

static json_t *weight_person_vote(const struct debate_plan *plan, const json_t *item)
{
	const json_t *payload = json_get_obj(item, "payload");
	struct str words = json_get_str(payload, "choice", json_get_str(payload, "vote", STR("")));
	const struct agent_spec *choice = weight_choice(plan, words);
	json_t *o;

	if (choice == NULL)
		return NULL;
	o = json_object();
	json_put_str(o, "choice", choice->name);
	json_put_int(o, "weight_ppm",
		     weight_person(plan->protocol.audience_ppm, json_get_int(payload, "intensity", WEIGHT_INTENSITY)));
	return o;
}

static void weight_cap(json_t *votes, int64_t most)
{
	int64_t sum = 0;
	json_t *v;
	size_t i;

	json_array_foreach(votes, i, v) sum += json_get_int(v, "weight_ppm", 0);
	if (sum <= most)
		return;
	json_array_foreach(votes, i, v) json_put_int(v, "weight_ppm", json_get_int(v, "weight_ppm", 0) * most / sum);
}

json_t *weight_audience(const struct debate_plan *plan, const json_t *items, size_t seats)
{
	json_t *out = json_array(), *last = weight_last(items), *vote;
	size_t i, from = 0;

	if (json_array_size(items) > WEIGHT_AUDIENCE_MAX)
		from = json_array_size(items) - WEIGHT_AUDIENCE_MAX;
	for (i = from; plan->protocol.audience_ppm > 0 && i < json_array_size(items); i++) {
		if (!weight_counts(items, i, last))
			continue;
		vote = weight_person_vote(plan, json_array_get(items, i));
		if (vote != NULL)
			json_array_append_new(out, vote);
	}
	json_decref(last);
	weight_cap(out, plan->protocol.audience_ppm * (int64_t)seats);
	return out;
}
