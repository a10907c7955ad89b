/* SPDX-License-Identifier: MIT */
/*
 * HUP as a transaction: read and check, open logs, bind, start the new workers, wait until all of them serve; only then
 * retire the old ones. Any failure undoes what was begun, leaves the old generation alone and says why. Called by the
 * signal table and by the supervisor when workers become ready or die.
 */
#include <errno.h>

#include "common/log.h"
#include "master/notify.h"
#include "master/supervisor.h"
#include "worker/worker.h"

#define RELOAD_DRAINING_MAX 2 /* generations that may drain at leisure at the same time */

/* The new configuration if it may replace the current one; says in the log why not. */
static struct conf *reload_read(const struct master *m)
{
	const struct master_options *o = m->options;
	struct buf report = BUF_INIT, fixed = BUF_INIT;
	/*
	 * The environment of this process is that of its start, nobody can change it: applying it again keeps what it
	 * set, where leaving it out would silently take those values back.
	 */
	struct conf *c = conf_load(o->conf_path, true, o->overrides, o->override_count, &report);

	if (c == NULL) {
		supervisor_log_report(LOG_ERROR, "the new configuration is not valid, nothing is changed", &report);
	} else if (!conf_reloadable(m->current->conf, c, &fixed)) {
		supervisor_log_report(LOG_ERROR, "a reload cannot change this key, nothing is changed", &fixed);
		conf_unref(c);
		c = NULL;
	} else {
		supervisor_log_report(LOG_WARNING, "configuration", &report);
	}
	buf_free(&report);
	buf_free(&fixed);
	return c;
}

static bool reload_spawn(struct master *m, struct generation *g, struct error *err)
{
	unsigned wanted = conf_workers(g->conf);

	for (unsigned i = 0; i < wanted; i++) {
		if (!slots_spawn(m, g))
			return error_set(err, ERR_UNAVAILABLE, "cannot start worker %u of %u: %s", i + 1, wanted,
					 errno == EAGAIN ? "no free slot (server.max_slots)" : strerror(errno));
	}
	return true;
}

static void reload_begin(struct master *m)
{
	struct error err = ERROR_INIT;
	struct conf *c;
	struct generation *g;

	notify_reloading(m);
	c = reload_read(m);
	if (c == NULL) {
		notify_ready(m, "Reload failed, serving");
		return;
	}
	g = generation_new(m, c);
	m->loading = g;
	if (!log_files_open(&g->logs, c, &m->privileges, &err) || !generation_load_tls(m, g, &err) ||
	    !listeners_bind(&m->listeners, c, g->number, 0, &err)) {
		reload_fail(m, err.msg);
		return;
	}
	generation_use_listeners(m, g);
	log_info("reload", "starting new workers", KV_I("generation", g->number), KV_I("workers", conf_workers(c)));
	if (!reload_spawn(m, g, &err))
		reload_fail(m, err.msg);
}

static void reload_next(struct master *m)
{
	while (m->reload_pending && m->loading == NULL && m->stop == STOP_NO) {
		m->reload_pending = false;
		reload_begin(m);
	}
}

void reload_request(struct master *m)
{
	if (m->stop != STOP_NO)
		return;
	m->reload_pending = true;
	if (m->loading != NULL || m->starting)
		log_info("reload", "another start is under way, this reload comes after it");
	else
		reload_next(m);
}

void reload_fail(struct master *m, const char *why)
{
	struct generation *g = m->loading;

	log_error("reload", "reload failed, the old workers go on", KV_I("generation", g->number), KV_S("why", why));
	m->loading = NULL;
	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		if (m->slots[i].gen == g)
			slots_end(&m->slots[i],
				  WORKER_SIG_RETIRE); /* who serves already drains; who does not is killed */
	}
	listeners_drop_added(&m->listeners, g->number);
	g->retired = true;
	g->hurried = true;
	notify_ready(m, "Reload failed, serving");
	generation_collect(m);
	reload_next(m);
}

/* A third generation that drains hurries the oldest one. */
static void reload_hurry_oldest(struct master *m)
{
	struct generation *oldest = NULL;
	unsigned draining = 0;

	for (struct generation *g = m->generations; g != NULL; g = g->next) {
		if (g->retired && !g->hurried && slots_count(m, g, false) > 0) {
			draining++;
			oldest = g; /* the list is newest first */
		}
	}
	if (draining <= RELOAD_DRAINING_MAX || oldest == NULL)
		return;
	log_info("reload", "too many generations drain, hurrying the oldest", KV_I("generation", oldest->number));
	oldest->hurried = true;
	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		if (m->slots[i].gen == oldest)
			slots_end(&m->slots[i], WORKER_SIG_STOP);
	}
}

static void reload_commit(struct master *m)
{
	struct generation *old = m->current, *g = m->loading;

	m->loading = NULL;
	m->current = g;
	m->wanted = conf_workers(g->conf);
	old->retired = true;
	slots_forget_restarts(m);
	supervisor_use_logs(m);
	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		if (m->slots[i].gen == old && !m->slots[i].retiring)
			slots_end(&m->slots[i], WORKER_SIG_RETIRE);
	}
	/* The old workers empty their own copies of what is gone from the configuration. */
	listeners_keep_only(&m->listeners, g->conf);
	atomic_fetch_add(&m->shm->reloads, 1);
	supervisor_show_title(m);
	notify_ready(m, "Serving");
	log_info("reload", "reloaded", KV_I("generation", g->number), KV_I("workers", m->wanted));
	reload_hurry_oldest(m);
	generation_collect(m);
	reload_next(m);
}

void reload_on_ready(struct master *m)
{
	if (m->loading != NULL && slots_count(m, m->loading, true) == conf_workers(m->loading->conf))
		reload_commit(m);
}
