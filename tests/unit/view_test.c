/* SPDX-License-Identifier: MIT */
/*
 * Tests of worker/debate/view.c, worker/debate/export.c and worker/stream/envelope.c: numbers, words and times that
 * clients read, CSV that is no formula, HTML that is no markup of others, and the shape of an event.
 */
#include "worker/debate/view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/json.h"
#include "worker/debate/export.h"
#include "worker/stream/stream.h"

static int setup(void **state)
{
	*state = arena_new(0);
	return 0;
}

static int teardown(void **state)
{
	arena_free(*state);
	return 0;
}

static json_t *parse(struct arena *a, const char *text)
{
	json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);

	assert_non_null(v);
	return json_own(a, v);
}

static void number(const json_t *o, const char *key, double want)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_real(v))
		fail_msg("%s is no number with a fraction", key);
	assert_float_equal((float)json_real_value(v), (float)want, 1e-6F);
}

/* ---- view_floats ---- */

static void test_floats(void **state)
{
	json_t *o = parse(
	    *state, "{\"share_ppm\": 677000, \"severity_milli\": 6500, \"cost_micro\": 1250000, \"_ppm\": 5,"
		    " \"name_ppm\": \"x\", \"n\": 3, \"deep\": [{\"x\": {\"y_ppm\": 1000000}}], \"real_ppm\": 0.5,"
		    " \"minus_ppm\": -500000}");
	char key[140];

	view_floats(o);
	number(o, "share", 0.677);
	number(o, "severity", 6.5);
	number(o, "cost_usd", 1.25);
	number(o, "minus", -0.5);
	number(json_object_get(json_array_get(json_object_get(o, "deep"), 0), "x"), "y", 1);
	/* What was there stays, and what is no integer gains nothing. */
	assert_int_equal(json_get_int(o, "share_ppm", 0), 677000);
	assert_null(json_object_get(o, "name"));
	assert_null(json_object_get(o, "real"));
	assert_int_equal(json_get_int(o, "n", 0), 3);
	/* A name that is too long is left alone. */
	memset(key, 'k', sizeof(key));
	memcpy(key + sizeof(key) - 5, "_ppm", 5);
	json_object_set_new(o, key, json_integer(1));
	view_floats(o);
	key[sizeof(key) - 5] = '\0';
	assert_null(json_object_get(o, key));
	view_floats(NULL);
}

/* ---- objects ---- */

static struct debate_row row(void)
{
	return (struct debate_row){.id = STR("d1"),
				   .task = STR("Tea?"),
				   .status = STR("completed"),
				   .plan = STR("{\"agents\": [{\"name\": \"a\"}, {\"name\": \"b\"}]}"),
				   .tags = STR("[\"t\"]"),
				   .metadata = STR("{\"k\": 1}"),
				   .confidence_ppm = 750000,
				   .cost_micro = 2500000,
				   .running_ms = 1500,
				   .created_at = 1700000000000,
				   .started_at = 1700000000500,
				   .completed_at = 1700000002000,
				   .rounds_used = 1,
				   .total_rounds = 2};
}

static void test_status_words(void **state)
{
	static const struct {
		const char *stored;
		int archived;
		const char *shown;
	} cases[] = {{"queued", 0, "created"},     {"running", 0, "running"}, {"completed", 0, "completed"},
		     {"failed", 0, "failed"},      {"timeout", 0, "failed"},  {"cancelled", 0, "cancelled"},
		     {"completed", 1, "archived"}, {"", 0, "failed"}};
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		struct debate_row r = {.status = str_of(cases[i].stored), .archived = cases[i].archived};

		assert_string_equal(view_status_word(&r), cases[i].shown);
	}
}

static void test_debate_without_a_result(void **state)
{
	struct debate_row r = row();
	json_t *o;

	r.status = STR("queued");
	r.started_at = r.completed_at = 0;
	o = json_own(*state, view_debate(*state, &r));
	assert_string_equal(json_string_value(json_object_get(o, "status")), "created");
	assert_true(json_is_null(json_object_get(o, "started_at")));
	assert_true(json_is_null(json_object_get(o, "consensus_proof")));
	assert_true(json_is_true(json_object_get(o, "in_progress")));
	assert_int_equal(json_array_size(json_object_get(o, "messages")), 0);
	assert_int_equal(json_array_size(json_object_get(o, "votes")), 0);
	assert_int_equal(json_array_size(json_object_get(o, "agents")), 2);
	number(o, "confidence", 0.75);
	number(o, "total_cost_usd", 2.5);
	number(o, "duration_seconds", 1.5);
	o = json_own(*state, view_status(*state, &r, 3));
	assert_int_equal(json_get_int(o, "subscriber_count", 0), 3);
	assert_true(json_is_null(json_object_get(o, "consensus_reached")));
	assert_true(json_is_null(json_object_get(o, "confidence")));
	assert_true(json_is_null(json_object_get(o, "start_time")));
}

