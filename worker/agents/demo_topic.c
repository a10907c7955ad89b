/* SPDX-License-Identifier: MIT */
/*
 * Reads a question with tables of words. Called by demo.c. Understands nothing; it only finds words worth repeating, so
 * that a demo debate is visibly about what was asked.
 */
#include "worker/agents/demo_topic.h"

#include <ctype.h>

#define TOPIC_QUESTION_MAX 160
#define TOPIC_OPTION_WORDS 4
#define TOPIC_PHRASE_WORDS 3

static const struct topic_domain topic_domains[] = {
    {"security",
     {"secur", "auth", "password", "encrypt", "attack", "vulnerab", "breach", "privacy", "gdpr", "token", "secret"},
     "an incident that nobody notices for weeks",
     "the time until misuse is detected and contained",
     "let somebody outside the team try to break it for two days"},
    {"data",
     {"database", "sql", "postgres", "mysql", "sqlite", "mongo", "redis", "memcached", "cache", "storage", "schema",
      "data", "kafka", "queue"},
     "the migration of what is already stored, and the day two copies disagree",
     "the 99th percentile of read latency together with the number of inconsistent records",
     "replay one day of real traffic against a copy"},
    {"architecture",
     {"microservice", "monolith", "service", "api", "architect", "kubernetes", "cloud", "serverless", "deploy",
      "refactor", "rewrite", "framework", "language", "rust"},
     "failures between the parts, where there used to be a plain function call",
     "the lead time of a change and the number of incidents per release",
     "carry one real feature through it end to end"},
    {"performance",
     {"latency", "performance", "fast", "slow", "scal", "throughput", "optimi", "load"},
     "optimising what is not the bottleneck",
     "tail latency at twice today's load",
     "profile the slowest real request before and after"},
    {"models",
     {"ai", "llm", "model", "machine", "chatbot", "agent", "prompt", "gpt"},
     "answers that are wrong in a way that reads well",
     "the share of answers that a second reader would sign",
     "score two hundred real cases by hand"},
    {"people",
     {"team", "hire", "hiring", "remote", "office", "work", "employee", "meeting", "manager", "school", "student",
      "culture", "four-day"},
     "losing good people who never say why",
     "how many would choose it again after a quarter, next to what was delivered",
     "try it with two volunteering teams for a quarter"},
    {"money",
     {"price", "pricing", "cost", "budget", "buy", "invest", "fund", "salary", "tax", "revenue", "license", "vendor",
      "outsource"},
     "the price of leaving again, which no offer mentions",
     "total cost over three years, people included",
     "ask two suppliers for a binding offer and put our own hours beside it"},
    {"product",
     {"user", "customer", "launch", "feature", "app", "market", "product", "onboard", "website", "mobile", "design"},
     "building for a need that was assumed and not observed",
     "the share of users who come back in the fourth week",
     "show a rough version to ten people and watch, without explaining"},
};
static const struct topic_domain topic_general = {"general",
						  {NULL},
						  "a step that cannot be taken back",
						  "one number that is written down before we begin",
						  "try it small for two weeks"};

/* Openings of a question, longest first within their kind; what follows is what is to be done. */
static const struct {
	const char *text;
	enum topic_kind kind;
} topic_openings[] = {
    {"should we", TOPIC_SHOULD},
    {"should i", TOPIC_SHOULD},
    {"should you", TOPIC_SHOULD},
    {"shall we", TOPIC_SHOULD},
    {"is it worth", TOPIC_SHOULD},
    {"is it wise to", TOPIC_SHOULD},
    {"is it a good idea to", TOPIC_SHOULD},
    {"do we need to", TOPIC_SHOULD},
    {"can we", TOPIC_SHOULD},
    {"ought we to", TOPIC_SHOULD},
    {"how should we", TOPIC_HOW},
    {"how do we", TOPIC_HOW},
    {"how can we", TOPIC_HOW},
    {"how could we", TOPIC_HOW},
    {"how would you", TOPIC_HOW},
    {"how to", TOPIC_HOW},
    {"how do i", TOPIC_HOW},
    {"how can i", TOPIC_HOW},
    {"should ", TOPIC_SHOULD},
    {"how ", TOPIC_HOW},
    {"what ", TOPIC_WHAT},
    {"what's", TOPIC_WHAT},
    {"why ", TOPIC_WHAT},
    {"which ", TOPIC_WHAT},
    {"who ", TOPIC_WHAT},
    {"when ", TOPIC_WHAT},
    {"explain ", TOPIC_WHAT},
    {"design ", TOPIC_HOW},
};

