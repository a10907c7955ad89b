/* SPDX-License-Identifier: MIT */
/*
 * The table of known agents and what stands behind each name. Used by registry.c when a debate is created, by metrics
 * for their labels and by the agents' API. Does not parse specs and knows no debate.
 */
#include "worker/agents/registry.h"

/* What a provider plays when nothing names a model, and how its models are called at OpenRouter. */
static const struct provider_default {
	const char *model;
	const char *vendor; /* prefix at OpenRouter, NULL: not there */
	const char *env;    /* what the user has to set */
} provider_defaults[PROVIDER_MAX] = {
    [PROVIDER_ANTHROPIC] = {"claude-sonnet-4-5-20250929", "anthropic/", "ANTHROPIC_API_KEY"},
    [PROVIDER_OPENAI] = {"gpt-4o", "openai/", "OPENAI_API_KEY"},
    [PROVIDER_OPENROUTER] = {"deepseek/deepseek-chat", NULL, "OPENROUTER_API_KEY"},
    [PROVIDER_GEMINI] = {"gemini-2.5-pro", "google/", "GEMINI_API_KEY"},
    [PROVIDER_MISTRAL] = {"mistral-large-latest", "mistralai/", "MISTRAL_API_KEY"},
    [PROVIDER_XAI] = {"grok-4", "x-ai/", "XAI_API_KEY"},
    [PROVIDER_OLLAMA] = {"llama3.2", NULL, "OLLAMA_HOST"},
    [PROVIDER_LM_STUDIO] = {"local-model", NULL, "LM_STUDIO_HOST"},
    [PROVIDER_COMPATIBLE] = {"local-model", NULL, "OPENAI_BASE_URL"},
    [PROVIDER_DEMO] = {"demo", NULL, "ARAGORA_DEMO_MODE"},
};

/* The order is that of lists. Bits of breaker.labels count from 0, so there may be 64 at most. */
static const struct known_agent known[] = {
    {"anthropic-api", PROVIDER_ANTHROPIC, NULL, NULL, false},
    {"openai-api", PROVIDER_OPENAI, NULL, NULL, false},
    {"gemini", PROVIDER_GEMINI, NULL, NULL, false},
    {"grok", PROVIDER_XAI, NULL, NULL, false},
    {"mistral", PROVIDER_MISTRAL, NULL, NULL, false},
    {"openrouter", PROVIDER_OPENROUTER, NULL, NULL, false},
    {"ollama", PROVIDER_OLLAMA, NULL, NULL, false},
    {"lm-studio", PROVIDER_LM_STUDIO, NULL, NULL, false},
    {"compatible", PROVIDER_COMPATIBLE, NULL, NULL, false},
    {"codestral", PROVIDER_MISTRAL, "codestral-latest", "mistralai/codestral-2501", false},
    {"deepseek", PROVIDER_OPENROUTER, "deepseek/deepseek-chat", NULL, false},
    {"deepseek-r1", PROVIDER_OPENROUTER, "deepseek/deepseek-r1", NULL, false},
    {"llama", PROVIDER_OPENROUTER, "meta-llama/llama-3.3-70b-instruct", NULL, false},
    {"llama4-maverick", PROVIDER_OPENROUTER, "meta-llama/llama-4-maverick", NULL, false},
    {"llama4-scout", PROVIDER_OPENROUTER, "meta-llama/llama-4-scout", NULL, false},
    {"qwen", PROVIDER_OPENROUTER, "qwen/qwen3-max", NULL, false},
    {"qwen-max", PROVIDER_OPENROUTER, "qwen/qwen3-max", NULL, false},
    {"qwen-3.5", PROVIDER_OPENROUTER, "qwen/qwen3.5-plus-02-15", NULL, false},
    {"yi", PROVIDER_OPENROUTER, "01-ai/yi-large", NULL, false},
    {"kimi", PROVIDER_OPENROUTER, "moonshotai/kimi-k2-0905", NULL, false},
    {"kimi-thinking", PROVIDER_OPENROUTER, "moonshotai/kimi-k2-thinking", NULL, false},
    {"sonar", PROVIDER_OPENROUTER, "perplexity/sonar-reasoning", NULL, false},
    {"command-r", PROVIDER_OPENROUTER, "cohere/command-r-plus", NULL, false},
    {"jamba", PROVIDER_OPENROUTER, "ai21/jamba-1.6-large", NULL, false},
    {"demo", PROVIDER_DEMO, NULL, NULL, false},
    /* Other spellings: not types of their own. */
    {"anthropic", PROVIDER_ANTHROPIC, NULL, NULL, true},
    {"claude", PROVIDER_ANTHROPIC, NULL, NULL, true},
    {"openai", PROVIDER_OPENAI, NULL, NULL, true},
    {"gpt", PROVIDER_OPENAI, NULL, NULL, true},
    {"chatgpt", PROVIDER_OPENAI, NULL, NULL, true},
    {"codex", PROVIDER_OPENAI, NULL, NULL, true},
    {"o1", PROVIDER_OPENAI, "o1", NULL, true},
    {"o3", PROVIDER_OPENAI, "o3", NULL, true},
    {"o4", PROVIDER_OPENAI, "o4-mini", NULL, true},
    {"gemini-cli", PROVIDER_GEMINI, NULL, NULL, true},
    {"google", PROVIDER_GEMINI, NULL, NULL, true},
    {"opus", PROVIDER_ANTHROPIC, "claude-opus-4-6", NULL, true},
    {"sonnet", PROVIDER_ANTHROPIC, "claude-sonnet-4-6", NULL, true},
    {"haiku", PROVIDER_ANTHROPIC, "claude-haiku-4-5", NULL, true},
    {"xai", PROVIDER_XAI, NULL, NULL, true},
    {"grok-cli", PROVIDER_XAI, NULL, NULL, true},
    {"mistral-api", PROVIDER_MISTRAL, NULL, NULL, true},
    {"lm_studio", PROVIDER_LM_STUDIO, NULL, NULL, true},
    {"openai-compatible", PROVIDER_COMPATIBLE, NULL, NULL, true},
    {"qwen-cli", PROVIDER_OPENROUTER, "qwen/qwen3-max", NULL, true},
    {"deepseek-cli", PROVIDER_OPENROUTER, "deepseek/deepseek-chat", NULL, true},
};

