/* SPDX-License-Identifier: MIT */
/*
 * What engine 3 knows of the course of a debate: goals of rounds, readiness, novelty, twins, standing, minority,
 * people, meanings, judges; and that it dies everywhere with all of it and ends the same.
 */
#include "tests/unit/engine_play.h"

static struct debate *fake_new3(size_t n, const char *consensus, script_fn *script)
{
	struct debate *d = fake_new(n, consensus, script);

	d->plan.version = 3;
	d->plan.protocol = protocol_usual(STR("default"), d->plan.rounds, n, false);
	return d;
}

static const char *script_ready(const struct step_call *c, int attempt)
{
	static char text[4096];

	if (strcmp(c->phase, "revise") != 0)
		return script_plain(c, attempt);
	(void)snprintf(text, sizeof(text), "%s\nREADY: yes\nCONFIDENCE: 0.9", script_plain(c, attempt));
	return text;
}

/* All sure and all done: the rest of the rounds is saved, but not the least number of them. */
static void test_ready(void **state)
{
	struct debate *d = fake_new3(3, "majority", script_ready);

	(void)state;
	d->plan.rounds = 5;
	d->plan.protocol.rounds_min = 2;
	assert_true(fake_run(d));
	assert_int_equal(json_get_int(fake_result(d), "rounds_used", 0), 2);
	assert_true(
	    str_eqz(json_get_str(json_get_obj(fake_result(d), "early_stop"), "source", STR("")), "ready_quorum"));
	assert_int_equal(fake_count(d, "debate_early_terminated"), 1);
	assert_true(str_find(fake_prompt(d, "r1.revise.alpha"), STR("READY:")) >= 0);
	/* peers do not see how sure an author says he is */
	assert_true(str_find(fake_prompt(d, "r2.vote.bravo"), STR("READY: yes")) < 0);
	assert_true(str_find(fake_prompt(d, "r2.vote.bravo"), STR("0.9\n<<<end")) < 0);
	fake_free(d);
	d = fake_new3(3, "majority", script_ready);
	d->plan.rounds = 5;
	d->plan.protocol.early_stopping = false;
	assert_true(fake_run(d));
	assert_int_equal(json_get_int(fake_result(d), "rounds_used", 0), 5);
	assert_true(str_find(fake_prompt(d, "r1.revise.alpha"), STR("READY:")) < 0);
	fake_free(d);
}

static void test_rounds_have_goals(void **state)
{
	struct debate *d = fake_new3(3, "majority", script_plain);

	(void)state;
	d->plan.rounds = 3;
	d->plan.protocol.role_rotation = d->plan.protocol.asymmetric_stances = true;
	d->plan.protocol.intensity = 9;
	assert_true(fake_run(d));
	assert_true(str_find(fake_prompt(d, "r1.critique.alpha.bravo"), STR("Goal of this round, analysis")) >= 0);
	assert_true(str_find(fake_prompt(d, "r2.revise.alpha"), STR("cross-examination")) >= 0);
	assert_true(str_find(fake_prompt(d, "r3.revise.alpha"), STR("your final position")) >= 0);
	assert_true(str_find(fake_prompt(d, "r3.revise.alpha"), STR("Integrate the critiques")) >= 0);
	assert_true(str_find(fake_prompt(d, "r3.revise.alpha"), STR("Keep your position unless")) >= 0);
	assert_true(str_find(json_get_str(json_get_obj(d->prompts, "r0.propose.bravo"), "system", STR("")),
			     STR("speak for the negative")) >= 0);
	assert_true(str_find(json_get_str(json_get_obj(d->prompts, "r1.critique.bravo.alpha"), "system", STR("")),
			     STR("lateral thinker")) >= 0);
	/* nobody votes by an office */
	assert_true(str_find(json_get_str(json_get_obj(d->prompts, "r3.vote.bravo"), "system", STR("")),
			     STR("In this round")) < 0);
	assert_int_equal(fake_count(d, "role_rotation"), 3);
	assert_true(str_eqz(json_get_str(fake_event(d, "round_start"), "goal", STR("")), "analysis"));
	fake_free(d);
}

