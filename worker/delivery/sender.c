/* SPDX-License-Identifier: MIT */
/*
 * Sending: claims due rows of the outbox, one coroutine each, journals how each attempt ended, takes over what dead
 * processes left. Called by the worker, by the clerk and by hints. Does not know what is in a delivery (formats.c) nor
 * how long to wait after a failure (policy.c).
 */
#include "common/bus.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/guard.h"
#include "common/ids.h"
#include "common/keyring.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/trace_context.h"
#include "worker/delivery/outbox.h"
#include "worker/worker.h"

#define SENDER_CONNECT_US (10 * SEC_US)
#define SENDER_STORE_RETRY_US (250 * MS_US) /* after an outcome that could not be stored, doubled up to */
#define SENDER_STORE_RETRY_MAX (5 * SEC_US)
#define SENDER_OWN_RETRY_US (5 * SEC_US) /* after a failure of ours, before anything was sent */

struct deliveries {
	struct worker *w;
	struct guard *guard;
	struct keyring *keys;
	struct sender *running;
	unsigned count;
	bool started, draining, claiming, claim_again;
	bool doubt; /* the store may name us as owner of a row that is not under way here */
	struct loop_timer timer, limit;
	int64_t timer_at; /* monotonic; 0: not set */
	struct bus_sub *sub;
};

/* One delivery under way. */
struct sender {
	struct deliveries *ds;
	struct sender *next;
	struct arena *arena;
	struct delivery_row d;
	struct co_scope scope;
	struct log_ctx log;
	char trace[TRACE_PARENT_LEN + 1]; /* in log */
	bool prepared; /* else what failed is ours (a key that is missing, the store), not the receiver's */
};

static void sender_claim(struct deliveries *ds);

static struct delivery_policy sender_policy(const struct deliveries *ds)
{
	const struct conf *c = ds->w->conf;

	return (struct delivery_policy){c->deliveries.max_retries, c->deliveries.retry_base / MS_US,
					c->deliveries.retry_cap / MS_US, c->deliveries.max_age / MS_US};
}

/* Looks again in `ms` at the latest. */
static void sender_wake_in(struct deliveries *ds, int64_t ms)
{
	int64_t at = clock_mono_us() + (ms > 0 ? ms : 0) * MS_US;

	if (ds->draining || !ds->started || (ds->timer_at != 0 && ds->timer_at <= at))
		return;
	ds->timer_at = at;
	loop_timer_set(&ds->timer, at - clock_mono_us());
}

/* ---- how an attempt ended ---- */

static bool sender_answered(const struct fetch_response *resp)
{
	return resp->fail == FETCH_OK || resp->status != 0;
}

/* The status alone tells; a body that breaks off changes nothing about it. */
static enum delivery_end sender_end(const struct fetch_response *resp)
{
	if (sender_answered(resp))
		return resp->status / 100 == 2 ? DELIVERY_DONE : DELIVERY_FAILED;
	return resp->sent ? DELIVERY_UNCERTAIN : DELIVERY_FAILED;
}

/* What people read: "HTTP 500", "Timeout", or what went wrong. */
static struct str sender_error(struct arena *a, const struct fetch_response *resp)
{
	if (sender_answered(resp) && resp->status / 100 == 2)
		return STR("");
	if (resp->status / 100 == 3)
		return arena_printf(a, "HTTP %d (redirects are not followed)", resp->status);
	if (sender_answered(resp))
		return arena_printf(a, "HTTP %d", resp->status);
	if (resp->fail == FETCH_DEADLINE)
		return STR("Timeout");
	return arena_printf(a, "Delivery failed: %s", resp->detail);
}

static struct outbox_outcome sender_outcome(struct sender *s, const struct fetch_response *resp)
{
	struct deliveries *ds = s->ds;
	const struct conf *c = ds->w->conf;
	struct delivery_policy policy = sender_policy(ds);
	struct outbox_outcome o = {.end = sender_end(resp), .status = resp->status, .now_ms = clock_wall_ms()};
	bool cut = s->scope.cancelled && !sender_answered(resp);

