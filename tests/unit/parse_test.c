/* SPDX-License-Identifier: MIT */
/*
 * Replies as models write them: plain, decorated, as JSON, half-finished, hostile, and as large as they may be.
 */
#include "worker/engine/parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

#include "common/json.h"

#define BIG (256 * 1024)

static void test_confidence(void **state)
{
	static const struct {
		const char *text;
		int64_t ppm;
	} cases[] = {{"0.85", 850000},
		     {".85", 850000},
		     {"0,85", 850000},
		     {"85%", 850000},
		     {"85 %", 850000},
		     {"85", 850000},
		     {"8/10", 800000},
		     {"85/100", 850000},
		     {"1", 1000000},
		     {"1.0", 1000000},
		     {"0", 0},
		     {"7.5", 750000},
		     {"about 0.7, maybe", 700000},
		     {"**0.6**", 600000},
		     {"250%", 1000000},
		     {"-0.5", 0},
		     {"99999999999999999999", 1000000},
		     {"0.1234567", 123456}};
	int64_t ppm;
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		assert_true(parse_confidence(str_of(cases[i].text), &ppm));
		assert_int_equal(ppm, cases[i].ppm);
	}
	assert_false(parse_confidence(STR("high"), &ppm));
	assert_false(parse_confidence(STR(""), &ppm));
}

static void test_label(void **state)
{
	static const struct {
		const char *text;
		int want;
	} cases[] = {{"P2", 1},
		     {"p2.", 1},
		     {"**P2**", 1},
		     {"[P2]", 1},
		     {"`P2`", 1},
		     {"Proposal 2", 1},
		     {"proposal P2", 1},
		     {"Proposal #2", 1},
		     {"#2", 1},
		     {"2", 1},
		     {"\"P2\"", 1},
		     {"P2 - because P1 is weak", 1},
		     {"I choose P3", 2},
		     {"I pick proposal 3, since P3 is sound", 2},
		     {"P2 (not P1)", 1},
		     {"P1 or P2", -1},
		     {"P1/P2", -1},
		     {"P1 and P3", -1},
		     {"P4", -1},
		     {"P0", -1},
		     {"P22", -1},
		     {"", -1},
		     {"none", -1},
		     {"abstain", -1},
		     {"P1 seems fine but so does P2", 0},
		     {"either P1, P2", -1},
		     {"MP3", -1},
		     {"P2x", -1},
		     {"99999999999999999999", -1}};
	size_t index, i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		bool ok = parse_label(str_of(cases[i].text), 3, &index);

		if (ok != (cases[i].want >= 0) || (ok && index != (size_t)cases[i].want))
			fail_msg("label \"%s\"", cases[i].text);
	}
}

static void test_position(void **state)
{
	struct str p;

	(void)state;
	assert_true(str_eqz(parse_position(STR("POSITION: Use Redis.\nBecause.")), "Use Redis."));
	assert_true(str_eqz(parse_position(STR("Sure!\n\n**Position:** Use Redis.\nmore")), "Use Redis."));
	assert_true(str_eqz(parse_position(STR("\n## We should wait\n\nBecause.")), "We should wait"));
	assert_true(str_eqz(parse_position(STR("")), ""));
	p = parse_position(STR("POSITION:\nlater"));
	assert_true(str_eqz(p, "POSITION:") || str_eqz(p, "later"));
}

static void test_vote_lines(void **state)
{
	struct arena *a = arena_new(0);
	struct parse_vote v;

	(void)state;
	assert_true(parse_vote(a, STR("CHOICE: P2\nCONFIDENCE: 0.8\nCONTINUE: no\nREASONING: It is\nbetter."), 3, &v));
	assert_int_equal(v.choice, 1);
	assert_int_equal(v.confidence_ppm, 800000);
	assert_false(v.continue_debate);
	assert_true(str_eqz(v.reasoning, "It is\nbetter."));
	assert_true(parse_vote(
	    a,
	    STR("I compared them.\n\n**Choice:** Proposal 3\n- **Confidence**: 85%\n* continue = Yes\n1. Reason: ok"),
	    3, &v));
	assert_int_equal(v.choice, 2);
	assert_int_equal(v.confidence_ppm, 850000);
	assert_true(v.continue_debate);
	assert_true(str_eqz(v.reasoning, "ok"));
	assert_true(parse_vote(a, STR("choice: p1"), 3, &v));
	assert_int_equal(v.confidence_ppm, PARSE_CONFIDENCE_DEFAULT);
	assert_true(v.continue_debate);
	assert_true(parse_vote(a, STR("P2."), 3, &v));
	assert_int_equal(v.choice, 1);
	assert_false(parse_vote(a, STR("CHOICE: P7\nCONFIDENCE: 1"), 3, &v));
	assert_false(parse_vote(a, STR("CHOICE: P1 or P2\nCONFIDENCE: 1"), 3, &v));
	assert_false(parse_vote(a, STR("They are all equally good in their own way, and I would not choose."), 3, &v));
	assert_false(parse_vote(a, STR(""), 3, &v));
	arena_free(a);
}

