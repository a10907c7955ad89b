/* SPDX-License-Identifier: MIT */
/*
 * Tests of worker/agents/call.c over real sockets: a server on the same loop says what the test puts into its mouth,
 * and every way in which a call can end gets its class, its usage and its mark on the breaker.
 */
#include "common/clock.h"
#include "common/json.h"
#include "tests/unit/agent_harness.h"

/* What the provider says next, and how often it was asked. */
static struct {
	const char *text;
	bool hold; /* does not close */
	int seen;
} say;

static void answer(struct str body)
{
	(void)body;
	say.seen++;
	assert_int_equal(write(server.fd, say.text, strlen(say.text)), strlen(say.text));
	if (!say.hold)
		server_close();
}

static const char *const providers[] = {"openai", "anthropic", "ollama", "openrouter", "mistral", "demo", NULL};

static int setup(void **state)
{
	char openai[64], anthropic[64], ollama[64];
	const struct conf_override o[] = {
	    {"providers.openai.base_url", openai},
	    {"providers.openai.api_key", "sk-very-secret"},
	    {"providers.anthropic.base_url", anthropic},
	    {"providers.anthropic.api_key", "sk-ant-secret"},
	    {"providers.ollama.base_url", ollama},
	    {"providers.gemini.api_key", "g"},
	    {"debates.agent_timeout", "4s"},
	    {"debates.breaker_failures", "3"},
	};

	(void)state;
	provider_begin(answer);
	(void)snprintf(openai, sizeof(openai), "http://127.0.0.1:%u/v1/", server.port);
	(void)snprintf(anthropic, sizeof(anthropic), "http://127.0.0.1:%u/v1", server.port);
	(void)snprintf(ollama, sizeof(ollama), "http://127.0.0.1:%u", server.port);
	agents_begin(o, countof(o));
	return 0;
}

/* One call, made by a coroutine. */
static struct {
	struct arena *arena;
	struct agent_spec spec;
	struct agent_request req;
	struct agent_reply reply;
	struct co_scope scope;
	struct buf heard;
} the;

static void on_text(void *arg, struct str piece)
{
	(void)arg;
	buf_add(&the.heard, piece);
}

static void run(void *arg)
{
	(void)arg;
	if (the.scope.kind != SCOPE_NONE)
		co_scope_enter(&the.scope);
	(void)agent_call(w.agents, the.arena, &the.req, &the.reply);
	if (the.scope.kind != SCOPE_NONE)
		co_scope_leave(&the.scope);
}

static enum agent_fail call(const char *provider, const char *text)
{
	int seen = say.seen;

	arena_free(the.arena);
	the.arena = arena_new(0);
	buf_clear(&the.heard);
	the.spec = (struct agent_spec){.name = str_of(provider),
				       .provider = str_of(provider),
				       .model = STR("gpt-4o"),
				       .price_in = 1000000,
				       .price_out = 2000000};
	the.req = (struct agent_request){.agent = &the.spec,
					 .system = STR("system"),
					 .prompt = STR("what?"),
					 .temperature_ppm = -1,
					 .idempotency_key = STR("d1/r0.propose.a#1"),
					 .on_text = on_text,
					 .phase = STR("propose"),
					 .task = STR("Tea or coffee?")};
	say.text = text;
	spawn(run, NULL);
	run_all();
	if (text != NULL && the.reply.fail != AGENT_FAIL_BREAKER)
		assert_int_equal(say.seen, seen + 1); /* never asked twice by itself */
	say.hold = false;
	return the.reply.fail;
}

#define OK_SSE "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define OK_CHUNK "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define DELTA "data: {\"model\":\"gpt-4o-x\",\"choices\":[{\"delta\":{\"content\":\"Hello \"}}]}\n\n"
#define USAGE "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1000000,\"completion_tokens\":500000}}\n\n"
#define DONE "data: [DONE]\n\n"
#define STATUS(s, body) "HTTP/1.1 " s "\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" body

static void test_a_complete_answer(void **state)
{
	(void)state;
	assert_int_equal(call("openai", OK_SSE DELTA DELTA USAGE DONE), AGENT_OK);
	assert_true(str_eqz(the.reply.text, "Hello Hello "));
	assert_string_equal(the.heard.p, "Hello Hello ");
	assert_true(str_eqz(the.reply.model, "gpt-4o-x"));
	assert_int_equal(the.reply.tokens_in, 1000000);
	assert_int_equal(the.reply.cost_micro, 2000000);
	assert_false(the.reply.tokens_estimated);
	assert_int_equal(the.reply.status, 200);
	assert_true(the.reply.duration_us > 0);
	assert_non_null(strstr(server.request.p, "POST /v1/chat/completions HTTP/1.1\r\n"));
	assert_non_null(strstr(server.request.p, "Idempotency-Key: d1/r0.propose.a#1\r\n"));
	assert_non_null(strstr(server.request.p, "Authorization: Bearer sk-very-secret\r\n"));
	assert_null(strstr(server.request.p, "temperature"));
}

