/* SPDX-License-Identifier: MIT */
/*
 * The journal: finished steps answer from memory, new ones are committed with their events and usage in one fenced
 * batch. Called by the step files (step.c, step_call.c, step_finish.c). Does not decide what a debate does.
 *
 * Steps that are to be stored at the same time share a batch. It begins by moving the debate's row from the last_seq
 * and epoch it knows to the next: whoever has lost the lease writes nothing. Batches of one debate are serial
 * (d->commit), since each names the seq before it.
 *
 * Only the start of a paid call has to be stored before the debate goes on. All else waits for company: what was paid
 * for until the coroutines that run now have had their turn, what was computed until the next batch.
 */
#include "worker/runner/journal.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/runner/apart.h"
#include "worker/stream/stream.h"
#include "worker/tenancy/spending.h"
#include "worker/worker.h"

#define STEP_STORE_RETRY_US (250 * MS_US) /* first pause after a failed write, doubled up to … */
#define STEP_STORE_RETRY_MAX (5 * SEC_US)
#define STEP_LATER_US (20 * MS_US) /* what nobody waits for is stored after, if no batch takes it along before */
#define STEP_TURNS_MAX 32          /* that share a batch */

int64_t step_now_ms(const struct step *s)
{
	return s->now_ms;
}

void step_emit(struct step *s, const char *type, const char *agent, int round, json_t *data)
{
	if (s->count == s->room) {
		s->room = s->room != 0 ? 2 * s->room : 8;
		s->events = xrealloc(s->events, s->room * sizeof(*s->events));
	}
	s->events[s->count++] =
	    (struct step_event){type, agent != NULL ? arena_strdup(s->d->arena, agent) : "", round, data};
	s->messages += strcmp(type, "agent_message") == 0;
	if (round > s->d->current_round)
		s->d->current_round = round;
}

void step_open(struct step *s, struct debate *d, const char *key)
{
	*s = (struct step){.d = d, .key = key, .now_ms = clock_wall_ms()};
}

void step_close(struct step *s)
{
	size_t i;

	for (i = 0; i < s->count; i++)
		json_decref(s->events[i].data);
	free(s->events);
}

json_t *step_entry(const struct debate *d, const char *key)
{
	return json_object_get(d->journal, key);
}

/* The stored result of a finished step, or NULL. */
const json_t *step_done(const struct debate *d, const char *key)
{
	const json_t *e = step_entry(d, key);

	return e != NULL && str_eqz(json_get_str(e, "state", STR("")), "done") ? json_object_get(e, "result") : NULL;
}

/* May a new step begin? */
bool step_may_start(struct debate *d, const char *key)
{
	if (d->replaying) {
		log_error("debate", "the replay asks for a step that the journal does not hold", KV_S("step", key));
		BUG_ON(d->replaying);
	}
	if (d->stop != STOP_NONE)
		return false;
	if (d->draining)
		run_stop(d, STOP_DRAIN);
	else if (co_scope_ended(&d->scope))
		run_stop(d, d->cancel_seen ? STOP_CANCELLED : STOP_TIMEOUT);
	return d->stop == STOP_NONE;
}

/* ---- committing ---- */

static void step_batch_row(struct db_batch *b, const struct step *s, const struct step_write *w, struct str result)
{
	struct debate *d = s->d;

	db_batch_add(b,
		     "INSERT INTO debate_steps (debate_id, key, state, starts, result, started_at, done_at)"
		     " VALUES ($1, $2, $3, $4, $5, $6, $7)"
		     " ON CONFLICT (debate_id, key) DO UPDATE SET state = excluded.state, starts = excluded.starts,"
		     " result = excluded.result, done_at = excluded.done_at",
		     DB_ARGS(DB_S(d->plan.debate_id), DB_Z(s->key), DB_Z(w->state), DB_I(w->starts),
			     result.p != NULL ? DB_S(result) : DB_NONE, DB_I(s->now_ms),
			     strcmp(w->state, "done") == 0 ? DB_I(clock_wall_ms()) : DB_NONE),
		     1);
}