static const char *script_twins(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "propose") == 0 && !str_eqz(c->agent->name, "alpha"))
		return "POSITION: Use Memcached for all caching.\nSlab allocation gives flat latency.";
	return script_plain(c, attempt);
}

/* What two say is criticised once; both hear of it. */
static void test_twins(void **state)
{
	struct debate *d = fake_new3(3, "majority", script_twins);

	(void)state;
	d->plan.rounds = 1;
	assert_true(fake_run(d));
	assert_int_equal(fake_count(d, "critique"), 4); /* of six */
	assert_null(json_object_get(d->prompts, "r1.critique.alpha.charlie"));
	assert_true(str_find(fake_prompt(d, "r1.revise.charlie"), STR("found by a participant")) >= 0);
	assert_int_equal(json_array_size(json_get_arr(fake_result(d), "critiques")), 4);
	fake_free(d);
	d = fake_new3(3, "majority", script_twins);
	d->plan.rounds = 1;
	d->plan.protocol.distinct = false;
	assert_true(fake_run(d));
	assert_int_equal(fake_count(d, "critique"), 6);
	fake_free(d);
}

static const char *script_stuck(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "revise") == 0)
		return say("POSITION: Use %s\nReasons follow.", draft_of(c->agent->name));
	return script_plain(c, attempt);
}

static void test_novelty_in_result(void **state)
{
	struct debate *d = fake_new3(3, "majority", script_stuck);
	const json_t *novelty;

	(void)state;
	assert_true(fake_run(d));
	novelty = json_get_obj(fake_result(d), "novelty");
	assert_int_equal(json_array_size(json_get_arr(json_get_obj(novelty, "per_agent"), "alpha")), 3);
	assert_int_equal(
	    json_integer_value(json_array_get(json_get_arr(json_get_obj(novelty, "per_agent"), "alpha"), 0)), 1000000);
	assert_in_range(json_get_int(novelty, "mean_ppm", -1), 1, 999999);
	assert_true(str_find(fake_prompt(d, "r2.revise.alpha"), STR("Little in your last text")) >= 0);
	assert_true(str_find(fake_prompt(d, "r1.revise.alpha"), STR("Little in your last text")) < 0);
	assert_true(str_eqz(json_get_str(fake_event(d, "trickster_intervention"), "intervention_type", STR("")),
			    "novelty_challenge"));
	assert_non_null(json_object_get(json_get_obj(fake_result(d), "convergence"), "per_agent"));
	fake_free(d);
}

/* Standing: a calibrated confidence, factors where they are asked for, the order of judges. */
static void test_standing(void **state)
{
	struct debate *d = fake_new3(3, "weighted", script_split);
	const json_t *vote;

	(void)state;
	json_object_set_new(d->standing, "bravo",
			    json_pack("{s:i, s:i, s:i, s:i}", "elo_milli", 2500000, "samples", 10, "bias_ppm", 100000,
				      "ece_ppm", 200000));
	assert_true(fake_run(d));
	vote = json_array_get(json_get_arr(fake_result(d), "votes"), 1);
	assert_int_equal(json_get_int(vote, "stated_ppm", 0), 800000);
	assert_int_equal(json_get_int(vote, "confidence_ppm", 0), 560000); /* 30 % less */
	assert_int_equal(json_get_int(vote, "weight_ppm", 0), 800000);     /* 1.6 of elo, 0.5 for himself */
	assert_int_equal(json_get_int(json_get_obj(vote, "factors"), "elo_ppm", 0), 1600000);
	/* alpha .5 x .6, charlie 1 x .6 against bravo .8 x .56 */
	assert_int_equal(fake_consensus(d, "weighted_share_ppm"), 900000 * 1000000ll / 1348000);
	fake_free(d);
	d = fake_new3(3, "majority", script_split); /* in a majority nobody's rating weighs */
	json_object_set_new(d->standing, "bravo", json_pack("{s:i}", "elo_milli", 2500000));
	assert_true(fake_run(d));
	assert_int_equal(fake_consensus(d, "weighted_share_ppm"), 900000 * 1000000ll / 1300000);
	fake_free(d);
}

