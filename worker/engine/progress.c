/* SPDX-License-Identifier: MIT */
/*
 * Novelty, readiness and stability of a round (debate.md 1.6, 1.7), in integers. Called by the closing step of a round;
 * decides nothing itself but the order in which the stops are looked at.
 */
#include "worker/engine/progress.h"

#include "common/json.h"
#include "worker/engine/consensus.h"

/* When rounds end: the thresholds of debate.md 1.6. */
#define PROGRESS_SURE_PPM 800000 /* who is less sure is not ready */
#define PROGRESS_KS_PPM 100000
#define PROGRESS_SCORE_PPM 850000

/* ---- novelty ---- */

json_t *progress_novelty(enum similarity_measure how, struct similarity_memo *memo, const json_t *messages, int round)
{
	size_t all = json_array_size(messages), first = all, begin, i, k;
	struct similarity_set *texts;
	struct arena *a = arena_new(0);
	json_t *out = json_object();

	while (first > 0 && json_get_int(json_array_get(messages, first - 1), "round", 0) == round)
		first--;
	begin = first > PROGRESS_EARLIER_MAX ? first - PROGRESS_EARLIER_MAX : 0;
	texts = similarity_set_new(a, how, all - begin);
	for (i = begin; i < all; i++)
		(void)similarity_set_add(
		    texts, similarity_memo_vector(memo, json_get_str(json_array_get(messages, i), "content", STR(""))));
	for (i = first; i < all; i++) {
		int64_t most = 0, alike;

		for (k = begin; k < first; k++) {
			alike = similarity_set_alike(texts, k - begin, i - begin);
			most = alike > most ? alike : most;
		}
		json_put_int(out, json_string_value(json_object_get(json_array_get(messages, i), "agent")),
			     SIMILARITY_ONE - most);
	}
	arena_free(a);
	return out;
}

/* Demo agents have nothing new to say, and are not asked for it. */
static json_t *progress_stale(const struct debate_plan *plan, int round, json_t *novelty)
{
	json_t *out = json_array(), *v;
	const char *agent;

	if (plan->demo || round >= plan->rounds)
		return out;
	json_object_foreach(novelty, agent, v) if (json_integer_value(v) < plan->protocol.novelty_ppm)
	    json_array_append_new(out, json_string(agent));
	return out;
}

/* ---- readiness ---- */

static json_t *progress_ready(const struct seat *seats, size_t n)
{
	int64_t ready = 0, of = 0;
	json_t *o = json_object();
	size_t i;

	for (i = 0; i < n; i++) {
		of += seats[i].in;
		ready += seats[i].in && seats[i].ready && seats[i].sure_ppm >= PROGRESS_SURE_PPM;
	}
	json_put_int(o, "seats", ready);
	json_put_int(o, "of", of);
	json_put_int(o, "share_ppm", of > 0 ? ready * SIMILARITY_ONE / of : 0);
	return o;
}

/* ---- stability ---- */

json_t *progress_groups(const struct debate_plan *plan, struct similarity_memo *memo, const struct seat *seats,
			size_t n)
{
	struct consensus_proposal *p;
	struct arena *a = arena_new(0);
	json_t *out = json_array();
	size_t sizes[CONSENSUS_MAX] = {0}, i, k, in = 0;

	BUG_ON(n > CONSENSUS_MAX);
	p = arena_zalloc(a, (n + 1) * sizeof(*p));
	for (i = 0; i < n; i++)
		if (seats[i].in)
			p[in++] = (struct consensus_proposal){
			    .name = str_of(seats[i].name), .text = seats[i].text, .position = seats[i].position};
	consensus_group(
	    a, p, in,
	    &(struct consensus_sameness){
		.text_ppm = plan->protocol.group_ppm, .by_meaning = true, .how = decision_measure(plan), .memo = memo});
	for (i = 0; i < in; i++)
		sizes[p[i].group]++;
	for (;;) {
		for (i = 0, k = 0; i < in; i++)
			if (sizes[i] > sizes[k])
				k = i;
		if (in == 0 || sizes[k] == 0)
			break;
		json_array_append_new(out, json_integer((json_int_t)sizes[k]));
		sizes[k] = 0;
	}
	arena_free(a);
	return out;
}

static int64_t progress_sum(const json_t *groups, size_t upto)
{
	int64_t sum = 0;
	size_t i;

	for (i = 0; i < upto && i < json_array_size(groups); i++)
		sum += json_integer_value(json_array_get(groups, i));
	return sum;
}