static void step_batch_usage(struct db_batch *b, struct arena *a, const struct step *s, const struct step_write *w)
{
	const struct agent_reply *u = w->usage;
	struct debate *d = s->d;

	db_batch_add(
	    b,
	    "INSERT INTO usage_ledger (debate_id, step_key, org_id, workspace_id, user_id, agent, provider, model,"
	    " tokens_in, tokens_out, cost_micro, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, "
	    "$12) ON CONFLICT (debate_id, step_key) DO NOTHING", /* a batch of unknown outcome may be tried again */
	    DB_ARGS(DB_S(d->plan.debate_id), DB_S(arena_printf(a, "%s#%lld", s->key, (long long)w->starts)),
		    DB_S(d->ctx.org_id), DB_S(d->ctx.workspace_id), DB_S(d->ctx.principal), DB_S(w->agent->name),
		    DB_S(u->provider), DB_S(u->model.n > 0 ? u->model : w->agent->model), DB_I(u->tokens_in),
		    DB_I(u->tokens_out), DB_I(u->cost_micro), DB_I(clock_wall_ms())),
	    DB_ANY);
}

/*
 * A write on its way: what comes while another one is under way joins the others that wait, for agents that are asked
 * at once begin and often end at once. Lives on the stack of the coroutine whose step it is, or in a step_later.
 */
struct step_turn {
	struct step *s;
	const struct step_write *w;
	struct step_turn *next;
	struct str result;
	struct step_later *later; /* nobody waits for it: remembered already, freed once it is stored */
	bool taken, done, ok;     /* part of a batch under way; its outcome is known: ok */
};

/* A step that the debate does not wait for. Owns its events; lies in its own arena. */
struct step_later {
	struct step_turn turn;
	struct step step;
	struct step_write write;
	struct agent_reply usage;
	struct arena *arena;
};

/* Numbers the events from `seq` and adds them; out: as many. */
static void step_batch_events(struct db_batch *b, struct arena *a, const struct step *s, int64_t seq,
			      struct stream_event *out)
{
	struct debate *d = s->d;
	size_t i;

	for (i = 0; i < s->count; i++) {
		const struct step_event *e = &s->events[i];

		out[i] = (struct stream_event){d->plan.debate_id, d->ctx.workspace_id, seq + (int64_t)i,
					       str_of(e->type), STR_NONE};
		out[i].envelope = stream_envelope(a, d->plan.debate_id, out[i].seq, str_of(e->type), str_of(e->agent),
						  e->round, 0, s->now_ms, STR_NONE, e->data);
		db_batch_add(b,
			     "INSERT INTO debate_events (debate_id, seq, key, workspace_id, type, envelope, created_at)"
			     " VALUES ($1, $2, $3, $4, $5, $6, $7)",
			     DB_ARGS(DB_S(d->plan.debate_id), DB_I(out[i].seq),
				     DB_S(arena_printf(a, "%s/%zu", s->key, i)), DB_S(d->ctx.workspace_id),
				     DB_Z(e->type), DB_S(out[i].envelope), DB_I(s->now_ms)),
			     1);
	}
}

static bool step_write_done(const struct step_write *w)
{
	return w->state != NULL && strcmp(w->state, "done") == 0;
}

/* What the turns from `first` on change together. */
struct step_sum {
	size_t events;
	int64_t messages;
	bool finished; /* a step that is done */
	bool paid;
};

static struct step_sum step_sum_of(const struct step_turn *first)
{
	struct step_sum sum = {0};
	const struct step_turn *t;

	for (t = first; t != NULL; t = t->next) {
		sum.events += t->s->count;
		sum.messages += t->s->messages;
		sum.finished |= step_write_done(t->w);
		sum.paid |= t->w->usage != NULL;
	}
	return sum;
}

/* Moves the debate on. A new finished step also shows that the debate is not poison (crashes = 0). */
static void step_batch_fence(struct db_batch *b, const struct debate *d, const struct step_sum *sum)
{
	db_batch_add(
	    b,
	    "UPDATE debates SET last_seq = $4, running_ms = $5, current_round = $6, message_count = $7, updated_at = "
	    "$8,"
	    " crashes = CASE WHEN $9 = 1 THEN 0 ELSE crashes END WHERE id = $1 AND epoch = $2 AND last_seq = $3",
	    DB_ARGS(DB_S(d->plan.debate_id), DB_I(d->epoch), DB_I(d->last_seq),
		    DB_I(d->last_seq + (int64_t)sum->events), DB_I(run_running_ms(d)), DB_I(d->current_round),
		    DB_I(d->message_count + sum->messages), DB_I(clock_wall_ms()), DB_I(sum->finished)),
	    1);
}

