/* SPDX-License-Identifier: MIT */
/*
 * Agents: one attempt of one call to one model, streamed, with usage and cost; a circuit breaker per provider and
 * model; names, aliases and default teams. Retries belong to the caller, who journals them.
 */
#ifndef WORKER_AGENTS_AGENT_H
#define WORKER_AGENTS_AGENT_H

#include <jansson.h>

#include "common/conf.h"
#include "common/co.h"
#include "common/err.h"

struct agents;
struct worker;

#define AGENT_OUTPUT_MAX (256 * 1024)
#define AGENT_MAX_TOKENS 4096 /* of an answer, when the caller does not say */
#define AGENT_ANSWER_MIN 256  /* tokens; a shorter answer is not worth its call */
#define AGENT_NAME_MAX 32

/* How freely a model speaks, in parts per million; 0: the phase or the provider decides. */
struct agent_sampling {
	int temperature_ppm, top_p_ppm;
	int frequency_penalty_ppm;
};

/* One seat of a debate, resolved at creation and stored in its plan. */
struct agent_spec {
	struct str name;     /* unique in the debate, [A-Za-z0-9_-]{1,32} */
	struct str provider; /* "openai", "anthropic", "ollama", "demo", … */
	struct str model;
	struct str persona; /* key of the persona table, "" = none */
	struct str role;    /* "", proposer, critic, synthesizer, judge, analyst, implementer, planner */
	int64_t price_in;   /* micro-dollars per million tokens */
	int64_t price_out;
	struct agent_sampling sampling; /* of drafts and revisions, by the persona */
};

enum agent_fail {
	AGENT_OK,
	AGENT_FAIL_CONNECTION, /* DNS, connect, TLS, 5xx, 529, stream cut: may be retried */
	AGENT_FAIL_TIMEOUT,    /* a scope's deadline or silence: may be retried */
	AGENT_FAIL_RATE,       /* 429: retry after retry_after_us */
	AGENT_FAIL_AUTH,       /* 401, missing key */
	AGENT_FAIL_QUOTA,      /* 403/400 about credit, billing, quota */
	AGENT_FAIL_API,        /* another 4xx */
	AGENT_FAIL_PARSE,      /* a 2xx that is not the documented format */
	AGENT_FAIL_EMPTY,      /* no text: retried once */
	AGENT_FAIL_FILTER,     /* refused by a content filter */
	AGENT_FAIL_BREAKER,    /* the breaker is open: not even tried */
	AGENT_FAIL_BUDGET,     /* the debate may not spend as much: not even tried */
	AGENT_FAIL_CANCELLED,  /* debate cancelled or worker draining */
	AGENT_FAIL_MAX
};
/* "connection", "timeout", "rate_limit", "auth", "quota", "api", "parse", "empty", "filter", "circuit_open",
 * "cancelled" */
const char *agent_fail_name(enum agent_fail f);
bool agent_fail_retryable(enum agent_fail f);

/* What was set aside for a call; -1: no limit. */
struct agent_purse {
	int64_t micro, tokens;
};

struct agent_request {
	const struct agent_spec *agent;
	struct str system;
	struct str prompt;
	int max_tokens;                  /* 0: AGENT_MAX_TOKENS */
	const struct agent_purse *purse; /* with all who stand in it may not cost more; NULL: nothing limits it */
	bool last_attempt;               /* no retry follows: also what a retry could repair may be asked elsewhere */
	int temperature_ppm;             /* 700000 = 0.7; -1 = the provider's default */
	int top_p_ppm;                   /* 0: not sent */
	int frequency_penalty_ppm;       /* 0: not sent */
	struct str idempotency_key;      /* the step key; sent as Idempotency-Key */
	/* For demo agents, which have no model to understand the prompt: what is asked, and about what. */
	struct str phase; /* "propose", "critique", "revise", "vote", "judge", "synthesis" */
	struct str task;
	const json_t *facts; /* phase-specific: labels, candidate texts …; borrowed, may be NULL */
	/* Called on the loop with each piece of text as it arrives; may be NULL; must not wait. */
	void (*on_text)(void *arg, struct str piece);
	void *arg;
};

