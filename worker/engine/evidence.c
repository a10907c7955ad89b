/* SPDX-License-Identifier: MIT */
/*
 * Scans a text for claims, sources, figures, examples, hedges and reasons. Called by the engine's convergence step.
 * Knows no debate; words of other languages than English are not known to it.
 */
#include "worker/engine/evidence.h"

#define EVIDENCE_TEXT_MAX (32 * 1024)
#define EVIDENCE_CLAIM_MIN 20 /* bytes; shorter sentences claim nothing */
#define EVIDENCE_KINDS 5

enum evidence_mark {
	MARK_SOURCE,
	MARK_FIGURE,
	MARK_EXAMPLE,
	MARK_OUTPUT,
	MARK_QUOTE,
	MARK_HEDGE,
	MARK_REASON,
	MARK_COUNT
};

/* Looked for at the beginning of words, whatever their case; longer ones before those that begin them. */
static const struct {
	const char *text;
	enum evidence_mark mark;
	bool word; /* must end there */
} evidence_marks[] = {
    {"http://", MARK_SOURCE, false},    {"https://", MARK_SOURCE, false},    {"according to", MARK_SOURCE, true},
    {"source:", MARK_SOURCE, false},    {"for example", MARK_EXAMPLE, true}, {"for instance", MARK_EXAMPLE, true},
    {"e.g.", MARK_EXAMPLE, false},      {"such as", MARK_EXAMPLE, true},     {"might", MARK_HEDGE, true},
    {"could", MARK_HEDGE, true},        {"perhaps", MARK_HEDGE, true},       {"maybe", MARK_HEDGE, true},
    {"possibly", MARK_HEDGE, true},     {"generally", MARK_HEDGE, true},     {"usually", MARK_HEDGE, true},
    {"often", MARK_HEDGE, true},        {"sometimes", MARK_HEDGE, true},     {"probably", MARK_HEDGE, true},
    {"likely", MARK_HEDGE, true},       {"somewhat", MARK_HEDGE, true},      {"relatively", MARK_HEDGE, true},
    {"fairly", MARK_HEDGE, true},       {"various", MARK_HEDGE, true},       {"several", MARK_HEDGE, true},
    {"many", MARK_HEDGE, true},         {"significant", MARK_HEDGE, true},   {"because", MARK_REASON, true},
    {"therefore", MARK_REASON, true},   {"thus", MARK_REASON, true},         {"hence", MARK_REASON, true},
    {"since", MARK_REASON, true},       {"so that", MARK_REASON, true},      {"consequently", MARK_REASON, true},
    {"as a result", MARK_REASON, true}, {"unless", MARK_REASON, true},       {"otherwise", MARK_REASON, true},
};

/* A number followed by one of these is a figure, as is one with a sign of money or per cent. */
static const char *const evidence_units[] = {
    "ms",  "s",   "sec", "seconds", "minutes", "hours",     "days",  "weeks",  "months",   "years",   "kb",
    "mb",  "gb",  "tb",  "x",       "%",       "percent",   "times", "users",  "requests", "dollars", "euros",
    "usd", "eur", "km",  "kg",      "people",  "engineers", "nodes", "events", "lines",    "points"};

