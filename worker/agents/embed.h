/* SPDX-License-Identifier: MIT */
/*
 * Texts as vectors, from any server with OpenAI's POST /embeddings (embeddings.url). Each worker remembers what it
 * asked for, for each organization by itself: how long an answer takes tells nobody what others have asked. Everybody
 * who uses this works without it too: not configured and not reachable are ordinary answers.
 */
#ifndef WORKER_AGENTS_EMBED_H
#define WORKER_AGENTS_EMBED_H

#include "common/arena.h"
#include "common/co.h"
#include "common/conf.h"
#include "common/err.h"

struct worker;
struct embed;

#define EMBED_TEXT_MAX (24 * 1024) /* bytes of one text that count; models read about 8,000 tokens */
#define EMBED_TEXTS_MAX 1024       /* of one call */
#define EMBED_DIM_MAX 4096

/* What a call was charged for; texts that were remembered cost nothing. */
struct embed_bill {
	int64_t tokens;
	int64_t cost_micro; /* micro-dollars, by embeddings.price */
};

/* Is there a server to ask? */
bool embed_configured(const struct conf *c);
/*
 * *vectors: n rows of *dim floats each, in the arena, of length 1 (a text without anything but blanks: all 0). Waits
 * for the server at most embeddings.timeout, and not at all when every text is remembered. False: ERR_UNAVAILABLE with
 * the reason (not configured, breaker open, no answer or not the documented one), ERR_CANCELLED when a scope ended.
 * `org_id`: who asks; "" is a job for many, of which nothing is remembered.
 */
CO_FN bool embed_texts(struct worker *w, struct arena *a, struct str org_id, const struct str *texts, size_t n,
		       float **vectors, size_t *dim, struct error *err) MUST_CHECK;
/* The same, adding to *bill what it cost, also when it fails: for a debate that pays for it in its ledger. */
CO_FN bool embed_texts_billed(struct worker *w, struct arena *a, struct str org_id, const struct str *texts, size_t n,
			      float **vectors, size_t *dim, struct embed_bill *bill, struct error *err) MUST_CHECK;

/* Cosine of two rows of embed_texts(). */
double embed_cosine(const float *x, const float *y, size_t dim);

/* The memory of one worker; part of struct agents. */
struct embed *embed_open(void);
void embed_close(struct embed *e);

#endif