struct agent_reply {
	enum agent_fail fail;
	char detail[160];    /* for logs and the failure record; no secrets */
	struct str text;     /* in the arena; valid UTF-8, no control characters but \n and \t, <= AGENT_OUTPUT_MAX */
	struct str provider; /* that answered, and its model */
	struct str model;
	enum agent_fail replaced; /* why another stood in for the agent's own provider; AGENT_OK: none did */
	bool truncated;           /* ended by the token limit or the cap */
	int64_t tokens_in;
	int64_t tokens_out;
	bool tokens_estimated; /* the provider gave no usage: characters / 4 */
	int64_t cost_micro;    /* micro-dollars */
	int64_t duration_us;
	int64_t retry_after_us; /* -1: none given */
	int status;             /* HTTP status, 0 if none */
};

struct agents *agents_open(struct worker *w);
/* Shows its breakers to the node, and hears of resets. */
void agents_start(struct agents *a);
void agents_close(struct agents *a);

/*
 * One attempt. Where the provider refuses for its limits, its bill, its key or an open breaker, or (last_attempt)
 * cannot be reached, others are asked at once, as far as they are configured: OpenRouter for the same model, then for
 * one that stands in for it (debates.openrouter_fallback), then a local model (debates.local_fallback); five providers
 * and two minutes at most. If all of that fails, the reply is the provider's own. What failed attempts have cost is in
 * the reply. Returns true when reply->fail is AGENT_OK. Counts metrics, feeds the breaker, logs time and tokens.
 */
CO_FN bool agent_call(struct agents *a, struct arena *arena, const struct agent_request *req,
		      struct agent_reply *reply);

/*
 * Resolves the agents of a new debate: a JSON array of strings ("provider|model|persona|role", a provider, an alias
 * such as "claude" or "gpt-4", "provider:role") or objects {name|provider|agent_type, model, persona, role}, a comma
 * string, or NULL for the default team (debates.default_agents, else what keys are at hand; one provider gives three
 * personas; none gives demo agents). Names are made unique ("_2"). At least 2, at most debates.max_agents. *demo is set
 * when demo agents play.
 */
bool agents_resolve(const struct conf *c, struct arena *a, const json_t *wanted, struct agent_spec **specs, size_t *n,
		    bool *demo, struct error *err) MUST_CHECK;

/* Every agent name and alias the product knows, NULL-terminated, for metrics and lists. */
const char *const *agents_known(void);
/* Price of a model by longest prefix of its normalised id; micro-dollars per million tokens. */
void agents_price(struct str provider, struct str model, int64_t *in, int64_t *out);
/* Micro-dollars of so many tokens, rounded up. */
int64_t agents_cost(int64_t tokens, int64_t price);
/* Tokens of a prompt, at the most that is common. */
int64_t agents_prompt_tokens(size_t bytes);
/*
 * Reads the operator's prices ("" forgets them); on failure those of before stay. Blocks: at the start of a process.
 */
bool agents_prices_load(const char *path, struct error *err) MUST_CHECK;
/* Text of a persona for prompts; STR_NONE if unknown. */
struct str agents_persona(struct str persona);
/* Appends its text, its traits and what it knows most about, as lines of a prompt; nothing if it is unknown. */
void agents_persona_write(struct buf *out, struct str persona);

/* {name: {type, requires_api_key, api_key_configured, available, model}} and, of all workers of the node, {key: {state,
 * failure_count, last_failure, available}} */
json_t *agents_health(struct agents *a);
json_t *agents_breakers(struct agents *a);
/* {provider, model_id, specialties, strengths, …} of the agent that a seat is named after, in the arena; NULL: unknown.
 */
json_t *agents_metadata(const struct conf *c, struct arena *a, struct str name);
/* On the bus: every worker closes the breaker of that key, "*": all. */
#define AGENTS_RESET_TOPIC "agents:reset"
/* Number of agent types that can be used now. */
unsigned agents_available(const struct conf *c);

struct route_table;
extern const struct route_table agents_routes; /* /api/agents, /api/agents/{name}, /api/agents/health, availability */
extern const struct route_table agents_local_routes; /* /api/agents/local */
extern const struct route_table personas_routes;     /* /api/personas, /api/agent/{name}/metadata */

#endif
