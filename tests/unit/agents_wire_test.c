/* SPDX-License-Identifier: MIT */
/*
 * Tests of the wire formats (openai.c, anthropic.c, ollama.c): requests as documented, answers understood, provider
 * errors classified, hostile text cleaned and capped.
 */
#include "worker/agents/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/json.h"

static struct arena *arena;
static struct wire_stream st;
static struct buf heard;

static void on_text(void *arg, struct str piece)
{
	(void)arg;
	assert_true(str_utf8_valid(piece));
	buf_add(&heard, piece);
}

static int setup(void **state)
{
	(void)state;
	arena = arena_new(0);
	heard = BUF_INIT;
	st = (struct wire_stream){.arena = arena, .tokens_in = -1, .tokens_out = -1, .on_text = on_text};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	buf_free(&st.text);
	buf_free(&heard);
	arena_free(arena);
	return 0;
}

static void feed(const struct wire *w, const char *doc)
{
	struct error err = ERROR_INIT;
	json_t *j = json_parse(arena, str_of(doc), &err);

	assert_non_null(j);
	w->event(&st, j);
}

static const char *text(void)
{
	return st.text.n > 0 ? st.text.p : "";
}

/* Body of a call to a provider, and its headers as "name: value|". */
static json_t *request(const struct wire *w, enum conf_provider_id id, const char *model, char *key,
		       struct buf *headers)
{
	const struct conf_provider conf = {.api_key = key};
	struct wire_call call = {.provider = id,
				 .conf = &conf,
				 .model = str_of(model),
				 .system = STR("be brief"),
				 .prompt = STR("why?"),
				 .max_tokens = 100,
				 .temperature_ppm = 700000};
	struct fetch_header h[WIRE_HEADERS_MAX];
	size_t i, n = w->headers(arena, &call, h);

	for (i = 0; headers != NULL && i < n; i++)
		buf_printf(headers, "%s: %.*s|", h[i].name, STR_ARG(h[i].value));
	return json_own(arena, w->body(&call));
}

static void test_openai_request(void **state)
{
	char key[] = "sk-x", none[] = "";
	struct buf headers = BUF_INIT;
	json_t *b = request(&wire_openai, PROVIDER_OPENAI, "gpt-4o", key, &headers);

	(void)state;
	assert_string_equal(headers.p, "Authorization: Bearer sk-x|");
	assert_int_equal(json_get_int(b, "max_tokens", 0), 100);
	assert_true(json_get_bool(b, "stream", false));
	assert_true(json_get_bool(json_object_get(b, "stream_options"), "include_usage", false));
	assert_true(json_get_num(b, "temperature", 0) > 0.69 && json_get_num(b, "temperature", 0) < 0.71);
	assert_int_equal(json_array_size(json_object_get(b, "messages")), 2);
	assert_true(
	    str_eqz(json_get_str(json_array_get(json_object_get(b, "messages"), 0), "role", STR("")), "system"));
	/* Reasoning models know another limit and no temperature. */
	b = request(&wire_openai, PROVIDER_OPENAI, "gpt-5-mini", key, NULL);
	assert_int_equal(json_get_int(b, "max_completion_tokens", 0), 100);
	assert_null(json_object_get(b, "max_tokens"));
	assert_null(json_object_get(b, "temperature"));
	b = request(&wire_openai, PROVIDER_OPENAI, "o3", key, NULL);
	assert_null(json_object_get(b, "temperature"));
	b = request(&wire_openai, PROVIDER_MISTRAL, "mistral-large-latest", key, NULL);
	assert_null(json_object_get(b, "stream_options"));
	buf_clear(&headers);
	(void)request(&wire_openai, PROVIDER_COMPATIBLE, "x", none, &headers);
	assert_int_equal(headers.n, 0);
	buf_free(&headers);
}