static void step_batch_turn(struct db_batch *b, struct arena *a, const struct step_turn *t)
{
	const struct step_write *w = t->w;
	struct debate *d = t->s->d;

	if (w->state != NULL)
		step_batch_row(b, t->s, w, t->result);
	if (w->usage != NULL)
		step_batch_usage(b, a, t->s, w);
	if (d->holds_budget && w->agent != NULL && (w->usage != NULL || step_write_done(w)))
		spending_release(b, &d->ctx, d->plan.debate_id, str_of(t->s->key));
	if (w->extra != NULL)
		w->extra(b, d, w->extra_arg, t->s->now_ms);
}

/* events: room for those of all turns. */
static struct db_batch *step_batch(struct arena *a, const struct debate *d, const struct step_turn *first,
				   const struct step_sum *sum, struct stream_event *events)
{
	struct db_batch *b = db_batch_new(d->w->db);
	const struct step_turn *t;
	size_t n = 0;

	step_batch_fence(b, d, sum);
	for (t = first; t != NULL; t = t->next) {
		step_batch_events(b, a, t->s, d->last_seq + 1 + (int64_t)n, events + n);
		step_batch_turn(b, a, t);
		n += t->s->count;
	}
	return b;
}

/* After a failed write whose outcome is in doubt: did it commit? */
CO_FN static bool step_settled(struct debate *d, int64_t seq)
{
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct db_rows rows;
	bool ours = false;

	if (db_query(d->w->db, a, "SELECT 1 FROM debates WHERE id = $1 AND epoch = $2 AND last_seq = $3",
		     DB_ARGS(DB_S(d->plan.debate_id), DB_I(d->epoch), DB_I(seq)), &rows, &err))
		ours = rows.count == 1;
	arena_free(a);
	return ours;
}

/* Test build: a copy is what a later run will read. */
static void step_check_copy(const json_t *copy, struct str stored)
{
#ifdef FAULT_POINTS
	struct error err = ERROR_INIT;
	json_t *decoded = json_parse(NULL, stored, &err);

	BUG_ON(!json_equal(copy, decoded));
	json_decref(decoded);
#else
	(void)copy;
	(void)stored;
#endif
}

/* Keeps what is stored, so that first run and re-run see the same; copied, which costs a fifth of decoding it. */
static void step_remember(struct debate *d, const char *key, const struct step_write *w, struct str stored)
{
	json_t *e = json_object();

	json_put_str(e, "state", str_of(w->state));
	json_put_int(e, "starts", w->starts);
	if (w->result != NULL) {
		json_t *copy = json_deep_copy(w->result);

		BUG_ON(copy == NULL);
		step_check_copy(copy, stored);
		json_object_set_new(e, "result", copy);
	}
	json_object_set_new(d->journal, key, e);
}

/* An answer that was paid for is never given up for want of a store; what has cost nothing yet need not hold up a
 * drain. */
static bool step_store_again(const struct debate *d, const struct step_sum *sum, const struct error *err)
{
	return err->code == ERR_STORAGE && d->stop != STOP_FENCED && (sum->paid || !d->draining);
}

/*
 * Commits the writes from `first` on in one batch; a store that fails is tried again until it works or the lease is
 * lost: what was paid for is not thrown away, and meanwhile the lock keeps this debate from starting anything.
 */
