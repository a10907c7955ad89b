/* SPDX-License-Identifier: MIT */
/*
 * The life of debates in one worker: claiming from the queue (queue.c), running each on a
 * coroutine, ending, releasing, draining. Called by the worker and by hints from the bus. Does not know what happens
 * inside a debate (engine.c) nor how it is journalled (step.c).
 */
#include "worker/runner/runner.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/json.h"
#include "common/metrics.h"
#include "common/redis.h"
#include "worker/debate/debate.h"
#include "worker/delivery/delivery.h"
#include "worker/engine/engine.h"
#include "worker/jobs/jobs.h"
#include "worker/runner/journal.h"
#include "worker/runner/queue.h"
#include "worker/runner/run.h"
#include "worker/stream/stream.h"
#include "worker/traces/traces.h"
#include "worker/worker.h"

#define RUNNER_TICK_US (50 * MS_US) /* how soon a death on this node is seen */
#define RUNNER_TICKS 20             /* of them between two looks at everything */
#define RUNNER_STEP_PAGE 500
#define RUNNER_FRESH_US (300 * MS_US)  /* a heartbeat older than this does not count, DESIGN 2 */
#define RUNNER_PATIENCE_US (5 * MS_US) /* per running debate of the node, before it claims another */
#define RUNNER_PATIENCE_MAX_US (50 * MS_US)
#define RUNNER_CANCEL_CALL_US (4 * SEC_US) /* after graceful_timeout: for calls in flight, before the master kills */

struct runner {
	struct worker *w;
	struct debate *running;
	unsigned count;
	struct clerk *clerk;
	struct bus_sub *queue_sub, *cancel_sub;
	struct loop_timer tick, grace, patience;
	bool waiting; /* a claim waits for its turn among the nodes */
	bool started, claiming, claim_again, draining, checking, resigning;
	bool doubt;      /* the store may name us as owner of a debate that does not run here */
	bool more;       /* the last claim left others in the queue */
	unsigned taking; /* claims under way */
	uint64_t takes;  /* claims ever begun */
	uint64_t deaths;
	unsigned ticks;
	void (*done)(void *arg);
	void *done_arg;
};

static void runner_in_doubt(struct runner *r)
{
	r->doubt = true;
}

/* ---- one run ---- */

int64_t run_running_ms(const struct debate *d)
{
	return d->running_base_ms + (d->run_started_us != 0 ? (clock_mono_us() - d->run_started_us) / MS_US : 0);
}

void run_stop(struct debate *d, enum debate_stop why)
{
	static const char *const words[] = {"", "cancelled", "timeout", "drain", "fenced", "storage"};

	if (d->stop != STOP_NONE && why != STOP_FENCED && why != STOP_STORAGE)
		return;
	d->stop = why;
	if (why != STOP_DRAIN) /* a drain lets calls in flight finish */
		co_scope_cancel(&d->scope, words[why]);
}

void run_drain(struct debate *d)
{
	struct run_sleeper *s;

	d->draining = true;
	for (s = d->sleepers; s != NULL; s = s->next)
		co_wake(s->co);
}

/*
 * Gives back what this process owns. A run that ended because its writes are refused counts as a death, so that what
 * fails everywhere ends at the limit of deaths; if the lease is lost, no row fits and nothing is changed.
 */
CO_FN static bool run_give_back(struct worker *w, struct str id, int64_t epoch, int64_t running_ms, bool refused,
				struct error *err)
{
	struct db_batch *b = db_batch_new(w->db);
	int64_t now = clock_wall_ms();

