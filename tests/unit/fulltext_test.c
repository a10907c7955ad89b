/* SPDX-License-Identifier: MIT */
/*
 * Words of a query and how well a text covers them: the part of full-text search that both stores share.
 */
#include "worker/search/fulltext.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_words(void **state)
{
	static const struct {
		const char *query, *words;
	} cases[] = {
	    {"What is the BEST cache for a web server?", "best cache web server"},
	    {"cache, Cache; CACHE", "cache"},
	    {"\"a\" OR b* NEAR(x) -- ' | & ! :", "near"},
	    {"Größe der Städte", "größe der städte"},
	    {"the of and", ""},
	    {"", ""},
	};
	struct arena *a = arena_new(0);
	size_t i, k, n;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		struct str words[FULLTEXT_WORDS_MAX];
		struct buf b = BUF_INIT;

		n = fulltext_words(a, str_of(cases[i].query), words, FULLTEXT_WORDS_MAX);
		buf_addz(&b, "");
		for (k = 0; k < n; k++)
			buf_printf(&b, "%s%.*s", k > 0 ? " " : "", STR_ARG(words[k]));
		assert_string_equal(b.p != NULL ? b.p : "", cases[i].words);
		buf_free(&b);
	}
	arena_free(a);
}

static void test_words_are_bounded(void **state)
{
	struct arena *a = arena_new(0);
	struct str words[FULLTEXT_WORDS_MAX];
	struct buf b = BUF_INIT;
	int i;

	(void)state;
	for (i = 0; i < 1000; i++)
		buf_printf(&b, "word%d ", i);
	assert_int_equal(fulltext_words(a, buf_str(&b), words, FULLTEXT_WORDS_MAX), FULLTEXT_WORDS_MAX);
	buf_free(&b);
	arena_free(a);
}

static void test_coverage(void **state)
{
	static const struct {
		const char *query, *text;
		int64_t ppm;
	} cases[] = {
	    {"cache server", "The server has a cache.", 1000000},
	    {"cache server", "Servers and nothing else", 500000},
	    {"cache server", "a cat sails", 0},
	    {"scaling databases", "We scaled the database", 1000000},
	    {"cat", "catalogue of concatenations", 0},
	    {"größe", "Die größe zählt", 1000000},
	    {"", "anything", 0},
	};
	struct arena *a = arena_new(0);
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		struct str words[FULLTEXT_WORDS_MAX];
		size_t n = fulltext_words(a, str_of(cases[i].query), words, FULLTEXT_WORDS_MAX);

		if (fulltext_coverage(words, n, str_of(cases[i].text)) != cases[i].ppm)
			print_error("case %zu\n", i);
		assert_int_equal(fulltext_coverage(words, n, str_of(cases[i].text)), cases[i].ppm);
	}
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_words),
	    cmocka_unit_test(test_words_are_bounded),
	    cmocka_unit_test(test_coverage),
	};

	return cmocka_run_group_tests_name("fulltext", tests, NULL, NULL);
}