CO_FN static bool step_commit_locked(struct debate *d, struct step_turn *first)
{
	struct arena *a = arena_new(16384);
	struct step_sum sum = step_sum_of(first);
	struct stream_event *events = arena_zalloc(a, (sum.events + 1) * sizeof(*events));
	int64_t pause = STEP_STORE_RETRY_US;
	struct error err = ERROR_INIT;
	struct step_turn *t;
	bool doubt = false, ok;

	for (t = first; t != NULL; t = t->next)
		if (t->later == NULL)
			t->result = t->w->result != NULL ? json_text(a, t->w->result) : STR_NONE;
	for (;;) {
		ok = db_commit(d->w->db, step_batch(a, d, first, &sum, events), &err);
		if (!ok && err.code == ERR_FENCED && doubt && sum.events > 0)
			ok = step_settled(d, d->last_seq + (int64_t)sum.events);
		if (ok || !step_store_again(d, &sum, &err))
			break;
		doubt = true;
		log_warn("debate", "a step cannot be stored; trying again", KV_S("step", first->s->key),
			 KV_S("reason", err.msg));
		if (co_sleep(pause) == CO_ENDED)
			break;
		pause = 2 * pause < STEP_STORE_RETRY_MAX ? 2 * pause : STEP_STORE_RETRY_MAX;
	}
	if (ok) {
		d->last_seq += (int64_t)sum.events;
		d->message_count += sum.messages;
		for (t = first; t != NULL; t = t->next)
			if (t->w->state != NULL && t->later == NULL)
				step_remember(d, t->s->key, t->w, t->result);
		FAULT("step.before_publish");
		stream_committed(d->w->stream, events, sum.events);
		metric_add(M_EVENTS_COMMITTED, (int64_t)sum.events, NULL);
		metric_add(M_JOURNAL_BATCHES, 1, NULL);
	} else {
		log_warn("debate", "a step was not stored", KV_S("step", first->s->key), KV_S("reason", err.msg));
		run_stop(d, err.code == ERR_STORAGE ? STOP_STORAGE : STOP_FENCED);
	}
	arena_free(a);
	return ok;
}

/* A debate apart from the server (apart.h): its holder keeps the step, nobody is told. */
static bool step_commit_apart(struct step *s, const struct step_write *w)
{
	struct debate *d = s->d;
	const struct step_keeper *k = d->keeper;
	struct arena *a;

	if (w->state == NULL)
		return true;
	switch (k->keep(k->arg, s->key, w->state, w->starts, w->result, w->usage)) {
	case STEP_NOT_KEPT:
		run_stop(d, STOP_STORAGE);
		return false;
	case STEP_KEPT_LAST:
		d->draining = true;
		break;
	case STEP_KEPT:
		break;
	}
	a = arena_new(0);
	step_remember(d, s->key, w, w->result != NULL ? json_text(a, w->result) : STR_NONE);
	arena_free(a);
	return true;
}

/* Would be lost without harm: the next run computes it again. */
static bool step_turn_free_of_cost(const struct step_turn *t)
{
	return t->later != NULL && t->w->usage == NULL;
}

/*
 * Those that go together, taken from the head of the queue. What adds more than its step goes without others that were
 * paid for or are waited for: should it fail, they do not fail with it.
 */
static struct step_turn *step_turns_take(struct debate *d)
{
	struct step_turn *first = d->turns, *last = first;
	bool alone = first->w->extra != NULL || d->keeper != NULL, cheap = step_turn_free_of_cost(first);
	size_t n;

	first->taken = true;
	for (n = 1; n < STEP_TURNS_MAX && !alone && last->next != NULL; n++) {
		alone = last->next->w->extra != NULL;
		if (alone && !cheap)
			break;
		last = last->next;
		last->taken = true;
		cheap = cheap && step_turn_free_of_cost(last);
	}
	d->turns = last->next;
	last->next = NULL;
	return first;
}

static void step_later_free(struct step_later *later)
{
	step_close(&later->step);
	arena_free(later->arena);
}

/* With the lock held: commits the head of the queue. */
CO_FN static void step_turns_commit(struct debate *d)
{
	struct step_turn *t, *next;
	bool ok;

	/* Those that run in this turn of the loop come along. */
	if (d->turns->w->extra == NULL && d->keeper == NULL)
		(void)co_yield ();
	if (d->turns == NULL)
		return;
	FAULT("step.before_commit");
	t = step_turns_take(d);
	ok = d->stop != STOP_FENCED && d->stop != STOP_STORAGE &&
	     (d->keeper != NULL ? step_commit_apart(t->s, t->w) : step_commit_locked(d, t));
	for (; t != NULL; t = next) {
		next = t->next;
		t->ok = ok;
		t->done = true;
		if (t->later != NULL)
			step_later_free(t->later);
	}
}

static void step_turn_add(struct debate *d, struct step_turn *t)
{
	struct step_turn **p;

	for (p = &d->turns; *p != NULL; p = &(*p)->next)
		;
	*p = t;
}