	db_batch_add(
	    b,
	    "UPDATE debates SET owner = '', running_ms = CASE WHEN running_ms > $4 THEN running_ms ELSE $4 END, "
	    "updated_at = $5, crashes = crashes + $6,"
	    " claim_after = CASE WHEN $6 = 1 THEN $5 + 500 * (CAST(1 AS BIGINT) << CAST(CASE WHEN crashes > 20 THEN 20 "
	    "ELSE crashes END AS INTEGER))"
	    " ELSE claim_after END"
	    " WHERE id = $1 AND epoch = $2 AND owner = $3 AND status = 'running'",
	    DB_ARGS(DB_S(id), DB_I(epoch), DB_Z(w->incarnation), DB_I(running_ms), DB_I(now), DB_I(refused)), 1);
	return db_commit(w->db, b, err);
}

CO_FN bool run_release(struct debate *d)
{
	bool refused = d->stop == STOP_FENCED, ok;
	struct error err = ERROR_INIT;

	FAULT("run.before_release");
	ok = run_give_back(d->w, d->plan.debate_id, d->epoch, run_running_ms(d), refused, &err);
	if (ok)
		log_info("debate", "debate released", KV_B("refused", refused));
	else if (err.code == ERR_FENCED)
		log_info("debate", "debate left to its new owner");
	else
		log_warn("debate", "a debate could not be released yet", KV_S("reason", err.msg));
	if (!ok && err.code != ERR_FENCED)
		runner_in_doubt(d->w->runner);
	return ok;
}

/* All steps of earlier runs, in pages, so that no read grows with the debate. */
CO_FN static bool run_load_journal(struct debate *d, struct error *err)
{
	struct str after = STR("");
	struct db_rows rows;
	size_t i;

	d->journal = json_object();
	do {
		if (!db_query(d->w->db, d->arena,
			      "SELECT key, state, starts, result FROM debate_steps WHERE debate_id = $1 AND key > $2"
			      " ORDER BY key LIMIT 500",
			      DB_ARGS(DB_S(d->plan.debate_id), DB_S(after)), &rows, err))
			return false;
		for (i = 0; i < rows.count; i++) {
			json_t *e = json_object();

			json_put_str(e, "state", db_str(&rows, i, 1));
			json_put_int(e, "starts", db_int(&rows, i, 2));
			if (!db_null(&rows, i, 3)) {
				json_t *r = json_parse(NULL, db_str(&rows, i, 3), err);

				if (r == NULL) {
					json_decref(e);
					return error_set(err, ERR_INTERNAL, "step %.*s of the journal cannot be read",
							 STR_ARG(db_str(&rows, i, 0)));
				}
				json_object_set_new(e, "result", r);
			}
			after = db_str(&rows, i, 0);
			json_object_set_new(d->journal, arena_str(d->arena, after).p, e);
		}
	} while (rows.count == RUNNER_STEP_PAGE);
	FAULT("run.journal_loaded");
	return true;
}

static void run_free(struct debate *d)
{
	json_decref(d->journal);
	arena_free(d->arena);
	free(d);
}

/* Copies what the claim read; false when the plan cannot be used by this binary. */
static bool run_init(struct debate *d, const struct debate_row *row, struct error *err)
{
	struct arena *a = d->arena;
	json_t *plan = json_parse(a, row->plan, err);
	struct trace_context trace;

	d->plan.debate_id = arena_str(a, row->id);
	d->ctx = (struct context){arena_str(a, row->user_id), arena_str(a, row->org_id),
				  arena_str(a, row->workspace_id), STR_NONE, NULL};
	trace_of(&trace, d->plan.debate_id);
	trace_parent(&trace, d->trace);
	d->log = (struct log_ctx){.debate_id = d->plan.debate_id, .trace = str_of(d->trace)};
	d->last_seq = row->last_seq;
	d->message_count = row->message_count;
	d->current_round = row->current_round;
	d->created_ms = row->created_at + row->paused_ms; /* standing still does not age it */
	d->crashes = row->crashes;
	d->running_base_ms = row->running_ms;
	d->cancel_reason = arena_str(a, row->cancel_reason);
	d->pausing = row->pause_by.n > 0;
	d->grouped = json_get_str(plan, "group_id", STR("")).n > 0;
	return plan != NULL && plan_decode(a, plan, &d->plan, err);
}