static void test_anthropic_request(void **state)
{
	char key[] = "sk-ant";
	struct buf headers = BUF_INIT;
	json_t *b = request(&wire_anthropic, PROVIDER_ANTHROPIC, "claude-x", key, &headers);

	(void)state;
	assert_string_equal(headers.p, "x-api-key: sk-ant|anthropic-version: 2023-06-01|");
	assert_true(str_eqz(json_get_str(b, "system", STR("")), "be brief"));
	assert_int_equal(json_array_size(json_object_get(b, "messages")), 1);
	assert_int_equal(json_get_int(b, "max_tokens", 0), 100);
	buf_free(&headers);
}

static void test_openai_stream(void **state)
{
	(void)state;
	feed(&wire_openai,
	     "{\"model\":\"gpt-4o-2024\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}");
	feed(&wire_openai,
	     "{\"model\":\"gpt-4o-2024\",\"choices\":[{\"delta\":{\"content\":\"Hel\"}}],\"usage\":null}");
	feed(&wire_openai, "{\"choices\":[{\"delta\":{\"content\":\"lo\",\"reasoning_content\":\"secret\"}}]}");
	feed(&wire_openai, "{\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}");
	feed(&wire_openai, "{\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7}}");
	assert_string_equal(text(), "Hello");
	assert_string_equal(heard.p, "Hello");
	assert_true(str_eqz(st.model, "gpt-4o-2024"));
	assert_true(st.truncated);
	assert_int_equal(st.tokens_in, 11);
	assert_int_equal(st.tokens_out, 7);
	assert_int_equal(st.fail, AGENT_OK);
	assert_false(st.ended); /* [DONE] is not JSON: the reader knows it */
}

static void failed(const struct wire *w, const char *doc, enum agent_fail want)
{
	st.fail = AGENT_OK;
	feed(w, doc);
	if (st.fail != want)
		print_error("%s\n", doc);
	assert_int_equal(st.fail, want);
}

static void test_errors_inside_streams(void **state)
{
	(void)state;
	failed(&wire_openai, "{\"error\":{\"message\":\"m\",\"type\":\"server_error\"}}", AGENT_FAIL_CONNECTION);
	assert_string_equal(st.detail, "m");
	failed(&wire_openai, "{\"error\":{\"message\":\"m\",\"code\":429}}", AGENT_FAIL_RATE);
	failed(&wire_openai, "{\"error\":{\"message\":\"m\",\"code\":502}}", AGENT_FAIL_CONNECTION);
	failed(&wire_openai, "{\"error\":{\"message\":\"m\",\"code\":402}}", AGENT_FAIL_QUOTA);
	failed(&wire_openai, "{\"error\":{\"message\":\"m\",\"type\":\"invalid_request_error\"}}", AGENT_FAIL_API);
	failed(&wire_openai, "{\"choices\":[{\"delta\":{},\"finish_reason\":\"content_filter\"}]}", AGENT_FAIL_FILTER);
	failed(&wire_openai, "{\"choices\":[{\"delta\":{\"refusal\":\"I cannot\"}}]}", AGENT_FAIL_FILTER);
	failed(&wire_anthropic, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}",
	       AGENT_FAIL_CONNECTION);
	failed(&wire_anthropic, "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\"}}", AGENT_FAIL_RATE);
	failed(&wire_anthropic, "{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\"}}", AGENT_FAIL_AUTH);
	failed(&wire_anthropic, "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"refusal\"}}",
	       AGENT_FAIL_FILTER);
	failed(&wire_ollama, "{\"error\":\"runner has gone\"}", AGENT_FAIL_CONNECTION);
	assert_string_equal(st.detail, "runner has gone");
	feed(&wire_openai, "{\"error\":{\"message\":\"a consequence\",\"code\":401}}");
	assert_int_equal(st.fail, AGENT_FAIL_CONNECTION); /* the first failure is the one that counts */
	assert_string_equal(st.detail, "runner has gone");
}

