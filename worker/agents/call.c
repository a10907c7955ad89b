/* SPDX-License-Identifier: MIT */
/*
 * One attempt of one call to one model: writes the request, reads the stream, says what came of it, counts and logs.
 * Called by steps of a debate, on their coroutine. Never retries: attempts are journalled by the caller.
 */
#include <ctype.h>
#include <stdarg.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/agents/agents.h"
#include "worker/agents/demo.h"
#include "worker/agents/registry.h"
#include "worker/agents/throttle.h"
#include "common/sse.h"
#include "worker/agents/wire.h"

#define CALL_EVENT_MAX (1024 * 1024)     /* one event or line */
#define CALL_BODY_MAX (64 * 1024 * 1024) /* a token can cost 300 bytes of frame */
#define CALL_IDLE_MAX (180 * SEC_US)     /* longest silence; local models read long prompts for minutes */
#define CALL_DEMO_PIECE 24               /* bytes a demo agent says at once when it need not think */
#define CALL_DEMO_PAUSES 8               /* in an answer that takes its time: seen to grow, cheap for a thousand */

static const struct wire *const call_wires[PROVIDER_MAX] = {
    [PROVIDER_ANTHROPIC] = &wire_anthropic, [PROVIDER_OPENAI] = &wire_openai,     [PROVIDER_OPENROUTER] = &wire_openai,
    [PROVIDER_MISTRAL] = &wire_openai,      [PROVIDER_XAI] = &wire_openai,        [PROVIDER_OLLAMA] = &wire_ollama,
    [PROVIDER_LM_STUDIO] = &wire_openai,    [PROVIDER_COMPATIBLE] = &wire_openai, [PROVIDER_GEMINI] = &wire_gemini,
};

/* One answer on its way in. */
struct call_reader {
	const struct wire *wire;
	struct wire_stream st;
	struct sse sse;
	struct ndjson lines;
	bool any; /* some byte came */
};

static void call_fail(struct agent_reply *reply, enum agent_fail fail, const char *fmt, ...) PRINTF_FMT(3, 4);

static void call_fail(struct agent_reply *reply, enum agent_fail fail, const char *fmt, ...)
{
	va_list ap;

	reply->fail = fail;
	va_start(ap, fmt);
	(void)vsnprintf(reply->detail, sizeof(reply->detail), fmt, ap); /* cut is fine: a sentence for people */
	va_end(ap);
}

/* ---- reading ---- */

/* One event's data or one line. False ends the transfer. */
static bool call_take(struct call_reader *r, struct str data)
{
	struct error err = ERROR_INIT;
	json_t *doc;

	if (r->wire->done != NULL && str_eqz(data, r->wire->done)) {
		r->st.ended = true;
		return true;
	}
	doc = json_parse(NULL, data, &err);
	if (!json_is_object(doc)) {
		wire_fail(&r->st, AGENT_FAIL_PARSE, STR("the stream is not in the documented format"));
		json_decref(doc);
		return false;
	}
	r->wire->event(&r->st, doc);
	json_decref(doc);
	return r->st.fail == AGENT_OK && !r->st.capped;
}

static bool call_on_event(void *arg, struct str event, struct str data)
{
	(void)event; /* Anthropic repeats it inside the data, the others have none */
	return call_take(arg, data);
}

static bool call_on_line(void *arg, struct str line)
{
	return call_take(arg, line);
}

static bool call_on_data(void *arg, struct str chunk)
{
	struct call_reader *r = arg;
	bool ok;

	r->any = r->any || chunk.n > 0;
	if (r->st.ended) /* what follows the documented end is not ours */
		return true;
	ok = r->wire->lines ? ndjson_feed(&r->lines, chunk, call_on_line, r)
			    : sse_feed(&r->sse, chunk, call_on_event, r);
	if (!ok && r->st.fail == AGENT_OK && !r->st.capped)
		wire_fail(&r->st, AGENT_FAIL_PARSE, STR("an event of the stream is too long"));
	return ok;
}

static void call_reader_open(struct call_reader *r, const struct wire *wire, struct arena *a,
			     const struct agent_request *req)
{
	*r = (struct call_reader){.wire = wire};
	r->st = (struct wire_stream){
	    .text = BUF_INIT, .arena = a, .tokens_in = -1, .tokens_out = -1, .on_text = req->on_text, .arg = req->arg};
	sse_init(&r->sse, CALL_EVENT_MAX);
	ndjson_init(&r->lines, CALL_EVENT_MAX);
}