	o.error = cut ? STR("cut off: the server was stopped") : sender_error(s->arena, resp);
	o.judged = s->prepared && resp->status != 429 && resp->fail != FETCH_BLOCKED && !cut;
	o.breaker_failures = c->deliveries.breaker_failures;
	o.breaker_ms = c->deliveries.breaker_cooldown / MS_US;
	o.next = delivery_decide(
	    &policy,
	    &(struct delivery_attempt){.end = o.end,
				       .final = resp->status == 410 || resp->fail == FETCH_BLOCKED,
				       .repeatable = delivery_format_find(s->d.format)->repeatable,
				       .attempts = s->prepared ? s->d.attempts : 0,
				       .since_ms = s->d.since,
				       .now_ms = o.now_ms,
				       .retry_after_ms = resp->retry_after_us >= 0 ? resp->retry_after_us / MS_US : -1,
				       .jitter_ppm = ids_uniform(1000000)});
	return o;
}

static void sender_tell(const struct delivery_row *d, const struct outbox_outcome *o)
{
	char event[32];
	struct str host = str_sub(d->target, (size_t)str_find(d->target, STR("//")) + 2, d->target.n);
	size_t i;
	const char *state = delivery_state_name(o->next.state);

	(void)snprintf(event, sizeof(event), "%.*s", STR_ARG(d->event));
	metric_add(M_WEBHOOK_DELIVERIES, 1, o->end == DELIVERY_UNCERTAIN ? "uncertain" : state, event, NULL);
	if (o->next.state == DELIVERY_RETRYING)
		metric_add(M_WEBHOOK_RETRIES, 1, event, NULL);
	if (o->next.state == DELIVERY_DEAD)
		metric_add(M_WEBHOOK_DEAD, 1, event, NULL);
	for (i = 0; i < host.n && host.p[i] != '/' && host.p[i] != '?'; i++)
		;
	host = str_sub(host, 0, i); /* path and query may hold a token */
	if (o->end == DELIVERY_DONE)
		log_info("delivery", "delivered", KV_STR("delivery", d->id), KV_STR("host", host),
			 KV_I("attempt", d->attempts), KV_I("status", o->status));
	else
		log_warn("delivery", o->next.state == DELIVERY_DEAD ? "dead letter" : "not delivered yet",
			 KV_STR("delivery", d->id), KV_STR("host", host), KV_I("attempt", d->attempts),
			 KV_STR("reason", o->error), KV_B("uncertain", o->end == DELIVERY_UNCERTAIN),
			 KV_S("why", o->next.why),
			 KV_I("next_in_ms", o->next.at_ms > 0 ? o->next.at_ms - o->now_ms : 0));
}

/*
 * An outcome that is not stored would make the attempt uncertain: it is tried until it works or the row is no longer
 * ours (or this process ends, and it is uncertain).
 */
CO_FN static void sender_settle(struct sender *s, const struct outbox_outcome *o)
{
	struct deliveries *ds = s->ds;
	int64_t pause = SENDER_STORE_RETRY_US;
	struct error err = ERROR_INIT;

	FAULT("delivery.before_outcome");
	while (!outbox_settle(ds->w->db, str_of(ds->w->incarnation), &s->d, o, &err)) {
		if (err.code != ERR_STORAGE) {
			log_warn("delivery", "the outcome was journalled by another process",
				 KV_STR("delivery", s->d.id), KV_S("reason", err.msg));
			return;
		}
		log_warn("delivery", "an outcome cannot be stored; trying again", KV_STR("delivery", s->d.id),
			 KV_S("reason", err.msg));
		(void)co_sleep(pause);
		pause = 2 * pause < SENDER_STORE_RETRY_MAX ? 2 * pause : SENDER_STORE_RETRY_MAX;
	}
	FAULT("delivery.after_outcome");
	sender_tell(&s->d, o);
	if (o->next.state == DELIVERY_RETRYING)
		sender_wake_in(ds, o->next.at_ms - o->now_ms);
}

