/* SPDX-License-Identifier: MIT */
/*
 * What models cost: a built-in table and a file of the operator's, which wins where both know a name as well. Called
 * when a debate's agents are resolved: the price goes into the plan, so a later change does not change what an old
 * debate says it cost. Does not ask any provider for its price list.
 */
#include "worker/agents/agent.h"

#include <errno.h>
#include <math.h>

#define PRICE_ID_MAX 96
#define PRICE_MAX 1000000.0 /* dollars per million tokens */
#define PRICES_MAX 4096
#define PRICES_LINE 512
#define PRICE_BYTES_A_TOKEN 3 /* of a prompt, at the least that is common: English has about four */

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

/* The operator's rows; of the process, as its configuration is. */
static struct price *price_rows;
static size_t price_count;

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

static void price_forget(struct price *v, size_t n)
{
	while (n > 0)
		free((char *)(uintptr_t)v[--n].prefix);
	free(v);
}

/* Dollars to micro-dollars. */
static bool price_number(struct str s, int64_t *micro)
{
	char text[32], *end;
	double n;

	if (s.n == 0 || s.n >= sizeof(text) || s.p[0] < '0' || s.p[0] > '9')
		return false;
	(void)snprintf(text, sizeof(text), "%.*s", STR_ARG(s));
	n = strtod(text, &end);
	if (*end != '\0' || !(n >= 0 && n <= PRICE_MAX))
		return false;
	*micro = (int64_t)llround(n * 1e6);
	return true;
}

/* "MODEL IN OUT", blanks or tabs between; '#' begins a comment. True also for an empty line. */
static bool price_line(struct str line, struct price *rows, size_t *n)
{
	struct str field[4] = {STR_NONE}, rest, word;
	char id[PRICE_ID_MAX];
	ptrdiff_t hash = str_chr(line, '#');
	size_t fields = 0, i;
	char copy[PRICES_LINE];

	(void)snprintf(copy, sizeof(copy), "%.*s", STR_ARG(hash >= 0 ? str_sub(line, 0, (size_t)hash) : line));
	for (i = 0; copy[i] != '\0'; i++)
		if (copy[i] == '\t' || copy[i] == '\n' || copy[i] == '\r')
			copy[i] = ' ';
	rest = str_of(copy);
	while (fields < countof(field) && str_split(&rest, ' ', &word))
		if (word.n > 0)
			field[fields++] = word;
	if (fields == 0)
		return true;
	if (fields != 3 || *n == PRICES_MAX || !price_number(field[1], &rows[*n].in) ||
	    !price_number(field[2], &rows[*n].out))
		return false;
	rows[(*n)++].prefix = str_dupz(price_normalise(field[0], id));
	return true;
}

bool agents_prices_load(const char *path, struct error *err)
{
	struct price *rows;
	char line[PRICES_LINE];
	size_t n = 0, number = 0;
	bool ok = true;
	FILE *f;

	if (path[0] == '\0') {
		price_forget(price_rows, price_count);
		price_rows = NULL;
		price_count = 0;
		return true;
	}
	f = fopen(path, "re");
	if (f == NULL)
		return error_field(err, ERR_INVALID_VALUE, "agents.prices_file", "%.160s: %s", path, strerror(errno));
	rows = xcalloc(PRICES_MAX, sizeof(*rows));
	while (ok && fgets(line, sizeof(line), f) != NULL) {
		number++;
		ok = price_line(str_of(line), rows, &n);
	}
	(void)fclose(f);
	if (!ok) {
		price_forget(rows, n);
		return error_field(err, ERR_INVALID_VALUE, "agents.prices_file",
				   "%.160s:%zu: not \"MODEL IN OUT\" in dollars per million tokens", path, number);
	}
	price_forget(price_rows, price_count);
	price_rows = rows;
	price_count = n;
	return true;
}

/* The longest prefix of the name among n rows, or `best` if that is longer. */
static const struct price *price_find(const struct price *v, size_t n, struct str name, const struct price *best)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (str_starts(name, str_of(v[i].prefix)) && strlen(v[i].prefix) >= strlen(best->prefix))
			best = &v[i];
	return best;
}

void agents_price(struct str provider, struct str model, int64_t *in, int64_t *out)
{
	const struct price *best = &price_unknown;
	char id[PRICE_ID_MAX];
	struct str name = price_normalise(model, id);
	bool local = false;
	size_t i;

	*in = *out = 0;
	for (i = 0; i < countof(price_free); i++)
		local = local || str_eqz(provider, price_free[i]);
	if (!local)
		best = price_find(prices, countof(prices), name, best);
	best = price_find(price_rows, price_count, name, best);
	if (local &&
	    best == &price_unknown) /* what runs on one's own machine costs what the operator says, or nothing */
		return;
	*in = best->in;
	*out = best->out;
}

int64_t agents_cost(int64_t tokens, int64_t price)
{
	return (int64_t)(((__int128)tokens * price + 999999) / 1000000);
}

int64_t agents_prompt_tokens(size_t bytes)
{
	return (int64_t)bytes / PRICE_BYTES_A_TOKEN + 1;
}
