/* SPDX-License-Identifier: MIT */
/*
 * Counting: worked examples by hand, ties, quorum, pooling, and invariants over many random ballots.
 */
#include "worker/engine/consensus.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "worker/engine/mode.h"
#include "worker/engine/topology.h"

#define HALF 500000
static const struct consensus_sameness by_text = {.text_ppm = 850000},
				       by_meaning = {.text_ppm = 850000, .by_meaning = true};

#define ONE 1000000

static void proposals_make(struct consensus_proposal *p, size_t n)
{
	static const struct str names[] = {{"ada", 3}, {"bob", 3}, {"cyd", 3}, {"dan", 3}, {"eve", 3}};
	size_t i;

	for (i = 0; i < n; i++)
		p[i] =
		    (struct consensus_proposal){.name = names[i], .text = STR("x"), .position = STR("x"), .group = i};
}

static void test_worked(void **state)
{
	struct consensus_proposal p[3];
	/* debate.md 3.2: weights 1.2, 0.9, 1.0 for A, A, B: 2.1 / 3.1 = .677 */
	struct consensus_vote v[3] = {
	    {true, 0, ONE, 1200000, 0, false}, {true, 0, ONE, 900000, 0, false}, {true, 1, ONE, ONE, 0, false}};
	struct consensus_tally t;

	(void)state;
	proposals_make(p, 3);
	consensus_count(p, 3, v, 3, &(struct consensus_rule){600000, false, 0, 500000, 2, false}, &t);
	assert_true(t.quorum && t.reached);
	assert_int_equal(t.winner, 0);
	assert_int_equal(t.weighted_share_ppm, 677419);
	assert_int_equal(t.share_ppm, 666666);
	assert_int_equal(t.margin_ppm, 1100000ll * ONE / 3100000);
	assert_string_equal(t.strength, "moderate");
	consensus_count(p, 3, v, 3, &(struct consensus_rule){700000, false, 0, 500000, 2, false}, &t);
	assert_false(t.reached);
	consensus_count(p, 3, v, 3, &(struct consensus_rule){600000, true, 0, 500000, 2, false}, &t);
	assert_false(t.reached);
	v[2].choice = 0;
	consensus_count(p, 3, v, 3, &(struct consensus_rule){600000, true, 0, 500000, 2, false}, &t);
	assert_true(t.reached);
	assert_string_equal(t.strength, "unanimous");
	assert_int_equal(t.weighted_share_ppm, ONE);
	assert_int_equal(t.margin_ppm, ONE);
}

static void test_confidence_weighs(void **state)
{
	struct consensus_proposal p[2];
	struct consensus_vote v[3] = {
	    {true, 0, 300000, ONE, 0, false}, {true, 0, 300000, ONE, 0, false}, {true, 1, 900000, ONE, 0, false}};
	struct consensus_tally t;

	(void)state;
	proposals_make(p, 2);
	consensus_count(p, 2, v, 3, &(struct consensus_rule){600000, false, 0, 500000, 2, false}, &t);
	assert_int_equal(t.winner, 1); /* two who doubt against one who is sure */
	assert_int_equal(t.weighted_share_ppm, 600000);
	assert_true(t.reached);
	assert_int_equal(t.share_ppm, 333333);
}

static void test_quorum(void **state)
{
	struct consensus_proposal p[5];
	struct consensus_vote v[5] = {{true, 2, ONE, ONE, 0, false}};
	struct consensus_tally t;

	(void)state;
	proposals_make(p, 5);
	consensus_count(p, 5, v, 2, &(struct consensus_rule){600000, false, 0, 500000, 2, false}, &t);
	assert_false(t.quorum || t.reached);
	assert_int_equal(t.winner, 2); /* the best is told all the same */
	v[1] = v[0];
	consensus_count(p, 5, v, 5, &(struct consensus_rule){600000, false, 0, 500000, 2, false}, &t); /* 2 of 5 */
	assert_false(t.quorum || t.reached);
	v[2] = v[0];
	consensus_count(p, 5, v, 5, &(struct consensus_rule){600000, false, 0, 500000, 2, false}, &t);
	assert_true(t.quorum && t.reached);
	consensus_count(p, 5, v, 4, &(struct consensus_rule){600000, false, 0, 500000, 2, false}, &t);
	assert_true(t.quorum);
	v[0].valid = v[1].valid = v[2].valid = false;
	consensus_count(p, 5, v, 3, &(struct consensus_rule){600000, false, 0, 500000, 2, false}, &t);
	assert_false(t.quorum || t.reached);
	assert_int_equal(t.weighted_share_ppm, 0);
}

