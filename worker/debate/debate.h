/* SPDX-License-Identifier: MIT */
/*
 * Debates: creation, storage, queue, running, reading. The engine (engine.h) is what runs inside.
 *
 * The result document is built from the journal and holds integers, strings, booleans, arrays and objects only:
 *
 *   debate_id, task, status (consensus_reached | completed | failed | timeout | insufficient_participation |
 * cancelled), reason, demo, engine_version, method, total_rounds, rounds_used, participants[], winner ("" = none),
 *   domain (older ones have none), final_answer, synthesis, proposals {agent: text},
 *   consensus {method, reached, threshold_ppm, share_ppm, weighted_share_ppm, margin_ppm, confidence_ppm, strength,
 *              supporting_agents[], dissenting_agents[], groups [{label, agents[], votes, weight_ppm}]},
 *   messages [{role, agent, content, round, at_ms}],
 *   critiques [{round, agent, target_agent, issues[], suggestions[], severity_milli, reasoning}],
 *   votes [{agent, choice, confidence_ppm, weight_ppm, reasoning, continue_debate}],
 *   dissents [{agent, view, reasons[]}], flips [{agent, round}],
 *   agent_failures {agent: [{phase, error_type, message, provider, at_ms}]},
 *   early_stop {source, round, reason} (absent if none), convergence {status, similarity_ppm, agreement_ppm},
 *   and since engine 3: convergence {…, per_agent {agent: ppm}, ready {seats, of, share_ppm},
 *   stability {kept, moved, groups[], ks_ppm, score_ppm}}, novelty {per_agent {agent: [ppm]}, mean_ppm},
 *   votes [{…, stated_ppm (if calibration changed it), factors {<name>_ppm}, ballots, ballots_agreeing}],
 *   consensus {…, audience {counted, weight_ppm, votes {agent: n}, weights {agent: ppm}}, weights {agent: ppm} that a
 * person set, similarity}, protocol {…}, minority [{position, authors[], held_by[], votes, weight_ppm, reasons[]}],
 * per_agent {agent: {provider, model, calls, failures, tokens_in, tokens_out, cost_micro, ms}}, taint {class: count}
 * (taint.h; absent if none), background [{label, source, id, title, dissent, trusted, score_ppm, cited_by[],
 * in_conclusion}] (absent if the debate did not look), tokens_in, tokens_out, cost_micro, abandoned_calls,
 * started_at_ms, ended_at_ms, running_ms
 */
#ifndef WORKER_DEBATE_DEBATE_H
#define WORKER_DEBATE_DEBATE_H

#include <jansson.h>

#include "common/context.h"
#include "common/db.h"
#include "worker/debate/step.h"

#define ENGINE_VERSION 3 /* 2: all modes of mode.h; 3: protocol.h, standing, votes of people */

struct callback;
struct route_table;
struct runner;
struct worker;

/* ---- creating (plan.c, store.c) ---- */

/*
 * Checks a creation body ({task|topic|question, rounds, agents, consensus, protocol, context, metadata, …}) and
 * resolves it to a plan document, with every bad field in *problems (array of {field, code, message}) if it fails.
 */
bool plan_resolve(const struct conf *c, struct arena *a, const json_t *body, json_t **plan, json_t **problems,
		  struct error *err) MUST_CHECK;
/* Decodes a stored plan. Strings live in the arena. */
bool plan_decode(struct arena *a, const json_t *plan, struct debate_plan *out, struct error *err) MUST_CHECK;

/*
 * Conditions on `debates` for which the partial index debates_open is used: SQLite takes it only for statements that
 * repeat its condition word for word.
 */
#define DEBATES_OPEN "status IN ('queued', 'running')"
#define DEBATES_QUEUED \
	DEBATES_OPEN " AND status = 'queued' AND claim_after < 9000000000000000000" /* none that is paused */
#define DEBATES_RUNNING DEBATES_OPEN " AND status = 'running'"

struct debate_row {
	struct str id, org_id, workspace_id, user_id, slug, task, context, title, tags, metadata, status, plan, owner,
	    cancel_reason, pause_by;
	struct str final_answer, result, error, error_code, receipt_id;
	int64_t archived, demo, engine_version, epoch, last_seq, crashes, claim_after, running_ms, current_round,
	    total_rounds, rounds_used, message_count, consensus_reached, confidence_ppm, cost_micro, created_at,
	    started_at, completed_at, updated_at, paused_at, paused_ms;
};

