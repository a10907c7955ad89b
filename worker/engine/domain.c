/* SPDX-License-Identifier: MIT */
/*
 * The table of subjects and their words (debate.md 1.2). Called when a plan is made; the plan keeps the answer, so that
 * a later table does not change an older debate.
 */
#include "worker/engine/domain.h"

#define DOMAIN_WORDS 12

/* First match wins. A word that ends in '-' stands for all that begin so: "auth" is not "author". */
static const struct {
	const char *name, *words[DOMAIN_WORDS];
} domains[] = {
    {"security",
     {"security", "secure", "hack-", "vulnerab-", "auth", "authenticat-", "authoriz-", "authoris-", "oauth-",
      "encrypt-"}},
    {"performance",
     {"performance", "speed", "optimiz-", "optimis-", "cache-", "caching", "latency", "latencies", "throughput"}},
    {"testing", {"test", "tests", "testing", "tested", "testable", "coverage", "mock", "mocks", "fuzzing"}},
    {"architecture", {"design-", "architect-", "pattern", "patterns", "structure", "structures", "microservice-"}},
    {"debugging",
     {"bug", "bugs", "debug-", "error", "errors", "fix", "fixes", "fixing", "crash-", "exception", "exceptions"}},
    {"api", {"api", "apis", "endpoint", "endpoints", "rest", "graphql", "grpc", "webhook", "webhooks"}},
    {"database", {"database-", "sql", "postgres-", "sqlite", "mysql", "query", "queries", "schema", "schemas"}},
    {"frontend", {"frontend-", "ui", "ux", "css", "html", "react", "browser", "browsers", "component", "components"}},
};

static bool domain_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80;
}

static bool domain_is(struct str word, const char *wanted)
{
	struct str w = str_of(wanted);

	if (w.p[w.n - 1] != '-')
		return str_ieqz(word, wanted);
	w.n--;
	return word.n >= w.n && str_ifind(str_sub(word, 0, w.n), w) == 0;
}

/* Index of the first subject among those before `best` that has this word. */
static size_t domain_of_word(struct str word, size_t best)
{
	size_t i, k;

	for (i = 0; i < best; i++)
		for (k = 0; k < DOMAIN_WORDS && domains[i].words[k] != NULL; k++)
			if (domain_is(word, domains[i].words[k]))
				return i;
	return best;
}

struct str domain_of(struct str task)
{
	size_t best = countof(domains), i = 0, start;

	while (i < task.n && best > 0) {
		while (i < task.n && !domain_letter(task.p[i]))
			i++;
		for (start = i; i < task.n && domain_letter(task.p[i]); i++)
			;
		if (i > start)
			best = domain_of_word(str_sub(task, start, i), best);
	}
	return best < countof(domains) ? str_of(domains[best].name) : STR(DOMAIN_GENERAL);
}