static bool evidence_word_byte(struct str s, size_t i)
{
	unsigned char c = i < s.n ? (unsigned char)s.p[i] : ' ';

	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

static bool evidence_digit(struct str s, size_t i)
{
	return i < s.n && s.p[i] >= '0' && s.p[i] <= '9';
}

/* A number at i: is it a figure? *end is behind it. */
static bool evidence_figure(struct str s, size_t i, size_t *end)
{
	size_t k, j = i;

	while (evidence_digit(s, j) || (j < s.n && (s.p[j] == '.' || s.p[j] == ',') && evidence_digit(s, j + 1)))
		j++;
	*end = j;
	if (i > 0 && s.p[i - 1] == '$')
		return true;
	while (j < s.n && s.p[j] == ' ')
		j++;
	for (k = 0; k < countof(evidence_units); k++) {
		struct str unit = str_of(evidence_units[k]);

		if (str_istarts(str_sub(s, j, s.n), unit) && !evidence_word_byte(s, j + unit.n))
			return true;
	}
	return false;
}

/* "[12]" or ", 2021)" at i. */
static bool evidence_reference(struct str s, size_t i)
{
	size_t j = i + 1;

	if (s.p[i] == '[' && evidence_digit(s, j)) {
		while (evidence_digit(s, j))
			j++;
		return j < s.n && s.p[j] == ']';
	}
	if (s.p[i] != ' ' || i + 5 >= s.n || s.p[i + 5] != ')')
		return false;
	return (str_starts(str_sub(s, j, s.n), STR("19")) || str_starts(str_sub(s, j, s.n), STR("20"))) &&
	       evidence_digit(s, j + 2) && evidence_digit(s, j + 3);
}

struct evidence_count {
	int64_t marks[MARK_COUNT], claims, words;
};

/* The word, number or sign at i; returns where the next may begin. */
static size_t evidence_word(struct str s, size_t i, struct evidence_count *c)
{
	size_t end = i, k;

	c->words++;
	if (evidence_digit(s, i)) {
		c->marks[MARK_FIGURE] += evidence_figure(s, i, &end);
		return end > i ? end : i + 1;
	}
	for (k = 0; k < countof(evidence_marks); k++) {
		struct str mark = str_of(evidence_marks[k].text);

		if (str_istarts(str_sub(s, i, s.n), mark) &&
		    !(evidence_marks[k].word && evidence_word_byte(s, i + mark.n))) {
			c->marks[evidence_marks[k].mark]++;
			return i + mark.n;
		}
	}
	while (evidence_word_byte(s, end))
		end++;
	return end;
}

static void evidence_sign(struct str s, size_t i, size_t *from, struct evidence_count *c)
{
	switch (s.p[i]) {
	case '.':
		if (evidence_word_byte(s, i + 1)) /* of a name or a number */
			break;
		__attribute__((fallthrough));
	case '!':
	case '\n':
		c->claims += i - *from >= EVIDENCE_CLAIM_MIN;
		*from = i + 1;
		break;
	case '?':
		*from = i + 1;
		break;
	case '`':
		c->marks[MARK_OUTPUT]++;
		break;
	case '"':
		c->marks[MARK_QUOTE]++;
		break;
	default:
		c->marks[MARK_SOURCE] += evidence_reference(s, i);
	}
}

static int64_t evidence_part(int64_t part, int64_t whole)
{
	if (whole <= 0)
		return 0;
	return part >= whole ? EVIDENCE_ONE : part * EVIDENCE_ONE / whole;
}

struct evidence evidence_of(struct str text)
{
	struct str s = str_utf8_cut(text, EVIDENCE_TEXT_MAX);
	struct evidence_count c = {{0}, 0, 0};
	struct evidence e = {0};
	size_t i = 0, from = 0;
	int64_t figures, kinds = 0;

	while (i < s.n) {
		if (evidence_word_byte(s, i)) {
			i = evidence_word(s, i, &c);
			continue;
		}
		evidence_sign(s, i, &from, &c);
		i++;
	}
	c.claims += s.n - from >= EVIDENCE_CLAIM_MIN;
	c.marks[MARK_QUOTE] /= 2;
	figures = c.marks[MARK_FIGURE] + c.marks[MARK_EXAMPLE];
	for (i = 0; i < EVIDENCE_KINDS; i++)
		kinds += c.marks[i] > 0;
	e.citation = evidence_part(c.marks[MARK_SOURCE], c.claims);
	e.specificity = figures + c.marks[MARK_HEDGE] > 0 ? evidence_part(figures, figures + c.marks[MARK_HEDGE])
							  : EVIDENCE_ONE / 2;
	e.diversity = evidence_part(kinds, EVIDENCE_KINDS);
	e.reasoning = evidence_part(100 * c.marks[MARK_REASON], c.words);
	e.quality = (e.citation + e.specificity + e.diversity + e.reasoning) / 4;
	return e;
}

int64_t evidence_hollowness(const struct evidence *v, size_t n)
{
	int64_t sum = 0, squares = 0, mean, variance, hollow, uncited = 0, vague = 0;
	size_t i;

	if (n == 0)
		return 0;
	for (i = 0; i < n; i++) {
		sum += v[i].quality;
		uncited += v[i].citation < EVIDENCE_UNCITED_PPM;
		vague += v[i].specificity < EVIDENCE_VAGUE_PPM;
	}
	mean = sum / (int64_t)n;
	for (i = 0; i < n; i++)
		squares += (v[i].quality - mean) * (v[i].quality - mean) / EVIDENCE_ONE;
	variance = squares / (int64_t)n;
	hollow = mean < EVIDENCE_QUALITY_MIN ? 400000 - 400000 * mean / EVIDENCE_QUALITY_MIN : 0;
	hollow += variance >= 300000 ? 300000 : variance;
	return hollow + 200000 * uncited / (int64_t)n + 100000 * vague / (int64_t)n;
}