static void call_reader_close(struct call_reader *r)
{
	sse_free(&r->sse);
	ndjson_free(&r->lines);
	buf_free(&r->st.text);
}

/* ---- what came of it ---- */

/* Does a key begin in this word? "sk-..." does, "risk-free" does not. */
static bool call_looks_secret(struct str word)
{
	static const char *const marks[] = {"sk-", "xai-", "AIza", "Bearer"};
	ptrdiff_t at;
	size_t i;

	for (i = 0; i < countof(marks); i++) {
		at = str_find(word, str_of(marks[i]));
		if (at == 0 || (at > 0 && !isalnum((unsigned char)word.p[at - 1])))
			return true;
	}
	return false;
}

/* Words of a provider's message that look like a key are not repeated, not even masked ones. */
static struct str call_redact(struct arena *a, struct str text, const char *api_key)
{
	struct str word, rest = text, key = str_of(api_key);
	struct buf out = BUF_LIMIT(400);
	bool secret;

	while (str_split(&rest, ' ', &word)) {
		secret = (key.n > 0 && str_find(word, key) >= 0) || call_looks_secret(word);
		if (out.n > 0)
			buf_addc(&out, ' ');
		buf_add(&out, secret ? STR("[...]") : word);
	}
	text = arena_str(a, buf_str(&out));
	buf_free(&out);
	return text;
}

static bool call_speaks_of(struct str text, const char *const *words)
{
	size_t i;

	for (i = 0; words[i] != NULL; i++)
		if (str_ifind(text, str_of(words[i])) >= 0)
			return true;
	return false;
}

/* Class of an answer that is not 2xx (by status, and by what its body speaks of). */
static enum agent_fail call_class(int status, struct str body)
{
	static const char *const filter[] = {"content_filter", "content_policy", "content management policy", NULL};
	static const char *const money[] = {"credit balance",   "billing", "insufficient",
					    "purchase credits", "payment", NULL};
	static const char *const quota[] = {"quota", "exceeded", "billing", "resource exhausted", "resource_exhausted",
					    NULL};

	if (status == 401)
		return AGENT_FAIL_AUTH;
	if (status == 402)
		return AGENT_FAIL_QUOTA;
	if (status == 408)
		return AGENT_FAIL_TIMEOUT;
	/* OpenAI says 429 also for an empty account; waiting does not fill it. */
	if (status == 429)
		return str_find(body, STR("insufficient_quota")) >= 0 ? AGENT_FAIL_QUOTA : AGENT_FAIL_RATE;
	if (status >= 500)
		return AGENT_FAIL_CONNECTION;
	if (status == 400 && call_speaks_of(body, filter))
		return AGENT_FAIL_FILTER;
	if ((status == 400 && call_speaks_of(body, money)) || (status == 403 && call_speaks_of(body, quota)))
		return AGENT_FAIL_QUOTA;
	return AGENT_FAIL_API;
}

static void call_refused(struct arena *a, const struct fetch_response *resp, const char *api_key,
			 struct agent_reply *reply)
{
	struct error err = ERROR_INIT;
	const json_t *doc = json_parse(a, resp->body, &err);
	struct str text = call_redact(a, wire_error_text(doc), api_key);
	enum agent_fail fail = call_class(resp->status, resp->body);

	reply->retry_after_us = resp->retry_after_us;
	if (fail == AGENT_FAIL_AUTH)
		call_fail(reply, fail, "HTTP 401: the provider does not accept the API key");
	else if (text.n > 0)
		call_fail(reply, fail, "HTTP %d: %.*s", resp->status, STR_ARG(str_utf8_cut(text, 120)));
	else
		call_fail(reply, fail, "HTTP %d", resp->status);
}

/* The scope that ended the call decides whose failure it is. */
static void call_scope_ended(struct agent_reply *reply)
{
	const struct co_scope *by = co_ended_by();

	if (by == NULL || by->kind == SCOPE_AGENT || by->kind == SCOPE_CALL)
		call_fail(reply, AGENT_FAIL_TIMEOUT, "no complete answer within the agent's time limit");
	else
		call_fail(reply, AGENT_FAIL_CANCELLED, "%s", by->why != NULL ? by->why : "the debate ended");
}

