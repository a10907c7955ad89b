/* SPDX-License-Identifier: MIT */
/*
 * Tests of worker/agents/demo.c: about the question, in the asked form, the same every time, safe with any text.
 */
#include "worker/agents/demo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/json.h"
#include "worker/agents/demo_topic.h"

static struct arena *arena;

static int setup(void **state)
{
	(void)state;
	arena = arena_new(0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_free(arena);
	return 0;
}

static struct str say(const char *persona, const char *phase, const char *task, json_t *facts)
{
	struct agent_spec spec = {
	    .name = arena_printf(arena, "demo_%s", persona), .persona = str_of(persona), .provider = STR("demo")};
	struct agent_request req = {
	    .agent = &spec, .phase = str_of(phase), .task = str_of(task), .facts = json_own(arena, facts)};
	struct buf out = BUF_INIT;
	struct str s;

	demo_answer(arena, &req, &out);
	s = arena_str(arena, buf_str(&out));
	buf_free(&out);
	assert_true(s.n > 0);
	assert_true(str_utf8_valid(s));
	return s;
}

static struct str first_line(struct str s)
{
	return str_sub(s, 0, (size_t)str_chr(s, '\n'));
}

#define QUESTION "Should we use Redis or Memcached for session storage?"

static void test_topic(void **state)
{
	struct topic t;

	(void)state;
	topic_read(arena, STR(QUESTION " We have two weeks."), &t);
	assert_int_equal(t.kind, TOPIC_EITHER);
	assert_true(str_eqz(t.a, "Redis"));
	assert_true(str_eqz(t.b, "Memcached"));
	assert_true(str_eqz(t.terms[0], "Redis"));
	assert_string_equal(t.domain->name, "data");
	topic_read(arena, STR("Should we adopt microservices?"), &t);
	assert_int_equal(t.kind, TOPIC_SHOULD);
	assert_true(str_eqz(t.deed, "adopt microservices"));
	topic_read(arena, STR("Should the city close its centre to cars?"), &t);
	assert_int_equal(t.kind, TOPIC_SHOULD);
	assert_int_equal(t.deed.n, 0);
	topic_read(arena, STR("How do we reduce latency or cost?"), &t);
	assert_int_equal(t.kind, TOPIC_HOW);
	topic_read(arena, STR("What is justice?"), &t);
	assert_int_equal(t.kind, TOPIC_WHAT);
	topic_read(arena, STR("PostgreSQL vs MySQL for analytics"), &t);
	assert_int_equal(t.kind, TOPIC_EITHER);
	assert_true(str_eqz(t.b, "MySQL"));
	topic_read(arena, STR("Should we go live or not?"), &t);
	assert_int_equal(t.kind, TOPIC_SHOULD);
	topic_read(arena, STR(""), &t);
	assert_int_equal(t.term_count, 1);
}

static void test_proposals_are_about_the_question_and_differ(void **state)
{
	struct str a = say("analyst", "propose", QUESTION, NULL), s = say("skeptic", "propose", QUESTION, NULL);

	(void)state;
	assert_true(str_find(a, STR("Redis")) >= 0 && str_find(a, STR("Memcached")) >= 0);
	assert_true(str_find(a, STR("\n\n")) > 0);
	assert_true(str_starts(a, STR("POSITION: ")));
	assert_true(str_find(a, STR("\nCONFIDENCE: 0.")) > 0);
	assert_false(str_eq(first_line(a), first_line(s)));
	assert_true(str_eq(a, say("analyst", "propose", QUESTION, NULL)));
	assert_true(str_find(say("pragmatist", "propose", "How do we teach Latin?", NULL), STR("teach Latin")) >= 0);
}

/* What is said must read as a sentence, whatever shape the question has. */
static void test_positions_read_well(void **state)
{
	static const char *const personas[] = {"analyst", "skeptic", "pragmatist"};
	static const struct {
		const char *task, *says[3];
	} rows[] = {
	    {"Should a small team build its first product as a monolith or as microservices?",
	     {"Microservices rather than a monolith, to be decided again after a measured trial.",
	      "A monolith for now; microservices only if a test says so.",
	      "Microservices, starting now, with a monolith as the way back."}},
	    {"Should the team keep sessions in Redis or in Postgres?",
	     {"Postgres rather than Redis, to be", "Redis for now; Postgres only if",
	      "Postgres, starting now, with Redis as"}},
	    {"Should we use microservices or a monolith?", {"Microservices rather than a monolith,", NULL, NULL}},
	    {"Which language should beginners learn first: Python or JavaScript?",
	     {"Python rather than JavaScript", NULL, NULL}},
	    {"Is it better to rent or to buy an office?", {"Buy an office rather than rent,", NULL, NULL}},
	    {"Should we hire a senior engineer or two juniors?",
	     {"Two juniors rather than a senior engineer", NULL, NULL}},
	    {"Python vs Go for a new backend", {"Python rather than Go,", NULL, NULL}},
	    {"PostgreSQL or MySQL?", {NULL, "MySQL for now; PostgreSQL only if", NULL}},
	    {"What should we have for lunch, pizza or sushi?", {"Sushi rather than pizza,", NULL, NULL}},
	    {"Should we rewrite the billing service in Rust?",
	     {"Yes, in stages: rewrite the billing service in Rust.",
	      "Not yet: first prove on a small scale that it is safe to rewrite the billing service in Rust.", NULL}},
	    {"Should our company move to a four-day week?",
	     {"Yes, in stages, is the answer to \"Should our company move to a four-day week?\"", NULL, NULL}},
	    {"How do we reduce the latency of our API?",
	     {"Measure first, then change one thing at a time, to reduce the latency of our API.", NULL, NULL}},
	    {"How should a startup price its first product?",
	     {"Treat \"How should a startup price its first product?\" as a decision in stages,",
	      "Limit the damage first: before answering \"How should a startup", NULL}},
	    {"Design a rate limiter for a public API",
	     {"Treat \"Design a rate limiter for a public API\" as", NULL, NULL}},
	    {"What is the best database for time series?",
	     {"The short answer to \"What is the best database for time series?\": it depends", NULL, NULL}},
	    {"Why do projects fail?", {NULL, NULL, "The useful answer to \"Why do projects fail?\" is the one"}},
	    {"Will remote work last?",
	     {NULL, NULL, "Begin with the smallest answer to \"Will remote work last?\" now,"}},
	};
	struct buf want = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		for (size_t p = 0; p < countof(personas); p++) {
			struct str said = first_line(say(personas[p], "propose", rows[i].task, NULL));

			if (rows[i].says[p] == NULL)
				continue;
			buf_clear(&want);
			buf_printf(&want, "POSITION: %s", rows[i].says[p]);
			if (!str_starts(said, buf_str(&want)))
				fail_msg("%s: %.*s", rows[i].task, STR_ARG(said));
		}
	}
	buf_free(&want);
}

