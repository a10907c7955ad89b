/* SPDX-License-Identifier: MIT */
/*
 * How knowledge grows old: staleness, decay of confidence, near-duplicates, contradictions (rest-wide 5.4, 5.5). The
 * formulas are pure; jobs of the cluster apply the first two, and prune.
 */
#ifndef WORKER_KNOWLEDGE_UPKEEP_H
#define WORKER_KNOWLEDGE_UPKEEP_H

#include "worker/jobs/jobs.h"
#include "worker/knowledge/knowledge.h"

#define UPKEEP_FLOOR_PPM 100000  /* confidence never decays below */
#define UPKEEP_QUEUED_PPM 800000 /* staleness from which somebody is to look */
#define UPKEEP_UNSURE_PPM 300000 /* confidence up to which what is stale may go */
#define UPKEEP_MERGE_PPM 950000  /* mean likeness from which duplicates are merged by themselves */
#define UPKEEP_REVIEW_PPM 850000 /* and from which somebody is advised to look at them */
#define UPKEEP_COMPARED 300      /* newest nodes that are compared with each other */

enum staleness_reason { STALE_AGE = 1, STALE_CONTRADICTION = 2, STALE_EVIDENCE = 4, STALE_CONSENSUS = 8 };

/* What staleness is made of; tier is one of knowledge_tiers. */
struct staleness {
	struct str tier;
	int64_t age_ms;                   /* since it was written, updated or validated last */
	int64_t contradictions, evidence; /* newer contradicting nodes; links of the last seven days */
	bool superseded;
};
/* 0.4 age + 0.3 contradiction + 0.2 new evidence + 0.1 consensus, in ppm; *reasons: those that weigh. Pure. */
int64_t upkeep_staleness(const struct staleness *s, unsigned *reasons);
/* Confidence after a time without validation; half-life by the first topic. Pure. */
int64_t upkeep_decayed(int64_t confidence_ppm, struct str topic, int64_t interval_ms);
/* What an event does to confidence: accessed cited validated invalidated contradicted. False: no such event. Pure. */
bool upkeep_boost(struct str event, int64_t *confidence_ppm) MUST_CHECK;

extern const struct job knowledge_staleness_job, knowledge_decay_job, knowledge_prune_job;

/* Decays the workspace's confidence now; only the time since the last pass counts. *n: nodes that changed. */
CO_FN bool upkeep_decay_here(struct worker *w, const struct context *ctx, int64_t *n, struct error *err) MUST_CHECK;

/*
 * Archives what of the workspace may go by itself: untouched for so many days, and stale and unsure, or as unsure as
 * age makes it; never documents of a culture nor the glacial tier (prune.c). At most 1000 at once. *n: how many, or
 * with dry_run how many would be.
 */
CO_FN bool prune_here(struct worker *w, const struct context *ctx, int64_t days, bool dry_run, int64_t *n,
		      struct error *err) MUST_CHECK;

/* Nodes that say nearly the same; v[0] is the oldest. */
struct upkeep_cluster {
	const struct knowledge_node **v;
	int64_t *similarity_ppm; /* to v[0] */
	size_t n;
	int64_t mean_ppm;
};
/* Among the newest UPKEEP_COMPARED nodes; yields between rows. */
CO_FN bool upkeep_clusters(struct worker *w, struct arena *a, const struct context *ctx, int64_t threshold_ppm,
			   struct upkeep_cluster **out, size_t *n, size_t *looked_at, struct error *err) MUST_CHECK;
/* Adds what keeps one node of a cluster and archives the others; *links: relations that were moved. */
CO_FN bool upkeep_merge(struct worker *w, struct arena *a, const struct context *ctx, const struct upkeep_cluster *c,
			struct str keep, struct db_batch *b, int64_t *links, struct error *err) MUST_CHECK;

#endif