static void call_broken(const struct fetch_response *resp, struct agent_reply *reply)
{
	switch (resp->fail) {
	case FETCH_DEADLINE:
		call_scope_ended(reply);
		break;
	case FETCH_STALLED:
		call_fail(reply, AGENT_FAIL_TIMEOUT, "the provider fell silent");
		break;
	case FETCH_TOO_BIG:
		call_fail(reply, AGENT_FAIL_PARSE, "the answer is too long");
		break;
	case FETCH_OK:
	case FETCH_DNS:
	case FETCH_CONNECT:
	case FETCH_TLS:
	case FETCH_CUT:
	case FETCH_REFUSED:
	case FETCH_BLOCKED:
	case FETCH_OTHER:
		call_fail(reply, AGENT_FAIL_CONNECTION, "%s",
			  resp->detail[0] != '\0' ? resp->detail : "connection lost");
		break;
	}
}

/* Characters / 4, for providers that do not tell. */
static int64_t call_estimate(size_t bytes)
{
	return (int64_t)((bytes + 3) / 4);
}

/* micro-dollars per million tokens x tokens, rounded half up */
static int64_t call_cost(const struct agent_spec *spec, int64_t in, int64_t out)
{
	__int128 sum = (__int128)in * spec->price_in + (__int128)out * spec->price_out;

	return (int64_t)((sum + 500000) / 1000000);
}

/* Fills text, usage and cost: also of answers that failed, for they are paid too. */
static void call_usage(const struct agent_request *req, struct arena *a, struct wire_stream *st,
		       struct agent_reply *reply)
{
	bool in_told = st->tokens_in >= 0, out_told = st->tokens_out >= 0;

	reply->text = arena_str(a, buf_str(&st->text));
	reply->truncated = st->truncated;
	if (st->model.n > 0)
		reply->model = st->model;
	if (!st->began && !in_told)
		return;
	reply->tokens_in = in_told ? st->tokens_in : call_estimate(req->system.n + req->prompt.n);
	reply->tokens_out = out_told ? st->tokens_out : call_estimate(st->text.n);
	reply->tokens_estimated = !in_told || !out_told;
	reply->cost_micro = call_cost(req->agent, reply->tokens_in, reply->tokens_out);
}

static void call_judge(struct arena *a, const struct call_reader *r, const struct fetch_response *resp,
		       const char *api_key, struct agent_reply *reply)
{
	const struct wire_stream *st = &r->st;

	reply->status = resp->status;
	if (resp->status != 0 && (resp->status < 200 || resp->status > 299) && resp->fail != FETCH_DEADLINE) {
		call_refused(a, resp, api_key, reply);
	} else if (st->fail != AGENT_OK) {
		struct str detail = call_redact(a, str_of(st->detail), api_key);

		call_fail(reply, st->fail, "%.*s", STR_ARG(detail));
	} else if (!st->ended && !st->capped && resp->fail != FETCH_OK) {
		call_broken(resp, reply);
	} else if (!st->ended && !st->capped && !st->began && r->any) {
		call_fail(reply, AGENT_FAIL_PARSE, "HTTP %d, but not the documented stream", resp->status);
	} else if (!st->ended && !st->capped) {
		call_fail(reply, AGENT_FAIL_CONNECTION, "the stream ended before its documented end");
	} else if (str_trim(buf_str(&st->text)).n == 0) {
		call_fail(reply, AGENT_FAIL_EMPTY, "the model said nothing");
	}
}

/* ---- the call ---- */

static struct str call_url(struct arena *a, const char *base, const char *path)
{
	struct str b = str_of(base);

	while (b.n > 0 && b.p[b.n - 1] == '/')
		b.n--;
	return arena_printf(a, "%.*s%s", STR_ARG(b), path);
}

CO_FN static void call_provider(struct agents *ag, struct arena *a, const struct agent_request *req,
				enum conf_provider_id provider, struct agent_reply *reply)
{
	const struct conf *c = ag->w->conf;
	const struct wire *wire = call_wires[provider];
	struct wire_call call = {.provider = provider,
				 .conf = &c->providers[provider],
				 .model = req->agent->model,
				 .system = req->system,
				 .prompt = req->prompt,
				 .temperature_ppm = req->temperature_ppm,
				 .top_p_ppm = req->top_p_ppm,
				 .frequency_penalty_ppm = req->frequency_penalty_ppm,
				 .max_tokens = req->max_tokens > 0 ? req->max_tokens : AGENT_MAX_TOKENS};
	struct fetch_header headers[WIRE_HEADERS_MAX];
	struct fetch_request fr = {
	    .method = "POST", .headers = headers, .max_body = CALL_BODY_MAX, .on_data = call_on_data};
	struct fetch_response resp = {.retry_after_us = -1};
	struct call_reader reader;

