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

#include <stdlib.h>
#include <unistd.h>

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

static bool load(const char *text, struct error *err)
{
	char path[] = "/tmp/aragora-prices-XXXXXX";
	int fd = mkstemp(path);
	bool ok;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	ok = agents_prices_load(path, err);
	unlink(path);
	return ok;
}

static void test_prices_of_the_operator(void **state)
{
	static const char *const bad[] = {"gpt-4o 1\n",    "gpt-4o 1 2 3\n",           "gpt-4o one 2\n",
					  "gpt-4o -1 2\n", "\n# fine\ngpt-4o 1 2e9\n", "gpt-4o nan 1\n"};
	struct error err = ERROR_INIT;
	size_t i;

	(void)state;
	assert_true(load("# ours\n\nopenai/GPT-4o  1.25\t5 # half\nllama3 0.1 0.2\n", &err));
	check("openai", "gpt-4o-2024-11-20", 1250000, 5000000);
	check("openai", "gpt-4o-mini", 150000, 600000); /* the longest prefix of both tables */
	check("openai", "gpt-4.1", 2000000, 8000000);
	check("ollama", "llama3.2", 100000, 200000);
	check("ollama", "qwen", 0, 0);
	for (i = 0; i < countof(bad); i++) {
		assert_false(load(bad[i], &err));
		assert_string_equal(err.field, "agents.prices_file");
		check("openai", "gpt-4o", 1250000, 5000000);
	}
	assert_non_null(strstr(err.msg, ":1:"));
	assert_false(agents_prices_load("/nonexistent/prices", &err));
	assert_true(agents_prices_load("", &err));
	check("openai", "gpt-4o", 2500000, 10000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_longest_prefix),
	    cmocka_unit_test(test_spellings),
	    cmocka_unit_test(test_unknown_is_not_free_but_local_is),
	    cmocka_unit_test(test_prices_of_the_operator),
	};

	return cmocka_run_group_tests_name("prices", tests, NULL, NULL);
}
