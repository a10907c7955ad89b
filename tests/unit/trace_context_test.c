/* SPDX-License-Identifier: MIT */
/*
 * Tests of the W3C trace context: what is joined, what is refused, what is passed on.
 */
#include "common/trace_context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

static void test_join(void **state)
{
	static const struct {
		const char *parent;
		bool ok;
	} cases[] = {
	    {"00-" TRACE "-" SPAN "-01", true},
	    {"00-" TRACE "-" SPAN "-00", true},
	    {"cc-" TRACE "-" SPAN "-01", true},
	    {"cc-" TRACE "-" SPAN "-01-what-comes", true},
	    {"cc-" TRACE "-" SPAN "-01what-comes", false},
	    {"00-" TRACE "-" SPAN "-01-what-comes", false},
	    {"ff-" TRACE "-" SPAN "-01", false},
	    {"0-" TRACE "-" SPAN "-01", false},
	    {"00-00000000000000000000000000000000-" SPAN "-01", false},
	    {"00-" TRACE "-0000000000000000-01", false},
	    {"00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01", false},
	    {"00-" TRACE "-" SPAN "-0x", false},
	    {"00-" TRACE "-" SPAN "-1", false},
	    {"00_" TRACE "_" SPAN "_01", false},
	    {"", false},
	};
	struct trace_context t;

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		if (trace_join(&t, str_of(cases[i].parent), STR("a=1")) != cases[i].ok || t.on != cases[i].ok)
			fail_msg("%s", cases[i].parent);
		if (!cases[i].ok)
			continue;
		assert_string_equal(t.trace_id, TRACE);
		assert_string_equal(t.parent_id, SPAN);
		assert_string_not_equal(t.span_id, SPAN);
		assert_true(t.joined && str_eqz(t.state, "a=1"));
	}
}

static void test_state_is_bounded(void **state)
{
	char long_state[TRACE_STATE_MAX + 1];
	struct trace_context t;

	(void)state;
	memset(long_state, 'a', sizeof(long_state));
	assert_true(trace_join(&t, STR("00-" TRACE "-" SPAN "-01"), (struct str){long_state, TRACE_STATE_MAX}));
	assert_int_equal(t.state.n, TRACE_STATE_MAX);
	assert_true(trace_join(&t, STR("00-" TRACE "-" SPAN "-01"), (struct str){long_state, sizeof(long_state)}));
	assert_int_equal(t.state.n, 0);
}

static void test_parent(void **state)
{
	char text[TRACE_PARENT_LEN + 1];
	struct trace_context a, b;

	(void)state;
	/* Unknown flags are not passed on. */
	assert_true(trace_join(&a, STR("00-" TRACE "-" SPAN "-ff"), STR("")));
	trace_parent(&a, text);
	assert_int_equal(strlen(text), TRACE_PARENT_LEN);
	assert_string_equal(text + 53, "01");
	assert_true(trace_join(&b, str_of(text), STR("")));
	assert_string_equal(b.trace_id, a.trace_id);
	assert_string_equal(b.parent_id, a.span_id);
	trace_begin(&a);
	trace_begin(&b);
	assert_false(a.joined);
	assert_string_not_equal(a.trace_id, b.trace_id);
	trace_parent(&a, text);
	assert_true(trace_join(&b, str_of(text), STR("")));
}

static void test_of_a_name(void **state)
{
	struct trace_context a, b;

	(void)state;
	trace_of(&a, STR("abc"));
	/* FIPS 180-4, example of SHA-256 */
	assert_string_equal(a.trace_id, "ba7816bf8f01cfea414140de5dae2223");
	assert_string_equal(a.span_id, "b00361a396177a9c");
	trace_of(&b, STR("abd"));
	assert_string_not_equal(a.trace_id, b.trace_id);
	assert_true(a.on && !a.joined && a.flags == TRACE_FLAG_SAMPLED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_join),
	    cmocka_unit_test(test_state_is_bounded),
	    cmocka_unit_test(test_parent),
	    cmocka_unit_test(test_of_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