static void test_vote_json(void **state)
{
	struct arena *a = arena_new(0);
	struct parse_vote v;

	(void)state;
	assert_true(parse_vote(
	    a, STR("{\"choice\": \"P2\", \"confidence\": 0.85, \"continue\": false, \"reasoning\": \"CHOICE: P1\"}"), 3,
	    &v));
	assert_int_equal(v.choice, 1);
	assert_int_equal(v.confidence_ppm, 850000);
	assert_false(v.continue_debate);
	assert_true(
	    parse_vote(a, STR("Here:\n```json\n{\n  \"Choice\": 3,\n  \"Confidence\": \"85%\"\n}\n```\nBye"), 3, &v));
	assert_int_equal(v.choice, 2);
	assert_int_equal(v.confidence_ppm, 850000);
	assert_false(parse_vote(a, STR("{\"choice\": [\"P1\", \"P2\"]}"), 3, &v));
	assert_false(parse_vote(a, STR("{\"choice\": null}"), 3, &v));
	assert_true(parse_vote(a, STR("{\"choice\": \"P1\""), 3, &v)); /* cut off, but clear */
	assert_int_equal(v.choice, 0);
	assert_false(parse_vote(a, STR("{\"choice\": \"P1\", \"reasoning\": \"cut off in the middle of"), 3, &v));
	arena_free(a);
}

static const char *item(const json_t *list, size_t i)
{
	return json_string_value(json_array_get(list, i));
}

static void test_critique(void **state)
{
	struct arena *a = arena_new(0);
	struct parse_critique c;

	(void)state;
	parse_critique(a,
		       STR("## Issues\n- no numbers\n  at all\n* old source\n\nSUGGESTIONS:\n1. measure\n2) "
			   "cite\n**Severity:** 7/10\nReasoning: Thin."),
		       &c);
	assert_int_equal(json_array_size(c.issues), 2);
	assert_true(strncmp(item(c.issues, 0), "no numbers", 10) == 0);
	assert_non_null(strstr(item(c.issues, 0), "at all"));
	assert_string_equal(item(c.issues, 1), "old source");
	assert_string_equal(item(c.suggestions, 1), "cite");
	assert_int_equal(c.severity_milli, 7000);
	assert_true(str_eqz(c.reasoning, "Thin."));
	parse_critique(a,
		       STR("```json\n{\"issues\": [\"a\", {\"description\": \"b\"}, 3], \"suggestions\": [], "
			   "\"severity\": 0.7, \"reasoning\": \"r\"}\n```"),
		       &c);
	assert_int_equal(json_array_size(c.issues), 2);
	assert_string_equal(item(c.issues, 1), "b");
	assert_int_equal(c.severity_milli, 7000);
	parse_critique(a, STR("ISSUES: none\nSEVERITY: 1"), &c);
	assert_int_equal(json_array_size(c.issues), 0);
	assert_int_equal(c.severity_milli, 1000);
	parse_critique(a, STR("I think it forgets the costs."), &c);
	assert_string_equal(item(c.issues, 0), "I think it forgets the costs.");
	assert_int_equal(c.severity_milli, 5000);
	parse_critique(a, STR("ISSUES:\n- 1\n- 2\n- 3\n- 4\n- 5\n- 6\n- 7\nSEVERITY: major"), &c);
	assert_int_equal(json_array_size(c.issues), PARSE_LIST_MAX);
	assert_int_equal(c.severity_milli, 8000);
	parse_critique(a, STR("ISSUES:\n- x\nSEVERITY: 1000000000000"), &c);
	assert_int_equal(c.severity_milli, 10000);
	arena_free(a);
}