#ifdef FAULT_POINTS
/*
 * Test build: the finished debate is run again from its journal alone; it must ask for nothing and give the same
 * bytes.
 */
CO_FN static void run_check_replay(const struct debate *d)
{
	struct debate *again = xcalloc(1, sizeof(*again));
	struct error err = ERROR_INIT;
	struct db_rows rows;

	*again = (struct debate){.w = d->w,
				 .arena = arena_new(0),
				 .plan = d->plan,
				 .ctx = d->ctx,
				 .log = d->log,
				 .cell = -1,
				 .replaying = true};
	if (db_query(d->w->db, again->arena, "SELECT result FROM debates WHERE id = $1",
		     DB_ARGS(DB_S(d->plan.debate_id)), &rows, &err) &&
	    rows.count == 1 && run_load_journal(again, &err)) {
		BUG_ON(!engine_run(again));
		if (!str_eq(json_canonical(again->arena, again->replayed_result), db_str(&rows, 0, 0))) {
			log_error("debate", "the replay differs from the stored result",
				  KV_STR("replayed", json_canonical(again->arena, again->replayed_result)),
				  KV_STR("stored", db_str(&rows, 0, 0)));
			log_flush();
			BUG_ON("the replay of a journal gives another result" != NULL);
		}
	}
	json_decref(again->replayed_result);
	run_free(again);
}
#endif

/* Ends a debate that will not be decided; its time budget no longer counts. */
CO_FN static bool run_finish_unfinished(struct debate *d, const char *status, const char *reason)
{
	return debate_finish(d, engine_result_unfinished(d, status, reason));
}

/*
 * What ended its workers so often may do so again wherever its journal is looked at: the plan alone is told of it.
 * True: it was given up (or the store failed, and it is tried again).
 */
CO_FN static bool run_given_up(struct debate *d)
{
	if (d->crashes < RUN_CRASHES_MAX)
		return false;
	d->journal = json_object();
	(void)run_finish_unfinished(d, "failed",
				    "the debate was given up: it ended its worker process five times in a row");
	return true;
}

/* Reasons to end a debate before it runs at all. True: it was one of them. */
CO_FN static bool run_dead_on_arrival(struct debate *d)
{
	const struct conf *c = d->w->conf;

	/* Stopped first: what is told of them comes from the journal, and no step may begin. */
	if (d->cancel_reason.n > 0) {
		run_stop(d, STOP_CANCELLED);
		(void)run_finish_unfinished(d, "cancelled", d->cancel_reason.p);
	} else if (clock_wall_ms() - d->created_ms > c->debates.max_age / MS_US) {
		run_stop(d, STOP_TIMEOUT);
		(void)run_finish_unfinished(d, "timeout",
					    "the debate expired before it could be finished (debates.max_age)");
	} else {
		return false;
	}
	return true;
}

/* True: the engine came to its end. */
CO_FN static bool run_debate_in_scope(struct debate *d)
{
	int64_t left_ms = d->plan.timeout_ms - d->running_base_ms;
	bool finished;

	d->scope = (struct co_scope){.kind = SCOPE_DEBATE, .deadline = clock_mono_us() + left_ms * MS_US};
	co_scope_enter(&d->scope);
	finished = engine_run(d);
	co_scope_leave(&d->scope);
	if (finished)
		return true;
	if (d->stop == STOP_CANCELLED)
		(void)run_finish_unfinished(d, "cancelled",
					    d->cancel_reason.n > 0 ? d->cancel_reason.p : "user_requested");
	else if (d->stop == STOP_TIMEOUT)
		(void)run_finish_unfinished(d, "timeout", "the debate reached its time limit (debates.timeout)");
	return false;
}

/* ---- the runner ---- */

static void runner_claim(struct runner *r);

/* The last debate of a draining worker has left: its lease ends, then the worker may go. */
CO_FN static void runner_resign(void *arg)
{
	struct runner *r = arg;
	void (*done)(void *) = r->done;

	clerk_resign(r->clerk);
	r->done = NULL;
	done(r->done_arg);
}

