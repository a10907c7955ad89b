/* SPDX-License-Identifier: MIT */
/*
 * POST /messages, streamed: Anthropic's own format. A row for call.c. Thinking blocks and tools are not asked for and
 * not read.
 */
#include "common/json.h"
#include "worker/agents/wire.h"

static json_t *anthropic_body(const struct wire_call *call)
{
	json_t *body = json_object();

	json_put_str(body, "model", call->model);
	json_put_int(body, "max_tokens", call->max_tokens);
	if (call->system.n > 0)
		json_put_str(body, "system", call->system);
	wire_messages(body, call, false);
	if (call->temperature_ppm >= 0) /* this provider's scale ends at 1 */
		json_object_set_new(body, "temperature",
				    json_real(call->temperature_ppm < 1000000 ? call->temperature_ppm / 1e6 : 1.0));
	json_object_set_new(body, "stream", json_true());
	return body;
}

static size_t anthropic_headers(struct arena *a, const struct wire_call *call, struct fetch_header *out)
{
	(void)a;
	out[0] = (struct fetch_header){"x-api-key", str_of(call->conf->api_key)};
	out[1] = (struct fetch_header){"anthropic-version", STR("2023-06-01")};
	return 2;
}

static void anthropic_usage(struct wire_stream *st, const json_t *usage)
{
	int64_t in = json_get_int(usage, "input_tokens", -1);

	if (in >= 0)
		st->tokens_in = in + json_get_int(usage, "cache_creation_input_tokens", 0) +
				json_get_int(usage, "cache_read_input_tokens", 0);
	st->tokens_out = json_get_int(usage, "output_tokens", st->tokens_out);
}

static void anthropic_start(struct wire_stream *st, const json_t *doc)
{
	const json_t *message = json_get_obj(doc, "message");

	st->model = arena_str(st->arena, json_get_str(message, "model", STR_NONE));
	anthropic_usage(st, json_get_obj(message, "usage"));
	/* The one output token of the first event is a placeholder: only message_delta tells the number. */
	st->tokens_out = -1;
}

static void anthropic_block(struct wire_stream *st, const json_t *doc)
{
	const json_t *block = json_get_obj(doc, "content_block");

	if (str_eqz(json_get_str(block, "type", STR_NONE), "text"))
		wire_text(st, json_get_str(block, "text", STR_NONE));
}

static void anthropic_delta(struct wire_stream *st, const json_t *doc)
{
	const json_t *delta = json_get_obj(doc, "delta");

	if (str_eqz(json_get_str(delta, "type", STR_NONE), "text_delta"))
		wire_text(st, json_get_str(delta, "text", STR_NONE));
}

static void anthropic_message_delta(struct wire_stream *st, const json_t *doc)
{
	struct str reason = json_get_str(json_get_obj(doc, "delta"), "stop_reason", STR_NONE);

	anthropic_usage(st, json_get_obj(doc, "usage"));
	if (str_eqz(reason, "max_tokens"))
		st->truncated = true;
	else if (str_eqz(reason, "refusal"))
		wire_fail(st, AGENT_FAIL_FILTER, STR("the model refused"));
}

static void anthropic_stop(struct wire_stream *st, const json_t *doc)
{
	(void)doc;
	st->ended = true;
}

static void anthropic_error(struct wire_stream *st, const json_t *doc)
{
	static const struct {
		const char *type;
		enum agent_fail fail;
	} kinds[] = {
	    {"rate_limit_error", AGENT_FAIL_RATE},     {"authentication_error", AGENT_FAIL_AUTH},
	    {"billing_error", AGENT_FAIL_QUOTA},       {"permission_error", AGENT_FAIL_API},
	    {"invalid_request_error", AGENT_FAIL_API}, {"not_found_error", AGENT_FAIL_API},
	    {"request_too_large", AGENT_FAIL_API},     {"timeout_error", AGENT_FAIL_TIMEOUT},
	};
	struct str type = json_get_str(json_get_obj(doc, "error"), "type", STR_NONE);
	enum agent_fail fail = AGENT_FAIL_CONNECTION; /* overloaded_error, api_error and what may come */
	size_t i;

	for (i = 0; i < countof(kinds); i++)
		if (str_eqz(type, kinds[i].type))
			fail = kinds[i].fail;
	wire_fail(st, fail, wire_error_text(doc));
}

static const struct {
	const char *type;
	void (*take)(struct wire_stream *st, const json_t *doc);
} anthropic_events[] = {
    {"content_block_delta", anthropic_delta}, {"message_start", anthropic_start},
    {"content_block_start", anthropic_block}, {"message_delta", anthropic_message_delta},
    {"message_stop", anthropic_stop},         {"error", anthropic_error},
};

static void anthropic_event(struct wire_stream *st, const json_t *doc)
{
	struct str type = json_get_str(doc, "type", STR_NONE);
	size_t i;

	for (i = 0; i < countof(anthropic_events); i++) {
		if (!str_eqz(type, anthropic_events[i].type))
			continue;
		st->began = true;
		anthropic_events[i].take(st, doc);
		return;
	}
}

const struct wire wire_anthropic = {
    .path = "/messages",
    .body = anthropic_body,
    .headers = anthropic_headers,
    .event = anthropic_event,
};
