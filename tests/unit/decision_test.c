/* SPDX-License-Identifier: MIT */
/*
 * What every decision must be, whatever was voted: random debates of every mode, each decision held against a second
 * count that is written here in the plainest way; and what it means that a vote is decided before all have voted.
 */
#include "worker/engine/decision.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/json.h"
#include "worker/engine/consensus.h"
#include "worker/engine/mode.h"
#include "worker/engine/topology.h"
#include "worker/engine/weight.h"

#define ONE 1000000
#define SEATS 9
#define ANSWERS 4
#define ROUNDS 4000
#define OPEN_MAX 3 /* votes that are still open */

static const char *const names[SEATS] = {"alpha",   "bravo", "charlie", "delta", "echo",
					 "foxtrot", "golf",  "hotel",   "india"};
static const char *const answers[ANSWERS] = {"The answer is alder.", "The answer is birch.", "The answer is cedar.",
					     "The answer is elder."};

struct ballot {
	bool valid;
	size_t choice; /* of a seat */
	int64_t sure, weight;
};

/* One random debate: who holds which answer, who votes how, who watches. */
struct play {
	struct agent_spec agents[SEATS];
	struct debate_plan plan;
	struct seat seats[SEATS];
	size_t answer[SEATS], n, people;
	struct ballot ballots[SEATS + 2];
	struct decision_matter matter;
	json_t *owned;
};

static int64_t pick(uint64_t *seed, int64_t n)
{
	return (int64_t)(topology_next(seed) % (uint64_t)n);
}

static json_t *ballot_json(const struct ballot *b)
{
	return json_pack("{s:s, s:I, s:I}", "choice", names[b->choice], "confidence_ppm", (json_int_t)b->sure,
			 "weight_ppm", (json_int_t)b->weight);
}

static void play_vote(struct play *p, size_t i, uint64_t *seed)
{
	struct ballot *b = &p->ballots[i];

	*b = (struct ballot){pick(seed, 5) != 0, (size_t)pick(seed, (int64_t)p->n), pick(seed, 11) * 100000,
			     pick(seed, 3) == 0 ? WEIGHT_MIN + pick(seed, WEIGHT_MAX - WEIGHT_MIN) : ONE};
	p->seats[i].vote = NULL;
	if (!b->valid)
		return;
	p->seats[i].vote = ballot_json(b);
	json_array_append_new(p->owned, (json_t *)(uintptr_t)p->seats[i].vote);
}

static void play_new(struct play *p, const struct mode *mode, uint64_t *seed)
{
	json_t *audience = json_array();
	size_t i;

	*p = (struct play){.n = mode->agents_min + (size_t)pick(seed, (int64_t)(SEATS + 1 - mode->agents_min)),
			   .people = (size_t)pick(seed, 3),
			   .owned = json_array()};
	p->plan = (struct debate_plan){.version = ENGINE_VERSION,
				       .agents = p->agents,
				       .agent_count = p->n,
				       .mode = mode,
				       .by_position = true,
				       .language = STR("English"),
				       .protocol = protocol_usual(STR("default"), 2, p->n, false)};
	p->plan.threshold_ppm = mode_threshold(mode, ONE / 2 + pick(seed, ONE / 2));
	for (i = 0; i < p->n; i++) {
		p->agents[i].name = str_of(names[i]);
		p->answer[i] = (size_t)pick(seed, 1 + pick(seed, ANSWERS));
		p->seats[i] = (struct seat){.agent = &p->agents[i],
					    .name = names[i],
					    .in = true,
					    .text = str_of(answers[p->answer[i]]),
					    .position = str_of(answers[p->answer[i]]),
					    .severity_sum = pick(seed, 9000),
					    .severity_count = 1};
	}
	for (i = 0; i < p->n; i++)
		play_vote(p, i, seed);
	for (i = p->n; i < p->n + p->people; i++) {
		p->ballots[i] = (struct ballot){true, (size_t)pick(seed, (int64_t)p->n), ONE, pick(seed, ONE)};
		json_array_append_new(audience, ballot_json(&p->ballots[i]));
	}
	json_array_append_new(p->owned, audience);
	p->matter = (struct decision_matter){.plan = &p->plan,
					     .seats = p->seats,
					     .n = p->n,
					     .threshold_ppm = p->plan.threshold_ppm,
					     .audience = audience};
}

