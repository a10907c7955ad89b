/* SPDX-License-Identifier: MIT */
/*
 * Limits of providers: which one holds, what their headers say, and that a bucket follows what it is told.
 */
#include "worker/agents/throttle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clock.h"

#define NOW_MS 1767607200000 /* 2026-01-05T10:00:00Z */

static void test_reset(void **state)
{
	static const struct {
		const char *value;
		int64_t us;
	} cases[] = {
	    {"12", 12 * SEC_US},
	    {"1.5", 1500 * MS_US},
	    {"0", 0},
	    {"6m0s", 360 * SEC_US},
	    {"1h2m3s", 3723 * SEC_US},
	    {"250ms", 250 * MS_US},
	    {" 20s ", 20 * SEC_US},
	    {"1767607230", 30 * SEC_US},
	    {"1767607230500", 30500 * MS_US},
	    {"2026-01-05T10:01:00Z", 60 * SEC_US},
	    {"", -1},
	    {"soon", -1},
	    {"-5", -1},
	    {"5x", -1},
	    {"nan", -1},
	    {"99999999999999999999999999999999999999999999", -1},
	};
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++)
		if (throttle_reset(str_of(cases[i].value), NOW_MS) != cases[i].us)
			fail_msg("%s: %lld", cases[i].value, (long long)throttle_reset(str_of(cases[i].value), NOW_MS));
}

static struct conf *conf(const char *url, const char *limits)
{
	const struct conf_override o[] = {{"providers.openai.base_url", url}, {"agents.rate_limits", limits}};
	struct buf report = BUF_INIT;
	struct conf *c = conf_load(NULL, false, o, countof(o), &report);

	if (c == NULL)
		print_error("%s\n", report.p);
	assert_non_null(c);
	buf_free(&report);
	return c;
}

static void test_rules(void **state)
{
	struct conf *c = conf("https://api.openai.com/v1", "");

	(void)state;
	assert_int_equal(throttle_rule(c, PROVIDER_OPENAI).step, 1200); /* 500 a minute: 120 ms */
	assert_int_equal(throttle_rule(c, PROVIDER_ANTHROPIC).step, 600);
	assert_int_equal(throttle_rule(c, PROVIDER_OLLAMA).step, 0);
	conf_unref(c);
	c = conf("http://gateway.example/v1", "");
	assert_int_equal(throttle_rule(c, PROVIDER_OPENAI).step, 0);
	conf_unref(c);
	c = conf("http://gateway.example/v1", "openai=60/2,anthropic=0/1");
	assert_int_equal(throttle_rule(c, PROVIDER_OPENAI).step, 10000);
	assert_int_equal(throttle_rule(c, PROVIDER_OPENAI).depth, 20000);
	assert_int_equal(throttle_rule(c, PROVIDER_ANTHROPIC).step, 0);
	conf_unref(c);
}

static struct ratelimit_state look(struct agents *ag)
{
	struct ratelimit_rule rule = throttle_rule(ag->w->conf, PROVIDER_OPENAI);
	struct ratelimit_state s;
	uint64_t key = ratelimit_key(&ag->w->shm->limits, 4096, STR("openai"), STR_NONE);

	ratelimit_look(&ag->w->shm->limits, key, &rule, clock_mono_us(), &s);
	return s;
}

static int64_t left(struct agents *ag)
{
	return look(ag).remaining;
}

static int64_t full(struct agents *ag)
{
	return look(ag).full_us;
}

/* A minute per call, so that nothing flows back while the test runs. */
static void test_what_providers_say(void **state)
{
	struct worker w = {.conf = conf("http://x.example", "openai=1/10"), .shm = shm_create()};
	struct agents ag = {.w = &w};
	struct fetch_response resp = {.status = 200, .retry_after_us = -1};

	(void)state;
	assert_int_equal(left(&ag), 10);
	throttle_told(&ag, PROVIDER_OPENAI, &resp);
	assert_int_equal(left(&ag), 10);
	resp.rate_remaining = STR("4");
	throttle_told(&ag, PROVIDER_OPENAI, &resp);
	assert_in_range(left(&ag), 3, 4);
	resp.rate_remaining = STR("9"); /* never fuller than it is known to be */
	throttle_told(&ag, PROVIDER_OPENAI, &resp);
	assert_in_range(left(&ag), 3, 4);
	resp.rate_remaining = STR("lots");
	throttle_told(&ag, PROVIDER_OPENAI, &resp);
	assert_in_range(left(&ag), 3, 4);
	resp.status = 429;
	throttle_told(&ag, PROVIDER_OPENAI, &resp);
	assert_int_equal(left(&ag), 0);
	assert_in_range(full(&ag), 590 * SEC_US, 600 * SEC_US);
	resp.retry_after_us = 300 * SEC_US; /* and the bucket begins to fill only then */
	throttle_told(&ag, PROVIDER_OPENAI, &resp);
	assert_in_range(full(&ag), 890 * SEC_US, 900 * SEC_US);
	conf_unref((struct conf *)(uintptr_t)w.conf);
	shm_detach(w.shm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reset),
	    cmocka_unit_test(test_rules),
	    cmocka_unit_test(test_what_providers_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
