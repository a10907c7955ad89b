/* SPDX-License-Identifier: MIT */
/*
 * Steps that pay (step.h): the start is committed before the call, attempts are journalled and continue their count
 * after a takeover, text is published as it comes. Called by the engine only. One attempt at a provider is
 * agents/call.c.
 */
#include "worker/engine/step.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/runner/budget.h"
#include "worker/runner/journal.h"
#include "worker/runner/spend.h"
#include "worker/stream/stream.h"
#include "worker/worker.h"

#define STEP_RETRY_AFTER_MAX (300 * SEC_US) /* however long a provider asks to be left alone (debate.md 6.3) */
#define STEP_TOKEN_MAX (8 * 1024)           /* of one delta: it travels in a datagram */
#define STEP_REPAIRS_MAX 1                  /* debate.md 4.4: one repair, then give up */

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
	char message[200];
	struct spending_told told; /* of shared budgets, before this attempt */
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

static struct step_write step_write_of(const struct step_call *c, const struct step_attempts *at,
				       const struct agent_reply *paid, const char *state, const json_t *result)
{
	return (struct step_write){
	    .state = state, .starts = at->starts, .result = result, .usage = paid, .agent = c->agent};
}

/* What the journal knows of a call that is not done; `paid`: an attempt that failed and cost something, or NULL. */
static bool step_started(struct debate *d, const char *key, const struct step_call *c, const struct step_attempts *at,
			 const struct agent_reply *paid)
{
	struct step s;
	json_t *progress = step_progress(at);
	struct step_write w = step_write_of(c, at, paid, "started", progress);
	bool ok;

	step_open(&s, d, key);
	ok = step_commit(&s, &w);
	step_close(&s);
	json_decref(progress);
	return ok;
}

/* What an agent thinks up bears the mark of its persona; what it judges is asked alike of all. */
static void step_sampling(struct agent_request *req, const struct agent_spec *agent)
{
	if (agent->sampling.temperature_ppm <= 0 || !(str_eqz(req->phase, "propose") || str_eqz(req->phase, "revise")))
		return;
	req->temperature_ppm = agent->sampling.temperature_ppm;
	req->top_p_ppm = agent->sampling.top_p_ppm;
	req->frequency_penalty_ppm = agent->sampling.frequency_penalty_ppm;
}

/* What is reserved for the attempt, in the debate's own budgets and in those that it shares. */
static struct agent_purse step_purse(const struct debate *d, const struct step_call *c, int max_tokens)
{
	struct agent_purse purse;

	purse.micro = budget_most(c, max_tokens, &purse.tokens);
	if (d->plan.budget_micro <= 0 && !d->holds_budget)
		purse.micro = -1;
	if (d->plan.budget_tokens <= 0 && !d->holds_budget)
		purse.tokens = -1;
	return purse;
}

/* One attempt at the provider, streamed. */
CO_FN static void step_attempt(struct debate *d, const char *key, const struct step_call *c,
			       const struct step_attempts *at, int max_tokens, struct arena *a,
			       struct agent_reply *reply)
{
	struct agent_purse purse = step_purse(d, c, max_tokens);
	struct agent_request req = {.agent = c->agent,
				    .system = c->system,
				    .prompt = c->prompt,
				    .max_tokens = max_tokens,
				    .purse = &purse,
				    .last_attempt = at->failed + 1 >= d->w->conf->debates.retry_attempts,
				    .temperature_ppm = c->temperature_ppm,
				    .phase = str_of(c->phase),
				    .task = d->plan.task,
				    .facts = c->facts};
	bool stream = c->stream && d->keeper == NULL; /* nobody watches a debate apart from the server */
	struct step_tokens tokens;