static void runner_left(struct runner *r)
{
	/* Deliveries and jobs under way need the lease too, a trace its loop; the tick looks again. */
	if (r->count > 0 || r->claiming || r->done == NULL || r->resigning || deliveries_active(r->w->deliveries) > 0 ||
	    jobs_active(r->w->jobs) > 0 || traces_active(r->w->traces))
		return;
	loop_timer_stop(&r->grace);
	r->resigning = co_spawn("resign", runner_resign, r) != NULL;
}

static void runner_gauge(struct runner *r)
{
	atomic_store(&r->w->shm->slots[r->w->slot].debates, r->count);
	metric_set(M_ACTIVE_DEBATES, r->count, NULL);
}

static void runner_remove(struct runner *r, struct debate *d)
{
	struct debate **p;

	for (p = &r->running; *p != d; p = &(*p)->next)
		;
	*p = d->next;
	r->count--;
	runner_gauge(r);
	if (d->cell >= 0)
		shm_debate_release(r->w->shm, d->cell);
	if (d->finished) /* this node has room again */
		bus_publish_here(r->w->bus, STR(RUNNER_QUEUE_TOPIC), STR(""));
	else /* given back: any node may have it */
		bus_publish(r->w->bus, STR(RUNNER_QUEUE_TOPIC), STR(""));
}

CO_FN static void runner_run(void *arg)
{
	struct debate *d = arg;
	struct runner *r = d->w->runner;
	struct error err = ERROR_INIT;
	bool decided = false;

	co_set_log(&d->log);
	d->run_started_us = clock_mono_us();
	journal_open(d);
	if (run_given_up(d)) {
		log_error("debate", "debate given up", KV_I("crashes", d->crashes));
	} else if (!run_load_journal(d, &err)) {
		log_error("debate", "the journal cannot be read", KV_S("reason", err.msg));
		/* What no worker can read ends at the limit of deaths; a store that is away is waited for. */
		if (err.code != ERR_STORAGE && err.code != ERR_CANCELLED)
			run_stop(d, STOP_FENCED);
	} else if (!run_dead_on_arrival(d) && !d->pausing) {
		log_info("debate", json_object_size(d->journal) > 0 ? "debate resumed" : "debate started",
			 KV_I("epoch", d->epoch), KV_I("journalled_steps", json_object_size(d->journal)));
		if (r->draining)
			run_drain(d);
		decided = run_debate_in_scope(d);
	}
	journal_settle(d);
#ifdef FAULT_POINTS
	if (decided)
		run_check_replay(d);
#else
	(void)decided;
#endif
	if (!d->finished && !(d->pausing && run_pause(d)))
		(void)run_release(d);
	runner_remove(r, d);
	co_set_log(NULL);
	run_free(d);
	runner_left(r);
}

/* Fewest running debates on the node; equals may both try, the claim lets one win. */
static bool runner_least_loaded(const struct runner *r)
{
	struct shm *shm = r->w->shm;
	int64_t now = clock_mono_us();
	uint32_t used = atomic_load(&shm->slots_used), i;

	for (i = 0; i < used && i < SHM_SLOTS_MAX; i++) {
		struct shm_slot *s = &shm->slots[i];

		if (i != r->w->slot && atomic_load(&s->state) == SLOT_SERVING &&
		    now - atomic_load(&s->heartbeat_us) < RUNNER_FRESH_US && atomic_load(&s->debates) < r->count)
			return false;
	}
	return true;
}