static void step_turn_drop(struct debate *d, const struct step_turn *t)
{
	struct step_turn **p;

	for (p = &d->turns; *p != t; p = &(*p)->next)
		;
	*p = t->next;
}

/*
 * Waits for its turn under a shield: a step that is to be stored is stored although the debate's time has ended, and
 * however long the store is away; what is older than max_age ends anyway, unless its batch is under way.
 */
CO_FN bool step_commit(struct step *s, const struct step_write *w)
{
	struct debate *d = s->d;
	struct step_turn turn = {.s = s, .w = w};
	struct co_shield shield;

	step_turn_add(d, &turn);
	co_shield(&shield, d->w->conf->debates.max_age);
	while (!turn.done) {
		if (co_lock(&d->commit, 0) == CO_DONE) {
			if (!turn.done)
				step_turns_commit(d);
			co_unlock(&d->commit);
		} else if (!turn.taken) {
			step_turn_drop(d, &turn);
			break;
		} else if (!turn.done) {
			co_unshield(&shield);
			co_shield(&shield, d->w->conf->debates.max_age);
		}
	}
	FAULT("step.after_commit");
	co_unshield(&shield);
	return turn.ok;
}

/* ---- steps that nobody waits for ---- */

/* Stores what waits, for itself or with somebody behind it; under a shield, as step_commit(). */
CO_FN static void journal_flush(struct debate *d)
{
	struct co_shield shield;

	co_shield(&shield, d->w->conf->debates.max_age);
	while (d->turns != NULL && co_lock(&d->commit, 0) == CO_DONE) {
		if (d->turns != NULL)
			step_turns_commit(d);
		co_unlock(&d->commit);
	}
	co_unshield(&shield);
}

CO_FN static void journal_store(void *arg)
{
	struct debate *d = arg;

	co_set_log(&d->log);
	journal_flush(d);
	d->storing = false;
	if (d->settler != NULL)
		co_wake(d->settler);
}

static void journal_store_soon(void *arg)
{
	struct debate *d = arg;

	d->later_set = false;
	if (d->turns == NULL || d->storing)
		return;
	d->storing = co_spawn("journal", journal_store, d) != NULL;
	if (!d->storing) { /* no coroutine to be had */
		d->later_set = true;
		loop_timer_set(&d->later, STEP_LATER_US);
	}
}

void journal_open(struct debate *d)
{
	loop_timer_init(d->w->loop, &d->later, journal_store_soon, d);
}

CO_FN void journal_settle(struct debate *d)
{
	struct co_shield shield;
	struct step_turn *t;

	loop_timer_stop(&d->later);
	journal_flush(d);
	d->settler = co_self();
	while (d->storing) {
		co_shield(&shield, d->w->conf->debates.max_age);
		(void)co_wait(0);
		co_unshield(&shield);
	}
	d->settler = NULL;
	while ((t = d->turns) != NULL) { /* older than max_age */
		d->turns = t->next;
		step_later_free(t->later);
	}
}

CO_FN bool step_commit_later(struct step *s, const struct step_write *w)
{
	struct debate *d = s->d;
	struct step_later *later;
	struct arena *a;

	if (d->keeper != NULL)
		return step_commit(s, w);
	BUG_ON(w->extra != NULL || w->state == NULL || w->result == NULL);
	if (d->stop == STOP_FENCED || d->stop == STOP_STORAGE)
		return false;
	a = arena_new(0);
	later = arena_zalloc(a, sizeof(*later));
	*later = (struct step_later){.step = *s, .write = *w, .arena = a};
	later->turn = (struct step_turn){
	    .s = &later->step, .w = &later->write, .result = json_text(a, w->result), .later = later};
	later->write.result = NULL;
	if (w->usage != NULL) {
		later->usage = *w->usage;
		later->usage.provider = arena_str(a, w->usage->provider);
		later->usage.model = arena_str(a, w->usage->model);
		later->write.usage = &later->usage;
	}
	*s = (struct step){.d = d, .key = s->key, .now_ms = s->now_ms};
	step_remember(d, later->step.key, w, later->turn.result);
	step_turn_add(d, &later->turn);
	if (w->usage != NULL && !d->storing) {
		journal_store_soon(d);
	} else if (!d->later_set) {
		d->later_set = true;
		loop_timer_set(&d->later, STEP_LATER_US);
	}
	return true;
}
