/* SPDX-License-Identifier: MIT */
/*
 * The journal behind step.h: finished steps answer from memory, new ones run and are committed with their events and
 * usage in one fenced batch. Called by the engine only. Does not decide what a debate does, nor when it runs.
 *
 * A batch begins by moving the debate's row from the last_seq and epoch it knows to the next: whoever has lost the
 * lease writes nothing. Batches of one debate are serial (d->commit), since each names the seq before it.
 */
#include "worker/debate/step.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/debate/run.h"
#include "worker/ranking/ranking.h"
#include "worker/receipts/receipt.h"
#include "worker/stream/stream.h"
#include "worker/worker.h"

#define STEP_STORE_RETRY_US (250 * MS_US) /* first pause after a failed write, doubled up to … */
#define STEP_STORE_RETRY_MAX (5 * SEC_US)
#define STEP_RETRY_AFTER_MAX (300 * SEC_US) /* debate.md 6.3 */
#define STEP_TOKEN_MAX (8 * 1024)           /* of one delta: it travels in a datagram */
#define STEP_REPAIRS_MAX 1                  /* debate.md 4.4: one repair, then give up */

struct step_event {
	const char *type, *agent;
	int round;
	json_t *data;
};

struct step {
	struct debate *d;
	const char *key;
	int64_t now_ms;
	struct step_event *events;
	size_t count, room;
	int64_t messages; /* agent_message events among them */
};

/* ---- small accessors ---- */

const struct debate_plan *debate_plan(const struct debate *d)
{
	return &d->plan;
}

struct arena *debate_arena(struct debate *d)
{
	return d->arena;
}

enum debate_stop debate_stop(const struct debate *d)
{
	return d->stop;
}

void debate_set_engine(struct debate *d, void *ctx)
{
	d->engine = ctx;
}

void *debate_engine(const struct debate *d)
{
	return d->engine;
}

int64_t step_now_ms(const struct step *s)
{
	return s->now_ms;
}

int64_t debate_running_ms(const struct debate *d)
{
	return run_running_ms(d);
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

static void step_open(struct step *s, struct debate *d, const char *key)
{
	*s = (struct step){.d = d, .key = key, .now_ms = clock_wall_ms()};
}

static void step_close(struct step *s)
{
	size_t i;

	for (i = 0; i < s->count; i++)
		json_decref(s->events[i].data);
	free(s->events);
}

static json_t *step_entry(const struct debate *d, const char *key)
{
	return json_object_get(d->journal, key);
}

/* The stored result of a finished step, or NULL. */
static const json_t *step_done(const struct debate *d, const char *key)
{
	const json_t *e = step_entry(d, key);

	return e != NULL && str_eqz(json_get_str(e, "state", STR("")), "done") ? json_object_get(e, "result") : NULL;
}

/* May a new step begin? */
static bool step_may_start(struct debate *d, const char *key)
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

/* What one commit changes besides its events. */
struct step_write {
	const char *state; /* of the journal row: "started" or "done"; NULL: no row */
	int64_t starts;
	const json_t *result; /* stored with the row */
	const struct agent_reply *usage;
	const struct step_call *call;
	void (*extra)(struct db_batch *b, struct debate *d, void *arg, int64_t now_ms);
	void *extra_arg;
};

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
		    DB_S(d->ctx.org_id), DB_S(d->ctx.workspace_id), DB_S(d->ctx.principal), DB_S(w->call->agent->name),
		    DB_S(w->call->agent->provider), DB_S(u->model.n > 0 ? u->model : w->call->agent->model),
		    DB_I(u->tokens_in), DB_I(u->tokens_out), DB_I(u->cost_micro), DB_I(clock_wall_ms())),
	    DB_ANY);
}

/* Numbers the events from last_seq + 1 and adds them. */
static struct stream_event *step_batch_events(struct db_batch *b, struct arena *a, const struct step *s)
{
	struct stream_event *out = arena_zalloc(a, (s->count + 1) * sizeof(*out));
	struct debate *d = s->d;
	size_t i;