/* Fences the former owner by a new epoch. *first is set when it has never run. */
CO_FN static bool runner_take(struct runner *r, const struct debate_row *row, bool *first, struct error *err)
{
	struct db_batch *b = db_batch_new(r->w->db);
	int64_t now = clock_wall_ms();

	*first = str_eqz(row->status, "queued");
	db_batch_add(b,
		     "UPDATE debates SET owner = $3, epoch = epoch + 1, status = 'running', started_at = "
		     "COALESCE(started_at, $4),"
		     " updated_at = $4 WHERE id = $1 AND epoch = $2 AND last_seq = $5 AND owner = ''"
		     " AND status IN ('queued', 'running')",
		     DB_ARGS(DB_S(row->id), DB_I(row->epoch), DB_Z(r->w->incarnation), DB_I(now), DB_I(row->last_seq)),
		     1);
	FAULT("claim.before_commit");
	if (!db_commit(r->w->db, b, err))
		return false;
	FAULT("claim.after_commit");
	return true;
}

/* A plan that no worker can read: the row and one last event are all that can be said. */
CO_FN static bool runner_bury(struct runner *r, const struct debate_row *row, struct error *err)
{
	static const char why[] = "the debate was given up: its plan cannot be read";
	struct db_batch *b = db_batch_new(r->w->db);
	struct arena *a = arena_new(0);
	json_t *data =
	    json_pack("{s:s, s:s, s:s, s:b}", "status", "failed", "reason", why, "error", why, "consensus_reached", 0);
	int64_t now = clock_wall_ms();
	struct stream_event e = {row->id, row->workspace_id, row->last_seq + 1, STR("debate_end"), STR_NONE};
	bool ok;

	json_put_str(data, "debate_id", row->id);
	e.envelope = stream_envelope(a, row->id, e.seq, e.type, STR(""), 0, 0, now, STR_NONE, data);
	json_decref(data);
	db_batch_add(
	    b,
	    "UPDATE debates SET status = 'failed', owner = '', error = $4, error_code = 'failed', last_seq = $5,"
	    " completed_at = $6, updated_at = $6 WHERE id = $1 AND epoch = $2 AND owner = $3",
	    DB_ARGS(DB_S(row->id), DB_I(row->epoch + 1), DB_Z(r->w->incarnation), DB_Z(why), DB_I(e.seq), DB_I(now)),
	    1);
	db_batch_add(b,
		     "INSERT INTO debate_events (debate_id, seq, key, workspace_id, type, envelope, created_at)"
		     " VALUES ($1, $2, 'finish/0', $3, 'debate_end', $4, $5)",
		     DB_ARGS(DB_S(row->id), DB_I(e.seq), DB_S(row->workspace_id), DB_S(e.envelope), DB_I(now)), 1);
	ok = db_commit(r->w->db, b, err);
	if (ok) {
		stream_committed(r->w->stream, &e, 1);
		metric_add(M_DEBATES_FAILED, 1, NULL);
	}
	arena_free(a);
	return ok;
}

/* What was claimed and cannot be run here counts as a death, so that it comes to its end. */
CO_FN static void runner_refuse(struct runner *r, const struct debate_row *row, const struct error *why)
{
	struct error err = ERROR_INIT;
	bool ok;

	log_error("debate", "a debate cannot be run", KV_STR("debate", row->id), KV_S("reason", why->msg));
	if (row->crashes >= RUN_CRASHES_MAX)
		ok = runner_bury(r, row, &err);
	else
		ok = run_give_back(r->w, row->id, row->epoch + 1, 0, true, &err);
	if (!ok && err.code != ERR_FENCED)
		r->doubt = true;
}

/* The debate is ours: a coroutine runs it, outside any scope of the claimer. */
CO_FN static bool runner_launch(struct runner *r, const struct debate_row *row, bool first, int cell)
{
	struct debate *d = xcalloc(1, sizeof(*d));
	struct error err = ERROR_INIT;

	d->w = r->w;
	d->arena = arena_new(65536);
	d->epoch = row->epoch + 1;
	d->cell = cell;
	if (!run_init(d, row, &err)) {
		runner_refuse(r, row, &err);
		run_free(d);
		return false;
	}
	if (co_spawn("debate", runner_run, d) == NULL) {
		r->doubt = true; /* given back at the next look */
		run_free(d);
		return false;
	}
	d->next = r->running;
	r->running = d;
	r->count++;
	runner_gauge(r);
	metric_add(first ? M_DEBATES_TOTAL : M_TAKEOVERS, 1, NULL);
	return true;
}

