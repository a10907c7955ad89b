/* SPDX-License-Identifier: MIT */
/*
 * The classifier of questions (debate.md 2.4, 1). Called when a team is chosen for a question. Knows English words only
 * and asks no model: a question in another language is "general", which is a usable answer.
 */
#include "worker/agents/classify.h"

#include "common/str.h"

#define CLASSIFY_BYTES_MAX (32 * 1024) /* what stands further back does not change what a question is about */
#define CLASSIFY_MODERATE 20           /* words from which a question is moderate, debate.md 2.4 */
#define CLASSIFY_COMPLEX 50

#define GENERAL 8 /* in the table */

static const struct category categories[] = {
    {"technical",
     {EXPERT_ARCHITECTURE, EXPERT_CODE, EXPERT_PERFORMANCE, EXPERT_DATA},
     {"code",     "software", "api",      "database", "sql",       "server",   "cache",     "redis",   "architect",
      "deploy",   "kubernet", "docker",   "latency",  "microserv", "monolith", "framework", "program", "algorithm",
      "refactor", "backend",  "frontend", "cloud",    "queue",     "schema",   "storage",   NULL}},
    {"legal",
     {EXPERT_LEGAL, EXPERT_COMPLIANCE, EXPERT_REASONING, EXPERT_ETHICS},
     {"legal",   "law",      "contract", "court",   "liabil",    "clause",    "statut",
      "lawsuit", "attorney", "licens",   "patent",  "copyright", "trademark", "jurisdict",
      "gdpr",    "regulat",  "complian", "indemni", "tort",      "plaintiff", NULL}},
    {"security",
     {EXPERT_SECURITY, EXPERT_COMPLIANCE, EXPERT_OPERATIONS, EXPERT_CODE},
     {"secur",    "attack",   "vulnerab", "encrypt",  "password", "authent",    "breach",
      "malware",  "phish",    "exploit",  "firewall", "ransom",   "credential", "threat",
      "penetrat", "zero-day", "intrus",   "hacker",   "oauth",    "token",      NULL}},
    {"scientific",
     {EXPERT_RESEARCH, EXPERT_DATA, EXPERT_REASONING, EXPERT_PHILOSOPHY},
     {"scien", "experiment", "hypothes", "physics", "chemi", "biolog", "climate", "statistic", "research", "theor",
      "evidence", "quantum", "evolution", "species", "laborator", "peer-review", "astronom", "genom", NULL}},
    {"political",
     {EXPERT_POLITICS, EXPERT_ETHICS, EXPERT_PHILOSOPHY, EXPERT_STRATEGY},
     {"politic", "election", "govern", "democra", "parliament", "senat", "vote", "voter", "policy", "tariff", "immigra",
      "diplom", "sanction", "citizen", "president", "constitution", "referend", "legislat", NULL}},
    {"ethical",
     {EXPERT_ETHICS, EXPERT_PHILOSOPHY, EXPERT_REASONING, EXPERT_POLITICS},
     {"ethic", "moral", "fair", "justice", "right", "wrong", "consent", "dignity", "harm", "virtue", "bias",
      "discriminat", "euthanas", "responsib", "duty", "values", NULL}},
    {"financial",
     {EXPERT_FINANCE, EXPERT_STRATEGY, EXPERT_COMPLIANCE, EXPERT_DATA},
     {"financ",   "invest",   "budget",    "revenue", "profit",  "tax",    "stock",     "bond",
      "loan",     "interest", "inflation", "audit",   "account", "cash",   "valuation", "portfolio",
      "mortgage", "pricing",  "price",     "cost",    "funding", "equity", "salary",    NULL}},
    {"healthcare",
     {EXPERT_HEALTH, EXPERT_RESEARCH, EXPERT_COMPLIANCE, EXPERT_ETHICS},
     {"health",  "medic",  "patient", "clinic",    "hospital", "doctor",  "nurse",  "drug",   "therap", "diagnos",
      "disease", "vaccin", "surg",    "treatment", "hipaa",    "symptom", "dosage", "cancer", "pharma", NULL}},
    [GENERAL] = {"general", {EXPERT_REASONING, EXPERT_STRATEGY, EXPERT_CREATIVITY, EXPERT_ETHICS}, {NULL}},
};

const char *complexity_name(enum complexity c)
{
	static const char *const names[] = {"simple", "moderate", "complex"};

	return names[c];
}

const struct category *category_find(struct str name)
{
	size_t i;

	for (i = 0; i < countof(categories); i++)
		if (str_ieqz(name, categories[i].name))
			return &categories[i];
	return NULL;
}

static bool classify_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
	       (unsigned char)c >= 0x80;
}

/* Takes the next word off *rest. */
static bool classify_word(struct str *rest, struct str *word)
{
	size_t from = 0, to;

	while (from < rest->n && !classify_letter(rest->p[from]))
		from++;
	for (to = from; to < rest->n && classify_letter(rest->p[to]); to++)
		;
	*word = str_sub(*rest, from, to);
	*rest = str_sub(*rest, to, rest->n);
	return word->n > 0;
}

static bool category_has(const struct category *c, struct str word)
{
	size_t i;

	for (i = 0; c->words[i] != NULL; i++)
		if (str_istarts(word, str_of(c->words[i])))
			return true;
	return false;
}

void classify(struct str question, struct classified *out)
{
	unsigned hits[countof(categories)] = {0}, words = 0;
	struct str rest = str_utf8_cut(question, CLASSIFY_BYTES_MAX), word;
	size_t i, best = GENERAL, n = 0;

	while (classify_word(&rest, &word)) {
		words++;
		for (i = 0; i < countof(categories); i++)
			hits[i] += category_has(&categories[i], word);
	}
	for (i = 0; i < countof(categories); i++)
		if (hits[i] > hits[best])
			best = i;
	*out = (struct classified){.category = &categories[best], .hits = hits[best]};
	out->complexity = words < CLASSIFY_MODERATE  ? COMPLEXITY_SIMPLE
			  : words < CLASSIFY_COMPLEX ? COMPLEXITY_MODERATE
						     : COMPLEXITY_COMPLEX;
	out->confidence_ppm = hits[best] == 0 ? 300000 : hits[best] < 4 ? 500000 + 100000 * hits[best] : 900000;
	rest = str_utf8_cut(question, CLASSIFY_BYTES_MAX);
	while (n < CLASSIFY_WORDS && classify_word(&rest, &word))
		if (category_has(out->category, word))
			out->words[n++] = word;
}
