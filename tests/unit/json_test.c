/* SPDX-License-Identifier: MIT */
/*
 * Tests of common/json.c: grammar and limits of the scanner, positions in errors, objects in free text, canonical
 * text, accessors, repair of strings; deep documents on a small stack.
 */
#include "common/json.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void test_scan_accepts(void **state)
{
	static const char *const good[] = {
	    "{}",
	    "[]",
	    " [ ] ",
	    "0",
	    "-0",
	    "1.5e+10",
	    "1E5",
	    "-12.25",
	    "\"\"",
	    "true",
	    "false",
	    "null",
	    "{\"a\":[1,2,{\"b\":null}],\"c\":\"\\u00e9\\n\\/\"}",
	    "\"\\ud83d\\ude00\"",
	    "\"\xf0\x9f\x98\x80\"",
	    "\t[\r\n1 , 2]\n",
	    "\"\\u0000\"",
	    "\"\x7f\"",
	    "{\"a\":1,\"a\":2}",
	    "[[],[[]],{}]",
	};
	struct error e = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < countof(good); i++) {
		if (!json_scan(str_of(good[i]), &e))
			fail_msg("%s: %s", good[i], e.msg);
	}
}

static void test_scan_refuses(void **state)
{
	static const char *const bad[] = {
	    "",
	    " ",
	    "{",
	    "[",
	    "]",
	    "[1,]",
	    "[,1]",
	    "{\"a\"}",
	    "{\"a\":}",
	    "{\"a\":1,}",
	    "{a:1}",
	    "{'a':1}",
	    "01",
	    "-",
	    "+1",
	    ".5",
	    "1.",
	    "1e",
	    "1e+",
	    "0x1",
	    "NaN",
	    "Infinity",
	    "tru",
	    "truex",
	    "nul",
	    "\"",
	    "\"\\x\"",
	    "\"\\u12\"",
	    "\"\\ud800\"",
	    "\"\\ud800x\"",
	    "\"\\udc00\"",
	    "\"\\ud800\\u0041\"",
	    "\"\n\"",
	    "\"\t\"",
	    "\"\xff\"",
	    "\"\xed\xa0\x80\"",
	    "\"\xc3\"",
	    "1 2",
	    "[] []",
	    "{} x",
	    "[1 2]",
	    "{\"a\":1 \"b\":2}",
	    "{1:2}",
	    "[1}",
	    "{\"a\":1]",
	    "//x\n1",
	    "\xef\xbb\xbf{}",
	    "\v1",
	};
	struct error e;

	(void)state;
	for (size_t i = 0; i < countof(bad); i++) {
		e = ERROR_INIT;
		if (json_scan(str_of(bad[i]), &e))
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(e.code, ERR_INVALID_JSON);
		assert_non_null(strstr(e.msg, " at line "));
	}
	assert_false(json_scan(STR_NONE, &e));
	assert_false(json_scan((struct str){"1\0", 2}, &e));
	assert_false(json_scan((struct str){"\"\0\"", 3}, NULL));
	/* The bytes behind the slice are not looked at. */
	assert_false(json_scan((struct str){"{}", 1}, &e));
	assert_true(json_scan((struct str){"12,", 2}, &e));
}

static void test_position(void **state)
{
	struct error e = ERROR_INIT;

	(void)state;
	assert_false(json_scan(STR("{\n  \"\xc3\xa9\": x\n}"), &e));
	assert_string_equal(e.msg, "value expected at line 2 column 8");
	assert_false(json_scan(STR("[1,\n2"), &e));
	assert_string_equal(e.msg, "unexpected end of text at line 2 column 2");
}

static struct str nested(struct buf *b, size_t depth)
{
	buf_clear(b);
	for (size_t i = 0; i < depth; i++)
		buf_addz(b, i % 2 != 0 ? "{\"k\":" : "[");
	buf_addz(b, "1");
	for (size_t i = depth; i-- > 0;)
		buf_addc(b, i % 2 != 0 ? '}' : ']');
	return buf_str(b);
}

static void test_limits(void **state)
{
	struct buf b = BUF_INIT;
	struct error e = ERROR_INIT;

	(void)state;
	assert_true(json_scan(nested(&b, JSON_DEPTH_MAX), &e));
	assert_false(json_scan(nested(&b, JSON_DEPTH_MAX + 1), &e));
	assert_non_null(strstr(e.msg, "deep"));
	assert_false(json_scan(nested(&b, 1000000), &e));
	buf_clear(&b);
	buf_addz(&b, "[0");
	for (int i = 1; i < JSON_MEMBERS_MAX; i++)
		buf_addz(&b, ",0");
	buf_addz(&b, "]");
	assert_true(json_scan(buf_str(&b), &e));
	b.n--;
	buf_addz(&b, ",0]");
	assert_false(json_scan(buf_str(&b), &e));
	assert_non_null(strstr(e.msg, "members"));
	buf_free(&b);
}

