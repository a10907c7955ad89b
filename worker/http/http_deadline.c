/* SPDX-License-Identifier: MIT */
/*
 * Queues of deadlines for the connections of one server. Owned by http_server.c, used by connections, requests and
 * sockets. It knows nothing of what a deadline means.
 */
#include "worker/http/http_deadline.h"

#include "common/clock.h"

/* Deadlines are met within this; fewer wake-ups for many connections. */
#define DEADLINE_GRAIN (5 * MS_US)

static void deadlines_arm(struct http_deadlines *s)
{
	int64_t first = 0, wait;
	unsigned k;

	for (k = 0; k < DEADLINE_MAX; k++) {
		const struct http_deadline *d = s->heads[k].next;

		if (d != &s->heads[k] && (first == 0 || d->at < first))
			first = d->at;
	}
	s->armed_at = first;
	if (first == 0)
		return;
	wait = first - loop_now(s->loop);
	loop_timer_set(&s->timer, wait < DEADLINE_GRAIN ? DEADLINE_GRAIN : wait);
}

static void deadlines_run(void *arg)
{
	struct http_deadlines *s = arg;
	int64_t now = loop_now(s->loop);
	unsigned k;

	for (k = 0; k < DEADLINE_MAX; k++) {
		struct http_deadline *d;

		while ((d = s->heads[k].next) != &s->heads[k] && d->at <= now) {
			http_deadline_clear(d);
			s->fire(d);
		}
	}
	deadlines_arm(s);
}

void http_deadlines_init(struct http_deadlines *s, struct loop *l, void (*fire)(struct http_deadline *d))
{
	unsigned k;

	s->loop = l;
	s->fire = fire;
	s->armed_at = 0;
	for (k = 0; k < DEADLINE_MAX; k++)
		s->heads[k].next = s->heads[k].prev = &s->heads[k];
	loop_timer_init(l, &s->timer, deadlines_run, s);
}

void http_deadlines_stop(struct http_deadlines *s)
{
	loop_timer_stop(&s->timer);
}

void http_deadline_set_for(struct http_deadlines *s, struct http_deadline *d, enum http_deadline_kind kind, int64_t us)
{
	struct http_deadline *after;
	int64_t at = loop_now(s->loop) + us;

	http_deadline_clear(d);
	d->kind = kind;
	after = s->heads[kind].prev;
	while (after != &s->heads[kind] && after->at > at)
		after = after->prev;
	d->at = at;
	d->prev = after;
	d->next = after->next;
	after->next->prev = d;
	after->next = d;
	if (s->armed_at == 0 || at < s->armed_at) {
		s->armed_at = at;
		loop_timer_set(&s->timer, us < DEADLINE_GRAIN ? DEADLINE_GRAIN : us);
	}
}

void http_deadline_set(struct http_deadlines *s, struct http_deadline *d, enum http_deadline_kind kind)
{
	if (s->duration[kind] > 0)
		http_deadline_set_for(s, d, kind, s->duration[kind]);
	else
		http_deadline_clear(d);
}

void http_deadline_clear(struct http_deadline *d)
{
	if (d->prev == NULL)
		return;
	d->prev->next = d->next;
	d->next->prev = d->prev;
	d->next = d->prev = NULL;
}
