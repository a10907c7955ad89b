/* SPDX-License-Identifier: MIT */
/*
 * POST /api/chat, streamed as lines of JSON: Ollama's own format. A row for call.c. Models are not pulled: a model that
 * is not there is the provider's 404.
 */
#include "common/json.h"
#include "worker/agents/wire.h"

static json_t *ollama_body(const struct wire_call *call)
{
	json_t *body = json_object(), *options = json_object();

	json_put_str(body, "model", call->model);
	wire_messages(body, call, true);
	json_object_set_new(body, "stream", json_true());
	json_put_int(options, "num_predict", call->max_tokens);
	if (call->temperature_ppm >= 0)
		json_object_set_new(options, "temperature", json_real(call->temperature_ppm / 1e6));
	if (call->top_p_ppm > 0)
		json_object_set_new(options, "top_p", json_real(call->top_p_ppm / 1e6));
	if (call->frequency_penalty_ppm != 0)
		json_object_set_new(options, "frequency_penalty", json_real(call->frequency_penalty_ppm / 1e6));
	json_object_set_new(body, "options", options);
	return body;
}

/* Ollama itself takes no key; a proxy before it may. */
static size_t ollama_headers(struct arena *a, const struct wire_call *call, struct fetch_header *out)
{
	if (call->conf->api_key[0] == '\0')
		return 0;
	out[0] = (struct fetch_header){"Authorization", arena_printf(a, "Bearer %s", call->conf->api_key)};
	return 1;
}

static void ollama_event(struct wire_stream *st, const json_t *doc)
{
	const json_t *message = json_get_obj(doc, "message");

	if (json_object_get(doc, "error") != NULL) {
		wire_fail(st, AGENT_FAIL_CONNECTION, wire_error_text(doc));
		return;
	}
	if (!json_is_boolean(json_object_get(doc, "done")))
		return;
	st->began = true;
	if (st->model.n == 0)
		st->model = arena_str(st->arena, json_get_str(doc, "model", STR_NONE));
	wire_text(st, json_get_str(message, "content", STR_NONE));
	if (!json_get_bool(doc, "done", false))
		return;
	st->ended = true;
	st->truncated = st->truncated || str_eqz(json_get_str(doc, "done_reason", STR_NONE), "length");
	st->tokens_in = json_get_int(doc, "prompt_eval_count", st->tokens_in);
	st->tokens_out = json_get_int(doc, "eval_count", st->tokens_out);
}

const struct wire wire_ollama = {
    .path = "/api/chat",
    .lines = true,
    .body = ollama_body,
    .headers = ollama_headers,
    .event = ollama_event,
};