/* ---- one attempt ---- */

CO_FN static void sender_attempt(struct sender *s, struct fetch_response *resp)
{
	struct worker *w = s->ds->w;
	struct fetch_request req = {.connect_us = w->conf->deliveries.timeout < SENDER_CONNECT_US
						      ? w->conf->deliveries.timeout
						      : SENDER_CONNECT_US};
	const struct delivery_format *format = delivery_format_find(s->d.format);
	int64_t start = clock_mono_us();
	struct error err = ERROR_INIT;
	char event[32];

	s->scope = (struct co_scope){.kind = SCOPE_CALL, .deadline = start + w->conf->deliveries.timeout};
	co_scope_enter(&s->scope);
	FAULT("delivery.before_send");
	s->prepared = format->prepare(w, s->arena, &s->d, &req, &err);
	if (!s->prepared) {
		*resp = (struct fetch_response){.fail = FETCH_OTHER, .retry_after_us = SENDER_OWN_RETRY_US};
		(void)snprintf(resp->detail, sizeof(resp->detail), "%.150s", err.msg);
	} else if (fetch_do(w->fetch, s->arena, &req, resp) && resp->status / 100 == 2) {
		(void)snprintf(event, sizeof(event), "%.*s", STR_ARG(s->d.event));
		metric_observe(M_WEBHOOK_LATENCY, (double)(clock_mono_us() - start) / 1e6, event, NULL);
	}
	FAULT("delivery.after_send");
	co_scope_leave(&s->scope);
}

static void sender_remove(struct sender *s)
{
	struct deliveries *ds = s->ds;
	struct sender **p;

	for (p = &ds->running; *p != s; p = &(*p)->next)
		;
	*p = s->next;
	ds->count--;
	metric_set(M_DELIVERIES_ACTIVE, ds->count, NULL);
	arena_free(s->arena);
	free(s);
}

CO_FN static void sender_run(void *arg)
{
	struct sender *s = arg;
	struct deliveries *ds = s->ds;
	struct fetch_response resp;
	struct outbox_outcome outcome;

	co_set_log(&s->log);
	sender_attempt(s, &resp);
	outcome = sender_outcome(s, &resp);
	sender_settle(s, &outcome);
	co_set_log(NULL);
	sender_remove(s);
	sender_claim(ds); /* the next of this endpoint */
}

/* ---- claiming ---- */

/* The row is ours: a coroutine sends it. */
static void sender_launch(struct deliveries *ds, const struct delivery_row *d)
{
	struct sender *s = xcalloc(1, sizeof(*s));
	struct trace_context trace;

	s->ds = ds;
	s->arena = arena_new(8192);
	s->d = outbox_copy(s->arena, d);
	trace_of(&trace, s->d.debate_id.n > 0 ? s->d.debate_id : s->d.id);
	trace_parent(&trace, s->trace);
	s->log = (struct log_ctx){.debate_id = s->d.debate_id, .trace = str_of(s->trace)};
	s->next = ds->running;
	ds->running = s;
	ds->count++;
	metric_set(M_DELIVERIES_ACTIVE, ds->count, NULL);
	if (co_spawn("delivery", sender_run, s) != NULL)
		return;
	ds->doubt = true; /* given back at the next look */
	sender_remove(s);
}

static bool sender_runs(const struct deliveries *ds, struct str id)
{
	const struct sender *s;

	for (s = ds->running; s != NULL && !str_eq(s->d.id, id); s = s->next)
		;
	return s != NULL;
}

