/* SPDX-License-Identifier: MIT */
/*
 * The cache of decisions: what was answered to a question, until it is too old or something it rests on has changed
 * (workspace, routing policy, version of an agent, tag). It lies in the store, so that all workers of all nodes see one
 * state: once an invalidation has returned, no lookup that begins later finds what it removed.
 *
 * What was being computed while something was invalidated is not kept: who computes notes the organization's generation
 * first, every invalidation raises it, and a result of an older generation is not stored.
 */
#ifndef WORKER_DECISIONS_CACHE_H
#define WORKER_DECISIONS_CACHE_H

#include <jansson.h>

#include "common/arena.h"
#include "common/context.h"
#include "common/db.h"

struct worker;

#define DECISION_KEY_MAX 80  /* bytes of a question's key */
#define DECISION_TAGS_MAX 20 /* of one entry */
#define DECISION_TAG_MAX 64  /* bytes of one */

/* What holds for an organization at this moment. */
struct decision_state {
	int64_t generation;
	struct str policy_version; /* as an admin named it last; "1" before the first */
};
CO_FN bool decision_state_read(struct worker *w, struct arena *a, const struct context *ctx, struct decision_state *out,
			       struct error *err) MUST_CHECK;

/*
 * The result under the key in the workspace of ctx, in the arena; NULL: none that is younger than decisions.cache_ttl
 * and of this policy. Counts a hit or miss; what another policy left is dropped here and counted.
 */
CO_FN bool decision_cache_get(struct worker *w, struct arena *a, const struct context *ctx, struct str key,
			      struct str policy, json_t **result, struct error *err) MUST_CHECK;

struct decision_entry {
	struct str key, policy_version;
	int64_t generation;
	const json_t *result; /* object */
	const json_t *tags;   /* array of strings */
	const json_t *agents; /* {name: version} */
};
/*
 * Keeps a result; the oldest of the workspace beyond decisions.cache_entries go. *stored false: its generation is over,
 * nothing was kept.
 */
CO_FN bool decision_cache_put(struct worker *w, const struct context *ctx, const struct decision_entry *e, bool *stored,
			      struct error *err) MUST_CHECK;

enum decision_cause {
	DECISION_WORKSPACE,
	DECISION_POLICY,
	DECISION_AGENT,
	DECISION_TAG,
	DECISION_OUTCOME, /* a debate whose answer turned out wrong */
	DECISION_ALL
};
/*
 * Removes from the whole organization of ctx what rests on the named: a workspace's id, an agent's name with its
 * version (empty: any), a tag, a debate's id, everything. For a policy `name` is its new version, and entries fall at
 * their next lookup. *n: how many went. When this has returned true, no later lookup anywhere finds them.
 */
CO_FN bool decision_cache_invalidate(struct worker *w, const struct context *ctx, enum decision_cause cause,
				     struct str name, struct str version, int64_t *n, struct error *err) MUST_CHECK;
/*
 * The same within a batch, for what changes there: members of a workspace, the outcome of a debate. Not for a policy.
 * Once that batch is committed, decision_cache_forgotten counts and logs.
 */
CO_FN bool decision_cache_forget(struct worker *w, struct db_batch *b, struct str org_id, enum decision_cause cause,
				 struct str name, struct str version, int64_t *n, struct error *err) MUST_CHECK;
void decision_cache_forgotten(enum decision_cause cause, int64_t n);

/* ---- figures.c ---- */

/* Since the start of the node, as its metrics count them. */
struct decision_counts {
	int64_t hits, misses, invalidations, evictions;
};

struct decision_stats {
	int64_t entries;              /* of the organization */
	int64_t all_entries;          /* of everybody, as the gauge shows it */
	int64_t nodes;                /* that are alive and have counted, this one among them */
	struct decision_counts node;  /* this one */
	struct decision_counts total; /* all nodes; of the others what they wrote within the last second or two */
	struct str policy_version;
	json_t *by_workspace; /* {id: entries}; of the arena */
};
CO_FN bool decision_cache_stats(struct worker *w, struct arena *a, const struct context *ctx,
				struct decision_stats *out, struct error *err) MUST_CHECK;
/* Shows how many entries there are, of everybody, and writes what this node has counted; by the clerk, once a second.
 */
CO_FN void decision_cache_gauge(struct worker *w);
/* Removes what is too old. */
CO_FN bool decision_cache_sweep(struct worker *w, int64_t *removed, struct error *err) MUST_CHECK;

#endif