	headers[0] = (struct fetch_header){"Content-Type", STR("application/json")};
	headers[1] =
	    (struct fetch_header){"Accept", wire->lines ? STR("application/x-ndjson") : STR("text/event-stream")};
	fr.header_count = 2;
	if (req->idempotency_key.n > 0)
		headers[fr.header_count++] = (struct fetch_header){"Idempotency-Key", req->idempotency_key};
	fr.header_count += wire->headers(a, &call, headers + fr.header_count);
	fr.url = call_url(a, call.conf->base_url, wire->path);
	fr.body = json_text(a, json_own(a, wire->body(&call)));
	/* Three quarters of the time, so that silence leaves time for one more attempt. */
	fr.idle_us =
	    c->debates.agent_timeout / 4 * 3 < CALL_IDLE_MAX ? c->debates.agent_timeout / 4 * 3 : CALL_IDLE_MAX;
	call_reader_open(&reader, wire, a, req);
	fr.arg = &reader;
	(void)fetch_do(ag->w->fetch, a, &fr, &resp); /* the outcome is in resp */
	/* A last line without newline is one too; what is wrong with it is in the reader's state. */
	if (wire->lines && resp.fail == FETCH_OK && reader.st.fail == AGENT_OK && !reader.st.ended &&
	    !ndjson_finish(&reader.lines, call_on_line, &reader))
		log_debug("agents", "the last line of a stream was refused");
	throttle_told(ag, provider, &resp);
	call_judge(a, &reader, &resp, call.conf->api_key, reply);
	call_usage(req, a, &reader.st, reply);
	call_reader_close(&reader);
}

/* Speaks in pieces like a model; the pauses between them add up to providers.demo.delay_ms. */
CO_FN static void call_demo(struct agents *ag, struct arena *a, const struct agent_request *req,
			    struct agent_reply *reply)
{
	int64_t delay = ag->w->conf->demo.delay;
	struct wire_stream st = {.text = BUF_INIT, .arena = a, .on_text = req->on_text, .arg = req->arg, .began = true};
	struct buf answer = BUF_INIT;
	struct str rest, piece;
	size_t size = CALL_DEMO_PIECE, pieces;
	enum co_end end = CO_DONE;

	demo_answer(a, req, &answer);
	if (delay > 0 && answer.n > CALL_DEMO_PAUSES * size)
		size = (answer.n + CALL_DEMO_PAUSES - 1) / CALL_DEMO_PAUSES;
	pieces = (answer.n + size - 1) / size;
	st.tokens_in = call_estimate(req->system.n + req->prompt.n);
	st.tokens_out = call_estimate(answer.n);
	for (rest = buf_str(&answer); rest.n > 0 && end != CO_ENDED; rest = str_sub(rest, piece.n, rest.n)) {
		end = delay > 0 ? co_sleep(delay / (int64_t)pieces) : CO_DONE;
		piece = str_utf8_cut(rest, size);
		if (end != CO_ENDED)
			wire_text(&st, piece);
	}
	if (delay <= 0) /* also the fastest agent gives way to the others once */
		end = co_yield ();
	if (end == CO_ENDED)
		call_scope_ended(reply);
	reply->model = STR("demo");
	call_usage(req, a, &st, reply);
	reply->cost_micro = 0;
	buf_free(&answer);
	buf_free(&st.text);
}

static enum breaker_outcome call_outcome(enum agent_fail fail)
{
	static const bool failure[AGENT_FAIL_MAX] = {
	    [AGENT_FAIL_CONNECTION] = true, [AGENT_FAIL_TIMEOUT] = true, [AGENT_FAIL_AUTH] = true,
	    [AGENT_FAIL_API] = true,        [AGENT_FAIL_PARSE] = true,
	};

	return fail == AGENT_OK ? BREAKER_SUCCESS : failure[fail] ? BREAKER_FAILURE : BREAKER_NEUTRAL;
}