	for (i = 0; i < s->count; i++) {
		const struct step_event *e = &s->events[i];

		out[i] = (struct stream_event){d->plan.debate_id, d->ctx.workspace_id, d->last_seq + 1 + (int64_t)i,
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
	return out;
}

static struct db_batch *step_batch(struct arena *a, const struct step *s, const struct step_write *w, struct str result,
				   struct stream_event **events)
{
	struct debate *d = s->d;
	struct db_batch *b = db_batch_new(d->w->db);

	/* The fence. A new finished step also shows that the debate is not poison (crashes = 0). */
	db_batch_add(
	    b,
	    "UPDATE debates SET last_seq = $4, running_ms = $5, current_round = $6, message_count = $7, updated_at = "
	    "$8,"
	    " crashes = CASE WHEN $9 = 1 THEN 0 ELSE crashes END WHERE id = $1 AND epoch = $2 AND last_seq = $3",
	    DB_ARGS(DB_S(d->plan.debate_id), DB_I(d->epoch), DB_I(d->last_seq), DB_I(d->last_seq + (int64_t)s->count),
		    DB_I(run_running_ms(d)), DB_I(d->current_round), DB_I(d->message_count + s->messages),
		    DB_I(clock_wall_ms()), DB_I(w->state != NULL && strcmp(w->state, "done") == 0)),
	    1);
	*events = step_batch_events(b, a, s);
	if (w->state != NULL)
		step_batch_row(b, s, w, result);
	if (w->usage != NULL)
		step_batch_usage(b, a, s, w);
	if (w->extra != NULL)
		w->extra(b, d, w->extra_arg, s->now_ms);
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

/* An answer that was paid for is never given up for want of a store; what has cost nothing yet need not hold up a
 * drain. */
static bool step_store_again(const struct debate *d, const struct step_write *w, const struct error *err)
{
	return err->code == ERR_STORAGE && d->stop != STOP_FENCED && (w->usage != NULL || !d->draining);
}

/*
 * Commits one step's write; a store that fails is tried again until it works or the lease is lost: what was paid for
 * is not thrown away, and meanwhile the lock keeps this debate from starting anything.
 */
CO_FN static bool step_commit_locked(struct step *s, const struct step_write *w)
{
	struct debate *d = s->d;
	struct arena *a = arena_new(16384);
	struct str result = w->result != NULL ? json_text(a, w->result) : STR_NONE;
	int64_t pause = STEP_STORE_RETRY_US;
	struct error err = ERROR_INIT;
	struct stream_event *events;
	bool doubt = false, ok;

	for (;;) {
		ok = db_commit(d->w->db, step_batch(a, s, w, result, &events), &err);
		if (!ok && err.code == ERR_FENCED && doubt && s->count > 0)
			ok = step_settled(d, d->last_seq + (int64_t)s->count);
		if (ok || !step_store_again(d, w, &err))
			break;
		doubt = true;
		log_warn("debate", "a step cannot be stored; trying again", KV_S("step", s->key),
			 KV_S("reason", err.msg));
		if (co_sleep(pause) == CO_ENDED)
			break;
		pause = 2 * pause < STEP_STORE_RETRY_MAX ? 2 * pause : STEP_STORE_RETRY_MAX;
	}
	if (ok) {
		d->last_seq += (int64_t)s->count;
		d->message_count += s->messages;
		FAULT("step.before_publish");
		stream_committed(d->w->stream, events, s->count);
		metric_add(M_EVENTS_COMMITTED, (int64_t)s->count, NULL);
	} else {
		log_warn("debate", "a step was not stored", KV_S("step", s->key), KV_S("reason", err.msg));
		run_stop(d, err.code == ERR_STORAGE ? STOP_STORAGE : STOP_FENCED);
	}
	arena_free(a);
	return ok;
}

/* Keeps what was stored, decoded from its stored form, so that first run and re-run see the same. */
static void step_remember(struct debate *d, const char *key, const struct step_write *w)
{
	json_t *e = json_object();

	json_put_str(e, "state", str_of(w->state));
	json_put_int(e, "starts", w->starts);
	if (w->result != NULL) {
		struct arena *a = arena_new(0);
		struct error err = ERROR_INIT;
		json_t *copy = json_parse(NULL, json_text(a, w->result), &err);

		BUG_ON(copy == NULL);
		json_object_set_new(e, "result", copy);
		arena_free(a);
	}
	json_object_set_new(d->journal, key, e);
}

/*
 * Waits for its turn under a shield: a step that is to be stored is stored although the debate's time has ended, and
 * however long the store is away; what is older than max_age ends anyway.
 */
CO_FN static bool step_commit(struct step *s, const struct step_write *w)
{
	struct debate *d = s->d;
	struct co_shield shield;
	bool ok = false;

	co_shield(&shield, d->w->conf->debates.max_age);
	if (co_lock(&d->commit, 0) == CO_DONE) {
		FAULT("step.before_commit");
		ok = d->stop != STOP_FENCED && d->stop != STOP_STORAGE && step_commit_locked(s, w);
		co_unlock(&d->commit);
		FAULT("step.after_commit");
	}
	co_unshield(&shield);
	if (ok && w->state != NULL)
		step_remember(d, s->key, w);
	return ok;
}

/* ---- steps that compute ---- */

CO_FN bool step_run(struct debate *d, const char *key, json_t *(*compute)(struct step *s, void *arg), void *arg,
		    const json_t **result)
{
	struct step s;
	json_t *value;
	bool ok;

	*result = step_done(d, key);
	if (*result != NULL)
		return true;
	if (!step_may_start(d, key))
		return false;
	step_open(&s, d, key);
	value = compute(&s, arg);
	BUG_ON(value == NULL);
	ok = step_commit(&s, &(struct step_write){.state = "done", .starts = 1, .result = value});
	json_decref(value);
	step_close(&s);
	*result = ok ? step_done(d, key) : NULL;
	return ok;
}

static json_t *step_keep(struct step *s, void *arg)
{
	(void)s;
	return json_incref(arg);
}

CO_FN bool step_ratings(struct debate *d, const char *key, const json_t **result)
{
	struct error err = ERROR_INIT;
	json_t *names, *ratings = NULL;
	size_t i;
	bool ok;

	*result = step_done(d, key);
	if (*result != NULL)
		return true;
	if (!step_may_start(d, key))
		return false;
	names = json_array();
	for (i = 0; i < d->plan.agent_count; i++)
		json_array_append_new(names, json_str(d->plan.agents[i].name));
	if (!ranking_read(d->w->db, &d->ctx, names, &ratings, &err)) {
		/* Ratings are advice: without them all count alike, and that too is journalled. */
		log_warn("debate", "ratings cannot be read", KV_S("reason", err.msg));
		ratings = json_object();
	}
	ok = step_run(d, key, step_keep, ratings, result);
	json_decref(ratings);
	json_decref(names);
	return ok;
}

static void step_inbox_take(struct db_batch *b, struct debate *d, void *arg, int64_t now_ms)
{
	const json_t *items = arg;
	size_t i;

	(void)now_ms;
	for (i = 0; i < json_array_size(items); i++)
		db_batch_add(
		    b, "UPDATE debate_inbox SET step_key = 'taken' WHERE id = $1 AND debate_id = $2",
		    DB_ARGS(DB_S(json_get_str(json_array_get(items, i), "id", STR(""))), DB_S(d->plan.debate_id)), 1);
}

CO_FN static bool step_inbox_read(struct debate *d, json_t *items, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows rows;
	size_t i;
	bool ok;

	ok = db_query(d->w->db, a,
		      "SELECT id, kind, user_id, payload FROM debate_inbox WHERE debate_id = $1 AND step_key IS NULL"
		      " ORDER BY id LIMIT 100",
		      DB_ARGS(DB_S(d->plan.debate_id)), &rows, err);
	for (i = 0; ok && i < rows.count; i++) {
		json_t *o = json_object();
		json_t *payload = json_parse(NULL, db_str(&rows, i, 3), err);

		json_put_str(o, "id", db_str(&rows, i, 0));
		json_put_str(o, "kind", db_str(&rows, i, 1));
		json_put_str(o, "user_id", db_str(&rows, i, 2));
		json_object_set_new(o, "payload", payload != NULL ? payload : json_object());
		json_array_append_new(items, o);
	}
	arena_free(a);
	return ok;
}

CO_FN bool step_inbox(struct debate *d, const char *key, const json_t **result)
{
	struct error err = ERROR_INIT;
	struct step s;
	json_t *items;
	bool ok;

	*result = step_done(d, key);
	if (*result != NULL)
		return true;
	if (!step_may_start(d, key))
		return false;
	items = json_array();
	/* What cannot be read now waits for the next inbox step. */
	if (!step_inbox_read(d, items, &err))
		log_warn("debate", "the inbox cannot be read", KV_S("reason", err.msg));
	step_open(&s, d, key);
	ok = step_commit(
	    &s, &(struct step_write){
		    .state = "done", .starts = 1, .result = items, .extra = step_inbox_take, .extra_arg = items});
	step_close(&s);
	json_decref(items);
	*result = ok ? step_done(d, key) : NULL;
	return ok;
}

/* ---- steps that pay ---- */

/* Text on its way to watchers: pieces are merged for debates.token_merge before they are published. */
struct step_tokens {
	struct debate *d;
	const struct step_call *call;
	struct str task_id;
	struct loop_timer timer;
	struct buf text; /* not yet published */
	int attempt;
	int64_t agent_seq;
};

static void step_token(struct step_tokens *t, enum stream_token_kind kind, struct str text)
{
	stream_token(t->d->w->stream, &(struct stream_token){t->d->plan.debate_id, t->d->ctx.workspace_id, kind,
							     t->call->agent->name, t->task_id, t->call->round,
							     t->attempt, t->agent_seq, t->d->last_seq, text});
}

static void step_tokens_flush(void *arg)
{
	struct step_tokens *t = arg;

	while (t->text.n > 0) {
		struct str piece = str_utf8_cut(buf_str(&t->text), STEP_TOKEN_MAX);

		t->agent_seq++;
		step_token(t, TOKEN_DELTA, piece);
		buf_consume(&t->text, piece.n > 0 ? piece.n : t->text.n);
	}
}

static void step_on_text(void *arg, struct str piece)
{
	struct step_tokens *t = arg;

	if (t->text.n == 0)
		loop_timer_set(&t->timer, t->d->w->conf->debates.token_merge);
	buf_add(&t->text, piece);
}

static void step_tokens_open(struct step_tokens *t, struct debate *d, const struct step_call *c, int attempt)
{
	*t = (struct step_tokens){.d = d, .call = c, .attempt = attempt};
	t->task_id = arena_printf(d->arena, "%.*s:%s:r%d%s%s", STR_ARG(c->agent->name), c->phase, c->round,
				  c->target != NULL ? ":" : "", c->target != NULL ? c->target : "");
	t->text = BUF_LIMIT(AGENT_OUTPUT_MAX);
	loop_timer_init(d->w->loop, &t->timer, step_tokens_flush, t);
	step_token(t, TOKEN_START, STR_NONE);
}

static void step_tokens_close(struct step_tokens *t, struct str full)
{
	loop_timer_stop(&t->timer);
	step_tokens_flush(t);
	step_token(t, TOKEN_FINISH, full);
	buf_free(&t->text);
}

/* The attempts of a call so far, as journalled, and what the replies that could not be read have cost. */
struct step_attempts {
	int64_t starts, failed, repairs;
	int64_t tokens_in, tokens_out, cost_micro;
	enum agent_fail last;
	char message[160];
};

static void step_attempts_load(const struct debate *d, const char *key, struct step_attempts *at)
{
	const json_t *e = step_entry(d, key), *r = json_object_get(e, "result");

	*at = (struct step_attempts){.starts = json_get_int(e, "starts", 0),
				     .failed = json_get_int(r, "failed", 0),
				     .repairs = json_get_int(r, "repairs", 0),
				     .tokens_in = json_get_int(r, "tokens_in", 0),
				     .tokens_out = json_get_int(r, "tokens_out", 0),
				     .cost_micro = json_get_int(r, "cost_micro", 0),
				     .last = AGENT_FAIL_CONNECTION};
}

static json_t *step_progress(const struct step_attempts *at)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "failed", (json_int_t)at->failed, "repairs",
			 (json_int_t)at->repairs, "tokens_in", (json_int_t)at->tokens_in, "tokens_out",
			 (json_int_t)at->tokens_out, "cost_micro", (json_int_t)at->cost_micro);
}

static bool step_commit_call(struct step *s, const struct step_call *c, const struct step_attempts *at,
			     const struct agent_reply *paid, const char *state, const json_t *result)
{
	return step_commit(
	    s, &(struct step_write){.state = state, .starts = at->starts, .result = result, .usage = paid, .call = c});
}

/* What the journal knows of a call that is not done; `paid`: an attempt that failed and cost something, or NULL. */
static bool step_started(struct debate *d, const char *key, const struct step_call *c, const struct step_attempts *at,
			 const struct agent_reply *paid)
{
	struct step s;
	json_t *progress = step_progress(at);
	bool ok;

	step_open(&s, d, key);
	ok = step_commit_call(&s, c, at, paid, "started", progress);
	step_close(&s);
	json_decref(progress);
	return ok;
}

/* One attempt at the provider, streamed. */
CO_FN static void step_attempt(struct debate *d, const char *key, const struct step_call *c,
			       const struct step_attempts *at, struct arena *a, struct agent_reply *reply)
{
	struct agent_request req = {.agent = c->agent,
				    .system = c->system,
				    .prompt = c->prompt,
				    .max_tokens = c->max_tokens,
				    .temperature_ppm = c->temperature_ppm,
				    .phase = str_of(c->phase),
				    .task = d->plan.task,
				    .facts = c->facts};
	struct step_tokens tokens;

	req.idempotency_key = arena_printf(a, "%.*s/%s#%lld", STR_ARG(d->plan.debate_id), key, (long long)at->starts);
	if (at->repairs > 0)
		req.prompt = arena_printf(
		    a, "%.*s\n\nYour previous reply could not be read. Answer again, exactly in the format asked for.",
		    STR_ARG(c->prompt));
	if (c->stream) {
		step_tokens_open(&tokens, d, c, (int)at->starts);
		req.on_text = step_on_text;
		req.arg = &tokens;
	}
	FAULT("step.before_call");
	(void)agent_call(d->w->agents, a, &req, reply); /* the outcome is in the reply */
	FAULT("step.after_call");
	if (c->stream)
		step_tokens_close(&tokens, reply->text);
}

/* A reply that could not be read was paid for all the same. */
static void step_spent(struct step_attempts *at, const struct agent_reply *r)
{
	at->tokens_in += r->tokens_in;
	at->tokens_out += r->tokens_out;
	at->cost_micro += r->cost_micro;
}

static void step_put_sums(json_t *o, const struct step_attempts *at)
{
	json_put_int(o, "tokens_in", at->tokens_in);
	json_put_int(o, "tokens_out", at->tokens_out);
	json_put_int(o, "cost_micro", at->cost_micro);
}

static json_t *step_value(const struct agent_reply *r, json_t *value, struct step_attempts *at)
{
	json_t *o = json_object();

	step_spent(at, r);
	json_object_set_new(o, "ok", json_true());
	json_object_set_new(o, "value", value);
	json_put_str(o, "text", r->text);
	json_put_str(o, "model", r->model);
	step_put_sums(o, at);
	json_put_int(o, "ms", r->duration_us / MS_US);
	json_object_set_new(o, "truncated", json_boolean(r->truncated));
	json_put_int(o, "abandoned", at->starts - at->failed - at->repairs - 1);
	return o;
}

/* The reply is usable: result, events and usage in one batch. *done is false when it cannot be decoded. */
CO_FN static bool step_succeeded(struct debate *d, const char *key, const struct step_call *c, struct step_attempts *at,
				 const struct agent_reply *reply, bool *done)
{
	struct step s;
	json_t *value, *result;
	bool ok;

	step_open(&s, d, key);
	value = c->decode(&s, c->arg, reply->text);
	*done = value != NULL;
	if (value != NULL) {
		result = step_value(reply, value, at);
		ok = step_commit_call(&s, c, at, reply, "done", result);
	} else {
		at->repairs++;
		step_spent(at, reply);
		at->last = AGENT_FAIL_PARSE;
		(void)snprintf(at->message, sizeof(at->message), "the reply was not in the format asked for");
		result = step_progress(at);
		step_close(&s); /* events of an unusable reply are not said */
		step_open(&s, d, key);
		ok = step_commit_call(&s, c, at, reply, "started", result);
	}
	json_decref(result);
	step_close(&s);
	return ok;
}

/* The agent has failed for good here: a result like any other. */
CO_FN static bool step_gave_up(struct debate *d, const char *key, const struct step_call *c,
			       const struct step_attempts *at, const struct agent_reply *paid)
{
	const char *name = arena_str(d->arena, c->agent->name).p;
	struct step s;
	json_t *result, *data;
	bool ok;

	step_open(&s, d, key);
	result = json_object();
	json_object_set_new(result, "ok", json_false());
	json_put_str(result, "error_type", str_of(agent_fail_name(at->last)));
	json_put_str(result, "message", str_of(at->message));
	json_put_str(result, "provider", c->agent->provider);
	json_put_int(result, "attempts", at->starts);
	json_put_int(result, "at_ms", s.now_ms);
	step_put_sums(result, at);
	json_put_int(result, "abandoned", at->starts - at->failed - at->repairs);
	data = json_pack("{s:s, s:s, s:s, s:s, s:b, s:i}", "agent", name, "error_type", agent_fail_name(at->last),
			 "error_code", agent_fail_name(at->last), "phase", c->phase, "recoverable", true,
			 "round_number", c->round);
	json_put_str(data, "message", str_of(at->message));
	json_put_str(data, "error_message", str_of(at->message));
	step_emit(&s, "agent_error", name, c->round, data);
	ok = step_commit_call(&s, c, at, paid, "done", result);
	json_decref(result);
	step_close(&s);
	return ok;
}

/* Exponential with 30 % jitter, or what the provider asked for plus up to 10 % (debate.md 6.3). Microseconds. */
static int64_t step_backoff(const struct conf *c, const struct step_attempts *at, const struct agent_reply *reply)
{
	int64_t us = c->debates.retry_base, jitter;
	int64_t i;

	if (reply->retry_after_us >= 0) {
		us = reply->retry_after_us < STEP_RETRY_AFTER_MAX ? reply->retry_after_us : STEP_RETRY_AFTER_MAX;
		return us + (int64_t)ids_uniform((uint32_t)(us / 10 / MS_US) + 1) * MS_US;
	}
	for (i = 1; i < at->failed && us < c->debates.retry_cap; i++)
		us *= 2;
	us = us < c->debates.retry_cap ? us : c->debates.retry_cap;
	jitter = (int64_t)ids_uniform((uint32_t)(us * 6 / 10 / MS_US) + 1) * MS_US - us * 3 / 10;
	return us + jitter;
}

/* False when the debate has to unwind. A drain wakes the sleeper early. */
CO_FN static bool step_pause(struct debate *d, int64_t us)
{
	struct run_sleeper me = {.co = co_self(), .next = d->sleepers};
	struct run_sleeper **p;
	int64_t until = clock_mono_us() + us;

	d->sleepers = &me;
	while (!d->draining && d->stop == STOP_NONE && clock_mono_us() < until)
		if (co_wait(until) == CO_ENDED)
			break;
	for (p = &d->sleepers; *p != &me; p = &(*p)->next)
		;
	*p = me.next;
	return true;
}

/* After a call that failed; a reply that was read but not understood has its own rule (STEP_REPAIRS_MAX). */
static bool step_try_again(const struct conf *c, const struct step_attempts *at)
{
	if (at->last == AGENT_FAIL_EMPTY)
		return at->failed <= 1;
	return agent_fail_retryable(at->last) && at->failed < c->debates.retry_attempts;
}

/* Did the reply fail because the debate ends, not because the agent did? */
static bool step_interrupted(struct debate *d, const struct agent_reply *reply)
{
	if (reply->fail != AGENT_FAIL_CANCELLED && reply->fail != AGENT_FAIL_TIMEOUT)
		return false;
	if (d->stop == STOP_NONE && co_scope_ended(&d->scope))
		run_stop(d, d->cancel_seen ? STOP_CANCELLED : STOP_TIMEOUT);
	return d->stop != STOP_NONE;
}

/* One round of start, call, store. *again: a further attempt is wanted. */
CO_FN static bool step_call_once(struct debate *d, const char *key, const struct step_call *c, struct step_attempts *at,
				 int64_t deadline, bool *again)
{
	struct arena *a = arena_new(8192);
	struct co_scope scope = {.kind = SCOPE_AGENT, .deadline = deadline};
	struct agent_reply reply = {.retry_after_us = -1};
	const struct agent_reply *paid = NULL; /* a failed attempt that is not in the ledger yet */
	bool ok, done = true;
	int64_t pause = 0;

	*again = false;
	at->starts++;
	ok = step_started(d, key, c, at, NULL);
	if (!ok)
		goto out;
	co_scope_enter(&scope);
	step_attempt(d, key, c, at, a, &reply);
	co_scope_leave(&scope);
	if (reply.fail == AGENT_OK) {
		ok = step_succeeded(d, key, c, at, &reply, &done);
		*again = ok && !done && at->repairs <= STEP_REPAIRS_MAX;
	} else if (step_interrupted(d, &reply)) {
		ok = false;
		goto out;
	} else {
		done = false;
		at->failed++;
		at->last = reply.fail;
		step_spent(at, &reply);
		paid = reply.tokens_in + reply.tokens_out > 0 ? &reply : NULL;
		(void)snprintf(at->message, sizeof(at->message), "%s", reply.detail);
		pause = step_backoff(d->w->conf, at, &reply);
		*again = step_try_again(d->w->conf, at) && clock_mono_us() + pause < deadline;
	}
	if (ok && *again && reply.fail != AGENT_OK)
		/* The failure is journalled before the pause, so that a takeover goes on counting. */
		ok = step_started(d, key, c, at, paid) && step_pause(d, pause);
	if (ok && !done && !*again)
		ok = step_gave_up(d, key, c, at, paid);
out:
	arena_free(a);
	return ok;
}

CO_FN bool step_call(struct debate *d, const char *key, const struct step_call *c, const json_t **result)
{
	int64_t deadline = clock_mono_us() + d->plan.agent_timeout_ms * MS_US;
	struct step_attempts at;
	bool again = true;

	*result = step_done(d, key);
	if (*result != NULL)
		return true;
	step_attempts_load(d, key, &at);
	if (at.starts > at.failed + at.repairs)
		metric_add(M_STEPS_ABANDONED, 1, NULL);
	while (again)
		if (!step_may_start(d, key) || !step_call_once(d, key, c, &at, deadline, &again))
			return false;
	*result = step_done(d, key);
	return *result != NULL;
}

/* ---- the end ---- */

/* How a result's status is stored and shown (rest-core 4.1). */
static const struct {
	const char *result, *stored;
	enum metric_id metric;
} step_ends[] = {
    {"consensus_reached", "completed", M_DEBATES_COMPLETED},
    {"completed", "completed", M_DEBATES_COMPLETED},
    {"insufficient_participation", "failed", M_DEBATES_FAILED},
    {"failed", "failed", M_DEBATES_FAILED},
    {"timeout", "timeout", M_DEBATES_FAILED},
    {"cancelled", "cancelled", METRIC_MAX},
};

static size_t step_end_of(const json_t *result)
{
	struct str status = json_get_str(result, "status", STR("failed"));
	size_t i;

	for (i = 0; i < countof(step_ends); i++)
		if (str_eqz(status, step_ends[i].result))
			return i;
	BUG_ON("a result with an unknown status" != NULL);
}

struct step_finish {
	const json_t *result;
	struct str text;
	size_t end;
	const char *receipt_id;
};

static void step_finish_row(struct db_batch *b, struct debate *d, void *arg, int64_t now_ms)
{
	const struct step_finish *f = arg;
	const json_t *consensus = json_get_obj(f->result, "consensus");
	bool completed = strcmp(step_ends[f->end].stored, "completed") == 0;
	struct str answer = json_get_str(f->result, "final_answer", STR(""));
	struct str reason = json_get_str(f->result, "reason", STR(""));

	db_batch_add(b,
		     "UPDATE debates SET status = $2, owner = '', result = $3, final_answer = $4, rounds_used = $5,"
		     " consensus_reached = $6, confidence_ppm = $7, error = $8, error_code = $9, receipt_id = $10,"
		     " cost_micro = $11, completed_at = $12 WHERE id = $1",
		     DB_ARGS(DB_S(d->plan.debate_id), DB_Z(step_ends[f->end].stored), DB_S(f->text),
			     answer.n > 0 ? DB_S(answer) : DB_NONE, DB_I(json_get_int(f->result, "rounds_used", 0)),
			     DB_I(json_get_bool(consensus, "reached", false)),
			     DB_I(json_get_int(consensus, "confidence_ppm", 0)), completed ? DB_NONE : DB_S(reason),
			     completed ? DB_NONE : DB_Z(step_ends[f->end].result),
			     f->receipt_id != NULL ? DB_Z(f->receipt_id) : DB_NONE,
			     DB_I(json_get_int(f->result, "cost_micro", 0)), DB_I(now_ms)),
		     1);
}

static json_t *step_end_data(struct debate *d, const json_t *result, const json_t *receipt)
{
	const json_t *consensus = json_get_obj(result, "consensus");
	struct str status = json_get_str(result, "status", STR(""));
	struct str answer = json_get_str(result, "final_answer", STR(""));
	double seconds = (double)json_get_int(result, "running_ms", 0) / 1000.0;
	json_t *o = json_pack("{s:s%, s:s%, s:s%, s:b, s:f, s:f, s:f}", "debate_id", d->plan.debate_id.p,
			      d->plan.debate_id.n, "status", status.p, status.n, "result", answer.p, answer.n,
			      "consensus_reached", (int)json_get_bool(consensus, "reached", false), "confidence",
			      (double)json_get_int(consensus, "confidence_ppm", 0) / 1e6, "duration", seconds,
			      "duration_seconds", seconds);

	json_put_int(o, "rounds", json_get_int(result, "rounds_used", 0));
	json_put_int(o, "total_rounds", json_get_int(result, "total_rounds", 0));
	json_put_str(o, "task", d->plan.task);
	json_object_set_new(o, "summary", json_pack("{s:s%}", "task", d->plan.task.p, d->plan.task.n));
	/* Some clients want the text of the result, others an object (websocket.md 3.1). */
	json_object_set_new(o, "debate",
			    json_pack("{s:s%, s:s%, s:s, s:b, s:f, s:I}", "id", d->plan.debate_id.p,
				      d->plan.debate_id.n, "task", d->plan.task.p, d->plan.task.n, "status",
				      step_ends[step_end_of(result)].stored, "consensus_reached",
				      (int)json_get_bool(consensus, "reached", false), "confidence",
				      (double)json_get_int(consensus, "confidence_ppm", 0) / 1e6, "rounds_used",
				      (json_int_t)json_get_int(result, "rounds_used", 0)));
	json_object_set_new(o, "cost_usd", json_real((double)json_get_int(result, "cost_micro", 0) / 1e6));
	json_object_set_new(o, "demo", json_boolean(d->plan.demo));
	if (str_eqz(status, "cancelled"))
		json_object_set_new(o, "cancelled", json_true());
	if (json_get_str(result, "reason", STR("")).n > 0)
		json_put_str(o, "reason", json_get_str(result, "reason", STR("")));
	if (receipt != NULL) {
		json_object_set(o, "receipt_id", json_object_get(receipt, "receipt_id"));
		json_object_set(o, "verdict", json_object_get(receipt, "verdict"));
	}
	return o;
}

/* A debate that ends without a decision says so before its end, in the words the clients know. */
static void step_emit_failure(struct step *s, const json_t *result, size_t end)
{
	struct str reason = json_get_str(result, "reason", STR(""));

	if (step_ends[end].metric != M_DEBATES_FAILED)
		return;
	step_emit(s, "error", NULL, 0,
		  json_pack("{s:s%, s:s%, s:s%, s:s, s:b, s:b}", "debate_id", s->d->plan.debate_id.p,
			    s->d->plan.debate_id.n, "error", reason.p, reason.n, "message", reason.p, reason.n, "code",
			    step_ends[end].result, "fatal", 1, "recoverable", 0));
}

/* Receipt and ratings of a decided debate join the batch through this; their events precede debate_end. */
struct step_effects {
	struct step_finish *finish;
	json_t *receipt;
	const json_t *ratings;
	struct error err;
	json_t *events;
};

/* Demo agents are never rated; nor is anybody on ratings that were not read (a cancel came in between). */
static bool step_rated(const struct debate *d, const struct step_effects *e)
{
	return !d->plan.demo && e->ratings != NULL;
}

static void step_effects_add(struct db_batch *b, struct debate *d, void *arg, int64_t now_ms)
{
	struct step_effects *e = arg;
	json_t *again = NULL, *events = json_array();

	step_finish_row(b, d, e->finish, now_ms);
	if (e->receipt == NULL) {
		json_decref(events);
		return;
	}
	/* Built anew for each try of the batch; both are functions of the result, so the bytes are the same. */
	if (!receipt_add(b, d->w->receipt_keys, &d->ctx, e->finish->result,
			 json_get_int(e->finish->result, "ended_at_ms", now_ms), &again, &e->err) ||
	    (step_rated(d, e) && !ranking_add(b, &d->ctx, e->finish->result, e->ratings, events, &e->err)))
		log_error("debate", "an effect of the end failed", KV_S("reason", e->err.msg));
	json_decref(again);
	json_decref(events);
}

/* The receipt and the rating events must be known before the events are numbered: built once into a scratch batch. */
static void step_effects_prepare(struct debate *d, const json_t *result, struct step_effects *e)
{
	struct db_batch *scratch = db_batch_new(d->w->db);

	if (!receipt_add(scratch, d->w->receipt_keys, &d->ctx, result, json_get_int(result, "ended_at_ms", 0),
			 &e->receipt, &e->err))
		log_error("debate", "no receipt can be made", KV_S("reason", e->err.msg));
	if (step_rated(d, e) && !ranking_add(scratch, &d->ctx, result, e->ratings, e->events, &e->err))
		log_error("debate", "no rating can be made", KV_S("reason", e->err.msg));
	db_batch_free(scratch);
}

static void step_emit_effects(struct step *s, const struct step_effects *e)
{
	size_t i;

	for (i = 0; i < json_array_size(e->events); i++) {
		const json_t *ev = json_array_get(e->events, i);

		step_emit(s, arena_str(s->d->arena, json_get_str(ev, "type", STR(""))).p, NULL, 0,
			  json_incref(json_object_get(ev, "data")));
	}
	if (e->receipt != NULL)
		step_emit(s, "receipt_generated", NULL, 0,
			  json_pack("{s:s%, s:O, s:O, s:f, s:O}", "debate_id", s->d->plan.debate_id.p,
				    s->d->plan.debate_id.n, "receipt_id", json_object_get(e->receipt, "receipt_id"),
				    "verdict", json_object_get(e->receipt, "verdict"), "confidence",
				    (double)json_get_int(e->receipt, "confidence_ppm", 0) / 1e6, "hash",
				    json_object_get(e->receipt, "content_hash")));
}

static void step_count_end(const struct debate *d, const json_t *result, size_t end)
{
	const json_t *consensus = json_get_obj(result, "consensus");

	if (step_ends[end].metric != METRIC_MAX)
		metric_add(step_ends[end].metric, 1, NULL);
	if (json_get_bool(consensus, "reached", false))
		metric_add(M_CONSENSUS_REACHED, 1, NULL);
	metric_add(M_COST_MICRO, json_get_int(result, "cost_micro", 0), NULL);
	metric_observe(M_DEBATE_DURATION, (double)run_running_ms(d) / 1000.0, step_ends[end].result, NULL);
	log_info("debate", "debate ended", KV_S("status", step_ends[end].result),
		 KV_F("debate_duration", (double)run_running_ms(d) / 1000.0),
		 KV_F("confidence", (double)json_get_int(consensus, "confidence_ppm", 0) / 1e6),
		 KV_I("rounds", json_get_int(result, "rounds_used", 0)),
		 KV_I("tokens_in", json_get_int(result, "tokens_in", 0)),
		 KV_I("tokens_out", json_get_int(result, "tokens_out", 0)),
		 KV_I("cost_micro", json_get_int(result, "cost_micro", 0)));
}

CO_FN static bool step_finish_commit(struct debate *d, const json_t *result, struct step_finish *f,
				     struct step_effects *e)
{
	struct step s;
	bool ok;