static void test_minority(void **state)
{
	struct debate *d = fake_new3(3, "majority", script_split);
	const json_t *minority, *one;

	(void)state;
	assert_true(fake_run(d));
	minority = json_get_arr(fake_result(d), "minority");
	assert_int_equal(json_array_size(minority), 2);
	one = json_array_get(minority, 0); /* the heavier one */
	assert_true(str_find(json_get_str(one, "position", STR("")), STR("Memcached")) >= 0);
	assert_int_equal(json_get_int(one, "votes", -1), 1);
	assert_int_equal(json_get_int(one, "weight_ppm", -1), 400000);
	assert_string_equal(json_string_value(json_array_get(json_get_arr(one, "held_by"), 0)), "bravo");
	assert_int_equal(json_array_size(json_get_arr(one, "reasons")), 1);
	assert_int_equal(json_get_int(json_array_get(minority, 1), "votes", -1), 0);
	fake_free(d);
}

/* Each voter sees three orders; who follows the place and not the text is unsure in the end. */
static const char *script_place(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "vote") == 0 && str_eqz(c->agent->name, "bravo"))
		return "CHOICE: P1\nCONFIDENCE: 0.9\nREASONING: the first.";
	return script_plain(c, attempt);
}

static void test_shuffled_positions(void **state)
{
	struct debate *d = fake_new3(3, "majority", script_place);
	const json_t *vote;
	int64_t agreeing;

	(void)state;
	d->plan.protocol.position_shuffling = true;
	assert_true(fake_run(d));
	assert_int_equal(fake_count(d, "vote"), 3);
	assert_non_null(json_object_get(d->prompts, "r2.vote.bravo.3"));
	vote = json_array_get(json_get_arr(fake_result(d), "votes"), 0);
	assert_int_equal(json_get_int(vote, "ballots", 0), 3);
	assert_int_equal(json_get_int(vote, "confidence_ppm", 0), 900000);
	vote = json_array_get(json_get_arr(fake_result(d), "votes"), 1);
	agreeing = json_get_int(vote, "ballots_agreeing", 0);
	assert_in_range(agreeing, 1, 3);
	assert_int_equal(json_get_int(vote, "confidence_ppm", 0), 900000 * agreeing / 3);
	fake_free(d);
}

/* People's votes of all rounds, the last of each; and what a person set for the decision. */
static void test_people(void **state)
{
	struct debate *d = fake_new3(3, "majority", script_split);
	const json_t *c;

	(void)state;
	json_object_set_new(d->inbox, "r1.inbox",
			    json_pack("[{s:s, s:s, s:s, s:{s:s, s:i}}]", "id", "i1", "kind", "vote", "user_id", "u1",
				      "payload", "choice", "alpha", "intensity", 10));
	json_object_set_new(d->inbox, "decide.inbox",
			    json_pack("[{s:s, s:s, s:s, s:{s:s}}, {s:s, s:s, s:s, s:{s:{s:i}, s:i}}]", "id", "i2",
				      "kind", "vote", "user_id", "u1", "payload", "choice", "bravo", "id", "i3", "kind",
				      "setting", "user_id", "u2", "payload", "weights", "charlie", 2000000,
				      "threshold_ppm", 700000));
	assert_true(fake_run(d));
	c = json_get_obj(fake_result(d), "consensus");
	assert_int_equal(json_get_int(json_get_obj(c, "audience"), "counted", 0), 1);
	assert_int_equal(json_get_int(json_get_obj(json_get_obj(c, "audience"), "votes"), "bravo", 0), 1);
	/* alpha .5 x .6, charlie 2 x .6 against bravo .5 x .8 and half a vote of a person */
	assert_int_equal(fake_consensus(d, "weighted_share_ppm"), 1500000 * 1000000ll / 2400000);
	assert_int_equal(fake_consensus(d, "threshold_ppm"), 700000);
	assert_false(fake_consensus(d, "reached"));
	assert_int_equal(fake_consensus(d, "share_ppm"), 666666); /* people are no heads */
	fake_free(d);
}

