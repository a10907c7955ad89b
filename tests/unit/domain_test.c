/* SPDX-License-Identifier: MIT */
/*
 * What a question is about: whole words, in the order of the table.
 */
#include "worker/engine/domain.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_domains(void **state)
{
	static const struct {
		const char *task, *domain;
	} cases[] = {
	    {"", "general"},
	    {"Which colour suits most fishes?", "general"},
	    {"How do we find the HACKERS?", "security"},
	    {"Who is the author of this authority?", "general"},
	    {"auth", "security"},
	    {"Should OAuth2 tokens be cached?", "security"},
	    {"Should tokens be cached?", "performance"},
	    /* The table's order counts, not the text's. */
	    {"Fix the design of the latency tests", "performance"},
	    {"Fix the design of the tests", "testing"},
	    {"Fix the design", "architecture"},
	    {"Prefix, suffix, affix", "general"},
	    {"A fix for the API", "debugging"},
	    {"The API of a database", "api"},
	    {"PostgreSQL or SQLite?", "database"},
	    {"ui", "frontend"},
	    {"The ruin of the guild", "general"},
	    {"Entwicklung \xC3\xBC"
	     "api",
	     "general"},
	};
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		struct str d = domain_of(str_of(cases[i].task));

		if (!str_eqz(d, cases[i].domain))
			fail_msg("%s: %.*s", cases[i].task, STR_ARG(d));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_domains)};

	return cmocka_run_group_tests_name("domain", tests, NULL, NULL);
}
