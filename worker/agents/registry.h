/* SPDX-License-Identifier: MIT */
/*
 * Names: which agents the product knows, which provider and model stands behind each, and the personas.
 */
#ifndef WORKER_AGENTS_REGISTRY_H
#define WORKER_AGENTS_REGISTRY_H

#include "worker/agents/agent.h"

#define PERSONAS_MAX 96

/* What one can know something about. */
enum persona_domain {
	EXPERT_REASONING,
	EXPERT_ARCHITECTURE,
	EXPERT_CODE,
	EXPERT_PERFORMANCE,
	EXPERT_DATA,
	EXPERT_OPERATIONS,
	EXPERT_SECURITY,
	EXPERT_LEGAL,
	EXPERT_COMPLIANCE,
	EXPERT_FINANCE,
	EXPERT_HEALTH,
	EXPERT_RESEARCH,
	EXPERT_ETHICS,
	EXPERT_PHILOSOPHY,
	EXPERT_POLITICS,
	EXPERT_STRATEGY,
	EXPERT_PRODUCT,
	EXPERT_CREATIVITY,
	EXPERT_MAX
};

struct persona {
	const char *key;
	const char *text;   /* for prompts */
	const char *traits; /* separated by ", " */
	struct {
		enum persona_domain domain;
		int percent; /* 0: an unused place */
	} expertise[4];
	struct agent_sampling sampling;
	const char *agent; /* that plays it best, a known name, or NULL */
	bool contrarian;   /* looks for what speaks against */
};

/* NULL past the end. */
const struct persona *persona_at(size_t i);
/* NULL if unknown. */
const struct persona *persona_find(struct str key);
/* Percent; 0: none. */
int persona_expertise(const struct persona *p, enum persona_domain d);
/* "reasoning", … */
const char *persona_domain_name(enum persona_domain d);

struct known_agent {
	const char *name;
	enum conf_provider_id provider;
	const char *model;      /* NULL: the provider's default */
	const char *openrouter; /* its id at OpenRouter; NULL: made from provider and model */
	bool alias;             /* another spelling, not listed */
};

/* NULL past the end. */
const struct known_agent *known_at(size_t i);

/*
 * The known agent called `name` (lower case), or whose name it continues after '-' or '_' ("claude-opus-4-6" is of
 * "claude", "openai_skeptic" of "openai"); NULL if none.
 */
const struct known_agent *registry_find(struct str name);
/* Index in agents_known() that stands for a seat in metrics: the longest known name it begins with, else its provider.
 */
size_t registry_label(const struct agent_spec *spec);
/* PROVIDER_MAX when unknown. */
enum conf_provider_id registry_provider(struct str name);
/* Can it be called by this version? */
bool registry_usable(const struct conf *c, enum conf_provider_id id);
/* Configured model of a provider, else its built-in default. */
const char *registry_model(const struct conf *c, enum conf_provider_id id);
/* The same model at OpenRouter, with its price; false: there is none, or it is not configured. `out` lives in `a`. */
bool registry_stand_in(const struct conf *c, struct arena *a, const struct agent_spec *spec, struct agent_spec *out);
/* What stands in at OpenRouter for one of its models that fails (debate.md 6.4); false: nothing does. */
bool registry_second(const struct conf *c, const struct agent_spec *spec, struct agent_spec *out);
/* Finds provider and model that play a known agent, `model` ("" = default) being asked for; false with the reason. */
bool registry_cast(const struct conf *c, struct arena *a, const struct known_agent *k, struct str model,
		   struct agent_spec *spec, struct error *err) MUST_CHECK;

#endif