_Static_assert(countof(known) <= 64, "a breaker keeps its labels in 64 bits");

/* Model ids of Anthropic that OpenRouter spells in its own way; longest prefix wins. */
static const char *const router_claude[][2] = {
    {"claude-opus-4-6", "anthropic/claude-opus-4.6"},      {"claude-sonnet-4-6", "anthropic/claude-sonnet-4.6"},
    {"claude-opus-4-5", "anthropic/claude-opus-4.5"},      {"claude-sonnet-4-5", "anthropic/claude-sonnet-4.5"},
    {"claude-sonnet-4-2025", "anthropic/claude-sonnet-4"}, {"claude-haiku-4-5", "anthropic/claude-haiku-4.5"},
};

const char *const *agents_known(void)
{
	static const char *names[countof(known) + 1];
	size_t i;

	for (i = 0; i < countof(known); i++)
		names[i] = known[i].name;
	return names;
}

const struct known_agent *known_at(size_t i)
{
	return i < countof(known) ? &known[i] : NULL;
}

const struct known_agent *registry_find(struct str name)
{
	const struct known_agent *best = NULL;
	size_t i, n, best_n = 0;

	for (i = 0; i < countof(known); i++) {
		n = strlen(known[i].name);
		if (!str_starts(name, str_of(known[i].name)) || n <= best_n)
			continue;
		if (name.n > n && name.p[n] != '-' && name.p[n] != '_')
			continue;
		best = &known[i];
		best_n = n;
	}
	return best;
}

size_t registry_label(const struct agent_spec *spec)
{
	const struct known_agent *k = registry_find(spec->name);

	if (k == NULL)
		k = registry_find(spec->provider);
	return k != NULL ? (size_t)(k - known) : 0;
}

enum conf_provider_id registry_provider(struct str name)
{
	unsigned i;

	for (i = 0; i < PROVIDER_MAX; i++)
		if (str_eqz(name, conf_provider_name((enum conf_provider_id)i)))
			break;
	return (enum conf_provider_id)i;
}

bool registry_usable(const struct conf *c, enum conf_provider_id id)
{
	return id != PROVIDER_DEMO && conf_provider_usable(c, id);
}

const char *registry_model(const struct conf *c, enum conf_provider_id id)
{
	return c->providers[id].model[0] != '\0' ? c->providers[id].model : provider_defaults[id].model;
}

static struct str known_router_model(struct arena *a, const struct known_agent *k, struct str model)
{
	size_t i;