/* Claims one debate into the cell. False: there was none (or the store failed). */
CO_FN static bool runner_claim_one(struct runner *r, struct str only, int cell)
{
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct db_rows rows;
	bool first = false, taken = false;
	size_t i;

	r->takes++;
	r->taking++;
	if (!queue_next(r->w, a, only, &rows, &err)) {
		log_warn("debate", "the queue cannot be read", KV_S("reason", err.msg));
		rows.count = 0;
	}
	for (i = 0; i < rows.count && !taken; i++) {
		struct debate_row row = queue_row(&rows, i);

		if (runner_take(r, &row, &first, &err))
			taken = runner_launch(r, &row, first, cell);
		else if (err.code == ERR_FENCED)
			continue; /* somebody else was first */
		r->doubt = r->doubt || (!taken && err.code != ERR_OK);
		if (!taken)
			break;
	}
	r->taking--;
	r->more = taken && i < rows.count;
	arena_free(a);
	return taken;
}

CO_FN static void runner_claim_loop(void *arg)
{
	struct runner *r = arg;
	int cell;

	do {
		r->claim_again = false;
		while (!r->draining && r->started && runner_least_loaded(r)) {
			cell = shm_debate_acquire(r->w->shm, (unsigned)r->w->conf->debates.max_concurrent, r->w->slot);
			if (cell < 0)
				break;
			if (!runner_claim_one(r, STR_NONE, cell)) {
				shm_debate_release(r->w->shm, cell);
				break;
			}
		}
	} while (r->claim_again);
	/* Who has fewer debates now may have looked at the queue before there was anything for it. */
	if (r->more && !runner_least_loaded(r))
		bus_publish_here(r->w->bus, STR(RUNNER_QUEUE_TOPIC), STR(""));
	r->more = false;
	r->claiming = false;
	runner_left(r);
}

static void runner_claim(struct runner *r)
{
	if (r->claiming) {
		r->claim_again = true;
		return;
	}
	if (!r->started || r->draining || !clerk_registered(r->clerk))
		return;
	r->claiming = true;
	if (co_spawn("claim", runner_claim_loop, r) == NULL)
		r->claiming = false;
}

void runner_registered(struct runner *r)
{
	runner_claim(r);
}

/*
 * With other nodes the one that has less to do comes first: who runs many debates waits a moment before it claims.
 * Alone a node does not wait; without Redis it would be the first to know anyway.
 */
static int64_t runner_patience(const struct runner *r)
{
	struct shm *shm = r->w->shm;
	uint32_t used = atomic_load(&shm->slots_used), i;
	int64_t running = 0;

	if (r->w->redis == NULL || !redis_healthy(r->w->redis, NULL))
		return 0;
	for (i = 0; i < used && i < SHM_SLOTS_MAX; i++)
		running += atomic_load(&shm->slots[i].debates);
	return running * RUNNER_PATIENCE_US < RUNNER_PATIENCE_MAX_US ? running * RUNNER_PATIENCE_US
								     : RUNNER_PATIENCE_MAX_US;
}

static void runner_turn(void *arg)
{
	struct runner *r = arg;

	r->waiting = false;
	runner_claim(r);
}

static void runner_on_queue(void *arg, struct str topic, struct str message)
{
	struct runner *r = arg;
	int64_t patience;

	(void)message;
	if (bus_from_afar(r->w->bus)) {
		/* Every worker has heard it; one of them tells the node. */
		if (worker_is_clerk(r->w))
			bus_publish_here(r->w->bus, topic, STR(""));
		return;
	}
	patience = runner_patience(r);
	if (patience == 0) {
		runner_claim(r);
	} else if (!r->waiting) {
		r->waiting = true;
		loop_timer_set(&r->patience, patience);
	}
}

