/* SPDX-License-Identifier: MIT */
/*
 * One row per wire format: how a call is written and how the pieces of its answer are read. The rows are in openai.c,
 * anthropic.c and ollama.c; call.c drives them.
 */
#ifndef WORKER_AGENTS_WIRE_H
#define WORKER_AGENTS_WIRE_H

#include "common/fetch.h"
#include "worker/agents/agent.h"

#define WIRE_HEADERS_MAX 8

struct wire_call {
	enum conf_provider_id provider;
	const struct conf_provider *conf;
	struct str model, system, prompt;
	int max_tokens;
	int temperature_ppm;       /* -1: not sent */
	int top_p_ppm;             /* 0: not sent */
	int frequency_penalty_ppm; /* 0: not sent */
};

/* What has been understood of the answer so far. */
struct wire_stream {
	struct buf text;
	struct str model; /* STR_NONE until the answer names it */
	struct arena *arena;
	bool began; /* something documented came */
	bool ended; /* its documented end came */
	bool truncated;
	bool capped;          /* truncated by us: the rest is not wanted */
	enum agent_fail fail; /* AGENT_OK, or what the provider or the format says against it */
	char detail[160];
	int64_t tokens_in, tokens_out; /* -1: not told */
	void (*on_text)(void *arg, struct str piece);
	void *arg;
};

struct wire {
	const char *path; /* appended to the base URL */
	bool lines;       /* newline-delimited JSON, else server-sent events */
	const char *done; /* data that is no JSON and ends the stream, or NULL */
	json_t *(*body)(const struct wire_call *call);
	/* Adds authentication and version headers; returns how many. */
	size_t (*headers)(struct arena *a, const struct wire_call *call, struct fetch_header *out);
	/* Takes one event; a document it does not know is left alone. */
	void (*event)(struct wire_stream *st, const json_t *doc);
};

extern const struct wire wire_openai, wire_gemini, wire_anthropic, wire_ollama;

/* Appends text: control characters dropped, length capped, the listener told. */
void wire_text(struct wire_stream *st, struct str piece);
/* Records the first thing that is wrong; an empty detail says that the provider does not tell. */
void wire_fail(struct wire_stream *st, enum agent_fail fail, struct str detail);
/* Adds "messages" with system and user. */
void wire_messages(json_t *body, const struct wire_call *call, bool system);
/* The sentence inside a provider's error document, whatever its form; STR_NONE if there is none. */
struct str wire_error_text(const json_t *doc);

#endif