/* Gives back rows that this process owns and does not send: claims of which it never learned. */
CO_FN static void sender_give_back(struct deliveries *ds)
{
	struct str owner = str_of(ds->w->incarnation);
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct delivery_row *rows;
	size_t i, n = 0;
	bool ok = outbox_owned(ds->w->db, a, owner, &rows, &n, &err);

	for (i = 0; ok && i < n; i++) {
		int64_t now = clock_wall_ms();

		if (sender_runs(ds, rows[i].id))
			continue;
		ok = outbox_settle(ds->w->db, owner, &rows[i],
				   &(struct outbox_outcome){.end = DELIVERY_FAILED,
							    .next = {DELIVERY_RETRYING, now, ""},
							    .error = STR("nothing was sent"),
							    .now_ms = now},
				   &err) ||
		     err.code == ERR_FENCED;
	}
	ds->doubt = !ok;
	arena_free(a);
}

/* Takes what is due, up to the limit. True: there may be more. */
CO_FN static bool sender_claim_page(struct deliveries *ds)
{
	const struct conf *c = ds->w->conf;
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct delivery_row *rows;
	size_t i, n = 0, taken = 0;

	if (!outbox_due(ds->w->db, a, clock_wall_ms(), &rows, &n, &err)) {
		log_warn("delivery", "the outbox cannot be read", KV_S("reason", err.msg));
		n = 0;
	}
	for (i = 0; i < n && !ds->draining && ds->count < c->deliveries.max_concurrent; i++) {
		if (delivery_format_find(rows[i].format) == NULL)
			continue; /* of a newer version: one of its workers sends it */
		err = ERROR_INIT;
		if (outbox_claim(ds->w->db, ds->w->incarnation, &rows[i], clock_wall_ms(), c->deliveries.block / MS_US,
				 &err)) {
			sender_launch(ds, &rows[i]);
			taken++;
		} else if (err.code != ERR_FENCED && err.code != ERR_DUPLICATE) {
			ds->doubt = true;
			log_warn("delivery", "a delivery cannot be claimed", KV_S("reason", err.msg));
			break;
		}
	}
	arena_free(a);
	return taken > 0 && ds->count < c->deliveries.max_concurrent;
}

CO_FN static void sender_claim_loop(void *arg)
{
	struct deliveries *ds = arg;

	do {
		ds->claim_again = false;
		if (ds->doubt)
			sender_give_back(ds);
		while (!ds->draining && ds->count < ds->w->conf->deliveries.max_concurrent && sender_claim_page(ds))
			;
	} while (ds->claim_again && !ds->draining);
	ds->claiming = false;
}

static void sender_claim(struct deliveries *ds)
{
	if (ds->claiming) {
		ds->claim_again = true;
		return;
	}
	if (!ds->started || ds->draining)
		return;
	ds->claiming = co_spawn("outbox", sender_claim_loop, ds) != NULL;
}

/* On the loop's stack: the claims belong to no scope of whoever gave the hint. */
static void sender_on_timer(void *arg)
{
	struct deliveries *ds = arg;

	ds->timer_at = 0;
	sender_claim(ds);
}

static void sender_on_hint(void *arg, struct str topic, struct str message)
{
	(void)topic;
	(void)message;
	sender_claim(arg);
}

void deliveries_hint(struct deliveries *ds)
{
	if (ds->started)
		sender_wake_in(ds, 0);
	else /* a web process sends nothing itself */
		bus_publish(ds->w->bus, STR(DELIVERIES_TOPIC), STR(""));
}

/* ---- what the clerk does ---- */

CO_FN void deliveries_look(struct deliveries *ds)
{
	int64_t now = clock_wall_ms();
	struct error err = ERROR_INIT;
	struct outbox_totals t;

	if (!outbox_totals(ds->w->db, now, &t, &err))
		return;
	metric_set(M_DELIVERIES_PENDING, t.open, NULL);
	metric_set(M_DELIVERIES_DEAD, t.dead, NULL);
	metric_set(M_DELIVERIES_OLDEST, t.oldest_ms > 0 && now > t.oldest_ms ? (now - t.oldest_ms) / 1000 : 0, NULL);
	metric_set(M_WEBHOOK_BREAKER, t.open_breakers > 0, "webhook", NULL);
	if (t.due == 0 && !ds->doubt)
		return;
	sender_wake_in(ds, 0);
	if (ds->count >= ds->w->conf->deliveries.max_concurrent)
		bus_publish(ds->w->bus, STR(DELIVERIES_TOPIC), STR(""));
}

