/* SPDX-License-Identifier: MIT */
/*
 * Tests of worker/agents/prices.c: real model ids, in every spelling, find their row.
 */
#include "worker/agents/agent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void check(const char *provider, const char *model, int64_t in, int64_t out)
{
	int64_t got_in, got_out;

	agents_price(str_of(provider), str_of(model), &got_in, &got_out);
	if (got_in != in || got_out != out)
		print_error("%s|%s\n", provider, model);
	assert_int_equal(got_in, in);
	assert_int_equal(got_out, out);
}

static void test_longest_prefix(void **state)
{
	(void)state;
	check("openai", "gpt-4o", 2500000, 10000000);
	check("openai", "gpt-4o-2024-11-20", 2500000, 10000000);
	check("openai", "gpt-4o-mini", 150000, 600000);
	check("openai", "gpt-4o-mini-2024-07-18", 150000, 600000);
	check("openai", "gpt-4.1", 2000000, 8000000);
	check("openai", "gpt-4.1-mini", 400000, 1600000);
	check("anthropic", "claude-sonnet-4-5-20250929", 3000000, 15000000);
	check("anthropic", "claude-opus-4-6", 5000000, 25000000);
}

static void test_spellings(void **state)
{
	(void)state;
	check("openrouter", "anthropic/claude-opus-4.6", 5000000, 25000000);
	check("openrouter", "deepseek/deepseek-chat", 280000, 420000);
	check("xai", "Grok-4", 3000000, 15000000);
	check("mistral", "mistral-large-latest", 2000000, 6000000);
	check(
	    "openai",
	    "a-name-that-is-longer-than-any-id-should-be-0123456789012345678901234567890123456789012345678901234567890",
	    2000000, 8000000);
}

static void test_unknown_is_not_free_but_local_is(void **state)
{
	(void)state;
	check("openrouter", "yi-something", 2000000, 8000000);
	check("openai", "", 2000000, 8000000);
	check("ollama", "gpt-4o", 0, 0);
	check("lm_studio", "x", 0, 0);
	check("demo", "demo", 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_longest_prefix),
	    cmocka_unit_test(test_spellings),
	    cmocka_unit_test(test_unknown_is_not_free_but_local_is),
	};

	return cmocka_run_group_tests_name("prices", tests, NULL, NULL);
}
