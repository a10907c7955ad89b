/* SPDX-License-Identifier: MIT */
/*
 * What models cost. Called when a debate's agents are resolved: the price goes into the plan, so a later change of this
 * table does not change what an old debate says it cost. Does not ask any provider for its price list.
 */
#include "worker/agents/agent.h"

#define PRICE_ID_MAX 96

/* Micro-dollars per million tokens; names normalised as price_normalise() does, longest prefix wins. */
struct price {
	const char *prefix;
	int64_t in, out;
};

static const struct price prices[] = {
    {"claude-opus-4", 5000000, 25000000},
    {"claude-sonnet", 3000000, 15000000},
    {"claude-3-7-sonnet", 3000000, 15000000},
    {"claude-3-5-sonnet", 3000000, 15000000},
    {"claude-haiku", 800000, 4000000},
    {"claude-3-5-haiku", 800000, 4000000},
    {"gpt-4-1", 2000000, 8000000},
    {"gpt-4-1-mini", 400000, 1600000},
    {"gpt-4o", 2500000, 10000000},
    {"gpt-4o-mini", 150000, 600000},
    {"gemini-3-1-pro", 2000000, 12000000},
    {"gemini-3-flash", 500000, 3000000},
    {"gemini-pro", 1250000, 5000000},
    {"gemini-2-5-pro", 1250000, 5000000},
    {"deepseek", 280000, 420000},
    {"grok-4", 3000000, 15000000},
    {"grok-2", 2000000, 10000000},
    {"mistral-large", 2000000, 6000000},
    {"codestral", 300000, 900000},
};

/* A model that is not in the table is never counted as free. */
static const struct price price_unknown = {"", 2000000, 8000000};

/* Providers that run on the user's own machine. */
static const char *const price_free[] = {"ollama", "lm-studio", "lm_studio", "compatible", "demo"};

static bool price_digits(const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (p[i] < '0' || p[i] > '9')
			return false;
	return true;
}

/* "anthropic/Claude-Opus-4.6-20260101" -> "claude-opus-4-6": no vendor, lower case, '.' -> '-', no date. */
static struct str price_normalise(struct str model, char out[PRICE_ID_MAX])
{
	size_t i, n = 0;

	for (i = 0; i < model.n; i++)
		if (model.p[i] == '/')
			n = i + 1;
	model = str_sub(model, n, model.n);
	for (n = 0; n < model.n && n < PRICE_ID_MAX; n++) {
		char c = model.p[n];

		out[n] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c == '.' || c == '_' ? '-' : c);
	}
	if (n > 9 && out[n - 9] == '-' && price_digits(out + n - 8, 8))
		n -= 9;
	return (struct str){out, n};
}

void agents_price(struct str provider, struct str model, int64_t *in, int64_t *out)
{
	const struct price *best = &price_unknown;
	char id[PRICE_ID_MAX];
	struct str name = price_normalise(model, id);
	size_t i;

	*in = *out = 0;
	for (i = 0; i < countof(price_free); i++)
		if (str_eqz(provider, price_free[i]))
			return;
	for (i = 0; i < countof(prices); i++)
		if (str_starts(name, str_of(prices[i].prefix)) && strlen(prices[i].prefix) > strlen(best->prefix))
			best = &prices[i];
	*in = best->in;
	*out = best->out;
}
