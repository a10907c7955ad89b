/* SPDX-License-Identifier: MIT */
/*
 * The event loop of a process: turns of events, coroutines, deferred work and log output.
 * Called by worker and master boot, and by every module that needs a timer or wants to leave its own callback.
 * It knows nothing of sockets: modules add their own struct event to loop_base().
 */
#include "common/loop.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/co.h"
#include "common/log.h"

/* Deferred work may defer more; after this many rounds in one turn the events get their turn first. */
#define LOOP_DEFER_ROUNDS 8

struct loop_work {
	void (*fn)(void *arg);
	void *arg;
};

struct loop_list {
	struct loop_work *items;
	size_t n;
	size_t cap;
};

/* Behind a pointer because loop_now(), which fills it on first use in a turn, takes a const loop. */
struct loop_time {
	int64_t now; /* 0 = not read since the last poll */
};

struct loop {
	struct event_base *base;
	struct loop_time *time;
	uint64_t turns;
	bool stopped;
	bool in_turn;
	struct loop_list deferred;
	struct loop_list spare; /* storage of the last batch, reused */
	struct event wake_event;
	int wake_fd;
	pthread_mutex_t lock; /* guards posted */
	struct loop_list posted;
};

static void loop_list_add(struct loop_list *list, void (*fn)(void *arg), void *arg)
{
	if (list->n == list->cap) {
		list->cap = list->cap == 0 ? 64 : list->cap * 2;
		list->items = xrealloc(list->items, list->cap * sizeof(*list->items));
	}
	list->items[list->n++] = (struct loop_work){fn, arg};
}

static void loop_take_posted(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < l->posted.n; i++)
		loop_list_add(&l->deferred, l->posted.items[i].fn, l->posted.items[i].arg);
	l->posted.n = 0;
	pthread_mutex_unlock(&l->lock);
}

static void loop_on_wake(evutil_socket_t fd, short what, void *arg)
{
	uint64_t count;

	(void)what;
	/* Nothing to read is fine: the list below is the truth, the descriptor only wakes. */
	if (read(fd, &count, sizeof(count)) < 0)
		count = 0;
	loop_take_posted(arg);
}

struct loop *loop_new(void)
{
	struct loop *l = xcalloc(1, sizeof(*l));
	struct event_config *config = event_config_new();

	BUG_ON(config == NULL);
	/* One thread uses the base, and the environment has no say in which poll function is used. */
	BUG_ON(event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) != 0);
	BUG_ON(event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV) != 0);
	l->base = event_base_new_with_config(config);
	event_config_free(config);
	BUG_ON(l->base == NULL);
	l->time = xcalloc(1, sizeof(*l->time));
	BUG_ON(pthread_mutex_init(&l->lock, NULL) != 0);
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	BUG_ON(l->wake_fd == -1);
	BUG_ON(event_assign(&l->wake_event, l->base, l->wake_fd, EV_READ | EV_PERSIST, loop_on_wake, l) != 0);
	BUG_ON(event_add(&l->wake_event, NULL) != 0);
	return l;
}

static void loop_run_deferred(struct loop *l)
{
	for (unsigned round = 0; round < LOOP_DEFER_ROUNDS && l->deferred.n > 0; round++) {
		struct loop_list batch = l->deferred;

		l->deferred = l->spare;
		l->spare = (struct loop_list){NULL, 0, 0};
		for (size_t i = 0; i < batch.n; i++)
			batch.items[i].fn(batch.items[i].arg);
		batch.n = 0;
		free(l->spare.items);
		l->spare = batch;
	}
}

void loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	BUG_ON(l->in_turn);
	loop_take_posted(l);
	while (l->deferred.n > 0)
		loop_run_deferred(l);
	event_del(&l->wake_event);
	close(l->wake_fd);
	event_base_free(l->base);
	pthread_mutex_destroy(&l->lock);
	free(l->deferred.items);
	free(l->spare.items);
	free(l->posted.items);
	free(l->time);
	free(l);
}

struct event_base *loop_base(struct loop *l)
{
	return l->base;
}

void loop_turn(struct loop *l, bool block)
{
	bool idle = block && !l->stopped && l->deferred.n == 0 && !co_runnable();

	BUG_ON(l->in_turn);
	l->in_turn = true;
	l->time->now = 0;
	/* One poll per turn: without EVLOOP_ONCE a socket that stays readable would keep coroutines from running. */
	BUG_ON(event_base_loop(l->base, idle ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK) == -1);
	l->turns++;
	co_run_queue();
	loop_run_deferred(l);
	log_turn(loop_now(l));
	l->in_turn = false;
}

void loop_run(struct loop *l)
{
	while (!l->stopped)
		loop_turn(l, true);
	l->stopped = false;
}

void loop_stop(struct loop *l)
{
	l->stopped = true;
}

int64_t loop_now(const struct loop *l)
{
	if (l->time->now == 0)
		l->time->now = clock_mono_us();
	return l->time->now;
}

int64_t loop_refresh(struct loop *l)
{
	l->time->now = clock_mono_us();
	return l->time->now;
}

uint64_t loop_turns(const struct loop *l)
{
	return l->turns;
}

void loop_defer(struct loop *l, void (*fn)(void *arg), void *arg)
{
	loop_list_add(&l->deferred, fn, arg);
}

void loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
	static const uint64_t one = 1;
	bool first;

	pthread_mutex_lock(&l->lock);
	first = l->posted.n == 0;
	loop_list_add(&l->posted, fn, arg);
	/* Inside the lock: once it is released the loop may run the work and be freed. */
	if (first)
		BUG_ON(write(l->wake_fd, &one, sizeof(one)) != (ssize_t)sizeof(one));
	pthread_mutex_unlock(&l->lock);
}

static void loop_timer_add(struct loop_timer *t, int64_t us)
{
	struct timeval tv = {.tv_sec = us / SEC_US, .tv_usec = us % SEC_US};

	BUG_ON(event_add(&t->ev, &tv) != 0);
}

static void loop_timer_fire(evutil_socket_t fd, short what, void *arg)
{
	struct loop_timer *t = arg;
	int64_t left = t->due - loop_refresh(t->loop);

	(void)fd;
	(void)what;
	/* libevent reckons from a coarse clock that it caches while callbacks run: it may be early. */
	if (left > 0)
		loop_timer_add(t, left);
	else
		t->fn(t->arg);
}

void loop_timer_init(struct loop *l, struct loop_timer *t, void (*fn)(void *arg), void *arg)
{
	*t = (struct loop_timer){.loop = l, .fn = fn, .arg = arg, .set_up = true};
	BUG_ON(event_assign(&t->ev, l->base, -1, 0, loop_timer_fire, t) != 0);
}

void loop_timer_set(struct loop_timer *t, int64_t us)
{
	BUG_ON(!t->set_up);
	if (us < 0)
		us = 0;
	t->due = loop_refresh(t->loop) + us;
	loop_timer_add(t, us);
}

void loop_timer_stop(struct loop_timer *t)
{
	if (t->set_up)
		event_del(&t->ev);
}