/* ---- cancelling ---- */

static bool runner_cancel_here(struct runner *r, struct str id, struct str reason)
{
	struct debate *d;

	for (d = r->running; d != NULL; d = d->next) {
		if (!str_eq(d->plan.debate_id, id))
			continue;
		if (!d->cancel_seen) {
			d->cancel_seen = true;
			d->cancel_reason = reason.n > 0 ? arena_str(d->arena, reason) : d->cancel_reason;
			run_stop(d, STOP_CANCELLED);
		}
		return true;
	}
	return false;
}

/* Draining ends it between two steps; what is paid for is finished and journalled. */
static void runner_pause_here(struct runner *r, struct str id)
{
	struct debate *d;

	for (d = r->running; d != NULL && !str_eq(d->plan.debate_id, id); d = d->next)
		;
	if (d == NULL || d->pausing)
		return;
	d->pausing = true;
	run_drain(d);
}

static bool runner_runs(const struct runner *r, struct str id)
{
	const struct debate *d;

	for (d = r->running; d != NULL && !str_eq(d->plan.debate_id, id); d = d->next)
		;
	return d != NULL;
}

/*
 * The store says that this process owns a debate, but it does not run: a claim of unknown outcome, or a release that
 * could not be stored. As long as we live nobody else would take it.
 */
CO_FN static void runner_disown(struct runner *r, struct str id, int64_t epoch)
{
	struct error err = ERROR_INIT;

	if (run_give_back(r->w, id, epoch, 0, false, &err))
		log_info("debate", "a debate that did not run was given back", KV_STR("debate", id));
	else if (err.code != ERR_FENCED)
		r->doubt = true;
}

/* The row is the truth: reads which debates of this process are to be cancelled, and which it does not know of. */
CO_FN static void runner_check_owned(void *arg)
{
	struct runner *r = arg;
	struct arena *a = arena_new(0);
	/* A claim under way may own a row before its debate is in the list. */
	bool doubt = r->doubt && r->taking == 0;
	uint64_t takes = r->takes;
	struct error err = ERROR_INIT;
	struct db_rows rows;
	size_t i;

	if (db_query(r->w->db, a,
		     "SELECT id, cancel_reason, epoch, pause_by FROM debates WHERE " DEBATES_RUNNING " AND owner = $1",
		     DB_ARGS(DB_Z(r->w->incarnation)), &rows, &err)) {
		doubt = doubt && r->taking == 0 && r->takes == takes;
		r->doubt = r->doubt && !doubt;
		for (i = 0; i < rows.count; i++)
			if (db_str(&rows, i, 1).n > 0 &&
			    runner_cancel_here(r, db_str(&rows, i, 0), db_str(&rows, i, 1)))
				continue;
			else if (db_str(&rows, i, 3).n > 0 && runner_runs(r, db_str(&rows, i, 0)))
				runner_pause_here(r, db_str(&rows, i, 0));
			else if (doubt && !runner_runs(r, db_str(&rows, i, 0)))
				runner_disown(r, db_str(&rows, i, 0), db_int(&rows, i, 2));
	}
	arena_free(a);
	r->checking = false;
}

static void runner_look_at_owned(struct runner *r)
{
	if (r->checking || (r->count == 0 && !r->doubt))
		return;
	r->checking = true;
	if (co_spawn("owned", runner_check_owned, r) == NULL)
		r->checking = false;
}

static void runner_on_cancel(void *arg, struct str topic, struct str message)
{
	(void)topic;
	(void)message;
	runner_look_at_owned(arg);
}

struct runner_end {
	struct runner *r;
	char id[64];
};

/* A debate that nobody runs is ended here and now, whatever the limit of running ones. */
CO_FN static void runner_end_unowned(void *arg)
{
	struct runner_end *job = arg;

	(void)runner_claim_one(job->r, str_of(job->id), -1); /* false: somebody runs it, and has been told */
	free(job);
}

