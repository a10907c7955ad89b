/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the answers of providers in every wire format: whatever stream comes, the text collected holds no control
 * character and is bounded, usage is never negative, and a failure has a reason. Byte 0 picks format and cuts.
 */
#include "common/json.h"
#include "common/sse.h"
#include "tests/fuzz/fuzz.h"
#include "worker/agents/wire.h"

#define FUZZ_EVENT_MAX 65536

static const struct wire *const fuzz_wires[] = {&wire_openai, &wire_gemini, &wire_anthropic, &wire_ollama};

struct fuzz_reader {
	const struct wire *wire;
	struct wire_stream st;
	size_t told; /* bytes of text that the listener was given */
};

static void fuzz_text(void *arg, struct str piece)
{
	*(size_t *)arg += piece.n;
}

static bool fuzz_line(void *arg, struct str line)
{
	struct fuzz_reader *r = arg;
	struct error err = ERROR_INIT;
	json_t *doc = json_parse(NULL, line, &err);

	if (json_is_object(doc)) {
		r->wire->event(&r->st, doc);
		(void)wire_error_text(doc);
	}
	json_decref(doc);
	return r->st.fail == AGENT_OK && !r->st.capped;
}

static bool fuzz_event(void *arg, struct str event, struct str data)
{
	(void)event;
	return fuzz_line(arg, data);
}

static void fuzz_check(const struct fuzz_reader *r)
{
	const struct wire_stream *st = &r->st;

	BUG_ON(st->text.n > AGENT_OUTPUT_MAX || r->told != st->text.n);
	BUG_ON(st->tokens_in < -1 || st->tokens_out < -1);
	BUG_ON(st->fail != AGENT_OK && st->detail[0] == '\0');
	for (size_t i = 0; i < st->text.n; i++)
		BUG_ON((unsigned char)st->text.p[i] < ' ' && st->text.p[i] != '\n' && st->text.p[i] != '\t' &&
		       st->text.p[i] != '\r');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_reader r = {.told = 0};
	struct arena *a = arena_new(0);
	struct ndjson lines;
	struct str rest, piece;
	struct sse sse;
	uint32_t seed;
	bool ok = true;

	if (size > 0) {
		r.wire = fuzz_wires[data[0] % countof(fuzz_wires)];
		r.st = (struct wire_stream){.text = BUF_INIT,
					    .arena = a,
					    .tokens_in = -1,
					    .tokens_out = -1,
					    .on_text = fuzz_text,
					    .arg = &r.told};
		rest = (struct str){(const char *)data + 1, size - 1};
		seed = data[0] / countof(fuzz_wires);
		sse_init(&sse, FUZZ_EVENT_MAX);
		ndjson_init(&lines, FUZZ_EVENT_MAX);
		while (ok && rest.n > 0) {
			piece = fuzz_piece(&rest, &seed);
			ok = r.wire->lines ? ndjson_feed(&lines, piece, fuzz_line, &r)
					   : sse_feed(&sse, piece, fuzz_event, &r);
		}
		fuzz_check(&r);
		sse_free(&sse);
		ndjson_free(&lines);
		buf_free(&r.st.text);
	}
	arena_free(a);
	return 0;
}
