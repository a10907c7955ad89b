/* SPDX-License-Identifier: MIT */
/*
 * The twelve adapters of the Knowledge Mound (seed 002, Bidirectional Adapters; rest-wide 5.8): one row each in the
 * table of adapters.c. Forward: what its source has becomes nodes; reverse: nodes that fit a question go back to it. A
 * row without functions is an adapter whose source this server does not have: it says "not configured" and moves
 * nothing.
 */
#ifndef WORKER_KNOWLEDGE_ADAPTERS_H
#define WORKER_KNOWLEDGE_ADAPTERS_H

#include "worker/jobs/jobs.h"
#include "worker/knowledge/knowledge.h"

#define HARVEST_MAX 64 /* nodes that one debate, or one page of a source, gives to an adapter */

/* One thing to be known. */
struct harvest_item {
	struct knowledge_new node; /* adapter and adapter_key set; strings of the arena */
	size_t parent;             /* item that it is related to, by its place; SIZE_MAX: none */
	const char *relation;      /* to the parent */
	int outcome;               /* of a pattern that is counted: 1 it went well, -1 it did not, 0: not counted */
};

struct harvest {
	struct arena *arena;
	struct harvest_item v[HARVEST_MAX];
	size_t n;
	int64_t read_to; /* how far the source was read, where it is read on from */
};

struct adapter {
	const char *name, *prefix; /* prefix of adapter_key */
	int priority;
	const char *needs;             /* what the source is, for people */
	const char *forward, *reverse; /* their names for clients */
	bool opt_in;                   /* off unless knowledge.<name>_adapter says otherwise */
	bool figures;                  /* its nodes are numbers of now: a new one takes the place of the old */
	bool background;   /* its nodes may be given to debates; those of "consensus" come from its own memory */
	int64_t least_ppm; /* confidence below which nothing is written */
	/* What a finished debate holds for it: pure. Or NULL. */
	void (*from_result)(struct harvest *h, const json_t *result);
	/* What its source has anew since `since`, oldest first. Or NULL. */
	CO_FN bool (*from_source)(struct worker *w, const struct context *ctx, int64_t since, struct harvest *h,
				  struct error *err);
};

extern const struct adapter knowledge_adapters[];
extern const size_t knowledge_adapters_count;

/* NULL: there is none of that name. */
const struct adapter *adapter_find(struct str name);
/* Does it have a source, and is it switched on? */
bool adapter_configured(const struct worker *w, const struct adapter *ad);

/* Adds an item for `ad` with the key behind its prefix; NULL when the harvest is full. */
struct harvest_item *harvest_add(struct harvest *h, const struct adapter *ad, struct str key, struct str content,
				 int64_t confidence_ppm);

/* harvest.c */
void harvest_consensus(struct harvest *h, const json_t *result);
void harvest_critique(struct harvest *h, const json_t *result);
void harvest_evidence(struct harvest *h, const json_t *result);
void harvest_insights(struct harvest *h, const json_t *result);
/* sources.c */
CO_FN bool source_continuum(struct worker *w, const struct context *ctx, int64_t since, struct harvest *h,
			    struct error *err);
CO_FN bool source_elo(struct worker *w, const struct context *ctx, int64_t since, struct harvest *h, struct error *err);
CO_FN bool source_ranking(struct worker *w, const struct context *ctx, int64_t since, struct harvest *h,
			  struct error *err);
CO_FN bool source_culture(struct worker *w, const struct context *ctx, int64_t since, struct harvest *h,
			  struct error *err);
CO_FN bool source_cost(struct worker *w, const struct context *ctx, int64_t since, struct harvest *h,
		       struct error *err);

struct adapter_done {
	int64_t synced, updated, skipped, links;
};
/*
 * Adds what makes a harvest known; *done counts. Reads what is there already, and skips what the workspace has no room
 * for (knowledge.max_nodes): the caller says so with knowledge_left_out() when it has committed.
 */
CO_FN bool adapter_write(struct worker *w, struct arena *a, const struct context *ctx, const struct harvest *h,
			 struct db_batch *b, struct adapter_done *done, struct error *err) MUST_CHECK;
/* Forward sync of one adapter from its source, counted and noted. ERR_UNAVAILABLE: it has none. */
CO_FN bool adapter_forward(struct worker *w, struct arena *a, const struct context *ctx, const struct adapter *ad,
			   struct adapter_done *done, struct error *err) MUST_CHECK;
/* Reverse query: its nodes that fit, best first; counted and noted. ad NULL: of all that may be background. */
CO_FN bool adapter_reverse(struct worker *w, struct arena *a, const struct context *ctx, const struct adapter *ad,
			   struct str query, int64_t limit, struct knowledge_hit **hits, size_t *n,
			   struct error *err) MUST_CHECK;

/* ---- finished debates (outbox.c) ---- */

extern const struct job knowledge_writes_job;

#endif