void runner_cancelled(struct runner *r, struct str id)
{
	struct runner_end *job;

	runner_look_at_owned(r);
	if (r->draining)
		return; /* the hint on the bus reaches a worker that serves */
	job = xcalloc(1, sizeof(*job));
	job->r = r;
	(void)snprintf(job->id, sizeof(job->id), "%.*s", STR_ARG(id));
	if (co_spawn("cancel", runner_end_unowned, job) == NULL)
		free(job);
}

/* ---- life ---- */

static void runner_tick(void *arg)
{
	struct runner *r = arg;
	uint64_t deaths = atomic_load(&r->w->shm->deaths);
	bool death = r->deaths != deaths;

	r->deaths = deaths;
	if (r->ticks++ % RUNNER_TICKS == 0) {
		runner_look_at_owned(r);
		clerk_tick(r->clerk, death);
	} else if (death) {
		clerk_tick(r->clerk, true);
	}
	if (death)
		runner_claim(r);
	runner_left(r); /* nobody says when the last job or delivery has ended */
	loop_timer_set(&r->tick, RUNNER_TICK_US);
}

struct runner *runner_open(struct worker *w, struct error *err)
{
	struct runner *r = xcalloc(1, sizeof(*r));

	r->w = w;
	r->deaths = atomic_load(&w->shm->deaths);
	r->clerk = clerk_open(w, err);
	if (r->clerk == NULL) {
		free(r);
		return NULL;
	}
	loop_timer_init(w->loop, &r->tick, runner_tick, r);
	loop_timer_init(w->loop, &r->patience, runner_turn, r);
	return r;
}

void runner_start(struct runner *r)
{
	r->started = true;
	r->queue_sub = bus_subscribe(r->w->bus, STR(RUNNER_QUEUE_TOPIC), runner_on_queue, r);
	r->cancel_sub = bus_subscribe(r->w->bus, STR(RUNNER_CANCEL_TOPIC), runner_on_cancel, r);
	loop_timer_set(&r->tick, 0);
	runner_claim(r);
}

unsigned runner_count(const struct runner *r)
{
	return r->count;
}

/* Time is up: calls that are still in flight are given up, their debates go back. */
static void runner_give_up(void *arg)
{
	struct runner *r = arg;
	struct debate *d;

	for (d = r->running; d != NULL; d = d->next) {
		run_stop(d, STOP_DRAIN);
		co_scope_cancel(&d->scope, "shutdown");
	}
}

static void runner_drain_all(void *arg)
{
	struct runner *r = arg;
	struct debate *d;

	for (d = r->running; d != NULL; d = d->next)
		run_drain(d);
}

static void runner_grace_over(void *arg)
{
	struct runner *r = arg;

	runner_drain_all(r);
	loop_timer_init(r->w->loop, &r->grace, runner_give_up, r);
	loop_timer_set(&r->grace, RUNNER_CANCEL_CALL_US);
}

void runner_drain(struct runner *r, int64_t finish_us, void (*done)(void *arg), void *arg)
{
	r->draining = true;
	r->done = done;
	r->done_arg = arg;
	loop_timer_stop(&r->grace);
	if (finish_us > 0) {
		loop_timer_init(r->w->loop, &r->grace, runner_grace_over, r);
		loop_timer_set(&r->grace, finish_us);
	} else {
		runner_drain_all(r);
		loop_timer_init(r->w->loop, &r->grace, runner_give_up, r);
		loop_timer_set(&r->grace, r->w->conf->debates.agent_timeout);
	}
	runner_left(r);
}

void runner_close(struct runner *r)
{
	loop_timer_stop(&r->tick);
	loop_timer_stop(&r->patience);
	loop_timer_stop(&r->grace);
	if (r->queue_sub != NULL)
		bus_unsubscribe(r->w->bus, r->queue_sub);
	if (r->cancel_sub != NULL)
		bus_unsubscribe(r->w->bus, r->cancel_sub);
	clerk_close(r->clerk);
	free(r);
}