/* Kolmogorov-Smirnov: the greatest distance of two cumulated distributions over groups, greatest group first. */
static int64_t progress_distance(const json_t *x, const json_t *y)
{
	int64_t nx = progress_sum(x, SIZE_MAX), ny = progress_sum(y, SIZE_MAX), most = 0, d;
	size_t i;

	if (nx == 0 || ny == 0)
		return nx == ny ? 0 : SIMILARITY_ONE;
	for (i = 1; i <= json_array_size(x) || i <= json_array_size(y); i++) {
		d = progress_sum(x, i) * SIMILARITY_ONE / nx - progress_sum(y, i) * SIMILARITY_ONE / ny;
		d = d < 0 ? -d : d;
		most = d > most ? d : most;
	}
	return most;
}

/*
 * Each seat that keeps its position in a round is a success: with the prior (1, 1) the mean of the Beta distribution
 * after all rounds so far is how likely the next one is to keep it too.
 */
static json_t *progress_stability(json_t *groups, size_t flips, const json_t *before)
{
	json_t *o = json_object();
	int64_t moved = json_get_int(before, "moved", 0) + (int64_t)flips, kept = json_get_int(before, "kept", 0);

	kept += progress_sum(groups, SIZE_MAX) - (int64_t)flips;
	json_put_int(o, "kept", kept);
	json_put_int(o, "moved", moved);
	json_put_int(o, "ks_ppm",
		     before != NULL ? progress_distance(groups, json_get_arr(before, "groups")) : SIMILARITY_ONE);
	json_put_int(o, "score_ppm", (1 + kept) * SIMILARITY_ONE / (2 + kept + moved));
	json_object_set_new(o, "groups", groups);
	return o;
}

/* ---- the whole ---- */

void progress_add(const struct debate_plan *plan, struct similarity_memo *memo, const struct seat *seats, size_t n,
		  const json_t *messages, int round, const json_t *before, json_t *value)
{
	json_t *novelty = progress_novelty(decision_measure(plan), memo, messages, round);

	json_object_set_new(value, "stale", progress_stale(plan, round, novelty));
	json_object_set_new(value, "novelty", novelty);
	json_object_set_new(value, "ready", progress_ready(seats, n));
	json_object_set_new(value, "stability",
			    progress_stability(progress_groups(plan, memo, seats, n),
					       json_array_size(json_get_arr(value, "flips")), before));
}

static bool progress_converged(const struct debate_plan *plan, const json_t *value)
{
	return plan->protocol.convergence && str_eqz(json_get_str(value, "status", STR("")), "converged");
}

static bool progress_is_ready(const struct debate_plan *plan, const json_t *value)
{
	const json_t *ready = json_get_obj(value, "ready");

	return plan->protocol.early_stopping && ready != NULL &&
	       json_get_int(ready, "share_ppm", 0) >= plan->protocol.ready_ppm;
}

static bool progress_is_stable(const struct debate_plan *plan, const json_t *value)
{
	const json_t *s = json_get_obj(value, "stability");

	return plan->protocol.stability && s != NULL && json_get_int(s, "ks_ppm", SIMILARITY_ONE) < PROGRESS_KS_PPM &&
	       json_get_int(s, "score_ppm", 0) >= PROGRESS_SCORE_PPM;
}

static const struct progress_check {
	const char *source, *reason;
	bool (*holds)(const struct debate_plan *plan, const json_t *value);
	bool waits; /* for the least number of rounds */
} progress_checks[] = {
    {"convergence", "the texts are stable and agree", progress_converged, false},
    {"ready_quorum", "the agents are sure and see no use in another round", progress_is_ready, true},
    {"stability", "nobody changes his position any more", progress_is_stable, true},
};

const char *progress_stop(const struct debate_plan *plan, int round, const json_t *value)
{
	size_t i;

	for (i = 0; i < countof(progress_checks); i++)
		if ((!progress_checks[i].waits || round >= plan->protocol.rounds_min) &&
		    progress_checks[i].holds(plan, value))
			return progress_checks[i].source;
	return NULL;
}

const char *progress_reason(const char *source)
{
	size_t i;

	for (i = 0; i + 1 < countof(progress_checks) && strcmp(source, progress_checks[i].source) != 0; i++)
		;
	return progress_checks[i].reason;
}