static const char *script_worded(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "vote") == 0)
		return say("CHOICE: %s\nCONFIDENCE: 1",
			   label_of(c->facts, str_eqz(c->agent->name, "alpha") ? "local" : "Redis"));
	return script_plain(c, attempt);
}

/* Positions in different words that mean the same pool their votes where somebody can tell. */
static void test_meanings(void **state)
{
	struct debate *d = fake_new3(3, "semantic", script_worded);
	json_t *ppm = json_pack("[i, i, i, i, i, i, i, i, i]", 1000000, 100000, 900000, 100000, 1000000, 100000, 900000,
				100000, 1000000);

	(void)state;
	assert_true(fake_run(d));
	assert_int_equal(json_array_size(json_get_arr(json_get_obj(fake_result(d), "consensus"), "groups")), 3);
	assert_int_equal(fake_consensus(d, "share_ppm"), 666666);
	fake_free(d);
	d = fake_new3(3, "semantic", script_worded);
	json_put_str(d->alike, "source", STR("embeddings"));
	json_object_set_new(d->alike, "ppm", ppm);
	json_put_int(d->alike, "tokens_in", 7);
	json_put_int(d->alike, "cost_micro", 3);
	assert_true(fake_run(d));
	assert_int_equal(json_array_size(json_get_arr(json_get_obj(fake_result(d), "consensus"), "groups")), 2);
	assert_int_equal(fake_consensus(d, "share_ppm"), 1000000);
	assert_int_equal(json_get_int(fake_result(d), "cost_micro", 0) % 5, 3); /* calls of agents cost 5 each */
	fake_free(d);
}

static void test_judge_selection(void **state)
{
	static const struct {
		enum protocol_judge kind;
		const char *judge;
	} cases[] = {{JUDGE_ELO_RANKED, "r2.judge.bravo"}, {JUDGE_LAST, "r2.judge.charlie"}};
	struct debate *d;
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		d = fake_new3(3, "judge", script_plain);
		json_object_set_new(d->standing, "bravo", json_pack("{s:i}", "elo_milli", 1700000));
		d->plan.protocol.judge = cases[i].kind;
		assert_true(fake_run(d));
		assert_non_null(json_object_get(d->prompts, cases[i].judge));
		fake_free(d);
	}
	d = fake_new3(3, "judge", script_plain); /* who is not rated yet ranks where everybody starts */
	json_object_set_new(d->standing, "bravo", json_pack("{s:i}", "elo_milli", 1400000));
	assert_true(fake_run(d));
	assert_non_null(json_object_get(d->prompts, "r2.judge.charlie"));
	fake_free(d);
}

static script_fn *everything_script;

static struct debate *fake_everything(size_t n, const char *mode)
{
	struct debate *d = fake_new3(n, mode, everything_script);

	d->plan.protocol.role_rotation = d->plan.protocol.asymmetric_stances = d->plan.protocol.stability = true;
	d->plan.protocol.vote_weights = d->plan.protocol.adaptive_consensus = true;
	d->plan.protocol.verbosity_penalty = d->plan.protocol.position_shuffling = true;
	json_object_set_new(d->standing, "bravo",
			    json_pack("{s:i, s:i, s:i, s:i}", "elo_milli", 1700000, "samples", 30, "temperature_milli",
				      1500, "brier_ppm", 300000));
	json_object_set_new(d->inbox, "decide.inbox",
			    json_pack("[{s:s, s:s, s:s, s:{s:s}}]", "id", "i2", "kind", "vote", "user_id", "u1",
				      "payload", "choice", "bravo"));
	d->plan.recall = true;
	d->background = json_pack("[{s:s, s:s, s:s, s:s, s:s, s:b}]", "label", "K1", "source", "consensus", "id", "d-0",
				  "title", "An older question", "text", "An older answer", "dissent", 0);
	return d;
}