static void test_anthropic_stream(void **state)
{
	(void)state;
	feed(&wire_anthropic,
	     "{\"type\":\"message_start\",\"message\":{\"model\":\"claude-x\",\"usage\":{\"input_tokens\":10,"
	     "\"cache_read_input_tokens\":5,\"output_tokens\":1}}}");
	feed(&wire_anthropic, "{\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\",\"text\":\"\"}}");
	feed(&wire_anthropic, "{\"type\":\"ping\"}");
	feed(&wire_anthropic,
	     "{\"type\":\"content_block_delta\",\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}");
	feed(&wire_anthropic,
	     "{\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Yes\"}}");
	assert_int_equal(st.tokens_out, -1);
	feed(&wire_anthropic,
	     "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\"},\"usage\":{\"output_tokens\":3}}");
	assert_false(st.ended);
	feed(&wire_anthropic, "{\"type\":\"message_stop\"}");
	assert_true(st.ended);
	assert_true(st.truncated);
	assert_string_equal(text(), "Yes");
	assert_int_equal(st.tokens_in, 15);
	assert_int_equal(st.tokens_out, 3);
}

static void test_ollama_stream(void **state)
{
	(void)state;
	feed(&wire_ollama,
	     "{\"model\":\"llama3.2\",\"message\":{\"role\":\"assistant\",\"content\":\"No\"},\"done\":false}");
	assert_false(st.ended);
	feed(&wire_ollama,
	     "{\"model\":\"llama3.2\",\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\","
	     "\"prompt_eval_count\":4,\"eval_count\":2}");
	assert_true(st.ended);
	assert_string_equal(text(), "No");
	assert_int_equal(st.tokens_in, 4);
	assert_int_equal(st.tokens_out, 2);
	assert_false(st.truncated);
}

/* Documents of the right JSON and the wrong shape. */
static void test_strange_documents(void **state)
{
	static const char *const docs[] = {"{}",
					   "{\"choices\":[1]}",
					   "{\"choices\":[{\"delta\":3}]}",
					   "{\"choices\":[{\"delta\":{\"content\":null}}]}",
					   "{\"type\":7}",
					   "{\"type\":\"content_block_delta\"}",
					   "{\"type\":\"message_start\",\"message\":[]}",
					   "{\"done\":1}",
					   "{\"done\":true,\"message\":\"x\"}",
					   "{\"usage\":\"x\",\"choices\":[]}"};
	size_t i;

	(void)state;
	for (i = 0; i < countof(docs); i++) {
		feed(&wire_openai, docs[i]);
		feed(&wire_anthropic, docs[i]);
		feed(&wire_ollama, docs[i]);
	}
	assert_string_equal(text(), "");
}

static void test_text_is_cleaned_and_capped(void **state)
{
	struct buf big = BUF_INIT;
	size_t i;

	(void)state;
	/* Escape sequences and C1 controls are for terminals to obey, not for people to read. */
	wire_text(&st, STR("a\x1b[31m\x7f\r\n\tb\xC2\x9B\xC3\xA9\x08"));
	assert_string_equal(text(), "a[31m\n\tb\xC3\xA9");
	assert_string_equal(heard.p, text());
	for (i = 0; i < AGENT_OUTPUT_MAX; i++)
		buf_addz(&big, "\xC3\xA9");
	wire_text(&st, buf_str(&big));
	assert_true(st.capped && st.truncated);
	assert_true(st.text.n <= AGENT_OUTPUT_MAX && st.text.n > AGENT_OUTPUT_MAX - 4);
	assert_true(str_utf8_valid(buf_str(&st.text)));
	i = st.text.n;
	wire_text(&st, STR("more"));
	assert_int_equal(st.text.n, i);
	buf_free(&big);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_openai_request),        T(test_anthropic_request),          T(test_openai_stream),
	    T(test_errors_inside_streams), T(test_anthropic_stream),           T(test_ollama_stream),
	    T(test_strange_documents),     T(test_text_is_cleaned_and_capped),
	};

	return cmocka_run_group_tests_name("agents_wire", tests, NULL, NULL);
}