/* Words that carry no subject, and the verbs of asking. */
static const char *const topic_dull[] = {
    "a",       "about", "above",   "adopt",    "all",   "also",   "am",     "an",      "and",    "any",   "are",
    "as",      "at",    "be",      "been",     "below", "best",   "better", "between", "but",    "buy",   "by",
    "build",   "can",   "choose",  "consider", "could", "create", "decide", "design",  "do",     "does",  "either",
    "explain", "first", "for",     "from",     "go",    "good",   "had",    "has",     "have",   "how",   "i",
    "if",      "in",    "instead", "into",     "is",    "it",     "its",    "make",    "may",    "me",    "more",
    "most",    "move",  "migrate", "must",     "my",    "need",   "new",    "not",     "of",     "on",    "one",
    "or",      "other", "our",     "ought",    "over",  "pick",   "prefer", "rather",  "reduce", "shall", "should",
    "so",      "some",  "switch",  "take",     "than",  "that",   "the",    "their",   "them",   "then",  "there",
    "these",   "they",  "this",    "to",       "too",   "use",    "using",  "versus",  "very",   "vs",    "want",
    "was",     "way",   "we",      "were",     "what",  "when",   "where",  "whether", "which",  "who",   "why",
    "will",    "with",  "within",  "without",  "would", "you",    "your"};

/* Words before an option that do not belong to it, and words that end one. */
static const char *const topic_verbs[] = {
    "use",     "adopt",  "choose", "pick",   "prefer", "go",     "with", "be",     "is",    "are",
    "between", "either", "to",     "take",   "select", "should", "we",   "i",      "it",    "better",
    "do",      "does",   "you",    "which",  "what",   "have",   "hire", "buy",    "build", "migrate",
    "move",    "switch", "start",  "deploy", "run",    "want",   "need", "whether"};
/* An option may begin with one of them; what stands before does not belong to it. */
static const char *const topic_articles[] = {"a", "an", "the", "our", "my", "your", "one", "two", "more"};
/* "as a monolith or as microservices": the word that both options have before them is part of neither. */
static const char *const topic_particles[] = {"as",  "in",   "to", "on",   "with",  "by",
					      "for", "from", "at", "into", "within"};
static const char *const topic_ends[] = {"for",  "in",     "on",    "when", "as",     "to",   "because",
					 "with", "at",     "given", "if",   "while",  "over", "by",
					 "and",  "during", "as",    "from", "within", "or",   "than"};

uint64_t topic_hash(uint64_t h, struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * UINT64_C(0x100000001b3);
	/* The low bits are used with %: stir them. */
	h ^= h >> 29;
	h *= UINT64_C(0xbf58476d1ce4e5b9);
	return h ^ h >> 32;
}

static bool topic_among(struct str word, const char *const *list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (str_ieqz(word, list[i]))
			return true;
	return false;
}

static bool topic_letter(char c)
{
	return isalnum((unsigned char)c) || (unsigned char)c >= 0x80 || c == '-' || c == '\'' || c == '+' || c == '#' ||
	       c == '/' || c == '.';
}

/* Takes the next word off *rest; a mark at its end (',' ';' ':') is reported in *stop. */
static bool topic_word(struct str *rest, struct str *word, bool *stop)
{
	size_t i = 0, from;

	*stop = false;
	while (i < rest->n && !topic_letter(rest->p[i]))
		i++;
	from = i;
	while (i < rest->n && topic_letter(rest->p[i]))
		i++;
	*word = str_sub(*rest, from, i);
	*stop = i < rest->n && rest->p[i] != ' ';
	*rest = str_sub(*rest, i, rest->n);
	while (word->n > 0 &&
	       (word->p[word->n - 1] == '.' || word->p[word->n - 1] == '\'' || word->p[word->n - 1] == '-')) {
		word->n--;
		*stop = true;
	}
	return word->n > 0;
}

static void topic_first_sentence(struct topic *t, struct str task)
{
	size_t i;

	task = str_trim(task);
	for (i = 0; i < task.n; i++) {
		bool mark = task.p[i] == '?' || task.p[i] == '!' || task.p[i] == '.';

		if (task.p[i] == '\n' || (mark && (i + 1 == task.n || task.p[i + 1] == ' ' || task.p[i + 1] == '\n')))
			break;
	}
	t->mark = i < task.n && task.p[i] == '?' ? "?" : "";
	t->question = str_trim(str_utf8_cut(str_sub(task, 0, i), TOPIC_QUESTION_MAX));
}

static void topic_find_terms(struct topic *t)
{
	struct str rest = t->question, word, phrase = STR_NONE;
	size_t words = 0, i;
	bool stop, dull;

	while (t->term_count < TOPIC_TERMS_MAX && topic_word(&rest, &word, &stop)) {
		dull = topic_among(word, topic_dull, countof(topic_dull));
		if (!dull) {
			phrase = words == 0 ? word : (struct str){phrase.p, (size_t)(word.p + word.n - phrase.p)};
			words++;
		}
		if (words > 0 && (dull || stop || words == TOPIC_PHRASE_WORDS || str_trim(rest).n == 0)) {
			for (i = 0; i < t->term_count && !str_ieq(t->terms[i], phrase); i++)
				;
			if (i == t->term_count)
				t->terms[t->term_count++] = phrase;
			words = 0;
		}
	}
	if (t->term_count == 0)
		t->terms[t->term_count++] = t->question.n > 0 ? t->question : STR("the question");
}

