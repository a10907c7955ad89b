/* SPDX-License-Identifier: MIT */
/*
 * What a question is about and how much there is to it, by a table of words. Private to this room.
 */
#ifndef WORKER_AGENTS_CLASSIFY_H
#define WORKER_AGENTS_CLASSIFY_H

#include "worker/agents/registry.h"

#define CLASSIFY_DOMAINS 4
#define CLASSIFY_WORDS 6

enum complexity { COMPLEXITY_SIMPLE, COMPLEXITY_MODERATE, COMPLEXITY_COMPLEX };

struct category {
	const char *name;
	enum persona_domain domains[CLASSIFY_DOMAINS]; /* what it takes to answer */
	const char *words[26];                         /* beginnings of words, lower case */
};

struct classified {
	const struct category *category;
	enum complexity complexity;
	int64_t confidence_ppm;           /* 300000 when no word was known, else 600000 and more */
	unsigned hits;                    /* words of the category that were found */
	struct str words[CLASSIFY_WORDS]; /* the first of them, as they stand in the question */
};

/* O(n) of the text. Never fails: what nothing is known of is "general". */
void classify(struct str question, struct classified *out);
/* NULL if there is no such category. */
const struct category *category_find(struct str name);
/* "simple", "moderate", "complex" */
const char *complexity_name(enum complexity c);

#endif