static void call_log(const struct agent_request *req, const struct agent_reply *reply)
{
	const struct agent_spec *s = req->agent;
	bool ok = reply->fail == AGENT_OK;
	const struct log_kv kv[] = {
	    KV_STR("agent", s->name),
	    KV_STR("provider", s->provider),
	    KV_STR("model", reply->model),
	    KV_STR("phase", req->phase),
	    KV_I("duration_ms", reply->duration_us / MS_US),
	    KV_I("tokens_in", reply->tokens_in),
	    KV_I("tokens_out", reply->tokens_out),
	    KV_I("cost_micro", reply->cost_micro),
	    KV_I("status", reply->status),
	    {.key = ok ? NULL : "error_type",
	     .kind = ok ? LOG_END : LOG_STR,
	     .s = str_of(agent_fail_name(reply->fail))},
	    KV_S("detail", reply->detail),
	    {.key = NULL},
	};

	if (log_enabled(ok ? LOG_INFO : LOG_WARNING))
		log_emit(ok ? LOG_INFO : LOG_WARNING, "agents", ok ? "agent call finished" : "agent call failed", kv);
}

static void call_count(const struct agent_request *req, const char *label, const struct agent_reply *reply)
{
	char provider[32];

	(void)snprintf(provider, sizeof(provider), "%.*s", STR_ARG(req->agent->provider));
	if (reply->fail == AGENT_OK)
		metric_observe(M_AGENT_RESPONSE, (double)reply->duration_us / 1e6, label, NULL);
	else if (reply->fail != AGENT_FAIL_CANCELLED)
		metric_add(M_AGENT_ERRORS, 1, label, agent_fail_name(reply->fail), NULL);
	metric_add(M_TOKENS_USED, reply->tokens_in, provider, "input", NULL);
	metric_add(M_TOKENS_USED, reply->tokens_out, provider, "output", NULL);
}

/* Is there anything to call? Fills the failure if not. */
static bool call_possible(const struct conf *c, const struct agent_request *req, enum conf_provider_id provider,
			  struct agent_reply *reply)
{
	if (provider != PROVIDER_MAX &&
	    (provider == PROVIDER_DEMO || (call_wires[provider] != NULL && registry_usable(c, provider))))
		return true;
	call_fail(reply, AGENT_FAIL_AUTH, "provider %.*s is not configured", STR_ARG(req->agent->provider));
	return false;
}

/* Within the limits of the provider, as far as this node knows them. */
CO_FN static void call_paced(struct agents *ag, struct arena *a, const struct agent_request *req,
			     enum conf_provider_id provider, struct agent_reply *reply)
{
	int64_t waited;

	if (throttle_acquire(ag, provider, &waited))
		call_provider(ag, a, req, provider, reply);
	else if (co_scope_ended(co_scope_current()))
		call_scope_ended(reply);
	else
		call_fail(reply, AGENT_FAIL_RATE,
			  "this node's own limit of calls to %s is reached (agents.rate_limits)",
			  conf_provider_name(provider));
	if (waited > SEC_US)
		log_info("agents", "a call has waited for the limit of its provider",
			 KV_S("provider", conf_provider_name(provider)), KV_I("waited_ms", waited / MS_US));
}

CO_FN void call_attempt(struct agents *ag, struct arena *arena, const struct agent_request *req,
			struct agent_reply *reply)
{
	enum conf_provider_id provider = registry_provider(req->agent->provider);
	size_t label = registry_label(req->agent);
	struct breaker *b = NULL;
	struct breaker_pass pass = {NULL, 0, false};
	int64_t start = clock_mono_us();

	*reply =
	    (struct agent_reply){.provider = req->agent->provider, .model = req->agent->model, .retry_after_us = -1};
	if (provider != PROVIDER_DEMO)
		b = breaker_get(&ag->breakers, req->agent->provider, req->agent->model);
	if (!call_possible(ag->w->conf, req, provider, reply)) {
		b = NULL;
	} else if (b != NULL && !breaker_allow(b, start, &pass)) {
		call_fail(reply, AGENT_FAIL_BREAKER, "the circuit breaker of %s is open", b->key);
		b->labels |= UINT64_C(1) << label;
		agents_breaker_changed(ag, b);
	} else if (provider == PROVIDER_DEMO) {
		call_demo(ag, arena, req, reply);
	} else {
		call_paced(ag, arena, req, provider, reply);
	}
	reply->duration_us = clock_mono_us() - start;
	if (pass.b != NULL) {
		b->labels |= UINT64_C(1) << label;
		breaker_report(&pass, call_outcome(reply->fail), clock_mono_us(), clock_wall_ms());
		agents_breaker_changed(ag, b);
	}
	call_count(req, agents_known()[label], reply);
	call_log(req, reply);
}
