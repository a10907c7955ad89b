/* SPDX-License-Identifier: MIT */
/*
 * Watches the credentials of open connections. Called by sockets and event streams. One coroutine goes through those
 * that a change has made doubtful; it asks credential.c, which decides.
 */
#include "worker/identity/watch.h"

#include "common/clock.h"
#include "worker/identity/credential.h"
#include "worker/worker.h"

#define WATCH_AGAIN_US SEC_US
#define WATCH_TRIES 20 /* when the store does not answer; then the connection ends */

struct identity_watch {
	struct identity_watches *all;
	struct identity_watch *next, **link; /* NULL link: not in the list any more */
	struct arena *memory;
	const struct identity *who;
	struct loop_timer expiry;
	bool doubtful, later, busy, freed; /* later: not before the timer */
	unsigned failures;
	int permission; /* that it must keep; -1: none */
	void (*lost)(void *arg, const char *why);
	void *arg;
};

struct identity_watches {
	struct worker *w;
	struct identity_watch *list;
	struct loop_timer again;
	int64_t changed_us; /* when anything changed last */
	bool asking;
};

static void watch_unlink(struct identity_watch *x)
{
	*x->link = x->next;
	if (x->next != NULL)
		x->next->link = x->link;
	x->link = NULL;
	loop_timer_stop(&x->expiry);
}

static void watch_destroy(void *arg)
{
	struct identity_watch *x = arg;

	arena_free(x->memory);
	free(x);
}

static void watch_lose(struct identity_watch *x, const char *why)
{
	if (x->link == NULL)
		return;
	watch_unlink(x);
	x->lost(x->arg, why);
}

static void watch_expired(void *arg)
{
	struct identity_watch *x = arg;
	int64_t left = x->who->expires_ms - clock_wall_ms();

	if (left > 0)
		loop_timer_set(&x->expiry, left * MS_US);
	else
		watch_lose(x, "the token has expired");
}

/* ---- asking ---- */

CO_FN static void watch_ask(struct identity_watch *x)
{
	struct worker *w = x->all->w;
	struct error err = ERROR_INIT;
	bool ok;

	x->doubtful = false;
	x->busy = true;
	ok = credential_still(w, x->who, x->permission, &err);
	if (ok) {
		x->failures = 0;
	} else if (err.code == ERR_INVALID_TOKEN) {
		watch_lose(x, "the credential is not valid any more");
	} else if (++x->failures >= WATCH_TRIES) {
		watch_lose(x, "the credential cannot be checked now");
	} else {
		x->later = true;
		loop_timer_set(&x->all->again, WATCH_AGAIN_US);
	}
	x->busy = false;
	if (x->freed)
		loop_defer(w->loop, watch_destroy, x);
}

/* The list may change while one is asked about. */
CO_FN static void watches_ask(void *arg)
{
	struct identity_watches *all = arg;
	struct identity_watch *x;

	do {
		for (x = all->list; x != NULL && !x->doubtful; x = x->next)
			;
		if (x != NULL)
			watch_ask(x);
	} while (x != NULL);
	all->asking = false;
}

static void watches_begin(struct identity_watches *all)
{
	if (!all->asking)
		all->asking = co_spawn("identity_watches", watches_ask, all) != NULL;
	if (!all->asking)
		loop_timer_set(&all->again, WATCH_AGAIN_US);
}

static void watches_again(void *arg)
{
	struct identity_watches *all = arg;
	struct identity_watch *x;

	for (x = all->list; x != NULL; x = x->next) {
		x->doubtful |= x->later;
		x->later = false;
	}
	watches_begin(all);
}

static void watches_changed(void *arg, enum identity_change kind, struct str id)
{
	struct identity_watches *all = arg;
	struct identity_watch *x;
	bool any = false;

	all->changed_us = loop_now(all->w->loop);
	for (x = all->list; x != NULL; x = x->next)
		if (credential_touched(x->who, kind, id))
			x->doubtful = any = true;
	if (any)
		watches_begin(all);
}

/* ---- one connection ---- */

struct identity_watch *identity_watch_new(struct worker *w, const struct identity *who, int64_t since_us,
					  int permission, void (*lost)(void *arg, const char *why), void *arg)
{
	struct identity_watches *all = w->identity_watches;
	struct identity_watch *x = xcalloc(1, sizeof(*x));

	x->all = all;
	x->memory = arena_new(1024);
	x->who = identity_copy(x->memory, who);
	x->permission = permission;
	x->lost = lost;
	x->arg = arg;
	x->next = all->list;
	if (x->next != NULL)
		x->next->link = &x->next;
	x->link = &all->list;
	all->list = x;
	loop_timer_init(w->loop, &x->expiry, watch_expired, x);
	if (who->expires_ms != 0)
		watch_expired(x);
	if (all->changed_us >= since_us) { /* it was nobody's watch when the change came */
		x->later = true;
		loop_timer_set(&all->again, 0);
	}
	return x;
}

const struct identity *identity_watch_who(const struct identity_watch *x)
{
	return x->who;
}

void identity_watch_free(struct identity_watch *x)
{
	if (x == NULL)
		return;
	x->freed = true;
	if (x->link != NULL)
		watch_unlink(x);
	if (!x->busy) /* else who asks about it does this */
		watch_destroy(x);
}

/* ---- the part of a worker ---- */

struct identity_watches *identity_watches_open(struct worker *w)
{
	struct identity_watches *all = xcalloc(1, sizeof(*all));

	all->w = w;
	loop_timer_init(w->loop, &all->again, watches_again, all);
	identity_on_change(w, watches_changed, all);
	return all;
}

void identity_watches_close(struct identity_watches *all)
{
	loop_timer_stop(&all->again);
	free(all);
}