static void test_ties(void **state)
{
	struct consensus_proposal p[2];
	struct consensus_vote v[2] = {{true, 0, 400000, ONE, 0, false}, {true, 1, 800000, HALF, 0, false}};
	struct consensus_tally t;

	(void)state;
	proposals_make(p, 2);
	consensus_count(p, 2, v, 2, &(struct consensus_rule){600000, false, 0, 500000, 2, false},
			&t); /* equal weight: more confidence */
	assert_int_equal(t.winner, 1);
	v[1] = (struct consensus_vote){true, 1, 400000, ONE, 0, false};
	p[0].severity_milli = 5000;
	p[1].severity_milli = 4000;
	consensus_count(p, 2, v, 2, &(struct consensus_rule){600000, false, 0, 500000, 2, false},
			&t); /* milder criticism */
	assert_int_equal(t.winner, 1);
	p[1].severity_milli = 5000;
	consensus_count(p, 2, v, 2, &(struct consensus_rule){600000, false, 0, 500000, 2, false}, &t); /* name */
	assert_int_equal(t.winner, 0);
	assert_int_equal(t.margin_ppm, 0);
	assert_string_equal(t.strength, "weak");
	p[0].name = STR("zoe");
	consensus_count(p, 2, v, 2, &(struct consensus_rule){600000, false, 0, 500000, 2, false}, &t);
	assert_int_equal(t.winner, 1);
	v[0].confidence_ppm = v[1].confidence_ppm = 0; /* nobody believes anything */
	consensus_count(p, 2, v, 2, &(struct consensus_rule){0, false, 0, 500000, 2, false}, &t);
	assert_false(t.reached);
}

static void test_groups(void **state)
{
	struct arena *a = arena_new(0);
	struct consensus_proposal p[4];
	struct consensus_vote v[4] = {{true, 1, ONE, ONE, 0, false},
				      {true, 0, 900000, ONE, 0, false},
				      {true, 2, ONE, ONE, 0, false},
				      {true, 2, ONE, HALF, 0, false}};
	struct consensus_tally t;

	(void)state;
	proposals_make(p, 4);
	p[0].text = STR("Use Redis as the shared cache with a short expiry and central invalidation.");
	p[1].text = STR("use redis as THE shared cache, with short expiry and central invalidation!");
	p[2].text = STR("Process memory is enough.");
	p[3].text = STR("Do not use Redis as the shared cache with a short expiry and central invalidation.");
	p[0].position = p[1].position = STR("Use Redis");
	p[2].position = STR("Use memory");
	p[3].position = STR("Do not use Redis");
	consensus_group(a, p, 4, &by_text);
	assert_int_equal(p[1].group, 0);
	assert_int_equal(p[2].group, 2);
	assert_int_equal(p[3].group, 3); /* near-identical words, the opposite meaning */
	consensus_count(p, 4, v, 4, &(struct consensus_rule){500000, false, 0, 500000, 2, false}, &t);
	assert_int_equal(t.group, 0);
	assert_int_equal(t.winner, 1); /* of the pooled two, the one that more chose */
	assert_int_equal(t.heads[0], 2);
	assert_int_equal(t.weighted_share_ppm, 1900000ll * ONE / 3400000);
	/* the same prose around another answer does not pool */
	p[1].position = STR("Use Memcached");
	consensus_group(a, p, 4, &by_text);
	assert_int_equal(p[1].group, 1);
	arena_free(a);
}

/* Whatever is cast: no share above one, reached never without quorum, the winner is in the winning group. */
static void test_invariants(void **state)
{
	struct consensus_proposal p[5];
	struct consensus_vote v[5];
	struct consensus_tally t;
	uint64_t seed = 1;
	size_t round, i;

	(void)state;
	for (round = 0; round < 20000; round++) {
		int64_t sum = 0, total = 0;

		proposals_make(p, 5);
		for (i = 0; i < 5; i++) {
			p[i].group = topology_next(&seed) % 2 != 0 ? i : p[topology_next(&seed) % (i + 1)].group;
			p[i].severity_milli = (int64_t)(topology_next(&seed) % 3) * 1000;
			v[i] = (struct consensus_vote){topology_next(&seed) % 4 != 0,
						       topology_next(&seed) % 5,
						       (int64_t)(topology_next(&seed) % 11) * 100000,
						       topology_next(&seed) % 2 != 0 ? ONE : HALF,
						       (int64_t)(topology_next(&seed) % 3) * 1000000,
						       topology_next(&seed) % 5 == 0};
		}
		consensus_count(p, 5, v, 5, &(struct consensus_rule){600000, round % 2 != 0, 0, 500000, 2, false}, &t);
		for (i = 0; i < 5; i++)
			if (p[i].group == i) {
				sum += (int64_t)t.heads[i];
				total += t.weight_ppm[i];
				assert_true(t.weight_ppm[i] <= t.weight_ppm[t.group]);
			}
		assert_int_equal(sum, t.valid);
		assert_in_range(t.weighted_share_ppm, 0, ONE);
		assert_in_range(t.share_ppm, 0, ONE);
		assert_in_range(t.margin_ppm, 0, t.weighted_share_ppm);
		assert_int_equal(p[t.winner].group, t.group);
		assert_true(!t.reached || (t.quorum && total > 0));
		assert_true(!t.reached || round % 2 != 0 || t.weighted_share_ppm >= 600000);
	}
}