	if (k->openrouter != NULL && str_eqz(model, k->model))
		return str_of(k->openrouter);
	if (str_chr(model, '/') >= 0)
		return model;
	for (i = 0; i < countof(router_claude); i++)
		if (str_starts(model, str_of(router_claude[i][0])))
			return str_of(router_claude[i][1]);
	return arena_printf(a, "%s%.*s", provider_defaults[k->provider].vendor, STR_ARG(model));
}

bool registry_stand_in(const struct conf *c, struct arena *a, const struct agent_spec *spec, struct agent_spec *out)
{
	enum conf_provider_id id = registry_provider(spec->provider);
	const struct known_agent *k = NULL;
	size_t i;

	if (id == PROVIDER_MAX || provider_defaults[id].vendor == NULL || !registry_usable(c, PROVIDER_OPENROUTER))
		return false;
	for (i = 0; i < countof(known); i++)
		if (known[i].provider == id &&
		    (k == NULL || (known[i].model != NULL && str_eqz(spec->model, known[i].model))))
			k = &known[i];
	BUG_ON(k == NULL); /* each provider has an agent of its own */
	*out = *spec;
	out->provider = str_of(conf_provider_name(PROVIDER_OPENROUTER));
	out->model = known_router_model(a, k, spec->model);
	agents_price(out->provider, out->model, &out->price_in, &out->price_out);
	return true;
}

/* Families of models by the beginning of their ids at OpenRouter, the more special one first, and who stands in. */
static const char *const router_second[][2] = {
    {"deepseek/deepseek-r1", "anthropic/claude-haiku-4.5"},
    {"deepseek/deepseek-reasoner", "anthropic/claude-haiku-4.5"},
    {"moonshotai/", "anthropic/claude-haiku-4.5"},
    {"qwen/", "deepseek/deepseek-chat"},
    {"01-ai/", "deepseek/deepseek-chat"},
    {"deepseek/", "openai/gpt-5.3-chat"},
    {"mistralai/", "openai/gpt-5.3-chat"},
    {"meta-llama/", "openai/gpt-5.3-chat"},
};

bool registry_second(const struct conf *c, const struct agent_spec *spec, struct agent_spec *out)
{
	size_t i;

	if (!str_eqz(spec->provider, conf_provider_name(PROVIDER_OPENROUTER)) ||
	    !registry_usable(c, PROVIDER_OPENROUTER))
		return false;
	for (i = 0; i < countof(router_second) && !str_starts(spec->model, str_of(router_second[i][0])); i++)
		;
	if (i == countof(router_second))
		return false;
	*out = *spec;
	out->model = str_of(router_second[i][1]);
	agents_price(out->provider, out->model, &out->price_in, &out->price_out);
	return true;
}

static bool known_refuse(const struct known_agent *k, struct error *err)
{
	const char *provider = conf_provider_name(k->provider);

	return error_field(err, ERR_INVALID_VALUE, "agents",
			   "agent \"%s\" is not available: provider %s is not configured (set %s)", k->name, provider,
			   provider_defaults[k->provider].env);
}

bool registry_cast(const struct conf *c, struct arena *a, const struct known_agent *k, struct str model,
		   struct agent_spec *spec, struct error *err)
{
	enum conf_provider_id id = k->provider;

	if (model.n == 0)
		model = k->model != NULL ? str_of(k->model) : str_of(registry_model(c, id));
	if (id == PROVIDER_DEMO || conf_demo_active(c)) {
		id = PROVIDER_DEMO;
		model = STR("demo");
	} else if (!registry_usable(c, id)) {
		if (provider_defaults[id].vendor == NULL || !registry_usable(c, PROVIDER_OPENROUTER))
			return known_refuse(k, err);
		id = PROVIDER_OPENROUTER;
		model = known_router_model(a, k, model);
	}
	spec->provider = str_of(conf_provider_name(id));
	spec->model = arena_str(a, model);
	agents_price(spec->provider, spec->model, &spec->price_in, &spec->price_out);
	return true;
}

unsigned agents_available(const struct conf *c)
{
	struct arena *a = arena_new(0);
	struct agent_spec spec;
	struct error err;
	unsigned n = 0;
	size_t i;

	for (i = 0; i < countof(known); i++) {
		if (known[i].alias || (known[i].provider == PROVIDER_DEMO && !conf_demo_active(c)) ||
		    !registry_cast(c, a, &known[i], STR_NONE, &spec, &err))
			continue;
		n++;
	}
	arena_free(a);
	return n;
}