static void test_critique_names_what_is_missing(void **state)
{
	struct str thin =
	    say("skeptic", "critique", QUESTION, json_pack("{s:s, s:s}", "label", "P1", "text", "Just do it."));
	struct str full =
	    say("skeptic", "critique", QUESTION,
		json_pack(
		    "{s:s, s:s}", "label", "P1", "text",
		    "Measure it, be able to undo it, one owner, in a week, at a cost of 3; unknown: x. Objection: y."));

	(void)state;
	assert_true(str_starts(thin, STR("ISSUES:\n- ")));
	assert_true(str_find(thin, STR("\nSUGGESTIONS:\n- ")) > 0);
	assert_true(str_find(thin, STR("\nSEVERITY: ")) > 0);
	assert_true(str_find(thin, STR("\nREASONING: ")) > 0);
	assert_true(str_find(thin, STR("no way back")) > 0);
	assert_true(str_find(full, STR("no way back")) < 0);
}

static json_t *critiques(int severity)
{
	return json_pack("{s:s, s:[{s:[s], s:[s, s], s:i}, {s:[s], s:[s], s:i}]}", "own",
			 "Memcached for now; Redis only if a test says so.\n\nOld body.", "critiques", "issues",
			 "It ignores persistence.", "suggestions", "Test a restart.", "Count evictions.",
			 "severity_milli", severity, "issues", "Too slow.", "suggestions", "Test a restart.",
			 "severity_milli", 2000);
}

static void test_revision_answers_the_critiques(void **state)
{
	struct str s = say("skeptic", "revise", QUESTION, critiques(4000));

	(void)state;
	assert_true(str_starts(s, STR("POSITION: Memcached for now; Redis only if a test says so.\n")));
	assert_true(str_find(s, STR("Accepted: Test a restart.")) > 0);
	assert_true(str_find(s, STR("Accepted: Count evictions.")) > 0);
	assert_true(str_find(s, STR("Old body")) < 0); /* it does not grow from round to round */
	/* What two critics suggest is accepted once. */
	assert_true(str_find(str_sub(s, (size_t)str_find(s, STR("Test a restart.")) + 4, s.n), STR("Test a restart.")) <
		    0);
}

