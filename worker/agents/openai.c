/* SPDX-License-Identifier: MIT */
/*
 * POST /chat/completions, streamed: OpenAI and everybody who copied it (OpenRouter, Mistral, xAI, LM Studio, vLLM,
 * llama.cpp). A row for call.c; the differences between these providers are small and stand here as conditions on
 * names.
 */
#include "common/json.h"
#include "worker/agents/wire.h"

/* OpenAI's reasoning models: another name for the limit, and a temperature is refused. */
static bool openai_reasons(const struct wire_call *call)
{
	static const char *const families[] = {"gpt-5", "o1", "o3", "o4"};
	size_t i;

	if (call->provider != PROVIDER_OPENAI && call->provider != PROVIDER_COMPATIBLE)
		return false;
	for (i = 0; i < countof(families); i++)
		if (str_starts(call->model, str_of(families[i])))
			return true;
	return false;
}

/* Models of xAI and Gemini, and those that reason, refuse a penalty. */
static bool openai_penalizes(const struct wire_call *call)
{
	return call->provider != PROVIDER_XAI && call->provider != PROVIDER_GEMINI && !openai_reasons(call);
}

static json_t *openai_body(const struct wire_call *call)
{
	json_t *body = json_object();
	bool reasons = openai_reasons(call);

	json_put_str(body, "model", call->model);
	wire_messages(body, call, true);
	json_put_int(body, reasons ? "max_completion_tokens" : "max_tokens", call->max_tokens);
	if (call->temperature_ppm >= 0 && !reasons)
		json_object_set_new(body, "temperature", json_real(call->temperature_ppm / 1e6));
	if (call->top_p_ppm > 0 && !reasons)
		json_object_set_new(body, "top_p", json_real(call->top_p_ppm / 1e6));
	if (call->frequency_penalty_ppm != 0 && openai_penalizes(call))
		json_object_set_new(body, "frequency_penalty", json_real(call->frequency_penalty_ppm / 1e6));
	json_object_set_new(body, "stream", json_true());
	/* Mistral refuses members it does not know, and tells usage without being asked. */
	if (call->provider != PROVIDER_MISTRAL)
		json_object_set_new(body, "stream_options", json_pack("{s:b}", "include_usage", 1));
	return body;
}

static size_t openai_headers(struct arena *a, const struct wire_call *call, struct fetch_header *out)
{
	size_t n = 0;

	if (call->conf->api_key[0] != '\0')
		out[n++] = (struct fetch_header){"Authorization", arena_printf(a, "Bearer %s", call->conf->api_key)};
	if (call->provider == PROVIDER_OPENROUTER)
		out[n++] = (struct fetch_header){"X-Title", STR("aragora")};
	return n;
}

/* {"error": {"message", "type", "code"}}; OpenRouter's code is an HTTP status. */
static void openai_error(struct wire_stream *st, const json_t *doc)
{
	const json_t *e = json_object_get(doc, "error");
	struct str type = json_get_str(e, "type", json_get_str(e, "code", STR_NONE));
	int64_t code = json_get_int(e, "code", 0);
	enum agent_fail fail = AGENT_FAIL_CONNECTION;

	if (code == 429 || str_find(type, STR("rate_limit")) >= 0)
		fail = AGENT_FAIL_RATE;
	else if (code == 402 || str_find(type, STR("insufficient_quota")) >= 0)
		fail = AGENT_FAIL_QUOTA;
	else if (str_find(type, STR("content_filter")) >= 0)
		fail = AGENT_FAIL_FILTER;
	else if (code == 401)
		fail = AGENT_FAIL_AUTH;
	else if ((code >= 400 && code < 500) || str_find(type, STR("invalid_request")) >= 0)
		fail = AGENT_FAIL_API;
	wire_fail(st, fail, wire_error_text(doc));
}

static void openai_choice(struct wire_stream *st, const json_t *choice)
{
	const json_t *delta = json_get_obj(choice, "delta");
	struct str reason = json_get_str(choice, "finish_reason", STR_NONE);

	wire_text(st, json_get_str(delta, "content", STR_NONE));
	if (json_get_str(delta, "refusal", STR_NONE).n > 0)
		wire_fail(st, AGENT_FAIL_FILTER, STR("the model refused"));
	if (str_eqz(reason, "length"))
		st->truncated = true;
	else if (str_eqz(reason, "content_filter"))
		wire_fail(st, AGENT_FAIL_FILTER, STR("stopped by the provider's content filter"));
	else if (str_eqz(reason, "error"))
		wire_fail(st, AGENT_FAIL_CONNECTION, STR("the provider reports an error in the stream"));
}

static void openai_event(struct wire_stream *st, const json_t *doc)
{
	const json_t *choices = json_get_arr(doc, "choices"), *usage = json_get_obj(doc, "usage");

	if (json_object_get(doc, "error") != NULL && !json_is_null(json_object_get(doc, "error"))) {
		openai_error(st, doc);
		return;
	}
	if (choices == NULL)
		return;
	st->began = true;
	if (st->model.n == 0)
		st->model = arena_str(st->arena, json_get_str(doc, "model", STR_NONE));
	if (json_array_size(choices) > 0)
		openai_choice(st, json_array_get(choices, 0));
	if (usage != NULL) {
		st->tokens_in = json_get_int(usage, "prompt_tokens", st->tokens_in);
		st->tokens_out = json_get_int(usage, "completion_tokens", st->tokens_out);
	}
}

const struct wire wire_openai = {
    .path = "/chat/completions",
    .done = "[DONE]",
    .body = openai_body,
    .headers = openai_headers,
    .event = openai_event,
};

/* Google serves this format below its own base URL (ai.google.dev/gemini-api/docs/openai). */
const struct wire wire_gemini = {
    .path = "/openai/chat/completions",
    .done = "[DONE]",
    .body = openai_body,
    .headers = openai_headers,
    .event = openai_event,
};