/* Seven participants, two may fail: five must agree, however sure the others are. */
static void test_faults(void **state)
{
	const struct debate_plan four = {.agent_count = 4, .protocol = protocol_before()},
				 six = {.agent_count = 6, .protocol = protocol_before()},
				 seven = {.agent_count = 7, .protocol = protocol_before()};
	const struct mode *m = mode_find(STR("Byzantine"));
	struct consensus_rule rule = mode_rule(m, &seven, mode_threshold(m, 900000));
	struct consensus_proposal p[5];
	struct consensus_vote v[7] = {{true, 0, 100000, ONE, 0, false}, {true, 0, 100000, ONE, 0, false},
				      {true, 0, 100000, ONE, 0, false}, {true, 0, 100000, ONE, 0, false},
				      {true, 1, ONE, ONE, 0, false},    {true, 1, ONE, ONE, 0, false}};
	struct consensus_tally t;

	(void)state;
	assert_int_equal(rule.heads_min, 5);
	assert_int_equal(mode_rule(m, &four, 0).heads_min, 3);
	assert_int_equal(mode_rule(m, &six, 0).heads_min, 3);
	proposals_make(p, 5);
	consensus_count(p, 5, v, 7, &rule, &t);
	assert_false(t.reached); /* the sure two lead by weight */
	v[6] = v[0];
	for (size_t i = 0; i < 7; i++)
		v[i].confidence_ppm = ONE;
	consensus_count(p, 5, v, 7, &rule, &t);
	assert_true(t.reached && t.group == 0);
	v[6].valid = false;
	consensus_count(p, 5, v, 7, &rule, &t);
	assert_false(t.reached); /* four are too few, although all others but two agree */
}

static void test_modes(void **state)
{
	struct str names = str_of(mode_names()), name;
	size_t n = 0;

	(void)state;
	for (; names.n > 0; n++) {
		if (!str_split(&names, ',', &name)) {
			name = names;
			names = STR("");
		}
		assert_non_null(mode_find(str_trim(name)));
	}
	assert_int_equal(n, 10);
	assert_null(mode_find(STR("oracle")));
	assert_int_equal(mode_threshold(mode_find(STR("majority")), 0), 600000);
	assert_int_equal(mode_threshold(mode_find(STR("majority")), 550000), 550000);
	assert_int_equal(mode_threshold(mode_find(STR("supermajority")), 550000), 666667);
	assert_int_equal(mode_threshold(mode_find(STR("supermajority")), 900000), 900000);
	assert_int_equal(mode_threshold(mode_find(STR("any")), 900000), 0);
	assert_int_equal(mode_rating_weight(1500000), ONE);
	assert_int_equal(mode_rating_weight(1600000), 1060000);
	assert_int_equal(mode_rating_weight(0), HALF);
	assert_int_equal(mode_rating_weight(9000000), 2 * ONE);
}

/* One position in two wordings around it: apart for a majority, together by meaning. */
static void test_by_meaning(void **state)
{
	struct arena *a = arena_new(0);
	struct consensus_proposal p[3] = {
	    {.name = STR("a"),
	     .position = STR("Use Redis for the session cache."),
	     .text = STR("It is quick, our team knows it, and failover was measured last spring.")},
	    {.name = STR("b"),
	     .position = STR("Use Redis for the session cache."),
	     .text = STR("Licences cost nothing; memory is cheap; the alternative lacks persistence.")},
	    {.name = STR("c"),
	     .position = STR("Do not use Redis for the session cache."),
	     .text = STR("Licences cost nothing; memory is cheap; the alternative lacks persistence.")}};

	(void)state;
	consensus_group(a, p, 3, &by_text);
	assert_int_equal(p[1].group, 1);
	consensus_group(a, p, 3, &by_meaning);
	assert_int_equal(p[1].group, 0);
	assert_int_equal(p[2].group, 2);
	arena_free(a);
}