static json_t *ballot(bool turned)
{
	return json_pack("{s:[s,s,s], s:{s:s,s:s,s:s}, s:s}", "labels", turned ? "P3" : "P1", "P2",
			 turned ? "P1" : "P3", "texts", turned ? "P3" : "P1",
			 "POSITION: Redis rather than Memcached.\n\nMeasure it for a week, undo it if need be.", "P2",
			 "Memcached for now; Redis only if a test says so.", turned ? "P1" : "P3", "Flip a coin.",
			 "own", "P2");
}

static void test_votes_do_not_depend_on_labels(void **state)
{
	static const char *const personas[] = {"analyst", "pragmatist", "skeptic", "synthesizer"};
	struct str s, turned;
	size_t i, first = 0;

	(void)state;
	for (i = 0; i < countof(personas); i++) {
		s = say(personas[i], "vote", QUESTION, ballot(false));
		turned = say(personas[i], "vote", QUESTION, ballot(true));
		assert_true(str_starts(s, STR("CHOICE: P")));
		assert_true(str_find(s, STR("\nCONFIDENCE: 0.")) > 0);
		assert_true(str_find(s, STR("\nCONTINUE: ")) > 0);
		assert_true(str_find(s, STR("\nREASONING: ")) > 0);
		/* P1 and P3 have changed places, so must the choice. */
		assert_int_equal(s.p[9] == '2' ? '2' : s.p[9] == '1' ? '3' : '1', turned.p[9]);
		first += s.p[9] == '1';
	}
	assert_true(first >= 2);
	assert_true(str_starts(say("analyst", "judge", QUESTION, ballot(false)), STR("WINNER: P")));
	(void)say("analyst", "vote", QUESTION, json_pack("{s:[]}", "labels"));
}

static void test_synthesis_keeps_dissent(void **state)
{
	struct str s =
	    say("analyst", "synthesis", QUESTION,
		json_pack("{s:s, s:[{s:s, s:s}, s], s:s}", "winner_text", "Redis it is.\n\nBecause.", "dissents",
			  "agent", "bob", "view", "Memcached is simpler.", "Neither.", "question", QUESTION));

	(void)state;
	assert_true(str_starts(s, STR("Redis it is.\n\n")));
	assert_true(str_find(s, STR("bob holds: Memcached is simpler.")) > 0);
	assert_true(str_find(s, STR("- Neither.")) > 0);
}

/* Tasks and facts come from anybody. */
static void test_any_text(void **state)
{
	static const char *const phases[] = {"propose", "critique", "revise", "vote", "judge", "synthesis", "unknown"};
	static const char *const tasks[] = {"",         " ",         "?",      "or",
					    " or ",     "x or ",     "or y?",  "\xE6\xBC\xA2\xE5\xAD\x97 or \xC3\xA9?",
					    "%s %n %d", "should we", "how to", "-- .. ''",
					    "a\nb",     "vs vs vs"};
	json_t *const facts[] = {
	    NULL, json_object(), json_pack("{s:i, s:i, s:i}", "labels", 1, "critiques", 2, "texts", 3),
	    json_pack("{s:[n,i,{}], s:[n,i,{}], s:[n], s:[]}", "labels", 3, "critiques", 1, "dissents", "texts")};
	struct buf big = BUF_INIT;
	size_t i, j, k;

	(void)state;
	for (i = 0; i < countof(phases); i++)
		for (j = 0; j < countof(tasks); j++)
			for (k = 0; k < countof(facts); k++)
				(void)say("analyst", phases[i], tasks[j], json_incref(facts[k]));
	for (k = 0; k < countof(facts); k++)
		json_decref(facts[k]);
	for (i = 0; i < 20000; i++)
		buf_addz(&big, "\xE6\xBC\xA2 or ");
	for (i = 0; i < countof(phases); i++)
		assert_true(say("analyst", phases[i], big.p, NULL).n < 10000);
	buf_free(&big);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_topic),
	    T(test_proposals_are_about_the_question_and_differ),
	    T(test_positions_read_well),
	    T(test_critique_names_what_is_missing),
	    T(test_revision_answers_the_critiques),
	    T(test_votes_do_not_depend_on_labels),
	    T(test_synthesis_keeps_dissent),
	    T(test_any_text),
	};

	return cmocka_run_group_tests_name("demo", tests, NULL, NULL);
}