/* The second count. */
struct plain {
	int64_t heads[ANSWERS], weight[ANSWERS], people[ANSWERS], valid, total;
};

static struct plain play_count(const struct play *p)
{
	struct plain c = {{0}, {0}, {0}, 0, 0};
	size_t i;

	for (i = 0; i < p->n + p->people; i++) {
		const struct ballot *b = &p->ballots[i];
		size_t answer = p->answer[b->choice];

		if (!b->valid)
			continue;
		c.heads[answer] += i < p->n;
		c.people[answer] += i >= p->n;
		c.valid += i < p->n;
		c.weight[answer] += b->weight * b->sure / ONE;
		c.total += b->weight * b->sure / ONE;
	}
	return c;
}

static bool plain_reached(const struct play *p, const struct plain *c, size_t won)
{
	const struct mode *m = p->plan.mode;
	int64_t elsewhere = 0, faults = ((int64_t)p->n - 1) / 3;
	size_t i;

	for (i = 0; i < ANSWERS; i++)
		elsewhere += i != won ? c->heads[i] + c->people[i] : 0;
	if (c->total == 0 || c->valid < 2 || 2 * c->valid < (int64_t)p->n)
		return false;
	if (m->faults && c->heads[won] < 2 * faults + 1)
		return false;
	if (m->unanimous)
		return elsewhere == 0;
	return c->weight[won] * ONE / c->total >= p->plan.threshold_ppm;
}

static size_t play_winner(const struct play *p, const json_t *decision)
{
	size_t i;

	for (i = 0; i < p->n && !str_eqz(json_get_str(decision, "winner", STR("")), names[i]); i++)
		;
	assert_true(i < p->n);
	return p->answer[i];
}

/* Figures of many debates must not be one figure. */
struct spread {
	int64_t share, weighted, margin;
	size_t different, apart;
};

static void play_check(const struct play *p, const json_t *decision, struct spread *seen)
{
	const json_t *o = json_get_obj(decision, "consensus");
	int64_t share = json_get_int(o, "share_ppm", -1), weighted = json_get_int(o, "weighted_share_ppm", -1),
		margin = json_get_int(o, "margin_ppm", -1), sure = json_get_int(o, "confidence_ppm", -1), second = 0;
	bool reached = json_get_bool(o, "reached", false);
	struct plain c = play_count(p);
	size_t won = play_winner(p, decision), i;

	for (i = 0; i < ANSWERS; i++) {
		assert_true(c.weight[i] <= c.weight[won]); /* nobody leads the winner */
		second = i != won && c.weight[i] > second ? c.weight[i] : second;
	}
	assert_int_equal(share, c.valid > 0 ? c.heads[won] * ONE / c.valid : 0);
	assert_int_equal(weighted, c.total > 0 ? c.weight[won] * ONE / c.total : 0);
	assert_int_equal(margin, c.total > 0 ? (c.weight[won] - second) * ONE / c.total : 0);
	assert_in_range(share, 0, ONE);
	assert_in_range(weighted, 0, ONE);
	assert_in_range(margin, 0, weighted);
	assert_true(sure == weighted || (sure == 0 && !reached)); /* without quorum nothing is claimed */
	assert_int_equal(reached, plain_reached(p, &c, won));
	assert_int_equal(reached, str_eqz(json_get_str(decision, "status", STR("")), "consensus_reached"));
	assert_true(!reached || p->plan.mode->unanimous || weighted >= p->plan.threshold_ppm);
	seen->different += share != seen->share && weighted != seen->weighted && margin != seen->margin;
	seen->apart += share != weighted && weighted != margin && share != margin;
	*seen = (struct spread){share, weighted, margin, seen->different, seen->apart};
}

static void test_every_mode(void **state)
{
	static const char *const modes[] = {"majority", "weighted", "supermajority", "unanimous",
					    "semantic", "any",      "byzantine",     "hybrid"};
	uint64_t seed = 20260101;
	size_t m, round;

	(void)state;
	for (m = 0; m < countof(modes); m++) {
		const struct mode *mode = mode_find(str_of(modes[m]));
		struct spread seen = {-1, -1, -1, 0, 0};
		size_t reached = 0;

		for (round = 0; round < ROUNDS; round++) {
			struct play p;
			json_t *decision;

			play_new(&p, mode, &seed);
			decision = decision_by_vote(&p.matter, mode);
			play_check(&p, decision, &seen);
			reached += json_get_bool(json_get_obj(decision, "consensus"), "reached", false);
			json_decref(decision);
			json_decref(p.owned);
		}
		assert_true(seen.different > ROUNDS / 4); /* never a constant ... */
		assert_true(seen.apart > ROUNDS / 8);     /* ... and three figures, not one */
		assert_true(reached > 0 && reached < ROUNDS);
	}
}