static void test_parse(void **state)
{
	struct arena *a = arena_new(0);
	struct error e = ERROR_INIT;
	json_t *j;

	(void)state;
	j = json_parse(a, STR("{\"s\":\"x\\u00e9\",\"n\":-7,\"r\":2.5,\"b\":true,\"o\":{},\"a\":[1]}"), &e);
	assert_non_null(j);
	assert_true(str_eqz(json_get_str(j, "s", STR_NONE), "x\xc3\xa9"));
	assert_true(str_eqz(json_get_str(j, "n", STR("d")), "d"));
	assert_int_equal(json_get_int(j, "n", 1), -7);
	assert_int_equal(json_get_int(j, "r", 1), 1);
	assert_true(json_get_num(j, "r", 0) == 2.5);
	assert_true(json_get_num(j, "n", 0) == -7);
	assert_true(json_get_num(j, "s", 9) == 9);
	assert_true(json_get_bool(j, "b", false));
	assert_true(json_get_bool(j, "n", true));
	assert_non_null(json_get_obj(j, "o"));
	assert_null(json_get_obj(j, "a"));
	assert_non_null(json_get_arr(j, "a"));
	assert_null(json_get_arr(j, "missing"));
	assert_int_equal(json_get_int(NULL, "n", 3), 3);
	assert_null(json_parse(a, STR("{\"k\":1,\"k\":2}"), &e));
	assert_int_equal(e.code, ERR_INVALID_JSON);
	assert_non_null(strstr(e.msg, "duplicate"));
	assert_null(json_parse(a, STR("[\"\\u0000\"]"), &e));
	assert_null(json_parse(a, STR("[99999999999999999999]"), &e));
	assert_null(json_parse(a, STR("[1e999]"), &e));
	assert_null(json_parse(a, STR("{} {}"), &e));
	assert_non_null(json_parse(a, STR("\"scalar\""), &e));
	j = json_parse(NULL, STR("[1]"), &e);
	assert_int_equal(json_array_size(j), 1);
	json_decref(j);
	arena_free(a);
}

static void test_find_object(void **state)
{
	static const struct {
		const char *text;
		const char *object; /* NULL: none */
	} cases[] = {
	    {"{\"a\":1}", "{\"a\":1}"},
	    {"Sure!\n```json\n{\"a\": {\"b\": \"}{\"}}\n```\nDone {\"c\":2}", "{\"a\": {\"b\": \"}{\"}}"},
	    {"use {braces} or { x, then {\"a\":1}", "{\"a\":1}"},
	    {"{\"q\":\"\\\"}\"} tail", "{\"q\":\"\\\"}\"}"},
	    {"{{\"a\":1}}", "{\"a\":1}"},
	    {"{}", "{}"},
	    {"no object", NULL},
	    {"", NULL},
	    {"[1,2]", NULL},
	    {"{", NULL},
	    {"}{", NULL},
	    /* A part of a broken or cut answer is not the answer. */
	    {"{\"a\":{\"b\":1}", NULL},
	    {"{\"a\":{\"b\":1},}", NULL},
	    {"{\"a\":[{\"b\":1} oops, {\"b\":2}]}", NULL},
	    {"{\"score\": X} means {\"score\": 5}", "{\"score\": 5}"},
	    {"{\"a\": \"cut off", NULL},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct str found = json_find_object(str_of(cases[i].text));

		if (!str_eqz(found, cases[i].object))
			fail_msg("%s: found %.*s", cases[i].text, STR_ARG(found));
		assert_int_equal(found.p == NULL, cases[i].object == NULL);
	}
	assert_null(json_find_object(STR_NONE).p);
}

/* Text that makes every position look like a beginning must not cost its square. */
static void test_find_object_cost(void **state)
{
	static const char *const pieces[] = {"{", "{\"a\":", "{\"a\":1 x ", "{\"", "{\"a\":1}x{", "{ x } "};
	struct buf b = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < countof(pieces); i++) {
		buf_clear(&b);
		while (b.n < 4000000)
			buf_addz(&b, pieces[i]);
		/* The time limit is the harness's: the square of four million does not end. */
		(void)json_find_object(buf_str(&b));
	}
	buf_free(&b);
}