static void test_usage_is_estimated_when_absent(void **state)
{
	(void)state;
	assert_int_equal(call("openai", OK_SSE DELTA DONE), AGENT_OK);
	assert_true(the.reply.tokens_estimated);
	assert_int_equal(the.reply.tokens_in, 3); /* 11 characters */
	assert_int_equal(the.reply.tokens_out, 2);
}

static void test_other_formats(void **state)
{
	(void)state;
	assert_int_equal(
	    call("anthropic",
		 OK_SSE "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"c\","
			"\"usage\":{\"input_tokens\":3}}}\n\nevent: content_block_delta\ndata: "
			"{\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Yes\"}}\n\n"
			"data: {\"type\":\"message_stop\"}\n\n"),
	    AGENT_OK);
	assert_true(str_eqz(the.reply.text, "Yes"));
	assert_non_null(strstr(server.request.p, "POST /v1/messages HTTP/1.1\r\n"));
	assert_non_null(strstr(server.request.p, "x-api-key: sk-ant-secret\r\n"));
	/* The last line of NDJSON need not end. */
	assert_int_equal(
	    call("ollama",
		 "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"message\":{\"content\":\"No\"},\"done\":false}\n"
		 "{\"message\":{\"content\":\".\"},\"done\":true,\"eval_count\":7,\"prompt_eval_count\":2}"),
	    AGENT_OK);
	assert_true(str_eqz(the.reply.text, "No."));
	assert_int_equal(the.reply.tokens_out, 7);
	assert_non_null(strstr(server.request.p, "POST /api/chat HTTP/1.1\r\n"));
}

static void status(const char *text, enum agent_fail want)
{
	agents_close(w.agents); /* a fresh breaker for each */
	w.agents = agents_open(&w);
	assert_int_equal(call("openai", text), want);
	assert_null(strstr(the.reply.detail, "secret"));
}

static void test_statuses(void **state)
{
	(void)state;
	status(
	    "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nConnection: close\r\n\r\n{\"error\":{\"message\":\"slow down\"}}",
	    AGENT_FAIL_RATE);
	assert_int_equal(the.reply.retry_after_us, 7 * SEC_US);
	assert_string_equal(the.reply.detail, "HTTP 429: slow down");
	status(STATUS("429 x", "{\"error\":{\"type\":\"insufficient_quota\"}}"), AGENT_FAIL_QUOTA);
	assert_int_equal(the.reply.retry_after_us, -1);
	status(STATUS("500 x", "oops"), AGENT_FAIL_CONNECTION);
	assert_int_equal(the.reply.status, 500);
	status(STATUS("529 x",
		      "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}"),
	       AGENT_FAIL_CONNECTION);
	status(STATUS("401 x", "{\"error\":{\"message\":\"Incorrect API key provided: sk-very-secret\"}}"),
	       AGENT_FAIL_AUTH);
	status(STATUS("400 x", "{\"error\":{\"message\":\"bad key 'sk-very-secret' in a risk-free body\"}}"),
	       AGENT_FAIL_API);
	assert_string_equal(the.reply.detail, "HTTP 400: bad key [...] in a risk-free body");
	status(STATUS("400 x", "{\"error\":{\"message\":\"Your credit balance is too low\"}}"), AGENT_FAIL_QUOTA);
	status(STATUS("400 x", "{\"error\":{\"code\":\"content_filter\"}}"), AGENT_FAIL_FILTER);
	status(STATUS("403 x", "{\"error\":{\"message\":\"Quota exceeded\"}}"), AGENT_FAIL_QUOTA);
	status(STATUS("403 x", "{\"error\":{\"message\":\"no access to this model\"}}"), AGENT_FAIL_API);
	status(STATUS("404 x", ""), AGENT_FAIL_API);
	status(STATUS("408 x", ""), AGENT_FAIL_TIMEOUT);
	status(STATUS("302 x", ""), AGENT_FAIL_API);
}