/* Equal weight, equal confidence: the higher rated voters, before milder criticism. */
static void test_rated_ties(void **state)
{
	struct consensus_proposal p[2];
	struct consensus_vote v[2] = {{true, 0, 400000, ONE, 1400000, false}, {true, 1, 400000, ONE, 1600000, false}};
	struct consensus_rule rule = {600000, false, 0, 500000, 2, true};
	struct consensus_tally t;

	(void)state;
	proposals_make(p, 2);
	p[1].severity_milli = 9000;
	consensus_count(p, 2, v, 2, &rule, &t);
	assert_int_equal(t.winner, 1);
	assert_string_equal(t.strength, "split"); /* no lead at all */
	v[0].elo_milli = v[1].elo_milli;
	consensus_count(p, 2, v, 2, &rule, &t);
	assert_int_equal(t.winner, 0);
}

/* The worked example of debate.md 3.2: weights 1.2, 0.9, 1.0 for A, A, B are 2.1 / 3.1 = 0.677. */
static void test_worked_example(void **state)
{
	struct consensus_proposal p[2];
	struct consensus_vote v[3] = {
	    {true, 0, ONE, 1200000, 0, false}, {true, 0, ONE, 900000, 0, false}, {true, 1, ONE, 1000000, 0, false}};
	struct consensus_tally t;

	(void)state;
	proposals_make(p, 2);
	consensus_count(p, 2, v, 3, &(struct consensus_rule){600000, false, 0, 500000, 2, true}, &t);
	assert_true(t.reached);
	assert_int_equal(t.weighted_share_ppm, 677419);
	assert_int_equal(t.share_ppm, 666666);
	assert_int_equal(t.margin_ppm, 354838);
	assert_string_equal(t.strength, "moderate");
}

/* People weigh, but they are no heads: no quorum comes from them, and no majority of agents. */
static void test_people(void **state)
{
	struct consensus_proposal p[2];
	struct consensus_vote v[5] = {{true, 0, ONE, ONE, 0, false},
				      {true, 0, ONE, ONE, 0, false},
				      {false, 0, 0, 0, 0, false},
				      {true, 1, ONE, 2 * ONE, 0, true},
				      {true, 1, ONE, ONE, 0, true}};
	struct consensus_rule rule = {600000, false, 0, 500000, 2, true};
	struct consensus_tally t;

	(void)state;
	proposals_make(p, 2);
	consensus_count(p, 2, v, 5, &rule, &t);
	assert_int_equal(t.winner, 1); /* 3 against 2 */
	assert_int_equal(t.valid, 2);
	assert_int_equal(t.share_ppm, 0); /* of the agents */
	assert_int_equal(t.weighted_share_ppm, 600000);
	rule.unanimous = true;
	v[3].weight_ppm = v[4].weight_ppm = 1000;
	consensus_count(p, 2, v, 5, &rule, &t);
	assert_false(t.reached); /* all agents, not all people */
	v[3].choice = v[4].choice = 0;
	consensus_count(p, 2, v, 5, &rule, &t);
	assert_true(t.reached);
	v[1].valid = false;
	consensus_count(p, 2, v, 5, &rule, &t);
	assert_false(t.quorum); /* one agent of three */
}

static void test_quorum_of_a_plan(void **state)
{
	static const struct {
		int64_t ppm, count;
		size_t voters, valid;
		bool quorum;
	} cases[] = {{500000, 2, 5, 2, false}, {500000, 2, 5, 3, true}, {500000, 2, 2, 1, false}, {ONE, 2, 4, 3, false},
		     {ONE, 2, 4, 4, true},     {0, 1, 5, 1, true},      {0, 1, 5, 0, false},      {0, 9, 3, 3, true}};
	struct consensus_proposal p[5];
	struct consensus_vote v[5];
	struct consensus_tally t;
	size_t i, k;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		proposals_make(p, 5);
		for (k = 0; k < 5; k++)
			v[k] = (struct consensus_vote){k < cases[i].valid, 0, ONE, ONE, 0, false};
		consensus_count(p, 5, v, cases[i].voters,
				&(struct consensus_rule){600000, false, 0, cases[i].ppm, cases[i].count, true}, &t);
		if (t.quorum != cases[i].quorum)
			fail_msg("case %zu", i);
	}
}

