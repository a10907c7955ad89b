/* SPDX-License-Identifier: MIT */
/*
 * What a question is about, as far as a table of words can tell: its kind, its options, its terms, its domain. Private
 * to the demo agents.
 */
#ifndef WORKER_AGENTS_DEMO_TOPIC_H
#define WORKER_AGENTS_DEMO_TOPIC_H

#include "common/arena.h"

#define TOPIC_TERMS_MAX 4

enum topic_kind {
	TOPIC_EITHER, /* "X or Y": options a and b */
	TOPIC_SHOULD, /* "should we do it": deed */
	TOPIC_HOW,    /* "how do we reach it": deed */
	TOPIC_WHAT,   /* what, why, which, who, when */
	TOPIC_OPEN
};

/* What matters in a field, in words that fit into any sentence about it. */
struct topic_domain {
	const char *name;
	const char *words[14]; /* beginnings of words, lower case */
	const char *risk;
	const char *measure;
	const char *test;
};

struct topic {
	enum topic_kind kind;
	struct str question;               /* first sentence, trimmed, at most 160 bytes, without its mark */
	const char *mark;                  /* "?" or "": what stood behind it */
	struct str a, b;                   /* EITHER */
	struct str deed;                   /* SHOULD, HOW: what is to be done, or STR_NONE */
	struct str terms[TOPIC_TERMS_MAX]; /* phrases of the question, at least one */
	size_t term_count;
	const struct topic_domain *domain;
	uint64_t hash;
};

void topic_read(struct arena *a, struct str task, struct topic *t);
uint64_t topic_hash(uint64_t h, struct str s);
#define TOPIC_HASH_INIT UINT64_C(0xcbf29ce484222325)

#endif