/* The words right after " or ", up to one that ends a phrase. */
static struct str topic_option_after(struct str rest)
{
	struct str word, out = STR_NONE;
	bool stop = false;
	size_t n;

	for (n = 0; n < TOPIC_OPTION_WORDS && !stop && topic_word(&rest, &word, &stop); n++) {
		if (out.n > 0 && topic_among(word, topic_ends, countof(topic_ends)))
			break;
		out = out.n == 0 ? word : (struct str){out.p, (size_t)(word.p + word.n - out.p)};
	}
	return out;
}

/* The words right before " or ", back to a verb of choosing or a comma. */
static struct str topic_option_before(struct str left)
{
	struct str word, out = STR_NONE;
	bool stop;
	size_t n = 0;

	while (topic_word(&left, &word, &stop)) {
		if (topic_among(word, topic_verbs, countof(topic_verbs)) || n >= TOPIC_OPTION_WORDS) {
			if (str_trim(left).n == 0)
				break;
			out = STR_NONE;
			n = 0;
			continue;
		}
		if (topic_among(word, topic_articles, countof(topic_articles)))
			n = 0;
		out = n == 0 ? word : (struct str){out.p, (size_t)(word.p + word.n - out.p)};
		n++;
		if (stop && str_trim(left).n > 0) {
			out = STR_NONE;
			n = 0;
		}
	}
	return out;
}

/* Takes a particle off the second option; what follows the last one like it is the first option. */
static void topic_drop_particle(struct str *left, struct str *right)
{
	struct str rest = *right, word, again, after;
	bool stop;

	if (!topic_word(&rest, &word, &stop) || stop || !topic_among(word, topic_particles, countof(topic_particles)))
		return;
	*right = rest;
	for (after = *left; topic_word(&after, &again, &stop);)
		if (!stop && str_ieq(again, word) && str_trim(after).n > 0)
			*left = after;
}

static bool topic_find_options(struct topic *t)
{
	struct str left, right;
	ptrdiff_t at = str_ifind(t->question, STR(" or "));
	size_t skip = 4;

	if (at < 0) {
		at = str_ifind(t->question, STR(" vs "));
		if (at < 0) {
			at = str_ifind(t->question, STR(" versus "));
			skip = 8;
		}
	}
	if (at <= 0)
		return false;
	left = str_sub(t->question, 0, (size_t)at);
	right = str_sub(t->question, (size_t)at + skip, t->question.n);
	topic_drop_particle(&left, &right);
	t->a = topic_option_before(left);
	t->b = topic_option_after(right);
	if (str_ieqz(t->b, "not")) /* "should we or not" is no pair of options */
		return false;
	return t->a.n > 0 && t->b.n > 0 && !str_ieq(t->a, t->b);
}

static void topic_find_kind(struct topic *t)
{
	size_t i, n;

	t->kind = TOPIC_OPEN;
	for (i = 0; i < countof(topic_openings); i++) {
		n = strlen(topic_openings[i].text);
		if (!str_istarts(t->question, str_of(topic_openings[i].text)))
			continue;
		t->kind = topic_openings[i].kind;
		/* "should the company …" names somebody else: there is no deed to repeat as it stands. */
		if (topic_openings[i].text[n - 1] != ' ')
			t->deed = str_trim(str_sub(t->question, n, t->question.n));
		break;
	}
	if (t->kind != TOPIC_HOW && topic_find_options(t))
		t->kind = TOPIC_EITHER;
}

static const struct topic_domain *topic_find_domain(struct str question)
{
	const struct topic_domain *best = &topic_general;
	unsigned score, best_score = 0;
	struct str rest, word, want;
	size_t d, i;
	bool stop;

	for (d = 0; d < countof(topic_domains); d++) {
		score = 0;
		for (rest = question; topic_word(&rest, &word, &stop);) {
			for (i = 0; i < countof(topic_domains[d].words) && topic_domains[d].words[i] != NULL; i++) {
				want = str_of(topic_domains[d].words[i]);
				/* Short ones must match whole: "ai" is not the beginning of "air". */
				score += want.n < 4 ? str_ieq(word, want) : str_istarts(word, want);
			}
		}
		if (score > best_score) {
			best_score = score;
			best = &topic_domains[d];
		}
	}
	return best;
}

void topic_read(struct arena *a, struct str task, struct topic *t)
{
	*t = (struct topic){.kind = TOPIC_OPEN, .mark = ""};
	topic_first_sentence(t, task);
	t->question = arena_str(a, t->question);
	topic_find_kind(t);
	topic_find_terms(t);
	t->domain = topic_find_domain(t->question);
	t->hash = topic_hash(TOPIC_HASH_INIT, task);
}