/* Rows that no version wrote like that are shown as far as they can be read. */
static void test_rows_that_cannot_be_read(void **state)
{
	struct debate_row r = row();
	json_t *o;

	r.plan = STR("{\"agents\": [");
	r.result = STR("{{{");
	r.tags = STR("nonsense");
	o = json_own(*state, view_debate(*state, &r));
	assert_int_equal(json_array_size(json_object_get(o, "agents")), 0);
	assert_true(json_is_null(json_object_get(o, "tags")));
	assert_true(json_is_null(json_object_get(o, "consensus_proof")));
	assert_int_equal(json_array_size(json_object_get(o, "messages")), 0);
}

static const char view_result_text[] =
    "{\"status\": \"consensus_reached\", \"winner\": \"\", \"rounds_used\": 1, \"tokens_in\": 10, \"tokens_out\": 5,"
    "\"messages\": [{\"role\": \"proposer\", \"agent\": \"a\", \"content\": \"=1+1\", \"round\": 0, \"at_ms\": "
    "1700000001000},"
    " {\"role\": \"proposer\", \"agent\": \"b\", \"content\": \"say \\\"hi\\\", <b>\\nnow\", \"round\": 1, \"at_ms\": "
    "0}],"
    "\"critiques\": [{\"round\": 1, \"agent\": \"b\", \"target_agent\": \"a\", \"issues\": [\"weak\"], "
    "\"suggestions\": "
    "[\"more\"],"
    " \"severity_milli\": 6500, \"reasoning\": \"so\", \"at_ms\": 1700000001500}],"
    "\"votes\": [{\"agent\": \"a\", \"choice\": \"b\", \"confidence_ppm\": 800000, \"reasoning\": \"yes\"},"
    " {\"agent\": \"b\", \"choice\": \"b\", \"confidence_ppm\": 900000, \"reasoning\": \"\"}],"
    "\"consensus\": {\"share_ppm\": 1000000}, \"convergence\": {\"status\": \"diverging\", \"similarity_ppm\": 250000},"
    "\"per_agent\": {\"a\": {\"cost_micro\": 1500000, \"calls\": 4}}}";

static void test_debate_with_a_result(void **state)
{
	struct debate_row r = row();
	const json_t *m, *c, *v;
	json_t *o;

	r.result = str_of(view_result_text);
	o = json_own(*state, view_debate(*state, &r));
	m = json_array_get(json_object_get(o, "messages"), 0);
	assert_string_equal(json_string_value(json_object_get(m, "timestamp")), "2023-11-14T22:13:21.000Z");
	assert_int_equal(json_get_int(json_array_get(json_object_get(o, "messages"), 1), "index", 9), 1);
	assert_null(json_object_get(json_array_get(json_object_get(o, "messages"), 1), "timestamp"));
	assert_int_equal(json_array_size(json_object_get(o, "rounds")), 2);
	assert_int_equal(json_array_size(json_object_get(json_array_get(json_object_get(o, "rounds"), 1), "messages")),
			 1);
	c = json_array_get(json_object_get(o, "critiques"), 0);
	assert_string_equal(json_string_value(json_object_get(c, "critic")), "b");
	assert_string_equal(json_string_value(json_object_get(c, "target")), "a");
	number(c, "severity", 6.5);
	v = json_array_get(json_object_get(o, "votes"), 0);
	assert_string_equal(json_string_value(json_object_get(v, "voter")), "a");
	assert_int_equal(json_get_int(v, "round", 0), 1);
	number(v, "confidence", 0.8);
	assert_int_equal(json_get_int(json_get_obj(json_object_get(o, "consensus_proof"), "vote_breakdown"), "b", 0),
			 2);
	assert_true(json_is_null(json_object_get(o, "winner")));
	number(json_object_get(o, "per_agent_cost"), "a", 1.5);
	number(json_object_get(json_object_get(o, "per_agent"), "a"), "cost_usd", 1.5);
	assert_int_equal(json_get_int(o, "total_tokens", 0), 15);
	number(o, "convergence_similarity", 0.25);
	number(json_object_get(o, "consensus"), "agreement", 1);
}

/* ---- exports ---- */

static struct export_file render(struct arena *a, const json_t *debate, const char *format, const char *table)
{
	struct error err = ERROR_INIT;
	struct export_file out = {0};

	if (!export_render(a, debate, str_of(format), str_of(table), &out, &err))
		fail_msg("%s %s: %s", format, table, err.msg);
	return out;
}

static bool has(struct str body, const char *text)
{
	return str_find(body, str_of(text)) != -1;
}