/* As test_dies_everywhere, with all that a protocol can switch on. */
static void test_everything_dies_everywhere(void **state)
{
	static const struct {
		const char *mode;
		script_fn *script;
	} cases[] = {{"weighted", script_ready}, {"semantic", script_stuck}, {"hybrid", script_broken}};
	struct debate *whole, *d;
	size_t i, k;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		everything_script = cases[i].script;
		whole = fake_everything(4, cases[i].mode);
		assert_true(fake_run(whole));
		assert_int_equal(json_array_size(json_get_arr(fake_result(whole), "background")), 1);
		for (k = 0; k < whole->commits; k++) {
			d = fake_everything(4, cases[i].mode);
			d->die_at = k;
			assert_false(fake_run(d));
			d->die_at = SIZE_MAX;
			assert_true(fake_run(d));
			assert_string_equal(d->result, whole->result);
			assert_true(json_equal(d->events, whole->events));
			fake_free(d);
		}
		fake_free(whole);
	}
}

/* ---- engine 4 ---- */

static struct debate *fake_new4(size_t n, const char *consensus, script_fn *script)
{
	struct debate *d = fake_new3(n, consensus, script);

	d->plan.version = 4;
	d->plan.by_position = true;
	d->plan.early_agree_ppm = 800000;
	return d;
}

static const char *sure = "0.9";

/* One answer in three wordings, and prose that has little in common. */
static const char *script_one_answer(const struct step_call *c, int attempt)
{
	static const char *const positions[] = {"Use Redis for the cache.", "Redis should be the cache.",
						"The cache should use Redis."};

	if (strcmp(c->phase, "propose") == 0)
		return say("POSITION: %s\n%s\nCONFIDENCE: %s", positions[c->agent->name.p[0] % 3],
			   draft_of(c->agent->name), sure);
	return script_plain(c, attempt);
}

/* Sure authors of one answer need no debate, whatever their prose; unsure ones do. */
static void test_gate_by_answer(void **state)
{
	struct debate *d = fake_new4(3, "majority", script_one_answer);

	(void)state;
	assert_true(fake_run(d));
	assert_int_equal(json_get_int(fake_result(d), "rounds_used", -1), 0);
	assert_true(
	    str_eqz(json_get_str(json_get_obj(fake_result(d), "early_stop"), "source", STR("")), "round0_agreement"));
	fake_free(d);
	sure = "0.7";
	d = fake_new4(3, "majority", script_one_answer);
	assert_true(fake_run(d));
	assert_true(json_get_int(fake_result(d), "rounds_used", -1) > 0);
	fake_free(d);
	sure = "0.9";
	d = fake_new4(3, "majority", script_plain); /* three answers */
	assert_true(fake_run(d));
	assert_true(json_get_int(fake_result(d), "rounds_used", -1) > 0);
	fake_free(d);
}

static const char *script_own(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "vote") == 0)
		return say("CHOICE: %s\nCONFIDENCE: 0.8\nREASONING: mine.",
			   json_string_value(json_object_get(c->facts, "own")));
	return script_one_answer(c, attempt);
}

static const char *script_own_alone(const struct step_call *c, int attempt)
{
	return strcmp(c->phase, "propose") == 0 ? script_plain(c, attempt) : script_own(c, attempt);
}

static int64_t vote_weight(const struct debate *d, size_t i)
{
	return json_get_int(json_array_get(json_get_arr(fake_result(d), "votes"), i), "weight_ppm", -1);
}

/* A vote for an answer that nobody else holds counts half; for one that three hold, what that comes to on average. */
static void test_own_votes(void **state)
{
	struct debate *d = fake_new4(3, "majority", script_own);

	(void)state;
	assert_true(fake_run(d));
	assert_int_equal(vote_weight(d, 0), 833334); /* 1 - 0.5 / 3 */
	assert_int_equal(vote_weight(d, 2), 833334);
	fake_free(d);
	d = fake_new4(3, "majority", script_own_alone);
	assert_true(fake_run(d));
	assert_int_equal(vote_weight(d, 0), 500000);
	fake_free(d);
}

static size_t votes_asked(const struct debate *d)
{
	const char *key;
	json_t *v;
	size_t n = 0;

	json_object_foreach(d->prompts, key, v) n += strstr(key, ".vote.") != NULL;
	return n;
}