static void test_streams_that_go_wrong(void **state)
{
	(void)state;
	/* Cut: the text that came does not make it an answer, but it was paid. */
	status(OK_SSE DELTA, AGENT_FAIL_CONNECTION);
	assert_true(str_eqz(the.reply.text, "Hello "));
	assert_true(the.reply.tokens_out > 0);
	status(OK_CHUNK "5\r\ndata:", AGENT_FAIL_CONNECTION);
	status("", AGENT_FAIL_CONNECTION);
	status(OK_SSE, AGENT_FAIL_CONNECTION);
	/* Not what is documented. */
	status(OK_SSE "data: {\"choices\": [}\n\n", AGENT_FAIL_PARSE);
	status(OK_SSE "<html>hello</html>", AGENT_FAIL_PARSE);
	status(STATUS("200 OK", "{\"choices\":[{\"message\":{\"content\":\"not streamed\"}}]}"), AGENT_FAIL_PARSE);
	/* Complete, and of no use. */
	status(OK_SSE "data: {\"choices\":[{\"delta\":{\"content\":\" \\n\"},\"finish_reason\":\"stop\"}]}\n\n" DONE,
	       AGENT_FAIL_EMPTY);
	status(OK_SSE DELTA "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"content_filter\"}]}\n\n" DONE,
	       AGENT_FAIL_FILTER);
	status(OK_SSE DELTA "data: {\"error\":{\"message\":\"lost\",\"code\":502}}\n\n", AGENT_FAIL_CONNECTION);
	/* What is cut after the documented end is complete. */
	status(OK_CHUNK
	       "43\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"all there\"},\"x\":\"12345\"}]}\n\n\r\nE\r\n" DONE
	       "\r\n",
	       AGENT_OK);
}

static void test_silence_and_scopes(void **state)
{
	int64_t start = clock_mono_us();

	(void)state;
	say.hold = true;
	status(OK_SSE DELTA, AGENT_FAIL_TIMEOUT); /* 3 s of silence */
	assert_true(clock_mono_us() - start < 10 * SEC_US);

	say.hold = true;
	the.scope = (struct co_scope){.kind = SCOPE_AGENT, .deadline = clock_mono_us() + 200 * MS_US};
	status(OK_SSE DELTA, AGENT_FAIL_TIMEOUT);
	say.hold = true;
	the.scope = (struct co_scope){.kind = SCOPE_DEBATE, .deadline = clock_mono_us() + 200 * MS_US};
	status(OK_SSE DELTA, AGENT_FAIL_CANCELLED);
	the.scope = (struct co_scope){.kind = SCOPE_NONE};
}

static void test_breaker(void **state)
{
	json_t *breakers;
	int i, seen;

	(void)state;
	agents_close(w.agents);
	w.agents = agents_open(&w);
	for (i = 0; i < 5; i++) /* rate limits are no illness */
		assert_int_equal(call("openai", STATUS("429 x", "")), AGENT_FAIL_RATE);
	for (i = 0; i < 3; i++)
		assert_int_equal(call("openai", STATUS("500 x", "")), AGENT_FAIL_CONNECTION);
	seen = say.seen;
	assert_int_equal(call("openai", OK_SSE DELTA DONE), AGENT_FAIL_BREAKER);
	assert_int_equal(say.seen, seen);
	breakers = agents_breakers(w.agents);
	assert_true(str_eqz(json_get_str(json_get_obj(breakers, "openai|gpt-4o"), "state", STR("")), "open"));
	assert_int_equal(json_get_int(json_get_obj(breakers, "openai|gpt-4o"), "failure_count", 0), 3);
	json_decref(breakers);
	assert_true(metric_total(M_BREAKER_STATE) > 1.5);
	assert_int_equal(call("ollama", STATUS("500 x", "")),
			 AGENT_FAIL_CONNECTION); /* another provider is not concerned */
}

static void test_not_configured(void **state)
{
	(void)state;
	assert_int_equal(call("mistral", NULL), AGENT_FAIL_AUTH);
	assert_int_equal(call("nobody", NULL), AGENT_FAIL_AUTH);
}

static void test_demo(void **state)
{
	(void)state;
	assert_int_equal(call("demo", NULL), AGENT_OK);
	assert_true(str_find(the.reply.text, STR("Tea")) >= 0 || str_find(the.reply.text, STR("tea")) >= 0);
	assert_true(str_eq(the.reply.text, buf_str(&the.heard)));
	assert_int_equal(the.reply.cost_micro, 0);
	assert_true(the.reply.tokens_out > 0);
	the.scope = (struct co_scope){.kind = SCOPE_DEBATE, .cancelled = true, .why = "cancelled by the user"};
	assert_int_equal(call("demo", NULL), AGENT_FAIL_CANCELLED);
	assert_string_equal(the.reply.detail, "cancelled by the user");
	the.scope = (struct co_scope){.kind = SCOPE_NONE};
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_complete_answer),
	    cmocka_unit_test(test_usage_is_estimated_when_absent),
	    cmocka_unit_test(test_other_formats),
	    cmocka_unit_test(test_statuses),
	    cmocka_unit_test(test_streams_that_go_wrong),
	    cmocka_unit_test(test_silence_and_scopes),
	    cmocka_unit_test(test_breaker),
	    cmocka_unit_test(test_not_configured),
	    cmocka_unit_test(test_demo),
	};
	int failures;

	/* Before the threads: metrics fix their layout once. */
	metrics_register(&(struct metric_labels){.agents = agents_known(), .providers = providers});
	failures = cmocka_run_group_tests_name("agent_call", tests, setup, agents_end);
	arena_free(the.arena);
	buf_free(&the.heard);
	return failures;
}