	step_open(&s, d, "finish");
	if (strcmp(step_ends[f->end].stored, "completed") == 0)
		step_effects_prepare(d, result, e);
	if (e->receipt != NULL)
		f->receipt_id = json_string_value(json_object_get(e->receipt, "receipt_id"));
	step_emit_failure(&s, result, f->end);
	step_emit_effects(&s, e);
	step_emit(&s, "debate_end", NULL, (int)json_get_int(result, "rounds_used", 0),
		  step_end_data(d, result, e->receipt));
	ok = step_commit(&s, &(struct step_write){.extra = step_effects_add, .extra_arg = e});
	step_close(&s);
	return ok;
}

CO_FN bool debate_finish(struct debate *d, json_t *result)
{
	struct step_finish f = {.result = result, .end = step_end_of(result)};
	struct step_effects e = {.finish = &f, .err = ERROR_INIT};
	bool ok = true;

	if (d->replaying) {
		d->replayed_result = result;
		return true;
	}
	if (!step_ratings(d, "finish.ratings", &e.ratings) && d->stop != STOP_CANCELLED && d->stop != STOP_TIMEOUT) {
		json_decref(result);
		return false;
	}
	if (json_object_get(result, "ended_at_ms") == NULL) /* cut short: no step has journalled its end */
		json_put_int(result, "ended_at_ms", clock_wall_ms());
	f.text = json_canonical(d->arena, result);
	e.events = json_array();
	ok = step_finish_commit(d, result, &f, &e);
	if (ok) {
		d->finished = true;
		step_count_end(d, result, f.end);
	}
	json_decref(e.events);
	json_decref(e.receipt);
	json_decref(result);
	return ok;
}