/* Two of three sure ones decide 0.6 of the weight: the third is not asked, and the decision says so. */
static void test_spared_votes(void **state)
{
	struct debate *d = fake_new4(3, "majority", script_plain);
	const json_t *spared;

	(void)state;
	d->plan.protocol.vote_early_stop = true;
	assert_true(fake_run(d));
	assert_int_equal(votes_asked(d), 2);
	assert_int_equal(json_array_size(json_get_arr(fake_result(d), "votes")), 2);
	spared = json_get_arr(json_get_obj(fake_result(d), "consensus"), "not_asked");
	assert_int_equal(json_array_size(spared), 1);
	assert_int_equal(fake_consensus(d, "reached"), 1);
	assert_int_equal(
	    json_array_size(json_get_arr(json_get_obj(fake_event(d, "consensus"), "consensus"), "not_asked")), 1);
	fake_free(d);
	/* 0.4 each are not enough against one who might be sure: all are asked */
	d = fake_new4(3, "majority", script_split);
	d->plan.protocol.vote_early_stop = true;
	assert_true(fake_run(d));
	assert_int_equal(votes_asked(d), 3);
	assert_null(json_get_arr(json_get_obj(fake_result(d), "consensus"), "not_asked"));
	fake_free(d);
	/* nobody is spared where all must agree, or where nobody said so */
	d = fake_new4(3, "unanimous", script_plain);
	d->plan.protocol.vote_early_stop = true;
	assert_true(fake_run(d));
	assert_int_equal(votes_asked(d), 3);
	fake_free(d);
	d = fake_new4(3, "majority", script_plain);
	assert_true(fake_run(d));
	assert_int_equal(votes_asked(d), 3);
	fake_free(d);
}

/* People who have voted otherwise keep the vote open. */
static void test_spared_votes_and_people(void **state)
{
	struct debate *d = fake_new4(3, "majority", script_plain);

	(void)state;
	d->plan.protocol.vote_early_stop = true;
	json_object_set_new(d->inbox, INBOX_LAST_STEP,
			    json_pack("[{s:s, s:s, s:s, s:{s:s, s:i}}]", "id", "1", "kind", "user_vote", "user_id", "u",
				      "payload", "choice", "charlie", "intensity", 10));
	assert_true(fake_run(d));
	assert_int_equal(votes_asked(d), 3);
	assert_int_equal(
	    json_get_int(json_get_obj(json_get_obj(fake_result(d), "consensus"), "audience"), "counted", -1), 1);
	fake_free(d);
}

/* It dies after every commit of a vote in two waves, and ends the same. */
static void test_spared_votes_survive(void **state)
{
	struct debate *d = fake_new4(5, "majority", script_plain), *once = fake_new4(5, "majority", script_plain);
	size_t lives;

	(void)state;
	d->plan.protocol.vote_early_stop = once->plan.protocol.vote_early_stop = true;
	assert_true(fake_run(once));
	d->die_at = 1;
	for (lives = 0; lives < 200 && !fake_run(d); lives++)
		d->reverse = lives % 2 != 0;
	assert_true(lives > 10);
	assert_non_null(d->result);
	assert_int_equal(votes_asked(d), votes_asked(once));
	assert_int_equal(fake_consensus(d, "weighted_share_ppm"), fake_consensus(once, "weighted_share_ppm"));
	fake_free(d);
	fake_free(once);
}

static const char *script_elect(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "elect") == 0)
		return say("CHOICE: %s\nREASONING: fair.", str_eqz(c->agent->name, "bravo")
							       ? label_of(c->facts, "Memcached") /* itself: no vote */
							       : label_of(c->facts, "process memory"));
	return script_plain(c, attempt);
}

static struct str judge_of(const struct debate *d)
{
	return json_get_str(json_array_get(json_get_arr(fake_result(d), "votes"), 0), "agent", STR("(none)"));
}