	step_sampling(&req, c->agent);
	req.idempotency_key = arena_printf(a, "%.*s/%s#%lld", STR_ARG(d->plan.debate_id), key, (long long)at->starts);
	if (at->repairs > 0)
		req.prompt = arena_printf(
		    a, "%.*s\n\nYour previous reply could not be read. Answer again, exactly in the format asked for.",
		    STR_ARG(c->prompt));
	if (stream) {
		step_tokens_open(&tokens, d, c, (int)at->starts);
		req.on_text = step_on_text;
		req.arg = &tokens;
	}
	FAULT("step.before_call");
	(void)agent_call(d->w->agents, a, &req, reply); /* the outcome is in the reply */
	FAULT("step.after_call");
	if (stream)
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

static void step_tell_stand_in(struct step *s, const struct step_call *c, const struct agent_reply *r)
{
	const char *name = arena_str(s->d->arena, c->agent->name).p;
	json_t *o = json_object();

	json_put_str(o, "debate_id", s->d->plan.debate_id);
	json_put_str(o, "agent", c->agent->name);
	json_put_str(o, "original_agent", c->agent->name);
	json_put_str(o, "original_provider", c->agent->provider);
	json_put_str(o, "fallback_to", r->provider);
	json_put_str(o, "fallback_agent", r->provider);
	json_put_str(o, "model", r->model);
	json_put_str(o, "reason", str_of(agent_fail_name(r->replaced)));
	step_emit(s, "agent_fallback_triggered", name, c->round, o);
}

/* The reply is usable: result, events and usage in one batch. *done is false when it cannot be decoded. */
CO_FN static bool step_succeeded(struct debate *d, const char *key, const struct step_call *c, struct step_attempts *at,
				 const struct agent_reply *reply, bool *done)
{
	struct step_write w;
	struct step s;
	json_t *value, *result;
	bool ok;

	step_open(&s, d, key);
	value = c->decode(&s, c->arg, reply->text);
	*done = value != NULL;
	if (value != NULL) {
		if (reply->replaced != AGENT_OK)
			step_tell_stand_in(&s, c, reply);
		spend_tell(&s, c, reply->cost_micro, &at->told);
		result = step_value(reply, value, at);
		w = step_write_of(c, at, reply, "done", result);
		ok = step_commit_later(&s, &w);
	} else {
		at->repairs++;
		step_spent(at, reply);
		at->last = AGENT_FAIL_PARSE;
		(void)snprintf(at->message, sizeof(at->message), "the reply was not in the format asked for");
		result = step_progress(at);
		step_close(&s); /* events of an unusable reply are not said */
		step_open(&s, d, key);
		w = step_write_of(c, at, reply, "started", result);
		ok = step_commit(&s, &w);
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
	struct step_write w;
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
	spend_tell(&s, c, 0, &at->told);
	data = json_pack("{s:s, s:s, s:s, s:s, s:b, s:i}", "agent", name, "error_type", agent_fail_name(at->last),
			 "error_code", agent_fail_name(at->last), "phase", c->phase, "recoverable", true,
			 "round_number", c->round);
	json_put_str(data, "message", str_of(at->message));
	json_put_str(data, "error_message", str_of(at->message));
	step_emit(&s, "agent_error", name, c->round, data);
	w = step_write_of(c, at, paid, "done", result);
	ok = step_commit_later(&s, &w);
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

/* No budget covers the call: the agent has nothing to say from here on. */
CO_FN static bool step_unpaid(struct debate *d, const char *key, const struct step_call *c, struct step_attempts *at)
{
	at->last = AGENT_FAIL_BUDGET;
	if (at->told.why[0] != '\0')
		(void)snprintf(at->message, sizeof(at->message), "%s", at->told.why);
	else if (d->plan.budget_micro > 0)
		(void)snprintf(at->message, sizeof(at->message),
			       "the debate's budget of %.6f USD does not cover the call",
			       (double)d->plan.budget_micro / 1e6);
	else
		(void)snprintf(at->message, sizeof(at->message),
			       "the debate's budget of %lld tokens does not cover the call",
			       (long long)d->plan.budget_tokens);
	return step_gave_up(d, key, c, at, NULL);
}

/* One round of start, call, store. *again: a further attempt is wanted. */
CO_FN static bool step_call_once(struct debate *d, const char *key, const struct step_call *c, struct step_attempts *at,
				 int max_tokens, int64_t deadline, bool *again)
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
	step_attempt(d, key, c, at, max_tokens, a, &reply);
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
	bool again = true, ok = true;

	*result = step_done(d, key);
	if (*result != NULL)
		return true;
	step_attempts_load(d, key, &at);
	if (at.starts > at.failed + at.repairs)
		metric_add(M_STEPS_ABANDONED, 1, NULL);
	while (again && ok) {
		int max_tokens = c->max_tokens > 0 ? c->max_tokens : AGENT_MAX_TOKENS;
		struct budget_take taken;

		if (!step_may_start(d, key))
			return false;
		at.told = (struct spending_told){.level = 0};
		if (!budget_reserve(d, c, &max_tokens, &taken)) {
			again = false;
			ok = step_unpaid(d, key, c, &at);
			continue;
		}
		if (!spend_take(d, c, key, &max_tokens, deadline, &at.told)) {
			again = false;
			budget_release(d, &taken);
			ok = step_may_start(d, key) && step_unpaid(d, key, c, &at);
			continue;
		}
		ok = step_call_once(d, key, c, &at, max_tokens, deadline, &again);
		budget_release(d, &taken); /* what it has cost is journalled now */
	}
	if (!ok)
		return false;
	*result = step_done(d, key);
	return *result != NULL;
}