static void test_text(void **state)
{
	struct arena *a = arena_new(0);
	struct error e = ERROR_INIT;
	json_t *j;

	(void)state;
	j = json_parse(a,
		       STR(" { \"b\" : [ 1 , 2.50 , true , null, 0.1, 1e3, -0.0 ], \"a\":{},\"e\":[],"
			   "\"s\":\"\\u00e9\\u001f\\n\\\"\\\\\\/\x7f\" } "),
		       &e);
	assert_non_null(j);
	assert_string_equal(json_text(a, j).p, "{\"b\":[1,2.5,true,null,0.1,1000.0,-0.0],\"a\":{},\"e\":[],"
					       "\"s\":\"\xc3\xa9\\u001f\\n\\\"\\\\/\x7f\"}");
	assert_string_equal(json_text(a, json_own(a, json_string("x"))).p, "\"x\"");
	arena_free(a);
}

static void test_canonical(void **state)
{
	struct arena *a = arena_new(0);
	struct error e = ERROR_INIT;
	json_t *j, *again;
	struct str text;

	(void)state;
	j = json_parse(a,
		       STR("{\"\\ue000\":1,\"\\ud83d\\ude00\":2,\"z\":[{\"b\":1,\"a\":\"\\b\\f\\r\\t\"}],\"\":0,"
			   "\"aa\":false,\"a\":null,\"B\":-5}"),
		       &e);
	assert_non_null(j);
	text = json_canonical(a, j);
	/* By code point: U+E000 stands before U+1F600, which it would not in UTF-16. */
	assert_string_equal(text.p,
			    "{\"\":0,\"B\":-5,\"a\":null,\"aa\":false,"
			    "\"z\":[{\"a\":\"\\b\\f\\r\\t\",\"b\":1}],\"\xee\x80\x80\":1,\"\xf0\x9f\x98\x80\":2}");
	again = json_parse(a, text, &e);
	assert_true(json_equal(j, again));
	assert_true(str_eq(json_canonical(a, again), text));
	arena_free(a);
}

static void test_canonical_real(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		struct arena *a = arena_new(0);

		signal(SIGABRT, SIG_DFL);
		close(STDERR_FILENO);
		(void)json_canonical(a, json_own(a, json_pack("[f]", 0.5)));
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void test_strings(void **state)
{
	static const struct {
		struct str in;
		const char *out;
	} cases[] = {
	    {{"plain", 5}, "plain"},
	    {{NULL, 0}, ""},
	    {{"a\0b", 3}, "ab"},
	    {{"a\xff\xc3", 3}, "a\xef\xbf\xbd\xef\xbf\xbd"},
	    {{"\xe2\x82\xac", 3}, "\xe2\x82\xac"},
	    {{"\0", 1}, ""},
	};
	json_t *obj = json_object();

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		json_t *j = json_str(cases[i].in);

		assert_string_equal(json_string_value(j), cases[i].out);
		assert_int_equal(json_string_length(j), strlen(cases[i].out));
		json_decref(j);
	}
	json_put_str(obj, "k", STR("v\xfe"));
	json_put_int(obj, "n", INT64_MIN);
	assert_true(str_eqz(json_get_str(obj, "k", STR_NONE), "v\xef\xbf\xbd"));
	assert_true(json_get_int(obj, "n", 0) == INT64_MIN);
	json_decref(obj);
}

static void *deep_on_small_stack(void *arg)
{
	struct arena *a = arena_new(0);
	struct buf b = BUF_INIT;
	struct error e = ERROR_INIT;
	json_t *j = json_parse(a, nested(&b, JSON_DEPTH_MAX), &e);

	if (j != NULL && str_eq(json_text(a, j), buf_str(&b)) && json_canonical(a, j).n == b.n &&
	    !json_scan(nested(&b, 100000), &e))
		*(bool *)arg = true;
	buf_free(&b);
	arena_free(a);
	return NULL;
}

static void test_small_stack(void **state)
{
	pthread_attr_t attr;
	pthread_t thread;
	bool ok = false;

	(void)state;
	pthread_attr_init(&attr);
	/* Half of what a coroutine has. */
	assert_int_equal(pthread_attr_setstacksize(&attr, (size_t)128 * 1024), 0);
	assert_int_equal(pthread_create(&thread, &attr, deep_on_small_stack, &ok), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attr);
	assert_true(ok);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_scan_accepts),
	    cmocka_unit_test(test_scan_refuses),
	    cmocka_unit_test(test_position),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_find_object),
	    cmocka_unit_test(test_find_object_cost),
	    cmocka_unit_test(test_text),
	    cmocka_unit_test(test_canonical),
	    cmocka_unit_test(test_canonical_real),
	    cmocka_unit_test(test_strings),
	    cmocka_unit_test(test_small_stack),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