static const json_t *shown(struct arena *a, const char *task)
{
	struct debate_row r = row();

	r.task = str_of(task);
	r.result = str_of(view_result_text);
	return json_own(a, view_debate(a, &r));
}

static void test_unknown_format_and_table(void **state)
{
	static const struct {
		const char *format, *table, *field;
	} cases[] = {{"", "", "format"},    {"pdf", "", "format"},     {"JSON", "", "format"},
		     {"csv", "x", "table"}, {"csv", "Votes", "table"}, {"csv ", "votes", "format"}};
	const json_t *d = shown(*state, "Tea?");
	size_t i;

	for (i = 0; i < countof(cases); i++) {
		struct error err = ERROR_INIT;
		struct export_file out;

		assert_false(export_render(*state, d, str_of(cases[i].format), str_of(cases[i].table), &out, &err));
		assert_int_equal(err.code, ERR_INVALID_VALUE);
		assert_string_equal(err.field, cases[i].field);
	}
}

static void test_formats(void **state)
{
	static const struct {
		const char *format, *extension, *type;
	} cases[] = {{"json", "json", "application/json"},
		     {"md", "md", "text/markdown; charset=utf-8"},
		     {"markdown", "md", "text/markdown; charset=utf-8"},
		     {"txt", "txt", "text/plain; charset=utf-8"},
		     {"html", "html", "text/html; charset=utf-8"},
		     {"csv", "csv", "text/csv; charset=utf-8"}};
	const json_t *d = shown(*state, "Tea?");
	struct error err = ERROR_INIT;
	size_t i;

	for (i = 0; i < countof(cases); i++) {
		struct export_file f = render(*state, d, cases[i].format, "");

		assert_string_equal(f.extension, cases[i].extension);
		assert_string_equal(f.content_type, cases[i].type);
		assert_true(has(f.body, "Tea?"));
	}
	assert_true(json_equal(json_parse(*state, render(*state, d, "json", "").body, &err), d));
	assert_true(str_starts(render(*state, d, "md", "").body, STR("# Tea?\n")));
	assert_true(has(render(*state, d, "md", "").body, "### Round 1, b on a (severity 6.5 of 10)\n"));
	assert_true(str_starts(render(*state, d, "txt", "").body, STR("Tea?\n")));
	assert_true(has(render(*state, d, "txt", "").body, "* a for b (80 %): yes\n"));
}

static void test_csv_tables(void **state)
{
	const json_t *d = shown(*state, "=cmd()");

	assert_true(str_eqz(render(*state, d, "csv", "messages").body,
			    "round,agent,role,content,timestamp\r\n"
			    "0,\"a\",\"proposer\",\"'=1+1\",\"2023-11-14T22:13:21.000Z\"\r\n"
			    "1,\"b\",\"proposer\",\"say \"\"hi\"\", <b>\nnow\",\r\n"));
	assert_true(str_eqz(render(*state, d, "csv", "votes").body,
			    "round,voter,choice,reason,timestamp,confidence\r\n"
			    "1,\"a\",\"b\",\"yes\",,0.8\r\n1,\"b\",\"b\",\"\",,0.9\r\n"));
	assert_true(str_eqz(render(*state, d, "csv", "critiques").body,
			    "round,critic,target,severity,summary,timestamp\r\n"
			    "1,\"b\",\"a\",6.5,\"so\",\"2023-11-14T22:13:21.500Z\"\r\n"));
	assert_true(str_starts(render(*state, d, "csv", "").body,
			       STR("field,value\r\ndebate_id,\"d1\"\r\ntopic,\"'=cmd()\"\r\n")));
	assert_true(str_eq(render(*state, d, "csv", "").body, render(*state, d, "csv", "summary").body));
	assert_true(has(render(*state, d, "csv", "").body, "critique_count,1\r\nvote_count,2\r\n"));
}

/* Every beginning that a spreadsheet takes for a formula, and none else. */
static void test_csv_formulas(void **state)
{
	static const char *const formulas[] = {"=1", "+1", "-1", "@a", "\tx", "\rx"};
	static const char *const texts[] = {"1", " =1", "a=1", "'=1", "", "\n=1"};
	size_t i;

	for (i = 0; i < countof(formulas) + countof(texts); i++) {
		bool formula = i < countof(formulas);
		const char *text = formula ? formulas[i] : texts[i - countof(formulas)];
		struct buf b = BUF_INIT;
		char want[64];

		export_csv_row(&b, json_own(*state, json_pack("{s:s}", "id", text)), false);
		(void)snprintf(want, sizeof(want), "\"%s%s\",", formula ? "'" : "", text);
		if (!str_starts(buf_str(&b), str_of(want)))
			fail_msg("%s became %.*s", text, STR_ARG(buf_str(&b)));
		buf_free(&b);
	}
}