/* A judge's: what he is sure of, at or above the threshold or not reached. */
static void test_judges(void **state)
{
	const struct mode *mode = mode_find(STR("judge"));
	uint64_t seed = 7;
	size_t round;

	(void)state;
	for (round = 0; round < ROUNDS; round++) {
		struct play p;
		json_t *ruling, *decision;
		const json_t *o;
		int64_t sure = pick(&seed, ONE + 1);

		play_new(&p, mode, &seed);
		ruling = json_pack("{s:s, s:I}", "choice", names[p.n - 1], "confidence_ppm", (json_int_t)sure);
		decision = decision_by_judge(&p.plan, p.seats, p.n, STR("alpha"), ruling);
		o = json_get_obj(decision, "consensus");
		assert_int_equal(json_get_int(o, "confidence_ppm", -1), sure);
		assert_in_range(json_get_int(o, "margin_ppm", -1), 0, sure);
		assert_int_equal(json_get_bool(o, "reached", false), sure >= p.plan.threshold_ppm);
		assert_true(str_eqz(json_get_str(decision, "winner", STR("")), names[p.n - 1]));
		json_decref(decision);
		json_decref(ruling);
		json_decref(p.owned);
	}
}

static void test_open(void **state)
{
	struct play p;
	json_t *decision;
	uint64_t seed = 1;

	(void)state;
	play_new(&p, mode_find(STR("none")), &seed);
	decision = decision_open(&p.plan, p.seats, p.n, "completed", "no decision was asked for");
	assert_false(json_get_bool(json_get_obj(decision, "consensus"), "reached", true));
	assert_int_equal(json_get_int(json_get_obj(decision, "consensus"), "confidence_ppm", -1), 0);
	assert_true(str_eqz(json_get_str(decision, "winner", STR("x")), ""));
	json_decref(decision);
	json_decref(p.owned);
}

/* Some have not voted yet. Where it is said to be decided, no votes of theirs make another decision. */
static void test_settled(void **state)
{
	static const char *const modes[] = {"majority", "weighted", "supermajority", "any", "byzantine", "hybrid"};
	uint64_t seed = 42;
	size_t round, settled = 0, reached = 0;

	(void)state;
	for (round = 0; round < countof(modes) * ROUNDS; round++) {
		const struct mode *mode = mode_find(str_of(modes[round % countof(modes)]));
		size_t open, i, won, k;
		struct play p;
		json_t *before, *after;
		bool decided;

		play_new(&p, mode, &seed);
		open = 1 + (size_t)pick(&seed, OPEN_MAX);
		for (i = 0; i < open && i < p.n; i++) {
			p.seats[p.n - 1 - i].vote = NULL;
			p.ballots[p.n - 1 - i].valid = false;
		}
		decided = decision_is_settled(&p.matter, mode, (int64_t)i * WEIGHT_MAX);
		before = decision_by_vote(&p.matter, mode);
		won = play_winner(&p, before);
		reached += json_get_bool(json_get_obj(before, "consensus"), "reached", false);
		assert_true(!decided || json_get_bool(json_get_obj(before, "consensus"), "reached", false));
		settled += decided;
		for (k = 0; decided && k < 5; k++) {
			for (i = 0; i < open && i < p.n; i++)
				play_vote(&p, p.n - 1 - i, &seed);
			after = decision_by_vote(&p.matter, mode);
			assert_int_equal(play_winner(&p, after), won);
			assert_true(json_get_bool(json_get_obj(after, "consensus"), "reached", false));
			json_decref(after);
		}
		json_decref(before);
		json_decref(p.owned);
	}
	assert_true(settled > 20 && settled < reached);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_mode), cmocka_unit_test(test_judges),
					   cmocka_unit_test(test_open), cmocka_unit_test(test_settled)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
