/* SPDX-License-Identifier: MIT */
/*
 * Tests of worker/agents/breaker.c: every transition, with a clock that the test turns.
 */
#include "worker/agents/breaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COOLDOWN 60000000

static struct breakers bs;
static struct breaker *b;
static int64_t now;

static int setup(void **state)
{
	(void)state;
	breakers_init(&bs, 3, COOLDOWN);
	b = breaker_get(&bs, STR("openai"), STR("gpt-4o"));
	now = 1000;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	breakers_free(&bs);
	return 0;
}

static void call(enum breaker_outcome o)
{
	struct breaker_pass pass;

	assert_true(breaker_allow(b, now, &pass));
	breaker_report(&pass, o, now, 42);
}

static bool allowed(struct breaker_pass *pass)
{
	return breaker_allow(b, now, pass);
}

static void open_it(void)
{
	int i;

	for (i = 0; i < 3; i++)
		call(BREAKER_FAILURE);
}

static void test_opens_after_a_row_of_failures(void **state)
{
	struct breaker_pass pass;

	(void)state;
	call(BREAKER_FAILURE);
	call(BREAKER_FAILURE);
	call(BREAKER_SUCCESS); /* ends the row */
	call(BREAKER_FAILURE);
	call(BREAKER_NEUTRAL); /* says nothing */
	call(BREAKER_FAILURE);
	assert_int_equal(breaker_state(b, now), BREAKER_CLOSED);
	call(BREAKER_FAILURE);
	assert_int_equal(breaker_state(b, now), BREAKER_OPEN);
	assert_false(allowed(&pass));
	assert_int_equal(b->failed_wall_ms, 42);
}

static void test_recovers_by_itself(void **state)
{
	struct breaker_pass pass;

	(void)state;
	open_it();
	now += COOLDOWN - 1;
	assert_int_equal(breaker_state(b, now), BREAKER_OPEN);
	assert_false(allowed(&pass));
	now += 1;
	assert_int_equal(breaker_state(b, now), BREAKER_HALF_OPEN);
	call(BREAKER_SUCCESS);
	call(BREAKER_SUCCESS);
	assert_int_equal(breaker_state(b, now), BREAKER_HALF_OPEN);
	call(BREAKER_SUCCESS);
	assert_int_equal(breaker_state(b, now), BREAKER_CLOSED);
	assert_int_equal(b->failures, 0);
}

static void test_one_failed_trial_opens_again(void **state)
{
	struct breaker_pass pass;

	(void)state;
	open_it();
	now += COOLDOWN;
	call(BREAKER_SUCCESS);
	call(BREAKER_FAILURE);
	assert_int_equal(breaker_state(b, now), BREAKER_OPEN);
	now += COOLDOWN - 1; /* the cooldown began anew */
	assert_false(allowed(&pass));
}

static void test_few_trials_at_once(void **state)
{
	struct breaker_pass pass[BREAKER_TRIALS + 1];
	int i;

	(void)state;
	open_it();
	now += COOLDOWN;
	for (i = 0; i < BREAKER_TRIALS; i++)
		assert_true(allowed(&pass[i]));
	assert_false(allowed(&pass[BREAKER_TRIALS]));
	breaker_report(&pass[0], BREAKER_NEUTRAL, now, 1); /* gives its place back */
	assert_true(allowed(&pass[0]));
	assert_false(allowed(&pass[BREAKER_TRIALS]));
}

static void test_late_outcomes_count_for_nothing(void **state)
{
	struct breaker_pass early, trial;

	(void)state;
	assert_true(allowed(&early)); /* begun while closed */
	open_it();
	now += COOLDOWN;
	assert_true(allowed(&trial));
	breaker_report(&early, BREAKER_FAILURE, now, 1);
	assert_int_equal(breaker_state(b, now), BREAKER_HALF_OPEN);
	assert_int_equal(b->trials, 1);
	breaker_report(&trial, BREAKER_SUCCESS, now, 1);
	assert_int_equal(b->trials, 0);
}

static void test_one_per_provider_and_model(void **state)
{
	char name[16];
	int i;

	(void)state;
	assert_ptr_equal(breaker_get(&bs, STR("openai"), STR("gpt-4o")), b);
	assert_ptr_not_equal(breaker_get(&bs, STR("openrouter"), STR("gpt-4o")), b);
	assert_ptr_not_equal(breaker_get(&bs, STR("openai"), STR("gpt-4")), b);
	for (i = 0; i < 2000; i++) {
		(void)snprintf(name, sizeof(name), "m%d", i);
		(void)breaker_get(&bs, STR("openai"), str_of(name));
	}
	assert_true(bs.count < 2000); /* clients name models: memory stays bounded */
	assert_ptr_equal(breaker_get(&bs, STR("openai"), STR("gpt-4o")), b);
	assert_null(breaker_get(&bs, STR("openai"), STR("one more")));
}

static struct breaker_rule rule_of(void *arg, struct str provider)
{
	const struct breaker_rule strict = {1, 1, 1, 2 * COOLDOWN}, usual = bs.usual;

	(void)arg;
	return str_eqz(provider, "strict") ? strict : usual;
}

static void test_a_provider_with_a_rule_of_its_own(void **state)
{
	struct breaker_pass pass, second;

	(void)state;
	bs.rule_of = rule_of;
	b = breaker_get(&bs, STR("strict"), STR("m"));
	call(BREAKER_FAILURE);
	assert_false(allowed(&pass));
	now += COOLDOWN;
	assert_int_equal(breaker_state(b, now), BREAKER_OPEN);
	now += COOLDOWN;
	assert_true(allowed(&pass));
	assert_false(allowed(&second)); /* one trial at a time */
	breaker_report(&pass, BREAKER_SUCCESS, now, 42);
	assert_int_equal(breaker_state(b, now), BREAKER_CLOSED);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_opens_after_a_row_of_failures),     T(test_recovers_by_itself),
	    T(test_one_failed_trial_opens_again),      T(test_few_trials_at_once),
	    T(test_late_outcomes_count_for_nothing),   T(test_one_per_provider_and_model),
	    T(test_a_provider_with_a_rule_of_its_own),
	};

	return cmocka_run_group_tests_name("breaker", tests, NULL, NULL);
}
