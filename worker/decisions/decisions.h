/* SPDX-License-Identifier: MIT */
/*
 * The decision router: a question comes in, is answered from the cache, joined to one that is being answered, or made a
 * debate; what came of it stays readable for decisions.retention_days. A decision has no life of its own beside its
 * debate: whoever reads it next settles it from the debate's row, so that nothing is lost with a process.
 */
#ifndef WORKER_DECISIONS_DECISIONS_H
#define WORKER_DECISIONS_DECISIONS_H

#include <jansson.h>

#include "common/context.h"
#include "common/db.h"
#include "worker/decisions/cache.h"

struct http_request;
struct job;
struct route_table;
struct worker;

/* A request after all checks. Strings and documents live as long as the arena it was read into. */
struct decision_request {
	struct str content, type, priority, channel; /* type: as asked for: auto, debate, quick */
	const json_t *body;                          /* creation body of the debate that would answer it */
	const json_t *asked;                         /* the request itself, kept for a retry */
	const json_t *tags;
	struct str key; /* of the question in the cache; empty: not cached */
	int64_t timeout_ms;
	bool wait;
};

struct decision {
	struct str id, user_id, content, request, type, priority, debate_id, status, key, policy_version, tags, result,
	    reason;
	int64_t generation, created_at, completed_at;
	bool cached, deduplicated;
};

/*
 * Answers the request as far as that needs no waiting: from the cache (completed at once), by joining the same question
 * of the same person that came within 5 s, or by creating a debate. *problems as plan_resolve gives them.
 */
CO_FN bool decisions_submit(struct worker *w, struct arena *a, const struct context *ctx,
			    const struct decision_request *q, struct decision *out, json_t **problems,
			    struct error *err) MUST_CHECK;
/* ERR_NOT_FOUND. What its debate has come to meanwhile is taken over, and cached if it may be. */
CO_FN bool decisions_read(struct worker *w, struct arena *a, const struct context *ctx, struct str id,
			  struct decision *out, struct error *err) MUST_CHECK;
/* Reads until it is over or `until_us` (monotonic) has come. */
CO_FN bool decisions_wait(struct worker *w, struct arena *a, const struct context *ctx, int64_t until_us,
			  struct decision *d, struct error *err) MUST_CHECK;
/* pending or running? */
bool decisions_open(const struct decision *d);
CO_FN bool decisions_cancel(struct worker *w, const struct context *ctx, const struct decision *d, struct str reason,
			    struct error *err) MUST_CHECK;

/*
 * Below /api/decisions the id of the path, parameter 0, becomes that of the decision's debate; elsewhere it is one.
 * False: answered.
 */
CO_FN bool decisions_debate(struct http_request *req) MUST_CHECK;

extern const struct job decisions_job;
extern const struct route_table decision_routes;
extern const struct route_table plan_routes; /* plans.c */

#endif