CO_FN static bool sender_take_over(struct deliveries *ds, struct str owner, const struct delivery_row *d)
{
	const struct delivery_format *format = delivery_format_find(d->format);
	struct delivery_policy policy = sender_policy(ds);
	struct outbox_outcome o = {.end = DELIVERY_UNCERTAIN,
				   .error = STR("the sending process died: nobody knows whether it arrived"),
				   .crash = true,
				   .now_ms = clock_wall_ms()};
	struct error err = ERROR_INIT;

	o.next = delivery_decide(&policy, &(struct delivery_attempt){.end = o.end,
								     .repeatable = format != NULL && format->repeatable,
								     .attempts = d->attempts,
								     .crashes = d->crashes + 1,
								     .since_ms = d->since,
								     .now_ms = o.now_ms,
								     .retry_after_ms = -1});
	FAULT("delivery.before_take_over");
	if (!outbox_settle(ds->w->db, owner, d, &o, &err))
		return err.code == ERR_FENCED; /* another clerk was first */
	sender_tell(d, &o);
	sender_wake_in(ds, o.next.at_ms - o.now_ms);
	return true;
}

CO_FN bool deliveries_take_over(struct deliveries *ds, struct str owner)
{
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct delivery_row *rows;
	size_t i, n = 0;
	bool ok = outbox_owned(ds->w->db, a, owner, &rows, &n, &err);

	for (i = 0; ok && i < n; i++)
		ok = sender_take_over(ds, owner, &rows[i]);
	arena_free(a);
	return ok;
}

/* ---- life ---- */

struct deliveries *deliveries_open(struct worker *w, struct error *err)
{
	struct deliveries *ds = xcalloc(1, sizeof(*ds));
	const struct conf *c = w->conf;

	ds->w = w;
	ds->keys = keyring_open(c, true, err);
	if (ds->keys == NULL) {
		free(ds);
		return NULL;
	}
	ds->guard = guard_new(&c->deliveries.allow_private,
			      c->deliveries.allow_http == AUTO_ON ||
				  (c->deliveries.allow_http == AUTO_AUTO && c->server.env == CONF_DEVELOPMENT));
	loop_timer_init(w->loop, &ds->timer, sender_on_timer, ds);
	return ds;
}

void deliveries_start(struct deliveries *ds)
{
	ds->started = true;
	ds->sub = bus_subscribe(ds->w->bus, STR(DELIVERIES_TOPIC), sender_on_hint, ds);
	sender_claim(ds);
}

unsigned deliveries_active(const struct deliveries *ds)
{
	return ds->count + ds->claiming;
}

/* Time is up: what was sent is uncertain, what was not is given back. */
static void sender_cut(void *arg)
{
	struct deliveries *ds = arg;
	struct sender *s;

	for (s = ds->running; s != NULL; s = s->next)
		co_scope_cancel(&s->scope, "shutdown");
}

void deliveries_drain(struct deliveries *ds, int64_t finish_us)
{
	ds->draining = true;
	loop_timer_stop(&ds->timer);
	loop_timer_init(ds->w->loop, &ds->limit, sender_cut, ds);
	if (finish_us > 0)
		loop_timer_set(&ds->limit, finish_us);
}

void deliveries_close(struct deliveries *ds)
{
	loop_timer_stop(&ds->timer);
	if (ds->draining)
		loop_timer_stop(&ds->limit);
	if (ds->sub != NULL)
		bus_unsubscribe(ds->w->bus, ds->sub);
	guard_free(ds->guard);
	keyring_close(ds->keys);
	free(ds);
}

const struct guard *deliveries_guard(const struct deliveries *ds)
{
	return ds->guard;
}

const struct keyring *deliveries_keys(const struct deliveries *ds)
{
	return ds->keys;
}