/* The judge is whom the others name; nobody names himself. */
static void test_elected_judge(void **state)
{
	struct debate *d = fake_new4(3, "judge", script_elect);

	(void)state;
	d->plan.protocol.judge = JUDGE_VOTED;
	assert_true(fake_run(d));
	assert_true(str_eqz(judge_of(d), "charlie"));
	assert_true(str_find(fake_prompt(d, "r2.elect.alpha"), STR("not your own, which is P")) >= 0);
	assert_true(str_find(fake_prompt(d, "r2.elect.alpha"), STR("charlie")) < 0);
	fake_free(d);
}

static const char *script_grave(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "critique") == 0 && (str_eqz(c->agent->name, "bravo") || strcmp(c->target, "bravo") == 0))
		return "ISSUES:\n- the figures are wrong\nSUGGESTIONS:\n- none\nSEVERITY: 9\nREASONING: grave.";
	return script_plain(c, attempt);
}

/* Who has found the gravest faults rules, unless his own text met the mildest criticism. */
static void test_judge_of_cruxes(void **state)
{
	struct debate *d = fake_new4(3, "judge", script_grave);

	(void)state;
	d->plan.protocol.judge = JUDGE_CRUX_AWARE;
	assert_true(fake_run(d));
	assert_true(str_eqz(judge_of(d), "bravo"));
	fake_free(d);
}

static const char *script_sourced(const struct step_call *c, int attempt)
{
	static char text[2048];

	if (strcmp(c->phase, "revise") != 0 || !str_eqz(c->agent->name, "alpha"))
		return script_plain(c, attempt);
	(void)snprintf(text, sizeof(text),
		       "POSITION: Use %s\nLatency was 4 ms in 12 measurements, according to https://example.org/a.\n"
		       "It costs 900 dollars a month because one node is enough, source: the invoice.",
		       draft_of(c->agent->name));
	return text;
}

/* In what the winner is ahead, what the others lack, and how votes are spread over positions. */
static void test_findings(void **state)
{
	struct debate *d = fake_new4(3, "majority", script_sourced);
	const json_t *patterns, *suggestions;
	size_t i, sources = 0;

	(void)state;
	assert_true(fake_run(d));
	assert_word(d, "winner", "alpha");
	patterns = json_get_arr(fake_result(d), "winning_patterns");
	for (i = 0; i < json_array_size(patterns); i++)
		sources += strstr(json_string_value(json_array_get(patterns, i)), "names sources") != NULL;
	assert_int_equal(sources, 1);
	suggestions = json_get_arr(fake_result(d), "evidence_suggestions");
	assert_int_equal(json_array_size(suggestions), 2);
	assert_true(str_eqz(json_get_str(json_array_get(suggestions, 0), "agent", STR("")), "bravo"));
	assert_true(
	    str_find(json_get_str(json_array_get(suggestions, 0), "suggestion", STR("")), STR("name a source")) >= 0);
	assert_int_equal(fake_consensus(d, "variance_ppm"), 2000000); /* 3, 0, 0: (3 * 9 - 9) / 9 */
	fake_free(d);
	d = fake_new4(3, "none", script_sourced);
	assert_true(fake_run(d));
	assert_int_equal(json_array_size(json_get_arr(fake_result(d), "winning_patterns")), 0);
	fake_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_elected_judge),
	    cmocka_unit_test(test_judge_of_cruxes),
	    cmocka_unit_test(test_findings),
	    cmocka_unit_test(test_gate_by_answer),
	    cmocka_unit_test(test_own_votes),
	    cmocka_unit_test(test_spared_votes),
	    cmocka_unit_test(test_spared_votes_and_people),
	    cmocka_unit_test(test_spared_votes_survive),
	    cmocka_unit_test(test_ready),
	    cmocka_unit_test(test_rounds_have_goals),
	    cmocka_unit_test(test_twins),
	    cmocka_unit_test(test_novelty_in_result),
	    cmocka_unit_test(test_standing),
	    cmocka_unit_test(test_minority),
	    cmocka_unit_test(test_shuffled_positions),
	    cmocka_unit_test(test_people),
	    cmocka_unit_test(test_judge_selection),
	    cmocka_unit_test(test_meanings),
	    cmocka_unit_test(test_everything_dies_everywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