/*
 * Queues a debate. With an idempotency key: a second creation with the same body gives the first one's id and *replayed
 * = true, with another body ERR_UNPROCESSABLE. ERR_UNAVAILABLE above debates.max_queued.
 */
CO_FN bool debate_create(struct worker *w, struct arena *a, const struct context *ctx, const json_t *plan,
			 const json_t *metadata, const struct callback *callback, struct str idempotency_key,
			 struct str body_hash, struct str *id, bool *replayed, struct error *err) MUST_CHECK;
/* The same with more in the batch that stores it; more(batch, id, arg) may run more than once. */
struct debate_birth {
	const json_t *plan, *metadata;
	const struct callback *callback; /* or NULL */
	struct str idempotency_key, body_hash;
	void (*more)(struct db_batch *b, struct str id, void *arg); /* or NULL */
	void *arg;
};
CO_FN bool debate_create_with(struct worker *w, struct arena *a, const struct context *ctx,
			      const struct debate_birth *birth, struct str *id, bool *replayed,
			      struct error *err) MUST_CHECK;
/* ERR_NOT_FOUND also for another workspace's. `ref` is an id or a slug. */
CO_FN bool debate_get(struct db *db, struct arena *a, const struct context *ctx, struct str ref, struct debate_row *row,
		      struct error *err) MUST_CHECK;

struct debate_filter {
	struct str status, query;
	int64_t since_ms, until_ms;
	int limit, offset;
	bool include_archived, only_archived;
};
/* Newest first. */
CO_FN bool debate_list(struct db *db, struct arena *a, const struct context *ctx, const struct debate_filter *f,
		       struct debate_row **rows, size_t *n, int64_t *total, struct error *err) MUST_CHECK;
/* NULL members are left alone. */
struct debate_patch {
	const struct str *title;
	const json_t *tags, *metadata;
	const bool *archived;
};
CO_FN bool debate_update(struct db *db, const struct context *ctx, struct str id, const struct debate_patch *p,
			 struct error *err) MUST_CHECK;
/* Finished debates only (ERR_CONFLICT else); events, steps and receipt go too. */
CO_FN bool debate_delete(struct db *db, const struct context *ctx, struct str id, struct error *err) MUST_CHECK;
/* ERR_CONFLICT when it has already ended. The owner is told; a queued one ends at once. */
CO_FN bool debate_cancel(struct worker *w, const struct context *ctx, struct str id, struct str reason,
			 struct error *err) MUST_CHECK;

/* ---- pausing (pause.c) ---- */

/* claim_after of a debate that stands still: nobody claims it, whatever the clock says. */
#define PAUSE_CLAIM_AFTER INT64_C(9000000000000000000)

/* Has not ended, and stands still. */
static inline bool debate_is_paused(const struct debate_row *row)
{
	return row->paused_at != 0 && row->completed_at == 0;
}

struct pause_outcome {
	bool in_effect;               /* false: calls under way are finished first */
	int64_t paused_at, paused_ms; /* since when; how long it stood still (resume) */
};
/*
 * No further step of it begins until it is resumed: over restarts, without running time, without a place among
 * debates.max_concurrent or in the queue. `why` (may be empty) is for people. ERR_CONFLICT: it has ended, or is paused.
 */
CO_FN bool debate_pause(struct worker *w, const struct context *ctx, struct str id, struct str why,
			struct pause_outcome *out, struct error *err) MUST_CHECK;
/* ERR_CONFLICT: it is not paused. */
CO_FN bool debate_resume(struct worker *w, const struct context *ctx, struct str id, struct str why,
			 struct pause_outcome *out, struct error *err) MUST_CHECK;

/* ---- running (runner.c) ---- */

struct runner *runner_open(struct worker *w, struct error *err) MUST_CHECK;
/* Starts claiming. */
void runner_start(struct runner *r);
/* Debates running here. */
unsigned runner_count(const struct runner *r);
/*
 * No new claims. With `finish_us` > 0 (TERM) running debates may go on that long; then, or at once with 0 (HUP), no new
 * step starts, calls in flight are finished and journalled, and debates are released. done(arg) is called when none is
 * left.
 */
void runner_drain(struct runner *r, int64_t finish_us, void (*done)(void *arg), void *arg);
void runner_close(struct runner *r);

extern const struct route_table debate_routes;

#endif