/* What engine 4 takes for one answer by its words, and what not. */
static void test_one_answer(void **state)
{
	static const struct {
		const char *x, *y;
		bool want;
	} cases[] = {
	    {"Use PostgreSQL for the event store.", "PostgreSQL should be the event store.", true},
	    {"Use PostgreSQL for the event store.", "Use Kafka for the event store.", false},
	    {"Use PostgreSQL for the event store.",
	     "Use PostgreSQL for the event store, with an outbox relay for consumers.", true},
	    {"Move to PostgreSQL over a weekend with replication and a way back.",
	     "Migrate to PostgreSQL on Saturday with replication, keeping a way back.", true},
	    {"Keep the monolith and extract billing first.", "Extract billing from the monolith first, keep the rest.",
	     true},
	    {"Keep the monolith and extract billing first.", "Keep the monolith and extract search first.", false},
	    {"Adopt a four-day week for a trial of six months.", "Run a six-month trial of the four-day week.", true},
	    {"Adopt a four-day week for a trial of six months.", "Do not adopt a four-day week.", false},
	    {"Redis is the better cache for this team.", "This team should use Redis as its cache.", true},
	    {"Redis is the better cache for this team.", "Memcached is the better cache for this team.", false},
	    {"The contract is void because consent was missing.", "Missing consent makes the contract void.", true},
	    {"The contract is void because consent was missing.",
	     "The contract is not void, although consent was missing.", false},
	    {"Approve the merger this quarter.", "Reject the merger this quarter.", false},
	    {"Begin with a small, reversible step and measure it for two weeks.",
	     "Wait until the cost of an error has been estimated.", false},
	    {"Yes, rewrite it in Rust.", "Rewrite the hot path in Rust, leave the rest.", false},
	};
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++)
		if (consensus_same_position(str_of(cases[i].x), str_of(cases[i].y)) != cases[i].want ||
		    consensus_same_position(str_of(cases[i].y), str_of(cases[i].x)) != cases[i].want)
			fail_msg("%s | %s", cases[i].x, cases[i].y);
}

/* Meanings from elsewhere stand in for words; what contradicts is never one answer. */
static void test_meanings(void **state)
{
	static const int64_t alike[9] = {ONE, 900000, 900000, 900000, ONE, 900000, 900000, 900000, ONE};
	struct consensus_proposal p[3] = {{.position = STR("Take Redis.")},
					  {.position = STR("A shared in-memory store is the answer.")},
					  {.position = STR("Do not take Redis.")}};
	struct arena *a = arena_new(0);

	(void)state;
	consensus_group(a, p, 3, &(struct consensus_sameness){.text_ppm = 850000, .by_meaning = true, .alike = alike});
	assert_int_equal(p[1].group, 0);
	assert_int_equal(p[2].group, 2);
	consensus_group(a, p, 3, &by_meaning);
	assert_int_equal(p[1].group, 1);
	p[1] = p[0];
	consensus_group(a, p, 2, &by_meaning);
	assert_int_equal(p[1].group, 0);
	consensus_group(a, p, 2, &(struct consensus_sameness){.text_ppm = ONE + 1, .by_meaning = true});
	assert_int_equal(p[1].group, 1); /* not even the same words */
	arena_free(a);
}

static void test_margin_bands(void **state)
{
	(void)state;
	assert_string_equal(consensus_strength_of_margin(ONE, true), "unanimous");
	assert_string_equal(consensus_strength_of_margin(ONE, false), "strong");
	assert_string_equal(consensus_strength_of_margin(600000, false), "strong");
	assert_string_equal(consensus_strength_of_margin(200000, false), "moderate");
	assert_string_equal(consensus_strength_of_margin(1, false), "weak");
	assert_string_equal(consensus_strength_of_margin(0, false), "split");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_worked),     cmocka_unit_test(test_confidence_weighs),
	    cmocka_unit_test(test_one_answer), cmocka_unit_test(test_quorum),
	    cmocka_unit_test(test_ties),       cmocka_unit_test(test_groups),
	    cmocka_unit_test(test_invariants), cmocka_unit_test(test_faults),
	    cmocka_unit_test(test_modes),      cmocka_unit_test(test_by_meaning),
	    cmocka_unit_test(test_rated_ties), cmocka_unit_test(test_worked_example),
	    cmocka_unit_test(test_people),     cmocka_unit_test(test_quorum_of_a_plan),
	    cmocka_unit_test(test_meanings),   cmocka_unit_test(test_margin_bands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