static void test_csv_rows_of_all(void **state)
{
	const json_t *d = shown(*state, "a,\"b\"\r\nc");
	struct buf b = BUF_INIT;

	export_csv_row(&b, d, true);
	export_csv_row(&b, d, false);
	assert_true(str_starts(buf_str(&b), STR("debate_id,topic,status,")));
	assert_true(has(buf_str(&b), "\r\n\"d1\",\"a,\"\"b\"\"\r\nc\",\"completed\",\"2023-11-14T22:13:20.000Z\","));
	assert_true(has(buf_str(&b), ",0.75,,0,1,2,2.5\r\n\"d1\","));
	assert_true(str_ends(buf_str(&b), STR(",2.5\r\n")));
	buf_free(&b);
}

static void test_html_escapes(void **state)
{
	const json_t *d = shown(*state, "<script>alert('x')</script> & \"y\"");
	struct str page = render(*state, d, "html", "").body;

	assert_true(has(page, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;y&quot;</title>"));
	assert_true(has(page, "<h1>&lt;script&gt;"));
	assert_false(has(page, "<script"));
	assert_true(has(page, "say &quot;hi&quot;, &lt;b&gt;\nnow"));
	assert_false(has(page, "<b>"));
	assert_true(str_ends(page, STR("</pre></body></html>\n")));
}

/* A line of a message that looks like a heading is one, and the page stays well-formed. */
static void test_html_is_well_formed(void **state)
{
	static const char *const contents[] = {"# <i>", "####", "#", "## a\n# b", "text\n### c\ntext", ""};
	size_t i;

	for (i = 0; i < countof(contents); i++) {
		const json_t *d =
		    json_own(*state, json_pack("{s:s, s:[{s:s}]}", "task", "t", "messages", "content", contents[i]));
		struct str rest = render(*state, d, "html", "").body;
		ptrdiff_t at;
		int open = 0;

		while ((at = str_find(rest, STR("pre>"))) > 0) {
			open += rest.p[at - 1] == '<' ? 1 : -1;
			assert_in_range(open, 0, 1);
			rest = str_sub(rest, (size_t)at + 4, rest.n);
		}
		assert_int_equal(open, 0);
	}
}

/* An object with nothing in it, as of a debate that was cancelled before it began. */
static void test_exports_of_nothing(void **state)
{
	static const char *const formats[] = {"json", "md", "txt", "html", "csv"};
	size_t i;

	for (i = 0; i < countof(formats); i++)
		assert_true(render(*state, json_own(*state, json_object()), formats[i], "").body.n > 0);
	assert_true(str_eqz(render(*state, json_own(*state, json_object()), "csv", "votes").body,
			    "round,voter,choice,reason,timestamp,confidence\r\n"));
}

/* ---- the envelope of an event ---- */

static void test_envelope(void **state)
{
	struct arena *a = *state;
	struct error err = ERROR_INIT;
	json_t *data = parse(a, "{\"x\": \"\\u0001\xc3\xa9\"}"), *o;

	o = json_parse(
	    a, stream_envelope(a, STR("d1"), 7, STR("vote"), STR("gpt"), 2, 0, 1700000001500, STR_NONE, data), &err);
	assert_true(json_equal(
	    o, parse(a, "{\"type\": \"vote\", \"data\": {\"x\": \"\\u0001\xc3\xa9\"}, \"timestamp\": 1700000001.5,"
			" \"round\": 2, \"agent\": \"gpt\", \"seq\": 7, \"event_id\": \"d1:7\", \"agent_seq\": 0,"
			" \"loop_id\": \"d1\", \"debate_id\": \"d1\"}")));
	/* The data was borrowed. */
	assert_int_equal(json_object_size(data), 1);
}

/* An ephemeral event has no number, a task instead; data is an object also when there is none. */
static void test_envelope_of_a_token(void **state)
{
	struct arena *a = *state;
	struct error err = ERROR_INIT;
	struct str text =
	    stream_envelope(a, STR("d1"), 0, STR("token_start"), STR("gpt"), 0, 3, 0, STR("gpt:vote"), NULL);
	const json_t *o = json_parse(a, text, &err);

	assert_false(has(text, "\n"));
	assert_null(json_object_get(o, "seq"));
	assert_null(json_object_get(o, "event_id"));
	assert_int_equal(json_get_int(o, "agent_seq", 0), 3);
	assert_string_equal(json_string_value(json_object_get(o, "task_id")), "gpt:vote");
	assert_true(json_is_object(json_object_get(o, "data")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_floats, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_status_words, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_debate_without_a_result, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_rows_that_cannot_be_read, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_debate_with_a_result, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_unknown_format_and_table, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_formats, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_csv_tables, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_csv_formulas, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_csv_rows_of_all, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_html_escapes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_html_is_well_formed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_exports_of_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_envelope, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_envelope_of_a_token, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