static void test_judge(void **state)
{
	struct arena *a = arena_new(0);
	struct parse_judge j;

	(void)state;
	assert_true(parse_judge(a,
				STR("WINNER: P2\nCONFIDENCE: 0.7\nREASONING: a\nb\nUNRESOLVED: cost\nANSWER: Take "
				    "it.\n\n- first\n- second"),
				3, &j));
	assert_int_equal(j.winner, 1);
	assert_int_equal(j.confidence_ppm, 700000);
	assert_true(str_eqz(j.unresolved, "cost"));
	assert_true(str_eqz(j.answer, "Take it.\n\n- first\n- second"));
	assert_true(parse_judge(a, STR("{\"winner\":\"P1\",\"confidence\":90,\"answer\":\"x\"}"), 3, &j));
	assert_int_equal(j.confidence_ppm, 900000);
	assert_false(parse_judge(a, STR("WINNER: all of them"), 3, &j));
	arena_free(a);
}

static double cpu_seconds(void)
{
	struct timespec t;

	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void all_of(struct str text)
{
	struct arena *a = arena_new(0);
	struct parse_critique c;
	struct parse_judge j;
	struct parse_vote v;
	int64_t ppm;
	size_t i;

	(void)parse_vote(a, text, 10, &v);
	(void)parse_judge(a, text, 10, &j);
	parse_critique(a, text, &c);
	assert_true(json_array_size(c.issues) <= PARSE_LIST_MAX);
	for (i = 0; i < json_array_size(c.issues); i++)
		assert_true(json_string_length(json_array_get(c.issues, i)) <= PARSE_ITEM_MAX);
	assert_true(parse_position(text).n <= PARSE_POSITION_MAX);
	(void)parse_stated_confidence(text, &ppm);
	(void)parse_confidence(text, &ppm);
	arena_free(a);
}

/* Texts of 256 KiB that repeat what could make a parser slow. Linear: generous also with sanitizers. */
static void test_cap(void **state)
{
	static const char *const parts[] = {
	    "CHOICE: ", "CHOICE: P1\n",   "- ",        "\n",       "{",   "{\"choice\":", "[", "P", "*", "P1 or ", "1",
	    "\"",       "ISSUES:\n- a\n", "  # ** - ", "\xc3\xa9", "-\n", "```json\n{\n"};
	char *text = xmalloc(BIG);
	double start = cpu_seconds();
	size_t i, k;

	(void)state;
	for (k = 0; k < countof(parts); k++) {
		for (i = 0; i < BIG; i++)
			text[i] = parts[k][i % strlen(parts[k])];
		all_of((struct str){text, BIG});
	}
	assert_true(cpu_seconds() - start < 10.0);
	free(text);
}

static void test_ready(void **state)
{
	static const struct {
		const char *text;
		bool ready;
	} cases[] = {{"POSITION: x\nREADY: yes\nCONFIDENCE: 0.9", true},
		     {"**Ready:** Yes, nothing is left.", true},
		     {"READY: true", true},
		     {"READY: no", false},
		     {"ready when you are", false},
		     {"I am ready to conclude. We have reached consensus.", false}, /* a phrase is no statement */
		     {"READY:", false},
		     {"", false}};
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++)
		if (parse_ready(str_of(cases[i].text)) != cases[i].ready)
			fail_msg("\"%s\"", cases[i].text);
}

static void test_body(void **state)
{
	static const struct {
		const char *text, *body;
	} cases[] = {{"POSITION: x\n\nWhy.\n\nREADY: yes\nCONFIDENCE: 0.9\n", "POSITION: x\n\nWhy."},
		     {"Why.\n**Confidence:** 80%", "Why."},
		     {"CONFIDENCE: 0.9\nWhy.", "CONFIDENCE: 0.9\nWhy."}, /* closing lines only */
		     {"CONFIDENCE: 0.9", "CONFIDENCE: 0.9"},             /* nothing else is there */
		     {"Our confidence is high.", "Our confidence is high."},
		     {"", ""}};
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++)
		if (!str_eqz(parse_body(str_of(cases[i].text)), cases[i].body))
			fail_msg("\"%s\" becomes \"%.*s\"", cases[i].text, STR_ARG(parse_body(str_of(cases[i].text))));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_confidence), cmocka_unit_test(test_label),     cmocka_unit_test(test_position),
	    cmocka_unit_test(test_vote_lines), cmocka_unit_test(test_vote_json), cmocka_unit_test(test_critique),
	    cmocka_unit_test(test_judge),      cmocka_unit_test(test_cap),       cmocka_unit_test(test_ready),
	    cmocka_unit_test(test_body),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
